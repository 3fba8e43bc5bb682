/*
 * ONNX operators that compute on activations, one function an operator: attributes are read, checked, and
 * become a node of the graph. Activations are in onnx_activations.c, operators that only move numbers in
 * onnx_move.c. See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

const struct csi_value *csi_onnx_graph_value(const struct csi_onnx *onnx, int index)
{
    return &onnx->graph->values[index];
}

struct csi_node csi_onnx_new_node(const struct csi_onnx *onnx, enum csi_op op)
{
    return csi_node_init(op, onnx->node_name);
}

enum cs_status csi_onnx_finish(struct csi_onnx *onnx, const struct csi_node *node)
{
    struct csi_onnx_value value = {.kind = CSI_ONNX_ACTIVATION};
    enum cs_status status = csi_graph_add_node(onnx->graph, node, &value.index, onnx->error);

    return status == CS_OK ? csi_onnx_define(onnx, onnx->node->output[0], &value) : status;
}

enum cs_status csi_onnx_alias(struct csi_onnx *onnx, int index)
{
    struct csi_onnx_value value = {.kind = CSI_ONNX_ACTIVATION, .index = index};

    return csi_onnx_define(onnx, onnx->node->output[0], &value);
}

enum cs_status csi_onnx_activation(struct csi_onnx *onnx, const struct csi_onnx_value *value, int *index)
{
    struct csi_node node;

    *index = value->index;
    if (value->kind == CSI_ONNX_ACTIVATION)
        return CS_OK;
    if (value->kind == CSI_ONNX_GELU_PART)
        return csi_onnx_gelu_part(onnx, value, index);
    if (value->kind == CSI_ONNX_GATE) {
        node = csi_node_init(CSI_OP_ACTIVATION, value->name);
        node.activation = value->activation;
        node.alpha = value->alpha;
        node.beta = value->beta;
    } else if (value->kind == CSI_ONNX_QUANTIZED) {
        node = csi_node_init(CSI_OP_QUANTIZE, value->name);
        node.scale = value->scale;
        node.zero_point = (int)value->zero_point;
        node.alpha = value->alpha;
        node.beta = value->beta;
    } else if (value->kind == CSI_ONNX_TRANSPOSED) {
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "its input '%.100s' is a transpose that cannot be removed", value->name);
    } else {
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the input '%.100s' is a constant", value->name);
    }
    node.inputs[0] = value->index;
    node.input_count = 1;
    return csi_graph_add_node(onnx->graph, &node, index, onnx->error);
}

enum cs_status csi_onnx_take(struct csi_onnx *onnx, size_t at, int *index)
{
    const struct csi_onnx_value *value = csi_onnx_input(onnx, at);

    *index = CSI_NO_VALUE;
    if (value == NULL)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "input %zu is missing", at);
    if (value->kind == CSI_ONNX_QUANTIZED)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "computing on quantised numbers: only QDQ models are read");
    return csi_onnx_activation(onnx, value, index);
}

bool csi_onnx_wants_output(const struct csi_onnx *onnx, size_t at)
{
    return at < onnx->node->n_output && onnx->node->output[at][0] != '\0';
}

static enum cs_status check_finite(const struct csi_onnx *onnx, const struct csi_onnx_value *value)
{
    for (size_t i = 0; i < csi_onnx_elements(value); i++)
        if (!isfinite(value->data[i]))
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "'%.100s' holds a number that is not finite",
                                 value->name);
    return CS_OK;
}

enum cs_status csi_onnx_constant(struct csi_onnx *onnx, size_t at, int *index)
{
    struct csi_onnx_value *value = csi_onnx_input(onnx, at);
    enum cs_status status;

    *index = CSI_NO_VALUE;
    if (value == NULL)
        return CS_OK;
    if (value->kind != CSI_ONNX_CONSTANT)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "input %zu is not a constant", at);
    if (value->rank > CSI_MAX_RANK)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "'%.100s' has %u dimensions, more than %d",
                             value->name, value->rank, CSI_MAX_RANK);
    if (value->constant == CSI_NO_VALUE) {
        status = check_finite(onnx, value);
        if (status == CS_OK)
            status = csi_graph_add_constant(onnx->graph, value->name, value->rank, value->dims, value->data,
                                            &value->constant, onnx->error);
        if (status == CS_OK)
            status = csi_onnx_keep_scales(onnx, value, 0, value->constant);
        if (status != CS_OK)
            return status;
    }
    *index = value->constant;
    return CS_OK;
}

bool csi_onnx_number(const struct csi_onnx *onnx, size_t at, float otherwise, float *number)
{
    const struct csi_onnx_value *value = csi_onnx_input(onnx, at);

    *number = otherwise;
    if (value == NULL)
        return true;
    if (value->kind != CSI_ONNX_CONSTANT || csi_onnx_elements(value) != 1)
        return false;
    *number = value->data[0];
    return true;
}

static bool read_pair(const struct csi_onnx *onnx, const char *name, unsigned *pair)
{
    int64_t list[2];
    size_t count;

    if (csi_onnx_attribute(onnx, name) == NULL)
        return true;
    if (!csi_onnx_ints(onnx, name, -1, list, 2, &count) || count != 2)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (list[i] < 1 || list[i] > 65535)
            return false;
        pair[i] = (unsigned)list[i];
    }
    return true;
}

/* SAME_UPPER and SAME_LOWER: as many outputs as inputs divided by the stride, the odd pixel of padding after
 * or before. */
