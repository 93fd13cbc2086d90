#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcap.h"
#include "segment.h"
#include "tidewait/clock.h"
#include "tun.h"
#include "wire_private.h"

#define RULES_MAX  32
#define HELD_MAX   256
#define PASSED_MAX 64
/* After so many packets a pump lets the stage look at its clock. */
#define ROUNDS_MAX 4096
/* Of a segment's own text; the rest of an event is for what became of it. */
#define WORDS_MAX (STORY_TEXT_MAX - 24)

struct rule {
    bool to_right;
    unsigned flags;
    unsigned left; /* how many more; 0: all */
    enum wire_fate fate;
};

struct wire {
    struct host *left;
    struct story *story;
    uint64_t start_ns;
    int tun[2]; /* of the left host, of the right */
    int pcap;   /* -1: nobody wants one */
    bool cut;
    unsigned rule_count, held_count;
    unsigned passed_count; /* of all that ever passed */
    struct rule rules[RULES_MAX];
    struct segment *held[HELD_MAX]; /* the oldest first */
    struct segment passed[PASSED_MAX];
    struct flows flows;
};

/* --- making ----------------------------------------------------------------------------------- */

struct wire *wire_new(struct host *left, struct host *right, struct story *story, uint64_t start_ns)
{
    struct wire *wire = calloc(1, sizeof(*wire));

    if (!wire)
        stage_broken(left->stage, "a wire: out of memory");
    wire->left = left;
    wire->story = story;
    wire->start_ns = start_ns;
    wire->pcap = -1;
    wire->tun[0] = tun_open(left);
    wire->tun[1] = tun_open(right);
    return wire;
}

void wire_free(struct wire *wire)
{
    if (!wire)
        return;
    for (unsigned i = 0; i < wire->held_count; i++)
        free(wire->held[i]);
    close(wire->tun[0]);
    close(wire->tun[1]);
    free(wire);
}

/* --- moving ----------------------------------------------------------------------------------- */

/* What became of a segment, behind its own text. */
static void draw(struct wire *wire, enum story_place place, const char *text, const char *remark)
{
    struct story *story = wire->story;
    struct story_event *event;

    if (story->event_count == STORY_EVENTS_MAX) {
        story->events_lost++;
        return;
    }
    event = &story->events[story->event_count];
    event->at_ns = tw_clock_ns() - wire->start_ns;
    event->place = (uint8_t)place;
    snprintf(event->text, sizeof(event->text), "%s%s", text, remark);
    story->event_count++; /* last: somebody may be reading */
}

static void draw_segment(struct wire *wire, const struct segment *segment, bool lost,
                         const char *remark)
{
    char text[WORDS_MAX];
    enum story_place place = segment->to_right ? STORY_TO_RIGHT : STORY_TO_LEFT;

    if (lost)
        place = segment->to_right ? STORY_LOST_TO_RIGHT : STORY_LOST_TO_LEFT;
    draw(wire, place, flows_text(&wire->flows, segment, text, sizeof(text)), remark);
}

static void hand_over(struct wire *wire, bool to_right, const uint8_t *bytes, size_t len)
{
    int rc = wire->pcap < 0 ? 0 : pcap_add(wire->pcap, bytes, len);

    if (rc)
        stage_broken(wire->left->stage, "writing the pcap file: %s", strerror(-rc));
    if (write(wire->tun[to_right ? 1 : 0], bytes, len) != (ssize_t)len)
        stage_broken(wire->left->stage, "a wire: writing to the %s host: %s",
                     to_right ? "right" : "left", strerror(errno));
}

/* Drawn first: the answer comes while the other host is given the segment. */
static void deliver(struct wire *wire, const struct segment *segment, const char *remark)
{
    draw_segment(wire, segment, false, remark);
    wire->passed[wire->passed_count++ % PASSED_MAX] = *segment;
    hand_over(wire, segment->to_right, segment->bytes, segment->len);
}

static void keep(struct wire *wire, const struct segment *segment)
{
    struct segment *copy;

    if (wire->held_count == HELD_MAX)
        stage_broken(wire->left->stage, "a wire holds no more than %d segments", HELD_MAX);
    copy = malloc(sizeof(*copy));
    if (!copy)
        stage_broken(wire->left->stage, "a wire: out of memory");
    *copy = *segment;
    wire->held[wire->held_count++] = copy;
}

static void forget_rule(struct wire *wire, unsigned index)
{
    wire->rule_count--;
    memmove(&wire->rules[index], &wire->rules[index + 1],
            (wire->rule_count - index) * sizeof(wire->rules[0]));
}

static bool has_flags(const struct segment *segment, bool to_right, unsigned flags)
{
    return segment->to_right == to_right && (segment->flags & flags) == flags;
}

static enum wire_fate next_fate(struct wire *wire, const struct segment *segment)
{
    for (unsigned i = 0; i < wire->rule_count; i++) {
        struct rule *rule = &wire->rules[i];
        enum wire_fate fate = rule->fate;

        if (!has_flags(segment, rule->to_right, rule->flags))
            continue;
        if (rule->left && --rule->left == 0)
            forget_rule(wire, i);
        return fate;
    }
    return WIRE_PASS;
}

