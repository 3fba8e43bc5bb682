/*
 * The tile transforms, written once over a vector type. A file of an instruction set defines `vec`, VEC_LANES
 * and the v_… functions, then includes this. Straight-line code: sums that two outputs share are made once.
 */
#ifndef CSI_KERNELS_WINO_TILE_H
#define CSI_KERNELS_WINO_TILE_H

#include <math.h>
#include <string.h>

/* How the input transform stores a vector of V. */
#ifndef V_STORE_INPUT
#define V_STORE_INPUT v_store
#endif

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

/* Bᵀ·d of F(8,3). The row of a point p is x·(x + p)·(x² - q²)·(x⁴ - k·x² + 1), where q is 1/p and k = r² +
 * 1/r² for the other pair r, 1/r: the sums of the last factor serve four rows. */
CSI_INLINE void input_line8(const vec *d, vec *o)
{
    const double points[4] = {CSI_WINO8_A, 1 / CSI_WINO8_A, CSI_WINO8_B, 1 / CSI_WINO8_B};
    const vec ka = v_set1((float)(points[0] * points[0] + points[1] * points[1]));
    const vec kb = v_set1((float)(points[2] * points[2] + points[3] * points[3]));
    vec a[6], b[6]; /* with the factor of ±a, ±1/a; of ±b, ±1/b */
    CSI_UNROLL
    for (size_t k = 0; k < 6; k++) {
        const vec outer = v_add(d[k], d[k + 4]);
        a[k] = v_fnma(ka, d[k + 2], outer);
        b[k] = v_fnma(kb, d[k + 2], outer);
    }
    o[0] = v_fnma(kb, a[2], v_add(a[0], a[4]));
    o[9] = v_fnma(kb, a[3], v_add(a[1], a[5]));
    CSI_UNROLL
    for (size_t p = 0; p < 4; p++) {
        const vec *x = p < 2 ? b : a;
        const vec qq = v_set1((float)(points[p ^ 1] * points[p ^ 1]));
        const vec even = v_fnma(qq, x[2], x[4]);
        const vec odd = v_mul(v_set1((float)points[p]), v_fnma(qq, x[1], x[3]));
        o[2 * p + 1] = v_add(even, odd);
        o[2 * p + 2] = v_sub(even, odd);
    }
}

/* Aᵀ·m of F(8,3), the column of each finite point but 0 divided by |p|³: the coefficients of rows 3 + k and 3
 * - k are then those of reciprocal points, pᵏ and p⁻ᵏ, and both rows come from one pair of sums. */
CSI_INLINE void output_line8(const vec *m, vec *o)
{
    vec sum[2][2], difference[2][2]; /* of reciprocal points: [even or odd row][a or b] */
    CSI_UNROLL
    for (size_t i = 0; i < 2; i++) {
        const vec *p = m + 4 * i + 1;
        const vec even0 = v_add(p[0], p[1]), even1 = v_add(p[2], p[3]);
        const vec odd0 = v_sub(p[0], p[1]), odd1 = v_sub(p[2], p[3]);
        sum[0][i] = v_add(even1, even0);
        difference[0][i] = v_sub(even1, even0);
        sum[1][i] = v_add(odd1, odd0);
        difference[1][i] = v_sub(odd1, odd0);
    }
    double a = 1, b = 1;
    CSI_UNROLL
    for (size_t k = 1; k < 5; k++) {
        a *= CSI_WINO8_A;
        b *= CSI_WINO8_B;
        const vec *s = sum[(k + 1) % 2], *d = difference[(k + 1) % 2];
        const vec x =
            v_fma(v_set1((float)((1 / a + a) / 2)), s[0], v_mul(v_set1((float)((1 / b + b) / 2)), s[1]));
        const vec y =
            v_fma(v_set1((float)((1 / a - a) / 2)), d[0], v_mul(v_set1((float)((1 / b - b) / 2)), d[1]));
        o[3 + k] = v_add(x, y);
        if (k < 4)
            o[3 - k] = v_sub(x, y);
    }
    o[0] = v_add(o[0], m[0]);
    o[3] = v_add(sum[1][0], sum[1][1]);
    o[7] = v_add(o[7], m[9]);
}

/* Two rows of Bᵀ·d for one column `d` (line i at d + i · row): the outputs that share their sums. Fetches
 * nothing that the two do not need, so that a pass over the columns keeps its results in registers. */
