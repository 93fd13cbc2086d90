#include "lint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lint_judge.h"
#include "lint_read.h"
#include "tidewait/ports.h"
#include "tidewait/text.h"

const char *const lint_verdict_names[LINT_VERDICTS] = {
    [LINT_FINE] = "fine",   [LINT_IDLE] = "idle",       [LINT_FOLKLORE] = "folklore",
    [LINT_RISKY] = "risky", [LINT_UNSAFE] = "unsafe",   [LINT_GONE] = "gone",
    [LINT_BAD] = "bad",     [LINT_FOREIGN] = "foreign",
};

/* Settings that decide about others. */
enum key {
    KEY_RESERVED,
    KEY_PRIVILEGED,
    KEY_TIMESTAMPS,
    KEY_REUSE,
    KEY_SYNCOOKIES,
    KEY_BUCKETS,
    KEY_HASHSIZE,
    KEY_OPENABLE,
    KEYS,
};

static const char *const keys[KEYS] = {
    [KEY_RESERVED] = "net.ipv4.ip_local_reserved_ports",
    [KEY_PRIVILEGED] = "net.ipv4.ip_unprivileged_port_start",
    [KEY_TIMESTAMPS] = "net.ipv4.tcp_timestamps",
    [KEY_REUSE] = "net.ipv4.tcp_tw_reuse",
    [KEY_SYNCOOKIES] = "net.ipv4.tcp_syncookies",
    [KEY_BUCKETS] = "net.netfilter.nf_conntrack_buckets",
    [KEY_HASHSIZE] = LINT_HASHSIZE,
    [KEY_OPENABLE] = "fs.nr_open",
};

#define CONNTRACK "net.netfilter.nf_conntrack_max"

/* What the kernel has by itself. */
#define FIRST_PORT       32768
#define DEFAULT_PORTS    28232
#define DEFAULT_BUCKETS  262144
#define DEFAULT_OPENABLE 1048576

/* Ports of services that are named one by one. */
#define TOLD_MAX 5

#define NONE SIZE_MAX

#define SAY(array, ...) lint_say(array, sizeof(array), __VA_ARGS__)

struct work {
    const struct lint_text *texts;
    const struct lint_context *context;
    struct lint_report *report;
    struct lint_item *items; /* of each line */
    size_t room;
    size_t last[KEYS]; /* the line that sets it in the end; NONE */
};

bool lint_is_complaint(enum lint_verdict verdict)
{
    return verdict == LINT_FOLKLORE || verdict == LINT_RISKY || verdict == LINT_UNSAFE ||
           verdict == LINT_GONE || verdict == LINT_BAD;
}

/* --- lines ------------------------------------------------------------------------------------ */

static int make_room(struct work *work)
{
    size_t room = work->room ? work->room * 2 : 64;
    struct lint_line *lines;
    struct lint_item *items;

    if (work->report->count < work->room)
        return 0;
    lines = reallocarray(work->report->lines, room, sizeof(*lines));
    if (lines)
        work->report->lines = lines;
    items = reallocarray(work->items, room, sizeof(*items));
    if (items)
        work->items = items;
    if (!lines || !items)
        return -ENOMEM;
    work->room = room;
    return 0;
}

/* The name as sysctl writes it. With a slash first the dots are part of the names, as in
 * net/ipv4/conf/eth0.1/forwarding. */
static void write_name(const struct lint_item *item, char *buf, size_t size)
{
    const char *slash = memchr(item->name.data, '/', item->name.len);
    const char *dot = memchr(item->name.data, '.', item->name.len);
    size_t used = tw_text_safe(buf, size - 1, item->name.data, item->name.len);

    buf[used] = 0;
    if (item->kind != LINT_SYSCTL)
        return;
    for (char *c = buf; *c; c++)
        if (*c == '/')
            *c = '.';
        else if (*c == '.' && slash && (!dot || slash < dot))
            *c = '/';
    if (strcmp(buf, "net.nf_conntrack_max") == 0)
        snprintf(buf, size, "%s", CONNTRACK);
}

/* Tabs are no harm, but no help either. */
static void write_text(struct tw_view text, char *buf, size_t size)
{
    char plain[256];

    if (text.len > sizeof(plain))
        text.len = sizeof(plain);
    memcpy(plain, text.data, text.len);
    for (size_t i = 0; i < text.len; i++)
        if (plain[i] == '\t')
            plain[i] = ' ';
    buf[tw_text_safe(buf, size - 1, plain, text.len)] = 0;
}

