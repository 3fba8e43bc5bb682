/*
 * Implicit matrix products of half-precision numbers on tensor cores: mma.sync, which all of them have since
 * compute capability 7.5. A warp has WM × WN sums in its registers; fragments come by ldmatrix.
 */
#ifndef CSI_KERNELS_CUDA_TENSOR_CUH
#define CSI_KERNELS_CUDA_TENSOR_CUH

#include <type_traits>

#include "kernels/cuda/product.cuh"

namespace csi_cuda
{

/* Four matrices of 8 × 8: lane i names line i % 8 of matrix i / 8. */
__device__ inline void load_matrices(unsigned (&to)[4], unsigned line)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(line));
}

/* sums (16 × 8) += a (16 × 16) · b (16 × 8) */
template <typename T>
__device__ inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], const unsigned *b)
{
#if __CUDA_ARCH__ >= 800
    if constexpr (std::is_same<T, half_t>::value)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};\n"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, "
                     "%7}, {%8, %9}, {%0, %1, %2, %3};\n"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int half = 0; half < 2; half++) /* Turing's are half as deep, and fp16 alone */
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
                     "{%0, %1, %2, %3};\n"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}

/* A warp's sums on their way out: half a chunk of 8 channels of a row. The halves of a line trade places so
 * that neither those who write pairs of 8 rows nor those who read a chunk each meet a bank twice. */
template <int WN, typename Float>
__device__ inline Float *staged(Float *staging, int row, int chunk, int half)
{
    const int swap = (row & (WN / 8 - 1)) * 2 ^ ((chunk >> 2 ^ row) & 1);

    return staging + row * WN + ((chunk * 2 + half) ^ swap) * 4;
}

template <int WN> __device__ inline void load_chunk(float (&to)[8], const float *staging, int row, int chunk)
{
    *(float4 *)to = *(const float4 *)staged<WN>(staging, row, chunk, 0);
    *(float4 *)(to + 4) = *(const float4 *)staged<WN>(staging, row, chunk, 1);
}

/* Where a warp's rows and columns begin, WM × WN of them, and where they are staged. A lane has 8 columns. */
template <int WM, int WN> struct warp_sums {
    static constexpr int chunks = WN / 8, rows_at_once = 32 / chunks;

    const float *staging;
    int first_row, first_column;
};

/* Sums as they are: the depth is cut, and these are of a part. */
template <typename T, int WM, int WN>
__device__ void write_parts(const product<T> &p, const warp_sums<WM, WN> &w)
{
    const int lane = (int)threadIdx.x % 32, chunk = lane % w.chunks, channel = w.first_column + chunk * 8;
    const int rows = min(WM, (int)p.positions - w.first_row);

    if (channel >= p.out_pitch)
        return;
    for (int row = lane / w.chunks; row < rows; row += w.rows_at_once) {
        float *to = p.parts + ((int64_t)blockIdx.z * p.positions + w.first_row + row) * p.out_pitch + channel;
        float x[8];

        load_chunk<WN>(x, w.staging, row, chunk);
        *(float4 *)to = *(const float4 *)x;
        *(float4 *)(to + 4) = *(const float4 *)(x + 4);
    }
}

/* `corners`: rows that a pool makes one of; 1: no pool. `simple`: see finish(). */
template <int corners, bool simple, typename T, int WM, int WN>
__device__ void write_rows(const product<T> &p, const warp_sums<WM, WN> &w)
{
    const int lane = (int)threadIdx.x % 32, chunk = lane % w.chunks, channel = w.first_column + chunk * 8;
    const int rows = min(WM, (int)p.positions - w.first_row);
    float bias[8];

    if (channel >= p.out_pitch)
        return;
    load_floats(bias, p.bias + channel);
#pragma unroll(simple &&corners == 1 ? 2 : 1)
    for (int row = lane / w.chunks * corners; row < rows; row += w.rows_at_once * corners) {
        float most[8];
        unit<T> result;

#pragma unroll
        for (int corner = 0; corner < corners; corner++) {
            const int64_t at = (int64_t)(w.first_row + row + corner) * p.out_pitch + channel;
            float x[8];

            load_chunk<WN>(x, w.staging, row + corner, chunk);
            finish<simple>(p, x, bias, at, channel);
#pragma unroll
            for (int k = 0; k < 8; k++)
                most[k] = corner == 0 ? x[k] : larger(most[k], x[k]);
        }
#pragma unroll
        for (int k = 0; k < 8; k++)
            result.v[k] = from_float<T>(most[k]);
        *(unit<T> *)(p.out + (int64_t)((w.first_row + row) / corners) * p.out_pitch + channel) = result;
    }
}

