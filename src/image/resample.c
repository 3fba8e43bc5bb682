/*
 * Resampling: weights and the streaming order of the two passes (see resample.h). The inner loops are in
 * resample_c.c and the files of the instruction sets.
 */
#include "image/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

/* ---- weights ---- */

static const double pi = 3.14159265358979323846;

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x = x * pi;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static double triangle(double x)
{
    if (x < 0.0)
        x = -x;
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* ---- Pillow's way: the order of the operations is its own, so that the doubles are the same to the last bit
 */

static int32_t rounded(double weight)
{
    return (int32_t)(weight * (1 << CSI_RESAMPLE_BITS) + (weight < 0 ? -0.5 : 0.5));
}

static void exact_weights(double (*shape)(double), int low, double center, double step, int taps,
                          double *scratch, int32_t *weights)
{
    double sum = 0.0;

    for (int x = 0; x < taps; x++) {
        scratch[x] = shape((x + low - center + 0.5) * step);
        sum += scratch[x];
    }
    for (int x = 0; x < taps; x++)
        weights[x] = rounded(sum != 0.0 ? scratch[x] / sum : scratch[x]);
}

/* ---- the same weights in a tenth of the time: sines by turning from tap to tap instead of 2·taps calls of
 * sin. A tap's error stays under 10^-11 of a weight of 1; where a weight is so near to the middle of two
 * steps of 2^-22 that four times that could matter, the answer is `false`. */

enum { MOST_TURNS = 200 };
#define SAFE 2e-4 /* in steps of 2^-22: 4.8e-11 */

static bool turned_weights(double from, double step, int taps, double *scratch, int32_t *weights)
{
    double angle = pi * (from + 0.5) * step, turn = pi * step, sum = 0.0, scale;
    double s1 = sin(angle), c1 = cos(angle), s3 = sin(angle / 3), c3 = cos(angle / 3);
    const double sin1 = sin(turn), cos1 = cos(turn), sin3 = sin(turn / 3), cos3 = cos(turn / 3);

    for (int k = 0; k < taps; k++) {
        double x = (k + from + 0.5) * step, turned = s1 * cos1 + c1 * sin1;

        if (x > -0.1 && x < 0.1) /* a division by so little makes errors large */
            scratch[k] = lanczos(x);
        else
            scratch[k] = -3.0 <= x && x < 3.0 ? s1 * s3 * (3 / (pi * pi)) / (x * x) : 0.0;
        sum += scratch[k];
        c1 = c1 * cos1 - s1 * sin1;
        s1 = turned;
        turned = s3 * cos3 + c3 * sin3;
        c3 = c3 * cos3 - s3 * sin3;
        s3 = turned;
    }
    if (!(sum > 0.5))
        return false;
    scale = (1 << CSI_RESAMPLE_BITS) / sum;
    for (int k = 0; k < taps; k++) {
        double steps = scratch[k] * scale, size = steps < 0 ? -steps : steps;
        double over = size - (double)(int32_t)size;

        if (over > 0.5 - SAFE && over < 0.5 + SAFE)
            return false;
        weights[k] = (int32_t)(steps + (steps < 0 ? -0.5 : 0.5));
    }
    return true;
}

static void compute_weights(struct csi_resample_axis *axis, uint32_t in, uint32_t out, uint32_t first,
                            enum cs_filter filter, double *scratch)
{
    double (*shape)(double) = filter == CS_FILTER_LANCZOS ? lanczos : triangle;
    double scale = (double)in / out;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = (filter == CS_FILTER_LANCZOS ? 3.0 : 1.0) * filter_scale;
    double step = 1.0 / filter_scale;

    for (uint32_t i = 0; i < axis->count; i++) {
        double center = (first + i + 0.5) * scale;
        int low = (int)(center - support + 0.5), high = (int)(center + support + 0.5);
        int32_t *weights = axis->weights + (size_t)i * axis->max_taps;

        low = low < 0 ? 0 : low;
        high = high > (int)in ? (int)in : high;
        axis->start[i] = (uint32_t)low;
        axis->taps[i] = (uint32_t)(high - low);
        if (filter != CS_FILTER_LANCZOS || high - low > MOST_TURNS ||
            !turned_weights(low - center, step, high - low, scratch, weights))
            exact_weights(shape, low, center, step, high - low, scratch, weights);
    }
}

enum cs_status csi_resample_axis_init(struct csi_resample_axis *axis, uint32_t in, uint32_t out,
                                      uint32_t first, uint32_t count, enum cs_filter filter,
                                      const struct csi_resample_kernels *kernels, bool horizontal,
                                      struct cs_error *error)
{
    const uint32_t align = horizontal ? kernels->align : 1;
    double reduction = (double)in / out < 1.0 ? 1.0 : (double)in / out;
    double reach = ceil((filter == CS_FILTER_LANCZOS ? 3.0 : 1.0) * reduction) * 2 + 1;
    double *scratch;
    size_t size, packed;

    memset(axis, 0, sizeof *axis);
    if (in == 0 || count == 0)
        return csi_fail(error, CS_BAD_REQUEST, "nothing to resample");
    axis->count = count;
    axis->max_taps = reach < in ? (uint32_t)reach : in;
    axis->packed_row = kernels->packed_row(axis->max_taps);
    if (csi_mul_overflows((size_t)count * sizeof(int32_t), axis->max_taps, &size) ||
        csi_mul_overflows(axis->packed_row, count, &packed))
        return csi_fail_memory(error, "resampling weights");
    scratch = malloc(axis->max_taps * sizeof *scratch);
    /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): count is not 0, see above */
    axis->start = malloc(count * sizeof *axis->start);
    axis->taps = malloc(count * sizeof *axis->taps);
    axis->weights = csi_aligned_calloc(size);
    axis->packed = csi_aligned_calloc(packed);
    if (scratch == NULL || axis->start == NULL || axis->taps == NULL || axis->weights == NULL ||
        axis->packed == NULL) {
        free(scratch);
        csi_resample_axis_free(axis);
        return csi_fail_memory(error, "resampling weights");
    }
    compute_weights(axis, in, out, first, filter, scratch);
    for (uint32_t i = 0; i < count; i++)
        kernels->pack(axis->weights + (size_t)i * axis->max_taps, axis->taps[i], axis->start[i] % align,
                      (unsigned char *)axis->packed + i * axis->packed_row);
    free(scratch);
    return CS_OK;
}

