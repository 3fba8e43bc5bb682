/*
 * CropShield's own networks.
 *
 * CropShieldCNN: blocks of (convolution 3×3, batch norm, ReLU) × 2 and a 2×2 max-pool; global average pool;
 * linear. CropShieldLite: plain convolutions with bias, each followed by ReLU; global average pool; linear.
 * The strides are not in the tensors, so `architecture_config` lists them: {"layers": [{"stride": 2, …}, …]},
 * or as [[inputs, outputs, kernel, stride], …].
 */
#include <jansson.h>
#include <stdio.h>

#include "graph/arch.h"

static const char *recognise_cnn(const struct csi_weights *weights)
{
    return csi_weights_have(weights, "block1.0", "weight") &&
                   csi_weights_have(weights, "block1.4", "running_var") &&
                   csi_weights_have(weights, "classifier.1", "weight")
               ? "CropShieldCNN"
               : NULL;
}

static int build_cnn(struct csi_builder *builder, int x)
{
    struct csi_layer_name block = csi_layer_name("block1"), last = block;

    for (unsigned i = 1; csi_weights_have(builder->weights, csi_layer_name("block%u.0", i).text, "weight");
         i++) {
        block = csi_layer_name("block%u", i);
        builder->scope = block.text;
        for (unsigned k = 0; k < 6; k += 3) {
            struct csi_layer_name conv = csi_layer_name("block%u.%u", i, k);

            x = csi_add_conv(builder, conv.text, x, 1, 3);
            x = csi_add_batch_norm(builder, csi_layer_name("block%u.%u", i, k + 1).text, x, 1e-5f);
            x = csi_add_activation(builder, csi_layer_name("block%u.%u", i, k + 2).text, x, CSI_ACT_RELU);
        }
        x = csi_add_max_pool(builder, csi_layer_name("block%u.6", i).text, x, 2, 2, 0);
        last = block;
    }
    builder->scope = "";
    x = csi_add_global_pool(builder, "pool", x);
    x = csi_add_flatten(builder, "flatten", x);
    builder->scope = "classifier";
    x = csi_add_linear(builder, "classifier.1", x);
    csi_set_target(builder, last.text);
    return x;
}

static const char *recognise_lite(const struct csi_weights *weights)
{
    return csi_weights_have(weights, "layers.0", "weight") && csi_weights_have(weights, "layers.0", "bias") &&
                   csi_weights_have(weights, "classifier.1", "weight")
               ? "CropShieldLite"
               : NULL;
}

/* The stride of layer `index`; 0: the config does not say it. */
static unsigned lite_stride(const json_t *config, size_t index)
{
    const json_t *layer = json_array_get(json_object_get(config, "layers"), index), *stride;

    stride = json_is_array(layer) ? json_array_get(layer, 3) : json_object_get(layer, "stride");
    if (!json_is_integer(stride) || json_integer_value(stride) < 1 || json_integer_value(stride) > 8)
        return 0;
    return (unsigned)json_integer_value(stride);
}

static int build_lite(struct csi_builder *builder, int x)
{
    json_t *config = builder->config_json == NULL ? NULL : json_loads(builder->config_json, 0, NULL);
    struct csi_layer_name last = csi_layer_name("layers.0");

    builder->scope = "layers";
    for (unsigned i = 0; builder->status == CS_OK; i++) {
        struct csi_layer_name layer = csi_layer_name("layers.%u", i);
        const struct csi_tensor *weight = csi_builder_tensor(builder, layer.text, "weight");
        unsigned stride = lite_stride(config, i);

        if (weight == NULL)
            break;
        if (stride == 0 || weight->rank != 4) {
            csi_builder_fail(builder, CS_MODEL_INVALID, "architecture_config gives no stride for '%s'",
                             layer.text);
            break;
        }
        x = csi_add_conv(builder, layer.text, x, stride, 0);
        /* The layer is the convolution with its activation: its name stands for both (csi_graph_find_layer).
         */
        if (builder->status == CS_OK)
            snprintf(builder->graph->nodes[builder->graph->node_count - 1].name, CSI_NAME_SIZE,
                     "layers.%u.conv", i);
        x = csi_add_activation(builder, csi_layer_name("layers.%u.relu", i).text, x, CSI_ACT_RELU);
        last = layer;
    }
    json_decref(config);
    builder->scope = "";
    x = csi_add_global_pool(builder, "pool", x);
    x = csi_add_flatten(builder, "flatten", x);
    builder->scope = "classifier";
    x = csi_add_linear(builder, "classifier.1", x);
    csi_set_target(builder, last.text);
    return x;
}

static const char *const cnn_names[] = {"CropShieldCNN", NULL};
static const char *const lite_names[] = {"CropShieldLite", NULL};

const struct csi_architecture csi_arch_cropshield_cnn = {cnn_names, NULL, recognise_cnn, build_cnn};
const struct csi_architecture csi_arch_cropshield_lite = {lite_names, NULL, recognise_lite, build_lite};
