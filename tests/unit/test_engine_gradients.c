/* Target layers, and gradients at them against differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/net.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_closed_form),
        cmocka_unit_test(test_gradient_through_a_network),
        cmocka_unit_test(test_gradient_of_switches),
        cmocka_unit_test(test_targets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
