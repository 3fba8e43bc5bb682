/*
 * Winograd convolutions: which tiles and channels are computed when, and by whom. Arithmetic is the
 * instruction sets' part, packing is in wino_pack.c, the choice for a shape in wino_choose.c.
 *
 * Two schedules:
 *  - banded: a task takes a band of tiles through all three steps, so that its V and M stay in the core's L2.
 * For many tiles.
 *  - staged: all tiles are transformed, then every (position, output block) is one product whose weights are
 * read once, then all is transformed back. For few tiles and big weights, which stream from memory once.
 */
#include "kernels/wino_plan.h"

#include "base/checked.h"

/* V and M of a band should take about this much of L2; the rest is for weights and pixels passing by. */
#define BAND_BYTES (480u << 10)
#define BAND_MOST  4u /* panels */
/* Tiles of a staged group: bounds the memory that a big batch takes. */
#define STAGED_TILES 208u

struct run {
    const struct csi_wino_shape *shape;
    const struct csi_wino_desc *desc;
    const float *bias, *weights, *input, *residual;
    float *output;
    size_t tiles;                  /* of the whole batch */
    size_t bands;                  /* banded: into which they are cut */
    size_t first, count;           /* staged: tiles of the group at work */
    size_t chunks;                 /* staged: tasks of the step at work */
    float *v, *m;                  /* staged: shared; banded: worker 0's */
    size_t v_position, m_position; /* strides in floats */
    size_t worker_floats;          /* banded: from one worker's scratch to the next */
};

/* The i-th of `parts` nearly equal ranges of `total` begins here. */
static size_t part(size_t total, size_t parts, size_t i)
{
    return total * i / parts;
}

static size_t panels_of(const struct csi_wino_shape *shape, size_t tiles)
{
    return (tiles + shape->ops->rows - 1) / shape->ops->rows;
}

static size_t band_tiles(const struct csi_wino_shape *shape)
{
    size_t tile_bytes = shape->positions * (shape->kpitch + shape->ops->lanes) * sizeof(float);
    size_t panels = BAND_BYTES / (tile_bytes * shape->ops->rows);
    return csi_min_size(csi_max_size(panels, 1), BAND_MOST) * shape->ops->rows;
}

/* Position strides: one more cache line than the data, so that powers of two do not fall into one cache set.
 */
static size_t v_stride(const struct csi_wino_shape *shape, size_t tiles)
{
    return tiles * shape->kpitch + 16;
}

static size_t m_stride(const struct csi_wino_shape *shape, size_t tiles)
{
    return csi_round_up(tiles * shape->ops->lanes, 16) + 16;
}

static size_t banded_floats(const struct csi_wino_shape *shape)
{
    size_t tiles = band_tiles(shape);
    return shape->positions * (v_stride(shape, tiles) + m_stride(shape, tiles));
}

static size_t group_tiles(const struct csi_wino_shape *shape, size_t batch)
{
    return csi_min_size(batch * shape->tiles_y * shape->tiles_x, STAGED_TILES);
}

size_t csi_wino_scratch_size(const struct csi_wino *kernel, const struct csi_wino_desc *desc, size_t batch,
                             unsigned threads)
{
    struct csi_wino_shape shape;
    if (!csi_wino_shape_make(kernel, desc, &shape))
        return 0;
    if (!kernel->staged)
        return banded_floats(&shape) * threads * sizeof(float);
    size_t tiles = group_tiles(&shape, batch);
    return shape.positions * (v_stride(&shape, tiles) + shape.outputs * m_stride(&shape, tiles)) *
           sizeof(float);
}

/* Transforms tile `index` of the batch to place `place` of the `tiles` tiles that start at `v`. */
static void transform_in(const struct run *run, float *v, size_t index, size_t place, size_t tiles)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t per_image = shape->tiles_y * shape->tiles_x;
    const struct csi_wino_desc *desc = run->desc;
    const struct csi_wino_plane image = {
        run->input + index / per_image * desc->height * desc->width * shape->kpitch,
        desc->height,
        desc->width,
        shape->kpitch,
    };
    const size_t in_image = index % per_image;
    const size_t panels = panels_of(shape, tiles);
    size_t panel = place * panels / tiles;
    while (part(tiles, panels, panel + 1) <= place)
        panel++;
    const size_t start = part(tiles, panels, panel), rows = part(tiles, panels, panel + 1) - start;
    shape->ops->input[shape->size](
        &image, in_image / shape->tiles_x * shape->side, in_image % shape->tiles_x * shape->side,
        v + start * shape->kpitch + (place - start) * CSI_WINO_BLOCK, rows * CSI_WINO_BLOCK, run->v_position);
}

