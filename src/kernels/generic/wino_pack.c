/*
 * Winograd weights. Most kernels want U = G·g·Gᵀ, computed in double precision here and laid out as the
 * products read them: bias [outputs × lanes], then [position][output block][input channel][lanes], zeros
 * where a channel is padding. Compact ones want g itself, behind the same bias: [output block][input
 * channel][9] [lanes]; wino_weights.h transforms it while the layer runs.
 */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "kernels/wino_plan.h"

#define LANES_MOST 64u

static const double matrix4[6][3] = {
    {1.0 / 4, 0, 0},
    {-1.0 / 6, -1.0 / 6, -1.0 / 6},
    {-1.0 / 6, 1.0 / 6, -1.0 / 6},
    {1.0 / 24, 1.0 / 12, 1.0 / 6},
    {1.0 / 24, -1.0 / 12, 1.0 / 6},
    {0, 0, 1},
};
static const double matrix6[8][3] = {
    {1, 0, 0},
    {-2.0 / 9, -2.0 / 9, -2.0 / 9},
    {-2.0 / 9, 2.0 / 9, -2.0 / 9},
    {1.0 / 90, 1.0 / 45, 2.0 / 45},
    {1.0 / 90, -1.0 / 45, 2.0 / 45},
    {32.0 / 45, 16.0 / 45, 8.0 / 45},
    {32.0 / 45, -16.0 / 45, 8.0 / 45},
    {0, 0, 1},
};
#define A CSI_WINO8_A
#define B CSI_WINO8_B
/* The rows of points ±p, where q, r and s are the others: p³ · (1, ±p, p²) / Π (p - other points), where p³
 * is what the output transform leaves out (wino_tile.h). */
#define SCALE8(p, q, r, s)                                                                                   \
    ((p) / 2 / (((p) * (p) - (q) * (q)) * ((p) * (p) - (r) * (r)) * ((p) * (p) - (s) * (s))))
#define ROWS8(p, q, r, s)                                                                                    \
    {SCALE8(p, q, r, s), SCALE8(p, q, r, s) * (p), SCALE8(p, q, r, s) * (p) * (p)},                          \
    {                                                                                                        \
        SCALE8(p, q, r, s), SCALE8(p, q, r, s) * -(p), SCALE8(p, q, r, s) * (p) * (p)                        \
    }
static const double matrix8[10][3] = {
    {1, 0, 0},
    ROWS8(A, 1 / A, B, 1 / B),
    ROWS8(1 / A, A, B, 1 / B),
    ROWS8(B, 1 / B, A, 1 / A),
    ROWS8(1 / B, B, A, 1 / A),
    {0, 0, 1},
};

static const double *matrix_of(enum csi_wino_size size)
{
    return size == CSI_WINO_4 ? &matrix4[0][0] : size == CSI_WINO_6 ? &matrix6[0][0] : &matrix8[0][0];
}

/* Sides are bounded so that no product of sizes below can overflow: 2^16 channels × 100 positions × 2^16
 * channels × 4 bytes. */
#define CHANNELS_MOST 65536u
#define SIDE_MOST     65536u

bool csi_wino_shape_make(const struct csi_wino *kernel, const struct csi_wino_desc *desc,
                         struct csi_wino_shape *shape)
{
    if (desc->cin == 0 || desc->cout == 0 || desc->height == 0 || desc->width == 0 ||
        desc->cin > CHANNELS_MOST || desc->cout > CHANNELS_MOST || desc->height > SIDE_MOST ||
        desc->width > SIDE_MOST)
        return false;
    shape->ops = kernel->ops;
    shape->fixed = kernel->fixed;
    shape->size = kernel->size;
    shape->side = csi_wino_tile(kernel);
    shape->positions = (shape->side + 2) * (shape->side + 2);
    shape->kpitch = csi_wino_pitch(desc->cin);
    shape->npitch = csi_wino_pitch(desc->cout);
    shape->outputs = (shape->npitch + kernel->ops->lanes - 1) / kernel->ops->lanes;
    shape->tiles_y = (desc->height + shape->side - 1) / shape->side;
    shape->tiles_x = (desc->width + shape->side - 1) / shape->side;
    shape->rows = kernel->fixed ? kernel->fixed->rows : kernel->ops->rows;
    shape->padded = kernel->fixed ? kernel->fixed->padded : kernel->ops->split;
    shape->end = kernel->fixed ? kernel->fixed->end : kernel->ops->end;
    shape->compact = kernel->schedule == CSI_WINO_COMPACT;
    return true;
}

size_t csi_wino_packed_size(const struct csi_wino *kernel, const struct csi_wino_desc *desc)
{
    struct csi_wino_shape shape;
    if (!csi_wino_shape_make(kernel, desc, &shape))
        return 0;
    if (shape.compact)
        return shape.outputs * (csi_wino_compact_floats(&shape) + kernel->ops->lanes) * sizeof(float);
    return shape.outputs * (shape.positions * csi_wino_weight_floats(&shape) + kernel->ops->lanes) *
           sizeof(float);
}

