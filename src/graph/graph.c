/*
 * Building and checking graphs: see graph.h. Owns the memory of nodes, values and metadata; shapes are
 * inferred in shapes.c.
 */
#include "graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/utf8.h"

enum cs_status csi_graph_set_string(char **slot, const char *text, struct cs_error *error)
{
    char *copy = csi_strdup(text == NULL ? "" : text);

    if (copy == NULL)
        return csi_fail_memory(error, "model metadata");
    free(*slot);
    *slot = copy;
    return CS_OK;
}

enum cs_status csi_graph_create(struct csi_graph **out, struct cs_error *error)
{
    struct csi_graph *graph = calloc(1, sizeof *graph);

    *out = NULL;
    if (graph == NULL)
        return csi_fail_memory(error, "graph");
    graph->input = graph->output = CSI_NO_VALUE;
    graph->temperature = 1.0;
    graph->preprocess = (struct csi_preprocess){.max_size = 800,
                                                .resize = 256,
                                                .crop = 224,
                                                .mean = {0.485f, 0.456f, 0.406f},
                                                .std_dev = {0.229f, 0.224f, 0.225f}};
    if (csi_graph_set_string(&graph->name, "", error) != CS_OK ||
        csi_graph_set_string(&graph->architecture, "", error) != CS_OK ||
        csi_graph_set_string(&graph->format, "", error) != CS_OK ||
        csi_graph_set_string(&graph->metadata_json, "{}", error) != CS_OK ||
        csi_graph_set_string(&graph->gradcam_layer, "", error) != CS_OK) {
        csi_graph_destroy(graph);
        return CS_INTERNAL;
    }
    *out = graph;
    return CS_OK;
}

static void clear_classes(struct csi_graph *graph)
{
    for (size_t i = 0; i < graph->class_count && graph->classes != NULL; i++)
        free(graph->classes[i]);
    free(graph->classes);
    free(graph->tested);
    graph->classes = NULL;
    graph->tested = NULL;
    graph->class_count = 0;
}

static void free_data(struct csi_value *value)
{
    if (!value->borrowed)
        csi_aligned_free(value->data);
}

void csi_graph_destroy(struct csi_graph *graph)
{
    if (graph == NULL)
        return;
    for (size_t i = 0; i < graph->value_count; i++) {
        free_data(&graph->values[i]);
        free(graph->values[i].scales);
    }
    free(graph->scales);
    for (size_t i = 0; i < graph->extra_count; i++)
        free_data(&graph->extras[i]);
    for (size_t i = 0; i < graph->block_count; i++)
        csi_aligned_free(graph->blocks[i]);
    free(graph->blocks);
    clear_classes(graph);
    csi_names_free(&graph->constants);
    free(graph->nodes);
    free(graph->values);
    free(graph->extras);
    free(graph->name);
    free(graph->architecture);
    free(graph->format);
    free(graph->metadata_json);
    free(graph->gradcam_layer);
    free(graph);
}

enum cs_status csi_graph_set_classes(struct csi_graph *graph, const char *const *names, size_t count,
                                     struct cs_error *error)
{
    if (count > CSI_GRAPH_MAX_CLASSES)
        return csi_fail(error, CS_MODEL_INVALID, "%zu classes are more than %u", count,
                        CSI_GRAPH_MAX_CLASSES);
    clear_classes(graph);
    graph->classes = calloc(count == 0 ? 1 : count, sizeof *graph->classes);
    graph->tested = calloc(count == 0 ? 1 : count, sizeof *graph->tested);
    if (graph->classes == NULL || graph->tested == NULL)
        goto fail;
    for (size_t i = 0; i < count; i++) {
        char number[32];

        snprintf(number, sizeof number, "class_%zu", i);
        graph->classes[i] = csi_strdup(names == NULL ? number : names[i]);
        graph->class_count = i + 1;
        graph->tested[i] = true;
        if (graph->classes[i] == NULL)
            goto fail;
    }
    return CS_OK;

fail:
    clear_classes(graph);
    return csi_fail_memory(error, "class names");
}

