/*
 * Decoding: equal to Pillow on stored files of every kind, orientation, limits, and every kind of bad input
 * with its error code.
 */
#include "support.h"

#include <time.h>
#include <webp/encode.h>

#include "image/exif.h"

static enum cs_status decode(const void *bytes, size_t size, cs_image **image, struct cs_error *error)
{
    return cs_image_decode(bytes, size, NULL, image, NULL, error);
}

/* Decodes in every way there is, and expects the same failure from all that read pixels. */
static void expect_failure(const void *bytes, size_t size, enum cs_status expected, const char *word)
{
    struct csi_display_options options = {default_limits(), CS_DECODE_FAST, 800, csi_cpu()->features, false};
    struct cs_error error = {CS_OK, ""};
    struct cs_image_info info;
    cs_image *image = (cs_image *)&options;
    double decode_ms, resize_ms;
    /* A copy of exactly this size: sanitizers see a read past its end. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    if (decode(copy, size, &image, &error) != expected)
        fail_msg("status %s (%s), expected %s", cs_status_name(error.status), error.message,
                 cs_status_name(expected));
    assert_int_equal(error.status, expected);
    assert_null(image);
    if (word != NULL && strstr(error.message, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, word);
    image = (cs_image *)&options;
    assert_int_equal(
        csi_image_load_display(copy, size, &options, &image, &info, &decode_ms, &resize_ms, NULL), expected);
    assert_null(image);
    free(copy);
}

static void equals_pillow(void **state)
{
    size_t size, at = 8;
    uint8_t *file = read_data("decode.bin", &size);
    uint32_t count = little(file + 4, 4);

    (void)state;
    assert_memory_equal(file, "CSD1", 4);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = (const char *)file + at;
        uint32_t bytes = little(file + at + 16, 4), width = little(file + at + 20, 2),
                 height = little(file + at + 22, 2);
        struct cs_image_info info;
        struct cs_error error;
        cs_image *image;

        at += 24;
        if (cs_image_decode(file + at, bytes, NULL, &image, &info, &error) != CS_OK)
            fail_msg("%s: %s", name, error.message);
        at += bytes;
        assert_int_equal(image->width, width);
        assert_int_equal(image->height, height);
        assert_int_equal(info.width, width);
        assert_int_equal(info.height, height);
        assert_int_equal(strncmp(cs_image_format_name(info.format), name, 3), 0);
        if (memcmp(image->pixels, file + at, image->stride * height) != 0)
            fail_msg("%s differs from Pillow", name);
        at += image->stride * height;
        csi_image_destroy(image);
    }
    assert_int_equal(at, size);
    free(file);
}

/* Truncated anywhere, every stored file gives an error or, when nothing but trailing bytes are gone, the
 * whole image; never less. */
static void truncation_is_seen(void **state)
{
    size_t size, at = 8;
    uint8_t *file = read_data("decode.bin", &size);
    uint32_t count = little(file + 4, 4);

    (void)state;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = (const char *)file + at;
        uint32_t bytes = little(file + at + 16, 4);
        size_t pixels = (size_t)little(file + at + 20, 2) * little(file + at + 22, 2) * 3;

        at += 24;
        for (uint32_t cut = 0; cut < bytes; cut += cut < 64 ? 1 : 13) {
            uint8_t *copy = malloc(cut == 0 ? 1 : cut);
            struct cs_error error;
            cs_image *image;
            enum cs_status status;

            assert_non_null(copy);
            memcpy(copy, file + at, cut);
            status = decode(copy, cut, &image, &error);
            if (status == CS_OK) {
                if (image->stride * image->height != pixels ||
                    memcmp(image->pixels, file + at + bytes, pixels) != 0)
                    fail_msg("%s cut to %u of %u bytes gives another image", name, cut, bytes);
                csi_image_destroy(image);
            } else if (status != CS_CORRUPT_IMAGE && !(cut == 0 && status == CS_EMPTY_INPUT)) {
                if (!(status == CS_UNSUPPORTED_FORMAT && cut < 4)) /* "R", "RI", "RIF" may be anything */
                    fail_msg("%s cut to %u bytes: %s", name, cut, error.message);
            }
            free(copy);
        }
        at += bytes + pixels;
    }
    free(file);
}

