/* From the network as the engine tells it to steps with packed weights. */
#include "kernels/cuda/plan.cuh"

#include <algorithm>
#include <climits>
#include <cmath>

namespace csi_cuda
{

device_memory::~device_memory()
{
    for (void *block : blocks_)
        cudaFree(block);
}

enum cs_status device_memory::allocate(size_t bytes, void **memory, cs_error *error)
{
    cudaError_t result = cudaMalloc(memory, bytes == 0 ? 1 : bytes);

    if (result == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* or the next call reports it again */
        return fail(error, CS_INTERNAL, "the GPU has no %zu MB left", bytes >> 20);
    }
    if (result == cudaSuccess)
        blocks_.push_back(*memory);
    return check(result, "allocating memory", error);
}

enum cs_status device_memory::upload(const void *bytes, size_t size, const void **memory, cs_error *error)
{
    void *to = nullptr;
    enum cs_status status = allocate(size, &to, error);

    if (status == CS_OK)
        status = check(cudaMemcpy(to, bytes, size, cudaMemcpyHostToDevice), "copying weights", error);
    *memory = to;
    return status;
}

namespace
{

constexpr int pitch_unit = 16;
constexpr size_t line = 128; /* of the cache: maps begin on one */

int round_up(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- maps ---- */

/* The photo as its first convolution wants it: few channels, as few units as hold them. Others read whole
 * pitches. */
bool feeds_products_only(const csi_device_network &network, int map)
{
    for (size_t i = 0; i < network.op_count; i++) {
        const csi_device_op &op = network.ops[i];

        if (op.gate == map || op.residual == map)
            return false;
        for (unsigned k = 0; k < op.input_count; k++)
            if (op.inputs[k] == map && (op.kind != CSI_DEVICE_CONV || op.groups != 1 || op.gate >= 0))
                return false;
    }
    return std::find(network.outputs, network.outputs + network.output_count, map) ==
           network.outputs + network.output_count;
}

enum cs_status take_maps(const csi_device_network &network, int unit, size_t element, csi_device_plan *plan,
                         cs_error *error)
{
    for (size_t i = 0; i < network.map_count; i++) {
        const csi_device_map &from = network.maps[i];
        stored map = {};
        const size_t values = (size_t)from.channels * from.height * from.width;

        if (from.channels > INT_MAX / 2 || from.height > INT_MAX / 2 || from.width > INT_MAX / 2)
            return fail(error, CS_MODEL_UNSUPPORTED, "a map of %u×%u×%u is too large for the GPU",
                        from.channels, from.height, from.width);
        map.view = {(int)from.channels, (int)from.height, (int)from.width,
                    round_up((int)from.channels, pitch_unit)};
        if ((int)i == network.input && feeds_products_only(network, (int)i))
            map.view.pitch = round_up((int)from.channels, unit);
        if (from.constant != nullptr) {
            const void *constant = nullptr;
            enum cs_status status =
                plan->memory.upload(from.constant, values * sizeof(float), &constant, error);

            if (status != CS_OK)
                return status;
            map.constant = (const float *)constant;
        }
        map.photo_bytes = (size_t)map.view.height * (size_t)map.view.width * (size_t)map.view.pitch * element;
        map.photo_bytes = (map.photo_bytes + line - 1) / line * line;
        plan->maps.push_back(map);
    }
    return CS_OK;
}

/* ---- convolutions ---- */

template <typename T>
enum cs_status pack_product(const csi_device_op &op, const conv_shape &s, csi_device_plan *plan, conv *made,
                            cs_error *error)
{
    constexpr int size = unit_size<T>;
    const int a_tap = s.in.pitch / size, taps = s.kernel[0] * s.kernel[1];
    const int64_t reach = ((int64_t)(s.kernel[0] - 1) * s.dilation[0] * s.in.width +
                           (int64_t)(s.kernel[1] - 1) * s.dilation[1] + 1) *
                          s.in.pitch;
    const void *weights = nullptr, *units_there = nullptr;
    std::vector<depth_unit> units;
    enum cs_status status;

    if (reach > INT_MAX || (int64_t)taps * a_tap > INT_MAX / 64)
        return fail(error, CS_MODEL_UNSUPPORTED, "'%s': a window of %dx%d is too large for the GPU", op.name,
                    s.kernel[0], s.kernel[1]);
    for (int y = 0; y < s.kernel[0]; y++)
        for (int x = 0; x < s.kernel[1]; x++)
            for (int c = 0; c < a_tap; c++) {
                const int row = y * s.dilation[0], column = x * s.dilation[1];

                units.push_back({row, column, (row * s.in.width + column) * s.in.pitch + c * size, 1});
            }
    made->unit_count = round_up((int)units.size(), depth_units);
    units.resize((size_t)made->unit_count + depth_units,
                 depth_unit{0, 0, 0, 0}); /* a tile more: see copier */

    const size_t depth = (size_t)made->unit_count * size;
    std::vector<T> packed((size_t)round_up(s.out.channels, channel_padding) * depth, from_float<T>(0.0f));

    for (int o = 0; o < s.out.channels; o++)
        for (int c = 0; c < s.in.channels; c++)
            for (int tap = 0; tap < taps; tap++) {
                const float weight =
                    op.weight[((size_t)o * (size_t)s.in.channels + (size_t)c) * (size_t)taps + (size_t)tap];
                const T rounded = from_float<T>(weight);

                if (std::isfinite(weight) && !std::isfinite(to_float(rounded)))
                    return fail(error, CS_MODEL_UNSUPPORTED,
                                "'%s': weights up to %g are too large for fp16: use bf16 or fp32", op.name,
                                (double)weight);
                packed[(size_t)o * depth + (size_t)tap * (size_t)s.in.pitch + (size_t)c] = rounded;
            }
    status = plan->memory.upload(packed.data(), packed.size() * sizeof(T), &weights, error);
    if (status == CS_OK)
        status = plan->memory.upload(units.data(), units.size() * sizeof units[0], &units_there, error);
    made->weights = weights;
    made->units = (const depth_unit *)units_there;
    made->splits = choose_splits(s, made->unit_count, plan->processors);
    return status;
}

/* Depthwise: [tap][pitch]; other groups: [channel][tap][input of the group]. */
enum cs_status pack_groups(const csi_device_op &op, const conv_shape &s, csi_device_plan *plan, conv *made,
                           cs_error *error)
{
    const size_t taps = (size_t)s.kernel[0] * (size_t)s.kernel[1];
    const size_t inputs = (size_t)(s.in.channels / s.groups);
    const bool depthwise = is_depthwise(s);
    std::vector<float> packed(depthwise ? taps * (size_t)s.out.pitch
                                        : (size_t)s.out.channels * taps * inputs);
    const void *weights = nullptr;
    enum cs_status status;

    for (size_t o = 0; o < (size_t)s.out.channels; o++)
        for (size_t c = 0; c < inputs; c++)
            for (size_t tap = 0; tap < taps; tap++)
                packed[depthwise ? tap * (size_t)s.out.pitch + o : (o * taps + tap) * inputs + c] =
                    op.weight[(o * inputs + c) * taps + tap];
    status = plan->memory.upload(packed.data(), packed.size() * sizeof(float), &weights, error);
    made->weights = weights;
    made->splits = 1;
    return status;
}

/* Per-channel numbers with zeroes up to the pitch. */
enum cs_status upload_channels(const float *from, const map_view &map, csi_device_plan *plan,
                               const float **there, cs_error *error)
{
    std::vector<float> padded((size_t)map.pitch, 0.0f);
    const void *memory = nullptr;
    enum cs_status status;

    if (from != nullptr)
        std::copy(from, from + map.channels, padded.begin());
    status = plan->memory.upload(padded.data(), padded.size() * sizeof(float), &memory, error);
    *there = (const float *)memory;
    return status;
}

int add_scratch(csi_device_plan *plan, size_t photo_bytes)
{
    stored scratch = {};

    scratch.photo_bytes = (photo_bytes + line - 1) / line * line;
    plan->maps.push_back(scratch);
    return (int)plan->maps.size() - 1;
}

enum cs_status make_conv(const csi_device_op &op, csi_device_plan *plan, step *made, cs_error *error)
{
    conv_shape s = {};
    conv *c = &made->convolution;
    enum cs_status status;

    s.in = plan->maps[(size_t)op.inputs[0]].view;
    s.out = plan->maps[(size_t)op.output].view;
    for (int i = 0; i < 2; i++) {
        const int input = i == 0 ? s.in.height : s.in.width;
        const int64_t padded = (int64_t)input + op.pads[i] + op.pads[i + 2];

        s.kernel[i] = (int)op.kernel[i];
        s.stride[i] = (int)op.stride[i];
        s.dilation[i] = (int)op.dilation[i];
        s.pads[i] = (int)op.pads[i];
        if (op.pool) /* the map's shape is what the pool leaves */
            (i == 0 ? s.out.height : s.out.width) =
                (int)((padded - (int64_t)op.dilation[i] * (op.kernel[i] - 1) - 1) / op.stride[i] + 1);
    }
    s.groups = (int)op.groups;
    s.pool = op.pool != 0;
    s.residual_after = op.residual_after != 0;
    s.act = op.act;
    c->shape = s;
    if (s.pool && (s.groups != 1 || op.residual >= 0))
        return fail(error, CS_MODEL_UNSUPPORTED, "'%s': a pool behind such a convolution", op.name);
    status = upload_channels(op.bias, s.out, plan, &c->bias, error);
    if (status != CS_OK)
        return status;
    if (s.groups != 1)
        status = pack_groups(op, s, plan, c, error);
    else if (plan->type == CSI_DEVICE_FP32)
        status = pack_product<float>(op, s, plan, c, error);
    else if (plan->type == CSI_DEVICE_FP16)
        status = pack_product<half_t>(op, s, plan, c, error);
    else
        status = pack_product<bf16_t>(op, s, plan, c, error);
    if (status == CS_OK && op.gate >= 0)
        made->gated = add_scratch(plan, plan->maps[(size_t)op.inputs[0]].photo_bytes);
    if (status == CS_OK && c->splits > 1)
        made->scratch = add_scratch(plan, conv_scratch_bytes(*c));
    return status;
}

/* ---- the others ---- */

void make_pool(const csi_device_op &op, const csi_device_plan &plan, step *made)
{
    pool_shape *s = &made->pool;

    s->in = plan.maps[(size_t)op.inputs[0]].view;
    s->out = plan.maps[(size_t)op.output].view;
    for (int i = 0; i < 2; i++) {
        s->kernel[i] = (int)op.kernel[i];
        s->stride[i] = (int)op.stride[i];
        s->dilation[i] = (int)op.dilation[i];
    }
    for (int i = 0; i < 4; i++)
        s->pads[i] = (int)op.pads[i];
    s->average = op.kind == CSI_DEVICE_AVG_POOL;
    s->count_include_pad = op.count_include_pad != 0;
}

enum cs_status make_step(const csi_device_op &op, csi_device_plan *plan, cs_error *error)
{
    step made = {};
    enum cs_status status = CS_OK;

    made.kind = op.kind;
    made.name = op.name;
    made.inputs.assign(op.inputs, op.inputs + op.input_count);
    made.output = op.output;
    made.gate = op.kind == CSI_DEVICE_CONV ? op.gate : -1;
    made.residual = op.kind == CSI_DEVICE_CONV ? op.residual : -1;
    made.gated = made.scratch = -1;
    made.pad_top = (int)op.pads[0];
    made.pad_left = (int)op.pads[1];
    made.arith = op.arith;
    made.act = op.act;
    made.quantum = op.scale;
    made.zero = op.zero;
    made.low = op.low;
    made.high = op.high;
    switch (op.kind) {
    case CSI_DEVICE_CONV: status = make_conv(op, plan, &made, error); break;
    case CSI_DEVICE_MAX_POOL:
    case CSI_DEVICE_AVG_POOL: make_pool(op, *plan, &made); break;
    case CSI_DEVICE_SCALE_SHIFT:
        status = upload_channels(op.weight, plan->maps[(size_t)op.output].view, plan, &made.scale, error);
        if (status == CS_OK)
            status = upload_channels(op.bias, plan->maps[(size_t)op.output].view, plan, &made.shift, error);
        break;
    case CSI_DEVICE_GLOBAL_AVG_POOL:
    case CSI_DEVICE_ACTIVATION:
    case CSI_DEVICE_ARITH:
    case CSI_DEVICE_CONCAT:
    case CSI_DEVICE_PAD:
    case CSI_DEVICE_RESHAPE:
    case CSI_DEVICE_QUANTIZE: break;
    default: return fail(error, CS_MODEL_UNSUPPORTED, "'%s': no such operator on the GPU", op.name);
    }
    plan->steps.push_back(made);
    return status;
}

/* ---- memory: a place for each map while it lives ---- */

void lives(csi_device_plan *plan, int map, size_t at)
{
    stored *m;

    if (map < 0 || plan->maps[(size_t)map].constant != nullptr)
        return;
    m = &plan->maps[(size_t)map];
    m->first = m->used ? std::min(m->first, at) : at;
    m->last = m->used ? std::max(m->last, at) : at;
    m->used = true;
}

void place_maps(csi_device_plan *plan)
{
    std::vector<stored *> order, placed;

    lives(plan, plan->input, 0);
    for (size_t i = 0; i < plan->steps.size(); i++) {
        const step &s = plan->steps[i];

        for (int input : s.inputs)
            lives(plan, input, i);
        for (int map : {s.output, s.gate, s.residual, s.gated, s.scratch})
            lives(plan, map, i);
    }
    for (int output : plan->outputs)
        lives(plan, output, plan->steps.size());
    for (stored &map : plan->maps)
        if (map.used)
            order.push_back(&map);
    std::sort(order.begin(), order.end(),
              [](const stored *a, const stored *b) { return a->photo_bytes > b->photo_bytes; });
    for (stored *map : order) { /* the largest first, each as low as those that live with it let it */
        bool moved = true;

        map->offset = 0;
        while (moved) {
            moved = false;
            for (const stored *other : placed)
                if (other->first <= map->last && map->first <= other->last &&
                    other->offset < map->offset + map->photo_bytes &&
                    map->offset < other->offset + other->photo_bytes) {
                    map->offset = other->offset + other->photo_bytes;
                    moved = true;
                }
        }
        placed.push_back(map);
        plan->photo_bytes = std::max(plan->photo_bytes, map->offset + map->photo_bytes);
    }
}

} // namespace

enum cs_status make_plan(const csi_device_network &network, csi_device_plan *plan, cs_error *error)
{
    const size_t element = network.type == CSI_DEVICE_FP32 ? sizeof(float) : sizeof(half_t);
    enum cs_status status;

    plan->type = network.type;
    plan->max_batch = network.max_batch;
    plan->input = network.input;
    plan->outputs.assign(network.outputs, network.outputs + network.output_count);
    status = take_maps(network, 16 / (int)element, element, plan, error);
    for (size_t i = 0; i < network.op_count && status == CS_OK; i++)
        status = make_step(network.ops[i], plan, error);
    if (status == CS_OK)
        status = check(prepare_convs(), "loading the kernels", error);
    if (status == CS_OK)
        place_maps(plan);
    return status;
}

} // namespace csi_cuda
