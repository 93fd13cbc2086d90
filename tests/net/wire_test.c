/*
 * The wire between real TCP stacks: two network namespaces joined by it, with a stage of the test's
 * own. Exit code 77: no namespace or no TUN interface may be made here.
 */
#include "wire_kit.h"

/* --- tests ------------------------------------------------------------------------------------ */

static void life_is_drawn(void **state)
{
    static const struct story_event expected[] = {
        {.place = STORY_TO_RIGHT, .text = "SYN seq=0"},
        {.place = STORY_TO_LEFT, .text = "SYN,ACK seq=0 ack=1"},
        {.place = STORY_TO_RIGHT, .text = "ACK seq=1 ack=1"},
        {.place = STORY_TO_RIGHT, .text = "data 100 bytes seq=1"},
        {.place = STORY_TO_LEFT, .text = "ACK seq=1 ack=101"},
        {.place = STORY_TO_RIGHT, .text = "FIN,ACK seq=101 ack=1"},
        {.place = STORY_TO_LEFT, .text = "ACK seq=1 ack=102"},
        {.place = STORY_TO_LEFT, .text = "FIN,ACK seq=1 ack=102"},
        {.place = STORY_TO_RIGHT, .text = "ACK seq=102 ack=2"},
    };
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);
    struct segment first;
    char data[101] = "";

    memset(data, 'x', sizeof(data) - 1);
    send_text(ends.client, data);
    expect_text(stage, ends.server, data);
    /* The kernel delays these acknowledgements by up to 40 ms. */
    UNTIL(stage, count_drawn(stage, STORY_TO_LEFT, "ACK seq=1 ack=101") == 1);
    close(ends.client);
    UNTIL(stage, count_drawn(stage, STORY_TO_LEFT, "ACK seq=1 ack=102") == 1);
    close(ends.server);
    UNTIL(stage, state_at(&stage->right, SERVER_PORT) == -1);
    assert_int_equal(state_at(&stage->left, CLIENT_PORT), TCP_TIME_WAIT);
    assert_true(wire_last(stage->wire, true, TH_SYN, &first));
    assert_int_equal(first.destination_port, SERVER_PORT);
    assert_int_equal(stage->story.event_count, 9);
    for (unsigned i = 0; i < 9; i++) {
        assert_string_equal(stage->story.events[i].text, expected[i].text);
        assert_int_equal(stage->story.events[i].place, expected[i].place);
        assert_true(i == 0 || stage->story.events[i].at_ns >= stage->story.events[i - 1].at_ns);
    }
    close(ends.listener);
}

static void dropped_syn_is_sent_again(void **state)
{
    struct stage *stage = *state;
    struct ends ends;

    wire_rule(stage->wire, true, TH_SYN, 1, WIRE_DROP);
    ends = new_ends(stage);
    expect_drawn(stage, STORY_LOST_TO_RIGHT, "SYN seq=0, dropped");
    expect_drawn(stage, STORY_TO_RIGHT, "SYN seq=0");
    close_ends(&ends);
}

static void held_last_ack_keeps_the_server_waiting(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);

    close(ends.client);
    UNTIL(stage, state_at(&stage->right, SERVER_PORT) == TCP_CLOSE_WAIT);
    UNTIL(stage, state_at(&stage->left, CLIENT_PORT) == TCP_FIN_WAIT2);
    wire_rule(stage->wire, true, SEGMENT_PURE, 0, WIRE_HOLD);
    close(ends.server);
    UNTIL(stage, wire_held(stage->wire, 1)); /* also the answer to the FIN that was sent again */
    assert_int_equal(state_at(&stage->right, SERVER_PORT), TCP_LAST_ACK);
    assert_int_equal(state_at(&stage->left, CLIENT_PORT), TCP_TIME_WAIT);
    assert_null(wire_held(stage->wire, stage->story.event_count));
    assert_int_equal(wire_release(stage->wire, 1), 1);
    UNTIL(stage, state_at(&stage->right, SERVER_PORT) == -1);
    expect_drawn(stage, STORY_TO_RIGHT, "ACK seq=2 ack=2, released");
    assert_non_null(wire_held(stage->wire, 0)); /* the younger one is freed with the wire */
    close(ends.listener);
}

