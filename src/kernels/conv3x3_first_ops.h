/*
 * Inside the first-layer family: what an instruction set provides to the driver
 * (generic/conv3x3_first_driver.c).
 *
 * Packed weights: bias [blocks × CSI_FIRST_LANES], then [block][input channel][3][3][CSI_FIRST_LANES].
 */
#ifndef CSI_KERNELS_CONV3X3_FIRST_OPS_H
#define CSI_KERNELS_CONV3X3_FIRST_OPS_H

#include "kernels/wino_ops.h"

#define CSI_FIRST_LANES 32u /* output channels of a block */

/* One row of output and one block of channels. lines: 3 × cin input rows (channel-major), zero-padded by a
 * pixel on both sides, `line_pitch` floats apart. out: the row's first pixel at the block's channel, `pitch`
 * floats a pixel; `lanes` (16 or 32) channels are stored. */
struct csi_first_row {
    const float *lines, *weights, *bias;
    float *out;
    size_t line_count, line_pitch, width, pitch, lanes;
    bool relu;
};

struct csi_conv_first {
    const char *name;
    uint32_t features;
    void (*row)(const struct csi_first_row *row);
};

/* Columns first … first + count - 1 of row y of the output of one image (NCHW), to `out`; `lines`:
 * csi_conv_first_scratch_size(desc, 1) bytes. */
void csi_conv_first_row(const struct csi_conv_first *kernel, const struct csi_wino_desc *desc,
                        const void *packed, const float *image, size_t y, size_t first, size_t count,
                        float *out, float *lines);

extern const struct csi_conv_first csi_conv_first_generic, csi_conv_first_avx2, csi_conv_first_avx512,
    csi_conv_first_neon;

#endif
