/*
 * Model files: from bytes to a graph, whatever the format. One pure parser a format stands behind this door.
 */
#ifndef CSI_FORMATS_MODEL_FILE_H
#define CSI_FORMATS_MODEL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "graph/graph.h"

struct csi_model_file_options {
    const char *path; /* shown in messages, and where class_to_idx.json is looked for beside; NULL: none */
    const char *classes_path; /* class_to_idx.json that wins; NULL: metadata, else beside the model, else
                                 "class_0", … */
    uint32_t input_size;      /* 0: what the file says, else 224 */
    const struct csi_preprocess *preprocess; /* when converting: written instead of what the file says; its
                                                crop is the input's size; NULL: what the file says */
    const char *gradcam_layer; /* when converting: the layer of the maps instead of what the file says; NULL:
                                  what the file says */
    const char *metadata_json; /* when converting: a JSON object of strings put over the file's metadata;
                                  NULL: none */
    /* When converting: tensors that are no part of the network, put over those of the file (of the prefix
     * that they share). */
    const struct csi_tensor *extras;
    size_t extra_count;
    const char *extra_prefix;
};

/* Recognises the format by content and reads it. `bytes` may be freed afterwards. `*digest` is BLAKE2b-256 of
 * the bytes. Nothing is executed. CS_MODEL_INVALID / CS_MODEL_UNSUPPORTED say what and where. Thread-safe. */
enum cs_status csi_model_file_read(const uint8_t *bytes, size_t size,
                                   const struct csi_model_file_options *options, struct csi_graph **graph,
                                   struct csi_hash *digest, struct cs_error *error);

/* The native file: tensors by their original state_dict names and metadata. Only graphs that were read from
 * named weights
 * (`source`, kept by the reader) can be written; see csi_model_file_convert. */
enum cs_status csi_model_file_convert(const uint8_t *bytes, size_t size,
                                      const struct csi_model_file_options *options, uint8_t **out,
                                      size_t *out_size, struct cs_error *error);

/* The shipped models, embedded at build time. `name`: "" or NULL for the default, "lite". NULL when it is not
 * embedded. */
const uint8_t *csi_embedded_model(const char *name, size_t *size);
/* The digest of such bytes, which the build computed. False: they are no embedded model, or the build could
 * not.
 */
bool csi_embedded_digest(const uint8_t *bytes, struct csi_hash *digest);

#endif
