/* Which kernel set has to run with given CPU features; written down here apart from the ladder that chooses
 * it, so that a wrong choice is seen although every set gives the same results. */
#ifndef TESTS_KERNELS_EXPECTED_SET_H
#define TESTS_KERNELS_EXPECTED_SET_H

#include <stdint.h>

#include "base/cpu.h"

/* `features`: as csi_cpu_allowed gives them. */
static inline const char *expected_set(uint32_t features)
{
    if (features & CSI_CPU_AVX512)
        return "avx512";
    if (features & CSI_CPU_AVX2)
        return "avx2";
    return features & CSI_CPU_NEON ? "neon" : "generic";
}

#endif
