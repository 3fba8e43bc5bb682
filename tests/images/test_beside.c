/*
 * Work on several threads gives what one gives: rows resampled beside decoding, strips of a PNG compressed at
 * the same time; and failures on the other thread come back.
 */
#include "support.h"

#include <unistd.h>

#include "base/thread_pool.h"
#include "image/beside.h"

/* ---- displayed photos ---- */

static enum cs_status load(const struct csi_buffer *file, enum cs_decode_mode mode, uint32_t side,
                           bool beside, cs_image **image, struct cs_error *error)
{
    struct csi_display_options options = {default_limits(), mode, side, csi_cpu()->features, beside};
    struct cs_image_info info;
    double decode_ms, resize_ms;
    enum cs_status status = csi_image_load_display(file->bytes, file->size, &options, image, &info,
                                                   &decode_ms, &resize_ms, error);

    if (status == CS_OK)
        assert_true(decode_ms > 0 && resize_ms >= 0);
    return status;
}

static void expect_same(const struct csi_buffer *file, enum cs_decode_mode mode, uint32_t side)
{
    cs_image *one, *two;

    assert_int_equal(load(file, mode, side, false, &one, NULL), CS_OK);
    assert_int_equal(load(file, mode, side, true, &two, NULL), CS_OK);
    assert_int_equal(largest_difference(one, two), 0);
    csi_image_destroy(one);
    csi_image_destroy(two);
}

/* EXIF orientation 6 (a quarter turn) behind the first two bytes of a JPEG. */
static void turn_jpeg(struct csi_buffer *file)
{
    static const uint8_t segment[] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,  'M', 'M',
                                      0,    42,   0, 0,  0,   8,   0,   1,   1, 18, 0,   3,
                                      0,    0,    0, 1,  0,   6,   0,   0,   0, 0,  0,   0};
    struct csi_buffer turned;

    csi_buffer_init(&turned);
    csi_buffer_append(&turned, file->bytes, 2);
    csi_buffer_append(&turned, segment, sizeof segment);
    csi_buffer_append(&turned, file->bytes + 2, file->size - 2);
    csi_buffer_free(file);
    *file = turned;
}

static void same_pixels_beside(void **state)
{
    static const uint32_t sizes[][2] = {{1, 1},    {7, 3},      {64, 8},    {65, 65},
                                        {800, 61}, {1021, 777}, {3000, 20}, {40, 2000}};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cs_image *image = make_pattern(sizes[i][0], sizes[i][1], 0);
        struct jpeg_recipe cmyk = {.width = image->width * 3 / 4,
                                   .height = image->height,
                                   .components = 4,
                                   .input = JCS_CMYK,
                                   .stored = JCS_CMYK};
        struct csi_buffer file;

        for (int format = 0; format < 5; format++) {
            csi_buffer_init(&file);
            if (format == 3 && cmyk.width == 0)
                continue;
            switch (format) {
            case 0: assert_int_equal(csi_image_encode_jpeg(image, 90, &file, NULL), CS_OK); break;
            case 1: assert_int_equal(csi_image_encode_png(image, NULL, &file, NULL), CS_OK); break;
            case 2: assert_int_equal(csi_image_encode_webp(image, 90, &file, NULL), CS_OK); break;
            case 3: make_jpeg(&cmyk, image->pixels, &file); break;
            default:
                assert_int_equal(csi_image_encode_jpeg(image, 90, &file, NULL), CS_OK);
                turn_jpeg(&file);
                break;
            }
            expect_same(&file, CS_DECODE_EXACT, 200);
            expect_same(&file, CS_DECODE_FAST, 100);
            expect_same(&file, CS_DECODE_EXACT, 5000);
            csi_buffer_free(&file);
        }
        csi_image_destroy(image);
    }
}

/* The decoder leaves by longjmp while the other thread has rows. */
static void damaged_beside(void **state)
{
    cs_image *image = make_pattern(700, 900, 0), *out;
    struct csi_buffer file;
    struct cs_error one, two;

    (void)state;
    csi_buffer_init(&file);
    assert_int_equal(csi_image_encode_jpeg(image, 90, &file, NULL), CS_OK);
    for (size_t cut = file.size - 100; cut > 1000; cut -= file.size / 9) {
        file.size = cut;
        assert_int_equal(load(&file, CS_DECODE_EXACT, 100, false, &out, &one), CS_CORRUPT_IMAGE);
        assert_int_equal(load(&file, CS_DECODE_EXACT, 100, true, &out, &two), CS_CORRUPT_IMAGE);
        assert_string_equal(one.message, two.message);
        assert_null(out);
    }
    csi_buffer_free(&file);
    csi_image_destroy(image);
}

/* ---- the sink itself ---- */

struct taker {
    uint32_t width, next, fail_at, calls;
    unsigned sleep_us;
};

static enum cs_status take_begin(void *context, uint32_t width, uint32_t height, struct cs_error *error)
{
    struct taker *taker = context;

    (void)height;
    taker->width = width;
    return taker->fail_at == UINT32_MAX ? csi_fail(error, CS_INTERNAL, "no beginning") : CS_OK;
}

static enum cs_status take_rows(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                                struct cs_error *error)
{
    struct taker *taker = context;

