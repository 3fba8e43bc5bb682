/*
 * The engine on small networks of every operator: compiled plans of each kernel set against a plain
 * evaluation of the same graph operator by operator, at several batch sizes and thread counts; target layers;
 * gradients against differences.
 */
#include "unit/nets.h"

/* ---- networks ---- */

static void test_convolutions(void **state)
{
    static const struct conv_shape shapes[] = {
        {8, 3, 1, 1, 1, 1, true},   {24, 1, 1, 0, 1, 1, false}, {40, 3, 1, 1, 1, 1, false},
        {40, 3, 2, 1, 40, 1, true}, {40, 5, 1, 2, 40, 1, true}, {48, 1, 2, 0, 1, 1, true},
        {48, 3, 1, 2, 1, 2, true},  {60, 3, 1, 1, 12, 1, true}, {33, 2, 1, 0, 3, 1, true},
        {66, 1, 1, 0, 11, 1, true},
    };

    (void)state;
    for (unsigned first = 1; first <= 7; first += 3) {
        for (size_t size = 17; size <= 30; size += 13) {
            struct net net;

            start(&net, 3, size, size + 5);
            conv(&net, net.last, (struct conv_shape){8, first, 1 + first % 2, first / 2, 1, 1, true});
            for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
                conv(&net, net.last, shapes[i]);
                act(&net, net.last, i % 2 ? CSI_ACT_RELU : CSI_ACT_HARD_SWISH, 0, 0);
            }
            head(&net, 7);
            check(&net, NULL, -1);
        }
    }
}

static void test_reference_shape(void **state)
{
    struct net net;
    int target = -1;

    (void)state;
    start(&net, 3, 32, 32);
    for (size_t block = 0; block < 3; block++) {
        for (size_t i = 0; i < 2; i++) {
            conv(&net, net.last, (struct conv_shape){(size_t)8 << block, 3, 1, 1, 1, 1, false});
            norm(&net, net.last);
            act(&net, net.last, CSI_ACT_RELU, 0, 0);
        }
        target = pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
        snprintf(last_node(&net)->scope, CSI_NAME_SIZE, "block%zu", block + 1);
        simple(&net, net.last, CSI_OP_IDENTITY);
        snprintf(last_node(&net)->scope, CSI_NAME_SIZE, "block%zu", block + 1);
    }
    head(&net, 5);
    check(&net, "block3", target);
}

static void test_max_pool_of_odd_maps(void **state)
{
    (void)state;
    for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
        struct net net;

        start(&net, 3, 23, 19);
        conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
        conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
        pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, ceil_mode == 1, false);
        pool(&net, net.last, CSI_OP_MAX_POOL, 3, 2, 1, ceil_mode == 1, false);
        head(&net, 5);
        check(&net, NULL, -1);
    }
}

static void test_average_pools(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct net net;

        start(&net, 3, 20, 17);
        conv(&net, net.last, (struct conv_shape){10, 3, 1, 1, 1, 1, true});
        pool(&net, net.last, CSI_OP_AVG_POOL, 3, 2, 1, variant % 2 == 1, variant / 2 == 1);
        pool(&net, net.last, CSI_OP_AVG_POOL, 2, 1, 0, false, false);
        head(&net, 5);
        check(&net, NULL, -1);
    }
}

/* Residual adds: before and after the activation, on Winograd, product, first-layer and depthwise
 * convolutions. */
static void test_residuals(void **state)
{
    static const enum csi_activation acts[] = {CSI_ACT_NONE, CSI_ACT_RELU, CSI_ACT_SWISH};

    (void)state;
    for (unsigned kernel = 1; kernel <= 3; kernel += 2) {
        for (size_t groups = 1; groups <= 20; groups += 19) {
            for (size_t before = 0; before < 3; before++) {
                for (size_t after = 0; after < 3; after++) {
                    struct net net;
                    int shortcut;

                    start(&net, 3, 13, 14);
                    shortcut = conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
                    conv(&net, shortcut,
                         (struct conv_shape){20, kernel, 1, kernel / 2, (unsigned)groups, 1, false});
                    norm(&net, net.last);
                    act(&net, net.last, acts[before], 0, 0);
                    binary(&net, CSI_OP_ADD, net.last, shortcut);
                    shortcut = act(&net, net.last, acts[after], 0, 0);
                    conv(&net, net.last, (struct conv_shape){20, 1, 1, 0, 1, 1, false});
                    binary(&net, CSI_OP_ADD, shortcut, net.last);
                    head(&net, 4);
                    check(&net, NULL, -1);
                }
            }
        }
    }
}

