/*
 * Constant folding: nodes whose inputs are all known before any photo is seen, among them the shape
 * arithmetic that exporters leave in the file. See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

/* A new constant of that shape, its data cleared. What folding makes is bounded by the file's size. */
static enum cs_status make(struct csi_onnx *onnx, unsigned rank, const size_t *dims, bool integer,
                           struct csi_onnx_value *value)
{
    size_t count = 1;
    enum cs_status status;

    memset(value, 0, sizeof *value);
    value->kind = CSI_ONNX_CONSTANT;
    value->constant = CSI_NO_VALUE;
    value->integer = integer;
    if (rank > CSI_ONNX_RANK)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "a constant of %u dimensions", rank);
    value->rank = rank;
    for (unsigned i = 0; i < rank; i++) {
        value->dims[i] = dims[i];
        if (csi_mul_overflows(count, dims[i], &count))
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "a constant's shape overflows");
    }
    status = csi_onnx_spend(onnx, count);
    if (status != CS_OK)
        return status;
    value->data = csi_aligned_calloc((count + 1) * sizeof *value->data);
    return value->data == NULL ? csi_fail_memory(onnx->error, "ONNX constant") : CS_OK;
}

static enum cs_status define(struct csi_onnx *onnx, const struct csi_onnx_value *value)
{
    return csi_onnx_define(onnx, onnx->node->output[0], value);
}

/* The input with another shape of as many elements. */
static enum cs_status reshaped(struct csi_onnx *onnx, const struct csi_onnx_value *x, unsigned rank,
                               const size_t *dims)
{
    struct csi_onnx_value value;
    size_t count = 1;
    enum cs_status status;

    for (unsigned i = 0; i < rank; i++)
        if (csi_mul_overflows(count, dims[i], &count))
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the shape overflows");
    if (count != csi_onnx_elements(x))
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the shape does not fit the constant");
    status = make(onnx, rank, dims, x->integer, &value);
    if (status != CS_OK)
        return status;
    value.is_unsigned = x->is_unsigned;
    value.bits = x->bits;
    memcpy(value.data, x->data, count * sizeof *value.data);
    return define(onnx, &value);
}

static enum cs_status fold_constant(struct csi_onnx *onnx)
{
    const Onnx__AttributeProto *tensor = csi_onnx_attribute(onnx, "value");
    const Onnx__AttributeProto *number = csi_onnx_attribute(onnx, "value_float");
    const Onnx__AttributeProto *integer = csi_onnx_attribute(onnx, "value_int");
    const Onnx__AttributeProto *integers = csi_onnx_attribute(onnx, "value_ints");
    const Onnx__AttributeProto *numbers = csi_onnx_attribute(onnx, "value_floats");
    bool whole = integer != NULL || integers != NULL, list = integers != NULL || numbers != NULL;
    size_t length = integers != NULL ? integers->n_ints : numbers != NULL ? numbers->n_floats : 1;
    struct csi_onnx_value value;
    enum cs_status status;

    if (tensor != NULL && tensor->t != NULL) {
        status = csi_onnx_tensor(tensor->t, &value, onnx->error);
        return status == CS_OK ? define(onnx, &value) : status;
    }
    if (number == NULL && !whole && !list)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "a constant of this kind");
    status = make(onnx, list ? 1 : 0, &length, whole, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < length; i++)
        value.data[i] = integers != NULL  ? (float)integers->ints[i]
                        : numbers != NULL ? numbers->floats[i]
                        : number != NULL  ? number->f
                                          : (float)integer->i;
    return define(onnx, &value);
}

/* A bound as ONNX counts it (negative: from the end) between `low` and `high`. */
static int64_t clamp_bound(int64_t bound, int64_t length, int64_t low, int64_t high)
{
    if (bound < 0)
        bound = bound < -length ? low : bound + length;
    return bound < low ? low : bound > high ? high : bound;
}

/* The shape of an activation, or a part of it: constant, since the batch is 1 here and every node keeps it
 * the first axis. */
