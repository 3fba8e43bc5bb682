/*
 * Resampling with AVX-512 and VNNI: vpdpbusd sums four products of an unsigned byte and a signed byte a lane.
 *
 * A 22-bit weight is three signed bytes, k = 65536·a + 256·b + c, so three vpdpbusd give the exact sum: the
 * carries are put together at the end, modulo 2^32, where the true sum fits. Sixteen taps of three channels
 * are one register.
 */
#include "image/resample.h"

#include <string.h>

#include <immintrin.h>

/* One output's weights: for each group of 16 taps 16 bytes a, 16 bytes b, 16 bytes c. */
#define GROUP 16u

static size_t packed_row(uint32_t max_taps)
{
    return (size_t)((max_taps + GROUP - 1) / GROUP) * 3 * GROUP;
}

static void pack(const int32_t *weights, uint32_t max_taps, void *packed)
{
    int8_t *bytes = packed;

    memset(bytes, 0, packed_row(max_taps));
    for (uint32_t k = 0; k < max_taps; k++) {
        int8_t *group = bytes + (size_t)(k / GROUP) * 3 * GROUP + k % GROUP;
        int32_t c = (int32_t)(((uint32_t)weights[k] & 255u) ^ 128u) - 128;
        int32_t rest = (weights[k] - c) / 256;
        int32_t b = (int32_t)(((uint32_t)rest & 255u) ^ 128u) - 128;

        group[0] = (int8_t)((rest - b) / 256); /* |k| < 2^23: fits */
        group[GROUP] = (int8_t)b;
        group[2 * GROUP] = (int8_t)c;
    }
}

/* 65536·a + 256·b + c + one half, as 32-bit lanes. */
static inline __m512i combine(__m512i a, __m512i b, __m512i c)
{
    const __m512i half = _mm512_set1_epi32(1 << (CSI_RESAMPLE_BITS - 1));

    return _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(a, 16), _mm512_slli_epi32(b, 8)),
                            _mm512_add_epi32(c, half));
}

/* The four 128-bit lanes of each of four registers summed: lane i of the result is the sum of t[i]'s lanes.
 */
static inline __m512i sum_lanes(const __m512i t[4])
{
    __m512i u0 =
        _mm512_add_epi32(_mm512_shuffle_i32x4(t[0], t[1], 0x88), _mm512_shuffle_i32x4(t[0], t[1], 0xdd));
    __m512i u1 =
        _mm512_add_epi32(_mm512_shuffle_i32x4(t[2], t[3], 0x88), _mm512_shuffle_i32x4(t[2], t[3], 0xdd));

    return _mm512_add_epi32(_mm512_shuffle_i32x4(u0, u1, 0x88), _mm512_shuffle_i32x4(u0, u1, 0xdd));
}

/* 16 pixels of 3 bytes -> 16 lanes: lane 4j + c holds channel c of pixels 4j … 4j + 3; every fourth lane is
 * zero. */
static inline __m512i load_pixels(const uint8_t *from)
{
    const __m512i spread = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i planes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -128, -128, -128, -128));

    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(spread, _mm512_loadu_si512(from)), planes);
}

static inline __m512i load_weights(const int8_t *from)
{
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);

    return _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(_mm_load_si128((const void *)from)));
}

/* One output pixel of four rows: byte 4i + c is channel c of row i. */
static inline __m128i pixel_of_four(const int8_t *weights, const uint8_t *const *from, size_t offset,
                                    uint32_t groups)
{
    __m512i a[4], b[4], c[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = b[i] = c[i] = _mm512_setzero_si512();
    for (uint32_t g = 0; g < groups; g++, weights += 3 * GROUP, offset += 3 * GROUP) {
        __m512i wa = load_weights(weights), wb = load_weights(weights + GROUP),
                wc = load_weights(weights + 2 * GROUP);

#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i pixels = load_pixels(from[i] + offset);

            a[i] = _mm512_dpbusd_epi32(a[i], pixels, wa);
            b[i] = _mm512_dpbusd_epi32(b[i], pixels, wb);
            c[i] = _mm512_dpbusd_epi32(c[i], pixels, wc);
        }
    }
    /* The lanes first: sums are linear, and one combination then serves all four rows. */
    a[0] = combine(sum_lanes(a), sum_lanes(b), sum_lanes(c));
    a[0] = _mm512_max_epi32(_mm512_srai_epi32(a[0], CSI_RESAMPLE_BITS), _mm512_setzero_si512());
    return _mm512_cvtusepi32_epi8(a[0]);
}

