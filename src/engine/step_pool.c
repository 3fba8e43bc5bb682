/*
 * Pooling steps: maximum, average, global average.
 */
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

#define MAX_WINDOW_ROWS 256u

struct pool_job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t pieces;
};

static void pool_piece(void *context, size_t index, unsigned worker)
{
    const struct pool_job *job = context;
    const struct csi_pool_step *p = &job->step->u.pool;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[job->step->inputs[0]],
                          *out = &run->plan->slots[job->step->output];
    struct csi_range range = csi_piece(run->batch * out->shape.height, job->pieces, index);
    const float *lines[MAX_WINDOW_ROWS];
    struct csi_pool_row row = {
        .in = lines,
        .in_width = in->shape.width,
        .pitch = in->pitch,
        .kernel_width = p->kernel[1],
        .stride = p->stride[1],
        .dilation = p->dilation[1],
        .pad_left = p->pads[1],
        .out_width = out->shape.width,
        .count_include_pad = p->count_include_pad,
        .padded_width = p->pads[1] + in->shape.width + p->pads[3],
    };

    (void)worker;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        size_t photo = i / out->shape.height, y = i % out->shape.height;
        const float *input = csi_slot_data(run, job->step->inputs[0]) + photo * in->photo;

        row.rows = row.window_rows = 0;
        for (size_t ky = 0; ky < p->kernel[0]; ky++) {
            size_t line = y * p->stride[0] + ky * p->dilation[0]; /* in the padded input */

            if (line < p->pads[0] + in->shape.height + p->pads[2])
                row.window_rows++;
            if (line >= p->pads[0] && line - p->pads[0] < in->shape.height)
                lines[row.rows++] = input + (line - p->pads[0]) * in->shape.width * in->pitch;
        }
        if (!p->count_include_pad)
            row.window_rows = row.rows;
        row.out =
            csi_slot_data(run, job->step->output) + photo * out->photo + y * out->shape.width * out->pitch;
        if (p->average)
            run->plan->kernels->average_pool_row(&row);
        else
            run->plan->kernels->max_pool_row(&row);
    }
}

static enum cs_status run_pool(const struct csi_step *step, const struct csi_run *run)
{
    struct pool_job job = {step, run, 0};

    job.pieces = csi_piece_count(run, run->batch * run->plan->slots[step->output].shape.height, 2);
    csi_pool_run(run->pool, job.pieces, pool_piece, &job);
    return CS_OK;
}

/* A part of one photo: channels of a small map, or pixels of a large one, whose means then wait in scratch.
 * The parts are the same for any number of threads, and so is the sum. */
#define GLOBAL_PARTS 8u

static struct csi_range part_of(const struct csi_slot *in, size_t part)
{
    size_t pixels = in->shape.height * in->shape.width;

    return csi_piece(pixels < CSI_SMALL_MAP ? in->pitch / CSI_PITCH : pixels, GLOBAL_PARTS, part);
}

static void global_piece(void *context, size_t index, unsigned worker)
{
    const struct pool_job *job = context;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[job->step->inputs[0]];
    const struct csi_slot *out = &run->plan->slots[job->step->output];
    struct csi_range range = part_of(in, index % GLOBAL_PARTS);
    size_t photo = index / GLOBAL_PARTS, pixels = in->shape.height * in->shape.width;
    const float *from = csi_slot_data(run, job->step->inputs[0]) + photo * in->photo;

    (void)worker;
    if (pixels < CSI_SMALL_MAP)
        run->plan->kernels->global_average(
            from + range.first * CSI_PITCH, pixels, range.count * CSI_PITCH, in->pitch,
            csi_slot_data(run, job->step->output) + photo * out->photo + range.first * CSI_PITCH);
    else
        run->plan->kernels->global_average(from + range.first * in->pitch, range.count, in->pitch, in->pitch,
                                           run->scratch + index * in->pitch);
}

/* The mean over all from the means of the parts. */
static void join_means(const struct csi_slot *in, const float *means, float *out)
{
    for (size_t c = 0; c < in->pitch; c++)
        out[c] = 0.0f;
    for (size_t part = 0; part < GLOBAL_PARTS; part++) {
        float share = (float)part_of(in, part).count / (float)(in->shape.height * in->shape.width);

        for (size_t c = 0; c < in->pitch; c++)
            out[c] += share * means[part * in->pitch + c];
    }
}

static enum cs_status run_global(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    struct pool_job job = {step, run, 0};
    bool small = run->batch * in->photo < 16384; /* a second thread would cost more than it brings */

    csi_pool_run(small ? NULL : run->pool, run->batch * GLOBAL_PARTS, global_piece, &job);
    for (size_t n = 0; n < run->batch && in->shape.height * in->shape.width >= CSI_SMALL_MAP; n++)
        join_means(in, run->scratch + n * GLOBAL_PARTS * in->pitch,
                   csi_slot_data(run, step->output) + n * out->photo);
    return CS_OK;
}

enum cs_status csi_step_pool(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error)
{
    struct csi_pool_step *p = &step->u.pool;

    if (node->op == CSI_OP_GLOBAL_AVG_POOL) {
        step->scratch_alone = GLOBAL_PARTS * csi_pitch(ir->values[node->inputs[0]].shape.channels);
        step->scratch_floats = plan->max_batch * step->scratch_alone;
        step->run = run_global;
        snprintf(step->algorithm, sizeof step->algorithm, "global_average_%s", plan->kernels->name);
        return CS_OK;
    }
    if (node->kernel[0] > MAX_WINDOW_ROWS)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': a pooling window of %u rows is too large",
                        step->name, node->kernel[0]);
    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    p->average = node->op == CSI_OP_AVG_POOL;
    p->count_include_pad = node->source->count_include_pad;
    step->run = run_pool;
    snprintf(step->algorithm, sizeof step->algorithm, "%s_pool%ux%u_%s", p->average ? "average" : "max",
             p->kernel[0], p->kernel[1], plan->kernels->name);
    return CS_OK;
}