static int add_line(struct work *work, size_t from, size_t number, struct tw_view text,
                    const struct lint_item *item)
{
    struct lint_line *line;

    if (make_room(work))
        return -ENOMEM;
    line = &work->report->lines[work->report->count];
    *line = (struct lint_line){
        .from = from,
        .number = number,
        .verdict = LINT_FOREIGN,
        .winner = NONE,
    };
    write_text(text, line->text, sizeof(line->text));
    work->items[work->report->count++] = *item;
    if (item->name.data) {
        write_name(item, line->name, sizeof(line->name));
        lint_judge(item, line);
    }
    return 0;
}

static int read_line(struct work *work, struct lint_reader *reader, size_t from, size_t number,
                     struct tw_view text)
{
    struct lint_item item = {.value.len = 0};
    size_t before = work->report->count;
    int rc = 0;

    if (!lint_read_line(reader, text))
        return 0;
    text = reader->line;
    while (rc == 0 && lint_read_item(reader, &item))
        rc = add_line(work, from, number, text, &item);
    if (rc == 0 && work->report->count == before)
        rc = add_line(work, from, number, text, &(struct lint_item){.value.len = 0});
    return rc;
}

static int read_text(struct work *work, size_t from)
{
    struct lint_reader reader = {.at = 0};
    struct tw_view rest = work->texts[from].text;
    int rc = 0;

    if (rest.len >= 3 && memcmp(rest.data, "\xef\xbb\xbf", 3) == 0) {
        rest.data += 3;
        rest.len -= 3;
    }
    for (size_t number = 1; rc == 0 && rest.data; number++)
        rc = read_line(work, &reader, from, number, tw_view_cut(&rest, '\n'));
    return rc;
}

/* --- one line and the others ------------------------------------------------------------------ */

/* "line 9", or "FILE:9" of another text. */
static const char *place_of(const struct work *work, size_t other, const struct lint_line *seen,
                            char buf[160])
{
    const struct lint_line *line = &work->report->lines[other];
    const char *name = work->texts[line->from].name;

    if (line->from == seen->from || !name)
        snprintf(buf, 160, "line %zu", line->number);
    else
        snprintf(buf, 160, "%.120s:%zu", name, line->number);
    return buf;
}

static void find_keys(struct work *work)
{
    for (size_t key = 0; key < KEYS; key++) {
        work->last[key] = NONE;
        for (size_t i = work->report->count; i-- > 0 && work->last[key] == NONE;)
            if (work->report->lines[i].verdict != LINT_BAD &&
                strcmp(work->report->lines[i].name, keys[key]) == 0)
                work->last[key] = i;
    }
}

static int64_t number_of(const struct work *work, size_t i, int64_t otherwise)
{
    struct lint_numbers numbers;

    return i != NONE && lint_numbers(work->items[i].value, &numbers) ? numbers.items[0] : otherwise;
}

static bool next_word(struct tw_view *rest, struct tw_view *word)
{
    do
        *word = tw_view_cut(rest, ' ');
    while (!word->len && rest->data);
    return word->len > 0;
}

/* Blanks do not count, nor does what is between the words of a value. */
static bool same_value(struct tw_view a, struct tw_view b)
{
    struct tw_view a_word, b_word;
    bool more;

    do {
        more = next_word(&a, &a_word);
        if (next_word(&b, &b_word) != more)
            return false;
    } while (more && a_word.len == b_word.len && memcmp(a_word.data, b_word.data, a_word.len) == 0);
    return !more;
}

static int by_name(const void *a, const void *b, void *argument)
{
    const struct work *work = argument;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    int order = strcmp(work->report->lines[i].name, work->report->lines[j].name);

    return order ? order : i < j ? -1 : i > j;
}

static void tell_winner(struct work *work, size_t loser, size_t winner)
{
    struct lint_line *line = &work->report->lines[loser];
    struct tw_view value = work->items[winner].value;
    char place[160];

    if (line->verdict == LINT_BAD || line->verdict == LINT_GONE ||
        same_value(work->items[loser].value, value))
        return;
    line->winner = winner;
    if (line->verdict == LINT_FOREIGN)
        return;
    place_of(work, winner, line, place);
    if (line->verdict == LINT_FOLKLORE) {
        SAY(line->reason, " Besides, %s sets it again, and wins.", place);
        return;
    }
    line->verdict = LINT_IDLE;
    line->reason[0] = line->instead[0] = 0;
    line->scenario = NULL;
    SAY(line->reason, "Without effect: %s sets it again, to %.*s, and the last one wins.", place,
        value.len < 40 ? (int)value.len : 40, value.data);
}

