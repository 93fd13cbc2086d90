/* A made-up run, all of whose numbers differ, as JSON, as text and as a HdrHistogram log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "report.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const targets[] = {"http://10.0.0.1:8080/a", "tcp://10.0.0.2:9"};

static const struct report_workload workload = {
    .targets = targets,
    .target_count = 2,
    .sources = 3,
    .closing = "server",
    .arrivals = "poisson",
    .connections = 5001,
    .rate_per_s = 6001.5,
    .ramp_from_per_s = 101,
    .ramp_s = 7.5,
    .duration_s = 31,
    .warmup_s = 2.5,
    .timeout_s = 4.5,
    .count = 8001,
    .threads = 6,
    .ports = "3000-30000",
    .requests = "zipf:64",
    .think = "exp:10ms",
    .abort_share = 0.125,
    .spread = true,
    .peak = true,
    .seed = INT64_MAX,
};

static const struct verdict_line missed[] = {{"p99 was 9 ms, more than 5 ms"}, {"errors > 0"}};

static struct second series[] = {
    {0, 1000.5, 11, 12, 13, 14, 15, 16, 17, true, 18500, 19500, false},
    {1, 0, 21, 22, 23, 24, 25, 26, 27, false, 28500, 29500, false},
    {.at_s = 2, .ports_free = 35, .ports_cooling = 36, .kernel_ports = true},
};

static void fill_tally(struct tally *tally)
{
    tally->attempted = 1234567;
    tally->opened = 1200000;
    tally->completed = 1100000;
    tally->in_time = 1000000;
    tally->aborted = 77;
    for (int i = 1; i < FAILURES; i++)
        tally->failures[i] = 100 + (uint64_t)i * 1001;
    tally->last_errno = EPERM;
    tally->first_address_error_ns = 5611234567;
    tally->first_port_wait_ns = 432100000;
    tally->requests = 3300000;
    tally->bytes_in = 444000444;
    tally->bytes_out = 55000055;
    tally->closed_by[CLOSER_CLIENT] = 301;
    tally->closed_by[CLOSER_SERVER] = 302;
    tally->closed_by[CLOSER_RESET] = 303;
    tally->port_waits.count = 41;
    tally->port_waits.total_ns = 42500000;
    tally->port_waits.max_ns = 3250000;
    tally->refused_bind = 51;
    tally->refused_connect = 52;
    tally->descriptors_opened = 1200001;
    tally->late = 61;
    tally->late_max_ns = 62500000;
}

/* Stage i: 1000 samples at (i+1) us, 90 at 10, 9 at 100 and 1 at 1000 times that. */
static void fill_stage(struct histogram *histogram, uint64_t stage)
{
    static const int samples[] = {1000, 90, 9, 1};
    uint64_t value = (stage + 1) * 1000;

    for (size_t i = 0; i < COUNT(samples); i++, value *= 10)
        for (int n = 0; n < samples[i]; n++)
            histogram_record(histogram, value);
}

static struct run *made_up_run(void)
{
    struct run *run = calloc(1, sizeof(*run));

    assert_non_null(run);
    fill_tally(&run->tally);
    for (uint64_t i = 0; i < STAGES; i++)
        fill_stage(&run->stages[i], i);
    run->duration_s = 32.25;
    run->interrupted = true;
    run->series = series;
    run->series_count = COUNT(series);
    run->budget = (struct budget){434.084, 9, 27001, 243009, "time-wait", "a reason", "an advice"};
    run->time_wait_client = 71;
    run->time_wait_server = 72;
    run->kernel_known = true;
    for (int i = 0; i < TW_COUNTERS; i++) {
        run->kernel_before.values[i] = 10 * i;
        run->kernel_after.values[i] = 10 * i + 81 + i;
    }
    run->kernel_before.values[3] = -1; /* this kernel lacks it */
    run->user_s = 1.5;
    run->system_s = 4.5;
    run->ledger_bytes = 91000;
    run->memory_bytes = 92000000;
    run->ports_aside = 53;
    run->peak_per_s = 31000.5;
    return run;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static char *json_text(const struct report_workload *of, const struct run *run)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    assert_int_equal(report_json(of, run, missed, COUNT(missed), out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static json_t *json_of(const struct report_workload *of, const struct run *run)
{
    char *text = json_text(of, run);
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!root)
        fail_msg("line %d: %s", error.line, error.text);
    free(text);
    return root;
}

/* The value at "latency_us.total.p50" or "series.1.opened"; it must be there. */
static json_t *at(json_t *root, const char *path)
{
    char copy[128], *rest = copy, *key;
    json_t *value = root;

    snprintf(copy, sizeof(copy), "%s", path);
    while (value && (key = strsep(&rest, ".")))
        value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10))
                                     : json_object_get(value, key);
    if (!value)
        fail_msg("there is no %s", path);
    return value;
}