static void pad_same(const struct csi_value *x, struct csi_node *node, bool upper)
{
    for (unsigned i = 0; i < 2; i++) {
        size_t length = x->dims[2 + i], stride = node->stride[i];
        size_t span = (size_t)(node->kernel[i] - 1) * node->dilation[i] + 1;
        size_t needed = ((length + stride - 1) / stride - 1) * stride + span;
        size_t total = needed > length ? needed - length : 0;

        node->pads[i] = (unsigned)(upper ? total / 2 : total - total / 2);
        node->pads[i + 2] = (unsigned)(total - node->pads[i]);
    }
}

/* strides, dilations, pads and auto_pad of a sliding window. */
static enum cs_status read_window(struct csi_onnx *onnx, struct csi_node *node)
{
    int64_t pads[4];
    size_t count;

    if (csi_onnx_graph_value(onnx, node->inputs[0])->rank != 4)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only two-dimensional windows are supported");
    if (!read_pair(onnx, "kernel_shape", node->kernel) || !read_pair(onnx, "strides", node->stride) ||
        !read_pair(onnx, "dilations", node->dilation))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "kernel, strides or dilations are not two positive numbers");
    if (csi_onnx_text_is(onnx, "auto_pad", "SAME_UPPER", false) ||
        csi_onnx_text_is(onnx, "auto_pad", "SAME_LOWER", false)) {
        pad_same(csi_onnx_graph_value(onnx, node->inputs[0]), node,
                 csi_onnx_text_is(onnx, "auto_pad", "SAME_UPPER", false));
        return CS_OK;
    }
    if (!csi_onnx_text_is(onnx, "auto_pad", "VALID", true) &&
        !csi_onnx_text_is(onnx, "auto_pad", "NOTSET", true))
        return csi_onnx_fail(onnx, CS_MODEL_INVALID,
                             "auto_pad is none of NOTSET, VALID, SAME_UPPER, SAME_LOWER");
    if (csi_onnx_attribute(onnx, "pads") == NULL || csi_onnx_text_is(onnx, "auto_pad", "VALID", false))
        return CS_OK;
    if (!csi_onnx_ints(onnx, "pads", -1, pads, 4, &count) || count != 4)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "pads are not four numbers");
    for (unsigned i = 0; i < 4; i++) {
        if (pads[i] < 0 || pads[i] > 65535)
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "negative padding");
        node->pads[i] = (unsigned)pads[i];
    }
    return CS_OK;
}

