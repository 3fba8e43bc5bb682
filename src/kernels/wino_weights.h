/*
 * The weight transform G·g·Gᵀ while a layer runs, written once over the vector type of wino_tile.h: for
 * layers whose weights stay compact. (Weights that are transformed when the model is loaded: wino_pack.c.)
 * The including file defines LANES besides.
 */
#ifndef CSI_KERNELS_WINO_WEIGHTS_H
#define CSI_KERNELS_WINO_WEIGHTS_H

/* Row `row` of G times a column of three, both tile sizes. The middle rows come in pairs s ± c. */
CSI_INLINE vec weight_sum(size_t side, size_t row, vec g0, vec g1, vec g2)
{
    vec s, c;
    if (row == 0)
        return side == 4 ? v_mul(v_set1(0.25F), g0) : g0;
    if (row == side + 1)
        return g2;
    switch ((row - 1) / 2) {
    case 0: /* points ±1 */
        c = v_set1(side == 4 ? -1.0F / 6 : -2.0F / 9);
        s = v_mul(c, v_add(g0, g2));
        break;
    case 1: /* ±2 */
        c = v_set1(side == 4 ? 1.0F / 12 : 1.0F / 45);
        s = v_fma(v_set1(side == 4 ? 1.0F / 6 : 2.0F / 45), g2,
                  v_mul(v_set1(side == 4 ? 1.0F / 24 : 1.0F / 90), g0));
        break;
    default: /* ±½ */
        c = v_set1(16.0F / 45);
        s = v_fma(v_set1(8.0F / 45), g2, v_mul(v_set1(32.0F / 45), g0));
        break;
    }
    return row % 2 == 1 ? v_fma(c, g1, s) : v_fnma(c, g1, s);
}

CSI_INLINE void weights_row(size_t side, size_t row, const float *g, size_t channels, float *u, size_t stride)
{
    for (; channels > 0; channels--, g += 9 * LANES, u += stride) {
        for (size_t lane = 0; lane < LANES; lane += VEC_LANES) {
            vec half[3];
            CSI_UNROLL
            for (size_t j = 0; j < 3; j++) {
                const float *column = g + j * LANES + lane;
                half[j] = weight_sum(side, row, v_load(column), v_load(column + 3 * LANES),
                                     v_load(column + 6 * LANES));
            }
            CSI_UNROLL
            for (size_t j = 0; j < side + 2; j++)
                v_store(u + j * LANES + lane, weight_sum(side, j, half[0], half[1], half[2]));
        }
    }
}

static void weights4(const float *g, size_t row, size_t channels, float *u, size_t stride)
{
    switch (row) {
    case 0: weights_row(4, 0, g, channels, u, stride); break;
    case 1: weights_row(4, 1, g, channels, u, stride); break;
    case 2: weights_row(4, 2, g, channels, u, stride); break;
    case 3: weights_row(4, 3, g, channels, u, stride); break;
    case 4: weights_row(4, 4, g, channels, u, stride); break;
    default: weights_row(4, 5, g, channels, u, stride); break;
    }
}

static void weights6(const float *g, size_t row, size_t channels, float *u, size_t stride)
{
    switch (row) {
    case 0: weights_row(6, 0, g, channels, u, stride); break;
    case 1: weights_row(6, 1, g, channels, u, stride); break;
    case 2: weights_row(6, 2, g, channels, u, stride); break;
    case 3: weights_row(6, 3, g, channels, u, stride); break;
    case 4: weights_row(6, 4, g, channels, u, stride); break;
    case 5: weights_row(6, 5, g, channels, u, stride); break;
    case 6: weights_row(6, 6, g, channels, u, stride); break;
    default: weights_row(6, 7, g, channels, u, stride); break;
    }
}

#endif
