/*
 * Winograd convolutions: which tiles and channels are computed when, and by whom. Arithmetic is the
 * instruction sets' part, packing is in wino_pack.c, the order of products in wino_products.c, the choice for
 * a shape in wino_choose.c.
 *
 * Three schedules:
 *  - banded: a task takes a band of tiles through all three steps, so that its V and M stay in the core's L2.
 * For many tiles.
 *  - staged: all tiles are transformed, then every (position, output block) is one product whose weights are
 * read once, then all is transformed back. For few tiles and big weights, which stream from memory once.
 *  - compact: as staged, but a task takes an output block through products and output transform, and its
 * weights, packed as they are, are transformed row of positions by row of positions into the core's L2 just
 * before their products. A quarter or a seventh of the memory; slower, because a core writes its L2 at a
 * third of the speed at which it reads it (docs/experiments.md).
 */
#include <string.h>

#include "base/checked.h"
#include "kernels/conv3x3_first_ops.h"
#include "kernels/wino_panels.h"

/* The slots of a band should take about this much of L2; the rest is for weights and pixels passing by. */
#define BAND_BYTES (640u << 10)
#define BAND_MOST  4u /* panels */
/* Floats between the scratch of two workers. What it wins is measured; probably hardware goes on fetching
 * where strides of some KiB end, and what it takes from the other core's lines that one must fetch back.
 */
#define WORKER_GAP (64u << 10)
/* Most tiles of a staged group: bounds the memory that a big batch takes. */
#define STAGED_TILES 208u
/* Most input channels whose weights are transformed at a time: a row of F(6,3) for 32 outputs then takes a
 * quarter of a mebibyte. */
#define COMPACT_CHANNELS 256u

struct run {
    const struct csi_wino_shape *shape;
    const struct csi_wino_desc *desc;
    const float *bias, *weights, *input, *residual;
    float *output;
    size_t tiles;                  /* of the whole batch */
    size_t bands;                  /* banded: into which they are cut */
    size_t first, count;           /* staged: tiles of the group at work */
    size_t chunks;                 /* staged: tasks of the step at work */
    float *v, *m;                  /* staged: shared; banded: worker 0's, both in its slots */
    size_t v_position, m_position; /* strides in floats */
    size_t worker_floats;          /* banded, compact: from one worker's scratch to the next */
    float *u;                      /* compact: worker 0's row of transformed weights, its m behind it */
    size_t splits;                 /* compact: parts of the tiles */
    float *tile;                   /* fixed point: worker 0's V of a tile in float32, */
    size_t tile_worker_floats;     /* and from one worker's to the next */
};

/* Fixed point: from one position to the next of a tile's V in float32; and all of it. */
static size_t tile_stride(const struct csi_wino_shape *shape)
{
    return shape->kpitch + 16;
}

static size_t tile_floats(const struct csi_wino_shape *shape)
{
    return shape->fixed ? shape->positions * tile_stride(shape) : 0;
}

/* Banded: V and M share one row of slots. V of position p stands in slot p + 1 and M of position p goes to
 * slot p, where V of the position before has been used up. An odd number of cache lines. */
static size_t slot_stride(const struct csi_wino_shape *shape, size_t tiles)
{
    const size_t rows = tiles * (shape->outputs - 1) + csi_wino_padded_tiles(shape, tiles);
    const size_t m = csi_round_up(rows * shape->ops->lanes, 16) + 16;
    return csi_max_size(csi_wino_v_stride(shape, tiles), m) | 16;
}

static size_t band_tiles(const struct csi_wino_shape *shape)
{
    size_t panels = BAND_BYTES / ((shape->positions + 1) * slot_stride(shape, shape->rows) * sizeof(float));
    return csi_min_size(csi_max_size(panels, 1), BAND_MOST) * shape->rows;
}

static size_t banded_floats(const struct csi_wino_shape *shape)
{
    return (shape->positions + 1) * slot_stride(shape, band_tiles(shape)) + tile_floats(shape);
}

/* A staged group: of a batch, as many tiles as make V and M as big as the weights, which every group reads
 * again; but no less than an image. */
