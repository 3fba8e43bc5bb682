/*
 * torchvision's residual networks: resnet18, resnet34, resnet50 and their relatives of any depth, width and
 * group count (He et al., "Deep Residual Learning for Image Recognition"; the stride stands on the 3×3
 * convolution of a bottleneck).
 */
#include <string.h>

#include "graph/arch.h"

#define FAMILY "resnet"

static const char *const names[] = {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", NULL};

static const char *recognise(const struct csi_weights *weights)
{
    static const struct {
        bool bottleneck;
        unsigned depths[4];
        const char *name;
    } known[] = {{false, {2, 2, 2, 2}, "resnet18"},
                 {false, {3, 4, 6, 3}, "resnet34"},
                 {true, {3, 4, 6, 3}, "resnet50"},
                 {true, {3, 4, 23, 3}, "resnet101"},
                 {true, {3, 8, 36, 3}, "resnet152"}};
    bool bottleneck = csi_weights_have(weights, "layer1.0.conv3", "weight");
    unsigned depths[4];

    if (!csi_weights_have(weights, "conv1", "weight") ||
        !csi_weights_have(weights, "layer1.0.conv1", "weight") ||
        !csi_weights_have(weights, "layer4.0.conv2", "weight"))
        return NULL;
    for (unsigned i = 0; i < 4; i++)
        for (depths[i] = 0; depths[i] < 1000; depths[i]++)
            if (!csi_weights_have(weights, csi_layer_name("layer%u.%u.conv1", i + 1, depths[i]).text,
                                  "weight"))
                break;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].bottleneck == bottleneck && memcmp(known[i].depths, depths, sizeof depths) == 0)
            return known[i].name;
    return FAMILY;
}

/* convN, bnN and, but for the last of a block, ReLU. */
static int add_part(struct csi_builder *builder, const char *block, unsigned index, int x, unsigned stride,
                    unsigned kernel, bool relu)
{
    x = csi_add_conv(builder, csi_layer_name("%s.conv%u", block, index).text, x, stride, kernel);
    x = csi_add_batch_norm(builder, csi_layer_name("%s.bn%u", block, index).text, x, 1e-5f);
    return relu ? csi_add_activation(builder, csi_layer_name("%s.relu%u", block, index).text, x, CSI_ACT_RELU)
                : x;
}

static int add_block(struct csi_builder *builder, const char *block, int x, unsigned stride)
{
    bool bottleneck = csi_weights_have(builder->weights, csi_layer_name("%s.conv3", block).text, "weight");
    int skip = x;

    x = add_part(builder, block, 1, x, bottleneck ? 1 : stride, bottleneck ? 1 : 3, true);
    x = add_part(builder, block, 2, x, bottleneck ? stride : 1, 3, bottleneck);
    if (bottleneck)
        x = add_part(builder, block, 3, x, 1, 1, false);
    if (csi_weights_have(builder->weights, csi_layer_name("%s.downsample.0", block).text, "weight"))
        skip = csi_add_conv_norm(builder, csi_layer_name("%s.downsample", block).text, skip, stride, 1e-5f,
                                 CSI_ACT_NONE);
    x = csi_add_binary(builder, csi_layer_name("%s.add", block).text, CSI_OP_ADD, x, skip);
    return csi_add_activation(builder, csi_layer_name("%s.relu", block).text, x, CSI_ACT_RELU);
}

static int build(struct csi_builder *builder, int x)
{
    x = csi_add_conv(builder, "conv1", x, 2, 7);
    x = csi_add_batch_norm(builder, "bn1", x, 1e-5f);
    x = csi_add_activation(builder, "relu", x, CSI_ACT_RELU);
    x = csi_add_max_pool(builder, "maxpool", x, 3, 2, 1);
    for (unsigned i = 1; i <= 4; i++) {
        struct csi_layer_name layer = csi_layer_name("layer%u", i);

        builder->scope = layer.text;
        for (unsigned k = 0; builder->status == CS_OK; k++) {
            struct csi_layer_name block = csi_layer_name("layer%u.%u", i, k);

            if (!csi_weights_have(builder->weights, csi_layer_name("%s.conv1", block.text).text, "weight"))
                break;
            x = add_block(builder, block.text, x, i > 1 && k == 0 ? 2 : 1);
        }
    }
    builder->scope = "";
    x = csi_add_global_pool(builder, "avgpool", x);
    x = csi_add_flatten(builder, "flatten", x);
    x = csi_add_head(builder, "fc", x);
    csi_set_target(builder, "layer4");
    return x;
}

const struct csi_architecture csi_arch_resnet = {names, FAMILY, recognise, build};
