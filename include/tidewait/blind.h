/*
 * blind.h - what could not be seen. Facts are never guessed: a function that may see less than
 * everything adds a flag for each blind spot, and whoever prints the facts prints these too.
 * The texts are constant; any thread may call, also after fork().
 */
#ifndef TIDEWAIT_BLIND_H
#define TIDEWAIT_BLIND_H

#ifdef __cplusplus
extern "C" {
#endif

enum tw_blind {
    TW_BLIND_SOCK_DIAG = 1 << 0, /* netlink refused: read from the text of /proc/net instead */
    TW_BLIND_BOUND = 1 << 1,     /* sockets that are only bound are not listed (before Linux 6.8) */
    TW_BLIND_PROCESSES = 1 << 2, /* descriptors of some processes could not be read (not root) */
    TW_BLIND_HIDEPID = 1 << 3,   /* /proc hides other users' processes altogether */
    TW_BLIND_PID_NAMESPACE = 1 << 4, /* processes outside of this pid namespace are not in /proc */
    TW_BLIND_OPTIONS = 1 << 5,       /* SO_REUSEADDR and SO_REUSEPORT of some sockets */
    TW_BLIND_NETNS = 1 << 6,         /* some network namespaces could not be entered */
    TW_BLIND_PROC = 1 << 7,          /* /proc is not mounted or not readable */
    TW_BLIND_UNIX = 1 << 8,          /* Unix sockets: sock_diag refused, read from /proc/net/unix */
};
#define TW_BLIND_COUNT 9

/* Those by which a process may be missed. */
#define TW_BLIND_TO_PROCESSES \
    (TW_BLIND_PROCESSES | TW_BLIND_HIDEPID | TW_BLIND_PID_NAMESPACE | TW_BLIND_PROC)

/* One sentence without a full stop for a single flag: what is not seen, and why. */
const char *tw_blind_text(enum tw_blind flag);

#ifdef __cplusplus
}
#endif
#endif
