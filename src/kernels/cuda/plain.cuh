/* Implicit matrix products of float32 numbers on plain cores. */
#ifndef CSI_KERNELS_CUDA_PLAIN_CUH
#define CSI_KERNELS_CUDA_PLAIN_CUH

#include "kernels/cuda/product.cuh"

namespace csi_cuda
{

/* A thread has 8 rows, in two runs of 4 (a pool's window is one), and TN columns. */
template <int BM, int BN, int TN, int stages>
__global__ void __launch_bounds__(BM / 8 * (BN / TN)) multiply_plain(product<float> p)
{
    constexpr int threads = BM / 8 * (BN / TN), across = BN / TN, ld = lines<float>::bytes / 4;
    extern __shared__ __align__(128) char shared[];
    const int tx = (int)threadIdx.x % across, ty = (int)threadIdx.x / across;
    const int first_row = (int)blockIdx.x * BM;
    const int first_column = (int)blockIdx.y * BN;
    const int first_tile = (int)blockIdx.z * p.tiles_a_part;
    const int last_tile = min(first_tile + p.tiles_a_part, p.tiles);
    float sums[8][TN] = {};
    copier<float, BM, BN, threads> copies(p, first_row, first_column, first_tile);

    for_depth<stages>(copies, shared, first_tile, last_tile, [&](const char *a, const char *b) {
        const float *rows = (const float *)a + ty * 4 * ld, *columns = (const float *)b + tx * ld;

#pragma unroll
        for (int k = 0; k < depth_units<float> * 4; k += 4) {
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
        const int64_t m = (int64_t)first_row + run * (BM / 2) + ty * 4;

#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int channel = first_column + tx + j * across;
            float most = 0.0f;

            if (channel >= p.out_pitch)
                continue;
            const float bias[1] = {p.bias[channel]};

#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x[1] = {sums[run * 4 + i][j]};

                if (m + i >= p.positions)
                    continue;
                if (p.parts != nullptr) {
                    p.parts[((int64_t)blockIdx.z * p.positions + m + i) * p.out_pitch + channel] = x[0];
                    continue;
                }
                finish<false>(p, x, bias, (m + i) * p.out_pitch + channel, channel);
                if (!p.pool)
                    p.out[(m + i) * p.out_pitch + channel] = x[0];
                most = i == 0 ? x[0] : larger(most, x[0]);
            }
            if (p.pool && p.parts == nullptr && m < p.positions)
                p.out[m / 4 * p.out_pitch + channel] = most;
        }
    }
}

} // namespace csi_cuda

#endif
