/*
 * Resampling: equal to Pillow's stored results, and every instruction set equal to plain C, byte for byte, on
 * random sizes with buffers that end at a page nobody may touch.
 */
#include "support.h"

#include <math.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "image/resample.h"

static void equals_pillow(void **state)
{
    size_t size, at = 8;
    uint8_t *file = read_data("resample.bin", &size);
    uint32_t count = little(file + 4, 4);

    (void)state;
    assert_memory_equal(file, "CSR1", 4);
    assert_true(count >= 40);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t width = little(file + at, 2), height = little(file + at + 2, 2);
        uint32_t out_width = little(file + at + 4, 2), out_height = little(file + at + 6, 2);
        enum cs_filter filter = file[at + 8] ? CS_FILTER_LANCZOS : CS_FILTER_BILINEAR;
        cs_image *image = make_pattern(width, height, file[at + 9]);
        const uint32_t features[] = {0, CSI_CPU_AVX2 & csi_cpu()->features, csi_cpu()->features};

        at += 10;
        for (size_t f = 0; f < sizeof features / sizeof features[0]; f++) {
            cs_image *resized;

            assert_int_equal(
                csi_image_resize(image, out_width, out_height, filter, features[f], &resized, NULL), CS_OK);
            if (memcmp(resized->pixels, file + at, resized->stride * out_height) != 0)
                fail_msg("case %u: %ux%u -> %ux%u filter %d features %x differs from Pillow", i, width,
                         height, out_width, out_height, (int)filter, features[f]);
            csi_image_destroy(resized);
        }
        at += (size_t)out_width * out_height * 3;
        csi_image_destroy(image);
    }
    assert_int_equal(at, size);
    free(file);
}

/* Memory whose last byte is followed by a page that faults. */
struct guarded {
    uint8_t *map, *start;
    size_t map_size;
};

static struct guarded guarded_alloc(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
    struct guarded g;

    g.map_size = body + page;
    g.map = mmap(NULL, g.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map + body, page, PROT_NONE), 0);
    g.start = g.map + body - size;
    return g;
}

static void guarded_free(struct guarded *g)
{
    munmap(g->map, g->map_size);
}

static void compare_horizontal(const struct csi_resample_kernels *tested, uint32_t in, uint32_t out,
                               enum cs_filter filter, uint32_t *random)
{
    const struct csi_resample_kernels *plain = csi_resample_kernels_c();
    struct csi_resample_axis a, b;
    struct guarded from[CSI_RESAMPLE_ROWS], to[CSI_RESAMPLE_ROWS], expected[CSI_RESAMPLE_ROWS];
    const uint8_t *sources[CSI_RESAMPLE_ROWS];
    uint8_t *targets[CSI_RESAMPLE_ROWS], *references[CSI_RESAMPLE_ROWS];

    assert_int_equal(csi_resample_axis_init(&a, in, out, 0, out, filter, plain, true, NULL), CS_OK);
    assert_int_equal(csi_resample_axis_init(&b, in, out, 0, out, filter, tested, true, NULL), CS_OK);
    for (uint32_t row = 0; row < CSI_RESAMPLE_ROWS; row++) {
        from[row] = guarded_alloc(in * 3 + CSI_IMAGE_PADDING);
        to[row] = guarded_alloc(out * 3);
        expected[row] = guarded_alloc(out * 3);
        for (size_t i = 0; i < in * 3 + CSI_IMAGE_PADDING; i++)
            from[row].start[i] = (uint8_t)(next_random(random) % 3 == 0 ? 255 : next_random(random));
        sources[row] = from[row].start;
        targets[row] = to[row].start;
        references[row] = expected[row].start;
    }
    for (uint32_t row = 0; row < CSI_RESAMPLE_ROWS; row += plain->rows)
        plain->horizontal(&a, sources + row, references + row);
    for (uint32_t row = 0; row < CSI_RESAMPLE_ROWS; row += tested->rows)
        tested->horizontal(&b, sources + row, targets + row);
    for (uint32_t row = 0; row < CSI_RESAMPLE_ROWS; row++) {
        assert_memory_equal(targets[row], references[row], out * 3);
        guarded_free(&from[row]);
        guarded_free(&to[row]);
        guarded_free(&expected[row]);
    }
    csi_resample_axis_free(&a);
    csi_resample_axis_free(&b);
}