CSI_INLINE void column_pair4(size_t pair, const float *d, size_t row, vec *a, vec *b)
{
    const vec four = v_set1(4.0F), five = v_set1(5.0F);
    vec even, odd;
    switch (pair) {
    case 0: /* 0 and 5 */
        *a = v_fma(four, v_load(d), v_fnma(five, v_load(d + 2 * row), v_load(d + 4 * row)));
        *b = v_fma(four, v_load(d + row), v_fnma(five, v_load(d + 3 * row), v_load(d + 5 * row)));
        return;
    case 1: /* 1 and 2 */
        even = v_fnma(four, v_load(d + 2 * row), v_load(d + 4 * row));
        odd = v_fnma(four, v_load(d + row), v_load(d + 3 * row));
        break;
    default: /* 3 and 4 */
        even = v_sub(v_load(d + 4 * row), v_load(d + 2 * row));
        odd = v_sub(v_load(d + 3 * row), v_load(d + row));
        odd = v_add(odd, odd);
        break;
    }
    *a = v_add(even, odd);
    *b = v_sub(even, odd);
}

CSI_INLINE void column_pair6(size_t pair, const float *d, size_t row, vec *a, vec *b)
{
    const vec k21 = v_set1(5.25F);
    const vec d1 = v_load(d + row), d2 = v_load(d + 2 * row), d3 = v_load(d + 3 * row);
    const vec d4 = v_load(d + 4 * row), d5 = v_load(d + 5 * row), d6 = v_load(d + 6 * row);
    vec even, odd;
    switch (pair) {
    case 0: /* 0 and 7 */
        *a = v_fma(k21, v_sub(d4, d2), v_sub(v_load(d), d6));
        *b = v_fma(k21, v_sub(d3, d5), v_sub(v_load(d + 7 * row), d1));
        return;
    case 1: /* 1 and 2 */
        even = v_fnma(v_set1(4.25F), d4, v_add(d2, d6));
        odd = v_fnma(v_set1(4.25F), d3, v_add(d1, d5));
        break;
    case 2: /* 3 and 4 */
        even = v_fma(v_set1(0.25F), d2, v_fnma(v_set1(1.25F), d4, d6));
        odd = v_fma(v_set1(0.5F), d1, v_fma(v_set1(2.0F), d5, v_mul(v_set1(-2.5F), d3)));
        break;
    default: /* 5 and 6 */
        even = v_fma(v_set1(4.0F), d2, v_fnma(v_set1(5.0F), d4, d6));
        odd = v_fma(v_set1(2.0F), d1, v_fnma(v_set1(2.5F), d3, v_mul(v_set1(0.5F), d5)));
        break;
    }
    *a = v_add(even, odd);
    *b = v_sub(even, odd);
}

/* Row `i` of the result: o = line · B, stored. */
CSI_INLINE void store_line(size_t side, const vec *line, float *v, size_t position_stride)
{
    vec o[8];
    if (side == 4)
        input_line4(line, o);
    else
        input_line6(line, o);
    CSI_UNROLL
    for (size_t j = 0; j < side + 2; j++, v += position_stride) {
        CSI_FORGET(v);
        V_STORE_INPUT(v, o[j]);
    }
}

/* Bᵀ·d·B of one vector of channels: `src` is the patch's corner, strides in floats. Two rows of the result at
 * a time: what is in between never leaves the registers, at the price of reading the patch, which is in the
 * first-level cache, three or four times. The tile to the right is fetched meanwhile: its rows are too far
 * apart for hardware to foresee. Not inlined: loops around it would have the compiler keep dozens of
 * addresses. */
CSI_INLINE void input_vector(size_t side, const float *src, size_t row, size_t pixel, const float *ahead,
                             float *v, size_t position_stride)
{
    const size_t n = side + 2, line = n * position_stride;
    CSI_UNROLL
    for (size_t pair = 0; pair < n / 2; pair++) {
        const size_t first = pair == 0 ? 0 : 2 * pair - 1, second = pair == 0 ? n - 1 : 2 * pair;
        const float *d = src;
        vec a[8], b[8];
        CSI_UNROLL
        for (size_t j = 0; j < n; j++, d += pixel) {
            CSI_FORGET(d);
            if (side == 4)
                column_pair4(pair, d, row, &a[j], &b[j]);
            else
                column_pair6(pair, d, row, &a[j], &b[j]);
        }
        /* Each pass fetches some lines of the next tile. */
        for (size_t i = 0; ahead && i < 2; i++, ahead += row) {
            const float *p = ahead;
            CSI_UNROLL
            for (size_t j = 0; j < side; j++, p += pixel) {
                CSI_FORGET(p);
                v_prefetch(p);
            }
        }
        store_line(side, a, v + first * line, position_stride);
        store_line(side, b, v + second * line, position_stride);
    }
}

