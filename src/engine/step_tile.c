/*
 * Convolution as implicit matrix product: any kernel, stride, padding, dilation and groups, and linear
 * layers.
 *
 * Outputs (pixels) are the rows, output channels the columns, kernel positions × input channels the depth.
 * Nothing is gathered: for each tile a small table holds, for each kernel position, where each pixel's input
 * begins; padding points at zeros. A photo with few channels ("compact") is copied to NHWC without padding
 * channels and with its borders, so that a whole kernel row is one run of kernel_width·channels floats and
 * counts as one position. Each task copies the lines of its own output rows, which stay in its core's caches.
 * A kernel that covers its whole input
 * ("whole": linear layers) is one run over all of it, with zero weights where the padding channels are.
 *
 * Source of the pointer table: M. Dukhan, "The Indirect Convolution Algorithm" (2019).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

/* The pointer table of one task; fits in half an L1 cache. */
#define TABLE_POINTERS 4096u
/* Input floats that the tiles of one task may touch while they wait for the next weight panel: half an L2
 * cache. */
#define BLOCK_FLOATS (96u << 10)
/* Below this many multiply-adds a second thread costs more than it brings. */
#define SERIAL_MACS          60000u
#define COMPACT_MAX_CHANNELS 4u
/* Input floats of a compact task: about a first-level cache. */
#define BAND_FLOATS (12u << 10)
/* Input floats of one output row beyond which nothing is gained by copying them: more than any cache. */
#define MOST_BAND_FLOATS ((size_t)1 << 20)
/* Tiles whose pointers are filled at a time where only one panel reads them. */
#define FEW_TILES 8u

struct tile_job {
    const struct csi_step *step;
    const struct csi_run *run;
    const float *input; /* the slot; NULL where each task copies its part (compact) */
    /* Tiles do not reach over the end of a part: all photos, or one where each has a scale of its own. */
    size_t parts, part_pixels, part_tiles;
    size_t tile_rows, tiles;           /* tiles of all parts */
    size_t block_tiles, blocks;        /* tiles of a task */
    size_t units, split_units, splits; /* panels of all groups; of a task */
};

static size_t first_pixel(const struct tile_job *job, size_t tile)
{
    return tile / job->part_tiles * job->part_pixels + tile % job->part_tiles * job->tile_rows;
}

static size_t tile_pixels(const struct tile_job *job, size_t tile)
{
    return csi_min_size(job->tile_rows, job->part_pixels - tile % job->part_tiles * job->tile_rows);
}

/* Where one kernel position's inputs of `count` outputs of a row begin: column `from` of the input for the
 * first of them, `stride` more for each next one; zeros outside. line: that input row, NULL for one outside.
 */
static void point_at_row(const struct csi_conv_step *p, const struct csi_slot *in, const float *line,
                         ptrdiff_t from, size_t count, const float **table)
{
    const ptrdiff_t width = (ptrdiff_t)in->shape.width, stride = (ptrdiff_t)p->stride[1];
    size_t begin = 0, end = count, i = 0;

    if (from < 0)
        begin = csi_min_size(count, (size_t)((stride - 1 - from) / stride));
    if (line == NULL || from >= width)
        end = begin;
    else if (from + (ptrdiff_t)(count - 1) * stride >= width)
        end = csi_max_size(begin, (size_t)((width - from + stride - 1) / stride));
    for (; i < begin; i++)
        table[i] = p->zeros;
    for (; i < end; i++)
        table[i] = line + (from + (ptrdiff_t)i * stride) * (ptrdiff_t)in->pitch;
    for (; i < count; i++)
        table[i] = p->zeros;
}

/* The inputs of `count` outputs of row y, from column x on, for every kernel position; positions are `step`
 * pointers apart. */