static void foreign_files(void **state)
{
    (void)state;
    expect_failure("", 0, CS_EMPTY_INPUT, "empty");
    expect_failure("this is a leaf.jpg\n", 19, CS_UNSUPPORTED_FORMAT, "text");
    expect_failure("GIF89a\1\0\1\0", 10, CS_UNSUPPORTED_FORMAT, "GIF");
    expect_failure("BM\x3a\0\0\0\0\0", 8, CS_UNSUPPORTED_FORMAT, "BMP");
    expect_failure("\0\0\0\x18"
                   "ftypheic\0\0",
                   14, CS_UNSUPPORTED_FORMAT, "HEIC");
    expect_failure("\0\0\0\x18"
                   "ftypavif\0\0",
                   14, CS_UNSUPPORTED_FORMAT, "AVIF");
    expect_failure("II*\0\0\0\0\0", 8, CS_UNSUPPORTED_FORMAT, "TIFF");
    expect_failure("%PDF-1.7\n", 9, CS_UNSUPPORTED_FORMAT, "PDF");
    expect_failure("\x01\x02\x03\x04\x05\x06", 6, CS_UNSUPPORTED_FORMAT, "no known");
    expect_failure("\xff\xd8\xff", 3, CS_CORRUPT_IMAGE, "JPEG");
    expect_failure("\xff\xd8\xff\xd9", 4, CS_CORRUPT_IMAGE, "JPEG");
}

/* Headers of 50,000 × 50,000: refused before anything is allocated. */
static void huge_headers(void **state)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xc0, 0,    17, 8, 0xc3, 0x50, 0xc3, 0x50, 3,
                                   1,    0x22, 0,    2,    0x11, 1,  3, 0x11, 1,    0xff, 0xda, 0,
                                   12,   3,    1,    0,    2,    0,  3, 0,    0,    63,   0};
    uint8_t png[64] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0,    0,    13, 'I',
                       'H',  'D', 'R', 0,   0,    0xc3, 0x50, 0,    0, 0xc3, 0x50, 8,  2};
    /* VP8X, lossless: 16383 × 16383, the most that WebP can say. */
    static const uint8_t webp[] = {'R', 'I', 'F', 'F', 30, 0, 0, 0,    'W',  'E',  'B',  'P',  'V',
                                   'P', '8', 'L', 17,  0,  0, 0, 0x2f, 0xfe, 0xbf, 0xff, 0x0f, 0,
                                   0,   0,   0,   0,   0,  0, 0, 0,    0,    0,    0,    0};

    (void)state;
    expect_failure(jpeg, sizeof jpeg, CS_IMAGE_TOO_LARGE, "50000");
    expect_failure(png, sizeof png, CS_IMAGE_TOO_LARGE, "50000");
    expect_failure(webp, sizeof webp, CS_IMAGE_TOO_LARGE, "16383");
}

/* Headers within the limits that the bytes behind them cannot fill. */
static void headers_that_lie(void **state)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xc2, 0,    17, 8, 0x1b, 0x58, 0x1b, 0x58, 3,
                                   1,    0x22, 0,    2,    0x11, 1,  3, 0x11, 1,    0xff, 0xda, 0,
                                   12,   3,    1,    0,    2,    0,  3, 0,    0,    0,    0};

    (void)state;
    expect_failure(jpeg, sizeof jpeg, CS_CORRUPT_IMAGE, "cannot be in");
}

