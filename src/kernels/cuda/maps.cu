/* See maps.cuh. */
#include "kernels/cuda/maps.cuh"

#include <climits>

namespace csi_cuda
{

namespace
{

constexpr int block = 256;

unsigned blocks_for(int64_t count)
{
    return (unsigned)((count + block - 1) / block);
}

int64_t values_of(const map_view &map, int batch)
{
    return (int64_t)batch * map.height * map.width * map.pitch;
}

__device__ inline int64_t thread_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* The place of number `index` of a map. */
struct place {
    int channel, x, y;
    int64_t photo;

    __device__ place(const map_view &map, int64_t index)
    {
        if (index <= UINT_MAX) /* 64 bits are divided by a hundred instructions */
            find(map, (unsigned)index);
        else
            find(map, (uint64_t)index);
    }
    template <typename Unsigned> __device__ void find(const map_view &map, Unsigned index)
    {
        const Unsigned pixel = index / (unsigned)map.pitch, row = pixel / (unsigned)map.width;

        channel = (int)(index % (unsigned)map.pitch);
        x = (int)(pixel % (unsigned)map.width);
        y = (int)(row % (unsigned)map.height);
        photo = (int64_t)(row / (unsigned)map.height);
    }
};

__device__ inline int64_t index_of(const map_view &map, int64_t photo, int y, int x, int channel)
{
    return ((photo * map.height + y) * map.width + x) * map.pitch + channel;
}

/* One thread: a unit. */
template <typename T>
__global__ void pack(const float *in, photo_shape photo, map_view out, T *to, int64_t count)
{
    constexpr int size = unit_size<T>;
    const int64_t i = thread_index();
    unit<T> packed;

    if (i >= count)
        return;
    const place p(out, i * size);
#pragma unroll
    for (int k = 0; k < size; k++) {
        const int tap = (p.channel + k) / photo.channels, channel = (p.channel + k) % photo.channels;
        const int column = p.x * photo.stride - photo.pad + tap * photo.dilation;
        const bool used = tap < photo.columns && (unsigned)column < (unsigned)photo.width;

        packed.v[k] = from_float<T>(
            used ? in[((p.photo * photo.channels + channel) * photo.height + p.y) * photo.width + column]
                 : 0.0f);
    }
    *(unit<T> *)(to + i * size) = packed;
}

/* One thread: a unit of T. */
template <typename T>
__global__ void unpack(map_view in, const T *from, map_view out, float *to, int64_t count)
{
    constexpr int size = unit_size<T>;
    const int64_t i = thread_index();
    float values[size];

    if (i >= count)
        return;
    const place p(out, i * size);
    const unit<T> packed = *(const unit<T> *)(from + index_of(in, p.photo, p.y, p.x, p.channel));

#pragma unroll
    for (int k = 0; k < size; k++)
        values[k] = p.channel + k < in.channels ? to_float(packed.v[k]) : 0.0f;
#pragma unroll
    for (int k = 0; k < size; k += 4)
        *(float4 *)(to + i * size + k) = *(const float4 *)(values + k);
}

/* One thread: a unit of channels of an output pixel. */
template <typename T> __global__ void pool_windows(pool_shape s, const T *in, T *out, int64_t count)
{
    constexpr int size = unit_size<T>;
    const int64_t i = thread_index();
    float result[size];
    int in_window = 0, seen = 0;
    unit<T> packed;

    if (i >= count)
        return;
    place p(s.out, i * size);
    for (int k = 0; k < size; k++)
        result[k] = s.average ? 0.0f : -INFINITY;
    for (int ky = 0; ky < s.kernel[0]; ky++) {
        const int row = p.y * s.stride[0] - s.pads[0] + ky * s.dilation[0];

        for (int kx = 0; kx < s.kernel[1]; kx++) {
            const int column = p.x * s.stride[1] - s.pads[1] + kx * s.dilation[1];
            unit<T> value;

            if (row < s.in.height + s.pads[2] && column < s.in.width + s.pads[3])
                in_window++;
            if ((unsigned)row >= (unsigned)s.in.height || (unsigned)column >= (unsigned)s.in.width)
                continue;
            seen++;
            value = *(const unit<T> *)(in + index_of(s.in, p.photo, row, column, p.channel));
#pragma unroll
            for (int k = 0; k < size; k++) {
                float x = to_float(value.v[k]);

                result[k] = s.average ? result[k] + x : larger(result[k], x);
            }
        }
    }
#pragma unroll
    for (int k = 0; k < size; k++) {
        float x = s.average ? result[k] / (float)(s.count_include_pad ? in_window : seen) : result[k];

        packed.v[k] = from_float<T>(p.channel + k < s.out.channels ? x : 0.0f);
    }
    *(unit<T> *)(out + i * size) = packed;
}

/* A block: 32 channels of a photo; its 8 lines of threads share the pixels and add up in order. */
template <typename T> __global__ void pool_all(map_view in, const T *from, map_view out, T *to)
{
    __shared__ float parts[8][32];
    const int channel = (int)blockIdx.x * 32 + (int)threadIdx.x, pixels = in.height * in.width;
    float sum = 0.0f;

    if (channel < in.pitch)
        for (int i = (int)threadIdx.y; i < pixels; i += 8)
            sum += to_float(from[((int64_t)blockIdx.y * pixels + i) * in.pitch + channel]);
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= out.pitch)
        return;
    sum = 0.0f;
    for (int k = 0; k < 8; k++)
        sum += parts[k][threadIdx.x];
    to[(int64_t)blockIdx.y * out.pitch + channel] =
        from_float<T>(channel < out.channels ? sum / (float)pixels : 0.0f);
}

template <typename T>
__global__ void multiply_gate(map_view in, const T *from, const T *gate, T *to, int64_t count)
{
    constexpr int size = unit_size<T>;
    const int64_t i = thread_index();

    if (i >= count)
        return;
    place p(in, i * size);
    unit<T> x = *(const unit<T> *)(from + i * size);
    const unit<T> by = *(const unit<T> *)(gate + p.photo * in.pitch + p.channel);

#pragma unroll
    for (int k = 0; k < size; k++)
        x.v[k] = from_float<T>(to_float(x.v[k]) * to_float(by.v[k]));
    *(unit<T> *)(to + i * size) = x;
}

/* An operand of ARITH at the output's place; dimensions of 1 are broadcast, a constant's photo too. */
template <typename T>
__device__ inline float operand(const map_view &map, const T *computed, const float *constant, const place &p)
{
    const int y = map.height == 1 ? 0 : p.y, x = map.width == 1 ? 0 : p.x;
    const int channel = map.channels == 1 ? 0 : p.channel;

    if (constant != nullptr)
        return constant[((int64_t)channel * map.height + y) * map.width + x];
    return to_float(computed[index_of(map, p.photo, y, x, channel)]);
}

template <typename T> __device__ inline float plain_value(const plain_op<T> &op, const place &p, int64_t i)
{
    switch (op.shape.kind) {
    case CSI_DEVICE_SCALE_SHIFT:
        return activate(op.shape.act,
                        to_float(op.from[i]) * op.shape.scale[p.channel] + op.shape.shift[p.channel]);
    case CSI_DEVICE_ACTIVATION: return activate(op.shape.act, to_float(op.from[i]));
    case CSI_DEVICE_ARITH: {
        const float a = operand(op.in, op.from, op.first_values, p);
        const float b = operand(op.other, op.second, op.second_values, p);

        switch (op.shape.arith) {
        case CSI_ARITH_ADD: return activate(op.shape.act, a + b);
        case CSI_ARITH_SUB: return activate(op.shape.act, a - b);
        case CSI_ARITH_MUL: return activate(op.shape.act, a * b);
        default: return activate(op.shape.act, a / b);
        }
    }
    case CSI_DEVICE_PAD: {
        const int y = p.y - op.shape.pad_top, x = p.x - op.shape.pad_left;

        if ((unsigned)y >= (unsigned)op.in.height || (unsigned)x >= (unsigned)op.in.width)
            return 0.0f;
        return to_float(op.from[index_of(op.in, p.photo, y, x, p.channel)]);
    }
    case CSI_DEVICE_RESHAPE: {
        const int plane = op.in.height * op.in.width;
        const int number = (p.channel * op.out.height + p.y) * op.out.width + p.x, inside = number % plane;

        return to_float(
            op.from[index_of(op.in, p.photo, inside / op.in.width, inside % op.in.width, number / plane)]);
    }
    default: { /* QUANTIZE */
        float level = rintf(to_float(op.from[i]) / op.shape.step) + op.shape.zero;

        level = level < op.shape.low ? op.shape.low : level > op.shape.high ? op.shape.high : level;
        return (level - op.shape.zero) * op.shape.step;
    }
    }
}

template <typename T> __global__ void plain(plain_op<T> op, int64_t count)
{
    const int64_t i = thread_index();

    if (i >= count)
        return;
    place p(op.out, i);
    op.to[i] = from_float<T>(p.channel < op.out.channels ? plain_value(op, p, i) : 0.0f);
}

/* An input of a concatenation; `channel` is where it begins, and the last input writes the padding. */
template <typename T> __global__ void concatenate(plain_op<T> op, bool last, int64_t count)
{
    const int64_t i = thread_index();

    if (i >= count)
        return;
    place p(op.in, i);
    if (p.channel < op.in.channels)
        op.to[index_of(op.out, p.photo, p.y, p.x, op.channel + p.channel)] = op.from[i];
    if (last && p.channel < op.out.pitch - op.out.channels)
        op.to[index_of(op.out, p.photo, p.y, p.x, op.out.channels + p.channel)] = from_float<T>(0.0f);
}

} // namespace