void csi_resample_axis_free(struct csi_resample_axis *axis)
{
    free(axis->start);
    free(axis->taps);
    csi_aligned_free(axis->weights);
    csi_aligned_free(axis->packed);
    memset(axis, 0, sizeof *axis);
}

/* ---- streaming ---- */

struct csi_resampler {
    const struct csi_resample_kernels *kernels;
    struct csi_resample_plan plan;
    cs_image *target;
    bool horizontal, vertical; /* a direction that keeps its size is not filtered, as in Pillow */
    bool columns_first;        /* the ring then holds input rows, and `stage` results of the vertical pass */
    struct csi_resample_axis x, y;
    uint32_t first, end;  /* input rows that the window needs: [first, end) */
    uint32_t taken, made; /* input rows pushed; output rows finished */
    /* The ring: horizontal results of the last rows. Row r lives in slot r % slots. */
    uint8_t *ring, *spare; /* `spare` takes the surplus rows of a short batch */
    size_t slot_size;
    uint32_t slots;
    uint8_t *stage[CSI_RESAMPLE_ROWS];
    const uint8_t **column; /* max_taps pointers into the ring for one output row */
};

static enum cs_status make_ring(struct csi_resampler *r, struct cs_error *error)
{
    size_t size;

    r->slot_size =
        csi_round_up((size_t)(r->columns_first ? r->plan.in_width : r->target->width) * 3 + CSI_IMAGE_PADDING,
                     CSI_ALIGNMENT);
    r->slots = r->y.max_taps + r->kernels->rows;
    r->spare = csi_aligned_alloc(r->slot_size);
    if (r->spare == NULL)
        return csi_fail_memory(error, "resampling rows");
    if (!r->vertical)
        return CS_OK;
    for (uint32_t i = 0; r->columns_first && i < r->kernels->rows; i++) {
        r->stage[i] = csi_aligned_calloc(r->slot_size);
        if (r->stage[i] == NULL)
            return csi_fail_memory(error, "resampling rows");
    }
    if (csi_mul_overflows(r->slot_size, r->slots, &size))
        return csi_fail_memory(error, "resampling rows");
    r->ring = csi_aligned_calloc(size);
    r->column = malloc(r->y.max_taps * sizeof *r->column);
    return r->ring == NULL || r->column == NULL ? csi_fail_memory(error, "resampling rows") : CS_OK;
}

