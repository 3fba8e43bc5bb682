/*
 * The kernel sets: one table of function pointers for each instruction set, filled with plain C where a set
 * has nothing better.
 *
 * Kernel, register tile and weight packing are one unit: the tile sizes stand beside the functions that need
 * them, and the packing helpers below read them from the table. 3x3 Winograd and first-layer convolutions
 * have their own interface (wino.h).
 *
 * Activations are "NHWCp": NHWC float32, the channel pitch rounded up to a multiple of CSI_PITCH floats,
 * 64-byte aligned, and the padding channels are zero. Every kernel keeps them zero unless it says otherwise.
 * Kernels are pure functions of their arguments and thread-safe.
 */
#ifndef CSI_KERNELS_KERNELS_H
#define CSI_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checked.h"
#include "kernels/bytes.h"
#include "kernels/functions.h"

#define CSI_PITCH 16u

static inline size_t csi_pitch(size_t channels)
{
    return csi_round_up(channels, CSI_PITCH);
}

/* Largest tiles of any set, for buffers on the stack. */
#define CSI_MAX_TILE_ROWS 14u
#define CSI_MAX_PANEL     48u

/* One register tile of an implicit matrix product: `rows` outputs (pixels) × one panel of output channels.
 *
 * out[r][o] = act(clamp(bias[o] + Σ_t Σ_k at[t·row_step + r][k] · scale[k] · weights[t][k][o]
 *                       + residual[r][o], low, high))
 */
struct csi_tile {
    size_t rows;        /* 1..tile_rows */
    size_t width;       /* floats of the panel: a multiple of CSI_PITCH, at most panel_width */
    size_t taps, depth; /* t < taps, k < depth */
    const float *const
        *at; /* [taps][row_step]: where a pixel's input for a tap begins; padding points at zeros */
    size_t row_step;
    const float *weights; /* [taps][depth][width], 64-byte aligned */
    const float *bias;    /* [width], 64-byte aligned */
    float *out;           /* rows × width, `out_step` floats from row to row; need not be aligned */
    size_t out_step;
    const float *residual; /* the same layout as out, or NULL */
    const float *scale;    /* [depth], or NULL: 1 */
    float low, high;
    const struct csi_act_params *act; /* NULL: none behind the clamp */
};

/* One register tile of a matrix product over packed inputs: what `tile` does for some of the depth, with the
 * inputs of its rows copied side by side (pack_rows), so that no two of them fall into one cache set.
 *
 * sum[r][o] = start[r][o] + Σ_k in[k / 16][r][k % 16] · weights[k][o]
 *
 * out[r][o] = last ? act(clamp(sum[r][o] + residual[r][o], low, high)) : sum[r][o]
 *
 * The start is bias[o], or what stands in out[r][o] where there is no bias.
 */
struct csi_product {
    size_t rows;          /* 1..product_rows */
    size_t width;         /* as in csi_tile */
    size_t depth;         /* k < depth */
    const float *in;      /* [(depth + 15) / 16][rows][16], 64-byte aligned */
    const float *weights; /* [depth][width], 64-byte aligned */
    const float *bias;    /* [width], 64-byte aligned, or NULL */
    float *out;           /* row r stands at out + at[r]; need not be aligned */
    const size_t *at;     /* [rows] */
    bool last;
    const float *residual; /* row r stands at residual + at[r]; or NULL */
    float low, high;
    const struct csi_act_params *act; /* NULL: none behind the clamp */
    /* Weights that come next: for every 16 steps of the depth, `ahead_lines` cache lines from here on are
     * fetched into the second-level cache. */
    const float *ahead;
    size_t ahead_lines;
};

/* One output row of a depthwise convolution, `channels` of it. */
struct csi_depthwise_row {
    const float *const *in; /* [kernel_height]: input rows; NULL where the row lies in the padding */
    size_t in_width,
        pitch;       /* pixels of a row; floats from pixel to pixel, a multiple of CSI_PITCH; for out too */
    size_t channels; /* a multiple of CSI_PITCH, at most pitch */
    unsigned kernel_height, kernel_width, stride, dilation; /* horizontal ones */
    size_t pad_left;
    const float *weights; /* [kernel_height][kernel_width][pitch] */
    const float *bias;    /* [pitch] */
    float *out;
    size_t out_width;
    float low, high;
    const struct csi_act_params *act; /* NULL: none behind the clamp */
};

/* One output row of a pooling. A window with a NaN gives a NaN. The window is clipped to the input; `divisor`
 * as below. */
