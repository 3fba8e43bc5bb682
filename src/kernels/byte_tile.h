/*
 * The register tile of 8-bit convolutions, written once. A set's file includes its lanes_….h and
 * byte_lanes.h, defines BYTE_ROWS and BYTE_VECTORS and the vocabulary of dot products
 *
 *   quad, quad_weights   four input bytes for every lane; four weights of every lane
 *   dots_store, quad_load, quad_weights_load, dots_add (sum + quad · weights)
 *
 * beside that of byte_finish.h, and includes this.
 */
#ifndef CSI_KERNELS_BYTE_TILE_H
#define CSI_KERNELS_BYTE_TILE_H

#include "kernels/byte_finish.h"

/* Rows in fours: three register offsets (step, 2·step by the addressing mode, 3·step) serve every four. */
ALWAYS_INLINE const uint8_t *byte_row(const uint8_t *const *fours, const size_t r, size_t step, size_t step3)
{
    return fours[r / 4] + (r % 4 == 0 ? 0 : r % 4 == 1 ? step : r % 4 == 2 ? 2 * step : step3);
}

ALWAYS_INLINE void byte_quad(dots sum[BYTE_ROWS][BYTE_VECTORS], const uint8_t *const *fours, size_t step,
                             size_t step3, const int8_t *weights, const size_t rows, const size_t vectors)
{
    quad_weights w[BYTE_VECTORS];

    UNROLL
    for (size_t v = 0; v < vectors; v++)
        w[v] = quad_weights_load(weights + v * LANES * 4);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        const quad x = quad_load(byte_row(fours, r, step, step3));

        UNROLL
        for (size_t v = 0; v < vectors; v++)
            sum[r][v] = dots_add(sum[r][v], x, w[v]);
    }
}

ALWAYS_INLINE void byte_body(const struct csi_byte_tile *t, const size_t rows, const size_t vectors)
{
    const size_t step = t->row_step, step3 = 3 * step, line = vectors * LANES * 4;
    const int8_t *weights = t->weights;
    _Alignas(64) int32_t sums[BYTE_ROWS * BYTE_VECTORS * LANES];
    dots sum[BYTE_ROWS][BYTE_VECTORS];

    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        const dots start = dots_load(t->start + v * LANES);

        UNROLL
        for (size_t r = 0; r < rows; r++)
            sum[r][v] = start;
    }
    for (size_t tap = 0; tap < t->taps; tap++) {
        const uint8_t *in = t->in + t->offsets[tap];
        const uint8_t *fours[4] = {in, in + 4 * step, in + 8 * step, in + 12 * step};

        for (size_t left = t->quads; left > 0; left--) {
            byte_quad(sum, fours, step, step3, weights, rows, vectors);
            weights += line;
            UNROLL
            for (size_t i = 0; i < 4; i++)
                fours[i] += 4;
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            dots_store(sums + (r * vectors + v) * LANES, sum[r][v]);
    }
    byte_finish(t, sums);
}

#endif
