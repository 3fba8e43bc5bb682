/*
 * Calibration: see calibrate.h. A map's values go into a histogram whose range doubles when something larger
 * comes, so one pass over the photos suffices for every method.
 */
#include "engine/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

/* Bins of -range…range. */
#define BINS 4096u
#define HALF 2048u /* of them */

struct map {
    bool seen;
    float low, high; /* least and largest value */
    float range;
    uint64_t bins[BINS];
    uint64_t zeros; /* exactly 0: they cost nothing in any scale, and ReLU makes many */
    double *means;  /* [channels], sums until they are asked for */
    size_t channels;
    uint64_t pixels;
};

struct csi_calibration {
    const struct csi_graph *graph;
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct map **maps; /* by node, NULL: none */
    struct csi_output_scale *scales;
    struct csi_tensor *corrections;
    size_t correction_count;
    bool out_of_memory;
    /* While comparing: copies of the float maps of one photo. */
    struct csi_layer_noise *noise;
    size_t noise_count;
    float **copies;
};

enum cs_status csi_calibration_create(const struct csi_graph *graph, uint32_t cpu_features,
                                      struct csi_pool *pool, struct csi_calibration **out,
                                      struct cs_error *error)
{
    const struct csi_plan_options options = {.precision = CS_PRECISION_FP32,
                                             .cpu_features = cpu_features,
                                             .max_batch = 1,
                                             .pool = pool,
                                             .separate = true};
    struct csi_calibration *made;
    enum cs_status status;

    *out = NULL;
    for (size_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].op == CSI_OP_QUANTIZE)
            return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network is quantised already ('%.60s')",
                            graph->nodes[i].name);
    }
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return csi_fail_memory(error, "calibration");
    made->graph = graph;
    made->maps = calloc(graph->node_count + 1, sizeof *made->maps);
    made->scales = calloc(graph->node_count + 1, sizeof *made->scales);
    made->corrections = calloc(graph->node_count + 1, sizeof *made->corrections);
    made->copies = calloc(graph->node_count + 1, sizeof *made->copies);
    status = made->maps == NULL || made->scales == NULL || made->corrections == NULL || made->copies == NULL
                 ? csi_fail_memory(error, "calibration")
                 : csi_plan_create(graph, &options, &made->plan, error);
    if (status == CS_OK)
        status = csi_exec_create(made->plan, &made->exec, error);
    if (status != CS_OK) {
        csi_calibration_destroy(made);
        return status;
    }
    *out = made;
    return CS_OK;
}

static void drop_copies(struct csi_calibration *calibration)
{
    for (size_t i = 0; calibration->copies != NULL && i < calibration->graph->node_count; i++) {
        free(calibration->copies[i]);
        calibration->copies[i] = NULL;
    }
}

static void drop_corrections(struct csi_calibration *calibration)
{
    for (size_t i = 0; i < calibration->correction_count; i++)
        free((void *)(uintptr_t)calibration->corrections[i].data);
    calibration->correction_count = 0;
}

void csi_calibration_destroy(struct csi_calibration *calibration)
{
    if (calibration == NULL)
        return;
    csi_exec_destroy(calibration->exec);
    csi_plan_destroy(calibration->plan);
    for (size_t i = 0; calibration->maps != NULL && i < calibration->graph->node_count; i++) {
        if (calibration->maps[i] != NULL)
            free(calibration->maps[i]->means);
        free(calibration->maps[i]);
    }
    drop_copies(calibration);
    drop_corrections(calibration);
    free(calibration->maps);
    free(calibration->scales);
    free(calibration->corrections);
    free(calibration->copies);
    free(calibration);
}

/* ---- histograms ---- */

static void widen(struct map *map, float most)
{
    if (map->range <= 0.0f)
        map->range = most;
    while (map->range < most && map->range < 1e37f) {
        uint64_t wide[BINS] = {0};

        for (size_t i = 0; i < BINS; i++)
            wide[HALF / 2 + i / 2] += map->bins[i];
        memcpy(map->bins, wide, sizeof wide);
        map->range *= 2.0f;
    }
}

static size_t bin_of(const struct map *map, float x)
{
    float place = (x / map->range + 1.0f) * (float)HALF;

    return place < 0.0f ? 0 : csi_min_size((size_t)place, BINS - 1);
}