static void compare_vertical(const struct csi_resample_kernels *tested, uint32_t in, uint32_t out,
                             size_t bytes, enum cs_filter filter, uint32_t *random)
{
    const struct csi_resample_kernels *plain = csi_resample_kernels_c();
    struct csi_resample_axis a, b;
    struct guarded *rows = calloc(in, sizeof *rows), to = guarded_alloc(bytes),
                   expected = guarded_alloc(bytes);
    const uint8_t **column = calloc(in, sizeof *column);

    assert_non_null(rows);
    assert_non_null(column);
    assert_int_equal(csi_resample_axis_init(&a, in, out, 0, out, filter, plain, false, NULL), CS_OK);
    assert_int_equal(csi_resample_axis_init(&b, in, out, 0, out, filter, tested, false, NULL), CS_OK);
    for (uint32_t y = 0; y < in; y++) {
        rows[y] = guarded_alloc(bytes + CSI_IMAGE_PADDING);
        for (size_t i = 0; i < bytes + CSI_IMAGE_PADDING; i++)
            rows[y].start[i] = (uint8_t)(next_random(random) % 3 == 0 ? 255 : next_random(random));
    }
    for (uint32_t i = 0; i < out; i++) {
        for (uint32_t k = 0; k < a.taps[i]; k++)
            column[k] = rows[a.start[i] + k].start;
        plain->vertical((unsigned char *)a.packed + i * a.packed_row, column, a.taps[i], expected.start,
                        bytes);
        tested->vertical((unsigned char *)b.packed + i * b.packed_row, column, a.taps[i], to.start, bytes);
        assert_memory_equal(to.start, expected.start, bytes);
    }
    for (uint32_t y = 0; y < in; y++)
        guarded_free(&rows[y]);
    guarded_free(&to);
    guarded_free(&expected);
    free((void *)column);
    free(rows);
    csi_resample_axis_free(&a);
    csi_resample_axis_free(&b);
}

static void instruction_sets_equal_c(void **state)
{
    const struct csi_resample_kernels *sets[2];
    uint32_t random = (uint32_t)time(NULL), features = csi_cpu()->features;
    size_t count = 0;

    (void)state;
#if defined(__x86_64__)
    if ((features & CSI_CPU_AVX2) != 0)
        sets[count++] = csi_resample_kernels_avx2();
    if ((features & CSI_CPU_AVX512) != 0 && (features & CSI_CPU_AVX512_VNNI) != 0)
        sets[count++] = csi_resample_kernels_avx512vnni();
#elif defined(__aarch64__)
    if ((features & CSI_CPU_NEON) != 0)
        sets[count++] = csi_resample_kernels_neon();
#endif
    if (count == 0) {
        print_message("this CPU has no vector kernel\n");
        skip();
    }
    for (size_t s = 0; s < count; s++) {
        print_message("%s, seed %u\n", sets[s]->name, random);
        for (int i = 0; i < 150; i++) {
            enum cs_filter filter = next_random(&random) % 2 ? CS_FILTER_LANCZOS : CS_FILTER_BILINEAR;
            uint32_t in = 1 + next_random(&random) % (i % 10 == 0 ? 900 : 90);
            uint32_t out = 1 + next_random(&random) % (i % 10 == 0 ? 900 : 90);

            compare_horizontal(sets[s], in, out, filter, &random);
            if (i % 10 == 0) /* more taps than are held at once; long rows; enlarged */
                compare_horizontal(sets[s], 500 + next_random(&random) % 2000, 1 + next_random(&random) % 30,
                                   filter, &random);
            compare_vertical(sets[s], 1 + in % 60, 1 + out % 60, 1 + next_random(&random) % 300, filter,
                             &random);
        }
    }
}

