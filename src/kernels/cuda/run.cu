/*
 * Running a plan: one thread's streams and memory. A batch goes in pieces of a few photos: while one is
 * computed, the next is copied to the device and the one before back. The launches of a piece are recorded
 * once as a CUDA graph and replayed: a network has some twenty, and each costs more to start than a small one
 * takes.
 */
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>

#include "kernels/cuda/plan.cuh"
#include "kernels/cuda/run.cuh"

/* Photos of a batch. */
struct piece {
    size_t first, count;

    bool operator<(const piece &other) const
    {
        return first != other.first ? first < other.first : count < other.count;
    }
};

struct csi_device_run {
    const csi_device_plan *plan = nullptr;
    cudaStream_t in = nullptr, stream = nullptr, out = nullptr; /* photos' way, the network, the maps' way */
    char *arena = nullptr;                                      /* of a piece */
    float *photos = nullptr;                                    /* NCHW, on the device, */
    float *photos_host = nullptr; /* and where they are copied from: pages that stay in memory */
    std::vector<float *> outputs, outputs_host;
    std::vector<size_t> output_floats; /* of one photo */
    size_t photo_floats = 0;
    char *lent = nullptr; /* the engine's memory that the device may write to */
    size_t lent_bytes = 0;
    std::map<piece, cudaGraphExec_t> graphs;
    std::vector<cudaEvent_t> sent, computed,
        arrived; /* by the piece: its photos, its maps, these in outputs_host */
    csi_cuda::device_memory memory;
};

namespace csi_cuda
{

namespace
{

size_t largest_piece(const csi_device_plan &plan)
{
    return plan.max_batch < (size_t)piece_photos ? plan.max_batch : (size_t)piece_photos;
}

/* The first pieces are small: while the first is copied nothing is computed, and copying a photo takes nearly
 * as long as computing it, so that a large second one would be waited for. */
std::vector<piece> pieces_of(size_t batch)
{
    std::vector<piece> pieces;
    size_t first = 0;

    while (first < batch) {
        const size_t most = first == 0 ? 2 : first < 10 ? 4 : (size_t)piece_photos;
        const size_t count = std::min(most, batch - first);

        pieces.push_back({first, count});
        first += count;
    }
    return pieces;
}

template <typename T> T *at(const csi_device_run &run, int map)
{
    if (map < 0)
        return nullptr;
    return (T *)(run.arena + run.plan->maps[(size_t)map].offset * largest_piece(*run.plan));
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
                   batch, plan.gpu, run.stream);
}

template <typename T> void launch_plain_step(const csi_device_run &run, const step &s, int batch)
{
    const csi_device_plan &plan = *run.plan;
    const stored &first = plan.maps[(size_t)s.inputs[0]], &out = plan.maps[(size_t)s.output];
    plain_op<T> op = {};

    op.shape = s.plain;
    op.in = first.view;
    op.out = out.view;
    op.from = at<T>(run, s.inputs[0]);
    op.first_values = first.constant;
    op.to = at<T>(run, s.output);
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

template <typename T> void launch_all(const csi_device_run &run, size_t first, int batch)
{
    const csi_device_plan &plan = *run.plan;

    launch_pack<T>(run.photos + first * run.photo_floats, plan.photo, plan.maps[(size_t)plan.input].view,
                   at<T>(run, plan.input), batch, run.stream);
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
        launch_unpack<T>(plan.maps[(size_t)plan.outputs[i]].view, at<T>(run, plan.outputs[i]),
                         run.outputs[i] + first * run.output_floats[i], batch, run.stream);
}

void launch(const csi_device_run &run, const piece &piece)
{
    switch (run.plan->type) {
    case CSI_DEVICE_FP32: launch_all<float>(run, piece.first, (int)piece.count); break;
    case CSI_DEVICE_FP16: launch_all<half_t>(run, piece.first, (int)piece.count); break;
    default: launch_all<bf16_t>(run, piece.first, (int)piece.count); break;
    }
}

enum cs_status record(csi_device_run *run, const piece &piece, cs_error *error)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t made = nullptr;
    enum cs_status status;

    /* Of this thread alone: others may allocate meanwhile. */
    status = check(cudaStreamBeginCapture(run->stream, cudaStreamCaptureModeThreadLocal), "recording", error);
    if (status != CS_OK)
        return status;
    launch(*run, piece);
    status = check(cudaStreamEndCapture(run->stream, &graph), "recording the network", error);
    if (status == CS_OK)
        status = check(cudaGraphInstantiate(&made, graph, 0), "preparing the network", error);
    if (graph != nullptr)
        cudaGraphDestroy(graph);
    if (status == CS_OK)
        run->graphs[piece] = made;
    return status;
}

enum cs_status allocate_pinned(size_t floats, float **memory, cs_error *error)
{
    return check(cudaMallocHost((void **)memory, floats * sizeof(float)), "allocating pinned memory", error);
}

/* `later` waits for what `earlier` has been given so far. */
enum cs_status chain(cudaStream_t earlier, cudaEvent_t event, cudaStream_t later, cs_error *error)
{
    enum cs_status status = check(cudaEventRecord(event, earlier), "queueing", error);