static CSI_NOINLINE void input_vector4(const float *src, size_t row, size_t pixel, const float *ahead,
                                       float *v, size_t position_stride)
{
    input_vector(4, src, row, pixel, ahead, v, position_stride);
}

static CSI_NOINLINE void input_vector6(const float *src, size_t row, size_t pixel, const float *ahead,
                                       float *v, size_t position_stride)
{
    input_vector(6, src, row, pixel, ahead, v, position_stride);
}

/* The same for F(8,3): rows two at a time would cost half as much arithmetic again, so all rows of a column
 * are made at once and what is in between goes through the first-level cache. Loops, because 200 lines'
 * transforms unrolled would not fit the cache of instructions. */
static CSI_NOINLINE void input_vector8(const float *src, size_t row, size_t pixel, const float *ahead,
                                       float *v, size_t position_stride)
{
    _Alignas(64) float between[10][10][VEC_LANES];
    vec d[10], o[10];
    for (size_t j = 0; j < 10; j++) {
        const float *at = src + j * pixel;
        CSI_UNROLL
        for (size_t i = 0; i < 10; i++, at += row) {
            CSI_FORGET(at);
            d[i] = v_load(at);
        }
        input_line8(d, o);
        CSI_UNROLL
        for (size_t i = 0; i < 10; i++)
            v_store(between[i][j], o[i]);
    }
    for (size_t i = 0; i < 10; i++) {
        CSI_UNROLL
        for (size_t j = 0; j < 10; j++)
            d[j] = v_load(between[i][j]);
        if (ahead) {
            const float *p = ahead + i * row;
            CSI_UNROLL
            for (size_t j = 0; j < 8; j++, p += pixel) {
                CSI_FORGET(p);
                v_prefetch(p);
            }
        }
        input_line8(d, o);
        CSI_UNROLL
        for (size_t j = 0; j < 10; j++, v += position_stride) {
            CSI_FORGET(v);
            V_STORE_INPUT(v, o[j]);
        }
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
    _Alignas(64) float patch[10 * 10 * CSI_WINO_BLOCK];
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
        for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES) {
            const float *ahead = inside && lane == 0 ? src + n * pixel : NULL;
            if (side == 4)
                input_vector4(src + lane, row, pixel, ahead, v + lane, position_stride);
            else if (side == 8)
                input_vector8(src + lane, row, pixel, ahead, v + lane, position_stride);
            else
                input_vector6(src + lane, row, pixel, ahead, v + lane, position_stride);
        }
        if (inside)
            src += CSI_WINO_BLOCK;
    }
}

/* What becomes of a row of sums. */
enum finish {
    FINISH_RAW, /* kept as it is: side × side × 16 floats at `raw` */
    FINISH_MAP, /* + bias, + residual, ReLU, stored */
    FINISH_POOL /* 2×2 maximum, + bias, ReLU, stored: rounding is monotonic, so the order does not show */
};

struct finish_to {
    vec bias, low; /* low: 0 or -∞ */
    const float *residual;
    float *out;
    size_t row, pixel; /* strides of out */
};

/* A NaN comes through, but of four that are pooled only in the last one, as in plain C: x86 would need more
 * instructions for the others. One that stands in a layer's input arrives all the same: it is part of 3×3
 * neighbouring sums, and one of these is the last of its four. */
