/*
 * A model file's named tensors and metadata, as every reader of weights hands them over, and the conversion
 * of element types. Internal to the formats floor. One thread at a time.
 */
#ifndef CSI_FORMATS_TENSORS_H
#define CSI_FORMATS_TENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/graph.h"
#include "graph/names.h"

#define CSI_MAX_TENSORS 20000u

enum csi_dtype { CSI_F32, CSI_F16, CSI_BF16, CSI_F64, CSI_I8, CSI_U8, CSI_I16, CSI_I32, CSI_I64, CSI_BOOL };

/* Bytes of an element. */
size_t csi_dtype_size(enum csi_dtype dtype);
/* "F32", …: the names of the safetensors format. */
const char *csi_dtype_name(enum csi_dtype dtype);
bool csi_dtype_parse(const char *name, enum csi_dtype *dtype);

/* `count` little-endian elements at `bytes` (any alignment) to float32. float64 and integers are rounded. */
void csi_dtype_to_float(enum csi_dtype dtype, const uint8_t *bytes, size_t count, float *out);
/* float32 to IEEE half precision, rounded to nearest even. */
uint16_t csi_float_to_half(float value);

struct csi_tensor_set {
    struct csi_tensor *tensors; /* `data` is owned by the set */
    enum csi_dtype *dtypes;     /* as stored in the file */
    size_t count, capacity;
    struct csi_names names; /* of the tensors; empty: filled by the next csi_tensor_set_add */
    json_t *metadata;       /* object: string -> string, with the native file's keys */
    const char *format;     /* "safetensors", … */
    bool sound; /* the file's bytes are part of this program: a digest that they state is not checked */
    bool keep_unknown; /* a file of ours: tensors that the network does not use are kept as extras, whatever
                          their names */
};

enum cs_status csi_tensor_set_init(struct csi_tensor_set *set, const char *format, struct cs_error *error);
void csi_tensor_set_free(struct csi_tensor_set *set);

/* Adds an uninitialised tensor; the caller fills `*data` (float32). Checks the name, its being new, and the
 * shape. The caller has compared the shape with the bytes at hand before. */
enum cs_status csi_tensor_set_add(struct csi_tensor_set *set, const char *name, enum csi_dtype dtype,
                                  unsigned rank, const size_t *dims, float **data, struct cs_error *error);

/* "bn1.num_batches_tracked": batch norm counts in training, which is of no use here. */
bool csi_is_batch_counter(const char *name);

/* To be called after tensors were taken out or renamed in place. */
void csi_tensor_set_renamed(struct csi_tensor_set *set);

/* Removes the tensors whose names begin with `prefix`. */
void csi_tensor_set_drop(struct csi_tensor_set *set, const char *prefix);

/* CS_MODEL_INVALID names the first tensor that holds an infinity or a NaN. */
enum cs_status csi_tensor_set_check(const struct csi_tensor_set *set, struct cs_error *error);
/* The tensors' data become the graph's, which has borrowed them; the set is empty then. On failure they stay
 * the set's. */
enum cs_status csi_tensor_set_hand_over(struct csi_tensor_set *set, struct csi_graph *graph,
                                        struct cs_error *error);

/* The tensors as the builders take them: borrowed from the set, until it changes. */
struct csi_weights csi_tensor_set_weights(struct csi_tensor_set *set);

#endif