size_t csi_value_elements(const struct csi_value *value)
{
    size_t count = 1;

    for (unsigned i = 0; i < value->rank; i++)
        count *= value->dims[i]; /* checked when the value was made */
    return count;
}

bool csi_value_is_constant(const struct csi_value *value)
{
    return value->data != NULL;
}

/* Fills name and shape; the element count is checked against `limit`. */
static enum cs_status describe_value(struct csi_value *value, const char *name, unsigned rank,
                                     const size_t *dims, size_t limit, struct cs_error *error)
{
    size_t count = 1;

    memset(value, 0, sizeof *value);
    value->producer = -1;
    csi_utf8_copy(value->name, sizeof value->name, name);
    if (rank > CSI_MAX_RANK)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' has %u dimensions, more than %d", name, rank,
                        CSI_MAX_RANK);
    value->rank = rank;
    for (unsigned i = 0; i < rank; i++) {
        if (dims[i] == 0)
            return csi_fail(error, CS_MODEL_INVALID, "'%s' is empty: dimension %u is 0", name, i);
        if (csi_mul_overflows(count, dims[i], &count) || count > limit)
            return csi_fail(error, CS_MODEL_INVALID, "'%s' has more than %zu elements", name, limit);
        value->dims[i] = dims[i];
    }
    return CS_OK;
}

/* Room for one more of `size` bytes in a growing array; NULL: no memory. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    size_t wanted, bytes;

    if (count < *capacity)
        return array;
    wanted = *capacity == 0 ? 64 : *capacity * 2;
    if (csi_mul_overflows(wanted, size, &bytes) || bytes == 0)
        return NULL;
    array = realloc(array, bytes);
    if (array != NULL)
        *capacity = wanted;
    return array;
}

static enum cs_status append_value(struct csi_graph *graph, const struct csi_value *value, int *index,
                                   struct cs_error *error)
{
    struct csi_value *values;

    if (graph->value_count >= CSI_GRAPH_MAX_VALUES)
        return csi_fail(error, CS_MODEL_INVALID, "the network has more than %u values", CSI_GRAPH_MAX_VALUES);
    values = grow(graph->values, graph->value_count, &graph->value_capacity, sizeof *values);
    if (values == NULL)
        return csi_fail_memory(error, "graph");
    graph->values = values;
    graph->values[graph->value_count] = *value;
    *index = (int)graph->value_count++;
    return CS_OK;
}

static enum cs_status take_data(const struct csi_graph *graph, struct csi_value *value, const float *data,
                                struct cs_error *error)
{
    size_t count = csi_value_elements(value);

    value->borrowed = graph->borrows && data != NULL;
    if (value->borrowed) {
        value->data = (float *)(uintptr_t)data;
        return CS_OK;
    }
    value->data = csi_model_alloc(count * sizeof *value->data);
    if (value->data == NULL)
        return csi_fail(error, CS_INTERNAL, "out of memory (%zu weights of '%s')", count, value->name);
    if (data != NULL)
        memcpy(value->data, data, count * sizeof *value->data);
    else
        memset(value->data, 0, count * sizeof *value->data);
    return CS_OK;
}

enum cs_status csi_graph_add_constant(struct csi_graph *graph, const char *name, unsigned rank,
                                      const size_t *dims, const float *data, int *index,
                                      struct cs_error *error)
{
    struct csi_value value;
    size_t first;
    enum cs_status status = describe_value(&value, name, rank, dims, CSI_GRAPH_MAX_ELEMENTS, error);

    *index = CSI_NO_VALUE;
    if (status == CS_OK)
        status = take_data(graph, &value, data, error);
    if (status != CS_OK)
        return status;
    status = append_value(graph, &value, index, error);
    if (status != CS_OK) {
        free_data(&value);
        return status;
    }
    graph->held += csi_value_elements(&value);
    if (!csi_names_find(&graph->constants, value.name, &first) &&
        !csi_names_put(&graph->constants, value.name, (size_t)*index))
        return csi_fail_memory(error, "graph");
    return CS_OK;
}

enum cs_status csi_graph_add_extra(struct csi_graph *graph, const char *name, unsigned rank,
                                   const size_t *dims, const float *data, struct cs_error *error)
{
    struct csi_value value;
    struct csi_value *extras;
    enum cs_status status = describe_value(&value, name, rank, dims, CSI_GRAPH_MAX_ELEMENTS, error);

    if (status == CS_OK)
        status = take_data(graph, &value, data, error);
    if (status != CS_OK)
        return status;
    extras = realloc(graph->extras, (graph->extra_count + 1) * sizeof *extras);
    if (extras == NULL) {
        free_data(&value);
        return csi_fail_memory(error, "graph");
    }
    graph->extras = extras;
    graph->extras[graph->extra_count++] = value;
    return CS_OK;
}

void csi_graph_borrow(struct csi_graph *graph)
{
    graph->borrows = true;
}

enum cs_status csi_graph_take_blocks(struct csi_graph *graph, float *const *blocks, size_t count,
                                     struct cs_error *error)
{
    float **all;

    if (count == 0)
        return CS_OK;
    all = realloc(graph->blocks, (graph->block_count + count) * sizeof *all);
    if (all == NULL)
        return csi_fail_memory(error, "graph");
    graph->blocks = all;
    for (size_t i = 0; i < count; i++)
        graph->blocks[graph->block_count++] = blocks[i];
    return CS_OK;
}

const struct csi_value *csi_graph_find_extra(const struct csi_graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->extra_count; i++)
        if (strcmp(graph->extras[i].name, name) == 0)
            return &graph->extras[i];
    return NULL;
}

enum cs_status csi_graph_set_weight_scales(struct csi_graph *graph, int index, const float *scales,
                                           size_t count, struct cs_error *error)
{
    struct csi_value *value = &graph->values[index];
    float *copy;

    if (value->rank == 0 || count == 0 || value->dims[0] == 0 || (count != 1 && count != value->dims[0]))
        return csi_fail(error, CS_MODEL_INVALID, "'%s' has %zu scales", value->name, count);
    for (size_t i = 0; i < count; i++) {
        if (!(scales[i] > 0.0f && scales[i] < 1e30f))
            return CS_OK; /* nothing to compute with: the weights count as floats */
    }
    copy = calloc(value->dims[0], sizeof *copy);
    if (copy == NULL)
        return csi_fail_memory(error, "weight scales");
    for (size_t i = 0; i < value->dims[0]; i++)
        copy[i] = scales[count == 1 ? 0 : i];
    free(value->scales);
    value->scales = copy;
    return CS_OK;
}

