/*
 * The heat map over the photo: bilinear enlargement, colours, blend. Owns the loops over display pixels; all
 * in fixed point and in blocks of fixed size, which compilers vectorise for every instruction set.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "explain/explain.h"

/* Pixels a block. Lines are padded to whole blocks. */
enum { BLOCK = 16 };

/* Map values in fixed point: 255·256 is 1, so that colour index = value >> 8. */
#define VALUE_ONE 65280.0f
/* Shares of two neighbours: they sum to 2^15. A value times a share stays below 2^31. */
#define SHARE_BITS 15

/* Where an output pixel lies between two source pixels: half-pixel centres, edges held. */
struct between {
    uint32_t low, high;
    uint32_t share; /* of `high` */
};

static struct between place(uint32_t position, uint32_t length, uint32_t source)
{
    double centre = (position + 0.5) * source / length - 0.5;
    struct between at;

    if (centre < 0)
        centre = 0;
    at.low = (uint32_t)centre;
    if (at.low > source - 1)
        at.low = source - 1;
    at.high = at.low + 1 < source ? at.low + 1 : at.low;
    at.share = (uint32_t)((centre - at.low) * (1 << SHARE_BITS) + 0.5);
    if (at.low == at.high)
        at.share = 0;
    return at;
}

/* All map rows enlarged to the image's width: map_height lines of `line` values. */
static void enlarge_rows(const float *map, uint32_t map_width, uint32_t map_height, uint32_t width,
                         size_t line, uint32_t *lines)
{
    for (uint32_t x = 0; x < width; x++) {
        struct between at = place(x, width, map_width);
        float share = (float)at.share / (float)(1 << SHARE_BITS);

        for (uint32_t y = 0; y < map_height; y++) {
            const float *row = map + (size_t)y * map_width;
            float value = row[at.low] + (row[at.high] - row[at.low]) * share;

            value = value > 0.0f ? value < 1.0f ? value : 1.0f : 0.0f; /* NaN becomes 0 */
            lines[y * line + x] = (uint32_t)(value * VALUE_ONE + 0.5f);
        }
    }
}

/* Colour indices of one image row, between two enlarged lines. */
static void index_row(const uint32_t *restrict low, const uint32_t *restrict high, uint32_t share,
                      size_t line, uint32_t *restrict index)
{
    const uint32_t keep = (1u << SHARE_BITS) - share, half = 1u << (SHARE_BITS + 7);

    for (size_t x = 0; x < line; x += BLOCK)
        for (size_t i = 0; i < BLOCK; i++)
            index[x + i] = (low[x + i] * keep + high[x + i] * share + half) >> (SHARE_BITS + 8);
}

/* (1-alpha)·photo + alpha·colour, alpha in 256ths; `size` is a multiple of BLOCK. */
static void blend_row(const uint8_t *restrict photo, const uint8_t *restrict colour, uint16_t alpha,
                      size_t size, uint8_t *restrict to)
{
    const uint16_t keep = (uint16_t)(256 - alpha);

    for (size_t x = 0; x < size; x += BLOCK)
        for (size_t i = 0; i < BLOCK; i++)
            to[x + i] = (uint8_t)((uint16_t)(photo[x + i] * keep + colour[x + i] * alpha + 128) >> 8);
}

struct scratch {
    size_t line;     /* values a line */
    uint32_t *lines; /* map_height lines */
    uint32_t *index; /* one line */
    uint8_t *colour; /* 3·line bytes and one: colours are stored four bytes at a time */
};

static void scratch_free(struct scratch *scratch)
{
    free(scratch->lines);
    free(scratch->index);
    free(scratch->colour);
}

static enum cs_status scratch_init(struct scratch *scratch, uint32_t width, uint32_t map_height,
                                   struct cs_error *error)
{
    size_t size;

    memset(scratch, 0, sizeof *scratch);
    scratch->line = csi_round_up(width, BLOCK);
    if (csi_mul_overflows(scratch->line * sizeof *scratch->lines, map_height, &size))
        return csi_fail_memory(error, "overlay");
    scratch->lines = calloc(1, size);
    scratch->index = calloc(scratch->line, sizeof *scratch->index);
    scratch->colour = calloc(1, scratch->line * 3 + 1);
    if (scratch->lines != NULL && scratch->index != NULL && scratch->colour != NULL)
        return CS_OK;
    scratch_free(scratch);
    return csi_fail_memory(error, "overlay");
}

/* The palette four bytes an entry, so that one load and one store move a colour. */
static void colour_row(const uint8_t palette[256][4], const uint32_t *index, uint32_t width, uint8_t *to)
{
    for (uint32_t x = 0; x < width; x++)
        memcpy(to + (size_t)x * 3, palette[index[x] & 255u], 4);
}

enum cs_status csi_overlay(const cs_image *image, const float *map, uint32_t map_width, uint32_t map_height,
                           enum cs_colormap colormap, float alpha, cs_image **overlay, struct cs_error *error)
{
    const uint8_t(*table)[3] = csi_colormap(colormap);
    uint8_t palette[256][4] = {{0}};
    struct scratch scratch;
    enum cs_status status;

    *overlay = NULL;
    if (!(alpha >= 0.0f && alpha <= 1.0f))
        return csi_fail(error, CS_BAD_REQUEST, "an alpha of %g: 0 to 1", (double)alpha);
    if (map == NULL || map_width == 0 || map_height == 0)
        return csi_fail(error, CS_BAD_REQUEST, "an empty map");
    if (table == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "no such colour map: %d", (int)colormap);
    status = scratch_init(&scratch, image->width, map_height, error);
    if (status != CS_OK)
        return status;
    status = csi_image_create(image->width, image->height, overlay, error);
    if (status != CS_OK)
        goto done;
    for (int i = 0; i < 256; i++)
        memcpy(palette[i], table[i], 3);
    enlarge_rows(map, map_width, map_height, image->width, scratch.line, scratch.lines);
    for (uint32_t y = 0; y < image->height; y++) {
        struct between at = place(y, image->height, map_height);

        index_row(scratch.lines + at.low * scratch.line, scratch.lines + at.high * scratch.line, at.share,
                  scratch.line, scratch.index);
        colour_row((const uint8_t(*)[4])palette, scratch.index, image->width, scratch.colour);
        /* Whole blocks reach into the next row, which is written later, or into the padding of the last. */
        blend_row(image->pixels + y * image->stride, scratch.colour, (uint16_t)(alpha * 256.0f + 0.5f),
                  csi_round_up(image->stride, BLOCK), (*overlay)->pixels + y * (*overlay)->stride);
    }
done:
    scratch_free(&scratch);
    return status;
}