template <typename T>
void launch_pack(const float *in, const photo_shape &photo, const map_view &out, T *to, int batch,
                 cudaStream_t stream)
{
    const int64_t count = values_of(out, batch) / unit_size<T>;

    pack<T><<<blocks_for(count), block, 0, stream>>>(in, photo, out, to, count);
}

template <typename T>
void launch_unpack(const map_view &in, const T *from, float *to, int batch, cudaStream_t stream)
{
    map_view out = in;

    out.pitch = (in.channels + 15) / 16 * 16;
    const int64_t count = values_of(out, batch) / unit_size<T>;

    unpack<T><<<blocks_for(count), block, 0, stream>>>(in, from, out, to, count);
}

template <typename T>
void launch_pool(const pool_shape &shape, const T *in, T *out, int batch, cudaStream_t stream)
{
    const int64_t count = values_of(shape.out, batch) / unit_size<T>;

    pool_windows<T><<<blocks_for(count), block, 0, stream>>>(shape, in, out, count);
}

template <typename T>
void launch_global_pool(const map_view &in, const T *from, const map_view &out, T *to, int batch,
                        cudaStream_t stream)
{
    pool_all<T><<<dim3((unsigned)((out.pitch + 31) / 32), (unsigned)batch), dim3(32, 8), 0, stream>>>(
        in, from, out, to);
}

