/*
 * Logits of every architecture and kernel set against PyTorch's, one photo at a time and as a batch.
 */
#include "parity/golden.h"

static size_t top(const float *logits, size_t count)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static double run_case(const struct golden *golden, uint32_t features, struct csi_pool *pool,
                       const char **kernels)
{
    size_t pixels = 3 * golden->input_size * golden->input_size, classes = golden->classes;
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};
    double largest = 0.0;

    golden_plan(golden, features, pool, &plan, &exec);
    *kernels = csi_plan_info(plan)->kernels;
    assert_int_equal(csi_plan_info(plan)->class_count, classes);
    for (size_t i = 0; i <= golden->inputs; i++) { /* each alone (on the calling thread), then all together */
        size_t first = i < golden->inputs ? i : 0, batch = i < golden->inputs ? 1 : golden->inputs;
        const float *wanted = golden->logits + first * classes;

        if (csi_exec_run(exec, golden->input + first * pixels, batch, batch == 1, &error) != CS_OK)
            fail_msg("%s", error.message);
        largest = fmax(largest, golden_difference(csi_exec_logits(exec), wanted, batch * classes));
        for (size_t k = 0; k < batch; k++)
            if (top(csi_exec_logits(exec) + k * classes, classes) != top(wanted + k * classes, classes))
                largest = (double)INFINITY; /* another class on top is never near enough */
    }
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    return largest;
}

static void logits_are_those_of_pytorch(void **state)
{
    struct cs_error error = {0};
    struct csi_pool *pool;
    bool failed = false;

    (void)state;
    assert_int_equal(csi_pool_create(2, &pool, &error), CS_OK);
    for (size_t i = 0; i < GOLDEN_CASES; i++) {
        struct golden golden;

        if (!golden_wanted(golden_cases[i]))
            continue;
        golden_load(golden_cases[i], &golden);
        for (size_t k = 0; k < GOLDEN_MASKS; k++) {
            uint32_t features;
            const char *kernels;
            double difference;

            if (!golden_kernels(golden_masks[k], &features) || !set_wanted(golden_masks[k]) ||
                golden_repeats(golden_cases[i], golden_masks[k]))
                continue;
            difference = run_case(&golden, features, pool, &kernels);
            printf("%-20s %-8s largest difference %.2e%s\n", golden_cases[i], kernels, difference,
                   difference <= GOLDEN_TOLERANCE ? "" : "  TOO LARGE");
            failed |= !(difference <= GOLDEN_TOLERANCE);
        }
        golden_free(&golden);
    }
    csi_pool_destroy(pool);
    assert_false(failed);
}

/* Fixed point: root mean square and largest error of the reference network's logits, all inputs together: one
 * and a half times what occurs. */
#define FIXED_RMS     5e-3
#define FIXED_LARGEST 1.3e-2

static void fixed_point_is_near(void **state)
{
    struct cs_error error = {0};
    struct csi_plan_options options = {.precision = CS_PRECISION_INT8};
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct golden golden;
    double squares = 0.0, largest = 0.0;
    size_t count;

    (void)state;
    assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, &error), CS_OK);
    if ((options.cpu_features & CSI_CPU_AVX512_VNNI) == 0 || !golden_wanted("embedded"))
        skip(); /* other instruction sets have no fixed point */
    golden_load("embedded", &golden);
    options.max_batch = (unsigned)golden.inputs;
    assert_int_equal(csi_pool_create(2, &options.pool, &error), CS_OK);
    assert_int_equal(csi_plan_create(golden.graph, &options, &plan, &error), CS_OK);
    assert_int_equal(csi_plan_info(plan)->precision, CS_PRECISION_INT8);
    assert_int_equal(csi_exec_create(plan, &exec, &error), CS_OK);
    count = golden.inputs * golden.classes;
    assert_int_equal(csi_exec_run(exec, golden.input, golden.inputs, false, &error), CS_OK);
    for (size_t i = 0; i < count; i++) {
        double difference = (double)csi_exec_logits(exec)[i] - (double)golden.logits[i];

        squares += difference * difference;
        largest = fmax(largest, fabs(difference));
    }
    printf("16-bit fixed point: error of the logits %.2e rms, %.2e at most\n", sqrt(squares / (double)count),
           largest);
    assert_true(sqrt(squares / (double)count) <= FIXED_RMS);
    assert_true(largest <= FIXED_LARGEST);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_pool_destroy(options.pool);
    golden_free(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_are_those_of_pytorch),
                                       cmocka_unit_test(fixed_point_is_near)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
