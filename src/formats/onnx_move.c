/*
 * ONNX operators over activations that move numbers and compute none: reshapes, transposes, joins, padding.
 * See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <string.h>

#include "base/checked.h"

/* A reshape of activations whose result is `dims`. */
enum cs_status csi_onnx_reshape_to(struct csi_onnx *onnx, int x, size_t rank, const size_t *dims)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_RESHAPE);
    const struct csi_value *value = csi_onnx_graph_value(onnx, x);

    if (rank > CSI_MAX_RANK)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "a result of %zu dimensions", rank);
    if (rank == value->rank && memcmp(dims, value->dims, rank * sizeof *dims) == 0)
        return csi_onnx_alias(onnx, x);
    node.inputs[0] = x;
    node.input_count = 1;
    if (rank == 2 && dims[0] == 1 && dims[1] == csi_value_elements(value)) {
        node.op = CSI_OP_FLATTEN;
        return csi_onnx_finish(onnx, &node);
    }
    node.shape_rank = (unsigned)rank;
    memcpy(node.shape, dims, rank * sizeof *dims);
    return csi_onnx_finish(onnx, &node);
}

enum cs_status csi_onnx_reshape(struct csi_onnx *onnx)
{
    int64_t list[CSI_ONNX_RANK];
    size_t dims[CSI_ONNX_RANK] = {0}, count, rest;
    unsigned unknown = 0;
    int x;
    enum cs_status status = csi_onnx_take(onnx, 0, &x);

    if (status != CS_OK)
        return status;
    if (!csi_onnx_ints(onnx, "shape", 1, list, CSI_ONNX_RANK, &count) || count == 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the shape is not a constant");
    rest = csi_value_elements(csi_onnx_graph_value(onnx, x));
    if (list[0] == onnx->batch) /* a file for a fixed batch: here it is 1, as everywhere in the graph */
        list[0] = 1;
    for (size_t i = 0; i < count; i++) {
        if (list[i] < -1 || (list[i] == 0 && i >= csi_onnx_graph_value(onnx, x)->rank))
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the shape is out of range");
        if (list[i] == 0 && csi_onnx_int(onnx, "allowzero", 0) != 0)
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "allowzero: a result without elements");
        unknown += list[i] == -1;
        if (list[i] == -1)
            continue;
        dims[i] = list[i] == 0 ? csi_onnx_graph_value(onnx, x)->dims[i] : (size_t)list[i];
        rest /= dims[i];
    }
    if (unknown > 1)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "the shape has two unknown lengths");
    for (size_t i = 0; i < count; i++)
        if (list[i] == -1)
            dims[i] = rest;
    return csi_onnx_reshape_to(onnx, x, count, dims);
}

enum cs_status csi_onnx_flatten(struct csi_onnx *onnx)
{
    int64_t axis = csi_onnx_int(onnx, "axis", 1);
    size_t dims[2] = {1, 0};
    int x;
    enum cs_status status = csi_onnx_take(onnx, 0, &x);

    if (status != CS_OK)
        return status;
    if (axis != 1 && axis != 1 - (int64_t)csi_onnx_graph_value(onnx, x)->rank)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "flattening the batch axis");
    dims[1] = csi_value_elements(csi_onnx_graph_value(onnx, x));
    return csi_onnx_reshape_to(onnx, x, 2, dims);
}

enum cs_status csi_onnx_squeeze(struct csi_onnx *onnx, bool squeeze)
{
    int64_t axes[CSI_ONNX_RANK];
    size_t dims[CSI_ONNX_RANK] = {0}, count, made = 0, taken = 0, rank;
    const struct csi_value *value;
    unsigned marked = 0;
    int x;
    enum cs_status status = csi_onnx_take(onnx, 0, &x);

    if (status != CS_OK)
        return status;
    value = csi_onnx_graph_value(onnx, x);
    if (!csi_onnx_ints(onnx, "axes", 1, axes, CSI_ONNX_RANK, &count))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the axes are not constants");
    rank = squeeze ? value->rank : value->rank + count;
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + (int64_t)rank : axes[i];

        if (axis < 1 || axis >= (int64_t)rank || rank > CSI_ONNX_RANK)
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "an axis is the batch's or out of range");
        marked |= 1u << axis;
    }
    for (size_t i = 0; i < rank; i++) {
        bool here = (marked >> i & 1u) != 0;

        if (squeeze && here && value->dims[i] != 1)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "axis %zu has more than one element", i);
        if (squeeze && !here)
            dims[made++] = value->dims[i];
        else if (!squeeze)
            dims[made++] = here || taken >= value->rank ? 1 : value->dims[taken++];
    }
    return csi_onnx_reshape_to(onnx, x, made, dims);
}

/* The transposed value `order` of graph value `x`: a reshape where only axes of one element move, else put
 * off (CSI_ONNX_TRANSPOSED) until another transpose takes it back or a mean does not mind. */
static enum cs_status transposed(struct csi_onnx *onnx, int x, const unsigned *order)
{
    const struct csi_value *value = csi_onnx_graph_value(onnx, x);
    struct csi_onnx_value made = {.kind = CSI_ONNX_TRANSPOSED, .index = x};
    size_t dims[CSI_MAX_RANK] = {0};
    bool moves = false;
    unsigned before = 0;