bool csi_graph_is_quantized(const struct csi_graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].op == CSI_OP_QUANTIZE)
            return true;
    }
    return false;
}

enum cs_status csi_graph_set_scales(struct csi_graph *graph, const struct csi_output_scale *scales,
                                    size_t count, struct cs_error *error)
{
    struct csi_output_scale *copy = calloc(count + 1, sizeof *copy);

    if (copy == NULL)
        return csi_fail_memory(error, "INT8 scales");
    for (size_t i = 0; i < count; i++) {
        if (scales[i].node >= graph->node_count || (i > 0 && scales[i].node <= scales[i - 1].node) ||
            !(scales[i].scale > 0.0f && scales[i].scale < 1e30f) || scales[i].zero < 0 ||
            scales[i].zero > 255) {
            free(copy);
            return csi_fail(error, CS_MODEL_INVALID, "INT8 scale %zu is out of range", i);
        }
        copy[i] = scales[i];
    }
    free(graph->scales);
    graph->scales = copy;
    graph->scale_count = count;
    return CS_OK;
}

struct csi_node csi_node_init(enum csi_op op, const char *name)
{
    struct csi_node node = {.op = op,
                            .output = CSI_NO_VALUE,
                            .kernel = {1, 1},
                            .stride = {1, 1},
                            .dilation = {1, 1},
                            .groups = 1,
                            .epsilon = 1e-5f,
                            .scale = 1.0f};

