/*
 * Kernels on 8-bit activations: what INT8 networks compute. Part of the table in kernels.h.
 *
 * A map in bytes is NHWC, the channel pitch rounded up to a multiple of CSI_PITCH bytes. A byte q stands for
 * the number (q - zero)·scale; the padding channels hold anything. Weights are whole numbers of -128…127,
 * products are added in int32, and every rounding is written down here, so that all sets give the same bytes:
 *
 *   byte(x) = saturate to 0…255 (round to nearest even (x) + zero), for |x| < 2^20; a NaN gives 0
 *
 * Multiplications and additions of floats are not fused. Source of the scheme: Jacob et al., "Quantization
 * and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018).
 */
#ifndef CSI_KERNELS_BYTES_H
#define CSI_KERNELS_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* Widest panel of any set. */
#define CSI_MAX_BYTE_PANEL 32u

/* What a byte of a map stands for. */
struct csi_byte_scale {
    float scale;
    int32_t zero;
};

/* One register tile of an implicit matrix product: `rows` outputs (pixels, `row_step` bytes apart in the
 * input) × one panel of output channels.
 *
 * sum[r][o] = start[o] + Σ_t Σ_k (in[r·row_step + offsets[t] + k] - byte_offset) · weight[t][k][o]
 * x[r][o] = clamp(sum·scale[o] + bias[o] + residual[r][o], low, high)
 * out[r][o] = x, or byte(x·inverse)
 *
 * `start` = (byte_offset - zero) · Σ weight: what the input's zero point contributes. */
struct csi_byte_tile {
    size_t rows;        /* 1..byte_rows */
    size_t width;       /* outputs of the panel: a multiple of CSI_PITCH, at most byte_panel */
    size_t taps, quads; /* the depth of a tap is 4·quads bytes */
    const uint8_t *in;
    size_t row_step;
    const size_t *offsets; /* [taps] */
    const int8_t *weights; /* [taps][quads][width][4], 64-byte aligned */
    const int32_t *start;  /* [width]; all three 64-byte aligned */
    const float *scale, *bias;
    /* One of them or none; the same pixels and channels as the output, `residual_step` elements apart. */
    const uint8_t *residual_bytes;
    const float *residual_floats;
    size_t residual_step;
    struct csi_byte_scale residual;
    float low, high; /* finite when the output is bytes */
    /* One of them, `out_step` elements from row to row. */
    uint8_t *out_bytes;
    float *out_floats;
    size_t out_step;
    float inverse; /* 1 / scale of the output */
    int32_t zero;
};

/* One output row of a depthwise convolution, all channels:
 * clamp((Σ (in - zero)·weight)·scale[c] + bias[c], low, high), as floats or bytes as above. */
struct csi_byte_depthwise_row {
    const uint8_t *const *in; /* [kernel_height]: input rows; NULL where the row lies in the padding */
    size_t in_width, pitch;   /* bytes from pixel to pixel, also elements of the output */
    unsigned kernel_height, kernel_width, stride, dilation; /* horizontal ones */
    size_t pad_left;
    int32_t zero_in;
    const float *weights; /* [kernel_height][kernel_width][pitch], whole numbers */
    const float *scale, *bias;
    float low, high;
    uint8_t *out_bytes;
    float *out_floats;
    size_t out_width;
    float inverse;
    int32_t zero;
};

/* One output row of a max-pool; the window is clipped to the input. */
struct csi_byte_pool_row {
    const uint8_t *const *in; /* [rows]: only rows inside the input */
    size_t rows;
    size_t in_width, in_pitch, out_pitch; /* bytes from pixel to pixel */
    size_t channels;                      /* to compute: a multiple of CSI_PITCH */
    unsigned kernel_width, stride, dilation;
    size_t pad_left;
    uint8_t *out;
    size_t out_width;
};

/* out = byte(clamp((a - a_zero)·a_scale + (b - b_zero)·b_scale, low, high) · inverse), count a multiple of 16
 */
struct csi_byte_add {
    const uint8_t *a, *b;
    struct csi_byte_scale a_scale, b_scale;
    float low, high;
    uint8_t *out;
    float inverse;
    int32_t zero;
    size_t count;
};

#endif