static size_t group_tiles(const struct csi_wino_shape *shape, size_t batch)
{
    const size_t image = shape->tiles_y * shape->tiles_x, n = shape->outputs * shape->ops->lanes;
    const size_t even = shape->kpitch * n / (shape->kpitch + n);
    return csi_min_size(csi_min_size(csi_max_size(even, image), batch * image), STAGED_TILES);
}

/* Compact: floats of one channel of a row of transformed weights: an odd number of cache lines. And of the
 * row. */
static size_t u_stride(const struct csi_wino_shape *shape)
{
    return (shape->side + 2) * shape->ops->lanes + 16;
}

static size_t u_floats(const struct csi_wino_shape *shape)
{
    return csi_min_size(shape->kpitch, COMPACT_CHANNELS) * u_stride(shape);
}

/* Of one worker, with `tiles` tiles. */
static size_t compact_floats(const struct csi_wino_shape *shape, size_t tiles)
{
    return u_floats(shape) + shape->positions * csi_wino_m_stride(shape, tiles);
}

/* From the scratch of a worker to the next one's: see CSI_WORKER_FLOATS. */
static size_t worker_stride(size_t floats)
{
    return csi_round_up(floats + WORKER_GAP, CSI_WORKER_FLOATS);
}

size_t csi_wino_scratch_size(const struct csi_wino *kernel, const struct csi_wino_desc *desc, size_t batch,
                             unsigned threads)
{
    struct csi_wino_shape shape;
    if (!csi_wino_shape_make(kernel, desc, &shape))
        return 0;
    if (kernel->schedule == CSI_WINO_BANDED)
        return worker_stride(banded_floats(&shape)) * threads * sizeof(float);
    const size_t tiles = group_tiles(&shape, batch);
    if (kernel->schedule == CSI_WINO_COMPACT)
        return (CSI_WORKER_FLOATS * threads + shape.positions * csi_wino_v_stride(&shape, tiles) +
                compact_floats(&shape, tiles) * threads) *
               sizeof(float);
    return (CSI_WORKER_FLOATS * threads +
            shape.positions *
                (csi_wino_v_stride(&shape, tiles) + shape.outputs * csi_wino_m_stride(&shape, tiles)) +
            tile_floats(&shape) * threads) *
           sizeof(float);
}

/* Where a tile stands; tiles are counted through the whole batch, row by row. */
struct place {
    size_t image, row, column;
};

static struct place place_of(const struct csi_wino_shape *shape, size_t tile)
{
    const size_t per_image = shape->tiles_y * shape->tiles_x, in_image = tile % per_image;
    return (struct place){tile / per_image, in_image / shape->tiles_x, in_image % shape->tiles_x};
}

static void next_place(const struct csi_wino_shape *shape, struct place *place)
{
    if (++place->column < shape->tiles_x)
        return;
    place->column = 0;
    if (++place->row < shape->tiles_y)
        return;
    place->row = 0;
    place->image++;
}

/* The rows above, of and below one row of tiles, from column `left` on. */
struct strip {
    struct csi_wino_plane plane;
    size_t left;
};

/* A tile of `plane` → split V at `v`, `stride` floats from a block of 32 channels to the next. */
static void transform_split(const struct run *run, struct csi_wino_plane *plane, size_t y, size_t x, float *v,
                            size_t stride)
{
    const size_t half = CSI_WINO_SPLIT_BLOCK / 4,
                 channels = plane->last; /* half a block's bfloat16: floats */
    for (size_t k = 0; k < channels; k += CSI_WINO_BLOCK) {
        plane->first = k;
        plane->last = k + CSI_WINO_BLOCK;
        run->shape->ops->input[run->shape->size](plane, y, x,
                                                 v + k / CSI_WINO_SPLIT_BLOCK * stride +
                                                     k % CSI_WINO_SPLIT_BLOCK / CSI_WINO_BLOCK * half,
                                                 0, run->v_position);
    }
    if (channels % CSI_WINO_SPLIT_BLOCK == 0)
        return;
    v += channels / CSI_WINO_SPLIT_BLOCK * stride + half;
    for (size_t position = 0; position < run->shape->positions; position++, v += run->v_position) {
        memset(v, 0, half * sizeof(float));
        memset(v + 2 * half, 0, half * sizeof(float));
    }
}

