/*
 * 8-bit convolution for NEON without dot products: smull multiplies signed bytes into 16 bits, so the input
 * is read minus 128, which the tile's start makes up for, and sadalp adds neighbouring products to 32-bit
 * sums. That is exact; adding two products in 16 bits first would not be, as -128 · -128 · 2 does not fit. A
 * sum is kept in two parts, which the end adds. Register tile 3 × 4: 24 registers of sums, 3 inputs, 1 of
 * weights, 2 of products of 32 registers.
 */
#include "kernels/arm/lanes_neon.h"

#include "kernels/byte_lanes.h"

#define BYTE_ROWS    3u
#define BYTE_VECTORS 4u

/* Four sums, each the sum of two neighbours: of the first two outputs, and of the other two. */
typedef struct {
    int32x4_t low, high;
} dots;
typedef int8x16_t quad;
typedef int8x16_t quad_weights;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    const int32x4_t sums = vld1q_s32(p), zero = vdupq_n_s32(0);

    return (dots){vzip1q_s32(sums, zero), vzip2q_s32(sums, zero)};
}
ALWAYS_INLINE void dots_store(int32_t *p, dots sum)
{
    vst1q_s32(p, vpaddq_s32(sum.low, sum.high));
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return vcvtq_f32_s32(vpaddq_s32(sum.low, sum.high));
}
ALWAYS_INLINE quad quad_load(const uint8_t *p)
{
    uint32_t four;

    memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), vdupq_n_u8(128)));
}
ALWAYS_INLINE quad_weights quad_weights_load(const int8_t *p)
{
    return vld1q_s8(p);
}
ALWAYS_INLINE dots dots_add(dots sum, quad x, quad_weights w)
{
    sum.low = vpadalq_s16(sum.low, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    sum.high = vpadalq_s16(sum.high, vmull_high_s8(x, w));
    return sum;
}

#include "kernels/byte_tile.h"

static void byte_tile(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: byte_body(t, 1, 4); break;
    case 2: byte_body(t, 2, 4); break;
    default: byte_body(t, 3, 4); break;
    }
}

void csi_bytes_fill_neon(struct csi_kernels *kernels)
{
    fill_byte_lanes(kernels);
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_VECTORS * LANES;
    kernels->byte_offset = 128;
    kernels->byte_tile = byte_tile;
}
