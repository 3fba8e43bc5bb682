/*
 * The public image functions (section 5 of cropshield.h): thin wrappers that fill in defaults.
 */
#include <stdlib.h>

#include "base/cpu.h"
#include "image/format.h"
#include "image/image.h"

struct cs_limits cs_limits_defaults(void)
{
    return csi_limits_complete(NULL);
}

enum cs_status cs_image_probe(const void *bytes, size_t size, const struct cs_limits *limits,
                              struct cs_image_info *info, struct cs_error *error)
{
    struct cs_limits all = csi_limits_complete(limits);
    struct cs_image_info own;

    csi_error_clear(error);
    return csi_image_probe(bytes, size, &all, info == NULL ? &own : info, error);
}

enum cs_status cs_image_decode(const void *bytes, size_t size, const struct cs_limits *limits,
                               cs_image **image, struct cs_image_info *info, struct cs_error *error)
{
    struct cs_limits all = csi_limits_complete(limits);
    struct cs_image_info own;

    csi_error_clear(error);
    return csi_image_decode(bytes, size, &all, image, info == NULL ? &own : info, error);
}

enum cs_status cs_image_decode_display(const void *bytes, size_t size, const struct cs_limits *limits,
                                       enum cs_decode_mode mode, uint32_t max_side, cs_image **image,
                                       struct cs_image_info *info, struct cs_error *error)
{
    struct csi_display_options options = {csi_limits_complete(limits), mode, max_side, csi_cpu()->features,
                                          false};
    struct cs_image_info own;
    double decode_ms, resize_ms;

    csi_error_clear(error);
    *image = NULL;
    if (max_side == 0)
        return csi_fail(error, CS_BAD_REQUEST, "a display size of 0 pixels");
    if (mode != CS_DECODE_FAST && mode != CS_DECODE_EXACT)
        return csi_fail(error, CS_BAD_REQUEST, "no mode to decode in: %d", (int)mode);
    return csi_image_load_display(bytes, size, &options, image, info == NULL ? &own : info, &decode_ms,
                                  &resize_ms, error);
}

enum cs_status cs_image_from_pixels(const uint8_t *pixels, uint32_t width, uint32_t height, size_t stride,
                                    cs_image **image, struct cs_error *error)
{
    csi_error_clear(error);
    return csi_image_from_pixels(pixels, width, height, stride, image, error);
}

enum cs_status cs_image_resize(const cs_image *image, uint32_t width, uint32_t height, enum cs_filter filter,
                               cs_image **resized, struct cs_error *error)
{
    csi_error_clear(error);
    if (filter != CS_FILTER_BILINEAR && filter != CS_FILTER_LANCZOS) {
        *resized = NULL;
        return csi_fail(error, CS_BAD_REQUEST, "no filter to resample with: %d", (int)filter);
    }
    return csi_image_resize(image, width, height, filter, csi_cpu()->features, resized, error);
}

uint32_t cs_image_width(const cs_image *image)
{
    return image->width;
}

uint32_t cs_image_height(const cs_image *image)
{
    return image->height;
}

const uint8_t *cs_image_pixels(const cs_image *image, size_t *stride)
{
    if (stride != NULL)
        *stride = image->stride;
    return image->pixels;
}

void cs_image_destroy(cs_image *image)
{
    csi_image_destroy(image);
}

void cs_blob_destroy(struct cs_blob *blob)
{
    if (blob == NULL)
        return;
    free(blob->bytes);
    blob->bytes = NULL;
    blob->size = 0;
}

enum cs_status cs_image_encode(const cs_image *image, enum cs_image_format format, int quality,
                               struct cs_blob *blob, struct cs_error *error)
{
    struct csi_buffer out;
    enum cs_status status;

    csi_error_clear(error);
    csi_buffer_init(&out);
    blob->bytes = NULL;
    blob->size = 0;
    switch (format) {
    case CS_FORMAT_PNG: status = csi_image_encode_png(image, NULL, &out, error); break;
    case CS_FORMAT_JPEG: status = csi_image_encode_jpeg(image, quality, &out, error); break;
    case CS_FORMAT_WEBP: status = csi_image_encode_webp(image, quality, &out, error); break;
    default: status = csi_fail(error, CS_BAD_REQUEST, "no image format to encode"); break;
    }
    if (status != CS_OK) {
        csi_buffer_free(&out);
        return status;
    }
    blob->bytes = out.bytes;
    blob->size = out.size;
    return CS_OK;
}
