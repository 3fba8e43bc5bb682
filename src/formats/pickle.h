/*
 * A symbolic unpickler: runs a pickle's opcodes over descriptions of objects. Nothing is imported, called or
 * constructed; the few globals that files of weights use stand for data (a tensor's place, an ordered
 * dictionary), every other one ends the reading with its name. Internal to the formats floor. Pure function
 * of the bytes.
 */
#ifndef CSI_FORMATS_PICKLE_H
#define CSI_FORMATS_PICKLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "formats/tensors.h"

enum csi_pickle_kind {
    CSI_PICKLE_NONE,
    CSI_PICKLE_BOOL,
    CSI_PICKLE_INT,
    CSI_PICKLE_FLOAT,
    CSI_PICKLE_STRING, /* also bytes */
    CSI_PICKLE_TUPLE,
    CSI_PICKLE_LIST,
    CSI_PICKLE_DICT,    /* items: key, value, key, value, … */
    CSI_PICKLE_GLOBAL,  /* text: "module.name" */
    CSI_PICKLE_STORAGE, /* text: the key of its archive entry; dtype, integer: elements */
    CSI_PICKLE_TENSOR,  /* items[0]: its storage; offset, rank, dims, strides */
    CSI_PICKLE_OBJECT,  /* a TorchScript module; text: its class; items: attributes like a DICT's */
    CSI_PICKLE_OPAQUE   /* a device, a dtype: known and of no use here */
};

struct csi_pickle_object {
    enum csi_pickle_kind kind;
    int64_t integer;  /* BOOL, INT, STORAGE */
    double number;    /* FLOAT */
    const char *text; /* not NUL-terminated; points into the pickle */
    size_t text_size;
    struct csi_pickle_object **items;
    size_t count, capacity;
    enum csi_dtype dtype;
    /* TENSOR, in elements */
    struct csi_pickle_shape *shape;
};

struct csi_pickle_shape {
    size_t offset;
    unsigned rank;
    size_t dims[CSI_MAX_RANK], strides[CSI_MAX_RANK];
};

struct csi_pickle; /* owns all objects */

/* `bytes` are borrowed until csi_pickle_free. `torchscript`: classes of "__torch__" become OBJECTs.
 * CS_MODEL_INVALID names the opcode or global and its byte. */
enum cs_status csi_pickle_read(const uint8_t *bytes, size_t size, bool torchscript,
                               struct csi_pickle **pickle, struct cs_error *error);
void csi_pickle_free(struct csi_pickle *pickle);

const struct csi_pickle_object *csi_pickle_root(const struct csi_pickle *pickle);

/* Value of a string key of a DICT or OBJECT; NULL: absent, or no dictionary. */
const struct csi_pickle_object *csi_pickle_get(const struct csi_pickle_object *dict, const char *key);
bool csi_pickle_is_text(const struct csi_pickle_object *object, const char *text);

/* Plain data (no tensors, bounded size and depth) as JSON; NULL when it is something else. What it looks at
 * is taken from
 * `*budget`, values of all conversions of a file: parts that objects share would multiply otherwise. */
#define CSI_PICKLE_JSON_BUDGET ((size_t)1 << 20)
json_t *csi_pickle_to_json(const struct csi_pickle_object *object, size_t *budget);

/* Shared between pickle.c (the opcodes) and pickle_globals.c (what globals stand for). */
struct csi_pickle_object *csi_pickle_new(struct csi_pickle *pickle, enum csi_pickle_kind kind);
bool csi_pickle_append(struct csi_pickle_object *object, struct csi_pickle_object *item);
bool csi_pickle_torchscript(const struct csi_pickle *pickle);
/* Counts items that are about to be copied into another container; false: more than an honest pickle copies.
 */
bool csi_pickle_may_copy(struct csi_pickle *pickle, size_t count);
/* Is this global known? */
bool csi_pickle_global_allowed(const struct csi_pickle *pickle, const struct csi_pickle_object *global);
/* What `global(*arguments)` stands for; `*result` NULL with CS_INTERNAL: no memory. */
enum cs_status csi_pickle_reduce(struct csi_pickle *pickle, const struct csi_pickle_object *global,
                                 struct csi_pickle_object *arguments, struct csi_pickle_object **result,
                                 struct cs_error *error);
/* The storage that a persistent id ('storage', type, key, location, elements) stands for. */
enum cs_status csi_pickle_storage(struct csi_pickle *pickle, const struct csi_pickle_object *id,
                                  struct csi_pickle_object **result, struct cs_error *error);

#endif