static void point_at_windows(const struct csi_conv_step *p, const struct csi_slot *in, const float *photo,
                             size_t y, size_t x, size_t count, size_t step, const float **table)
{
    for (size_t ky = 0; ky < p->kernel[0]; ky++) {
        /* wraps around above the input: huge */
        size_t iy = y * p->stride[0] + ky * p->dilation[0] - p->pads[0];
        const float *line = iy < in->shape.height ? photo + iy * in->shape.width * in->pitch : NULL;

        for (size_t kx = 0; kx < p->kernel[1]; kx++, table += step)
            point_at_row(p, in, line,
                         (ptrdiff_t)(x * p->stride[1] + kx * p->dilation[1]) - (ptrdiff_t)p->pads[1], count,
                         table);
    }
}

/* Where the inputs of `count` outputs from pixel `first` on begin. band: the compact copy whose first line is
 * the first one of the part of this pixel. */
static void fill_table(const struct tile_job *job, const float *band, size_t first, size_t count,
                       size_t group, const float **table)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_slot *in = &job->run->plan->slots[job->step->inputs[0]];
    const struct csi_shape *out = &job->run->plan->slots[job->step->output].shape;
    size_t step = p->whole ? in->photo : in->pitch, photo, y, x;

    if (p->whole || p->flat) {
        for (size_t r = 0; r < count; r++)
            table[r] = job->input + (first + r) * step + group * p->group_inputs;
        return;
    }
    photo = first / (out->height * out->width);
    y = first / out->width % out->height;
    x = first % out->width;
    for (size_t r = 0; r < count;) { /* row by row */
        size_t some = csi_min_size(count - r, out->width - x);

        if (p->compact) {
            size_t pixel = p->stride[1] * in->shape.channels;
            size_t row = y % (job->part_pixels / out->width);
            const float *at = band + row * p->stride[0] * p->compact_line + x * pixel;

            for (size_t ky = 0; ky < p->kernel[0]; ky++, at += p->dilation[0] * p->compact_line) {
                for (size_t i = 0; i < some; i++)
                    table[ky * count + r + i] = at + i * pixel;
            }
        } else {
            point_at_windows(p, in, job->input + photo * in->photo + group * p->group_inputs, y, x, some,
                             count, table + r);
        }
        r += some;
        x = 0;
        if (++y == out->height) {
            y = 0;
            photo++;
        }
    }
}

/* A tile whose panel does not end on a multiple of 16 output channels inside a group: through a buffer. */
static void narrow_tile(const struct tile_job *job, struct csi_tile *tile, size_t outputs)
{
    _Alignas(64) float buffer[CSI_MAX_TILE_ROWS * CSI_MAX_PANEL];
    float *out = tile->out;
    const float *residual = tile->residual;
    size_t out_step = tile->out_step;

    tile->out = buffer;
    tile->out_step = tile->width;
    tile->residual = NULL;
    tile->low = -INFINITY;
    tile->high = INFINITY;
    job->run->plan->kernels->tile(tile);
    for (size_t r = 0; r < tile->rows; r++) {
        for (size_t o = 0; o < outputs; o++) {
            float x = buffer[r * tile->width + o] + (residual == NULL ? 0.0f : residual[r * out_step + o]);

            /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a step has an output slot */
            out[r * out_step + o] = x < job->step->low    ? job->step->low
                                    : x > job->step->high ? job->step->high
                                                          : x;
        }
    }
}

