/*
 * Resampling with AVX-512 and VNNI: vpdpbusd sums four products of an unsigned byte and a signed byte a lane.
 *
 * A 22-bit weight is three signed bytes, k = 65536·a + 256·b + c, so three vpdpbusd give the exact sum: the
 * carries are put together at the end, modulo 2^32, where the true sum fits.
 *
 * Horizontally, a lane is one channel of one row, four pixels at a time: sixteen rows are turned into that
 * form once, and every output then reads it from the first-level cache. So nothing is added across lanes.
 */
#include "image/resample.h"

#include <string.h>

#include <immintrin.h>

enum {
    ROWS = 16, /* at once: three registers of 16 lanes, without a gap */
    STEP = 16, /* columns that are turned at once */
    HELD = 128 /* columns of four pixels that are held in the turned form, a multiple of STEP */
};

/* One output's weights: for each four taps 4 bytes a, 4 bytes b, 4 bytes c. Up to three zeros may lead. */
#define TAPS_BYTES 12u

static size_t packed_row(uint32_t max_taps)
{
    return (size_t)((max_taps + 3 + 3) / 4) * TAPS_BYTES;
}

static void pack(const int32_t *weights, uint32_t taps, uint32_t lead, void *packed)
{
    int8_t *bytes = packed;

    for (uint32_t k = 0; k < taps; k++) {
        int8_t *four = bytes + (size_t)((k + lead) / 4) * TAPS_BYTES + (k + lead) % 4;
        int32_t c = (int32_t)(((uint32_t)weights[k] & 255u) ^ 128u) - 128;
        int32_t rest = (weights[k] - c) / 256;
        int32_t b = (int32_t)(((uint32_t)rest & 255u) ^ 128u) - 128;

        four[0] = (int8_t)((rest - b) / 256); /* |k| < 2^23: fits */
        four[4] = (int8_t)b;
        four[8] = (int8_t)c;
    }
}

static inline __m512i load_weights(const int8_t *from)
{
    int32_t word;

    memcpy(&word, from, sizeof word);
    return _mm512_set1_epi32(word);
}

/* sum + four products a lane. As an instruction: for the intrinsic function gcc 12 copies sums to and fro,
 * two moves for each product. */
static inline __m512i add_four(__m512i sum, __m512i bytes, __m512i weights)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(weights));
    return sum;
}

/* 65536·a + 256·b + c, as 32-bit lanes; one half is in `c` from the start. */
static inline __m512i combine(__m512i a, __m512i b, __m512i c)
{
    return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(_mm512_slli_epi32(a, 8), b), 8), c);
}

static inline __m512i one_half(void)
{
    return _mm512_set1_epi32(1 << (CSI_RESAMPLE_BITS - 1));
}

/* ---- horizontal ---- */

/* Columns of four pixels [first, end) of sixteen rows. Lane 4i + c of register m is channel c of row 4m + i;
 * every fourth lane, of which pixels have no use, is a channel of the last four rows: m of row 12 + i. */
struct held {
    uint32_t first, end;
    __m512i columns[HELD * 3]; /* three registers a column */
};

/* Two rows' 32 bytes `offset` bytes in. */
static inline __m512i two_rows(const uint8_t *row, const uint8_t *next, size_t offset)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(row + offset))),
                              _mm256_loadu_si256((const void *)(next + offset)), 1);
}

/* Columns of four pixels of four rows, two at a time and up to `count` of them, 12 bytes from one to the
 * next: lane 4i + c is channel c of row i, and every fourth lane that lane of `last` which `spread` names.
 * Reads 32 bytes a row at a time. `to`: a column after the other, `apart` registers apart. Not inlined: the
 * pointers to all rows would not fit the registers. */
