/*
 * From encoded bytes to an image: recognise, check, decode, resample on the way, turn upright. Owns the order
 * of these steps and their clocks; formats and filters are next door.
 */
#include "base/clock.h"
#include "image/beside.h"
#include "image/decoder.h"
#include "image/exif.h"
#include "image/format.h"
#include "image/image.h"
#include "image/resample.h"

#include <string.h>

/* Header, orientation: everything about the file but its pixels. `width`, `height` as stored. */
static enum cs_status read_header(const void *bytes, size_t size, const struct cs_limits *limits,
                                  struct cs_image_info *info, uint32_t *width, uint32_t *height,
                                  struct cs_error *error)
{
    enum cs_status status;

    memset(info, 0, sizeof *info);
    status = csi_format_recognise(bytes, size, limits, &info->format, error);
    if (status != CS_OK)
        return status;
    switch (info->format) {
    case CS_FORMAT_JPEG: status = csi_jpeg_probe(bytes, size, limits, width, height, error); break;
    case CS_FORMAT_PNG: status = csi_png_probe(bytes, size, limits, width, height, error); break;
    default: status = csi_webp_probe(bytes, size, limits, width, height, error); break;
    }
    if (status == CS_OK)
        status = csi_exif_orientation(info->format, bytes, size, &info->orientation, error);
    if (status != CS_OK)
        return status;
    info->width = info->orientation >= 5 ? *height : *width;
    info->height = info->orientation >= 5 ? *width : *height;
    return CS_OK;
}

enum cs_status csi_image_probe(const void *bytes, size_t size, const struct cs_limits *limits,
                               struct cs_image_info *info, struct cs_error *error)
{
    uint32_t width, height;

    return read_header(bytes, size, limits, info, &width, &height, error);
}

static enum cs_status decode_rows(const struct cs_image_info *info, const struct csi_decode_job *job,
                                  const struct csi_row_sink *sink, struct cs_error *error)
{
    switch (info->format) {
    case CS_FORMAT_JPEG: return csi_jpeg_decode(job, sink, error);
    case CS_FORMAT_PNG: return csi_png_decode(job, sink, error);
    default: return csi_webp_decode(job, sink, error);
    }
}

/* ---- the whole image ---- */

struct whole {
    cs_image *image;
    uint32_t made;
};

static enum cs_status begin_whole(void *context, uint32_t width, uint32_t height, struct cs_error *error)
{
    struct whole *whole = context;

    return csi_image_create(width, height, &whole->image, error);
}

static enum cs_status take_whole(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                                 struct cs_error *error)
{
    struct whole *whole = context;

    (void)error;
    for (uint32_t i = 0; i < count; i++, whole->made++)
        memcpy(whole->image->pixels + whole->made * whole->image->stride, pixels + i * stride,
               whole->image->stride);
    return CS_OK;
}

enum cs_status csi_image_decode(const void *bytes, size_t size, const struct cs_limits *limits,
                                cs_image **image, struct cs_image_info *info, struct cs_error *error)
{
    struct whole whole = {NULL, 0};
    struct csi_row_sink sink = {begin_whole, take_whole, &whole, NULL};
    struct csi_decode_job job = {bytes, size, limits, 8};
    uint32_t width, height;
    enum cs_status status;

    *image = NULL;
    status = read_header(bytes, size, limits, info, &width, &height, error);
    if (status == CS_OK)
        status = decode_rows(info, &job, &sink, error);
    if (status == CS_OK)
        status = csi_image_orient(whole.image, info->orientation, error);
    if (status != CS_OK) {
        csi_image_destroy(whole.image);
        return status;
    }
    *image = whole.image;
    return CS_OK;
}

/* ---- display size, row by row ---- */

struct display {
    const struct csi_display_options *options;
    bool turned; /* by 90° in the end */
    struct csi_resampler *resampler;
    cs_image *target;
    uint64_t resize_ns;
};

