/*
 * Shared by the image tests: files, random numbers, and encoders that make test images in memory (also such
 * as Pillow cannot make).
 */
#ifndef TESTS_IMAGES_SUPPORT_H
#define TESTS_IMAGES_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

#include "base/buffer.h"
#include "base/cpu.h"
#include "image/image.h"

/* The bytes of tests/data/images/<name>; freed with free(). */
static inline uint8_t *read_data(const char *name, size_t *size)
{
    char path[1024];
    FILE *file;
    uint8_t *bytes;
    long length;

    snprintf(path, sizeof path, "%s/images/%s", CS_TEST_DATA, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    length = ftell(file);
    assert_true(length > 0);
    rewind(file);
    bytes = malloc((size_t)length);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)length, file), (size_t)length);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}

static inline uint32_t little(const uint8_t *b, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | b[i];
    return value;
}

static inline uint32_t next_random(uint32_t *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

/* pattern() of make_goldens.py, byte for byte. */
static inline cs_image *make_pattern(uint32_t width, uint32_t height, unsigned kind)
{
    uint32_t state = 12345u + 7919u * width + 104729u * height;
    cs_image *image;

    assert_int_equal(csi_image_create(width, height, &image, NULL), CS_OK);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < 3; c++) {
                uint8_t *to = image->pixels + y * image->stride + 3 * x + c;
                uint32_t noise;

                state = state * 1103515245u + 12345u;
                noise = state >> 24;
                *to = (uint8_t)(kind == 0   ? noise
                                : kind == 1 ? (x * (3 + c) + y * (5 - c)) & 255u
                                : kind == 2 ? (noise > 127 ? 255u : 0u)
                                            : ((x + y + c) % 2 ? 255u : 0u));
            }
    return image;
}

static inline struct cs_limits default_limits(void)
{
    return cs_limits_defaults();
}

/* A JPEG by libjpeg with what Pillow's encoder has no switch for. */
struct jpeg_recipe {
    uint32_t width, height;
    int components; /* 1, 3, 4 */
    J_COLOR_SPACE input, stored;
    int h, v; /* luma sampling factors; 0: the default */
    int progressive;
    int scans; /* > 0 (at most 64): one coefficient a scan */
    int restart_rows;
    int arithmetic;
};

static inline void make_jpeg(const struct jpeg_recipe *recipe, const uint8_t *pixels, struct csi_buffer *out)
{
    struct jpeg_compress_struct library;
    struct jpeg_error_mgr errors;
    jpeg_scan_info *script = NULL;
    unsigned char *bytes = NULL;
    unsigned long size = 0;

    memset(&library, 0, sizeof library);
    library.err = jpeg_std_error(&errors);
    jpeg_create_compress(&library);
    jpeg_mem_dest(&library, &bytes, &size);
    library.image_width = recipe->width;
    library.image_height = recipe->height;
    library.input_components = recipe->components;
    library.in_color_space = recipe->input;
    jpeg_set_defaults(&library);
    jpeg_set_colorspace(&library, recipe->stored);
    jpeg_set_quality(&library, 90, TRUE);
    if (recipe->h != 0) {
        library.comp_info[0].h_samp_factor = recipe->h;
        library.comp_info[0].v_samp_factor = recipe->v;
    }
    library.arith_code = recipe->arithmetic;
    library.restart_in_rows = recipe->restart_rows;
    if (recipe->progressive)
        jpeg_simple_progression(&library);
    if (recipe->scans > 0) {
        /* One scan of the DC coefficient, then one for each of the others. */
        script = calloc((size_t)recipe->scans, sizeof *script);
        assert_non_null(script);
        for (int i = 0; i < recipe->scans; i++) {
            script[i].comps_in_scan = 1;
            script[i].Ss = script[i].Se = i;
        }
        library.scan_info = script;
        library.num_scans = recipe->scans;
    }
    jpeg_start_compress(&library, TRUE);
    while (library.next_scanline < library.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)library.next_scanline * recipe->width *
                                                          (size_t)recipe->components);

        jpeg_write_scanlines(&library, &row, 1);
    }
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
    csi_buffer_append(out, bytes, size);
    free(bytes);
    free(script);
}

static inline void png_to_buffer(png_structp library, png_bytep bytes, size_t size)
{
    csi_buffer_append(png_get_io_ptr(library), bytes, size);
}

static inline void png_flush_nothing(png_structp library)
{
    (void)library;
}

/* A PNG by libpng: any colour type, interlaced or not. `rows` as libpng wants them. */
static inline void make_png(uint32_t width, uint32_t height, int depth, int colour, int interlaced,
                            const uint8_t *pixels, size_t stride, struct csi_buffer *out)
{
    png_structp library = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(library);
    int passes;

    png_set_write_fn(library, out, png_to_buffer, png_flush_nothing);
    png_set_IHDR(library, info, width, height, depth, colour,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(library, info);
    passes = png_set_interlace_handling(library);
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < height; y++)
            png_write_row(library, pixels + y * stride);
    png_write_end(library, info);
    png_destroy_write_struct(&library, &info);
}

static inline int largest_difference(const cs_image *a, const cs_image *b)
{
    int largest = 0;

    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (size_t i = 0; i < a->stride * a->height; i++) {
        int difference = abs((int)a->pixels[i] - (int)b->pixels[i]);

        largest = difference > largest ? difference : largest;
    }
    return largest;
}

#endif
