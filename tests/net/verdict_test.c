/* tw_verdict_new() on real sockets: the answer, what it owns, and questions that make no sense. */
#include "private.h"

#include <pthread.h>
#include <sys/un.h>

#include "tidewait/verdict.h"

static struct tw_question bind_question(const char *address, uint16_t port)
{
    return (struct tw_question){
        .op = TW_OP_BIND,
        .protocol = IPPROTO_TCP,
        .local = at(address, port),
        .scope = TW_NETNS_OWN,
    };
}

static struct tw_verdict *verdict_of(const struct tw_question *question)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict = tw_verdict_new(question, &error);

    if (!verdict)
        fail_msg("no verdict: %s", error.text);
    assert_int_equal(error.code, 0);
    assert_true(verdict && !verdict->disagrees);
    return verdict;
}

static bool is_line(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return false;
    return true;
}

/* Every text is there, and safe on a terminal. */
static void check_texts(const struct tw_verdict *verdict)
{
    assert_non_null(verdict->summary);
    assert_true(*verdict->summary && is_line(verdict->summary));
    for (size_t i = 0; i < verdict->evidence_count; i++) {
        assert_non_null(verdict->evidence[i].kind);
        assert_true(is_line(verdict->evidence[i].text));
        assert_int_equal(strcmp(verdict->evidence[i].kind, "socket") == 0 ||
                             verdict->evidence[i].socket == NULL,
                         true);
    }
    for (size_t i = 0; i < verdict->remedy_count; i++) {
        assert_true(is_line(verdict->remedies[i].what) && is_line(verdict->remedies[i].why));
        assert_true(!verdict->remedies[i].command || is_line(verdict->remedies[i].command));
    }
    for (size_t i = 0; i < verdict->hidden_count; i++)
        assert_true(is_line(verdict->hidden[i]));
}

static bool is_cause(const char *name)
{
    for (size_t i = 0; tw_cause_name(i); i++)
        if (strcmp(tw_cause_name(i), name) == 0)
            return true;
    return false;
}

/* Asks, checks and frees. `holders`: this process, or nobody. */
static void expect(const struct tw_question *question, enum tw_answer answer, int code,
                   const char *cause, size_t holders)
{
    struct tw_verdict *verdict = verdict_of(question);

    check_texts(verdict);
    if (verdict->answer != answer || verdict->code != code ||
        strcmp(verdict->cause ? verdict->cause : "", cause ? cause : "") != 0 ||
        verdict->holder_count != holders)
        fail_msg("%s, %s, %s, %zu holders: %s", tw_answer_name(verdict->answer),
                 tw_errno_name(verdict->code), verdict->cause, verdict->holder_count,
                 verdict->summary);
    assert_true(!verdict->cause || is_cause(verdict->cause));
    for (size_t i = 0; i < holders; i++) {
        assert_int_equal(verdict->holders[i].process.pid, getpid());
        assert_int_not_equal(verdict->holders[i].inode, 0);
    }
    tw_verdict_free(verdict);
}