struct csi_pool_row {
    const float *const *in; /* [rows]: only rows inside the input */
    size_t rows;
    size_t in_width, pitch;
    unsigned kernel_width, stride, dilation;
    size_t pad_left;
    float *out;
    size_t out_width;
    /* averages only */
    bool count_include_pad;
    size_t window_rows;  /* rows that count: those inside the input, or inside the padded input */
    size_t padded_width; /* right end of the padded input, counted from its left end */
};

struct csi_kernels {
    const char *name;    /* "generic", "avx2", "avx512", "neon" */
    size_t tile_rows;    /* 1..CSI_MAX_TILE_ROWS */
    size_t panel_width;  /* a multiple of CSI_PITCH, up to CSI_MAX_PANEL */
    size_t product_rows; /* 1..CSI_MAX_TILE_ROWS */

    void (*tile)(const struct csi_tile *tile);
    void (*product)(const struct csi_product *product);
    /* out[b][r][0..15] = in[r][16·b..] · scale[16·b..]; scale NULL: 1. */
    void (*pack_rows)(const float *const *in, size_t rows, size_t blocks, const float *scale, float *out);
    void (*depthwise_row)(const struct csi_depthwise_row *row);
    void (*max_pool_row)(const struct csi_pool_row *row);
    void (*average_pool_row)(const struct csi_pool_row *row);

    /* out[c] = mean over `pixels` of in[p·pitch + c], c < channels (a multiple of CSI_PITCH). */
    void (*global_average)(const float *in, size_t pixels, size_t channels, size_t pitch, float *out);

    /* x[i] = f(x[i]) for a multiple of 16 floats; padding channels become f(0). in == out is allowed. */
    void (*activate)(const struct csi_act_params *act, const float *in, float *out, size_t count);

    /* out[p][c] = clamp(a[p][c] ∘ b[c·b_channel + p·b_step], low, high) for `pixels` × `channels` (a multiple
     * of 16) floats, `pitch` apart in a and out. b_step: pitch (a map), 0 (one value a channel). b_channel is
     * 1, or 0: one value a pixel. Padding channels get what the arithmetic gives. out == a is allowed. */
    void (*arith)(enum csi_arith op, const float *a, const float *b, size_t b_step, size_t b_channel,
                  float *out, size_t pixels, size_t channels, size_t pitch, float low, float high);

    /* out[p][c] = in[p][c]·scale[c] + shift[c], clamped. Strides as above. */
    void (*scale_shift)(const float *in, const float *scale, const float *shift, float *out, size_t pixels,
                        size_t pitch, float low, float high);

    /* NCHW (one photo, `channels` planes of `pixels`) -> NHWCp. */
    void (*pack_nchw)(const float *in, size_t channels, size_t pixels, float *out, size_t pitch);

    /* Maps in bytes, see bytes.h. */
    size_t byte_rows, byte_panel;
    int32_t byte_offset; /* byte_tile multiplies (q - byte_offset) instead of q: `start` makes up for it */
    /* Pixels an even number of cache lines apart fall into few of the first-level cache's sets: bytes to put
     * between them where they are copied anyway; 0 where a tile does not care. */
    size_t byte_skew;
    bool byte_fast; /* byte_tile multiplies more numbers a cycle than `tile`: networks gain by bytes */
    /* The instructions that byte_tile takes for such a tile (`bytes`: its output), where they are not the
     * set's own: "vnni", "amx". */
    const char *(*byte_name)(size_t rows, size_t taps, size_t quads, bool bytes);
    void (*byte_tile)(const struct csi_byte_tile *tile);
    /* After the last of several byte_tile calls: gives this thread's tile registers back. */
    void (*byte_release)(void);
    void (*byte_depthwise_row)(const struct csi_byte_depthwise_row *row);
    void (*byte_max_pool_row)(const struct csi_byte_pool_row *row);
    void (*byte_add)(const struct csi_byte_add *add);
    /* out[i] = byte(in[i] / scale), and back: (in[i] - zero)·scale. For a multiple of 16 elements. */
    void (*quantize)(const float *in, struct csi_byte_scale scale, uint8_t *out, size_t count);
    void (*dequantize)(const uint8_t *in, struct csi_byte_scale scale, float *out, size_t count);
    /* out[c] = (mean of in[p·pitch + c] - zero)·scale, c < channels (a multiple of CSI_PITCH). */
    void (*byte_global_average)(const uint8_t *in, size_t pixels, size_t channels, size_t pitch,
                                struct csi_byte_scale scale, float *out);

    /* Fused multiply-adds on registers only, for the measured peak: returns the FLOPs done by `rounds`
     * rounds; `sink` receives a value that depends on all of them. */
    double (*peak_fma)(size_t rounds, float *sink);
    /* The same with 8-bit dot products; NULL when the set has none. */
    double (*peak_int8)(size_t rounds, float *sink);
    /* The same with products of tiles of bytes; NULL when the set has none. */
    double (*peak_tiles)(size_t rounds, float *sink);
};

