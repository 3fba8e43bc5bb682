/*
 * The stages around the network, one thread, best and median of some rounds, for one photo: decoding alone,
 * decoding with the resize to display size (fast and exact), resize alone, crop and tensor, overlay, PNG.
 * bench/pillow.py prints what Pillow takes for the same steps; bench/images runs both.
 *
 *   bench_image PHOTO [ROUNDS] [CPU-MASK]      one line a stage: name, median ms
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "explain/explain.h"
#include "image/image.h"

#define MAX_ROUNDS 1000

struct photo {
    uint8_t *bytes;
    size_t size;
    uint32_t features;
    cs_image *full, *display, *crop, *overlay;
    float *tensor, map[14 * 14];
    struct csi_buffer png;
    double decode_ms, resize_ms;
};

static enum cs_status display_in(struct photo *photo, enum cs_decode_mode mode, struct cs_error *error)
{
    struct csi_display_options options = {cs_limits_defaults(), mode, 800, photo->features};
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

static enum cs_status encode(struct photo *photo, struct cs_error *error)
{
    csi_buffer_free(&photo->png);
    csi_buffer_init(&photo->png);
    return csi_image_encode_png(photo->overlay, &photo->png, error);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum cs_status (*run)(struct photo *photo, struct cs_error *error);
    } stages[] = {{"decode", decode},
                  {"resize", resize},
                  {"decode+resize exact", decode_and_resize_exact},
                  {"decode+resize fast", decode_and_resize_fast},
                  {"preprocess", preprocess},
                  {"overlay", overlay},
                  {"png", encode}};
    struct photo photo = {.tensor = malloc(sizeof(float) * 3 * 224 * 224)};
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    struct cs_error error = {CS_OK, ""};
    static double ms[MAX_ROUNDS];

    if (argc < 2 || photo.tensor == NULL || rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_image PHOTO [ROUNDS] [CPU-MASK]\n");
        return 2;
    }
    csi_buffer_init(&photo.png);
    for (size_t i = 0; i < 14 * 14; i++)
        photo.map[i] = 0.5f + 0.5f * sinf((float)i);
    if (csi_cpu_allowed(argc > 3 ? argv[3] : NULL, &photo.features, &error) != CS_OK ||
        csi_file_read(argv[1], 0, &photo.bytes, &photo.size, &error) != CS_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], error.message);
        return 1;
    }
    for (size_t stage = 0; stage < sizeof stages / sizeof stages[0]; stage++) {
        for (size_t i = 0; i < rounds; i++) {
            uint64_t start = csi_now_ns();

            if (stages[stage].run(&photo, &error) != CS_OK) {
                fprintf(stderr, "%s: %s\n", stages[stage].name, error.message);
                return 1;
            }
            ms[i] = csi_ms_since(start);
        }
        qsort(ms, rounds, sizeof ms[0], compare);
        printf("%s\t%.3f\n", stages[stage].name, ms[rounds / 2]);
    }
    csi_image_destroy(photo.full);
    csi_image_destroy(photo.display);
    csi_image_destroy(photo.crop);
    csi_image_destroy(photo.overlay);
    csi_buffer_free(&photo.png);
    free(photo.tensor);
    free(photo.bytes);
    return 0;
}
