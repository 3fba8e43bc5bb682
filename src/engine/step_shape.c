/*
 * Steps that only move numbers: the photo into NHWCp, concatenation, padding, flattening and reshaping of
 * maps.
 */
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

/* ---- photo: NCHW -> NHWCp ---- */

static void pack_photo(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_slot *out = &job->run->plan->slots[job->step->output];
    size_t pixels = out->shape.height * out->shape.width;

    (void)worker;
    job->run->plan->kernels->pack_nchw(
        job->run->input + index * pixels * out->shape.channels, out->shape.channels, pixels,
        csi_slot_data(job->run, job->step->output) + index * out->photo, out->pitch);
}

static enum cs_status run_pack_input(const struct csi_step *step, const struct csi_run *run)
{
    struct csi_job job = {step, run, run->batch, run->batch};

    csi_pool_run(run->pool, run->batch, pack_photo, &job);
    return CS_OK;
}

enum cs_status csi_step_pack_input(struct csi_plan *plan, struct csi_step *step, struct cs_error *error)
{
    (void)error;
    step->output = plan->input_slot;
    step->residual = -1;
    step->reads_photo = true;
    step->run = run_pack_input;
    snprintf(step->name, sizeof step->name, "input");
    snprintf(step->algorithm, sizeof step->algorithm, "pack_%s", plan->kernels->name);
    return CS_OK;
}

/* ---- concatenation ---- */

static void concat_piece(void *context, size_t index, unsigned worker)
{
    const struct csi_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_slot *out = &job->run->plan->slots[step->output];
    struct csi_range range = csi_piece(job->units, job->pieces, index);
    float *to = csi_slot_data(job->run, step->output) + range.first * out->pitch;
    size_t channel = 0;

    (void)worker;
    for (unsigned k = 0; k < step->input_count; k++) {
        const struct csi_slot *in = &job->run->plan->slots[step->inputs[k]];
        const float *from = csi_slot_data(job->run, step->inputs[k]) + range.first * in->pitch;

        for (size_t p = 0; p < range.count; p++)
            memcpy(to + p * out->pitch + channel, from + p * in->pitch, in->shape.channels * sizeof *to);
        channel += in->shape.channels;
    }
    csi_zero_tail(to, range.count, out->shape.channels, out->pitch);
}

static enum cs_status run_concat(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *out = &run->plan->slots[step->output];

    csi_run_pieces(step, run, run->batch * out->shape.height * out->shape.width, 1 + 8192 / out->pitch,
                   concat_piece);
    return CS_OK;
}

/* ---- padding ---- */

static enum cs_status run_pad(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    size_t line = in->shape.width * in->pitch;

    for (size_t n = 0; n < run->batch; n++) {
        const float *from = csi_slot_data(run, step->inputs[0]) + n * in->photo;
        float *to = csi_slot_data(run, step->output) + n * out->photo;

        memset(to, 0, out->photo * sizeof *to);
        for (size_t y = 0; y < in->shape.height; y++)
            memcpy(to + ((y + step->u.pads[0]) * out->shape.width + step->u.pads[1]) * out->pitch,
                   from + y * line, line * sizeof *to);
    }
    return CS_OK;
}

/* ---- reshape: the numbers in NCHW order stay, their places change ---- */

static size_t place(const struct csi_slot *slot, size_t index)
{
    size_t plane = slot->shape.height * slot->shape.width;

    return index % plane * slot->pitch + index / plane;
}

static enum cs_status run_reshape(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    size_t count = out->shape.channels * out->shape.height * out->shape.width;

    for (size_t n = 0; n < run->batch; n++) {
        const float *from = csi_slot_data(run, step->inputs[0]) + n * in->photo;
        float *to = csi_slot_data(run, step->output) + n * out->photo;

        for (size_t i = 0; i < count; i++)
            to[place(out, i)] = from[place(in, i)];
        csi_zero_tail(to, out->shape.height * out->shape.width, out->shape.channels, out->pitch);
    }
    return CS_OK;
}

enum cs_status csi_step_shape(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                              struct csi_step *step, struct cs_error *error)
{
    (void)plan;
    (void)ir;
    (void)error;
    switch (node->op) {
    case CSI_OP_CONCAT: step->run = run_concat; break;
    case CSI_OP_PAD:
        step->run = run_pad;
        memcpy(step->u.pads, node->pads, sizeof step->u.pads);
        break;
    default: step->run = run_reshape; break;
    }
    snprintf(step->algorithm, sizeof step->algorithm, "%s_generic", csi_op_name(node->op));
    return CS_OK;
}