CSI_INLINE void finish_row(size_t side, enum finish finish, size_t i, vec *line, vec (*upper)[4],
                           const struct finish_to *to)
{
    if (finish == FINISH_RAW) {
        CSI_UNROLL
        for (size_t j = 0; j < side; j++)
            v_store(to->out + (i * side + j) * CSI_WINO_BLOCK, line[j]);
        return;
    }
    if (finish == FINISH_MAP) {
        float *out = to->out + i * to->row;
        CSI_FORGET(out);
        CSI_UNROLL
        for (size_t j = 0; j < side; j++)
            line[j] = v_add(line[j], to->bias);
        if (to->residual) {
            const float *residual = to->residual + i * to->row;
            CSI_UNROLL
            for (size_t j = 0; j < side; j++)
                line[j] = v_add(line[j], v_load(residual + j * to->pixel));
        }
        CSI_UNROLL
        for (size_t j = 0; j < side; j++)
            v_store(out + j * to->pixel, v_max(to->low, line[j]));
        return;
    }
    CSI_UNROLL
    for (size_t j = 0; j < side / 2; j++) {
        const vec two = v_max(line[2 * j], line[2 * j + 1]);
        if (i % 2 == 0)
            upper[i / 2][j] = two;
        else
            v_store(to->out + i / 2 * to->row + j * to->pixel,
                    v_max(to->low, v_add(v_max(upper[i / 2][j], two), to->bias)));
    }
}

/* m[0…5] · A of one row of products. */
CSI_INLINE void product_row4(const float *m, size_t stride, vec *o)
{
    vec line[6];
    CSI_UNROLL
    for (size_t j = 0; j < 6; j++, m += stride) {
        CSI_FORGET(m);
        line[j] = v_load(m);
    }
    output_line4(line, o);
}

CSI_INLINE void fetch_ahead(const float *m, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++, m += stride)
        v_prefetch(m);
}

/* Aᵀ·M·A of one vector of channels. Row by row, so that no more than four rows of sums are alive. The
 * products of the next tile are fetched meanwhile. */
CSI_INLINE void output_vector4(enum finish finish, const float *m, size_t stride, const struct finish_to *to)
{
    const size_t row = 6 * stride;
    vec y[4][4], t[2][4], upper[2][4];
    product_row4(m + row, stride, t[0]);
    product_row4(m + 2 * row, stride, t[1]);
    CSI_UNROLL
    for (size_t j = 0; j < 4; j++) {
        y[2][j] = v_add(t[0][j], t[1][j]);
        y[1][j] = v_sub(t[0][j], t[1][j]);
    }
    product_row4(m, stride, t[0]);
    CSI_UNROLL
    for (size_t j = 0; j < 4; j++)
        y[0][j] = v_add(t[0][j], y[2][j]);
    product_row4(m + 3 * row, stride, t[0]);
    product_row4(m + 4 * row, stride, t[1]);
    CSI_UNROLL
    for (size_t j = 0; j < 4; j++) {
        const vec c = v_add(t[0][j], t[1][j]), d = v_sub(t[0][j], t[1][j]);
        y[0][j] = v_add(y[0][j], c);
        y[2][j] = v_fma(v_set1(4.0F), c, y[2][j]);
        y[3][j] = v_fma(v_set1(8.0F), d, y[1][j]);
        y[1][j] = v_fma(v_set1(2.0F), d, y[1][j]);
    }
    fetch_ahead(m + LANES, 36, stride);
    finish_row(4, finish, 0, y[0], upper, to);
    finish_row(4, finish, 1, y[1], upper, to);
    finish_row(4, finish, 2, y[2], upper, to);
    product_row4(m + 5 * row, stride, t[0]);
    CSI_UNROLL
    for (size_t j = 0; j < 4; j++)
        y[3][j] = v_add(y[3][j], t[0][j]);
    finish_row(4, finish, 3, y[3], upper, to);
}

/* Rows 0, 2, 4 of Aᵀ·M for one column, then 1, 3, 5: each half's 3 × 8 sums fit into registers. */
CSI_INLINE void column_even6(const float *m, size_t row, vec *o0, vec *o2, vec *o4)
{
    const vec a = v_add(v_load(m + row), v_load(m + 2 * row));
    const vec c = v_add(v_load(m + 3 * row), v_load(m + 4 * row));
    const vec e = v_add(v_load(m + 5 * row), v_load(m + 6 * row));
    *o0 = v_add(v_add(v_load(m), a), v_add(c, e));
    *o2 = v_fma(v_set1(0.25F), e, v_fma(v_set1(4.0F), c, a));
    *o4 = v_fma(v_set1(0.0625F), e, v_fma(v_set1(16.0F), c, a));
}

