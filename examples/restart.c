/*
 * restart.c - a server that listens, serves, closes properly and starts itself anew on SIGHUP.
 *
 * tw_listen() sets SO_REUSEADDR from the first start on. That is what lets the next server have the
 * address while connections of the last one are in TIME_WAIT: they inherit it. A server that sets
 * it only when it has met the error meets it again. tw_close_politely() sends what is under way and
 * waits for the client's end of file, but never longer than its limit. Between close() and the next
 * tw_listen() clients are refused; to spare them that, hand the descriptor over.
 *
 *     restart ADDRESS:PORT        SIGHUP: start anew, SIGTERM: end
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <tidewait/clock.h>
#include <tidewait/socket.h>

/* Both signals wait in a descriptor, which poll() shows however busy the server is. They stay
 * blocked beyond execvp(), so one that comes during the start is not lost. */
static int catch_signals(void)
{
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGTERM);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    return signalfd(-1, &ours, SFD_CLOEXEC);
}

/* Reads a little, answers, and closes. One client at a time is enough for an example. */
static void serve(int fd)
{
    char request[512];
    struct timeval patience = {.tv_sec = 1};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (recv(fd, request, sizeof(request), 0) > 0)
        send(fd, "served\n", 7, MSG_NOSIGNAL);
    tw_close_politely(fd, TW_NS_PER_S);
}

/* Serves until a signal comes. */
static int serve_all(int listener, int signals)
{
    struct pollfd wait[] = {{.fd = listener, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo signal;

    for (;;) {
        int fd;

        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[1].revents && read(signals, &signal, sizeof(signal)) == sizeof(signal))
            return (int)signal.ssi_signo;
        fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            serve(fd);
    }
}

int main(int argc, char **argv)
{
    struct tw_listen_opts opts = {.nonblocking = true};
    struct tw_endpoint local;
    struct tw_error error = {0};
    int signals = catch_signals(), listener, signal;

    if (argc != 2 || tw_endpoint_parse(tw_view_of(argv[1]), &local, &error)) {
        fprintf(stderr, "usage: restart ADDRESS:PORT\n%s\n", error.text);
        return 2;
    }
    listener = tw_listen(&local, &opts, &error);
    if (listener < 0) {
        fprintf(stderr, "restart: %s\n", error.text);
        return 1;
    }
    printf("serving on %s\n", argv[1]);
    fflush(stdout);
    signal = serve_all(listener, signals);
    close(listener);
    if (signal == SIGTERM)
        return 0;
    execvp(argv[0], argv);
    perror("restart: execvp");
    return 1;
}
