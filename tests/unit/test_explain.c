/*
 * Explanations: maps against their definitions written out plainly, colour maps at known points, the overlay
 * against doubles.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "explain/explain.h"

enum { CHANNELS = 37, HEIGHT = 7, WIDTH = 6, PIXELS = HEIGHT * WIDTH, CLASSES = 5 };

static float activations[CHANNELS][PIXELS], gradients[CHANNELS][PIXELS], weight[CLASSES][CHANNELS];

static float next_value(uint32_t *state)
{
    *state = *state * 1103515245u + 12345u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static int fill(void **state)
{
    uint32_t random = 4711;

    (void)state;
    for (int k = 0; k < CHANNELS; k++)
        for (int p = 0; p < PIXELS; p++) {
            float value = next_value(&random);

            activations[k][p] = value > 0.0f ? value : 0.0f;
            gradients[k][p] = next_value(&random);
        }
    for (int c = 0; c < CLASSES; c++)
        for (int k = 0; k < CHANNELS; k++)
            weight[c][k] = next_value(&random);
    return 0;
}

static void expect_map(const float *map, const double *expected)
{
    for (int p = 0; p < PIXELS; p++)
        if (!(fabs((double)map[p] - expected[p]) < 1e-4))
            fail_msg("pixel %d: %g, expected %g", p, (double)map[p], expected[p]);
}

static void linear_maps_are_the_product(void **state)
{
    /* 42 pixels: tiles that overlap; 9 pixels: less than a tile. */
    const size_t sizes[] = {PIXELS, 9, 16};

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        size_t pixels = sizes[s];
        float maps[CLASSES * PIXELS + 1];

        maps[CLASSES * pixels] = 77.0f;
        csi_cam_linear_all(&activations[0][0], &weight[0][0], CHANNELS, pixels, CLASSES, maps);
        for (size_t c = 0; c < CLASSES; c++)
            for (size_t p = 0; p < pixels; p++) {
                double sum = 0.0;

                for (size_t k = 0; k < CHANNELS; k++)
                    sum += (double)weight[c][k] * (double)(&activations[0][0])[k * pixels + p];
                assert_true(fabs((double)maps[c * pixels + p] - sum / (double)pixels) < 1e-5);
            }
        assert_true(maps[CLASSES * pixels] == 77.0f);
    }
}

/* Through pool and linear layer the gradient is w / pixels everywhere: Grad-CAM, HiResCAM and the closed form
 * are one. */
static void closed_form_is_gradcam(void **state)
{
    static float constant[CHANNELS][PIXELS];
    float maps[CLASSES * PIXELS], gradcam[PIXELS], hirescam[PIXELS];

    (void)state;
    csi_cam_linear_all(&activations[0][0], &weight[0][0], CHANNELS, PIXELS, CLASSES, maps);
    for (int c = 0; c < CLASSES; c++) {
        for (int k = 0; k < CHANNELS; k++)
            for (int p = 0; p < PIXELS; p++)
                constant[k][p] = weight[c][k] / PIXELS;
        assert_int_equal(csi_cam_map(CS_CAM_GRADCAM, &activations[0][0], &constant[0][0], CHANNELS, HEIGHT,
                                     WIDTH, gradcam, NULL),
                         CS_OK);
        assert_int_equal(csi_cam_map(CS_CAM_HIRESCAM, &activations[0][0], &constant[0][0], CHANNELS, HEIGHT,
                                     WIDTH, hirescam, NULL),
                         CS_OK);
        for (int p = 0; p < PIXELS; p++) {
            assert_true(fabsf(gradcam[p] - maps[c * PIXELS + p]) < 1e-5f);
            assert_true(fabsf(hirescam[p] - maps[c * PIXELS + p]) < 1e-5f);
        }
    }
}

/* Ablation through pool and linear layer: zeroing channel k takes w_k · mean(A_k) from the score. */
static void ablation_is_exact_behind_a_linear_head(void **state)
{
    static float constant[CHANNELS][PIXELS];
    double expected[PIXELS] = {0};
    float map[PIXELS];

    (void)state;
    for (int k = 0; k < CHANNELS; k++) {
        double mean = 0.0;

        for (int p = 0; p < PIXELS; p++) {
            constant[k][p] = weight[0][k] / PIXELS;
            mean += (double)activations[k][p] / PIXELS;
        }
        for (int p = 0; p < PIXELS; p++)
            expected[p] += (double)weight[0][k] * mean * (double)activations[k][p];
    }
    assert_int_equal(csi_cam_map(CS_CAM_ABLATIONCAM, &activations[0][0], &constant[0][0], CHANNELS, HEIGHT,
                                 WIDTH, map, NULL),
                     CS_OK);
    expect_map(map, expected);
}

