/*
 * The stages around the network, median of some rounds, for one photo: libjpeg-turbo alone, decoding,
 * decoding with the resize to display size (fast and exact; one thread, and with the resize beside; and the
 * resampler's share of it), resize alone from a decoded photo in memory, crop and tensor, the maps of all
 * classes, overlay, and its file formats. One thread where nothing else is said. bench/pillow.py prints what
 * Pillow takes for the same steps; bench/images runs both.
 *
 *   bench_image PHOTO [ROUNDS] [CPU-MASK]      one line a stage: name, median ms
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "explain/explain.h"
#include "image/decoder.h"
#include "image/image.h"

#define MAX_ROUNDS 1000

struct photo {
    uint8_t *bytes;
    size_t size;
    uint32_t features;
    cs_image *full, *display, *crop, *overlay;
    float *tensor, map[14 * 14], *activations, *weight, *maps;
    struct csi_pool *pool; /* NULL: one thread */
    bool beside;
    unsigned eighths;
    struct csi_buffer file;
    double decode_ms, resize_ms;
};

/* The reference network's last map. */
enum { CHANNELS = 512, PIXELS = 14 * 14, CLASSES = 22 };

/* ---- libjpeg-turbo alone: its rows go nowhere ---- */

static enum cs_status drop_begin(void *context, uint32_t width, uint32_t height, struct cs_error *error)
{
    (void)context;
    (void)width;
    (void)height;
    (void)error;
    return CS_OK;
}

static enum cs_status drop_rows(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                                struct cs_error *error)
{
    (void)context;
    (void)pixels;
    (void)stride;
    (void)count;
    (void)error;
    return CS_OK;
}

static enum cs_status library_decode(struct photo *photo, unsigned eighths, struct cs_error *error)
{
    struct cs_limits limits = cs_limits_defaults();
    struct csi_decode_job job = {photo->bytes, photo->size, &limits, eighths};
    struct csi_row_sink sink = {drop_begin, drop_rows, NULL, NULL};

    return csi_jpeg_decode(&job, &sink, error);
}

static enum cs_status library_full(struct photo *photo, struct cs_error *error)
{
    return library_decode(photo, 8, error);
}

static enum cs_status library_scaled(struct photo *photo, struct cs_error *error)
{
    return library_decode(photo, photo->eighths, error);
}

/* ---- our stages ---- */

static enum cs_status display_in(struct photo *photo, enum cs_decode_mode mode, struct cs_error *error)
{
    struct csi_display_options options = {cs_limits_defaults(), mode, 800, photo->features, photo->beside};
    struct cs_image_info info;

    csi_image_destroy(photo->display);
    return csi_image_load_display(photo->bytes, photo->size, &options, &photo->display, &info,
                                  &photo->decode_ms, &photo->resize_ms, error);
}

static enum cs_status decode(struct photo *photo, struct cs_error *error)
{
    csi_image_destroy(photo->full);
    return cs_image_decode(photo->bytes, photo->size, NULL, &photo->full, NULL, error);
}

static enum cs_status resize(struct photo *photo, struct cs_error *error)
{
    uint32_t width, height;

    csi_display_size(photo->full->width, photo->full->height, 800, &width, &height);
    csi_image_destroy(photo->display);
    return csi_image_resize(photo->full, width, height, CS_FILTER_LANCZOS, photo->features, &photo->display,
                            error);
}

static enum cs_status decode_and_resize_exact(struct photo *photo, struct cs_error *error)
{
    return display_in(photo, CS_DECODE_EXACT, error);
}

static enum cs_status decode_and_resize_fast(struct photo *photo, struct cs_error *error)
{
    return display_in(photo, CS_DECODE_FAST, error);
}

static enum cs_status beside_exact(struct photo *photo, struct cs_error *error)
{
    enum cs_status status;

    photo->beside = true;
    status = display_in(photo, CS_DECODE_EXACT, error);
    photo->beside = false;
    return status;
}

static enum cs_status beside_fast(struct photo *photo, struct cs_error *error)
{
    enum cs_status status;

    photo->beside = true;
    status = display_in(photo, CS_DECODE_FAST, error);
    photo->beside = false;
    return status;
}

static enum cs_status all_maps(struct photo *photo, struct cs_error *error)
{
    (void)error;
    csi_cam_linear_all(photo->activations, photo->weight, CHANNELS, PIXELS, CLASSES, photo->maps);
    for (size_t i = 0; i < CLASSES; i++)
        csi_cam_normalise(photo->maps + i * PIXELS, PIXELS);
    return CS_OK;
}

static enum cs_status preprocess(struct photo *photo, struct cs_error *error)
{
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    enum cs_status status;

    csi_image_destroy(photo->crop);
    status = csi_image_crop_for_network(photo->display, 256, 224, photo->features, &photo->crop, error);
    return status != CS_OK
               ? status
               : csi_image_to_tensor(photo->crop, mean, deviation, photo->features, photo->tensor, error);
}

static enum cs_status overlay(struct photo *photo, struct cs_error *error)
{
    csi_image_destroy(photo->overlay);
    return csi_overlay(photo->display, photo->map, 14, 14, CS_COLORMAP_JET, 0.5f, &photo->overlay, error);
}

static enum cs_status png_on(struct photo *photo, struct csi_pool *pool, struct cs_error *error)
{
    csi_buffer_free(&photo->file);
    return csi_image_encode_png(photo->overlay, pool, &photo->file, error);
}

