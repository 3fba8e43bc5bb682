/*
 * Resampling with AVX2: vpmaddwd sums two products of 16-bit numbers a lane.
 *
 * A 22-bit weight is two halves, k = 32768·high + low with 0 ≤ low < 32768, so two vpmaddwd give the exact
 * sum; it is put together at the end, modulo 2^32, where the true sum fits. Four taps of three channels are
 * one register.
 */
#include "image/resample.h"

#include <string.h>

#include <immintrin.h>

/* One output's weights: for each group of 4 taps 4 high halves, then 4 low halves. */
#define GROUP 4u

static size_t packed_row(uint32_t max_taps)
{
    return (size_t)((max_taps + GROUP - 1) / GROUP) * 2 * GROUP * sizeof(int16_t);
}

static void pack(const int32_t *weights, uint32_t taps, uint32_t lead, void *packed)
{
    int16_t *halves = packed;

    (void)lead;
    for (uint32_t k = 0; k < taps; k++) {
        int16_t *group = halves + (size_t)(k / GROUP) * 2 * GROUP + k % GROUP;
        int32_t low = (int32_t)((uint32_t)weights[k] & 32767u);

        group[0] = (int16_t)((weights[k] - low) / 32768);
        group[GROUP] = (int16_t)low;
    }
}

/* 32768·high + low + one half, shifted down. */
static inline __m256i finish(__m256i high, __m256i low)
{
    const __m256i half = _mm256_set1_epi32(1 << (CSI_RESAMPLE_BITS - 1));

    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, 15), low), half),
                             CSI_RESAMPLE_BITS);
}

/* 4 pixels of 3 bytes -> 8 lanes of two 16-bit numbers: pixels (0, 1) of r, g, b, nothing; then pixels (2,
 * 3). */
static inline __m256i load_pixels(const uint8_t *from)
{
    const __m256i planes =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, /* pixels 0, 1 */
                         6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)from)), planes);
}

/* Sums the two 128-bit halves of x and y: low half of the result is x's sum, high half is y's. */
static inline __m256i sum_halves(__m256i x, __m256i y)
{
    return _mm256_add_epi32(_mm256_permute2x128_si256(x, y, 0x20), _mm256_permute2x128_si256(x, y, 0x31));
}

/* One output pixel of four rows: byte 4i + c is channel c of row i. */
static inline __m128i pixel_of_four(const int16_t *weights, const uint8_t *const *from, size_t offset,
                                    uint32_t groups)
{
    const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    __m256i high[4], low[4], rows01, rows23, packed;

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        high[i] = low[i] = _mm256_setzero_si256();
    for (uint32_t g = 0; g < groups; g++, weights += 2 * GROUP, offset += 3 * GROUP) {
        __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)weights));
        __m256i wh = _mm256_permutevar8x32_epi32(both, spread);
        __m256i wl = _mm256_permutevar8x32_epi32(both, _mm256_add_epi32(spread, _mm256_set1_epi32(2)));

#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m256i pixels = load_pixels(from[i] + offset);

            high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pixels, wh));
            low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pixels, wl));
        }
    }
    rows01 = finish(sum_halves(high[0], high[1]), sum_halves(low[0], low[1]));
    rows23 = finish(sum_halves(high[2], high[3]), sum_halves(low[2], low[3]));
    packed = _mm256_packs_epi32(rows01, rows23);     /* low half: rows 0, 2; high half: rows 1, 3 */
    packed = _mm256_permute4x64_epi64(packed, 0xd8); /* rows 0, 1; rows 2, 3 */
    return _mm_packus_epi16(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
}

static void horizontal(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to)
{
    const unsigned char *weights = axis->packed;
    uint32_t last = axis->count - 1;
    uint32_t pixels[4];

    for (uint32_t i = 0; i < axis->count; i++, weights += axis->packed_row) {
        uint32_t groups = (axis->taps[i] + GROUP - 1) / GROUP;
        __m128i made = pixel_of_four((const void *)weights, from, (size_t)axis->start[i] * 3, groups);

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

/* 32 bytes of the output row at `x`, taps two by two. */
static inline __m256i bytes_of_column(const int16_t *weights, const uint8_t *const *rows, uint32_t taps,
                                      size_t x)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i high[4], low[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        high[i] = low[i] = zero;
    for (uint32_t k = 0; k < taps; k += 2) {
        const int16_t *w = weights + (size_t)(k / GROUP) * 2 * GROUP + k % GROUP;
        int32_t word[2];
        __m256i row0 = _mm256_loadu_si256((const void *)(rows[k] + x));
        __m256i row1 = _mm256_loadu_si256((const void *)(rows[k + 1 < taps ? k + 1 : k] + x));
        __m256i bytes_low = _mm256_unpacklo_epi8(row0, row1), bytes_high = _mm256_unpackhi_epi8(row0, row1);
        __m256i q[4], wh, wl;

        memcpy(&word[0], w, 4);
        memcpy(&word[1], w + GROUP, 4);
        wh = _mm256_set1_epi32(word[0]);
        wl = _mm256_set1_epi32(word[1]);
        q[0] = _mm256_unpacklo_epi8(bytes_low, zero);
        q[1] = _mm256_unpackhi_epi8(bytes_low, zero);
        q[2] = _mm256_unpacklo_epi8(bytes_high, zero);
        q[3] = _mm256_unpackhi_epi8(bytes_high, zero);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(q[i], wh));
            low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(q[i], wl));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        high[i] = finish(high[i], low[i]);
    return _mm256_packus_epi16(_mm256_packs_epi32(high[0], high[1]), _mm256_packs_epi32(high[2], high[3]));
}

static void vertical(const void *packed, const uint8_t *const *rows, uint32_t taps, uint8_t *to, size_t size)
{
    size_t x = 0;

    for (; x + 32 <= size; x += 32)
        _mm256_storeu_si256((void *)(to + x), bytes_of_column(packed, rows, taps, x));
    if (x < size) { /* reads the padding, writes no further than the row */
        uint8_t rest[32];

        _mm256_storeu_si256((void *)rest, bytes_of_column(packed, rows, taps, x));
        memcpy(to + x, rest, size - x);
    }
}

const struct csi_resample_kernels *csi_resample_kernels_avx2(void)
{
    static const struct csi_resample_kernels kernels = {"avx2", 4, 1, packed_row, pack, horizontal, vertical};

    return &kernels;
}