    return status == CS_OK ? check(cudaStreamWaitEvent(later, event, 0), "queueing", error) : status;
}

/* A photo travels while the next one is copied into pinned memory; of a single one the quarters. */
enum cs_status send_photos(const csi_device_run &run, const float *input, const piece &piece, cs_error *error)
{
    const size_t end = (piece.first + piece.count) * run.photo_floats;
    const size_t step = piece.count == 1 ? (run.photo_floats + 3) / 4 : run.photo_floats;
    enum cs_status status = CS_OK;

    for (size_t at = piece.first * run.photo_floats; at < end && status == CS_OK; at += step) {
        const size_t bytes = std::min(step, end - at) * sizeof(float);

        memcpy(run.photos_host + at, input + at, bytes);
        status = check(
            cudaMemcpyAsync(run.photos + at, run.photos_host + at, bytes, cudaMemcpyHostToDevice, run.in),
            "copying a photo", error);
    }
    return status;
}

/* Whether the device writes output `i` of a piece where it belongs. */
bool writes_there(const csi_device_run &run, float *const *outputs, const piece &piece, size_t i)
{
    const uintptr_t from = (uintptr_t)outputs[i], lent = (uintptr_t)run.lent;
    const size_t bytes = (piece.first + piece.count) * run.output_floats[i] * sizeof(float);

    return run.lent_bytes >= bytes && from >= lent && from - lent <= run.lent_bytes - bytes;
}

enum cs_status fetch_maps(const csi_device_run &run, float *const *outputs, const piece &piece,
                          cs_error *error)
{
    enum cs_status status = CS_OK;

    for (size_t i = 0; i < run.outputs.size() && status == CS_OK; i++) {
        const size_t first = piece.first * run.output_floats[i], count = piece.count * run.output_floats[i];
        float *to = writes_there(run, outputs, piece, i) ? outputs[i] : run.outputs_host[i];

        status = check(cudaMemcpyAsync(to + first, run.outputs[i] + first, count * sizeof(float),
                                       cudaMemcpyDeviceToHost, run.out),
                       "copying a map", error);
    }
    return status;
}

/* Piece `k` on its way through the three streams. */
enum cs_status start_piece(csi_device_run *run, const float *input, float *const *outputs, const piece &piece,
                           size_t k, cs_error *error)
{
    enum cs_status status = CS_OK;

    if (run->graphs.find(piece) == run->graphs.end())
        status = record(run, piece, error);
    if (status == CS_OK)
        status = send_photos(*run, input, piece, error);
    if (status == CS_OK)
        status = chain(run->in, run->sent[k], run->stream, error);
    if (status == CS_OK)
        status = check(cudaGraphLaunch(run->graphs[piece], run->stream), "starting the network", error);
    if (status == CS_OK)
        status = chain(run->stream, run->computed[k], run->out, error);
    if (status == CS_OK)
        status = fetch_maps(*run, outputs, piece, error);
    return status == CS_OK ? check(cudaEventRecord(run->arrived[k], run->out), "queueing", error) : status;
}

enum cs_status hand_over(const csi_device_run &run, float *const *outputs, const piece &piece, size_t k,
                         cs_error *error)
{
    enum cs_status status = check(cudaEventSynchronize(run.arrived[k]), "running the network", error);

    for (size_t i = 0; i < run.outputs.size() && status == CS_OK; i++) {
        const size_t first = piece.first * run.output_floats[i], count = piece.count * run.output_floats[i];

        if (!writes_there(run, outputs, piece, i))
            memcpy(outputs[i] + first, run.outputs_host[i] + first, count * sizeof(float));
    }
    return status;
}

enum cs_status make_events(size_t count, std::vector<cudaEvent_t> *events, cs_error *error)
{
    enum cs_status status = CS_OK;