/* A copy of data of the first connection is kept; the second one has the same tuple. */
static struct ends second_connection(struct stage *stage)
{
    struct ends ends = new_ends(stage);

    wire_rule(stage->wire, true, SEGMENT_DATA, 1, WIRE_COPY);
    send_text(ends.client, "old");
    expect_text(stage, ends.server, "old");
    reset(ends.client);
    UNTIL(stage, state_at(&stage->right, SERVER_PORT) == -1);
    close(ends.server);
    ends = connect_ends(stage, ends.listener);
    assert_non_null(wire_held(stage->wire, 0));
    assert_null(wire_held(stage->wire, 1));
    return ends;
}

static void wandering_duplicate_is_refused(void **state)
{
    struct stage *stage = *state;
    struct ends ends = second_connection(stage);

    expect_drawn(stage, STORY_TO_RIGHT, "data 3 bytes seq=1, copy kept");
    assert_int_equal(wire_release(stage->wire, 0), 1);
    expect_drawn(stage, STORY_TO_RIGHT, "data 3 bytes seq=1, earlier connection, released");
    send_text(ends.client, "new");
    expect_text(stage, ends.server, "new");
    assert_int_equal(wire_release(stage->wire, 0), 0);
    close_ends(&ends);
}

/* Without timestamps nothing but the sequence number protects the second connection. */
static void wandering_duplicate_in_the_window_is_read(void **state)
{
    struct stage *stage = *state;
    struct segment last;
    struct ends ends;

    host_enter(&stage->left);
    write_file("/proc/sys/net/ipv4/tcp_timestamps", "0");
    ends = second_connection(stage);
    assert_true(wire_last(stage->wire, true, SEGMENT_PURE, &last));
    assert_int_equal(last.ts_value, 0);
    wire_held(stage->wire, 0)->seq = last.seq;
    wire_held(stage->wire, 0)->ack = last.ack;
    wire_held(stage->wire, 0)->bytes[wire_held(stage->wire, 0)->len - 1] = 'D';
    assert_int_equal(wire_release(stage->wire, 7), 1);
    expect_text(stage, ends.server, "olD");
    expect_drawn(stage, STORY_TO_RIGHT, "data 3 bytes seq=1, released");
    close_ends(&ends);
}

static void reset_counts_at_the_exact_number_alone(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);
    struct segment last, rst;
    char byte;

    assert_true(wire_last(stage->wire, true, SEGMENT_PURE, &last));
    rst = segment_make(&last, TH_RST, last.seq + 1, 0, NULL);
    wire_inject(stage->wire, &rst);
    wait_once(stage, 0);
    /* In the window, but not exact: RFC 5961 asks for a challenge. */
    expect_drawn(stage, STORY_TO_RIGHT, "RST seq=2, injected");
    UNTIL(stage, count_drawn(stage, STORY_TO_LEFT, "ACK seq=1 ack=1") == 1);
    assert_true(nothing_to_read(ends.server));

    rst = segment_make(&last, TH_RST, last.seq, 0, NULL);
    wire_inject(stage->wire, &rst);
    UNTIL(stage, recv(ends.server, &byte, 1, 0) < 0 && errno == ECONNRESET);
    assert_int_equal(state_at(&stage->right, SERVER_PORT), -1);
    assert_int_equal(state_at(&stage->left, CLIENT_PORT), TCP_ESTABLISHED);
    /* What was injected is not what the host sent last. */
    assert_false(wire_last(stage->wire, true, TH_RST, &last));
    close_ends(&ends);
}

static void injected_data_is_read(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);
    struct segment last, data;

    assert_true(wire_last(stage->wire, true, SEGMENT_PURE, &last));
    assert_int_not_equal(last.ts_value, 0);
    data = segment_make(&last, TH_ACK | TH_PUSH, last.seq, last.ack, "forged");
    wire_inject(stage->wire, &data);
    expect_text(stage, ends.server, "forged");
    expect_drawn(stage, STORY_TO_RIGHT, "data 6 bytes seq=1, injected");
    /* Linux takes segments without timestamps too where both ends have them. */
    last.ts_value = 0;
    data = segment_make(&last, TH_ACK | TH_PUSH, last.seq + 6, last.ack, "more");
    assert_int_equal(data.len, 44);
    wire_inject(stage->wire, &data);
    expect_text(stage, ends.server, "more");
    close_ends(&ends);
}