static enum cs_status node_conv(struct csi_onnx *onnx)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_CONV);
    int64_t groups = csi_onnx_int(onnx, "group", 1);
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    if (status == CS_OK)
        status = csi_onnx_constant(onnx, 1, &node.inputs[1]);
    if (status == CS_OK)
        status = csi_onnx_constant(onnx, 2, &node.inputs[2]);
    if (status != CS_OK)
        return status;
    if (node.inputs[1] == CSI_NO_VALUE || csi_onnx_graph_value(onnx, node.inputs[1])->rank != 4 ||
        groups < 1 || groups > 65535)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only two-dimensional convolution is supported");
    for (unsigned i = 0; i < 2; i++)
        node.kernel[i] =
            (unsigned)csi_min_size(csi_onnx_graph_value(onnx, node.inputs[1])->dims[2 + i], 65536);
    node.groups = (unsigned)groups;
    node.input_count = node.inputs[2] == CSI_NO_VALUE ? 2 : 3;
    status = read_window(onnx, &node);
    return status == CS_OK ? csi_onnx_finish(onnx, &node) : status;
}

static enum cs_status node_pool(struct csi_onnx *onnx, enum csi_op op)
{
    struct csi_node node = csi_onnx_new_node(onnx, op);
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    node.input_count = 1;
    if (status == CS_OK)
        status = read_window(onnx, &node);
    if (status != CS_OK)
        return status;
    if (csi_onnx_wants_output(onnx, 1))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "pooling with indices");
    node.ceil_mode = csi_onnx_int(onnx, "ceil_mode", 0) != 0;
    node.count_include_pad = csi_onnx_int(onnx, "count_include_pad", 0) != 0;
    return csi_onnx_finish(onnx, &node);
}

static enum cs_status node_unary(struct csi_onnx *onnx, enum csi_op op)
{
    struct csi_node node = csi_onnx_new_node(onnx, op);
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    node.input_count = 1;
    return status == CS_OK ? csi_onnx_finish(onnx, &node) : status;
}

static enum cs_status node_batch_norm(struct csi_onnx *onnx)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_BATCH_NORM);
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    for (unsigned i = 1; i < 5 && status == CS_OK; i++)
        status = csi_onnx_constant(onnx, i, &node.inputs[i]);
    if (status != CS_OK)
        return status;
    /* Before opset 14 the statistics of the batch as outputs said it. */
    if (csi_onnx_int(onnx, "training_mode", 0) != 0 || csi_onnx_wants_output(onnx, 1))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "training mode: export the model after model.eval()");
    node.input_count = 5;
    node.epsilon = csi_onnx_float(onnx, "epsilon", 1e-5f);
    return csi_onnx_finish(onnx, &node);
}

static enum cs_status node_binary(struct csi_onnx *onnx, enum csi_op op)
{
    struct csi_node node = csi_onnx_new_node(onnx, op);
    const struct csi_onnx_value *values[2] = {csi_onnx_input(onnx, 0), csi_onnx_input(onnx, 1)};
    bool done;
    enum cs_status status;

    if (values[0] == NULL || values[1] == NULL)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "an input is missing");
    status = csi_onnx_spelt_out(onnx, op, &done);
    if (done)
        return status;
    for (unsigned i = 0; i < 2 && status == CS_OK; i++)
        status = values[i]->kind == CSI_ONNX_CONSTANT ? csi_onnx_constant(onnx, i, &node.inputs[i])
                                                      : csi_onnx_take(onnx, i, &node.inputs[i]);
    node.input_count = 2;
    return status == CS_OK ? csi_onnx_finish(onnx, &node) : status;
}

/* Mean over height and width: a global pool, and without them in the result a flat vector. A transpose before
 * it says only where height and width stand. */
