/*
 * Segments: bytes to fields and back, with every prefix of each sample before a page without
 * access, and how they are told. The samples' checksums come from another program.
 */
#include "guard.h"

#include <netinet/tcp.h>

#include "segment.h"

static const char syn[] =
    "\x45\x00\x00\x3c\x12\x34\x40\x00\x40\x06\x13\xec\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x11\x22\x33\x44\x00\x00\x00\x00\xa0\x02\xfa\xf0\xf2\xf4\x00\x00"
    "\x02\x04\x05\xb4\x04\x02\x08\x0a\xa1\xa2\xa3\xa4\x00\x00\x00\x00\x01\x03\x03\x07";
static const char data[] =
    "\x45\x00\x00\x39\x12\x34\x40\x00\x40\x06\x13\xef\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x11\x22\x33\x45\x55\x66\x77\x88\x80\x18\x72\x10\x34\x5b\x00\x00"
    "\x01\x01\x08\x0a\xa1\xa2\xa3\xa5\xb1\xb2\xb3\xb4\x68\x65\x6c\x6c\x6f";
static const char ack[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x11\x22\x33\x45\x55\x66\x77\x88\x50\x10\x72\x10\x5c\x01\x00\x00";
static const char fin[] =
    "\x45\x00\x00\x34\x12\x34\x40\x00\x40\x06\x13\xf4\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\xff\xff\xff\xff\x00\x00\x00\x00\x80\x11\x72\x10\x34\x3c\x00\x00"
    "\x01\x01\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x02";
static const char rst[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x11\x22\x33\x45\x00\x00\x00\x00\x50\x04\x00\x00\x9b\x0c\x00\x00";
static const char rst_ack[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x00\x11\x22\x33\x45\x50\x14\x00\x00\x9a\xfc\x00\x00";
static const char ip_options[] =
    "\x46\x00\x00\x3b\x12\x34\x40\x00\x40\x06\x7e\xe8\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x94\x04\x00\x00\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x80\x18\x72\x10"
    "\x6f\xc0\x00\x00\x01\x01\x08\x0a\x00\x00\x00\x07\x00\x00\x00\x08\x61\x62\x63";
static const char option_bad[] =
    "\x45\x00\x00\x2c\x12\x34\x40\x00\x40\x06\x13\xfc\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x60\x10\x72\x10\x55\x45\x00\x00"
    "\x08\x0a\x00\x01";
static const char option_lone[] =
    "\x45\x00\x00\x2c\x12\x34\x40\x00\x40\x06\x13\xfc\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x60\x10\x72\x10\x5b\x47\x00\x00"
    "\x01\x01\x01\x08";
static const char option_zero[] =
    "\x45\x00\x00\x34\x12\x34\x40\x00\x40\x06\x13\xf4\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x80\x10\x72\x10\x2f\x3a\x00\x00"
    "\x05\x00\x01\x01\x08\x0a\x00\x00\x00\x03\x00\x00";
static const char end_first[] =
    "\x45\x00\x00\x38\x12\x34\x40\x00\x40\x06\x13\xf0\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x90\x10\x72\x10\x23\x2d\x00\x00"
    "\x00\x04\x01\x01\x01\x01\x08\x0a\x00\x00\x00\x03\x00\x00\x00\x04";
static const char trailing[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00"
    "\x6a\x75\x6e\x6b";
static const char bad_version[] =
    "\x65\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_ihl[] =
    "\x44\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_long_ihl[] =
    "\x4f\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_udp[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x11\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_fragment[] =
    "\x45\x00\x00\x28\x12\x34\x20\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_offset[] =
    "\x45\x00\x00\x28\x12\x34\x00\x01\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_len[] =
    "\x45\x00\x00\x29\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_short[] =
    "\x45\x00\x00\x27\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x50\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_doff[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x40\x10\x72\x10\x6d\x54\x00\x00";
static const char bad_doff_long[] =
    "\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06\x14\x00\x0a\x4d\x00\x01\x0a\x4d\x00\x02"
    "\x9c\x40\x1f\x90\x00\x00\x00\x01\x00\x00\x00\x02\x60\x10\x72\x10\x6d\x54\x00\x00";

#define BYTES(sample) sample, sizeof(sample) - 1

struct good {
    const char *bytes;
    size_t len;
    struct segment expect; /* its fields; `len` only where it differs */
};

static const struct good goods[] = {
    {BYTES(syn), {.flags = TH_SYN, .seq = 0x11223344, .ts_value = 0xa1a2a3a4, .window = 64240}},
    {BYTES(data),
     {.flags = TH_PUSH | TH_ACK | SEGMENT_DATA,
      .seq = 0x11223345,
      .ack = 0x55667788,
      .ts_value = 0xa1a2a3a5,
      .ts_echo = 0xb1b2b3b4,
      .window = 0x7210,
      .data_len = 5}},
    {BYTES(ack),
     {.flags = TH_ACK | SEGMENT_PURE, .seq = 0x11223345, .ack = 0x55667788, .window = 0x7210}},
    {BYTES(fin),
     {.flags = TH_FIN | TH_ACK, .seq = 0xffffffff, .ts_value = 1, .ts_echo = 2, .window = 0x7210}},
    {BYTES(rst), {.flags = TH_RST, .seq = 0x11223345}},
    {BYTES(rst_ack), {.flags = TH_RST | TH_ACK, .ack = 0x11223345}},
    {BYTES(ip_options),
     {.flags = TH_PUSH | TH_ACK | SEGMENT_DATA,
      .seq = 1,
      .ack = 2,
      .ts_value = 7,
      .ts_echo = 8,
      .window = 0x7210,
      .data_len = 3}},
    /* Options that make no sense end the list; so does the end of it. */
    {BYTES(option_bad), {.flags = TH_ACK | SEGMENT_PURE, .seq = 1, .ack = 2, .window = 0x7210}},
    {BYTES(option_lone), {.flags = TH_ACK | SEGMENT_PURE, .seq = 1, .ack = 2, .window = 0x7210}},
    {BYTES(option_zero), {.flags = TH_ACK | SEGMENT_PURE, .seq = 1, .ack = 2, .window = 0x7210}},
    {BYTES(end_first), {.flags = TH_ACK | SEGMENT_PURE, .seq = 1, .ack = 2, .window = 0x7210}},
    {BYTES(trailing),
     {.flags = TH_ACK | SEGMENT_PURE, .seq = 1, .ack = 2, .window = 0x7210, .len = 40}},
};

#define GOODS (sizeof(goods) / sizeof(goods[0]))

static struct segment parsed(const char *bytes, size_t len)
{
    struct segment segment;

    assert_int_equal(segment_parse((const uint8_t *)bytes, len, &segment), 0);
    return segment;
}

static void check_fields(const struct segment *got, const struct good *good)
{
    const struct segment *expect = &good->expect;

    assert_int_equal(got->flags, expect->flags);
    assert_int_equal(got->source_port, 40000);
    assert_int_equal(got->destination_port, 8080);
    assert_int_equal(got->seq, expect->seq);
    assert_int_equal(got->ack, expect->ack);
    assert_int_equal(got->ts_value, expect->ts_value);
    assert_int_equal(got->ts_echo, expect->ts_echo);
    assert_int_equal(got->window, expect->window);
    assert_int_equal(got->data_len, expect->data_len);
    assert_int_equal(got->len, expect->len ? expect->len : good->len);
    assert_memory_equal(got->bytes, good->bytes, got->len);
}

/* Each whole, and each prefix: none is a segment unless it holds all that its header says. */
static void fields_are_read(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (const struct good *good = goods; good < goods + GOODS; good++) {
        size_t whole = good->expect.len ? good->expect.len : good->len;

        for (size_t len = 0; len <= good->len; len++) {
            struct tw_view view = guard_view(&guard, good->bytes, len);
            struct segment segment = {.seq = 4711};
            int rc = segment_parse((const uint8_t *)view.data, len, &segment);

            assert_int_equal(rc, len < whole ? -EBADMSG : 0);
            if (rc)
                assert_int_equal(segment.seq, 4711);
            else
                check_fields(&segment, good);
        }
    }
    guard_fini(&guard);
}

static void others_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {BYTES(bad_version)},  {BYTES(bad_ihl)},       {BYTES(bad_long_ihl)}, {BYTES(bad_udp)},
        {BYTES(bad_fragment)}, {BYTES(bad_offset)},    {BYTES(bad_len)},      {BYTES(bad_short)},
        {BYTES(bad_doff)},     {BYTES(bad_doff_long)},
    };
    struct segment segment;
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        for (size_t len = 0; len <= bad[i].len; len++) {
            struct tw_view view = guard_view(&guard, bad[i].bytes, len);

            assert_int_equal(segment_parse((const uint8_t *)view.data, len, &segment), -EBADMSG);
        }
    guard_fini(&guard);
}

/* A packet may say that it is longer than a segment has room for. */
static void too_long_is_refused(void **state)
{
    static uint8_t packet[4096];
    struct segment segment;

    (void)state;
    memcpy(packet, ack, sizeof(ack) - 1);
    packet[2] = SEGMENT_BYTES_MAX >> 8;
    packet[3] = 0;
    assert_int_equal(segment_parse(packet, sizeof(packet), &segment), 0);
    assert_int_equal(segment.data_len, SEGMENT_BYTES_MAX - 40);
    packet[3] = 1;
    assert_int_equal(segment_parse(packet, sizeof(packet), &segment), -EBADMSG);
}

/* From the fields and spoilt bytes the sample as it was, checksums included. */
static void seal_restores_the_bytes(void **state)
{
    (void)state;
    for (const struct good *good = goods; good < goods + GOODS; good++) {
        struct segment segment = parsed(good->bytes, good->len);
        size_t tcp = (size_t)(segment.bytes[0] & 0xf) * 4;

        memset(segment.bytes + 10, 0x5a, 2);
        memset(segment.bytes + tcp, 0x5a, 12);
        memset(segment.bytes + tcp + 13, 0x5a, 5);
        assert_int_equal(segment_seal(&segment), 0);
        check_fields(&segment, good);
    }
}

static void seal_writes_changed_fields(void **state)
{
    struct segment segment = parsed(BYTES(syn)), expect = parsed(BYTES(syn)), again;

    (void)state;
    segment.flags = TH_SYN | TH_ACK | SEGMENT_DATA;
    segment.source_port = 1;
    segment.destination_port = 2;
    segment.seq = 3;
    segment.ack = 4;
    segment.window = 5;
    segment.ts_value = 6;
    segment.ts_echo = 7;
    assert_int_equal(segment_seal(&segment), 0);
    assert_int_equal(segment.flags, TH_SYN | TH_ACK); /* it has no data, whatever was said */
    again = parsed((const char *)segment.bytes, segment.len);
    assert_memory_equal(&again, &segment, sizeof(again));
    /* The options around the timestamps stay. */
    assert_memory_equal(segment.bytes + 40, expect.bytes + 40, 8);
    assert_memory_equal(segment.bytes + 56, expect.bytes + 56, 4);
}

static void seal_refuses_broken_bytes(void **state)
{
    struct segment segment = parsed(BYTES(data));

    (void)state;
    segment.bytes[32] = 0xf0; /* a header beyond the end */
    assert_int_equal(segment_seal(&segment), -EBADMSG);
    segment = parsed(BYTES(data));
    segment.len = UINT16_MAX;
    assert_int_equal(segment_seal(&segment), -EBADMSG);
}

/* What is made of the fields of a sample is the sample, but for the number of the packet. */
static void made_as_the_kernel_makes(void **state)
{
    struct segment like = parsed(BYTES(data)), made, sample = like;

    (void)state;
    like.to_right = true;
    made = segment_make(&like, TH_PUSH | TH_ACK, like.seq, like.ack, "hello");
    sample.bytes[4] = sample.bytes[5] = 0; /* the number of the packet */
    assert_int_equal(segment_seal(&sample), 0);
    assert_true(made.to_right);
    made.to_right = false;
    assert_memory_equal(&made, &sample, sizeof(made));

    like.ts_value = 0;
    made = segment_make(&like, TH_RST, 9, 0, NULL);
    assert_int_equal(made.len, 40);
    assert_int_equal(made.flags, TH_RST);
    made = segment_make(&like, TH_ACK, 9, 1, "");
    assert_int_equal(made.flags, TH_ACK | SEGMENT_PURE);
}

static void made_no_longer_than_a_packet(void **state)
{
    struct segment like = parsed(BYTES(data)), made;
    static char text[4000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    made = segment_make(&like, TH_ACK, 1, 1, text);
    assert_int_equal(made.len, 1500);
    assert_int_equal(made.data_len, 1448);
    made = parsed((const char *)made.bytes, made.len);
    assert_int_equal(made.bytes[1499], 'x');
}

/* --- in words --------------------------------------------------------------------------------- */

static void expect_text(const struct flows *flows, const struct segment *segment,
                        const char *expect)
{
    char text[STORY_TEXT_MAX];

    assert_string_equal(flows_text(flows, segment, text, sizeof(text)), expect);
}

/* A segment from left to right between the samples' endpoints, or back. */
static struct segment between(bool to_right, unsigned flags, uint32_t seq, uint32_t acked,
                              const char *text)
{
    struct segment like = parsed(BYTES(ack)), made;

    if (!to_right) {
        like.source_port = 8080;
        like.destination_port = 40000;
        memcpy(like.bytes + 12, "\x0a\x4d\x00\x02\x0a\x4d\x00\x01", 8);
    }
    made = segment_make(&like, flags, seq, acked, text);
    made.to_right = to_right;
    return made;
}

static void told_in_relative_numbers(void **state)
{
    static const struct {
        bool to_right;
        unsigned flags;
        uint32_t seq, ack;
        const char *data, *expect;
    } cases[] = {
        /* No SYN was seen of the right end. */
        {true, TH_SYN, 0xfffffff0, 0, NULL, "SYN seq=0"},
        {false, TH_RST | TH_ACK, 0, 0xfffffff1, NULL, "RST,ACK seq=0 ack=1"},
        {true, TH_SYN, 0xfffffff0, 0, NULL, "SYN seq=0"}, /* sent again */
        {false, TH_SYN | TH_ACK, 5000, 0xfffffff1, NULL, "SYN,ACK seq=0 ack=1"},
        {true, TH_ACK, 0xfffffff1, 5001, NULL, "ACK seq=1 ack=1"},
        /* Past the end of the numbers. */
        {true, TH_ACK, 0xfffffff1, 5001, "0123456789abcdefghij", "data 20 bytes seq=1"},
        {false, TH_ACK, 5001, 5, NULL, "ACK seq=1 ack=21"},
        {true, TH_FIN | TH_ACK, 5, 5001, "bye", "FIN,ACK data 3 bytes seq=21"},
        {true, TH_FIN | TH_ACK, 8, 5001, NULL, "FIN,ACK seq=24 ack=1"},
        {true, TH_RST, 8, 0, NULL, "RST seq=24"},
        {true, TH_ACK, 0xffffffef, 5001, NULL, "ACK seq=-1 ack=1"},
        /* The same endpoints once more. */
        {true, TH_SYN, 70000, 0, NULL, "SYN seq=0"},
        {false, TH_ACK, 5001, 5, NULL, "ACK seq=1 ack=21, earlier connection"},
        {true, TH_RST, 5, 0, NULL, "RST seq=21, earlier connection"},
        {false, TH_SYN | TH_ACK, 90000, 70001, NULL, "SYN,ACK seq=0 ack=1"},
        {true, TH_ACK, 70001, 90001, NULL, "ACK seq=1 ack=1"},
        {true, TH_ACK, 0xfffffff1, 5001, "old", "data 3 bytes seq=1, earlier connection"},
        {false, TH_ACK, 90001, 70001, "new", "data 3 bytes seq=1"},
        {false, 0, 90001, 0, NULL, "no flags seq=1"},
    };
    struct flows flows = {.count = 0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct segment segment =
            between(cases[i].to_right, cases[i].flags, cases[i].seq, cases[i].ack, cases[i].data);

        flows_learn(&flows, &segment);
        expect_text(&flows, &segment, cases[i].expect);
    }
    assert_int_equal(flows.count, 1);
}

static void unknown_connection_has_its_own_numbers(void **state)
{
    struct segment segment = between(true, TH_ACK, 4000000000u, 7, NULL);
    struct flows flows = {.count = 0};

    (void)state;
    flows_learn(&flows, &segment); /* no SYN: nothing to learn */
    expect_text(&flows, &segment, "ACK seq=4000000000 ack=7");
}

/* The oldest connection makes way; the others keep their numbers. */
static void connections_have_numbers_of_their_own(void **state)
{
    struct flows flows = {.count = 0};
    struct segment segment = between(true, TH_SYN, 0, 0, NULL);

    (void)state;
    for (uint16_t i = 0; i <= FLOWS_MAX; i++) {
        segment.source_port = (uint16_t)(1000 + i);
        segment.seq = 100u * i;
        flows_learn(&flows, &segment);
        expect_text(&flows, &segment, "SYN seq=0");
    }
    segment.seq = 110;
    segment.source_port = 1001;
    expect_text(&flows, &segment, "SYN seq=10");
    segment.source_port = 1000;
    expect_text(&flows, &segment, "SYN seq=110");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(too_long_is_refused),
        cmocka_unit_test(seal_restores_the_bytes),
        cmocka_unit_test(seal_writes_changed_fields),
        cmocka_unit_test(seal_refuses_broken_bytes),
        cmocka_unit_test(made_as_the_kernel_makes),
        cmocka_unit_test(made_no_longer_than_a_packet),
        cmocka_unit_test(told_in_relative_numbers),
        cmocka_unit_test(unknown_connection_has_its_own_numbers),
        cmocka_unit_test(connections_have_numbers_of_their_own),
    };

    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
