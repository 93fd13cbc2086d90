/* Erlang's B formula, against published tables and the direct sum. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Within a relative (and, below 1, absolute) error. */
static bool near(double a, double b, double error)
{
    if (isinf(a) || isinf(b))
        return isinf(a) && isinf(b);
    return fabs(a - b) <= error * fmax(1, fmax(fabs(a), fabs(b)));
}

#define assert_near(a, b, error)                                             \
    do {                                                                     \
        double near_a = (a), near_b = (b);                                   \
                                                                             \
        if (!near(near_a, near_b, error))                                    \
            fail_msg("%s is %.12g and %s is %.12g", #a, near_a, #b, near_b); \
    } while (0)

/* The published tables give erlangs, rounded, for a number of lines and a share lost. */
static void test_erlang_tables(void **state)
{
    static const struct {
        double share, servers, offered, half_digit;
    } rows[] = {
        {0.01, 1, 0.0101, 0.00005}, {0.01, 2, 0.153, 0.0005}, {0.01, 5, 1.36, 0.005},
        {0.01, 10, 4.46, 0.005},    {0.01, 20, 12.0, 0.05},   {0.01, 50, 37.9, 0.05},
        {0.01, 100, 84.1, 0.05},    {0.02, 10, 5.08, 0.005},  {0.02, 20, 13.2, 0.05},
        {0.02, 50, 40.3, 0.05},     {0.02, 100, 88.0, 0.05},  {0.001, 10, 3.09, 0.005},
        {0.001, 100, 75.2, 0.05},   {0.1, 10, 7.51, 0.005},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        double below = plan_erlang_b(rows[i].servers, rows[i].offered - rows[i].half_digit);
        double above = plan_erlang_b(rows[i].servers, rows[i].offered + rows[i].half_digit);

        if (below > rows[i].share || above < rows[i].share)
            fail_msg("B(%g, %g) is %g..%g and not %g", rows[i].servers, rows[i].offered, below,
                     above, rows[i].share);
    }
}

/* (a^n / n!) / sum of a^k / k!, each divided by the largest term. */
static double erlang_b_by_sum(int servers, double offered)
{
    double sum = 0, last = servers * log(offered) - lgamma(servers + 1.0);

    for (int k = 0; k <= servers; k++)
        sum += exp(k * log(offered) - lgamma(k + 1.0) - last);
    return 1 / sum;
}

static void test_erlang_sum(void **state)
{
    static const int servers[] = {1, 2, 3, 7, 20, 100, 500, 2000};
    static const double load[] = {0.01, 0.3, 0.8, 0.99, 1, 1.01, 1.5, 20};

    (void)state;
    for (size_t i = 0; i < COUNT(servers); i++) {
        for (size_t k = 0; k < COUNT(load); k++) {
            double offered = servers[i] * load[k];
            double b = plan_erlang_b(servers[i], offered);
            double sum = erlang_b_by_sum(servers[i], offered);

            /* Far below load 1 both are next to nothing, and the sum overflows. */
            if (isnormal(sum) && fabs(b / sum - 1) > 1e-8)
                fail_msg("B(%d, %g) is %g, and the sum %g", servers[i], offered, b, sum);
            assert_true(b >= 0 && b <= 1);
        }
    }
}

static void test_erlang_edges(void **state)
{
    (void)state;
    assert_near(plan_erlang_b(0, 5), 1, 0);
    assert_near(plan_erlang_b(5, 0), 0, 0);
    assert_near(plan_erlang_b(0, 0), 0, 0);
    assert_near(plan_erlang_b(INFINITY, 5), 0, 0);
    assert_near(plan_erlang_b(INFINITY, INFINITY), 0, 0);
    assert_near(plan_erlang_b(5, INFINITY), 1, 0);
    assert_near(plan_erlang_b(5.9, 4), plan_erlang_b(5, 4), 0);
    assert_near(plan_erlang_b(64512, 1), 0, 0);
    assert_near(plan_erlang_b(28232, 1e9), 1 - 28232 / 1e9, 1e-9);
    /* More lines lose less, and more calls lose more. */
    for (int n = 20; n < 300; n++) {
        assert_true(plan_erlang_b(n + 1, 200) < plan_erlang_b(n, 200));
        assert_true(plan_erlang_b(200, n + 1) > plan_erlang_b(200, n));
    }
}

static void test_erlang_servers(void **state)
{
    static const double shares[] = {0.5, 0.1, 0.01, 1e-3, 1e-6, 1e-9};
    static const double offered[] = {0.001, 0.7, 1, 10, 333, 20000};

    (void)state;
    for (size_t i = 0; i < COUNT(shares); i++) {
        for (size_t k = 0; k < COUNT(offered); k++) {
            double n = plan_erlang_b_servers(offered[k], shares[i]);

            assert_near(n, floor(n), 0);
            assert_true(plan_erlang_b(n, offered[k]) <= shares[i]);
            assert_true(n == 0 || plan_erlang_b(n - 1, offered[k]) > shares[i]);
        }
    }
    assert_near(plan_erlang_b_servers(0, 0.01), 0, 0);
    assert_near(plan_erlang_b_servers(0, 0), 0, 0);
    assert_near(plan_erlang_b_servers(5, 1), 0, 0);
    assert_true(isinf(plan_erlang_b_servers(5, 0)));
    assert_true(isinf(plan_erlang_b_servers(INFINITY, 0.01)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_erlang_tables),
        cmocka_unit_test(test_erlang_sum),
        cmocka_unit_test(test_erlang_edges),
        cmocka_unit_test(test_erlang_servers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
