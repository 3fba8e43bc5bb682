/*
 * What the kernels of implicit matrix products share: the product's description, the way of its operands into
 * shared memory, and what becomes of a sum.
 *
 * A tile of the depth is as many units as a line of shared memory holds: see `lines`.
 */
#ifndef CSI_KERNELS_CUDA_PRODUCT_CUH
#define CSI_KERNELS_CUDA_PRODUCT_CUH

#include <climits>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/conv.cuh"

namespace csi_cuda
{

/* Division of numbers below 2^31 by multiplication: the processors divide slowly. */
struct divider {
    unsigned by, factor, shift;

    divider() = default;
    explicit divider(int divisor) : by((unsigned)divisor), shift(31)
    {
        while ((1u << (shift - 31)) < by)
            shift++;
        factor = (unsigned)((UINT64_C(1) << shift) / by) + 1;
    }
    __device__ int operator()(int n) const
    {
        return (int)((uint64_t)(unsigned)n * factor >> shift);
    }
};

template <typename T> struct product {
    const T *in, *weights, *residual;
    T *out;
    float *parts; /* [split][position][out.pitch] when the depth is cut, else NULL */
    const float *bias;
    const depth_unit *units;
    int tiles, tiles_a_part; /* of the depth */
    int in_height, in_width, in_pitch, out_pitch, channels;
    int stride[2], pads[2];
    divider width, photo; /* of the output: pixels, behind the pool if there is one */
    bool pool, residual_after;
    int64_t
        positions; /* rows of the product: less than 2^31. With a pool, four behind each other are a window */
    csi_act_params act;
};

/* A line of a tile in shared memory, and where its units lie so that neither a warp that copies nor one that
 * reads the same unit of 8 lines meets a bank twice. */
template <typename T> struct lines { /* for tensor cores: units trade places, by the line */
    static constexpr int units = depth_units<T>, bytes = units * 16;

    __device__ static int at(int line, int unit)
    {
        return line * bytes + (unit ^ (line & 7)) * 16;
    }
};
template <> struct lines<float> { /* a unit of padding */
    static constexpr int units = depth_units<float>, bytes = units * 16 + 16;

    __device__ static int at(int line, int unit)
    {
        return line * bytes + unit * 16;
    }
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
    static constexpr int units = lines<T>::units, apart = threads / units;
    static constexpr int rows = BM / apart, columns = BN / apart;

    const product<T> &p;
    int row_first[rows]; /* the window's first pixel, in units of `in`: may lie outside the map */
    int row_y[rows], row_x[rows];
    const T *column_first;
    int unit, line;  /* in the tile */
    depth_unit next; /* read a tile ahead: the address of a copy waits for it */

    __device__ copier(const product<T> &product, int first_row, int first_column, int first_tile) : p(product)
    {
        static_assert(apart % 8 == 0 && BM % apart == 0 && BN % apart == 0,
                      "a thread's lines are swizzled alike");
        unit = (int)threadIdx.x % units;
        line = (int)threadIdx.x / units;
        next = p.units[first_tile * units + unit];
#pragma unroll
        for (int i = 0; i < rows; i++) {
            const int m = first_row + line + i * apart, corner = p.pool ? m % 4 : 0;
            const int pixel = p.pool ? m / 4 : m, photo = p.photo(pixel),
                      inside = pixel - photo * (int)p.photo.by;
            int y = p.width(inside), x = inside - y * (int)p.width.by;

            if (p.pool) {
                y = 2 * y + corner / 2;
                x = 2 * x + corner % 2;
            }
            row_y[i] = y * p.stride[0] - p.pads[0];
            row_x[i] = x * p.stride[1] - p.pads[1];
            row_first[i] =
                ((photo * p.in_height + row_y[i]) * p.in_width + row_x[i]) * (p.in_pitch / unit_size<T>);
            if (m >= p.positions)
                row_y[i] = INT_MIN / 2; /* outside whatever the window's row */
        }
        column_first = p.weights + ((int64_t)(first_column + line) * p.tiles * units + unit) * unit_size<T>;
    }

    /* Tile by tile. */
    __device__ void copy(int tile, char *a, char *b)
    {
        const depth_unit u = next;
        const T *column = column_first + (int64_t)tile * units * unit_size<T>;
        const int64_t columns_apart = (int64_t)apart * p.tiles * units * unit_size<T>;
        char *to_a = a + lines<T>::at(line, unit), *to_b = b + lines<T>::at(line, unit);

        next = p.units[(tile + 1) * units + unit]; /* one tile of padding stands behind the last */
#pragma unroll
        for (int i = 0; i < rows; i++) {
            bool used = u.used != 0 && (unsigned)(row_y[i] + u.row) < (unsigned)p.in_height &&
                        (unsigned)(row_x[i] + u.column) < (unsigned)p.in_width;
            const T *from = p.in + (int64_t)(row_first[i] + u.offset) * unit_size<T>;

            copy_unit(to_a + i * apart * lines<T>::bytes, used ? from : p.in, used);
        }
#pragma unroll
        for (int i = 0; i < columns; i++)
            copy_unit(to_b + i * apart * lines<T>::bytes, column + i * columns_apart, true);
    }
};

/* Depth tiles [first, last) through `stages` buffers: compute(a, b) once for each, in order. */
template <int stages, typename T, int BM, int BN, int threads, typename Compute>
__device__ void for_depth(copier<T, BM, BN, threads> &copies, char *shared, int first, int last,
                          Compute compute)
{
    constexpr int a_bytes = BM * lines<T>::bytes, stage_bytes = (BM + BN) * lines<T>::bytes;
    int now = 0, to = (stages - 1) * stage_bytes; /* where the buffers begin */

#pragma unroll
    for (int s = 0; s < stages - 1; s++) {
        if (first + s < last)
            copies.copy(first + s, shared + s * stage_bytes, shared + s * stage_bytes + a_bytes);
        copies_issued();
    }
    for (int tile = first; tile < last; tile++) {
        await_copies<stages - 2>();
        __syncthreads();
        if (tile + stages - 1 < last)
            copies.copy(tile + stages - 1, shared + to, shared + to + a_bytes);
        copies_issued();
        compute(shared + now, shared + now + a_bytes);
        now = now == (stages - 1) * stage_bytes ? 0 : now + stage_bytes;
        to = to == (stages - 1) * stage_bytes ? 0 : to + stage_bytes;
    }
    await_copies<0>();
    __syncthreads();
}

/* Most products end in a bias and ReLU or nothing: for them there is a way without branches. */
template <typename T> __device__ inline bool is_simple(const product<T> &p)
{
    return p.residual == nullptr && (p.act.kind == CSI_FN_RELU || p.act.kind == CSI_FN_NONE);
}

template <typename T, int N> __device__ inline void finish_any(const product<T> &p, float (&x)[N], int64_t at)
{
    alignas(16) T add[N];

    if (p.residual != nullptr) {
        if constexpr (N == unit_size<T>)
            *(unit<T> *)add = *(const unit<T> *)(p.residual + at);
        else
            add[0] = p.residual[at];
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        if (p.residual != nullptr && !p.residual_after)
            x[k] += to_float(add[k]);
    if (p.act.kind == CSI_FN_RELU) { /* without a branch for each number */
#pragma unroll
        for (int k = 0; k < N; k++)
            x[k] = x[k] < 0.0f ? 0.0f : x[k];
    } else if (p.act.kind != CSI_FN_NONE) {
#pragma unroll
        for (int k = 0; k < N; k++)
            x[k] = activate(p.act, x[k]);
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        if (p.residual != nullptr && p.residual_after)
            x[k] += to_float(add[k]);
}

/* What becomes of the sums of N channels, a unit or one, from `channel` on: number `at` of the output before
 * the pool. */
template <bool simple, typename T, int N>
__device__ inline void finish(const product<T> &p, float (&x)[N], const float (&bias)[N], int64_t at,
                              int channel)
{
    const float least = p.act.kind == CSI_FN_RELU ? 0.0f : -INFINITY;

    static_assert(N == unit_size<T> || N == 1, "what a residual is read in");
#pragma unroll
    for (int k = 0; k < N; k++)
        x[k] += bias[k];
    if constexpr (simple) {
#pragma unroll
        for (int k = 0; k < N; k++)
            x[k] = x[k] < least ? least : x[k]; /* a NaN stays one */
    } else {
        finish_any(p, x, at);
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        x[k] = channel + k < p.channels ? x[k] : 0.0f;
}

/* N floats, N a multiple of 4, from where 16 bytes are aligned. */
template <int N> __device__ inline void load_floats(float (&to)[N], const float *from)
{
#pragma unroll
    for (int k = 0; k < N; k += 4)
        *(float4 *)(to + k) = *(const float4 *)(from + k);
}

} // namespace csi_cuda

#endif
