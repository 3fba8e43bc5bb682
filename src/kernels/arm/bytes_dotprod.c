/*
 * 8-bit convolution for NEON with dot products: sdot multiplies signed bytes, so the input is read minus 128,
 * which the tile's start makes up for. Register tile 6 × 4: 24 sums, 4 weights, 1 input quad of 32 registers.
 */
#include "kernels/arm/lanes_neon.h"

#include "kernels/byte_lanes.h"

#define BYTE_ROWS    6u
#define BYTE_VECTORS 4u

typedef int32x4_t dots;
typedef int8x16_t quad;
typedef int8x16_t quad_weights;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    return vld1q_s32(p);
}
ALWAYS_INLINE void dots_store(int32_t *p, dots sum)
{
    vst1q_s32(p, sum);
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return vcvtq_f32_s32(sum);
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
    return vdotq_s32(sum, x, w);
}

#include "kernels/byte_tile.h"

static void byte_tile(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: byte_body(t, 1, 4); break;
    case 2: byte_body(t, 2, 4); break;
    case 3: byte_body(t, 3, 4); break;
    case 4: byte_body(t, 4, 4); break;
    case 5: byte_body(t, 5, 4); break;
    default: byte_body(t, 6, 4); break;
    }
}

void csi_bytes_fill_dotprod(struct csi_kernels *kernels)
{
    fill_byte_lanes(kernels);
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_VECTORS * LANES;
    kernels->byte_offset = 128;
    kernels->byte_fast = true;
    kernels->byte_tile = byte_tile;
}