static void limits_are_the_callers(void **state)
{
    struct cs_limits limits = cs_limits_defaults();
    cs_image *image = make_pattern(100, 50, 0), *out;
    struct cs_image_info info;
    struct csi_buffer file;
    struct cs_error error;

    (void)state;
    csi_buffer_init(&file);
    assert_int_equal(csi_image_encode_png(image, NULL, &file, NULL), CS_OK);
    limits.max_side = 99;
    assert_int_equal(cs_image_decode(file.bytes, file.size, &limits, &out, NULL, &error), CS_IMAGE_TOO_LARGE);
    assert_int_equal(cs_image_probe(file.bytes, file.size, &limits, &info, &error), CS_IMAGE_TOO_LARGE);
    limits = cs_limits_defaults();
    limits.max_pixels = 4999;
    assert_int_equal(cs_image_decode(file.bytes, file.size, &limits, &out, NULL, &error), CS_IMAGE_TOO_LARGE);
    limits.max_pixels = 5000;
    limits.max_bytes = file.size - 1;
    assert_int_equal(cs_image_decode(file.bytes, file.size, &limits, &out, NULL, &error), CS_IMAGE_TOO_LARGE);
    limits.max_bytes = file.size;
    assert_int_equal(cs_image_decode(file.bytes, file.size, &limits, &out, NULL, &error), CS_OK);
    assert_int_equal(largest_difference(image, out), 0);
    csi_image_destroy(out);
    csi_image_destroy(image);
    csi_buffer_free(&file);
}

/* 64 good scans pass the default limit of 100, and not a limit of 20; thousands do not either. The many are
 * made by repeating the last scan of a good file, which a decoder has to read before it can call it nonsense.
 */
static void progressive_scans(void **state)
{
    cs_image *grey = make_pattern(64, 64, 1), *out;
    struct jpeg_recipe recipe = {.width = 192,
                                 .height = 64,
                                 .components = 1,
                                 .input = JCS_GRAYSCALE,
                                 .stored = JCS_GRAYSCALE,
                                 .scans = 64};
    struct cs_limits limits = cs_limits_defaults();
    struct csi_buffer file;
    struct cs_error error;
    size_t last = 0;

    (void)state;
    csi_buffer_init(&file);
    make_jpeg(&recipe, grey->pixels, &file);
    assert_int_equal(decode(file.bytes, file.size, &out, &error), CS_OK);
    csi_image_destroy(out);
    limits.max_jpeg_scans = 20;
    assert_int_equal(cs_image_decode(file.bytes, file.size, &limits, &out, NULL, &error), CS_IMAGE_TOO_LARGE);
    assert_non_null(strstr(error.message, "scans"));
    assert_int_equal(
        cs_image_decode_display(file.bytes, file.size, &limits, CS_DECODE_FAST, 16, &out, NULL, &error),
        CS_IMAGE_TOO_LARGE);
    for (size_t i = 0; i + 1 < file.size; i++)
        if (file.bytes[i] == 0xff && file.bytes[i + 1] == 0xda)
            last = i;
    assert_true(last > 0);
    {
        size_t scan_size = file.size - 2 - last;
        uint8_t *scan = malloc(scan_size);

        assert_non_null(scan);
        memcpy(scan, file.bytes + last, scan_size);
        file.size -= 2; /* the end marker */
        for (int i = 0; i < 5000; i++)
            csi_buffer_append(&file, scan, scan_size);
        csi_buffer_append(&file, "\xff\xd9", 2);
        free(scan);
    }
    expect_failure(file.bytes, file.size, CS_IMAGE_TOO_LARGE, "scans");
    csi_buffer_free(&file);
    csi_image_destroy(grey);
}

static uint32_t checksum(uint32_t crc, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) ? 0xedb88320u : 0);
    }
    return crc;
}

static void append_word(struct csi_buffer *file, uint32_t word)
{
    const uint8_t bytes[4] = {(uint8_t)(word >> 24), (uint8_t)(word >> 16), (uint8_t)(word >> 8),
                              (uint8_t)word};

    csi_buffer_append(file, bytes, sizeof bytes);
}

/* `type` and what stands before the compressed part of such a chunk, then that part. */
static void append_chunk(struct csi_buffer *file, const char *type, size_t head,
                         const struct csi_buffer *body)
{
    uint32_t crc = checksum(0xffffffffu, (const uint8_t *)type, 4 + head);

    append_word(file, (uint32_t)(head + body->size));
    csi_buffer_append(file, type, 4 + head);
    csi_buffer_append(file, body->bytes, body->size);
    append_word(file, ~checksum(crc, body->bytes, body->size));
}