/* Pillow's weights from its definition, sine by sine. */
static void weights_are_pillows(void **state)
{
    static const uint32_t photos[][2] = {{4000, 800}, {3000, 600}, {4032, 800}, {3024, 600},
                                         {2016, 800}, {800, 341},  {600, 256},  {65535, 800}};
    const double pi = 3.14159265358979323846;
    uint32_t random = (uint32_t)time(NULL);

    (void)state;
    print_message("seed %u\n", random);
    for (unsigned round = 0; round < 300; round++) {
        bool photo = round < sizeof photos / sizeof photos[0];
        uint32_t in = photo ? photos[round][0] : 1 + next_random(&random) % 6000;
        uint32_t out = photo ? photos[round][1] : 1 + next_random(&random) % 900;
        double scale = (double)in / out, reduction = scale < 1 ? 1 : scale, values[6000];
        struct csi_resample_axis axis;

        if (!photo && 6 * reduction > 5900)
            continue;
        assert_int_equal(csi_resample_axis_init(&axis, in, out, 0, out, CS_FILTER_LANCZOS,
                                                csi_resample_kernels_c(), true, NULL),
                         CS_OK);
        for (uint32_t i = 0; i < out; i++) {
            double center = (i + 0.5) * scale, sum = 0;
            int low = (int)(center - 3 * reduction + 0.5), high = (int)(center + 3 * reduction + 0.5);

            low = low < 0 ? 0 : low;
            high = high > (int)in ? (int)in : high;
            assert_int_equal(axis.start[i], low);
            assert_int_equal(axis.taps[i], high - low);
            for (int k = 0; k < high - low; k++) {
                double x = (k + low - center + 0.5) * (1 / reduction), a = x * pi, b = x / 3 * pi;

                values[k] = x < -3 || x >= 3 ? 0 : (x != 0 ? sin(a) / a : 1) * (x != 0 ? sin(b) / b : 1);
                sum += values[k];
            }
            for (int k = 0; k < high - low; k++) {
                double steps = (sum != 0 ? values[k] / sum : values[k]) * (1 << CSI_RESAMPLE_BITS);

                assert_int_equal(axis.weights[(size_t)i * axis.max_taps + (size_t)k],
                                 (int32_t)(steps + (steps < 0 ? -0.5 : 0.5)));
            }
        }
        csi_resample_axis_free(&axis);
    }
}

/* A window of a resize is the same as that part of the whole. */
static void window_is_part_of_whole(void **state)
{
    cs_image *image = make_pattern(97, 61, 0), *whole, *part;
    struct csi_resample_plan plan = {97, 61, 50, 31, 7, 5, CS_FILTER_LANCZOS, csi_cpu()->features, false};
    struct csi_resampler *resampler;

    (void)state;
    assert_int_equal(csi_image_resize(image, 50, 31, CS_FILTER_LANCZOS, 0, &whole, NULL), CS_OK);
    assert_int_equal(csi_image_create(20, 11, &part, NULL), CS_OK);
    assert_int_equal(csi_resampler_create(&plan, part, &resampler, NULL), CS_OK);
    for (uint32_t y = 0; y < 61; y += 5) /* in uneven batches */
        csi_resampler_push(resampler, image->pixels + y * image->stride, image->stride,
                           61 - y < 5 ? 61 - y : 5);
    csi_resampler_destroy(resampler);
    for (uint32_t y = 0; y < 11; y++)
        assert_memory_equal(part->pixels + y * part->stride, whole->pixels + (y + 5) * whole->stride + 7 * 3,
                            part->stride);
    csi_image_destroy(part);
    csi_image_destroy(whole);
    csi_image_destroy(image);
}