static void run_unit(const struct tile_job *job, size_t unit, size_t first_tile, size_t tiles,
                     const float **table)
{
    const struct csi_step *step = job->step;
    const struct csi_conv_step *p = &step->u.conv;
    const struct csi_plan *plan = job->run->plan;
    const struct csi_slot *out = &plan->slots[step->output];
    size_t group = unit / p->panels, panel = unit % p->panels;
    size_t column = group * p->group_outputs + panel * plan->kernels->panel_width;
    size_t width = csi_panel_width(plan->kernels, p->group_outputs, panel);
    bool narrow = p->groups > 1 && p->group_outputs % CSI_PITCH != 0;

    for (size_t t = 0; t < tiles; t++) {
        size_t at = first_pixel(job, first_tile + t) * out->pitch + column;
        struct csi_tile tile = {
            .rows = tile_pixels(job, first_tile + t),
            .width = width,
            .taps = p->taps,
            .depth = p->depth,
            .at = table + t * p->taps * job->tile_rows,
            .weights = p->weights + unit * p->panel_floats,
            .bias = p->bias + group * csi_pitch(p->group_outputs) + panel * plan->kernels->panel_width,
            .out = csi_slot_data(job->run, step->output) + at,
            .out_step = out->pitch,
            .residual = step->residual >= 0 && !step->residual_pass
                            ? csi_slot_data(job->run, step->residual) + at
                            : NULL,
            .low = step->low,
            .high = step->high,
            .act = p->act_inside ? &step->act : NULL,
        };

        if (p->scale >= 0)
            tile.scale = csi_slot_data(job->run, p->scale) + first_pixel(job, first_tile + t) /
                                                                 (out->shape.height * out->shape.width) *
                                                                 plan->slots[p->scale].photo;
        tile.row_step = tile.rows;
        if (narrow)
            narrow_tile(job, &tile,
                        csi_min_size(width, p->group_outputs - panel * plan->kernels->panel_width));
        else
            plan->kernels->tile(&tile);
    }
}

/* Some tiles of a task through some panels. */
static void run_tiles(const struct tile_job *job, const float *band, size_t first_tile, size_t tiles,
                      size_t first_unit, size_t last_unit, const float **table)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    size_t group_of_table = (size_t)-1;

    for (size_t unit = first_unit; unit < last_unit; unit++) {
        if (unit / p->panels != group_of_table) {
            group_of_table = unit / p->panels;
            for (size_t t = 0; t < tiles; t++) {
                fill_table(job, band, first_pixel(job, first_tile + t), tile_pixels(job, first_tile + t),
                           group_of_table, table + t * p->taps * job->tile_rows);
            }
        }
        run_unit(job, unit, first_tile, tiles, table);
    }
}

static size_t band_lines(const struct csi_conv_step *p, size_t rows)
{
    return (rows - 1) * p->stride[0] + (p->kernel[0] - 1u) * p->dilation[0] + 1;
}

/* The input lines of the output rows from `pixel` on, one part of them: interleaved, with borders. */
static void copy_band(const struct tile_job *job, size_t pixel, float *band)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_shape *in = &job->run->plan->slots[job->step->inputs[0]].shape;
    const struct csi_shape *out = &job->run->plan->slots[job->step->output].shape;
    const size_t plane = in->height * in->width, channels = in->channels, used = in->width * channels;
    const size_t before = p->pads[1] * channels, after = p->compact_line - used - before;
    const float *photo = job->run->input + pixel / (out->height * out->width) * channels * plane;
    size_t lines = band_lines(p, job->part_pixels / out->width);
    size_t y = pixel / out->width % out->height * p->stride[0] - p->pads[0]; /* above the photo: huge */

    for (; lines-- > 0; y++) {
        const float *from = photo + y * in->width;

        if (y >= in->height) {
            memset(band, 0, p->compact_line * sizeof *band);
            band += p->compact_line;
            continue;
        }
        memset(band, 0, before * sizeof *band);
        band += before;
        if (channels == 3) {
            for (size_t x = 0; x < in->width; x++) {
                band[3 * x] = from[x];
                band[3 * x + 1] = from[plane + x];
                band[3 * x + 2] = from[2 * plane + x];
            }
        } else {
            for (size_t c = 0; c < channels; c++)
                for (size_t x = 0; x < in->width; x++)
                    band[x * channels + c] = from[c * plane + x];
        }
        band += used;
        memset(band, 0, after * sizeof *band);
        band += after;
    }
}

