/*
 * Checked size arithmetic and small integer helpers. True means the result did not fit.
 */
#ifndef CSI_BASE_CHECKED_H
#define CSI_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool csi_add_overflows(size_t a, size_t b, size_t *sum)
{
    *sum = a + b;
    return *sum < a;
}

static inline bool csi_mul_overflows(size_t a, size_t b, size_t *product)
{
    *product = a * b;
    return a != 0 && *product / a != b;
}

/* `value` rounded up to a multiple of `step` (a power of two). The caller knows that it fits. */
static inline size_t csi_round_up(size_t value, size_t step)
{
    return (value + step - 1) & ~(step - 1);
}

static inline size_t csi_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t csi_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