static enum cs_status fold_shape(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    struct csi_onnx_value value;
    const size_t *dims = x->dims;
    int64_t rank = x->rank, start, end;
    size_t count;
    enum cs_status status;

    if (x->kind != CSI_ONNX_CONSTANT) {
        dims = onnx->graph->values[x->index].dims;
        rank = onnx->graph->values[x->index].rank;
    }
    start = clamp_bound(csi_onnx_int(onnx, "start", 0), rank, 0, rank);
    end = clamp_bound(csi_onnx_int(onnx, "end", rank), rank, 0, rank);
    count = end > start ? (size_t)(end - start) : 0;
    status = make(onnx, 1, &count, true, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        size_t axis = (size_t)start + i;

        value.data[i] = (float)dims[x->kind == CSI_ONNX_TRANSPOSED ? x->order[axis] : axis];
    }
    return define(onnx, &value);
}

/* Gather along axis 0 of a vector: an element of a shape. */
static enum cs_status fold_gather(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    const struct csi_onnx_value *index = csi_onnx_input(onnx, 1);
    struct csi_onnx_value value;
    enum cs_status status;

    if (x->rank != 1 || index == NULL || csi_onnx_int(onnx, "axis", 0) != 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only elements of a vector");
    status = make(onnx, index->rank, index->dims, x->integer, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < csi_onnx_elements(index); i++) {
        float at = index->data[i] < 0.0f ? index->data[i] + (float)x->dims[0] : index->data[i];

        if (!(at >= 0.0f && at < (float)x->dims[0])) {
            csi_aligned_free(value.data);
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "an index is out of range");
        }
        value.data[i] = x->data[(size_t)at];
    }
    return define(onnx, &value);
}

/* Slice along axis 0, forwards or backwards: pieces of shapes, and the turning of pads that exporters do. */
static enum cs_status fold_slice(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    int64_t start, end, step = 1, axis = 0, length = x->rank == 0 ? 0 : (int64_t)x->dims[0], rows;
    size_t count, dims[CSI_ONNX_RANK] = {0}, inner;
    struct csi_onnx_value value;
    enum cs_status status;

    if (length == 0 || !csi_onnx_ints(onnx, "starts", 1, &start, 1, &count) || count != 1 ||
        !csi_onnx_ints(onnx, "ends", 2, &end, 1, &count) || count != 1 ||
        (csi_onnx_ints(onnx, "axes", 3, &axis, 1, &count) && count == 1 && axis != 0) ||
        (csi_onnx_ints(onnx, "steps", 4, &step, 1, &count) && count == 1 && step != 1 && step != -1))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only along the first axis, by steps of 1 or -1");
    start = step > 0 ? clamp_bound(start, length, 0, length) : clamp_bound(start, length, -1, length - 1);
    end = step > 0 ? clamp_bound(end, length, 0, length) : clamp_bound(end, length, -1, length - 1);
    rows = step > 0 ? end - start : start - end;
    inner = csi_onnx_elements(x) / (size_t)length;
    memcpy(dims, x->dims, sizeof dims);
    dims[0] = rows > 0 ? (size_t)rows : 0;
    status = make(onnx, x->rank, dims, x->integer, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < dims[0] && inner > 0; i++)
        memcpy(value.data + i * inner, x->data + (size_t)(start + step * (int64_t)i) * inner,
               inner * sizeof *value.data);
    return define(onnx, &value);
}

/* Concat of vectors: a shape is put together. */
static enum cs_status fold_concat(struct csi_onnx *onnx)
{
    struct csi_onnx_value value;
    size_t length = 0, at = 0;
    enum cs_status status;

    for (size_t i = 0; i < onnx->node->n_input; i++) {
        const struct csi_onnx_value *x = csi_onnx_input(onnx, i);

        if (x == NULL || x->rank != 1 || csi_add_overflows(length, x->dims[0], &length))
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "only constant vectors are joined");
    }
    status = make(onnx, 1, &length, csi_onnx_input(onnx, 0)->integer, &value);
    for (size_t i = 0; i < onnx->node->n_input && status == CS_OK; i++) {
        const struct csi_onnx_value *x = csi_onnx_input(onnx, i);

        memcpy(value.data + at, x->data, x->dims[0] * sizeof *value.data);
        at += x->dims[0];
    }
    return status == CS_OK ? define(onnx, &value) : status;
}