static void test_squeeze_and_excite(void **state)
{
    struct net net;
    int map;

    (void)state;
    start(&net, 3, 15, 15);
    conv(&net, net.last, (struct conv_shape){36, 3, 2, 1, 1, 1, false});
    norm(&net, net.last);
    map = act(&net, net.last, CSI_ACT_SWISH, 0, 0);
    simple(&net, net.last, CSI_OP_GLOBAL_AVG_POOL);
    conv(&net, net.last, (struct conv_shape){9, 1, 1, 0, 1, 1, true});
    act(&net, net.last, CSI_ACT_SWISH, 0, 0);
    conv(&net, net.last, (struct conv_shape){36, 1, 1, 0, 1, 1, true});
    act(&net, net.last, CSI_ACT_SIGMOID, 0, 0);
    binary(&net, CSI_OP_MUL, net.last, map);
    conv(&net, net.last, (struct conv_shape){20, 1, 1, 0, 1, 1, true});
    act(&net, net.last, CSI_ACT_HARD_SIGMOID, 1.0f / 6.0f, 0.5f);
    head(&net, 4);
    check(&net, NULL, -1);
}

static void test_activations(void **state)
{
    static const struct {
        enum csi_activation kind;
        float alpha, beta;
    } acts[] = {{CSI_ACT_NONE, 0, 0},
                {CSI_ACT_RELU, 0, 0},
                {CSI_ACT_LEAKY_RELU, 0.1f, 0},
                {CSI_ACT_CLIP, 0, 6},
                {CSI_ACT_CLIP, 0.25f, 0.75f},
                {CSI_ACT_SIGMOID, 0, 0},
                {CSI_ACT_HARD_SIGMOID, 0.2f, 0.5f},
                {CSI_ACT_SWISH, 0, 0},
                {CSI_ACT_HARD_SWISH, 0, 0},
                {CSI_ACT_TANH, 0, 0},
                {CSI_ACT_ELU, 0.7f, 0},
                {CSI_ACT_GELU, 0, 0},
                {CSI_ACT_GELU_TANH, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        struct net net;

        start(&net, 3, 12, 12);
        conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true}); /* first layer */
        act(&net, net.last, acts[i].kind, acts[i].alpha, acts[i].beta);
        conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true}); /* Winograd */
        act(&net, net.last, acts[i].kind, acts[i].alpha, acts[i].beta);
        pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
        act(&net, net.last, acts[i].kind, acts[i].alpha, acts[i].beta); /* alone */
        norm(&net, net.last);                                           /* alone */
        act(&net, net.last, acts[i].kind, acts[i].alpha, acts[i].beta);
        head(&net, 4);
        act(&net, net.last, acts[i].kind, acts[i].alpha, acts[i].beta);
        check(&net, NULL, -1);
    }
}

/* All four operations with maps, vectors, pixels and scalars on either side. */
static void test_arithmetic(void **state)
{
    static const struct {
        unsigned rank;
        size_t dims[4];
    } shapes[] = {{1, {1}},           {4, {1, 1, 1, 1}},  {3, {18, 1, 1}},
                  {4, {1, 18, 1, 1}}, {4, {1, 18, 9, 8}}, {4, {1, 1, 9, 8}},
                  {2, {9, 8}},        {1, {8}},           {3, {18, 9, 1}}};

    (void)state;
    for (enum csi_op op = CSI_OP_ADD; op <= CSI_OP_DIV; op++) {
        struct net net;
        int map, vector, pixels;

        start(&net, 3, 9, 8);
        map = conv(&net, net.last, (struct conv_shape){18, 3, 1, 1, 1, 1, true});
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            int value = constant(&net, shapes[i].rank, shapes[i].dims, 0.25f, 1.5f);

            binary(&net, op, net.last, value);
            if (op == CSI_OP_DIV || i % 2)
                act(&net, net.last, CSI_ACT_CLIP, 0.5f, 2.0f);
            binary(&net, op, constant(&net, shapes[i].rank, shapes[i].dims, 0.25f, 1.5f), net.last);
        }
        act(&net, net.last, CSI_ACT_CLIP, 0.5f, 2.0f);
        vector = act(&net, simple(&net, map, CSI_OP_GLOBAL_AVG_POOL), CSI_ACT_CLIP, 0.5f, 2.0f);
        pixels =
            act(&net, conv(&net, map, (struct conv_shape){1, 1, 1, 0, 1, 1, true}), CSI_ACT_CLIP, 0.5f, 2.0f);
        map = act(&net, map, CSI_ACT_CLIP, 0.5f, 2.0f);
        binary(&net, op, map, vector);
        act(&net, net.last, CSI_ACT_CLIP, 0.5f, 2.0f);
        binary(&net, op, vector, net.last);
        binary(&net, op, net.last, pixels);
        act(&net, net.last, CSI_ACT_CLIP, 0.5f, 2.0f);
        binary(&net, op, pixels, net.last);
        act(&net, net.last, CSI_ACT_CLIP, 0.5f, 2.0f);
        binary(&net, op, vector, pixels); /* both are broadcast */
        binary(&net, CSI_OP_ADD, net.last, map);
        head(&net, 4);
        check(&net, NULL, -1);
    }
}

