/*
 * Shape inference: the output's shape of each operator, and every check of attributes against shapes. A node
 * that passes here can be computed without looking again.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "graph/graph.h"

struct inference {
    const struct csi_graph *graph;
    const struct csi_node *node;
    const struct csi_value *inputs[CSI_NODE_MAX_INPUTS]; /* NULL where absent */
    unsigned *rank;
    size_t *dims;
    struct cs_error *error;
};

const char *csi_op_name(enum csi_op op)
{
    static const char *const names[] = {
        "input",   "conv", "batch_norm", "activation", "max_pool", "avg_pool", "global_avg_pool",
        "linear",  "add",  "sub",        "mul",        "div",      "concat",   "flatten",
        "reshape", "pad",  "softmax",    "quantize",   "identity"};

    return (size_t)op < sizeof names / sizeof names[0] ? names[op] : "unknown";
}

#define INVALID(in, ...) wrong(in, CS_MODEL_INVALID, __VA_ARGS__)

static enum cs_status wrong(const struct inference *in, enum cs_status status, const char *format, ...)
    CSI_PRINTF(3, 4);

static enum cs_status wrong(const struct inference *in, enum cs_status status, const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return csi_fail(in->error, status, "node '%s' (%s): %s", in->node->name, csi_op_name(in->node->op), text);
}

static enum cs_status same_as(const struct inference *in, const struct csi_value *value)
{
    *in->rank = value->rank;
    for (unsigned i = 0; i < value->rank; i++)
        in->dims[i] = value->dims[i];
    return CS_OK;
}

/* One constant of `length` numbers, the shape of biases and of batch norm's parameters. */
static bool is_vector(const struct csi_value *value, size_t length)
{
    return value != NULL && csi_value_is_constant(value) && value->rank == 1 && value->dims[0] == length;
}

/* Output length of a sliding window; false: the window does not fit. */
static bool window(const struct csi_node *node, unsigned axis, size_t length, size_t *out)
{
    size_t kernel = node->kernel[axis], stride = node->stride[axis], dilation = node->dilation[axis];
    size_t before = node->pads[axis], after = node->pads[axis + 2], span, padded;

    if (kernel == 0 || stride == 0 || dilation == 0 || kernel > 65535 || stride > 65535 || dilation > 65535 ||
        before > 65535 || after > 65535)
        return false;
    span = (kernel - 1) * dilation + 1;
    padded = length + before + after;
    if (padded < span)
        return false;
    *out = (padded - span) / stride + 1;
    /* Rounding up adds a window only when that starts inside the input or the padding before it, as PyTorch
     * defines it. */
    if (node->ceil_mode && (padded - span) % stride != 0 && *out * stride < length + before)
        (*out)++;
    return true;
}

static enum cs_status infer_conv(const struct inference *in)
{
    const struct csi_node *node = in->node;
    const struct csi_value *x = in->inputs[0], *weight = in->inputs[1], *bias = in->inputs[2];

    if (x->rank != 4)
        return wrong(in, CS_MODEL_UNSUPPORTED, "only two-dimensional convolution is supported");
    if (weight == NULL || !csi_value_is_constant(weight) || weight->rank != 4)
        return wrong(in, CS_MODEL_UNSUPPORTED, "the weight is not a constant of four dimensions");
    if (node->groups == 0 || x->dims[1] % node->groups != 0 || weight->dims[0] % node->groups != 0 ||
        weight->dims[1] != x->dims[1] / node->groups)
        return INVALID(in, "a weight of %zux%zu channels does not fit %zu channels in %u groups",
                       weight->dims[0], weight->dims[1], x->dims[1], node->groups);
    if (weight->dims[2] != node->kernel[0] || weight->dims[3] != node->kernel[1])
        return INVALID(in, "kernel is %ux%u but the weight is %zux%zu", node->kernel[0], node->kernel[1],
                       weight->dims[2], weight->dims[3]);
    if (bias != NULL && !is_vector(bias, weight->dims[0]))
        return INVALID(in, "the bias is not a constant of %zu numbers", weight->dims[0]);
    if (node->ceil_mode || !window(node, 0, x->dims[2], &in->dims[2]) ||
        !window(node, 1, x->dims[3], &in->dims[3]))
        return INVALID(in, "kernel, stride, dilation or padding do not fit an input of %zux%zu", x->dims[2],
                       x->dims[3]);
    *in->rank = 4;
    in->dims[0] = 1;
    in->dims[1] = weight->dims[0];
    return CS_OK;
}

