/*
 * Steps that work value by value: activations, scale and shift, arithmetic with broadcasting, quantisation
 * marks, softmax.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

static size_t pixels_of(const struct csi_run *run, int slot)
{
    const struct csi_shape *shape = &run->plan->slots[slot].shape;

    return run->batch * shape->height * shape->width;
}

/* ---- one input ---- */

static void unary_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_kernels *kernels = job->run->plan->kernels;
    const struct csi_slot *slot = &job->run->plan->slots[step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    const float *in = csi_slot_data(job->run, step->inputs[0]) + range.first * slot->pitch;
    float *out = csi_slot_data(job->run, step->output) + range.first * slot->pitch;

    (void)worker;
    if (step->u.scale.scale != NULL)
        kernels->scale_shift(in, step->u.scale.scale, step->u.scale.shift, out, range.count, slot->pitch,
                             step->low, step->high);
    else
        kernels->activate(&step->act, in, out, range.count * slot->pitch);
    csi_finish_pixels(step, kernels, out, NULL, range.count, slot);
}

static enum cs_status run_unary(const struct csi_step *step, const struct csi_run *run)
{
    csi_run_pieces(step, run, pixels_of(run, step->output), 1 + 8192 / run->plan->slots[step->output].pitch,
                   unary_piece);
    return CS_OK;
}

static enum cs_status make_scale(struct csi_plan *plan, const struct csi_ir_node *node, struct csi_step *step,
                                 size_t channels, struct cs_error *error)
{
    float *scale = csi_plan_alloc(plan, csi_pitch(channels) * sizeof *scale);
    float *shift = csi_plan_alloc(plan, csi_pitch(channels) * sizeof *shift);

    if (scale == NULL || shift == NULL)
        return csi_fail_memory(error, "scale and shift");
    memcpy(scale, node->weight, channels * sizeof *scale);
    memcpy(shift, node->bias, channels * sizeof *shift);
    step->u.scale = (struct csi_scale_step){scale, shift};
    step->run = run_unary;
    snprintf(step->algorithm, sizeof step->algorithm, "scale_shift_%s", plan->kernels->name);
    return CS_OK;
}

/* ---- two inputs ---- */

/* One row of pixels of one photo. The vector kernel where the other operand has all channels or one; plain C
 * otherwise. */
static void arith_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_arith_step *p = &step->u.arith;
    const struct csi_run *run = job->run;
    const struct csi_slot *out = &run->plan->slots[step->output], *a = &run->plan->slots[step->inputs[0]];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    const float *first = csi_slot_data(run, step->inputs[0]);
    const float *second = p->constant != NULL ? p->constant : csi_slot_data(run, step->inputs[1]);
    size_t second_photo = p->constant != NULL ? 0 : p->shape.height * p->shape.width * p->pitch;
    size_t width = out->shape.width, channels = out->shape.channels;
    bool full =
        a->shape.channels == channels && a->shape.height == out->shape.height && a->shape.width == width;

    (void)worker;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        size_t photo = i / out->shape.height, y = i % out->shape.height;
        const float *x =
            first + photo * a->photo + (a->shape.height == 1 ? 0 : y * a->shape.width * a->pitch);
        const float *b =
            second + photo * second_photo + (p->shape.height == 1 ? 0 : y * p->shape.width * p->pitch);
        float *to = csi_slot_data(run, step->output) + i * width * out->pitch;

        if (full && !p->swapped && (p->shape.channels == channels || p->shape.channels == 1)) {
            run->plan->kernels->arith(p->op, x, b, p->shape.width == 1 ? 0 : p->pitch,
                                      p->shape.channels == 1 ? 0 : 1, to, width, out->pitch, out->pitch,
                                      step->low, step->high);
        } else {
            for (size_t j = 0; j < width * channels; j++) {
                size_t w = j / channels, c = j % channels;
                float u = x[(a->shape.width == 1 ? 0 : w * a->pitch) + (a->shape.channels == 1 ? 0 : c)];
                float v = b[(p->shape.width == 1 ? 0 : w * p->pitch) + (p->shape.channels == 1 ? 0 : c)];
                float l = p->swapped ? v : u, r = p->swapped ? u : v, z = 0.0f;

                switch (p->op) {
                case CSI_ARITH_ADD: z = l + r; break;
                case CSI_ARITH_SUB: z = l - r; break;
                case CSI_ARITH_MUL: z = l * r; break;
                case CSI_ARITH_DIV: z = l / r; break;
                }
                to[w * out->pitch + c] = z < step->low ? step->low : z > step->high ? step->high : z;
            }
        }
        csi_finish_pixels(step, run->plan->kernels, to, NULL, width, out);
        csi_zero_tail(to, width, channels, out->pitch); /* x + 1 and 0 / 0 are not zero */
    }
}

static enum cs_status run_arith(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *out = &run->plan->slots[step->output];

    csi_run_pieces(step, run, run->batch * out->shape.height, 1 + 8192 / (out->shape.width * out->pitch),
                   arith_piece);
    return CS_OK;
}

/* A constant of any rank against an output of rank `rank`, as NHWC with broadcast dimensions left at 1. */
static enum cs_status take_constant(struct csi_plan *plan, const struct csi_value *value, unsigned rank,
                                    struct csi_arith_step *p, struct cs_error *error)
{
    struct csi_value aligned = *value;
    float *data;

