/*
 * Inside the Winograd family: what an instruction set provides (three steps for each tile size) and what the
 * driver (generic/wino_driver.c) hands to it. The driver owns blocking and threads, the instruction set owns
 * arithmetic.
 *
 * Transformed input V:  [position][panel][channel block of 16][tile of the panel][16]
 * Transformed weights:  [position][output block][input channel][ops->lanes]
 * Compact weights:      [output block][input channel][9 taps][ops->lanes]
 * Split (ops->split):   a number as the sum of two bfloat16, the second what rounding to the first leaves;
 *                       V [position][panel][channel block of 32][tile of the panel][first, second][32],
 *                       weights [position][output block][channel block of 32][first, second][half of the
 *                       lanes][channel pair][lanes / 2][2]; padded with zeros
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

#define CSI_WINO_BLOCK       16u /* channels of a block of V */
#define CSI_WINO_SPLIT_BLOCK 32u

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
    bool pool;
    enum csi_wino_activation activation;
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
    bool split;                 /* V and weights are pairs of bfloat16; the input transform then takes one
                                   channel block, and its block stride does not matter */
    void (*begin)(size_t rows); /* split: before products of panels of up to `rows` tiles; those of fewer
                                   also read V and write M where the missing tiles would stand */
    void (*end)(void);          /* after a thread's products; or NULL */
    size_t rows;                /* most tiles of a panel */
    size_t lanes;               /* output channels of a block */
    csi_wino_input_fn *input[CSI_WINO_SIZES];     /* by enum csi_wino_size */
    csi_wino_weights_fn *weights[CSI_WINO_SIZES]; /* NULL: no compact variant of this size */
    csi_wino_gemm_fn *gemm;
    csi_wino_row_gemm_fn *row_gemm;
    csi_wino_output_fn *output[CSI_WINO_SIZES];
};

/*
 * 16-bit fixed point: the transforms stay float32, V and weights hold int16, products are added in int32.
 *
 * V of a tile and position is a vector of `pitch` channels, and so are the weights of a position and output
 * channel. Each has a scale of its own, at which its Euclidean length in integers is at most V_LENGTH or
 * W_LENGTH: by Cauchy and Schwarz the magnitude of no sum, nor of any part of it, exceeds V_LENGTH · W_LENGTH
 * < 2³¹. So nothing can overflow, nothing clamps, nothing is calibrated, and what becomes of a tile depends
 * on nothing but the tile.
 */
#define CSI_WINO_FIXED_V_LENGTH 32767.0F
#define CSI_WINO_FIXED_W_LENGTH 65530.0F
/* The length to aim at: rounding to integers adds at most half the square root of their number, and the
 * length is computed in float32 (a sum of pitch / 16 squares a lane, at most 2¹² of them). */
static inline float csi_wino_fixed_length(float most, size_t pitch)
{
    float root = 4.0F; /* a pitch is at least 16 */
    while (root * root < (float)pitch)
        root *= 2.0F;
    return (most - root / 2) * 0.9995F;
}

/* V of a panel of tiles: CSI_WINO_FIXED_HEAD scales, of its tiles, then [channel block][tile][block] int16,
 * padded to whole blocks. Weights of a position and output block: ops->lanes scales, then integers. Both as
 * the instruction set wants them; where it takes bytes, an integer's stand apart. */
#define CSI_WINO_FIXED_HEAD 16u /* floats; no less than a panel has tiles */

/* One tile of a panel: floats of its V, `stride` apart from position to position, `channels` each, become
 * integers, at `out` with these strides in int16, and scales, at `scales` with that stride in floats. */
struct csi_wino_fixed_tile {
    const float *v;
    size_t positions, channels, stride;
    int16_t *out;
    size_t block_stride, position_stride;
    float *scales;
    size_t scale_stride;
};

struct csi_wino_shape;

/* V of a position; weights of it and an output block. */
struct csi_wino_factors {
    const float *v, *w;
};

/* Several sets may stand beside one csi_wino_ops, whose transforms they share; `rows` and `end` are theirs
 * instead of its own. Results are the same to the last bit. */
struct csi_wino_fixed_ops {
    uint32_t features;
    size_t rows;          /* most tiles of a panel */
    size_t block;         /* channels of a block of V */
    size_t weights_block; /* weights are padded to a multiple of so many channels, with zeros */
    bool padded;          /* products of a last panel with fewer tiles also read V where the missing ones
                             would stand */
    void (*quantize)(const struct csi_wino_fixed_tile *tile);
    /* Puts an input channel's weights, of all lanes, where they belong among those of `pitch` channels. */
    void (*put_weights)(void *integers, size_t pitch, size_t channel, const int16_t *weights);
    csi_wino_gemm_fn *gemm; /* a panel's products; or NULL: */
    /* those of all panels, see csi_wino_multiply() */
    void (*multiply)(const struct csi_wino_shape *shape, struct csi_wino_factors factors,
                     struct csi_wino_factors next, float *m, size_t tiles);
    void (*end)(void); /* after a thread's products, whose last ones may not stand in M before; or NULL */
};

extern const struct csi_wino_fixed_ops csi_wino_fixed_avx512vnni, csi_wino_fixed_avx512amx;
extern const struct csi_wino_ops csi_wino_ops_generic, csi_wino_ops_avx2, csi_wino_ops_avx512,
    csi_wino_ops_avx512amx, csi_wino_ops_neon;

#endif
