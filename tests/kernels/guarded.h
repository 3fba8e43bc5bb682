/* Buffers between guard zones, random numbers and comparison for kernel tests. */
#ifndef CS_TESTS_KERNELS_GUARDED_H
#define CS_TESTS_KERNELS_GUARDED_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

#define GUARD_FLOATS 64u
#define GUARD_BITS   0x7fc0dead /* a NaN: a kernel that reads it into a result is found out too */

struct guarded {
    float *block, *data; /* data is 64-byte aligned */
    size_t count;
};

static inline struct guarded guarded_make(size_t count)
{
    struct guarded g = {csi_aligned_alloc((count + 2 * GUARD_FLOATS) * sizeof(float)), NULL, count};
    const uint32_t bits = GUARD_BITS;

    assert_non_null(g.block);
    g.data = g.block + GUARD_FLOATS;
    for (size_t i = 0; i < count + 2 * GUARD_FLOATS; i++)
        memcpy(&g.block[i], &bits, sizeof bits);
    return g;
}

/* Fails when a byte outside was written; frees. */
static inline void guarded_free(struct guarded *g)
{
    for (size_t i = 0; i < 2 * GUARD_FLOATS; i++) {
        uint32_t bits;

        memcpy(&bits, &g->block[i < GUARD_FLOATS ? i : g->count + i], sizeof bits);
        if (bits != GUARD_BITS)
            fail_msg("wrote outside: %zd floats from the %s",
                     i < GUARD_FLOATS ? (ssize_t)i - (ssize_t)GUARD_FLOATS : (ssize_t)(i - GUARD_FLOATS),
                     i < GUARD_FLOATS ? "start" : "end");
    }
    csi_aligned_free(g->block);
    g->block = g->data = NULL;
}

static inline uint32_t random_bits(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* low…high, both possible. */
static inline size_t random_size(uint32_t *state, size_t low, size_t high)
{
    return low + random_bits(state) % (high - low + 1);
}

/* -1…1 */
static inline float random_float(uint32_t *state)
{
    return (float)((double)random_bits(state) / 2147483648.0 - 1.0);
}

static inline void fill_random(uint32_t *state, float *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        data[i] = random_float(state);
}

/* NHWCp with zero padding channels. */
static inline void fill_map(uint32_t *state, float *data, size_t pixels, size_t channels, size_t pitch)
{
    for (size_t i = 0; i < pixels * pitch; i++)
        data[i] = i % pitch < channels ? random_float(state) : 0.0f;
}

static inline void assert_close(const char *what, const float *got, const float *expected, size_t count,
                                double tolerance)
{
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)expected[i]);

        if (!(difference <= tolerance * (1.0 + fabs((double)expected[i]))))
            fail_msg("%s: element %zu is %.9g instead of %.9g", what, i, (double)got[i], (double)expected[i]);
    }
}

#endif
