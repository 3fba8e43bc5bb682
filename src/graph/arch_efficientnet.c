/*
 * torchvision's EfficientNets (Tan and Le, "EfficientNet: Rethinking Model Scaling"): b0 and its wider and
 * deeper siblings.
 */
#include "graph/arch.h"

#define FAMILY "efficientnet"

static const char *const names[] = {"efficientnet_b0", NULL};

static bool has_block(const struct csi_weights *weights, unsigned stage, unsigned index)
{
    return csi_weights_have(weights, csi_layer_name("features.%u.%u.block.0.0", stage, index).text, "weight");
}

static const char *recognise(const struct csi_weights *weights)
{
    static const unsigned b0[7] = {1, 2, 2, 3, 3, 4, 1};

    if (!has_block(weights, 1, 0) || !has_block(weights, 7, 0) ||
        !csi_weights_have(weights, "features.8.0", "weight"))
        return NULL;
    for (unsigned i = 0; i < 7; i++)
        if (!has_block(weights, i + 1, b0[i] - 1) || has_block(weights, i + 1, b0[i]))
            return FAMILY;
    return "efficientnet_b0";
}

/* Expansion (not in the first stage), depthwise, squeeze-and-excitation, projection. */
static int add_block(struct csi_builder *builder, const char *block, int x, unsigned stride, float epsilon)
{
    bool expands = csi_weights_have(builder->weights, csi_layer_name("%s.block.3.0", block).text, "weight");
    unsigned part = 0;
    int skip = x;

    if (expands)
        x = csi_add_conv_norm(builder, csi_layer_name("%s.block.%u", block, part++).text, x, 1, epsilon,
                              CSI_ACT_SWISH);
    x = csi_add_conv_norm(builder, csi_layer_name("%s.block.%u", block, part++).text, x, stride, epsilon,
                          CSI_ACT_SWISH);
    x = csi_add_squeeze_excitation(builder, csi_layer_name("%s.block.%u", block, part++).text, x,
                                   CSI_ACT_SWISH, CSI_ACT_SIGMOID);
    x = csi_add_conv_norm(builder, csi_layer_name("%s.block.%u", block, part).text, x, 1, epsilon,
                          CSI_ACT_NONE);
    if (stride != 1 || csi_dimension(builder, x, 1) != csi_dimension(builder, skip, 1))
        return x;
    return csi_add_binary(builder, csi_layer_name("%s.add", block).text, CSI_OP_ADD, x, skip);
}

static int build(struct csi_builder *builder, int x)
{
    static const unsigned strides[7] = {1, 2, 2, 2, 1, 2, 1};
    /* b5 to b7, whose first stage has three blocks and more, use another epsilon. */
    float epsilon = has_block(builder->weights, 1, 2) ? 0.001f : 1e-5f;

    builder->scope = "features";
    x = csi_add_conv_norm(builder, "features.0", x, 2, epsilon, CSI_ACT_SWISH);
    for (unsigned stage = 1; stage <= 7; stage++)
        for (unsigned i = 0; builder->status == CS_OK && has_block(builder->weights, stage, i); i++)
            x = add_block(builder, csi_layer_name("features.%u.%u", stage, i).text, x,
                          i == 0 ? strides[stage - 1] : 1, epsilon);
    x = csi_add_conv_norm(builder, "features.8", x, 1, epsilon, CSI_ACT_SWISH);
    builder->scope = "";
    x = csi_add_global_pool(builder, "avgpool", x);
    x = csi_add_flatten(builder, "flatten", x);
    x = csi_add_head(builder, "classifier", x);
    csi_set_target(builder, "features.8");
    return x;
}

const struct csi_architecture csi_arch_efficientnet = {names, FAMILY, recognise, build};
