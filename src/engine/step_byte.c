/*
 * Steps on maps of bytes but convolution: conversions, depthwise convolution, max-pool, addition, global
 * average. Also what all byte steps share: weights to levels, the clamp of an output.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

#define MAX_WINDOW_ROWS 256u

void csi_byte_bounds(const struct csi_slot *out, float *low, float *high)
{
    const float least = (float)(0 - out->scale.zero) * out->scale.scale;
    const float most = (float)(255 - out->scale.zero) * out->scale.scale;

    if (!out->bytes)
        return;
    /* each bound inside the range: a clip may lie beside it as a whole */
    *low = fminf(fmaxf(*low, least), most);
    *high = fmaxf(fminf(*high, most), least);
}

/* One output channel: symmetric, the largest weight is ±127, unless the file says what its levels were. */
static float scale_of(const float *weight, size_t count, const float *stated)
{
    float most = 0.0f;

    if (stated != NULL)
        return *stated;
    for (size_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(weight[i]));
    return most / 127.0f > 0.0f ? most / 127.0f : 1.0f; /* the least numbers have no 127th part */
}

bool csi_byte_levels(const struct csi_ir *ir, const struct csi_ir_node *node, int8_t **levels, float **scales)
{
    size_t outputs = ir->values[node->output].shape.channels;
    size_t inputs = ir->values[node->inputs[0]].shape.channels / node->groups;
    size_t window = (size_t)node->kernel[0] * node->kernel[1], count = inputs * window;

    *levels = calloc(outputs, count);
    *scales = malloc(outputs * sizeof **scales);
    if (*levels == NULL || *scales == NULL) {
        free(*levels);
        free(*scales);
        return false;
    }
    for (size_t o = 0; o < outputs; o++) {
        const float *weight = node->weight + o * count;
        float scale = scale_of(weight, count, node->weight_scales == NULL ? NULL : &node->weight_scales[o]);

        (*scales)[o] = scale;
        for (size_t i = 0; i < count; i++) {
            float level = fminf(fmaxf(nearbyintf(weight[i] / scale), -128.0f), 127.0f); /* no NaN comes out */

            (*levels)[o * count + i % window * inputs + i / window] = (int8_t)level;
        }
    }
    return true;
}

const float *csi_byte_correction(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    const struct csi_value *correction =
        csi_graph_find_extra(ir->graph, csi_byte_correction_name(ir->graph, node->source).text);

    return correction != NULL && csi_value_elements(correction) == ir->values[node->output].shape.channels
               ? correction->data
               : NULL;
}

struct csi_layer_name csi_byte_correction_name(const struct csi_graph *graph, const struct csi_node *layer)
{
    enum { LENGTH = 100 };
    struct csi_layer_name name;
    bool alone = true;

    for (size_t i = 0; i < graph->node_count && alone; i++) {
        const struct csi_node *other = &graph->nodes[i];

        alone = other == layer || (other->op != CSI_OP_CONV && other->op != CSI_OP_LINEAR) ||
                strncmp(other->name, layer->name, LENGTH) != 0;
    }
    if (alone)
        snprintf(name.text, sizeof name.text, "int8.correction.%.*s", LENGTH, layer->name);
    else
        snprintf(name.text, sizeof name.text, "int8.correction.%.*s.%zu", LENGTH - 12, layer->name,
                 (size_t)(layer - graph->nodes));
    return name;
}

/* ---- conversions ---- */

static void convert_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_run *run = job->run;
    const struct csi_kernels *kernels = run->plan->kernels;
    const struct csi_slot *slot = &run->plan->slots[job->step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    size_t at = range.first * slot->pitch, count = range.count * slot->pitch;
    int in = job->step->inputs[0], out = job->step->output;

    (void)worker;
    if (slot->bytes) {
        kernels->quantize(csi_slot_data(run, in) + at, slot->scale, csi_slot_bytes(run, out) + at, count);
        return;
    }
    kernels->dequantize(csi_slot_bytes(run, in) + at, run->plan->slots[in].scale,
                        csi_slot_data(run, out) + at, count);
    csi_zero_tail(csi_slot_data(run, out) + at, range.count, slot->shape.channels, slot->pitch);
}

static enum cs_status run_convert(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *slot = &run->plan->slots[step->output];

    csi_run_pieces(step, run, run->batch * slot->shape.height * slot->shape.width, 1 + 16384 / slot->pitch,
                   convert_piece);
    return CS_OK;
}

/* ---- addition ---- */

