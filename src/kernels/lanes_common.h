/*
 * What the kernels written in terms of "lanes" share. Included behind a set's lanes_….h.
 */
#ifndef CSI_KERNELS_LANES_COMMON_H
#define CSI_KERNELS_LANES_COMMON_H

/* Register tiles live in arrays that only become registers when every loop over them is unrolled. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE lanes lanes_clamp(lanes x, lanes low, lanes high)
{
    return lanes_max(low, lanes_min(high, x));
}

#endif
