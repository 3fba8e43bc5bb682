/* Implicit matrix products, depthwise and grouped convolutions. See conv.cuh. */
#include "kernels/cuda/conv.cuh"

#include <climits>
#include <mma.h>
#include <type_traits>

namespace csi_cuda
{

namespace
{

using namespace nvcuda;

/* Of shared memory: depth_units units and one of padding, so that 8 lines meet no bank twice. */
constexpr int line_bytes = 80;

template <typename T> struct product {
    const T *in, *weights, *residual;
    T *out;
    float *parts; /* [split][position][out.pitch] when the depth is cut, else NULL */
    const float *bias;
    const depth_unit *units;
    int tiles, tiles_a_part; /* of depth_units */
    int in_height, in_width, in_pitch, out_height, out_width, out_pitch, channels;
    int stride[2], pads[2];
    int pooled_height, pooled_width; /* 0: no pool */
    bool residual_after;
    int64_t positions; /* rows of the product. With a pool, four behind each other are a window */
    csi_act_params act;
};

/* ---- from global to shared memory ---- */

__device__ inline void copy_unit(void *to, const void *from, bool used)
{
#if __CUDA_ARCH__ >= 800
    unsigned address = (unsigned)__cvta_generic_to_shared(to);

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(from),
                 "r"(used ? 16 : 0));
#else
    *(uint4 *)to = used ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}

__device__ inline void copies_issued()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;\n" ::);
#endif
}

/* All but the last `pending` groups of this thread have arrived. */
template <int pending> __device__ inline void await_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;\n" ::"n"(pending));
#endif
}

/* The lines of a tile that a thread copies: one unit of each. */
template <typename T, int BM, int BN, int threads> struct copier {
    static constexpr int rows = BM * depth_units / threads, columns = BN * depth_units / threads;

    const product<T> &p;
    const T *row_base[rows]; /* the window's first pixel: may lie outside the map */
    int row_y[rows], row_x[rows];
    const T *column_base[columns];
    int unit, line;  /* in the tile */
    depth_unit next; /* read a tile ahead: the address of a copy waits for it */

    __device__ copier(const product<T> &product, int64_t first_row, int first_column, int first_tile)
        : p(product)
    {
        unit = (int)threadIdx.x % depth_units;
        line = (int)threadIdx.x / depth_units;
        next = p.units[first_tile * depth_units + unit];
#pragma unroll
        for (int i = 0; i < rows; i++) {
            int64_t m = first_row + line + i * (threads / depth_units);
            int y, x;
            int64_t photo;

            if (p.pooled_height > 0) {
                int64_t window = m / 4;
                int corner = (int)(m % 4), in_photo = (int)(window % (p.pooled_height * p.pooled_width));

                photo = window / (p.pooled_height * p.pooled_width);
                y = 2 * (in_photo / p.pooled_width) + corner / 2;
                x = 2 * (in_photo % p.pooled_width) + corner % 2;
            } else {
                int in_photo = (int)(m % ((int64_t)p.out_height * p.out_width));

                photo = m / ((int64_t)p.out_height * p.out_width);
                y = in_photo / p.out_width;
                x = in_photo % p.out_width;
            }
            row_y[i] = y * p.stride[0] - p.pads[0];
            row_x[i] = x * p.stride[1] - p.pads[1];
            row_base[i] = p.in + ((photo * p.in_height + row_y[i]) * p.in_width + row_x[i]) * p.in_pitch;
            if (m >= p.positions)
                row_y[i] = INT_MIN / 2; /* outside whatever the window's row */
        }
#pragma unroll
        for (int i = 0; i < columns; i++)
            column_base[i] = p.weights +
                             (int64_t)(first_column + line + i * (threads / depth_units)) * p.tiles *
                                 depth_units * unit_size<T> +
                             unit * unit_size<T>;
    }

    /* Tile by tile. */
    __device__ void copy(int tile, char *a, char *b)
    {
        const depth_unit u = next;
        char *to_a = a + line * line_bytes + unit * 16, *to_b = b + line * line_bytes + unit * 16;

        next = p.units[(tile + 1) * depth_units + unit]; /* one tile of padding stands behind the last */
#pragma unroll
        for (int i = 0; i < rows; i++) {
            bool used = u.used != 0 && (unsigned)(row_y[i] + u.row) < (unsigned)p.in_height &&
                        (unsigned)(row_x[i] + u.column) < (unsigned)p.in_width;

            copy_unit(to_a + i * (threads / depth_units) * line_bytes, used ? row_base[i] + u.offset : p.in,
                      used);
        }
#pragma unroll
        for (int i = 0; i < columns; i++)
            copy_unit(to_b + i * (threads / depth_units) * line_bytes,
                      column_base[i] + (int64_t)tile * depth_units * unit_size<T>, true);
    }
};