size_t csi_wino_pack_slices(const struct csi_wino *kernel, const struct csi_wino_desc *desc)
{
    struct csi_wino_shape shape;
    return csi_wino_shape_make(kernel, desc, &shape) ? shape.outputs : 0;
}

/* One input channel, all lanes of a block at a time: g[9][lanes] → positions written `stride` floats apart.
 */
static void transform(const double *matrix, size_t n, size_t lanes, const double *g, float *out,
                      size_t stride)
{
    double half[10 * 3 * LANES_MOST];
    for (size_t i = 0; i < n; i++) {
        const double *row = matrix + i * 3;
        for (size_t j = 0; j < 3; j++) {
            for (size_t c = 0; c < lanes; c++)
                half[(i * 3 + j) * lanes + c] = row[0] * g[j * lanes + c] + row[1] * g[(3 + j) * lanes + c] +
                                                row[2] * g[(6 + j) * lanes + c];
        }
    }
    for (size_t i = 0; i < n; i++) {
        const double *h = half + i * 3 * lanes;
        for (size_t j = 0; j < n; j++) {
            const double *row = matrix + j * 3;
            float *position = out + (i * n + j) * stride;
            for (size_t c = 0; c < lanes; c++)
                position[c] = (float)(row[0] * h[c] + row[1] * h[lanes + c] + row[2] * h[2 * lanes + c]);
        }
    }
}

/* What is packed: see csi_wino_pack. */
struct filters {
    const float *weights;
    const double *factors;
};

static double factor_of(const struct filters *filters, size_t output)
{
    return filters->factors ? filters->factors[output] : 1.0;
}

/* Filters of input channel k and `here` output channels from `first` on, as transform() takes them; zeros
 * elsewhere. */
static void gather(const struct csi_wino_desc *desc, const struct filters *filters, size_t first, size_t here,
                   size_t k, size_t lanes, double *g)
{
    memset(g, 0, 9 * LANES_MOST * sizeof(*g));
    for (size_t c = 0; k < desc->cin && c < here; c++) {
        const float *filter = filters->weights + ((first + c) * desc->cin + k) * 9;
        const double factor = factor_of(filters, first + c);
        for (size_t tap = 0; tap < 9; tap++)
            g[tap * lanes + c] = (double)(float)((double)filter[tap] * factor);
    }
}

static void round_weights(const float *u, const float *scales, size_t lanes, int16_t *integers)
{
    for (size_t i = 0; i < lanes; i++) {
        const long rounded = lrintf(u[i] / scales[i]);
        integers[i] = (int16_t)(rounded > INT16_MAX    ? INT16_MAX
                                : rounded < -INT16_MAX ? -INT16_MAX
                                                       : rounded);
    }
}

/* Fixed point: one scale a position and output channel, as fine as their length and int16 allow (wino_ops.h);
 * then [position]{scales, integers}. */
static void pack_fixed(const struct csi_wino_shape *shape, const struct csi_wino_desc *desc,
                       const struct filters *filters, size_t first, size_t here, float *out)
{
    const double *matrix = matrix_of(shape->size);
    const size_t lanes = shape->ops->lanes, step = shape->outputs * csi_wino_weight_floats(shape);
    const double length = (double)csi_wino_fixed_length(CSI_WINO_FIXED_W_LENGTH, shape->kpitch);
    double g[9 * LANES_MOST], squares[10 * 10 * LANES_MOST] = {0};
    float u[10 * 10 * LANES_MOST];
    for (size_t p = 0; p < shape->positions; p++)
        memset(out + p * step, 0, lanes * sizeof(float));
    for (size_t k = 0; k < desc->cin; k++) {
        gather(desc, filters, first, here, k, lanes, g);
        transform(matrix, shape->side + 2, lanes, g, u, lanes);
        for (size_t i = 0; i < shape->positions * lanes; i++) {
            float *most = out + i / lanes * step + i % lanes;
            *most = fabsf(u[i]) > *most ? fabsf(u[i]) : *most;
            squares[i] += (double)u[i] * (double)u[i];
        }
    }
    for (size_t i = 0; i < shape->positions * lanes; i++) {
        float *scale = out + i / lanes * step + i % lanes;
        const double least = fmax((double)*scale / INT16_MAX, sqrt(squares[i]) / length);
        *scale = least > 0 ? (float)least : 1.0F;
    }
    const size_t pitch = csi_wino_fixed_pitch(shape);
    for (size_t k = 0; k < pitch; k++) {
        gather(desc, filters, first, here, k, lanes, g);
        transform(matrix, shape->side + 2, lanes, g, u, lanes);
        for (size_t p = 0; p < shape->positions; p++) {
            int16_t integers[LANES_MOST];
            round_weights(u + p * lanes, out + p * step, lanes, integers);
            shape->fixed->put_weights(out + p * step + lanes, pitch, k, integers);
        }
    }
}

