/*
 * The ONNX reader's frame: names, attributes, input and output. See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

#define OLDEST_OPSET  9
#define NEWEST_OPSET  21
#define DEFAULT_INPUT 224u

bool csi_is_onnx(const uint8_t *bytes, size_t size)
{
    /* ModelProto: ir_version comes first in every writer (field 1, varint 1 to 30). */
    return size > 8 && bytes[0] == 0x08 && bytes[1] >= 1 && bytes[1] <= 30;
}

/* Room for every name that the file can define. */
static enum cs_status prepare_names(struct csi_onnx *onnx)
{
    size_t names = onnx->proto->n_initializer + onnx->proto->n_input;

    for (size_t i = 0; i < onnx->proto->n_node; i++)
        names += onnx->proto->node[i]->n_output;
    onnx->capacity = names + 1;
    onnx->values = calloc(onnx->capacity, sizeof *onnx->values);
    return onnx->values == NULL ? csi_fail_memory(onnx->error, "ONNX names") : CS_OK;
}

struct csi_onnx_value *csi_onnx_find(const struct csi_onnx *onnx, const char *name)
{
    size_t at;

    return csi_names_find(&onnx->names, name, &at) ? &onnx->values[at] : NULL;
}

enum cs_status csi_onnx_define(struct csi_onnx *onnx, const char *name, const struct csi_onnx_value *value)
{
    enum cs_status status = CS_OK;

    if (name[0] == '\0' || csi_onnx_find(onnx, name) != NULL || onnx->count == onnx->capacity)
        status = csi_onnx_fail(onnx, CS_MODEL_INVALID, "the name '%.100s' is empty or defined twice", name);
    else if (!csi_names_put(&onnx->names, name, onnx->count))
        status = csi_fail_memory(onnx->error, "ONNX names");
    if (status != CS_OK) {
        csi_aligned_free(value->data);
        csi_aligned_free(value->scales);
        return status;
    }
    onnx->values[onnx->count] = *value;
    onnx->values[onnx->count++].name = name;
    return CS_OK;
}

enum cs_status csi_onnx_spend(struct csi_onnx *onnx, size_t count)
{
    if (csi_add_overflows(onnx->folded, count, &onnx->folded) || onnx->folded > onnx->max_folded)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "constants grow far beyond the file's size");
    return CS_OK;
}

struct csi_onnx_value *csi_onnx_input(const struct csi_onnx *onnx, size_t index)
{
    if (index >= onnx->node->n_input || onnx->node->input[index][0] == '\0')
        return NULL;
    return csi_onnx_find(onnx, onnx->node->input[index]);
}

void csi_onnx_set_error(const struct csi_onnx *onnx, enum cs_status status, const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (onnx->node == NULL)
        csi_error_set(onnx->error, status, "%s", text);
    else
        csi_error_set(onnx->error, status, "ONNX node '%.100s' (%.40s): %s", onnx->node_name,
                      onnx->node->op_type, text);
}

const Onnx__AttributeProto *csi_onnx_attribute(const struct csi_onnx *onnx, const char *name)
{
    for (size_t i = 0; i < onnx->node->n_attribute; i++)
        if (onnx->node->attribute[i]->name != NULL && strcmp(onnx->node->attribute[i]->name, name) == 0)
            return onnx->node->attribute[i];
    return NULL;
}

int64_t csi_onnx_int(const struct csi_onnx *onnx, const char *name, int64_t otherwise)
{
    const Onnx__AttributeProto *attribute = csi_onnx_attribute(onnx, name);

    return attribute == NULL ? otherwise : attribute->i;
}

float csi_onnx_float(const struct csi_onnx *onnx, const char *name, float otherwise)
{
    const Onnx__AttributeProto *attribute = csi_onnx_attribute(onnx, name);

    return attribute == NULL ? otherwise : attribute->f;
}

