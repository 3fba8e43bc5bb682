/*
 * Convolution over bytes as implicit matrix product: any kernel, stride, padding and dilation, one group, and
 * linear layers. See csi_byte_conv_step in internal.h.
 *
 * A task's input lines are copied once into its worker's scratch with the padding around them (a byte that
 * stands for 0), because then the inputs of neighbouring outputs lie at one step from each other and the tile
 * needs neither a pointer a pixel nor a branch at the border. Kernels without padding read the map itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

#define PHOTO_CHANNELS 4u
/* Bytes of input that a band may take: with the panel's weights, half a second-level cache. */
#define BAND_BYTES ((size_t)192 << 10)
/* Outputs of a line when the pixels of a map are one long line: a multiple of most sets' tile rows. */
#define LINEAR_LINE 56u
/* Below this many multiply-adds a second thread costs more than it brings. */
#define SERIAL_MACS 250000u
#define LINE_BYTES  ((size_t)64) /* of the caches */
/* Readable bytes behind a copied band: tiles read whole quads. */
#define SLACK 64u

struct job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t lines, bands, splits; /* output lines, bands of a photo (linear: of all photos), panels' shares */
};

/* What a task works on. */
struct task {
    const struct job *job;
    size_t photo, first_line, lines; /* after pooling */
    size_t first_panel, last_panel;
    const uint8_t *input; /* the first tap of the first output of the first (unpooled) line */
    uint8_t *scratch;
};

static size_t rows_of_line(const struct csi_byte_conv_step *p)
{
    return p->pool ? 2 : 1;
}

/* ---- the band's input ---- */

static void copy_line(const struct csi_byte_conv_step *p, const struct csi_slot *in, const uint8_t *from,
                      uint8_t *to)
{
    size_t left = p->pads[1] * p->pixel_bytes, line = in->shape.width * p->pixel_bytes;

    memset(to, p->in.zero, left);
    if (p->pixel_bytes == in->pitch) {
        memcpy(to + left, from, line);
    } else {
        for (size_t x = 0; x < in->shape.width; x++)
            memcpy(to + left + x * p->pixel_bytes, from + x * in->pitch, in->pitch);
    }
    memset(to + left + line, p->in.zero, p->line_bytes - left - line);
}

/* One line of the caller's planes of floats, as bytes side by side. */
static void pack_photo_line(const struct csi_byte_conv_step *p, const struct csi_kernels *kernels,
                            const struct csi_shape *in, const float *from, uint8_t *to)
{
    uint8_t *out = to + p->pads[1] * p->pixel_bytes;
    _Alignas(64) uint8_t bytes[PHOTO_CHANNELS][256];

    memset(to, p->in.zero, p->line_bytes);
    for (size_t x = 0; x < in->width; x += sizeof bytes[0]) {
        size_t count = csi_min_size(in->width - x, sizeof bytes[0]), whole = count / 16 * 16;

        for (size_t c = 0; c < in->channels; c++) {
            const float *line = from + c * in->height * in->width + x;

            kernels->quantize(line, p->in, bytes[c], whole);
            if (whole < count) {
                float rest[16] = {0};

                memcpy(rest, line + whole, (count - whole) * sizeof *rest);
                kernels->quantize(rest, p->in, bytes[c] + whole, 16);
            }
        }
        if (in->channels == 3) {
            for (size_t i = 0; i < count; i++, out += 3) {
                out[0] = bytes[0][i];
                out[1] = bytes[1][i];
                out[2] = bytes[2][i];
            }
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            for (size_t c = 0; c < in->channels; c++)
                *out++ = bytes[c][i];
        }
    }
}

static const uint8_t *take_band(const struct task *task)
{
    const struct csi_step *step = task->job->step;
    const struct csi_run *run = task->job->run;
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]];
    size_t first = task->first_line * rows_of_line(p) * p->stride[0]; /* in the padded input */
    size_t lines =
        (task->lines * rows_of_line(p) - 1) * p->stride[0] + (p->kernel[0] - 1) * p->dilation[0] + 1;

    if (!p->copied)
        return csi_slot_bytes(run, step->inputs[0]) + task->photo * in->photo * sizeof(float) +
               first * p->line_bytes;
    for (size_t y = 0; y < lines; y++) {
        uint8_t *to = task->scratch + y * p->line_bytes;
        size_t line = first + y - p->pads[0]; /* wraps around above the input: huge */

        if (line >= in->shape.height)
            memset(to, p->in.zero, p->line_bytes);
        else if (p->photo)
            pack_photo_line(p, run->plan->kernels, &in->shape,
                            run->input +
                                task->photo * in->shape.channels * in->shape.height * in->shape.width +
                                line * in->shape.width,
                            to);
        else
            copy_line(p, in,
                      csi_slot_bytes(run, step->inputs[0]) + task->photo * in->photo * sizeof(float) +
                          line * in->shape.width * in->pitch,
                      to);
    }
    memset(task->scratch + lines * p->line_bytes, 0, SLACK);
    return task->scratch;
}