static void cut_wire_carries_nothing(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);

    wire_cut(stage->wire, true);
    send_text(ends.client, "hello");
    send_text(ends.server, "hi");
    /* Once more, after 200 ms: the cut goes on. */
    UNTIL(stage, count_drawn(stage, STORY_LOST_TO_RIGHT, "data 5 bytes seq=1, wire cut") > 1 &&
                     count_drawn(stage, STORY_LOST_TO_LEFT, "data 2 bytes seq=1, wire cut") > 1);
    assert_true(nothing_to_read(ends.server) && nothing_to_read(ends.client));
    wire_cut(stage->wire, false);
    expect_text(stage, ends.server, "hello");
    expect_text(stage, ends.client, "hi");
    close_ends(&ends);
}

static void rules_are_tried_in_order(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);
    struct segment last;

    wire_rule(stage->wire, false, SEGMENT_DATA, 0, WIRE_DROP); /* the other direction */
    wire_rule(stage->wire, true, SEGMENT_DATA, 1, WIRE_PASS);
    wire_rule(stage->wire, true, SEGMENT_DATA, 0, WIRE_HOLD);
    send_text(ends.client, "one");
    expect_text(stage, ends.server, "one");
    assert_null(wire_held(stage->wire, 0));
    send_text(ends.client, "two");
    UNTIL(stage, wire_held(stage->wire, 0));
    assert_true(wire_last(stage->wire, true, SEGMENT_DATA, &last));
    assert_memory_equal(last.bytes + last.len - 3, "one", 3);
    assert_false(wire_last(stage->wire, false, SEGMENT_DATA, &last));
    wire_clear(stage->wire);
    assert_non_null(wire_held(stage->wire, 0));
    expect_text(stage, ends.server, "two"); /* sent again */
    close_ends(&ends);
}

static void too_many_rules_break_the_stage(void **state)
{
    struct stage *stage = *state;
    volatile unsigned made = 0;

    stage->may_break = true;
    if (setjmp(stage->broken) == 0)
        for (; made < 1000; made++)
            wire_rule(stage->wire, true, 0, 0, WIRE_DROP);
    assert_int_equal(made, 32);
    assert_non_null(strstr(stage->story.reason, "32 rules"));
}