/* Tells of each name which line wins. */
static int find_winners(struct work *work)
{
    size_t count = work->report->count, used = 0;
    size_t *order;

    if (!work->items)
        return 0; /* there was no line */
    order = calloc(count, sizeof(*order));
    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (work->items[i].kind == LINT_SYSCTL && work->report->lines[i].verdict != LINT_BAD)
            order[used++] = i;
    qsort_r(order, used, sizeof(*order), by_name, work);
    for (size_t end = used, i = used; i-- > 0;) {
        if (strcmp(work->report->lines[order[i]].name, work->report->lines[order[end - 1]].name) !=
            0)
            end = i + 1;
        if (i + 1 < end)
            tell_winner(work, order[i], order[end - 1]);
    }
    free(order);
    return 0;
}

/* --- ports ------------------------------------------------------------------------------------ */

/* The ports of services that the range takes and nobody reserves, as ", 8080, 9090". */
static size_t exposed_services(const struct work *work, uint16_t first, uint16_t last,
                               const struct tw_ports *reserved, char *buf, size_t size)
{
    size_t count = 0, used = 0;

    buf[0] = 0;
    for (uint32_t port = first; port <= last; port++) {
        if (tw_ports_has(reserved, (uint16_t)port) ||
            !work->context->service_on((uint16_t)port, work->context->context))
            continue;
        if (count++ < TOLD_MAX)
            used += (size_t)snprintf(buf + used, size - used, "%s%u", used ? ", " : "", port);
    }
    return count;
}

static void judge_wide(struct work *work, struct lint_line *line, uint16_t first, uint16_t last)
{
    size_t reserving = work->last[KEY_RESERVED], exposed = 0;
    bool known = work->context && work->context->service_on;
    struct tw_ports reserved = {0};
    char services[64] = "", place[160] = "";

    if (reserving != NONE)
        tw_ports_parse(work->items[reserving].value, &reserved, NULL);
    if (tw_ports_count(&reserved))
        place_of(work, reserving, line, place);
    if (known)
        exposed = exposed_services(work, first, last, &reserved, services, sizeof(services));
    if (exposed)
        SAY(line->reason,
            "Clients may get the ports of services of this host: %s%s. A service that is started "
            "anew then fails with EADDRINUSE.",
            services, exposed > TOLD_MAX ? ", .." : "");
    else if (place[0])
        SAY(line->reason, "A wide range, with the ports of services reserved in %s%s.", place,
            known ? "" : ": see that none is missing");
    else
        SAY(line->reason,
            "Clients may get the port of a service that is down or being started, and it fails "
            "with EADDRINUSE%s.",
            last >= 30000 ? "; Kubernetes' NodePorts 30000-32767 are among them" : "");
    if (exposed || !place[0]) {
        line->verdict = LINT_RISKY;
        SAY(line->instead, "no wider than is needed, and the services' ports in %s before it",
            keys[KEY_RESERVED]);
    }
}

static void judge_range(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];
    struct lint_numbers numbers;
    int64_t first, last, open = number_of(work, work->last[KEY_PRIVILEGED], 1024);

    if (line->verdict != LINT_FINE || !lint_numbers(work->items[i].value, &numbers) ||
        numbers.count < 2)
        return;
    first = numbers.items[0];
    last = numbers.items[1];
    line->reason[0] = 0;
    if (first < open) {
        line->verdict = LINT_BAD;
        SAY(line->reason,
            "The kernel refuses a first port below ip_unprivileged_port_start, which is %lld.",
            (long long)open);
        SAY(line->instead, "a first port of %lld or more", (long long)open);
        return;
    }
    if (first < FIRST_PORT) {
        judge_wide(work, line, (uint16_t)first, (uint16_t)last);
    } else if (last - first + 1 < DEFAULT_PORTS) {
        line->verdict = LINT_RISKY;
        SAY(line->reason,
            "%lld ports, fewer than the %d of the default: clients of one destination run out "
            "sooner.",
            (long long)(last - first + 1), DEFAULT_PORTS);
        SAY(line->instead, "leave it out");
    } else {
        SAY(line->reason, "More ports than the default, at the upper end, where services are few.");
    }
    if ((first ^ last) % 2 == 0)
        SAY(line->reason,
            " First and last are both %s: the kernel wants one even and one odd, and logs that.",
            first % 2 ? "odd" : "even");
}

/* --- what needs another line ------------------------------------------------------------------ */

