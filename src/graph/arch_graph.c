/*
 * A network as it stands, written into a native file's `architecture_config` and built again from there:
 * models of no known family (ONNX) keep their network in the file. {"output": 7, "nodes": [{"op": "conv",
 * "name": …, "inputs": [0, "weight"], …}]}: an input is the index of the node that makes it, the name of a
 * tensor, or null. Attributes at their neutral value are left out.
 */
#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "graph/arch.h"

static json_t *numbers(const unsigned *list, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(list[i]));
    return array;
}

/* JSON has no infinity: a bound that nothing reaches stands for it. */
static json_t *real(float number)
{
    return json_real(number > FLT_MAX ? FLT_MAX : number < -FLT_MAX ? -FLT_MAX : number);
}

static void put_attributes(json_t *object, const struct csi_node *node)
{
    const struct csi_node neutral = csi_node_init(node->op, "");

    if (node->scope[0] != '\0')
        json_object_set_new(object, "scope", json_string(node->scope));
    if (memcmp(node->kernel, neutral.kernel, sizeof node->kernel) != 0)
        json_object_set_new(object, "kernel", numbers(node->kernel, 2));
    if (memcmp(node->stride, neutral.stride, sizeof node->stride) != 0)
        json_object_set_new(object, "stride", numbers(node->stride, 2));
    if (memcmp(node->dilation, neutral.dilation, sizeof node->dilation) != 0)
        json_object_set_new(object, "dilation", numbers(node->dilation, 2));
    if (memcmp(node->pads, neutral.pads, sizeof node->pads) != 0)
        json_object_set_new(object, "pads", numbers(node->pads, 4));
    if (node->groups != 1)
        json_object_set_new(object, "groups", json_integer(node->groups));
    if (node->ceil_mode)
        json_object_set_new(object, "ceil_mode", json_true());
    if (node->count_include_pad)
        json_object_set_new(object, "count_include_pad", json_true());
    if (node->op == CSI_OP_BATCH_NORM)
        json_object_set_new(object, "epsilon", real(node->epsilon));
    if (node->op == CSI_OP_ACTIVATION)
        json_object_set_new(object, "activation", json_integer(node->activation));
    if (node->op == CSI_OP_ACTIVATION || node->op == CSI_OP_QUANTIZE) {
        json_object_set_new(object, "alpha", real(node->alpha));
        json_object_set_new(object, "beta", real(node->beta));
    }
    if (node->op == CSI_OP_QUANTIZE) {
        json_object_set_new(object, "scale", real(node->scale));
        json_object_set_new(object, "zero_point", json_integer(node->zero_point));
    }
    if (node->shape_rank > 0) {
        json_t *shape = json_array();

        for (unsigned i = 0; i < node->shape_rank; i++)
            json_array_append_new(shape, json_integer((json_int_t)node->shape[i]));
        json_object_set_new(object, "shape", shape);
    }
}

struct csi_layer_name csi_graph_scales_name(const char *constant)
{
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a: long names often differ at their end only */
    const int kept = (int)csi_utf8_prefix(constant, 100);

    if (strlen(constant) <= 110)
        return csi_layer_name("int8.scales.%s", constant);
    for (const char *c = constant; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT32_C(16777619);
    return csi_layer_name("int8.scales.%.*s.%08" PRIx32, kept, constant, hash);
}

struct csi_layer_name csi_graph_constant_name(const struct csi_graph *graph, int value)
{
    const char *name = graph->values[value].name;
    size_t first;

