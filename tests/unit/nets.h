/* Small networks for tests of the engine: building them, evaluating them operator by operator, checking the
 * compiled plans of each kernel set against that. */
#ifndef CS_TESTS_UNIT_NETS_H
#define CS_TESTS_UNIT_NETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "engine/engine.h"
#include "engine/tail_ops.h"
#include "graph/graph.h"
#include "kernels/expected_set.h"
#include "support/reference_device.h"

/* ---- building ---- */

struct net {
    struct csi_graph *graph;
    uint64_t seed;
    unsigned nodes;
    int last;
};

static inline float random_float(struct net *net)
{
    net->seed = net->seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(net->seed >> 32) / 2147483648.0 - 1.0);
}

static inline int constant(struct net *net, unsigned rank, const size_t *dims, float scale, float offset)
{
    size_t count = 1;
    float *data;
    int value;

    for (unsigned i = 0; i < rank; i++)
        count *= dims[i];
    data = malloc(count * sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < count; i++)
        data[i] = offset + scale * random_float(net);
    assert_int_equal(csi_graph_add_constant(net->graph, "", rank, dims, data, &value, NULL), CS_OK);
    free(data);
    return value;
}

static inline void start(struct net *net, size_t channels, size_t height, size_t width)
{
    *net = (struct net){.seed = 12345};
    assert_int_equal(csi_graph_create(&net->graph, NULL), CS_OK);
    assert_int_equal(csi_graph_add_input(net->graph, channels, height, width, &net->last, NULL), CS_OK);
}

static inline struct csi_node node_of(struct net *net, enum csi_op op)
{
    char name[32];

    snprintf(name, sizeof name, "n%u", net->nodes++);
    return csi_node_init(op, name);
}

static inline int add(struct net *net, struct csi_node *node, int input)
{
    struct cs_error error = {0};
    int value;

    node->inputs[0] = input;
    if (node->input_count == 0)
        node->input_count = 1;
    if (csi_graph_add_node(net->graph, node, &value, &error) != CS_OK)
        fail_msg("%s", error.message);
    return net->last = value;
}

struct conv_shape {
    size_t out;
    unsigned kernel, stride, pad, groups, dilation;
    bool bias;
};

static inline int conv(struct net *net, int input, struct conv_shape s)
{
    struct csi_node node = node_of(net, CSI_OP_CONV);
    size_t channels = net->graph->values[input].dims[1];
    size_t dims[4] = {s.out, channels / s.groups, s.kernel, s.kernel};
    float scale = 1.7f / sqrtf((float)(dims[1] * s.kernel * s.kernel));

    node.kernel[0] = node.kernel[1] = s.kernel;
    node.stride[0] = node.stride[1] = s.stride;
    node.dilation[0] = node.dilation[1] = s.dilation == 0 ? 1 : s.dilation;
    node.pads[0] = node.pads[1] = node.pads[2] = node.pads[3] = s.pad;
    node.groups = s.groups;
    node.inputs[1] = constant(net, 4, dims, scale, 0);
    node.inputs[2] = s.bias ? constant(net, 1, dims, 0.5f, 0) : CSI_NO_VALUE;
    node.input_count = 3;
    return add(net, &node, input);
}

static inline int norm(struct net *net, int input)
{
    struct csi_node node = node_of(net, CSI_OP_BATCH_NORM);
    size_t channels = net->graph->values[input].dims[1];

    node.inputs[1] = constant(net, 1, &channels, 0.3f, 1.0f);
    node.inputs[2] = constant(net, 1, &channels, 0.3f, 0.0f);
    node.inputs[3] = constant(net, 1, &channels, 0.3f, 0.0f);
    node.inputs[4] = constant(net, 1, &channels, 0.3f, 1.0f);
    node.input_count = 5;
    node.epsilon = 1e-5f;
    return add(net, &node, input);
}

static inline int act(struct net *net, int input, enum csi_activation kind, float alpha, float beta)
{
    struct csi_node node = node_of(net, CSI_OP_ACTIVATION);

    node.activation = kind;
    node.alpha = alpha;
    node.beta = beta;
    return add(net, &node, input);
}

static inline int simple(struct net *net, int input, enum csi_op op)
{
    struct csi_node node = node_of(net, op);

    return add(net, &node, input);
}

