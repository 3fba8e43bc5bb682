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

/* ---- weights
 * --------------------------------------------------------------------------------------------------- */

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

/* The order of the operations is Pillow's, so that the doubles are the same to the last bit. */
static void compute_weights(struct csi_resample_axis *axis, uint32_t in, uint32_t out, uint32_t first,
                            enum cs_filter filter, double *scratch)
{
    double (*shape)(double) = filter == CS_FILTER_LANCZOS ? lanczos : triangle;
    double scale = (double)in / out;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = (filter == CS_FILTER_LANCZOS ? 3.0 : 1.0) * filter_scale;
    double step = 1.0 / filter_scale;

    for (uint32_t i = 0; i < axis->count; i++) {
        double center = (first + i + 0.5) * scale, sum = 0.0;
        int low = (int)(center - support + 0.5), high = (int)(center + support + 0.5);
        int32_t *weights = axis->weights + (size_t)i * axis->max_taps;

        low = low < 0 ? 0 : low;
        high = high > (int)in ? (int)in : high;
        axis->start[i] = (uint32_t)low;
        axis->taps[i] = (uint32_t)(high - low);
        for (int x = 0; x < high - low; x++) {
            scratch[x] = shape((x + low - center + 0.5) * step);
            sum += scratch[x];
        }
        for (int x = 0; x < high - low; x++) {
            double weight = sum != 0.0 ? scratch[x] / sum : scratch[x];

            weights[x] = (int32_t)(weight * (1 << CSI_RESAMPLE_BITS) + (weight < 0 ? -0.5 : 0.5));
        }
    }
}

enum cs_status csi_resample_axis_init(struct csi_resample_axis *axis, uint32_t in, uint32_t out,
                                      uint32_t first, uint32_t count, enum cs_filter filter,
                                      const struct csi_resample_kernels *kernels, struct cs_error *error)
{
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
        kernels->pack(axis->weights + (size_t)i * axis->max_taps, axis->max_taps,
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

/* ---- streaming
 * ------------------------------------------------------------------------------------------------- */

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
    r->slots = r->y.max_taps + CSI_RESAMPLE_ROWS;
    r->spare = csi_aligned_alloc(r->slot_size);
    if (r->spare == NULL)
        return csi_fail_memory(error, "resampling rows");
    if (!r->vertical)
        return CS_OK;
    for (uint32_t i = 0; r->columns_first && i < CSI_RESAMPLE_ROWS; i++) {
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
                                        plan->filter, r->kernels, error);
    if (status == CS_OK && r->vertical) {
        status = csi_resample_axis_init(&r->y, plan->in_height, plan->out_height, plan->top, target->height,
                                        plan->filter, r->kernels, error);
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

/* Up to CSI_RESAMPLE_ROWS rows through the horizontal kernel; surplus rows go to the spare one. */
static void filter_rows(struct csi_resampler *r, const uint8_t *const *from, uint8_t *const *to,
                        uint32_t count)
{
    const uint8_t *sources[CSI_RESAMPLE_ROWS];
    uint8_t *targets[CSI_RESAMPLE_ROWS];

    for (uint32_t i = 0; i < CSI_RESAMPLE_ROWS; i++) {
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
    uint32_t count = (end - 1) % CSI_RESAMPLE_ROWS + 1;
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
            r->kernels->vertical(weights, r->column, taps, r->stage[r->made % CSI_RESAMPLE_ROWS],
                                 (size_t)r->plan.in_width * 3);
        else
            r->kernels->vertical(weights, r->column, taps, r->target->pixels + r->made * r->target->stride,
                                 r->target->stride);
        r->made++;
        if (r->columns_first && (r->made % CSI_RESAMPLE_ROWS == 0 || r->made == r->target->height))
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
        uint32_t n = r->end - r->taken < CSI_RESAMPLE_ROWS ? r->end - r->taken : CSI_RESAMPLE_ROWS;

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