static void add_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_run *run = job->run;
    const struct csi_slot *a = &run->plan->slots[step->inputs[0]], *b = &run->plan->slots[step->inputs[1]],
                          *out = &run->plan->slots[step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    size_t at = range.first * out->pitch;

    (void)worker;
    run->plan->kernels->byte_add(&(struct csi_byte_add){
        .a = csi_slot_bytes(run, step->inputs[0]) + at,
        .b = csi_slot_bytes(run, step->inputs[1]) + at,
        .a_scale = a->scale,
        .b_scale = b->scale,
        .low = step->low,
        .high = step->high,
        .out = csi_slot_bytes(run, step->output) + at,
        .inverse = 1.0f / out->scale.scale,
        .zero = out->scale.zero,
        .count = range.count * out->pitch,
    });
}

static enum cs_status run_add(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *slot = &run->plan->slots[step->output];

    csi_run_pieces(step, run, run->batch * slot->shape.height * slot->shape.width, 1 + 16384 / slot->pitch,
                   add_piece);
    return CS_OK;
}

/* ---- max-pool ---- */

static void pool_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_pool_step *p = &job->step->u.pool;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[job->step->inputs[0]],
                          *out = &run->plan->slots[job->step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    const uint8_t *lines[MAX_WINDOW_ROWS];
    struct csi_byte_pool_row row = {
        .in = lines,
        .in_width = in->shape.width,
        .in_pitch = in->pitch,
        .out_pitch = out->pitch,
        .channels = in->pitch,
        .kernel_width = p->kernel[1],
        .stride = p->stride[1],
        .dilation = p->dilation[1],
        .pad_left = p->pads[1],
        .out_width = out->shape.width,
    };

    (void)worker;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        size_t photo = i / out->shape.height, y = i % out->shape.height;
        const uint8_t *input = csi_slot_bytes(run, job->step->inputs[0]) + photo * in->photo * sizeof(float);

        row.rows = 0;
        for (size_t ky = 0; ky < p->kernel[0]; ky++) {
            size_t line = y * p->stride[0] + ky * p->dilation[0]; /* in the padded input */

            if (line >= p->pads[0] && line - p->pads[0] < in->shape.height)
                lines[row.rows++] = input + (line - p->pads[0]) * in->shape.width * in->pitch;
        }
        row.out = csi_slot_bytes(run, job->step->output) + i * out->shape.width * out->pitch;
        run->plan->kernels->byte_max_pool_row(&row);
    }
}

static enum cs_status run_pool(const struct csi_step *step, const struct csi_run *run)
{
    csi_run_pieces(step, run, run->batch * run->plan->slots[step->output].shape.height, 2, pool_piece);
    return CS_OK;
}

/* ---- global average ---- */

static void average_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[job->step->inputs[0]],
                          *out = &run->plan->slots[job->step->output];

    (void)worker;
    run->plan->kernels->byte_global_average(
        csi_slot_bytes(run, job->step->inputs[0]) + index * in->photo * sizeof(float),
        in->shape.height * in->shape.width, in->pitch, in->pitch, in->scale,
        csi_slot_data(run, job->step->output) + index * out->photo);
    csi_zero_tail(csi_slot_data(run, job->step->output) + index * out->photo, 1, out->shape.channels,
                  out->pitch);
}

static enum cs_status run_average(const struct csi_step *step, const struct csi_run *run)
{
    struct csi_job job = {step, run, run->batch, run->batch};

    csi_pool_run(run->pool, run->batch, average_piece, &job);
    return CS_OK;
}

/* ---- depthwise ---- */

static void depthwise_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_byte_depthwise_step *p = &step->u.byte_depthwise;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    const uint8_t *lines[64];
    struct csi_byte_depthwise_row row = {
        .in = lines,
        .in_width = in->shape.width,
        .pitch = in->pitch,
        .kernel_height = p->kernel[0],
        .kernel_width = p->kernel[1],
        .stride = p->stride[1],
        .dilation = p->dilation[1],
        .pad_left = p->pads[1],
        .zero_in = p->in.zero,
        .weights = p->weights,
        .scale = p->scale,
        .bias = p->bias,
        .low = step->low,
        .high = step->high,
        .out_width = out->shape.width,
        .inverse = 1.0f / p->out.scale,
        .zero = p->out.zero,
    };

    (void)worker;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        size_t photo = i / out->shape.height, y = i % out->shape.height;
        const uint8_t *input = csi_slot_bytes(run, step->inputs[0]) + photo * in->photo * sizeof(float);
        size_t at = i * out->shape.width * out->pitch;

        for (size_t ky = 0; ky < p->kernel[0]; ky++) {
            size_t line = y * p->stride[0] + ky * p->dilation[0]; /* in the padded input */

            lines[ky] = line >= p->pads[0] && line - p->pads[0] < in->shape.height
                            ? input + (line - p->pads[0]) * in->shape.width * in->pitch
                            : NULL;
        }
        if (out->bytes)
            row.out_bytes = csi_slot_bytes(run, step->output) + at;
        else
            row.out_floats = csi_slot_data(run, step->output) + at;
        run->plan->kernels->byte_depthwise_row(&row);
        if (step->tail_pass && !out->bytes)
            csi_zero_tail(row.out_floats, out->shape.width, out->shape.channels, out->pitch);
    }
}