/* The tile at `place` → V at `to`, its place in a panel of `rows` tiles whose V starts at `panel`. With a
 * `strip`, the pixels come from there. */
static void transform_tile(const struct run *run, struct place place, const struct strip *strip, float *panel,
                           size_t row, size_t rows, float *own)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t height = run->desc->height, width = run->desc->width;
    const size_t y = strip ? 1 : place.row * shape->side,
                 x = place.column * shape->side - (strip ? strip->left : 0);
    csi_wino_input_fn *transform = shape->ops->input[shape->size];
    struct csi_wino_plane plane = {0};
    if (strip) {
        plane = strip->plane;
    } else {
        plane.pixels = run->input + place.image * height * width * shape->kpitch;
        plane.height = height;
        plane.width = width;
        plane.pitch = shape->kpitch;
    }
    plane.last = shape->kpitch;
    if (shape->ops->split) {
        transform_split(run, &plane, y, x, panel + row * CSI_WINO_SPLIT_BLOCK, rows * CSI_WINO_SPLIT_BLOCK);
        return;
    }
    if (!shape->fixed) {
        transform(&plane, y, x, panel + row * CSI_WINO_BLOCK, rows * CSI_WINO_BLOCK, run->v_position);
        return;
    }
    const struct csi_wino_fixed_tile tile = {
        .v = own,
        .positions = shape->positions,
        .channels = shape->kpitch,
        .stride = tile_stride(shape),
        .out = (int16_t *)(void *)(panel + CSI_WINO_FIXED_HEAD) + row * shape->fixed->block,
        .block_stride = rows * shape->fixed->block,
        .position_stride = run->v_position * (sizeof(float) / sizeof(int16_t)),
        .scales = panel + row,
        .scale_stride = run->v_position,
    };
    transform(&plane, y, x, own, CSI_WINO_BLOCK, tile.stride);
    shape->fixed->quantize(&tile);
}

/* Transforms tiles first … last - 1 of the `tiles` tiles whose V starts at `v`; the first of them stands at
 * `place`. */
static void transform_in(const struct run *run, float *v, size_t tiles, size_t first, size_t last,
                         struct place place, const struct strip *strip, unsigned worker)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t rows = csi_wino_panel_rows(shape, tiles);
    for (size_t t = first; t < last; t++, next_place(shape, &place)) {
        const struct csi_wino_panel panel = csi_wino_panel_at(shape, tiles, t / rows);
        transform_tile(run, place, strip, v + csi_wino_panel_offset(shape, t / rows, panel.start),
                       t - panel.start, panel.rows, run->tile + worker * run->tile_worker_floats);
    }
}

static void transform_out(const struct run *run, const float *m, struct place place, size_t block)
{
    const struct csi_wino_shape *shape = run->shape;
    const struct csi_wino_desc *desc = run->desc;
    const size_t halves = desc->pool ? 2 : 1, pixels = (desc->height / halves) * (desc->width / halves);
    const struct csi_wino_target target = {
        .output = run->output + place.image * pixels * shape->npitch,
        .residual =
            run->residual ? run->residual + place.image * desc->height * desc->width * shape->npitch : NULL,
        .bias = run->bias,
        .height = desc->height,
        .width = desc->width,
        .pitch = shape->npitch,
        .pool = desc->pool,
        .activation = desc->activation,
    };
    const size_t channel = block * shape->ops->lanes;
    shape->ops->output[shape->size](
        m, run->m_position, &target, place.row * shape->side, place.column * shape->side, channel,
        csi_min_size(shape->ops->lanes, shape->npitch - channel) / CSI_WINO_BLOCK);
}

/* What the product of a position and output block multiplies; behind the last one comes the first. */
static struct csi_wino_factors factors_of(const struct run *run, const float *v, size_t unit)
{
    const size_t outputs = run->shape->outputs;
    unit %= run->shape->positions * outputs;
    return (struct csi_wino_factors){v + unit / outputs * run->v_position,
                                     run->weights + unit * csi_wino_weight_floats(run->shape)};
}

