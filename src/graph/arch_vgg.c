/*
 * torchvision's VGG networks with and without batch norm (Simonyan and Zisserman, "Very Deep Convolutional
 * Networks"). Where the max-pools stand is told by the gaps in the layers' numbers.
 */
#include "graph/arch.h"

#define FAMILY     "vgg"
#define MAX_LAYERS 128u

static const char *const names[] = {"vgg11",    "vgg13",    "vgg16",    "vgg19", "vgg11_bn",
                                    "vgg13_bn", "vgg16_bn", "vgg19_bn", NULL};

static bool has_layer(const struct csi_weights *weights, unsigned index)
{
    return csi_weights_have(weights, csi_layer_name("features.%u", index).text, "weight");
}

static bool is_norm(const struct csi_weights *weights, unsigned index)
{
    return csi_weights_have(weights, csi_layer_name("features.%u", index).text, "running_mean");
}

static const char *recognise(const struct csi_weights *weights)
{
    static const struct {
        unsigned convs;
        const char *plain, *norm;
    } known[] = {{8, "vgg11", "vgg11_bn"},
                 {10, "vgg13", "vgg13_bn"},
                 {13, "vgg16", "vgg16_bn"},
                 {16, "vgg19", "vgg19_bn"}};
    unsigned convs = 0;

    if (!has_layer(weights, 0) || !csi_weights_have(weights, "classifier.0", "weight") ||
        !csi_weights_have(weights, "classifier.3", "weight") ||
        !csi_weights_have(weights, "classifier.6", "weight"))
        return NULL;
    for (unsigned i = 0; i < MAX_LAYERS; i++)
        convs += has_layer(weights, i) && !is_norm(weights, i);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].convs == convs)
            return is_norm(weights, 1) ? known[i].norm : known[i].plain;
    return FAMILY;
}

static int add_features(struct csi_builder *builder, int x, struct csi_layer_name *last)
{
    unsigned next = 0; /* the number of the layer to come */

    while (builder->status == CS_OK && next < MAX_LAYERS && has_layer(builder->weights, next)) {
        x = csi_add_conv(builder, csi_layer_name("features.%u", next++).text, x, 1, 3);
        if (is_norm(builder->weights, next))
            x = csi_add_batch_norm(builder, csi_layer_name("features.%u", next++).text, x, 1e-5f);
        *last = csi_layer_name("features.%u", next++);
        x = csi_add_activation(builder, last->text, x, CSI_ACT_RELU);
        if (!has_layer(builder->weights, next)) /* a pool, also behind the last convolution */
            x = csi_add_max_pool(builder, csi_layer_name("features.%u", next++).text, x, 2, 2, 0);
    }
    return x;
}

static int build(struct csi_builder *builder, int x)
{
    struct csi_layer_name last = csi_layer_name("features.0");

    builder->scope = "features";
    x = add_features(builder, x, &last);
    builder->scope = "";
    x = csi_add_adaptive_pool(builder, "avgpool", x, 7);
    x = csi_add_flatten(builder, "flatten", x);
    builder->scope = "classifier";
    x = csi_add_linear(builder, "classifier.0", x);
    x = csi_add_activation(builder, "classifier.1", x, CSI_ACT_RELU);
    x = csi_add_linear(builder, "classifier.3", x);
    x = csi_add_activation(builder, "classifier.4", x, CSI_ACT_RELU);
    x = csi_add_linear(builder, "classifier.6", x);
    csi_set_target(builder, last.text);
    return x;
}

const struct csi_architecture csi_arch_vgg = {names, FAMILY, recognise, build};