CSI_INLINE void column_odd6(const float *m, size_t row, vec *o1, vec *o3, vec *o5)
{
    const vec b = v_sub(v_load(m + row), v_load(m + 2 * row));
    const vec d = v_sub(v_load(m + 3 * row), v_load(m + 4 * row));
    const vec f = v_sub(v_load(m + 5 * row), v_load(m + 6 * row));
    *o1 = v_fma(v_set1(0.5F), f, v_fma(v_set1(2.0F), d, b));
    *o3 = v_fma(v_set1(0.125F), f, v_fma(v_set1(8.0F), d, b));
    *o5 = v_fma(v_set1(0.03125F), f, v_fma(v_set1(32.0F), d, v_add(b, v_load(m + 7 * row))));
}

CSI_INLINE void output_vector6(enum finish finish, const float *m, size_t stride, const struct finish_to *to)
{
    const size_t row = 8 * stride;
    vec upper[3][4];
    CSI_UNROLL
    for (size_t half = 0; half < 2; half++) {
        const float *at = m;
        vec t[3][8];
        CSI_UNROLL
        for (size_t j = 0; j < 8; j++, at += stride) {
            CSI_FORGET(at);
            if (half == 0)
                column_even6(at, row, &t[0][j], &t[1][j], &t[2][j]);
            else
                column_odd6(at, row, &t[0][j], &t[1][j], &t[2][j]);
        }
        fetch_ahead(m + half * 4 * row + LANES, 32, stride);
        CSI_UNROLL
        for (size_t i = 0; i < 3; i++) {
            vec line[6];
            output_line6(t[i], line);
            finish_row(6, finish, 2 * i + half, line, upper, to);
        }
    }
}

/* Through the first-level cache, as in input_vector8. */
CSI_INLINE void output_vector8(enum finish finish, const float *m, size_t stride, const struct finish_to *to)
{
    _Alignas(64) float between[8][10][VEC_LANES];
    vec line[10], o[8], upper[4][4];
    for (size_t j = 0; j < 10; j++) {
        const float *at = m + j * stride;
        CSI_UNROLL
        for (size_t i = 0; i < 10; i++, at += 10 * stride) {
            CSI_FORGET(at);
            line[i] = v_load(at);
            v_prefetch(at + LANES);
        }
        output_line8(line, o);
        CSI_UNROLL
        for (size_t i = 0; i < 8; i++)
            v_store(between[i][j], o[i]);
    }
    for (size_t pair = 0; pair < 8; pair += 2) {
        CSI_UNROLL
        for (size_t i = pair; i < pair + 2; i++) {
            CSI_UNROLL
            for (size_t j = 0; j < 10; j++)
                line[j] = v_load(between[i][j]);
            output_line8(line, o);
            finish_row(8, finish, i, o, upper, to);
        }
    }
}

#define OUTPUT_VECTOR(side, finish, name)                                                                    \
    static CSI_NOINLINE void name(const float *m, size_t stride, const struct finish_to *to)                 \
    {                                                                                                        \
        output_vector##side(finish, m, stride, to);                                                          \
    }
OUTPUT_VECTOR(4, FINISH_RAW, output_raw4)
OUTPUT_VECTOR(4, FINISH_MAP, output_map4)
OUTPUT_VECTOR(4, FINISH_POOL, output_pool4)
OUTPUT_VECTOR(6, FINISH_RAW, output_raw6)
OUTPUT_VECTOR(6, FINISH_MAP, output_map6)
OUTPUT_VECTOR(6, FINISH_POOL, output_pool6)
OUTPUT_VECTOR(8, FINISH_RAW, output_raw8)
OUTPUT_VECTOR(8, FINISH_MAP, output_map8)
OUTPUT_VECTOR(8, FINISH_POOL, output_pool8)

/* Asks for the lines that a later tile will write: a store that waits for memory holds up all stores behind
 * it. */
CSI_INLINE void fetch_output(size_t side, const float *out, size_t row, size_t pixel, size_t blocks)
{
    for (size_t i = 0; i < side; i++, out += row) {
        for (size_t j = 0; j < side; j++) {
            for (size_t b = 0; b < blocks; b++)
                v_prefetch(out + j * pixel + b * CSI_WINO_BLOCK);
        }
    }
}

