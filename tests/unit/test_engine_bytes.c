/*
 * INT8 of calibrated networks: the shapes at whose edges the choice of a layer's form lies (what reads the
 * photo, what stands between a convolution and its pool) on each kernel set, against a plain evaluation in
 * float32. The layers of shipped networks are covered by the parity tests.
 */
#include "engine/calibrate.h"
#include "engine/internal.h"
#include "unit/nets.h"

#define THREADS   2u
#define TOLERANCE 0.03 /* of the largest logit; a wrong map is off by a third and more */

/* Scales from the least and the largest number of each map over the inputs of the test. */
static void calibrate(struct net *net, const float *input, size_t photo)
{
    struct csi_graph *graph = net->graph;
    struct csi_output_scale *scales = calloc(graph->node_count, sizeof *scales);

    assert_non_null(scales);
    for (size_t i = 0; i < graph->node_count; i++) {
        float low = 0.0f, high = 1e-6f;

        for (size_t n = 0; n < BATCH; n++) {
            float **values = evaluate(graph, input + n * photo);
            const float *map = values[graph->nodes[i].output];

            for (size_t k = 0; k < csi_value_elements(&graph->values[graph->nodes[i].output]); k++) {
                low = fminf(low, map[k]);
                high = fmaxf(high, map[k]);
            }
            free_values(graph, values);
        }
        scales[i] = (struct csi_output_scale){.node = i, .scale = (high - low) / 255.0f};
        scales[i].zero = (int)nearbyintf(-low / scales[i].scale);
    }
    assert_int_equal(csi_graph_set_scales(graph, scales, graph->node_count, NULL), CS_OK);
    free(scales);
}

static void check_mask(struct net *net, const char *mask, const float *input, size_t photo, size_t integers)
{
    struct csi_plan_options options = {.max_batch = BATCH, .precision = CS_PRECISION_INT8};
    size_t classes = csi_value_elements(&net->graph->values[net->graph->output]), found = 0;
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};

    assert_int_equal(csi_cpu_allowed(mask, &options.cpu_features, NULL), CS_OK);
    assert_int_equal(csi_pool_create(THREADS, &options.pool, NULL), CS_OK);
    if (csi_plan_create(net->graph, &options, &plan, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_true(csi_plan_info(plan)->integers);
    for (size_t i = 0; i < csi_plan_layer_count(plan); i++) {
        const char *name = csi_plan_layer(plan, i)->algorithm;

        found += strstr(name, "int8") != NULL && strncmp(name, "max_pool", 8) != 0 &&
                 strncmp(name, "linear", 6) != 0;
    }
    assert_int_equal(found, integers);
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    assert_int_equal(csi_exec_run(exec, input, BATCH, false, NULL), CS_OK);
    for (size_t n = 0; n < BATCH; n++) {
        float **expected = evaluate(net->graph, input + n * photo);

        assert_near(mask, csi_exec_logits(exec) + n * classes, expected[net->graph->output], classes,
                    TOLERANCE);
        free_values(net->graph, expected);
    }
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_pool_destroy(options.pool);
}

/* Takes the network over. `integers`: convolutions that compute on bytes. A network with marks of its own is
 * not calibrated. */
static void check_network(struct net *net, bool marked, size_t integers)
{
    static const char *const masks[] = {"generic", "avx2", "avx512", "avx512vnni", "all"};
    size_t photo = csi_value_elements(&net->graph->values[net->graph->input]);
    float *input = malloc(BATCH * photo * sizeof *input);

    assert_non_null(input);
    for (size_t i = 0; i < BATCH * photo; i++)
        input[i] = random_float(net);
    simple(net, net->last, CSI_OP_FLATTEN); /* not a mean, in which a wrong map could hide */
    linear(net, net->last, 10);
    net->graph->output = net->last;
    if (!marked)
        calibrate(net, input, photo);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++)
        check_mask(net, masks[i], input, photo, integers);
    free(input);
    csi_graph_destroy(net->graph);
}

static void check_integers(struct net *net, size_t integers)
{
    check_network(net, false, integers);
}

/* A pool between a convolution and its activation: one that is a clamp is the convolution's, others are not.
 */
static void test_pool_before_activation(void **state)
{
    static const enum csi_activation kinds[] = {CSI_ACT_RELU,    CSI_ACT_LEAKY_RELU, CSI_ACT_SWISH,
                                                CSI_ACT_SIGMOID, CSI_ACT_CLIP,       CSI_ACT_TANH,
                                                CSI_ACT_GELU};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct net net;

        start(&net, 3, 16, 16);
        conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        conv(&net, net.last, (struct conv_shape){24, 3, 1, 1, 1, 1, true});
        pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
        act(&net, net.last, kinds[i], kinds[i] == CSI_ACT_CLIP ? -0.5f : 0.1f, 1.0f);
        conv(&net, net.last, (struct conv_shape){16, 1, 1, 0, 1, 1, true});
        check_integers(&net, 3);
    }
}

