/*
 * Known architectures: choosing the builder by name or by the tensors' names, and the layers that builders
 * are made of.
 */
#include "graph/arch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct csi_architecture *const architectures[] = {
    &csi_arch_cropshield_cnn, &csi_arch_cropshield_lite, &csi_arch_resnet,       &csi_arch_vgg,
    &csi_arch_mobilenet_v2,   &csi_arch_mobilenet_v3,    &csi_arch_efficientnet,
};

struct csi_layer_name csi_layer_name(const char *format, ...)
{
    struct csi_layer_name name;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(name.text, sizeof name.text, format, arguments);
    va_end(arguments);
    return name;
}

const struct csi_tensor *csi_weights_find(const struct csi_weights *weights, const char *name)
{
    size_t at;

    if (weights->names.table != NULL)
        return csi_names_find(&weights->names, name, &at) ? &weights->tensors[at] : NULL;
    for (size_t i = 0; i < weights->count; i++)
        if (strcmp(weights->tensors[i].name, name) == 0)
            return &weights->tensors[i];
    return NULL;
}

static const struct csi_tensor *find_part(const struct csi_weights *weights, const char *layer,
                                          const char *part)
{
    char name[2 * CSI_NAME_SIZE];

    snprintf(name, sizeof name, "%s.%s", layer, part);
    return csi_weights_find(weights, name);
}

bool csi_weights_have(const struct csi_weights *weights, const char *layer, const char *part)
{
    return find_part(weights, layer, part) != NULL;
}

const struct csi_tensor *csi_builder_tensor(const struct csi_builder *builder, const char *layer,
                                            const char *part)
{
    return find_part(builder->weights, layer, part);
}

void csi_builder_fail(struct csi_builder *builder, enum cs_status status, const char *format, ...)
{
    char text[CS_ERROR_MESSAGE_SIZE];
    va_list arguments;

    if (builder->status != CS_OK)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    builder->status = csi_fail(builder->error, status, "%s", text);
}

size_t csi_dimension(const struct csi_builder *builder, int x, unsigned axis)
{
    if (builder->status != CS_OK || x < 0)
        return 0;
    return axis < builder->graph->values[x].rank ? builder->graph->values[x].dims[axis] : 0;
}

static int add(struct csi_builder *builder, struct csi_node *node)
{
    int value = CSI_NO_VALUE;

    if (builder->status != CS_OK)
        return CSI_NO_VALUE;
    snprintf(node->scope, sizeof node->scope, "%s", builder->scope == NULL ? "" : builder->scope);
    builder->status = csi_graph_add_node(builder->graph, node, &value, builder->error);
    return value;
}

/* The constant of a tensor of the file; it keeps the tensor's name. */
static int constant(struct csi_builder *builder, const char *layer, const char *part, unsigned rank,
                    bool required)
{
    const struct csi_tensor *tensor = csi_builder_tensor(builder, layer, part);
    int value = CSI_NO_VALUE;

    if (builder->status != CS_OK)
        return CSI_NO_VALUE;
    if (tensor == NULL) {
        if (required)
            csi_builder_fail(builder, CS_MODEL_INVALID, "tensor '%s.%s' is missing", layer, part);
        return CSI_NO_VALUE;
    }
    if (tensor->rank != rank) {
        csi_builder_fail(builder, CS_MODEL_INVALID, "tensor '%s' has %u dimensions, not %u", tensor->name,
                         tensor->rank, rank);
        return CSI_NO_VALUE;
    }
    builder->status = csi_graph_add_constant(builder->graph, tensor->name, rank, tensor->dims, tensor->data,
                                             &value, builder->error);
    return value;
}

static void check_kernel(struct csi_builder *builder, const struct csi_tensor *weight, unsigned kernel)
{
    const size_t *sides = weight->dims + 2;

    if (sides[0] > 255 || sides[1] > 255)
        csi_builder_fail(builder, CS_MODEL_INVALID,
                         "tensor '%s' is no convolution's weight: its kernel is %zux%zu", weight->name,
                         sides[0], sides[1]);
    else if (kernel != 0 && (sides[0] != kernel || sides[1] != kernel))
        csi_builder_fail(
            builder, CS_MODEL_UNSUPPORTED,
            "tensor '%s' has a %zux%zu kernel, not the architecture's %ux%u; strides and pools, which the "
            "file does not state, may differ too: export ONNX",
            weight->name, sides[0], sides[1], kernel, kernel);
    else if (sides[0] != sides[1] || sides[0] % 2 == 0)
        csi_builder_fail(builder, CS_MODEL_UNSUPPORTED,
                         "tensor '%s' has a %zux%zu kernel, whose padding the file does not say: export ONNX",
                         weight->name, sides[0], sides[1]);
}