static void gradcam_plus_plus_and_layercam(void **state)
{
    double plus_plus[PIXELS] = {0}, layer[PIXELS] = {0};
    float map[PIXELS];

    (void)state;
    for (int k = 0; k < CHANNELS; k++) {
        double sum = 0.0, channel = 0.0;

        for (int p = 0; p < PIXELS; p++)
            sum += (double)activations[k][p];
        for (int p = 0; p < PIXELS; p++) {
            double g = (double)gradients[k][p], alpha = g * g / (2 * g * g + sum * g * g * g + 1e-6);

            channel += g > 0 ? alpha * g : 0;
            layer[p] += g > 0 ? g * (double)activations[k][p] : 0;
        }
        for (int p = 0; p < PIXELS; p++)
            plus_plus[p] += channel * (double)activations[k][p];
    }
    assert_int_equal(csi_cam_map(CS_CAM_GRADCAM_PLUS_PLUS, &activations[0][0], &gradients[0][0], CHANNELS,
                                 HEIGHT, WIDTH, map, NULL),
                     CS_OK);
    expect_map(map, plus_plus);
    assert_int_equal(csi_cam_map(CS_CAM_LAYERCAM, &activations[0][0], &gradients[0][0], CHANNELS, HEIGHT,
                                 WIDTH, map, NULL),
                     CS_OK);
    expect_map(map, layer);
}

/* A = strength_k · pattern + an offset a channel: the one component there is has to be found, with its sign,
 * whatever the sign of the start; a weaker second component changes it little. */
static void eigencam_finds_the_component(void **state)
{
    static float a[CHANNELS][PIXELS];
    double pattern[PIXELS], mean = 0.0, norm = 0.0;
    float map[PIXELS];

    (void)state;
    for (int p = 0; p < PIXELS; p++) {
        pattern[p] = p % WIDTH == 2 ? 2.0 : p % 5 == 0 ? 0.5 : 0.0;
        mean += pattern[p] / PIXELS;
    }
    for (int k = 0; k < CHANNELS; k++) {
        double strength = 1.0 + k % 3;

        norm += strength * strength;
        for (int p = 0; p < PIXELS; p++)
            a[k][p] = (float)(strength * pattern[p] + 0.1 * k);
    }
    assert_int_equal(csi_cam_map(CS_CAM_EIGENCAM, &a[0][0], NULL, CHANNELS, HEIGHT, WIDTH, map, NULL), CS_OK);
    for (int p = 0; p < PIXELS; p++) /* the projection: centred pattern times the length of the strengths */
        assert_true(fabs((double)map[p] - (pattern[p] - mean) * sqrt(norm)) < 1e-3);
    memset(a, 0, sizeof a);
    assert_int_equal(csi_cam_map(CS_CAM_EIGENCAM, &a[0][0], NULL, CHANNELS, HEIGHT, WIDTH, map, NULL), CS_OK);
    for (int p = 0; p < PIXELS; p++)
        assert_true(map[p] == 0.0f);
}

static void bad_arguments(void **state)
{
    float map[PIXELS];

    (void)state;
    assert_int_equal(
        csi_cam_map(CS_CAM_GRADCAM, &activations[0][0], NULL, CHANNELS, HEIGHT, WIDTH, map, NULL),
        CS_BAD_REQUEST);
    assert_int_equal(csi_cam_map((enum cs_cam_method)99, &activations[0][0], &gradients[0][0], CHANNELS,
                                 HEIGHT, WIDTH, map, NULL),
                     CS_BAD_REQUEST);
    assert_int_equal(
        csi_cam_map(CS_CAM_GRADCAM, &activations[0][0], &gradients[0][0], 0, HEIGHT, WIDTH, map, NULL),
        CS_BAD_REQUEST);
}

static void normalise(void **state)
{
    float map[] = {-3.0f, 1.0f, 2.0f, 4.0f}, same[] = {2.0f, 2.0f}, negative[] = {-1.0f, -2.0f};
    float odd[] = {NAN, 1.0f, 3.0f}, endless[] = {INFINITY, 1.0f};

    (void)state;
    csi_cam_normalise(map, 4);
    assert_true(map[0] == 0.0f && map[1] == 0.25f && map[2] == 0.5f && map[3] == 1.0f);
    csi_cam_normalise(same, 2);
    assert_true(same[0] == 0.0f && same[1] == 0.0f);
    csi_cam_normalise(negative, 2);
    assert_true(negative[0] == 0.0f && negative[1] == 0.0f);
    csi_cam_normalise(odd, 3);
    assert_true(odd[0] == 0.0f && odd[2] == 1.0f);
    csi_cam_normalise(endless, 2);
    assert_true(endless[0] == 0.0f && endless[1] == 0.0f);
}

