/*
 * 3×3 convolutions, stride 1, padding 1, by Winograd's minimal filtering F(4×4,3×3), F(6×6,3×3) and
 * F(8×8,3×3), and the direct kernel of a network's first layer. Owns tiling, packing, blocking and the choice
 * of the variant for a layer shape; knows nothing of graphs and plans. Source: Lavin and Gray, "Fast
 * Algorithms for Convolutional Neural Networks" (2015).
 *
 * Layout of activations ("NHWCp"): float32, [batch][height][width][pitch], pitch = channels rounded up to a
 * multiple of 16, 64-byte aligned. Channels past the last one are zero on input and are written as zero.
 *
 * Everything here is reentrant; packed weights are immutable and shared by threads.
 */
#ifndef CSI_KERNELS_WINO_H
#define CSI_KERNELS_WINO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread_pool.h"

/* Floats from the scratch of one worker to the next one's, or a multiple; what workers share lies behind. The
 * same in every layer, because lines that another core has written last cost many times more to write. */
#define CSI_WORKER_FLOATS ((size_t)256 << 10)

/* Floats from one pixel to the next. */
static inline size_t csi_wino_pitch(size_t channels)
{
    return (channels + 15u) & ~(size_t)15u;
}

enum csi_wino_activation { CSI_WINO_LINEAR, CSI_WINO_RELU };

/* A convolution with all that is fused behind it, in this order: + bias, + residual, activation, 2×2 max-pool
 * (stride 2; an odd last row or column is dropped). */
struct csi_wino_desc {
    size_t cin, cout;     /* ≥ 1 */
    size_t height, width; /* ≥ 1; input and (before pooling) output */
    enum csi_wino_activation activation;
    bool pool;
    bool residual; /* a tensor of the unpooled output's shape is added before the activation */
};

/* One way to run it: instruction set, tile size, schedule. */
struct csi_wino;

/* "conv3x3_wino6_avx512". */
const char *csi_wino_name(const struct csi_wino *kernel);
/* Bits of enum csi_cpu_feature that it needs. */
uint32_t csi_wino_features(const struct csi_wino *kernel);
/* Output pixels a tile side: 4, 6 or 8. */
size_t csi_wino_tile(const struct csi_wino *kernel);

/* Whether it works on floats as sums of two bfloat16: other arithmetic than all other variants in float. */
bool csi_wino_is_split(const struct csi_wino *kernel);

/* Every variant that `features` allow, best instruction set first, ended by NULL. A static table: index it
 * from 0 up. */
const struct csi_wino *csi_wino_variant(uint32_t features, size_t index);
/* NULL when there is none of that name in this build. */
const struct csi_wino *csi_wino_find(const char *name);
/* The variant measured fastest for such a shape; never NULL (generic C is always there). `compact`: where
 * transformed weights would be large, the variant that keeps them as they are (9 numbers instead of 36 or 64)
 * and transforms them while it runs. */
const struct csi_wino *csi_wino_choose(const struct csi_wino_desc *desc, uint32_t features, unsigned threads,
                                       bool compact);

/* The same in 16-bit fixed point ("conv3x3_wino4_int16_avx512vnni"): integers whose scales are found while
 * running, so nothing is calibrated; 0.1 to 1 % relative error a layer, half the weight bytes. NULL where the
 * CPU has no such instructions. Everything below takes these kernels too. */
const struct csi_wino *csi_wino_fixed_variant(uint32_t features, size_t index);
const struct csi_wino *csi_wino_choose_fixed(const struct csi_wino_desc *desc, uint32_t features,
                                             unsigned threads);

/* Bytes of packed weights and bias; 0 when the sizes overflow or the shape is not covered. */
size_t csi_wino_packed_size(const struct csi_wino *kernel, const struct csi_wino_desc *desc);
/* Packing is cut into this many independent slices, which may run in parallel. */
size_t csi_wino_pack_slices(const struct csi_wino *kernel, const struct csi_wino_desc *desc);
/* weights: [cout][cin][3][3] float32, times factors [cout] unless NULL (the product rounded to float32);
 * bias: [cout] or NULL. Writes slice `slice` of `packed` (64-byte aligned, csi_wino_packed_size bytes); every
 * byte of `packed` is written once all slices are. */
void csi_wino_pack(const struct csi_wino *kernel, const struct csi_wino_desc *desc, const float *weights,
                   const double *factors, const float *bias, void *packed, size_t slice);

/* Bytes of scratch (64-byte aligned) that a run with `threads` workers needs, at any batch up to `batch`. */
size_t csi_wino_scratch_size(const struct csi_wino *kernel, const struct csi_wino_desc *desc, size_t batch,
                             unsigned threads);
/* Runs the layer on the pool's threads, or on the calling thread alone when `pool` is NULL (scratch for 1
 * thread then suffices). input: batch × height × width × pitch(cin); output: batch × height[/2] × width[/2] ×
 * pitch(cout); residual: NULL unless desc->residual. Input and output do not overlap. */
void csi_wino_run(const struct csi_wino *kernel, const struct csi_wino_desc *desc, const void *packed,
                  const float *input, const float *residual, float *output, size_t batch, void *scratch,
                  struct csi_pool *pool);

/*
 * The first layer: few input channels, read as NCHW, direct convolution. `desc` as above with cin ≤
 * CSI_CONV_FIRST_MAX_CIN and neither pool nor residual. Names: "conv3x3_first_avx512".
 */
#define CSI_CONV_FIRST_MAX_CIN 4u

struct csi_conv_first;
const char *csi_conv_first_name(const struct csi_conv_first *kernel);
uint32_t csi_conv_first_features(const struct csi_conv_first *kernel);
const struct csi_conv_first *csi_conv_first_variant(uint32_t features,
                                                    size_t index); /* best first, then NULL */
/* Does the kernel family cover this shape? */
bool csi_conv_first_covers(const struct csi_wino_desc *desc);
size_t csi_conv_first_packed_size(const struct csi_wino_desc *desc);
void csi_conv_first_pack(const struct csi_wino_desc *desc, const float *weights, const float *bias,
                         void *packed);
size_t csi_conv_first_scratch_size(const struct csi_wino_desc *desc, unsigned threads);
/* input: batch × cin × height × width (NCHW); output: batch × height × width × pitch(cout). */
void csi_conv_first_run(const struct csi_conv_first *kernel, const struct csi_wino_desc *desc,
                        const void *packed, const float *input, float *output, size_t batch, void *scratch,
                        struct csi_pool *pool);

/*
 * The first layer and the 3×3 convolution behind it as one: the map between them is made strip by strip and
 * never leaves the core's cache. Packed data are those of the two layers. Any variant of csi_wino will do but
 * compact ones.
 */
bool csi_conv_pair_covers(const struct csi_wino_desc *first, const struct csi_wino *kernel,
                          const struct csi_wino_desc *second);
size_t csi_conv_pair_scratch_size(const struct csi_wino_desc *first, const struct csi_wino *kernel,
                                  const struct csi_wino_desc *second, unsigned threads);
/* input: NCHW as for csi_conv_first_run; output as for csi_wino_run. */
void csi_conv_pair_run(const struct csi_conv_first *first, const struct csi_wino_desc *first_desc,
                       const void *first_packed, const struct csi_wino *kernel,
                       const struct csi_wino_desc *desc, const void *packed, const float *input,
                       float *output, size_t batch, void *scratch, struct csi_pool *pool);

#endif