bool csi_onnx_text_is(const struct csi_onnx *onnx, const char *name, const char *text, bool otherwise)
{
    const Onnx__AttributeProto *attribute = csi_onnx_attribute(onnx, name);

    if (attribute == NULL || attribute->s.len == 0)
        return otherwise;
    return attribute->s.len == strlen(text) && memcmp(attribute->s.data, text, attribute->s.len) == 0;
}

size_t csi_onnx_elements(const struct csi_onnx_value *value)
{
    size_t count = 1;

    for (unsigned i = 0; i < value->rank; i++)
        count *= value->dims[i]; /* checked when the value was made */
    return count;
}

bool csi_onnx_ints(const struct csi_onnx *onnx, const char *name, int input, int64_t *list, size_t capacity,
                   size_t *count)
{
    const Onnx__AttributeProto *attribute = csi_onnx_attribute(onnx, name);
    const struct csi_onnx_value *value = input < 0 ? NULL : csi_onnx_input(onnx, (size_t)input);

    *count = 0;
    if (attribute != NULL) {
        if (attribute->n_ints > capacity)
            return false;
        *count = attribute->n_ints;
        if (*count > 0)
            memcpy(list, attribute->ints, *count * sizeof *list);
        return true;
    }
    if (value == NULL || value->kind != CSI_ONNX_CONSTANT || csi_onnx_elements(value) > capacity)
        return false;
    *count = csi_onnx_elements(value);
    for (size_t i = 0; i < *count;
         i++) { /* kept inside what converts back: "to the end" is written as 2^63-1 */
        float number = value->data[i];

        if (isnan(number))
            return false;
        list[i] = number > 1e15f ? INT64_MAX : number < -1e15f ? INT64_MIN : (int64_t)number;
    }
    return true;
}

static enum cs_status read_initializers(struct csi_onnx *onnx)
{
    for (size_t i = 0; i < onnx->proto->n_initializer; i++) {
        struct csi_onnx_value value;
        const Onnx__TensorProto *tensor = onnx->proto->initializer[i];
        enum cs_status status = csi_onnx_tensor(tensor, &value, onnx->error);

        if (status == CS_OK)
            status = csi_onnx_define(onnx, tensor->name == NULL ? "" : tensor->name, &value);
        if (status != CS_OK)
            return status;
    }
    return CS_OK;
}

/* One side of the input; 0: it is dynamic. */
static int64_t input_side(const Onnx__TensorShapeProto *shape, size_t axis)
{
    const Onnx__TensorShapeProto__Dimension *dimension = shape->dim[axis];

    return dimension->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
               ? dimension->dim_value
               : 0;
}

static enum cs_status add_input(struct csi_onnx *onnx, const Onnx__ValueInfoProto *input, uint32_t wanted)
{
    struct csi_onnx_value value = {.kind = CSI_ONNX_ACTIVATION};
    const Onnx__TensorShapeProto *shape = NULL;
    int64_t height, width;
    uint32_t side;
    enum cs_status status;

    if (input->type != NULL && input->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        shape = input->type->tensor_type->shape;
    if (shape == NULL || shape->n_dim != 4 || (input_side(shape, 1) != 3 && input_side(shape, 1) != 0))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "the ONNX input '%.100s' is not [batch, 3, height, width]", input->name);
    height = input_side(shape, 2);
    width = input_side(shape, 3);
    side = wanted != 0 ? wanted : height > 0 && height <= 4096 ? (uint32_t)height : DEFAULT_INPUT;
    if ((height > 0 && height != side) || (width > 0 && width != side))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                             "the ONNX network takes inputs of %lldx%lld, not %ux%u", (long long)height,
                             (long long)width, side, side);
    if (input_side(shape, 0) > 0)
        onnx->batch = input_side(shape, 0);
    status = csi_graph_add_input(onnx->graph, 3, side, side, &value.index, onnx->error);
    if (status != CS_OK)
        return status;
    return csi_onnx_define(onnx, input->name, &value);
}

static enum cs_status read_inputs(struct csi_onnx *onnx, uint32_t wanted)
{
    enum cs_status status = CS_OK;