/* Texts and profiles that inflate to 2 GB each, in all 6 GB behind one small photo: skipped, not inflated.
 * The stream in them is the image data of 7000 × 7000 white pixels. */
static void png_text_bombs(void **state)
{
    static const struct {
        const char *type;
        size_t head;
    } kinds[] = {{"zTXta\0\0", 3}, {"iTXta\0\1\0\0\0", 6}, {"iCCPa\0\0", 3}};
    uint8_t *zeros = calloc(1, 7000);
    cs_image *image = make_pattern(16, 16, 0), *out;
    struct csi_buffer large, stream, small, file;
    struct cs_error error;
    clock_t start;

    (void)state;
    assert_non_null(zeros);
    csi_buffer_init(&large);
    csi_buffer_init(&stream);
    csi_buffer_init(&small);
    csi_buffer_init(&file);
    make_png(7000, 7000, 8, PNG_COLOR_TYPE_GRAY, 0, zeros, 0, &large);
    make_png(16, 16, 8, PNG_COLOR_TYPE_RGB, 0, image->pixels, image->stride, &small);
    for (size_t at = 8, size; at + 12 <= large.size; at += 12 + size) {
        size = (size_t)large.bytes[at] << 24 | (size_t)large.bytes[at + 1] << 16 |
               (size_t)large.bytes[at + 2] << 8 | large.bytes[at + 3];
        if (memcmp(large.bytes + at + 4, "IDAT", 4) == 0)
            csi_buffer_append(&stream, large.bytes + at + 8, size);
    }
    csi_buffer_append(&file, small.bytes, 33); /* signature and header */
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        for (int i = 0; i < 40; i++)
            append_chunk(&file, kinds[kind].type, kinds[kind].head, &stream);
    csi_buffer_append(&file, small.bytes + 33, small.size - 33);
    assert_false(file.failed);
    start = clock();
    if (decode(file.bytes, file.size, &out, &error) != CS_OK)
        fail_msg("%s", error.message);
    /* Inflating takes 6 s and more; reading over it some milliseconds, a good deal more in sanitizers. */
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1.5);
    assert_int_equal(largest_difference(image, out), 0);
    csi_image_destroy(out);
    csi_image_destroy(image);
    csi_buffer_free(&large);
    csi_buffer_free(&stream);
    csi_buffer_free(&small);
    csi_buffer_free(&file);
    free(zeros);
}

/* A PNG of 7000 × 7000 white pixels is 50 KB: it decodes, row by row. One that claims more than deflate can
 * expand does not. */
static void png_bombs(void **state)
{
    struct cs_limits limits = cs_limits_defaults();
    uint8_t *zeros = calloc(1, 7000);
    struct csi_display_options options = {limits, CS_DECODE_FAST, 100, csi_cpu()->features, false};
    struct cs_image_info info;
    struct csi_buffer file;
    double decode_ms, resize_ms;
    cs_image *image;

    (void)state;
    csi_buffer_init(&file);
    make_png(7000, 7000, 8, PNG_COLOR_TYPE_GRAY, 0, zeros, 0, &file);
    assert_true(file.size < 60000);
    assert_int_equal(
        csi_image_load_display(file.bytes, file.size, &options, &image, &info, &decode_ms, &resize_ms, NULL),
        CS_OK);
    assert_int_equal(image->width, 100);
    csi_image_destroy(image);
    /* The same data under a header of one row more: too little for it. */
    file.bytes[23]++;
    expect_failure(file.bytes, file.size, CS_CORRUPT_IMAGE, "PNG"); /* and the header's checksum is wrong */
    /* 50 million pixels in 33 bytes of header. */
    expect_failure(file.bytes, 33, CS_CORRUPT_IMAGE, "PNG");
    csi_buffer_free(&file);
    free(zeros);
}