static struct map *map_of(struct csi_calibration *calibration, size_t node, size_t channels)
{
    struct map *map = calibration->maps[node];

    if (map != NULL)
        return map;
    map = calloc(1, sizeof *map);
    if (map != NULL)
        map->means = calloc(channels, sizeof *map->means);
    if (map == NULL || map->means == NULL) {
        free(map);
        calibration->out_of_memory = true;
        return NULL;
    }
    map->channels = channels;
    calibration->maps[node] = map;
    return map;
}

/* `step` floats from channel to channel and `pitch` from pixel to pixel. */
static void count_values(struct map *map, const float *data, size_t pixels, size_t pitch, size_t step)
{
    float low = map->seen ? map->low : INFINITY, high = map->seen ? map->high : -INFINITY;

    for (size_t c = 0; c < map->channels; c++) {
        for (size_t p = 0; p < pixels; p++) {
            float x = data[p * pitch + c * step];

            low = x < low ? x : low;
            high = x > high ? x : high;
        }
    }
    map->low = low;
    map->high = high;
    map->seen = true;
    widen(map, fmaxf(fabsf(low), fabsf(high)));
    for (size_t c = 0; c < map->channels; c++) {
        double sum = 0;

        for (size_t p = 0; p < pixels; p++) {
            float x = data[p * pitch + c * step];

            sum += (double)x;
            if (x == 0.0f)
                map->zeros++;
            else if (isfinite(x) && map->range > 0.0f)
                map->bins[bin_of(map, x)]++;
        }
        map->means[c] += sum;
    }
    map->pixels += pixels;
}

static void observe(void *context, const struct csi_observed *seen)
{
    struct csi_calibration *calibration = context;
    struct map *map;

    if (seen->node < 0 || seen->node == calibration->graph->values[calibration->graph->input].producer)
        return; /* the photo is counted as the caller gave it */
    map = map_of(calibration, (size_t)seen->node, seen->channels);
    if (map != NULL)
        count_values(map, seen->data, seen->pixels, seen->pitch, 1);
}

enum cs_status csi_calibration_add(struct csi_calibration *calibration, const float *input,
                                   struct cs_error *error)
{
    const struct csi_plan_info *info = csi_plan_info(calibration->plan);
    size_t node = (size_t)calibration->graph->values[calibration->graph->input].producer;
    size_t pixels = info->input_height * info->input_width;
    struct map *map = map_of(calibration, node, info->input_channels);
    enum cs_status status;

    if (map == NULL)
        return csi_fail_memory(error, "calibration");
    status = csi_exec_observe(calibration->exec, input, observe, calibration, error);
    if (status == CS_OK)
        status = csi_exec_check(calibration->exec, 0, error);
    if (status == CS_OK)
        count_values(map, input, pixels, 1, pixels);
    if (status == CS_OK && calibration->out_of_memory)
        status = csi_fail_memory(error, "calibration");
    return status;
}

/* ---- scales ---- */

static float bin_centre(const struct map *map, size_t bin)
{
    return (((float)bin + 0.5f) / (float)HALF - 1.0f) * map->range;
}

/* The bounds that leave 1 - share of the values outside, half of them on each side where both have values; 0
 * is inside. */
static void percentile_bounds(const struct map *map, double share, float *low, float *high)
{
    uint64_t total = map->zeros, allowed, seen = 0;
    size_t i;

    for (i = 0; i < BINS; i++)
        total += map->bins[i];
    allowed = (uint64_t)((1.0 - share) * (double)total);
    if (map->low < 0.0f && map->high > 0.0f)
        allowed /= 2;
    for (i = 0; i < HALF && seen + map->bins[i] <= allowed; i++)
        seen += map->bins[i];
    *low = fmaxf(map->low, bin_centre(map, i));
    for (i = BINS, seen = 0; i > HALF && seen + map->bins[i - 1] <= allowed; i--)
        seen += map->bins[i - 1];
    *high = fminf(map->high, bin_centre(map, i == 0 ? 0 : i - 1));
}