static enum cs_status node_reduce_mean(struct csi_onnx *onnx)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_GLOBAL_AVG_POOL),
                    flat = csi_onnx_new_node(onnx, CSI_OP_FLATTEN);
    const struct csi_onnx_value *input = csi_onnx_input(onnx, 0);
    bool turned = input != NULL && input->kind == CSI_ONNX_TRANSPOSED;
    bool keep = csi_onnx_int(onnx, "keepdims", 1) != 0;
    int64_t axes[2] = {0, 0};
    size_t count, dims[CSI_MAX_RANK] = {1, 1, 1, 1};
    int pooled;
    enum cs_status status = CS_OK;

    if (turned)
        node.inputs[0] = input->index;
    else
        status = csi_onnx_take(onnx, 0, &node.inputs[0]);
    if (status != CS_OK)
        return status;
    if (csi_onnx_graph_value(onnx, node.inputs[0])->rank != 4 ||
        !csi_onnx_ints(onnx, "axes", 1, axes, 2, &count) || count != 2)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only the mean over height and width is supported");
    for (unsigned i = 0; i < 2; i++) {
        if (axes[i] < -4 || axes[i] > 3)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "axis %lld is out of range", (long long)axes[i]);
        axes[i] += axes[i] < 0 ? 4 : 0;
        if (turned)
            axes[i] = input->order[axes[i]];
    }
    if (axes[0] + axes[1] != 5 || axes[0] < 2 || axes[1] < 2)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only the mean over height and width is supported");
    node.input_count = 1;
    if (keep && !turned)
        return csi_onnx_finish(onnx, &node);
    status = csi_graph_add_node(onnx->graph, &node, keep ? &pooled : &flat.inputs[0], onnx->error);
    if (status != CS_OK)
        return status;
    for (unsigned i = 0; keep && i < 4; i++)
        dims[i] = csi_onnx_graph_value(onnx, pooled)->dims[input->order[i]];
    flat.input_count = 1;
    return keep ? csi_onnx_reshape_to(onnx, pooled, 4, dims) : csi_onnx_finish(onnx, &flat);
}

/* A constant of the graph that was multiplied by an attribute. */
static enum cs_status check_scaled(const struct csi_onnx *onnx, int index, const char *attribute)
{
    const struct csi_value *value = csi_onnx_graph_value(onnx, index);

    for (size_t i = 0; i < csi_value_elements(value); i++)
        if (!isfinite(value->data[i]))
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "'%.100s' times %s is not finite", value->name,
                                 attribute);
    return CS_OK;
}

/* The linear layer's weight [O,I]: constant input 1, transposed when it is [I,O], times `alpha`. Layers that
 * share one share what is made of it. */
static enum cs_status add_weight(struct csi_onnx *onnx, bool transposed, float alpha, int *index)
{
    struct csi_onnx_value *weight = csi_onnx_input(onnx, 1);
    size_t dims[2];
    enum cs_status status;
    float *data;

    if (weight == NULL || weight->kind != CSI_ONNX_CONSTANT || weight->rank != 2)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the weight is not a constant matrix");
    if (transposed && alpha == 1.0f)
        return csi_onnx_constant(onnx, 1, index);
    if (!transposed && alpha == 1.0f && weight->turned != 0) {
        *index = weight->turned;
        return CS_OK;
    }
    dims[0] = transposed ? weight->dims[0] : weight->dims[1];
    dims[1] = transposed ? weight->dims[1] : weight->dims[0];
    status = csi_onnx_spend(onnx, csi_onnx_elements(weight));
    if (status == CS_OK)
        status = check_finite(onnx, weight);
    if (status == CS_OK)
        status = csi_graph_add_constant(onnx->graph, weight->name, 2, dims, NULL, index, onnx->error);
    if (status != CS_OK)
        return status;
    data = onnx->graph->values[*index].data;
    for (size_t o = 0; o < dims[0]; o++)
        for (size_t i = 0; i < dims[1]; i++)
            data[o * dims[1] + i] = alpha * weight->data[transposed ? o * dims[1] + i : i * dims[0] + o];
    if (alpha != 1.0f)
        return check_scaled(onnx, *index, "alpha");
    weight->turned = *index;
    return csi_onnx_keep_scales(onnx, weight, 1, *index);
}

/* Gemm's C: one number for each output, however it is written, times `beta`. */
static enum cs_status add_bias(struct csi_onnx *onnx, size_t outputs, float beta, int *index)
{
    const struct csi_onnx_value *bias = csi_onnx_input(onnx, 2);
    size_t count;
    enum cs_status status;