static enum cs_status fold_transpose(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    int64_t order[CSI_ONNX_RANK];
    size_t count, dims[CSI_ONNX_RANK] = {0}, strides[CSI_ONNX_RANK], index[CSI_ONNX_RANK] = {0}, seen = 0;
    struct csi_onnx_value value;
    enum cs_status status;

    if (!csi_onnx_ints(onnx, "perm", -1, order, CSI_ONNX_RANK, &count) || count == 0) {
        count = x->rank;
        for (size_t i = 0; i < count; i++)
            order[i] = (int64_t)(count - 1 - i);
    }
    for (size_t i = 0; i < count; i++)
        seen |= order[i] >= 0 && order[i] < (int64_t)x->rank ? (size_t)1 << order[i] : 0;
    if (count != x->rank || seen != ((size_t)1 << count) - 1)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "perm is no order of the axes");
    for (size_t i = 0; i < count; i++) {
        dims[i] = x->dims[order[i]];
        strides[i] = 1;
        for (size_t k = (size_t)order[i] + 1; k < count; k++)
            strides[i] *= x->dims[k];
    }
    status = make(onnx, x->rank, dims, x->integer, &value);
    if (status != CS_OK)
        return status;
    value.is_unsigned = x->is_unsigned;
    value.bits = x->bits;
    for (size_t i = 0; i < csi_onnx_elements(x); i++) {
        size_t from = 0;

        for (size_t k = 0; k < count; k++)
            from += index[k] * strides[k];
        value.data[i] = x->data[from];
        for (size_t k = count; k-- > 0 && ++index[k] == dims[k];)
            index[k] = 0;
    }
    return define(onnx, &value);
}

static float apply(char operation, bool integer, float a, float b)
{
    switch (operation) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    default: return integer ? (b == 0.0f ? 0.0f : truncf(a / b)) : a / b;
    }
}

/* The dimension of axis `i` of a result of rank `rank`, as `x` has it: 1 where it has none. */
static size_t dimension_at(const struct csi_onnx_value *x, unsigned rank, unsigned i)
{
    return i + x->rank < rank ? 1 : x->dims[i + x->rank - rank];
}

/* Where `x` has its number for element `at` of a result of shape `dims`. */
static size_t place_in(const struct csi_onnx_value *x, unsigned rank, const size_t *dims, size_t at)
{
    size_t place = 0, step = 1;

    for (unsigned i = rank; i-- > 0;) {
        size_t length = dimension_at(x, rank, i);

        if (length != 1)
            place += at % dims[i] * step;
        step *= length;
        at /= dims[i];
    }
    return place;
}

/* With NumPy's broadcasting; what that makes is bounded as all that is folded. */
static enum cs_status fold_binary(struct csi_onnx *onnx, const struct csi_onnx_value *a, char operation)
{
    const struct csi_onnx_value *b = csi_onnx_input(onnx, 1);
    struct csi_onnx_value value;
    size_t dims[CSI_ONNX_RANK] = {0};
    unsigned rank;
    enum cs_status status;

    if (b == NULL)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the second input is missing");
    rank = a->rank > b->rank ? a->rank : b->rank;
    for (unsigned i = 0; i < rank; i++) {
        size_t of_a = dimension_at(a, rank, i), of_b = dimension_at(b, rank, i);

        if (of_a != of_b && of_a != 1 && of_b != 1)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "shapes do not broadcast: %zu against %zu", of_a,
                                 of_b);
        dims[i] = of_a == 1 ? of_b : of_a;
    }
    status = make(onnx, rank, dims, a->integer, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < csi_onnx_elements(&value); i++)
        value.data[i] = apply(operation, a->integer, a->data[place_in(a, rank, dims, i)],
                              b->data[place_in(b, rank, dims, i)]);
    return define(onnx, &value);
}

