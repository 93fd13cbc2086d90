/*
 * process.h - what /proc tells of one process: command, age, user, unit, container.
 *
 * Plain values, nothing to free. A member that cannot be read is empty or 0. Texts are as the
 * process wrote them and may hold any byte but NUL: escape them before printing. Any thread may
 * call, also after fork().
 */
#ifndef TIDEWAIT_PROCESS_H
#define TIDEWAIT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/socket_row.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_process {
    int pid;
    int parent;
    uint32_t uid; /* effective */
    bool kernel_thread;
    uint64_t start_ticks; /* since boot: with pid it names a process for ever */
    uint64_t age_ms;
    uint64_t netns; /* inode of its network namespace; 0 when it may not be read */
    char comm[32];
    char cmdline[512]; /* arguments separated by blanks; cut at the end */
    char exe[256];     /* path of the program; empty when it may not be read */
    char unit[128];    /* systemd: nginx.service, from the cgroup; empty outside of any */
    bool user_unit;    /* the unit belongs to the user's own manager (systemctl --user) */
    char runtime[16];  /* "docker", "podman", "containerd", "kubernetes", "crio", "lxc"; or empty */
    char container[72]; /* its id, in full */
};

/* Returns 0, -ESRCH when there is no such process (any more), or -errno. */
int tw_process_read(int pid, struct tw_process *out, struct tw_error *error);

/* Sorts the text of /proc/PID/cgroup ("0::/system.slice/nginx.service", one line or several) into
 * unit, user_unit, runtime and container: the innermost container, and the unit inside of it. Pure;
 * for tests. */
void tw_process_parse_cgroup(const char *text, struct tw_process *out);

/* Whether it is systemd itself, of the system or of a user: it holds sockets for its .socket units.
 */
bool tw_process_is_systemd(const struct tw_process *process);

/* Whether it belongs to a service that `systemctl stop` ends, and not to a session or a user's
 * whole manager. */
bool tw_process_is_service(const struct tw_process *process);

/* --- what only the descriptor itself tells ---------------------------------------------------- */

/* A duplicate of descriptor `fd` of process `pid` (pidfd_getfd(2)): the same open socket. The
 * caller closes it. Needs the right to ptrace that process. Returns the descriptor or -errno. */
int tw_descriptor_borrow(int pid, int fd);

/* Fills reuseaddr, reuseport and device of *row from a socket. Returns 0 or -errno. */
int tw_descriptor_options(int fd, struct tw_socket_row *row);

#ifdef __cplusplus
}
#endif
#endif
