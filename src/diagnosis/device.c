/* GPU or CPU: see device.h. */
#include "diagnosis/device.h"

#include "kernels/device_plugin.h"

enum cs_status csi_gpu_open(int index, const struct csi_device_api **api, struct csi_device_info *info,
                            struct cs_error *error)
{
    struct cs_error said = {CS_INTERNAL, "the GPU says nothing of itself"};
    enum cs_status status = csi_device_load(api, error);

    if (status != CS_OK)
        return status;
    status = (*api)->info(index, info, &said);
    if (status == CS_OK)
        return CS_OK;
    *api = NULL;
    return csi_fail(error, CS_MODEL_UNSUPPORTED, "%s", said.message);
}

/* There is no plain CPU way to what is asked for. */
static bool needs_gpu(const struct cs_model_options *options)
{
    return options->device == CS_DEVICE_CUDA ||
           (options->device == CS_DEVICE_AUTO &&
            (options->precision == CS_PRECISION_FP16 || options->precision == CS_PRECISION_BF16));
}

static enum cs_status open_for(const struct cs_model_options *options, const struct csi_device_api **api,
                               struct cs_error *error)
{
    struct csi_device_info info;
    struct cs_error why = {0};
    enum cs_status status;

    status = csi_gpu_open(options->device_index, api, &info, &why);
    if (status == CS_OK)
        return CS_OK;
    if (options->device == CS_DEVICE_AUTO)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "the CPU engine computes in fp32 and int8 only, and there is no GPU: %s",
                        why.message);
    if (status == CS_NOT_FOUND)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "device cuda has %s; a build with CS_CUDA=ON makes it; or use device auto or cpu",
                        why.message);
    return csi_fail(error, CS_MODEL_UNSUPPORTED, "cuda:%d: %s", options->device_index, why.message);
}

enum cs_status csi_gpu_check(const struct cs_model_options *options, struct cs_error *error)
{
    const struct csi_device_api *api;

    return needs_gpu(options) ? open_for(options, &api, error) : CS_OK;
}

/* Integers are the CPU's. */
static bool may_use_gpu(const struct csi_graph *graph, const struct cs_model_options *options)
{
    if (options->device == CS_DEVICE_CPU)
        return false;
    if (needs_gpu(options))
        return true;
    return options->precision != CS_PRECISION_INT8 &&
           !(options->precision == CS_PRECISION_AUTO && csi_graph_is_quantized(graph));
}

/* A plan whose weights lie on the GPU, and for whose maps there is room too: other programs may have taken
 * it. */
static enum cs_status plan_on_gpu(const struct csi_graph *graph, const struct csi_plan_options *options,
                                  struct csi_plan **plan, struct cs_error *error)
{
    struct csi_exec *trial;
    enum cs_status status = csi_plan_create(graph, options, plan, error);

    if (status == CS_OK)
        status = csi_exec_create(*plan, &trial, error);
    if (status == CS_OK) {
        csi_exec_destroy(trial);
    } else {
        csi_plan_destroy(*plan);
        *plan = NULL;
    }
    return status;
}

enum cs_status csi_plan_for(const struct csi_graph *graph, const struct cs_model_options *options,
                            const struct csi_plan_options *on_cpu, struct csi_plan **plan,
                            struct cs_error *error)
{
    struct csi_plan_options on_gpu = *on_cpu;
    struct cs_error why = {0};
    enum cs_status status;

    if (!may_use_gpu(graph, options))
        return csi_plan_create(graph, on_cpu, plan, error);
    *plan = NULL;
    on_gpu.precision = options->precision;
    on_gpu.device_index = options->device_index;
    status = open_for(options, &on_gpu.device, &why);
    if (status == CS_OK)
        status = plan_on_gpu(graph, &on_gpu, plan, &why);
    if (status == CS_OK)
        return CS_OK;
    if (needs_gpu(options))
        return csi_fail(error, status, "%s", why.message);
    return csi_plan_create(graph, on_cpu, plan, error); /* whatever the GPU has against it */
}
