/*
 * What a photo shows without any network: leaf-like colour, brightness, sharpness, texture, counted over the
 * square that the network sees. Owns the measures and the photo coach's words; what they mean for a verdict
 * is the model file's (gate.h).
 *
 * The definitions are training's (training/README.md); its Python and this C agree to the last bits of a
 * double, because both sum integers.
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

/* Shares are of all pixels, slopes of those that have four neighbours. */
enum csi_feature {
    CSI_FEATURE_LEAF,         /* share of yellow-brown to green pixels */
    CSI_FEATURE_GREEN,        /* share of green pixels */
    CSI_FEATURE_EXCESS_GREEN, /* mean of 2G - R - B, over 255 */
    CSI_FEATURE_LUMA_MEAN,    /* over 255 */
    CSI_FEATURE_LUMA_STD,     /* over 255 */
    CSI_FEATURE_SHARPNESS,    /* log(1 + variance of the Laplacian) */
    CSI_FEATURE_EDGES,        /* share of steep slopes */
    CSI_FEATURE_DARK,         /* share of luma below 30 */
    CSI_FEATURE_BRIGHT,       /* share of luma above 235 */
    CSI_FEATURE_VIVID,        /* share of saturated pixels */
    CSI_FEATURE_FLAT,         /* share without any slope */
    CSI_FEATURE_HUE_ENTROPY,  /* of twelve hues, 0…1 */
    CSI_FEATURE_RED,          /* share */
    CSI_FEATURE_BLUE,         /* share */
    CSI_FEATURE_COUNT
};

/* "leaf", "green", …: as the parameters in a model file name them. */
const char *csi_feature_name(enum csi_feature feature);

struct csi_content {
    double values[CSI_FEATURE_COUNT];
};

/* Measures the network's crop. Thread-safe; allocates nothing. */
void csi_content_measure(const cs_image *crop, struct csi_content *content);

#endif