enum cs_status csi_onnx_quantized_type(const struct csi_onnx *onnx, const struct csi_onnx_value *zero,
                                       bool *is_unsigned)
{
    int64_t type = csi_onnx_int(onnx, "output_dtype", 0);

    *is_unsigned = zero != NULL ? zero->is_unsigned : type != ONNX__TENSOR_PROTO__DATA_TYPE__INT8;
    if (csi_onnx_int(onnx, "block_size", 0) != 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "block_size: quantisation by blocks");
    if (type != 0 && type != ONNX__TENSOR_PROTO__DATA_TYPE__INT8 &&
        type != ONNX__TENSOR_PROTO__DATA_TYPE__UINT8)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "output_dtype %lld: only 8-bit integers are supported", (long long)type);
    if (zero != NULL && zero->kind == CSI_ONNX_CONSTANT && zero->bits != 8)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the zero point is no 8-bit integer");
    return CS_OK;
}

/* Scale and zero point of a constant that is (de)quantised: constants of one number, or one for each index of
 * `*axis`, of which there are *channels, each followed by *inner elements. */
static enum cs_status read_scale(const struct csi_onnx *onnx, const struct csi_onnx_value *x, int64_t *axis,
                                 size_t *channels, size_t *inner)
{
    const struct csi_onnx_value *scale = csi_onnx_input(onnx, 1), *zero = csi_onnx_input(onnx, 2);

    *axis = csi_onnx_int(onnx, "axis", 1);
    *axis += *axis < 0 ? x->rank : 0;
    *channels = *inner = 1;
    if (scale == NULL || scale->kind != CSI_ONNX_CONSTANT ||
        (zero != NULL && zero->kind != CSI_ONNX_CONSTANT))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "scale and zero point are not constants");
    if (csi_onnx_int(onnx, "block_size", 0) != 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "block_size: quantisation by blocks");
    if (csi_onnx_elements(scale) != 1) {
        if (scale->rank != 1 || *axis < 0 || *axis >= (int64_t)x->rank || scale->dims[0] != x->dims[*axis])
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the scales do not fit the weight");
        *channels = scale->dims[0];
        for (size_t i = (size_t)*axis + 1; i < x->rank; i++)
            *inner *= x->dims[i];
    }
    if (zero != NULL && csi_onnx_elements(zero) != *channels)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the zero points do not fit the scales");
    return CS_OK;
}

/* Weights that the file quantises itself: rounded to even, clamped. */
static enum cs_status fold_quantize(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    const struct csi_onnx_value *scale = csi_onnx_input(onnx, 1), *zero = csi_onnx_input(onnx, 2);
    struct csi_onnx_value value;
    size_t channels, inner;
    int64_t axis;
    bool is_unsigned;
    enum cs_status status = csi_onnx_quantized_type(onnx, zero, &is_unsigned);

    if (status == CS_OK)
        status = read_scale(onnx, x, &axis, &channels, &inner);
    if (status == CS_OK)
        status = make(onnx, x->rank, x->dims, true, &value);
    if (status != CS_OK)
        return status;
    value.is_unsigned = is_unsigned;
    value.bits = 8;
    for (size_t i = 0; i < csi_onnx_elements(x); i++) {
        size_t channel = i / inner % channels;
        float level =
            nearbyintf(x->data[i] / scale->data[channel]) + (zero == NULL ? 0.0f : zero->data[channel]);

        value.data[i] = fminf(fmaxf(level, is_unsigned ? 0.0f : -128.0f), is_unsigned ? 255.0f : 127.0f);
    }
    return define(onnx, &value);
}

