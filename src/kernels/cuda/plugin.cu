/*
 * The plug-in's one symbol: CUDA behind the interface of device.h. No exception leaves it.
 */
#include <cstdarg>
#include <cstdio>
#include <new>

#include "kernels/cuda/plan.cuh"
#include "kernels/cuda/run.cuh"

namespace csi_cuda
{

enum cs_status fail(cs_error *error, enum cs_status status, const char *format, ...)
{
    va_list arguments;

    error->status = status;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

enum cs_status check(cudaError_t result, const char *what, cs_error *error)
{
    if (result == cudaSuccess)
        return CS_OK;
    return fail(error, CS_INTERNAL, "%s on the GPU failed: %s", what, cudaGetErrorString(result));
}

namespace
{

constexpr int oldest = 75; /* compute capability 7.5: Turing, 2018 */

/* Memory that ran out is the only exception that the standard library's parts throw here. */
template <typename Call> enum cs_status guarded(cs_error *error, Call call)
{
    try {
        return call();
    } catch (const std::bad_alloc &) {
        return fail(error, CS_INTERNAL, "out of memory: the network on the GPU");
    }
}

enum cs_status properties_of(int index, cudaDeviceProp *properties, cs_error *error)
{
    int count = 0;
    cudaError_t result = cudaGetDeviceCount(&count);

    if (result != cudaSuccess || count == 0)
        return fail(error, CS_NOT_FOUND, "no GPU can be used: %s",
                    result != cudaSuccess ? cudaGetErrorString(result) : "the driver finds none");
    if (index < 0 || index >= count)
        return fail(error, CS_NOT_FOUND, "no GPU has the number %d: there are %d, from 0", index, count);
    result = cudaGetDeviceProperties(properties, index);
    if (result != cudaSuccess)
        return check(result, "asking for the properties", error);
    if (properties->major * 10 + properties->minor < oldest)
        return fail(error, CS_NOT_FOUND,
                    "GPU %d, %s, is older than this build knows: compute capability %d.%d, not 7.5", index,
                    properties->name, properties->major, properties->minor);
    return CS_OK;
}

enum cs_status info(int index, csi_device_info *info, cs_error *error)
{
    cudaDeviceProp properties;
    enum cs_status status = properties_of(index, &properties, error);

    if (status != CS_OK)
        return status;
    snprintf(info->name, sizeof info->name, "%.95s", properties.name);
    snprintf(info->kernels, sizeof info->kernels, "cuda_sm%d", properties.major * 10 + properties.minor);
    info->memory_bytes = properties.totalGlobalMem;
    return CS_OK;
}

void plan_destroy(csi_device_plan *plan)
{
    if (plan == nullptr)
        return;
    cudaSetDevice(plan->device);
    delete plan;
}

enum cs_status plan_create(int index, const csi_device_network *network, csi_device_plan **out,
                           cs_error *error)
{
    return guarded(
        error, [&]() -> enum cs_status {
            cudaDeviceProp properties;
            csi_device_plan *plan;
            enum cs_status status = properties_of(index, &properties, error);

            *out = nullptr;
            if (status != CS_OK)
                return status;
            if (network->type == CSI_DEVICE_BF16 && properties.major < 8)
                return fail(error, CS_MODEL_UNSUPPORTED, "GPU %d, %s, has no bf16: use fp16 or fp32", index,
                            properties.name);
            status = check(cudaSetDevice(index), "opening the device", error);
            if (status != CS_OK)
                return status;
            plan = new csi_device_plan;
            plan->device = index;
            plan->gpu = {properties.multiProcessorCount, properties.major < 8};
            try {
                status = make_plan(*network, plan, error);
            } catch (...) {
                plan_destroy(plan);
                throw;
            }
            if (status != CS_OK)
                plan_destroy(plan);
            else
                *out = plan;
            return status;
        });
}

void run_destroy(csi_device_run *run)
{
    if (run == nullptr)
        return;
    cudaSetDevice(device_of(*run));
    destroy_run(run);
}

enum cs_status run_create(const csi_device_plan *plan, csi_device_run **out, cs_error *error)
{
    csi_device_run *run = nullptr;
    enum cs_status status = guarded(
        error, [&]() -> enum cs_status {
            enum cs_status opened = check(cudaSetDevice(plan->device), "opening the device", error);

            return opened != CS_OK ? opened : create_run(plan, &run, error);
        });

    *out = nullptr;
    if (status != CS_OK)
        run_destroy(run);
    else
        *out = run;
    return status;
}

enum cs_status run(csi_device_run *run, const float *input, size_t batch, float *const *outputs,
                   cs_error *error)
{
    return guarded(
        error, [&]() -> enum cs_status {
            enum cs_status status = check(cudaSetDevice(device_of(*run)), "opening the device", error);

            return status != CS_OK ? status : execute(run, input, batch, outputs, error);
        });
}

void lend(csi_device_run *run, void *memory, size_t bytes)
{
    cudaSetDevice(device_of(*run));
    take_memory(run, memory, bytes);
}

const csi_device_api api = {CSI_DEVICE_ABI, info,        plan_create, plan_destroy,
                            run_create,     run_destroy, lend,        run};

} // namespace

} // namespace csi_cuda

extern "C" __attribute__((visibility("default"))) const csi_device_api *csi_device_plugin(void)
{
    return &csi_cuda::api;
}