static double squared_error(const struct map *map, float low, float high)
{
    double step = ((double)high - (double)low) / 255.0, rounding = step * step / 12.0, sum = 0;

    for (size_t i = 0; i < BINS; i++) {
        double x = (double)bin_centre(map, i);
        double outside = x < (double)low ? (double)low - x : x > (double)high ? x - (double)high : 0.0;

        sum += (double)map->bins[i] * (outside > 0.0 ? outside * outside : rounding);
    }
    return sum;
}

static void mse_bounds(const struct map *map, float *low, float *high)
{
    double best = INFINITY;
    float full_low = fminf(map->low, 0.0f), full_high = fmaxf(map->high, 0.0f);

    for (int k = 100; k >= 10; k -= 2) {
        float share = (float)k / 100.0f;
        double error = squared_error(map, full_low * share, full_high * share);

        if (error < best) {
            best = error;
            *low = full_low * share;
            *high = full_high * share;
        }
    }
}

static struct csi_output_scale scale_of(const struct map *map, enum csi_calibration_method method,
                                        double percentile)
{
    float low = map->low, high = map->high;
    struct csi_output_scale scale = {0, 1.0f, 0};

    if (method == CSI_CALIBRATE_PERCENTILE)
        percentile_bounds(map, percentile / 100.0, &low, &high);
    else if (method == CSI_CALIBRATE_MSE)
        mse_bounds(map, &low, &high);
    low = fminf(low, 0.0f);
    high = fmaxf(high, 0.0f);
    if (!(high - low > 1e-20f && high - low < 1e30f))
        return scale;
    scale.scale = (high - low) / 255.0f;
    scale.zero = (int)nearbyintf(-low / scale.scale);
    return scale;
}

enum cs_status csi_calibration_scales(struct csi_calibration *calibration, enum csi_calibration_method method,
                                      double percentile, const struct csi_output_scale **scales,
                                      size_t *count, struct cs_error *error)
{
    *count = 0;
    *scales = calibration->scales;
    for (size_t i = 0; i < calibration->graph->node_count; i++) {
        if (calibration->maps[i] == NULL || !calibration->maps[i]->seen)
            continue;
        calibration->scales[*count] = scale_of(calibration->maps[i], method, percentile);
        calibration->scales[(*count)++].node = i;
    }
    return *count > 0 ? CS_OK : csi_fail(error, CS_EMPTY_INPUT, "no photo was shown to the calibration");
}

/* ---- bias correction ---- */

/* Σ (weight - level·scale) · mean input over the products of one output. */
static void correct(const struct csi_ir *ir, const struct csi_ir_node *node, const struct map *in,
                    const int8_t *levels, const float *scales, float *data)
{
    size_t outputs = ir->values[node->output].shape.channels;
    size_t inputs = ir->values[node->inputs[0]].shape.channels / node->groups;
    size_t window = (size_t)node->kernel[0] * node->kernel[1], count = inputs * window;

    for (size_t o = 0; o < outputs; o++) {
        size_t first = o / (outputs / node->groups) * inputs;
        double sum = 0;

        for (size_t c = 0; c < inputs; c++) {
            double lost = 0;

            for (size_t t = 0; t < window; t++)
                lost += (double)node->weight[o * count + c * window + t] -
                        (double)levels[o * count + t * inputs + c] * (double)scales[o];
            sum += lost * in->means[first + c] / (double)in->pixels;
        }
        data[o] = (float)sum;
    }
}

static enum cs_status correct_node(struct csi_calibration *calibration, const struct csi_ir *ir,
                                   const struct csi_ir_node *node, struct cs_error *error)
{
    struct csi_tensor *tensor = &calibration->corrections[calibration->correction_count];
    size_t outputs = ir->values[node->output].shape.channels;
    int input = node->inputs[0];
    const struct map *in;
    int8_t *levels;
    float *scales, *data;

    if ((size_t)input >= ir->graph->value_count || ir->graph->values[input].producer < 0) /* a second form */
        input = ir->nodes[ir->values[input].producer].inputs[0];
    if (input < 0 || (size_t)input >= ir->graph->value_count || ir->graph->values[input].producer < 0)
        return CS_OK;
    in = calibration->maps[ir->graph->values[input].producer];
    if (in == NULL || in->pixels == 0 || in->channels != ir->values[input].shape.channels)
        return CS_OK;
    data = malloc(outputs * sizeof *data);
    if (data == NULL || !csi_byte_levels(ir, node, &levels, &scales)) {
        free(data);
        return csi_fail_memory(error, "bias correction");
    }
    correct(ir, node, in, levels, scales, data);
    free(levels);
    free(scales);
    *tensor = (struct csi_tensor){.rank = 1, .dims = {outputs}, .data = data};
    snprintf(tensor->name, sizeof tensor->name, "%s", csi_byte_correction_name(ir->graph, node->source).text);
    calibration->correction_count++;
    return CS_OK;
}

