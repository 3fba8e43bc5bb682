#include "support/reference_device.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reference_faults reference_faults;
static atomic_int alive;

int reference_alive(void)
{
    return atomic_load(&alive);
}

/* A copy of the network: nothing of the caller's is kept. */
struct csi_device_plan {
    struct csi_device_network network;
    struct csi_device_map *maps;
    struct csi_device_op *ops;
    int32_t *outputs;
    float **owned; /* constants, weights and biases */
    size_t owned_count;
};

/* One photo's maps, CHW. */
struct csi_device_run {
    const struct csi_device_plan *plan;
    float **data;
    float *scratch; /* a map before its pool */
};

static enum cs_status say(struct cs_error *error, enum cs_status status, const char *text, const char *name)
{
    error->status = status;
    snprintf(error->message, sizeof error->message, "%s%s%s", text, name == NULL ? "" : ": ",
             name == NULL ? "" : name);
    return status;
}

/* ---- numbers ---- */

static float to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) != 0x7f800000u)
        bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u; /* to nearest even */
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static float to_fp16(float x)
{
    uint32_t bits;

    if (isnan(x) || isinf(x))
        return x;
    if (fabsf(x) < 6.103515625e-5f) /* 2^-14: below it steps of 2^-24 */
        return nearbyintf(x * 16777216.0f) / 16777216.0f;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
    memcpy(&x, &bits, sizeof bits);
    return fabsf(x) > 65504.0f ? copysignf(INFINITY, x) : x;
}

static float stored(enum csi_device_type type, float x)
{
    return type == CSI_DEVICE_FP16 ? to_fp16(x) : type == CSI_DEVICE_BF16 ? to_bf16(x) : x;
}

static double clamped(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static float act(const struct csi_act_params *a, float value)
{
    double x = (double)value, alpha = (double)a->alpha, beta = (double)a->beta;

    switch (a->kind) {
    case CSI_FN_NONE: break;
    case CSI_FN_RELU: return x < 0 ? 0.0f : value;
    case CSI_FN_LEAKY_RELU: return (float)(x < 0 ? alpha * x : x);
    case CSI_FN_CLIP: return (float)clamped(x, alpha, beta);
    case CSI_FN_SIGMOID: return (float)(1 / (1 + exp(-x)));
    case CSI_FN_HARD_SIGMOID: return (float)clamped(alpha * x + beta, 0, 1);
    case CSI_FN_SWISH: return (float)(x / (1 + exp(-x)));
    case CSI_FN_HARD_SWISH: return (float)(x * clamped(x / 6 + 0.5, 0, 1));
    case CSI_FN_TANH: return (float)tanh(x);
    case CSI_FN_ELU: return (float)(x < 0 ? alpha * (exp(x) - 1) : x);
    case CSI_FN_GELU: return (float)(x * 0.5 * (1 + erf(x / sqrt(2))));
    case CSI_FN_GELU_TANH:
        return (float)(0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))));
    }
    return value;
}

static size_t area(const struct csi_device_map *map)
{
    return (size_t)map->height * map->width;
}

static size_t elements(const struct csi_device_map *map)
{
    return map->channels * area(map);
}

/* ---- operators ---- */

/* Where kernel position `k` of output `at` lies in the input; false: in the padding. */
static bool inside(uint32_t at, uint32_t stride, uint32_t k, uint32_t dilation, uint32_t pad, uint32_t size,
                   uint32_t *place)
{
    uint32_t padded = at * stride + k * dilation;

    *place = padded - pad;
    return padded >= pad && *place < size;
}

/* One kernel position of one input plane, times its weight, over a whole output plane. */
static void add_plane(const struct csi_device_op *op, const struct csi_device_map *in, uint32_t ky,
                      uint32_t kx, const float *from, float weight, uint32_t height, uint32_t width,
                      float *to)
{
    uint32_t first = 0, end = width, row, column;

    while (first < width &&
           !inside(first, op->stride[1], kx, op->dilation[1], op->pads[1], in->width, &column))
        first++;
    while (end > first &&
           !inside(end - 1, op->stride[1], kx, op->dilation[1], op->pads[1], in->width, &column))
        end--;
    for (uint32_t y = 0; y < height; y++) {
        if (!inside(y, op->stride[0], ky, op->dilation[0], op->pads[0], in->height, &row))
            continue;
        for (uint32_t x = first; x < end; x++) {
            size_t at = (size_t)row * in->width + x * op->stride[1] + kx * op->dilation[1] - op->pads[1];

            to[(size_t)y * width + x] += weight * from[at];
        }
    }
}