static void check_number(json_t *root, const char *path, double want, double tolerance)
{
    json_t *value = at(root, path);

    if (!json_is_number(value) || fabs(json_number_value(value) - want) > tolerance)
        fail_msg("%s: %g instead of %g", path, json_number_value(value), want);
}

static const struct {
    const char *path;
    double value;
} numbers[] = {
    {"duration_s", 32.25},
    {"attempted", 1234567},
    {"opened", 1200000},
    {"not_opened", 34567},
    {"completed", 1100000},
    {"failed", 13 * 100 + 91 * 1001},
    {"aborted", 77},
    {"requests", 3300000},
    {"bytes_in", 444000444},
    {"bytes_out", 55000055},
    {"rate_per_s", 31007.752},
    {"peak_per_s", 31000.5},
    {"errors.address.in_use_bind", 1101},
    {"errors.address.not_available_bind", 2102},
    {"errors.address.not_available_connect", 3103},
    {"errors.no_descriptors", 4104},
    {"errors.refused", 5105},
    {"errors.reset", 6106},
    {"errors.timeout", 7107},
    {"errors.unreachable", 8108},
    {"errors.http_status", 9109},
    {"errors.malformed", 10110},
    {"errors.short", 11111},
    {"errors.interrupted", 12112},
    {"errors.other", 13113},
    {"errors.other_errno", EPERM},
    {"first_address_error_s", 5.611235},
    {"first_port_wait_s", 0.4321},
    {"port_waits.count", 41},
    {"port_waits.total_ms", 42.5},
    {"port_waits.max_ms", 3.25},
    {"ports_refused.bind", 51},
    {"ports_refused.connect", 52},
    {"ports_refused.set_aside_at_end", 53},
    {"closed_by.client", 301},
    {"closed_by.server", 302},
    {"closed_by.reset", 303},
    {"time_wait_left.client", 71},
    {"time_wait_left.server", 72},
    {"budget.per_s", 434.084},
    {"budget.lanes", 9},
    {"budget.ports_per_lane", 27001},
    {"budget.tuples", 243009},
    {"cpu.user_s", 1.5},
    {"cpu.system_s", 4.5},
    {"cpu.us_per_connection", 5},
    {"memory.max_rss_bytes", 92000000},
    {"memory.ledger_bytes", 91000},
    {"self.late", 61},
    {"self.late_max_ms", 62.5},
    {"self.descriptors_opened", 1200001},
    {"workload.sources", 3},
    {"workload.connections", 5001},
    {"workload.rate_per_s", 6001.5},
    {"workload.ramp_from_per_s", 101},
    {"workload.ramp_s", 7.5},
    {"workload.abort", 0.125},
    {"workload.duration_s", 31},
    {"workload.count", 8001},
    {"workload.warmup_s", 2.5},
    {"workload.timeout_s", 4.5},
    {"workload.threads", 6},
    {"kernel.ListenOverflows", 81},
    {"kernel.RetransSegs", 96},
    {"series.0.at_s", 0},
    {"series.0.target_per_s", 1000.5},
    {"series.0.opened", 11},
    {"series.0.completed", 12},
    {"series.0.failed", 13},
    {"series.0.in_flight", 14},
    {"series.0.ports_free", 15},
    {"series.0.ports_cooling", 16},
    {"series.0.port_waits", 17},
    {"series.0.p50_us", 18.5},
    {"series.0.p99_us", 19.5},
    {"series.1.at_s", 1},
    {"series.1.opened", 21},
    {"series.1.p99_us", 29.5},
};

