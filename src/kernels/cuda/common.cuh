/*
 * What the plug-in's files share: number types, activations, errors.
 *
 * Maps on the device are NHWC like the engine's, in the type T that the network is computed in. A "unit" is
 * 16 bytes of neighbouring channels: what one thread loads or stores at once. Pitches are whole units.
 */
#ifndef CSI_KERNELS_CUDA_COMMON_CUH
#define CSI_KERNELS_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/device.h"

namespace csi_cuda
{

using half_t = __half;
using bf16_t = __nv_bfloat16;

template <typename T> constexpr int unit_size = 16 / (int)sizeof(T); /* channels of a unit */

__host__ __device__ inline float to_float(float x)
{
    return x;
}
__host__ __device__ inline float to_float(half_t x)
{
    return __half2float(x);
}
__host__ __device__ inline float to_float(bf16_t x)
{
    return __bfloat162float(x);
}

template <typename T> __host__ __device__ inline T from_float(float x);
template <> __host__ __device__ inline float from_float<float>(float x)
{
    return x;
}
template <> __host__ __device__ inline half_t from_float<half_t>(float x)
{
    return __float2half_rn(x);
}
template <> __host__ __device__ inline bf16_t from_float<bf16_t>(float x)
{
    return __float2bfloat16_rn(x);
}

/* 16 bytes at once. */
template <typename T> struct alignas(16) unit {
    T v[unit_size<T>];
};

/* The activations of functions.h. A NaN stays one. */
__device__ inline float activate(const csi_act_params &act, float x)
{
    switch (act.kind) {
    case CSI_FN_NONE: return x;
    case CSI_FN_RELU: return x < 0.0f ? 0.0f : x;
    case CSI_FN_LEAKY_RELU: return x < 0.0f ? act.alpha * x : x;
    case CSI_FN_CLIP: return x < act.alpha ? act.alpha : x > act.beta ? act.beta : x;
    case CSI_FN_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case CSI_FN_HARD_SIGMOID: {
        float y = act.alpha * x + act.beta;

        return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
    }
    case CSI_FN_SWISH: return x / (1.0f + expf(-x));
    case CSI_FN_HARD_SWISH: {
        float y = x / 6.0f + 0.5f;

        return x * (y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y);
    }
    case CSI_FN_TANH: return tanhf(x);
    case CSI_FN_ELU: return x < 0.0f ? act.alpha * expm1f(x) : x;
    case CSI_FN_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case CSI_FN_GELU_TANH: return x / (1.0f + expf(-(CSI_GELU_TANH_1 * x + CSI_GELU_TANH_3 * x * x * x)));
    }
    return x;
}

/* The larger; a NaN counts as largest. */
__device__ inline float larger(float a, float b)
{
    return a > b || isnan(a) ? a : b;
}

/* A map where it lies: T for computed ones, float for constants. */
struct map_view {
    int channels, height, width, pitch;
};

/* Fills `error` and returns `status`. */
enum cs_status fail(cs_error *error, enum cs_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* CS_OK, or CS_INTERNAL with CUDA's words for `result`. `what`: "copying the photo". */
enum cs_status check(cudaError_t result, const char *what, cs_error *error);

} // namespace csi_cuda

#endif