static void test_normalised_input(void **state)
{
    const size_t channels[3] = {3, 1, 1};
    struct net net;

    (void)state;
    start(&net, 3, 9, 9);
    binary(&net, CSI_OP_SUB, net.last, constant(&net, 3, channels, 0.1f, 0.5f));
    binary(&net, CSI_OP_DIV, net.last, constant(&net, 3, channels, 0.1f, 0.5f));
    conv(&net, net.last, (struct conv_shape){18, 3, 2, 1, 1, 1, true});
    head(&net, 4);
    check(&net, NULL, -1);
}

static void test_moving_numbers(void **state)
{
    struct net net;
    struct csi_node node;
    int a, b, c;

    (void)state;
    start(&net, 3, 11, 10);
    a = conv(&net, net.last, (struct conv_shape){5, 3, 1, 1, 1, 1, true});
    b = conv(&net, a, (struct conv_shape){16, 1, 1, 0, 1, 1, true});
    c = conv(&net, a, (struct conv_shape){7, 3, 1, 1, 1, 1, true});
    node = node_of(&net, CSI_OP_CONCAT);
    node.inputs[1] = b;
    node.inputs[2] = c;
    node.input_count = 3;
    add(&net, &node, a);
    node = node_of(&net, CSI_OP_PAD); /* folded into the convolution, and alone */
    node.pads[0] = 1;
    node.pads[1] = 2;
    node.pads[2] = 0;
    node.pads[3] = 1;
    a = add(&net, &node, net.last);
    b = conv(&net, a, (struct conv_shape){6, 3, 2, 0, 1, 1, true});
    c = pool(&net, a, CSI_OP_MAX_POOL, 3, 2, 0, false, false);
    node = node_of(&net, CSI_OP_CONCAT);
    node.inputs[1] = c;
    node.input_count = 2;
    add(&net, &node, b);
    simple(&net, net.last, CSI_OP_FLATTEN); /* swallowed by the linear layer */
    linear(&net, net.last, 48);
    node = node_of(&net, CSI_OP_RESHAPE);
    node.shape[0] = 1;
    node.shape[1] = 6;
    node.shape[2] = 2;
    node.shape[3] = 4;
    node.shape_rank = 4;
    add(&net, &node, net.last);
    conv(&net, net.last, (struct conv_shape){5, 1, 1, 0, 1, 1, true});
    simple(&net, net.last, CSI_OP_FLATTEN); /* read by something else than a linear layer */
    act(&net, net.last, CSI_ACT_SIGMOID, 0, 0);
    simple(&net, net.last, CSI_OP_SOFTMAX); /* not the last node: kept */
    linear(&net, net.last, 9);
    check(&net, NULL, -1);
}

static void test_one_pixel(void **state)
{
    struct net net;

    (void)state;
    start(&net, 3, 1, 1);
    conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
    conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
    conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 20, 1, true});
    head(&net, 3);
    check(&net, NULL, -1);
}