/* ---- tiles ---- */

/* Where unpooled line `row` of the task goes, and how. */
static void aim(const struct task *task, size_t row, struct csi_byte_tile *tile)
{
    const struct csi_step *step = task->job->step;
    const struct csi_run *run = task->job->run;
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *out = &run->plan->slots[step->output];
    size_t at = p->linear
                    ? (task->first_line + row) * p->width * out->pitch
                    : ((task->photo * out->shape.height + task->first_line + row) * p->width) * out->pitch;

    tile->out_step = tile->residual_step = out->pitch;
    if (step->residual >= 0 && !step->residual_pass) {
        if (run->plan->slots[step->residual].bytes)
            tile->residual_bytes = csi_slot_bytes(run, step->residual) + at;
        else
            tile->residual_floats = csi_slot_data(run, step->residual) + at;
    }
    if (p->through || p->pool) {
        uint8_t *scratch = task->scratch + p->scratch_output;

        at = row * p->width * out->pitch;
        if (p->through)
            tile->out_floats = (float *)(void *)scratch + at;
        else
            tile->out_bytes = scratch + at;
    } else if (out->bytes) {
        tile->out_bytes = csi_slot_bytes(run, step->output) + at;
    } else {
        tile->out_floats = csi_slot_data(run, step->output) + at;
    }
}

static size_t line_width(const struct task *task, size_t row)
{
    const struct csi_byte_conv_step *p = &task->job->step->u.byte_conv;
    const struct csi_slot *out = &task->job->run->plan->slots[task->job->step->output];

    if (!p->linear)
        return p->width;
    return csi_min_size(p->width, task->job->run->batch * out->shape.height * out->shape.width -
                                      (task->first_line + row) * p->width);
}

static void run_line(const struct task *task, size_t row, size_t panel)
{
    const struct csi_step *step = task->job->step;
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_kernels *kernels = task->job->run->plan->kernels;
    const struct csi_slot *out = &task->job->run->plan->slots[step->output];
    size_t column = panel * kernels->byte_panel, width = line_width(task, row);
    size_t tiles = (width + kernels->byte_rows - 1) / kernels->byte_rows;
    struct csi_byte_tile tile = {
        .width = csi_byte_panel_width(kernels, out->shape.channels, panel),
        .taps = p->taps,
        .quads = p->quads,
        .row_step = p->stride[1] * p->pixel_bytes,
        .offsets = p->offsets,
        .weights = p->weights + panel * p->panel_bytes,
        .start = p->start + column,
        .scale = p->scale + column,
        .bias = p->bias + column,
        .residual = p->residual,
        .low = step->low,
        .high = step->high,
        .inverse = 1.0f / p->out.scale,
        .zero = p->out.zero,
    };
    size_t done = 0;

    aim(task, row, &tile);
    tile.in = task->input + row * (p->linear ? p->width * p->pixel_bytes : p->stride[0] * p->line_bytes);
    for (size_t t = 0; t < tiles; t++) {
        struct csi_byte_tile one = tile;
        size_t at = done * out->pitch + column;

        one.rows = (width - done + tiles - t - 1) / (tiles - t); /* even tiles, no small last one */
        one.in += done * tile.row_step;
        one.out_bytes = tile.out_bytes == NULL ? NULL : tile.out_bytes + at;
        one.out_floats = tile.out_floats == NULL ? NULL : tile.out_floats + at;
        one.residual_bytes = tile.residual_bytes == NULL ? NULL : tile.residual_bytes + at;
        one.residual_floats = tile.residual_floats == NULL ? NULL : tile.residual_floats + at;
        kernels->byte_tile(&one);
        done += one.rows;
    }
}

/* ---- from scratch to the output ---- */

/* The task's channels: first, count. */
static struct csi_range columns_of(const struct task *task)
{
    const struct csi_kernels *kernels = task->job->run->plan->kernels;
    size_t channels = task->job->run->plan->slots[task->job->step->output].shape.channels;
    size_t first = task->first_panel * kernels->byte_panel;

