#include "lab_differential.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "common.h"
#include "differential.h"
#include "options.h"
#include "tidewait/clock.h"

#define PRESET_NS (10 * TW_NS_PER_S)

/* What the child that makes the calls has to see, and what it leaves to us. */
struct shared {
    atomic_int stop;
    struct differential_result result;
};

static void print_counts(const struct differential_result *result)
{
    printf("  calls");
    for (int kind = 0; kind < OP_KINDS; kind++)
        printf("%s %s %llu", kind ? "," : "      ", op_kind_name((enum op_kind)kind),
               (unsigned long long)result->kinds[kind]);
    printf("\n  refused     %llu as predicted, %llu of them with EADDRINUSE or EADDRNOTAVAIL\n",
           (unsigned long long)result->refused, (unsigned long long)result->in_use);
    printf("  sock_diag   %llu rows in %llu comparisons of a whole host\n",
           (unsigned long long)result->rows, (unsigned long long)result->comparisons);
    printf("  users       %s\n", result->users ? "two" : "one: only root has a second one");
}

static void print_difference(const struct differential_result *result)
{
    printf("DIFFERENCE between the rules and this kernel: seed %llu, world %llu, %u calls\n\n%s\n",
           (unsigned long long)result->seed, (unsigned long long)result->world, result->calls,
           result->program);
}

static int tell(const struct differential_result *result, bool quiet, bool stopped, double s)
{
    if (result->differences)
        print_difference(result);
    if (!quiet) {
        printf("%llu calls in %llu worlds, %s (seed %llu, %.1f s%s)\n",
               (unsigned long long)result->operations, (unsigned long long)result->worlds,
               result->differences ? "one difference" : "no difference",
               (unsigned long long)result->seed, s, stopped ? ", interrupted" : "");
        print_counts(result);
    }
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait lab: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return result->differences ? EXIT_NO : stopped ? EXIT_PARTLY : EXIT_YES;
}

int lab_differential(const struct lab_differential *settings)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct differential_opts opts = {
        .seed = settings->seed ? settings->seed : (uint64_t)time(NULL),
        .operations = settings->count,
        .for_ns = settings->for_ns || settings->count ? settings->for_ns : PRESET_NS,
    };
    struct tw_error error = {0};
    uint64_t begun_ns = tw_clock_ns();
    int rc;

    if (shared == MAP_FAILED) {
        fprintf(stderr, "tidewait lab: no memory\n");
        return EXIT_OURS;
    }
    opts.stop = &shared->stop;
    catch_signals(&shared->stop);
    rc = differential_fork(&opts, &shared->result, &error);
    if (rc) {
        fprintf(stderr, "tidewait lab: %s\n", error.text);
        rc = rc == -EPERM || rc == -EACCES || rc == -EOPNOTSUPP ? EXIT_UNSUPPORTED : EXIT_OURS;
    } else {
        rc = tell(&shared->result, settings->quiet, atomic_load(&shared->stop) != 0,
                  (double)(tw_clock_ns() - begun_ns) / 1e9);
    }
    /* Not unmapped: a signal may still be on its way to `stop`. */
    return rc;
}
