/* Which kernel set has to run with given CPU features; written down here apart from the ladder that chooses
 * it, so that a wrong choice is seen although every set gives the same results. */
#ifndef TESTS_KERNELS_EXPECTED_SET_H
#define TESTS_KERNELS_EXPECTED_SET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

/* CROPSHIELD_SET=NAME: only that set is tested, for emulators of a processor; `name`: a set's, or a kernel's,
 * which ends with it. */
static inline bool set_wanted(const char *name)
{
    const char *only = getenv("CROPSHIELD_SET");
    const size_t length = strlen(name), end = only == NULL ? 0 : strlen(only);
    return end <= length && (end == 0 || strcmp(name + length - end, only) == 0);
}

#endif
