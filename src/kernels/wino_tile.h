/*
 * The tile transforms, written once over a vector type. A file of an instruction set defines `vec`, VEC_LANES
 * and the v_… functions, then includes this. Straight-line code: sums that two outputs share are made once.
 */
#ifndef CSI_KERNELS_WINO_TILE_H
#define CSI_KERNELS_WINO_TILE_H

#include <string.h>

/* Bᵀ·d of F(4,3), points 0, ±1, ±2, ∞: 12 operations. */
CSI_INLINE void input_line4(const vec *d, vec *o)
{
    const vec four = v_set1(4.0F), five = v_set1(5.0F), two = v_set1(2.0F);
    vec even = v_fnma(four, d[2], d[4]), odd = v_fnma(four, d[1], d[3]);
    vec c = v_sub(d[4], d[2]), e = v_sub(d[3], d[1]);
    o[0] = v_fma(four, d[0], v_fnma(five, d[2], d[4]));
    o[1] = v_add(even, odd);
    o[2] = v_sub(even, odd);
    o[3] = v_fma(two, e, c);
    o[4] = v_fnma(two, e, c);
    o[5] = v_fma(four, d[1], v_fnma(five, d[3], d[5]));
}

/* Aᵀ·m of F(4,3): 10 operations. */
CSI_INLINE void output_line4(const vec *m, vec *o)
{
    vec a = v_add(m[1], m[2]), b = v_sub(m[1], m[2]);
    vec c = v_add(m[3], m[4]), d = v_sub(m[3], m[4]);
    o[0] = v_add(v_add(m[0], a), c);
    o[1] = v_fma(v_set1(2.0F), d, b);
    o[2] = v_fma(v_set1(4.0F), c, a);
    o[3] = v_fma(v_set1(8.0F), d, v_add(b, m[5]));
}

/* Bᵀ·d of F(6,3), points 0, ±1, ±2, ±½, ∞. */
CSI_INLINE void input_line6(const vec *d, vec *o)
{
    const vec k21 = v_set1(5.25F), k17 = v_set1(4.25F), k5 = v_set1(2.5F), k54 = v_set1(1.25F);
    const vec two = v_set1(2.0F), half = v_set1(0.5F), four = v_set1(4.0F), quarter = v_set1(0.25F),
              five = v_set1(5.0F);
    vec a = v_fnma(k17, d[4], v_add(d[2], d[6])), b = v_fnma(k17, d[3], v_add(d[1], d[5]));
    vec c = v_fma(quarter, d[2], v_fnma(k54, d[4], d[6]));
    vec f = v_fma(four, d[2], v_fnma(five, d[4], d[6]));
    vec e = v_fma(half, d[1], v_fma(two, d[5], v_mul(v_set1(-2.5F), d[3])));
    vec g = v_fma(two, d[1], v_fnma(k5, d[3], v_mul(half, d[5])));
    o[0] = v_fma(k21, v_sub(d[4], d[2]), v_sub(d[0], d[6]));
    o[1] = v_add(a, b);
    o[2] = v_sub(a, b);
    o[3] = v_add(c, e);
    o[4] = v_sub(c, e);
    o[5] = v_add(f, g);
    o[6] = v_sub(f, g);
    o[7] = v_fma(k21, v_sub(d[3], d[5]), v_sub(d[7], d[1]));
}

/* Aᵀ·m of F(6,3). */
CSI_INLINE void output_line6(const vec *m, vec *o)
{
    vec a = v_add(m[1], m[2]), b = v_sub(m[1], m[2]);
    vec c = v_add(m[3], m[4]), d = v_sub(m[3], m[4]);
    vec e = v_add(m[5], m[6]), f = v_sub(m[5], m[6]);
    o[0] = v_add(v_add(m[0], a), v_add(c, e));
    o[1] = v_fma(v_set1(0.5F), f, v_fma(v_set1(2.0F), d, b));
    o[2] = v_fma(v_set1(0.25F), e, v_fma(v_set1(4.0F), c, a));
    o[3] = v_fma(v_set1(0.125F), f, v_fma(v_set1(8.0F), d, b));
    o[4] = v_fma(v_set1(0.0625F), e, v_fma(v_set1(16.0F), c, a));
    o[5] = v_fma(v_set1(0.03125F), f, v_fma(v_set1(32.0F), d, v_add(b, m[7])));
}

/* Bᵀ·d·B of one vector of channels: `src` is the patch's corner, strides in floats. The tile to the right is
 * fetched meanwhile: its rows are too far apart for hardware to foresee. Columns and rows are loops, not
 * unrolled: the intermediate does not fit into registers, and 36 or 64 addresses at once fit even less. */
