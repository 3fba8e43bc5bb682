/* Four float lanes on NEON. The vocabulary that kernels/lanes_kernels.h and byte_finish.h are written in;
 * included by _neon.c and _dotprod.c files only. */
#ifndef CSI_KERNELS_ARM_LANES_NEON_H
#define CSI_KERNELS_ARM_LANES_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 4u
typedef float32x4_t lanes;

static inline lanes lanes_load(const float *p)
{
    return vld1q_f32(p);
}
static inline void lanes_store(float *p, lanes x)
{
    vst1q_f32(p, x);
}
static inline lanes lanes_set(float x)
{
    return vdupq_n_f32(x);
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return vaddq_f32(a, b);
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    return vsubq_f32(a, b);
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    return vmulq_f32(a, b);
}
static inline lanes lanes_div(lanes a, lanes b)
{
    return vdivq_f32(a, b);
}
static inline lanes lanes_reciprocal(lanes x)
{
    return vdivq_f32(vdupq_n_f32(1.0f), x);
}
/* a·b + c */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return vfmaq_f32(c, a, b);
}
/* A NaN comes through. */
static inline lanes lanes_min(lanes bound, lanes x)
{
    return vminq_f32(bound, x);
}
static inline lanes lanes_max(lanes bound, lanes x)
{
    return vmaxq_f32(bound, x);
}
/* The larger one; a NaN in either comes through. */
static inline lanes lanes_most(lanes a, lanes b)
{
    return vmaxq_f32(a, b);
}
static inline lanes lanes_round(lanes x)
{
    return vrndnq_f32(x);
}
/* x·2^n, n whole and within ±127: in two halves, because 2^127 and 2^-127 are no normal numbers both. */
static inline lanes lanes_scale2(lanes x, lanes n)
{
    int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1), rest = vsubq_s32(whole, half);
    int32x4_t bias = vdupq_n_s32(127);

    x = vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}
/* x < 0 ? a : b */
static inline lanes lanes_if_negative(lanes x, lanes a, lanes b)
{
    return vbslq_f32(vcltq_f32(x, vdupq_n_f32(0.0f)), a, b);
}

/* Bytes to floats. */
static inline lanes lanes_load_bytes(const uint8_t *p)
{
    uint32_t four;

    memcpy(&four, p, sizeof four);
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}
/* Rounded to nearest even, plus zero, saturated. NaN: vcvtn makes it 0 where x86 makes it the least integer.
 */
static inline void lanes_store_bytes(uint8_t *p, lanes x, int32_t zero)
{
    const uint32x4_t number = vceqq_f32(x, x);
    const int32x4_t whole = vbslq_s32(number, vcvtnq_s32_f32(x), vdupq_n_s32(INT32_MIN));
    const uint16x4_t halves = vqmovun_s32(vaddq_s32(whole, vdupq_n_s32(zero)));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(halves, halves))), 0);

    memcpy(p, &four, sizeof four);
}

#endif