    if (csi_names_find(&graph->constants, name, &first) && first < (size_t)value)
        return csi_layer_name("%.*s.%d", (int)csi_utf8_prefix(name, 100), name, value);
    return csi_layer_name("%s", name);
}

char *csi_graph_to_config(const struct csi_graph *graph)
{
    json_t *config = json_object(), *nodes = json_array();
    char *text;

    for (size_t i = 0; i < graph->node_count; i++) {
        const struct csi_node *node = &graph->nodes[i];
        json_t *object = json_object(), *inputs = json_array();

        for (unsigned k = 0; k < node->input_count; k++) {
            const struct csi_value *value = node->inputs[k] < 0 ? NULL : &graph->values[node->inputs[k]];

            if (value == NULL)
                json_array_append_new(inputs, json_null());
            else if (csi_value_is_constant(value))
                json_array_append_new(inputs,
                                      json_string(csi_graph_constant_name(graph, node->inputs[k]).text));
            else
                json_array_append_new(inputs, json_integer(value->producer));
        }
        json_object_set_new(object, "op", json_string(csi_op_name(node->op)));
        json_object_set_new(object, "name", json_string(node->name));
        json_object_set_new(object, "inputs", inputs);
        put_attributes(object, node);
        json_array_append_new(nodes, object);
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a checked graph has an output */
    json_object_set_new(config, "output", json_integer(graph->values[graph->output].producer));
    json_object_set_new(config, "nodes", nodes);
    text = json_dumps(config, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(config);
    return text;
}

static bool get_numbers(const json_t *object, const char *key, unsigned *list, size_t count)
{
    const json_t *array = json_object_get(object, key);

    for (size_t i = 0; i < count && array != NULL; i++) {
        const json_t *number = json_array_get(array, i);

        if (json_array_size(array) != count || !json_is_integer(number) || json_integer_value(number) < 0 ||
            json_integer_value(number) > 65535)
            return false;
        list[i] = (unsigned)json_integer_value(number);
    }
    return true;
}

static bool get_real(const json_t *object, const char *key, float *number)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return true;
    *number = (float)json_number_value(value);
    return json_is_number(value) && isfinite(*number);
}

static bool get_int(const json_t *object, const char *key, int low, int high, int *number)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
        return false;
    *number = (int)json_integer_value(value);
    return true;
}

static bool get_shape(const json_t *object, struct csi_node *node)
{
    const json_t *shape = json_object_get(object, "shape");

    if (json_array_size(shape) > CSI_MAX_RANK)
        return false;
    node->shape_rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < node->shape_rank; i++) {
        const json_t *number = json_array_get(shape, i);

        if (!json_is_integer(number) || json_integer_value(number) < 1)
            return false;
        node->shape[i] = (size_t)json_integer_value(number);
    }
    return true;
}

static bool get_attributes(const json_t *object, struct csi_node *node)
{
    int groups = 1, activation = 0;
    bool good = get_numbers(object, "kernel", node->kernel, 2) &&
                get_numbers(object, "stride", node->stride, 2) &&
                get_numbers(object, "dilation", node->dilation, 2) &&
                get_numbers(object, "pads", node->pads, 4) && get_int(object, "groups", 1, 65535, &groups) &&
                get_int(object, "activation", CSI_ACT_NONE, CSI_ACT_LAST, &activation) &&
                get_int(object, "zero_point", -65536, 65536, &node->zero_point) &&
                get_real(object, "epsilon", &node->epsilon) && get_real(object, "alpha", &node->alpha) &&
                get_real(object, "beta", &node->beta) && get_real(object, "scale", &node->scale) &&
                get_shape(object, node);
    const char *scope = json_string_value(json_object_get(object, "scope"));

    node->groups = (unsigned)groups;
    node->activation = (enum csi_activation)activation;
    node->ceil_mode = json_is_true(json_object_get(object, "ceil_mode"));
    node->count_include_pad = json_is_true(json_object_get(object, "count_include_pad"));
    csi_utf8_copy(node->scope, sizeof node->scope, scope == NULL ? "" : scope);
    return good;
}

/* A tensor of the file and the constant that it became, CSI_NO_VALUE until a node uses it. */
struct named {
    const struct csi_tensor *tensor;
    int value;
};

/* The network while it is read: the tensors are sorted by name, since nodes ask for them as often as there
 * are some. */
struct reading {
    struct csi_builder *builder;
    struct named *names;
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;

    return strcmp(x->tensor->name, y->tensor->name);
}

static int name_against(const void *name, const void *element)
{
    const struct named *named = element;

    return strcmp(name, named->tensor->name);
}

static bool sort_names(struct reading *reading)
{
    const struct csi_weights *weights = reading->builder->weights;

    reading->count = weights->count;
    reading->names = calloc(weights->count + 1, sizeof *reading->names);
    if (reading->names == NULL)
        return false;
    for (size_t i = 0; i < weights->count; i++)
        reading->names[i] = (struct named){&weights->tensors[i], CSI_NO_VALUE};
    qsort(reading->names, reading->count, sizeof *reading->names, by_name);
    return true;
}

/* NULL: there is no such tensor. */
static struct named *find_name(const struct reading *reading, const char *name)
{
    return bsearch(name, reading->names, reading->count, sizeof *reading->names, name_against);
}

/* The constant of a tensor, with the scales of its levels where the file has them. */
static int add_constant(const struct reading *reading, const struct csi_tensor *tensor)
{
    struct csi_builder *builder = reading->builder;
    const struct named *scales = find_name(reading, csi_graph_scales_name(tensor->name).text);
    int value = CSI_NO_VALUE;

    builder->status = csi_graph_add_constant(builder->graph, tensor->name, tensor->rank, tensor->dims,
                                             tensor->data, &value, builder->error);
    if (builder->status == CS_OK && scales != NULL && scales->tensor->rank == 1)
        builder->status = csi_graph_set_weight_scales(builder->graph, value, scales->tensor->data,
                                                      scales->tensor->dims[0], builder->error);
    return value;
}

