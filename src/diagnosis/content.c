/* Measures of a photo's content: see content.h. */
#include "diagnosis/content.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define HUES 12

const char *csi_hint_name(enum csi_hint hint)
{
    static const char *const names[CSI_HINT_COUNT] = {"blurred", "too_dark", "too_bright", "leaf_too_small"};

    return (unsigned)hint < CSI_HINT_COUNT ? names[hint] : "";
}

const char *csi_feature_name(enum csi_feature feature)
{
    static const char *const names[CSI_FEATURE_COUNT] = {
        "leaf", "green",  "excess_green", "luma_mean", "luma_std",    "sharpness", "edges",
        "dark", "bright", "vivid",        "flat",      "hue_entropy", "red",       "blue"};

    return (unsigned)feature < CSI_FEATURE_COUNT ? names[feature] : "";
}

struct sums {
    uint64_t leaf, green, red, blue, vivid, dark, bright, steep, flat;
    int64_t excess_green, luma, luma_squares, laplacian, laplacian_squares;
    uint64_t hues[HUES];
};

static int luma_of(const uint8_t *pixel)
{
    return (77 * pixel[0] + 150 * pixel[1] + 29 * pixel[2]) >> 8;
}

/* Twelve hues of 30 degrees, from red over yellow. */
static unsigned hue_of(int red, int green, int blue, int high, int low)
{
    int mid = red + green + blue - high - low;
    unsigned sector;

    if (high == red)
        sector = blue == low ? 0 : 5;
    else if (high == green)
        sector = blue == low ? 1 : 2;
    else
        sector = red == low ? 3 : 4;
    return 2 * sector + (2 * (mid - low) >= high - low);
}

static void add_colour(struct sums *sums, const uint8_t *pixel)
{
    int red = pixel[0], green = pixel[1], blue = pixel[2];
    int high = red > green ? red : green, low = red < green ? red : green, luma = luma_of(pixel), chroma;
    bool coloured;

    high = blue > high ? blue : high;
    low = blue < low ? blue : low;
    chroma = high - low;
    coloured = 8 * chroma >= high && high >= 40;
    sums->leaf += coloured && blue == low && 10 * green >= 7 * red;
    sums->green += coloured && green == high && green > red;
    sums->blue += coloured && blue == high && blue > green;
    sums->red += coloured && red == high && 10 * green < 7 * red;
    sums->vivid += 2 * chroma > high && high >= 40;
    sums->dark += luma < 30;
    sums->bright += luma > 235;
    sums->excess_green += 2 * green - red - blue;
    sums->luma += luma;
    sums->luma_squares += luma * luma;
    if (chroma >= 24)
        sums->hues[hue_of(red, green, blue, high, low)]++;
}

static int magnitude(int value)
{
    return value < 0 ? -value : value;
}

/* One pixel with its four neighbours. */
static void add_slope(struct sums *sums, int middle, int left, int right, int above, int below)
{
    int laplacian = 4 * middle - left - right - above - below;
    int slope = magnitude(right - left) + magnitude(below - above);

    sums->laplacian += laplacian;
    sums->laplacian_squares += laplacian * laplacian;
    sums->steep += slope > 40;
    sums->flat += slope == 0;
}

static double hue_entropy(const struct sums *sums)
{
    uint64_t total = 0;
    double entropy = 0;

    for (int i = 0; i < HUES; i++)
        total += sums->hues[i];
    for (int i = 0; i < HUES; i++)
        if (sums->hues[i] != 0) {
            double share = (double)sums->hues[i] / (double)total;

            entropy -= share * log(share);
        }
    return entropy / log(HUES);
}

void csi_content_measure(const cs_image *crop, struct csi_content *content)
{
    struct sums sums;
    double count = (double)crop->width * (double)crop->height, mean, spread;
    double inner =
        crop->width > 2 && crop->height > 2 ? ((double)crop->width - 2) * ((double)crop->height - 2) : 1;
    double *value = content->values;

    memset(&sums, 0, sizeof sums);
    for (uint32_t y = 0; y < crop->height; y++)
        for (uint32_t x = 0; x < crop->width; x++)
            add_colour(&sums, crop->pixels + y * crop->stride + 3 * (size_t)x);
    for (uint32_t y = 1; y + 1 < crop->height; y++) {
        const uint8_t *row = crop->pixels + y * crop->stride + 3;

        for (uint32_t x = 1; x + 1 < crop->width; x++, row += 3)
            add_slope(&sums, luma_of(row), luma_of(row - 3), luma_of(row + 3), luma_of(row - crop->stride),
                      luma_of(row + crop->stride));
    }
    mean = (double)sums.luma / count;
    spread = (double)sums.luma_squares / count - mean * mean;
    value[CSI_FEATURE_LEAF] = (double)sums.leaf / count;
    value[CSI_FEATURE_GREEN] = (double)sums.green / count;
    value[CSI_FEATURE_EXCESS_GREEN] = (double)sums.excess_green / count / 255;
    value[CSI_FEATURE_LUMA_MEAN] = mean / 255;
    value[CSI_FEATURE_LUMA_STD] = sqrt(spread > 0 ? spread : 0) / 255;
    mean = (double)sums.laplacian / inner;
    spread = (double)sums.laplacian_squares / inner - mean * mean;
    value[CSI_FEATURE_SHARPNESS] = log1p(spread > 0 ? spread : 0);
    value[CSI_FEATURE_EDGES] = (double)sums.steep / inner;
    value[CSI_FEATURE_DARK] = (double)sums.dark / count;
    value[CSI_FEATURE_BRIGHT] = (double)sums.bright / count;
    value[CSI_FEATURE_VIVID] = (double)sums.vivid / count;
    value[CSI_FEATURE_FLAT] = (double)sums.flat / inner;
    value[CSI_FEATURE_HUE_ENTROPY] = hue_entropy(&sums);
    value[CSI_FEATURE_RED] = (double)sums.red / count;
    value[CSI_FEATURE_BLUE] = (double)sums.blue / count;
}
