/*
 * ONNX (opset 9 to 21): the operators of image classifiers, to the graph. Internal to the formats floor.
 *
 * The file is unpacked by protobuf-c behind a guard on nesting and count (onnx_load.c), constants are folded
 * as they are met (onnx_fold.c), and each remaining node becomes one of the graph's operators (onnx_nodes.c)
 * or is named in the error.
 */
#ifndef CSI_FORMATS_ONNX_H
#define CSI_FORMATS_ONNX_H

#include "formats/model_file.h"
#include "formats/tensors.h"
#include "graph/names.h"

/* True when the bytes may be an ONNX file: the format has no magic number. */
bool csi_is_onnx(const uint8_t *bytes, size_t size);

/* Fills `graph` (network, architecture, gradcam_layer) and `metadata` (an object: the file's
 * metadata_props). Pure function of the bytes and the input size (0: what the file says, else 224). */
enum cs_status csi_onnx_read(const uint8_t *bytes, size_t size, uint32_t input_size, struct csi_graph *graph,
                             json_t *metadata, struct cs_error *error);

#ifdef CSI_HAVE_ONNX

#include "onnx/onnx.pb-c.h"

#define CSI_ONNX_RANK   6
#define CSI_ONNX_INPUTS 64 /* of one node */

enum csi_onnx_kind {
    CSI_ONNX_ABSENT,
    CSI_ONNX_CONSTANT,
    CSI_ONNX_ACTIVATION,
    CSI_ONNX_GELU_PART,  /* made of `index`, not made yet: see enum csi_onnx_part */
    CSI_ONNX_GATE,       /* sigmoid or hard sigmoid of `index`, not made yet: x times its gate is swish */
    CSI_ONNX_TRANSPOSED, /* Transpose of `index` by `order`, not made: another one may take it back */
    CSI_ONNX_QUANTIZED /* QuantizeLinear of `index`, not made yet: the DequantizeLinear behind it makes it */
};

/* Of files that spell GELU out (onnx_activations.c). */
enum csi_onnx_part {
    CSI_PART_SCALED,    /* x·scale */
    CSI_PART_ERF,       /* erf(alpha·x) */
    CSI_PART_ERF_AND_1, /* scale·(1 + erf(alpha·x)) */
    CSI_PART_PRODUCT    /* scale·x·(1 + erf(alpha·x)) */
};

/* What a name stands for. Integers are kept as float32: those of shapes are far below 2^24. */
struct csi_onnx_value {
    enum csi_onnx_kind kind;
    const char *name; /* borrowed from the unpacked file */
    unsigned rank;
    size_t dims[CSI_ONNX_RANK];
    float *data;   /* CONSTANT: owned by the reader */
    float *scales; /* of a constant that DequantizeLinear made: [scale_count] along `scale_axis`; owned too */
    size_t scale_count;
    unsigned scale_axis;
    bool integer, is_unsigned;
    unsigned bits;                /* of integers, as the file counts them; 0: not known */
    int constant;                 /* CONSTANT: its value in the graph, once it is used there */
    int turned;                   /* CONSTANT: the same of its transpose; 0: not used there yet */
    int index;                    /* of all but CONSTANT: a value of the graph */
    unsigned order[CSI_MAX_RANK]; /* TRANSPOSED: axis i is axis order[i] of `index` */
    float scale, zero_point, alpha, beta;
    enum csi_activation activation; /* GATE */
    enum csi_onnx_part part;        /* GELU_PART */
};

struct csi_onnx {
    struct csi_graph *graph;
    Onnx__GraphProto *proto;
    int64_t opset;
    bool has_erf;  /* some node is one: products with numbers may be parts of GELU */
    int64_t batch; /* that the input is declared for, when that is a number; -1: any */
    struct csi_onnx_value *values;
    size_t count, capacity;
    struct csi_names names;      /* of `values`, to their indices */
    size_t folded, max_folded;   /* elements that were made of the file's */
    const Onnx__NodeProto *node; /* the one at hand */
    const char *node_name;
    struct cs_error *error;
};

/* onnx_load.c */
enum cs_status csi_onnx_unpack(const uint8_t *bytes, size_t size, Onnx__ModelProto **model,
                               struct cs_error *error);
/* A tensor of the file as a constant; `value->data` is allocated. */
enum cs_status csi_onnx_tensor(const Onnx__TensorProto *tensor, struct csi_onnx_value *value,
                               struct cs_error *error);

/* onnx.c: names and attributes */
struct csi_onnx_value *csi_onnx_find(const struct csi_onnx *onnx, const char *name);
/* Defines a name; on failure `value->data` is freed. */
enum cs_status csi_onnx_define(struct csi_onnx *onnx, const char *name, const struct csi_onnx_value *value);
/* Input `index` of the node at hand; NULL when it is absent. */
struct csi_onnx_value *csi_onnx_input(const struct csi_onnx *onnx, size_t index);
void csi_onnx_set_error(const struct csi_onnx *onnx, enum cs_status status, const char *format, ...)
    CSI_PRINTF(3, 4);
