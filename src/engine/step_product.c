/*
 * Convolution as a matrix product over packed inputs: what step_tile.c computes tile by tile through
 * pointers, for layers whose inputs are worth copying side by side.
 *
 * The depth (kernel positions × input channels) goes by in chunks. For each chunk a task packs the inputs of
 * its block of output pixels, then all its panels of weights pass over them, while the next panel is fetched;
 * the sums wait in the output. A chunk is a part of one kernel position or some whole ones. With one position
 * a chunk, pixels whose input lies in the padding take no part: on a 7×7 map that is a fifth of the products.
 * Only the position that comes last takes all pixels, because it finishes them.
 */
#include <string.h>

#include "engine/internal.h"

#define CHUNK_DEPTH  512u /* most channels of a chunk: 64 KB of weights a panel */
#define ALONE_DEPTH  256u /* positions of so many channels have chunks of their own where padding counts */
#define BLOCK_FLOATS (96u << 10) /* of packed input: three eighths of a second-level cache */
#define BLOCK_PIXELS 256u
#define SERIAL_MACS  60000u /* below this a second thread costs more than it brings */

struct product_job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t taps;        /* kernel positions of a chunk */
    size_t chunk_depth; /* channels that a chunk takes of each */
    size_t tap_chunks;  /* chunks of a position, when it has several */
    size_t chunks;
    size_t last_tap; /* of chunks of one position: comes last and takes all pixels */
    /* Blocks do not reach over the end of a part: all photos, or one where each has a scale of its own. */
    size_t parts, part_pixels;
    size_t tile_rows, tiles, blocks; /* tiles and blocks of a part */
    size_t split_panels, splits;     /* panels of a task, tasks that share a block */
    size_t worker_floats;            /* packed inputs of a chunk and a block */
};

/* Channels first … first + depth - 1 of kernel positions tap … tap + taps - 1. */
struct chunk {
    size_t tap, taps, first, depth;
    bool all; /* padding takes part, as zeros */
};

/* The pixels of a block that take part in a chunk. */
struct rows {
    size_t count;
    size_t at[BLOCK_PIXELS];       /* floats from the start of the output map */
    const float *in[BLOCK_PIXELS]; /* inputs for one kernel position */
};

static struct chunk chunk_of(const struct product_job *job, size_t index)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    struct chunk chunk = {index / job->tap_chunks * job->taps, job->taps,
                          index % job->tap_chunks * job->chunk_depth, 0, true};

    if (job->taps == 1) {
        /* The last position changes places with the one that would be the last. */
        if (chunk.tap == p->taps - 1)
            chunk.tap = job->last_tap;
        else if (chunk.tap == job->last_tap)
            chunk.tap = p->taps - 1;
        chunk.all = chunk.tap == job->last_tap;
    }
    chunk.taps = csi_min_size(chunk.taps, p->taps - chunk.tap);
    chunk.depth = csi_min_size(job->chunk_depth, p->depth - chunk.first);
    return chunk;
}

/* The pixels of a block, counted through all photos. */
static struct csi_range block_pixels(const struct product_job *job, size_t block)
{
    size_t in_part = block % job->blocks;
    size_t first = job->tiles * in_part / job->blocks * job->tile_rows;
    size_t end = csi_min_size(job->tiles * (in_part + 1) / job->blocks * job->tile_rows, job->part_pixels);

    return (struct csi_range){block / job->blocks * job->part_pixels + first, end - first};
}

