/*
 * watch_test.h - what the tests of watching have in common. `watched` does what its words say, and
 * before() writes down what it would do. In a private network namespace; as root everything is done
 * a second time as nobody. Exit code 77: no namespace may be made here.
 *
 * usage: watch_NAME_test WATCHED WATCHED_STATIC
 */
#ifndef WATCH_TEST_H
#define WATCH_TEST_H

#include <grp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "private.h"
#include "watch.h"

#define CALLS_MAX 16
#define WORDS_MAX 16
#define NOBODY    65534

static const char *watched, *watched_static;
static bool powerless; /* this is the second time */

struct seen {
    struct watch_call calls[CALLS_MAX];
    size_t count;
    void (*hook)(const struct watch_call *call, void *argument); /* while the caller waits */
    void *argument;
};

static inline void note(const struct watch_call *call, void *context)
{
    struct seen *seen = context;

    if (seen->count < CALLS_MAX)
        seen->calls[seen->count] = *call;
    seen->count++;
    if (seen->hook)
        seen->hook(call, seen->argument);
}

/* Runs a command; what it and we write to stderr goes to `file`. */
static inline int run_into(FILE *file, const char *const argv[], struct seen *seen,
                           struct watch_end *end, struct tw_error *error)
{
    char *copy[WORDS_MAX] = {NULL};
    int saved = dup(STDERR_FILENO), rc;

    for (size_t i = 0; argv[i]; i++)
        copy[i] = (char *)argv[i];
    assert_true(saved >= 0);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    rc = watch_run(copy, note, seen, end, error);
    dup2(saved, STDERR_FILENO);
    close(saved);
    return rc;
}

static inline struct watch_end run(struct seen *seen, const char *const argv[])
{
    struct tw_error error = {0};
    struct watch_end end;
    FILE *file = tmpfile();

    assert_non_null(file);
    if (run_into(file, argv, seen, &end, &error))
        fail_msg("%s", error.text);
    fclose(file);
    return end;
}

/* Runs `watched` and returns its exit code. */
static inline int run_words(struct seen *seen, const char *const words[])
{
    const char *argv[WORDS_MAX] = {watched};
    struct watch_end end;

    for (size_t i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    end = run(seen, argv);
    free(end.text);
    assert_int_equal(end.unseen, 0);
    assert_true(WIFEXITED(end.status));
    return WEXITSTATUS(end.status);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void assert_endpoint(const struct tw_endpoint *endpoint, const char *expected)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    assert_string_equal(tw_endpoint_format(endpoint, text), expected);
}

static inline bool is_empty(const struct tw_endpoint *endpoint)
{
    return endpoint->sa.sa_family == AF_UNSPEC;
}

static inline int listener(const struct tw_endpoint *local)
{
    int fd = socket(local->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &local->sa, tw_endpoint_len(local)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* Once more without any privilege, in the same network. */
static inline int run_as_nobody(int (*run_group)(void))
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
            setresuid(NOBODY, NOBODY, NOBODY)) {
            printf("skipped: this root cannot become nobody: %s\n", strerror(errno));
            exit(0);
        }
        powerless = true;
        printf("as nobody\n");
        /* After the change of user /proc would show us as root's. */
        prctl(PR_SET_DUMPABLE, 1);
        if (access(watched, X_OK)) {
            printf("skipped: nobody may not execute %s\n", watched);
            exit(0);
        }
        exit(run_group());
    }
    return pid < 0 || waitpid(pid, &status, 0) != pid || status;
}

static inline int watch_tests(int argc, char **argv, int (*run_group)(void))
{
    int rc;

    if (argc != 3) {
        fprintf(stderr, "usage: %s WATCHED WATCHED_STATIC\n", argv[0]);
        return 2;
    }
    watched = argv[1];
    watched_static = argv[2];
    /* A folder of PATH that nobody may search makes execvp() say EACCES. */
    setenv("PATH", "/usr/bin:/bin", 1);
    /* Nobody else becomes root for it: what he starts must have no rights. */
    if ((rc = enter_private_network_as(geteuid())))
        return rc;
    rc = run_group();
    return geteuid() == 0 ? rc + run_as_nobody(run_group) : rc;
}

#endif