enum cs_status csi_resampler_create(const struct csi_resample_plan *plan, cs_image *target,
                                    struct csi_resampler **resampler, struct cs_error *error)
{
    struct csi_resampler *r;
    enum cs_status status = CS_OK;

    *resampler = NULL;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return csi_fail_memory(error, "resampler");
    r->kernels = csi_resample_choose(plan->cpu_features);
    r->plan = *plan;
    r->target = target;
    r->horizontal = plan->in_width != plan->out_width;
    r->vertical = plan->in_height != plan->out_height;
    r->columns_first = plan->columns_first && r->horizontal && r->vertical;
    r->first = plan->top;
    r->end = plan->top + target->height;
    if (r->horizontal)
        status = csi_resample_axis_init(&r->x, plan->in_width, plan->out_width, plan->left, target->width,
                                        plan->filter, r->kernels, true, error);
    if (status == CS_OK && r->vertical) {
        status = csi_resample_axis_init(&r->y, plan->in_height, plan->out_height, plan->top, target->height,
                                        plan->filter, r->kernels, false, error);
        if (status == CS_OK) {
            r->first = r->y.start[0];
            r->end = r->y.start[target->height - 1] + r->y.taps[target->height - 1];
        }
    }
    if (status == CS_OK)
        status = make_ring(r, error);
    if (status != CS_OK) {
        csi_resampler_destroy(r);
        return status;
    }
    *resampler = r;
    return CS_OK;
}

void csi_resampler_destroy(struct csi_resampler *resampler)
{
    if (resampler == NULL)
        return;
    csi_resample_axis_free(&resampler->x);
    csi_resample_axis_free(&resampler->y);
    csi_aligned_free(resampler->ring);
    csi_aligned_free(resampler->spare);
    for (uint32_t i = 0; i < CSI_RESAMPLE_ROWS; i++)
        csi_aligned_free(resampler->stage[i]);
    free((void *)resampler->column);
    free(resampler);
}

/* Where the horizontal result of input row `row` goes: its slot, or straight into the target. */
static uint8_t *place_of(const struct csi_resampler *r, uint32_t row)
{
    if (r->vertical)
        return r->ring + (size_t)(row % r->slots) * r->slot_size;
    return r->target->pixels + (row - r->plan.top) * r->target->stride;
}

/* Up to kernels->rows rows through the horizontal kernel; surplus rows go to the spare one. */
static void filter_rows(struct csi_resampler *r, const uint8_t *const *from, uint8_t *const *to,
                        uint32_t count)
{
    const uint8_t *sources[CSI_RESAMPLE_ROWS];
    uint8_t *targets[CSI_RESAMPLE_ROWS];

    for (uint32_t i = 0; i < r->kernels->rows; i++) {
        sources[i] = from[i < count ? i : 0];
        targets[i] = i < count ? to[i] : r->spare;
    }
    r->kernels->horizontal(&r->x, sources, targets);
}

/* Input rows from number `row` on to where the next pass or the caller wants them: filtered, or as they are.
 */
