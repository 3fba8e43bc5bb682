/*
 * Resampling: Pillow's definition, computed row by row as the rows arrive. Internal to the image floor.
 *
 * Pillow (src/libImaging/Resample.c): separable; a horizontal pass to 8 bits, then a vertical pass to 8 bits;
 * the filter's support grows with the reduction (antialiasing); weights are normalised in double and rounded
 * to 22 fractional bits. All integer from there on, so every version here gives the same bytes as the plain C
 * one.
 *
 * A kernel, its tile and its packed weights are one unit: csi_resample_kernels names them together.
 */
#ifndef CSI_IMAGE_RESAMPLE_H
#define CSI_IMAGE_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

#define CSI_RESAMPLE_BITS 22
/* The most rows that a horizontal kernel takes at once. */
#define CSI_RESAMPLE_ROWS 16u

/* The weights of one direction. Output i of [0, count) reads inputs start[i] … start[i] + taps[i] - 1. */
struct csi_resample_axis {
    uint32_t count;    /* outputs */
    uint32_t max_taps; /* the most that any output has */
    uint32_t *start, *taps;
    int32_t *weights;  /* count × max_taps, 22 fractional bits, zero behind taps[i] */
    void *packed;      /* the same as the kernel wants it */
    size_t packed_row; /* bytes of one output in `packed` */
};

struct csi_resample_kernels {
    const char *name;
    uint32_t rows;  /* that `horizontal` takes at once */
    uint32_t align; /* of inputs in `horizontal`'s packed weights: a power of two, at most 4 */
    size_t (*packed_row)(uint32_t max_taps);
    /* One output's `taps` weights; `packed` is all zeros before. `lead` zeros come first: what start is over
     * a multiple of `align`, horizontally; 0 vertically. */
    void (*pack)(const int32_t *weights, uint32_t taps, uint32_t lead, void *packed);
    /* `rows` rows of RGB to axis->count pixels each. Reads up to CSI_IMAGE_PADDING bytes behind a
     * row's end, writes exactly 3·count bytes a row. The rows of `to` are distinct; those of `from` need not
     * be. */
    void (*horizontal)(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to);
    /* One output row of `size` bytes from `taps` rows; `packed` is that output's packed row. Reads up to
     * CSI_IMAGE_PADDING bytes behind a row's end, writes exactly `size` bytes. */
    void (*vertical)(const void *packed, const uint8_t *const *rows, uint32_t taps, uint8_t *to, size_t size);
};

const struct csi_resample_kernels *csi_resample_kernels_c(void);
const struct csi_resample_kernels *csi_resample_kernels_avx2(void);
const struct csi_resample_kernels *csi_resample_kernels_avx512vnni(void);
const struct csi_resample_kernels *csi_resample_kernels_neon(void);
/* The best of this build that `cpu_features` (base/cpu.h) allows. */
const struct csi_resample_kernels *csi_resample_choose(uint32_t cpu_features);

/* Weights of outputs [first, first + count) of an `in` -> `out` resize, packed for the horizontal or the
 * vertical kernel. */
enum cs_status csi_resample_axis_init(struct csi_resample_axis *axis, uint32_t in, uint32_t out,
                                      uint32_t first, uint32_t count, enum cs_filter filter,
                                      const struct csi_resample_kernels *kernels, bool horizontal,
                                      struct cs_error *error);
void csi_resample_axis_free(struct csi_resample_axis *axis);

/* A resize under way. Rows of the input go in from the top; finished rows of the output appear in `target`.
 */
struct csi_resampler;

/* What to compute: the window (left, top, target's width and height) of the in_width×in_height ->
 * out_width×out_height resize. */
struct csi_resample_plan {
    uint32_t in_width, in_height, out_width, out_height, left, top;
    enum cs_filter filter;
    uint32_t cpu_features;
    bool columns_first; /* the vertical pass first: what Pillow computes when the result is to be turned by
                           90° */
};

/* `target` is borrowed and filled. */
enum cs_status csi_resampler_create(const struct csi_resample_plan *plan, cs_image *target,
                                    struct csi_resampler **resampler, struct cs_error *error);
/* The next `count` rows, `stride` bytes apart, CSI_IMAGE_PADDING readable bytes behind the last. */
void csi_resampler_push(struct csi_resampler *resampler, const uint8_t *rows, size_t stride, uint32_t count);
void csi_resampler_destroy(struct csi_resampler *resampler);

#endif