/* All three steps for `tiles` tiles from `first` on. */
static void run_band(const struct run *run, float *v, float *m, size_t first, size_t tiles,
                     const struct strip *strip, unsigned worker)
{
    const struct csi_wino_shape *shape = run->shape;
    const struct place start = place_of(shape, first);
    transform_in(run, v, tiles, 0, tiles, start, strip, worker);
    const size_t units = shape->positions * shape->outputs;
    for (size_t unit = 0; unit < units; unit++) {
        const size_t position = unit / shape->outputs, block = unit % shape->outputs;
        csi_wino_multiply(shape, factors_of(run, v, unit), factors_of(run, v, unit + 1),
                          m + position * run->m_position + block * tiles * shape->ops->lanes, tiles);
    }
    if (shape->end)
        shape->end();
    struct place place = start;
    for (size_t t = 0; t < tiles; t++, next_place(shape, &place)) {
        for (size_t block = 0; block < shape->outputs; block++)
            transform_out(run, m + (block * tiles + t) * shape->ops->lanes, place, block);
    }
}

static void band_task(void *context, size_t index, unsigned worker)
{
    const struct run *run = context;
    const size_t first = csi_wino_part(run->tiles, run->bands, index),
                 tiles = csi_wino_part(run->tiles, run->bands, index + 1) - first;
    run_band(run, run->v + worker * run->worker_floats, run->m + worker * run->worker_floats, first, tiles,
             NULL, worker);
}

static void staged_in_task(void *context, size_t index, unsigned worker)
{
    const struct run *run = context;
    const size_t first = csi_wino_part(run->count, run->chunks, index),
                 last = csi_wino_part(run->count, run->chunks, index + 1);
    transform_in(run, run->v, run->count, first, last, place_of(run->shape, run->first + first), NULL,
                 worker);
}

static void staged_multiply_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t units = shape->positions * shape->outputs;
    for (size_t unit = csi_wino_part(units, run->chunks, index);
         unit < csi_wino_part(units, run->chunks, index + 1); unit++) {
        const size_t position = unit / shape->outputs, block = unit % shape->outputs;
        csi_wino_multiply(shape, factors_of(run, run->v, unit), factors_of(run, run->v, unit + 1),
                          run->m + (block * shape->positions + position) * run->m_position, run->count);
    }
    if (shape->end)
        shape->end();
}