static void take_rows(struct csi_resampler *r, const uint8_t *rows, size_t stride, uint32_t row,
                      uint32_t count)
{
    const uint8_t *from[CSI_RESAMPLE_ROWS];
    uint8_t *to[CSI_RESAMPLE_ROWS];

    for (uint32_t i = 0; i < count; i++) {
        from[i] = rows + i * stride;
        to[i] = place_of(r, row + i);
    }
    if (r->columns_first) {
        for (uint32_t i = 0; i < count; i++)
            memcpy(to[i], from[i], (size_t)r->plan.in_width * 3);
    } else if (r->horizontal) {
        filter_rows(r, from, to, count);
    } else {
        for (uint32_t i = 0; i < count; i++)
            memcpy(to[i], from[i] + (size_t)r->plan.left * 3, r->target->stride);
    }
}

/* Rows that the vertical pass has staged, up to output row `end`, through the horizontal one. */
static void filter_stage(struct csi_resampler *r, uint32_t end)
{
    uint32_t count = (end - 1) % r->kernels->rows + 1;
    uint8_t *to[CSI_RESAMPLE_ROWS];

    for (uint32_t i = 0; i < count; i++)
        to[i] = r->target->pixels + (end - count + i) * r->target->stride;
    filter_rows(r, (const uint8_t *const *)r->stage, to, count);
}

/* Every output row whose inputs are all there. */
static void pass_vertically(struct csi_resampler *r)
{
    while (r->made < r->target->height) {
        uint32_t start = r->y.start[r->made], taps = r->y.taps[r->made];
        const unsigned char *weights = (const unsigned char *)r->y.packed + r->made * r->y.packed_row;

        if (start + taps > r->taken)
            return;
        for (uint32_t i = 0; i < taps; i++)
            r->column[i] = place_of(r, start + i);
        if (r->columns_first)
            r->kernels->vertical(weights, r->column, taps, r->stage[r->made % r->kernels->rows],
                                 (size_t)r->plan.in_width * 3);
        else
            r->kernels->vertical(weights, r->column, taps, r->target->pixels + r->made * r->target->stride,
                                 r->target->stride);
        r->made++;
        if (r->columns_first && (r->made % r->kernels->rows == 0 || r->made == r->target->height))
            filter_stage(r, r->made);
    }
}

void csi_resampler_push(struct csi_resampler *resampler, const uint8_t *rows, size_t stride, uint32_t count)
{
    struct csi_resampler *r = resampler;

    if (r->taken < r->first) { /* above the window */
        uint32_t skip = r->first - r->taken < count ? r->first - r->taken : count;

        r->taken += skip;
        rows += skip * stride;
        count -= skip;
    }
    while (count > 0 && r->taken < r->end) {
        uint32_t n = r->end - r->taken < r->kernels->rows ? r->end - r->taken : r->kernels->rows;

        n = n < count ? n : count;
        take_rows(r, rows, stride, r->taken, n);
        r->taken += n;
        rows += n * stride;
        count -= n;
        if (r->vertical)
            pass_vertically(r);
    }
    r->taken += count; /* below the window */
}

enum cs_status csi_image_resize(const cs_image *image, uint32_t width, uint32_t height, enum cs_filter filter,
                                uint32_t cpu_features, cs_image **resized, struct cs_error *error)
{
    struct csi_resample_plan plan = {image->width, image->height, width, height, 0, 0,
                                     filter,       cpu_features,  false};
    struct csi_resampler *resampler = NULL;
    enum cs_status status = csi_image_create(width, height, resized, error);

    if (status != CS_OK)
        return status;
    status = csi_resampler_create(&plan, *resized, &resampler, error);
    if (status != CS_OK) {
        csi_image_destroy(*resized);
        *resized = NULL;
        return status;
    }
    csi_resampler_push(resampler, image->pixels, image->stride, image->height);
    csi_resampler_destroy(resampler);
    return CS_OK;
}
