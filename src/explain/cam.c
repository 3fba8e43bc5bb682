/*
 * Class-activation maps from activations and gradients. Owns the arithmetic; where the two come from is the
 * caller's business.
 */
#include "explain/explain.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- every class behind a linear head: one small matrix product ---- */

/* A tile is two classes by sixteen pixels: its sums stay in registers while all channels pass by, and the
 * fixed sizes let the compiler vectorise without an epilogue. */
enum { TILE_CLASSES = 2, TILE_PIXELS = 16 };

static void tile(const float *activations, const float *w0, const float *w1, size_t channels, size_t pixels,
                 float scale, float *map0, float *map1)
{
    float sum0[TILE_PIXELS] = {0}, sum1[TILE_PIXELS] = {0};

    for (size_t k = 0; k < channels; k++, activations += pixels) {
        float a = w0[k], b = w1[k];

        for (int p = 0; p < TILE_PIXELS; p++)
            sum0[p] += a * activations[p];
        for (int p = 0; p < TILE_PIXELS; p++)
            sum1[p] += b * activations[p];
    }
    for (int p = 0; p < TILE_PIXELS; p++) {
        map0[p] = sum0[p] * scale;
        map1[p] = sum1[p] * scale;
    }
}

static void small_maps(const float *activations, const float *weight, size_t channels, size_t pixels,
                       size_t classes, float *maps)
{
    for (size_t c = 0; c < classes; c++)
        for (size_t p = 0; p < pixels; p++) {
            float sum = 0.0f;

            for (size_t k = 0; k < channels; k++)
                sum += weight[c * channels + k] * activations[k * pixels + p];
            maps[c * pixels + p] = sum / (float)pixels;
        }
}

void csi_cam_linear_all(const float *activations, const float *weight, size_t channels, size_t pixels,
                        size_t classes, float *maps)
{
    if (pixels < TILE_PIXELS) {
        small_maps(activations, weight, channels, pixels, classes, maps);
        return;
    }
    for (size_t at = 0; at < pixels; at += TILE_PIXELS) {
        /* The last tile reaches back over pixels that are done already, and gives them the same values again.
         */
        size_t p = at + TILE_PIXELS <= pixels ? at : pixels - TILE_PIXELS;

        for (size_t c = 0; c < classes; c += TILE_CLASSES) {
            size_t other = c + 1 < classes ? c + 1 : c; /* an odd last class is computed twice */

            tile(activations + p, weight + c * channels, weight + other * channels, channels, pixels,
                 1.0f / (float)pixels, maps + c * pixels + p, maps + other * pixels + p);
        }
    }
}

/* ---- one map ---- */

/* map += weight · activations of one channel. */
static void add_channel(float *map, const float *activations, size_t pixels, float weight)
{
    for (size_t p = 0; p < pixels; p++)
        map[p] += weight * activations[p];
}

/* Selvaraju et al. 2017: the weight of a channel is the mean of its gradient. */
static float weight_gradcam(const float *a, const float *g, size_t pixels)
{
    double sum = 0.0;

    (void)a;
    for (size_t p = 0; p < pixels; p++)
        sum += g[p];
    return (float)(sum / (double)pixels);
}

/* Chattopadhay et al. 2018, equation 19, for scores that pass through an exponential. */
static float weight_gradcam_plus_plus(const float *a, const float *g, size_t pixels)
{
    double activity = 0.0, weight = 0.0;

    for (size_t p = 0; p < pixels; p++)
        activity += a[p];
    for (size_t p = 0; p < pixels; p++) {
        double squared = (double)g[p] * g[p];

        if (g[p] > 0.0f)
            weight += g[p] * squared / (2.0 * squared + activity * squared * g[p] + 1e-6);
    }
    return (float)weight;
}

/* Desai and Ramaswamy 2020: what the score loses when the channel is zeroed. Through a global pool and a
 * linear layer that is exactly the sum of gradient times activation; through other layers it is the
 * first-order part. The paper's division by the score is left out: normalisation removes a positive factor,
 * and a negative score would only turn the map inside out. */
static float weight_ablation(const float *a, const float *g, size_t pixels)
{
    double drop = 0.0;

    for (size_t p = 0; p < pixels; p++)
        drop += (double)g[p] * a[p];
    return (float)drop;
}

static void weighted_map(float (*weigh)(const float *, const float *, size_t), const float *a, const float *g,
                         size_t channels, size_t pixels, float *map)
{
    for (size_t k = 0; k < channels; k++, a += pixels, g += pixels)
        add_channel(map, a, pixels, weigh(a, g, pixels));
}

/* Pixel by pixel: HiResCAM (Draelos and Carin 2020) takes gradients as they are, LayerCAM (Jiang et al. 2021)
 * the positive ones. */
static void pixel_map(const float *a, const float *g, size_t channels, size_t pixels, int positive_only,
                      float *map)
{
    for (size_t k = 0; k < channels; k++, a += pixels, g += pixels)
        for (size_t p = 0; p < pixels; p++)
            map[p] += (positive_only && g[p] < 0.0f ? 0.0f : g[p]) * a[p];
}

/* ---- EigenCAM ---- */

