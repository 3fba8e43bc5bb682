/*
 * The engine on batches of every size and several threads, beside the same photos one by one.
 */
#include "unit/nets.h"

/* What a run says of one photo, copied. */
struct said {
    float *logits, *embedding, *activations, *gradient;
};

static float *copy_of(const float *from, size_t count)
{
    float *copy = malloc(count * sizeof *copy);

    assert_non_null(from);
    assert_non_null(copy);
    memcpy(copy, from, count * sizeof *copy);
    return copy;
}

static struct said said_of(struct csi_exec *exec, const struct csi_plan_info *info, size_t photo)
{
    size_t map = info->map_channels * info->map_height * info->map_width;
    const float *gradient;

    assert_int_equal(csi_exec_gradient(exec, photo, 1, &gradient, NULL), CS_OK);
    return (struct said){
        copy_of(csi_exec_logits(exec) + photo * info->class_count, info->class_count),
        info->embedding_size == 0
            ? NULL
            : copy_of(csi_exec_embedding(exec) + photo * info->embedding_size, info->embedding_size),
        copy_of(csi_exec_activations(exec, photo), map),
        copy_of(gradient, map),
    };
}

static void compare_and_free(struct said *a, struct said *b, const struct csi_plan_info *info)
{
    size_t map = info->map_channels * info->map_height * info->map_width;

    assert_memory_equal(a->logits, b->logits, info->class_count * sizeof(float));
    if (info->embedding_size > 0)
        assert_memory_equal(a->embedding, b->embedding, info->embedding_size * sizeof(float));
    assert_memory_equal(a->activations, b->activations, map * sizeof(float));
    assert_memory_equal(a->gradient, b->gradient, map * sizeof(float));
    for (int i = 0; i < 2; i++, a = b) {
        free(a->logits);
        free(a->embedding);
        free(a->activations);
        free(a->gradient);
    }
}

static void compare_batches(const struct csi_graph *graph, enum cs_precision precision, unsigned threads,
                            const float *input, size_t most)
{
    struct csi_plan_options options = {.max_batch = (unsigned)most, .precision = precision};
    struct csi_plan *plan;
    struct csi_exec *together, *single;

    assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, NULL), CS_OK);
    assert_int_equal(csi_pool_create(threads, &options.pool, NULL), CS_OK);
    assert_int_equal(csi_plan_create(graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_exec_create(plan, &together, NULL), CS_OK);
    assert_int_equal(csi_exec_create(plan, &single, NULL), CS_OK);
    for (size_t batch = 1; batch <= most; batch++) {
        assert_int_equal(csi_exec_run(together, input, batch, false, NULL), CS_OK);
        for (size_t n = 0; n < batch; n++) {
            const struct csi_plan_info *info = csi_plan_info(plan);
            size_t photo = info->input_channels * info->input_height * info->input_width;
            struct said a, b;

            assert_int_equal(csi_exec_run(single, input + n * photo, 1, true, NULL), CS_OK);
            a = said_of(together, info, n);
            b = said_of(single, info, 0);
            compare_and_free(&a, &b, info);
        }
    }
    csi_exec_destroy(single);
    csi_exec_destroy(together);
    csi_plan_destroy(plan);
    csi_pool_destroy(options.pool);
}

/* What becomes of a photo does not depend on its batch, nor on how many threads share the work: bit for bit,
 * in float32, in fixed point or integers, with large maps, whose tiles a batch cuts elsewhere, and small. */
