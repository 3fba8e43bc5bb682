/*
 * WebP through libwebp. Owns the calls into it; animations are refused, because a diagnosis is of one photo.
 */
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/encode.h>

#include "base/checked.h"
#include "base/memory.h"
#include "image/decoder.h"
#include "image/format.h"

static enum cs_status fail_with(VP8StatusCode code, struct cs_error *error)
{
    switch (code) {
    case VP8_STATUS_USER_ABORT: /* nobody aborts here: libwebp's word for output buffers that it could not get
                                 */
    case VP8_STATUS_OUT_OF_MEMORY: return csi_fail_memory(error, "WebP image");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return csi_fail(error, CS_UNSUPPORTED_FORMAT, "WebP: a feature that libwebp does not know");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA: return csi_fail(error, CS_CORRUPT_IMAGE, "WebP: the file ends early");
    default: return csi_fail(error, CS_CORRUPT_IMAGE, "WebP: damaged bit stream");
    }
}

static enum cs_status read_features(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                                    WebPBitstreamFeatures *features, struct cs_error *error)
{
    VP8StatusCode code = WebPGetFeatures(bytes, size, features);

    if (code != VP8_STATUS_OK)
        return fail_with(code, error);
    if (features->has_animation)
        return csi_fail(error, CS_UNSUPPORTED_FORMAT, "an animated WebP: send a single photo");
    if (features->width <= 0 || features->height <= 0)
        return csi_fail(error, CS_CORRUPT_IMAGE, "WebP: no size in the header");
    return csi_format_check_size((uint64_t)features->width, (uint64_t)features->height, limits, error);
}

enum cs_status csi_webp_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                              uint32_t *width, uint32_t *height, struct cs_error *error)
{
    WebPBitstreamFeatures features;
    enum cs_status status = read_features(bytes, size, limits, &features, error);

    if (status == CS_OK) {
        *width = (uint32_t)features.width;
        *height = (uint32_t)features.height;
    }
    return status;
}

static enum cs_status push_rows(const uint8_t *pixels, size_t stride, uint32_t width, uint32_t height,
                                bool alpha, const struct csi_row_sink *sink, struct cs_error *error)
{
    size_t rgb_stride = (size_t)width * 3;
    uint8_t *rgb = alpha ? csi_aligned_calloc(rgb_stride * CSI_ROW_BATCH + CSI_IMAGE_PADDING) : NULL;
    enum cs_status status = alpha && rgb == NULL ? csi_fail_memory(error, "WebP rows") : CS_OK;

    if (status == CS_OK)
        status = sink->begin(sink->context, width, height, error);
    for (uint32_t y = 0; status == CS_OK && y < height; y += CSI_ROW_BATCH) {
        uint32_t count = height - y < CSI_ROW_BATCH ? height - y : CSI_ROW_BATCH;

        if (alpha)
            for (uint32_t i = 0; i < count; i++)
                csi_compose_on_white(pixels + (y + i) * stride, rgb + i * rgb_stride, width);
        status = alpha ? sink->rows(sink->context, rgb, rgb_stride, count, error)
                       : sink->rows(sink->context, pixels + y * stride, stride, count, error);
    }
    csi_aligned_free(rgb);
    return status;
}

enum cs_status csi_webp_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                               struct cs_error *error)
{
    WebPDecoderConfig config;
    WebPBitstreamFeatures features;
    VP8StatusCode code;
    uint32_t width, height;
    size_t stride, size;
    uint8_t *pixels = NULL;
    enum cs_status status = read_features(job->bytes, job->size, job->limits, &features, error);

    if (status != CS_OK)
        return status;
    if (!WebPInitDecoderConfig(&config))
        return csi_fail(error, CS_INTERNAL, "libwebp's version does not match its header");
    width = csi_scaled_side((uint32_t)features.width, job->eighths);
    height = csi_scaled_side((uint32_t)features.height, job->eighths);
    stride = (size_t)width * (features.has_alpha ? 4 : 3);
    if (csi_mul_overflows(stride, height, &size) || csi_add_overflows(size, CSI_IMAGE_PADDING, &size))
        return csi_fail_memory(error, "WebP image");
    pixels = csi_aligned_alloc(size);
    if (pixels == NULL)
        return csi_fail_memory(error, "WebP image");
    memset(pixels + size - CSI_IMAGE_PADDING, 0, CSI_IMAGE_PADDING);
    config.options.use_scaling = job->eighths != 8;
    config.options.scaled_width = (int)width;
    config.options.scaled_height = (int)height;
    config.output.colorspace = features.has_alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = size - CSI_IMAGE_PADDING;
    code = WebPDecode(job->bytes, job->size, &config);
    status = code == VP8_STATUS_OK ? push_rows(pixels, stride, width, height, features.has_alpha, sink, error)
                                   : fail_with(code, error);
    WebPFreeDecBuffer(&config.output);
    csi_aligned_free(pixels);
    return status;
}

static int write_bytes(const uint8_t *bytes, size_t size, const WebPPicture *picture)
{
    struct csi_buffer *out = picture->custom_ptr;

    csi_buffer_append(out, bytes, size);
    return !out->failed;
}

enum cs_status csi_image_encode_webp(const cs_image *image, int quality, struct csi_buffer *out,
                                     struct cs_error *error)
{
    WebPConfig config;
    WebPPicture picture;
    enum cs_status status = CS_OK;

    if (quality < 1 || quality > 100)
        return csi_fail(error, CS_BAD_REQUEST, "a WebP quality of %d: 1 to 100", quality);
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION)
        return csi_fail(error, CS_BAD_REQUEST, "%u x %u pixels: WebP holds %d a side", (unsigned)image->width,
                        (unsigned)image->height, WEBP_MAX_DIMENSION);
    if (!WebPConfigInit(&config) || !WebPPictureInit(&picture))
        return csi_fail(error, CS_INTERNAL, "libwebp's version does not match its header");
    config.quality = (float)quality;
    config.method =
        1; /* heat maps are made while a user waits: 3 times as fast as the default, a few percent bigger */
    picture.width = (int)image->width;
    picture.height = (int)image->height;
    picture.writer = write_bytes;
    picture.custom_ptr = out;
    if (!WebPPictureImportRGB(&picture, image->pixels, (int)image->stride) ||
        !WebPEncode(&config, &picture)) {
        if (out->failed || picture.error_code == VP8_ENC_ERROR_OUT_OF_MEMORY ||
            picture.error_code == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY)
            status = csi_fail_memory(error, "WebP output");
        else
            status = csi_fail(error, CS_INTERNAL, "WebP: encoder error %d", (int)picture.error_code);
    }
    WebPPictureFree(&picture);
    return status;
}