/* M of one position and output block for all `tiles` tiles; `next`: weights to fetch meanwhile. */
static void multiply(const struct run *run, const float *v, const float *w, const float *next, float *m,
                     size_t tiles)
{
    const struct csi_wino_shape *shape = run->shape;
    const struct csi_wino_ops *ops = shape->ops;
    const size_t panels = panels_of(shape, tiles), ahead_step = ops->lanes / panels;
    for (size_t panel = 0; panel < panels; panel++) {
        size_t start = part(tiles, panels, panel), rows = part(tiles, panels, panel + 1) - start;
        ops->gemm(rows, shape->kpitch / CSI_WINO_BLOCK, v + start * shape->kpitch, w, m + start * ops->lanes,
                  next + panel * ahead_step * shape->kpitch, ahead_step);
    }
}

static void transform_out(const struct run *run, const float *m, size_t index, size_t block)
{
    const struct csi_wino_shape *shape = run->shape;
    const struct csi_wino_desc *desc = run->desc;
    const size_t per_image = shape->tiles_y * shape->tiles_x, image = index / per_image,
                 in_image = index % per_image;
    const size_t height = desc->pool ? desc->height / 2 : desc->height,
                 width = desc->pool ? desc->width / 2 : desc->width;
    const struct csi_wino_target target = {
        .output = run->output + image * height * width * shape->npitch,
        .residual = run->residual ? run->residual + image * desc->height * desc->width * shape->npitch : NULL,
        .bias = run->bias,
        .height = desc->height,
        .width = desc->width,
        .pitch = shape->npitch,
        .channels = desc->cout,
        .pool = desc->pool,
        .activation = desc->activation,
        .function = desc->function,
    };
    const size_t channel = block * shape->ops->lanes;
    shape->ops->output[shape->size](m, run->m_position, &target, in_image / shape->tiles_x * shape->side,
                                    in_image % shape->tiles_x * shape->side, channel,
                                    csi_min_size(shape->ops->lanes, shape->npitch - channel) /
                                        CSI_WINO_BLOCK);
}

static const float *weights_of(const struct run *run, size_t block, size_t position)
{
    const struct csi_wino_shape *shape = run->shape;
    return run->weights + (block * shape->positions + position) * shape->kpitch * shape->ops->lanes;
}

static void band_task(void *context, size_t index, unsigned worker)
{
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t first = part(run->tiles, run->bands, index),
                 tiles = part(run->tiles, run->bands, index + 1) - first;
    float *v = run->v + worker * run->worker_floats, *m = run->m + worker * run->worker_floats;
    for (size_t t = 0; t < tiles; t++)
        transform_in(run, v, first + t, t, tiles);
    for (size_t block = 0; block < shape->outputs; block++) {
        for (size_t p = 0; p < shape->positions; p++) {
            const float *w = weights_of(run, block, p);
            const bool last = block + 1 == shape->outputs && p + 1 == shape->positions;
            multiply(run, v + p * run->v_position, w,
                     last ? run->weights : w + shape->kpitch * shape->ops->lanes, m + p * run->m_position,
                     tiles);
        }
        for (size_t t = 0; t < tiles; t++)
            transform_out(run, m + t * shape->ops->lanes, first + t, block);
    }
}

static void staged_in_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const struct run *run = context;
    for (size_t t = part(run->count, run->chunks, index); t < part(run->count, run->chunks, index + 1); t++)
        transform_in(run, run->v, run->first + t, t, run->count);
}

static void staged_multiply_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t units = shape->positions * shape->outputs;
    for (size_t unit = part(units, run->chunks, index); unit < part(units, run->chunks, index + 1); unit++) {
        const size_t position = unit / shape->outputs, block = unit % shape->outputs;
        const size_t next = unit + 1 < units ? unit + 1 : 0;
        multiply(run, run->v + position * run->v_position, weights_of(run, block, position),
                 weights_of(run, next % shape->outputs, next / shape->outputs),
                 run->m + (block * shape->positions + position) * run->m_position, run->count);
    }
}

static void staged_out_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t units = run->count * shape->outputs;
    for (size_t unit = part(units, run->chunks, index); unit < part(units, run->chunks, index + 1); unit++) {
        const size_t block = unit % shape->outputs, t = unit / shape->outputs;
        transform_out(run, run->m + block * shape->positions * run->m_position + t * shape->ops->lanes,
                      run->first + t, block);
    }
}

static void spread(struct csi_pool *pool, size_t count, void (*task)(void *, size_t, unsigned),
                   struct run *run)
{
    if (pool) {
        csi_pool_run(pool, count, task, run);
        return;
    }
    for (size_t i = 0; i < count; i++)
        task(run, i, 0);
}