static __attribute__((noinline)) void turn(const uint8_t *const *rows, size_t offset, uint32_t count,
                                           const __m512i *last, __m512i spread, __m512i *to, size_t apart)
{
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 2, 8, 9, 10, 10, 16, 17, 18, 18, 24, 25, 26, 26);
    const __m512i second = _mm512_setr_epi32(3, 4, 5, 5, 11, 12, 13, 13, 19, 20, 21, 21, 27, 28, 29, 29);
    const __m512i planes =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 0, 3, 6, 9));
    const uint8_t *row0 = rows[0] + offset, *row1 = rows[1] + offset;
    const uint8_t *row2 = rows[2] + offset, *row3 = rows[3] + offset;

    for (uint32_t i = 0; i < count; i += 2, to += 2 * apart) {
        size_t at = (size_t)i * 12;
        __m512i a = two_rows(row0, row1, at), b = two_rows(row2, row3, at);
        __m512i one = _mm512_shuffle_epi8(_mm512_permutex2var_epi32(a, first, b), planes);
        __m512i two = _mm512_shuffle_epi8(_mm512_permutex2var_epi32(a, second, b), planes);

        if (last != NULL) {
            one = _mm512_mask_permutexvar_epi32(one, 0x8888, spread, last[i]);
            two = _mm512_mask_permutexvar_epi32(two, 0x8888, spread, last[i + 1]);
        }
        to[0] = one;
        to[apart] = two;
    }
}

/* Fills `held` from column `first` to its room or the input's `end`. Four rows and a few cache lines at a
 * time: where rows lie a multiple of 4 KiB apart, sixteen of them would not fit the first-level cache. */
static void hold(struct held *held, const uint8_t *const *rows, uint32_t first, uint32_t end)
{
    /* Lane 4i + m to lane 4i + 3. */
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 12);
    __m512i last[STEP];

    held->first = first;
    held->end = end - first < HELD ? end : first + HELD;
    for (uint32_t at = first; at < held->end; at += STEP) {
        uint32_t count = held->end - at < STEP ? held->end - at : STEP;
        __m512i *columns = held->columns + (size_t)(at - first) * 3;
        size_t offset = (size_t)at * 12;

        turn(rows + 12, offset, count, NULL, spread, last, 1);
        for (int m = 0; m < 3; m++)
            turn(rows + 4 * m, offset, count, last, _mm512_add_epi32(spread, _mm512_set1_epi32(m)),
                 columns + m, 3);
    }
}

/* Adds `count` columns' products. */
static inline void add_products(__m512i a[3], __m512i b[3], __m512i c[3], const int8_t *weights,
                                const __m512i *columns, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++, weights += TAPS_BYTES, columns += 3) {
        __m512i wa = load_weights(weights), wb = load_weights(weights + 4), wc = load_weights(weights + 8);

#pragma GCC unroll 3
        for (int m = 0; m < 3; m++) {
            a[m] = add_four(a[m], columns[m], wa);
            b[m] = add_four(b[m], columns[m], wb);
            c[m] = add_four(c[m], columns[m], wc);
        }
    }
}

/* Output `index` of sixteen rows: 32-bit lane 4i + m is the pixel of row 4m + i. */
static inline __m512i pixel_of_rows(const struct csi_resample_axis *axis, uint32_t index,
                                    const uint8_t *const *from, uint32_t end, struct held *held)
{
    const __m512i pixels =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 3, 7, 11, -1));
    const int8_t *weights = (const int8_t *)axis->packed + index * axis->packed_row;
    uint32_t at = axis->start[index] / 4, left = (axis->start[index] % 4 + axis->taps[index] + 3) / 4;
    __m512i a[3], b[3], c[3];

#pragma GCC unroll 3
    for (int m = 0; m < 3; m++) {
        a[m] = b[m] = _mm512_setzero_si512();
        c[m] = one_half();
    }
    while (left > 0) {
        uint32_t count = left < HELD ? left : HELD;

        if (at < held->first || at + count > held->end)
            hold(held, from, at, end);
        add_products(a, b, c, weights, held->columns + (size_t)(at - held->first) * 3, count);
        weights += (size_t)count * TAPS_BYTES;
        at += count;
        left -= count;
    }