/* Depth tiles [first, last) through `stages` buffers: compute(a, b) once for each, in order. */
template <int stages, typename T, int BM, int BN, int threads, typename Compute>
__device__ void for_depth(copier<T, BM, BN, threads> &copies, char *shared, int first, int last,
                          Compute compute)
{
    constexpr int stage_bytes = (BM + BN) * line_bytes;

#pragma unroll
    for (int s = 0; s < stages - 1; s++) {
        if (first + s < last)
            copies.copy(first + s, shared + s * stage_bytes, shared + s * stage_bytes + BM * line_bytes);
        copies_issued();
    }
    for (int tile = first; tile < last; tile++) {
        char *now = shared + (tile - first) % stages * stage_bytes;
        int next = tile + stages - 1;

        await_copies<stages - 2>();
        __syncthreads();
        if (next < last) {
            char *to = shared + (next - first) % stages * stage_bytes;

            copies.copy(next, to, to + BM * line_bytes);
        }
        copies_issued();
        compute(now, now + BM * line_bytes);
    }
    await_copies<0>();
    __syncthreads();
}

/* What becomes of a sum. */
template <typename T>
__device__ inline float finished(const product<T> &p, float sum, int channel, const T *residual)
{
    float x = sum + p.bias[channel];

    if (residual != nullptr && !p.residual_after)
        x += to_float(*residual);
    x = activate(p.act, x);
    if (residual != nullptr && p.residual_after)
        x += to_float(*residual);
    return channel < p.channels ? x : 0.0f;
}

/* ---- tensor cores ---- */

