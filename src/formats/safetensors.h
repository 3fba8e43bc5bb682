/*
 * The native file: safetensors (https://huggingface.co/docs/safetensors) with string metadata. Internal to
 * the formats floor.
 */
#ifndef CSI_FORMATS_SAFETENSORS_H
#define CSI_FORMATS_SAFETENSORS_H

#include "base/buffer.h"
#include "formats/tensors.h"

/* True when the bytes begin like one. */
bool csi_is_safetensors(const uint8_t *bytes, size_t size);

/* Pure function of the bytes. `set` is initialised by the caller and keeps what was read so far on failure.
 * When the metadata state a `digest`, the data section must have it. */
enum cs_status csi_safetensors_read(const uint8_t *bytes, size_t size, struct csi_tensor_set *set,
                                    struct cs_error *error);

/* Appends the file: tensors in order, float16 where they were float16, else float32; `digest` is added to the
 * metadata. */
enum cs_status csi_safetensors_write(const struct csi_tensor_set *set, struct csi_buffer *out,
                                     struct cs_error *error);

#endif
