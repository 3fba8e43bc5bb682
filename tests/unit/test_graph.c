/*
 * The graph: shapes of every operator, refusal of what does not fit, counts.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "graph/graph.h"

struct fixture {
    struct csi_graph *graph;
    struct cs_error error;
    int x; /* [1,8,14,13] */
};

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof fixture);
    assert_int_equal(csi_graph_create(&fixture.graph, &fixture.error), CS_OK);
    assert_int_equal(csi_graph_add_input(fixture.graph, 8, 14, 13, &fixture.x, &fixture.error), CS_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    csi_graph_destroy(fixture->graph);
    csi_graph_destroy(NULL);
    return 0;
}

static int constant(struct fixture *f, unsigned rank, size_t a, size_t b, size_t c, size_t d)
{
    size_t dims[4] = {a, b, c, d};
    int value;

    assert_int_equal(csi_graph_add_constant(f->graph, "constant", rank, dims, NULL, &value, &f->error),
                     CS_OK);
    return value;
}

static struct csi_node node(enum csi_op op, unsigned count, int a, int b, int c)
{
    struct csi_node made = csi_node_init(op, "node");

    made.inputs[0] = a;
    made.inputs[1] = b;
    made.inputs[2] = c;
    made.input_count = count;
    return made;
}

static int add(struct fixture *f, const struct csi_node *made)
{
    int value;

    if (csi_graph_add_node(f->graph, made, &value, &f->error) != CS_OK)
        fail_msg("%s", f->error.message);
    return value;
}

