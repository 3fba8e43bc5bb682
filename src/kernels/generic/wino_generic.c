/*
 * Winograd steps in plain C: the reference for the vector versions, and what runs where there is none. The
 * transforms are products with the matrices as the paper prints them; nothing is clever here.
 */
#include "base/checked.h"
#include "kernels/wino_ops.h"

#define ROWS  4u
#define LANES 16u

static const float input_matrix4[6][6] = {
    {4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
    {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1},
};
static const float output_matrix4[4][6] = {
    {1, 1, 1, 1, 1, 0},
    {0, 1, -1, 2, -2, 0},
    {0, 1, 1, 4, 4, 0},
    {0, 1, -1, 8, -8, 1},
};
static const float input_matrix6[8][8] = {
    {1, 0, -5.25F, 0, 5.25F, 0, -1, 0},        {0, 1, 1, -4.25F, -4.25F, 1, 1, 0},
    {0, -1, 1, 4.25F, -4.25F, -1, 1, 0},       {0, 0.5F, 0.25F, -2.5F, -1.25F, 2, 1, 0},
    {0, -0.5F, 0.25F, 2.5F, -1.25F, -2, 1, 0}, {0, 2, 4, -2.5F, -5, 0.5F, 1, 0},
    {0, -2, 4, 2.5F, -5, -0.5F, 1, 0},         {0, -1, 0, 5.25F, 0, -5.25F, 0, 1},
};
static const float output_matrix6[6][8] = {
    {1, 1, 1, 1, 1, 1, 1, 0},
    {0, 1, -1, 2, -2, 0.5F, -0.5F, 0},
    {0, 1, 1, 4, 4, 0.25F, 0.25F, 0},
    {0, 1, -1, 8, -8, 0.125F, -0.125F, 0},
    {0, 1, 1, 16, 16, 0.0625F, 0.0625F, 0},
    {0, 1, -1, 32, -32, 0.03125F, -0.03125F, 1},
};

/* F(8,3), by its points (see wino_ops.h). */
#define A  CSI_WINO8_A
#define B  CSI_WINO8_B
#define KA (A * A + 1 / (A * A)) /* (x² - a²)·(x² - 1/a²) = x⁴ - KA·x² + 1 */
#define KB (B * B + 1 / (B * B))
/* x·(x + p)·(x² - qq)·(x⁴ - k·x² + 1), from x¹ on. */
#define ROW8(p, qq, k)                                                                                       \
    {                                                                                                        \
        0, (float)(-(p) * (qq)), (float)-(qq), (float)((p) * (1 + (k) * (qq))), (float)(1 + (k) * (qq)),     \
            (float)(-(p) * ((k) + (qq))), (float)-((k) + (qq)), (float)(p), 1, 0                             \
    }
static const float input_matrix8[10][10] = {
    {1, 0, (float)-(KA + KB), 0, (float)(2 + KA * KB), 0, (float)-(KA + KB), 0, 1, 0},
    ROW8(A, 1 / (A * A), KB),
    ROW8(-A, 1 / (A * A), KB),
    ROW8(1 / A, A *A, KB),
    ROW8(-1 / A, A *A, KB),
    ROW8(B, 1 / (B * B), KA),
    ROW8(-B, 1 / (B * B), KA),
    ROW8(1 / B, B *B, KA),
    ROW8(-1 / B, B *B, KA),
    {0, 1, 0, (float)-(KA + KB), 0, (float)(2 + KA * KB), 0, (float)-(KA + KB), 0, 1},
};
/* Row i has the powers i - 3 of the points: `a` and `b` are those of a and b. */
#define POWERS8(zero, sign, a, b, infinity)                                                                  \
    {                                                                                                        \
        zero, (float)(a), (float)((sign) * (a)), (float)(1 / (a)), (float)((sign) / (a)), (float)(b),        \
            (float)((sign) * (b)), (float)(1 / (b)), (float)((sign) / (b)), infinity                         \
    }
static const float output_matrix8[8][10] = {
    POWERS8(1, 1, 1 / (A * A * A), 1 / (B * B * B), 0),
    POWERS8(0, -1, 1 / (A * A), 1 / (B * B), 0),
    POWERS8(0, 1, 1 / A, 1 / B, 0),
    POWERS8(0, -1, 1.0, 1.0, 0),
    POWERS8(0, 1, A, B, 0),
    POWERS8(0, -1, A *A, B *B, 0),
    POWERS8(0, 1, A *A *A, B *B *B, 0),
    POWERS8(0, -1, A *A *A *A, B *B *B *B, 1),
};

static const float weight_matrix4[6][3] = {
    {1.0F / 4, 0, 0},
    {-1.0F / 6, -1.0F / 6, -1.0F / 6},
    {-1.0F / 6, 1.0F / 6, -1.0F / 6},
    {1.0F / 24, 1.0F / 12, 1.0F / 6},
    {1.0F / 24, -1.0F / 12, 1.0F / 6},
    {0, 0, 1},
};
static const float weight_matrix6[8][3] = {
    {1, 0, 0},
    {-2.0F / 9, -2.0F / 9, -2.0F / 9},
    {-2.0F / 9, 2.0F / 9, -2.0F / 9},
    {1.0F / 90, 1.0F / 45, 2.0F / 45},
    {1.0F / 90, -1.0F / 45, 2.0F / 45},
    {32.0F / 45, 16.0F / 45, 8.0F / 45},
    {32.0F / 45, -16.0F / 45, 8.0F / 45},
    {0, 0, 1},
};

/* out[rows][columns] = matrix · in · matrixᵀ for `in` of n × n; matrix: rows × n. */
static void sandwich(const float *matrix, size_t rows, size_t n, const float *in, float *out)
{
    float half[10 * 10];
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = 0.0F;
            for (size_t k = 0; k < n; k++)
                sum += matrix[i * n + k] * in[k * n + j];
            half[i * n + j] = sum;
        }
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < rows; j++) {
            float sum = 0.0F;
            for (size_t k = 0; k < n; k++)
                sum += half[i * n + k] * matrix[j * n + k];
            out[i * rows + j] = sum;
        }
    }
}

