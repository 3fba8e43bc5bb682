/*
 * Running a plan: one thread's stream and memory. The launches of a batch of a size are recorded once as a
 * CUDA graph and replayed: a network has some twenty, and each costs more to start than a small one takes.
 */
#include <cstring>
#include <map>

#include "kernels/cuda/plan.cuh"
#include "kernels/cuda/run.cuh"

struct csi_device_run {
    const csi_device_plan *plan = nullptr;
    cudaStream_t stream = nullptr;
    char *arena = nullptr;
    float *photos = nullptr;      /* NCHW, on the device, */
    float *photos_host = nullptr; /* and where they are copied from: pages that stay in memory */
    std::vector<float *> outputs, outputs_host;
    std::vector<size_t> output_floats; /* of one photo */
    size_t photo_floats = 0;
    std::map<size_t, cudaGraphExec_t> graphs; /* by batch */
    std::vector<cudaEvent_t> arrived;         /* photo i's maps are in outputs_host */
    csi_cuda::device_memory memory;
};

namespace csi_cuda
{

namespace
{

template <typename T> T *at(const csi_device_run &run, int map)
{
    if (map < 0)
        return nullptr;
    return (T *)(run.arena + run.plan->maps[(size_t)map].offset * run.plan->max_batch);
}

template <typename T> void launch_conv_step(const csi_device_run &run, const step &s, int batch)
{
    const csi_device_plan &plan = *run.plan;
    const T *in = at<T>(run, s.inputs[0]);

    if (s.gate >= 0) {
        launch_gate<T>(s.convolution.shape.in, in, at<T>(run, s.gate), at<T>(run, s.gated), batch,
                       run.stream);
        in = at<T>(run, s.gated);
    }
    launch_conv<T>(s.convolution, in, at<T>(run, s.residual), at<T>(run, s.output), at<float>(run, s.scratch),
                   batch, plan.processors, run.stream);
}

template <typename T> void launch_plain_step(const csi_device_run &run, const step &s, int batch)
{
    const csi_device_plan &plan = *run.plan;
    const stored &first = plan.maps[(size_t)s.inputs[0]], &out = plan.maps[(size_t)s.output];
    plain_op<T> op = {};

    op.kind = s.kind;
    op.in = first.view;
    op.out = out.view;
    op.from = at<T>(run, s.inputs[0]);
    op.first_values = first.constant;
    op.to = at<T>(run, s.output);
    op.scale = s.scale;
    op.shift = s.shift;
    op.pad_top = s.pad_top;
    op.pad_left = s.pad_left;
    op.arith = s.arith;
    op.act = s.act;
    op.step = s.quantum;
    op.zero = s.zero;
    op.low = s.low;
    op.high = s.high;
    if (s.kind == CSI_DEVICE_ARITH) {
        op.other = plan.maps[(size_t)s.inputs[1]].view;
        op.second = at<T>(run, s.inputs[1]);
        op.second_values = plan.maps[(size_t)s.inputs[1]].constant;
    }
    if (s.kind != CSI_DEVICE_CONCAT) {
        launch_plain<T>(op, batch, run.stream);
        return;
    }
    for (int input : s.inputs) {
        op.in = plan.maps[(size_t)input].view;
        op.from = at<T>(run, input);
        launch_plain<T>(op, batch, run.stream);
        op.channel += op.in.channels;
    }
}

template <typename T> void launch_all(const csi_device_run &run, int batch)
{
    const csi_device_plan &plan = *run.plan;

    launch_pack<T>(run.photos, plan.maps[(size_t)plan.input].view, at<T>(run, plan.input), batch, run.stream);
    for (const step &s : plan.steps) {
        switch (s.kind) {
        case CSI_DEVICE_CONV: launch_conv_step<T>(run, s, batch); break;
        case CSI_DEVICE_MAX_POOL:
        case CSI_DEVICE_AVG_POOL:
            launch_pool<T>(s.pool, at<T>(run, s.inputs[0]), at<T>(run, s.output), batch, run.stream);
            break;
        case CSI_DEVICE_GLOBAL_AVG_POOL:
            launch_global_pool<T>(plan.maps[(size_t)s.inputs[0]].view, at<T>(run, s.inputs[0]),
                                  plan.maps[(size_t)s.output].view, at<T>(run, s.output), batch, run.stream);
            break;
        default: launch_plain_step<T>(run, s, batch); break;
        }
    }
    for (size_t i = 0; i < plan.outputs.size(); i++)
        launch_unpack<T>(plan.maps[(size_t)plan.outputs[i]].view, at<T>(run, plan.outputs[i]), run.outputs[i],
                         batch, run.stream);
}

void launch(const csi_device_run &run, size_t batch)
{
    switch (run.plan->type) {
    case CSI_DEVICE_FP32: launch_all<float>(run, (int)batch); break;
    case CSI_DEVICE_FP16: launch_all<half_t>(run, (int)batch); break;
    default: launch_all<bf16_t>(run, (int)batch); break;
    }
}

enum cs_status record(csi_device_run *run, size_t batch, cs_error *error)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t made = nullptr;
    enum cs_status status;