template <typename T, int BM, int BN, int WM, int WN, int stages>
__global__ void __launch_bounds__(BM / WM * (BN / WN) * 32) multiply_tensor(product<T> p)
{
#if __CUDA_ARCH__ >= 800 || !defined(__CUDA_ARCH__)
    constexpr bool able = true;
#else
    constexpr bool able = std::is_same<T, half_t>::value;
#endif
    if constexpr (able) {
        constexpr int threads = BM / WM * (BN / WN) * 32, ld = line_bytes / (int)sizeof(T);
        extern __shared__ __align__(128) char shared[];
        const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
        const int warp_row = warp / (BN / WN) * WM, warp_column = warp % (BN / WN) * WN;
        const int64_t first_row = (int64_t)blockIdx.x * BM;
        const int first_column = (int)blockIdx.y * BN;
        const int first_tile = (int)blockIdx.z * p.tiles_a_part;
        const int last_tile = min(first_tile + p.tiles_a_part, p.tiles);
        wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[WM / 16][WN / 16];
        copier<T, BM, BN, threads> copies(p, first_row, first_column, first_tile);

#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 16; j++)
                wmma::fill_fragment(sums[i][j], 0.0f);
        for_depth<stages>(copies, shared, first_tile, last_tile, [&](const char *a, const char *b) {
            const T *rows = (const T *)a + warp_row * ld, *columns = (const T *)b + warp_column * ld;

#pragma unroll
            for (int k = 0; k < depth_units * unit_size<T>; k += 16) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> left[WM / 16];
                wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::col_major> right[WN / 16];

#pragma unroll
                for (int i = 0; i < WM / 16; i++)
                    wmma::load_matrix_sync(left[i], rows + i * 16 * ld + k, ld);
#pragma unroll
                for (int j = 0; j < WN / 16; j++)
                    wmma::load_matrix_sync(right[j], columns + j * 16 * ld + k, ld);
#pragma unroll
                for (int i = 0; i < WM / 16; i++)
#pragma unroll
                    for (int j = 0; j < WN / 16; j++)
                        wmma::mma_sync(sums[i][j], left[i], right[j], sums[i][j]);
            }
        });

        /* Through shared memory, a fragment at a time: a lane has 8 channels of a row there. */
        constexpr int staging_ld = 20;
        float *staging = (float *)shared + warp * 16 * staging_ld;
        const int row = lane / 2, column = lane % 2 * 8;

#pragma unroll
        for (int i = 0; i < WM / 16; i++) {
#pragma unroll
            for (int j = 0; j < WN / 16; j++) {
                const int64_t m = first_row + warp_row + i * 16 + row;
                const int channel = first_column + warp_column + j * 16 + column;
                const bool used = m < p.positions && channel < p.out_pitch;
                unit<T> result;

                wmma::store_matrix_sync(staging, sums[i][j], staging_ld, wmma::mem_row_major);
                __syncwarp();
                if (p.parts != nullptr) {
                    if (used) {
                        float *to = p.parts + ((int64_t)blockIdx.z * p.positions + m) * p.out_pitch + channel;

                        *(float4 *)to = *(const float4 *)(staging + row * staging_ld + column);
                        *(float4 *)(to + 4) = *(const float4 *)(staging + row * staging_ld + column + 4);
                    }
                } else {
                    unit<T> residual;

                    if (used && p.residual != nullptr)
                        residual = *(const unit<T> *)(p.residual + m * p.out_pitch + channel);
#pragma unroll
                    for (int k = 0; k < 8; k++) {
                        float x = 0.0f;

                        if (used)
                            x = finished(p, staging[row * staging_ld + column + k], channel + k,
                                         p.residual != nullptr ? &residual.v[k] : nullptr);
                        if (p.pooled_height > 0) { /* rows 4i … 4i+3 of the product are a window */
                            x = larger(x, __shfl_xor_sync(0xffffffffu, x, 2));
                            x = larger(x, __shfl_xor_sync(0xffffffffu, x, 4));
                        }
                        result.v[k] = from_float<T>(x);
                    }
                    if (used && p.pooled_height == 0)
                        *(unit<T> *)(p.out + m * p.out_pitch + channel) = result;
                    else if (used && row % 4 == 0)
                        *(unit<T> *)(p.out + m / 4 * p.out_pitch + channel) = result;
                }
                __syncwarp();
            }
        }
    }
}

/* ---- plain cores, float32 ---- */

/* A thread has 8 rows, in two runs of 4 (a pool's window is one), and TN columns. */
template <int BM, int BN, int TN, int stages>
__global__ void __launch_bounds__(BM / 8 * (BN / TN)) multiply_plain(product<float> p)
{
    constexpr int threads = BM / 8 * (BN / TN), across = BN / TN, ld = line_bytes / 4;
    extern __shared__ __align__(128) char shared[];
    const int tx = (int)threadIdx.x % across, ty = (int)threadIdx.x / across;
    const int64_t first_row = (int64_t)blockIdx.x * BM;
    const int first_column = (int)blockIdx.y * BN;
    const int first_tile = (int)blockIdx.z * p.tiles_a_part;
    const int last_tile = min(first_tile + p.tiles_a_part, p.tiles);
    float sums[8][TN] = {};
    copier<float, BM, BN, threads> copies(p, first_row, first_column, first_tile);

    for_depth<stages>(copies, shared, first_tile, last_tile, [&](const char *a, const char *b) {
        const float *rows = (const float *)a + ty * 4 * ld, *columns = (const float *)b + tx * ld;

#pragma unroll
        for (int k = 0; k < depth_units * 4; k += 4) {
            float4 right[TN];

#pragma unroll
            for (int j = 0; j < TN; j++)
                right[j] = *(const float4 *)(columns + j * across * ld + k);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const float4 left = *(const float4 *)(rows + (i / 4 * (BM / 2) + i % 4) * ld + k);

#pragma unroll
                for (int j = 0; j < TN; j++) {
                    sums[i][j] = fmaf(left.x, right[j].x, sums[i][j]);
                    sums[i][j] = fmaf(left.y, right[j].y, sums[i][j]);
                    sums[i][j] = fmaf(left.z, right[j].z, sums[i][j]);
                    sums[i][j] = fmaf(left.w, right[j].w, sums[i][j]);
                }
            }
        }
    });

