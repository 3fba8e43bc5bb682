/*
 * The shipped models as bytes in the binary. Owns the names they go by; the build embeds the files
 * (cmake/Embed.cmake).
 */
#include <string.h>

#include "formats/model_file.h"

extern const uint8_t csi_blob_model_default[];
extern const size_t csi_blob_model_default_size;
#ifdef CSI_HAVE_LITE
extern const uint8_t csi_blob_model_lite[];
extern const size_t csi_blob_model_lite_size;
#endif

const uint8_t *csi_embedded_model(const char *name, size_t *size)
{
    if (name == NULL || name[0] == '\0') {
        *size = csi_blob_model_default_size;
        return csi_blob_model_default;
    }
#ifdef CSI_HAVE_LITE
    if (strcmp(name, "lite") == 0) {
        *size = csi_blob_model_lite_size;
        return csi_blob_model_lite;
    }
#endif
    *size = 0;
    return NULL;
}

bool csi_embedded_digest(const uint8_t *bytes, struct csi_hash *digest)
{
    if (bytes == csi_blob_model_default)
        return csi_hash_from_hex(CSI_MODEL_DIGEST, digest) != 0;
#ifdef CSI_HAVE_LITE
    if (bytes == csi_blob_model_lite)
        return csi_hash_from_hex(CSI_LITE_DIGEST, digest) != 0;
#endif
    return false;
}