template <typename T, int WM, int WN>
__device__ void write_sums(const product<T> &p, const warp_sums<WM, WN> &w)
{
    if (p.parts != nullptr)
        write_parts(p, w);
    else if (p.pool)
        is_simple(p) ? write_rows<4, true>(p, w) : write_rows<4, false>(p, w);
    else
        is_simple(p) ? write_rows<1, true>(p, w) : write_rows<1, false>(p, w);
}

/* A block: BM rows, BN columns. */
template <typename T, int BM, int BN, int WM, int WN, int stages, int blocks>
__global__ void __launch_bounds__(BM / WM * (BN / WN) * 32, blocks) multiply_tensor(product<T> p)
{
#if __CUDA_ARCH__ >= 800 || !defined(__CUDA_ARCH__)
    constexpr bool able = true;
    constexpr int buffers = stages;
#else
    constexpr bool able = std::is_same<T, half_t>::value;
    constexpr int buffers = 2; /* copies do not run ahead there */
#endif
    if constexpr (able) {
        constexpr int threads = BM / WM * (BN / WN) * 32, bytes = lines<T>::bytes;
        extern __shared__ __align__(128) char shared[];
        const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
        const int warp_row = warp / (BN / WN) * WM, warp_column = warp % (BN / WN) * WN;
        const int first_row = (int)blockIdx.x * BM;
        const int first_column = (int)blockIdx.y * BN;
        const int first_tile = (int)blockIdx.z * p.tiles_a_part;
        const int last_tile = min(first_tile + p.tiles_a_part, p.tiles);
        /* Of a, a fragment's matrices are (upper, lower) rows × (first, second) unit of 16 numbers' depth; of
         * b two fragments are loaded at once. Deeper units: xor, as the swizzle is one. */
        const int a_at = lines<T>::at(warp_row + lane % 16, lane / 16);
        const int b_at = lines<T>::at(warp_column + lane % 8 + lane / 16 * 8, lane / 8 % 2);
        float sums[WM / 16][WN / 8][4] = {};
        copier<T, BM, BN, threads> copies(p, first_row, first_column, first_tile);

        for_depth<buffers>(copies, shared, first_tile, last_tile, [&](const char *a, const char *b) {
            const unsigned rows = (unsigned)__cvta_generic_to_shared(a) + a_at;
            const unsigned columns = (unsigned)__cvta_generic_to_shared(b) + b_at;

#pragma unroll
            for (int k = 0; k < lines<T>::units; k += 2) {
                unsigned left[WM / 16][4], right[WN / 16][4];

#pragma unroll
                for (int i = 0; i < WM / 16; i++)
                    load_matrices(left[i], (rows ^ (k * 16)) + i * 16 * bytes);
#pragma unroll
                for (int j = 0; j < WN / 16; j++)
                    load_matrices(right[j], (columns ^ (k * 16)) + j * 16 * bytes);
#pragma unroll
                for (int i = 0; i < WM / 16; i++)
#pragma unroll
                    for (int j = 0; j < WN / 8; j++)
                        multiply_add<T>(sums[i][j], left[i], right[j / 2] + j % 2 * 2);
            }
        });

        float *staging = (float *)shared + warp * WM * WN;

#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 8; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float *to =
                        staged<WN>(staging, i * 16 + half * 8 + lane / 4, j, lane % 4 / 2) + lane % 2 * 2;

                    *(float2 *)to = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                }
        __syncwarp();
        write_sums(p, warp_sums<WM, WN>{staging, first_row + warp_row, first_column + warp_column});
    }
}

} // namespace csi_cuda

#endif