    for (unsigned i = 0; i < value->rank; i++) {
        made.order[i] = order[i];
        dims[i] = value->dims[order[i]];
        if (dims[i] == 1)
            continue;
        moves |= order[i] < before;
        before = order[i];
    }
    return moves ? csi_onnx_define(onnx, onnx->node->output[0], &made)
                 : csi_onnx_reshape_to(onnx, x, value->rank, dims);
}

enum cs_status csi_onnx_transpose(struct csi_onnx *onnx)
{
    const struct csi_onnx_value *input = csi_onnx_input(onnx, 0);
    bool again = input != NULL && input->kind == CSI_ONNX_TRANSPOSED;
    int64_t list[CSI_MAX_RANK];
    unsigned order[CSI_MAX_RANK] = {0}, seen = 0;
    size_t count, rank;
    int x;
    enum cs_status status = CS_OK;

    if (again)
        x = input->index;
    else
        status = csi_onnx_take(onnx, 0, &x);
    if (status != CS_OK)
        return status;
    rank = csi_onnx_graph_value(onnx, x)->rank;
    if (!csi_onnx_ints(onnx, "perm", -1, list, CSI_MAX_RANK, &count)) { /* by default all axes turn round */
        count = rank;
        for (size_t i = 0; i < count; i++)
            list[i] = (int64_t)(count - 1 - i);
    }
    for (size_t i = 0; i < count && count == rank; i++) {
        if (list[i] < 0 || list[i] >= (int64_t)count || (seen >> list[i] & 1u) != 0)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID, "perm is no order of the axes");
        seen |= 1u << list[i];
        order[i] = again ? input->order[list[i]] : (unsigned)list[i];
    }
    if (count != rank)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "perm does not list the %zu axes", rank);
    if (list[0] != 0)
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "a transpose of the batch axis");
    return transposed(onnx, x, order);
}

/* Wider ones become a chain, because a node takes CSI_NODE_MAX_INPUTS. */
enum cs_status csi_onnx_concat(struct csi_onnx *onnx)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_CONCAT);
    int64_t axis = csi_onnx_int(onnx, "axis", 1);
    enum cs_status status = CS_OK;

    for (size_t i = 0; i < onnx->node->n_input && status == CS_OK; i++) {
        if (node.input_count == CSI_NODE_MAX_INPUTS) {
            int joined;

            status = csi_graph_add_node(onnx->graph, &node, &joined, onnx->error);
            node.inputs[0] = joined;
            node.input_count = 1;
        }
        if (status == CS_OK)
            status = csi_onnx_take(onnx, i, &node.inputs[node.input_count++]);
    }
    if (status != CS_OK)
        return status;
    if (node.input_count == 0 ||
        (axis != 1 && axis != 1 - (int64_t)csi_onnx_graph_value(onnx, node.inputs[0])->rank))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "joining along another axis than the channels");
    return csi_onnx_finish(onnx, &node);
}

/* `pads` of all axes: before each, then after each; from opset 18 on of the axes that input 3 lists. */
static bool read_pads(const struct csi_onnx *onnx, int64_t *pads)
{
    const struct csi_onnx_value *given = csi_onnx_input(onnx, 3);
    int64_t list[8], axes[4] = {0, 1, 2, 3};
    size_t count, axis_count = 4;

    memset(pads, 0, 8 * sizeof *pads);
    if (!csi_onnx_ints(onnx, "pads", 1, list, 8, &count) ||
        (given != NULL && !csi_onnx_ints(onnx, "", 3, axes, 4, &axis_count)) || count != 2 * axis_count)
        return false;
    for (size_t i = 0; i < axis_count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + 4 : axes[i];

        if (axis < 0 || axis > 3)
            return false;
        pads[axis] = list[i];
        pads[axis + 4] = list[i + axis_count];
    }
    return true;
}

enum cs_status csi_onnx_pad(struct csi_onnx *onnx)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_PAD);
    int64_t pads[8];
    float value;
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    if (status != CS_OK)
        return status;
    if (csi_onnx_graph_value(onnx, node.inputs[0])->rank != 4 ||
        !csi_onnx_text_is(onnx, "mode", "constant", true) ||
        !csi_onnx_number(onnx, 2, csi_onnx_float(onnx, "value", 0.0f), &value) || value != 0.0f ||
        !read_pads(onnx, pads))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "only constant zeros around height and width are supported");
    for (unsigned i = 0; i < 8; i++)
        if (pads[i] < 0 || pads[i] > 65535 || (i % 4 < 2 && pads[i] != 0))
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                                 "negative padding, or padding of batch or channels");
    for (unsigned i = 0; i < 2; i++) {
        node.pads[i] = (unsigned)pads[2 + i];
        node.pads[i + 2] = (unsigned)pads[6 + i];
    }
    node.input_count = 1;
    return csi_onnx_finish(onnx, &node);
}

#else
typedef int csi_onnx_move_is_left_out; /* a translation unit must not be empty */
#endif