static void test_json_numbers(void **state)
{
    struct run *run = made_up_run();
    json_t *root = json_of(&workload, run);

    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++)
        check_number(root, numbers[i].path, numbers[i].value, 0.0006);
    json_decref(root);
    free(run);
}

static void test_json_latency(void **state)
{
    struct run *run = made_up_run();
    json_t *root = json_of(&workload, run);

    (void)state;
    for (int i = 0; i < STAGES; i++) {
        const struct {
            const char *key;
            double value;
        } keys[] = {{"mean", (1000 + 900 + 900 + 1000) / 1100.0},
                    {"p50", 1},
                    {"p90", 1},
                    {"p99", 10},
                    {"p999", 100},
                    {"max", 1000}};
        char path[64];

        for (size_t k = 0; k < COUNT(keys); k++) {
            double want = keys[k].value * (i + 1);

            snprintf(path, sizeof(path), "latency_us.%s.%s", stage_names[i], keys[k].key);
            check_number(root, path, want, 0.0006 + (keys[k].key[0] == 'p' ? want / 128 : 0));
        }
        snprintf(path, sizeof(path), "latency_us.%s.count", stage_names[i]);
        check_number(root, path, 1100, 0);
    }
    json_decref(root);
    free(run);
}

static void test_json_words(void **state)
{
    const struct {
        const char *path;
        const char *want;
    } samples[] = {
        {"schema", "tidewait.run/1"},
        {"workload.targets.0", targets[0]},
        {"workload.targets.1", "tcp://10.0.0.2:9"},
        {"workload.close", "server"},
        {"workload.arrivals", "poisson"},
        {"workload.ports", "3000-30000"},
        {"workload.requests", "zipf:64"},
        {"workload.think", "exp:10ms"},
        {"budget.limited_by", "time-wait"},
        {"budget.reason", "a reason"},
        {"budget.advice", "an advice"},
        {"missed.0", missed[0].text},
        {"missed.1", missed[1].text},
    };
    struct run *run = made_up_run();
    json_t *root = json_of(&workload, run);
    char *text = json_text(&workload, run);

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++)
        assert_string_equal(json_string_value(at(root, samples[i].path)), samples[i].want);
    assert_true(json_is_true(at(root, "interrupted")));
    assert_true(json_is_true(at(root, "workload.spread")));
    assert_true(json_is_true(at(root, "workload.peak")));
    assert_true(json_is_true(at(root, "series.0.starved")));
    assert_true(json_is_false(at(root, "series.1.starved")));
    assert_true(json_is_null(at(root, "series.1.target_per_s")));
    assert_true(json_is_null(at(root, "series.2.ports_free")));
    assert_true(json_is_null(at(root, "series.2.ports_cooling")));
    assert_true(json_is_null(at(root, "kernel.TW"))); /* lacking before the run */
    assert_true(json_integer_value(at(root, "workload.seed")) == INT64_MAX);
    assert_int_equal(json_array_size(at(root, "series")), COUNT(series));
    assert_int_equal(json_object_size(at(root, "kernel")), TW_COUNTERS);
    /* One object, the schema first, one line end behind it. */
    assert_true(strncmp(text, "{\n  \"schema\": \"tidewait.run/1\"", 30) == 0);
    assert_string_equal(text + strlen(text) - 2, "}\n");
    free(text);
    json_decref(root);
    free(run);
}