static enum cs_status run_depthwise(const struct csi_step *step, const struct csi_run *run)
{
    csi_run_pieces(step, run, run->batch * run->plan->slots[step->output].shape.height, 2, depthwise_piece);
    return CS_OK;
}

static enum cs_status make_depthwise(struct csi_plan *plan, const struct csi_ir *ir,
                                     const struct csi_ir_node *node, struct csi_step *step,
                                     struct cs_error *error)
{
    struct csi_byte_depthwise_step *p = &step->u.byte_depthwise;
    size_t channels = ir->values[node->output].shape.channels, pitch = csi_pitch(channels);
    size_t taps = (size_t)node->kernel[0] * node->kernel[1];
    float *weights = csi_plan_alloc(plan, taps * pitch * sizeof *weights);
    float *scale = csi_plan_alloc(plan, pitch * sizeof *scale);
    float *bias = csi_plan_alloc(plan, pitch * sizeof *bias);
    const float *correction = csi_byte_correction(ir, node);
    float *scales;
    int8_t *levels;

    if (weights == NULL || scale == NULL || bias == NULL || !csi_byte_levels(ir, node, &levels, &scales))
        return csi_fail_memory(error, "packed weights");
    p->in = plan->slots[node->inputs[0]].scale;
    p->out =
        plan->slots[node->output].bytes ? plan->slots[node->output].scale : (struct csi_byte_scale){1.0f, 0};
    for (size_t c = 0; c < channels; c++) {
        for (size_t t = 0; t < taps; t++)
            weights[t * pitch + c] = (float)levels[c * taps + t];
        scale[c] = p->in.scale * scales[c];
        bias[c] = (node->bias == NULL ? 0.0f : node->bias[c]) + (correction == NULL ? 0.0f : correction[c]);
    }
    free(levels);
    free(scales);
    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    p->weights = weights;
    p->scale = scale;
    p->bias = bias;
    csi_act_as_clamp(&node->act, &step->low, &step->high);
    csi_byte_bounds(&plan->slots[node->output], &step->low, &step->high);
    step->run = run_depthwise;
    snprintf(step->algorithm, sizeof step->algorithm, "depthwise%ux%u_int8_%s", node->kernel[0],
             node->kernel[1], plan->kernels->name);
    return CS_OK;
}

/* ---- which ---- */

static enum cs_status make_pool(struct csi_plan *plan, const struct csi_ir_node *node, struct csi_step *step,
                                struct cs_error *error)
{
    struct csi_pool_step *p = &step->u.pool;

    if (node->kernel[0] > MAX_WINDOW_ROWS)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': a pooling window of %u rows is too large",
                        step->name, node->kernel[0]);
    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    step->run = run_pool;
    snprintf(step->algorithm, sizeof step->algorithm, "max_pool%ux%u_int8_%s", p->kernel[0], p->kernel[1],
             plan->kernels->name);
    return CS_OK;
}

enum cs_status csi_step_byte(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error)
{
    const struct csi_slot *out = &plan->slots[node->output];

    switch (node->op) {
    case CSI_OP_CONV:
        plan->has_fixed_point = true;
        return csi_ir_is_depthwise(ir, node) ? make_depthwise(plan, ir, node, step, error)
                                             : csi_step_byte_conv(plan, ir, node, step, error);
    case CSI_OP_MAX_POOL: return make_pool(plan, node, step, error);
    case CSI_OP_ADD:
        csi_act_as_clamp(&node->act, &step->low, &step->high);
        csi_byte_bounds(out, &step->low, &step->high);
        step->run = run_add;
        snprintf(step->algorithm, sizeof step->algorithm, "add_int8_%s", plan->kernels->name);
        return CS_OK;
    case CSI_OP_GLOBAL_AVG_POOL:
        step->run = run_average;
        snprintf(step->algorithm, sizeof step->algorithm, "global_average_int8_%s", plan->kernels->name);
        return CS_OK;
    default:
        step->run = run_convert;
        snprintf(step->algorithm, sizeof step->algorithm, "%s_%s", out->bytes ? "quantize" : "dequantize",
                 plan->kernels->name);
        return CS_OK;
    }
}
