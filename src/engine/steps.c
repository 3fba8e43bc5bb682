/*
 * What all steps share: cutting work into pieces, finishing passes (late activation, residual, padding
 * channels), shape texts.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

size_t csi_piece_count(const struct csi_run *run, size_t total, size_t grain)
{
    size_t threads = run->pool == NULL ? 1 : csi_pool_threads(run->pool);
    size_t most = (total + grain - 1) / grain;

    /* A few pieces a thread, so that one that was interrupted does not hold up the others. */
    return threads == 1 ? 1 : csi_max_size(1, csi_min_size(most, 4 * threads));
}

struct csi_range csi_piece(size_t total, size_t pieces, size_t index)
{
    size_t first = total / pieces * index + csi_min_size(index, total % pieces);

    return (struct csi_range){first, total / pieces + (index < total % pieces ? 1 : 0)};
}

void csi_run_pieces(const struct csi_step *step, const struct csi_run *run, size_t units, size_t grain,
                    void (*piece)(void *job, size_t index, unsigned worker))
{
    struct csi_job job = {step, run, units, csi_piece_count(run, units, grain)};

    csi_pool_run(run->pool, job.pieces, piece, &job);
}

void csi_zero_tail(float *out, size_t pixels, size_t channels, size_t pitch)
{
    if (channels == pitch)
        return;
    for (size_t p = 0; p < pixels; p++)
        memset(out + p * pitch + channels, 0, (pitch - channels) * sizeof *out);
}

void csi_finish_pixels(const struct csi_step *step, const struct csi_kernels *kernels, float *out,
                       const float *residual, size_t pixels, const struct csi_slot *slot)
{
    const float low = -INFINITY, high = INFINITY;

    if (step->residual_pass && !step->residual_after)
        kernels->arith(CSI_ARITH_ADD, out, residual, slot->pitch, 1, out, pixels, slot->pitch, slot->pitch,
                       low, high);
    if (step->act_pass)
        kernels->activate(&step->act, out, out, pixels * slot->pitch);
    if (step->residual_pass && step->residual_after)
        kernels->arith(CSI_ARITH_ADD, out, residual, slot->pitch, 1, out, pixels, slot->pitch, slot->pitch,
                       low, high);
    if (step->tail_pass)
        csi_zero_tail(out, pixels, slot->shape.channels, slot->pitch);
}

struct finish_job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t pixels, pieces;
};

static void finish_piece(void *context, size_t index, unsigned worker)
{
    const struct finish_job *job = context;
    const struct csi_slot *slot = &job->run->plan->slots[job->step->output];
    struct csi_range range = csi_piece(job->pixels, job->pieces, index);
    size_t at = range.first * slot->pitch;

    (void)worker;
    csi_finish_pixels(job->step, job->run->plan->kernels, csi_slot_data(job->run, job->step->output) + at,
                      job->step->residual >= 0 ? csi_slot_data(job->run, job->step->residual) + at : NULL,
                      range.count, slot);
}

void csi_finish_output(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_slot *slot = &run->plan->slots[step->output];
    struct finish_job job = {step, run, run->batch * slot->shape.height * slot->shape.width, 0};

    if (!step->residual_pass && !step->act_pass && !step->tail_pass)
        return;
    job.pieces = csi_piece_count(run, job.pixels, 1 + 16384 / slot->pitch);
    csi_pool_run(run->pool, job.pieces, finish_piece, &job);
}

enum cs_status csi_check_bytes(const struct csi_step *step, const char *what, size_t count, size_t bytes,
                               struct cs_error *error)
{
    size_t all;
    bool fits = !csi_mul_overflows(count, bytes, &all);

    if (fits && all <= CSI_PLAN_MAX_BYTES)
        return CS_OK;
    return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': %s takes %s%zu bytes for a photo, more than %zu",
                    step->name, what, fits ? "" : "at least ", fits ? all : SIZE_MAX, CSI_PLAN_MAX_BYTES);
}

void csi_describe_shapes(char *text, size_t size, const struct csi_shape *in, const struct csi_shape *out)
{
    snprintf(text, size, "%zux%zux%zu -> %zux%zux%zu", in->channels, in->height, in->width, out->channels,
             out->height, out->width);
}
