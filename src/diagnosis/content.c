/* Measures of a photo's content: see content.h. */
#include "diagnosis/content.h"

const char *csi_hint_name(enum csi_hint hint)
{
    static const char *const names[CSI_HINT_COUNT] = {"blurred", "too_dark", "too_bright", "leaf_too_small"};

    return (unsigned)hint < CSI_HINT_COUNT ? names[hint] : "";
}

void csi_content_measure(const cs_image *image, struct csi_content *content)
{
    uint64_t sum = 0;

    for (uint32_t y = 0; y < image->height; y++) {
        const uint8_t *row = image->pixels + y * image->stride;

        for (uint32_t x = 0; x < image->width; x++)
            sum += 299u * row[3 * x] + 587u * row[3 * x + 1] + 114u * row[3 * x + 2];
    }
    content->luminance = (float)((double)sum / 1000.0 / ((double)image->width * (double)image->height));
}