static void staged_out_task(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t units = run->count * shape->outputs;
    for (size_t unit = csi_wino_part(units, run->chunks, index);
         unit < csi_wino_part(units, run->chunks, index + 1); unit++) {
        const size_t block = unit % shape->outputs, t = unit / shape->outputs;
        transform_out(run, run->m + block * shape->positions * run->m_position + t * shape->ops->lanes,
                      place_of(shape, run->first + t), block);
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

/* Products of some panels with a row of transformed weights, channels k … k + channels - 1. V of the next
 * position is fetched meanwhile. */
static void multiply_row(const struct run *run, size_t row, size_t k, size_t channels, const float *u,
                         float *m, size_t first_panel, size_t last_panel)
{
    const struct csi_wino_shape *shape = run->shape;
    const struct csi_wino_ops *ops = shape->ops;
    const size_t n = shape->side + 2;
    for (size_t j = 0; j < n; j++) {
        const size_t position = row * n + j, next = position + 1 < shape->positions ? run->v_position : 0;
        for (size_t p = first_panel; p < last_panel; p++) {
            const struct csi_wino_panel panel = csi_wino_panel_at(shape, run->count, p);
            const float *v =
                run->v + position * run->v_position + panel.start * shape->kpitch + k * panel.rows;
            ops->row_gemm(panel.rows, channels / CSI_WINO_BLOCK, v, u + j * ops->lanes, u_stride(shape),
                          m + position * run->m_position + panel.start * ops->lanes, k > 0, v + next,
                          next > 0 ? (panel.rows + 3) / 4 : 0);
        }
    }
}

static void compact_task(void *context, size_t index, unsigned worker)
{
    const struct run *run = context;
    const struct csi_wino_shape *shape = run->shape;
    const size_t block = index / run->splits, split = index % run->splits,
                 panels = csi_wino_panels(shape, run->count);
    const size_t first_panel = csi_wino_part(panels, run->splits, split),
                 last_panel = csi_wino_part(panels, run->splits, split + 1);
    const size_t blocks = shape->kpitch / CSI_WINO_BLOCK,
                 chunks = (shape->kpitch + COMPACT_CHANNELS - 1) / COMPACT_CHANNELS;
    const float *g = run->weights + block * csi_wino_compact_floats(shape);
    float *u = run->u + worker * run->worker_floats, *m = u + u_floats(shape);
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t k = csi_wino_part(blocks, chunks, chunk) * CSI_WINO_BLOCK,
                     channels = csi_wino_part(blocks, chunks, chunk + 1) * CSI_WINO_BLOCK - k;
        for (size_t row = 0; row < shape->side + 2; row++) {
            shape->ops->weights[shape->size](g + k * 9 * shape->ops->lanes, row, channels, u,
                                             u_stride(shape));
            multiply_row(run, row, k, channels, u, m, first_panel, last_panel);
        }
    }
    const size_t rows = csi_wino_panel_rows(shape, run->count),
                 last = csi_min_size(last_panel * rows, run->count);
    for (size_t t = first_panel * rows; t < last; t++)
        transform_out(run, m + t * shape->ops->lanes, place_of(shape, run->first + t), block);
}

static void run_compact(struct run *run, size_t batch, float *scratch, struct csi_pool *pool,
                        unsigned threads)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t most = group_tiles(shape, batch), groups = (run->tiles + most - 1) / most;
    scratch += CSI_WORKER_FLOATS * threads;
    run->v = scratch;
    run->u = scratch + shape->positions * csi_wino_v_stride(shape, most);
    run->worker_floats = compact_floats(shape, most);
    for (size_t group = 0; group < groups; group++) {
        run->first = csi_wino_part(run->tiles, groups, group);
        run->count = csi_wino_part(run->tiles, groups, group + 1) - run->first;
        run->v_position = csi_wino_v_stride(shape, run->count);
        run->m_position = csi_wino_m_stride(shape, run->count);
        run->chunks = csi_min_size(run->count, 4u * threads);
        spread(pool, run->chunks, staged_in_task, run);
        /* Parts of the tiles transform the weights again: only where threads would have nothing to do. */
        run->splits =
            csi_min_size((threads + shape->outputs - 1) / shape->outputs, csi_wino_panels(shape, run->count));
        spread(pool, shape->outputs * run->splits, compact_task, run);
    }
}

static void run_staged(struct run *run, size_t batch, float *scratch, struct csi_pool *pool, unsigned threads)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t most = group_tiles(shape, batch), groups = (run->tiles + most - 1) / most;
    scratch += CSI_WORKER_FLOATS * threads;
    run->v = scratch;
    run->m = scratch + shape->positions * csi_wino_v_stride(shape, most);
    run->tile = run->m + shape->positions * shape->outputs * csi_wino_m_stride(shape, most);
    run->tile_worker_floats = tile_floats(shape);
    for (size_t group = 0; group < groups; group++) {
        run->first = csi_wino_part(run->tiles, groups, group);
        run->count = csi_wino_part(run->tiles, groups, group + 1) - run->first;
        run->v_position = csi_wino_v_stride(shape, run->count);
        run->m_position = csi_wino_m_stride(shape, run->count);
        run->chunks = csi_min_size(run->count, 4u * threads);
        spread(pool, run->chunks, staged_in_task, run);
        run->chunks = csi_min_size(shape->positions * shape->outputs, 24u * threads);
        spread(pool, run->chunks, staged_multiply_task, run);
        run->chunks = csi_min_size(run->count * shape->outputs, 6u * threads);
        spread(pool, run->chunks, staged_out_task, run);
    }
}

/* Where the slots of workers stand whose bands have up to `tiles` tiles. */
static void set_slots(struct run *run, size_t tiles, float *scratch)
{
    const struct csi_wino_shape *shape = run->shape;
    run->v_position = run->m_position = slot_stride(shape, tiles);
    run->m = scratch;
    run->v = scratch + run->v_position;
    run->tile = scratch + (shape->positions + 1) * run->v_position;
    run->worker_floats = run->tile_worker_floats = worker_stride(banded_floats(shape));
}

