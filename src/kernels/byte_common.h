/*
 * What byte_lanes.h, byte_tile.h and byte_finish.h share. Included behind a set's lanes_….h.
 */
#ifndef CSI_KERNELS_BYTE_COMMON_H
#define CSI_KERNELS_BYTE_COMMON_H

#if defined(__clang__)
#define BYTE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BYTE_UNROLL _Pragma("GCC unroll 16")
#endif
#define BYTE_INLINE static inline __attribute__((always_inline))

BYTE_INLINE lanes byte_clamp(lanes x, lanes low, lanes high)
{
    return lanes_max(low, lanes_min(high, x));
}

#endif