static void interlaced_and_deep_png(void **state)
{
    cs_image *image = make_pattern(37, 23, 0), *out;
    struct csi_buffer file;
    uint8_t deep[23][37][6];

    (void)state;
    csi_buffer_init(&file);
    make_png(37, 23, 8, PNG_COLOR_TYPE_RGB, 1, image->pixels, image->stride, &file);
    assert_int_equal(decode(file.bytes, file.size, &out, NULL), CS_OK);
    assert_int_equal(largest_difference(image, out), 0);
    csi_image_destroy(out);
    expect_failure(file.bytes, file.size / 2, CS_CORRUPT_IMAGE, "PNG");
    csi_buffer_free(&file);
    for (size_t y = 0; y < 23; y++) /* high byte: the pattern; low byte: what has to be dropped */
        for (size_t x = 0; x < 37; x++)
            for (size_t c = 0; c < 3; c++) {
                deep[y][x][2 * c] = image->pixels[y * image->stride + 3 * x + c];
                deep[y][x][2 * c + 1] = 200;
            }
    make_png(37, 23, 16, PNG_COLOR_TYPE_RGB, 1, &deep[0][0][0], sizeof deep[0], &file);
    assert_int_equal(decode(file.bytes, file.size, &out, NULL), CS_OK);
    assert_int_equal(largest_difference(image, out), 0);
    csi_image_destroy(out);
    csi_buffer_free(&file);
    csi_image_destroy(image);
}

/* Odd sampling, restart markers, arithmetic coding, YCCK: what Pillow does not write. */
static void unusual_jpegs(void **state)
{
    static const struct jpeg_recipe recipes[] = {
        {.width = 61, .height = 43, .components = 3, .input = JCS_RGB, .stored = JCS_YCbCr, .h = 1, .v = 2},
        {.width = 61, .height = 43, .components = 3, .input = JCS_RGB, .stored = JCS_YCbCr, .h = 4, .v = 1},
        {.width = 61, .height = 43, .components = 3, .input = JCS_RGB, .stored = JCS_YCbCr, .h = 4, .v = 2},
        {.width = 61, .height = 43, .components = 3, .input = JCS_RGB, .stored = JCS_RGB},
        {.width = 61,
         .height = 43,
         .components = 3,
         .input = JCS_RGB,
         .stored = JCS_YCbCr,
         .h = 2,
         .v = 2,
         .progressive = 1,
         .restart_rows = 1},
        {.width = 61,
         .height = 43,
         .components = 3,
         .input = JCS_RGB,
         .stored = JCS_YCbCr,
         .h = 2,
         .v = 2,
         .arithmetic = 1},
    };
    cs_image *small = make_pattern(5, 4, 1), *image, *out;
    uint8_t inks[43 * 61 * 4];

    (void)state;
    assert_int_equal(csi_image_resize(small, 61, 43, CS_FILTER_BILINEAR, 0, &image, NULL), CS_OK);
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        struct csi_buffer file;

        csi_buffer_init(&file);
        make_jpeg(&recipes[i], image->pixels, &file);
        assert_int_equal(decode(file.bytes, file.size, &out, NULL), CS_OK);
        assert_true(largest_difference(image, out) <= 24); /* lossy, smooth */
        csi_image_destroy(out);
        csi_buffer_free(&file);
    }
    for (int ycck = 0; ycck < 2; ycck++) { /* Adobe stores 255 - ink */
        struct jpeg_recipe recipe = {.width = 61,
                                     .height = 43,
                                     .components = 4,
                                     .input = JCS_CMYK,
                                     .stored = ycck ? JCS_YCCK : JCS_CMYK};
        struct csi_buffer file;

        csi_buffer_init(&file);
        for (size_t i = 0; i < 61 * 43; i++) {
            memcpy(inks + i * 4, image->pixels + i * 3, 3);
            inks[i * 4 + 3] = 255;
        }
        make_jpeg(&recipe, inks, &file);
        assert_int_equal(decode(file.bytes, file.size, &out, NULL), CS_OK);
        assert_true(largest_difference(image, out) <= 24);
        csi_image_destroy(out);
        csi_buffer_free(&file);
    }
    csi_image_destroy(small);
    csi_image_destroy(image);
}

