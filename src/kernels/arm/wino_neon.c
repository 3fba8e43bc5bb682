/*
 * Winograd steps for 64-bit Arm. The product's register tile is 6 tiles × 16 output channels: 24
 * accumulators, 6 registers of inputs, 1 or 2 of weights; four input channels of a tile are loaded at once
 * and used lane by lane.
 */
#include <arm_neon.h>

#include "base/cpu.h"
#include "kernels/wino_ops.h"

typedef float32x4_t vec;
#define VEC_LANES 4u

CSI_INLINE vec v_load(const float *p)
{
    return vld1q_f32(p);
}
CSI_INLINE void v_store(float *p, vec a)
{
    vst1q_f32(p, a);
}
CSI_INLINE vec v_set1(float a)
{
    return vdupq_n_f32(a);
}
CSI_INLINE vec v_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}
CSI_INLINE vec v_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}
CSI_INLINE vec v_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}
CSI_INLINE vec v_max(vec bound, vec x)
{
    return vmaxq_f32(bound, x);
}
/* a·b + c and c - a·b */
CSI_INLINE vec v_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}
CSI_INLINE vec v_fnma(vec a, vec b, vec c)
{
    return vfmsq_f32(c, a, b);
}
CSI_INLINE void v_prefetch(const float *p)
{
    __builtin_prefetch(p);
}

#define ROWS  6u
#define LANES 16u

#include "kernels/wino_tile.h"
#include "kernels/wino_weights.h"

/* One of the four channels in `b`: row r of sums += b[r][lane] · weights. */
#define ADD_CHANNEL(lane)                                                                                    \
    do {                                                                                                     \
        CSI_UNROLL                                                                                           \
        for (size_t q = 0; q < 4; q++) {                                                                     \
            const float32x4_t weights = vld1q_f32(w + (lane)*stride + q * 4);                                \
            CSI_UNROLL                                                                                       \
            for (size_t r = 0; r < rows; r++)                                                                \
                sum[r][q] = vfmaq_laneq_f32(sum[r][q], weights, b[r], (lane));                               \
        }                                                                                                    \
    } while (0)

CSI_INLINE void gemm_rows(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                          bool add, const float *ahead, size_t ahead_lines)
{
    float32x4_t sum[ROWS][4], b[ROWS];
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        CSI_UNROLL
        for (size_t q = 0; q < 4; q++)
            sum[r][q] = vdupq_n_f32(0.0F);
    }
    for (; blocks > 0; blocks--, v += rows * CSI_WINO_BLOCK) {
        for (size_t c = 0; c < CSI_WINO_BLOCK; c += 4, w += 4 * stride) {
            for (size_t line = ahead_lines; line > 0; line--, ahead += 16)
                __builtin_prefetch(ahead, 0, 2);
            CSI_UNROLL
            for (size_t r = 0; r < rows; r++)
                b[r] = vld1q_f32(v + r * CSI_WINO_BLOCK + c);
            ADD_CHANNEL(0);
            ADD_CHANNEL(1);
            ADD_CHANNEL(2);
            ADD_CHANNEL(3);
        }
    }
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        CSI_UNROLL
        for (size_t q = 0; q < 4; q++) {
            float *to = m + r * LANES + q * 4;
            vst1q_f32(to, add ? vaddq_f32(sum[r][q], vld1q_f32(to)) : sum[r][q]);
        }
    }
}

static void gemm(size_t rows, size_t blocks, const float *v, const float *w, float *m, const float *ahead,
                 size_t ahead_lines)
{
    switch (rows) {
    case 1: gemm_rows(1, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 2: gemm_rows(2, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 3: gemm_rows(3, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 4: gemm_rows(4, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 5: gemm_rows(5, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    default: gemm_rows(6, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    }
}

/* Apart from gemm, whose weights lie without gaps: a stride known when compiling. */
static void row_gemm(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                     bool add, const float *ahead, size_t ahead_lines)
{
    switch (rows) {
    case 1: gemm_rows(1, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 2: gemm_rows(2, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 3: gemm_rows(3, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 4: gemm_rows(4, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 5: gemm_rows(5, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    default: gemm_rows(6, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    }
}

const struct csi_wino_ops csi_wino_ops_neon = {
    .set = "neon",
    .features = CSI_CPU_NEON,
    .rows = ROWS,
    .lanes = LANES,
    .input = {input4, input6, input8},
    .weights = {weights4, weights6},
    .gemm = gemm,
    .row_gemm = row_gemm,
    .output = {output4, output6, output8},
};