static inline int pool(struct net *net, int input, enum csi_op op, unsigned kernel, unsigned stride,
                       unsigned pad, bool ceil_mode, bool count_pad)
{
    struct csi_node node = node_of(net, op);

    node.kernel[0] = node.kernel[1] = kernel;
    node.stride[0] = node.stride[1] = stride;
    node.pads[0] = node.pads[1] = node.pads[2] = node.pads[3] = pad;
    node.ceil_mode = ceil_mode;
    node.count_include_pad = count_pad;
    return add(net, &node, input);
}

static inline int binary(struct net *net, enum csi_op op, int a, int b)
{
    struct csi_node node = node_of(net, op);

    node.inputs[1] = b;
    node.input_count = 2;
    return add(net, &node, a);
}

static inline int linear(struct net *net, int input, size_t outputs)
{
    struct csi_node node = node_of(net, CSI_OP_LINEAR);
    size_t dims[2] = {outputs, net->graph->values[input].dims[1]};

    node.inputs[1] = constant(net, 2, dims, 1.7f / sqrtf((float)dims[1]), 0);
    node.inputs[2] = constant(net, 1, dims, 0.5f, 0);
    node.input_count = 3;
    return add(net, &node, input);
}

/* Pool, flatten, dropout, linear. */
static inline void head(struct net *net, size_t classes)
{
    simple(net, net->last, CSI_OP_GLOBAL_AVG_POOL);
    simple(net, net->last, CSI_OP_FLATTEN);
    simple(net, net->last, CSI_OP_IDENTITY);
    linear(net, net->last, classes);
}

static inline struct csi_node *last_node(struct net *net)
{
    return &net->graph->nodes[net->graph->node_count - 1];
}

/* ---- plain evaluation ---- */

/* Every value of the graph for one photo, operator by operator; freed by the caller. */
static inline float **evaluate(const struct csi_graph *graph, const float *input)
{
    float **data = calloc(graph->value_count, sizeof *data);

    assert_non_null(data);
    for (size_t n = 0; n < graph->node_count; n++) {
        const struct csi_node *node = &graph->nodes[n];
        struct csi_tail_operand in[CSI_NODE_MAX_INPUTS] = {{0}}, out;
        const struct csi_value *value = &graph->values[node->output];
        size_t count = csi_value_elements(value);

        data[node->output] = calloc(count, sizeof(float));
        assert_non_null(data[node->output]);
        if (node->op == CSI_OP_INPUT) {
            memcpy(data[node->output], input, count * sizeof(float));
            continue;
        }
        for (unsigned k = 0; k < node->input_count; k++) {
            const struct csi_value *from = node->inputs[k] < 0 ? NULL : &graph->values[node->inputs[k]];

            if (from != NULL)
                in[k] =
                    (struct csi_tail_operand){from->rank, from->dims, csi_value_elements(from),
                                              from->data != NULL ? from->data : data[node->inputs[k]], NULL};
        }
        out = (struct csi_tail_operand){value->rank, value->dims, count, data[node->output], NULL};
        csi_tail_forward(node, in, &out, data[node->output]);
    }
    return data;
}

static inline void free_values(const struct csi_graph *graph, float **data)
{
    for (size_t i = 0; i < graph->value_count; i++)
        free(data[i]);
    free(data);
}

static inline void assert_near(const char *what, const float *got, const float *expected, size_t count,
                               double tolerance)
{
    double largest = 1.0;

    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)expected[i]));
    for (size_t i = 0; i < count; i++) {
        if (!(fabs((double)got[i] - (double)expected[i]) <= tolerance * largest))
            fail_msg("%s: element %zu is %.8g instead of %.8g", what, i, (double)got[i], (double)expected[i]);
    }
}

/* ---- checking a network ---- */

#define BATCH 5u

/* Photos and what the plain evaluation makes of them. */
struct feed {
    float *input;
    float **expected[BATCH]; /* [photo][value of the graph] */
};