    taker->calls++;
    usleep(taker->sleep_us);
    for (uint32_t i = 0; i < count; i++, taker->next++) {
        if (taker->fail_at != 0 && taker->next == taker->fail_at)
            return csi_fail(error, CS_INTERNAL, "row %u does not please", (unsigned)taker->next);
        for (uint32_t x = 0; x < 3 * taker->width; x++)
            if (pixels[i * stride + x] != (uint8_t)(taker->next * 7 + x))
                return csi_fail(error, CS_INTERNAL, "row %u is another", (unsigned)taker->next);
    }
    return CS_OK;
}

/* Pushes `height` rows in batches of 1 to CSI_ROW_BATCH, some into the room that is offered; the first
 * failure ends. */
static enum cs_status push_all(struct csi_row_sink *outer, uint32_t width, uint32_t height,
                               struct cs_error *error)
{
    size_t pitch = csi_row_pitch(width);
    uint8_t *own = malloc(pitch * CSI_ROW_BATCH + CSI_IMAGE_PADDING);
    enum cs_status status = outer->begin(outer->context, width, height, error);
    uint32_t state = 1, y = 0;

    assert_non_null(own);
    while (status == CS_OK && y < height) {
        uint32_t count = 1 + next_random(&state) % CSI_ROW_BATCH;
        uint8_t *to = next_random(&state) % 2 == 0 ? own : outer->room(outer->context);

        count = count < height - y ? count : height - y;
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t x = 0; x < 3 * width; x++)
                to[i * pitch + x] = (uint8_t)((y + i) * 7 + x);
        status = outer->rows(outer->context, to, pitch, count, error);
        y += count;
    }
    free(own);
    return status;
}

static void rows_arrive_in_order(void **state)
{
    static const uint32_t sizes[][2] = {{1, 531}, {33, 531}, {2000, 531}, {16384, 270}, {65535, 130}};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (unsigned sleep_us = 0; sleep_us < 3000; sleep_us += 2000) {
            struct taker taker = {.sleep_us = sleep_us};
            struct csi_row_sink inner = {take_begin, take_rows, &taker, NULL}, outer;
            struct csi_beside *beside;
            struct cs_error error;

            assert_int_equal(csi_beside_create(&inner, &beside, &outer, &error), CS_OK);
            assert_int_equal(push_all(&outer, sizes[i][0], sizes[i][1], &error), CS_OK);
            assert_int_equal(csi_beside_finish(beside, &error), CS_OK);
            assert_int_equal(taker.next, sizes[i][1]);
        }
}

static void failures_come_back(void **state)
{
    static const uint32_t places[] = {1, 70, 530, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct taker taker = {.fail_at = places[i]};
        struct csi_row_sink inner = {take_begin, take_rows, &taker, NULL}, outer;
        struct csi_beside *beside;
        struct cs_error pushed, finished;
        enum cs_status push_status, finish_status;

        csi_error_clear(&pushed);
        csi_error_clear(&finished);
        assert_int_equal(csi_beside_create(&inner, &beside, &outer, NULL), CS_OK);
        push_status = push_all(&outer, 100, 531, &pushed);
        finish_status = csi_beside_finish(beside, &finished);
        if (places[i] == UINT32_MAX) {
            assert_int_equal(push_status, CS_INTERNAL);
            assert_string_equal(pushed.message, "no beginning");
            assert_int_equal(taker.calls, 0);
            continue;
        }
        assert_int_equal(finish_status, CS_INTERNAL);
        assert_non_null(strstr(finished.message, "does not please"));
        assert_int_equal(taker.next, places[i]); /* nothing came after the failure */
        assert_true(push_status == CS_OK || strcmp(pushed.message, finished.message) == 0);
    }
}

/* ---- PNG ---- */

static void png_of_every_size(void **state)
{
    static const uint32_t sizes[][2] = {{1, 1},   {1, 500},  {2, 3},     {5, 1},     {6, 17},    {21, 40},
                                        {22, 40}, {301, 77}, {800, 600}, {65535, 2}, {2, 65535}, {4099, 131}};
    struct csi_pool *pool;

    (void)state;
    assert_int_equal(csi_pool_create(3, &pool, NULL), CS_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (unsigned kind = 0; kind < 4; kind++) {
            cs_image *image = make_pattern(sizes[i][0], sizes[i][1], kind), *back;
            struct cs_limits limits = default_limits();
            struct csi_buffer one, two;

            limits.max_side = 65535;
            csi_buffer_init(&one);
            csi_buffer_init(&two);
            assert_int_equal(csi_image_encode_png(image, NULL, &one, NULL), CS_OK);
            assert_int_equal(csi_image_encode_png(image, pool, &two, NULL), CS_OK);
            assert_int_equal(one.size, two.size);
            assert_memory_equal(one.bytes, two.bytes, one.size);
            assert_int_equal(cs_image_decode(one.bytes, one.size, &limits, &back, NULL, NULL), CS_OK);
            assert_int_equal(largest_difference(image, back), 0);
            csi_image_destroy(back);
            csi_image_destroy(image);
            csi_buffer_free(&one);
            csi_buffer_free(&two);
        }
    csi_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_pixels_beside),   cmocka_unit_test(damaged_beside),
        cmocka_unit_test(rows_arrive_in_order), cmocka_unit_test(failures_come_back),
        cmocka_unit_test(png_of_every_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