CSI_INLINE void input_vector(size_t side, const float *src, size_t row, size_t pixel, const float *ahead,
                             float *v, size_t position_stride)
{
    const size_t n = side + 2;
    vec t[8][8];
    for (size_t j = 0; j < n; j++, src += pixel) {
        vec line[8], o[8];
        CSI_UNROLL
        for (size_t i = 0; i < n; i++)
            line[i] = v_load(src + i * row);
        if (ahead && j < side) {
            CSI_UNROLL
            for (size_t i = 0; i < n; i++)
                v_prefetch(ahead + i * row);
            ahead += pixel;
        }
        if (side == 4)
            input_line4(line, o);
        else
            input_line6(line, o);
        CSI_UNROLL
        for (size_t i = 0; i < n; i++)
            t[i][j] = o[i];
    }
    for (size_t i = 0; i < n; i++, v += n * position_stride) {
        vec o[8];
        if (side == 4)
            input_line4(t[i], o);
        else
            input_line6(t[i], o);
        CSI_UNROLL
        for (size_t j = 0; j < n; j++)
            v_store(v + j * position_stride, o[j]);
    }
}

/* The patch of a tile at the border, one channel block, zeros outside the image. Input row i stands at image
 * row y + i - 1. */
static inline void gather_patch(size_t side, const struct csi_wino_plane *image, size_t y, size_t x,
                                size_t channel, float *patch)
{
    const size_t n = side + 2;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++, patch += CSI_WINO_BLOCK) {
            size_t row = y + i, column = x + j; /* one more than the image's */
            if (row >= 1 && row <= image->height && column >= 1 && column <= image->width)
                memcpy(patch,
                       image->pixels + ((row - 1) * image->width + column - 1) * image->pitch + channel,
                       CSI_WINO_BLOCK * sizeof(float));
            else
                memset(patch, 0, CSI_WINO_BLOCK * sizeof(float));
        }
    }
}

CSI_INLINE void input_tile(size_t side, const struct csi_wino_plane *image, size_t y, size_t x, float *v,
                           size_t block_stride, size_t position_stride)
{
    const bool inside = y >= 1 && x >= 1 && y + side < image->height && x + side < image->width;
    const size_t n = side + 2;
    _Alignas(64) float patch[8 * 8 * CSI_WINO_BLOCK];
    const float *src = patch;
    size_t row = n * CSI_WINO_BLOCK, pixel = CSI_WINO_BLOCK;
    if (inside) {
        row = image->width * image->pitch;
        pixel = image->pitch;
        src = image->pixels + (y - 1) * row + (x - 1) * pixel + image->first;
    }
    for (size_t channel = image->first; channel < image->last; channel += CSI_WINO_BLOCK, v += block_stride) {
        if (!inside)
            gather_patch(side, image, y, x, channel, patch);
        for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES)
            input_vector(side, src + lane, row, pixel, inside && lane == 0 ? src + n * pixel : NULL, v + lane,
                         position_stride);
        if (inside)
            src += CSI_WINO_BLOCK;
    }
}

/* Stores two finished rows of a tile that lies inside the image, pooled or not. */
CSI_INLINE void store_rows(size_t side, const vec *upper, const vec *lower,
                           const struct csi_wino_target *target, size_t y, size_t x, size_t channel)
{
    if (target->pool) {
        float *out = target->output + ((y / 2) * (target->width / 2) + x / 2) * target->pitch + channel;
        CSI_UNROLL
        for (size_t j = 0; j < side; j += 2)
            v_store(out + (j / 2) * target->pitch,
                    v_max(v_max(upper[j], upper[j + 1]), v_max(lower[j], lower[j + 1])));
        return;
    }
    float *out = target->output + (y * target->width + x) * target->pitch + channel;
    const size_t row = target->width * target->pitch;
    CSI_UNROLL
    for (size_t j = 0; j < side; j++) {
        v_store(out + j * target->pitch, upper[j]);
        v_store(out + row + j * target->pitch, lower[j]);
    }
}

/* Bias, residual, ReLU of one row in registers. */
CSI_INLINE void finish_row(size_t side, vec *line, vec bias, const struct csi_wino_target *target, size_t y,
                           size_t x, size_t channel)
{
    const float *residual = target->residual;
    CSI_UNROLL
    for (size_t j = 0; j < side; j++)
        line[j] = v_add(line[j], bias);
    if (residual) {
        residual += (y * target->width + x) * target->pitch + channel;
        CSI_UNROLL
        for (size_t j = 0; j < side; j++)
            line[j] = v_add(line[j], v_load(residual + j * target->pitch));
    }
    if (target->activation == CSI_WINO_RELU) {
        CSI_UNROLL
        for (size_t j = 0; j < side; j++)
            line[j] = v_max(line[j], v_set1(0.0F));
    }
}