    if (!csi_align_constant(&aligned, rank, &p->shape))
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' cannot be broadcast", value->name);
    p->pitch = csi_pitch(p->shape.channels);
    data = csi_plan_alloc(plan, p->shape.height * p->shape.width * p->pitch * sizeof *data);
    if (data == NULL)
        return csi_fail_memory(error, "constants");
    for (size_t c = 0; c < p->shape.channels; c++) {
        for (size_t i = 0; i < p->shape.height * p->shape.width; i++)
            data[i * p->pitch + c] = value->data[c * p->shape.height * p->shape.width + i];
    }
    p->constant = data;
    return CS_OK;
}

static bool smaller(const struct csi_shape *a, const struct csi_shape *b)
{
    return a->channels * a->height * a->width < b->channels * b->height * b->width;
}

static enum cs_status make_arith(struct csi_plan *plan, const struct csi_ir *ir,
                                 const struct csi_ir_node *node, struct csi_step *step,
                                 struct cs_error *error)
{
    static const enum csi_arith ops[] = {CSI_ARITH_ADD, CSI_ARITH_SUB, CSI_ARITH_MUL, CSI_ARITH_DIV};
    struct csi_arith_step *p = &step->u.arith;
    const struct csi_graph *graph = ir->graph;
    bool constant0 = ir->values[node->inputs[0]].constant, constant1 = ir->values[node->inputs[1]].constant;
    bool commutes = node->op == CSI_OP_ADD || node->op == CSI_OP_MUL;
    bool swap = constant0 || (!constant1 && smaller(&ir->values[node->inputs[0]].shape,
                                                    &ir->values[node->inputs[1]].shape));

    p->op = ops[node->op - CSI_OP_ADD];
    step->inputs[0] = node->inputs[swap ? 1 : 0];
    step->inputs[1] = node->inputs[swap ? 0 : 1];
    p->swapped = swap && !commutes;
    step->input_count = 2;
    if (constant0 || constant1) {
        const struct csi_value *value = &graph->values[step->inputs[1]];
        enum cs_status status = take_constant(plan, value, graph->values[node->output].rank, p, error);

        if (status != CS_OK)
            return status;
        step->input_count = 1;
    } else {
        p->shape = ir->values[step->inputs[1]].shape;
        p->pitch = csi_pitch(p->shape.channels);
    }
    step->run = run_arith;
    snprintf(step->algorithm, sizeof step->algorithm, "%s_%s", csi_op_name(node->op), plan->kernels->name);
    return CS_OK;
}

/* ---- quantisation marks, softmax: rare, plain C ---- */

static void quantize_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_quantize_step *q = &job->step->u.quantize;
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    const float *in = csi_slot_data(job->run, job->step->inputs[0]);
    float *out = csi_slot_data(job->run, job->step->output);

    (void)worker;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        float level = nearbyintf(in[i] / q->scale) + q->zero;

        level = level < q->low ? q->low : level > q->high ? q->high : level;
        out[i] = (level - q->zero) * q->scale;
    }
}

static enum cs_status run_quantize(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *slot = &run->plan->slots[step->output];

    csi_run_pieces(step, run, run->batch * slot->photo, 4096, quantize_piece);
    return CS_OK;
}

static enum cs_status run_softmax(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *slot = &run->plan->slots[step->output];

    for (size_t n = 0; n < run->batch; n++) {
        const float *in = csi_slot_data(run, step->inputs[0]) + n * slot->photo;
        float *out = csi_slot_data(run, step->output) + n * slot->photo, most = -INFINITY;
        double sum = 0.0;

        for (size_t c = 0; c < slot->shape.channels; c++)
            most = in[c] > most ? in[c] : most;
        for (size_t c = 0; c < slot->shape.channels; c++)
            sum += exp((double)in[c] - (double)most);
        for (size_t c = 0; c < slot->shape.channels; c++)
            out[c] = (float)(exp((double)in[c] - (double)most) / sum);
        csi_zero_tail(out, 1, slot->shape.channels, slot->pitch);
    }
    return CS_OK;
}

enum cs_status csi_step_elementwise(struct csi_plan *plan, const struct csi_ir *ir,
                                    const struct csi_ir_node *node, struct csi_step *step,
                                    struct cs_error *error)
{
    const struct csi_node *from = node->source;

    switch (node->op) {
    case CSI_OP_ACTIVATION:
        step->run = run_unary;
        snprintf(step->algorithm, sizeof step->algorithm, "activation_%s", plan->kernels->name);
        return CS_OK;
    case CSI_OP_BATCH_NORM:
        step->act_pass = !csi_act_as_clamp(&node->act, &step->low, &step->high);
        return make_scale(plan, node, step, ir->values[node->output].shape.channels, error);
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV:
        step->act_pass = !csi_act_as_clamp(&node->act, &step->low, &step->high);
        return make_arith(plan, ir, node, step, error);
    case CSI_OP_QUANTIZE:
        step->u.quantize =
            (struct csi_quantize_step){from->scale, (float)from->zero_point, from->alpha, from->beta};
        step->run = run_quantize;
        snprintf(step->algorithm, sizeof step->algorithm, "quantize_generic");
        return CS_OK;
    default:
        step->run = run_softmax;
        snprintf(step->algorithm, sizeof step->algorithm, "softmax_generic");
        return CS_OK;
    }
}