static enum cs_status infer_batch_norm(const struct inference *in)
{
    const struct csi_value *x = in->inputs[0], *variance = in->inputs[4];

    if (x->rank < 2)
        return INVALID(in, "the input has no channels");
    for (unsigned i = 1; i < 5; i++)
        if (!is_vector(in->inputs[i], x->dims[1]))
            return INVALID(in, "parameter %u is not a constant of %zu numbers", i, x->dims[1]);
    if (!isfinite(in->node->epsilon) || in->node->epsilon < 0.0f)
        return INVALID(in, "epsilon is out of range");
    for (size_t i = 0; i < variance->dims[0]; i++)
        if (!(variance->data[i] + in->node->epsilon > 0.0f))
            return INVALID(in, "variance %zu is not positive", i);
    return same_as(in, x);
}

static enum cs_status infer_pool(const struct inference *in)
{
    const struct csi_node *node = in->node;
    const struct csi_value *x = in->inputs[0];

    if (x->rank != 4)
        return wrong(in, CS_MODEL_UNSUPPORTED, "only two-dimensional pooling is supported");
    if (!window(node, 0, x->dims[2], &in->dims[2]) || !window(node, 1, x->dims[3], &in->dims[3]) ||
        node->pads[0] >= node->kernel[0] || node->pads[1] >= node->kernel[1] ||
        node->pads[2] >= node->kernel[0] || node->pads[3] >= node->kernel[1])
        return INVALID(in, "kernel, stride or padding do not fit an input of %zux%zu", x->dims[2],
                       x->dims[3]);
    *in->rank = 4;
    in->dims[0] = 1;
    in->dims[1] = x->dims[1];
    return CS_OK;
}

static enum cs_status infer_linear(const struct inference *in)
{
    const struct csi_value *x = in->inputs[0], *weight = in->inputs[1], *bias = in->inputs[2];

    if (weight == NULL || !csi_value_is_constant(weight) || weight->rank != 2)
        return wrong(in, CS_MODEL_UNSUPPORTED, "the weight is not a constant of two dimensions");
    if (x->rank != 2 || x->dims[1] != weight->dims[1])
        return INVALID(in, "a weight for %zu features does not fit the input", weight->dims[1]);
    if (bias != NULL && !is_vector(bias, weight->dims[0]))
        return INVALID(in, "the bias is not a constant of %zu numbers", weight->dims[0]);
    *in->rank = 2;
    in->dims[0] = 1;
    in->dims[1] = weight->dims[0];
    return CS_OK;
}

static enum cs_status infer_elementwise(const struct inference *in)
{
    const struct csi_value *a = in->inputs[0], *b = in->inputs[1];
    unsigned rank;

    if (csi_value_is_constant(a) && csi_value_is_constant(b))
        return INVALID(in, "both inputs are constants");
    rank = a->rank > b->rank ? a->rank : b->rank;
    for (unsigned i = 0; i < rank; i++) { /* from the last axis to the first */
        size_t da = i < a->rank ? a->dims[a->rank - 1 - i] : 1;
        size_t db = i < b->rank ? b->dims[b->rank - 1 - i] : 1;

        if (da != db && da != 1 && db != 1)
            return INVALID(in, "shapes do not broadcast: %zu against %zu", da, db);
        in->dims[rank - 1 - i] = da > db ? da : db;
    }
    *in->rank = rank;
    /* A constant must not reach into the batch axis, which is written as 1 here. */
    if ((!csi_value_is_constant(a) && a->rank != rank) || (!csi_value_is_constant(b) && b->rank != rank) ||
        rank == 0 || in->dims[0] != 1)
        return wrong(in, CS_MODEL_UNSUPPORTED, "broadcasting over the batch axis");
    return CS_OK;
}

