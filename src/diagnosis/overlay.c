/*
 * The heat map over the photo: a small map resized bilinearly (pixel centres, edges held) to the photo,
 * coloured, blended.
 */
#include <stdlib.h>

#include "diagnosis/diagnoser.h"
#include "explain/explain.h"

/* Where an output pixel lies between two source pixels. */
struct between {
    uint32_t low, high;
    float share; /* of `high` */
};

static struct between place(uint32_t position, uint32_t length, uint32_t source)
{
    float centre = ((float)position + 0.5f) * (float)source / (float)length - 0.5f;
    struct between at;

    if (centre < 0)
        centre = 0;
    at.low = (uint32_t)centre;
    if (at.low > source - 1)
        at.low = source - 1;
    at.high = at.low + 1 < source ? at.low + 1 : at.low;
    at.share = centre - (float)at.low;
    return at;
}

/* One row: the two map rows around it are blended into `line` first, which leaves one interpolation a pixel.
 */
static void overlay_row(const uint8_t *from, uint8_t *to, uint32_t width, const float *line,
                        const struct between *columns, const uint32_t coloured[256][3], uint32_t keep)
{
    for (uint32_t x = 0; x < width; x++) {
        float low = line[columns[x].low], value = low + (line[columns[x].high] - low) * columns[x].share;
        const uint32_t *colour = coloured[(uint32_t)(value * 255.0f + 0.5f) & 255u];

        for (int c = 0; c < 3; c++)
            to[3 * x + (uint32_t)c] = (uint8_t)((from[3 * x + (uint32_t)c] * keep + colour[c]) >> 16);
    }
}

enum cs_status csi_overlay(const cs_image *image, const float *map, uint32_t map_width, uint32_t map_height,
                           enum cs_colormap colormap, float alpha, cs_image **overlay, struct cs_error *error)
{
    const uint8_t(*palette)[3] = csi_colormap(colormap);
    uint32_t coloured[256][3], keep;
    struct between *columns;
    float *line;
    enum cs_status status;

    *overlay = NULL;
    if (!(alpha >= 0 && alpha <= 1))
        return csi_fail(error, CS_BAD_REQUEST, "alpha has to be within 0 and 1");
    if (map_width == 0 || map_height == 0 || palette == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "a heat map needs a map and a known colour map");
    status = csi_image_create(image->width, image->height, overlay, error);
    if (status != CS_OK)
        return status;
    columns = malloc(image->width * sizeof *columns);
    line = malloc(map_width * sizeof *line);
    if (columns == NULL || line == NULL) {
        cs_image_destroy(*overlay);
        *overlay = NULL;
        status = csi_fail_memory(error, "overlay");
        goto done;
    }
    /* Fixed point with 16 bits; both shares sum to exactly 1, the half rounds. */
    keep = 65536u - (uint32_t)(alpha * 65536.0f + 0.5f);
    for (int level = 0; level < 256; level++)
        for (int c = 0; c < 3; c++)
            coloured[level][c] = palette[level][c] * (65536u - keep) + 32768u;
    for (uint32_t x = 0; x < image->width; x++)
        columns[x] = place(x, image->width, map_width);
    for (uint32_t y = 0; y < image->height; y++) {
        struct between row = place(y, image->height, map_height);
        const float *low = map + (size_t)row.low * map_width, *high = map + (size_t)row.high * map_width;

        for (uint32_t x = 0; x < map_width; x++) {
            float value = low[x] + (high[x] - low[x]) * row.share;

            line[x] = value > 0 ? value < 1 ? value : 1 : 0; /* NaN becomes 0 */
        }
        overlay_row(image->pixels + y * image->stride, (*overlay)->pixels + y * (*overlay)->stride,
                    image->width, line, columns, (const uint32_t(*)[3])coloured, keep);
    }
done:
    free(columns);
    free(line);
    return status;
}