/* Damage in the middle is an error with the library's words; bytes between segments are not. */
static void damaged_jpeg(void **state)
{
    cs_image *image = make_pattern(64, 64, 1), *out;
    struct csi_buffer file, stuffed;

    (void)state;
    csi_buffer_init(&file);
    csi_buffer_init(&stuffed);
    assert_int_equal(csi_image_encode_jpeg(image, 90, &file, NULL), CS_OK);
    csi_buffer_append(&stuffed, file.bytes, 20); /* SOI and APP0 */
    csi_buffer_append(&stuffed, "\1\2\3", 3);
    csi_buffer_append(&stuffed, file.bytes + 20, file.size - 20);
    assert_int_equal(decode(stuffed.bytes, stuffed.size, &out, NULL), CS_OK);
    csi_image_destroy(out);
    expect_failure(file.bytes, file.size * 2 / 3, CS_CORRUPT_IMAGE, "JPEG: Premature end");
    memcpy(file.bytes + file.size / 2, "\xff\xd9", 2);
    expect_failure(file.bytes, file.size, CS_CORRUPT_IMAGE, "JPEG");
    csi_buffer_free(&file);
    csi_buffer_free(&stuffed);
    csi_image_destroy(image);
}

static void animated_webp(void **state)
{
    /* A VP8X header with the animation flag, an ANIM chunk and an empty frame. */
    static const uint8_t file[] = {
        'R', 'I', 'F', 'F', 60, 0, 0, 0,   'W', 'E', 'B', 'P', 'V', 'P', '8', 'X', 10, 0, 0, 0, 2, 0,   0,
        0,   15,  0,   0,   15, 0, 0, 'A', 'N', 'I', 'M', 6,   0,   0,   0,   0,   0,  0, 0, 0, 0, 'A', 'N',
        'M', 'F', 16,  0,   0,  0, 0, 0,   0,   0,   0,   0,   15,  0,   0,   15,  0,  0, 0, 0, 0, 0};

    (void)state;
    expect_failure(file, sizeof file, CS_UNSUPPORTED_FORMAT, "animated");
}

/* Orientation 1…8 at display size: the same as turning the whole photo by hand. */
static void orientation_at_display_size(void **state)
{
    cs_image *photo = make_pattern(120, 80, 1);
    struct csi_buffer plain;

    (void)state;
    csi_buffer_init(&plain);
    assert_int_equal(csi_image_encode_jpeg(photo, 95, &plain, NULL), CS_OK);
    for (int orientation = 1; orientation <= 8; orientation++) {
        uint8_t app1[] = {0xff,
                          0xe1,
                          0,
                          34,
                          'E',
                          'x',
                          'i',
                          'f',
                          0,
                          0,
                          'I',
                          'I',
                          42,
                          0,
                          8,
                          0,
                          0,
                          0,
                          1,
                          0,
                          0x12,
                          1,
                          3,
                          0,
                          1,
                          0,
                          0,
                          0,
                          (uint8_t)orientation,
                          0,
                          0,
                          0,
                          0,
                          0,
                          0,
                          0};
        struct cs_image_info info;
        struct csi_buffer file;
        cs_image *whole, *shown, *expected;

        csi_buffer_init(&file);
        csi_buffer_append(&file, plain.bytes, 2);
        csi_buffer_append(&file, app1, sizeof app1);
        csi_buffer_append(&file, plain.bytes + 2, plain.size - 2);
        assert_int_equal(cs_image_decode(file.bytes, file.size, NULL, &whole, &info, NULL), CS_OK);
        assert_int_equal(info.orientation, orientation);
        assert_int_equal(whole->width, orientation >= 5 ? 80 : 120);
        assert_int_equal(
            cs_image_decode_display(file.bytes, file.size, NULL, CS_DECODE_EXACT, 60, &shown, &info, NULL),
            CS_OK);
        assert_int_equal(info.width, whole->width);
        assert_int_equal(shown->height, orientation >= 5 ? 60 : 40);
        assert_int_equal(
            csi_image_resize(whole, shown->width, shown->height, CS_FILTER_LANCZOS, 0, &expected, NULL),
            CS_OK);
        /* Mirrored weights may round the other way. */
        assert_true(largest_difference(shown, expected) <= 1);
        csi_image_destroy(expected);
        csi_image_destroy(shown);
        csi_image_destroy(whole);
        csi_buffer_free(&file);
    }
    csi_buffer_free(&plain);
    csi_image_destroy(photo);
}

