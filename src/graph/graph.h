/*
 * The network as data: a directed acyclic graph of operators over float32 tensors in NCHW.
 *
 * Owns operators, shapes, weights, the model's metadata. Readers (formats) fill it, the engine compiles it.
 * It knows neither files nor kernels. A graph is built by one thread and read-only afterwards.
 */
#ifndef CSI_GRAPH_GRAPH_H
#define CSI_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/names.h"

#define CSI_MAX_RANK  4
#define CSI_NAME_SIZE 128 /* longer names are cut, and what is not UTF-8 in them becomes U+FFFD */

/* Limits that keep hostile files from costing more than they weigh. */
#define CSI_GRAPH_MAX_NODES    20000u
#define CSI_GRAPH_MAX_VALUES   100000u
#define CSI_GRAPH_MAX_CLASSES  100000u
#define CSI_GRAPH_MAX_ELEMENTS ((size_t)1 << 31) /* of one constant */
/* Nodes may share constants, but the engine lays weights out for each node: all constants together are used
 * CSI_GRAPH_MAX_SHARED times, and CSI_GRAPH_FREE_USES elements more. */
#define CSI_GRAPH_MAX_SHARED 8u
#define CSI_GRAPH_FREE_USES  ((uint64_t)1 << 24)
#define CSI_GRAPH_MAX_ACTIVATION                                                                             \
    ((size_t)1 << 27) /* elements of one activation: the engine allocates them                               \
                       */

enum csi_op {
    CSI_OP_INPUT,           /* no inputs; the photo: [N,3,S,S] */
    CSI_OP_CONV,            /* x, weight [O,I/groups,KH,KW], bias [O] or none */
    CSI_OP_BATCH_NORM,      /* x, scale [C], shift [C], mean [C], variance [C]; `epsilon` */
    CSI_OP_ACTIVATION,      /* x; `activation`, `alpha`, `beta` */
    CSI_OP_MAX_POOL,        /* x; kernel, stride, pads, ceil_mode */
    CSI_OP_AVG_POOL,        /* x; the same and count_include_pad */
    CSI_OP_GLOBAL_AVG_POOL, /* [N,C,H,W] -> [N,C,1,1] */
    CSI_OP_LINEAR,          /* x [N,I], weight [O,I], bias [O] or none */
    CSI_OP_ADD,
    CSI_OP_SUB,
    CSI_OP_MUL,
    CSI_OP_DIV,      /* two inputs, NumPy broadcasting ([N,C,H,W] with [N,C,1,1] for SE blocks) */
    CSI_OP_CONCAT,   /* along the channel axis */
    CSI_OP_FLATTEN,  /* [N,…] -> [N,product] */
    CSI_OP_RESHAPE,  /* to `shape`, first dimension N kept */
    CSI_OP_PAD,      /* zero padding `pads` of H and W */
    CSI_OP_SOFTMAX,  /* over the last axis */
    CSI_OP_QUANTIZE, /* x -> (clamp(round(x/scale)+zero_point, alpha, beta)-zero_point)·scale: the INT8 ranges
                      * of models that were quantised elsewhere; alpha..beta is -128..127 or 0..255 */
    CSI_OP_IDENTITY  /* dropout and the like */
};

enum csi_activation {
    CSI_ACT_NONE,
    CSI_ACT_RELU,
    CSI_ACT_LEAKY_RELU /* alpha */,
    CSI_ACT_CLIP /* alpha..beta: ReLU6 is 0..6 */,
    CSI_ACT_SIGMOID,
    CSI_ACT_HARD_SIGMOID /* clip(alpha·x+beta,0,1) */,
    CSI_ACT_SWISH /* x·sigmoid(x) */,
    CSI_ACT_HARD_SWISH /* x·clip(x/6+1/2,0,1) */,
    CSI_ACT_TANH,
    CSI_ACT_ELU /* x<0 ? alpha·(e^x-1) : x */,
    CSI_ACT_GELU /* x·(1+erf(x/√2))/2 */,
    CSI_ACT_GELU_TANH /* x·(1+tanh(√(2/π)·(x+0.044715·x³)))/2 */
};
/* Files keep these numbers (`architecture_config`): new ones come last. */
#define CSI_ACT_LAST CSI_ACT_GELU_TANH

/* A value: what a node puts out, or a constant. Dimension 0 of activations is the batch and is kept as 1
 * here. */
struct csi_value {
    char name[CSI_NAME_SIZE];
    unsigned rank;
    size_t dims[CSI_MAX_RANK];
    float *data;   /* constants only: 64-byte aligned, row-major; NULL for activations */
    bool borrowed; /* `data` is not this value's to free */
    int producer;  /* node index, -1 for constants */
    /* Weights that were 8-bit numbers in the file: data = level · scales[i], i the index of the first axis,
     * levels whole. NULL: they were not. Owned. */
    float *scales;
};