static enum cs_status png_alone(struct photo *photo, struct cs_error *error)
{
    return png_on(photo, NULL, error);
}

static enum cs_status png_pool(struct photo *photo, struct cs_error *error)
{
    return png_on(photo, photo->pool, error);
}

static enum cs_status jpeg(struct photo *photo, struct cs_error *error)
{
    csi_buffer_free(&photo->file);
    return csi_image_encode_jpeg(photo->overlay, 90, &photo->file, error);
}

static enum cs_status webp(struct photo *photo, struct cs_error *error)
{
    csi_buffer_free(&photo->file);
    return csi_image_encode_webp(photo->overlay, 90, &photo->file, error);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct stage {
    const char *name;
    enum cs_status (*run)(struct photo *photo, struct cs_error *error);
    bool resize_alone; /* of it, what the resampler took */
};

static int measure(struct photo *photo, const struct stage *stages, size_t count, size_t rounds)
{
    static double ms[MAX_ROUNDS];
    struct cs_error error = {CS_OK, ""};

    for (size_t stage = 0; stage < count; stage++) {
        for (size_t i = 0; i < rounds; i++) {
            uint64_t start = csi_now_ns();

            if (stages[stage].run(photo, &error) != CS_OK) {
                fprintf(stderr, "%s: %s\n", stages[stage].name, error.message);
                return 1;
            }
            ms[i] = stages[stage].resize_alone ? photo->resize_ms : csi_ms_since(start);
        }
        qsort(ms, rounds, sizeof ms[0], compare);
        printf("%s\t%.3f\n", stages[stage].name, ms[rounds / 2]);
    }
    return 0;
}

/* Negative: failed; else whether the photo is a JPEG. */
static int prepare(struct photo *photo, const char *path, const char *cpu_mask)
{
    struct cs_error error = {CS_OK, ""};
    struct cs_image_info info;
    struct cs_limits limits = cs_limits_defaults();

    photo->tensor = malloc(sizeof(float) * 3 * 224 * 224);
    photo->activations = calloc(CHANNELS * PIXELS, sizeof(float));
    photo->weight = calloc(CLASSES * CHANNELS, sizeof(float));
    photo->maps = calloc(CLASSES * PIXELS, sizeof(float));
    csi_buffer_init(&photo->file);
    if (photo->tensor == NULL || photo->activations == NULL || photo->weight == NULL || photo->maps == NULL) {
        fprintf(stderr, "out of memory\n");
        return -1;
    }
    for (size_t i = 0; i < PIXELS; i++)
        photo->map[i] = 0.5f + 0.5f * sinf((float)i);
    for (size_t i = 0; i < CHANNELS * PIXELS; i++)
        photo->activations[i] = 1.0f + sinf((float)i);
    for (size_t i = 0; i < CLASSES * CHANNELS; i++)
        photo->weight[i] = cosf((float)i);
    if (csi_cpu_allowed(cpu_mask, &photo->features, &error) != CS_OK ||
        csi_pool_create(csi_cpu()->physical_cores, &photo->pool, &error) != CS_OK ||
        csi_file_read(path, 0, &photo->bytes, &photo->size, &error) != CS_OK ||
        csi_image_probe(photo->bytes, photo->size, &limits, &info, &error) != CS_OK) {
        fprintf(stderr, "%s: %s\n", path, error.message);
        return -1;
    }
    photo->eighths = csi_display_eighths(info.width, info.height, 800);
    return info.format == CS_FORMAT_JPEG;
}

int main(int argc, char **argv)
{
    static const struct stage of_jpeg[] = {{"libjpeg-turbo full", library_full, false},
                                           {"libjpeg-turbo scaled", library_scaled, false}};
    static const struct stage stages[] = {{"decode", decode, false},
                                          {"resize", resize, false},
                                          {"decode+resize exact", decode_and_resize_exact, false},
                                          {"decode+resize fast", decode_and_resize_fast, false},
                                          {"resize in decode+resize exact", decode_and_resize_exact, true},
                                          {"resize in decode+resize fast", decode_and_resize_fast, true},
                                          {"decode+resize exact, beside", beside_exact, false},
                                          {"decode+resize fast, beside", beside_fast, false},
                                          {"preprocess", preprocess, false},
                                          {"22 maps", all_maps, false},
                                          {"overlay", overlay, false},
                                          {"png", png_alone, false},
                                          {"png, all cores", png_pool, false},
                                          {"jpeg", jpeg, false},
                                          {"webp", webp, false}};
    struct photo photo = {.features = 0};
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    int failed, is_jpeg;

    csi_memory_keep_warm(); /* as the program does */
    if (argc < 2 || rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_image PHOTO [ROUNDS] [CPU-MASK]\n");
        return 2;
    }
    is_jpeg = prepare(&photo, argv[1], argc > 3 ? argv[3] : NULL);
    if (is_jpeg < 0)
        return 1;
    failed = is_jpeg && measure(&photo, of_jpeg, sizeof of_jpeg / sizeof of_jpeg[0], rounds) != 0;
    if (!failed)
        failed = measure(&photo, stages, sizeof stages / sizeof stages[0], rounds);
    csi_image_destroy(photo.full);
    csi_image_destroy(photo.display);
    csi_image_destroy(photo.crop);
    csi_image_destroy(photo.overlay);
    csi_buffer_free(&photo.file);
    csi_pool_destroy(photo.pool);
    free(photo.tensor);
    free(photo.activations);
    free(photo.weight);
    free(photo.maps);
    free(photo.bytes);
    return failed;
}