static void pool_2x2(const float *from, uint32_t width, const struct csi_device_map *out, float *to)
{
    for (uint32_t y = 0; y < out->height; y++) {
        for (uint32_t x = 0; x < out->width; x++) {
            const float *at = from + (size_t)2 * y * width + (size_t)2 * x;

            to[(size_t)y * out->width + x] = fmaxf(fmaxf(at[0], at[1]), fmaxf(at[width], at[width + 1]));
        }
    }
}

static uint32_t window_outputs(const struct csi_device_op *op, unsigned axis, uint32_t size)
{
    return (size + op->pads[axis] + op->pads[axis + 2] - op->dilation[axis] * (op->kernel[axis] - 1) - 1) /
               op->stride[axis] +
           1;
}

static void conv(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_plan *plan = run->plan;
    const struct csi_device_map *in = &plan->maps[op->inputs[0]], *out = &plan->maps[op->output];
    const float *gate = op->gate < 0 ? NULL : run->data[op->gate];
    uint32_t height = op->pool ? window_outputs(op, 0, in->height) : out->height;
    uint32_t width = op->pool ? window_outputs(op, 1, in->width) : out->width;
    size_t plane = (size_t)height * width, inputs = in->channels / op->groups,
           outputs = out->channels / op->groups, taps = (size_t)op->kernel[0] * op->kernel[1];

    for (size_t o = 0; o < out->channels; o++) {
        const float *residual = op->residual < 0 ? NULL : run->data[op->residual] + o * plane;
        float *to = op->pool ? run->scratch : run->data[op->output] + o * plane;

        for (size_t p = 0; p < plane; p++)
            to[p] = 0.0f;
        for (size_t i = 0; i < inputs; i++) {
            size_t channel = o / outputs * inputs + i;

            for (size_t t = 0; t < taps; t++)
                add_plane(op, in, (uint32_t)(t / op->kernel[1]), (uint32_t)(t % op->kernel[1]),
                          run->data[op->inputs[0]] + channel * area(in),
                          op->weight[(o * inputs + i) * taps + t] * (gate == NULL ? 1.0f : gate[channel]),
                          height, width, to);
        }
        for (size_t p = 0; p < plane; p++) {
            float x = to[p] + (op->bias == NULL ? 0.0f : op->bias[o]);

            if (residual != NULL && !op->residual_after)
                x += residual[p];
            x = act(&op->act, x);
            if (residual != NULL && op->residual_after)
                x += residual[p];
            to[p] = x;
        }
        if (op->pool)
            pool_2x2(run->scratch, width, out, run->data[op->output] + o * area(out));
    }
}

/* Maximum and average: one output of one plane. */
static float window(const struct csi_device_op *op, const struct csi_device_map *in, const float *from,
                    uint32_t y, uint32_t x)
{
    float most = -INFINITY;
    double sum = 0;
    size_t counted = 0;
    uint32_t row, column;

    for (uint32_t ky = 0; ky < op->kernel[0]; ky++) {
        for (uint32_t kx = 0; kx < op->kernel[1]; kx++) {
            bool rows = inside(y, op->stride[0], ky, op->dilation[0], op->pads[0], in->height, &row);
            bool columns = inside(x, op->stride[1], kx, op->dilation[1], op->pads[1], in->width, &column);
            /* What a window has behind the padded input never counts. */
            bool padded = y * op->stride[0] + ky * op->dilation[0] < op->pads[0] + in->height + op->pads[2] &&
                          x * op->stride[1] + kx * op->dilation[1] < op->pads[1] + in->width + op->pads[3];

            if (rows && columns) {
                float value = from[(size_t)row * in->width + column];

                most = value > most ? value : most;
                sum += (double)value;
            }
            counted += (rows && columns) || (padded && op->count_include_pad) ? 1 : 0;
        }
    }
    return op->kind == CSI_DEVICE_MAX_POOL ? most : (float)(sum / (double)counted);
}