static void run_staged(struct run *run, size_t batch, float *scratch, struct csi_pool *pool, unsigned threads)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t most = group_tiles(shape, batch), groups = (run->tiles + most - 1) / most;
    run->v = scratch;
    run->m = scratch + shape->positions * v_stride(shape, most);
    for (size_t group = 0; group < groups; group++) {
        run->first = part(run->tiles, groups, group);
        run->count = part(run->tiles, groups, group + 1) - run->first;
        run->v_position = v_stride(shape, run->count);
        run->m_position = m_stride(shape, run->count);
        run->chunks = csi_min_size(run->count, 4u * threads);
        spread(pool, run->chunks, staged_in_task, run);
        run->chunks = csi_min_size(shape->positions * shape->outputs, 12u * threads);
        spread(pool, run->chunks, staged_multiply_task, run);
        run->chunks = csi_min_size(run->count * shape->outputs, 6u * threads);
        spread(pool, run->chunks, staged_out_task, run);
    }
}

static void run_banded(struct run *run, float *scratch, struct csi_pool *pool, unsigned threads)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t most = band_tiles(shape);
    run->bands = (run->tiles + most - 1) / most;
    if (run->bands < 8u * threads) /* few: as many for each thread */
        run->bands = csi_min_size((run->bands + threads - 1) / threads * threads, run->tiles);
    run->v_position = v_stride(shape, most);
    run->m_position = m_stride(shape, most);
    run->v = scratch;
    run->m = scratch + shape->positions * run->v_position;
    run->worker_floats = banded_floats(shape);
    spread(pool, run->bands, band_task, run);
}

void csi_wino_run(const struct csi_wino *kernel, const struct csi_wino_desc *desc, const void *packed,
                  const float *input, const float *residual, float *output, size_t batch, void *scratch,
                  struct csi_pool *pool)
{
    struct csi_wino_shape shape;
    if (batch == 0 || !csi_wino_shape_make(kernel, desc, &shape))
        return;
    const unsigned threads = pool ? csi_pool_threads(pool) : 1;
    struct run run = {
        .shape = &shape,
        .desc = desc,
        .bias = packed,
        .weights = (const float *)packed + shape.outputs * shape.ops->lanes,
        .input = input,
        .residual = desc->residual ? residual : NULL,
        .output = output,
        .tiles = batch * shape.tiles_y * shape.tiles_x,
    };
    if (kernel->staged)
        run_staged(&run, batch, scratch, pool, threads);
    else
        run_banded(&run, scratch, pool, threads);
}

void csi_wino_finish_tile(float *tile, size_t side, const struct csi_wino_target *target, size_t y, size_t x,
                          size_t channel)
{
    const size_t rows = csi_min_size(side, target->height - y),
                 columns = csi_min_size(side, target->width - x);
    const size_t lanes =
        target->channels > channel ? csi_min_size(target->channels - channel, CSI_WINO_BLOCK) : 0;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            float *sums = tile + (i * side + j) * CSI_WINO_BLOCK;
            const float *residual = target->residual;
            if (residual)
                residual += ((y + i) * target->width + x + j) * target->pitch + channel;
            for (size_t c = 0; c < CSI_WINO_BLOCK; c++) {
                float sum = sums[c] + target->bias[channel + c];
                sum = residual ? sum + residual[c] : sum;
                sums[c] = target->activation == CSI_WINO_RELU && sum < 0.0F ? 0.0F : sum;
            }
            if (target->activation == CSI_WINO_FUNCTION) {
                target->function(sums, CSI_WINO_BLOCK);
                for (size_t c = lanes; c < CSI_WINO_BLOCK; c++)
                    sums[c] = 0.0F; /* padding stays zero whatever function(0) is */
            }
            if (!target->pool) {
                float *out = target->output + ((y + i) * target->width + x + j) * target->pitch + channel;
                for (size_t c = 0; c < CSI_WINO_BLOCK; c++)
                    out[c] = sums[c];
            }
        }
    }
    if (!target->pool)
        return;
    for (size_t i = 0; i + 1 < rows; i += 2) {
        for (size_t j = 0; j + 1 < columns; j += 2) {
            const float *a = tile + (i * side + j) * CSI_WINO_BLOCK, *b = a + side * CSI_WINO_BLOCK;
            float *out =
                target->output + ((y + i) / 2 * (target->width / 2) + (x + j) / 2) * target->pitch + channel;
            for (size_t c = 0; c < CSI_WINO_BLOCK; c++) {
                float upper = a[c] > a[c + CSI_WINO_BLOCK] ? a[c] : a[c + CSI_WINO_BLOCK];
                float lower = b[c] > b[c + CSI_WINO_BLOCK] ? b[c] : b[c + CSI_WINO_BLOCK];
                out[c] = upper > lower ? upper : lower;
            }
        }
    }
}