static void datagrams_pass(void **state)
{
    struct stage *stage = *state;
    int a = bound(&stage->left, SOCK_DGRAM, 5000), b = bound(&stage->right, SOCK_DGRAM, 5001);
    struct sockaddr_in to = at(&stage->right, 5001);

    wire_rule(stage->wire, true, 0, 0, WIRE_DROP); /* concerns TCP alone */
    assert_int_equal(sendto(a, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
    expect_text(stage, b, "hello");
    expect_drawn(stage, STORY_TO_RIGHT, "33 bytes of IP protocol 17");
    wire_cut(stage->wire, true);
    assert_int_equal(sendto(a, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
    UNTIL(stage, stage->story.event_count == 2);
    expect_drawn(stage, STORY_LOST_TO_RIGHT, "33 bytes of IP protocol 17, wire cut");
    assert_true(nothing_to_read(b));
    close(a);
    close(b);
}

static void story_may_be_full(void **state)
{
    struct stage *stage = *state;
    struct ends ends = new_ends(stage);

    stage->story.event_count = STORY_EVENTS_MAX;
    send_text(ends.client, "hello");
    expect_text(stage, ends.server, "hello");
    assert_int_equal(stage->story.event_count, STORY_EVENTS_MAX);
    assert_true(stage->story.events_lost > 0);
    close_ends(&ends);
}

/* --- the file --------------------------------------------------------------------------------- */

static uint32_t sum_of(const uint8_t *bytes, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++)
        sum += (uint32_t)bytes[i] << (i % 2 ? 0 : 8);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* A packet with the right checksums adds up to ones. */
static void check_packet(const uint8_t *packet, size_t len)
{
    assert_true(len >= 40 && len <= 1500);
    assert_int_equal(packet[0], 0x45);
    assert_int_equal(packet[2] << 8 | packet[3], len);
    assert_int_equal(sum_of(packet, 20, 0), 0xffff);
    assert_int_equal(
        sum_of(packet + 20, len - 20, sum_of(packet + 12, 8, IPPROTO_TCP + (uint32_t)(len - 20))),
        0xffff);
}

/* Returns the number of records; adds up the packets' bytes. */
static unsigned read_pcap(int fd, size_t *bytes)
{
    uint32_t header[6], record[4];
    uint8_t packet[65536];
    unsigned count = 0;
    ssize_t got;

    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(read(fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(header[0], 0xa1b23c4d);
    assert_int_equal(((uint16_t *)header)[2], 2);
    assert_int_equal(((uint16_t *)header)[3], 4);
    assert_int_equal(header[4], 65535);
    assert_int_equal(header[5], 101);
    while ((got = read(fd, record, sizeof(record))) > 0) {
        assert_int_equal(got, sizeof(record));
        assert_true(record[1] < TW_NS_PER_S);
        assert_true(record[2] == record[3] && record[2] <= sizeof(packet));
        assert_int_equal(read(fd, packet, record[2]), record[2]);
        check_packet(packet, record[2]);
        *bytes += record[2];
        count++;
    }
    assert_int_equal(got, 0);
    return count;
}

static void pcap_has_all_that_passes(void **state)
{
    struct stage *stage = *state;
    int fd = memfd_create("pcap", MFD_CLOEXEC);
    size_t bytes = 0, received = 0;
    ssize_t sent;
    struct segment last, forged;
    static char data[100000];
    struct ends ends;
    unsigned drawn;

    assert_int_equal(wire_pcap(stage->wire, fd), 0);
    wire_rule(stage->wire, true, TH_SYN, 1, WIRE_DROP); /* not in the file */
    ends = new_ends(stage);
    sent = send(ends.client, data, sizeof(data), 0);
    assert_true(sent > 20000); /* many segments, however small the buffer */
    while (received < (size_t)sent) {
        ssize_t got;

        UNTIL(stage, (got = recv(ends.server, data, sizeof(data), 0)) > 0);
        received += (size_t)got;
    }
    assert_true(wire_last(stage->wire, true, SEGMENT_DATA, &last));
    forged = segment_make(&last, TH_RST, last.seq + last.data_len, 0, NULL);
    wire_inject(stage->wire, &forged);
    wait_once(stage, 0);
    drawn = stage->story.event_count + stage->story.events_lost;
    assert_int_equal(read_pcap(fd, &bytes), drawn - 1);
    assert_true(bytes > (size_t)sent);
    expect_drawn(stage, STORY_LOST_TO_RIGHT, "SYN seq=0, dropped");
    close_ends(&ends);
    close(fd);
}

static void unwritable_pcap_is_refused(void **state)
{
    struct stage *stage = *state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_int_equal(wire_pcap(stage->wire, fd), -ENOSPC);
    close(fd);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(life_is_drawn),
        ON_STAGE(dropped_syn_is_sent_again),
        ON_STAGE(held_last_ack_keeps_the_server_waiting),
        ON_STAGE(wandering_duplicate_is_refused),
        ON_STAGE(wandering_duplicate_in_the_window_is_read),
        ON_STAGE(reset_counts_at_the_exact_number_alone),
        ON_STAGE(injected_data_is_read),
        ON_STAGE(cut_wire_carries_nothing),
        ON_STAGE(rules_are_tried_in_order),
        ON_STAGE(too_many_rules_break_the_stage),
        ON_STAGE(datagrams_pass),
        ON_STAGE(story_may_be_full),
        ON_STAGE(pcap_has_all_that_passes),
        ON_STAGE(unwritable_pcap_is_refused),
    };
    int flags = geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;

    if (unshare(flags) && (flags & CLONE_NEWUSER || unshare(CLONE_NEWUSER | CLONE_NEWNET))) {
        printf("skipped: no network namespace may be made here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