/* The nearest bfloat16, ties to even. A NaN stays one, though its bits might be carried away. */
static uint32_t to_bfloat16(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return isnan(number) ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* What rounding to it leaves. */
static float rest_of(float number, uint32_t rounded)
{
    const uint32_t bits = rounded << 16;
    float first;
    memcpy(&first, &bits, sizeof(first));
    return number - first;
}

/* Two input channels' weights of a position, [2][lanes] → the lanes of a pair in split weights. */
static void split_pair(const float *even, const float *odd, size_t lanes, uint32_t *out)
{
    const size_t tile = lanes / 2 * (CSI_WINO_SPLIT_BLOCK / 2); /* [channel pair][lanes / 2] */
    for (size_t c = 0; c < lanes; c++, out += c == lanes / 2 ? tile - lanes / 2 + 1 : 1) {
        const uint32_t a = to_bfloat16(even[c]), b = to_bfloat16(odd[c]);
        out[0] = a | b << 16;
        out[2 * tile] = to_bfloat16(rest_of(even[c], a)) | to_bfloat16(rest_of(odd[c], b)) << 16;
    }
}

static void pack_split(const struct csi_wino_shape *shape, const struct csi_wino_desc *desc,
                       const struct filters *filters, size_t first, size_t here, float *out)
{
    const double *matrix = matrix_of(shape->size);
    const size_t lanes = shape->ops->lanes, step = shape->outputs * csi_wino_weight_floats(shape);
    double g[9 * LANES_MOST];
    float u[2][10 * 10 * LANES_MOST];
    for (size_t k = 0; k < csi_wino_split_pitch(shape); k += 2) {
        for (size_t i = 0; i < 2; i++) {
            gather(desc, filters, first, here, k + i, lanes, g);
            transform(matrix, shape->side + 2, lanes, g, u[i], lanes);
        }
        const size_t block = k / CSI_WINO_SPLIT_BLOCK, pair = k % CSI_WINO_SPLIT_BLOCK / 2;
        float *position = out + block * CSI_WINO_SPLIT_BLOCK * lanes + pair * (lanes / 2);
        for (size_t p = 0; p < shape->positions; p++, position += step)
            split_pair(u[0] + p * lanes, u[1] + p * lanes, lanes, (uint32_t *)(void *)position);
    }
}

static void pack_compact(const struct csi_wino_shape *shape, const struct csi_wino_desc *desc,
                         const struct filters *filters, size_t first, size_t here, float *out)
{
    const size_t lanes = shape->ops->lanes;
    for (size_t k = 0; k < shape->kpitch; k++, out += 9 * lanes) {
        const size_t used = k < desc->cin ? here : 0;
        for (size_t c = 0; c < used; c++) {
            const float *filter = filters->weights + ((first + c) * desc->cin + k) * 9;
            const double factor = factor_of(filters, first + c);
            for (size_t tap = 0; tap < 9; tap++)
                out[tap * lanes + c] = (float)((double)filter[tap] * factor);
        }
        for (size_t tap = 0; used < lanes && tap < 9; tap++)
            memset(out + tap * lanes + used, 0, (lanes - used) * sizeof(float));
    }
}

void csi_wino_pack(const struct csi_wino *kernel, const struct csi_wino_desc *desc, const float *weights,
                   const double *factors, const float *bias, void *packed, size_t slice)
{
    const struct filters filters = {weights, factors};
    struct csi_wino_shape shape;
    if (!csi_wino_shape_make(kernel, desc, &shape) || slice >= shape.outputs)
        return;
    const size_t lanes = kernel->ops->lanes, first = slice * lanes;
    float *packed_bias = (float *)packed + first;
    float *out = (float *)packed + shape.outputs * lanes + slice * csi_wino_weight_floats(&shape);
    const size_t here = first < desc->cout ? csi_min_size(lanes, desc->cout - first) : 0;
    double g[9 * LANES_MOST];
    for (size_t c = 0; c < lanes; c++)
        packed_bias[c] = bias && c < here ? bias[first + c] : 0.0F;
    if (shape.compact) {
        pack_compact(&shape, desc, &filters, first, here,
                     (float *)packed + shape.outputs * lanes + slice * csi_wino_compact_floats(&shape));
        return;
    }
    if (kernel->fixed) {
        pack_fixed(&shape, desc, &filters, first, here, out);
        return;
    }
    if (kernel->ops->split) {
        pack_split(&shape, desc, &filters, first, here, out);
        return;
    }
    for (size_t k = 0; k < shape.kpitch; k++) {
        gather(desc, &filters, first, here, k, lanes, g);
        transform(matrix_of(shape.size), shape.side + 2, lanes, g, out + k * lanes,
                  shape.outputs * shape.kpitch * lanes);
    }
}
