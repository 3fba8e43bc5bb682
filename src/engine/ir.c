/*
 * Graph -> IR: elides what computes nothing (identities, dropout, reshapes of 1 × 1 maps, a final softmax),
 * turns linear layers into convolutions, recognises global pools and the linear head. Fusion stands in
 * fuse.c.
 */
#include "engine/ir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/backward.h"
#include "engine/bytes.h"
#include "engine/fuse.h"

static bool same_shape(const struct csi_shape *a, const struct csi_shape *b)
{
    return a->channels == b->channels && a->height == b->height && a->width == b->width;
}

int csi_ir_resolve(const struct csi_ir *ir, int value)
{
    while (value >= 0 && ir->values[value].alias != value)
        value = ir->values[value].alias;
    return value;
}

/* Does every reader of `value`, through identities, want it as the input of a linear layer? */
static bool only_feeds_linear(const struct csi_graph *graph, int value)
{
    bool any = false;

    if (value == graph->output)
        return false;
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct csi_node *node = &graph->nodes[i];

        for (unsigned k = 0; k < node->input_count; k++) {
            if (node->inputs[k] != value)
                continue;
            if (node->op != CSI_OP_LINEAR &&
                !(node->op == CSI_OP_IDENTITY && only_feeds_linear(graph, node->output)))
                return false;
            any = true;
        }
    }
    return any;
}

/* Exporters write a quantisation mark for each reader of a value: the output of the first that says the same,
 * else -1. */
static int twin_mark(struct csi_ir *ir, const struct csi_node *node)
{
    struct csi_ir_value *in = &ir->values[csi_ir_resolve(ir, node->inputs[0])];
    const struct csi_node *first = in->mark;

    if (node->op != CSI_OP_QUANTIZE)
        return -1;
    if (first != NULL && first->scale == node->scale && first->zero_point == node->zero_point &&
        first->alpha == node->alpha && first->beta == node->beta)
        return first->output;
    if (first == NULL)
        in->mark = node;
    return -1;
}

/* Nodes that only rename their input. */
static bool is_elided(const struct csi_ir *ir, const struct csi_node *node)
{
    const struct csi_ir_value *in = &ir->values[node->inputs[0]], *out = &ir->values[node->output];

    switch (node->op) {
    case CSI_OP_IDENTITY: return true;
    case CSI_OP_ACTIVATION: return node->activation == CSI_ACT_NONE;
    case CSI_OP_SOFTMAX: return node->output == ir->graph->output; /* the engine's results are logits */
    case CSI_OP_PAD: return node->pads[0] + node->pads[1] + node->pads[2] + node->pads[3] == 0;
    case CSI_OP_RESHAPE: return same_shape(&in->shape, &out->shape);
    case CSI_OP_FLATTEN:
        return same_shape(&in->shape, &out->shape) || only_feeds_linear(ir->graph, node->output);
    case CSI_OP_CONCAT: return node->input_count == 1;
    default: return false;
    }
}

static struct csi_act_params act_of(const struct csi_node *node)
{
    static const enum csi_act kinds[] = {
        CSI_FN_NONE,  CSI_FN_RELU,       CSI_FN_LEAKY_RELU, CSI_FN_CLIP, CSI_FN_SIGMOID, CSI_FN_HARD_SIGMOID,
        CSI_FN_SWISH, CSI_FN_HARD_SWISH, CSI_FN_TANH,       CSI_FN_ELU,  CSI_FN_GELU,    CSI_FN_GELU_TANH};

    _Static_assert(sizeof kinds / sizeof kinds[0] == CSI_ACT_LAST + 1, "one kind for each activation");

    return (struct csi_act_params){.kind = kinds[node->activation], .alpha = node->alpha, .beta = node->beta};
}

static void take_window(struct csi_ir_node *to, const struct csi_node *from)
{
    memcpy(to->kernel, from->kernel, sizeof to->kernel);
    memcpy(to->stride, from->stride, sizeof to->stride);
    memcpy(to->dilation, from->dilation, sizeof to->dilation);
    memcpy(to->pads, from->pads, sizeof to->pads);
    to->groups = from->groups;
}

static const float *constant_of(const struct csi_ir *ir, const struct csi_node *node, unsigned index)
{
    if (index >= node->input_count || node->inputs[index] == CSI_NO_VALUE)
        return NULL;
    return ir->graph->values[node->inputs[index]].data;
}

/* Batch norm -> scale and shift, in double because variances can be tiny. */
static enum cs_status fold_parameters(const struct csi_ir *ir, struct csi_ir_node *node,
                                      struct cs_error *error)
{
    const struct csi_node *from = node->source;
    const float *scale = constant_of(ir, from, 1), *shift = constant_of(ir, from, 2);
    const float *mean = constant_of(ir, from, 3), *variance = constant_of(ir, from, 4);
    size_t channels = ir->values[from->inputs[0]].shape.channels;