static void tile_task(void *context, size_t index, unsigned worker)
{
    const struct tile_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_conv_step *p = &step->u.conv;
    const struct csi_slot *out = &job->run->plan->slots[step->output];
    size_t first_tile = index / job->splits * job->block_tiles;
    size_t tiles = csi_min_size(job->block_tiles, job->tiles - first_tile), some = tiles;
    size_t first_unit = index % job->splits * job->split_units;
    size_t last_unit = csi_min_size(first_unit + job->split_units, job->units);
    size_t pixel = first_pixel(job, first_tile), last_tile = first_tile + tiles - 1;
    const float *table[TABLE_POINTERS];
    float *band = NULL;

    if (p->compact) {
        band = job->run->scratch + worker * p->band_floats;
        copy_band(job, pixel, band);
        some = job->units == 1 ? FEW_TILES : TABLE_POINTERS;
        some = csi_min_size(some, TABLE_POINTERS / (job->tile_rows * p->taps));
    }
    for (size_t done = 0; done < tiles; done += some)
        run_tiles(job, band, first_tile + done, csi_min_size(some, tiles - done), first_unit, last_unit,
                  table);
    if (job->splits == 1) {
        size_t at = pixel * out->pitch;

        csi_finish_pixels(step, job->run->plan->kernels, csi_slot_data(job->run, step->output) + at,
                          step->residual >= 0 ? csi_slot_data(job->run, step->residual) + at : NULL,
                          first_pixel(job, last_tile) + tile_pixels(job, last_tile) - pixel, out);
    }
}

/* Cuts the work: as few tasks as keep every thread busy, because a task reads its weights and its inputs
 * once. */
static void cut(struct tile_job *job)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_slot *in = &job->run->plan->slots[job->step->inputs[0]];
    size_t wanted = job->run->pool == NULL ? 1 : 4 * (size_t)csi_pool_threads(job->run->pool);
    size_t tile_floats = job->tile_rows * p->stride[1] * in->pitch;
    size_t table_tiles = TABLE_POINTERS / (job->tile_rows * p->taps);

    if (csi_pool_threads(job->run->pool) == 1 || p->macs * job->run->batch < SERIAL_MACS)
        wanted = 1;
    job->units = p->groups * p->panels;
    job->splits = 1;
    if (p->compact) {
        job->split_units = job->units;
        job->block_tiles = job->part_tiles;
        job->blocks = job->parts;
        return;
    }
    job->block_tiles = csi_max_size(1, csi_min_size(BLOCK_FLOATS / tile_floats, table_tiles));
    job->block_tiles = csi_min_size(job->block_tiles, job->tiles);
    for (;;) {
        size_t blocks = (job->tiles + job->block_tiles - 1) / job->block_tiles;
        /* On small maps the weights are most of what is read, and each thread had better read its own. */
        size_t weights = p->depth * p->taps * p->group_outputs, inputs = job->tiles * tile_floats;
        bool heavy_weights = weights > (job->part_pixels < CSI_SMALL_MAP ? 1 : 4) * inputs;

        if (blocks * job->splits >= wanted)
            break;
        if (job->splits < job->units && (heavy_weights || job->block_tiles == 1))
            job->splits = csi_min_size(job->splits * 2, job->units);
        else if (job->block_tiles > 1)
            job->block_tiles = (job->block_tiles + 1) / 2;
        else
            break;
    }
    job->split_units = (job->units + job->splits - 1) / job->splits;
    job->splits = (job->units + job->split_units - 1) / job->split_units;
    job->blocks = (job->tiles + job->block_tiles - 1) / job->block_tiles;
}

/* Output rows of a compact task: as many as a band has room for and leave every thread a few tasks. They
 * divide the height, so that all parts are equal. */
static size_t rows_of_task(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_conv_step *p = &step->u.conv;
    size_t height = run->plan->slots[step->output].shape.height, threads = csi_pool_threads(run->pool);
    size_t rows = p->band_rows;

    if (threads > 1)
        rows = csi_max_size(1, csi_min_size(rows, height * run->batch / (4 * threads)));
    while (height % rows != 0)
        rows--;
    return rows;
}

