/*
 * stage.h - a private network on which a scenario plays, and what its actors can do there.
 *
 * A stage is one process in namespaces of its own (network, and user when not root), with one
 * network namespace for each host. Sockets belong to the host on which they were made, and are used
 * from the one process. A call that fails although the plot does not want it to ends the process
 * with stage_broken(): scenarios read as straight lines, without error handling. When the process
 * ends, the kernel takes the network away; nothing is left behind, also after a SIGKILL.
 *
 * All sockets are non-blocking and close-on-exec. Time passes in stage_wait() and stage_until()
 * only; they move the segments on the wires too.
 */
#ifndef STAGE_H
#define STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scenario.h"
#include "story.h"
#include "tidewait/address.h"
#include "tidewait/socket_row.h"

/* --- the network ------------------------------------------------------------------------------ */

struct host {
    struct stage *stage;
    char name[24];
    int netns;                   /* descriptor of its network namespace */
    char device[16];             /* the interface that has its addresses */
    struct tw_endpoint address;  /* its IPv4 address towards the other host: 10.77.0.1, 10.77.0.2 */
    struct tw_endpoint address6; /* fd77::1, fd77::2; AF_UNSPEC without IPv6 and on a wire */
    struct wire *wire;           /* NULL on veth */
};

/* Makes the two hosts of a story, joined by veth (with IPv4 and IPv6, loopback up). The names head
 * the columns of its figure. */
void stage_hosts(struct stage *stage, const char *left, const char *right);

/* The same, joined by a wire (wire.h): each segment passes through our hands. IPv4 alone. */
void stage_hosts_on_wire(struct stage *stage, const char *left, const char *right);

/* One host alone, for what happens on the loopback: left and right are the same host. */
void stage_loopback(struct stage *stage, const char *name);

struct host *stage_left(struct stage *stage);
struct host *stage_right(struct stage *stage);

/* From now on the calls of this process (socket, /proc/sys/net, netlink) concern this host. The
 * functions below that take a host go there by themselves, and come back. */
void host_enter(struct host *host);

/* Another address on the host's interface (IPv4 /32, IPv6 /128). The other host can reach those in
 * 10.77.0.0/16 and fd77::/64. */
void host_add_address(struct host *host, const char *address);

/* A sysctl, "net.ipv4.tcp_tw_reuse"; stage_lacking() when this kernel has no such setting. What the
 * user gave with --set wins. */
void host_set(struct host *host, const char *name, const char *value);
int64_t host_get(struct host *host, const char *name);

/* --- sockets ---------------------------------------------------------------------------------- */

/* Options of host_socket(), set before bind(). */
enum {
    WITH_REUSEADDR = 1 << 0,
    WITH_REUSEPORT = 1 << 1,
    WITH_V6ONLY = 1 << 2,
    WITH_NO_PORT = 1 << 3, /* IP_BIND_ADDRESS_NO_PORT */
    WITH_UDP = 1 << 4,
    WITH_IPV6 = 1 << 5,
};

/* A descriptor; never fails but by breaking the stage. */
int host_socket(struct host *host, unsigned with);

/* The system call itself: 0 or a positive errno, which is often what a scenario is about. `address`
 * NULL: the wildcard of the socket's family. */
int try_bind(int fd, const char *address, uint16_t port);
int try_listen(int fd);
int try_connect(int fd, const struct tw_endpoint *to); /* EINPROGRESS counts as 0 */

/* socket, bind to the wildcard, listen; all must work. */
int host_listen(struct host *host, uint16_t port, unsigned with);

/* Connects and waits until it is established or failed; 0 or a positive errno. */
int finish_connect(struct stage *stage, int fd, const struct tw_endpoint *to);

/* A connection from one host to a listening socket of the other, or of the same on a stage with one
 * host: both ends, established. WITH_IPV6 decides to which of its addresses. */
struct pair {
    int client, server;
};
struct pair stage_pair(struct stage *stage, struct host *from, int listener, unsigned client_with);

/* Waits up to 5 s for a connection and accepts it; breaks the stage when none comes. */
int stage_accept(struct stage *stage, int listener);

struct tw_endpoint host_at(const struct host *host, uint16_t port); /* its address with a port */
uint16_t port_of(int fd);

/* Sends all of it; the one that tries returns 0 or a positive errno. */
void send_text(int fd, const char *text);
int try_send(int fd, const char *text);
/* Reads what is there: the number of bytes, 0 at EOF, or -errno (-EAGAIN: nothing). */
int read_some(int fd, char *buf, size_t size);
void close_fd(int *fd); /* and sets it to -1 */
void close_with_reset(int *fd);

/* --- processes -------------------------------------------------------------------------------- */

/* Runs a function in a child process on the host; it must end with _exit() or is killed with the
 * stage. Descriptors are shared as after any fork(). Returns its pid. */
int host_fork(struct host *host, void (*run)(void *context), void *context);
void stage_kill(struct stage *stage, int pid); /* SIGKILL, and waits for it */

/* Calls a function as another user (NEEDS_USERS), in this process. A user cannot go to another
 * host: host_enter() comes before. */
void as_user(uint32_t uid, void (*run)(void *context), void *context);

/* --- watching --------------------------------------------------------------------------------- */

/* The states of the connection between the hosts on this server port; -1 when it is gone. With
 * several connections the "most alive" one. TCP_TIME_WAIT, ... of <netinet/tcp.h>. */
int state_of(struct host *host, uint16_t server_port, bool server_side);

/* Counts the sockets of a host in a state on a port (local or remote; 0: any). */
size_t count_in(struct host *host, uint8_t state, uint16_t port);

/* The row of that connection; false when it is gone. */
bool row_of(struct host *host, uint16_t server_port, bool server_side, struct tw_socket_row *out);

/* From now on the figure shows the states of the connection on this server port, whose client is
 * the left host (or the right one, if so said), whenever they change. */
void stage_watch(struct stage *stage, uint16_t server_port, bool client_is_left);

/* --- time ------------------------------------------------------------------------------------- */

void stage_wait(struct stage *stage, uint64_t ms);

/* Until the condition holds; false when that took longer than `ms`. */
bool stage_until(struct stage *stage, uint64_t ms, bool (*holds)(void *context), void *context);

/* Until the connection has this state at this end; -1: until it is gone. */
bool until_state(struct stage *stage, struct host *host, uint16_t server_port, bool server_side,
                 int state, uint64_t ms);

uint64_t stage_now_ms(const struct stage *stage); /* since the story began */

/* --- telling ---------------------------------------------------------------------------------- */

#define LIKE_PRINTF(n) __attribute__((format(printf, n, (n) + 1)))

/* What a host does: "close()". In the column of that host. */
void host_says(struct host *host, const char *format, ...) LIKE_PRINTF(2);
void stage_note(struct stage *stage, const char *format, ...) LIKE_PRINTF(2);

/* One expectation: it holds or not. The text says what is expected, with the measured value. */
void stage_expect(struct stage *stage, bool holds, const char *format, ...) LIKE_PRINTF(3);

/* "close(): EADDRINUSE as expected" in one line; both are errno values, 0 is success. */
void expect_errno(struct stage *stage, const char *what, int got, int expected);

/* Neither returns. */
void stage_broken(struct stage *stage, const char *format, ...) LIKE_PRINTF(2)
    __attribute__((noreturn));
void stage_lacking(struct stage *stage, const char *format, ...) LIKE_PRINTF(2)
    __attribute__((noreturn));

#endif