enum cs_status csi_calibration_corrections(struct csi_calibration *calibration, const struct csi_graph *graph,
                                           const struct csi_tensor **corrections, size_t *count,
                                           struct cs_error *error)
{
    struct csi_ir *ir = NULL;
    enum cs_status status = csi_ir_create(graph, NULL, true, &ir, error);

    drop_corrections(calibration);
    for (size_t i = 0; status == CS_OK && i < ir->node_count; i++) {
        if (ir->nodes[i].integer && ir->nodes[i].op == CSI_OP_CONV)
            status = correct_node(calibration, ir, &ir->nodes[i], error);
    }
    csi_ir_destroy(ir);
    *corrections = calibration->corrections;
    *count = calibration->correction_count;
    return status;
}

/* ---- noise ---- */

static void copy_map(void *context, const struct csi_observed *seen)
{
    struct csi_calibration *calibration = context;
    size_t bytes = seen->pixels * seen->pitch * sizeof(float);

    if (seen->node < 0 || calibration->copies[seen->node] != NULL)
        return;
    calibration->copies[seen->node] = malloc(bytes);
    if (calibration->copies[seen->node] == NULL)
        calibration->out_of_memory = true;
    else
        memcpy(calibration->copies[seen->node], seen->data, bytes);
}

static struct csi_layer_noise *noise_of(struct csi_calibration *calibration, const char *name)
{
    for (size_t i = 0; i < calibration->noise_count; i++) {
        if (strcmp(calibration->noise[i].name, name) == 0)
            return &calibration->noise[i];
    }
    if (calibration->noise_count >= calibration->graph->node_count)
        return NULL;
    snprintf(calibration->noise[calibration->noise_count].name, CSI_NAME_SIZE, "%s", name);
    return &calibration->noise[calibration->noise_count++];
}

static void compare_map(void *context, const struct csi_observed *seen)
{
    struct csi_calibration *calibration = context;
    const float *exact = seen->node < 0 ? NULL : calibration->copies[seen->node];
    struct csi_layer_noise *noise;
    double signal = 0, error = 0;

    if (exact == NULL)
        return;
    noise = noise_of(calibration, seen->name);
    for (size_t p = 0; noise != NULL && p < seen->pixels; p++) {
        for (size_t c = 0; c < seen->channels; c++) {
            double x = (double)exact[p * seen->pitch + c], d = (double)seen->data[p * seen->pitch + c] - x;

            signal += x * x;
            error += d * d;
        }
    }
    if (noise != NULL) {
        noise->signal += signal;
        noise->noise += error;
    }
}

enum cs_status csi_calibration_compare(struct csi_calibration *calibration, const struct csi_plan *integers,
                                       const float *input, struct csi_layer_noise **layers, size_t *count,
                                       struct cs_error *error)
{
    struct csi_exec *exec = NULL;
    enum cs_status status;

    if (*layers == NULL) {
        *layers = calloc(calibration->graph->node_count + 1, sizeof **layers);
        *count = 0;
    }
    if (*layers == NULL)
        return csi_fail_memory(error, "report");
    calibration->noise = *layers;
    calibration->noise_count = *count;
    drop_copies(calibration);
    status = csi_exec_create(integers, &exec, error);
    if (status == CS_OK)
        status = csi_exec_observe(calibration->exec, input, copy_map, calibration, error);
    if (status == CS_OK)
        status = csi_exec_observe(exec, input, compare_map, calibration, error);
    if (status == CS_OK && calibration->out_of_memory)
        status = csi_fail_memory(error, "report");
    drop_copies(calibration);
    csi_exec_destroy(exec);
    *count = calibration->noise_count;
    return status;
}