static enum cs_status run_tile_conv(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_conv_step *p = &step->u.conv;
    const struct csi_plan *plan = run->plan;
    const struct csi_slot *out = &plan->slots[step->output];
    struct tile_job job = {.step = step, .run = run};

    job.parts = p->scale >= 0 ? run->batch : 1;
    if (p->compact)
        job.parts = run->batch * (out->shape.height / rows_of_task(step, run));
    job.part_pixels = run->batch * out->shape.height * out->shape.width / job.parts;
    job.tiles = (job.part_pixels + plan->kernels->tile_rows - 1) / plan->kernels->tile_rows;
    /* even tiles instead of one small last one */
    job.tile_rows = (job.part_pixels + job.tiles - 1) / job.tiles;
    job.part_tiles = (job.part_pixels + job.tile_rows - 1) / job.tile_rows;
    job.tiles = job.parts * job.part_tiles;
    job.input = p->compact ? NULL : csi_slot_data(run, step->inputs[0]);
    cut(&job);
    csi_pool_run(run->pool, job.blocks * job.splits, tile_task, &job);
    if (job.splits > 1)
        csi_finish_output(step, run);
    return CS_OK;
}

/* ---- compile ---- */

struct packing {
    const struct csi_plan *plan;
    const struct csi_ir_node *node;
    const struct csi_conv_step *conv;
    float *weights;
};

/* One panel. Weights are [O][I/groups][KH][KW]; the depth runs over channels, or over (column, channel) when
 * compact. */
static void pack_unit(void *context, size_t unit, unsigned worker)
{
    const struct packing *packing = context;
    const struct csi_conv_step *p = packing->conv;
    size_t window = (size_t)p->kernel[0] * p->kernel[1], group = unit / p->panels;
    size_t width = csi_panel_width(packing->plan->kernels, p->group_outputs, unit % p->panels);
    float *to = packing->weights + unit * p->panel_floats;
    struct csi_panel_source source = {
        .weight = packing->node->weight + group * p->group_outputs * p->group_inputs * window,
        .outputs = p->group_outputs,
        .taps = window,
        .depth = p->group_inputs,
        .output_step = p->group_inputs * window,
        .tap_step = 1,
        .depth_step = window,
    };

    (void)worker;
    if (!p->whole) {
        csi_pack_panel(packing->plan->kernels, &source, unit % p->panels, to);
        return;
    }
    source.taps = 1;
    for (size_t position = 0; position < window; position++) {
        csi_pack_panel(packing->plan->kernels, &source, unit % p->panels, to);
        source.weight++;
        to += p->group_inputs * width;
        memset(to, 0, (p->depth / window - p->group_inputs) * width * sizeof *to); /* the padding channels */
        to += (p->depth / window - p->group_inputs) * width;
    }
}

static enum cs_status pack(struct csi_plan *plan, const struct csi_ir_node *node, struct csi_step *step,
                           struct cs_error *error)
{
    struct csi_conv_step *p = &step->u.conv;
    size_t units = p->groups * p->panels, group_pitch = csi_pitch(p->group_outputs), floats;
    struct packing packing = {plan, node, p, NULL};
    float *bias;

    p->panel_floats = p->taps * p->depth * plan->kernels->panel_width;
    if (csi_mul_overflows(units, p->panel_floats * sizeof(float), &floats))
        return csi_fail_memory(error, "packed weights");
    packing.weights = csi_plan_alloc_packed(plan, floats);
    bias = csi_plan_alloc(plan, p->groups * group_pitch * sizeof *bias);
    if (packing.weights == NULL || bias == NULL)
        return csi_fail_memory(error, "packed weights");
    csi_pool_run(plan->pool, units, pack_unit, &packing);
    for (size_t o = 0; node->bias != NULL && o < p->groups * p->group_outputs; o++)
        bias[o / p->group_outputs * group_pitch + o % p->group_outputs] = node->bias[o];
    p->weights = packing.weights;
    p->bias = bias;
    return CS_OK;
}

/* A photo whose lines are worth copying. */
static bool is_compact(const struct csi_conv_step *p, const struct csi_shape *in)
{
    size_t line = (in->width + p->pads[1] + p->pads[3]) * in->channels;

    return in->channels <= COMPACT_MAX_CHANNELS && p->groups == 1 && p->dilation[1] == 1 &&
           (size_t)p->kernel[0] * p->kernel[1] > 1 && line <= MOST_BAND_FLOATS &&
           band_lines(p, 1) <= MOST_BAND_FLOATS / line;
}