    node->owned_weight = csi_model_alloc(channels * sizeof(float));
    node->owned_bias = csi_model_alloc(channels * sizeof(float));
    if (node->owned_weight == NULL || node->owned_bias == NULL)
        return csi_fail_memory(error, "compiling the network");
    for (size_t c = 0; c < channels; c++) {
        double factor = (double)scale[c] / sqrt((double)variance[c] + (double)from->epsilon);

        node->owned_weight[c] = (float)factor;
        node->owned_bias[c] = (float)((double)shift[c] - (double)mean[c] * factor);
        if (!isfinite(node->owned_weight[c]) || !isfinite(node->owned_bias[c]))
            return csi_fail(error, CS_MODEL_INVALID,
                            "'%s': what the batch norm makes of channel %zu is out of range", from->name, c);
    }
    node->weight = node->owned_weight;
    node->bias = node->owned_bias;
    return CS_OK;
}

/* A weight or bias that is no finite number: training that ran away. Integers would hide it. */
static enum cs_status check_finite(const struct csi_ir *ir, const struct csi_node *node, unsigned index,
                                   struct cs_error *error)
{
    const float *data = constant_of(ir, node, index);
    size_t count = data == NULL ? 0 : csi_value_elements(&ir->graph->values[node->inputs[index]]);

    for (size_t i = 0; i < count; i++) {
        if (!isfinite(data[i]))
            return csi_fail(error, CS_MODEL_INVALID, "'%s': number %zu of its %s is %s", node->name, i,
                            index == 1 ? "weights" : "bias", isnan(data[i]) ? "no number" : "infinite");
    }
    return CS_OK;
}

static enum cs_status lower_node(struct csi_ir *ir, const struct csi_node *from, struct csi_ir_node *node,
                                 struct cs_error *error)
{
    const struct csi_shape *in;

    *node = (struct csi_ir_node){
        .op = from->op, .source = from, .name = from->name, .output = from->output, .residual = -1};
    node->input_count = from->op == CSI_OP_CONV || from->op == CSI_OP_LINEAR || from->op == CSI_OP_BATCH_NORM
                            ? 1
                            : from->input_count;
    for (unsigned k = 0; k < node->input_count; k++)
        node->inputs[k] = csi_ir_resolve(ir, from->inputs[k]);
    if (from->op == CSI_OP_CONV || from->op == CSI_OP_LINEAR) {
        for (unsigned k = 1; k < 3; k++) {
            enum cs_status status = check_finite(ir, from, k, error);

            if (status != CS_OK)
                return status;
        }
    }
    take_window(node, from);
    in = &ir->values[node->inputs[0]].shape;
    switch (from->op) {
    case CSI_OP_CONV:
        node->weight = constant_of(ir, from, 1);
        node->weight_scales = ir->graph->values[from->inputs[1]].scales;
        node->bias = constant_of(ir, from, 2);
        break;
    case CSI_OP_LINEAR: /* over a flattened map: a convolution whose kernel covers the map */
        node->op = CSI_OP_CONV;
        node->kernel[0] = (unsigned)in->height;
        node->kernel[1] = (unsigned)in->width;
        node->stride[0] = node->stride[1] = node->dilation[0] = node->dilation[1] = node->groups = 1;
        memset(node->pads, 0, sizeof node->pads);
        node->weight = constant_of(ir, from, 1);
        node->weight_scales = ir->graph->values[from->inputs[1]].scales;
        node->bias = constant_of(ir, from, 2);
        break;
    case CSI_OP_BATCH_NORM: return fold_parameters(ir, node, error);
    case CSI_OP_ACTIVATION: node->act = act_of(from); break;
    case CSI_OP_AVG_POOL:
        if (from->kernel[0] == in->height && from->kernel[1] == in->width &&
            from->pads[0] + from->pads[1] + from->pads[2] + from->pads[3] == 0 &&
            ir->values[from->output].shape.height == 1 && ir->values[from->output].shape.width == 1)
            node->op = CSI_OP_GLOBAL_AVG_POOL;
        break;
    default: break;
    }
    return CS_OK;
}

/* Only average pool and linear layer behind the target, and what feeds the classifier. */
static void find_head(struct csi_ir *ir)
{
    const struct csi_ir_node *linear, *pool;
    int input;

    if (ir->output < 0 || ir->values[ir->output].producer < 0)
        return;
    linear = &ir->nodes[ir->values[ir->output].producer];
    if (linear->op != CSI_OP_CONV || linear->source->op == CSI_OP_INPUT || linear->groups != 1 ||
        linear->kernel[0] != 1 || linear->kernel[1] != 1) /* the head's weights are one number a channel */
        return;
    input = linear->inputs[0];
    if (ir->values[input].producer < 0 || ir->values[input].shape.height * ir->values[input].shape.width != 1)
        return;
    pool = &ir->nodes[ir->values[input].producer];
    if (pool->op != CSI_OP_GLOBAL_AVG_POOL)
        return;
    ir->embedding = input;
    if (ir->target >= 0 && pool->inputs[0] == ir->target) {
        ir->linear_head = true;
        ir->head_weight = linear->weight;
    }
}

/* Gradients need the tail as it stands in the graph, and the shortcuts that lead around the target. */
static enum cs_status prepare_gradient(struct csi_ir *ir, struct cs_error *error)
{
    enum cs_status status = csi_tail_create(ir->graph, ir->target, ir->output, &ir->tail, error);

    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < csi_tail_side_count(ir->tail); i++)
        ir->values[csi_ir_resolve(ir, csi_tail_side(ir->tail, i))].kept = true;
    return CS_OK;
}

