/*
 * The register tile of 8-bit convolutions, written once. A set's file includes its lanes_….h and
 * byte_lanes.h, defines BYTE_ROWS and BYTE_VECTORS and the vocabulary of dot products
 *
 *   dots                 a vector of LANES int32
 *   quad, quad_weights   four input bytes for every lane; four weights of every lane
 *   dots_load, dots_store, dots_floats, quad_load, quad_weights_load, dots_add (sum + quad · weights)
 *
 * and includes this.
 */
#ifndef CSI_KERNELS_BYTE_TILE_H
#define CSI_KERNELS_BYTE_TILE_H

/* Rows in fours: three register offsets (step, 2·step by the addressing mode, 3·step) serve every four. */
BYTE_INLINE const uint8_t *byte_row(const uint8_t *const *fours, const size_t r, size_t step, size_t step3)
{
    return fours[r / 4] + (r % 4 == 0 ? 0 : r % 4 == 1 ? step : r % 4 == 2 ? 2 * step : step3);
}

BYTE_INLINE void byte_quad(dots sum[BYTE_ROWS][BYTE_VECTORS], const uint8_t *const *fours, size_t step,
                           size_t step3, const int8_t *weights, const size_t rows, const size_t vectors)
{
    quad_weights w[BYTE_VECTORS];

    BYTE_UNROLL
    for (size_t v = 0; v < vectors; v++)
        w[v] = quad_weights_load(weights + v * LANES * 4);
    BYTE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const quad x = quad_load(byte_row(fours, r, step, step3));

        BYTE_UNROLL
        for (size_t v = 0; v < vectors; v++)
            sum[r][v] = dots_add(sum[r][v], x, w[v]);
    }
}

/* A loop of its own over sums in memory: inside byte_body it would take the registers that the sums need. */
static void byte_finish(const struct csi_byte_tile *t, const int32_t *sums)
{
    const lanes low = lanes_set(t->low), high = lanes_set(t->high), inverse = lanes_set(t->inverse);
    const lanes residual_scale = lanes_set(t->residual.scale),
                residual_zero = lanes_set((float)t->residual.zero);

    for (size_t c = 0; c < t->width; c += LANES) {
        const lanes scale = lanes_load(t->scale + c), bias = lanes_load(t->bias + c);

        for (size_t r = 0; r < t->rows; r++) {
            lanes x = lanes_add(lanes_mul(dots_floats(dots_load(sums + r * t->width + c)), scale), bias);

            if (t->residual_bytes != NULL) {
                const lanes b = lanes_load_bytes(t->residual_bytes + r * t->residual_step + c);

                x = lanes_add(x, lanes_mul(lanes_sub(b, residual_zero), residual_scale));
            } else if (t->residual_floats != NULL) {
                x = lanes_add(x, lanes_load(t->residual_floats + r * t->residual_step + c));
            }
            x = byte_clamp(x, low, high);
            if (t->out_bytes != NULL)
                lanes_store_bytes(t->out_bytes + r * t->out_step + c, lanes_mul(x, inverse), t->zero);
            else
                lanes_store(t->out_floats + r * t->out_step + c, x);
        }
    }
}

BYTE_INLINE void byte_body(const struct csi_byte_tile *t, const size_t rows, const size_t vectors)
{
    const size_t step = t->row_step, step3 = 3 * step, line = vectors * LANES * 4;
    const int8_t *weights = t->weights;
    _Alignas(64) int32_t sums[BYTE_ROWS * BYTE_VECTORS * LANES];
    dots sum[BYTE_ROWS][BYTE_VECTORS];

    BYTE_UNROLL
    for (size_t v = 0; v < vectors; v++) {
        const dots start = dots_load(t->start + v * LANES);

        BYTE_UNROLL
        for (size_t r = 0; r < rows; r++)
            sum[r][v] = start;
    }
    for (size_t tap = 0; tap < t->taps; tap++) {
        const uint8_t *in = t->in + t->offsets[tap];
        const uint8_t *fours[4] = {in, in + 4 * step, in + 8 * step, in + 12 * step};

        for (size_t left = t->quads; left > 0; left--) {
            byte_quad(sum, fours, step, step3, weights, rows, vectors);
            weights += line;
            BYTE_UNROLL
            for (size_t i = 0; i < 4; i++)
                fours[i] += 4;
        }
    }
    BYTE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        BYTE_UNROLL
        for (size_t v = 0; v < vectors; v++)
            dots_store(sums + (r * vectors + v) * LANES, sum[r][v]);
    }
    byte_finish(t, sums);
}

#endif
