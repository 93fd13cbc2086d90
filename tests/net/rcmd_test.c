/*
 * The client's side of rsh against a server that does as each test likes, on the loopback addresses
 * of a private network. Exit code 77: none may be made here.
 */
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mman.h>

#include "job.h"
#include "private.h"
#include "rcmd.h"
#include "tidewait/socket.h"

#define MARK "tidewait-0123456789abcdef"

/* One command: our child, and the server's ends of its two connections. */
struct play {
    struct rcmd *rcmd;
    struct attempt attempt;
    int first, second;
    char out[4096], err[4096];
    int status;
};

static int source(const char *address, uint16_t port)
{
    struct tw_endpoint from = at(address, port);
    int fd = tw_source_open(&from, &(struct tw_source_opts){0});

    assert_true(fd >= 0);
    return fd;
}

static int listener(const char *address, uint16_t port, struct tw_endpoint *local)
{
    struct tw_listen_opts opts = {.nonblocking = port != 0};
    socklen_t len = sizeof(*local);
    int fd;

    *local = at(address, port);
    fd = tw_listen(local, &opts, NULL);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &local->sa, &len), 0);
    return fd;
}

/* Begins a command; `listens`: there is a server. */
static void open_play(struct play *play, bool listens, const char *input)
{
    struct tw_endpoint to, second;
    int server = listener("127.0.0.1", 0, &to), fds[2], file = -1;
    struct tw_error error = {0};

    *play = (struct play){.first = -1, .second = -1};
    play->rcmd =
        mmap(NULL, sizeof(struct rcmd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(play->rcmd, MAP_FAILED);
    if (!listens)
        close(server);
    fds[0] = source("0.0.0.0", 900);
    fds[1] = listener("127.0.0.1", 901, &second);
    *play->rcmd = (struct rcmd){.to = to,
                                .source_port = 900,
                                .second_port = 901,
                                .local_user = "me",
                                .user = "you",
                                .command = "do it",
                                .mark = MARK,
                                .sends_input = input};
    if (input) {
        file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        assert_int_equal(write(file, input, strlen(input)), strlen(input));
    }
    (void)connect(fds[0], &to.sa, tw_endpoint_len(&to));
    assert_int_equal(child_call(&play->attempt, rcmd_run, play->rcmd, fds, 2,
                                input ? CHILD_FILE : CHILD_NO_INPUT, file, &error),
                     0);
    close(fds[0]);
    close(fds[1]);
    if (input)
        close(file);
    if (!listens)
        return;
    play->first = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    assert_true(play->first >= 0);
    close(server);
}

static void take(int fd, const char *text, size_t len)
{
    char got[256];

    assert_true(len < sizeof(got));
    assert_int_equal(recv(fd, got, len, MSG_WAITALL), len);
    assert_memory_equal(got, text, len);
}

static void give(int fd, const char *text, size_t len)
{
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Connects to the child as its rshd would. False: it has let go of us. */
static bool join(struct play *play, const char *address, uint16_t port)
{
    struct tw_endpoint to = at("127.0.0.1", 901);
    int fd = source(address, port), flags = fcntl(fd, F_GETFL);
    char byte;

    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    assert_int_equal(connect(fd, &to.sa, tw_endpoint_len(&to)), 0);
    if (port < RCMD_PORT_FIRST || strcmp(address, "127.0.0.1") != 0) {
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
        return false;
    }
    play->second = fd;
    return true;
}

/* All up to the command. */
static void begin(struct play *play, const char *input)
{
    open_play(play, true, input);
    take(play->first, "901", 4);
    assert_true(join(play, "127.0.0.1", 1000));
    take(play->first, "me\0you\0do it", 13);
    give(play->first, "", 1);
}

static void collect(int fd, char *text, size_t room)
{
    size_t len = 0;
    ssize_t got;

    fcntl(fd, F_SETFL, 0);
    while ((got = read(fd, text + len, room - 1 - len)) > 0)
        len += (size_t)got;
    assert_int_equal(got, 0);
    text[len] = 0;
    close(fd);
}

/* The other end closes what is still open, and the child ends. */
static void end(struct play *play)
{
    int status;

    if (play->first >= 0)
        close(play->first);
    if (play->second >= 0)
        close(play->second);
    collect(play->attempt.pipes[STREAM_OUT], play->out, sizeof(play->out));
    collect(play->attempt.pipes[STREAM_ERR], play->err, sizeof(play->err));
    assert_int_equal(waitpid(play->attempt.pid, &status, 0), play->attempt.pid);
    assert_true(WIFEXITED(status));
    play->status = WEXITSTATUS(status);
    close(play->attempt.process);
}

static void close_play(struct play *play)
{
    munmap(play->rcmd, sizeof(*play->rcmd));
}

/* It never got as far as the command. */
static void assert_not_begun(struct play *play, enum fan_cause cause, const char *words)
{
    end(play);
    assert_int_equal(play->status, 255);
    assert_int_equal(play->rcmd->cause, cause);
    assert_non_null(strstr(play->err, words));
    assert_null(strstr(play->err, MARK));
    close_play(play);
}

/* --- a command that runs ---------------------------------------------------------------------- */

static void test_streams_and_status(void **state)
{
    struct play play;

    (void)state;
    begin(&play, NULL);
    give(play.first, "out", 3);
    give(play.second, "err\n" MARK ":7\n", 4 + sizeof(MARK ":7\n") - 1);
    end(&play);
    assert_string_equal(play.out, "out");
    assert_string_equal(play.err, MARK "\nerr\n");
    assert_int_equal(play.status, 7);
    assert_int_equal(play.rcmd->cause, CAUSE_NONE);
    assert_true(play.rcmd->connected);
    assert_false(play.rcmd->closed_first);
    close_play(&play);
}

/* Byte by byte, in the midst of what only begins like it, and with more behind it. */
static void test_status_is_found(void **state)
{
    static const char text[] = "tidewait-0123 tidewait-" MARK " " MARK "x:1\n" MARK ":255\nlate";
    struct play play;
    int on = 1;

    (void)state;
    begin(&play, NULL);
    setsockopt(play.second, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        give(play.second, text + i, 1);
    end(&play);
    assert_string_equal(play.err, MARK "\ntidewait-0123 tidewait-" MARK " " MARK "x:1\nlate");
    assert_int_equal(play.status, 255);
    assert_int_equal(play.rcmd->cause, CAUSE_NONE);
    close_play(&play);
}

static void test_no_status(void **state)
{
    struct play play;

    (void)state;
    begin(&play, NULL);
    give(play.second, "end " MARK ":", 4 + sizeof(MARK ":") - 1);
    end(&play);
    assert_int_equal(play.status, 255);
    assert_int_equal(play.rcmd->cause, CAUSE_LOST);
    assert_non_null(strstr(play.err, "end " MARK ":"));
    assert_non_null(strstr(play.err, "without the exit status"));
    close_play(&play);
}

static void test_reset(void **state)
{
    struct play play;

    (void)state;
    begin(&play, NULL);
    give(play.second, MARK ":0\n", sizeof(MARK ":0\n") - 1);
    tw_close_reset(play.first);
    play.first = -1;
    end(&play);
    assert_int_equal(play.status, 255);
    assert_int_equal(play.rcmd->cause, CAUSE_LOST);
    close_play(&play);
}

static void test_plain(void **state)
{
    struct play play;

    (void)state;
    begin(&play, NULL);
    play.rcmd->plain = true;
    give(play.first, "out", 3);
    end(&play);
    assert_string_equal(play.out, "out");
    assert_int_equal(play.status, 0);
    close_play(&play);
}

static void test_input(void **state)
{
    struct play play;
    char byte;

    (void)state;
    begin(&play, "some words");
    take(play.first, "some words", 10);
    assert_int_equal(recv(play.first, &byte, 1, 0), 0);
    give(play.second, MARK ":0\n", sizeof(MARK ":0\n") - 1);
    end(&play);
    assert_int_equal(play.status, 0);
    assert_true(play.rcmd->closed_first);
    close_play(&play);
}

/* A command that does not want it ends with a reset, and yet it has ended well. */
static void test_input_is_left(void **state)
{
    struct play play;

    (void)state;
    begin(&play, "some words");
    take(play.first, "some", 4);
    give(play.second, MARK ":3\n", sizeof(MARK ":3\n") - 1);
    tw_close_reset(play.first);
    play.first = -1;
    end(&play);
    assert_int_equal(play.status, 3);
    assert_int_equal(play.rcmd->cause, CAUSE_NONE);
    close_play(&play);
}

/* SIGTERM goes to the command, then SIGKILL; what it still says is heard. */
static void test_signals(void **state)
{
    struct play play;
    char byte;

    (void)state;
    begin(&play, NULL);
    kill(play.attempt.pid, SIGTERM);
    assert_int_equal(recv(play.second, &byte, 1, 0), 1);
    assert_int_equal(byte, SIGTERM);
    assert_int_equal(recv(play.second, &byte, 1, 0), 1);
    assert_int_equal(byte, SIGKILL);
    give(play.first, "bye", 3);
    end(&play);
    assert_string_equal(play.out, "bye");
    assert_false(play.rcmd->closed_first);
    close_play(&play);
}

/* --- one that does not ------------------------------------------------------------------------ */

/* Only from the address that we asked, and only from a reserved port. */
static void test_strangers(void **state)
{
    struct play play;

    (void)state;
    open_play(&play, true, NULL);
    take(play.first, "901", 4);
    assert_false(join(&play, "127.0.0.1", 511));
    assert_false(join(&play, "127.0.0.1", 0));
    assert_false(join(&play, "127.0.0.2", 1000));
    assert_true(join(&play, "127.0.0.1", 1000));
    take(play.first, "me\0you\0do it", 13);
    give(play.first, "", 1);
    give(play.second, MARK ":0\n", sizeof(MARK ":0\n") - 1);
    end(&play);
    assert_int_equal(play.status, 0);
    close_play(&play);
}

static void test_refused(void **state)
{
    struct play play;

    (void)state;
    open_play(&play, false, NULL);
    assert_not_begun(&play, CAUSE_REFUSED, "from port 900: Connection refused");
}

static void test_closed(void **state)
{
    struct play play;

    (void)state;
    open_play(&play, true, NULL);
    take(play.first, "901", 4);
    assert_not_begun(&play, CAUSE_CLOSED, "closed before the command ran");
}

static void test_complaints(void **state)
{
    static const struct {
        const char *answer;
        enum fan_cause cause;
        const char *words;
    } complaints[] = {
        {"\1Permission denied.\n", CAUSE_AUTHENTICATION, "Permission denied.\n"},
        {"\1Login incorrect.", CAUSE_AUTHENTICATION, "Login incorrect.\n"},
        {"\1rshd: Can't fork\r\nmore", CAUSE_CONNECT, "rshd: Can't fork\n"},
        {"\1", CAUSE_CONNECT, "without a reason"},
        {"SSH-2.0-OpenSSH_9.2\r\n", CAUSE_CONNECT,
         "no rshd answers there: \"SSH-2.0-OpenSSH_9.2\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++)
        for (int joined = 0; joined < 2; joined++) {
            struct play play;

            open_play(&play, true, NULL);
            take(play.first, "901", 4);
            if (joined) {
                join(&play, "127.0.0.1", 1000);
                take(play.first, "me\0you\0do it", 13);
            }
            give(play.first, complaints[i].answer, strlen(complaints[i].answer));
            shutdown(play.first, SHUT_WR);
            assert_not_begun(&play, complaints[i].cause, complaints[i].words);
        }
}

/* An end that nobody can tell from a command's: no second connection. */
static void test_no_second(void **state)
{
    struct play play;

    (void)state;
    open_play(&play, true, NULL);
    take(play.first, "901", 4);
    give(play.first, "", 1);
    assert_not_begun(&play, CAUSE_CONNECT, "no second connection");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_and_status),
        cmocka_unit_test(test_status_is_found),
        cmocka_unit_test(test_no_status),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_input_is_left),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_no_second),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