#pragma unroll
    for (int run = 0; run < 2; run++) {
        const int64_t m = first_row + run * (BM / 2) + ty * 4;

#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int channel = first_column + tx + j * across;
            float most = 0.0f;

            if (channel >= p.out_pitch)
                continue;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = sums[run * 4 + i][j];

                if (m + i >= p.positions)
                    continue;
                if (p.parts != nullptr) {
                    p.parts[((int64_t)blockIdx.z * p.positions + m + i) * p.out_pitch + channel] = x;
                    continue;
                }
                x = finished(p, x, channel,
                             p.residual != nullptr ? p.residual + (m + i) * p.out_pitch + channel : nullptr);
                if (p.pooled_height == 0)
                    p.out[(m + i) * p.out_pitch + channel] = x;
                most = i == 0 ? x : larger(most, x);
            }
            if (p.pooled_height > 0 && m < p.positions)
                p.out[m / 4 * p.out_pitch + channel] = most;
        }
    }
}

/* Adds up the parts of a cut depth, in order. One thread: a number of the output. */
template <typename T> __global__ void add_parts(product<T> p, int splits)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t count = p.positions * p.out_pitch, pixel = i / p.out_pitch;
    const int channel = (int)(i % p.out_pitch), corners = p.pooled_height > 0 ? 4 : 1;
    float most = 0.0f;

    if (pixel * corners >= p.positions)
        return;
    for (int corner = 0; corner < corners; corner++) {
        const float *parts = p.parts + (pixel * corners + corner) * p.out_pitch + channel;
        float sum = 0.0f;

        for (int s = 0; s < splits; s++)
            sum += parts[s * count];
        sum = finished(p, sum, channel, p.residual != nullptr ? p.residual + i : nullptr);
        most = corner == 0 ? sum : larger(most, sum);
    }
    p.out[i] = from_float<T>(most);
}

/* ---- groups ---- */

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

/* ---- launches ---- */

constexpr int block = 256;

unsigned blocks_for(int64_t count)
{
    return (unsigned)((count + block - 1) / block);
}

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

constexpr int shared_bytes(int BM, int BN, int stages)
{
    return stages * (BM + BN) * line_bytes;
}

/* Stages: 64 KB are what the oldest have. Small tiles compute little and wait for memory: they ask further
 * ahead. */
template <typename T> struct tiles;
template <typename T> struct tensor_tiles {
    static constexpr auto large = multiply_tensor<T, 128, 128, 64, 32, 3>;
    static constexpr auto tall = multiply_tensor<T, 128, 64, 32, 32, 4>;
    static constexpr auto small = multiply_tensor<T, 64, 64, 32, 32, 4>;
    static constexpr int tall_threads = 256;
};
template <> struct tiles<half_t> : tensor_tiles<half_t> {
};
template <> struct tiles<bf16_t> : tensor_tiles<bf16_t> {
};
template <> struct tiles<float> {
    static constexpr auto large = multiply_plain<128, 128, 8, 3>;
    static constexpr auto tall = multiply_plain<128, 64, 8, 4>;
    static constexpr auto small = multiply_plain<64, 64, 4, 4>;
    static constexpr int tall_threads = 128;
};

int64_t tiles_of(int64_t positions, int channels, int BM, int BN)
{
    return (positions + BM - 1) / BM * ((channels + BN - 1) / BN);
}

dim3 grid_of(int64_t positions, int channels, int splits, int BM, int BN)
{
    return dim3((unsigned)((positions + BM - 1) / BM), (unsigned)((channels + BN - 1) / BN),
                (unsigned)splits);
}