static void run_banded(struct run *run, float *scratch, struct csi_pool *pool, unsigned threads)
{
    const struct csi_wino_shape *shape = run->shape;
    const size_t most = band_tiles(shape);
    run->bands = (run->tiles + most - 1) / most;
    if (run->bands < 8u * threads) /* few: as many for each thread */
        run->bands = csi_min_size((run->bands + threads - 1) / threads * threads, run->tiles);
    set_slots(run, most, scratch);
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
    if (kernel->schedule == CSI_WINO_STAGED)
        run_staged(&run, batch, scratch, pool, threads);
    else if (kernel->schedule == CSI_WINO_COMPACT)
        run_compact(&run, batch, scratch, pool, threads);
    else
        run_banded(&run, scratch, pool, threads);
}

/* How a network's first two convolutions run as one: a task takes a row of tiles, or a part of its width that
 * makes one band, and has the first layer's pixels made into a strip that stays in L2, instead of a map that
 * would go out to memory and come back. A worker whose task before was the row above keeps the two lines that
 * they share. */
struct pair {
    struct run run;
    const struct csi_conv_first *first;
    const struct csi_wino_desc *first_desc;
    const void *first_packed;
    const float *input;      /* NCHW */
    size_t chunks, segments; /* of an image: vertically, horizontally. Tasks go down chunk by chunk, segment
                              * by segment, so that a worker's share is mostly rows below one another. */
    float *strips, *lines;   /* worker 0's, behind its slots */
    float *before;           /* worker 0's index of the task before, a size_t; behind the lines */
};

static size_t segments_of(const struct csi_wino_shape *shape)
{
    return (shape->tiles_x + band_tiles(shape) - 1) / band_tiles(shape);
}

/* Tiles of the widest segment. */
static size_t segment_tiles(const struct csi_wino_shape *shape)
{
    return (shape->tiles_x + segments_of(shape) - 1) / segments_of(shape);
}

static size_t strip_floats(const struct csi_wino_shape *shape, const struct csi_wino_desc *desc)
{
    const size_t columns = csi_min_size(segment_tiles(shape) * shape->side + 2, desc->width);
    return (shape->side + 2) * columns * shape->kpitch;
}

/* Rows y … y + count - 1 of the first layer's output (rows outside the image are zero); y counts from 1. */
static void make_rows(const struct pair *pair, const struct strip *strip, size_t image, size_t y,
                      size_t count, float *out, float *lines)
{
    const struct csi_wino_desc *desc = pair->run.desc;
    const size_t row = strip->plane.width * pair->run.shape->kpitch;
    for (; count > 0; count--, y++, out += row) {
        if (y >= 1 && y <= desc->height)
            csi_conv_first_row(pair->first, pair->first_desc, pair->first_packed,
                               pair->input + image * pair->first_desc->cin * desc->height * desc->width,
                               y - 1, strip->left, strip->plane.width, out, lines);
        else
            memset(out, 0, row * sizeof(float));
    }
}

static size_t *task_before(const struct pair *pair, unsigned worker)
{
    return (size_t *)(void *)(pair->before + worker * pair->run.worker_floats);
}