/* Those of `pixels` that take part in `chunk`, with their inputs for position `tap`. */
static void find_rows(const struct product_job *job, struct csi_range pixels, const struct chunk *chunk,
                      size_t tap, struct rows *rows)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_slot *in = &job->run->plan->slots[job->step->inputs[0]];
    const struct csi_slot *out = &job->run->plan->slots[job->step->output];
    const float *input = csi_slot_data(job->run, job->step->inputs[0]) + chunk->first;
    const size_t width = out->shape.width;
    const size_t down = tap / p->kernel[1] * p->dilation[0], right = tap % p->kernel[1] * p->dilation[1];
    size_t x = pixels.first % width, y = pixels.first / width % out->shape.height;
    size_t photo = pixels.first / width / out->shape.height;

    if (p->flat) {
        for (size_t i = 0; i < pixels.count; i++) {
            rows->at[i] = (pixels.first + i) * out->pitch;
            rows->in[i] = input + (pixels.first + i) * in->pitch;
        }
        rows->count = pixels.count;
        return;
    }
    rows->count = 0;
    for (size_t i = 0; i < pixels.count; i++) {
        /* wraps around above and left of the input: huge */
        size_t iy = y * p->stride[0] + down - p->pads[0], ix = x * p->stride[1] + right - p->pads[1];
        bool inside = iy < in->shape.height && ix < in->shape.width;

        if (inside || chunk->all) {
            rows->at[rows->count] = (pixels.first + i) * out->pitch;
            rows->in[rows->count++] =
                inside ? input + photo * in->photo + (iy * in->shape.width + ix) * in->pitch : p->zeros;
        }
        if (++x == width) {
            x = 0;
            if (++y == out->shape.height) {
                y = 0;
                photo++;
            }
        }
    }
}

static size_t tiles_of(const struct product_job *job, const struct rows *rows)
{
    size_t most = job->run->plan->kernels->product_rows;

    return (rows->count + most - 1) / most;
}

/* Tile by tile; in each, position by position of the chunk. */
static void pack_chunk(const struct product_job *job, size_t part, struct csi_range pixels,
                       const struct chunk *chunk, struct rows *rows, float *packed)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const size_t blocks = (chunk->depth + CSI_PITCH - 1) / CSI_PITCH;
    const float *scale = NULL;

    rows->count = 0;
    if (p->scale >= 0)
        scale =
            csi_slot_data(job->run, p->scale) + part * job->run->plan->slots[p->scale].photo + chunk->first;
    for (size_t tap = 0; tap < chunk->taps; tap++) {
        size_t tiles;

        find_rows(job, pixels, chunk, chunk->tap + tap, rows);
        tiles = tiles_of(job, rows);
        for (size_t t = 0; t < tiles; t++) {
            struct csi_range range = csi_piece(rows->count, tiles, t);

            job->run->plan->kernels->pack_rows(rows->in + range.first, range.count, blocks, scale,
                                               packed + (range.first * chunk->taps + tap * range.count) *
                                                            blocks * CSI_PITCH);
        }
    }
}

static const float *weights_of(const struct product_job *job, const struct chunk *chunk, size_t panel)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    size_t width = csi_panel_width(job->run->plan->kernels, p->group_outputs, panel);

    return p->weights + panel * p->panel_floats + (chunk->tap * p->depth + chunk->first) * width;
}

/* All tiles of a chunk by one panel; `ahead`: the weights that come next. */
static void multiply(const struct product_job *job, const struct chunk *chunk, bool starts, bool last,
                     size_t panel, const struct rows *rows, const float *packed, const float *ahead)
{
    const struct csi_step *step = job->step;
    const struct csi_conv_step *p = &step->u.conv;
    const struct csi_plan *plan = job->run->plan;
    const size_t column = panel * plan->kernels->panel_width, tiles = tiles_of(job, rows);
    const size_t row_floats = chunk->taps * csi_round_up(chunk->depth, CSI_PITCH);
    struct csi_product product = {
        .width = csi_panel_width(plan->kernels, p->group_outputs, panel),
        .depth = chunk->taps * chunk->depth,
        .weights = weights_of(job, chunk, panel),
        .bias = starts ? p->bias + column : NULL,
        .out = csi_slot_data(job->run, step->output) + column,
        .last = last,
        .residual = step->residual >= 0 && !step->residual_pass
                        ? csi_slot_data(job->run, step->residual) + column
                        : NULL,
        .low = step->low,
        .high = step->high,
        .act = p->act_inside ? &step->act : NULL,
    };
    /* 16 steps of a panel are `width` cache lines; each tile fetches its share of them. */
    const size_t lines = product.width, share = tiles == 0 ? 0 : (lines + tiles - 1) / tiles;

    for (size_t t = 0; t < tiles; t++) {
        struct csi_range range = csi_piece(rows->count, tiles, t);

        product.rows = range.count;
        product.in = packed + range.first * row_floats;
        product.at = rows->at + range.first;
        product.ahead_lines = ahead != NULL && t * share < lines ? share : 0;
        product.ahead =
            product.ahead_lines == 0 ? NULL : ahead + t * share * (product.depth / CSI_PITCH) * 16;
        plan->kernels->product(&product);
    }
}

