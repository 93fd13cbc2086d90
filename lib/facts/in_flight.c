/*
 * Sockets that no process has open and that live all the same: registered with an io_uring, or on
 * their way in a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "tidewait/holders.h"

/* The kernel leaves the files out when the ring is busy at that moment. */
#define RING_TRIES 10

enum guess { GUESS_NONE, GUESS_MAYBE, GUESS_SURE };

struct search {
    int proc;
    uint32_t inode;
    int pid; /* under way */
    enum guess best;
    int best_pid;
};

/* A line under "UserFiles:" is "    1: socket:[123]"; kernels before 6.8 have the last part of the
 * file's name there, which says of a socket "TCP" at best. */
static enum guess judge_file(const char *line, uint32_t inode)
{
    const char *name = strstr(line, ": ");

    if (!name)
        return GUESS_NONE;
    name += strlen(": ");
    if (proc_link_inode(name, "socket") == inode)
        return GUESS_SURE;
    return *name == '/' || strstr(name, ":[") ? GUESS_NONE : GUESS_MAYBE;
}

/* Reads the fdinfo of a ring. *answered: it had the list of files. */
static enum guess judge_ring(FILE *info, uint32_t inode, bool *answered)
{
    enum guess best = GUESS_NONE;
    char *line = NULL;
    size_t room = 0;
    bool inside = false;

    while (best != GUESS_SURE && getline(&line, &room, info) > 0) {
        enum guess guess;

        if (strncmp(line, "UserFiles:", 10) == 0) {
            inside = *answered = true;
            continue;
        }
        /* The lines of the list are indented; the next heading ends it. */
        inside = inside && *line == ' ';
        if (inside && (guess = judge_file(line, inode)) > best)
            best = guess;
    }
    free(line);
    return best;
}

/* A Unix socket in whose queue descriptors wait says how many, and not which. */
static enum guess judge_socket(FILE *info)
{
    char *line = NULL;
    size_t room = 0;
    long waiting = 0;

    while (getline(&line, &room, info) > 0)
        if (strncmp(line, "scm_fds:", 8) == 0)
            waiting = strtol(line + 8, NULL, 10);
    free(line);
    return waiting > 0 ? GUESS_MAYBE : GUESS_NONE;
}

static FILE *open_info(const struct search *search, const char *name)
{
    char path[PROC_PATH_MAX];
    FILE *info;
    int fd;

    snprintf(path, sizeof(path), "%d/fdinfo/%.10s", search->pid, name);
    fd = openat(search->proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    info = fdopen(fd, "r");
    if (!info)
        close(fd);
    return info;
}

static int look_at_descriptor(int dir, const char *name, void *context)
{
    struct search *search = context;
    enum guess guess = GUESS_NONE;
    char link[64];
    bool is_ring, answered = false;

    if (proc_readlink(dir, name, link, sizeof(link)) < 0)
        return 0;
    is_ring = strcmp(link, "anon_inode:[io_uring]") == 0;
    if (!is_ring && proc_link_inode(link, "socket") == 0)
        return 0;
    for (int tries = 0; tries < RING_TRIES && !answered; tries++) {
        FILE *info = open_info(search, name);

        if (!info)
            return 0;
        answered = !is_ring;
        guess = is_ring ? judge_ring(info, search->inode, &answered) : judge_socket(info);
        fclose(info);
    }
    if (guess > search->best) {
        search->best = guess;
        search->best_pid = search->pid;
    }
    return search->best == GUESS_SURE;
}

static int look_at_process(int dir, const char *name, void *context)
{
    struct search *search = context;
    char path[PROC_PATH_MAX];
    int rc;

    search->pid = (int)strtol(name, NULL, 10);
    snprintf(path, sizeof(path), "%s/fd", name);
    rc = proc_each_at(dir, path, look_at_descriptor, search);
    return rc < 0 && (proc_gone(rc) || proc_refused(rc)) ? 0 : rc;
}

int tw_holders_in_flight(uint32_t inode, int *pid, bool *sure, struct tw_error *error)
{
    struct search search = {.proc = proc_open(), .inode = inode};
    int rc;

    if (search.proc < 0)
        return tw_error_set(error, -search.proc,
                            "looking for socket %u on its way: /proc is not usable: %s", inode,
                            strerror(-search.proc));
    rc = inode ? proc_each(search.proc, look_at_process, &search) : 0;
    close(search.proc);
    if (rc < 0)
        return tw_error_set(error, -rc, "looking for socket %u on its way: /proc: %s", inode,
                            strerror(-rc));
    if (search.best == GUESS_NONE)
        return tw_error_set(error, ENOENT,
                            "socket %u is neither registered with an io_uring nor in a message, "
                            "as far as this user may see",
                            inode);
    *pid = search.best_pid;
    *sure = search.best == GUESS_SURE;
    return 0;
}
