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

/* Of a window along an axis, before a pool. */
int64_t outputs_of(const csi_device_op &op, int axis, int64_t input)
{
    return (input + op.pads[axis] + op.pads[axis + 2] - (int64_t)op.dilation[axis] * (op.kernel[axis] - 1) -
            1) /
               op.stride[axis] +
           1;
}

constexpr int64_t few_channels = 1024; /* of a spread photo */

/* The one operator that reads the photo, if that is a product. */
const csi_device_op *first_product(const csi_device_network &network)
{
    const csi_device_op *first = nullptr;

    for (size_t i = 0; i < network.op_count; i++) {
        const csi_device_op &op = network.ops[i];
        bool reads =
            std::find(op.inputs, op.inputs + op.input_count, network.input) != op.inputs + op.input_count;

        if ((op.kind == CSI_DEVICE_CONV && (op.gate == network.input || op.residual == network.input)) ||
            (reads && first != nullptr))
            return nullptr;
        first = reads ? &op : first;
    }
    if (first == nullptr || first->kind != CSI_DEVICE_CONV || first->groups != 1 || first->gate >= 0)
        return nullptr;
    return std::find(network.outputs, network.outputs + network.output_count, network.input) ==
                   network.outputs + network.output_count
               ? first
               : nullptr;
}

/* The photo has few channels, which fill no unit: its first convolution gets those of a window's line at
 * once. */
