/*
 * wire_kit.h - a stage for the tests of the wire: two hosts, sockets on them, and what was drawn.
 */
#ifndef TIDEWAIT_TESTS_WIRE_KIT_H
#define TIDEWAIT_TESTS_WIRE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/sockets.h"
#include "wire_private.h"

#define EXIT_SKIP   77
#define SERVER_PORT 8080
#define CLIENT_PORT 40000
#define PATIENCE_MS 20000

/* --- a stage ---------------------------------------------------------------------------------- */

struct stage {
    struct story story;
    struct host left, right;
    struct wire *wire;
    jmp_buf broken; /* where stage_broken() goes on, when that is expected */
    bool may_break;
};

void host_enter(struct host *host)
{
    assert_int_equal(setns(host->netns, CLONE_NEWNET), 0);
}

void stage_broken(struct stage *stage, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(stage->story.reason, sizeof(stage->story.reason), format, list);
    va_end(list);
    if (stage->may_break)
        longjmp(stage->broken, 1);
    fail_msg("%s", stage->story.reason);
    abort();
}

void stage_lacking(struct stage *stage, const char *format, ...)
{
    va_list list;

    (void)stage;
    va_start(list, format);
    printf("skipped: ");
    vprintf(format, list);
    printf("\n");
    va_end(list);
    exit(EXIT_SKIP);
}

static inline void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void make_host(struct stage *stage, struct host *host, const char *name,
                             const char *address)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    host->stage = stage;
    snprintf(host->name, sizeof(host->name), "%s", name);
    host->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(host->netns >= 0);
    host->address.v4.sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, address, &host->address.v4.sin_addr), 1);
}

static inline struct stage *new_stage(void)
{
    struct stage *stage = calloc(1, sizeof(*stage));

    assert_non_null(stage);
    make_host(stage, &stage->left, "client", "10.77.0.1");
    make_host(stage, &stage->right, "server", "10.77.0.2");
    stage->wire = wire_new(&stage->left, &stage->right, &stage->story, tw_clock_ns());
    return stage;
}

static inline int set_up(void **state)
{
    *state = new_stage();
    return 0;
}

static inline int tear_down(void **state)
{
    struct stage *stage = *state;

    wire_free(stage->wire);
    close(stage->left.netns);
    close(stage->right.netns);
    free(stage);
    return 0;
}

static inline void wait_once(struct stage *stage, int ms)
{
    struct pollfd fds[2];

    assert_int_equal(wire_poll_fds(stage->wire, fds), 2);
    poll(fds, 2, ms);
    wire_pump(stage->wire);
}

/* Waits until the condition holds, as long as that may take on a loaded machine. */
#define UNTIL(stage, condition)                                          \
    do {                                                                 \
        uint64_t until_end = tw_clock_ns() + PATIENCE_MS * TW_NS_PER_MS; \
        while (!(condition)) {                                           \
            if (tw_clock_ns() > until_end) {                             \
                print_story(stage);                                      \
                fail_msg("never: %s", #condition);                       \
            }                                                            \
            wait_once(stage, 10);                                        \
        }                                                                \
    } while (0)

/* --- what was drawn --------------------------------------------------------------------------- */

static inline void print_story(struct stage *stage)
{
    static const char *const places[] = {"left",   "right",  "  --> ", "  <-- ",
                                         "  --x ", "  x-- ", "note"};

    for (unsigned i = 0; i < stage->story.event_count; i++) {
        const struct story_event *event = &stage->story.events[i];

        print_message("%8.3f ms %s %s\n", (double)event->at_ns / TW_NS_PER_MS, places[event->place],
                      event->text);
    }
}

static inline unsigned count_drawn(struct stage *stage, enum story_place place, const char *text)
{
    unsigned count = 0;

    for (unsigned i = 0; i < stage->story.event_count; i++)
        if (stage->story.events[i].place == place && strcmp(stage->story.events[i].text, text) == 0)
            count++;
    return count;
}

static inline void expect_drawn(struct stage *stage, enum story_place place, const char *text)
{
    if (count_drawn(stage, place, text) != 1) {
        print_story(stage);
        fail_msg("'%s' was drawn %u times", text, count_drawn(stage, place, text));
    }
}

/* --- sockets ---------------------------------------------------------------------------------- */

struct ends {
    int listener, client, server;
};

static inline struct sockaddr_in at(struct host *host, uint16_t port)
{
    struct sockaddr_in address = host->address.v4;

    address.sin_port = htons(port);
    return address;
}

static inline int bound(struct host *host, int type, uint16_t port)
{
    struct sockaddr_in address = at(host, port);
    int fd, on = 1;

    host_enter(host);
    fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline int listener_of(struct stage *stage)
{
    int fd = bound(&stage->right, SOCK_STREAM, SERVER_PORT);

    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static inline int start_client(struct stage *stage)
{
    struct sockaddr_in to = at(&stage->right, SERVER_PORT);
    int fd = bound(&stage->left, SOCK_STREAM, CLIENT_PORT);

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static inline struct ends connect_ends(struct stage *stage, int listener)
{
    struct ends ends = {.listener = listener, .client = start_client(stage)};

    UNTIL(stage, (ends.server = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    return ends;
}

static inline struct ends new_ends(struct stage *stage)
{
    return connect_ends(stage, listener_of(stage));
}

static inline void close_ends(const struct ends *ends)
{
    close(ends->client);
    close(ends->server);
    close(ends->listener);
}

static inline void reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(fd);
}

void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What is there to read: it must be just this. */
static inline void expect_text(struct stage *stage, int fd, const char *text)
{
    char buf[256] = "";

    UNTIL(stage, recv(fd, buf, sizeof(buf) - 1, 0) > 0);
    assert_string_equal(buf, text);
}

static inline bool nothing_to_read(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

static inline int keep_state(const struct tw_socket_row *row, void *context)
{
    *(int *)context = row->state;
    return 0;
}

/* The state of the connection at a host; -1: there is none. */
static inline int state_at(struct host *host, uint16_t port)
{
    struct tw_sockets_query query = {
        .family = AF_INET,
        .state_mask = TW_STATES_ALL & ~(TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE)),
        .local_port = port,
    };
    int state = -1;

    host_enter(host);
    assert_int_equal(tw_sockets_each(&query, keep_state, &state, NULL), 0);
    return state;
}

#endif
