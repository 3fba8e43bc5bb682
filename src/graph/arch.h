/*
 * What the builders of known architectures share: a builder that adds layers by their state_dict names and
 * remembers the first error, so that a network reads as a list of layers. Internal to the graph floor.
 */
#ifndef CSI_GRAPH_ARCH_H
#define CSI_GRAPH_ARCH_H

#include "graph/graph.h"

struct csi_builder {
    struct csi_graph *graph;
    const struct csi_weights *weights;
    const char *config_json; /* may be NULL */
    const char *scope;       /* of the nodes added next */
    enum cs_status status;   /* first error; every later call does nothing and gives CSI_NO_VALUE */
    struct cs_error *error;
};

/* "features.3.conv.1" */
struct csi_layer_name csi_layer_name(const char *format, ...) CSI_PRINTF(1, 2);

/* Records the first error. */
void csi_builder_fail(struct csi_builder *builder, enum cs_status status, const char *format, ...)
    CSI_PRINTF(3, 4);
/* The tensor "<layer>.<part>" or NULL. */
const struct csi_tensor *csi_builder_tensor(const struct csi_builder *builder, const char *layer,
                                            const char *part);
bool csi_weights_have(const struct csi_weights *weights, const char *layer, const char *part);

/* Layers. Each takes and gives value indices. Kernel size, channels and groups come from the tensors' shapes.
 */
/* A convolution padded by half its kernel, whose side is `kernel` in that architecture (0: any odd number).
 * Another kernel is refused: strides and pools of such a variant differ too, and no tensor tells them. */
int csi_add_conv(struct csi_builder *builder, const char *layer, int x, unsigned stride, unsigned kernel);
int csi_add_batch_norm(struct csi_builder *builder, const char *layer, int x, float epsilon);
int csi_add_activation(struct csi_builder *builder, const char *layer, int x, enum csi_activation activation);
int csi_add_max_pool(struct csi_builder *builder, const char *layer, int x, unsigned kernel, unsigned stride,
                     unsigned padding);
int csi_add_global_pool(struct csi_builder *builder, const char *layer, int x);
int csi_add_flatten(struct csi_builder *builder, const char *layer, int x);
int csi_add_linear(struct csi_builder *builder, const char *layer, int x);
/* The classifier that users replace: "<layer>" itself or the one linear layer "<layer>.<index>" of a
 * Sequential with dropout. */
int csi_add_head(struct csi_builder *builder, const char *layer, int x);
/* Convolution "<layer>.0", padded to keep the size, and batch norm "<layer>.1", then an activation
 * (CSI_ACT_NONE: none). */
int csi_add_conv_norm(struct csi_builder *builder, const char *layer, int x, unsigned stride, float epsilon,
                      enum csi_activation activation);
/* Squeeze and excitation: x times gate(fc2(inner(fc1(mean(x))))). */
int csi_add_squeeze_excitation(struct csi_builder *builder, const char *layer, int x,
                               enum csi_activation inner, enum csi_activation gate);
int csi_add_binary(struct csi_builder *builder, const char *layer, enum csi_op op, int a, int b);
/* Average pooling to size×size as PyTorch's AdaptiveAvgPool2d does it, where it is a plain pooling. */
int csi_add_adaptive_pool(struct csi_builder *builder, const char *layer, int x, size_t size);
/* Copies `layer` to graph->gradcam_layer. */
void csi_set_target(struct csi_builder *builder, const char *layer);
/* Channels, height or width (axis 1, 2, 3) of a value; 0 after an error. */
size_t csi_dimension(const struct csi_builder *builder, int x, unsigned axis);

/* One architecture, or a family whose members are told apart by their shapes. */
struct csi_architecture {
    const char *const *names; /* of the members, NULL at the end */
    const char *family;       /* what all of them may be called, and those without a name; NULL: nothing */
    /* The member's name when the tensors' names are those of this family, else NULL. */
    const char *(*recognise)(const struct csi_weights *weights);
    /* From the input to the logits; sets graph->gradcam_layer. */
    int (*build)(struct csi_builder *builder, int input);
};

/* The network that config_json describes, its input included (arch_graph.c). */
int csi_build_from_config(struct csi_builder *builder);

extern const struct csi_architecture csi_arch_cropshield_cnn, csi_arch_cropshield_lite, csi_arch_resnet,
    csi_arch_vgg, csi_arch_mobilenet_v2, csi_arch_mobilenet_v3, csi_arch_efficientnet;

#endif
