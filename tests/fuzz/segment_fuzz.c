/* Feeds segment_parse() packets. What it takes must be inside the packet, come back the same when
 * it is sealed, and be told in words. */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "segment.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_text(struct flows *flows, const struct segment *segment)
{
    char text[STORY_TEXT_MAX];

    for (int round = 0; round < 2; round++) {
        memset(text, 1, sizeof(text));
        flows_text(flows, segment, text, sizeof(text));
        check(memchr(text, 0, sizeof(text) - 20) != NULL && text[0]);
        flows_learn(flows, segment);
    }
}

static bool same_fields(const struct segment *a, const struct segment *b)
{
    return a->flags == b->flags && a->source_port == b->source_port &&
           a->destination_port == b->destination_port && a->seq == b->seq && a->ack == b->ack &&
           a->ts_value == b->ts_value && a->ts_echo == b->ts_echo && a->window == b->window &&
           a->data_len == b->data_len && a->len == b->len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct flows flows = {.count = 0};
    struct segment segment, sealed, again, made;
    int rc = segment_parse(data, size, &segment);

    check(rc == 0 || rc == -EBADMSG);
    if (rc)
        return 0;
    check(segment.len >= 40 && segment.len <= size && segment.data_len <= segment.len - 40);
    check((segment.data_len != 0) == ((segment.flags & SEGMENT_DATA) != 0));
    sealed = segment;
    check(segment_seal(&sealed) == 0 && same_fields(&sealed, &segment));
    check(segment_parse(sealed.bytes, sealed.len, &again) == 0);
    check(same_fields(&again, &sealed) && memcmp(again.bytes, sealed.bytes, again.len) == 0);
    made = segment_make(&segment, segment.flags, segment.seq + 1, segment.ack, "data");
    check(segment_parse(made.bytes, made.len, &again) == 0 && same_fields(&again, &made));
    check(made.data_len == 4 && made.seq == segment.seq + 1);
    check_text(&flows, &segment);
    segment.to_right = true;
    segment.seq += 0x80000000u;
    check_text(&flows, &segment);
    return 0;
}
