/*
 * Winograd products: a position's and an output block's, panel by panel. In which order, which channels at a
 * time, and what is fetched meanwhile; arithmetic is the instruction sets' part.
 */
#include "kernels/wino_panels.h"

/* F(8,3): input channels whose products are added up before they join the others. Its output transform
 * magnifies the rounding errors of sums, which grow with their length. */
#define SUM_CHANNELS 64u
/* Split numbers: input channels whose weights for an output block stay in the first-level cache, 16 KiB. */
#define SPLIT_CHANNELS 128u

/* A panel's product as csi_wino_gemm_fn makes it, but with the sums of `parts` parts of the channels made
 * apart. */
static void multiply_in_parts(const struct csi_wino_shape *shape, size_t parts, size_t rows, const float *v,
                              const float *w, float *m, const float *ahead, size_t ahead_lines)
{
    const size_t blocks = shape->kpitch / CSI_WINO_BLOCK, lanes = shape->ops->lanes;
    for (size_t i = 0; i < parts; i++) {
        const size_t first = csi_wino_part(blocks, parts, i), k = first * CSI_WINO_BLOCK;
        shape->ops->row_gemm(rows, csi_wino_part(blocks, parts, i + 1) - first, v + k * rows, w + k * lanes,
                             lanes, m, i > 0, ahead + k * 4 * ahead_lines, ahead_lines);
    }
}

/* How many parts of the channels csi_wino_multiply() adds up one after the other. */
static size_t channel_parts(const struct csi_wino_shape *shape)
{
    if (shape->ops->split)
        return (shape->kpitch + SPLIT_CHANNELS - 1) / SPLIT_CHANNELS;
    if (shape->size == CSI_WINO_8 && !shape->fixed)
        return (shape->kpitch + SUM_CHANNELS - 1) / SUM_CHANNELS;
    return 1;
}

/* Split numbers: parts outside, so that a part's weights stay in the first-level cache from panel to panel.
 */
static void multiply_split(const struct csi_wino_shape *shape, const float *v, const float *w,
                           const float *next, float *m, size_t tiles)
{
    const struct csi_wino_ops *ops = shape->ops;
    const size_t panels = csi_wino_panels(shape, tiles), parts = channel_parts(shape);
    const size_t blocks = csi_wino_split_pitch(shape) / CSI_WINO_SPLIT_BLOCK, lines = ops->lanes / 4,
                 share = (lines + panels - 1) / panels;
    ops->begin(csi_wino_panel_rows(shape, tiles));
    for (size_t i = 0; i < parts; i++) {
        const size_t k = csi_wino_part(blocks, parts, i) * CSI_WINO_SPLIT_BLOCK,
                     channels = csi_wino_part(blocks, parts, i + 1) * CSI_WINO_SPLIT_BLOCK - k;
        for (size_t p = 0; p < panels; p++) {
            const struct csi_wino_panel panel = csi_wino_panel_at(shape, tiles, p);
            ops->row_gemm(panel.rows, channels / CSI_WINO_BLOCK,
                          v + csi_wino_panel_offset(shape, p, panel.start) + k * panel.rows,
                          w + k * ops->lanes, ops->lanes, m + panel.start * ops->lanes, i > 0,
                          next + (p * share * blocks * 8 + k / 4 * share) * 16,
                          p * share < lines ? share : 0);
        }
    }
}

void csi_wino_multiply(const struct csi_wino_shape *shape, struct csi_wino_factors factors,
                       struct csi_wino_factors next, float *m, size_t tiles)
{
    const struct csi_wino_ops *ops = shape->ops;
    if (ops->split) {
        multiply_split(shape, factors.v, factors.w, next.w, m, tiles);
        return;
    }
    if (shape->fixed && shape->fixed->multiply) {
        shape->fixed->multiply(shape, factors, next, m, tiles);
        return;
    }
    csi_wino_gemm_fn *gemm = shape->fixed ? shape->fixed->gemm : ops->gemm;
    /* Weights come next in `lines` cache lines for every 4 channels (8 in fixed point); each panel fetches
     * its share. */
    const size_t panels = csi_wino_panels(shape, tiles), lines = ops->lanes / 4,
                 share = (lines + panels - 1) / panels;
    const size_t steps = shape->kpitch / (shape->fixed ? 8 : 4);
    const size_t parts = channel_parts(shape);
    for (size_t p = 0; p < panels; p++) {
        const struct csi_wino_panel panel = csi_wino_panel_at(shape, tiles, p);
        const float *from = factors.v + csi_wino_panel_offset(shape, p, panel.start),
                    *ahead = next.w + p * share * steps * 16;
        const size_t ahead_lines = p * share < lines ? share : 0;
        float *to = m + panel.start * ops->lanes;
        if (parts > 1)
            multiply_in_parts(shape, parts, panel.rows, from, factors.w, to, ahead, ahead_lines);
        else
            gemm(panel.rows, shape->kpitch / CSI_WINO_BLOCK, from, factors.w, to, ahead, ahead_lines);
    }
}