    csi_utf8_copy(node.name, sizeof node.name, name);
    for (unsigned i = 0; i < CSI_NODE_MAX_INPUTS; i++)
        node.inputs[i] = CSI_NO_VALUE;
    return node;
}

/* What the node at hand takes of constants, counted before anything looks at their numbers. */
static enum cs_status count_uses(struct csi_graph *graph, const struct csi_node *node, struct cs_error *error)
{
    uint64_t used = graph->used;

    for (unsigned i = 0; i < node->input_count && i < CSI_NODE_MAX_INPUTS; i++)
        if (node->inputs[i] >= 0 && (size_t)node->inputs[i] < graph->value_count &&
            csi_value_is_constant(&graph->values[node->inputs[i]]))
            used += csi_value_elements(&graph->values[node->inputs[i]]);
    if (used > CSI_GRAPH_MAX_SHARED * graph->held + CSI_GRAPH_FREE_USES)
        return csi_fail(
            error, CS_MODEL_INVALID,
            "node '%s' (%s): the network would take %llu weights of the %llu that there are: too many "
            "nodes share them",
            node->name, csi_op_name(node->op), (unsigned long long)used, (unsigned long long)graph->held);
    graph->used = used;
    return CS_OK;
}

enum cs_status csi_graph_add_node(struct csi_graph *graph, const struct csi_node *node, int *index,
                                  struct cs_error *error)
{
    struct csi_value value;
    struct csi_node *nodes;
    size_t dims[CSI_MAX_RANK] = {0};
    unsigned rank = 0;
    enum cs_status status = count_uses(graph, node, error);

    *index = CSI_NO_VALUE;
    if (status == CS_OK)
        status = csi_infer_shape(graph, node, &rank, dims, error);
    if (status == CS_OK)
        status = describe_value(&value, node->name, rank, dims, CSI_GRAPH_MAX_ACTIVATION, error);
    if (status != CS_OK)
        return status;
    if (graph->node_count >= CSI_GRAPH_MAX_NODES)
        return csi_fail(error, CS_MODEL_INVALID, "the network has more than %u nodes", CSI_GRAPH_MAX_NODES);
    nodes = grow(graph->nodes, graph->node_count, &graph->node_capacity, sizeof *nodes);
    if (nodes == NULL)
        return csi_fail_memory(error, "graph");
    graph->nodes = nodes;
    value.producer = (int)graph->node_count;
    status = append_value(graph, &value, index, error);
    if (status != CS_OK)
        return status;
    graph->nodes[graph->node_count] = *node;
    graph->nodes[graph->node_count++].output = *index;
    return CS_OK;
}

enum cs_status csi_graph_add_input(struct csi_graph *graph, size_t channels, size_t height, size_t width,
                                   int *index, struct cs_error *error)
{
    struct csi_node node = csi_node_init(CSI_OP_INPUT, "input");
    enum cs_status status;

    if (graph->input != CSI_NO_VALUE)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network has more than one input");
    node.shape[0] = 1;
    node.shape[1] = channels;
    node.shape[2] = height;
    node.shape[3] = width;
    node.shape_rank = 4;
    status = csi_graph_add_node(graph, &node, index, error);
    graph->input = *index;
    return status;
}

/* Is `name` the scope itself or something inside it: "layer4", "layer4.1.conv2", "layer4/conv"? */
static bool is_inside(const char *name, const char *scope, size_t length)
{
    return strncmp(name, scope, length) == 0 &&
           (name[length] == '\0' || name[length] == '.' || name[length] == '/');
}

int csi_graph_find_layer(const struct csi_graph *graph, const char *name)
{
    size_t length = strlen(name);
    int inside = -1;

    if (length == 0)
        return -1;
    for (size_t i = graph->node_count; i-- > 0;) {
        const struct csi_node *node = &graph->nodes[i];

        if (strcmp(node->name, name) == 0)
            return (int)i;
        if (inside < 0 && (is_inside(node->name, name, length) || is_inside(node->scope, name, length)))
            inside = (int)i;
    }
    return inside;
}