void spread_photo(const csi_device_op &first, int unit, csi_device_plan *plan, map_view *view)
{
    photo_shape *s = &plan->photo;

    s->columns = (int)first.kernel[1];
    s->stride = (int)first.stride[1];
    s->dilation = (int)first.dilation[1];
    s->pad = (int)first.pads[1];
    view->channels = s->channels * s->columns;
    view->width = (int)outputs_of(first, 1, s->width);
    view->pitch = round_up(view->channels, unit);
    plan->spread = true;
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
        if ((int)i == network.input) {
            const csi_device_op *first = first_product(network);

            plan->photo = {map.view.channels, map.view.height, map.view.width, 1, 1, 1, 0};
            if (first != nullptr && (int64_t)from.channels * first->kernel[1] <= few_channels)
                spread_photo(*first, unit, plan, &map.view);
        }
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

/* A depth unit and what it holds: channels from `channel` on, of a line and a column of the window. */
struct unit_place {
    int row, column, channel;
};

/* The order of the depth: all of the window for as many channels as a tile holds, then for the next ones, so
 * that what is read again was read a short while ago. */
std::vector<unit_place> order_depth(const conv_shape &s, int unit, int units_a_tile)
{
    std::vector<unit_place> places;

    for (int first = 0; first < s.in.pitch; first += units_a_tile * unit)
        for (int y = 0; y < s.kernel[0]; y++)
            for (int x = 0; x < s.kernel[1]; x++)
                for (int c = first; c < std::min(first + units_a_tile * unit, s.in.pitch); c += unit)
                    places.push_back({y, x, c});
    return places;
}

/* Whether the numbers with which a product counts its rows and the units of its input hold them: int. */
bool countable(const conv_shape &s, int unit)
{
    const int64_t line = (int64_t)s.in.width * (s.in.pitch / unit), most = INT_MAX / 2 / piece_photos;

    return (int64_t)s.in.height * line <= most && (int64_t)s.out.height * s.out.width <= most &&
           ((int64_t)(s.kernel[0] - 1) * s.dilation[0] + s.pads[0]) * line <= most &&
           (int64_t)s.kernel[0] * s.kernel[1] * s.in.pitch <= INT_MAX / 64;
}

/* [channel][depth], zeroes around. false: a weight lies outside T's range. */
template <typename T>
bool pack_weights(const csi_device_op &op, const conv_shape &s, int inputs,
                  const std::vector<unit_place> &places, size_t depth, std::vector<T> *packed, float *outside)
{
    packed->assign((size_t)round_up(s.out.channels, channel_padding) * depth, from_float<T>(0.0f));
    for (int o = 0; o < s.out.channels; o++)
        for (size_t i = 0; i < places.size(); i++)
            for (int k = 0; k < unit_size<T> && places[i].channel + k < s.in.channels; k++) {
                const int c = places[i].channel + k,
                          column = places[i].column + c / inputs; /* a spread photo */
                const float weight =
                    op.weight[(((size_t)o * (size_t)inputs + (size_t)(c % inputs)) * op.kernel[0] +
                               (size_t)places[i].row) *
                                  op.kernel[1] +
                              (size_t)column];
                const T rounded = from_float<T>(weight);

                if (std::isfinite(weight) && !std::isfinite(to_float(rounded))) {
                    *outside = weight;
                    return false;
                }
                (*packed)[(size_t)o * depth + i * (size_t)unit_size<T> + (size_t)k] = rounded;
            }
    return true;
}

/* `inputs`: channels of the weights. */
template <typename T>
enum cs_status pack_product(const csi_device_op &op, const conv_shape &s, int inputs, csi_device_plan *plan,
                            conv *made, cs_error *error)
{
    constexpr int size = unit_size<T>;
    const void *weights = nullptr, *units_there = nullptr;
    std::vector<unit_place> places;
    std::vector<depth_unit> units;
    std::vector<T> packed;
    float outside = 0.0f;
    enum cs_status status;

    if (!countable(s, size))
        return fail(error, CS_MODEL_UNSUPPORTED,
                    "'%s': a window of %dx%d on a map of %d×%d×%d is too large for the GPU", op.name,
                    s.kernel[0], s.kernel[1], s.in.channels, s.in.height, s.in.width);
    places = order_depth(s, size, depth_units<T>);
    for (const unit_place &p : places) {
        const int row = p.row * s.dilation[0], column = p.column * s.dilation[1];

        units.push_back(
            {row, column, (row * s.in.width + column) * (s.in.pitch / size) + p.channel / size, 1});
    }
    made->unit_count = round_up((int)units.size(), depth_units<T>);
    units.resize((size_t)made->unit_count + depth_units<T>,
                 depth_unit{0, 0, 0, 0}); /* a tile more: see copier */
    if (!pack_weights(op, s, inputs, places, (size_t)made->unit_count * size, &packed, &outside))
        return fail(error, CS_MODEL_UNSUPPORTED,
                    "'%s': weights up to %g are too large for fp16: use bf16 or fp32", op.name,
                    (double)outside);
    status = plan->memory.upload(packed.data(), packed.size() * sizeof(T), &weights, error);
    if (status == CS_OK)
        status = plan->memory.upload(units.data(), units.size() * sizeof units[0], &units_there, error);
    made->weights = weights;
    made->units = (const depth_unit *)units_there;
    made->splits = choose_splits(s, made->unit_count, depth_units<T>, plan->gpu.processors);
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
    const bool spread = plan->spread && op.inputs[0] == plan->input;
    const int photo_size[2] = {plan->photo.height, plan->photo.width};
    conv_shape s = {};
    conv *c = &made->convolution;
    enum cs_status status;

    s.in = plan->maps[(size_t)op.inputs[0]].view;
    s.out = plan->maps[(size_t)op.output].view;
    const int inputs = spread ? plan->photo.channels : s.in.channels;
    const int input_size[2] = {s.in.height, s.in.width};

    for (int i = 0; i < 2; i++) {
        s.kernel[i] = (int)op.kernel[i];
        s.stride[i] = (int)op.stride[i];
        s.dilation[i] = (int)op.dilation[i];
        s.pads[i] = (int)op.pads[i];
        if (op.pool) /* the map's shape is what the pool leaves */
            (i == 0 ? s.out.height : s.out.width) =
                (int)outputs_of(op, i, spread ? photo_size[i] : input_size[i]);
    }
    if (spread) {
        s.kernel[1] = s.stride[1] = s.dilation[1] = 1;
        s.pads[1] = 0;
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
        status = pack_product<float>(op, s, inputs, plan, c, error);
    else if (plan->type == CSI_DEVICE_FP16)
        status = pack_product<half_t>(op, s, inputs, plan, c, error);
    else
        status = pack_product<bf16_t>(op, s, inputs, plan, c, error);
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
    made.plain = {op.kind, nullptr,  nullptr, (int)op.pads[0], (int)op.pads[1], op.arith,
                  op.act,  op.scale, op.zero, op.low,          op.high};
    switch (op.kind) {
    case CSI_DEVICE_CONV: status = make_conv(op, plan, &made, error); break;
    case CSI_DEVICE_MAX_POOL:
    case CSI_DEVICE_AVG_POOL: make_pool(op, *plan, &made); break;
    case CSI_DEVICE_SCALE_SHIFT:
        status =
            upload_channels(op.weight, plan->maps[(size_t)op.output].view, plan, &made.plain.scale, error);
        if (status == CS_OK)
            status =
                upload_channels(op.bias, plan->maps[(size_t)op.output].view, plan, &made.plain.shift, error);
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
        status = check(prepare_convs(plan->gpu), "loading the kernels", error);
    if (status == CS_OK)
        place_maps(plan);
    return status;
}

} // namespace csi_cuda