    for (size_t i = 0; i < onnx->proto->n_input && status == CS_OK; i++) {
        const Onnx__ValueInfoProto *input = onnx->proto->input[i];

        if (input->name != NULL &&
            csi_onnx_find(onnx, input->name) == NULL) /* old writers list constants too */
            status = add_input(onnx, input, wanted);
    }
    return status;
}

static enum cs_status read_nodes(struct csi_onnx *onnx)
{
    for (size_t i = 0; i < onnx->proto->n_node; i++)
        onnx->has_erf |=
            onnx->proto->node[i]->op_type != NULL && strcmp(onnx->proto->node[i]->op_type, "Erf") == 0;
    for (size_t i = 0; i < onnx->proto->n_node; i++) {
        const Onnx__NodeProto *node = onnx->proto->node[i];
        bool done = false;
        enum cs_status status;

        if (node->op_type == NULL || node->n_output == 0 || node->n_input > CSI_ONNX_INPUTS)
            return csi_onnx_fail(onnx, CS_MODEL_INVALID,
                                 "ONNX node %zu has no operator, no output or too many inputs", i);
        onnx->node = node;
        onnx->node_name = node->name == NULL || node->name[0] == '\0' ? node->output[0] : node->name;
        if (node->domain != NULL && node->domain[0] != '\0' && strcmp(node->domain, "ai.onnx") != 0)
            return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "operators of '%.60s' are not supported",
                                 node->domain);
        for (size_t k = 0; k < node->n_input; k++)
            if (node->input[k][0] != '\0' && csi_onnx_find(onnx, node->input[k]) == NULL)
                return csi_onnx_fail(onnx, CS_MODEL_INVALID, "its input '%.100s' is not defined before it",
                                     node->input[k]);
        status = csi_onnx_fold(onnx, &done);
        if (status == CS_OK && !done)
            status = csi_onnx_node(onnx);
        if (status != CS_OK)
            return status;
        onnx->node = NULL;
    }
    return CS_OK;
}

/* The logits: the one output, before a closing softmax (probabilities are made with the temperature), as
 * [batch, classes]. */
static enum cs_status find_output(struct csi_onnx *onnx)
{
    struct csi_graph *graph = onnx->graph;
    const struct csi_onnx_value *value = NULL;
    enum cs_status status;

    if (onnx->proto->n_output > 0 && onnx->proto->output[0]->name != NULL)
        value = csi_onnx_find(onnx, onnx->proto->output[0]->name);
    if (value == NULL || value->kind == CSI_ONNX_CONSTANT)
        return csi_onnx_fail(onnx, CS_MODEL_INVALID,
                             "the ONNX network has no output that depends on its input");
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): names and values stay in `onnx`, which its reader frees */
    status = csi_onnx_activation(onnx, value, &graph->output);
    if (status != CS_OK)
        return status;
    while (graph->nodes[graph->values[graph->output].producer].op == CSI_OP_SOFTMAX ||
           graph->nodes[graph->values[graph->output].producer].op == CSI_OP_IDENTITY)
        graph->output = graph->nodes[graph->values[graph->output].producer].inputs[0];
    if (graph->values[graph->output].rank != 2) {
        struct csi_node node = csi_node_init(CSI_OP_FLATTEN, "logits");

        node.inputs[0] = graph->output;
        node.input_count = 1;
        status = csi_graph_add_node(graph, &node, &graph->output, onnx->error);
    }
    return status;
}

/* Maps are taken where the last global pool begins; a network without one leaves the choice to the engine. */
static enum cs_status choose_target(struct csi_graph *graph, struct cs_error *error)
{
    for (size_t i = graph->node_count; i-- > 0;) {
        const struct csi_value *x =
            graph->nodes[i].op == CSI_OP_GLOBAL_AVG_POOL ? &graph->values[graph->nodes[i].inputs[0]] : NULL;

        if (x != NULL && x->producer > 0 && x->dims[2] * x->dims[3] > 1)
            return csi_graph_set_string(&graph->gradcam_layer, graph->nodes[x->producer].name, error);
    }
    return CS_OK;
}