/* What a byte q of a node's output stands for in INT8: (q - zero)·scale. From calibration. */
struct csi_output_scale {
    size_t node; /* index */
    float scale;
    int zero; /* 0…255 */
};

#define CSI_NODE_MAX_INPUTS 8
#define CSI_NO_VALUE        (-1)

struct csi_node {
    enum csi_op op;
    char name[CSI_NAME_SIZE];  /* as the user's framework calls it: "block1.0", "layer4.1.conv2", an ONNX node
                                  name */
    char scope[CSI_NAME_SIZE]; /* the module it belongs to: "block1", "layer4"; may be "" */
    int inputs[CSI_NODE_MAX_INPUTS]; /* value indices, CSI_NO_VALUE where absent; a wider CONCAT is a chain of
                                        them */
    unsigned input_count;
    int output; /* value index */
    /* attributes; which count is said at the operator */
    unsigned kernel[2], stride[2], dilation[2]; /* H, W */
    unsigned pads[4];                           /* top, left, bottom, right */
    unsigned groups;
    bool ceil_mode, count_include_pad;
    float epsilon;
    enum csi_activation activation;
    float alpha, beta;
    float scale;
    int zero_point; /* QUANTIZE */
    size_t shape[CSI_MAX_RANK];
    unsigned shape_rank; /* RESHAPE */
};

struct csi_preprocess {
    uint32_t max_size; /* display size: long side, Lanczos */
    uint32_t resize;   /* short side, bilinear antialiased */
    uint32_t crop;     /* centre crop */
    float mean[3], std_dev[3];
};

struct csi_graph {
    struct csi_node *nodes;
    size_t node_count, node_capacity;
    struct csi_value *values;
    size_t value_count, value_capacity;
    struct csi_names constants; /* the first constant of each name */
    uint64_t held, used; /* elements of all constants, and of those that nodes take, once for each node */
    int input, output;   /* value indices: the photo and the logits */

    /* What the model says about itself. Strings are owned, never NULL after csi_graph_init. */
    char *name, *architecture, *format, *metadata_json, *gradcam_layer;
    char **classes; /* class_count names */
    size_t class_count;
    bool *tested; /* class_count flags */
    struct csi_preprocess preprocess;
    double temperature;
    /* Extra constants that are no part of the network (parameters of the leaf gate: "ood.mean", …): found by
     * name. */
    struct csi_value *extras;
    size_t extra_count;
    /* Calibration for INT8, ascending by node; none: scale_count 0. */
    struct csi_output_scale *scales;
    size_t scale_count;
    uint64_t parameters;
    bool borrows;   /* csi_graph_borrow */
    float **blocks; /* csi_graph_take_blocks */
    size_t block_count;
};

enum cs_status csi_graph_create(struct csi_graph **graph, struct cs_error *error);
void csi_graph_destroy(struct csi_graph *graph);

/* From now on data of constants are not copied: they are aligned (csi_model_alloc) and stay until the graph
 * is gone. */
void csi_graph_borrow(struct csi_graph *graph);
/* The graph's from now on: `count` blocks of csi_model_alloc, freed with it. On failure they stay the
 * caller's. */
enum cs_status csi_graph_take_blocks(struct csi_graph *graph, float *const *blocks, size_t count,
                                     struct cs_error *error);

/* Adds a constant; `data` (may be NULL: zeroed memory is made) is copied, unless the graph borrows. `*value`
 * is its index. */
enum cs_status csi_graph_add_constant(struct csi_graph *graph, const char *name, unsigned rank,
                                      const size_t *dims, const float *data, int *value,
                                      struct cs_error *error);

/* Says of constant `value` that it was made of 8-bit numbers: `count` scales, 1 or one for each index of its
 * first axis, are copied. */
enum cs_status csi_graph_set_weight_scales(struct csi_graph *graph, int value, const float *scales,
                                           size_t count, struct cs_error *error);

/* A node with every attribute at its neutral value (stride 1, groups 1, …). */
struct csi_node csi_node_init(enum csi_op op, const char *name);

/* Adds a copy of `node` behind its inputs (which must exist already), infers the output's shape, checks
 * attributes against shapes. `*value` is the index of its output. CS_MODEL_INVALID names node and reason,
 * which may be that constants are shared too often (CSI_GRAPH_MAX_SHARED). */
enum cs_status csi_graph_add_node(struct csi_graph *graph, const struct csi_node *node, int *value,
                                  struct cs_error *error);