static void input_tile(size_t side, const float *matrix, const struct csi_wino_plane *image, size_t y,
                       size_t x, float *v, size_t block_stride, size_t position_stride)
{
    const size_t n = side + 2;
    float patch[10 * 10], out[10 * 10];
    for (size_t channel = image->first; channel < image->last; channel++) {
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                size_t row = y + i, column = x + j; /* one more than the image's */
                bool inside = row >= 1 && row <= image->height && column >= 1 && column <= image->width;
                patch[i * n + j] =
                    inside ? image->pixels[((row - 1) * image->width + column - 1) * image->pitch + channel]
                           : 0.0F;
            }
        }
        sandwich(matrix, n, n, patch, out);
        float *block =
            v + (channel - image->first) / CSI_WINO_BLOCK * block_stride + channel % CSI_WINO_BLOCK;
        for (size_t p = 0; p < n * n; p++)
            block[p * position_stride] = out[p];
    }
}

static void input4(const struct csi_wino_plane *image, size_t y, size_t x, float *v, size_t block_stride,
                   size_t position_stride)
{
    input_tile(4, &input_matrix4[0][0], image, y, x, v, block_stride, position_stride);
}

static void input6(const struct csi_wino_plane *image, size_t y, size_t x, float *v, size_t block_stride,
                   size_t position_stride)
{
    input_tile(6, &input_matrix6[0][0], image, y, x, v, block_stride, position_stride);
}

static void input8(const struct csi_wino_plane *image, size_t y, size_t x, float *v, size_t block_stride,
                   size_t position_stride)
{
    input_tile(8, &input_matrix8[0][0], image, y, x, v, block_stride, position_stride);
}

static void weights_row(const float (*matrix)[3], size_t n, const float *g, size_t row, size_t channels,
                        float *u, size_t stride)
{
    for (size_t k = 0; k < channels; k++, g += 9 * LANES, u += stride) {
        for (size_t c = 0; c < LANES; c++) {
            float half[3];
            for (size_t j = 0; j < 3; j++)
                half[j] = matrix[row][0] * g[j * LANES + c] + matrix[row][1] * g[(3 + j) * LANES + c] +
                          matrix[row][2] * g[(6 + j) * LANES + c];
            for (size_t j = 0; j < n; j++)
                u[j * LANES + c] = matrix[j][0] * half[0] + matrix[j][1] * half[1] + matrix[j][2] * half[2];
        }
    }
}

static void weights4(const float *g, size_t row, size_t channels, float *u, size_t stride)
{
    weights_row(weight_matrix4, 6, g, row, channels, u, stride);
}

static void weights6(const float *g, size_t row, size_t channels, float *u, size_t stride)
{
    weights_row(weight_matrix6, 8, g, row, channels, u, stride);
}