/* PNG has its EXIF block before the image data or behind it; it may be larger than one of JPEG can be. */
static void orientation_in_png(void **state)
{
    static const uint8_t exif[] = {'e', 'X', 'I', 'f', 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12,
                                   1,   3,   0,   1,   0,   0,   0,  6, 0, 0, 0, 0, 0, 0, 0};
    cs_image *photo = make_pattern(24, 16, 1);
    struct csi_buffer plain, rest[2]; /* of the block */

    (void)state;
    csi_buffer_init(&rest[0]);
    csi_buffer_init(&rest[1]);
    for (int i = 0; i < 70000; i++)
        csi_buffer_append(&rest[1], "", 1);
    csi_buffer_init(&plain);
    make_png(24, 16, 8, PNG_COLOR_TYPE_RGB, 0, photo->pixels, photo->stride, &plain);
    for (int way = 0; way < 4; way++) {
        size_t at = way % 2 == 1 ? plain.size - 12 : 33; /* before the end, or behind the header */
        struct cs_image_info info;
        struct csi_buffer file;
        cs_image *whole, *shown;

        csi_buffer_init(&file);
        csi_buffer_append(&file, plain.bytes, at);
        append_chunk(&file, (const char *)exif, sizeof exif - 4, &rest[way / 2]);
        csi_buffer_append(&file, plain.bytes + at, plain.size - at);
        assert_int_equal(cs_image_probe(file.bytes, file.size, NULL, &info, NULL), CS_OK);
        assert_int_equal(info.orientation, 6);
        assert_int_equal(cs_image_decode(file.bytes, file.size, NULL, &whole, &info, NULL), CS_OK);
        assert_int_equal(whole->width, 16);
        /* A quarter turn clockwise: the lower left corner comes to the upper left. */
        assert_memory_equal(whole->pixels, photo->pixels + 15 * photo->stride, 3);
        assert_int_equal(
            cs_image_decode_display(file.bytes, file.size, NULL, CS_DECODE_FAST, 12, &shown, &info, NULL),
            CS_OK);
        assert_int_equal(shown->width, 8);
        assert_int_equal(shown->height, 12);
        csi_image_destroy(shown);
        csi_image_destroy(whole);
        csi_buffer_free(&file);
    }
    csi_buffer_free(&rest[1]);
    csi_buffer_free(&plain);
    csi_image_destroy(photo);
}

/* EXIF blocks that are no EXIF: the photo counts as upright. */
static void damaged_exif(void **state)
{
    cs_image *photo = make_pattern(16, 8, 1);
    struct csi_buffer plain;

    (void)state;
    csi_buffer_init(&plain);
    assert_int_equal(csi_image_encode_jpeg(photo, 95, &plain, NULL), CS_OK);
    for (int value = 0; value < 3; value++) {
        uint8_t app1[] = {0xff, 0xe1, 0,    34, 'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0,
                          1,    0,    0x12, 1,  3,   0,   1,   0,   0, 0, 9,   0,   0,  0, 0, 0, 0, 0};
        struct cs_image_info info;
        struct csi_buffer file;

        if (value == 1)
            memset(app1 + 14, 0xff, 20); /* an offset out of the block */
        if (value == 2)
            memset(app1 + 18, 0xff, 2); /* 65535 entries */
        csi_buffer_init(&file);
        csi_buffer_append(&file, plain.bytes, 2);
        csi_buffer_append(&file, app1, sizeof app1);
        csi_buffer_append(&file, plain.bytes + 2, plain.size - 2);
        assert_int_equal(cs_image_probe(file.bytes, file.size, NULL, &info, NULL), CS_OK);
        assert_int_equal(info.orientation, 1);
        csi_buffer_free(&file);
    }
    csi_buffer_free(&plain);
    csi_image_destroy(photo);
}