/* Quantised weights become float32; their scale has one number, or one for each index of `axis`. */
static enum cs_status fold_dequantize(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    const struct csi_onnx_value *scale = csi_onnx_input(onnx, 1), *zero = csi_onnx_input(onnx, 2);
    struct csi_onnx_value value;
    size_t channels, inner;
    int64_t axis;
    enum cs_status status = read_scale(onnx, x, &axis, &channels, &inner);

    if (status != CS_OK)
        return status;
    status = make(onnx, x->rank, x->dims, false, &value);
    if (status != CS_OK)
        return status;
    for (size_t i = 0; i < csi_onnx_elements(x); i++) {
        size_t channel = i / inner % channels;

        value.data[i] = (x->data[i] - (zero == NULL ? 0.0f : zero->data[channel])) * scale->data[channel];
    }
    value.scales = csi_aligned_calloc((channels + 1) * sizeof *value.scales);
    if (value.scales == NULL) {
        csi_aligned_free(value.data);
        return csi_fail_memory(onnx->error, "ONNX constant");
    }
    memcpy(value.scales, scale->data, channels * sizeof *value.scales);
    value.scale_count = channels;
    value.scale_axis = axis < 0 ? 0 : (unsigned)axis;
    return define(onnx, &value);
}

enum cs_status csi_onnx_keep_scales(const struct csi_onnx *onnx, const struct csi_onnx_value *value,
                                    unsigned axis, int index)
{
    if (value->scales == NULL || value->rank < 2 || (value->scale_count != 1 && value->scale_axis != axis))
        return CS_OK;
    return csi_graph_set_weight_scales(onnx->graph, index, value->scales, value->scale_count, onnx->error);
}

/* Reshape, Squeeze, Unsqueeze of a constant. */
static enum cs_status fold_reshape(struct csi_onnx *onnx, const struct csi_onnx_value *x, const char *op)
{
    int64_t list[CSI_ONNX_RANK];
    size_t dims[CSI_ONNX_RANK] = {0}, count = 0, at = 0, rest = csi_onnx_elements(x);
    bool given =
        csi_onnx_ints(onnx, strcmp(op, "Reshape") == 0 ? "shape" : "axes", 1, list, CSI_ONNX_RANK, &count);
    unsigned rank, marked = 0;

    if (strcmp(op, "Reshape") == 0) {
        if (!given)
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the shape is not a constant");
        for (size_t i = 0; i < count; i++)
            if (list[i] != -1) {
                dims[i] = list[i] == 0 && i < x->rank ? x->dims[i] : list[i] < 0 ? 0 : (size_t)list[i];
                rest = dims[i] == 0 ? 0 : rest / dims[i];
            }
        for (size_t i = 0; i < count; i++)
            if (list[i] == -1)
                dims[i] = rest;
        return reshaped(onnx, x, (unsigned)count, dims);
    }
    rank = strcmp(op, "Unsqueeze") == 0 ? x->rank + (unsigned)count : x->rank;
    if (rank > CSI_ONNX_RANK)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "a constant of %u dimensions", rank);
    for (size_t i = 0; i < count; i++) {
        int64_t axis = list[i] < 0 ? list[i] + rank : list[i];

        if (axis < 0 || axis >= (int64_t)rank)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "an axis is out of range");
        marked |= 1u << axis;
    }
    if (strcmp(op, "Unsqueeze") == 0) {
        for (unsigned i = 0; i < rank; i++)
            dims[i] = (marked >> i & 1u) != 0 || at >= x->rank ? 1 : x->dims[at++];
        return reshaped(onnx, x, rank, dims);
    }
    for (unsigned i = 0; i < rank; i++)
        if (given ? (marked >> i & 1u) == 0 : x->dims[i] != 1)
            dims[at++] = x->dims[i];
    return reshaped(onnx, x, (unsigned)at, dims);
}

static enum cs_status fold_filled(struct csi_onnx *onnx)
{
    const Onnx__AttributeProto *attribute = csi_onnx_attribute(onnx, "value");
    int64_t list[CSI_ONNX_RANK];
    size_t dims[CSI_ONNX_RANK] = {0}, count;
    struct csi_onnx_value value, fill = {0};
    enum cs_status status;

