/*
 * Resampling kernels in plain C: the reference that the vector versions are tested against, byte for byte.
 * Owns the choice too.
 */
#include "image/resample.h"

#include <string.h>

#include "base/cpu.h"

enum { ROWS = 4 };

static size_t packed_row(uint32_t max_taps)
{
    return max_taps * sizeof(int32_t);
}

static void pack(const int32_t *weights, uint32_t taps, uint32_t lead, void *packed)
{
    (void)lead;
    memcpy(packed, weights, taps * sizeof(int32_t));
}

static uint8_t to_byte(int32_t sum)
{
    int32_t value = sum >> CSI_RESAMPLE_BITS;

    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void horizontal(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t i = 0; i < axis->count; i++) {
            const int32_t *weights = axis->weights + (size_t)i * axis->max_taps;
            const uint8_t *pixel = from[row] + (size_t)axis->start[i] * 3;
            int32_t r = 1 << (CSI_RESAMPLE_BITS - 1), g = r, b = r;

            for (uint32_t k = 0; k < axis->taps[i]; k++, pixel += 3) {
                r += pixel[0] * weights[k];
                g += pixel[1] * weights[k];
                b += pixel[2] * weights[k];
            }
            to[row][i * 3] = to_byte(r);
            to[row][i * 3 + 1] = to_byte(g);
            to[row][i * 3 + 2] = to_byte(b);
        }
    }
}

static void vertical(const void *packed, const uint8_t *const *rows, uint32_t taps, uint8_t *to, size_t size)
{
    const int32_t *weights = packed;

    for (size_t x = 0; x < size; x++) {
        int32_t sum = 1 << (CSI_RESAMPLE_BITS - 1);

        for (uint32_t k = 0; k < taps; k++)
            sum += rows[k][x] * weights[k];
        to[x] = to_byte(sum);
    }
}

const struct csi_resample_kernels *csi_resample_kernels_c(void)
{
    static const struct csi_resample_kernels kernels = {"generic", ROWS,       1,       packed_row,
                                                        pack,      horizontal, vertical};

    return &kernels;
}

const struct csi_resample_kernels *csi_resample_choose(uint32_t cpu_features)
{
#if defined(__x86_64__)
    if ((cpu_features & CSI_CPU_AVX512) != 0 && (cpu_features & CSI_CPU_AVX512_VNNI) != 0)
        return csi_resample_kernels_avx512vnni();
    if ((cpu_features & CSI_CPU_AVX2) != 0)
        return csi_resample_kernels_avx2();
#elif defined(__aarch64__)
    if ((cpu_features & CSI_CPU_NEON) != 0)
        return csi_resample_kernels_neon();
#endif
    (void)cpu_features;
    return csi_resample_kernels_c();
}
