/*
 * What a photo shows without any network: brightness, sharpness, leaf-like colour and texture. Owns the
 * measures and the photo coach's words; their limits are the model file's (gate.h).
 */
#ifndef CSI_DIAGNOSIS_CONTENT_H
#define CSI_DIAGNOSIS_CONTENT_H

#include "image/image.h"

/* Values are bits of a record: they keep their numbers. */
enum csi_hint {
    CSI_HINT_BLURRED = 0,
    CSI_HINT_TOO_DARK = 1,
    CSI_HINT_TOO_BRIGHT = 2,
    CSI_HINT_LEAF_TOO_SMALL = 3
};
#define CSI_HINT_COUNT 4u

/* "blurred", "too_dark", "too_bright", "leaf_too_small". */
const char *csi_hint_name(enum csi_hint hint);

struct csi_content {
    float luminance; /* mean, 0…255 */
};

/* Measures a display image. Thread-safe. */
void csi_content_measure(const cs_image *image, struct csi_content *content);

#endif