double csi_graph_macs(const struct csi_graph *graph)
{
    double total = 0.0;

    for (size_t i = 0; i < graph->node_count; i++) {
        const struct csi_node *node = &graph->nodes[i];
        const struct csi_value *weight;

        if (node->op != CSI_OP_CONV && node->op != CSI_OP_LINEAR)
            continue;
        weight = &graph->values[node->inputs[1]];
        if (node->op == CSI_OP_CONV) /* every output takes I/groups·KH·KW */
            total += (double)csi_value_elements(&graph->values[node->output]) *
                     (double)csi_value_elements(weight) / (double)weight->dims[0];
        else
            total += (double)csi_value_elements(weight);
    }
    return total;
}

uint64_t csi_graph_count_parameters(const struct csi_graph *graph)
{
    uint64_t total = 0;

    for (size_t i = 0; i < graph->node_count; i++) {
        const struct csi_node *node = &graph->nodes[i];
        unsigned trained = node->op == CSI_OP_BATCH_NORM ? 3 : node->input_count;

        for (unsigned k = 0; k < trained; k++)
            if (node->inputs[k] != CSI_NO_VALUE && csi_value_is_constant(&graph->values[node->inputs[k]]))
                total += csi_value_elements(&graph->values[node->inputs[k]]);
    }
    return total;
}

static enum cs_status validate_preprocess(const struct csi_graph *graph, struct cs_error *error)
{
    const struct csi_preprocess *preprocess = &graph->preprocess;
    const struct csi_value *input = &graph->values[graph->input];

    if (input->dims[1] != 3 || input->dims[2] != input->dims[3])
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network's input is %zux%zux%zu, not 3xSxS",
                        input->dims[1], input->dims[2], input->dims[3]);
    if (preprocess->crop != input->dims[2])
        return csi_fail(error, CS_MODEL_INVALID,
                        "photos are cropped to %u but the network's input is %zu wide", preprocess->crop,
                        input->dims[2]);
    if (preprocess->resize < preprocess->crop)
        return csi_fail(error, CS_MODEL_INVALID, "photos are resized to %u, less than the crop of %u",
                        preprocess->resize, preprocess->crop);
    if (preprocess->max_size == 0 || preprocess->max_size > 65535 || preprocess->resize > 65535)
        return csi_fail(error, CS_MODEL_INVALID, "the sizes of the preprocessing are out of range");
    for (unsigned i = 0; i < 3; i++)
        if (!isfinite(preprocess->mean[i]) || !isfinite(preprocess->std_dev[i]) ||
            preprocess->std_dev[i] <= 0.0f)
            return csi_fail(error, CS_MODEL_INVALID,
                            "mean or standard deviation of the preprocessing is out of range");
    return CS_OK;
}

enum cs_status csi_graph_validate(const struct csi_graph *graph, struct cs_error *error)
{
    const struct csi_value *output;

    if (graph->input < 0 || (size_t)graph->input >= graph->value_count)
        return csi_fail(error, CS_MODEL_INVALID, "the network has no input");
    if (graph->output < 0 || (size_t)graph->output >= graph->value_count ||
        csi_value_is_constant(&graph->values[graph->output]))
        return csi_fail(error, CS_MODEL_INVALID, "the network has no output");
    output = &graph->values[graph->output];
    if (output->rank != 2 || output->dims[0] != 1)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "the network's output has %u dimensions, not [batch, classes]", output->rank);
    if (graph->class_count == 0 || graph->classes == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "the model has no class names");
    if (output->dims[1] != graph->class_count)
        return csi_fail(error, CS_MODEL_INVALID, "there are %zu class names for %zu outputs",
                        graph->class_count, output->dims[1]);
    if (!isfinite(graph->temperature) || graph->temperature <= 0.0)
        return csi_fail(error, CS_MODEL_INVALID, "the temperature %g is out of range", graph->temperature);
    return validate_preprocess(graph, error);
}