template <typename T>
void launch_gate(const map_view &in, const T *from, const T *gate, T *to, int batch, cudaStream_t stream)
{
    const int64_t count = values_of(in, batch) / unit_size<T>;

    multiply_gate<T><<<blocks_for(count), block, 0, stream>>>(in, from, gate, to, count);
}

template <typename T> void launch_plain(const plain_op<T> &op, int batch, cudaStream_t stream)
{
    if (op.shape.kind == CSI_DEVICE_CONCAT) {
        const int64_t count = values_of(op.in, batch);
        const bool last = op.channel + op.in.channels == op.out.channels;

        concatenate<T><<<blocks_for(count), block, 0, stream>>>(op, last, count);
    } else {
        const int64_t count = values_of(op.out, batch);

        plain<T><<<blocks_for(count), block, 0, stream>>>(op, count);
    }
}

#define FOR_TYPE(T)                                                                                          \
    template void launch_pack<T>(const float *, const photo_shape &, const map_view &, T *, int,             \
                                 cudaStream_t);                                                              \
    template void launch_unpack<T>(const map_view &, const T *, float *, int, cudaStream_t);                 \
    template void launch_pool<T>(const pool_shape &, const T *, T *, int, cudaStream_t);                     \
    template void launch_global_pool<T>(const map_view &, const T *, const map_view &, T *, int,             \
                                        cudaStream_t);                                                       \
    template void launch_gate<T>(const map_view &, const T *, const T *, T *, int, cudaStream_t);            \
    template void launch_plain<T>(const plain_op<T> &, int, cudaStream_t);
FOR_TYPE(float)
FOR_TYPE(half_t)
FOR_TYPE(bf16_t)

} // namespace csi_cuda
