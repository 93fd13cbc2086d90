#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "holders_private.h"

#ifdef HAVE_BPF

#include "bpf/holders_bpf.h"

/* Made by bpftool from bpf/holders.bpf.c: a "light skeleton", with which the kernel itself fits the
 * program to its structures. That takes 5 ms; libbpf would read all of the kernel's type
 * information for it, in 24 ms. */
#include <holders.lskel.h>

/* Descriptors that find room in the first run: 1 MiB. */
#define ROOM_FIRST 65536u

/* One that finds how many there are, one that takes them, and some for what changes meanwhile. */
#define TRIES 5

static int fail(struct holders_search *search, int code, const char *step)
{
    return tw_error_set(search->error, code, "finding the processes of sockets by BPF: %s: %s%s",
                        step, strerror(code),
                        code == EPERM ? "; needs CAP_BPF and CAP_PERFMON, root has them" : "");
}

static void put_wanted(struct holders_settings *settings, const struct holders_search *search)
{
    /* The program's sets are the kernel's memory: too big for a struct on the stack to be copied.
     */
    memset(settings->wanted, search->count ? 0 : 0xff, sizeof(settings->wanted));
    for (size_t i = 0; i < search->count; i++) {
        uint32_t inode = search->wanted[i];

        settings->wanted[inode / 64 % HOLDERS_WORDS] |= 1ULL << inode % 64;
    }
}

/* Runs the program over all tasks. It writes no text, so the end is all there is to read. */
static int walk_tasks(const struct holders *program, struct holders_search *search)
{
    union bpf_attr attr = {.iter_create.link_fd = (uint32_t)program->links.find_holders_fd};
    int fd = skel_sys_bpf(BPF_ITER_CREATE, &attr, sizeof(attr)), code;
    ssize_t got;
    char byte;

    if (fd < 0)
        return fail(search, errno, "iterator");
    /* EAGAIN: the kernel takes a rest after a million tasks. */
    do
        got = read(fd, &byte, sizeof(byte));
    while (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)));
    code = errno;
    close(fd);
    return got < 0 ? fail(search, code, "walk") : 0;
}

static int take_items(const struct holders *program, uint32_t room, struct holders_search *search)
{
    size_t size = room * sizeof(struct holders_item);
    struct holders_item *items =
        mmap(NULL, size, PROT_READ, MAP_SHARED, program->maps.items.map_fd, 0);
    int rc = 0;

    if (items == MAP_FAILED)
        return fail(search, errno, "results");
    for (uint32_t i = 0; rc == 0 && i < program->bss->settings.found; i++) {
        struct tw_holding holding = {items[i].inode, (int)items[i].pid, (int)items[i].fd};

        rc = holders_keep(search, &holding);
    }
    munmap(items, size);
    return rc;
}

/* Loads the program with room for so many descriptors, runs it and takes what it found. Returns
 * -EAGAIN when that is not all; *room then tells how much is needed. */
static int run(struct holders_search *search, uint32_t *room)
{
    struct holders *program = holders__open();
    const struct holders_settings *settings;
    int rc;

    if (!program)
        return fail(search, ENOMEM, "open");
    put_wanted(&program->bss->settings, search);
    program->maps.items.max_entries = *room;
    if ((rc = holders__load(program)) < 0) {
        rc = fail(search, -rc, "load");
    } else if (holders__attach(program) < 0) {
        rc = fail(search, errno, "attach");
    } else if ((rc = walk_tasks(program, search)) == 0) {
        settings = &program->bss->settings;
        if (settings->too_large)
            rc = fail(search, E2BIG, "a table of descriptors");
        else if (settings->moved || settings->found > *room)
            rc = -EAGAIN;
        else
            rc = take_items(program, *room, search);
        /* More may be opened meanwhile. */
        if (settings->found > *room)
            *room = settings->found + settings->found / 4;
        if (settings->nested)
            search->out->blind |= TW_BLIND_PID_NAMESPACE;
    }
    holders__destroy(program);
    return rc;
}

int holders_by_bpf(struct holders_search *search)
{
    uint32_t room = ROOM_FIRST;
    int rc = -EAGAIN;

    for (int tries = 0; rc == -EAGAIN && tries < TRIES; tries++)
        rc = run(search, &room);
    return rc == -EAGAIN ? fail(search, EAGAIN, "it changes too fast") : rc;
}

#else

int holders_by_bpf(struct holders_search *search)
{
    return tw_error_set(search->error, EOPNOTSUPP,
                        "finding the processes of sockets by BPF: this build is without it; "
                        "/proc tells the same, more slowly");
}

#endif