/* A linear layer over a large map, and over one that is padded before it. */
static void test_linear_over_large_maps(void **state)
{
    (void)state;
    for (int padded = 0; padded < 2; padded++) {
        struct net net;

        start(&net, 3, 24, 24);
        conv(&net, net.last, (struct conv_shape){5, 3, 1, 1, 1, 1, true});
        if (padded == 1) {
            struct csi_node pad = node_of(&net, CSI_OP_PAD);

            pad.pads[0] = 1;
            pad.pads[3] = 2;
            add(&net, &pad, net.last);
        }
        simple(&net, net.last, CSI_OP_FLATTEN);
        linear(&net, net.last, 5);
        check(&net, NULL, -1);
    }
}

static void test_final_softmax_is_left_off(void **state)
{
    struct net net;
    struct csi_plan_options options = {.max_batch = 1};
    float input[3 * 8 * 8];
    struct csi_plan *plan;
    struct csi_exec *exec;
    float **expected;
    int logits;

    (void)state;
    start(&net, 3, 8, 8);
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    head(&net, 4);
    logits = net.last;
    simple(&net, net.last, CSI_OP_SOFTMAX);
    net.graph->output = net.last;
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
        input[i] = random_float(&net);
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    assert_int_equal(csi_exec_run(exec, input, 1, false, NULL), CS_OK);
    expected = evaluate(net.graph, input);
    assert_near("logits", csi_exec_logits(exec), expected[logits], csi_plan_info(plan)->class_count, 1e-4);
    assert_true(csi_plan_info(plan)->linear_head);
    free_values(net.graph, expected);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_graph_destroy(net.graph);
}

/* ---- targets and gradients ---- */

/* d logit / dA by differences, at the target `value`: the evaluation goes on from a changed value. */
static float logit_with(const struct csi_graph *graph, float **data, int target, size_t element, float change,
                        size_t class)
{
    float **own = calloc(graph->value_count, sizeof *own), result;

    assert_non_null(own);
    for (size_t n = 0; n < graph->node_count; n++) {
        const struct csi_node *node = &graph->nodes[n];
        struct csi_tail_operand in[CSI_NODE_MAX_INPUTS] = {{0}}, out;
        const struct csi_value *value = &graph->values[node->output];
        size_t count = csi_value_elements(value);

        own[node->output] = malloc(count * sizeof(float));
        assert_non_null(own[node->output]);
        if (node->output <= target) {
            memcpy(own[node->output], data[node->output], count * sizeof(float));
            if (node->output == target)
                own[node->output][element] += change;
            continue;
        }
        for (unsigned k = 0; k < node->input_count; k++) {
            const struct csi_value *from = node->inputs[k] < 0 ? NULL : &graph->values[node->inputs[k]];

            if (from != NULL)
                in[k] =
                    (struct csi_tail_operand){from->rank, from->dims, csi_value_elements(from),
                                              from->data != NULL ? from->data : own[node->inputs[k]], NULL};
        }
        out = (struct csi_tail_operand){value->rank, value->dims, count, own[node->output], NULL};
        csi_tail_forward(node, in, &out, own[node->output]);
    }
    result = own[graph->output][class];
    free_values(graph, own);
    return result;
}

static void check_gradient(struct net *net, int target, bool linear_head)
{
    struct csi_plan_options options = {.max_batch = 1};
    size_t photo = csi_value_elements(&net->graph->values[net->graph->input]);
    size_t elements = csi_value_elements(&net->graph->values[target]);
    float *input = malloc(photo * sizeof *input);
    const char *name = net->graph->nodes[net->graph->values[target].producer].name;
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};
    const float *gradient;
    float **data;

    net->graph->output = net->last;
    options.cpu_features = csi_cpu()->features;
    options.target_layer = name;
    assert_non_null(input);
    for (size_t i = 0; i < photo; i++)
        input[i] = random_float(net);
    assert_int_equal(csi_plan_create(net->graph, &options, &plan, NULL), CS_OK);
    assert_string_equal(csi_plan_info(plan)->target_layer, name);
    assert_int_equal(csi_plan_info(plan)->linear_head, linear_head);
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    assert_int_equal(csi_exec_gradient(exec, 0, 0, &gradient, &error), CS_BAD_REQUEST); /* nothing has run */
    assert_int_equal(csi_exec_run(exec, input, 1, false, NULL), CS_OK);
    assert_int_equal(csi_exec_gradient(exec, 0, 1000, &gradient, &error), CS_BAD_REQUEST);
    data = evaluate(net->graph, input);
    assert_near("target", csi_exec_activations(exec, 0), data[target], elements, 1e-4);
    for (size_t class = 0; class < 2; class ++) {
        if (csi_exec_gradient(exec, 0, class, &gradient, &error) != CS_OK)
            fail_msg("%s", error.message);
        for (size_t i = 0; i < elements; i += 1 + elements / 23) {
            const float step = 1e-2f;
            float up = logit_with(net->graph, data, target, i, step, class);
            float down = logit_with(net->graph, data, target, i, -step, class);
            double expected = ((double)up - (double)down) / (2.0 * (double)step);

            if (!(fabs((double)gradient[i] - expected) <= 1e-3 + 0.02 * fabs(expected)))
                fail_msg("%s: d logit %zu / d %zu is %g, by differences %g", name, class, i,
                         (double)gradient[i], expected);
        }
    }
    free_values(net->graph, data);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_graph_destroy(net->graph);
    free(input);
}

