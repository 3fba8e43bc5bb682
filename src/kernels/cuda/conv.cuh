/*
 * Convolutions and linear layers.
 *
 * Those with one group are implicit matrix products: rows are output positions, columns output channels, the
 * depth is window × input channels, cut into units. Each product of a position and a channel is summed in the
 * same order whatever tile it falls into, so tiles may be chosen by the batch; the depth is cut into `splits`
 * parts by the shape of one photo alone. Half-precision types run on the tensor cores, float32 on the plain
 * cores: TF32 would lose 13 bits.
 */
#ifndef CSI_KERNELS_CUDA_CONV_CUH
#define CSI_KERNELS_CUDA_CONV_CUH

#include "kernels/cuda/common.cuh"

namespace csi_cuda
{

/* Depth units that a tile takes at a time, and what packed weights are padded to: zeroes. */
template <typename T> inline constexpr int depth_units = 8;
template <> inline constexpr int depth_units<float> = 4;
constexpr int channel_padding = 128;

/* Where the input of a depth unit lies, seen from the window's first pixel. */
struct alignas(16) depth_unit {
    int row, column, offset; /* the last in units */
    int used;                /* 0: padding of the depth */
};

struct conv_shape {
    map_view in, out;                               /* `out` before pooling */
    int kernel[2], stride[2], dilation[2], pads[2]; /* pads: top, left */
    int groups;
    bool pool; /* 2×2 behind the activation */
    bool residual_after;
    csi_act_params act;
};

/* A convolution with its weights on the device. */
struct conv {
    conv_shape shape;
    /* One group: [channel, padded][depth, padded] of T. Depthwise: [tap][pitch] float. Other groups:
     * [channel][tap][group's inputs] float. */
    const void *weights;
    const float *bias;       /* [pitch], zeroes behind the channels */
    const depth_unit *units; /* and a tile of unused ones behind them */
    int unit_count;          /* whole tiles of the depth */
    int splits;              /* 1: none. Else sums of the parts go through scratch memory */
};

inline bool is_depthwise(const conv_shape &s)
{
    return s.groups > 1 && s.groups == s.in.channels && s.groups == s.out.channels;
}

/* What launches want to know of the device. */
struct gpu {
    int processors;
    bool turing; /* compute capability 7.5 */
};

/* Parts that the depth of `unit_count` units is cut into so that one photo keeps `processors` busy. */
int choose_splits(const conv_shape &shape, int unit_count, int units_a_tile, int processors);
/* Bytes of scratch memory for one photo. */
size_t conv_scratch_bytes(const conv &c);

/* `residual`: NULL or a map like the output. */
template <typename T>
void launch_conv(const conv &c, const T *in, const T *residual, T *out, float *scratch, int batch,
                 const gpu &gpu, cudaStream_t stream);
/* The same where there are several groups. */
template <typename T>
void launch_groups(const conv &c, const T *in, const T *residual, T *out, int batch, cudaStream_t stream);

/* Allows the large tiles their shared memory: once for each device. */
cudaError_t prepare_convs(const gpu &gpu);

} // namespace csi_cuda

#endif