static void pool(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_map *in = &run->plan->maps[op->inputs[0]], *out = &run->plan->maps[op->output];

    for (size_t c = 0; c < out->channels; c++) {
        const float *from = run->data[op->inputs[0]] + c * area(in);

        for (uint32_t y = 0; y < out->height; y++) {
            for (uint32_t x = 0; x < out->width; x++)
                run->data[op->output][c * area(out) + (size_t)y * out->width + x] =
                    window(op, in, from, y, x);
        }
    }
}

static void global_pool(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_map *in = &run->plan->maps[op->inputs[0]];

    for (size_t c = 0; c < in->channels; c++) {
        double sum = 0;

        for (size_t p = 0; p < area(in); p++)
            sum += (double)run->data[op->inputs[0]][c * area(in) + p];
        run->data[op->output][c] = (float)(sum / (double)area(in));
    }
}

/* The operand's number for channel c, row y, column x of the output. */
static float operand(const struct csi_device_run *run, int32_t index, uint32_t c, uint32_t y, uint32_t x)
{
    const struct csi_device_map *map = &run->plan->maps[index];
    const float *data = map->constant != NULL ? map->constant : run->data[index];

    c = map->channels == 1 ? 0 : c;
    y = map->height == 1 ? 0 : y;
    x = map->width == 1 ? 0 : x;
    return data[c * area(map) + (size_t)y * map->width + x];
}

static void arith(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_map *out = &run->plan->maps[op->output];
    float *to = run->data[op->output];

    for (uint32_t c = 0; c < out->channels; c++) {
        for (uint32_t y = 0; y < out->height; y++) {
            for (uint32_t x = 0; x < out->width; x++) {
                float a = operand(run, op->inputs[0], c, y, x), b = operand(run, op->inputs[1], c, y, x);

                switch (op->arith) {
                case CSI_ARITH_ADD: a += b; break;
                case CSI_ARITH_SUB: a -= b; break;
                case CSI_ARITH_MUL: a *= b; break;
                case CSI_ARITH_DIV: a /= b; break;
                }
                *to++ = act(&op->act, a);
            }
        }
    }
}

static void concat(const struct csi_device_run *run, const struct csi_device_op *op)
{
    float *to = run->data[op->output];

    for (uint32_t k = 0; k < op->input_count; k++) {
        size_t count = elements(&run->plan->maps[op->inputs[k]]);

        memcpy(to, run->data[op->inputs[k]], count * sizeof *to);
        to += count;
    }
}

static void pad(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_map *in = &run->plan->maps[op->inputs[0]], *out = &run->plan->maps[op->output];

    memset(run->data[op->output], 0, elements(out) * sizeof(float));
    for (size_t c = 0; c < in->channels; c++) {
        for (size_t y = 0; y < in->height; y++)
            memcpy(run->data[op->output] + c * area(out) + (y + op->pads[0]) * out->width + op->pads[1],
                   run->data[op->inputs[0]] + c * area(in) + y * in->width, in->width * sizeof(float));
    }
}

/* Number by number. */
static void pointwise(const struct csi_device_run *run, const struct csi_device_op *op)
{
    const struct csi_device_map *out = &run->plan->maps[op->output];
    const float *from = run->data[op->inputs[0]];
    float *to = run->data[op->output];

    for (size_t i = 0; i < elements(out); i++) {
        float x = from[i];

        if (op->kind == CSI_DEVICE_SCALE_SHIFT) {
            x = act(&op->act, x * op->weight[i / area(out)] + op->bias[i / area(out)]);
        } else if (op->kind == CSI_DEVICE_ACTIVATION) {
            x = act(&op->act, x);
        } else if (op->kind == CSI_DEVICE_QUANTIZE) {
            x = nearbyintf(x / op->scale) + op->zero;
            x = ((x < op->low ? op->low : x > op->high ? op->high : x) - op->zero) * op->scale;
        }
        to[i] = x;
    }
}