static enum cs_status infer_concat(const struct inference *in)
{
    const struct csi_value *first = in->inputs[0];
    size_t channels = 0;

    if (first->rank < 2)
        return INVALID(in, "the input has no channels");
    for (unsigned i = 0; i < in->node->input_count; i++) {
        const struct csi_value *x = in->inputs[i];

        if (csi_value_is_constant(x) || x->rank != first->rank)
            return INVALID(in, "inputs of different rank, or a constant");
        for (unsigned k = 2; k < x->rank; k++)
            if (x->dims[k] != first->dims[k])
                return INVALID(in, "inputs of different size");
        if (csi_add_overflows(channels, x->dims[1], &channels))
            return INVALID(in, "too many channels");
    }
    same_as(in, first);
    in->dims[1] = channels;
    return CS_OK;
}

static enum cs_status infer_reshape(const struct inference *in)
{
    const struct csi_node *node = in->node;
    size_t count = 1;

    if (node->op == CSI_OP_FLATTEN) {
        *in->rank = 2;
        in->dims[0] = 1;
        in->dims[1] = csi_value_elements(in->inputs[0]);
        return CS_OK;
    }
    if (node->shape_rank == 0 || node->shape_rank > CSI_MAX_RANK || node->shape[0] != 1)
        return wrong(in, CS_MODEL_UNSUPPORTED, "reshaping the batch axis");
    for (unsigned i = 0; i < node->shape_rank; i++) {
        if (csi_mul_overflows(count, node->shape[i], &count))
            return INVALID(in, "the shape overflows");
        in->dims[i] = node->shape[i];
    }
    if (count != csi_value_elements(in->inputs[0]))
        return INVALID(in, "the shape has %zu elements, the input %zu", count,
                       csi_value_elements(in->inputs[0]));
    *in->rank = node->shape_rank;
    return CS_OK;
}

static enum cs_status infer_pad(const struct inference *in)
{
    const struct csi_node *node = in->node;

    if (in->inputs[0]->rank != 4)
        return wrong(in, CS_MODEL_UNSUPPORTED, "only padding of height and width is supported");
    for (unsigned i = 0; i < 4; i++)
        if (node->pads[i] > 65535)
            return INVALID(in, "padding is out of range");
    same_as(in, in->inputs[0]);
    in->dims[2] += (size_t)node->pads[0] + node->pads[2];
    in->dims[3] += (size_t)node->pads[1] + node->pads[3];
    return CS_OK;
}

static enum cs_status infer_activation(const struct inference *in)
{
    const struct csi_node *node = in->node;

    if (node->activation < CSI_ACT_NONE || node->activation > CSI_ACT_LAST)
        return INVALID(in, "unknown activation");
    if (isnan(node->alpha) || isnan(node->beta) ||
        (node->activation == CSI_ACT_CLIP && node->alpha > node->beta))
        return INVALID(in, "the parameters are out of range");
    return same_as(in, in->inputs[0]);
}

/* The two ranges of eight bits, no other: the engine keeps such maps as bytes. */
static enum cs_status infer_quantize(const struct inference *in)
{
    const struct csi_node *node = in->node;
    bool is_unsigned = node->alpha == 0.0f && node->beta == 255.0f;
    bool is_signed = node->alpha == -128.0f && node->beta == 127.0f;

    if (!isfinite(node->scale) || node->scale <= 0.0f)
        return INVALID(in, "the scale is out of range");
    if (!is_unsigned && !is_signed)
        return INVALID(in, "the range is %g to %g, neither 0 to 255 nor -128 to 127", (double)node->alpha,
                       (double)node->beta);
    if ((float)node->zero_point < node->alpha || (float)node->zero_point > node->beta)
        return INVALID(in, "the zero point %d is not in the range %g to %g", node->zero_point,
                       (double)node->alpha, (double)node->beta);
    return same_as(in, in->inputs[0]);
}

