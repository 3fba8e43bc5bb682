/* Depthwise and grouped convolutions. See conv.cuh. */
#include "kernels/cuda/conv.cuh"

namespace csi_cuda
{

namespace
{

struct window {
    map_view in, out;
    int kernel[2], stride[2], dilation[2], pads[2];
    int groups;
    bool residual_after;
    csi_act_params act;
};

template <typename T>
__device__ inline float finished_alone(const window &w, float x, int channel, const T *residual)
{
    if (residual != nullptr && !w.residual_after)
        x += to_float(*residual);
    x = activate(w.act, x);
    if (residual != nullptr && w.residual_after)
        x += to_float(*residual);
    return channel < w.out.channels ? x : 0.0f;
}

/* One thread: a unit of channels of an output pixel. */
template <typename T>
__global__ void convolve_depthwise(window w, const T *in, const float *weights, const float *bias,
                                   const T *residual, T *out, int64_t count)
{
    constexpr int size = unit_size<T>;
    const int units = w.out.pitch / size;
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int channel = (int)(i % units) * size;
    const int64_t pixel = i / units;
    const int x = (int)(pixel % w.out.width), y = (int)(pixel / w.out.width % w.out.height);
    const int64_t photo = pixel / ((int64_t)w.out.width * w.out.height);
    float sums[size];
    unit<T> result, add;

    if (i >= count)
        return;
#pragma unroll
    for (int k = 0; k < size; k++)
        sums[k] = bias[channel + k];
    for (int ky = 0; ky < w.kernel[0]; ky++) {
        const int row = y * w.stride[0] - w.pads[0] + ky * w.dilation[0];

        if ((unsigned)row >= (unsigned)w.in.height)
            continue;
        for (int kx = 0; kx < w.kernel[1]; kx++) {
            const int column = x * w.stride[1] - w.pads[1] + kx * w.dilation[1];
            const float *tap = weights + (int64_t)(ky * w.kernel[1] + kx) * w.out.pitch + channel;
            unit<T> value;

            if ((unsigned)column >= (unsigned)w.in.width)
                continue;
            value = *(const unit<T> *)(in + ((photo * w.in.height + row) * w.in.width + column) * w.in.pitch +
                                       channel);
#pragma unroll
            for (int k = 0; k < size; k++)
                sums[k] = fmaf(to_float(value.v[k]), tap[k], sums[k]);
        }
    }
    if (residual != nullptr)
        add = *(const unit<T> *)(residual + pixel * w.out.pitch + channel);
#pragma unroll
    for (int k = 0; k < size; k++)
        result.v[k] = from_float<T>(
            finished_alone<T>(w, sums[k], channel + k, residual != nullptr ? &add.v[k] : nullptr));
    *(unit<T> *)(out + pixel * w.out.pitch + channel) = result;
}

/* One thread: one number. For the few networks with groups of several channels. */
template <typename T>
__global__ void convolve_grouped(window w, const T *in, const float *weights, const float *bias,
                                 const T *residual, T *out, int64_t count)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int channel = (int)(i % w.out.pitch);
    const int64_t pixel = i / w.out.pitch;
    const int x = (int)(pixel % w.out.width), y = (int)(pixel / w.out.width % w.out.height);
    const int64_t photo = pixel / ((int64_t)w.out.width * w.out.height);
    const int inputs = w.in.channels / w.groups, outputs = w.out.channels / w.groups;
    float sum;

    if (i >= count)
        return;
    if (channel >= w.out.channels) {
        out[i] = from_float<T>(0.0f);
        return;
    }
    sum = bias[channel];
    for (int ky = 0; ky < w.kernel[0]; ky++) {
        const int row = y * w.stride[0] - w.pads[0] + ky * w.dilation[0];

        for (int kx = 0; kx < w.kernel[1]; kx++) {
            const int column = x * w.stride[1] - w.pads[1] + kx * w.dilation[1];
            const float *tap =
                weights + ((int64_t)channel * w.kernel[0] * w.kernel[1] + ky * w.kernel[1] + kx) * inputs;
            const T *from;

            if ((unsigned)row >= (unsigned)w.in.height || (unsigned)column >= (unsigned)w.in.width)
                continue;
            from = in + ((photo * w.in.height + row) * w.in.width + column) * w.in.pitch +
                   channel / outputs * inputs;
            for (int c = 0; c < inputs; c++)
                sum = fmaf(to_float(from[c]), tap[c], sum);
        }
    }
    out[i] = from_float<T>(finished_alone<T>(w, sum, channel, residual != nullptr ? residual + i : nullptr));
}

constexpr int block = 256;

unsigned blocks_for(int64_t count)
{
    return (unsigned)((count + block - 1) / block);
}

} // namespace

template <typename T>
void launch_groups(const conv &c, const T *in, const T *residual, T *out, int batch, cudaStream_t stream)
{
    const conv_shape &s = c.shape;
    const window w = {s.in,
                      s.out,
                      {s.kernel[0], s.kernel[1]},
                      {s.stride[0], s.stride[1]},
                      {s.dilation[0], s.dilation[1]},
                      {s.pads[0], s.pads[1]},
                      s.groups,
                      s.residual_after,
                      s.act};
    const int64_t values = (int64_t)batch * s.out.height * s.out.width * s.out.pitch;
    const float *weights = (const float *)c.weights;

    if (is_depthwise(s)) {
        const int64_t count = values / unit_size<T>;

        convolve_depthwise<T>
            <<<blocks_for(count), block, 0, stream>>>(w, in, weights, c.bias, residual, out, count);
    } else {
        convolve_grouped<T>
            <<<blocks_for(values), block, 0, stream>>>(w, in, weights, c.bias, residual, out, values);
    }
}

template void launch_groups(const conv &, const float *, const float *, float *, int, cudaStream_t);
template void launch_groups(const conv &, const half_t *, const half_t *, half_t *, int, cudaStream_t);
template void launch_groups(const conv &, const bf16_t *, const bf16_t *, bf16_t *, int, cudaStream_t);

} // namespace csi_cuda