static void test_gradient_closed_form(void **state)
{
    struct net net;
    int target;

    (void)state;
    start(&net, 3, 12, 12);
    target = conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
    head(&net, 5);
    check_gradient(&net, target, true);
    for (unsigned kernel = 1; kernel <= 3; kernel += 2) { /* heads that are convolutions */
        start(&net, 3, 12, 12);
        target = conv(&net, net.last, (struct conv_shape){20, 3, 1, 1, 1, 1, true});
        simple(&net, net.last, CSI_OP_GLOBAL_AVG_POOL);
        conv(&net, net.last, (struct conv_shape){5, kernel, 1, kernel / 2, 1, 1, true});
        simple(&net, net.last, CSI_OP_FLATTEN);
        check_gradient(&net, target, kernel == 1);
    }
}

/* Smooth operators, so that differences are good: convolution, norm, sigmoid and swish, average pools, a
 * gate, a shortcut around the target, concatenation, padding, flattening. */
static void test_gradient_through_a_network(void **state)
{
    struct net net;
    struct csi_node node;
    int target, around, map;

    (void)state;
    start(&net, 3, 10, 10);
    around = conv(&net, net.last, (struct conv_shape){6, 3, 1, 1, 1, 1, true});
    target = conv(&net, around, (struct conv_shape){6, 3, 1, 1, 1, 1, true});
    norm(&net, net.last);
    act(&net, net.last, CSI_ACT_SWISH, 0, 0);
    binary(&net, CSI_OP_ADD, net.last, around);
    map = conv(&net, net.last, (struct conv_shape){8, 3, 2, 1, 2, 1, true});
    simple(&net, net.last, CSI_OP_GLOBAL_AVG_POOL);
    conv(&net, net.last, (struct conv_shape){8, 1, 1, 0, 1, 1, true});
    act(&net, net.last, CSI_ACT_SIGMOID, 0, 0);
    binary(&net, CSI_OP_MUL, map, net.last);
    node = node_of(&net, CSI_OP_CONCAT);
    node.inputs[1] = map;
    node.input_count = 2;
    add(&net, &node, net.last);
    node = node_of(&net, CSI_OP_PAD);
    node.pads[0] = node.pads[3] = 1;
    add(&net, &node, net.last);
    pool(&net, net.last, CSI_OP_AVG_POOL, 3, 2, 1, true, false);
    act(&net, net.last, CSI_ACT_SIGMOID, 0, 0);
    binary(&net, CSI_OP_DIV, net.last, simple(&net, net.last, CSI_OP_GLOBAL_AVG_POOL));
    simple(&net, net.last, CSI_OP_FLATTEN);
    linear(&net, net.last, 12);
    act(&net, net.last, CSI_ACT_HARD_SWISH, 0, 0);
    linear(&net, net.last, 4);
    check_gradient(&net, target, false);
}

static void test_gradient_of_activations(void **state)
{
    static const enum csi_activation kinds[] = {CSI_ACT_SIGMOID, CSI_ACT_SWISH, CSI_ACT_TANH,
                                                CSI_ACT_ELU,     CSI_ACT_GELU,  CSI_ACT_GELU_TANH};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct net net;
        int target;

        start(&net, 3, 8, 8);
        target = conv(&net, net.last, (struct conv_shape){6, 3, 1, 1, 1, 1, true});
        act(&net, net.last, kinds[i], 1.0f, 0); /* an ELU of 1 has no kink */
        conv(&net, net.last, (struct conv_shape){6, 3, 2, 1, 1, 1, true});
        act(&net, net.last, kinds[i], 1.0f, 0);
        simple(&net, net.last, CSI_OP_FLATTEN);
        linear(&net, net.last, 4);
        check_gradient(&net, target, false);
    }
}

