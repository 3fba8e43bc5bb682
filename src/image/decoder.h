/*
 * What the three decoders have in common: they push rows of RGB, top to bottom, into a sink. Internal to the
 * image floor.
 *
 * Rows are pushed rather than pulled because the libraries leave through longjmp when a file is damaged: this
 * way the jump never crosses a frame of ours that holds something.
 */
#ifndef CSI_IMAGE_DECODER_H
#define CSI_IMAGE_DECODER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "image/image.h"

/* Rows come in batches of up to so many. Small, so that a batch of a 12-megapixel photo stays in the
 * second-level cache. */
#define CSI_ROW_BATCH 16u

/* Where libjpeg-turbo is given rows at aligned addresses, its colour conversion writes past the caches, and
 * whoever reads them next waits for memory: rows of RGB therefore begin eight bytes behind an aligned
 * address, so far apart. Not a multiple of 4 KiB, because a cache holds few lines at the same place of pages.
 */
#define CSI_ROW_SHIFT 8u

static inline size_t csi_row_pitch(uint32_t width)
{
    size_t pitch = csi_round_up((size_t)width * 3, CSI_ALIGNMENT);

    return pitch % 4096 == 0 ? pitch + CSI_ALIGNMENT : pitch;
}

struct csi_row_sink {
    /* Called once, before the first row, with the size of what will be pushed (a scaled decode is smaller
     * than the file). */
    enum cs_status (*begin)(void *context, uint32_t width, uint32_t height, struct cs_error *error);
    /* `count` rows of `width` RGB pixels, `stride` bytes apart, CSI_IMAGE_PADDING readable bytes behind the
     * last. */
    enum cs_status (*rows)(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                           struct cs_error *error);
    void *context;
    /* NULL, or: where the next batch would best be decoded to (CSI_ROW_BATCH rows, csi_row_pitch apart), so
     * that the sink need not copy it. May be ignored. Called after `begin`. */
    uint8_t *(*room)(void *context);
};

/* `eighths`: decode at that many eighths of the size (1…8; sides round up); 8 decodes every pixel. */
struct csi_decode_job {
    const uint8_t *bytes;
    size_t size;
    const struct cs_limits *limits;
    unsigned eighths;
};

static inline uint32_t csi_scaled_side(uint32_t side, unsigned eighths)
{
    return (uint32_t)(((uint64_t)side * eighths + 7) / 8);
}

/* Headers: size as stored (orientation not applied), within the limits. */
enum cs_status csi_jpeg_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                              uint32_t *width, uint32_t *height, struct cs_error *error);
enum cs_status csi_png_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                             uint32_t *width, uint32_t *height, struct cs_error *error);
enum cs_status csi_webp_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                              uint32_t *width, uint32_t *height, struct cs_error *error);

/* Whole images. PNG ignores `eighths`. */
enum cs_status csi_jpeg_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                               struct cs_error *error);
enum cs_status csi_png_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                              struct cs_error *error);
enum cs_status csi_webp_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                               struct cs_error *error);

/* RGBA over white, as Pillow's paste with a mask rounds: `count` pixels. */
void csi_compose_on_white(const uint8_t *rgba, uint8_t *rgb, size_t count);

#endif
