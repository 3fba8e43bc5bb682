/*
 * What the image fuzz targets share: an input is read in all ways under small limits, so that a run is short.
 */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include <stdlib.h>

#include "base/cpu.h"
#include "image/format.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static inline void csi_fuzz_check(enum cs_status status, const cs_image *image, const struct cs_error *error)
{
    if ((status == CS_OK) != (image != NULL) ||
        (status != CS_OK && (error->status != status || error->message[0] == '\0')))
        abort();
}

static inline int csi_fuzz_image(enum cs_image_format wanted, const uint8_t *bytes, size_t size)
{
    struct csi_display_options options = {
        {.max_bytes = 1u << 20, .max_pixels = 1u << 18, .max_side = 2048, .max_jpeg_scans = 12},
        CS_DECODE_FAST,
        40,
        csi_cpu()->features,
        (size & 1) != 0};
    enum cs_image_format format;
    struct cs_image_info info;
    struct cs_error error = {CS_OK, ""};
    cs_image *image = NULL;
    double decode_ms, resize_ms;
    enum cs_status status;

    if (csi_format_recognise(bytes, size, &options.limits, &format, NULL) != CS_OK || format != wanted)
        return 0;
    status = csi_image_load_display(bytes, size, &options, &image, &info, &decode_ms, &resize_ms, &error);
    csi_fuzz_check(status, image, &error);
    csi_image_destroy(image);
    status = csi_image_decode(bytes, size, &options.limits, &image, &info, &error);
    csi_fuzz_check(status, image, &error);
    if (status == CS_OK && (image->width != info.width || image->height != info.height))
        abort();
    csi_image_destroy(image);
    return 0;
}

#endif