/* The sums of pixels that do not take part in the first chunk start with the bias all the same. */
static void write_bias(const struct product_job *job, struct csi_range pixels, size_t first_panel,
                       size_t last_panel)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_slot *slot = &job->run->plan->slots[job->step->output];
    const size_t column = first_panel * job->run->plan->kernels->panel_width;
    const size_t end = csi_min_size(last_panel * job->run->plan->kernels->panel_width, slot->pitch);
    float *out = csi_slot_data(job->run, job->step->output) + pixels.first * slot->pitch;

    for (size_t i = 0; i < pixels.count; i++)
        memcpy(out + i * slot->pitch + column, p->bias + column, (end - column) * sizeof *out);
}

static void finish_block(const struct product_job *job, struct csi_range pixels)
{
    const struct csi_step *step = job->step;
    const struct csi_slot *slot = &job->run->plan->slots[step->output];
    const size_t at = pixels.first * slot->pitch;

    csi_finish_pixels(step, job->run->plan->kernels, csi_slot_data(job->run, step->output) + at,
                      step->residual >= 0 ? csi_slot_data(job->run, step->residual) + at : NULL, pixels.count,
                      slot);
}

static void product_task(void *context, size_t index, unsigned worker)
{
    const struct product_job *job = context;
    const struct csi_conv_step *p = &job->step->u.conv;
    const size_t block = index / job->splits, first_panel = index % job->splits * job->split_panels;
    const size_t last_panel = csi_min_size(first_panel + job->split_panels, p->panels);
    const struct csi_range pixels = block_pixels(job, block);
    float *packed = job->run->scratch + worker * job->worker_floats;
    struct rows rows;

    for (size_t c = 0; c < job->chunks; c++) {
        const struct chunk chunk = chunk_of(job, c), next = chunk_of(job, (c + 1) % job->chunks);
        const bool last = c + 1 == job->chunks;
        bool starts;

        pack_chunk(job, block / job->blocks, pixels, &chunk, &rows, packed);
        starts = c == 0 && rows.count == pixels.count;
        if (c == 0 && !starts)
            write_bias(job, pixels, first_panel, last_panel);
        for (size_t panel = first_panel; panel < last_panel; panel++) {
            const float *ahead = panel + 1 < last_panel ? weights_of(job, &chunk, panel + 1)
                                 : last                 ? NULL
                                                        : weights_of(job, &next, first_panel);

            multiply(job, &chunk, starts, last, panel, &rows, packed, ahead);
        }
    }
    if (job->splits == 1)
        finish_block(job, pixels);
}

/* ---- sizes ---- */

/* Would the outputs reach into the padding with more than a twentieth of their windows? */
static bool padding_counts(const struct product_job *job, const struct csi_plan *plan)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_shape *in = &plan->slots[job->step->inputs[0]].shape;
    const struct csi_shape *out = &plan->slots[job->step->output].shape;
    size_t inside[2] = {0, 0};

    for (size_t axis = 0; axis < 2; axis++) {
        size_t outputs = axis == 0 ? out->height : out->width, inputs = axis == 0 ? in->height : in->width;

        for (size_t k = 0; k < p->kernel[axis]; k++) {
            for (size_t i = 0; i < outputs; i++)
                inside[axis] += i * p->stride[axis] + k * p->dilation[axis] - p->pads[axis] < inputs ? 1 : 0;
        }
    }
    return inside[0] * inside[1] * 20 < 19 * p->taps * out->height * out->width;
}

static void cut_depth(struct product_job *job, const struct csi_plan *plan)
{
    const struct csi_conv_step *p = &job->step->u.conv;

    job->last_tap = p->kernel[0] / 2 * p->kernel[1] + p->kernel[1] / 2;
    job->taps = 1;
    job->tap_chunks = (p->depth + CHUNK_DEPTH - 1) / CHUNK_DEPTH;
    job->chunk_depth = csi_round_up((p->depth + job->tap_chunks - 1) / job->tap_chunks, CSI_PITCH);
    job->tap_chunks = (p->depth + job->chunk_depth - 1) / job->chunk_depth;
    if (job->tap_chunks == 1 && p->depth % CSI_PITCH == 0 &&
        (p->depth < ALONE_DEPTH || !padding_counts(job, plan)))
        job->taps = csi_min_size(CHUNK_DEPTH / p->depth, p->taps);
    job->chunks = (p->taps + job->taps - 1) / job->taps * job->tap_chunks;
}

