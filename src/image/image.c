/*
 * Images in memory: making, freeing, turning. Owns the layout of struct cs_image; decoding, resampling and
 * encoding live beside it.
 */
#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "image/decoder.h"

enum cs_status csi_image_create(uint32_t width, uint32_t height, cs_image **image, struct cs_error *error)
{
    cs_image *made;
    size_t size;

    *image = NULL;
    if (width == 0 || height == 0 || width > CSI_IMAGE_MAX_SIDE || height > CSI_IMAGE_MAX_SIDE)
        return csi_fail(error, CS_BAD_REQUEST, "an image of %u x %u pixels: sides are 1 to %u",
                        (unsigned)width, (unsigned)height, CSI_IMAGE_MAX_SIDE);
    if (csi_mul_overflows((size_t)width * 3, height, &size) ||
        csi_add_overflows(size, CSI_IMAGE_PADDING, &size))
        return csi_fail_memory(error, "image");
    made = malloc(sizeof *made);
    if (made == NULL)
        return csi_fail_memory(error, "image");
    made->pixels = csi_aligned_alloc(size);
    if (made->pixels == NULL) {
        free(made);
        return csi_fail_memory(error, "image");
    }
    made->width = width;
    made->height = height;
    made->stride = (size_t)width * 3;
    memset(made->pixels + size - CSI_IMAGE_PADDING, 0, CSI_IMAGE_PADDING);
    *image = made;
    return CS_OK;
}

enum cs_status csi_image_from_pixels(const uint8_t *pixels, uint32_t width, uint32_t height, size_t stride,
                                     cs_image **image, struct cs_error *error)
{
    enum cs_status status;

    *image = NULL;
    if (pixels == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "no pixels");
    if (stride < (size_t)width * 3)
        return csi_fail(error, CS_BAD_REQUEST, "a stride of %zu bytes for %u pixels of 3 bytes", stride,
                        (unsigned)width);
    status = csi_image_create(width, height, image, error);
    if (status != CS_OK)
        return status;
    for (uint32_t y = 0; y < height; y++)
        memcpy((*image)->pixels + y * (*image)->stride, pixels + y * stride, (*image)->stride);
    return CS_OK;
}

void csi_image_destroy(cs_image *image)
{
    if (image == NULL)
        return;
    csi_aligned_free(image->pixels);
    free(image);
}

void csi_display_size(uint32_t width, uint32_t height, uint32_t max_side, uint32_t *display_width,
                      uint32_t *display_height)
{
    uint32_t longer = width > height ? width : height;
    uint32_t shorter = width > height ? height : width;
    uint32_t scaled;

    *display_width = width;
    *display_height = height;
    if (longer <= max_side || max_side == 0)
        return;
    scaled = (uint32_t)(((uint64_t)shorter * max_side * 2 + longer) / (2 * (uint64_t)longer));
    if (scaled == 0)
        scaled = 1;
    *display_width = width > height ? max_side : scaled;
    *display_height = width > height ? scaled : max_side;
    if (width == height)
        *display_width = *display_height = max_side;
}

/* EXIF 2.32, 4.6.4, tag 0x0112: where the stored row 0 and column 0 belong. As steps over the stored pixels:
 * where the oriented image's first pixel lies, and how far one pixel to the right and one down lead. */
struct walk {
    bool swap, flip_x,
        flip_y; /* swap: oriented rows run along stored columns; flips are of the stored axes */
};

static const struct walk walks[9] = {
    [1] = {false, false, false}, [2] = {false, true, false}, [3] = {false, true, true},
    [4] = {false, false, true},  [5] = {true, false, false}, [6] = {true, false, true},
    [7] = {true, true, true},    [8] = {true, true, false},
};

enum cs_status csi_image_orient(cs_image *image, int orientation, struct cs_error *error)
{
    struct walk walk;
    cs_image *turned;
    enum cs_status status;

    if (orientation <= 1 || orientation > 8)
        return CS_OK;
    walk = walks[orientation];
    status = csi_image_create(walk.swap ? image->height : image->width,
                              walk.swap ? image->width : image->height, &turned, error);
    if (status != CS_OK)
        return status;
    for (uint32_t y = 0; y < turned->height; y++) {
        uint8_t *to = turned->pixels + y * turned->stride;

        for (uint32_t x = 0; x < turned->width; x++, to += 3) {
            uint32_t from_x = walk.swap ? y : x, from_y = walk.swap ? x : y;
            const uint8_t *from;

            if (walk.flip_x)
                from_x = image->width - 1 - from_x;
            if (walk.flip_y)
                from_y = image->height - 1 - from_y;
            from = image->pixels + from_y * image->stride + (size_t)from_x * 3;
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    }
    csi_aligned_free(image->pixels);
    *image = *turned;
    free(turned);
    return CS_OK;
}

void csi_compose_on_white(const uint8_t *rgba, uint8_t *rgb, size_t count)
{
    for (size_t i = 0; i < count; i++, rgba += 4, rgb += 3) {
        unsigned alpha = rgba[3], white = 255u * (255u - alpha) + 128u;

        for (int c = 0; c < 3; c++) {
            unsigned sum = rgba[c] * alpha + white;

            rgb[c] = (uint8_t)((sum + (sum >> 8)) >> 8); /* / 255, rounded */
        }
    }
}