/* The value that an input stands for: the output of node `n`, or a tensor of the file, added when it is first
 * used. */
static int get_input(const struct reading *reading, const json_t *input)
{
    struct csi_builder *builder = reading->builder;
    const struct csi_graph *graph = builder->graph;
    struct named *named;

    if (json_is_integer(input)) {
        json_int_t index = json_integer_value(input);

        if (index >= 0 && (size_t)index < graph->node_count)
            return graph->nodes[index].output;
        csi_builder_fail(builder, CS_MODEL_INVALID,
                         "architecture_config: a node's input does not stand before it");
        return CSI_NO_VALUE;
    }
    if (json_is_null(input))
        return CSI_NO_VALUE;
    named = json_is_string(input) ? find_name(reading, json_string_value(input)) : NULL;
    if (named == NULL) {
        csi_builder_fail(builder, CS_MODEL_INVALID,
                         "architecture_config: a node's input '%.100s' is no tensor",
                         json_is_string(input) ? json_string_value(input) : "");
        return CSI_NO_VALUE;
    }
    if (named->value == CSI_NO_VALUE)
        named->value = add_constant(reading, named->tensor);
    return named->value;
}

static bool get_op(const json_t *object, enum csi_op *op)
{
    const char *name = json_string_value(json_object_get(object, "op"));

    for (int i = CSI_OP_INPUT; name != NULL && i <= CSI_OP_IDENTITY; i++)
        if (strcmp(csi_op_name((enum csi_op)i), name) == 0) {
            *op = (enum csi_op)i;
            return true;
        }
    return false;
}

static void add_node(const struct reading *reading, const json_t *object)
{
    struct csi_builder *builder = reading->builder;
    const json_t *inputs = json_object_get(object, "inputs");
    const char *name = json_string_value(json_object_get(object, "name"));
    enum csi_op op = CSI_OP_IDENTITY;
    struct csi_node node;
    int value;

    if (!get_op(object, &op) || name == NULL || strlen(name) >= CSI_NAME_SIZE || !json_is_array(inputs) ||
        json_array_size(inputs) > CSI_NODE_MAX_INPUTS) {
        csi_builder_fail(builder, CS_MODEL_INVALID,
                         "architecture_config: node %zu has no known op, name or inputs",
                         builder->graph->node_count);
        return;
    }
    node = csi_node_init(op, name);
    if (!get_attributes(object, &node)) {
        csi_builder_fail(builder, CS_MODEL_INVALID,
                         "architecture_config: an attribute of node '%s' is out of range", name);
        return;
    }
    node.input_count = (unsigned)json_array_size(inputs);
    for (unsigned i = 0; i < node.input_count && builder->status == CS_OK; i++)
        node.inputs[i] = get_input(reading, json_array_get(inputs, i));
    if (builder->status != CS_OK)
        return;
    if (op == CSI_OP_INPUT)
        builder->status = csi_graph_add_input(builder->graph, node.shape[1], node.shape[2], node.shape[3],
                                              &value, builder->error);
    else
        builder->status = csi_graph_add_node(builder->graph, &node, &value, builder->error);
}

int csi_build_from_config(struct csi_builder *builder)
{
    json_t *config =
        builder->config_json == NULL ? NULL : json_loads(builder->config_json, JSON_REJECT_DUPLICATES, NULL);
    const json_t *nodes = json_object_get(config, "nodes");
    json_int_t output = json_integer_value(json_object_get(config, "output"));
    struct reading reading = {.builder = builder};

    if (!json_is_array(nodes))
        csi_builder_fail(builder, CS_MODEL_INVALID, "architecture_config lists no nodes");
    else if (!sort_names(&reading))
        builder->status = csi_fail_memory(builder->error, "tensor names");
    for (size_t i = 0; reading.names != NULL && i < json_array_size(nodes) && builder->status == CS_OK; i++)
        add_node(&reading, json_array_get(nodes, i));
    if (builder->status == CS_OK && (output < 0 || (size_t)output >= builder->graph->node_count))
        csi_builder_fail(builder, CS_MODEL_INVALID, "architecture_config: the output is no node");
    free(reading.names);
    json_decref(config);
    return builder->status == CS_OK ? builder->graph->nodes[output].output : CSI_NO_VALUE;
}
