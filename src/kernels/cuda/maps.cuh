/* Everything but convolutions: pooling, and what works number by number. */
#ifndef CSI_KERNELS_CUDA_MAPS_CUH
#define CSI_KERNELS_CUDA_MAPS_CUH

#include "kernels/cuda/common.cuh"

namespace csi_cuda
{

/* The photo, and how it is spread: channel c of column x of the map is channel c % channels of the photo's
 * column x·stride - pad + c / channels·dilation. */
struct photo_shape {
    int channels, height, width;
    int columns, stride, dilation, pad; /* 1, 1, 1, 0: as it is */
};
/* The photo: float NCHW to T NHWC. */
template <typename T>
void launch_pack(const float *in, const photo_shape &photo, const map_view &out, T *to, int batch,
                 cudaStream_t stream);
/* A map for the engine: T to float, pitch 16. */
template <typename T>
void launch_unpack(const map_view &in, const T *from, float *to, int batch, cudaStream_t stream);

struct pool_shape {
    map_view in, out;
    int kernel[2], stride[2], dilation[2], pads[4]; /* pads: top, left, bottom, right */
    bool average, count_include_pad;
};
template <typename T>
void launch_pool(const pool_shape &shape, const T *in, T *out, int batch, cudaStream_t stream);
template <typename T>
void launch_global_pool(const map_view &in, const T *from, const map_view &out, T *to, int batch,
                        cudaStream_t stream);

/* to = from · gate, a 1 × 1 map. */
template <typename T>
void launch_gate(const map_view &in, const T *from, const T *gate, T *to, int batch, cudaStream_t stream);

/* Operator `kind` of device.h: SCALE_SHIFT, ACTIVATION, ARITH, CONCAT (one of its inputs a launch), PAD,
 * RESHAPE, QUANTIZE. One thread a number: they are rare, what is frequent is part of a convolution. */
struct plain_shape {
    csi_device_kind kind;
    const float *scale, *shift;
    int pad_top, pad_left; /* PAD */
    csi_arith arith;
    csi_act_params act;
    float step, zero, low, high; /* QUANTIZE */
};
template <typename T> struct plain_op {
    plain_shape shape;
    map_view in, other, out;
    const T *from, *second;    /* `second`: of ARITH, when computed; */
    const float *first_values, /* operands that are constants */
        *second_values;
    T *to;
    int channel; /* CONCAT: where the input begins */
};
template <typename T> void launch_plain(const plain_op<T> &op, int batch, cudaStream_t stream);

} // namespace csi_cuda

#endif