int csi_add_conv(struct csi_builder *builder, const char *layer, int x, unsigned stride, unsigned kernel)
{
    struct csi_node node = csi_node_init(CSI_OP_CONV, layer);
    const struct csi_tensor *weight = csi_builder_tensor(builder, layer, "weight");

    node.inputs[0] = x;
    node.inputs[1] = constant(builder, layer, "weight", 4, true);
    node.inputs[2] = constant(builder, layer, "bias", 1, false);
    node.input_count = node.inputs[2] == CSI_NO_VALUE ? 2 : 3;
    if (builder->status != CS_OK || weight == NULL)
        return CSI_NO_VALUE;
    check_kernel(builder, weight, kernel);
    if (x == builder->graph->input && weight->dims[1] != csi_dimension(builder, x, 1))
        csi_builder_fail(builder, CS_MODEL_UNSUPPORTED, "tensor '%s' reads %zu channels, not a photo's %zu",
                         weight->name, weight->dims[1], csi_dimension(builder, x, 1));
    if (builder->status != CS_OK)
        return CSI_NO_VALUE;
    for (unsigned i = 0; i < 2; i++) {
        node.kernel[i] = (unsigned)weight->dims[2 + i];
        node.stride[i] = stride;
        node.pads[i] = node.pads[i + 2] = node.kernel[i] / 2;
    }
    if (weight->dims[1] != 0 && csi_dimension(builder, x, 1) % weight->dims[1] == 0)
        node.groups = (unsigned)(csi_dimension(builder, x, 1) / weight->dims[1]);
    return add(builder, &node);
}

int csi_add_batch_norm(struct csi_builder *builder, const char *layer, int x, float epsilon)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    struct csi_node node = csi_node_init(CSI_OP_BATCH_NORM, layer);

    node.inputs[0] = x;
    for (unsigned i = 0; i < 4; i++)
        node.inputs[i + 1] = constant(builder, layer, parts[i], 1, true);
    node.input_count = 5;
    node.epsilon = epsilon;
    return add(builder, &node);
}

int csi_add_activation(struct csi_builder *builder, const char *layer, int x, enum csi_activation activation)
{
    struct csi_node node = csi_node_init(CSI_OP_ACTIVATION, layer);

    node.inputs[0] = x;
    node.input_count = 1;
    node.activation = activation;
    if (activation == CSI_ACT_CLIP) { /* networks of torchvision clip to 0..6 */
        node.alpha = 0.0f;
        node.beta = 6.0f;
    } else if (activation == CSI_ACT_HARD_SIGMOID) {
        node.alpha = 1.0f / 6.0f;
        node.beta = 0.5f;
    }
    return add(builder, &node);
}

int csi_add_max_pool(struct csi_builder *builder, const char *layer, int x, unsigned kernel, unsigned stride,
                     unsigned padding)
{
    struct csi_node node = csi_node_init(CSI_OP_MAX_POOL, layer);

    node.inputs[0] = x;
    node.input_count = 1;
    for (unsigned i = 0; i < 2; i++) {
        node.kernel[i] = kernel;
        node.stride[i] = stride;
        node.pads[i] = node.pads[i + 2] = padding;
    }
    return add(builder, &node);
}

static int add_unary(struct csi_builder *builder, const char *layer, enum csi_op op, int x)
{
    struct csi_node node = csi_node_init(op, layer);

    node.inputs[0] = x;
    node.input_count = 1;
    return add(builder, &node);
}

int csi_add_global_pool(struct csi_builder *builder, const char *layer, int x)
{
    return add_unary(builder, layer, CSI_OP_GLOBAL_AVG_POOL, x);
}

int csi_add_flatten(struct csi_builder *builder, const char *layer, int x)
{
    return add_unary(builder, layer, CSI_OP_FLATTEN, x);
}

int csi_add_linear(struct csi_builder *builder, const char *layer, int x)
{
    struct csi_node node = csi_node_init(CSI_OP_LINEAR, layer);

    node.inputs[0] = x;
    node.inputs[1] = constant(builder, layer, "weight", 2, true);
    node.inputs[2] = constant(builder, layer, "bias", 1, false);
    node.input_count = node.inputs[2] == CSI_NO_VALUE ? 2 : 3;
    return add(builder, &node);
}

int csi_add_head(struct csi_builder *builder, const char *layer, int x)
{
    struct csi_layer_name found = csi_layer_name("%s", layer);
    unsigned count = 0;

    builder->scope = layer;
    if (csi_weights_have(builder->weights, layer, "weight"))
        return csi_add_linear(builder, layer, x);
    for (unsigned i = 0; i < 16; i++) {
        struct csi_layer_name part = csi_layer_name("%s.%u", layer, i);

        if (csi_weights_have(builder->weights, part.text, "weight")) {
            found = part;
            count++;
        }
    }
    if (count > 1)
        csi_builder_fail(
            builder, CS_MODEL_UNSUPPORTED,
            "the classifier '%s' has %u layers, and what stands between them is not in the file: export ONNX",
            layer, count);
    return csi_add_linear(builder, found.text, x);
}

int csi_add_conv_norm(struct csi_builder *builder, const char *layer, int x, unsigned stride, float epsilon,
                      enum csi_activation activation)
{
    struct csi_layer_name conv = csi_layer_name("%s.0", layer), norm = csi_layer_name("%s.1", layer);

    x = csi_add_conv(builder, conv.text, x, stride, 0);
    x = csi_add_batch_norm(builder, norm.text, x, epsilon);
    if (activation == CSI_ACT_NONE)
        return x;
    return csi_add_activation(builder, csi_layer_name("%s.2", layer).text, x, activation);
}

