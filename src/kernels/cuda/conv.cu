/* Implicit matrix products: which tiles, how many parts, the launches. See conv.cuh. */
#include "kernels/cuda/plain.cuh"
#include "kernels/cuda/tensor.cuh"

#include <climits>

namespace csi_cuda
{

namespace
{

/* Adds up the parts of a cut depth, in order. One thread: a unit of the output. */
template <typename T> __global__ void add_parts(product<T> p, int splits)
{
    constexpr int size = unit_size<T>;
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, units = (unsigned)(p.out_pitch / size);
    const int pixel = (int)(i / units), channel = (int)(i % units) * size, corners = p.pool ? 4 : 1;
    float bias[size], most[size];
    unit<T> result;

    if ((int64_t)pixel * corners >= p.positions)
        return;
    load_floats(bias, p.bias + channel);
    for (int corner = 0; corner < corners; corner++) {
        const float *parts = p.parts + ((int64_t)pixel * corners + corner) * p.out_pitch + channel;
        float sums[size] = {};

        for (int s = 0; s < splits; s++) {
            float part[size];

            load_floats(part, parts + s * p.positions * p.out_pitch);
#pragma unroll
            for (int k = 0; k < size; k++)
                sums[k] += part[k];
        }
        finish<false>(p, sums, bias, ((int64_t)pixel * corners + corner) * p.out_pitch + channel, channel);
#pragma unroll
        for (int k = 0; k < size; k++)
            most[k] = corner == 0 ? sums[k] : larger(most[k], sums[k]);
    }
#pragma unroll
    for (int k = 0; k < size; k++)
        result.v[k] = from_float<T>(most[k]);
    *(unit<T> *)(p.out + (int64_t)pixel * p.out_pitch + channel) = result;
}

/* ---- tiles ---- */

/* What a block computes. `weight`: how long it takes for each of its sums beside the others, when there are
 * many. */
template <typename T> struct tile {
    void (*kernel)(product<T>);
    int rows, columns, threads, stages, weight;
};

/* Stages: at most 96 KB, which all have since compute capability 8.0, so that two blocks or more fit into the
 * processors that have 228. Measured on an H200. */
template <typename T>
constexpr tile<T> tiles[] = {
    {multiply_tensor<T, 128, 128, 64, 32, 3, 2>, 128, 128, 256, 3, 100},
    {multiply_tensor<T, 128, 64, 64, 32, 2, 4>, 128, 64, 128, 2, 104},
    {multiply_tensor<T, 64, 128, 32, 64, 3, 3>, 64, 128, 128, 3, 108},
    {multiply_tensor<T, 64, 64, 32, 32, 3, 4>, 64, 64, 128, 3, 123},
};
template <>
constexpr tile<float> tiles<float>[3] = {
    {multiply_plain<128, 128, 8, 3>, 128, 128, 256, 3, 100},
    {multiply_plain<128, 64, 8, 4>, 128, 64, 128, 4, 105},
    {multiply_plain<64, 64, 4, 4>, 64, 64, 128, 4, 125},
};

int ceil_div(int64_t n, int by)
{
    return (int)((n + by - 1) / by);
}

/* Turing's copies do not run ahead, and it has 64 KB. */
template <typename T> int shared_bytes(const tile<T> &t, bool turing)
{
    const int stages = turing && !std::is_same<T, float>::value ? 2 : t.stages;
    const int operands = stages * (t.rows + t.columns) * lines<T>::bytes;
    const int sums = std::is_same<T, float>::value ? 0 : t.rows * t.columns * (int)sizeof(float);

    return operands > sums ? operands : sums;
}

template <typename T> bool fits(const tile<T> &t, bool turing)
{
    return shared_bytes(t, turing) <= (turing ? 64 << 10 : 96 << 10);
}

/* The tile with which the processor that has most to do is done first. */
template <typename T> const tile<T> &choose_tile(int64_t positions, int channels, int splits, const gpu &gpu)
{
    const tile<T> *best = nullptr;
    int64_t least = INT64_MAX;

    for (const tile<T> &t : tiles<T>) {
        const int64_t blocks = (int64_t)ceil_div(positions, t.rows) * ceil_div(channels, t.columns) * splits;
        const int64_t each = ceil_div(blocks, gpu.processors);
        /* Of two blocks one computes while the other waits. */
        const int64_t cost = each * t.rows * t.columns * t.weight * (each == 1 ? 140 : 100);

        if (cost < least && fits(t, gpu.turing)) {
            least = cost;
            best = &t;
        }
    }
    return *best;
}

template <typename T> cudaError_t prepare(const gpu &gpu)
{
    cudaError_t result = cudaSuccess;

    for (const tile<T> &t : tiles<T>)
        if (result == cudaSuccess && fits(t, gpu.turing))
            result = cudaFuncSetAttribute(t.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          shared_bytes(t, gpu.turing));
    return result;
}

template <typename T>
product<T> describe(const conv &c, const T *in, const T *residual, T *out, float *scratch, int batch)
{
    const conv_shape &s = c.shape;
    product<T> p = {};

    p.in = in;
    p.weights = (const T *)c.weights;
    p.residual = residual;
    p.out = out;
    p.parts = c.splits > 1 ? scratch : nullptr;
    p.bias = c.bias;
    p.units = c.units;
    p.tiles = c.unit_count / depth_units<T>;
    p.tiles_a_part = ceil_div(p.tiles, c.splits);
    p.in_height = s.in.height;
    p.in_width = s.in.width;
    p.in_pitch = s.in.pitch;
    p.out_pitch = s.out.pitch;
    p.channels = s.out.channels;
    for (int i = 0; i < 2; i++) {
        p.stride[i] = s.stride[i];
        p.pads[i] = s.pads[i];
    }
    p.pool = s.pool;
    p.width = divider(s.pool ? s.out.width / 2 : s.out.width);
    p.photo = divider(s.pool ? (s.out.height / 2) * (s.out.width / 2) : s.out.height * s.out.width);
    p.residual_after = s.residual_after;
    p.act = s.act;
    p.positions = (int64_t)batch * p.photo.by * (s.pool ? 4 : 1);
    return p;
}

} // namespace

int choose_splits(const conv_shape &s, int unit_count, int units_a_tile, int processors)
{
    const int64_t blocks =
        (int64_t)ceil_div((int64_t)s.out.height * s.out.width, 64) * ceil_div(s.out.channels, 64);
    const int depth_tiles = unit_count / units_a_tile;
    int64_t splits;

    if (s.groups != 1)
        return 1;
    splits = 2 * processors / blocks; /* two blocks a processor hide each other's waits */
    splits = splits < unit_count / 32 ? splits : unit_count / 32; /* shorter parts are all start and end */
    splits = splits < 16 ? splits : 16;
    splits = splits < 1 ? 1 : splits;
    return ceil_div(depth_tiles, ceil_div(depth_tiles, (int)splits)); /* no part is empty */
}

size_t conv_scratch_bytes(const conv &c)
{
    if (c.splits == 1)
        return 0;
    return (size_t)c.splits * (size_t)c.shape.out.height * (size_t)c.shape.out.width *
           (size_t)c.shape.out.pitch * sizeof(float);
}

template <typename T>
void launch_conv(const conv &c, const T *in, const T *residual, T *out, float *scratch, int batch,
                 const gpu &gpu, cudaStream_t stream)
{
    if (c.shape.groups != 1) {
        launch_groups(c, in, residual, out, batch, stream);
        return;
    }
    const product<T> p = describe(c, in, residual, out, scratch, batch);
    const tile<T> &t = choose_tile<T>(p.positions, p.channels, c.splits, gpu);
    const dim3 grid((unsigned)ceil_div(p.positions, t.rows), (unsigned)ceil_div(p.channels, t.columns),
                    (unsigned)c.splits);

    t.kernel<<<grid, (unsigned)t.threads, (size_t)shared_bytes(t, gpu.turing), stream>>>(p);
    if (c.splits > 1) {
        const int64_t count = p.positions / (p.pool ? 4 : 1) * p.out_pitch;

        add_parts<T><<<(unsigned)ceil_div(count / unit_size<T>, 64), 64, 0, stream>>>(p, c.splits);
    }
}

template void launch_conv(const conv &, const float *, const float *, float *, float *, int, const gpu &,
                          cudaStream_t);
template void launch_conv(const conv &, const half_t *, const half_t *, half_t *, float *, int, const gpu &,
                          cudaStream_t);
template void launch_conv(const conv &, const bf16_t *, const bf16_t *, bf16_t *, float *, int, const gpu &,
                          cudaStream_t);

cudaError_t prepare_convs(const gpu &gpu)
{
    cudaError_t result = prepare<float>(gpu);

    if (result == cudaSuccess)
        result = prepare<half_t>(gpu);
    return result == cudaSuccess ? prepare<bf16_t>(gpu) : result;
}

} // namespace csi_cuda
