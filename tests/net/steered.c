/* clang-format off */
/*
 * What no LD_PRELOAD can reach: linked statically, and its system calls are made without the C
 * library's functions for them.
 *
 *     steered connect ADDRESS PORT COUNT [SOURCE]  connects, sends three bytes and closes first, one
 *                                                  after the other; SOURCE: binds to it with port 0
 *     steered hold ADDRESS PORT COUNT              the same without closing, until stdin ends
 *     steered children N ...                       the rest of the line in N children at once
 *     steered listen ADDRESS PORT                  binds and listens; stdin ends it
 *     steered server ADDRESS PORT                  reads each connection to its end and closes it
 *
 * It says on stdout how many connections there were, what each cost, and the first error.
 */
/* clang-format on */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    unsigned short family;
};

static long number(const char *text)
{
    return strtol(text, NULL, 10);
}

static union address parse(const char *text, const char *port)
{
    union address address = {.family = AF_INET};

    if (strchr(text, ':')) {
        address.family = AF_INET6;
        inet_pton(AF_INET6, text, &address.v6.sin6_addr);
    } else {
        inet_pton(AF_INET, text, &address.v4.sin_addr);
    }
    address.v4.sin_port = htons((unsigned short)number(port)); /* of both */
    return address;
}

static long size_of(const union address *address)
{
    return address->family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static long open_socket(const union address *address)
{
    return syscall(SYS_socket, address->family, SOCK_STREAM, 0);
}

/* Returns the descriptor or -1; adds the time of connect() alone. */
static long connect_to(const union address *to, const union address *from, long *spent)
{
    long fd = open_socket(to), start, rc;

    if (fd >= 0 && from && syscall(SYS_bind, fd, from, size_of(from))) {
        syscall(SYS_close, fd);
        return -1;
    }
    start = now_ns();
    rc = fd < 0 ? -1 : syscall(SYS_connect, fd, to, size_of(to));
    *spent += now_ns() - start;
    if (rc && fd >= 0) {
        int code = errno;

        syscall(SYS_close, fd);
        errno = code;
    }
    return rc ? -1 : fd;
}

static int run_connects(char **argv, int keep)
{
    union address to = parse(argv[2], argv[3]), from;
    long count = number(argv[4]), done = 0, failed = 0, spent = 0;
    int code = 0;
    char byte;

    if (argv[5])
        from = parse(argv[5], "0");
    for (long i = 0; i < count; i++) {
        long fd = connect_to(&to, argv[5] ? &from : NULL, &spent);

        if (fd < 0) {
            code = code ? code : errno;
            failed++;
            continue;
        }
        done++;
        if (keep)
            continue;
        syscall(SYS_sendto, fd, "abc", 3, 0, NULL, 0);
        syscall(SYS_close, fd);
    }
    printf("done=%ld failed=%ld ns=%ld error=%s\n", done, failed, spent / (count ? count : 1),
           code ? strerror(code) : "none");
    fflush(stdout);
    while (keep && read(0, &byte, 1) > 0)
        ;
    return failed > 0;
}

static int run_children(int argc, char **argv);

static int run_listen(char **argv)
{
    union address at = parse(argv[2], argv[3]);
    long fd = open_socket(&at), size = sizeof(at);
    char byte;

    if (syscall(SYS_bind, fd, &at, size_of(&at)) || syscall(SYS_listen, fd, 8)) {
        printf("error=%s\n", strerror(errno));
        return 1;
    }
    syscall(SYS_getsockname, fd, &at, &size);
    printf("port=%d\n", ntohs(at.v4.sin_port));
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}

static int run_server(char **argv)
{
    union address at = parse(argv[2], argv[3]);
    int listening = (int)open_socket(&at), queue = epoll_create1(0), on = 1;
    struct epoll_event events[64], event = {.events = EPOLLIN, .data.fd = listening};
    char room[4096];

    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listening, (struct sockaddr *)&at, (socklen_t)size_of(&at)) || listen(listening, 4096))
        return 1;
    epoll_ctl(queue, EPOLL_CTL_ADD, listening, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(queue, events, 64, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != listening) {
                if (read(fd, room, sizeof(room)) <= 0)
                    close(fd);
            } else if ((fd = accept(listening, NULL, NULL)) >= 0) {
                event.data.fd = fd;
                epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}

static int run(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "connect") == 0)
        return run_connects(argv, 0);
    if (argc > 4 && strcmp(argv[1], "hold") == 0)
        return run_connects(argv, 1);
    if (argc > 3 && strcmp(argv[1], "children") == 0)
        return run_children(argc, argv);
    if (argc > 3 && strcmp(argv[1], "listen") == 0)
        return run_listen(argv);
    if (argc > 3 && strcmp(argv[1], "server") == 0)
        return run_server(argv);
    return 2;
}

static int run_children(int argc, char **argv)
{
    int worst = 0, status;

    for (long i = number(argv[2]); i > 0; i--)
        if (fork() == 0)
            exit(run(argc - 2, argv + 2));
    while (wait(&status) > 0)
        if (status)
            worst = 1;
    return worst;
}

int main(int argc, char **argv)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    return run(argc, argv);
}