int csi_add_squeeze_excitation(struct csi_builder *builder, const char *layer, int x,
                               enum csi_activation inner, enum csi_activation gate)
{
    int scale = csi_add_global_pool(builder, csi_layer_name("%s.avgpool", layer).text, x);

    scale = csi_add_conv(builder, csi_layer_name("%s.fc1", layer).text, scale, 1, 1);
    scale = csi_add_activation(builder, csi_layer_name("%s.activation", layer).text, scale, inner);
    scale = csi_add_conv(builder, csi_layer_name("%s.fc2", layer).text, scale, 1, 1);
    scale = csi_add_activation(builder, csi_layer_name("%s.scale_activation", layer).text, scale, gate);
    return csi_add_binary(builder, csi_layer_name("%s.mul", layer).text, CSI_OP_MUL, x, scale);
}

void csi_set_target(struct csi_builder *builder, const char *layer)
{
    if (builder->status == CS_OK)
        builder->status = csi_graph_set_string(&builder->graph->gradcam_layer, layer, builder->error);
}

int csi_add_binary(struct csi_builder *builder, const char *layer, enum csi_op op, int a, int b)
{
    struct csi_node node = csi_node_init(op, layer);

    node.inputs[0] = a;
    node.inputs[1] = b;
    node.input_count = 2;
    return add(builder, &node);
}

int csi_add_adaptive_pool(struct csi_builder *builder, const char *layer, int x, size_t size)
{
    struct csi_node node = csi_node_init(CSI_OP_AVG_POOL, layer);

    if (builder->status != CS_OK)
        return CSI_NO_VALUE;
    if (csi_dimension(builder, x, 2) == size && csi_dimension(builder, x, 3) == size)
        return x;
    for (unsigned i = 0; i < 2; i++) {
        size_t length = csi_dimension(builder, x, 2 + i);

        if (length % size != 0) {
            csi_builder_fail(builder, CS_MODEL_UNSUPPORTED,
                             "'%s' would pool %zu to %zu: choose an input size that this divides", layer,
                             length, size);
            return CSI_NO_VALUE;
        }
        node.kernel[i] = node.stride[i] = (unsigned)(length / size);
    }
    node.inputs[0] = x;
    node.input_count = 1;
    return add(builder, &node);
}

/* The family that `weights` belong to, and the member's name. */
static const struct csi_architecture *recognise(const struct csi_weights *weights, const char **name)
{
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++) {
        *name = architectures[i]->recognise(weights);
        if (*name != NULL)
            return architectures[i];
    }
    return NULL;
}

const char *csi_recognise_architecture(const struct csi_weights *weights)
{
    const char *name = NULL;

    return recognise(weights, &name) == NULL ? NULL : name;
}

/* Is `name` that of another architecture than `recognised` of `family`? A family's name says no more than
 * that; one of nobody's ("custom", "my_model") says nothing. */
static bool contradicts(const char *name, const struct csi_architecture *family, const char *recognised)
{
    if (strcasecmp(name, recognised) == 0)
        return false;
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++) {
        if (architectures[i]->family != NULL && strcasecmp(architectures[i]->family, name) == 0)
            return architectures[i] != family;
        for (const char *const *member = architectures[i]->names; *member != NULL; member++)
            if (strcasecmp(*member, name) == 0)
                return true;
    }
    return false;
}

enum cs_status csi_build_architecture(struct csi_graph *graph, const char *architecture,
                                      const char *config_json, const struct csi_weights *weights,
                                      uint32_t input_size, struct cs_error *error)
{
    struct csi_builder builder = {
        .graph = graph, .weights = weights, .config_json = config_json, .status = CS_OK, .error = error};
    const char *recognised = NULL;
    const struct csi_architecture *family = recognise(weights, &recognised);
    bool described = architecture != NULL && strcmp(architecture, CSI_ARCHITECTURE_GRAPH) == 0;
    int input, output;

    if (described) {
        output = csi_build_from_config(&builder);
        goto done;
    }
    if (family == NULL && architecture != NULL && architecture[0] != '\0')
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "architecture '%.64s' is not supported, or its tensors are missing", architecture);
    if (family == NULL)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "the tensors' names are of no known architecture (first of %zu: '%s')",
                        weights->count, weights->count == 0 ? "" : weights->tensors[0].name);
    if (architecture != NULL && contradicts(architecture, family, recognised))
        return csi_fail(error, CS_MODEL_INVALID, "the file says '%.64s' but its tensors are those of '%s'",
                        architecture, recognised);
    builder.status = csi_graph_add_input(graph, 3, input_size, input_size, &input, error);
    output = family->build(&builder, input);

done:
    if (builder.status == CS_OK)
        builder.status = csi_graph_set_string(&graph->architecture,
                                              described ? CSI_ARCHITECTURE_GRAPH : recognised, error);
    if (builder.status != CS_OK)
        return builder.status;
    graph->output = output;
    graph->parameters = csi_graph_count_parameters(graph);
    return CS_OK;
}