template <typename T> cudaError_t prepare()
{
    cudaError_t result = cudaFuncSetAttribute(tiles<T>::large, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              shared_bytes(128, 128, 3));

    if (result == cudaSuccess)
        result = cudaFuncSetAttribute(tiles<T>::tall, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      shared_bytes(128, 64, 4));
    return result;
}

} // namespace

int choose_splits(const conv_shape &s, int unit_count, int processors)
{
    const int64_t tiles64 = tiles_of((int64_t)s.out.height * s.out.width, s.out.channels, 64, 64);
    const int depth_tiles = unit_count / depth_units;
    int64_t splits, a_part;

    /* A part that is shorter than 8 tiles is all start and end. */
    if (s.groups != 1)
        return 1;
    splits = 2 * processors / tiles64; /* two blocks a processor hide each other's waits */
    splits = splits < depth_tiles / 8 ? splits : depth_tiles / 8;
    splits = splits < 16 ? splits : 16;
    splits = splits < 1 ? 1 : splits;
    a_part = (depth_tiles + splits - 1) / splits;
    return (int)((depth_tiles + a_part - 1) / a_part); /* no part is empty */
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
                 int processors, cudaStream_t stream)
{
    const conv_shape &s = c.shape;
    product<T> p = {};

    if (s.groups != 1) {
        launch_groups(c, in, residual, out, batch, stream);
        return;
    }
    p.in = in;
    p.weights = (const T *)c.weights;
    p.residual = residual;
    p.out = out;
    p.parts = c.splits > 1 ? scratch : nullptr;
    p.bias = c.bias;
    p.units = c.units;
    p.tiles = c.unit_count / depth_units;
    p.tiles_a_part = (p.tiles + c.splits - 1) / c.splits;
    p.in_height = s.in.height;
    p.in_width = s.in.width;
    p.in_pitch = s.in.pitch;
    p.out_height = s.out.height;
    p.out_width = s.out.width;
    p.out_pitch = s.out.pitch;
    p.channels = s.out.channels;
    for (int i = 0; i < 2; i++) {
        p.stride[i] = s.stride[i];
        p.pads[i] = s.pads[i];
    }
    p.pooled_height = s.pool ? s.out.height / 2 : 0;
    p.pooled_width = s.pool ? s.out.width / 2 : 0;
    p.residual_after = s.residual_after;
    p.act = s.act;
    p.positions = s.pool ? (int64_t)batch * p.pooled_height * p.pooled_width * 4
                         : (int64_t)batch * s.out.height * s.out.width;
    /* The largest tiles that still give every processor two. */
    if (s.out.channels > 64 && c.splits * tiles_of(p.positions, s.out.channels, 128, 128) >= 2 * processors)
        tiles<T>::large<<<grid_of(p.positions, s.out.channels, c.splits, 128, 128), 256,
                          shared_bytes(128, 128, 3), stream>>>(p);
    else if (c.splits * tiles_of(p.positions, s.out.channels, 128, 64) >= 2 * processors)
        tiles<T>::tall<<<grid_of(p.positions, s.out.channels, c.splits, 128, 64), tiles<T>::tall_threads,
                         shared_bytes(128, 64, 4), stream>>>(p);
    else
        tiles<T>::small<<<grid_of(p.positions, s.out.channels, c.splits, 64, 64), 128,
                          shared_bytes(64, 64, 4), stream>>>(p);
    if (c.splits > 1) {
        const int64_t count = p.positions / (s.pool ? 4 : 1) * p.out_pitch;

        add_parts<T><<<blocks_for(count), block, 0, stream>>>(p, c.splits);
    }
}

template void launch_conv(const conv &, const float *, const float *, float *, float *, int, int,
                          cudaStream_t);
template void launch_conv(const conv &, const half_t *, const half_t *, half_t *, float *, int, int,
                          cudaStream_t);
template void launch_conv(const conv &, const bf16_t *, const bf16_t *, bf16_t *, float *, int, int,
                          cudaStream_t);

cudaError_t prepare_convs()
{
    cudaError_t result = prepare<float>();

    if (result == cudaSuccess)
        result = prepare<half_t>();
    return result == cudaSuccess ? prepare<bf16_t>() : result;
}

} // namespace csi_cuda