static enum cs_status lower(struct csi_ir *ir, const char *target_layer, struct cs_error *error)
{
    const struct csi_graph *graph = ir->graph;
    enum cs_status status;

    for (size_t i = 0; i < graph->value_count; i++) {
        struct csi_ir_value *value = &ir->values[i];

        value->alias = (int)i;
        value->producer = -1;
        value->constant = graph->values[i].data != NULL;
        if (!value->constant && !csi_shape_of(&graph->values[i], &value->shape))
            return csi_fail(error, CS_MODEL_UNSUPPORTED,
                            "'%s' has %u dimensions: only [N,C], [N,C,W] and [N,C,H,W] run",
                            graph->values[i].name, graph->values[i].rank);
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct csi_node *node = &graph->nodes[i];
        struct csi_ir_node *lowered;

        if (node->op == CSI_OP_INPUT)
            continue;
        if (is_elided(ir, node)) {
            ir->values[node->output].alias = csi_ir_resolve(ir, node->inputs[0]);
            continue;
        }
        if (twin_mark(ir, node) >= 0) {
            ir->values[node->output].alias = twin_mark(ir, node);
            continue;
        }
        lowered = &ir->nodes[ir->node_count];
        ir->values[node->output].producer = (int)ir->node_count++;
        status = lower_node(ir, node, lowered, error);
        if (status != CS_OK)
            return status;
    }
    status = csi_find_target(graph, target_layer, &ir->target, &ir->target_name, error);
    if (status != CS_OK)
        return status;
    ir->input = graph->input;
    ir->output = csi_ir_resolve(ir, graph->output);
    ir->target = csi_ir_resolve(ir, ir->target);
    if (ir->target == ir->input)
        ir->target = -1;
    ir->values[ir->output].kept = true;
    if (ir->target >= 0)
        ir->values[ir->target].kept = true;
    find_head(ir);
    if (ir->embedding >= 0)
        ir->values[ir->embedding].kept = true;
    return ir->target >= 0 && !ir->linear_head ? prepare_gradient(ir, error) : CS_OK;
}

enum cs_status csi_ir_create(const struct csi_graph *graph, const char *target_layer, bool integers,
                             struct csi_ir **out, struct cs_error *error)
{
    struct csi_ir *ir = calloc(1, sizeof *ir);
    enum cs_status status;

    *out = NULL;
    if (ir == NULL)
        return csi_fail_memory(error, "compiling the network");
    ir->graph = graph;
    ir->integers = integers;
    ir->target = ir->embedding = ir->input = ir->output = -1;
    ir->values = calloc(graph->value_count + 1, sizeof *ir->values);
    ir->value_count = graph->value_count;
    ir->nodes = calloc(graph->node_count + 1, sizeof *ir->nodes);
    if (ir->values == NULL || ir->nodes == NULL) {
        status = csi_fail_memory(error, "compiling the network");
        goto fail;
    }
    status = lower(ir, target_layer, error);
    if (status != CS_OK)
        goto fail;
    status = csi_ir_fuse(ir, error);
    if (status == CS_OK && integers)
        status = csi_ir_to_bytes(ir, error);
    if (status != CS_OK)
        goto fail;
    *out = ir;
    return CS_OK;
fail:
    csi_ir_destroy(ir);
    return status;
}

void csi_ir_destroy(struct csi_ir *ir)
{
    if (ir == NULL)
        return;
    for (size_t i = 0; i < ir->node_count; i++) {
        csi_aligned_free(ir->nodes[i].owned_weight);
        free(ir->nodes[i].factors);
        csi_aligned_free(ir->nodes[i].owned_bias);
    }
    csi_tail_destroy(ir->tail);
    free(ir->nodes);
    free(ir->values);
    free(ir);
}

bool csi_ir_is_plain3x3(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    (void)ir;
    return node->op == CSI_OP_CONV && node->kernel[0] == 3 && node->kernel[1] == 3 && node->stride[0] == 1 &&
           node->stride[1] == 1 && node->dilation[0] == 1 && node->dilation[1] == 1 && node->groups == 1 &&
           node->pads[0] == 1 && node->pads[1] == 1 && node->pads[2] == 1 && node->pads[3] == 1;
}

bool csi_ir_is_depthwise(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    size_t channels = ir->values[node->inputs[0]].shape.channels;

    return node->op == CSI_OP_CONV && node->groups > 1 && node->groups == channels &&
           ir->values[node->output].shape.channels == channels;
}

double csi_ir_flops(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    const struct csi_shape *in = &ir->values[node->inputs[0]].shape, *out = &ir->values[node->output].shape;
    double pixels = (double)out->height * (double)out->width * (node->pool ? 4.0 : 1.0);

    if (node->op != CSI_OP_CONV)
        return 0.0;
    return 2.0 * pixels * (double)out->channels * (double)in->channels / (double)node->groups *
           (double)node->kernel[0] * (double)node->kernel[1];
}