static enum cs_status infer_operator(const struct inference *in)
{
    const struct csi_node *node = in->node;

    switch (node->op) {
    case CSI_OP_INPUT: break;
    case CSI_OP_CONV: return infer_conv(in);
    case CSI_OP_BATCH_NORM: return infer_batch_norm(in);
    case CSI_OP_ACTIVATION: return infer_activation(in);
    case CSI_OP_MAX_POOL:
    case CSI_OP_AVG_POOL: return infer_pool(in);
    case CSI_OP_GLOBAL_AVG_POOL:
        if (in->inputs[0]->rank != 4)
            return wrong(in, CS_MODEL_UNSUPPORTED, "only two-dimensional pooling is supported");
        same_as(in, in->inputs[0]);
        in->dims[2] = in->dims[3] = 1;
        return CS_OK;
    case CSI_OP_LINEAR: return infer_linear(in);
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV: return infer_elementwise(in);
    case CSI_OP_CONCAT: return infer_concat(in);
    case CSI_OP_FLATTEN:
    case CSI_OP_RESHAPE: return infer_reshape(in);
    case CSI_OP_PAD: return infer_pad(in);
    case CSI_OP_SOFTMAX:
        if (in->inputs[0]->rank != 2)
            return wrong(in, CS_MODEL_UNSUPPORTED, "softmax is supported over [batch, classes] only");
        return same_as(in, in->inputs[0]);
    case CSI_OP_QUANTIZE: return infer_quantize(in);
    case CSI_OP_IDENTITY: return same_as(in, in->inputs[0]);
    }
    return INVALID(in, "unknown operator");
}

/* How many inputs an operator takes, and how many of them must be there. */
static bool count_fits(const struct csi_node *node, unsigned *needed)
{
    unsigned most;

    switch (node->op) {
    case CSI_OP_CONV:
    case CSI_OP_LINEAR:
        *needed = 2;
        most = 3;
        break;
    case CSI_OP_BATCH_NORM: *needed = most = 5; break;
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV: *needed = most = 2; break;
    case CSI_OP_CONCAT:
        *needed = node->input_count;
        most = CSI_NODE_MAX_INPUTS;
        break;
    default: *needed = most = 1; break;
    }
    return node->input_count > 0 && node->input_count >= *needed && node->input_count <= most;
}

enum cs_status csi_infer_shape(const struct csi_graph *graph, const struct csi_node *node, unsigned *rank,
                               size_t *dims, struct cs_error *error)
{
    struct inference in = {.graph = graph, .node = node, .rank = rank, .dims = dims, .error = error};
    unsigned needed;

    if (node->op == CSI_OP_INPUT) {
        if (node->input_count != 0 || node->shape_rank != CSI_MAX_RANK || node->shape[0] != 1)
            return INVALID(&in, "an input has the shape [1, channels, height, width]");
        for (unsigned i = 0; i < CSI_MAX_RANK; i++)
            dims[i] = node->shape[i];
        *rank = CSI_MAX_RANK;
        return CS_OK;
    }
    if (!count_fits(node, &needed))
        return INVALID(&in, "%u inputs", node->input_count);
    for (unsigned i = 0; i < node->input_count; i++) {
        if (node->inputs[i] == CSI_NO_VALUE && i >= needed)
            continue;
        if (node->inputs[i] == CSI_NO_VALUE)
            return INVALID(&in, "input %u is missing", i);
        if (node->inputs[i] < 0 || (size_t)node->inputs[i] >= graph->value_count)
            return INVALID(&in, "input %u does not exist", i);
        in.inputs[i] = &graph->values[node->inputs[i]];
    }
    if (csi_value_is_constant(in.inputs[0]) && !(node->op >= CSI_OP_ADD && node->op <= CSI_OP_DIV))
        return wrong(&in, CS_MODEL_UNSUPPORTED, "the input is a constant");
    return infer_operator(&in);
}
