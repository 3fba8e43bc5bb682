/*
 * 8-bit convolution for AVX2. vpmaddubsw would saturate (255·127·2 > 32,767), so bytes are taken apart into
 * even and odd 16-bit halves, which vpmaddwd multiplies and adds in 32 bits: exact, four products a lane in
 * four instructions. Register tile 4 × 2: 8 sums, 4 halves of weights, 2 of input.
 */
#include "kernels/x86/lanes_avx2.h"

#include "kernels/byte_lanes.h"

#define BYTE_ROWS    4u
#define BYTE_VECTORS 2u

typedef __m256i dots;
typedef struct {
    __m256i even, odd;
} quad;
typedef quad quad_weights;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
ALWAYS_INLINE void dots_store(int32_t *p, dots sum)
{
    _mm256_store_si256((__m256i *)(void *)p, sum);
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return _mm256_cvtepi32_ps(sum);
}
ALWAYS_INLINE quad quad_load(const uint8_t *p)
{
    float four;
    __m256i x;

    memcpy(&four, p, sizeof four);
    x = _mm256_castps_si256(_mm256_set1_ps(four));
    return (quad){_mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8)};
}
ALWAYS_INLINE quad_weights quad_weights_load(const int8_t *p)
{
    const __m256i w = _mm256_load_si256((const __m256i *)(const void *)p);

    return (quad_weights){_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
}
ALWAYS_INLINE dots dots_add(dots sum, quad x, quad_weights w)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x.even, w.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x.odd, w.odd));
}

#include "kernels/byte_tile.h"

static void byte_tile(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: byte_body(t, 1, 2); break;
    case 2: byte_body(t, 2, 2); break;
    case 3: byte_body(t, 3, 2); break;
    default: byte_body(t, 4, 2); break;
    }
}

void csi_bytes_fill_avx2(struct csi_kernels *kernels)
{
    fill_byte_lanes(kernels);
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_VECTORS * LANES;
    kernels->byte_tile = byte_tile;
}
