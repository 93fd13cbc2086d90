/*
 * What the watch tests watch: a program that does as it is told, word by word, and ends with the
 * errno of the first call that fails. Also linked statically.
 *
 *   tcp4 tcp6 udp4 unix           a new socket            reuseaddr reuseport v6only device=NAME
 *   bind=ADDR:PORT listen connect=ADDR:PORT               (Unix: =PATH, abstract with '@')
 *   connects=N:ADDR:PORT          N new sockets, whatever becomes of them
 *   thread daemon                 the rest is done by a thread; by a grandchild without a parent
 *   fork                          by a grandchild that is waited for
 *   hide                          nobody may look into this process
 *   handle=SIG handled=SIG        a handler without SA_RESTART; it must have run by now
 *   block=SIG await=SIG           ends with 100 + SIG when it comes
 *   wait=FD tell=FD               waits for the end of a pipe; writes the errno of the rest to FD
 *   close=FD cd=DIR error=TEXT noise=N     N bytes to stderr
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

static int fd = -1, family;
static volatile sig_atomic_t handled;

static int do_words(char **words);

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static int check(int rc)
{
    return rc < 0 ? errno : 0;
}

static void on_signal(int signo)
{
    handled = signo;
}

static int new_socket(int domain, int type)
{
    family = domain;
    fd = socket(domain, type, 0);
    return check(fd);
}

static int set(int level, int name)
{
    const int on = 1;

    return check(setsockopt(fd, level, name, &on, sizeof(on)));
}

static socklen_t parse(const char *text, union address *out)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    uint16_t port;

    memset(out, 0, sizeof(*out));
    out->sa.sa_family = (sa_family_t)family;
    if (family == AF_UNIX) {
        size_t len = strlen(text);

        memcpy(out->un.sun_path, text, len); /* the last byte of a full path needs no NUL */
        if (text[0] == '@')
            out->un.sun_path[0] = 0;
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    }
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    port = htons((uint16_t)number(colon + 1));
    if (family == AF_INET6) {
        inet_pton(AF_INET6, host, &out->v6.sin6_addr);
        out->v6.sin6_port = port;
        return sizeof(out->v6);
    }
    inet_pton(AF_INET, host, &out->v4.sin_addr);
    out->v4.sin_port = port;
    return sizeof(out->v4);
}

static int connect_often(const char *text)
{
    union address to;
    socklen_t len;
    int count = number(text);

    family = AF_INET;
    len = parse(strchr(text, ':') + 1, &to);
    while (count-- > 0) {
        int one = socket(AF_INET, SOCK_STREAM, 0);

        if (one < 0)
            return errno;
        if (connect(one, &to.sa, len) && errno != ECONNREFUSED)
            return errno;
        close(one);
    }
    return 0;
}

static void *thread_main(void *words)
{
    int *code = malloc(sizeof(*code));

    *code = do_words(words);
    return code;
}

static int in_thread(char **words)
{
    pthread_t thread;
    void *result;
    int code;

    if ((code = pthread_create(&thread, NULL, thread_main, words)))
        return code;
    pthread_join(thread, &result);
    code = *(int *)result;
    free(result);
    return code;
}

static int in_grandchild(char **words, int waited)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        pid_t second = fork();

        if (second == 0)
            _exit(do_words(words));
        if (!waited)
            _exit(0);
        waitpid(second, &status, 0);
        _exit(WEXITSTATUS(status));
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int make_noise(int count)
{
    char line[101];

    for (int i = 0; count > 0; i++, count -= 100) {
        snprintf(line, sizeof(line), "%099d\n", i);
        if (write(STDERR_FILENO, line, 100) != 100)
            return errno;
    }
    return 0;
}

static int block(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    return check(sigprocmask(SIG_BLOCK, &set, NULL));
}

static int await(int signo)
{
    const struct timespec limit = {.tv_sec = 20};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    return sigtimedwait(&set, NULL, &limit) == signo ? 100 + signo : ETIMEDOUT;
}

static int handle(int signo)
{
    const struct sigaction action = {.sa_handler = on_signal};

    return check(sigaction(signo, &action, NULL));
}

static int wait_for_end(int pipe)
{
    char byte;

    return check((int)read(pipe, &byte, 1));
}

static int bind_to(const char *text)
{
    union address to;
    socklen_t len = parse(text, &to);

    return check(bind(fd, &to.sa, len));
}

static int connect_to(const char *text)
{
    union address to;
    socklen_t len = parse(text, &to);

    return check(connect(fd, &to.sa, len));
}

static int do_value(const char *word, const char *value)
{
#define IS(name) (strncmp(word, name "=", sizeof(name)) == 0)
    if (IS("device"))
        return check(
            setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, value, (socklen_t)strlen(value) + 1));
    if (IS("bind"))
        return bind_to(value);
    if (IS("connect"))
        return connect_to(value);
    if (IS("connects"))
        return connect_often(value);
    if (IS("handle"))
        return handle(number(value));
    if (IS("handled"))
        return handled == number(value) ? 0 : ENOMSG;
    if (IS("block"))
        return block(number(value));
    if (IS("await"))
        return await(number(value));
    if (IS("wait"))
        return wait_for_end(number(value));
    if (IS("close"))
        return check(close(number(value)));
    if (IS("cd"))
        return check(chdir(value));
    if (IS("error"))
        return check((int)write(STDERR_FILENO, value, strlen(value)));
    if (IS("noise"))
        return make_noise(number(value));
    return EBADMSG;
#undef IS
}

static int do_plain(const char *word)
{
    static const struct {
        const char *word;
        int domain, type;
    } sockets[] = {
        {"tcp4", AF_INET, SOCK_STREAM},
        {"tcp6", AF_INET6, SOCK_STREAM},
        {"udp4", AF_INET, SOCK_DGRAM},
        {"unix", AF_UNIX, SOCK_STREAM},
    };

    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++)
        if (strcmp(word, sockets[i].word) == 0)
            return new_socket(sockets[i].domain, sockets[i].type);
    if (strcmp(word, "reuseaddr") == 0)
        return set(SOL_SOCKET, SO_REUSEADDR);
    if (strcmp(word, "reuseport") == 0)
        return set(SOL_SOCKET, SO_REUSEPORT);
    if (strcmp(word, "v6only") == 0)
        return set(IPPROTO_IPV6, IPV6_V6ONLY);
    if (strcmp(word, "listen") == 0)
        return check(listen(fd, 4));
    if (strcmp(word, "hide") == 0)
        return check(prctl(PR_SET_DUMPABLE, 0));
    return EBADMSG;
}

static int do_words(char **words)
{
    for (; *words; words++) {
        char *value = strchr(*words, '=');
        int code;

        if (strcmp(*words, "thread") == 0)
            return in_thread(words + 1);
        if (strcmp(*words, "fork") == 0)
            return in_grandchild(words + 1, 1);
        if (strcmp(*words, "daemon") == 0)
            return in_grandchild(words + 1, 0);
        if (strncmp(*words, "tell=", 5) == 0) {
            unsigned char byte = (unsigned char)do_words(words + 1);

            return check((int)write(number(value + 1), &byte, 1));
        }
        code = value ? do_value(*words, value + 1) : do_plain(*words);
        if (code)
            return code;
    }
    return 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    return do_words(argv + 1);
}
