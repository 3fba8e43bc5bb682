/*
 * The tail: which nodes stand between the target and the logits, its memory, one forward and one backward
 * sweep.
 */
#include "engine/backward.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/tail_ops.h"

struct tail_value {
    unsigned rank;
    size_t dims[CSI_MAX_RANK], count;
    float *constant; /* owned copy */
    bool active;     /* depends on the target */
    bool wanted;     /* read on the way to the output */
    bool side;
};

struct csi_tail {
    struct csi_node *nodes;
    size_t node_count;
    struct tail_value *values;
    size_t value_count;
    int target, output;
    int *sides;
    size_t side_count;
};

struct csi_backward {
    const struct csi_tail *tail;
    float **data, **gradient; /* by value */
};

static enum cs_status copy_values(const struct csi_graph *graph, struct csi_tail *tail,
                                  struct cs_error *error)
{
    for (size_t i = 0; i < graph->value_count; i++) {
        const struct csi_value *from = &graph->values[i];
        struct tail_value *to = &tail->values[i];

        to->rank = from->rank;
        memcpy(to->dims, from->dims, sizeof to->dims);
        to->count = csi_value_elements(from);
        if (!to->wanted)
            continue;
        if (from->data != NULL) {
            to->constant = csi_aligned_alloc(to->count * sizeof(float));
            if (to->constant == NULL)
                return csi_fail_memory(error, "gradient constants");
            memcpy(to->constant, from->data, to->count * sizeof(float));
        } else if (!to->active) {
            to->side = true;
            tail->sides[tail->side_count++] = (int)i;
        }
    }
    return CS_OK;
}

enum cs_status csi_tail_create(const struct csi_graph *graph, int target, int output, struct csi_tail **out,
                               struct cs_error *error)
{
    struct csi_tail *tail = calloc(1, sizeof *tail);
    enum cs_status status;

    *out = NULL;
    if (tail == NULL)
        return csi_fail_memory(error, "gradient");
    tail->value_count = graph->value_count;
    tail->values = calloc(graph->value_count + 1, sizeof *tail->values);
    tail->nodes = calloc(graph->node_count + 1, sizeof *tail->nodes);
    tail->sides = calloc(graph->value_count + 1, sizeof *tail->sides);
    tail->target = target;
    tail->output = output;
    if (tail->values == NULL || tail->nodes == NULL || tail->sides == NULL) {
        status = csi_fail_memory(error, "gradient");
        goto fail;
    }
    tail->values[target].active = true;
    for (size_t i = 0; i < graph->node_count; i++) { /* inputs stand before their readers */
        const struct csi_node *node = &graph->nodes[i];

        for (unsigned k = 0; k < node->input_count; k++) {
            if (node->inputs[k] >= 0 && tail->values[node->inputs[k]].active)
                tail->values[node->output].active = true;
        }
    }
    tail->values[output].wanted = tail->values[output].active;
    for (size_t i = graph->node_count; i-- > 0;) {
        const struct csi_node *node = &graph->nodes[i];

        if (node->output == target || !tail->values[node->output].wanted ||
            !tail->values[node->output].active)
            continue;
        for (unsigned k = 0; k < node->input_count; k++) {
            if (node->inputs[k] >= 0)
                tail->values[node->inputs[k]].wanted = true;
        }
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct tail_value *value = &tail->values[graph->nodes[i].output];

        if (value->wanted && value->active && graph->nodes[i].output != target)
            tail->nodes[tail->node_count++] = graph->nodes[i];
    }
    status = copy_values(graph, tail, error);
    if (status != CS_OK)
        goto fail;
    *out = tail;
    return CS_OK;
fail:
    csi_tail_destroy(tail);
    return status;
}

void csi_tail_destroy(struct csi_tail *tail)
{
    if (tail == NULL)
        return;
    for (size_t i = 0; tail->values != NULL && i < tail->value_count; i++)
        csi_aligned_free(tail->values[i].constant);
    free(tail->values);
    free(tail->nodes);
    free(tail->sides);
    free(tail);
}