/* The best set that `cpu_features` (csi_cpu_feature bits) allows; never NULL. */
const struct csi_kernels *csi_kernels_select(uint32_t cpu_features);

/* Every set that `cpu_features` allows, plain C first; returns how many (at most CSI_KERNEL_SETS). For tests.
 */
#define CSI_KERNEL_SETS 5u
size_t csi_kernels_list(uint32_t cpu_features, const struct csi_kernels *sets[CSI_KERNEL_SETS]);

/* Value of an activation, in plain C: the definition that every kernel is tested against. */
float csi_act_value(const struct csi_act_params *act, float x);
/* Bounds when the activation is a clamp (none, ReLU, clip): true. */
bool csi_act_as_clamp(const struct csi_act_params *act, float *low, float *high);

/* The kernel columns [first, last) that lie inside the input for output `x`. */
static inline void csi_inside_columns(size_t x, size_t stride, size_t dilation, size_t kernel, size_t pad,
                                      size_t width, size_t *first, size_t *last)
{
    *first = 0;
    *last = kernel;
    while (*first < kernel && x * stride + *first * dilation < pad)
        (*first)++;
    while (*last > *first && x * stride + (*last - 1) * dilation >= pad + width)
        (*last)--;
}

/*
 * Weight packing for `tile` and `product`: output channels in panels of panel_width, the last one as narrow
 * as a multiple of 16 allows.
 */
static inline size_t csi_panel_count(const struct csi_kernels *kernels, size_t outputs)
{
    return (outputs + kernels->panel_width - 1) / kernels->panel_width;
}
/* Width of panel `index` of `outputs` channels. */
static inline size_t csi_panel_width(const struct csi_kernels *kernels, size_t outputs, size_t index)
{
    return csi_min_size(kernels->panel_width, csi_pitch(outputs) - index * kernels->panel_width);
}
/* Packs panel `index`: packed[t][k][w] = weight[(first + w)·output_step + t·tap_step + k·depth_step], zero
 * behind the last output. `packed` holds taps·depth·width floats. */
struct csi_panel_source {
    const float *weight;
    size_t outputs, taps, depth;
    size_t output_step, tap_step, depth_step;
};
void csi_pack_panel(const struct csi_kernels *kernels, const struct csi_panel_source *source, size_t index,
                    float *packed);

/* Weight packing for `byte_tile`: panel `index` of `outputs` channels, byte_panel wide, the last one as
 * narrow as a multiple of 16 allows. packed[t][k / 4][w][k % 4] = levels[(first + w)·output_step + t·tap_step
 * + k·depth_step], zero behind the last output and behind `depth`. `packed` holds taps·quads·4·width bytes.
 */
struct csi_byte_source {
    const int8_t *levels;
    size_t outputs, taps, depth, quads;
    size_t output_step, tap_step, depth_step;
};
static inline size_t csi_byte_panel_count(const struct csi_kernels *kernels, size_t outputs)
{
    return (outputs + kernels->byte_panel - 1) / kernels->byte_panel;
}
static inline size_t csi_byte_panel_width(const struct csi_kernels *kernels, size_t outputs, size_t index)
{
    return csi_min_size(kernels->byte_panel, csi_pitch(outputs) - index * kernels->byte_panel);
}
void csi_pack_byte_panel(const struct csi_kernels *kernels, const struct csi_byte_source *source,
                         size_t index, int8_t *packed);

/* The tables, for csi_kernels_select alone. A set's file fills what it has over a copy of the plain C table.
 */
void csi_kernels_fill_generic(struct csi_kernels *kernels);
void csi_kernels_fill_avx2(struct csi_kernels *kernels);
void csi_kernels_fill_avx512(struct csi_kernels *kernels);
void csi_kernels_fill_avx512vnni(struct csi_kernels *kernels);
void csi_kernels_fill_avx512amx(struct csi_kernels *kernels);
void csi_kernels_fill_neon(struct csi_kernels *kernels);
void csi_kernels_fill_dotprod(struct csi_kernels *kernels);
/* The part of a table that bytes.h describes. */
void csi_bytes_fill_generic(struct csi_kernels *kernels);
void csi_bytes_fill_avx2(struct csi_kernels *kernels);
void csi_bytes_fill_avx512vnni(struct csi_kernels *kernels);
void csi_bytes_fill_avx512amx(struct csi_kernels *kernels);
void csi_bytes_fill_neon(struct csi_kernels *kernels);
void csi_bytes_fill_dotprod(struct csi_kernels *kernels);

#endif