    return (struct csi_range){
        first, csi_min_size(csi_pitch(channels), task->last_panel * kernels->byte_panel) - first};
}

/* 2×2 max-pool of the band. */
static void pool_band(const struct task *task)
{
    const struct csi_step *step = task->job->step;
    const struct csi_run *run = task->job->run;
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *out = &run->plan->slots[step->output];
    struct csi_range columns = columns_of(task);
    size_t line = p->width * out->pitch;

    for (size_t y = 0; y < task->lines; y++) {
        size_t at =
            ((task->photo * out->shape.height + task->first_line + y) * out->shape.width) * out->pitch;
        const uint8_t *bytes = task->scratch + p->scratch_output + 2 * y * line + columns.first;
        const float *floats = (const float *)(const void *)(task->scratch + p->scratch_output) + 2 * y * line;

        if (p->through) {
            run->plan->kernels->max_pool_row(&(struct csi_pool_row){
                .in = (const float *const[]){floats, floats + line},
                .rows = 2,
                .in_width = p->width,
                .pitch = out->pitch,
                .kernel_width = 2,
                .stride = 2,
                .dilation = 1,
                .out = csi_slot_data(run, step->output) + at,
                .out_width = out->shape.width,
            });
            continue;
        }
        run->plan->kernels->byte_max_pool_row(&(struct csi_byte_pool_row){
            .in = (const uint8_t *const[]){bytes, bytes + line},
            .rows = 2,
            .in_width = p->width,
            .in_pitch = out->pitch,
            .out_pitch = out->pitch,
            .channels = columns.count,
            .kernel_width = 2,
            .stride = 2,
            .dilation = 1,
            .out = csi_slot_bytes(run, step->output) + at + columns.first,
            .out_width = out->shape.width,
        });
    }
}

/* An activation that is no clamp, then bytes. */
static void activate_band(const struct task *task)
{
    const struct csi_step *step = task->job->step;
    const struct csi_run *run = task->job->run;
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *out = &run->plan->slots[step->output];
    struct csi_range columns = columns_of(task);
    float *floats = (float *)(void *)(task->scratch + p->scratch_output);

    for (size_t row = 0; row < task->lines; row++) {
        size_t pixel = p->linear ? (task->first_line + row) * p->width
                                 : (task->photo * out->shape.height + task->first_line + row) * p->width;
        size_t width = line_width(task, row);

        if (columns.count == out->pitch) {
            float *line = floats + row * p->width * out->pitch;

            run->plan->kernels->activate(&step->act, line, line, width * out->pitch);
            run->plan->kernels->quantize(line, p->out, csi_slot_bytes(run, step->output) + pixel * out->pitch,
                                         width * out->pitch);
            continue;
        }
        for (size_t x = 0; x < width; x++) {
            float *at = floats + (row * p->width + x) * out->pitch + columns.first;

            run->plan->kernels->activate(&step->act, at, at, columns.count);
            run->plan->kernels->quantize(
                at, p->out, csi_slot_bytes(run, step->output) + (pixel + x) * out->pitch + columns.first,
                columns.count);
        }
    }
}

/* ---- tasks ---- */

static void run_task(void *context, size_t index, unsigned worker)
{
    const struct job *job = context;
    const struct csi_byte_conv_step *p = &job->step->u.byte_conv;
    size_t split = index % job->splits, band = index / job->splits;
    struct csi_range panels = csi_piece(p->panels, job->splits, split);
    struct csi_range lines = csi_piece(job->lines, job->bands, band % job->bands);
    struct task task = {
        .job = job,
        .photo = band / job->bands,
        .first_line = lines.first,
        .lines = lines.count,
        .first_panel = panels.first,
        .last_panel = panels.first + panels.count,
        .scratch = (uint8_t *)(void *)job->run->scratch + worker * p->worker_bytes,
    };

    task.input = p->linear ? csi_slot_bytes(job->run, job->step->inputs[0]) +
                                 task.first_line * p->width * p->pixel_bytes
                           : take_band(&task);
    for (size_t panel = task.first_panel; panel < task.last_panel; panel++) {
        for (size_t row = 0; row < task.lines * rows_of_line(p); row++)
            run_line(&task, row, panel);
    }
    job->run->plan->kernels->byte_release();
    if (p->pool)
        pool_band(&task);
    else if (p->through)
        activate_band(&task);
}

