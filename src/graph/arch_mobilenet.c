/*
 * torchvision's MobileNets: v2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks") and v3 small and
 * large (Howard et al., "Searching for MobileNetV3"), of any width. Strides and activations are not in the
 * tensors: they go by position.
 */
#include "graph/arch.h"

static bool has_weight(const struct csi_weights *weights, const char *layer)
{
    return csi_weights_have(weights, layer, "weight");
}

/* Is bit `index` set? Positions of strides are kept as bit masks. */
static bool at(unsigned mask, unsigned index)
{
    return (mask >> index & 1u) != 0;
}

static int add_residual(struct csi_builder *builder, const char *block, int x, int skip, unsigned stride)
{
    if (stride != 1 || csi_dimension(builder, x, 1) != csi_dimension(builder, skip, 1))
        return x;
    return csi_add_binary(builder, csi_layer_name("%s.add", block).text, CSI_OP_ADD, x, skip);
}

/* ---- version 2 ---- */

static const char *const v2_names[] = {"mobilenet_v2", NULL};

static const char *recognise_v2(const struct csi_weights *weights)
{
    return has_weight(weights, "features.0.0") && has_weight(weights, "features.1.conv.0.0") &&
                   has_weight(weights, "features.18.0")
               ? "mobilenet_v2"
               : NULL;
}

/* Expansion (absent in the first block), depthwise, projection without activation. */
static int add_v2_block(struct csi_builder *builder, const char *block, int x, unsigned stride)
{
    struct csi_layer_name second = csi_layer_name("%s.conv.1", block);
    bool expands = has_weight(builder->weights, csi_layer_name("%s.0", second.text).text);
    int skip = x;

    x = csi_add_conv_norm(builder, csi_layer_name("%s.conv.0", block).text, x, expands ? 1 : stride, 1e-5f,
                          CSI_ACT_CLIP);
    if (expands)
        x = csi_add_conv_norm(builder, second.text, x, stride, 1e-5f, CSI_ACT_CLIP);
    x = csi_add_conv(builder, csi_layer_name("%s.conv.%d", block, expands ? 2 : 1).text, x, 1, 1);
    x = csi_add_batch_norm(builder, csi_layer_name("%s.conv.%d", block, expands ? 3 : 2).text, x, 1e-5f);
    return add_residual(builder, block, x, skip, stride);
}

static int build_v2(struct csi_builder *builder, int x)
{
    const unsigned halving = 1u << 2 | 1u << 4 | 1u << 7 | 1u << 14;

    builder->scope = "features";
    x = csi_add_conv_norm(builder, "features.0", x, 2, 1e-5f, CSI_ACT_CLIP);
    for (unsigned i = 1; i < 18; i++)
        x = add_v2_block(builder, csi_layer_name("features.%u", i).text, x, at(halving, i) ? 2 : 1);
    x = csi_add_conv_norm(builder, "features.18", x, 1, 1e-5f, CSI_ACT_CLIP);
    builder->scope = "";
    x = csi_add_global_pool(builder, "avgpool", x);
    x = csi_add_flatten(builder, "flatten", x);
    x = csi_add_head(builder, "classifier", x);
    csi_set_target(builder, "features.18");
    return x;
}

/* ---- version 3 ---- */

#define V3_EPSILON 0.001f

static const char *const v3_names[] = {"mobilenet_v3_small", "mobilenet_v3_large", NULL};

static const char *recognise_v3(const struct csi_weights *weights)
{
    if (!has_weight(weights, "features.1.block.0.0") || !has_weight(weights, "classifier.0") ||
        !has_weight(weights, "classifier.3"))
        return NULL;
    if (has_weight(weights, "features.16.0"))
        return "mobilenet_v3_large";
    return has_weight(weights, "features.12.0") ? "mobilenet_v3_small" : NULL;
}

/* Expansion (not always), depthwise, squeeze-and-excitation (not always), projection: told apart by names and
 * shapes. */
static int add_v3_block(struct csi_builder *builder, const char *block, int x, unsigned stride,
                        enum csi_activation activation)
{
    int skip = x;

    for (unsigned i = 0; i < 4 && builder->status == CS_OK; i++) {
        struct csi_layer_name part = csi_layer_name("%s.block.%u", block, i);
        const struct csi_tensor *weight =
            csi_builder_tensor(builder, csi_layer_name("%s.0", part.text).text, "weight");
        bool depthwise = weight != NULL && weight->rank == 4 && weight->dims[1] == 1 && weight->dims[2] > 1;
        bool last = !has_weight(builder->weights, csi_layer_name("%s.block.%u.0", block, i + 1).text) &&
                    !has_weight(builder->weights, csi_layer_name("%s.block.%u.fc1", block, i + 1).text);

        if (has_weight(builder->weights, csi_layer_name("%s.fc1", part.text).text))
            x = csi_add_squeeze_excitation(builder, part.text, x, CSI_ACT_RELU, CSI_ACT_HARD_SIGMOID);
        else
            x = csi_add_conv_norm(builder, part.text, x, depthwise ? stride : 1, V3_EPSILON,
                                  last ? CSI_ACT_NONE : activation);
        if (last)
            break;
    }
    return add_residual(builder, block, x, skip, stride);
}

static int build_v3(struct csi_builder *builder, int x)
{
    bool large = has_weight(builder->weights, "features.16.0");
    const unsigned halving =
        large ? 1u << 2 | 1u << 4 | 1u << 7 | 1u << 13 : 1u << 1 | 1u << 2 | 1u << 4 | 1u << 9;
    unsigned last = large ? 16 : 12, first_hard_swish = large ? 7 : 4;
    struct csi_layer_name target = csi_layer_name("features.%u", last);

    builder->scope = "features";
    x = csi_add_conv_norm(builder, "features.0", x, 2, V3_EPSILON, CSI_ACT_HARD_SWISH);
    for (unsigned i = 1; i < last; i++)
        x = add_v3_block(builder, csi_layer_name("features.%u", i).text, x, at(halving, i) ? 2 : 1,
                         i < first_hard_swish ? CSI_ACT_RELU : CSI_ACT_HARD_SWISH);
    x = csi_add_conv_norm(builder, target.text, x, 1, V3_EPSILON, CSI_ACT_HARD_SWISH);
    builder->scope = "";
    x = csi_add_global_pool(builder, "avgpool", x);
    x = csi_add_flatten(builder, "flatten", x);
    builder->scope = "classifier";
    x = csi_add_linear(builder, "classifier.0", x);
    x = csi_add_activation(builder, "classifier.1", x, CSI_ACT_HARD_SWISH);
    x = csi_add_linear(builder, "classifier.3", x);
    csi_set_target(builder, target.text);
    return x;
}

const struct csi_architecture csi_arch_mobilenet_v2 = {v2_names, NULL, recognise_v2, build_v2};
const struct csi_architecture csi_arch_mobilenet_v3 = {v3_names, NULL, recognise_v3, build_v3};