    if (!csi_onnx_ints(onnx, "", 0, list, CSI_ONNX_RANK, &count))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the shape is not a constant");
    for (size_t i = 0; i < count; i++)
        dims[i] = list[i] < 0 ? 0 : (size_t)list[i];
    if (attribute != NULL && attribute->t != NULL) {
        status = csi_onnx_tensor(attribute->t, &fill, onnx->error);
        if (status != CS_OK)
            return status;
    }
    status = make(onnx, (unsigned)count, dims, fill.integer, &value);
    value.is_unsigned = fill.is_unsigned;
    value.bits = fill.bits;
    if (status == CS_OK && fill.data != NULL && csi_onnx_elements(&fill) > 0)
        for (size_t i = 0; i < csi_onnx_elements(&value); i++)
            value.data[i] = fill.data[0];
    csi_aligned_free(fill.data);
    return status == CS_OK ? define(onnx, &value) : status;
}

static enum cs_status fold_cast(struct csi_onnx *onnx, const struct csi_onnx_value *x)
{
    int64_t to = csi_onnx_int(onnx, "to", 1);
    struct csi_onnx_value value;
    enum cs_status status = make(onnx, x->rank, x->dims, true, &value);

    if (status != CS_OK)
        return status;
    value.integer =
        to != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT && to != ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE &&
        to != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 && to != ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
    for (size_t i = 0; i < csi_onnx_elements(x); i++)
        value.data[i] = value.integer ? truncf(x->data[i]) : x->data[i];
    value.is_unsigned = to == ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    if (value.is_unsigned || to == ONNX__TENSOR_PROTO__DATA_TYPE__INT8)
        value.bits = 8;
    return define(onnx, &value);
}

static enum cs_status fold_known(struct csi_onnx *onnx, const struct csi_onnx_value *x, bool *done)
{
    static const struct {
        const char *op;
        char operation;
    } binary[] = {{"Add", '+'}, {"Sub", '-'}, {"Mul", '*'}, {"Div", '/'}};
    const char *op = onnx->node->op_type;

    for (size_t i = 0; i < sizeof binary / sizeof binary[0]; i++)
        if (strcmp(op, binary[i].op) == 0)
            return fold_binary(onnx, x, binary[i].operation);
    if (strcmp(op, "Gather") == 0)
        return fold_gather(onnx, x);
    if (strcmp(op, "Slice") == 0)
        return fold_slice(onnx, x);
    if (strcmp(op, "Concat") == 0)
        return fold_concat(onnx);
    if (strcmp(op, "Transpose") == 0)
        return fold_transpose(onnx, x);
    if (strcmp(op, "QuantizeLinear") == 0)
        return fold_quantize(onnx, x);
    if (strcmp(op, "DequantizeLinear") == 0)
        return fold_dequantize(onnx, x);
    if (strcmp(op, "Reshape") == 0 || strcmp(op, "Squeeze") == 0 || strcmp(op, "Unsqueeze") == 0)
        return fold_reshape(onnx, x, op);
    if (strcmp(op, "Cast") == 0)
        return fold_cast(onnx, x);
    if (strcmp(op, "Identity") == 0)
        return reshaped(onnx, x, x->rank, x->dims);
    *done = false;
    return CS_OK;
}

enum cs_status csi_onnx_fold(struct csi_onnx *onnx, bool *done)
{
    const char *op = onnx->node->op_type;
    const struct csi_onnx_value *x = csi_onnx_input(onnx, 0);

    *done = true;
    if (strcmp(op, "Constant") == 0)
        return fold_constant(onnx);
    if (strcmp(op, "ConstantOfShape") == 0)
        return fold_filled(onnx);
    if (strcmp(op, "Shape") == 0 && x != NULL)
        return fold_shape(onnx, x);
    for (size_t i = 0; i < onnx->node->n_input; i++) {
        const struct csi_onnx_value *input = csi_onnx_input(onnx, i);

        if (input != NULL && input->kind != CSI_ONNX_CONSTANT)
            x = NULL;
    }
    if (x != NULL)
        return fold_known(onnx, x, done);
    *done = false;
    return CS_OK;
}

#else
typedef int csi_onnx_fold_is_left_out; /* a translation unit must not be empty */
#endif