static enum cs_status run_byte_conv(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_shape *out = &run->plan->slots[step->output].shape;
    struct job job = {.step = step, .run = run, .lines = out->height, .splits = p->splits};
    size_t photos = run->batch;

    if (p->linear) {
        photos = 1;
        job.lines = (run->batch * out->height * out->width + p->width - 1) / p->width;
    }
    job.bands = (job.lines + p->band - 1) / p->band;
    if (csi_pool_threads(run->pool) == 1)
        job.splits = 1;
    csi_pool_run(run->pool, photos * job.bands * job.splits, run_task, &job);
    if (!run->plan->slots[step->output].bytes)
        csi_finish_output(step, run);
    return CS_OK;
}

/* ---- compile ---- */

static enum cs_status pack(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                           struct csi_step *step, struct cs_error *error)
{
    struct csi_byte_conv_step *p = &step->u.byte_conv;
    size_t inputs = ir->values[node->inputs[0]].shape.channels,
           outputs = ir->values[node->output].shape.channels;
    size_t window = (size_t)node->kernel[0] * node->kernel[1], depth = inputs * window / p->taps;
    const float *correction = csi_byte_correction(ir, node);
    int8_t *levels, *packed;
    float *scales, *scale, *bias;
    int32_t *start;

    p->panels = csi_byte_panel_count(plan->kernels, outputs);
    p->panel_bytes = p->taps * p->quads * 4 * plan->kernels->byte_panel;
    packed = csi_plan_alloc_packed(plan, p->panels * p->panel_bytes);
    scale = csi_plan_alloc(plan, csi_pitch(outputs) * sizeof *scale);
    bias = csi_plan_alloc(plan, csi_pitch(outputs) * sizeof *bias);
    start = csi_plan_alloc(plan, csi_pitch(outputs) * sizeof *start);
    if (packed == NULL || scale == NULL || bias == NULL || start == NULL ||
        !csi_byte_levels(ir, node, &levels, &scales))
        return csi_fail_memory(error, "packed weights");
    for (size_t o = 0; o < outputs; o++) {
        int32_t sum = 0;

        for (size_t i = 0; i < inputs * window; i++)
            sum += levels[o * inputs * window + i];
        start[o] = (plan->kernels->byte_offset - p->in.zero) * sum;
        scale[o] = p->in.scale * scales[o];
        bias[o] = (node->bias == NULL ? 0.0f : node->bias[o]) + (correction == NULL ? 0.0f : correction[o]);
    }
    for (size_t panel = 0; panel < p->panels; panel++)
        csi_pack_byte_panel(
            plan->kernels,
            &(struct csi_byte_source){levels, outputs, p->taps, depth, p->quads, inputs * window, depth, 1},
            panel, packed + panel * p->panel_bytes);
    free(levels);
    free(scales);
    p->weights = packed;
    p->scale = scale;
    p->bias = bias;
    p->start = start;
    return CS_OK;
}

static enum cs_status make_offsets(struct csi_plan *plan, struct csi_byte_conv_step *p,
                                   struct cs_error *error)
{
    size_t *offsets = csi_plan_alloc(plan, p->taps * sizeof *offsets);

    if (offsets == NULL)
        return csi_fail_memory(error, "packed weights");
    for (size_t t = 0; t < p->taps; t++) {
        size_t ky = p->photo ? t : t / p->kernel[1], kx = p->photo ? 0 : t % p->kernel[1];

        offsets[t] = ky * p->dilation[0] * p->line_bytes + kx * p->dilation[1] * p->pixel_bytes;
    }
    p->offsets = offsets;
    return CS_OK;
}

/* Bands as large as the cache allows and small enough to keep every thread busy; where the weights are the
 * larger part, tasks share bands and each reads its panels only. */
static enum cs_status cut(const struct csi_plan *plan, const struct csi_ir_node *node, struct csi_step *step,
                          struct cs_error *error)
{
    struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *out = &plan->slots[node->output];
    size_t threads = csi_pool_threads(plan->pool), rows = rows_of_line(p);
    size_t line_in = rows * p->stride[0] * p->line_bytes;
    size_t line_out =
        p->through || p->pool ? rows * p->width * out->pitch * (p->through ? sizeof(float) : 1) : 0;
    size_t lines =
        p->linear ? (out->shape.height * out->shape.width + p->width - 1) / p->width : out->shape.height;
    size_t halo = (p->kernel[0] - 1) * p->dilation[0] + 1, weights = p->panels * p->panel_bytes;
    bool whole_pixels = (p->through && p->pool);
    enum cs_status status;