/* Layers that read the photo as the kernel for photos does, and those that want it as a map of bytes. */
static void test_readers_of_the_photo(void **state)
{
    static const struct {
        struct conv_shape shape;
        size_t integers;
    } cases[] = {
        {{16, 3, 1, 1, 1, 1, true}, 2}, {{16, 3, 2, 0, 1, 1, true}, 2}, {{16, 1, 1, 0, 1, 1, false}, 2},
        {{16, 3, 1, 2, 1, 2, true}, 2}, {{3, 3, 1, 1, 3, 1, true}, 2},  {{3, 5, 2, 2, 3, 1, false}, 2},
        {{3, 3, 1, 2, 3, 2, true}, 2},  {{6, 3, 1, 1, 3, 1, true}, 1}, /* grouped convolutions stay float */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net net;

        start(&net, 3, 16, 16);
        conv(&net, net.last, cases[i].shape);
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
        check_integers(&net, cases[i].integers);
    }
}

/* The photo read in both ways at once. */
static void test_photo_read_twice(void **state)
{
    struct net net;
    int photo, plain;

    (void)state;
    start(&net, 3, 16, 16);
    photo = net.last;
    plain = conv(&net, photo, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    conv(&net, photo, (struct conv_shape){16, 3, 1, 2, 1, 2, true});
    binary(&net, CSI_OP_ADD, net.last, plain);
    act(&net, net.last, CSI_ACT_RELU, 0, 0);
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    check_integers(&net, 3);
}

static void mark(struct net *net, float scale, int zero)
{
    struct csi_node node = node_of(net, CSI_OP_QUANTIZE);

    node.scale = scale;
    node.zero_point = zero;
    node.alpha = 0;
    node.beta = 255;
    add(net, &node, net->last);
}

/* A convolution that does not compute on bytes reads the photo as its mark rounds it: grouped, or with
 * weights that the network leaves in float. */
static void test_marked_photo_read_in_float(void **state)
{
    static const struct conv_shape shapes[] = {
        {6, 3, 1, 1, 3, 1, true}, {16, 3, 1, 1, 1, 1, true}, {3, 3, 1, 1, 3, 1, true}};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct net net;

        start(&net, 3, 16, 16);
        mark(&net, 0.5f, 128); /* coarse: the unrounded photo gives other logits */
        conv(&net, net.last, shapes[i]);
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
        check_network(&net, true, 0);
    }
}

/* Corrections are found by the layer's name: names that are the same, or in their first hundred bytes, must
 * not be mixed up. */
static void test_corrections_of_layers_named_alike(void **state)
{
    static const char *const names[][2] = {{"a", "b"}, {"same", "same"}, {NULL, NULL}};
    float input[BATCH * 3 * 12 * 12];

    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        struct net net;
        uint32_t features;
        struct csi_calibration *calibration;
        const struct csi_output_scale *scales;
        const struct csi_tensor *corrections;
        size_t count;

        start(&net, 3, 12, 12);
        for (size_t i = 0; i < 2; i++) {
            conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
            if (names[k][i] != NULL)
                snprintf(last_node(&net)->name, CSI_NAME_SIZE, "%s", names[k][i]);
            else
                snprintf(last_node(&net)->name, CSI_NAME_SIZE, "%0110d.%zu", 0, i);
            act(&net, net.last, CSI_ACT_RELU, 0, 0);
        }
        head(&net, 5);
        net.graph->output = net.last;
        for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
            input[i] = random_float(&net);
        assert_int_equal(csi_cpu_allowed("all", &features, NULL), CS_OK);
        assert_int_equal(csi_calibration_create(net.graph, features, NULL, &calibration, NULL), CS_OK);
        for (size_t n = 0; n < BATCH; n++)
            assert_int_equal(csi_calibration_add(calibration, input + n * 3 * 12 * 12, NULL), CS_OK);
        assert_int_equal(csi_calibration_scales(calibration, CSI_CALIBRATE_MINMAX, 0, &scales, &count, NULL),
                         CS_OK);
        assert_int_equal(csi_graph_set_scales(net.graph, scales, count, NULL), CS_OK);
        assert_int_equal(csi_calibration_corrections(calibration, net.graph, &corrections, &count, NULL),
                         CS_OK);
        assert_int_equal(count, 3);
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(corrections[i].name, corrections[j].name);
            assert_int_equal(csi_graph_add_extra(net.graph, corrections[i].name, corrections[i].rank,
                                                 corrections[i].dims, corrections[i].data, NULL),
                             CS_OK);
        }
        check_mask(&net, "all", input, 3 * 12 * 12, 2);
        csi_calibration_destroy(calibration);
        csi_graph_destroy(net.graph);
    }
}

