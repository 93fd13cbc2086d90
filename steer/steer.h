/*
 * steer.h - source ports for programs that no shim can reach (static ones, Go, setuid): BPF
 * programs at a cgroup v2 that is made for the run. What they do at connect() and bind():
 * bpf/steer.bpf.c.
 *
 * For: Linux 6.1 with cgroup v2, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (root has them), and the
 * right to make a cgroup below our own. All this is tried before a program is started, by a
 * connect() that sends nothing.
 *
 * Unlike the shim, a BPF program cannot
 * - wait for a port, nor try a connect() again that the kernel refused: it looks first whether the
 *   tuple exists. Between look and connect() another may take it, and sockets that are bound to a
 *   device are not seen (SO_BINDTODEVICE): then the program gets EADDRNOTAVAIL;
 * - set IP_BIND_ADDRESS_NO_PORT, SO_REUSEPORT or IP_FREEBIND: a program that binds to port 0 before
 * it connects has the kernel's port as ever. Rules with `reuseport`, `free_bind` or `wait` are
 * refused;
 * - reach connections of MPTCP.
 *
 * The links are held by descriptors alone. When their process dies the program goes on with ports
 * of the kernel, and its cgroup stays until the next steer_attach() finds it empty.
 */
#ifndef STEER_H
#define STEER_H

#include <stdint.h>

#include "shared.h"
#include "tidewait/error.h"

struct steer;

/*
 * Makes the cgroup and attaches the programs. Of `settings` it takes rules, ports and watch_closes.
 * Takes 0.1 s. For the trial it forks a child and waits for it: a SIGCHLD comes. Errors:
 * -EOPNOTSUPP  this build, kernel or system has not what it needs, or a rule wants what BPF cannot
 * do; -EPERM       not allowed.
 */
int steer_attach(const struct shim_shared *settings, struct steer **steer, struct tw_error *error);

/* In the child, between fork() and exec(): enters the cgroup. Async-signal-safe. */
int steer_enter(const struct steer *steer);

/* SHIM_CONNECT_FAILED and the BIND_ ones are 0: nobody sees what becomes of a call. Here each
 * connection is counted once by who closed it first. */
void steer_counters(const struct steer *steer, uint64_t counters[SHIM_COUNTERS]);

/* How many different ports were bound. */
uint32_t steer_ports_used(const struct steer *steer);

/* Detaches the programs and removes the cgroup. When processes are left in it they go on without
 * us: -EBUSY, with the path in the words; the cgroup is removed by a later steer_attach(). NULL is
 * fine.
 */
int steer_free(struct steer *steer, struct tw_error *error);

#endif