static void judge_reuse(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];
    size_t timestamps = work->last[KEY_TIMESTAMPS];
    char place[160];

    if (timestamps == NONE || number_of(work, timestamps, 1) != 0 || number_of(work, i, 0) == 0 ||
        line->winner != NONE)
        return;
    line->verdict = LINT_IDLE;
    line->reason[0] = line->instead[0] = 0;
    line->scenario = "tw-reuse-no-timestamps";
    SAY(line->reason,
        "Does nothing here: %s turns timestamps off, and without them no TIME_WAIT "
        "is taken over.",
        place_of(work, timestamps, line, place));
    SAY(line->instead, "tcp_timestamps=1");
}

static void judge_timestamps(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];
    size_t reuse = work->last[KEY_REUSE];
    char place[160];

    if (line->verdict == LINT_UNSAFE && number_of(work, reuse, 0) != 0)
        SAY(line->reason, " So it undoes %s (tcp_tw_reuse).", place_of(work, reuse, line, place));
}

static void judge_syn_backlog(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];

    if (line->verdict != LINT_IDLE || line->winner != NONE ||
        number_of(work, work->last[KEY_SYNCOOKIES], 1) != 0)
        return;
    line->verdict = LINT_FINE;
    line->reason[0] = line->instead[0] = 0;
    SAY(line->reason, "How many half-open connections a listener may have, as tcp_syncookies is "
                      "0: beyond three quarters of it new SYNs are dropped.");
}

static void judge_conntrack(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];
    bool sized = work->last[KEY_BUCKETS] != NONE || work->last[KEY_HASHSIZE] != NONE;

    if (sized || line->verdict != LINT_FINE || number_of(work, i, 0) <= DEFAULT_BUCKETS)
        return;
    line->verdict = LINT_RISKY;
    line->reason[0] = 0;
    SAY(line->reason,
        "More connections in a hash table that stays as it is, with %d buckets or "
        "fewer: each packet has to look through longer chains.",
        DEFAULT_BUCKETS);
    SAY(line->instead, "%s of the same size as well", keys[KEY_BUCKETS]);
}

static void judge_files(struct work *work, size_t i)
{
    struct lint_line *line = &work->report->lines[i];
    int64_t most = number_of(work, work->last[KEY_OPENABLE], DEFAULT_OPENABLE);
    struct lint_numbers numbers;
    int64_t wanted = 0;

    if (line->verdict != LINT_FINE || !lint_numbers(work->items[i].value, &numbers))
        return;
    for (size_t j = 0; j < numbers.count; j++)
        wanted = numbers.items[j] > wanted ? numbers.items[j] : wanted;
    if (wanted <= most)
        return;
    line->verdict = LINT_RISKY;
    line->reason[0] = line->instead[0] = 0;
    SAY(line->reason, "More than fs.nr_open, which is %lld unless the system has raised it: %s.",
        (long long)most,
        strcmp(line->name, LINT_UNIT) == 0  ? "systemd then cuts it to that"
        : strcmp(line->name, LINT_PAM) == 0 ? "the kernel then refuses it, and every login of "
                                              "these users fails"
                                            : "the kernel then refuses it");
    SAY(line->instead, "%lld at most", (long long)most);
}

static const struct {
    const char *name;
    void (*judge)(struct work *work, size_t i);
} relations[] = {
    {"net.ipv4.ip_local_port_range", judge_range},
    {"net.ipv4.tcp_tw_reuse", judge_reuse},
    {"net.ipv4.tcp_timestamps", judge_timestamps},
    {CONNTRACK, judge_conntrack},
    {"net.ipv4.tcp_max_syn_backlog", judge_syn_backlog},
    {LINT_ULIMIT, judge_files},
    {LINT_PAM, judge_files},
    {LINT_UNIT, judge_files},
    {LINT_CONTAINER, judge_files},
};

static void relate(struct work *work)
{
    for (size_t i = 0; i < work->report->count; i++)
        for (size_t j = 0; j < sizeof(relations) / sizeof(relations[0]); j++)
            if (strcmp(work->report->lines[i].name, relations[j].name) == 0)
                relations[j].judge(work, i);
}

int lint(const struct lint_text *texts, size_t count, const struct lint_context *context,
         struct lint_report *out)
{
    struct work work = {.texts = texts, .context = context, .report = out};
    int rc = 0;

    *out = (struct lint_report){.count = 0};
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = read_text(&work, i);
    if (rc == 0)
        rc = find_winners(&work);
    if (rc == 0) {
        find_keys(&work);
        relate(&work);
    }
    for (size_t i = 0; i < out->count; i++)
        out->verdicts[out->lines[i].verdict]++;
    free(work.items);
    if (rc)
        lint_fini(out);
    return rc;
}

void lint_fini(struct lint_report *report)
{
    free(report->lines);
    *report = (struct lint_report){.count = 0};
}