enum cs_status csi_step_tile_conv(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error)
{
    struct csi_conv_step *p = &step->u.conv;
    const struct csi_shape *in = &ir->values[node->inputs[0]].shape, *out = &ir->values[node->output].shape;
    size_t window = (size_t)node->kernel[0] * node->kernel[1];

    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    p->groups = node->groups;
    p->group_inputs = in->channels / p->groups;
    p->group_outputs = out->channels / p->groups;
    p->compact = node->inputs[0] == ir->input && is_compact(p, in);
    p->taps = p->compact ? p->kernel[0] : window;
    p->depth = p->compact ? p->kernel[1] * in->channels : p->group_inputs;
    p->whole = p->groups == 1 && !p->compact && p->kernel[0] == in->height && p->kernel[1] == in->width &&
               p->pads[0] + p->pads[1] + p->pads[2] + p->pads[3] == 0 && p->dilation[0] == 1 &&
               p->dilation[1] == 1;
    if (p->whole) {
        p->taps = 1;
        p->depth = window * (window == 1 ? in->channels : csi_pitch(in->channels));
    }
    p->flat = window == 1 && p->stride[0] == 1 && p->stride[1] == 1 &&
              p->pads[0] + p->pads[1] + p->pads[2] + p->pads[3] == 0;
    p->scale = node->input_count > 1 ? node->inputs[1] : -1;
    if (p->taps * CSI_MAX_TILE_ROWS > TABLE_POINTERS)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': a kernel of %u x %u is too large", step->name,
                        p->kernel[0], p->kernel[1]);
    p->panels = csi_panel_count(plan->kernels, p->group_outputs);
    p->macs = out->height * out->width * out->channels * p->group_inputs * window;
    p->zeros = plan->zeros;
    if (p->compact) {
        size_t lines;

        p->compact_line = (in->width + p->pads[1] + p->pads[3]) * in->channels;
        p->band_rows = 1;
        lines = BAND_FLOATS / p->compact_line;
        if (lines > band_lines(p, 1))
            p->band_rows += (lines - band_lines(p, 1)) / p->stride[0];
        p->band_rows = csi_min_size(p->band_rows, out->height);
        p->band_floats = csi_round_up(band_lines(p, p->band_rows) * p->compact_line, CSI_WORKER_FLOATS);
        step->scratch_floats = csi_pool_threads(plan->pool) * p->band_floats;
        step->scratch_alone = p->band_floats;
        step->reads_photo = true;
    }
    step->tail_pass = p->groups > 1 && out->channels % CSI_PITCH != 0;
    /* What the tile cannot do in registers is a pass over what was just written. */
    step->act_pass = !csi_act_as_clamp(&node->act, &step->low, &step->high);
    step->residual_pass = step->residual >= 0 && step->residual_after;
    p->act_inside = step->act_pass && (p->groups == 1 || p->group_outputs % CSI_PITCH == 0);
    if (p->act_inside)
        step->act_pass = false;
    p->product = csi_product_pays(plan, step);
    step->run = p->product ? csi_run_product : run_tile_conv;
    if (p->product) {
        step->scratch_alone = csi_product_scratch(plan, step);
        step->scratch_floats = csi_pool_threads(plan->pool) * step->scratch_alone;
    }
    snprintf(step->algorithm, sizeof step->algorithm, "%s%ux%u%s_%s",
             node->source->op == CSI_OP_LINEAR ? "linear"
             : p->groups > 1                   ? "conv_grouped"
                                               : "conv",
             p->kernel[0], p->kernel[1],
             p->compact      ? "_first"
             : p->product    ? "_packed"
             : window > 1    ? "_direct"
             : p->scale >= 0 ? "_scaled"
                             : "",
             plan->kernels->name);
    return pack(plan, node, step, error);
}