    *index = CSI_NO_VALUE;
    if (bias == NULL)
        return CS_OK;
    count = bias->kind == CSI_ONNX_CONSTANT ? csi_onnx_elements(bias) : 0;
    if (count != 1 && (count != outputs || bias->dims[bias->rank - 1] != outputs))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the bias is not a constant of %zu numbers",
                             outputs);
    status = csi_onnx_spend(onnx, outputs);
    if (status == CS_OK)
        status = check_finite(onnx, bias);
    if (status == CS_OK)
        status = csi_graph_add_constant(onnx->graph, bias->name, 1, &outputs, NULL, index, onnx->error);
    for (size_t i = 0; status == CS_OK && i < outputs; i++)
        onnx->graph->values[*index].data[i] = beta * bias->data[count == 1 ? 0 : i];
    return status == CS_OK ? check_scaled(onnx, *index, "beta") : status;
}

static enum cs_status node_linear(struct csi_onnx *onnx, bool gemm)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_LINEAR);
    bool transposed = gemm && csi_onnx_int(onnx, "transB", 0) != 0;
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    if (status == CS_OK && gemm && csi_onnx_int(onnx, "transA", 0) != 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "transA");
    if (status == CS_OK)
        status =
            add_weight(onnx, transposed, gemm ? csi_onnx_float(onnx, "alpha", 1.0f) : 1.0f, &node.inputs[1]);
    if (status == CS_OK && gemm)
        status = add_bias(onnx, csi_onnx_graph_value(onnx, node.inputs[1])->dims[0],
                          csi_onnx_float(onnx, "beta", 1.0f), &node.inputs[2]);
    node.input_count = node.inputs[2] == CSI_NO_VALUE ? 2 : 3;
    return status == CS_OK ? csi_onnx_finish(onnx, &node) : status;
}

/* One scale for the whole activation; the type of the zero point gives the range, or (opset 21) output_dtype.
 */
static enum cs_status node_quantize(struct csi_onnx *onnx)
{
    const struct csi_onnx_value *zero = csi_onnx_input(onnx, 2);
    struct csi_onnx_value value = {.kind = CSI_ONNX_QUANTIZED};
    bool is_unsigned;
    enum cs_status status = csi_onnx_quantized_type(onnx, zero, &is_unsigned);

    if (status == CS_OK)
        status = csi_onnx_take(onnx, 0, &value.index);
    if (status != CS_OK)
        return status;
    value.alpha = is_unsigned ? 0.0f : -128.0f;
    value.beta = is_unsigned ? 255.0f : 127.0f;
    if (!csi_onnx_number(onnx, 1, 0.0f, &value.scale) || !csi_onnx_number(onnx, 2, 0.0f, &value.zero_point))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "activations have one scale and zero point");
    if (!(value.scale > 0.0f && value.scale < INFINITY) || !(value.zero_point >= value.alpha) ||
        !(value.zero_point <= value.beta))
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "scale or zero point is out of range");
    return csi_onnx_define(onnx, onnx->node->output[0], &value);
}

static enum cs_status node_dequantize(struct csi_onnx *onnx)
{
    const struct csi_onnx_value *x = csi_onnx_input(onnx, 0);
    float scale, zero;
    int index;
    enum cs_status status;

    if (x == NULL || x->kind != CSI_ONNX_QUANTIZED || !csi_onnx_number(onnx, 1, 0.0f, &scale) ||
        !csi_onnx_number(onnx, 2, 0.0f, &zero) || scale != x->scale || zero != x->zero_point)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "it does not undo a QuantizeLinear");
    status = csi_onnx_activation(onnx, x, &index);
    return status == CS_OK ? csi_onnx_alias(onnx, index) : status;
}

static enum cs_status node_identity(struct csi_onnx *onnx)
{
    int x;
    enum cs_status status = csi_onnx_take(onnx, 0, &x);

    return status == CS_OK ? csi_onnx_alias(onnx, x) : status;
}