    /* Of this thread alone: others may allocate meanwhile. */
    status = check(cudaStreamBeginCapture(run->stream, cudaStreamCaptureModeThreadLocal), "recording", error);
    if (status != CS_OK)
        return status;
    launch(*run, batch);
    status = check(cudaStreamEndCapture(run->stream, &graph), "recording the network", error);
    if (status == CS_OK)
        status = check(cudaGraphInstantiate(&made, graph, 0), "preparing the network", error);
    if (graph != nullptr)
        cudaGraphDestroy(graph);
    if (status == CS_OK)
        run->graphs[batch] = made;
    return status;
}

enum cs_status allocate_pinned(size_t floats, float **memory, cs_error *error)
{
    return check(cudaMallocHost((void **)memory, floats * sizeof(float)), "allocating pinned memory", error);
}

/* A photo travels while the next one is copied into pinned memory. */
enum cs_status send_photos(const csi_device_run &run, const float *input, size_t batch, cs_error *error)
{
    enum cs_status status = CS_OK;

    for (size_t n = 0; n < batch && status == CS_OK; n++) {
        const size_t first = n * run.photo_floats, bytes = run.photo_floats * sizeof(float);

        memcpy(run.photos_host + first, input + first, bytes);
        status = check(cudaMemcpyAsync(run.photos + first, run.photos_host + first, bytes,
                                       cudaMemcpyHostToDevice, run.stream),
                       "copying a photo", error);
    }
    return status;
}

enum cs_status fetch_maps(const csi_device_run &run, size_t batch, float *const *outputs, cs_error *error)
{
    enum cs_status status = CS_OK;

    for (size_t n = 0; n < batch && status == CS_OK; n++) {
        for (size_t i = 0; i < run.outputs.size() && status == CS_OK; i++) {
            const size_t first = n * run.output_floats[i];

            status = check(cudaMemcpyAsync(run.outputs_host[i] + first, run.outputs[i] + first,
                                           run.output_floats[i] * sizeof(float), cudaMemcpyDeviceToHost,
                                           run.stream),
                           "copying a map", error);
        }
        if (status == CS_OK)
            status = check(cudaEventRecord(run.arrived[n], run.stream), "copying a map", error);
    }
    for (size_t n = 0; n < batch && status == CS_OK; n++) {
        status = check(cudaEventSynchronize(run.arrived[n]), "running the network", error);
        for (size_t i = 0; i < run.outputs.size() && status == CS_OK; i++)
            memcpy(outputs[i] + n * run.output_floats[i], run.outputs_host[i] + n * run.output_floats[i],
                   run.output_floats[i] * sizeof(float));
    }
    return status;
}

} // namespace

enum cs_status create_run(const csi_device_plan *plan, csi_device_run **out, cs_error *error)
{
    csi_device_run *run = new csi_device_run;
    const map_view &photo = plan->maps[(size_t)plan->input].view;
    void *arena = nullptr, *photos = nullptr;
    enum cs_status status;

    *out = run; /* the caller destroys it when this fails */
    run->plan = plan;
    run->photo_floats = (size_t)photo.channels * (size_t)photo.height * (size_t)photo.width;
    status = check(cudaStreamCreateWithFlags(&run->stream, cudaStreamNonBlocking), "making a stream", error);
    if (status == CS_OK)
        status = run->memory.allocate(plan->photo_bytes * plan->max_batch, &arena, error);
    if (status == CS_OK)
        status = run->memory.allocate(run->photo_floats * plan->max_batch * sizeof(float), &photos, error);
    if (status == CS_OK)
        status = allocate_pinned(run->photo_floats * plan->max_batch, &run->photos_host, error);
    for (unsigned n = 0; n < plan->max_batch && status == CS_OK; n++) {
        cudaEvent_t event = nullptr;

        status = check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event", error);
        if (status == CS_OK)
            run->arrived.push_back(event);
    }
    run->arena = (char *)arena;
    run->photos = (float *)photos;
    for (int output : plan->outputs) {
        const map_view &map = plan->maps[(size_t)output].view;
        const size_t floats =
            (size_t)map.height * (size_t)map.width * (((size_t)map.channels + 15) / 16 * 16);
        void *memory = nullptr;
        float *host = nullptr;

        if (status == CS_OK)
            status = run->memory.allocate(floats * plan->max_batch * sizeof(float), &memory, error);
        if (status == CS_OK)
            status = allocate_pinned(floats * plan->max_batch, &host, error);
        run->outputs.push_back((float *)memory);
        run->outputs_host.push_back(host);
        run->output_floats.push_back(floats);
    }
    return status;
}

void destroy_run(csi_device_run *run)
{
    for (const auto &graph : run->graphs)
        cudaGraphExecDestroy(graph.second);
    for (float *memory : run->outputs_host)
        cudaFreeHost(memory);
    cudaFreeHost(run->photos_host);
    for (cudaEvent_t event : run->arrived)
        cudaEventDestroy(event);
    if (run->stream != nullptr)
        cudaStreamDestroy(run->stream);
    delete run;
}

enum cs_status execute(csi_device_run *run, const float *input, size_t batch, float *const *outputs,
                       cs_error *error)
{
    enum cs_status status = CS_OK;

    if (batch == 0 || batch > run->plan->max_batch)
        return fail(error, CS_BAD_REQUEST, "batches of 1 to %u photos, not %zu", run->plan->max_batch, batch);
    if (run->graphs.find(batch) == run->graphs.end())
        status = record(run, batch, error);
    if (status != CS_OK)
        return status;
    status = send_photos(*run, input, batch, error);
    if (status == CS_OK)
        status = check(cudaGraphLaunch(run->graphs[batch], run->stream), "starting the network", error);
    if (status == CS_OK)
        status = fetch_maps(*run, batch, outputs, error);
    if (status != CS_OK)
        cudaStreamSynchronize(run->stream); /* nothing may be under way when the caller goes on */
    return status;
}

int device_of(const csi_device_run &run)
{
    return run.plan->device;
}

} // namespace csi_cuda