static void test_gradient_of_switches(void **state)
{
    struct net net;
    int target;

    (void)state;
    start(&net, 3, 12, 12);
    target = conv(&net, net.last, (struct conv_shape){6, 3, 1, 1, 1, 1, true});
    act(&net, net.last, CSI_ACT_LEAKY_RELU, 0.5f,
        0); /* kinks are rare, differences mostly do not cross them */
    binary(&net, CSI_OP_SUB, net.last, target);
    pool(&net, net.last, CSI_OP_AVG_POOL, 2, 2, 0, false, true);
    simple(&net, net.last, CSI_OP_FLATTEN);
    linear(&net, net.last, 4);
    check_gradient(&net, target, false);
}

static void test_targets(void **state)
{
    struct net net;
    struct csi_plan_options options = {.max_batch = 1};
    struct csi_plan *plan;
    struct cs_error error = {0};

    (void)state;
    start(&net, 3, 12, 12);
    conv(&net, net.last, (struct conv_shape){6, 3, 1, 1, 1, 1, true});
    conv(&net, net.last, (struct conv_shape){9, 3, 2, 1, 1, 1, true});
    head(&net, 4);
    net.graph->output = net.last;
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_string_equal(csi_plan_info(plan)->target_layer, "n1"); /* the last convolution */
    assert_int_equal(csi_plan_info(plan)->map_channels, 9);
    assert_int_equal(csi_plan_info(plan)->map_height, 6);
    assert_int_equal(csi_plan_info(plan)->embedding_size, 9);
    csi_plan_destroy(plan);
    options.target_layer = "layer9";
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, &error), CS_NOT_FOUND);
    assert_null(plan);
    assert_non_null(strstr(error.message, "layer9"));
    options.target_layer = "n5"; /* the linear layer: a vector */
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, &error), CS_BAD_REQUEST);
    options.target_layer = NULL;
    options.max_batch = 0;
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, &error), CS_BAD_REQUEST);
    csi_graph_destroy(net.graph);
}

/* Where no layer is named: the last convolution with the batch norm and activation that it alone feeds. */
static void check_default_target(struct net *net, const char *name)
{
    struct csi_plan_options options = {.max_batch = 1};
    struct csi_plan *plan;

    head(net, 4);
    net->graph->output = net->last;
    assert_int_equal(csi_plan_create(net->graph, &options, &plan, NULL), CS_OK);
    assert_string_equal(csi_plan_info(plan)->target_layer, name);
    csi_plan_destroy(plan);
    csi_graph_destroy(net->graph);
}

static void test_default_target(void **state)
{
    static const struct conv_shape shape = {8, 3, 1, 1, 1, 1, true};
    struct net net;
    int map, active;

    (void)state;
    start(&net, 3, 12, 12);
    act(&net, norm(&net, conv(&net, net.last, shape)), CSI_ACT_RELU, 0, 0);
    pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
    check_default_target(&net, "n2");
    start(&net, 3, 12, 12); /* an export that has folded the batch norm */
    act(&net, conv(&net, net.last, shape), CSI_ACT_RELU, 0, 0);
    pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
    check_default_target(&net, "n1");
    start(&net, 3, 12, 12); /* others see the map without its activation */
    map = conv(&net, net.last, shape);
    active = act(&net, map, CSI_ACT_RELU, 0, 0);
    binary(&net, CSI_OP_ADD, active, map);
    check_default_target(&net, "n0");
}

/* ---- profile ---- */

static void test_profile(void **state)
{
    struct net net;
    struct csi_plan_options options = {.max_batch = 1};
    float input[3 * 12 * 12] = {0};
    uint64_t ns[64];
    struct csi_plan *plan;
    struct csi_exec *exec;
    double flops = 0;

    (void)state;
    options.target_layer = "n2"; /* the pool: a target in between would keep it from being fused */
    start(&net, 3, 12, 12);
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
    pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
    head(&net, 4);
    net.graph->output = net.last;
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    assert_int_equal(csi_plan_layer_count(plan), 3); /* two convolutions and the pool as one, pool, linear */
    assert_int_equal(csi_exec_profile(exec, input, 1, ns, NULL), CS_OK);
    for (size_t i = 0; i < csi_plan_layer_count(plan); i++) {
        assert_true(csi_plan_layer(plan, i)->algorithm[0] != '\0' &&
                    csi_plan_layer(plan, i)->name[0] != '\0');
        flops += csi_plan_layer(plan, i)->gflop * 1e9;
    }
    assert_string_equal(csi_plan_layer(plan, 0)->shape, "3x12x12 -> 16x6x6");
    assert_true(fabs(flops - 2.0 * csi_graph_macs(net.graph)) < 1.0);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    csi_graph_destroy(net.graph);
}