static void compute(const struct csi_device_run *run, const struct csi_device_op *op)
{
    switch (op->kind) {
    case CSI_DEVICE_CONV: conv(run, op); break;
    case CSI_DEVICE_MAX_POOL:
    case CSI_DEVICE_AVG_POOL: pool(run, op); break;
    case CSI_DEVICE_GLOBAL_AVG_POOL: global_pool(run, op); break;
    case CSI_DEVICE_ARITH: arith(run, op); break;
    case CSI_DEVICE_CONCAT: concat(run, op); break;
    case CSI_DEVICE_PAD: pad(run, op); break;
    case CSI_DEVICE_SCALE_SHIFT:
    case CSI_DEVICE_ACTIVATION:
    case CSI_DEVICE_RESHAPE:
    case CSI_DEVICE_QUANTIZE: pointwise(run, op); break;
    }
}

/* ---- the interface ---- */

static enum cs_status info(int index, struct csi_device_info *to, struct cs_error *error)
{
    if (reference_faults.info != CS_OK)
        return say(error, reference_faults.info, "the driver does not answer", NULL);
    if (index != 0)
        return say(error, CS_NOT_FOUND, "no device has this index: there is one", NULL);
    *to = (struct csi_device_info){REFERENCE_NAME, REFERENCE_KERNELS, (uint64_t)2 << 30};
    return CS_OK;
}

static void plan_destroy(struct csi_device_plan *plan)
{
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->owned_count; i++)
        free(plan->owned[i]);
    free(plan->owned);
    free(plan->maps);
    free(plan->ops);
    free(plan->outputs);
    free(plan);
    atomic_fetch_sub(&alive, 1);
}

/* Rounded copies; NULL of NULL. */
static const float *own(struct csi_device_plan *plan, const float *from, size_t count, bool exact)
{
    float *copy;

    if (from == NULL)
        return NULL;
    copy = malloc(count * sizeof *copy);
    if (copy == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        copy[i] = exact ? from[i] : stored(plan->network.type, from[i]);
    plan->owned[plan->owned_count++] = copy;
    return copy;
}

static void own_weights(struct csi_device_plan *plan, struct csi_device_op *op)
{
    size_t inputs = plan->maps[op->inputs[0]].channels, outputs = plan->maps[op->output].channels;
    bool is_conv = op->kind == CSI_DEVICE_CONV;

    op->name = NULL;
    if (!is_conv && op->kind != CSI_DEVICE_SCALE_SHIFT) {
        op->weight = op->bias = NULL;
        return;
    }
    op->weight =
        own(plan, op->weight,
            is_conv ? outputs * (inputs / op->groups) * op->kernel[0] * op->kernel[1] : outputs, !is_conv);
    op->bias = own(plan, op->bias, outputs, true);
}

static enum cs_status plan_create(int index, const struct csi_device_network *network,
                                  struct csi_device_plan **out, struct cs_error *error)
{
    struct csi_device_plan *plan;

    if (reference_faults.plan_create != CS_OK)
        return say(error, reference_faults.plan_create, "the device takes no network",
                   network->op_count > 0 ? network->ops[0].name : NULL);
    if (index != 0)
        return say(error, CS_NOT_FOUND, "no device has this index: there is one", NULL);
    plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        abort();
    atomic_fetch_add(&alive, 1);
    plan->network = *network;
    plan->maps = calloc(network->map_count, sizeof *plan->maps);
    plan->ops = calloc(network->op_count, sizeof *plan->ops);
    plan->outputs = calloc(network->output_count, sizeof *plan->outputs);
    plan->owned = calloc(network->map_count + 2 * network->op_count, sizeof *plan->owned);
    if (plan->maps == NULL || plan->ops == NULL || plan->outputs == NULL || plan->owned == NULL)
        abort();
    memcpy(plan->maps, network->maps, network->map_count * sizeof *plan->maps);
    memcpy(plan->ops, network->ops, network->op_count * sizeof *plan->ops);
    memcpy(plan->outputs, network->outputs, network->output_count * sizeof *plan->outputs);
    for (size_t i = 0; i < network->map_count; i++)
        plan->maps[i].constant = own(plan, plan->maps[i].constant, elements(&plan->maps[i]), false);
    for (size_t i = 0; i < network->op_count; i++)
        own_weights(plan, &plan->ops[i]);
    *out = plan;
    return CS_OK;
}

static void run_destroy(struct csi_device_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->plan->network.map_count; i++)
        free(run->data[i]);
    free(run->data);
    free(run->scratch);
    free(run);
    atomic_fetch_sub(&alive, 1);
}