/* Most tiles of a block. */
static size_t most_tiles(const struct product_job *job)
{
    size_t pixels = csi_min_size(BLOCK_PIXELS, BLOCK_FLOATS / (job->chunk_depth * job->taps));

    return csi_max_size(1, pixels / job->tile_rows);
}

/* Cuts the work: a few tasks for each thread, so that one that was interrupted does not hold up the others,
 * and as many for each. */
static void cut(struct product_job *job)
{
    const struct csi_conv_step *p = &job->step->u.conv;
    const struct csi_slot *out = &job->run->plan->slots[job->step->output];
    const size_t pixels = job->run->batch * out->shape.height * out->shape.width;
    const size_t rows = job->run->plan->kernels->product_rows;
    size_t threads = csi_pool_threads(job->run->pool), wanted;

    if (threads == 0 || p->macs * job->run->batch < SERIAL_MACS)
        threads = 1;
    cut_depth(job, job->run->plan);
    job->parts = p->scale >= 0 ? job->run->batch : 1;
    job->part_pixels = pixels / job->parts;
    job->tiles = (job->part_pixels + rows - 1) / rows;
    /* even tiles instead of one small last one */
    job->tile_rows = (job->part_pixels + job->tiles - 1) / job->tiles;
    job->tiles = (job->part_pixels + job->tile_rows - 1) / job->tile_rows;
    job->blocks = (job->tiles + most_tiles(job) - 1) / most_tiles(job);
    job->splits = 1;
    wanted = threads == 1 ? 1 : 2 * threads;
    if (threads > 1 && job->part_pixels < CSI_SMALL_MAP) /* each thread reads its own weights */
        job->splits = csi_min_size(p->panels, wanted);
    else if (threads > 1 && job->blocks * job->parts < wanted)
        job->blocks = csi_min_size(wanted / job->parts, job->tiles);
    if (job->splits == 1 && job->blocks > threads && job->tiles > threads)
        job->blocks = csi_min_size(csi_round_up(job->blocks, threads), job->tiles / threads * threads);
    job->blocks = csi_max_size(job->blocks, (job->tiles + most_tiles(job) - 1) / most_tiles(job));
    job->split_panels = (p->panels + job->splits - 1) / job->splits;
    job->splits = (p->panels + job->split_panels - 1) / job->split_panels;
    job->worker_floats =
        csi_min_size(job->part_pixels, (job->tiles + job->blocks - 1) / job->blocks * job->tile_rows) *
        job->chunk_depth * job->taps;
}

enum cs_status csi_run_product(const struct csi_step *step, const struct csi_run *run)
{
    struct product_job job = {.step = step, .run = run};

    cut(&job);
    csi_pool_run(run->pool, job.parts * job.blocks * job.splits, product_task, &job);
    if (job.splits > 1)
        csi_finish_output(step, run);
    return CS_OK;
}

/* Packing is paid back by many output channels, the more so where the inputs of a tile fall into few cache
 * sets: at pitches of many lines, 4 KB above all; and by products that the padding saves. Measured on the
 * layers of ResNets (won) and MobileNets (lost: thin layers, odd pitches). */
bool csi_product_pays(const struct csi_plan *plan, const struct csi_step *step)
{
    const struct csi_conv_step *p = &step->u.conv;
    struct product_job job = {.step = step};

    if (p->groups > 1 || p->compact || p->whole || p->depth < CSI_PITCH)
        return false;
    if (p->taps == 1)
        return (p->depth % 64 == 0 && p->group_outputs >= 2 * p->depth) || p->depth >= 1024;
    return p->depth >= CHUNK_DEPTH && padding_counts(&job, plan);
}

size_t csi_product_scratch(const struct csi_plan *plan, const struct csi_step *step)
{
    struct product_job job = {.step = step};
    const struct csi_shape *out = &plan->slots[step->output].shape;
    const size_t pixels = csi_max_size(plan->kernels->product_rows, BLOCK_PIXELS);

    cut_depth(&job, plan);
    return csi_min_size(pixels, plan->max_batch * out->height * out->width) * job.chunk_depth * job.taps;
}
