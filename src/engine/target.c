/*
 * The layer whose activations explain a prediction: finding it by name and recognising the linear head behind
 * it.
 */
#include <string.h>

#include "engine/ir.h"

bool csi_shape_of(const struct csi_value *value, struct csi_shape *shape)
{
    switch (value->rank) {
    case 2: *shape = (struct csi_shape){value->dims[1], 1, 1}; return true;
    case 3: *shape = (struct csi_shape){value->dims[1], 1, value->dims[2]}; return true;
    case 4: *shape = (struct csi_shape){value->dims[1], value->dims[2], value->dims[3]}; return true;
    default: return false;
    }
}

bool csi_align_constant(struct csi_value *constant, unsigned rank, struct csi_shape *shape)
{
    size_t dims[CSI_MAX_RANK] = {1, 1, 1, 1};

    for (unsigned i = 0; i < constant->rank; i++)
        dims[rank - constant->rank + i] = constant->dims[i];
    constant->rank = rank;
    memcpy(constant->dims, dims, sizeof constant->dims);
    return csi_shape_of(constant, shape);
}

/* The only node that reads `value`; -1: several do, none does, or it is the network's output. */
static int only_reader(const struct csi_graph *graph, int value)
{
    int found = -1;

    if (value == graph->output)
        return -1;
    for (size_t i = 0; i < graph->node_count; i++) {
        for (unsigned k = 0; k < graph->nodes[i].input_count; k++) {
            if (graph->nodes[i].inputs[k] != value)
                continue;
            if (found >= 0)
                return -1;
            found = (int)i;
        }
    }
    return found;
}

/* The node behind which a convolution's map is whole: its batch norm and activation belong to it. So a
 * network has one map, whether its file keeps the batch norm, as a checkpoint does, or has folded it, as an
 * ONNX export has. */
static int with_activation(const struct csi_graph *graph, int node)
{
    int next = only_reader(graph, graph->nodes[node].output);

    while (next >= 0 &&
           (graph->nodes[next].op == CSI_OP_BATCH_NORM || graph->nodes[next].op == CSI_OP_ACTIVATION)) {
        node = next;
        next =
            graph->nodes[node].op == CSI_OP_ACTIVATION ? -1 : only_reader(graph, graph->nodes[node].output);
    }
    return node;
}

static int last_convolution(const struct csi_graph *graph)
{
    for (size_t i = graph->node_count; i-- > 0;) {
        const struct csi_node *node = &graph->nodes[i];

        if (node->op == CSI_OP_CONV && node->output >= 0) {
            const struct csi_value *value = &graph->values[node->output];

            if (value->rank == 4 && value->dims[2] * value->dims[3] > 1) /* SE blocks end in 1 × 1 maps */
                return with_activation(graph, (int)i);
        }
    }
    return -1;
}

enum cs_status csi_find_target(const struct csi_graph *graph, const char *target_layer, int *value,
                               const char **name, struct cs_error *error)
{
    bool asked = target_layer != NULL && target_layer[0] != '\0';
    int found = -1;

    *value = -1;
    *name = "";
    if (!asked && graph->gradcam_layer != NULL && graph->gradcam_layer[0] != '\0')
        target_layer = graph->gradcam_layer;
    if (target_layer != NULL && target_layer[0] != '\0') {
        found = csi_graph_find_layer(graph, target_layer);
        if (found < 0)
            return csi_fail(error, CS_NOT_FOUND, "the network has no layer '%.100s'", target_layer);
        if (graph->values[graph->nodes[found].output].rank != 4)
            return csi_fail(error, CS_BAD_REQUEST, "the output of layer '%.100s' is no two-dimensional map",
                            target_layer);
    } else {
        found = last_convolution(graph);
    }
    if (found >= 0) {
        *value = graph->nodes[found].output;
        *name = target_layer != NULL && target_layer[0] != '\0' ? target_layer : graph->nodes[found].name;
    }
    return CS_OK;
}