size_t csi_tail_side_count(const struct csi_tail *tail)
{
    return tail->side_count;
}

int csi_tail_side(const struct csi_tail *tail, size_t index)
{
    return tail->sides[index];
}

enum cs_status csi_backward_create(const struct csi_tail *tail, struct csi_backward **out,
                                   struct cs_error *error)
{
    struct csi_backward *backward;

    *out = NULL;
    for (size_t i = 0; i < tail->node_count; i++) {
        if (!csi_tail_supports(&tail->nodes[i]))
            return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': no gradient through operator %s",
                            tail->nodes[i].name, csi_op_name(tail->nodes[i].op));
    }
    backward = calloc(1, sizeof *backward);
    if (backward == NULL)
        return csi_fail_memory(error, "gradient");
    backward->tail = tail;
    backward->data = calloc(tail->value_count + 1, sizeof *backward->data);
    backward->gradient = calloc(tail->value_count + 1, sizeof *backward->gradient);
    if (backward->data == NULL || backward->gradient == NULL)
        goto fail;
    for (size_t i = 0; i < tail->value_count; i++) {
        const struct tail_value *value = &tail->values[i];
        bool is_target = (int)i == tail->target;

        if (!is_target && !(value->wanted && value->constant == NULL))
            continue;
        backward->data[i] = csi_aligned_calloc(value->count * sizeof(float));
        if (value->active)
            backward->gradient[i] = csi_aligned_calloc(value->count * sizeof(float));
        if (backward->data[i] == NULL || (value->active && backward->gradient[i] == NULL))
            goto fail;
    }
    *out = backward;
    return CS_OK;
fail:
    csi_backward_destroy(backward);
    return csi_fail_memory(error, "gradient");
}

void csi_backward_destroy(struct csi_backward *backward)
{
    if (backward == NULL)
        return;
    for (size_t i = 0; i < backward->tail->value_count; i++) {
        if (backward->data != NULL)
            csi_aligned_free(backward->data[i]);
        if (backward->gradient != NULL)
            csi_aligned_free(backward->gradient[i]);
    }
    free(backward->data);
    free(backward->gradient);
    free(backward);
}

float *csi_backward_target(struct csi_backward *backward)
{
    return backward->data[backward->tail->target];
}

float *csi_backward_side(struct csi_backward *backward, size_t index)
{
    return backward->data[backward->tail->sides[index]];
}

static struct csi_tail_operand operand(const struct csi_backward *backward, int index)
{
    const struct tail_value *value;

    if (index < 0)
        return (struct csi_tail_operand){0};
    value = &backward->tail->values[index];
    return (struct csi_tail_operand){
        .rank = value->rank,
        .dims = value->dims,
        .count = value->count,
        .data = value->constant != NULL ? value->constant : backward->data[index],
        .gradient = backward->gradient[index],
    };
}

const float *csi_backward_run(struct csi_backward *backward, size_t class_index)
{
    const struct csi_tail *tail = backward->tail;
    struct csi_tail_operand in[CSI_NODE_MAX_INPUTS], out;

    for (size_t i = 0; i < tail->value_count; i++) {
        if (backward->gradient[i] != NULL)
            memset(backward->gradient[i], 0, tail->values[i].count * sizeof(float));
    }
    for (size_t i = 0; i < tail->node_count; i++) {
        const struct csi_node *node = &tail->nodes[i];

        for (unsigned k = 0; k < node->input_count; k++)
            in[k] = operand(backward, node->inputs[k]);
        out = operand(backward, node->output);
        csi_tail_forward(node, in, &out, backward->data[node->output]);
    }
    if (backward->gradient[tail->output] != NULL)
        backward->gradient[tail->output][class_index] = 1.0f;
    for (size_t i = tail->node_count; i-- > 0;) {
        const struct csi_node *node = &tail->nodes[i];

        for (unsigned k = 0; k < node->input_count; k++)
            in[k] = operand(backward, node->inputs[k]);
        out = operand(backward, node->output);
        csi_tail_backward(node, in, &out);
    }
    return backward->gradient[tail->target];
}