static enum cs_status read_metadata(const Onnx__ModelProto *model, json_t *metadata, struct cs_error *error)
{
    for (size_t i = 0; i < model->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *entry = model->metadata_props[i];

        if (entry->key != NULL && entry->value != NULL &&
            json_object_set_new(metadata, entry->key, json_string(entry->value)) != 0)
            return csi_fail(error, CS_MODEL_INVALID, "ONNX metadata '%.100s' is not UTF-8", entry->key);
    }
    return CS_OK;
}

static enum cs_status check_opset(const Onnx__ModelProto *model, int64_t *opset, struct cs_error *error)
{
    *opset = 0;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const char *domain = model->opset_import[i]->domain;

        if (domain == NULL || domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0)
            *opset = model->opset_import[i]->version;
    }
    if (*opset < OLDEST_OPSET || *opset > NEWEST_OPSET)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "ONNX opset %lld is not between %d and %d",
                        (long long)*opset, OLDEST_OPSET, NEWEST_OPSET);
    return CS_OK;
}

static enum cs_status read_graph(struct csi_onnx *onnx, uint32_t input_size)
{
    enum cs_status status;

    if (onnx->proto == NULL || onnx->proto->n_sparse_initializer != 0)
        return csi_fail(onnx->error, CS_MODEL_UNSUPPORTED,
                        "the ONNX file has no graph, or one with sparse tensors");
    if (onnx->proto->n_node > CSI_GRAPH_MAX_NODES)
        return csi_fail(onnx->error, CS_MODEL_INVALID, "the ONNX graph has %zu nodes, more than %u",
                        onnx->proto->n_node, CSI_GRAPH_MAX_NODES);
    status = prepare_names(onnx);
    if (status == CS_OK)
        status = read_initializers(onnx);
    if (status == CS_OK)
        status = read_inputs(onnx, input_size);
    if (status == CS_OK)
        status = read_nodes(onnx);
    if (status == CS_OK)
        status = find_output(onnx);
    if (status == CS_OK)
        status = choose_target(onnx->graph, onnx->error);
    return status;
}

enum cs_status csi_onnx_read(const uint8_t *bytes, size_t size, uint32_t input_size, struct csi_graph *graph,
                             json_t *metadata, struct cs_error *error)
{
    struct csi_onnx onnx = {.graph = graph, .error = error, .max_folded = 4 * size + (1u << 20), .batch = -1};
    Onnx__ModelProto *model = NULL;
    enum cs_status status = csi_onnx_unpack(bytes, size, &model, error);

    if (status == CS_OK)
        status = check_opset(model, &onnx.opset, error);
    if (status == CS_OK)
        status = read_metadata(model, metadata, error);
    if (status == CS_OK) {
        onnx.proto = model->graph;
        status = read_graph(&onnx, input_size);
    }
    if (status == CS_OK) {
        graph->parameters = csi_graph_count_parameters(graph);
        status = csi_graph_set_string(&graph->architecture, CSI_ARCHITECTURE_GRAPH, error);
    }
    for (size_t i = 0; i < onnx.count; i++) {
        csi_aligned_free(onnx.values[i].data);
        csi_aligned_free(onnx.values[i].scales);
    }
    free(onnx.values);
    csi_names_free(&onnx.names);
    if (model != NULL)
        onnx__model_proto__free_unpacked(model, NULL);
    return status;
}

#else

bool csi_is_onnx(const uint8_t *bytes, size_t size)
{
    return size > 8 && bytes[0] == 0x08 && bytes[1] >= 1 && bytes[1] <= 30;
}

enum cs_status csi_onnx_read(const uint8_t *bytes, size_t size, uint32_t input_size, struct csi_graph *graph,
                             json_t *metadata, struct cs_error *error)
{
    (void)bytes, (void)size, (void)input_size, (void)graph, (void)metadata;
    return csi_fail(error, CS_MODEL_UNSUPPORTED,
                    "this build reads no ONNX: it was made without ONNX's schema");
}

#endif