    if (p->linear)
        line_in = p->width * p->pixel_bytes;
    p->band = csi_max_size(1, csi_min_size(lines, BAND_BYTES / (line_in + line_out)));
    p->splits = 1;
    while (threads > 1 && p->macs >= SERIAL_MACS &&
           (lines + p->band - 1) / p->band * p->splits < 4 * threads) {
        bool heavy = weights > lines * line_in && !whole_pixels;

        if (p->splits * 2 <= p->panels && (heavy || (p->band == 1 && !whole_pixels)))
            p->splits *= 2;
        else if (p->band > 1)
            p->band = (p->band + 1) / 2;
        else
            break;
    }
    if (p->macs < SERIAL_MACS)
        p->band = lines;
    /* alone, so that the sum below cannot overflow: windows may be much larger than their maps */
    status = csi_check_bytes(step, "scratch memory", p->copied ? p->band * rows * p->stride[0] + halo : 0,
                             p->line_bytes, error);
    if (status != CS_OK)
        return status;
    p->scratch_output =
        p->copied ? csi_round_up((p->band * rows * p->stride[0] + halo) * p->line_bytes + SLACK, 64) : 0;
    p->worker_bytes = csi_round_up(p->scratch_output + p->band * line_out, 64);
    step->scratch_floats = threads * p->worker_bytes / sizeof(float);
    step->scratch_alone = p->worker_bytes / sizeof(float);
    return CS_OK;
}

static void describe(const struct csi_plan *plan, const struct csi_ir_node *node, struct csi_step *step)
{
    const struct csi_byte_conv_step *p = &step->u.byte_conv;

    snprintf(step->algorithm, sizeof step->algorithm, "%s%ux%u_int8%s_%s%s",
             node->source->op == CSI_OP_LINEAR ? "linear" : "conv", node->kernel[0], node->kernel[1],
             p->photo ? "_first" : "", plan->kernels->name,
             plan->kernels->byte_name(p->width, p->taps, p->quads,
                                      plan->slots[node->output].bytes && !p->through));
}

enum cs_status csi_step_byte_conv(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error)
{
    struct csi_byte_conv_step *p = &step->u.byte_conv;
    const struct csi_slot *in = &plan->slots[node->inputs[0]], *out = &plan->slots[node->output];
    size_t window = (size_t)node->kernel[0] * node->kernel[1];
    enum cs_status status;

    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    p->in = in->scale;
    p->out = out->bytes ? out->scale : (struct csi_byte_scale){1.0f, 0};
    if (step->residual >= 0)
        p->residual = plan->slots[step->residual].scale;
    p->pool = node->pool;
    p->photo = node->inputs[0] == ir->input && !in->bytes;
    step->reads_photo = p->photo;
    p->linear = !p->photo && window == 1 && node->stride[0] == 1 && node->stride[1] == 1 && !node->pool &&
                node->pads[0] + node->pads[1] + node->pads[2] + node->pads[3] == 0;
    p->copied = p->photo || node->pads[0] + node->pads[1] + node->pads[2] + node->pads[3] != 0;
    p->pixel_bytes = p->photo ? in->shape.channels : in->pitch;
    if (p->copied && p->pixel_bytes % (2 * LINE_BYTES) == 0)
        p->pixel_bytes += plan->kernels->byte_skew;
    p->line_pixels = in->shape.width + (p->copied ? node->pads[1] + node->pads[3] : 0);
    p->line_bytes = p->line_pixels * p->pixel_bytes;
    p->width = p->linear ? csi_min_size(LINEAR_LINE, plan->max_batch * out->shape.height * out->shape.width)
                         : out->shape.width * (p->pool ? 2 : 1);
    p->taps = p->photo ? node->kernel[0] : window;
    p->quads = (in->shape.channels * window / p->taps + 3) / 4;
    p->macs = out->shape.height * out->shape.width * (p->pool ? 4 : 1) * out->shape.channels *
              in->shape.channels * window;
    step->act_pass = !csi_act_as_clamp(&node->act, &step->low, &step->high);
    p->through = out->bytes ? step->act_pass : p->pool;
    if (p->through && out->bytes)
        step->act_pass = false; /* activate_band does it */
    else if (!step->act_pass)
        csi_byte_bounds(out, &step->low, &step->high);
    status = make_offsets(plan, p, error);
    if (status == CS_OK)
        status = pack(plan, ir, node, step, error);
    if (status == CS_OK)
        status = cut(plan, node, step, error);
    if (status != CS_OK)
        return status;
    step->run = run_byte_conv;
    describe(plan, node, step);
    return CS_OK;
}