static void horizontal(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to)
{
    const int8_t *weights = axis->packed;
    uint32_t last = axis->count - 1;
    uint32_t pixels[4];

    for (uint32_t i = 0; i < axis->count; i++, weights += axis->packed_row) {
        uint32_t groups = (axis->taps[i] + GROUP - 1) / GROUP;
        __m128i made = pixel_of_four(weights, from, (size_t)axis->start[i] * 3, groups);

        _mm_storeu_si128((void *)pixels, made);
        if (i == last) { /* exactly three bytes a row */
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++)
                memcpy(to[row] + (size_t)i * 3, &pixels[row], 3);
            return;
        }
#pragma GCC unroll 4
        for (int row = 0; row < 4; row++) /* the fourth byte is covered by the next pixel */
            memcpy(to[row] + (size_t)i * 3, &pixels[row], 4);
    }
}

/* 64 bytes of the output row at `x`, taps four by four. */
static inline __m512i bytes_of_column(const int8_t *weights, const uint8_t *const *rows, uint32_t taps,
                                      size_t x, __mmask64 mask)
{
    __m512i a[4], b[4], c[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = b[i] = c[i] = _mm512_setzero_si512();
    for (uint32_t k = 0; k < taps; k += 4) {
        const int8_t *w = weights + (size_t)(k / GROUP) * 3 * GROUP + k % GROUP;
        int32_t word[3];
        __m512i row[4], low01, high01, low23, high23, q[4];

        /* Missing rows have zero weights; any row stands in for them. */
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            row[i] = _mm512_maskz_loadu_epi8(mask, rows[k + i < taps ? k + i : k] + x);
        memcpy(&word[0], w, 4);
        memcpy(&word[1], w + GROUP, 4);
        memcpy(&word[2], w + 2 * GROUP, 4);
        low01 = _mm512_unpacklo_epi8(row[0], row[1]);
        high01 = _mm512_unpackhi_epi8(row[0], row[1]);
        low23 = _mm512_unpacklo_epi8(row[2], row[3]);
        high23 = _mm512_unpackhi_epi8(row[2], row[3]);
        q[0] = _mm512_unpacklo_epi16(low01, low23);
        q[1] = _mm512_unpackhi_epi16(low01, low23);
        q[2] = _mm512_unpacklo_epi16(high01, high23);
        q[3] = _mm512_unpackhi_epi16(high01, high23);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            a[i] = _mm512_dpbusd_epi32(a[i], q[i], _mm512_set1_epi32(word[0]));
            b[i] = _mm512_dpbusd_epi32(b[i], q[i], _mm512_set1_epi32(word[1]));
            c[i] = _mm512_dpbusd_epi32(c[i], q[i], _mm512_set1_epi32(word[2]));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = _mm512_srai_epi32(combine(a[i], b[i], c[i]), CSI_RESAMPLE_BITS);
    return _mm512_packus_epi16(_mm512_packs_epi32(a[0], a[1]), _mm512_packs_epi32(a[2], a[3]));
}

static void vertical(const void *packed, const uint8_t *const *rows, uint32_t taps, uint8_t *to, size_t size)
{
    size_t x = 0;

    for (; x + 64 <= size; x += 64)
        _mm512_storeu_si512(to + x, bytes_of_column(packed, rows, taps, x, ~(__mmask64)0));
    if (x < size) {
        __mmask64 mask = ((__mmask64)1 << (size - x)) - 1;

        _mm512_mask_storeu_epi8(to + x, mask, bytes_of_column(packed, rows, taps, x, mask));
    }
}

const struct csi_resample_kernels *csi_resample_kernels_avx512vnni(void)
{
    static const struct csi_resample_kernels kernels = {"avx512vnni", packed_row, pack, horizontal, vertical};

    return &kernels;
}