static enum cs_status begin_display(void *context, uint32_t width, uint32_t height, struct cs_error *error)
{
    struct display *display = context;
    uint64_t start = csi_now_ns();
    struct csi_resample_plan plan = {.in_width = width,
                                     .in_height = height,
                                     .out_width = display->target->width,
                                     .out_height = display->target->height,
                                     .filter = CS_FILTER_LANCZOS,
                                     .cpu_features = display->options->cpu_features,
                                     .columns_first = display->turned};
    enum cs_status status = csi_resampler_create(&plan, display->target, &display->resampler, error);

    display->resize_ns += csi_now_ns() - start;
    return status;
}

static enum cs_status take_display(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                                   struct cs_error *error)
{
    struct display *display = context;
    uint64_t start = csi_now_ns();

    (void)error;
    csi_resampler_push(display->resampler, pixels, stride, count);
    display->resize_ns += csi_now_ns() - start;
    return CS_OK;
}

/* Decodes here while the rows are taken on another thread. */
static enum cs_status decode_beside(const struct cs_image_info *info, const struct csi_decode_job *job,
                                    const struct csi_row_sink *sink, struct cs_error *error)
{
    struct csi_beside *beside;
    struct csi_row_sink outer;
    enum cs_status status = csi_beside_create(sink, &beside, &outer, error), taken;

    if (status != CS_OK)
        return status;
    status = decode_rows(info, job, &outer, error);
    taken = csi_beside_finish(beside, status == CS_OK ? error : NULL);
    return status != CS_OK ? status : taken;
}

/* The smallest scaled decode that keeps both sides at least twice what is displayed: from there Lanczos gives
 * what it gives from the full size, to the eye. Powers of two alone, because only those have vector code in
 * libjpeg-turbo. A 12 MP photo took 19.7, 21.4, 23.3 and 29.5 ms at 1/8, 2/8, 4/8 and 8/8, but 27 at 3/8 and
 * 39 to 55 at 5/8 to 7/8. */
unsigned csi_display_eighths(uint32_t width, uint32_t height, uint32_t max_side)
{
    uint32_t display_width, display_height;

    csi_display_size(width, height, max_side, &display_width, &display_height);
    for (unsigned eighths = 1; eighths < 8; eighths *= 2)
        if (csi_scaled_side(width, eighths) >= 2 * display_width &&
            csi_scaled_side(height, eighths) >= 2 * display_height)
            return eighths;
    return 8;
}

enum cs_status csi_image_load_display(const void *bytes, size_t size,
                                      const struct csi_display_options *options, cs_image **image,
                                      struct cs_image_info *info, double *decode_ms, double *resize_ms,
                                      struct cs_error *error)
{
    struct display display = {.options = options};
    struct csi_row_sink sink = {begin_display, take_display, &display, NULL};
    struct csi_decode_job job = {bytes, size, &options->limits, 8};
    uint32_t width, height, display_width, display_height;
    uint64_t start = csi_now_ns(), turn;
    enum cs_status status;

    *image = NULL;
    *decode_ms = *resize_ms = 0.0;
    status = read_header(bytes, size, &options->limits, info, &width, &height, error);
    if (status != CS_OK)
        return status;
    display.turned = info->orientation >= 5;
    /* In stored orientation: turning the small image at the end is cheaper than turning the photo, and the
     * display size of a turned photo is the turned display size. */
    csi_display_size(width, height, options->max_side, &display_width, &display_height);
    status = csi_image_create(display_width, display_height, &display.target, error);
    if (status != CS_OK)
        return status;
    job.eighths =
        options->mode == CS_DECODE_EXACT ? 8 : csi_display_eighths(width, height, options->max_side);
    if (options->beside)
        status = decode_beside(info, &job, &sink, error);
    else
        status = decode_rows(info, &job, &sink, error);
    *decode_ms = csi_ms_since(start) - (options->beside ? 0 : (double)display.resize_ns / 1e6);
    turn = csi_now_ns();
    if (status == CS_OK)
        status = csi_image_orient(display.target, info->orientation, error);
    *resize_ms = (double)display.resize_ns / 1e6 + csi_ms_since(turn);
    csi_resampler_destroy(display.resampler);
    if (status != CS_OK) {
        csi_image_destroy(display.target);
        return status;
    }
    *image = display.target;
    return CS_OK;
}
