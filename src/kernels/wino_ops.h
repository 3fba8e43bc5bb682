/*
 * Inside the Winograd family: what an instruction set provides (three steps for each tile size) and what the
 * driver (generic/wino_driver.c) hands to it. The driver owns blocking and threads, the instruction set owns
 * arithmetic.
 *
 * Transformed input V:  [position][panel][channel block of 16][tile of the panel][16]
 * Transformed weights:  [position][output block][input channel][ops->lanes]
 * Compact weights:      [output block][input channel][9 taps][ops->lanes]
 * Products M:           [position][output block][tile][ops->lanes]
 */
#ifndef CSI_KERNELS_WINO_OPS_H
#define CSI_KERNELS_WINO_OPS_H

#include "kernels/wino.h"

#if defined(__clang__)
#define CSI_UNROLL    _Pragma("unroll")
#define CSI_INLINE    static inline __attribute__((always_inline))
#define CSI_NOINLINE  __attribute__((noinline))
#define CSI_FORGET(p) __asm__("" : "+r"(p))
#elif defined(__GNUC__)
#define CSI_UNROLL    _Pragma("GCC unroll 64")
#define CSI_INLINE    static inline __attribute__((always_inline))
#define CSI_NOINLINE  __attribute__((noinline))
#define CSI_FORGET(p) __asm__("" : "+r"(p))
#else
#define CSI_UNROLL
#define CSI_INLINE static inline
#define CSI_NOINLINE
#define CSI_FORGET(p) (void)(p)
#endif
/* CSI_FORGET(pointer): the compiler no longer knows where it points. Straight-line code over a grid of
 * addresses needs this: otherwise compilers compute all of them first and keep them on the stack. */

#define CSI_WINO_BLOCK 16u /* channels of a block of V */

/* One image, NHWCp. */
struct csi_wino_plane {
    const float *pixels;
    size_t height, width, pitch;
    size_t first, last; /* channels to take, multiples of 16 */
};

/* Where a tile's outputs go, one image. `height` and `width` are those before pooling. */
struct csi_wino_target {
    float *output;
    const float *residual; /* or NULL */
    const float *bias;     /* [pitch] */
    size_t height, width, pitch;
    size_t channels; /* ≤ pitch */
    bool pool;
    enum csi_wino_activation activation;
    void (*function)(float *values, size_t count);
};

enum csi_wino_size { CSI_WINO_4, CSI_WINO_6, CSI_WINO_8, CSI_WINO_SIZES };

/* F(8,3) takes the points 0, ±a, ±1/a, ±b, ±1/b, ∞. With the integers and halves of the smaller tiles it
 * would lose a digit more: points must neither crowd nor reach far. These lie at the flat bottom of a search
 * for the smallest error; reciprocal pairs besides save a third of the transforms' multiplications. */
#define CSI_WINO8_A (4.0 / 9)
#define CSI_WINO8_B (4.0 / 5)

/* Transforms the tile whose outputs start at (y, x): channel blocks from first to last. Pixels outside the
 * image are zero. */
typedef void csi_wino_input_fn(const struct csi_wino_plane *image, size_t y, size_t x, float *v,
                               size_t block_stride, size_t position_stride);

/* One row of positions of compact weights, for the product at once: u[k][j][0…lanes) is position (row, j) of
 * G·g·Gᵀ for `channels` input channels, `stride` floats from one channel to the next. */
typedef void csi_wino_weights_fn(const float *g, size_t row, size_t channels, float *u, size_t stride);

/* m[r][0…lanes) = Σ_k v[k / 16][r][k % 16] · w[k][0…lanes) for `rows` tiles and blocks × 16 input channels.
 * Meanwhile `ahead_lines` cache lines for every 4 channels are fetched from `ahead` on: a share of the
 * weights that come next. */
typedef void csi_wino_gemm_fn(size_t rows, size_t blocks, const float *v, const float *w, float *m,
                              const float *ahead, size_t ahead_lines);

/* The same with a position of a csi_wino_weights_fn's row, `stride` floats from one channel's weights to the
 * next; with `add` on top of what stands in m. */
typedef void csi_wino_row_gemm_fn(size_t rows, size_t blocks, const float *v, const float *w, size_t stride,
                                  float *m, bool add, const float *ahead, size_t ahead_lines);

/* Transforms one tile's products back and finishes `blocks` channel blocks from `channel` on. */
typedef void csi_wino_output_fn(const float *m, size_t position_stride, const struct csi_wino_target *target,
                                size_t y, size_t x, size_t channel, size_t blocks);

struct csi_wino_ops {
    const char *set;
    uint32_t features;
    size_t rows;                                  /* most tiles of a panel */
    size_t lanes;                                 /* output channels of a block */
    csi_wino_input_fn *input[CSI_WINO_SIZES];     /* by enum csi_wino_size */
    csi_wino_weights_fn *weights[CSI_WINO_SIZES]; /* NULL: no compact variant of this size */
    csi_wino_gemm_fn *gemm;
    csi_wino_row_gemm_fn *row_gemm;
    csi_wino_output_fn *output[CSI_WINO_SIZES];
};

/* What replaces the product when it runs in 16-bit fixed point; the transforms stay float32. V and weights
 * then hold int16 behind their scales, see the file of the instruction set. */
#define CSI_WINO_FIXED_MOST     4095.0F /* largest integer */
#define CSI_WINO_FIXED_CHANNELS 128u    /* share a scale and are added in int32: 4095² · 128 < 2³¹ */
/* Floats before a panel's integers: a scale for each such group of channels. */
static inline size_t csi_wino_fixed_head(size_t pitch)
{
    return ((pitch + CSI_WINO_FIXED_CHANNELS - 1) / CSI_WINO_FIXED_CHANNELS + 15) & ~(size_t)15;
}
struct csi_wino_fixed_ops {
    uint32_t features;
    /* `count` floats of a panel (one position, some channels) → count int16, and their scale. */
    void (*quantize)(const float *v, size_t count, int16_t *out, float *scale);
    csi_wino_gemm_fn *gemm;
};

extern const struct csi_wino_fixed_ops csi_wino_fixed_avx512vnni;
extern const struct csi_wino_ops csi_wino_ops_generic, csi_wino_ops_avx2, csi_wino_ops_avx512,
    csi_wino_ops_neon;

/* The finish that all sets share for what is off the fast way (a tile cut by the image's edge, an activation
 * function): `tile`: side × side × 16 raw sums; bias, residual, activation and pooling are applied and what
 * lies inside is stored. */
void csi_wino_finish_tile(float *tile, size_t side, const struct csi_wino_target *target, size_t y, size_t x,
                          size_t channel);

#endif