/* The share of the values that the range of the percentile leaves out is what was asked for, whether they lie
 * on one side of 0 or on both. */
static void test_percentile_is_the_share_inside(void **state)
{
    enum { COUNT = 3 * 12 * 12 };
    static const struct {
        float low, high, inside_low, inside_high;
    } cases[] = {{-1, 1, -0.8f, 0.8f}, {0, 1, 0, 0.8f}, {-1, 0, -0.8f, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float input[COUNT], range = cases[i].inside_high - cases[i].inside_low;
        struct csi_calibration *calibration;
        const struct csi_output_scale *scales;
        struct net net;
        uint32_t features;
        size_t count;

        start(&net, 3, 12, 12);
        head(&net, 4);
        net.graph->output = net.last;
        for (size_t k = 0; k < COUNT; k++)
            input[k] = cases[i].low + (cases[i].high - cases[i].low) * ((float)k + 0.5f) / COUNT;
        assert_int_equal(csi_cpu_allowed("all", &features, NULL), CS_OK);
        assert_int_equal(csi_calibration_create(net.graph, features, NULL, &calibration, NULL), CS_OK);
        assert_int_equal(csi_calibration_add(calibration, input, NULL), CS_OK);
        assert_int_equal(
            csi_calibration_scales(calibration, CSI_CALIBRATE_PERCENTILE, 80, &scales, &count, NULL), CS_OK);
        assert_int_equal(scales[0].node, 0); /* the photo */
        if (fabsf(scales[0].scale * 255.0f - range) > 0.01f)
            fail_msg("%g to %g: a range of %g", (double)cases[i].low, (double)cases[i].high,
                     (double)scales[0].scale * 255);
        csi_calibration_destroy(calibration);
        csi_graph_destroy(net.graph);
    }
}

/* Weights of the least numbers there are still have levels of some scale. */
static void test_levels_of_the_least_weights(void **state)
{
    struct cs_error error = {0};
    struct net net;
    struct csi_ir *ir;
    int8_t *levels;
    float *scales, *weight;

    (void)state;
    start(&net, 3, 4, 4);
    conv(&net, net.last, (struct conv_shape){2, 1, 1, 0, 1, 1, false});
    weight = net.graph->values[last_node(&net)->inputs[1]].data;
    for (size_t i = 0; i < 6; i++)
        weight[i] = i % 2 == 0 ? 1e-45f : i == 1 ? -2.0f : 0.0f; /* [-2 and least], [least and zeros] */
    head(&net, 4);
    net.graph->output = net.last;
    if (csi_ir_create(net.graph, NULL, false, &ir, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(ir->nodes[0].op, CSI_OP_CONV);
    assert_true(csi_byte_levels(ir, &ir->nodes[0], &levels, &scales));
    assert_true(fabsf(scales[0] - 2.0f / 127.0f) < 1e-6f);
    assert_int_equal(levels[1], -127);
    assert_true(scales[1] == 1.0f);
    for (size_t i = 0; i < 6; i++)
        assert_true(i == 1 || levels[i] == 0);
    free(levels);
    free(scales);
    csi_ir_destroy(ir);
    csi_graph_destroy(net.graph);
}

/* A clip beside the range of the bytes leaves one level of them. */
static void test_bounds_stay_in_the_range(void **state)
{
    static const struct {
        float low, high, expected_low, expected_high;
    } cases[] = {
        {-INFINITY, INFINITY, -50.0f, 77.5f},
        {0.0f, 6.0f, 0.0f, 6.0f},
        {1e12f, 2e12f, 77.5f, 77.5f},
        {-2e12f, -1e12f, -50.0f, -50.0f},
    };
    const struct csi_slot slot = {.bytes = true, .scale = {0.5f, 100}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float low = cases[i].low, high = cases[i].high;

        csi_byte_bounds(&slot, &low, &high);
        assert_true(low == cases[i].expected_low);
        assert_true(high == cases[i].expected_high);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_before_activation),
        cmocka_unit_test(test_readers_of_the_photo),
        cmocka_unit_test(test_photo_read_twice),
        cmocka_unit_test(test_marked_photo_read_in_float),
        cmocka_unit_test(test_corrections_of_layers_named_alike),
        cmocka_unit_test(test_percentile_is_the_share_inside),
        cmocka_unit_test(test_levels_of_the_least_weights),
        cmocka_unit_test(test_bounds_stay_in_the_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
