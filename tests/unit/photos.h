/* Photos for tests, drawn and encoded here: a leaf-like blob on a ground, different for every seed. */
#ifndef TESTS_UNIT_PHOTOS_H
#define TESTS_UNIT_PHOTOS_H

#include <cropshield/cropshield.h>

#include <stdlib.h>

static struct cs_blob draw_photo(uint32_t seed, uint32_t width, uint32_t height, enum cs_image_format format)
{
    uint8_t *pixels = malloc((size_t)width * height * 3);
    struct cs_blob blob = {0};
    cs_image *image = NULL;

    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *pixel = pixels + ((size_t)y * width + x) * 3;
            int64_t dx = (int64_t)x * 2 - width, dy = (int64_t)y * 2 - height;
            bool leaf = dx * dx * height + dy * dy * width <
                        (int64_t)width * height * (width < height ? width : height) / 2;
            uint32_t noise = (x * 2654435761u ^ y * 2246822519u ^ seed * 3266489917u) >> 13;

            pixel[0] = (uint8_t)((leaf ? 60 + seed * 37 % 90 : 130) + noise % 24);
            pixel[1] = (uint8_t)((leaf ? 140 : 110 + seed * 11 % 40) + (noise >> 5) % 24);
            pixel[2] = (uint8_t)((leaf ? 40 : 90) + (noise >> 10) % 24);
        }
    if (cs_image_from_pixels(pixels, width, height, (size_t)width * 3, &image, NULL) == CS_OK)
        cs_image_encode(image, format, 90, &blob, NULL);
    cs_image_destroy(image);
    free(pixels);
    return blob;
}

#endif