/* Fixed point where the CPU has it: near float, and the plan says which it is. */
static void test_int8(void **state)
{
    struct net net;
    struct csi_plan_options options = {.max_batch = 1, .precision = CS_PRECISION_INT8};
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};
    float input[3 * 20 * 20];
    float **expected;
    bool has_vnni = (csi_cpu()->features & CSI_CPU_AVX512_VNNI) != 0;

    (void)state;
    start(&net, 3, 20, 20);
    conv(&net, net.last, (struct conv_shape){32, 3, 1, 1, 1, 1, true});
    act(&net, net.last, CSI_ACT_RELU, 0, 0);
    conv(&net, net.last, (struct conv_shape){48, 3, 1, 1, 1, 1, true});
    act(&net, net.last, CSI_ACT_RELU, 0, 0);
    conv(&net, net.last, (struct conv_shape){40, 3, 1, 1, 1, 1, true});
    head(&net, 6);
    net.graph->output = net.last;
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
        input[i] = random_float(&net);
    assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, NULL), CS_OK);
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_plan_info(plan)->precision, has_vnni ? CS_PRECISION_INT8 : CS_PRECISION_FP32);
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    assert_int_equal(csi_exec_run(exec, input, 1, false, NULL), CS_OK);
    expected = evaluate(net.graph, input);
    assert_near("int8", csi_exec_logits(exec), expected[net.graph->output], csi_plan_info(plan)->class_count,
                1e-3);
    free_values(net.graph, expected);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    options.precision = CS_PRECISION_FP16;
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, &error), CS_MODEL_UNSUPPORTED);
    assert_null(plan);
    csi_graph_destroy(net.graph);
}

static const char *layer_of(const struct csi_plan *plan, size_t index)
{
    return csi_plan_layer(plan, index)->algorithm;
}

/* The network of test_fastest_int8, with scales; its last convolution 3x3 or 1x1. */
static void start_calibrated(struct net *net, bool plain)
{
    struct csi_output_scale scales[16];
    size_t count = 0;

    start(net, 3, 20, 20);
    conv(net, net->last, (struct conv_shape){32, 3, 1, 1, 1, 1, true});
    act(net, net->last, CSI_ACT_RELU, 0, 0);
    conv(net, net->last, (struct conv_shape){64, 3, 1, 1, 1, 1, true});
    act(net, net->last, CSI_ACT_RELU, 0, 0);
    conv(net, net->last, (struct conv_shape){64, plain ? 3 : 1, 1, plain, 1, 1, true});
    act(net, net->last, CSI_ACT_RELU, 0, 0);
    head(net, 6);
    net->graph->output = net->last;
    for (size_t i = 0; i < net->graph->node_count && count < 7; i++)
        scales[count++] = (struct csi_output_scale){.node = i, .scale = 0.02f, .zero = 0};
    assert_int_equal(csi_graph_set_scales(net->graph, scales, count, NULL), CS_OK);
}

/* Which of INT8's ways `fastest` takes: fixed point where nearly all products are in 3x3 convolutions that it
 * covers, integers elsewhere, and always with AMX or without the option. */
static void test_fastest_int8(void **state)
{
    static const char *const masks[] = {"avx2", "avx512vnni", "all"};

    (void)state;
    for (int i = 0; i < 12; i++) {
        bool plain = i % 2 == 1, fastest = i / 2 % 2 == 1, integers, fixed = false;
        struct csi_plan_options options = {
            .max_batch = 1, .precision = CS_PRECISION_INT8, .fastest = fastest};
        struct csi_plan *plan;
        struct net net;

        start_calibrated(&net, plain);
        assert_int_equal(csi_cpu_allowed(masks[i / 4], &options.cpu_features, NULL), CS_OK);
        integers = !(plain && fastest && (options.cpu_features & CSI_CPU_AVX512_VNNI) != 0 &&
                     (options.cpu_features & CSI_CPU_AMX_INT8) == 0);
        assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
        for (size_t k = 0; k < csi_plan_layer_count(plan); k++)
            fixed = fixed || strstr(layer_of(plan, k), "int16") != NULL;
        assert_int_equal(csi_plan_info(plan)->integers, integers);
        assert_int_equal(fixed, !integers);
        csi_plan_destroy(plan);
        csi_graph_destroy(net.graph);
    }
}