/* First, middle and last colours as published. tests/images/colormaps.sh compares all of them. */
static void colormaps(void **state)
{
    static const struct {
        enum cs_colormap map;
        uint8_t first[3], middle[3], last[3];
    } known[] = {
        {CS_COLORMAP_JET, {0, 0, 128}, {130, 255, 126}, {128, 0, 0}},
        {CS_COLORMAP_VIRIDIS, {68, 1, 84}, {32, 144, 140}, {253, 231, 36}},
        {CS_COLORMAP_INFERNO, {0, 0, 3}, {188, 55, 84}, {252, 255, 164}},
        {CS_COLORMAP_TURBO, {48, 18, 59}, {164, 252, 60}, {122, 4, 3}},
        {CS_COLORMAP_GREY, {0, 0, 0}, {128, 128, 128}, {255, 255, 255}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const uint8_t(*map)[3] = csi_colormap(known[i].map);

        for (int c = 0; c < 3; c++) { /* within rounding of the published decimals */
            assert_in_range(map[0][c] - known[i].first[c] + 1, 0, 2);
            assert_in_range(map[128][c] - known[i].middle[c] + 1, 0, 2);
            assert_in_range(map[255][c] - known[i].last[c] + 1, 0, 2);
        }
    }
    assert_null(csi_colormap((enum cs_colormap)99));
}

static double interpolate(const float *map, int map_width, int map_height, double x, double y)
{
    int x0, y0, x1, y1;

    x = x < 0 ? 0 : x > map_width - 1 ? map_width - 1 : x;
    y = y < 0 ? 0 : y > map_height - 1 ? map_height - 1 : y;
    x0 = (int)x;
    y0 = (int)y;
    x1 = x0 + 1 < map_width ? x0 + 1 : x0;
    y1 = y0 + 1 < map_height ? y0 + 1 : y0;
    x -= x0;
    y -= y0;
    return (1 - y) * ((1 - x) * (double)map[y0 * map_width + x0] + x * (double)map[y0 * map_width + x1]) +
           y * ((1 - x) * (double)map[y1 * map_width + x0] + x * (double)map[y1 * map_width + x1]);
}

/* Grey, so that the colour is the value: every byte within 1 of the definition in doubles. */
static void overlay_is_the_definition(void **state)
{
    static const uint32_t sizes[][2] = {{1, 1}, {5, 3}, {16, 16}, {37, 53}, {200, 150}};
    static const float alphas[] = {0.0f, 0.3f, 0.5f, 1.0f};
    uint32_t random = 99;
    float map[6 * 4];

    (void)state;
    for (size_t i = 0; i < 24; i++)
        map[i] = fabsf(next_value(&random));
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint32_t width = sizes[s][0], height = sizes[s][1];
        cs_image *image, *overlay;

        assert_int_equal(csi_image_create(width, height, &image, NULL), CS_OK);
        for (size_t i = 0; i < image->stride * height; i++)
            image->pixels[i] = (uint8_t)(fabsf(next_value(&random)) * 255.0f);
        for (size_t k = 0; k < 4; k++) {
            double alpha = (double)alphas[k];

            assert_int_equal(csi_overlay(image, map, 6, 4, CS_COLORMAP_GREY, alphas[k], &overlay, NULL),
                             CS_OK);
            for (uint32_t y = 0; y < height; y++)
                for (uint32_t x = 0; x < width; x++) {
                    double value =
                        interpolate(map, 6, 4, (x + 0.5) * 6 / width - 0.5, (y + 0.5) * 4 / height - 0.5);
                    double photo = image->pixels[y * image->stride + 3 * x + 1];
                    double made = overlay->pixels[y * overlay->stride + 3 * x + 1];

                    assert_true(fabs(made - ((1 - alpha) * photo + alpha * 255.0 * value)) <= 1.6);
                }
            csi_image_destroy(overlay);
        }
        csi_image_destroy(image);
    }
}

static void overlay_of_bad_arguments(void **state)
{
    float map[4] = {NAN, -5.0f, 7.0f, INFINITY};
    cs_image *image, *overlay;

    (void)state;
    assert_int_equal(csi_image_create(3, 3, &image, NULL), CS_OK);
    memset(image->pixels, 0, 27);
    assert_int_equal(csi_overlay(image, map, 2, 2, CS_COLORMAP_GREY, 1.0f, &overlay, NULL),
                     CS_OK); /* clamped */
    assert_int_equal(overlay->pixels[0], 0);
    csi_image_destroy(overlay);
    assert_int_equal(csi_overlay(image, map, 2, 2, CS_COLORMAP_GREY, 1.5f, &overlay, NULL), CS_BAD_REQUEST);
    assert_null(overlay);
    assert_int_equal(csi_overlay(image, map, 2, 2, CS_COLORMAP_GREY, NAN, &overlay, NULL), CS_BAD_REQUEST);
    assert_int_equal(csi_overlay(image, map, 0, 2, CS_COLORMAP_GREY, 0.5f, &overlay, NULL), CS_BAD_REQUEST);
    assert_int_equal(csi_overlay(image, map, 2, 2, (enum cs_colormap)42, 0.5f, &overlay, NULL),
                     CS_BAD_REQUEST);
    csi_image_destroy(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_maps_are_the_product),
        cmocka_unit_test(closed_form_is_gradcam),
        cmocka_unit_test(ablation_is_exact_behind_a_linear_head),
        cmocka_unit_test(gradcam_plus_plus_and_layercam),
        cmocka_unit_test(eigencam_finds_the_component),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(normalise),
        cmocka_unit_test(colormaps),
        cmocka_unit_test(overlay_is_the_definition),
        cmocka_unit_test(overlay_of_bad_arguments),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