/* Nothing was measured, or nonsense: null, never a number that is none. */
static void test_json_nothing(void **state)
{
    static const char *const nulls[] = {"budget.per_s",
                                        "duration_s",
                                        "cpu.user_s",
                                        "cpu.us_per_connection",
                                        "time_wait_left.client",
                                        "time_wait_left.server",
                                        "first_address_error_s",
                                        "first_port_wait_s",
                                        "peak_per_s",
                                        "workload.rate_per_s",
                                        "workload.duration_s",
                                        "workload.count",
                                        "workload.requests",
                                        "workload.think"};
    struct report_workload little = {.targets = targets,
                                     .target_count = 1,
                                     .closing = "client",
                                     .arrivals = "closed",
                                     .ports = "1-2",
                                     .peak = true};
    struct run *run = calloc(1, sizeof(*run));
    json_t *root;

    (void)state;
    assert_non_null(run);
    run->budget = (struct budget){.per_s = INFINITY, .limited_by = "none"};
    run->duration_s = NAN;
    run->user_s = -INFINITY;
    run->time_wait_client = run->time_wait_server = -1;
    root = json_of(&little, run);
    for (size_t i = 0; i < COUNT(nulls); i++)
        if (!json_is_null(at(root, nulls[i])))
            fail_msg("%s is not null", nulls[i]);
    check_number(root, "rate_per_s", 0, 0);
    check_number(root, "latency_us.total.p99", 0, 0);
    check_number(root, "latency_us.total.mean", 0, 0);
    assert_int_equal(json_array_size(at(root, "series")), 0);
    assert_int_equal(json_object_size(at(root, "kernel")), 0);
    json_decref(root);
    free(run);
}

/* A command line is bytes; a whole run must not be lost because some of them are not UTF-8. */
static void test_json_bytes(void **state)
{
    static const char *const odd[] = {"http://h/caf\xe9", "http://h/caf\xc3\xa9", "http://h/\"\\"};
    struct report_workload of = workload;
    struct run *run = made_up_run();
    json_t *root;

    (void)state;
    of.targets = odd;
    of.target_count = COUNT(odd);
    root = json_of(&of, run);
    assert_string_equal(json_string_value(at(root, "workload.targets.0")), "http://h/caf?");
    assert_string_equal(json_string_value(at(root, "workload.targets.1")), odd[1]);
    assert_string_equal(json_string_value(at(root, "workload.targets.2")), odd[2]);
    json_decref(root);
    free(run);
}

static void test_full_disk(void **state)
{
    struct run *run = made_up_run();
    FILE *out = fopen("/dev/full", "we");

    (void)state;
    assert_non_null(out);
    assert_int_equal(report_json(&workload, run, missed, COUNT(missed), out), -EIO);
    fclose(out);
    out = fopen("/dev/full", "we");
    assert_non_null(out);
    setvbuf(out, NULL, _IONBF, 0);
    assert_int_equal(report_hdr_interval("total", 0, 1, &run->stages[STAGE_TOTAL], out), -EIO);
    fclose(out);
    free(run);
}

/* --- text ------------------------------------------------------------------------------------- */

static void check_contains(const char *text, const char *const *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strstr(text, wanted[i]))
            fail_msg("'%s' is missing from:\n%s", wanted[i], text);
}