static void meet_fate(struct wire *wire, const struct segment *segment)
{
    flows_learn(&wire->flows, segment);
    if (wire->cut) {
        draw_segment(wire, segment, true, ", wire cut");
        return;
    }
    switch (next_fate(wire, segment)) {
    case WIRE_PASS:
        deliver(wire, segment, "");
        break;
    case WIRE_DROP:
        draw_segment(wire, segment, true, ", dropped");
        break;
    case WIRE_HOLD:
        keep(wire, segment);
        draw_segment(wire, segment, true, ", held");
        break;
    case WIRE_COPY:
        keep(wire, segment);
        deliver(wire, segment, ", copy kept");
        break;
    }
}

/* What is not TCP. IPv6, which the kernel speaks unasked, is neither carried nor drawn. */
static void carry_other(struct wire *wire, bool to_right, const uint8_t *bytes, size_t len)
{
    char text[WORDS_MAX];

    if (len < 20 || bytes[0] >> 4 != 4)
        return;
    snprintf(text, sizeof(text), "%zu bytes of IP protocol %u", len, bytes[9]);
    if (wire->cut) {
        draw(wire, to_right ? STORY_LOST_TO_RIGHT : STORY_LOST_TO_LEFT, text, ", wire cut");
        return;
    }
    draw(wire, to_right ? STORY_TO_RIGHT : STORY_TO_LEFT, text, "");
    hand_over(wire, to_right, bytes, len);
}

/* One packet from a host; false when none waits. */
static bool carry(struct wire *wire, bool to_right)
{
    uint8_t buf[SEGMENT_BYTES_MAX];
    struct segment segment;
    ssize_t got = read(wire->tun[to_right ? 0 : 1], buf, sizeof(buf));

    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got < 0)
        stage_broken(wire->left->stage, "a wire: reading from the %s host: %s",
                     to_right ? "left" : "right", strerror(errno));
    if (segment_parse(buf, (size_t)got, &segment)) {
        carry_other(wire, to_right, buf, (size_t)got);
        return true;
    }
    segment.to_right = to_right;
    meet_fate(wire, &segment);
    return true;
}

int wire_poll_fds(const struct wire *wire, struct pollfd fds[2])
{
    for (int i = 0; i < 2; i++)
        fds[i] = (struct pollfd){.fd = wire->tun[i], .events = POLLIN};
    return 2;
}

void wire_pump(struct wire *wire)
{
    bool more = true;

    for (int i = 0; more && i < ROUNDS_MAX; i++) {
        more = carry(wire, true);
        more = carry(wire, false) || more;
    }
}

/* --- what scenarios do with it ---------------------------------------------------------------- */

void wire_rule(struct wire *wire, bool to_right, unsigned flags, unsigned count,
               enum wire_fate fate)
{
    if (wire->rule_count == RULES_MAX)
        stage_broken(wire->left->stage, "a wire has no more than %d rules", RULES_MAX);
    wire->rules[wire->rule_count++] =
        (struct rule){.to_right = to_right, .flags = flags, .left = count, .fate = fate};
}

void wire_clear(struct wire *wire)
{
    wire->rule_count = 0;
}

void wire_cut(struct wire *wire, bool cut)
{
    wire->cut = cut;
}

static void seal(struct wire *wire, struct segment *segment)
{
    if (segment_seal(segment))
        stage_broken(wire->left->stage, "a wire: this is no TCP segment any more");
}

unsigned wire_release(struct wire *wire, unsigned count)
{
    unsigned released = count && count < wire->held_count ? count : wire->held_count;

    for (unsigned i = 0; i < released; i++) {
        seal(wire, wire->held[i]);
        deliver(wire, wire->held[i], ", released");
        free(wire->held[i]);
    }
    wire->held_count -= released;
    memmove(wire->held, wire->held + released, wire->held_count * sizeof(wire->held[0]));
    return released;
}

struct segment *wire_held(struct wire *wire, unsigned index)
{
    return index < wire->held_count ? wire->held[index] : NULL;
}

bool wire_last(const struct wire *wire, bool to_right, unsigned flags, struct segment *out)
{
    for (unsigned back = 1; back <= PASSED_MAX && back <= wire->passed_count; back++) {
        const struct segment *passed = &wire->passed[(wire->passed_count - back) % PASSED_MAX];

        if (has_flags(passed, to_right, flags)) {
            *out = *passed;
            return true;
        }
    }
    return false;
}

void wire_inject(struct wire *wire, struct segment *segment)
{
    seal(wire, segment);
    draw_segment(wire, segment, false, ", injected");
    hand_over(wire, segment->to_right, segment->bytes, segment->len);
}

int wire_pcap(struct wire *wire, int fd)
{
    int rc = pcap_begin(fd);

    if (rc)
        return rc;
    wire->pcap = fd;
    return 0;
}