static int open_socket(const char *address, uint16_t port, int type)
{
    struct tw_endpoint local = at(address, port);
    int fd = socket(local.sa.sa_family, type | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void test_bind(void **state)
{
    struct tw_question question = bind_question("127.0.0.1", 7000);
    int fd;

    (void)state;
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
    fd = open_socket("127.0.0.1", 7000, SOCK_STREAM);
    expect(&question, TW_ANSWER_IN_USE, EADDRINUSE, "listener", 1);
    question.local = at("0.0.0.0", 7000);
    expect(&question, TW_ANSWER_IN_USE, EADDRINUSE, "listener-wildcard", 1);
    question.pid = getpid();
    expect(&question, TW_ANSWER_IN_USE, EADDRINUSE, "same-process", 1);
    question = bind_question("127.0.0.2", 7000);
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
    question.bound = true;
    expect(&question, TW_ANSWER_DENIED, EINVAL, "already-bound", 0);
    question = bind_question("10.9.9.9", 7000);
    expect(&question, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL, "address-not-local", 0);
    question = bind_question("127.0.0.1", 0);
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
    close(fd);
}

static void test_udp(void **state)
{
    struct tw_question question = bind_question("127.0.0.1", 7000);
    int fd = open_socket("127.0.0.1", 7000, SOCK_DGRAM);

    (void)state;
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
    question.protocol = IPPROTO_UDP;
    expect(&question, TW_ANSWER_IN_USE, EADDRINUSE, "udp-bound", 1);
    close(fd);
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
}

static void test_connect(void **state)
{
    struct tw_question question = {
        .op = TW_OP_CONNECT, .protocol = IPPROTO_TCP, .remote = at("127.0.0.1", 7000)};
    struct tw_verdict *verdict;
    const struct tw_rules_lane *lane;

    (void)state;
    verdict = verdict_of(&question);
    lane = &verdict->lane;
    check_texts(verdict);
    assert_int_equal(verdict->answer, TW_ANSWER_FREE);
    assert_int_not_equal(lane->ports, 0);
    assert_int_equal(lane->connected + lane->time_wait + lane->reusable + lane->polluted +
                         lane->free,
                     lane->ports);
    tw_verdict_free(verdict);
    question.remote = at("10.9.9.9", 7000);
    expect(&question, TW_ANSWER_UNAVAILABLE, ENETUNREACH, NULL, 0);
}

static void test_unix(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0tw-verdict-test"};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + 15);
    struct tw_question question = {.path = "@tw-verdict-test"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    expect(&question, TW_ANSWER_IN_USE, EADDRINUSE, "unix-live", 1);
    close(fd);
    expect(&question, TW_ANSWER_FREE, 0, NULL, 0);
}

/* The verdict has copies of the caller's texts. */
static void test_texts_of_the_question_may_end(void **state)
{
    char path[] = "@tw-verdict-short", device[] = "lo";
    struct tw_question by_path = {.path = path};
    struct tw_question by_device = bind_question("127.0.0.1", 7001);
    struct tw_verdict *verdict;

    (void)state;
    verdict = verdict_of(&by_path);
    memset(path, 'x', sizeof(path) - 1);
    assert_string_equal(verdict->question.path, "@tw-verdict-short");
    tw_verdict_free(verdict);
    by_device.device = device;
    verdict = verdict_of(&by_device);
    memset(device, 'x', sizeof(device) - 1);
    assert_string_equal(verdict->question.device, "lo");
    tw_verdict_free(verdict);
}

static void refused(const struct tw_question *question, int code, const char *words)
{
    struct tw_error error = {0};

    assert_null(tw_verdict_new(question, &error));
    assert_int_equal(error.code, code);
    if (!strstr(error.text, words) || !is_line(error.text))
        fail_msg("'%s' does not contain '%s'", error.text, words);
    assert_null(tw_verdict_new(question, NULL));
}

static void test_questions_without_sense(void **state)
{
    struct tw_question nothing = {0}, question = bind_question("127.0.0.1", 7000);
    char path[200];

    (void)state;
    refused(&nothing, EINVAL, "path");
    nothing.path = "";
    refused(&nothing, EINVAL, "path");
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = 0;
    nothing.path = path;
    refused(&nothing, EINVAL, "107");
    question.protocol = IPPROTO_SCTP;
    refused(&question, EINVAL, "132");
    question = bind_question("127.0.0.1", 7000);
    question.local.sa.sa_family = AF_UNSPEC;
    refused(&question, EINVAL, "address");
    question.local.sa.sa_family = AF_UNIX;
    refused(&question, EINVAL, "address");
    question = bind_question("127.0.0.1", 7000);
    question.device = "no-such-dev";
    refused(&question, ENODEV, "no-such-dev");
    question = bind_question("127.0.0.1", 7000);
    question.op = TW_OP_CONNECT; /* to nowhere */
    refused(&question, EINVAL, "address");
    tw_verdict_free(NULL);
}

/* Asking leaves nothing open and nothing bound. */
static void test_nothing_is_left(void **state)
{
    struct tw_question question = bind_question("127.0.0.1", 7000);
    int fd = open_socket("127.0.0.1", 7000, SOCK_STREAM), before = dup(fd), after;

    (void)state;
    close(before);
    for (int i = 0; i < 20; i++) {
        question.local = at(i % 2 ? "127.0.0.1" : "127.0.0.3", 7000);
        question.reuseport = i % 3 == 0;
        tw_verdict_free(verdict_of(&question));
    }
    after = dup(fd);
    close(after);
    assert_int_equal(before, after);
    close(fd);
    close(open_socket("127.0.0.1", 7000, SOCK_STREAM));
}

static void *ask_often(void *context)
{
    const struct tw_question *question = context;

    for (int i = 0; i < 10; i++) {
        struct tw_verdict *verdict = tw_verdict_new(question, NULL);

        if (!verdict || verdict->answer != TW_ANSWER_IN_USE)
            return (void *)question;
        tw_verdict_free(verdict);
    }
    return NULL;
}

static void test_any_thread_may_call(void **state)
{
    enum { THREADS = 4 };
    struct tw_question question = bind_question("127.0.0.1", 7000);
    int fd = open_socket("127.0.0.1", 7000, SOCK_STREAM);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &question), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    close(fd);
}

/* Names for every value of the enums, and causes that are named once. */
static void test_names(void **state)
{
    (void)state;
    assert_string_equal(tw_errno_name(EADDRINUSE), "EADDRINUSE");
    assert_string_equal(tw_errno_name(0), "0");
    assert_string_equal(tw_errno_name(100000), "unknown");
    for (enum tw_answer answer = TW_ANSWER_FREE; answer <= TW_ANSWER_SLOW; answer++)
        assert_non_null(tw_answer_name(answer));
    for (enum tw_op op = TW_OP_BIND; op <= TW_OP_CONNECT; op++)
        assert_non_null(tw_op_name(op));
    assert_true(is_cause("listener"));
    for (size_t i = 0; tw_cause_name(i); i++) {
        assert_true(*tw_cause_meaning(i) && is_line(tw_cause_meaning(i)));
        for (size_t j = i + 1; tw_cause_name(j); j++)
            assert_string_not_equal(tw_cause_name(i), tw_cause_name(j));
    }
    assert_null(tw_cause_meaning((size_t)-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_udp),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_texts_of_the_question_may_end),
        cmocka_unit_test(test_questions_without_sense),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_any_thread_may_call),
        cmocka_unit_test(test_names),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
