/*
 * From a photo at display size to what a network sees: short side, centre crop, tensor. Owns torchvision's
 * rounding rules; the filter is resample.c's.
 */
#include <string.h>

#include "image/image.h"
#include "image/resample.h"

/* Python's round(n / 2): halves go to the even neighbour. torchvision's CenterCrop uses it for the offset. */
static uint32_t half_to_even(uint32_t n)
{
    uint32_t half = n / 2;

    return n % 2 == 1 && half % 2 == 1 ? half + 1 : half;
}

/* One direction: the part of [0, resized) that falls into the crop, and where in the crop it begins. */
struct span {
    uint32_t from, count, to;
};

static struct span centre(uint32_t resized, uint32_t crop)
{
    if (resized >= crop)
        return (struct span){half_to_even(resized - crop), crop, 0};
    return (struct span){0, resized, (crop - resized) / 2};
}

enum cs_status csi_image_crop_for_network(const cs_image *image, uint32_t resize, uint32_t crop,
                                          uint32_t cpu_features, cs_image **cropped, struct cs_error *error)
{
    struct csi_resample_plan plan = {.in_width = image->width,
                                     .in_height = image->height,
                                     .filter = CS_FILTER_BILINEAR,
                                     .cpu_features = cpu_features};
    uint32_t shorter = image->width < image->height ? image->width : image->height;
    uint32_t longer = image->width < image->height ? image->height : image->width;
    uint64_t other = (uint64_t)resize * longer / shorter;
    struct csi_resampler *resampler = NULL;
    cs_image *window = NULL, *framed = NULL;
    struct span x, y;
    enum cs_status status;

    *cropped = NULL;
    if (resize == 0 || crop == 0 || resize > CSI_IMAGE_MAX_SIDE || crop > CSI_IMAGE_MAX_SIDE)
        return csi_fail(error, CS_BAD_REQUEST, "resize %u, crop %u: both are 1 to %u", (unsigned)resize,
                        (unsigned)crop, CSI_IMAGE_MAX_SIDE);
    if (other > INT32_MAX)
        return csi_fail(error, CS_BAD_REQUEST, "%u x %u pixels are too narrow to be resized to %u",
                        (unsigned)image->width, (unsigned)image->height, (unsigned)resize);
    plan.out_width = image->width <= image->height ? resize : (uint32_t)other;
    plan.out_height = image->width <= image->height ? (uint32_t)other : resize;
    x = centre(plan.out_width, crop);
    y = centre(plan.out_height, crop);
    plan.left = x.from;
    plan.top = y.from;
    status = csi_image_create(x.count, y.count, &window, error);
    if (status == CS_OK)
        status = csi_resampler_create(&plan, window, &resampler, error);
    if (status == CS_OK)
        csi_resampler_push(resampler, image->pixels, image->stride, image->height);
    if (status == CS_OK && (x.count < crop || y.count < crop)) { /* a black frame around what is too small */
        status = csi_image_create(crop, crop, &framed, error);
        if (status == CS_OK) {
            memset(framed->pixels, 0, framed->stride * crop);
            for (uint32_t row = 0; row < y.count; row++)
                memcpy(framed->pixels + (y.to + row) * framed->stride + (size_t)x.to * 3,
                       window->pixels + row * window->stride, window->stride);
            csi_image_destroy(window);
            window = framed;
        }
    }
    csi_resampler_destroy(resampler);
    if (status != CS_OK) {
        csi_image_destroy(window);
        return status;
    }
    *cropped = window;
    return CS_OK;
}

enum cs_status csi_image_to_tensor(const cs_image *cropped, const float mean[3], const float std_dev[3],
                                   uint32_t cpu_features, float *output, struct cs_error *error)
{
    size_t plane = (size_t)cropped->width * cropped->height;
    float table[3][256];

    (void)cpu_features; /* 256 values a channel: three table look-ups a pixel are bound by the stores, vector
                           code gains nothing */
    for (int c = 0; c < 3; c++) {
        if (!(std_dev[c] > 0.0f))
            return csi_fail(error, CS_BAD_REQUEST, "a deviation of %g: it divides", (double)std_dev[c]);
        for (int v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0f - mean[c]) / std_dev[c];
    }
    for (uint32_t y = 0; y < cropped->height; y++) {
        const uint8_t *pixel = cropped->pixels + y * cropped->stride;
        float *r = output + (size_t)y * cropped->width, *g = r + plane, *b = g + plane;

        for (uint32_t x = 0; x < cropped->width; x++, pixel += 3) {
            r[x] = table[0][pixel[0]];
            g[x] = table[1][pixel[1]];
            b[x] = table[2][pixel[2]];
        }
    }
    return CS_OK;
}