static void pair_task(void *context, size_t index, unsigned worker)
{
    const struct pair *pair = context;
    const struct run *run = &pair->run;
    const struct csi_wino_shape *shape = run->shape;
    const size_t tasks = shape->tiles_y * pair->segments, image = index / tasks, side = shape->side;
    size_t chunk = 0;
    while (csi_wino_part(shape->tiles_y, pair->chunks, chunk + 1) * pair->segments <= index % tasks)
        chunk++;
    const size_t top = csi_wino_part(shape->tiles_y, pair->chunks, chunk),
                 rows = csi_wino_part(shape->tiles_y, pair->chunks, chunk + 1) - top;
    const size_t segment = (index % tasks - top * pair->segments) / rows,
                 y = top + (index % tasks - top * pair->segments) % rows;
    const size_t start = csi_wino_part(shape->tiles_x, pair->segments, segment),
                 end = csi_wino_part(shape->tiles_x, pair->segments, segment + 1);
    const size_t left = start > 0 ? start * side - 1 : 0,
                 right = csi_min_size(end * side + 1, run->desc->width), row = (right - left) * shape->kpitch;
    float *pixels = pair->strips + worker * run->worker_floats,
          *lines = pair->lines + worker * run->worker_floats;
    const struct strip strip = {{pixels, side + 2, right - left, shape->kpitch, 0, shape->kpitch}, left};
    if (y > top && *task_before(pair, worker) == index - 1) {
        memcpy(pixels, pixels + side * row, 2 * row * sizeof(float));
        make_rows(pair, &strip, image, y * side + 2, side, pixels + 2 * row, lines);
    } else {
        make_rows(pair, &strip, image, y * side, side + 2, pixels, lines);
    }
    *task_before(pair, worker) = index;
    run_band(run, run->v + worker * run->worker_floats, run->m + worker * run->worker_floats,
             (image * shape->tiles_y + y) * shape->tiles_x + start, end - start, &strip, worker);
}

/* Of one worker: slots, strip, input rows, the task before. */
static size_t pair_floats(const struct csi_wino_shape *shape, const struct csi_wino_desc *first,
                          const struct csi_wino_desc *second)
{
    return worker_stride(banded_floats(shape) + strip_floats(shape, second) +
                         csi_conv_first_scratch_size(first, 1) / sizeof(float) + 16);
}

bool csi_conv_pair_covers(const struct csi_wino_desc *first, const struct csi_wino *kernel,
                          const struct csi_wino_desc *second)
{
    return kernel->schedule != CSI_WINO_COMPACT && csi_conv_first_covers(first) &&
           first->cout == second->cin && first->height == second->height && first->width == second->width &&
           !second->residual;
}

size_t csi_conv_pair_scratch_size(const struct csi_wino_desc *first, const struct csi_wino *kernel,
                                  const struct csi_wino_desc *second, unsigned threads)
{
    struct csi_wino_shape shape;
    if (!csi_conv_pair_covers(first, kernel, second) || !csi_wino_shape_make(kernel, second, &shape))
        return 0;
    return pair_floats(&shape, first, second) * threads * sizeof(float);
}

void csi_conv_pair_run(const struct csi_conv_first *first, const struct csi_wino_desc *first_desc,
                       const void *first_packed, const struct csi_wino *kernel,
                       const struct csi_wino_desc *desc, const void *packed, const float *input,
                       float *output, size_t batch, void *scratch, struct csi_pool *pool)
{
    struct csi_wino_shape shape;
    if (batch == 0 || !csi_conv_pair_covers(first_desc, kernel, desc) ||
        !csi_wino_shape_make(kernel, desc, &shape))
        return;
    const unsigned threads = pool ? csi_pool_threads(pool) : 1;
    struct pair pair = {
        .first = first,
        .first_desc = first_desc,
        .first_packed = first_packed,
        .input = input,
        .run = {.shape = &shape,
                .desc = desc,
                .bias = packed,
                .weights = (const float *)packed + shape.outputs * shape.ops->lanes,
                .output = output,
                .tiles = batch * shape.tiles_y * shape.tiles_x},
        .segments = segments_of(&shape),
    };
    struct run *run = &pair.run;
    set_slots(run, segment_tiles(&shape), scratch);
    run->worker_floats = run->tile_worker_floats = pair_floats(&shape, first_desc, desc);
    pair.strips = run->m + banded_floats(&shape);
    pair.lines = pair.strips + strip_floats(&shape, desc);
    pair.before = pair.lines + csi_conv_first_scratch_size(first_desc, 1) / sizeof(float);
    for (unsigned worker = 0; worker < threads; worker++)
        *task_before(&pair, worker) = SIZE_MAX - 1;
    pair.chunks = csi_min_size(shape.tiles_y, (threads + batch - 1) / batch);
    const size_t tasks = batch * shape.tiles_y * pair.segments;
    if (pool) {
        csi_pool_run(pool, tasks, pair_task, &pair);
        return;
    }
    for (size_t i = 0; i < tasks; i++)
        pair_task(&pair, i, 0);
}