/* Aᵀ·M·A of one vector of channels. `raw`: not NULL keeps the sums there (side × side × 16) instead of
 * finishing them. */
CSI_INLINE void output_vector(size_t side, const float *m, size_t position_stride,
                              const struct csi_wino_target *target, size_t y, size_t x, size_t channel,
                              float *raw)
{
    const size_t n = side + 2, row_stride = n * position_stride;
    vec t[8][8];
    for (size_t j = 0; j < n; j++, m += position_stride) {
        vec line[8], o[8];
        CSI_UNROLL
        for (size_t i = 0; i < n; i++)
            line[i] = v_load(m + i * row_stride);
        CSI_UNROLL
        for (size_t i = 0; i < n; i++)
            v_prefetch(m + i * row_stride + LANES); /* the next tile */
        if (side == 4)
            output_line4(line, o);
        else
            output_line6(line, o);
        CSI_UNROLL
        for (size_t i = 0; i < side; i++)
            t[i][j] = o[i];
    }
    const vec bias = v_load(target->bias + channel);
    for (size_t i = 0; i < side; i += 2) {
        vec rows[2][8];
        CSI_UNROLL
        for (size_t k = 0; k < 2; k++) {
            if (side == 4)
                output_line4(t[i + k], rows[k]);
            else
                output_line6(t[i + k], rows[k]);
            if (raw) {
                CSI_UNROLL
                for (size_t j = 0; j < side; j++)
                    v_store(raw + ((i + k) * side + j) * CSI_WINO_BLOCK, rows[k][j]);
            } else {
                finish_row(side, rows[k], bias, target, y + i + k, x, channel);
            }
        }
        if (!raw)
            store_rows(side, rows[0], rows[1], target, y + i, x, channel);
    }
}

/* Asks for the lines that a later tile will write: a store that waits for memory holds up all stores behind
 * it. */
CSI_INLINE void fetch_output(size_t side, const struct csi_wino_target *target, size_t y, size_t x,
                             size_t channel, size_t blocks)
{
    const size_t halves = target->pool ? 2 : 1, row = target->width / halves * target->pitch;
    const float *out = target->output + y / halves * row + x / halves * target->pitch + channel;
    for (size_t i = 0; i < side / halves; i++, out += row) {
        for (size_t j = 0; j < side / halves; j++) {
            for (size_t b = 0; b < blocks; b++)
                v_prefetch(out + j * target->pitch + b * CSI_WINO_BLOCK);
        }
    }
}

CSI_INLINE void output_tile(size_t side, const float *m, size_t position_stride,
                            const struct csi_wino_target *target, size_t y, size_t x, size_t channel,
                            size_t blocks)
{
    fetch_output(side, target, y, x + 2 * side, channel, blocks);
    const bool whole = y + side <= target->height && x + side <= target->width;
    _Alignas(64) float raw[6 * 6 * CSI_WINO_BLOCK];
    for (; blocks > 0; blocks--, m += CSI_WINO_BLOCK, channel += CSI_WINO_BLOCK) {
        if (whole && target->activation != CSI_WINO_FUNCTION) {
            for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES)
                output_vector(side, m + lane, position_stride, target, y, x, channel + lane, NULL);
        } else {
            for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES)
                output_vector(side, m + lane, position_stride, target, y, x, channel + lane, raw + lane);
            csi_wino_finish_tile(raw, side, target, y, x, channel);
        }
    }
}

static void input4(const struct csi_wino_plane *image, size_t y, size_t x, float *v, size_t block_stride,
                   size_t position_stride)
{
    input_tile(4, image, y, x, v, block_stride, position_stride);
}

static void input6(const struct csi_wino_plane *image, size_t y, size_t x, float *v, size_t block_stride,
                   size_t position_stride)
{
    input_tile(6, image, y, x, v, block_stride, position_stride);
}

static void output4(const float *m, size_t position_stride, const struct csi_wino_target *target, size_t y,
                    size_t x, size_t channel, size_t blocks)
{
    output_tile(4, m, position_stride, target, y, x, channel, blocks);
}

static void output6(const float *m, size_t position_stride, const struct csi_wino_target *target, size_t y,
                    size_t x, size_t channel, size_t blocks)
{
    output_tile(6, m, position_stride, target, y, x, channel, blocks);
}

#endif
