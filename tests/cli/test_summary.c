/* What bench says of its milliseconds, against NumPy's mean, std and percentile of the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/summary.h"

static void figures_are_those_of_numpy(void **state)
{
    double four[] = {3, 1, 4, 2}, one[] = {7}, skewed[] = {10, 1, 1, 1, 1};
    struct csi_summary s = csi_summarise(four, 4);

    (void)state;
    assert_float_equal(s.mean, 2.5, 1e-12);
    assert_float_equal(s.std, 1.118033988749895, 1e-12);
    assert_float_equal(s.min, 1, 0);
    assert_float_equal(s.p50, 2.5, 1e-12);
    assert_float_equal(s.p90, 3.7, 1e-12);
    assert_float_equal(s.p99, 3.97, 1e-12);
    assert_float_equal(s.max, 4, 0);
    s = csi_summarise(one, 1);
    assert_float_equal(s.mean, 7, 0);
    assert_float_equal(s.std, 0, 0);
    assert_float_equal(s.p50, 7, 0);
    assert_float_equal(s.p99, 7, 0);
    s = csi_summarise(skewed, 5);
    assert_float_equal(s.mean, 2.8, 1e-12);
    assert_float_equal(s.std, 3.6, 1e-12);
    assert_float_equal(s.p50, 1, 0);
    assert_float_equal(s.p90, 6.4, 1e-12);
    assert_float_equal(csi_percentile((double[]){2, 3, 1}, 3, 50), 2, 0);
}

/* The median decides: neither the mean nor the best nor the worst. */
static void the_median_meets_the_target(void **state)
{
    struct csi_summary s = {.mean = 50, .min = 5, .p50 = 20, .p90 = 100, .p99 = 200, .max = 300};

    (void)state;
    assert_true(csi_summary_achieves(&s, 20));
    assert_true(csi_summary_achieves(&s, 21));
    assert_false(csi_summary_achieves(&s, 19));
    s.mean = 10;
    assert_false(csi_summary_achieves(&s, 19));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_numpy),
        cmocka_unit_test(the_median_meets_the_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
