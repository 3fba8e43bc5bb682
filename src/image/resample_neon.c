/*
 * Resampling with NEON: 32-bit multiply-adds by a scalar; the weights need no repacking.
 */
#include "image/resample.h"

#include <string.h>

#include <arm_neon.h>

static size_t packed_row(uint32_t max_taps)
{
    return max_taps * sizeof(int32_t);
}

static void pack(const int32_t *weights, uint32_t taps, uint32_t lead, void *packed)
{
    (void)lead;
    memcpy(packed, weights, taps * sizeof(int32_t));
}

/* The first of 8 bytes' halves as four 32-bit numbers: r, g, b, and the next pixel's r, which nobody uses. */
static inline int32x4_t load_pixel(const uint8_t *from)
{
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(from)))));
}

static void horizontal(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to)
{
    const int32x4_t half = vdupq_n_s32(1 << (CSI_RESAMPLE_BITS - 1));

    for (uint32_t i = 0; i < axis->count; i++) {
        const int32_t *weights = axis->weights + (size_t)i * axis->max_taps;
        size_t offset = (size_t)axis->start[i] * 3;
        int32x4_t sum[4] = {half, half, half, half};

        for (uint32_t k = 0; k < axis->taps[i]; k++, offset += 3)
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++)
                sum[row] = vmlaq_n_s32(sum[row], load_pixel(from[row] + offset), weights[k]);
#pragma GCC unroll 4
        for (int row = 0; row < 4; row++) {
            int16x4_t narrow = vqmovn_s32(vshrq_n_s32(sum[row], CSI_RESAMPLE_BITS));
            uint8_t bytes[8];

            vst1_u8(bytes, vqmovun_s16(vcombine_s16(narrow, narrow)));
            memcpy(to[row] + (size_t)i * 3, bytes, 3);
        }
    }
}

/* 16 bytes of the output row at `x`. */
static inline uint8x16_t bytes_of_column(const int32_t *weights, const uint8_t *const *rows, uint32_t taps,
                                         size_t x)
{
    int32x4_t sum[4];
    int16x8_t low, high;

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        sum[i] = vdupq_n_s32(1 << (CSI_RESAMPLE_BITS - 1));
    for (uint32_t k = 0; k < taps; k++) {
        uint8x16_t bytes = vld1q_u8(rows[k] + x);
        uint16x8_t a = vmovl_u8(vget_low_u8(bytes)), b = vmovl_u8(vget_high_u8(bytes));

        sum[0] = vmlaq_n_s32(sum[0], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(a))), weights[k]);
        sum[1] = vmlaq_n_s32(sum[1], vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(a))), weights[k]);
        sum[2] = vmlaq_n_s32(sum[2], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(b))), weights[k]);
        sum[3] = vmlaq_n_s32(sum[3], vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(b))), weights[k]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        sum[i] = vshrq_n_s32(sum[i], CSI_RESAMPLE_BITS);
    low = vcombine_s16(vqmovn_s32(sum[0]), vqmovn_s32(sum[1]));
    high = vcombine_s16(vqmovn_s32(sum[2]), vqmovn_s32(sum[3]));
    return vcombine_u8(vqmovun_s16(low), vqmovun_s16(high));
}

static void vertical(const void *packed, const uint8_t *const *rows, uint32_t taps, uint8_t *to, size_t size)
{
    size_t x = 0;

    for (; x + 16 <= size; x += 16)
        vst1q_u8(to + x, bytes_of_column(packed, rows, taps, x));
    if (x < size) { /* reads the padding, writes no further than the row */
        uint8_t rest[16];

        vst1q_u8(rest, bytes_of_column(packed, rows, taps, x));
        memcpy(to + x, rest, size - x);
    }
}

const struct csi_resample_kernels *csi_resample_kernels_neon(void)
{
    static const struct csi_resample_kernels kernels = {"neon", 4, 1, packed_row, pack, horizontal, vertical};

    return &kernels;
}
