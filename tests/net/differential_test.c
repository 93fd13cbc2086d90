/*
 * The rules against the kernel by random programs, with fixed seeds; and that the test itself
 * notices when a clause of the rules is left out. Exit code 77: no network namespace may be made
 * here. Arguments: the number of operations and the first seed, for longer runs by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "differential_parts.h"

#define EXIT_SKIP 77
/* Most clauses are missed within a few thousand. */
#define MOST_OPERATIONS 1000000

static uint64_t operations = 100000, first_seed = 20240;

/* Runs; all else than a result is a failure. */
static struct differential_result run(const struct differential_opts *opts)
{
    struct differential_result result;
    struct tw_error error = {0};

    if (differential_fork(opts, &result, &error))
        fail_msg("seed %llu: %s", (unsigned long long)opts->seed, error.text);
    return result;
}

static void rules_agree_with_the_kernel(void **state)
{
    struct differential_opts opts = {.seed = first_seed, .operations = operations};
    struct differential_result result = run(&opts);

    (void)state;
    if (result.differences)
        fail_msg("seed %llu, world %llu:\n%s", (unsigned long long)result.seed,
                 (unsigned long long)result.world, result.program);
    print_message("%llu operations, %llu refused, %llu for want of an address; %llu rows\n",
                  (unsigned long long)result.operations, (unsigned long long)result.refused,
                  (unsigned long long)result.in_use, (unsigned long long)result.rows);
    if (!result.users)
        print_message("without a second user: not root\n");
    assert_true(result.operations >= operations);
    /* Programs that are never refused, or that never get anywhere, would prove nothing. */
    assert_true(result.in_use > result.operations / 200);
    assert_true(result.refused < result.operations / 2);
    assert_true(result.rows > result.worlds);
    for (int kind = 0; kind < OP_KINDS; kind++)
        assert_true(result.kinds[kind] > result.operations / 200);
}

/* The kernel's own picks of ports differ from run to run; the programs do not. */
static void seeds_are_replayable(void **state)
{
    struct program one = {0}, again = {0}, other = {0};

    (void)state;
    for (uint64_t world = 0; world < 100; world++) {
        program_make(&one, first_seed, world, true);
        program_make(&again, first_seed, world, true);
        assert_memory_equal(&one, &again, sizeof(one));
        program_make(&other, first_seed + 1, world, true);
        assert_memory_not_equal(&one, &other, sizeof(one));
        program_make(&other, first_seed, world + 1, true);
        assert_memory_not_equal(&one, &other, sizeof(one));
    }
}

static void check_worlds(uint64_t worlds)
{
    /* More calls than a world has. */
    struct differential_opts opts = {.seed = first_seed, .operations = worlds * 90};
    struct differential_result result = run(&opts);

    if (result.differences)
        fail_msg("without a clause left out:\n%s", result.program);
    assert_true(result.worlds >= worlds);
}

static void each_clause_is_missed(void **state)
{
    uint64_t last_world = 0;
    unsigned unshrunk = 0;

    (void)state;
    for (unsigned n = 1; n <= DIFFERENTIAL_CLAUSES; n++) {
        const struct differential_clause *clause = &differential_clauses[n - 1];
        struct differential_opts opts = {
            .seed = first_seed, .operations = MOST_OPERATIONS, .break_clause = n};
        struct differential_result result = run(&opts);

        if (clause->needs_users && !result.users) {
            print_message("without a second user, so not tried: %s\n", clause->text);
            continue;
        }
        if (!result.differences)
            fail_msg("not noticed: %s", clause->text);
        print_message("%s: %u calls, after %llu operations\n", clause->text, result.calls,
                      (unsigned long long)result.operations);
        /* Shrunk: what shows a clause takes a few sockets. Where the kernel's own choice of a port
         * is part of it a shorter program may not show it again. */
        assert_true(result.calls > 0);
        unshrunk += result.calls > 30;
        assert_non_null(strstr(result.program, "kernel"));
        if (result.world > last_world)
            last_world = result.world;
    }
    assert_true(unshrunk <= 2);
    /* It was the clause: the same worlds with whole rules are without a difference. */
    check_worlds(last_world + 1);
}

static void limits_are_needed(void **state)
{
    struct differential_opts opts = {.seed = 1}, beyond = {.operations = 1};
    struct differential_result result;
    struct tw_error error = {0};
    atomic_int stop = 1;

    (void)state;
    assert_int_equal(differential_fork(&opts, &result, &error), -EINVAL);
    beyond.break_clause = DIFFERENTIAL_CLAUSES + 1;
    assert_int_equal(differential_fork(&beyond, &result, NULL), -EINVAL);
    opts.operations = operations;
    opts.stop = &stop; /* raised before it begins: it need not be shared */
    assert_int_equal(run(&opts).operations, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_needed),
        cmocka_unit_test(rules_agree_with_the_kernel),
        cmocka_unit_test(seeds_are_replayable),
        cmocka_unit_test(each_clause_is_missed),
    };
    struct differential_opts probe = {.operations = 1};
    struct differential_result result;
    struct tw_error error = {0};
    int rc = differential_fork(&probe, &result, &error);

    if (rc == -EPERM || rc == -EOPNOTSUPP) {
        printf("skipped: %s\n", error.text);
        return EXIT_SKIP;
    }
    if (argc > 1)
        operations = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}