/* A tile that the image's edge cuts: its sums, `raw`, are finished and what lies inside is stored. */
static void finish_cut(const float *raw, size_t side, const struct csi_wino_target *target, size_t y,
                       size_t x, size_t channel)
{
    const size_t rows = side < target->height - y ? side : target->height - y;
    const size_t columns = side < target->width - x ? side : target->width - x, step = target->pool ? 2 : 1;
    const vec low = v_set1(target->activation == CSI_WINO_RELU ? 0.0F : -INFINITY);
    const size_t out_row = target->width / step * target->pitch, row = target->width * target->pitch;
    for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES) {
        const vec bias = v_load(target->bias + channel + lane);
        for (size_t i = 0; i + step <= rows; i += step) {
            float *out =
                target->output + (y + i) / step * out_row + x / step * target->pitch + channel + lane;
            for (size_t j = 0; j + step <= columns; j += step, out += target->pitch) {
                vec most = v_set1(-INFINITY);
                for (size_t k = 0; k < step * step; k++) {
                    const size_t di = i + k / 2, dj = j + k % 2;
                    vec sum = v_add(v_load(raw + (di * side + dj) * CSI_WINO_BLOCK + lane), bias);
                    if (target->residual)
                        sum = v_add(sum, v_load(target->residual + (y + di) * row + (x + dj) * target->pitch +
                                                channel + lane));
                    most = v_max(most, sum);
                }
                v_store(out, v_max(low, most));
            }
        }
    }
}

CSI_INLINE void output_tile(size_t side, const float *m, size_t position_stride,
                            const struct csi_wino_target *target, size_t y, size_t x, size_t channel,
                            size_t blocks)
{
    const unsigned half = target->pool ? 1 : 0; /* as a shift */
    const bool whole =
        y + side <= target->height && x + side <= target->width && !(target->pool && target->residual);
    _Alignas(64) float raw[8 * 8 * CSI_WINO_BLOCK];
    struct finish_to to = {
        .low = v_set1(target->activation == CSI_WINO_RELU ? 0.0F : -INFINITY),
        .row = (target->width >> half) * target->pitch,
        .pixel = target->pitch,
    };
    float *out = target->output + (y >> half) * to.row + (x >> half) * to.pixel + channel;
    const float *residual =
        target->residual ? target->residual + (y * target->width + x) * target->pitch + channel : NULL;
    fetch_output(side >> half, out + ((2 * side) >> half) * to.pixel, to.row, to.pixel, blocks);
    for (; blocks > 0; blocks--, m += CSI_WINO_BLOCK, channel += CSI_WINO_BLOCK) {
        for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane += VEC_LANES) {
            if (!whole) {
                to.out = raw + lane;
                (side == 4   ? output_raw4
                 : side == 6 ? output_raw6
                             : output_raw8)(m + lane, position_stride, &to);
                continue;
            }
            to.bias = v_load(target->bias + channel + lane);
            to.out = out + lane;
            to.residual = residual ? residual + lane : NULL;
            if (target->pool)
                (side == 4   ? output_pool4
                 : side == 6 ? output_pool6
                             : output_pool8)(m + lane, position_stride, &to);
            else
                (side == 4   ? output_map4
                 : side == 6 ? output_map6
                             : output_map8)(m + lane, position_stride, &to);
        }
        if (!whole)
            finish_cut(raw, side, target, y, x, channel);
        out += CSI_WINO_BLOCK;
        residual = residual ? residual + CSI_WINO_BLOCK : NULL;
    }
}

static inline void input4(const struct csi_wino_plane *image, size_t y, size_t x, float *v,
                          size_t block_stride, size_t position_stride)
{
    input_tile(4, image, y, x, v, block_stride, position_stride);
}

static inline void input6(const struct csi_wino_plane *image, size_t y, size_t x, float *v,
                          size_t block_stride, size_t position_stride)
{
    input_tile(6, image, y, x, v, block_stride, position_stride);
}

static inline void input8(const struct csi_wino_plane *image, size_t y, size_t x, float *v,
                          size_t block_stride, size_t position_stride)
{
    input_tile(8, image, y, x, v, block_stride, position_stride);
}

static inline void output4(const float *m, size_t position_stride, const struct csi_wino_target *target,
                           size_t y, size_t x, size_t channel, size_t blocks)
{
    output_tile(4, m, position_stride, target, y, x, channel, blocks);
}

static inline void output6(const float *m, size_t position_stride, const struct csi_wino_target *target,
                           size_t y, size_t x, size_t channel, size_t blocks)
{
    output_tile(6, m, position_stride, target, y, x, channel, blocks);
}

static inline void output8(const float *m, size_t position_stride, const struct csi_wino_target *target,
                           size_t y, size_t x, size_t channel, size_t blocks)
{
    output_tile(8, m, position_stride, target, y, x, channel, blocks);
}

#endif