/* Infers the shape of `node`'s output into `rank` and `dims` (CSI_MAX_RANK): csi_graph_add_node's first half.
 */
enum cs_status csi_infer_shape(const struct csi_graph *graph, const struct csi_node *node, unsigned *rank,
                               size_t *dims, struct cs_error *error);

/* "conv", "batch_norm", … A constant string. */
const char *csi_op_name(enum csi_op op);

/* Network input [1,channels,height,width]. */
enum cs_status csi_graph_add_input(struct csi_graph *graph, size_t channels, size_t height, size_t width,
                                   int *value, struct cs_error *error);

size_t csi_value_elements(const struct csi_value *value);
/* True when `value` is a constant. */
bool csi_value_is_constant(const struct csi_value *value);

/* A constant beside the network. `data` is copied, unless the graph borrows. */
enum cs_status csi_graph_add_extra(struct csi_graph *graph, const char *name, unsigned rank,
                                   const size_t *dims, const float *data, struct cs_error *error);
/* Replaces the calibration by a copy of `count` scales. CS_MODEL_INVALID: a node that is not there, a scale
 * that is no positive number, or no ascending order. */
enum cs_status csi_graph_set_scales(struct csi_graph *graph, const struct csi_output_scale *scales,
                                    size_t count, struct cs_error *error);
/* The network has quantisation marks of its own. */
bool csi_graph_is_quantized(const struct csi_graph *graph);
const struct csi_value *csi_graph_find_extra(const struct csi_graph *graph, const char *name);

/* Replaces one of the graph's own strings (`&graph->name`, …) by a copy. */
enum cs_status csi_graph_set_string(char **slot, const char *text, struct cs_error *error);
/* Copies `count` class names; all count as tested. NULL names: "class_0", … */
enum cs_status csi_graph_set_classes(struct csi_graph *graph, const char *const *names, size_t count,
                                     struct cs_error *error);

/* The node whose output is the output of the layer or module `name`: the last one of that name, else the last
 * one whose name or scope is `name` or begins with it and "." or "/". -1: there is none. */
int csi_graph_find_layer(const struct csi_graph *graph, const char *name);

/* Multiply-accumulates of one photo, counted as direct convolution. */
double csi_graph_macs(const struct csi_graph *graph);

/* Trained numbers of the network: weights, biases, scales and shifts; not the running statistics of batch
 * norms. */
uint64_t csi_graph_count_parameters(const struct csi_graph *graph);

/* Checks the whole: input and output set, output [1,class_count], classes given. Call when the graph is
 * complete. */
enum cs_status csi_graph_validate(const struct csi_graph *graph, struct cs_error *error);

/*
 * Builders of known architectures from named weights (PyTorch's state_dict names). `find` gives the constant
 * of that name or NULL. They live in src/graph/arch_*.c, one file a family.
 */
struct csi_weights {
    const struct csi_tensor *tensors;
    size_t count;
    struct csi_names
        names; /* borrowed: of the tensors, to their indices; empty: they are looked through one by one */
};
/* One named tensor of a model file, converted to float32. */
struct csi_tensor {
    char name[CSI_NAME_SIZE];
    unsigned rank;
    size_t dims[CSI_MAX_RANK];
    const float *data; /* borrowed from the reader */
};
const struct csi_tensor *csi_weights_find(const struct csi_weights *weights, const char *name);

/* The architecture whose names the tensors have ("resnet18"), NULL: no supported one. Not that the network is
 * whole. */
const char *csi_recognise_architecture(const struct csi_weights *weights);

/* Builds the network of `architecture` ("CropShieldCNN", "resnet18", …; NULL or "": recognised from the
 * tensor names), with any width and class count, for inputs input_size × input_size. `config_json` (may be
 * NULL) is the metadata's `architecture_config`. CS_MODEL_UNSUPPORTED names what is missing. */
enum cs_status csi_build_architecture(struct csi_graph *graph, const char *architecture,
                                      const char *config_json, const struct csi_weights *weights,
                                      uint32_t input_size, struct cs_error *error);

/* The architecture of networks that are described node by node in `architecture_config`. */
#define CSI_ARCHITECTURE_GRAPH "graph"

/* `architecture_config` of the network as it stands, as JSON text for free(); NULL: no memory. Its constants
 * go by the names that csi_graph_constant_name gives: their own, made unique. */
char *csi_graph_to_config(const struct csi_graph *graph);
struct csi_layer_name {
    char text[CSI_NAME_SIZE];
};
struct csi_layer_name csi_graph_constant_name(const struct csi_graph *graph, int value);
/* The tensor that holds the scales of a constant that was made of 8-bit numbers. */
struct csi_layer_name csi_graph_scales_name(const char *constant);

#endif