static void row_gemm(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                     bool add, const float *ahead, size_t ahead_lines)
{
    (void)ahead;
    (void)ahead_lines;
    float sum[ROWS * LANES] = {0};
    for (; blocks > 0; blocks--, v += rows * CSI_WINO_BLOCK) {
        for (size_t c = 0; c < CSI_WINO_BLOCK; c++, w += stride) {
            for (size_t r = 0; r < rows; r++) {
                for (size_t n = 0; n < LANES; n++)
                    sum[r * LANES + n] += v[r * CSI_WINO_BLOCK + c] * w[n];
            }
        }
    }
    for (size_t i = 0; i < rows * LANES; i++)
        m[i] = add ? m[i] + sum[i] : sum[i];
}

static void gemm(size_t rows, size_t blocks, const float *v, const float *w, float *m, const float *ahead,
                 size_t ahead_lines)
{
    row_gemm(rows, blocks, v, w, LANES, m, false, ahead, ahead_lines);
}

/* `tile`: side × side × 16 raw sums; bias, residual, activation and pooling are applied and what lies inside
 * the image is stored. */
static void finish_tile(float *tile, size_t side, const struct csi_wino_target *target, size_t y, size_t x,
                        size_t channel)
{
    const size_t rows = csi_min_size(side, target->height - y),
                 columns = csi_min_size(side, target->width - x);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            float *sums = tile + (i * side + j) * CSI_WINO_BLOCK;
            const float *residual = target->residual;
            if (residual)
                residual += ((y + i) * target->width + x + j) * target->pitch + channel;
            for (size_t c = 0; c < CSI_WINO_BLOCK; c++) {
                float sum = sums[c] + target->bias[channel + c];
                sum = residual ? sum + residual[c] : sum;
                sums[c] = target->activation == CSI_WINO_RELU && sum < 0.0F ? 0.0F : sum;
            }
            if (!target->pool) {
                float *out = target->output + ((y + i) * target->width + x + j) * target->pitch + channel;
                for (size_t c = 0; c < CSI_WINO_BLOCK; c++)
                    out[c] = sums[c];
            }
        }
    }
    if (!target->pool)
        return;
    for (size_t i = 0; i + 1 < rows; i += 2) {
        for (size_t j = 0; j + 1 < columns; j += 2) {
            const float *a = tile + (i * side + j) * CSI_WINO_BLOCK, *b = a + side * CSI_WINO_BLOCK;
            float *out =
                target->output + ((y + i) / 2 * (target->width / 2) + (x + j) / 2) * target->pitch + channel;
            for (size_t c = 0; c < CSI_WINO_BLOCK; c++) {
                float upper = a[c] > a[c + CSI_WINO_BLOCK] ? a[c] : a[c + CSI_WINO_BLOCK];
                float lower = b[c] > b[c + CSI_WINO_BLOCK] ? b[c] : b[c + CSI_WINO_BLOCK];
                out[c] = upper > lower ? upper : lower;
            }
        }
    }
}

static void output_tile(size_t side, const float *matrix, const float *m, size_t position_stride,
                        const struct csi_wino_target *target, size_t y, size_t x, size_t channel,
                        size_t blocks)
{
    const size_t n = side + 2;
    float in[10 * 10], out[8 * 8], tile[8 * 8 * CSI_WINO_BLOCK];
    for (; blocks > 0; blocks--, m += CSI_WINO_BLOCK, channel += CSI_WINO_BLOCK) {
        for (size_t lane = 0; lane < CSI_WINO_BLOCK; lane++) {
            for (size_t p = 0; p < n * n; p++)
                in[p] = m[p * position_stride + lane];
            sandwich(matrix, side, n, in, out);
            for (size_t p = 0; p < side * side; p++)
                tile[p * CSI_WINO_BLOCK + lane] = out[p];
        }
        finish_tile(tile, side, target, y, x, channel);
    }
}

static void output4(const float *m, size_t position_stride, const struct csi_wino_target *target, size_t y,
                    size_t x, size_t channel, size_t blocks)
{
    output_tile(4, &output_matrix4[0][0], m, position_stride, target, y, x, channel, blocks);
}

static void output6(const float *m, size_t position_stride, const struct csi_wino_target *target, size_t y,
                    size_t x, size_t channel, size_t blocks)
{
    output_tile(6, &output_matrix6[0][0], m, position_stride, target, y, x, channel, blocks);
}

static void output8(const float *m, size_t position_stride, const struct csi_wino_target *target, size_t y,
                    size_t x, size_t channel, size_t blocks)
{
    output_tile(8, &output_matrix8[0][0], m, position_stride, target, y, x, channel, blocks);
}

const struct csi_wino_ops csi_wino_ops_generic = {
    .set = "generic",
    .features = 0,
    .rows = ROWS,
    .lanes = LANES,
    .input = {input4, input6, input8},
    .weights = {weights4, weights6},
    .gemm = gemm,
    .row_gemm = row_gemm,
    .output = {output4, output6, output8},
};