/* Stores the error with the node at hand and gives the status; a macro for the same reason as csi_fail. */
#define csi_onnx_fail(onnx, status, ...)                                                                     \
    (csi_onnx_set_error((onnx), (status), __VA_ARGS__), csi_same_status(status))
const Onnx__AttributeProto *csi_onnx_attribute(const struct csi_onnx *onnx, const char *name);
int64_t csi_onnx_int(const struct csi_onnx *onnx, const char *name, int64_t otherwise);
float csi_onnx_float(const struct csi_onnx *onnx, const char *name, float otherwise);
bool csi_onnx_text_is(const struct csi_onnx *onnx, const char *name, const char *text, bool otherwise);
/* A list of integers: the attribute, or (`input` ≥ 0) the constant input of that index. False: neither is
 * given, or it is too long for `capacity`. */
bool csi_onnx_ints(const struct csi_onnx *onnx, const char *name, int input, int64_t *list, size_t capacity,
                   size_t *count);
size_t csi_onnx_elements(const struct csi_onnx_value *value);

/* onnx.c: `count` elements more are about to be made of the file's constants, which is bounded by its size.
 */
enum cs_status csi_onnx_spend(struct csi_onnx *onnx, size_t count);

/* onnx_fold.c: `*done` tells whether the node at hand was a constant and is defined now. */
enum cs_status csi_onnx_fold(struct csi_onnx *onnx, bool *done);

/* The scales of quantised weights go along to value `index` of the graph when there is one for each output,
 * which `axis` of the file's tensor counts. */
enum cs_status csi_onnx_keep_scales(const struct csi_onnx *onnx, const struct csi_onnx_value *value,
                                    unsigned axis, int index);

/* What the zero point `zero` (NULL: absent) and output_dtype of a QuantizeLinear or its block_size say: 8-bit
 * numbers of one sign or the other; anything else is refused by name. */
enum cs_status csi_onnx_quantized_type(const struct csi_onnx *onnx, const struct csi_onnx_value *zero,
                                       bool *is_unsigned);

/* onnx_nodes.c: the node at hand over activations. */
enum cs_status csi_onnx_node(struct csi_onnx *onnx);
/* The graph's value of an ACTIVATION, GATE, GELU_PART or QUANTIZED, made when it is not there yet. */
enum cs_status csi_onnx_activation(struct csi_onnx *onnx, const struct csi_onnx_value *value, int *index);
/* Input `at` as an activation. */
enum cs_status csi_onnx_take(struct csi_onnx *onnx, size_t at, int *index);
/* Input `at` as a constant of the graph; CSI_NO_VALUE when it is absent. */
enum cs_status csi_onnx_constant(struct csi_onnx *onnx, size_t at, int *index);
/* A single number from constant input `at`; `otherwise` when it is absent. False: it is no single constant.
 */
bool csi_onnx_number(const struct csi_onnx *onnx, size_t at, float otherwise, float *number);
/* True when the node names its output `at`. */
bool csi_onnx_wants_output(const struct csi_onnx *onnx, size_t at);
struct csi_node csi_onnx_new_node(const struct csi_onnx *onnx, enum csi_op op);
const struct csi_value *csi_onnx_graph_value(const struct csi_onnx *onnx, int index);
/* Adds `node` and gives its output the node's first output name. */
enum cs_status csi_onnx_finish(struct csi_onnx *onnx, const struct csi_node *node);
/* Another name for what is there. */
enum cs_status csi_onnx_alias(struct csi_onnx *onnx, int index);

/* onnx_activations.c: the node at hand when it is an activation, which `*done` tells. */
enum cs_status csi_onnx_activate(struct csi_onnx *onnx, bool *done);
/* The same for arithmetic (ADD, MUL, …; both inputs are there) that is a part of a swish or GELU. */
enum cs_status csi_onnx_spelt_out(struct csi_onnx *onnx, enum csi_op op, bool *done);
/* The graph's value of a GELU_PART, made. */
enum cs_status csi_onnx_gelu_part(struct csi_onnx *onnx, const struct csi_onnx_value *value, int *index);

/* onnx_move.c: operators that move numbers and compute none */
enum cs_status csi_onnx_reshape(struct csi_onnx *onnx);
enum cs_status csi_onnx_flatten(struct csi_onnx *onnx);
enum cs_status csi_onnx_squeeze(struct csi_onnx *onnx, bool squeeze);
enum cs_status csi_onnx_transpose(struct csi_onnx *onnx);
enum cs_status csi_onnx_concat(struct csi_onnx *onnx);
enum cs_status csi_onnx_pad(struct csi_onnx *onnx);
/* A reshape of graph value `x` to `dims`, as the node's output. */
enum cs_status csi_onnx_reshape_to(struct csi_onnx *onnx, int x, size_t rank, const size_t *dims);

#endif
#endif