/* to = X·Xᵀ·from, where X is the pixels×channels matrix of activations, each channel without its mean. */
static void multiply_gram(const float *a, const double *mean, size_t channels, size_t pixels,
                          const double *from, double *to)
{
    double total = 0.0;

    for (size_t p = 0; p < pixels; p++) {
        to[p] = 0.0;
        total += from[p];
    }
    for (size_t k = 0; k < channels; k++, a += pixels) {
        double dot = -mean[k] * total;

        for (size_t p = 0; p < pixels; p++)
            dot += a[p] * from[p];
        for (size_t p = 0; p < pixels; p++)
            to[p] += dot * (a[p] - mean[k]);
    }
}

static double length_of(const double *v, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sqrt(sum);
}

/* The first principal component of the activations (Muhammad and Yeasin 2020), as the projection of each
 * pixel on it. A singular vector has no sign of its own: the one is taken that goes along with the mean
 * activation. */
static enum cs_status eigen_map(const float *a, size_t channels, size_t pixels, float *map,
                                struct cs_error *error)
{
    enum { MAX_STEPS = 500 };
    double *memory = calloc(channels + 3 * pixels, sizeof *memory);
    double *mean = memory, *vector, *next, *activity, length, along = 0.0, average = 0.0;

    if (memory == NULL)
        return csi_fail_memory(error, "EigenCAM");
    vector = mean + channels;
    next = vector + pixels;
    activity = next + pixels;
    for (size_t k = 0; k < channels; k++) {
        for (size_t p = 0; p < pixels; p++) {
            mean[k] += a[k * pixels + p] / (double)pixels;
            activity[p] += a[k * pixels + p];
        }
    }
    for (size_t p = 0; p < pixels; p++)
        average += activity[p] / (double)pixels;
    for (size_t p = 0; p < pixels; p++) { /* the start: never at right angles to anything by symmetry */
        activity[p] -= average;
        vector[p] =
            activity[p] + ((double)((p * 2654435761u) % 1024) / 1024.0 - 0.5) * 1e-3 * (average + 1e-30);
    }
    length = length_of(vector, pixels);
    for (int step = 0; step < MAX_STEPS && length > 0.0; step++) {
        double change = 0.0;

        for (size_t p = 0; p < pixels; p++)
            vector[p] /= length;
        multiply_gram(a, mean, channels, pixels, vector, next);
        length = length_of(next, pixels);
        for (size_t p = 0; p < pixels; p++) {
            double unit = length > 0.0 ? next[p] / length : 0.0;

            change += (unit - vector[p]) * (unit - vector[p]);
            vector[p] = next[p];
        }
        if (change < 1e-16)
            break;
    }
    for (size_t p = 0; p < pixels; p++)
        along += vector[p] * activity[p];
    /* The projection is the singular value times the unit vector; the Gram product's length is that value
     * squared. */
    for (size_t p = 0; p < pixels; p++)
        map[p] = length > 0.0 ? (float)((along < 0.0 ? -vector[p] : vector[p]) / sqrt(length)) : 0.0f;
    free(memory);
    return CS_OK;
}

enum cs_status csi_cam_map(enum cs_cam_method method, const float *activations, const float *gradients,
                           size_t channels, size_t height, size_t width, float *map, struct cs_error *error)
{
    size_t pixels = height * width;

    if (channels == 0 || pixels == 0)
        return csi_fail(error, CS_BAD_REQUEST, "a map of %zu channels of %zu x %zu", channels, width, height);
    if (gradients == NULL && method != CS_CAM_EIGENCAM)
        return csi_fail(error, CS_BAD_REQUEST, "this map needs gradients");
    for (size_t p = 0; p < pixels; p++)
        map[p] = 0.0f;
    switch (method) {
    case CS_CAM_GRADCAM: weighted_map(weight_gradcam, activations, gradients, channels, pixels, map); break;
    case CS_CAM_GRADCAM_PLUS_PLUS:
        weighted_map(weight_gradcam_plus_plus, activations, gradients, channels, pixels, map);
        break;
    case CS_CAM_ABLATIONCAM:
        weighted_map(weight_ablation, activations, gradients, channels, pixels, map);
        break;
    case CS_CAM_HIRESCAM: pixel_map(activations, gradients, channels, pixels, 0, map); break;
    case CS_CAM_LAYERCAM: pixel_map(activations, gradients, channels, pixels, 1, map); break;
    case CS_CAM_EIGENCAM: return eigen_map(activations, channels, pixels, map, error);
    default: return csi_fail(error, CS_BAD_REQUEST, "no such map method: %d", (int)method);
    }
    return CS_OK;
}

void csi_cam_normalise(float *map, size_t pixels)
{
    float low = FLT_MAX, high = 0.0f, range;

    for (size_t p = 0; p < pixels; p++) {
        map[p] = map[p] > 0.0f ? map[p] : 0.0f; /* NaN becomes 0 too */
        low = map[p] < low ? map[p] : low;
        high = map[p] > high ? map[p] : high;
    }
    range = high - low;
    for (size_t p = 0; p < pixels; p++)
        map[p] = range > 0.0f && isfinite(range) ? (map[p] - low) / range : 0.0f;
}