/* Nothing is dropped outside training. */
static enum cs_status node_dropout(struct csi_onnx *onnx)
{
    float training;

    if (!csi_onnx_number(onnx, 2, 0.0f, &training) || training != 0.0f || csi_onnx_wants_output(onnx, 1))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "training mode or a mask: export the model after model.eval()");
    return node_identity(onnx);
}

static enum cs_status node_cast(struct csi_onnx *onnx)
{
    int64_t to = csi_onnx_int(onnx, "to", 0);

    if (to != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT && to != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 &&
        to != ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE && to != ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "activations are cast to element type %lld",
                             (long long)to);
    return node_identity(onnx);
}

static enum cs_status node_softmax(struct csi_onnx *onnx)
{
    int64_t axis = csi_onnx_int(onnx, "axis", onnx->opset < 13 ? 1 : -1);

    if (axis != 1 && axis != -1)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "softmax along another axis than the classes");
    return node_unary(onnx, CSI_OP_SOFTMAX);
}

static enum cs_status node_add(struct csi_onnx *onnx)
{
    return node_binary(onnx, CSI_OP_ADD);
}

static enum cs_status node_sub(struct csi_onnx *onnx)
{
    return node_binary(onnx, CSI_OP_SUB);
}

static enum cs_status node_mul(struct csi_onnx *onnx)
{
    return node_binary(onnx, CSI_OP_MUL);
}

static enum cs_status node_div(struct csi_onnx *onnx)
{
    return node_binary(onnx, CSI_OP_DIV);
}

static enum cs_status node_max_pool(struct csi_onnx *onnx)
{
    return node_pool(onnx, CSI_OP_MAX_POOL);
}

static enum cs_status node_average_pool(struct csi_onnx *onnx)
{
    return node_pool(onnx, CSI_OP_AVG_POOL);
}

static enum cs_status node_global_pool(struct csi_onnx *onnx)
{
    return node_unary(onnx, CSI_OP_GLOBAL_AVG_POOL);
}

static enum cs_status node_gemm(struct csi_onnx *onnx)
{
    return node_linear(onnx, true);
}

static enum cs_status node_matmul(struct csi_onnx *onnx)
{
    return node_linear(onnx, false);
}

static enum cs_status node_squeezed(struct csi_onnx *onnx)
{
    return csi_onnx_squeeze(onnx, true);
}

static enum cs_status node_unsqueezed(struct csi_onnx *onnx)
{
    return csi_onnx_squeeze(onnx, false);
}

enum cs_status csi_onnx_node(struct csi_onnx *onnx)
{
    static const struct {
        const char *op;
        enum cs_status (*read)(struct csi_onnx *onnx);
    } operators[] = {
        {"Add", node_add},
        {"AveragePool", node_average_pool},
        {"BatchNormalization", node_batch_norm},
        {"Cast", node_cast},
        {"Concat", csi_onnx_concat},
        {"Conv", node_conv},
        {"DequantizeLinear", node_dequantize},
        {"Div", node_div},
        {"Dropout", node_dropout},
        {"Flatten", csi_onnx_flatten},
        {"Gemm", node_gemm},
        {"GlobalAveragePool", node_global_pool},
        {"Identity", node_identity},
        {"MatMul", node_matmul},
        {"MaxPool", node_max_pool},
        {"Mul", node_mul},
        {"Pad", csi_onnx_pad},
        {"QuantizeLinear", node_quantize},
        {"ReduceMean", node_reduce_mean},
        {"Reshape", csi_onnx_reshape},
        {"Softmax", node_softmax},
        {"Squeeze", node_squeezed},
        {"Sub", node_sub},
        {"Transpose", csi_onnx_transpose},
        {"Unsqueeze", node_unsqueezed},
    };
    bool done;
    enum cs_status status;

    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (strcmp(onnx->node->op_type, operators[i].op) == 0)
            return operators[i].read(onnx);
    status = csi_onnx_activate(onnx, &done);
    return done ? status : csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "this operator is not supported");
}

#else
typedef int csi_onnx_nodes_is_left_out; /* a translation unit must not be empty */
#endif
