/*
 * EXIF orientation. Owns finding the EXIF block inside JPEG, PNG and WebP; libexif reads it. Nothing else of
 * the metadata is looked at or kept.
 */
#ifndef CSI_IMAGE_EXIF_H
#define CSI_IMAGE_EXIF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* `*orientation` 1…8; 1 when there is no EXIF block or it is damaged (a photo is not refused for its
 * metadata). Fails only with CS_INTERNAL (no memory). */
enum cs_status csi_exif_orientation(enum cs_image_format format, const uint8_t *bytes, size_t size,
                                    int *orientation, struct cs_error *error);

#endif