static void display_size(void **state)
{
    static const uint32_t cases[][5] = {
        {4000, 3000, 800, 800, 600}, {3000, 4000, 800, 600, 800}, {800, 600, 800, 800, 600},
        {799, 13, 800, 799, 13},     {801, 801, 800, 800, 800},   {10000, 1, 800, 800, 1},
        {1, 10000, 800, 1, 800},     {1601, 999, 800, 800, 499},  {1600, 1001, 800, 800, 501},
        {1, 1, 800, 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t width, height;

        csi_display_size(cases[i][0], cases[i][1], cases[i][2], &width, &height);
        assert_int_equal(width, cases[i][3]);
        assert_int_equal(height, cases[i][4]);
    }
}

/* Photos for display are decoded at the smallest power of two that leaves twice of what is shown. */
static void display_eighths(void **state)
{
    static const uint32_t cases[][4] = {
        {800, 600, 800, 8},    {1599, 1599, 800, 8},  {1600, 1200, 800, 8},  {3198, 2399, 800, 8},
        {3199, 2400, 800, 4},  {3200, 2400, 800, 4},  {4000, 3000, 800, 4},  {3000, 4000, 800, 4},
        {6392, 4794, 800, 4},  {6400, 4800, 800, 2},  {12792, 9594, 800, 2}, {12800, 9600, 800, 1},
        {9600, 12800, 800, 1}, {3200, 2400, 1600, 8}, {400, 300, 100, 4},    {1, 1, 800, 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (csi_display_eighths(cases[i][0], cases[i][1], cases[i][2]) != cases[i][3])
            fail_msg("%ux%u to %u: %u eighths, not %u", cases[i][0], cases[i][1], cases[i][2],
                     csi_display_eighths(cases[i][0], cases[i][1], cases[i][2]), cases[i][3]);
}

/* torchvision's Resize(256) and CenterCrop(224), from their definition: the whole resize, then the window. */
static void network_crop(void **state)
{
    static const uint32_t cases[][6] = {
        /* width, height, resized width, resized height, left, top (halves to even) */
        {800, 600, 341, 256, 58, 16}, {600, 800, 256, 341, 16, 58}, {256, 256, 256, 256, 16, 16},
        {101, 97, 266, 256, 21, 16},  {800, 533, 384, 256, 80, 16}, {800, 601, 340, 256, 58, 16},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint32_t *c = cases[i];
        cs_image *image = make_pattern(c[0], c[1], 1), *whole, *crop;

        assert_int_equal(csi_image_resize(image, c[2], c[3], CS_FILTER_BILINEAR, 0, &whole, NULL), CS_OK);
        assert_int_equal(csi_image_crop_for_network(image, 256, 224, csi_cpu()->features, &crop, NULL),
                         CS_OK);
        assert_int_equal(crop->width, 224);
        assert_int_equal(crop->height, 224);
        for (uint32_t y = 0; y < 224; y++)
            assert_memory_equal(crop->pixels + y * crop->stride,
                                whole->pixels + (y + c[5]) * whole->stride + (size_t)c[4] * 3, crop->stride);
        csi_image_destroy(crop);
        csi_image_destroy(whole);
        csi_image_destroy(image);
    }
}

/* Resized to less than the crop: a black frame, the odd pixel behind, as torchvision pads. */
static void small_crop_is_padded(void **state)
{
    cs_image *image = make_pattern(30, 20, 2), *whole, *crop;

    (void)state;
    assert_int_equal(csi_image_resize(image, 15, 10, CS_FILTER_BILINEAR, 0, &whole, NULL), CS_OK);
    assert_int_equal(csi_image_crop_for_network(image, 10, 13, 0, &crop, NULL), CS_OK);
    for (uint32_t y = 0; y < 13; y++)
        for (uint32_t x = 0; x < 13; x++) {
            const uint8_t black[3] = {0, 0, 0};
            const uint8_t *expected =
                y < 1 || y >= 11 ? black : whole->pixels + (y - 1) * whole->stride + (x + 1) * 3;

            assert_memory_equal(crop->pixels + y * crop->stride + (size_t)x * 3, expected, 3);
        }
    csi_image_destroy(crop);
    csi_image_destroy(whole);
    csi_image_destroy(image);
}

static void tensor(void **state)
{
    const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    const float zero[3] = {0.0f, 1.0f, 1.0f};
    cs_image *image = make_pattern(7, 5, 0);
    float output[3 * 7 * 5];

    (void)state;
    assert_int_equal(csi_image_to_tensor(image, mean, deviation, 0, output, NULL), CS_OK);
    for (uint32_t c = 0; c < 3; c++)
        for (uint32_t i = 0; i < 35; i++) {
            double expected = (image->pixels[i * 3 + c] / 255.0 - (double)mean[c]) / (double)deviation[c];

            assert_true(fabs((double)output[c * 35 + i] - expected) < 1e-6);
        }
    assert_int_equal(csi_image_to_tensor(image, mean, zero, 0, output, NULL), CS_BAD_REQUEST);
    csi_image_destroy(image);
}

static void refuses_bad_requests(void **state)
{
    cs_image *image = make_pattern(4, 4, 0), *out = image;

    (void)state;
    assert_int_equal(csi_image_resize(image, 0, 4, CS_FILTER_LANCZOS, 0, &out, NULL), CS_BAD_REQUEST);
    assert_null(out);
    assert_int_equal(csi_image_resize(image, 4, 70000, CS_FILTER_LANCZOS, 0, &out, NULL), CS_BAD_REQUEST);
    assert_int_equal(csi_image_crop_for_network(image, 0, 4, 0, &out, NULL), CS_BAD_REQUEST);
    out = image;
    assert_int_equal(cs_image_resize(image, 2, 2, (enum cs_filter)2, &out, NULL), CS_BAD_REQUEST);
    assert_null(out);
    csi_image_destroy(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow),
        cmocka_unit_test(instruction_sets_equal_c),
        cmocka_unit_test(weights_are_pillows),
        cmocka_unit_test(window_is_part_of_whole),
        cmocka_unit_test(display_size),
        cmocka_unit_test(display_eighths),
        cmocka_unit_test(network_crop),
        cmocka_unit_test(small_crop_is_padded),
        cmocka_unit_test(tensor),
        cmocka_unit_test(refuses_bad_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