/* Takes the network over, which is refused. */
static void check_refused(struct net *net, const char *words)
{
    for (int integers = 0; integers < 2; integers++) {
        struct csi_plan_options options = {.max_batch = 1,
                                           .precision = integers ? CS_PRECISION_INT8 : CS_PRECISION_FP32};
        struct cs_error error = {0};
        struct csi_plan *plan;

        net->graph->output = net->last;
        assert_int_equal(csi_cpu_allowed("all", &options.cpu_features, NULL), CS_OK);
        assert_int_equal(csi_plan_create(net->graph, &options, &plan, &error), CS_MODEL_INVALID);
        assert_null(plan);
        if (strstr(error.message, words) == NULL)
            fail_msg("'%s' does not say '%s'", error.message, words);
    }
    csi_graph_destroy(net->graph);
}

/* Finite numbers whose products are not: of a batch norm, of a convolution and the batch norm behind it. */
static void test_products_out_of_range(void **state)
{
    static const struct conv_shape shapes[] = {
        {16, 1, 1, 0, 1, 1, true}, {16, 3, 1, 1, 1, 1, true}, {16, 3, 2, 1, 16, 1, true}};
    struct net net;

    (void)state;
    start(&net, 16, 24, 24);
    norm(&net, net.last);
    net.graph->values[last_node(&net)->inputs[1]].data[3] = 1e38f;
    net.graph->values[last_node(&net)->inputs[4]].data[3] = 1e-9f;
    last_node(&net)->epsilon = 0.0f;
    head(&net, 4);
    check_refused(&net, "'n0': what the batch norm makes of channel 3 is out of range");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int bias = 0; bias < 2; bias++) {
            start(&net, 16, 24, 24);
            conv(&net, net.last, shapes[i]);
            net.graph->values[last_node(&net)->inputs[1 + bias]].data[0] = 1e30f;
            norm(&net, net.last);
            net.graph->values[last_node(&net)->inputs[1]].data[0] = 1e20f;
            head(&net, 4);
            check_refused(&net, bias == 1 ? "'n0': the bias of output 0 and its batch norm are out of range"
                                          : "'n0': the weights of output 0 and their batch norm are out of");
        }
    }
}

/* Weights and biases of convolutions and linear layers that are no finite numbers are named. */
static void test_weights_not_finite(void **state)
{
    static const char *const words[] = {"': number 5 of its weights is no number",
                                        "': number 5 of its bias is infinite"};
    struct net net;

    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        for (int linear = 0; linear < 2; linear++) {
            start(&net, 16, 24, 24);
            conv(&net, net.last, (struct conv_shape){16, 3, 1, 1, 1, 1, true});
            const size_t convolution = net.graph->node_count - 1;
            head(&net, 8);
            const struct csi_node *node = linear ? last_node(&net) : &net.graph->nodes[convolution];
            net.graph->values[node->inputs[1 + bias]].data[5] = bias ? -INFINITY : NAN;
            check_refused(&net, words[bias]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_reference_shape),
        cmocka_unit_test(test_max_pool_of_odd_maps),
        cmocka_unit_test(test_average_pools),
        cmocka_unit_test(test_residuals),
        cmocka_unit_test(test_squeeze_and_excite),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_normalised_input),
        cmocka_unit_test(test_moving_numbers),
        cmocka_unit_test(test_weights_not_finite),
        cmocka_unit_test(test_one_pixel),
        cmocka_unit_test(test_linear_over_large_maps),
        cmocka_unit_test(test_final_softmax_is_left_off),
        cmocka_unit_test(test_gradient_closed_form),
        cmocka_unit_test(test_gradient_through_a_network),
        cmocka_unit_test(test_gradient_of_activations),
        cmocka_unit_test(test_gradient_of_switches),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_default_target),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_products_out_of_range),
        cmocka_unit_test(test_fastest_int8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