static inline struct csi_plan *plan_of(const struct net *net, const struct csi_plan_options *options)
{
    struct csi_plan *plan;
    struct cs_error error = {0};

    if (csi_plan_create(net->graph, options, &plan, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_string_equal(csi_plan_info(plan)->kernels, expected_set(options->cpu_features));
    return plan;
}

/* Whether both do the same: each layer's algorithm is named after all that it does. */
static inline bool same_algorithms(const struct csi_plan *a, const struct csi_plan *b)
{
    if (csi_plan_layer_count(a) != csi_plan_layer_count(b))
        return false;
    for (size_t i = 0; i < csi_plan_layer_count(a); i++)
        if (strcmp(csi_plan_layer(a, i)->algorithm, csi_plan_layer(b, i)->algorithm) != 0)
            return false;
    return true;
}

static inline void check_plan(const struct net *net, const struct feed *feed, const struct csi_plan *plan,
                              int target_value)
{
    size_t classes = csi_value_elements(&net->graph->values[net->graph->output]);
    struct csi_exec *exec;
    struct cs_error error = {0};

    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    for (size_t batch = 1; batch <= BATCH; batch += 2) {
        for (int serial = 0; serial < 2; serial++) {
            assert_int_equal(csi_exec_run(exec, feed->input, batch, serial == 1, NULL), CS_OK);
            for (size_t n = 0; n < batch; n++) {
                assert_near(csi_plan_info(plan)->kernels, csi_exec_logits(exec) + n * classes,
                            feed->expected[n][net->graph->output], classes, 1e-4);
                if (target_value >= 0)
                    assert_near("target", csi_exec_activations(exec, n), feed->expected[n][target_value],
                                csi_value_elements(&net->graph->values[target_value]), 1e-4);
            }
        }
    }
    assert_int_equal(csi_exec_run(exec, feed->input, BATCH + 1, false, &error), CS_BAD_REQUEST);
    csi_exec_destroy(exec);
}

/* Once as usual, once with compact weights where that makes a difference. */
static inline void check_plans(const struct net *net, const struct feed *feed,
                               struct csi_plan_options *options, int target_value)
{
    struct csi_plan *usual, *compact;

    options->compact = false;
    usual = plan_of(net, options);
    check_plan(net, feed, usual, target_value);
    options->compact = true;
    compact = plan_of(net, options);
    if (!same_algorithms(usual, compact))
        check_plan(net, feed, compact, target_value);
    csi_plan_destroy(compact);
    csi_plan_destroy(usual);
}

/* The front of the network on the reference device, the rest on the CPU. */
static inline void check_device(const struct net *net, const struct feed *feed, const char *target,
                                int target_value)
{
    struct csi_plan_options options = {.max_batch = BATCH,
                                       .target_layer = target,
                                       .device = reference_device(),
                                       .precision = CS_PRECISION_FP32};
    struct cs_error error = {0};
    struct csi_plan *plan;

    assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, NULL), CS_OK);
    if (csi_plan_create(net->graph, &options, &plan, &error) == CS_OK) {
        assert_string_equal(csi_plan_info(plan)->kernels, REFERENCE_KERNELS);
        check_plan(net, feed, plan, target_value);
        csi_plan_destroy(plan);
    } else if (strstr(error.message, "without a two-dimensional map") == NULL &&
               strstr(error.message, "softmax does not run") == NULL) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(reference_alive(), 0);
}

/* Takes the network over. */
static inline void check(struct net *net, const char *target, int target_value)
{
    static const char *const masks[] = {"generic", "avx2", "avx512", "all"};
    static const unsigned threads[] = {3, 1, 4, 2};
    size_t photo = csi_value_elements(&net->graph->values[net->graph->input]);
    struct feed feed = {.input = malloc(BATCH * photo * sizeof *feed.input)};

    assert_non_null(feed.input);
    net->graph->output = net->last;
    for (size_t i = 0; i < BATCH * photo; i++)
        feed.input[i] = random_float(net);
    for (size_t n = 0; n < BATCH; n++)
        feed.expected[n] = evaluate(net->graph, feed.input + n * photo);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        struct csi_plan_options options = {.max_batch = BATCH, .target_layer = target};

        assert_int_equal(csi_cpu_allowed(masks[i], &options.cpu_features, NULL), CS_OK);
        assert_int_equal(csi_pool_create(threads[i], &options.pool, NULL), CS_OK);
        check_plans(net, &feed, &options, target_value);
        csi_pool_destroy(options.pool);
    }
    check_device(net, &feed, target, target_value);
    for (size_t n = 0; n < BATCH; n++)
        free_values(net->graph, feed.expected[n]);
    free(feed.input);
    csi_graph_destroy(net->graph);
}

#endif