static char *text_of(const struct report_workload *of, const struct run *run, size_t misses)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    report_second_head(out);
    for (size_t i = 0; i < run->series_count; i++)
        report_second(&run->series[i], false, out);
    report_text(of, run, missed, misses, false, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void test_text(void **state)
{
    static const char *const wanted[] = {
        "http://10.0.0.1:8080/a, closed by server, poisson\nand 1 more target",
        "1,234,567 attempted = 1,200,000 opened + 34,567 not opened\n",
        "1,200,000 opened = 1,100,000 completed + 92,391 failed + 77 aborted on purpose\n",
        "31008 connections/s over 32.25 s, 3,300,000 requests\n",
        "errors       6,306 address errors (first after 5.61 s), 1,101 address in use at bind, ",
        "13,113 other (last: Operation not permitted)\n",
        "41 launches waited for a port (first after 432 ms), 42.5 ms in all, 3.25 ms at most\n",
        "51 times at bind and 52 times at connect; another one was taken (53 still set aside)\n",
        "closed by    client 301, server 302, reset 303\n",
        "TIME_WAIT    client 71, server 72\n",
        "kernel       ListenOverflows +81 (",
        "1.50 s user, 4.50 s system, 5.0 us a connection (1.25 user)",
        "61 launches were more than 1 ms late (62.5 ms at most)",
        "budget: 9 lanes x 27,001 ports sustain 434 connections/s: a reason\n",
        "peak         31000 connections/s were held\n",
        "missed       p99 was 9 ms, more than 5 ms\nmissed       errors > 0\n",
        "advice       an advice\n",
        "interrupted  ",
        ("     1       1000         12        14       13          15        16   18.5 us"
         "   19.5 us (no port free)\n"),
        ("     2          -         22        24       23          25        26   28.5 us"
         "   29.5 us\n"),
        ("     3          -          0         0        0           -         -         -"
         "         -\n"),
    };
    struct run *run = made_up_run();
    char *text = text_of(&workload, run, COUNT(missed));

    (void)state;
    check_contains(text, wanted, COUNT(wanted));
    for (int i = 0; i < STAGES; i++)
        check_contains(text, &stage_names[i], 1);
    assert_null(strstr(text, " TW +")); /* not known before the run */
    free(text);
    free(run);
}

static void test_text_nothing(void **state)
{
    static const char *const wanted[] = {
        "0 attempted = 0 opened + 0 not opened\n",
        "0 opened = 0 completed + 0 failed\n",
        "errors       0 address errors\n",
        "TIME_WAIT    client unknown, server not on this host\n",
        "set no limit to the rate",
        "peak         no step was held\n",
    };
    static const char *const unwanted[] = {"nan",    "inf\n",   "inf ", "advice",
                                           "missed", "aborted", "first"};
    struct report_workload little = {.targets = targets,
                                     .target_count = 1,
                                     .closing = "client",
                                     .arrivals = "closed",
                                     .peak = true,
                                     .threads = 1};
    struct run *run = calloc(1, sizeof(*run));
    char *text;

    (void)state;
    assert_non_null(run);
    run->budget = (struct budget){.per_s = INFINITY, .limited_by = "none"};
    run->time_wait_client = run->time_wait_server = -1;
    text = text_of(&little, run, 0);
    check_contains(text, wanted, COUNT(wanted));
    for (size_t i = 0; i < COUNT(unwanted); i++)
        if (strstr(text, unwanted[i]))
            fail_msg("'%s' is in:\n%s", unwanted[i], text);
    free(text);
    free(run);
}

/* --- the HdrHistogram log --------------------------------------------------------------------- */

struct bytes {
    uint8_t *data;
    size_t len;
};

static struct bytes decode_base64(const char *text, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct bytes bytes = {calloc(1, len), 0};
    uint32_t word = 0;
    int bits = 0;

    assert_non_null(bytes.data);
    assert_int_equal(len % 4, 0);
    while (len && text[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        const char *digit = strchr(digits, text[i]);

        assert_true(text[i] && digit);
        word = word << 6 | (uint32_t)(digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes.data[bytes.len++] = (uint8_t)(word >> bits);
        }
    }
    assert_int_equal(word & ((1u << bits) - 1), 0);
    return bytes;
}

static uint32_t u32_at(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static uint64_t u64_at(const uint8_t *at)
{
    return (uint64_t)u32_at(at) << 32 | u32_at(at + 4);
}

/* ZigZag LEB128 as HdrHistogram has it: seven bits a byte, but all eight of a ninth one. */
static int64_t cut_count(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    int shift = 0;

    for (;;) {
        uint8_t byte;

        assert_true(*at < end);
        byte = *(*at)++;
        if (shift == 56) {
            value |= (uint64_t)byte << 56;
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
        shift += 7;
    }
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* The V2 encoding: a head of 40 bytes, then counts, of which a negative one is a run of zeros. */
static void decode_v2(struct bytes plain, const struct histogram *want)
{
    const uint8_t *at = plain.data + 40, *end = plain.data + plain.len;
    uint64_t one;
    size_t index = 0;
    double ratio;

    assert_true(plain.len >= 40);
    assert_int_equal(u32_at(plain.data), 0x1c849313);
    assert_int_equal(u32_at(plain.data + 4), plain.len - 40);
    assert_int_equal(u32_at(plain.data + 8), 0);
    assert_int_equal(u32_at(plain.data + 12), 2);
    assert_true(u64_at(plain.data + 16) == 1);
    assert_true(u64_at(plain.data + 24) >= want->max && u64_at(plain.data + 24) >= 2);
    one = u64_at(plain.data + 32);
    memcpy(&ratio, &one, sizeof(ratio));
    assert_true(ratio == 1);
    while (at < end) {
        int64_t count = cut_count(&at, end);

        assert_true(count != 0);
        for (; count < 0; count++, index++)
            assert_true(index < HISTOGRAM_BUCKETS && want->buckets[index] == 0);
        if (count > 0) {
            assert_true(index < HISTOGRAM_BUCKETS);
            assert_true(want->buckets[index++] == (uint64_t)count);
        }
    }
    for (; index < HISTOGRAM_BUCKETS; index++)
        assert_true(want->buckets[index] == 0);
}

static void decode_interval(const char *text, size_t len, const struct histogram *want)
{
    struct bytes packed = decode_base64(text, len), plain;
    uLongf room = 40 + 9 * HISTOGRAM_BUCKETS;

    assert_true(packed.len > 8);
    assert_int_equal(u32_at(packed.data), 0x1c849314);
    assert_int_equal(u32_at(packed.data + 4), packed.len - 8);
    plain.data = malloc(room);
    assert_non_null(plain.data);
    assert_int_equal(uncompress(plain.data, &room, packed.data + 8, packed.len - 8), Z_OK);
    plain.len = room;
    decode_v2(plain, want);
    free(plain.data);
    free(packed.data);
}

static void check_interval(const char *tag, const struct histogram *histogram)
{
    char *text = NULL, begin[80];
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    assert_int_equal(report_hdr_interval(tag, 12.5, 0.25, histogram, out), 0);
    assert_int_equal(fclose(out), 0);
    snprintf(begin, sizeof(begin), "%s%s%s12.500,0.250,%.3f,", tag ? "Tag=" : "", tag ? tag : "",
             tag ? "," : "", (double)histogram->max / 1e6);
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("'%.80s' does not begin with '%s'", text, begin);
    assert_int_equal(text[len - 1], '\n');
    decode_interval(text + strlen(begin), len - 1 - strlen(begin), histogram);
    free(text);
}

/* The values 0..5, the largest, or some of all magnitudes; one count may be huge. */
static void test_hdr(void **state)
{
    static const uint64_t huge[] = {1, 63, 64, 8191, 8192, 1ULL << 40, 1ULL << 55, 1ULL << 62};
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    (void)state;
    assert_non_null(histogram);
    check_interval(NULL, histogram);
    for (uint64_t value = 0; value < 6; value++) {
        histogram_record(histogram, value);
        check_interval("total", histogram);
    }
    for (int shift = 3; shift < 64; shift++) {
        histogram_record(histogram, (1ULL << shift) + 5);
        histogram_record(histogram, (1ULL << shift) - 1);
    }
    check_interval("first_byte", histogram);
    histogram_record(histogram, UINT64_MAX);
    check_interval(NULL, histogram);
    for (size_t i = 0; i < COUNT(huge); i++) {
        histogram->buckets[300 + 3 * i] = huge[i];
        check_interval(NULL, histogram);
    }
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] = (1ULL << 62) + i * 0x9e3779b97f4aULL; /* the longest text */
    check_interval(NULL, histogram);
    histogram_clear(histogram);
    histogram_record(histogram, UINT64_MAX);
    check_interval(NULL, histogram);
    free(histogram);
}

static void test_hdr_begin(void **state)
{
    static const char want[] = "#[Histogram log format version 1.3]\n"
                               "#[StartTime: 1763712000.250 (seconds since epoch)]\n"
                               "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
                               "\"Interval_Compressed_Histogram\"\n";
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    report_hdr_begin(1763712000.25, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, want);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_numbers), cmocka_unit_test(test_json_latency),
        cmocka_unit_test(test_json_words),   cmocka_unit_test(test_json_nothing),
        cmocka_unit_test(test_json_bytes),   cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_text),         cmocka_unit_test(test_text_nothing),
        cmocka_unit_test(test_hdr),          cmocka_unit_test(test_hdr_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