static void refuse(struct fixture *f, const struct csi_node *made, enum cs_status status, const char *words)
{
    size_t nodes = f->graph->node_count;
    int value;

    assert_int_equal(csi_graph_add_node(f->graph, made, &value, &f->error), status);
    assert_int_equal(value, CSI_NO_VALUE);
    assert_int_equal(f->graph->node_count, nodes);
    if (strstr(f->error.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", f->error.message, words);
}

static void check_shape(const struct fixture *f, int value, unsigned rank, size_t a, size_t b, size_t c,
                        size_t d)
{
    const size_t wanted[4] = {a, b, c, d};

    assert_int_equal(f->graph->values[value].rank, rank);
    for (unsigned i = 0; i < rank; i++)
        assert_int_equal(f->graph->values[value].dims[i], wanted[i]);
}

static void conv_shapes(void **state)
{
    struct fixture *f = *state;
    struct csi_node conv = node(CSI_OP_CONV, 3, f->x, constant(f, 4, 6, 2, 3, 5), constant(f, 1, 6, 0, 0, 0));

    conv.groups = 4; /* 8 channels in groups of 2 */
    conv.kernel[0] = 3;
    conv.kernel[1] = 5;
    conv.stride[0] = 2;
    conv.dilation[1] = 2;
    conv.pads[0] = 1;
    refuse(f, &conv, CS_MODEL_INVALID, "groups"); /* 6 outputs are no 4 groups */
    conv.groups = 1;
    refuse(f, &conv, CS_MODEL_INVALID, "does not fit 8 channels");
    conv.inputs[1] = constant(f, 4, 6, 4, 3, 5);
    conv.groups = 2;
    check_shape(f, add(f, &conv), 4, 1, 6, 7, 5);
    conv.dilation[1] = 4; /* spans 17 of 13 */
    refuse(f, &conv, CS_MODEL_INVALID, "do not fit");
    conv.dilation[1] = 1;
    conv.stride[1] = 0;
    refuse(f, &conv, CS_MODEL_INVALID, "do not fit");
    conv.stride[1] = 1;
    conv.inputs[2] = constant(f, 1, 5, 0, 0, 0);
    refuse(f, &conv, CS_MODEL_INVALID, "bias");
    conv.inputs[1] = f->x;
    refuse(f, &conv, CS_MODEL_UNSUPPORTED, "constant");
    conv.inputs[1] = 999;
    refuse(f, &conv, CS_MODEL_INVALID, "does not exist");
}

static void pool_shapes(void **state)
{
    struct fixture *f = *state;
    struct csi_node pool = node(CSI_OP_MAX_POOL, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);

    pool.kernel[0] = pool.kernel[1] = 3;
    pool.stride[0] = pool.stride[1] = 2;
    check_shape(f, add(f, &pool), 4, 1, 8, 6, 6);
    pool.ceil_mode = true;
    check_shape(f, add(f, &pool), 4, 1, 8, 7, 6);
    pool.kernel[0] = pool.kernel[1] = 1; /* 14/2: a window at 14 would start behind the input */
    check_shape(f, add(f, &pool), 4, 1, 8, 7, 7);
    pool.kernel[0] = pool.kernel[1] = 2;
    pool.pads[0] = 2;
    refuse(f, &pool, CS_MODEL_INVALID, "do not fit");
    pool = node(CSI_OP_GLOBAL_AVG_POOL, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    check_shape(f, add(f, &pool), 4, 1, 8, 1, 1);
}

static void head_shapes(void **state)
{
    struct fixture *f = *state;
    struct csi_node flatten = node(CSI_OP_FLATTEN, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    struct csi_node linear =
        node(CSI_OP_LINEAR, 2, add(f, &flatten), constant(f, 2, 22, 1456, 0, 0), CSI_NO_VALUE);
    struct csi_node reshape = node(CSI_OP_RESHAPE, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    int logits = add(f, &linear);

    check_shape(f, logits, 2, 1, 22, 0, 0);
    linear.inputs[0] = f->x;
    refuse(f, &linear, CS_MODEL_INVALID, "1456 features");
    reshape.shape_rank = 3;
    reshape.shape[0] = 1;
    reshape.shape[1] = 8;
    reshape.shape[2] = 182;
    check_shape(f, add(f, &reshape), 3, 1, 8, 182, 0);
    reshape.shape[2] = 181;
    refuse(f, &reshape, CS_MODEL_INVALID, "elements");
    reshape.shape[1] = SIZE_MAX / 2;
    reshape.shape[2] = 3;
    refuse(f, &reshape, CS_MODEL_INVALID, "overflows");
    reshape.shape[0] = 2;
    refuse(f, &reshape, CS_MODEL_UNSUPPORTED, "batch");
}

static void broadcasting(void **state)
{
    struct fixture *f = *state;
    struct csi_node gap = node(CSI_OP_GLOBAL_AVG_POOL, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    struct csi_node mul = node(CSI_OP_MUL, 2, f->x, add(f, &gap), CSI_NO_VALUE);

    check_shape(f, add(f, &mul), 4, 1, 8, 14, 13);
    mul.inputs[0] = mul.inputs[1]; /* the smaller first */
    mul.inputs[1] = f->x;
    check_shape(f, add(f, &mul), 4, 1, 8, 14, 13);
    mul.inputs[0] = constant(f, 3, 8, 1, 1, 0);
    check_shape(f, add(f, &mul), 4, 1, 8, 14, 13);
    mul.inputs[0] = constant(f, 1, 7, 0, 0, 0);
    refuse(f, &mul, CS_MODEL_INVALID, "broadcast");
    mul.inputs[0] = constant(f, 4, 2, 1, 1, 1);
    refuse(f, &mul, CS_MODEL_UNSUPPORTED, "batch");
    mul.inputs[1] = mul.inputs[0];
    refuse(f, &mul, CS_MODEL_INVALID, "constants");
}

static void other_operators(void **state)
{
    struct fixture *f = *state;
    struct csi_node concat = node(CSI_OP_CONCAT, 3, f->x, f->x, f->x);
    struct csi_node pad = node(CSI_OP_PAD, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    struct csi_node clip = node(CSI_OP_ACTIVATION, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    struct csi_node softmax = node(CSI_OP_SOFTMAX, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    struct csi_node norm = csi_node_init(CSI_OP_BATCH_NORM, "node");
    struct csi_node second = csi_node_init(CSI_OP_INPUT, "second");
    int value;

    check_shape(f, add(f, &concat), 4, 1, 24, 14, 13);
    pad.pads[1] = 2;
    pad.pads[2] = 1;
    check_shape(f, add(f, &pad), 4, 1, 8, 15, 15);
    clip.activation = CSI_ACT_CLIP;
    clip.alpha = 6.0f;
    refuse(f, &clip, CS_MODEL_INVALID, "parameters");
    refuse(f, &softmax, CS_MODEL_UNSUPPORTED, "softmax");
    norm.inputs[0] = f->x;
    for (unsigned i = 1; i < 5; i++)
        norm.inputs[i] = constant(f, 1, 8, 0, 0, 0);
    norm.input_count = 5;
    check_shape(f, add(f, &norm), 4, 1, 8, 14, 13);
    f->graph->values[norm.inputs[4]].data[3] = -1.0f;
    refuse(f, &norm, CS_MODEL_INVALID, "variance 3");
    refuse(f, &second, CS_MODEL_INVALID, "shape");
    assert_int_equal(csi_graph_add_input(f->graph, 3, 8, 8, &value, &f->error), CS_MODEL_UNSUPPORTED);
}

/* Quantisation marks stand for eight bits, signed or not, and their zero is one of the levels. */
static void quantisation_ranges(void **state)
{
    static const struct {
        float alpha, beta;
        int zero_point;
        const char *words; /* NULL: it is good */
    } ranges[] = {
        {0.0f, 255.0f, 0, NULL},
        {0.0f, 255.0f, 255, NULL},
        {-128.0f, 127.0f, -128, NULL},
        {-128.0f, 127.0f, 127, NULL},
        {0.0f, 15.0f, 8, "the range is 0 to 15"},
        {-3e38f, 3e38f, 5, "the range is -3e+38 to 3e+38"},
        {NAN, 255.0f, 0, "the range is"},
        {-128.0f, 255.0f, 0, "the range is -128 to 255"},
        {0.0f, 255.0f, 256, "the zero point 256"},
        {0.0f, 255.0f, -1, "the zero point -1"},
        {0.0f, 255.0f, 60000, "the zero point 60000"},
        {-128.0f, 127.0f, 128, "the zero point 128"},
    };
    struct fixture *f = *state;
    struct csi_node quantize = node(CSI_OP_QUANTIZE, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        quantize.scale = 0.1f;
        quantize.alpha = ranges[i].alpha;
        quantize.beta = ranges[i].beta;
        quantize.zero_point = ranges[i].zero_point;
        if (ranges[i].words == NULL)
            check_shape(f, add(f, &quantize), 4, 1, 8, 14, 13);
        else
            refuse(f, &quantize, CS_MODEL_INVALID, ranges[i].words);
        quantize.scale = 0.0f;
        refuse(f, &quantize, CS_MODEL_INVALID, "scale");
    }
}

/* As many inputs as the operator takes, all there: files could give more, or none in their place. */
static void input_counts(void **state)
{
    static const enum csi_op unary[] = {CSI_OP_ACTIVATION,      CSI_OP_MAX_POOL, CSI_OP_AVG_POOL,
                                        CSI_OP_GLOBAL_AVG_POOL, CSI_OP_FLATTEN,  CSI_OP_PAD,
                                        CSI_OP_IDENTITY};
    struct fixture *f = *state;
    struct csi_node sum = node(CSI_OP_ADD, 3, f->x, f->x, CSI_NO_VALUE);
    struct csi_node concat = node(CSI_OP_CONCAT, 3, f->x, CSI_NO_VALUE, f->x);
    struct csi_node conv = node(CSI_OP_CONV, 4, f->x, constant(f, 4, 6, 8, 1, 1), CSI_NO_VALUE);

    for (size_t i = 0; i < sizeof unary / sizeof unary[0]; i++) {
        struct csi_node one = node(unary[i], 2, f->x, CSI_NO_VALUE, CSI_NO_VALUE);

        refuse(f, &one, CS_MODEL_INVALID, "2 inputs");
        one.inputs[1] = f->x;
        refuse(f, &one, CS_MODEL_INVALID, "2 inputs");
        one.inputs[0] = CSI_NO_VALUE;
        one.input_count = 1;
        refuse(f, &one, CS_MODEL_INVALID, "input 0 is missing");
        one.input_count = 0;
        refuse(f, &one, CS_MODEL_INVALID, "0 inputs");
    }
    refuse(f, &sum, CS_MODEL_INVALID, "3 inputs");
    sum.inputs[1] = CSI_NO_VALUE;
    sum.input_count = 2;
    refuse(f, &sum, CS_MODEL_INVALID, "input 1 is missing");
    refuse(f, &concat, CS_MODEL_INVALID, "input 1 is missing");
    refuse(f, &conv, CS_MODEL_INVALID, "4 inputs");
    conv.input_count = 3; /* a bias need not be there */
    check_shape(f, add(f, &conv), 4, 1, 6, 14, 13);
    conv.input_count = 1;
    refuse(f, &conv, CS_MODEL_INVALID, "1 inputs");
}

/* Weights' scales go by the weights' names, of which long ones may differ at their end only. */
static void scales_by_name(void **state)
{
    char first[CSI_NAME_SIZE], second[CSI_NAME_SIZE];

    (void)state;
    assert_string_equal(csi_graph_scales_name("block1.0.weight").text, "int8.scales.block1.0.weight");
    for (int length = 105; length < 126; length++) {
        snprintf(first, sizeof first, "%0*d1", length, 0);
        snprintf(second, sizeof second, "%0*d2", length, 0);
        assert_string_not_equal(csi_graph_scales_name(first).text, csi_graph_scales_name(second).text);
        assert_true(strlen(csi_graph_scales_name(first).text) < CSI_NAME_SIZE - 1);
    }
}

static void sizes_are_bounded(void **state)
{
    struct fixture *f = *state;
    size_t huge[4] = {SIZE_MAX / 2, 3, 1, 1}, empty[1] = {0};
    struct csi_node pad = node(CSI_OP_PAD, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);
    int value;

    assert_int_equal(csi_graph_add_constant(f->graph, "huge", 4, huge, NULL, &value, &f->error),
                     CS_MODEL_INVALID);
    assert_int_equal(csi_graph_add_constant(f->graph, "deep", 5, huge, NULL, &value, &f->error),
                     CS_MODEL_UNSUPPORTED);
    assert_int_equal(csi_graph_add_constant(f->graph, "empty", 1, empty, NULL, &value, &f->error),
                     CS_MODEL_INVALID);
    pad.pads[0] = pad.pads[1] = 60000;
    refuse(f, &pad, CS_MODEL_INVALID, "elements");
}

static void layers_by_name(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"stage.0", "stage.1", "stage10.0", "head", "/stem/Conv"};

    for (size_t i = 0; i < 5; i++) {
        struct csi_node identity = node(CSI_OP_IDENTITY, 1, f->x, CSI_NO_VALUE, CSI_NO_VALUE);

        strcpy(identity.name, names[i]);
        strcpy(identity.scope, i == 3 ? "top" : "");
        add(f, &identity);
    }
    assert_int_equal(csi_graph_find_layer(f->graph, "stage"), 2); /* node 0 is the input */
    assert_int_equal(csi_graph_find_layer(f->graph, "stage.0"), 1);
    assert_int_equal(csi_graph_find_layer(f->graph, "stage10"), 3);
    assert_int_equal(csi_graph_find_layer(f->graph, "top"), 4);
    assert_int_equal(csi_graph_find_layer(f->graph, "/stem"), 5);
    assert_int_equal(csi_graph_find_layer(f->graph, "stag"), -1);
    assert_int_equal(csi_graph_find_layer(f->graph, ""), -1);
}

static void counts(void **state)
{
    struct fixture *f = *state;
    struct csi_node conv = node(CSI_OP_CONV, 3, f->x, constant(f, 4, 6, 4, 3, 3), constant(f, 1, 6, 0, 0, 0));

    conv.groups = 2;
    conv.kernel[0] = conv.kernel[1] = 3;
    add(f, &conv);
    assert_true(csi_graph_macs(f->graph) == 6.0 * 12 * 11 * 36);
    assert_int_equal(csi_graph_count_parameters(f->graph), 6 * 36 + 6);
}

static void validation(void **state)
{
    struct fixture *f = *state;
    struct csi_graph *graph;
    struct csi_node flatten;
    int x;

    assert_int_equal(csi_graph_validate(f->graph, &f->error), CS_MODEL_INVALID); /* no output */
    assert_int_equal(csi_graph_create(&graph, &f->error), CS_OK);
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_MODEL_INVALID);
    assert_int_equal(csi_graph_add_input(graph, 3, 224, 224, &x, &f->error), CS_OK);
    flatten = node(CSI_OP_GLOBAL_AVG_POOL, 1, x, CSI_NO_VALUE, CSI_NO_VALUE);
    assert_int_equal(csi_graph_add_node(graph, &flatten, &x, &f->error), CS_OK);
    flatten = node(CSI_OP_FLATTEN, 1, x, CSI_NO_VALUE, CSI_NO_VALUE);
    assert_int_equal(csi_graph_add_node(graph, &flatten, &x, &f->error), CS_OK);
    graph->output = x;
    assert_int_equal(csi_graph_set_classes(graph, NULL, 2, &f->error), CS_OK);
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_MODEL_INVALID);
    assert_non_null(strstr(f->error.message, "2 class names for 3 outputs"));
    assert_int_equal(csi_graph_set_classes(graph, NULL, 3, &f->error), CS_OK);
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_OK);
    assert_string_equal(graph->classes[2], "class_2");
    graph->temperature = 0.0;
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_MODEL_INVALID);
    graph->temperature = 1.0;
    graph->preprocess.crop = 225;
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_MODEL_INVALID);
    graph->preprocess.crop = 224;
    graph->preprocess.std_dev[1] = 0.0f;
    assert_int_equal(csi_graph_validate(graph, &f->error), CS_MODEL_INVALID);
    csi_graph_destroy(graph);
}

/* Constants of one name each get their own; as many of them as a network may have do so in time. */
static void constants_are_named_in_time(void **state)
{
    enum { NODES = 19990 };
    static const float ones[3] = {1, 1, 1};
    const size_t dims[1] = {3};
    struct csi_graph *graph;
    struct cs_error error = {0};
    char name[64], *config;
    clock_t begin;
    int x;

    (void)state;
    assert_int_equal(csi_graph_create(&graph, &error), CS_OK);
    csi_graph_borrow(graph);
    assert_int_equal(csi_graph_add_input(graph, 3, 4, 4, &x, &error), CS_OK);
    for (int i = 0; i < NODES; i++) {
        struct csi_node norm = node(CSI_OP_BATCH_NORM, 5, x, CSI_NO_VALUE, CSI_NO_VALUE);

        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "%050d", i == NODES - 1 ? 0 : 4 * i + k);
            assert_int_equal(csi_graph_add_constant(graph, name, 1, dims, ones, &norm.inputs[1 + k], &error),
                             CS_OK);
        }
        assert_int_equal(csi_graph_add_node(graph, &norm, &x, &error), CS_OK);
    }
    graph->output = x;
    begin = clock();
    config = csi_graph_to_config(graph);
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 5.0);
    snprintf(name, sizeof name, "%050d.%d", 0, x - 1);
    assert_non_null(strstr(config, name)); /* the last, whose name was there */
    free(config);
    csi_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_are_named_in_time),
        cmocka_unit_test_setup_teardown(conv_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pool_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(head_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broadcasting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_operators, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quantisation_ranges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(input_counts, set_up, tear_down),
        cmocka_unit_test(scales_by_name),
        cmocka_unit_test_setup_teardown(sizes_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layers_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(validation, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