static void test_batches(void **state)
{
    enum { SIDE = 48, MOST = 7 };
    float *input = malloc((size_t)MOST * 3 * SIDE * SIDE * sizeof *input);

    (void)state;
    assert_non_null(input);
    for (int scaled = 0; scaled < 2; scaled++) {
        struct csi_output_scale scales[16];
        size_t count = 0;
        struct net net;

        start(&net, 3, SIDE, SIDE);
        conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        conv(&net, net.last, (struct conv_shape){32, 3, 1, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
        conv(&net, net.last, (struct conv_shape){128, 3, 1, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        conv(&net, net.last, (struct conv_shape){48, 3, 2, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        head(&net, 6);
        net.graph->output = net.last;
        for (size_t i = 0; i < (size_t)MOST * 3 * SIDE * SIDE; i++)
            input[i] = random_float(&net);
        for (size_t i = 0; i + 3 < net.graph->node_count && count < 16; i++)
            scales[count++] = (struct csi_output_scale){.node = i, .scale = 0.02f, .zero = 0};
        if (scaled == 1)
            assert_int_equal(csi_graph_set_scales(net.graph, scales, count, NULL), CS_OK);
        for (unsigned threads = 1; threads <= 3; threads++) {
            compare_batches(net.graph, CS_PRECISION_FP32, threads, input, MOST);
            compare_batches(net.graph, CS_PRECISION_INT8, threads, input, MOST);
        }
        csi_graph_destroy(net.graph);
    }
    free(input);
}

#if !defined(__SANITIZE_THREAD__) /* where it takes half a minute and shares nothing more between threads */
/* A large linear layer for little computing: threads share the photos of a batch. */
static void test_heavy_weights(void **state)
{
    enum { SIDE = 40, MOST = 3 };
    float *input = malloc((size_t)MOST * 3 * SIDE * SIDE * sizeof *input);

    (void)state;
    assert_non_null(input);
    for (int heavy = 0; heavy < 2; heavy++) {
        struct csi_plan_options options = {.max_batch = 1};
        struct csi_plan *plan;
        struct net net;

        start(&net, 3, SIDE, SIDE);
        conv(&net, net.last, (struct conv_shape){8, 3, 1, 1, 1, 1, true});
        if (heavy == 1) {
            simple(&net, net.last, CSI_OP_FLATTEN);
            linear(&net, net.last, 720);
        } else {
            head(&net, 20);
        }
        net.graph->output = net.last;
        for (size_t i = 0; i < (size_t)MOST * 3 * SIDE * SIDE; i++)
            input[i] = random_float(&net);
        assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, NULL), CS_OK);
        assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
        assert_int_equal(csi_plan_info(plan)->light_weights, heavy == 0);
        assert_true(csi_plan_info(plan)->gflop > 0);
        csi_plan_destroy(plan);
        compare_batches(net.graph, CS_PRECISION_FP32, 2, input, MOST);
        csi_graph_destroy(net.graph);
    }
    free(input);
}
#endif

/* Numbers so large that sums leave float32's range: no NaN is lost on the way, on no instruction set, and the
 * photo's neighbour in the batch has its results. */
static void test_overflow(void **state)
{
    static const char *const masks[] = {"generic", "avx2", "avx512", "neon", "all"};
    enum { SIDE = 24 };
    float *input = malloc((size_t)2 * 3 * SIDE * SIDE * sizeof *input);
    struct net net;

    (void)state;
    assert_non_null(input);
    start(&net, 3, SIDE, SIDE);
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    act(&net, net.last, CSI_ACT_RELU, 0, 0);
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    act(&net, net.last, CSI_ACT_RELU, 0, 0);
    pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
    head(&net, 6);
    net.graph->output = net.last;
    for (size_t i = 0; i < (size_t)2 * 3 * SIDE * SIDE; i++)
        input[i] = random_float(&net) * (i < (size_t)3 * SIDE * SIDE ? 1.0f : 3e38f);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        struct csi_plan_options options = {.max_batch = 2};
        struct csi_plan *plan;
        struct csi_exec *exec;
        struct cs_error error = {0};

        assert_int_equal(csi_cpu_allowed(masks[i], &options.cpu_features, NULL), CS_OK);
        assert_int_equal(csi_pool_create(1, &options.pool, NULL), CS_OK);
        assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
        assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
        assert_int_equal(csi_exec_run(exec, input, 2, false, NULL), CS_OK);
        assert_int_equal(csi_exec_check(exec, 0, &error), CS_OK);
        if (csi_exec_check(exec, 1, &error) != CS_MODEL_INVALID)
            fail_msg("%s: a number came of inputs that overflow", masks[i]);
        assert_non_null(strstr(error.message, "no finite numbers"));
        csi_exec_destroy(exec);
        csi_plan_destroy(plan);
        csi_pool_destroy(options.pool);
    }
    csi_graph_destroy(net.graph);
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_overflow),
#if !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_heavy_weights),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