static enum cs_status run_create(const struct csi_device_plan *plan, struct csi_device_run **out,
                                 struct cs_error *error)
{
    struct csi_device_run *run;
    size_t most = 1;

    if (reference_faults.run_create != CS_OK)
        return say(error, reference_faults.run_create, "the device's memory is full", NULL);
    run = calloc(1, sizeof *run);
    if (run == NULL)
        abort();
    atomic_fetch_add(&alive, 1);
    run->plan = plan;
    run->data = calloc(plan->network.map_count, sizeof *run->data);
    if (run->data == NULL)
        abort();
    for (size_t i = 0; i < plan->network.map_count; i++) {
        const struct csi_device_map *map = &plan->maps[i];

        run->data[i] = calloc(elements(map), sizeof(float));
        if (run->data[i] == NULL)
            abort();
        most = most > (area(map) + 1) * 9
                   ? most
                   : (area(map) + 1) * 9; /* before a pool: four times, and odd lines */
    }
    run->scratch = calloc(most, sizeof *run->scratch);
    if (run->scratch == NULL)
        abort();
    *out = run;
    return CS_OK;
}

static void give_back(const struct csi_device_run *run, int32_t index, size_t photo, float *to)
{
    const struct csi_device_map *map = &run->plan->maps[index];
    size_t pitch = (map->channels + 15) / 16 * 16;

    to += photo * area(map) * pitch;
    memset(to, 0, area(map) * pitch * sizeof *to);
    for (size_t c = 0; c < map->channels; c++) {
        for (size_t p = 0; p < area(map); p++)
            to[p * pitch + c] = run->data[index][c * area(map) + p];
    }
}

static enum cs_status run_network(struct csi_device_run *run, const float *input, size_t batch,
                                  float *const *outputs, struct cs_error *error)
{
    const struct csi_device_plan *plan = run->plan;
    const struct csi_device_network *network = &plan->network;
    size_t photo = elements(&plan->maps[network->input]);

    if (reference_faults.run != CS_OK)
        return say(error, reference_faults.run, "the device fell off the bus", NULL);
    if (batch == 0 || batch > network->max_batch)
        return say(error, CS_INTERNAL, "a batch of the wrong size", NULL);
    for (size_t n = 0; n < batch; n++) {
        for (size_t i = 0; i < photo; i++)
            run->data[network->input][i] = stored(network->type, input[n * photo + i]);
        for (size_t k = 0; k < network->op_count; k++) {
            int32_t output = plan->ops[k].output;

            compute(run, &plan->ops[k]);
            for (size_t i = 0; network->type != CSI_DEVICE_FP32 && i < elements(&plan->maps[output]); i++)
                run->data[output][i] = stored(network->type, run->data[output][i]);
        }
        for (size_t k = 0; k < network->output_count; k++)
            give_back(run, plan->outputs[k], n, outputs[k]);
    }
    return CS_OK;
}

/* It writes where it is told in any case. */
static void lend(struct csi_device_run *run, void *memory, size_t bytes)
{
    (void)run;
    (void)memory;
    (void)bytes;
}

const struct csi_device_api *reference_device(void)
{
    static const struct csi_device_api api = {CSI_DEVICE_ABI, info,        plan_create, plan_destroy,
                                              run_create,     run_destroy, lend,        run_network};

    return &api;
}