/* A scaled decode, then Lanczos, stays close to the full decode, then Lanczos. */
static void fast_is_close_to_exact(void **state)
{
    cs_image *small = make_pattern(9, 7, 0), *photo, *exact, *fast;
    struct csi_buffer file;

    (void)state;
    assert_int_equal(csi_image_resize(small, 901, 703, CS_FILTER_BILINEAR, csi_cpu()->features, &photo, NULL),
                     CS_OK);
    for (int webp = 0; webp < 2; webp++) {
        csi_buffer_init(&file);
        assert_int_equal(webp ? csi_image_encode_webp(photo, 95, &file, NULL)
                              : csi_image_encode_jpeg(photo, 95, &file, NULL),
                         CS_OK);
        assert_int_equal(
            cs_image_decode_display(file.bytes, file.size, NULL, CS_DECODE_EXACT, 100, &exact, NULL, NULL),
            CS_OK);
        assert_int_equal(
            cs_image_decode_display(file.bytes, file.size, NULL, CS_DECODE_FAST, 100, &fast, NULL, NULL),
            CS_OK);
        assert_in_range(largest_difference(exact, fast), 0, 10); /* at the kinks of this steep pattern */
        csi_image_destroy(exact);
        csi_image_destroy(fast);
        csi_buffer_free(&file);
    }
    csi_image_destroy(small);
    csi_image_destroy(photo);
}

static void encoders(void **state)
{
    cs_image *image = make_pattern(33, 21, 0), *out;
    struct cs_blob blob;

    (void)state;
    assert_int_equal(cs_image_encode(image, CS_FORMAT_PNG, 0, &blob, NULL), CS_OK);
    for (int mode = -1; mode <= 2; mode += 3) { /* no mode has such a number */
        out = image;
        assert_int_equal(cs_image_decode_display(blob.bytes, blob.size, NULL, (enum cs_decode_mode)mode, 16,
                                                 &out, NULL, NULL),
                         CS_BAD_REQUEST);
        assert_null(out);
    }
    assert_int_equal(decode(blob.bytes, blob.size, &out, NULL), CS_OK);
    assert_int_equal(largest_difference(image, out), 0);
    csi_image_destroy(out);
    cs_blob_destroy(&blob);
    for (int format = CS_FORMAT_JPEG; format <= CS_FORMAT_WEBP; format += 2) {
        assert_int_equal(cs_image_encode(image, (enum cs_image_format)format, 90, &blob, NULL), CS_OK);
        assert_int_equal(decode(blob.bytes, blob.size, &out, NULL), CS_OK);
        assert_int_equal(out->width, 33);
        csi_image_destroy(out);
        cs_blob_destroy(&blob);
        assert_int_equal(cs_image_encode(image, (enum cs_image_format)format, 0, &blob, NULL),
                         CS_BAD_REQUEST);
        assert_int_equal(cs_image_encode(image, (enum cs_image_format)format, 101, &blob, NULL),
                         CS_BAD_REQUEST);
    }
    assert_int_equal(cs_image_encode(image, CS_FORMAT_UNKNOWN, 90, &blob, NULL), CS_BAD_REQUEST);
    csi_image_destroy(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow),          cmocka_unit_test(truncation_is_seen),
        cmocka_unit_test(foreign_files),          cmocka_unit_test(huge_headers),
        cmocka_unit_test(headers_that_lie),       cmocka_unit_test(limits_are_the_callers),
        cmocka_unit_test(progressive_scans),      cmocka_unit_test(png_bombs),
        cmocka_unit_test(png_text_bombs),         cmocka_unit_test(interlaced_and_deep_png),
        cmocka_unit_test(unusual_jpegs),          cmocka_unit_test(damaged_jpeg),
        cmocka_unit_test(animated_webp),          cmocka_unit_test(orientation_at_display_size),
        cmocka_unit_test(orientation_in_png),     cmocka_unit_test(damaged_exif),
        cmocka_unit_test(fast_is_close_to_exact), cmocka_unit_test(encoders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