    for (size_t n = 0; n < count && status == CS_OK; n++) {
        cudaEvent_t event = nullptr;

        status = check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event", error);
        if (status == CS_OK)
            events->push_back(event);
    }
    return status;
}

enum cs_status make_streams(csi_device_run *run, cs_error *error)
{
    const size_t pieces = pieces_of(run->plan->max_batch).size();
    enum cs_status status = CS_OK;

    for (cudaStream_t *stream : {&run->in, &run->stream, &run->out})
        if (status == CS_OK)
            status =
                check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "making a stream", error);
    for (std::vector<cudaEvent_t> *events : {&run->sent, &run->computed, &run->arrived})
        if (status == CS_OK)
            status = make_events(pieces, events, error);
    return status;
}

} // namespace

enum cs_status create_run(const csi_device_plan *plan, csi_device_run **out, cs_error *error)
{
    csi_device_run *run = new csi_device_run;
    const photo_shape &photo = plan->photo;
    void *arena = nullptr, *photos = nullptr;
    enum cs_status status;

    *out = run; /* the caller destroys it when this fails */
    run->plan = plan;
    run->photo_floats = (size_t)photo.channels * (size_t)photo.height * (size_t)photo.width;
    status = make_streams(run, error);
    if (status == CS_OK)
        status = run->memory.allocate(plan->photo_bytes * largest_piece(*plan), &arena, error);
    if (status == CS_OK)
        status = run->memory.allocate(run->photo_floats * plan->max_batch * sizeof(float), &photos, error);
    if (status == CS_OK)
        status = allocate_pinned(run->photo_floats * plan->max_batch, &run->photos_host, error);
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
    if (run->lent != nullptr)
        cudaHostUnregister(run->lent);
    for (const std::vector<cudaEvent_t> *events : {&run->sent, &run->computed, &run->arrived})
        for (cudaEvent_t event : *events)
            cudaEventDestroy(event);
    for (cudaStream_t stream : {run->in, run->stream, run->out})
        if (stream != nullptr)
            cudaStreamDestroy(stream);
    delete run;
}

void take_memory(csi_device_run *run, void *memory, size_t bytes)
{
    if (cudaHostRegister(memory, bytes, cudaHostRegisterDefault) == cudaSuccess) {
        run->lent = (char *)memory;
        run->lent_bytes = bytes;
    } else {
        cudaGetLastError(); /* or the next call reports it again: maps go through pinned memory then */
    }
}

enum cs_status execute(csi_device_run *run, const float *input, size_t batch, float *const *outputs,
                       cs_error *error)
{
    enum cs_status status = CS_OK;

    if (batch == 0 || batch > run->plan->max_batch)
        return fail(error, CS_BAD_REQUEST, "batches of 1 to %u photos, not %zu", run->plan->max_batch, batch);
    const std::vector<piece> pieces = pieces_of(batch);

    for (size_t k = 0; k < pieces.size() && status == CS_OK; k++)
        status = start_piece(run, input, outputs, pieces[k], k, error);
    for (size_t k = 0; k < pieces.size() && status == CS_OK; k++)
        status = hand_over(*run, outputs, pieces[k], k, error);
    if (status != CS_OK) /* nothing may be under way when the caller goes on */
        for (cudaStream_t stream : {run->in, run->stream, run->out})
            cudaStreamSynchronize(stream);
    return status;
}

int device_of(const csi_device_run &run)
{
    return run.plan->device;
}

} // namespace csi_cuda
