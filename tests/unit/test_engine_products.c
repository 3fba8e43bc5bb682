/*
 * Convolutions that run over packed inputs (engine/step_product.c): shapes on both sides of each of its
 * choices, against a plain evaluation; and the same bits for any batch and number of threads.
 */
#include "unit/nets.h"

#define THREADS 3u

static bool runs_packed(const struct csi_plan *plan)
{
    for (size_t i = 0; i < csi_plan_layer_count(plan); i++) {
        if (strstr(csi_plan_layer(plan, i)->algorithm, "_packed") != NULL)
            return true;
    }
    return false;
}

/* Logits are the same bits alone, in a batch, on one thread and on several. */
static void check_bits(struct net *net)
{
    struct csi_plan_options options = {.max_batch = BATCH};
    size_t photo = csi_value_elements(&net->graph->values[net->graph->input]), classes;
    float *input = malloc(BATCH * photo * sizeof *input), *expected;
    struct csi_plan *plan;
    struct csi_exec *exec;

    assert_non_null(input);
    for (size_t i = 0; i < BATCH * photo; i++)
        input[i] = random_float(net);
    assert_int_equal(csi_cpu_allowed("all", &options.cpu_features, NULL), CS_OK);
    assert_int_equal(csi_pool_create(THREADS, &options.pool, NULL), CS_OK);
    assert_int_equal(csi_plan_create(net->graph, &options, &plan, NULL), CS_OK);
    assert_true(runs_packed(plan));
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    classes = csi_plan_info(plan)->class_count;
    expected = malloc(BATCH * classes * sizeof *expected);
    assert_non_null(expected);
    assert_int_equal(csi_exec_run(exec, input, BATCH, false, NULL), CS_OK);
    memcpy(expected, csi_exec_logits(exec), BATCH * classes * sizeof *expected);
    for (size_t n = 0; n < BATCH; n++) {
        for (int serial = 0; serial < 2; serial++) {
            assert_int_equal(csi_exec_run(exec, input + n * photo, 1, serial == 1, NULL), CS_OK);
            assert_memory_equal(csi_exec_logits(exec), expected + n * classes, classes * sizeof *expected);
        }
    }
    free(expected);
    free(input);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_pool_destroy(options.pool);
}

static void finish(struct net *net)
{
    head(net, 6);
    net->graph->output = net->last;
    check_bits(net);
    check(net, NULL, -1);
}

static void test_shapes(void **state)
{
    static const struct {
        size_t channels, height, width;
        struct conv_shape conv;
    } cases[] = {
        {64, 5, 6, {160, 1, 1, 0, 1, 1, true}},    /* one chunk, some narrow panel */
        {64, 19, 18, {128, 1, 1, 0, 1, 1, false}}, /* several blocks */
        {64, 13, 12, {130, 1, 2, 0, 1, 1, true}},  /* gathered */
        {1040, 4, 5, {24, 1, 1, 0, 1, 1, true}},   /* three chunks, few outputs */
        {1024, 3, 2, {48, 1, 1, 1, 1, 1, true}},   /* padding around 1×1 */
        {512, 5, 4, {24, 3, 1, 1, 1, 1, true}},    /* a position a chunk; padding left out */
        {528, 4, 3, {40, 3, 2, 1, 1, 1, false}},   /* two chunks a position */
        {512, 2, 1, {20, 3, 1, 2, 1, 2, true}},    /* no position sees all outputs */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int with_act = 0; with_act < 2; with_act++) {
            struct net net;

            start(&net, 3, cases[i].height, cases[i].width);
            conv(&net, net.last, (struct conv_shape){cases[i].channels, 1, 1, 0, 1, 1, true});
            act(&net, net.last, CSI_ACT_RELU, 0, 0);
            conv(&net, net.last, cases[i].conv);
            act(&net, net.last, with_act == 0 ? CSI_ACT_RELU : CSI_ACT_SWISH, 0, 0);
            finish(&net);
        }
    }
}

static void test_residuals(void **state)
{
    static const enum csi_activation acts[] = {CSI_ACT_NONE, CSI_ACT_RELU, CSI_ACT_HARD_SIGMOID};

    (void)state;
    for (size_t kernel = 1; kernel <= 3; kernel += 2) {
        for (size_t before = 0; before < 3; before++) {
            for (size_t after = 0; after < 3; after++) {
                struct net net;
                size_t outputs = kernel == 1 ? 130 : 24;
                int map, shortcut;

                start(&net, 3, 4, 5);
                map = conv(&net, net.last, (struct conv_shape){kernel == 1 ? 64 : 512, 1, 1, 0, 1, 1, true});
                shortcut = conv(&net, net.last, (struct conv_shape){outputs, 3, 1, 1, 1, 1, true});
                conv(&net, map,
                     (struct conv_shape){outputs, (unsigned)kernel, 1, (unsigned)kernel / 2, 1, 1, true});
                act(&net, net.last, acts[before], 0.2f, 0.5f);
                binary(&net, CSI_OP_ADD, net.last, shortcut);
                act(&net, net.last, acts[after], 0.2f, 0.5f);
                finish(&net);
            }
        }
    }
}

/* A gate on the channels of the input: a part of its own for each photo. */
static void test_gates(void **state)
{
    (void)state;
    for (size_t size = 3; size <= 15; size += 12) {
        struct net net;
        int map;

        start(&net, 3, size, size + 1);
        map = conv(&net, net.last, (struct conv_shape){64, 3, 1, 1, 1, 1, true});
        simple(&net, net.last, CSI_OP_GLOBAL_AVG_POOL);
        conv(&net, net.last, (struct conv_shape){64, 1, 1, 0, 1, 1, true});
        act(&net, net.last, CSI_ACT_SIGMOID, 0, 0);
        binary(&net, CSI_OP_MUL, map, net.last);
        conv(&net, net.last, (struct conv_shape){150, 1, 1, 0, 1, 1, true});
        finish(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_residuals),
        cmocka_unit_test(test_gates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