#pragma GCC unroll 3
    for (int m = 0; m < 3; m++)
        a[m] = _mm512_srai_epi32(combine(a[m], b[m], c[m]), CSI_RESAMPLE_BITS);
    a[0] = _mm512_packus_epi16(_mm512_packs_epi32(a[0], a[1]), _mm512_packs_epi32(a[2], a[2]));
    return _mm512_shuffle_epi8(a[0], pixels);
}

/* `bytes` (at most 12) of four rows' pixels. */
static inline void store_rows(__m512i rows, uint8_t *const *to, size_t offset, uint32_t bytes, bool whole)
{
    const __m512i close =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    __mmask16 mask = (__mmask16)((1u << bytes) - 1);
    __m128i row[4];

    rows = _mm512_shuffle_epi8(rows, close);
    row[0] = _mm512_castsi512_si128(rows);
    row[1] = _mm512_extracti32x4_epi32(rows, 1);
    row[2] = _mm512_extracti32x4_epi32(rows, 2);
    row[3] = _mm512_extracti32x4_epi32(rows, 3);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        if (whole) /* the next pixels cover the other bytes */
            _mm_storeu_si128((void *)(to[i] + offset), row[i]);
        else
            _mm_mask_storeu_epi8(to[i] + offset, mask, row[i]);
    }
}

static void horizontal(const struct csi_resample_axis *axis, const uint8_t *const *from, uint8_t *const *to)
{
    uint32_t last = axis->count - 1, end = (axis->start[last] + axis->taps[last] + 3) / 4;
    struct held held;

    held.first = held.end = 0;
    for (uint32_t i = 0; i < axis->count; i += 4) {
        uint32_t count = axis->count - i < 4 ? axis->count - i : 4;
        bool whole = axis->count - i >= 6;
        size_t offset = (size_t)i * 3;
        __m512i made[4], low01, high01, low23, high23;

        for (uint32_t j = 0; j < 4; j++)
            made[j] = pixel_of_rows(axis, j < count ? i + j : last, from, end, &held);
        low01 = _mm512_unpacklo_epi32(made[0], made[1]);
        high01 = _mm512_unpackhi_epi32(made[0], made[1]);
        low23 = _mm512_unpacklo_epi32(made[2], made[3]);
        high23 = _mm512_unpackhi_epi32(made[2], made[3]);
        store_rows(_mm512_unpacklo_epi64(low01, low23), to, offset, 3 * count, whole);
        store_rows(_mm512_unpackhi_epi64(low01, low23), to + 4, offset, 3 * count, whole);
        store_rows(_mm512_unpacklo_epi64(high01, high23), to + 8, offset, 3 * count, whole);
        store_rows(_mm512_unpackhi_epi64(high01, high23), to + 12, offset, 3 * count, whole);
    }
}

/* ---- vertical ---- */

/* 64 bytes of the output row at `x`, taps four by four. */
static inline __m512i bytes_of_column(const int8_t *weights, const uint8_t *const *rows, uint32_t taps,
                                      size_t x, __mmask64 mask)
{
    __m512i a[4], b[4], c[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = b[i] = _mm512_setzero_si512();
        c[i] = one_half();
    }
    for (uint32_t k = 0; k < taps; k += 4) {
        const int8_t *w = weights + (size_t)(k / 4) * TAPS_BYTES;
        __m512i wa = load_weights(w), wb = load_weights(w + 4), wc = load_weights(w + 8);
        __m512i row[4], low01, high01, low23, high23, q[4];

        /* Missing rows have zero weights; any row stands in for them. */
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            row[i] = _mm512_maskz_loadu_epi8(mask, rows[k + i < taps ? k + i : k] + x);
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
            a[i] = add_four(a[i], q[i], wa);
            b[i] = add_four(b[i], q[i], wb);
            c[i] = add_four(c[i], q[i], wc);
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
    static const struct csi_resample_kernels kernels = {"avx512vnni", ROWS,       4,       packed_row,
                                                        pack,         horizontal, vertical};

    return &kernels;
}
