/*
 * The table of Winograd variants and the choice for a layer shape. The choice comes from measurements
 * (bench/kernel_wino prints them), not from a model of the machine.
 */
#include <string.h>

#include "base/cpu.h"
#include "kernels/wino_plan.h"

#define SPLIT(name, size, schedule)                                                                          \
    {                                                                                                        \
        "conv3x3_" name "_avx512amx", &csi_wino_ops_avx512amx, size, schedule, NULL                          \
    }
#define VARIANTS(set)                                                                                        \
    {"conv3x3_wino4_" #set, &csi_wino_ops_##set, CSI_WINO_4, CSI_WINO_BANDED, NULL},                         \
        {"conv3x3_wino6_" #set, &csi_wino_ops_##set, CSI_WINO_6, CSI_WINO_BANDED, NULL},                     \
        {"conv3x3_wino8_" #set, &csi_wino_ops_##set, CSI_WINO_8, CSI_WINO_BANDED, NULL},                     \
        {"conv3x3_wino4_staged_" #set, &csi_wino_ops_##set, CSI_WINO_4, CSI_WINO_STAGED, NULL},              \
        {"conv3x3_wino6_staged_" #set, &csi_wino_ops_##set, CSI_WINO_6, CSI_WINO_STAGED, NULL},              \
        {"conv3x3_wino8_staged_" #set, &csi_wino_ops_##set, CSI_WINO_8, CSI_WINO_STAGED, NULL},              \
        {"conv3x3_wino4_compact_" #set, &csi_wino_ops_##set, CSI_WINO_4, CSI_WINO_COMPACT, NULL},            \
    {                                                                                                        \
        "conv3x3_wino6_compact_" #set, &csi_wino_ops_##set, CSI_WINO_6, CSI_WINO_COMPACT, NULL               \
    }

/* Best instruction set first; in this order for each. */
enum split_variant { SPLIT_BANDED, SPLIT_STAGED };
enum variant { BANDED_4, BANDED_6, BANDED_8, STAGED_4, STAGED_6, STAGED_8, COMPACT_4, COMPACT_6 };
static const struct csi_wino variants[] = {
#if defined(__x86_64__)
    SPLIT("wino4_split", CSI_WINO_4, CSI_WINO_BANDED),
    SPLIT("wino4_split_staged", CSI_WINO_4, CSI_WINO_STAGED),
    VARIANTS(avx512),
    VARIANTS(avx2),
#elif defined(__aarch64__)
    VARIANTS(neon),
#endif
    VARIANTS(generic),
};
#define FIXED(name, set, size, schedule)                                                                     \
    {                                                                                                        \
        "conv3x3_" name "_" #set, &csi_wino_ops_avx512, size, schedule, &csi_wino_fixed_##set                \
    }
#define FIXED_VARIANTS(set)                                                                                  \
    FIXED("wino4_int16", set, CSI_WINO_4, CSI_WINO_BANDED),                                                  \
        FIXED("wino6_int16", set, CSI_WINO_6, CSI_WINO_BANDED),                                              \
        FIXED("wino8_int16", set, CSI_WINO_8, CSI_WINO_BANDED),                                              \
        FIXED("wino4_int16_staged", set, CSI_WINO_4, CSI_WINO_STAGED),                                       \
        FIXED("wino6_int16_staged", set, CSI_WINO_6, CSI_WINO_STAGED),                                       \
        FIXED("wino8_int16_staged", set, CSI_WINO_8, CSI_WINO_STAGED)

/* 16-bit fixed point, best instruction set first; in this order for each. */
enum fixed_variant {
    FIXED_BANDED_4,
    FIXED_BANDED_6,
    FIXED_BANDED_8,
    FIXED_STAGED_4,
    FIXED_STAGED_6,
    FIXED_STAGED_8
};
static const struct csi_wino fixed_variants[] = {
#if defined(__x86_64__)
    FIXED_VARIANTS(avx512amx),
    FIXED_VARIANTS(avx512vnni),
#endif
    {NULL, NULL, CSI_WINO_4, CSI_WINO_BANDED, NULL},
};
#define VARIANT_COUNT (sizeof(variants) / sizeof(variants[0]))

const char *csi_wino_name(const struct csi_wino *kernel)
{
    return kernel->name;
}

uint32_t csi_wino_features(const struct csi_wino *kernel)
{
    return kernel->fixed ? kernel->fixed->features : kernel->ops->features;
}

size_t csi_wino_tile(const struct csi_wino *kernel)
{
    return kernel->size == CSI_WINO_4 ? 4 : kernel->size == CSI_WINO_6 ? 6 : 8;
}

bool csi_wino_is_split(const struct csi_wino *kernel)
{
    return kernel->fixed == NULL && kernel->ops->split;
}

const struct csi_wino *csi_wino_variant(uint32_t features, size_t index)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if ((variants[i].ops->features & ~features) != 0)
            continue;
        if (index == 0)
            return &variants[i];
        index--;
    }
    return NULL;
}

const struct csi_wino *csi_wino_find(const char *name)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if (strcmp(variants[i].name, name) == 0)
            return &variants[i];
    }
    return NULL;
}

/* So few tiles that weights should be read once for all of them. */
static bool few_tiles(const struct csi_wino_desc *desc)
{
    return desc->height * desc->width <= 40u * 40u;
}

static size_t products(const struct csi_wino_desc *desc, size_t side)
{
    return ((desc->height + side - 1) / side) * ((desc->width + side - 1) / side) * (side + 2) * (side + 2);
}

/* F(6,3) where it saves enough products to pay for weights of 1.8 times the size: 18 % on large maps; on
 * small ones tiles stand out over the edges. */
static bool large_tiles(const struct csi_wino_desc *desc)
{
    return products(desc, 6) * 100 < products(desc, 4) * 87;
}

/* F(8,3), whose weights are 2.8 times as large as those of F(4,3), where it saves as much again: 15 % on maps
 * of 112 and 224 pixels, 23 % on those of 56, into which its tiles fit. */
static bool largest_tiles(const struct csi_wino_desc *desc)
{
    return products(desc, 8) * 100 < products(desc, 6) * 90 &&
           products(desc, 8) * 100 < products(desc, 4) * 80;
}

/* So few that reading weights once still wins where these are the larger ones of F(6,3) or F(8,3). */
static bool medium_tiles(const struct csi_wino_desc *desc)
{
    return desc->height * desc->width <= 64u * 64u && desc->cin >= 128 &&
           products(desc, 6) * 100 < products(desc, 4) * 92;
}

/* Weights that stay in a core's second-level cache from band to band, and a panel of tiles for each of few
 * threads: then no core need fetch from another what that one has just transformed, which is a sixth of a
 * staged layer's time on two. Panels of fewer tiles would read these weights too often. */
static bool own_bands(const struct csi_wino *banded, const struct csi_wino_desc *desc, unsigned threads)
{
    const size_t weights = csi_wino_pitch(desc->cin) * csi_wino_pitch(desc->cout) * 36 * sizeof(float);
    const size_t tiles = products(desc, 4) / 36, rows = banded->ops->rows;
    return threads <= 4 && rows >= 14 && tiles >= rows * threads && weights <= (3u << 20) / 2;
}

/* F(4,3) alone: where products are cheap, larger tiles save less than their larger weights cost. */
static const struct csi_wino *choose_split(const struct csi_wino_desc *desc, uint32_t features,
                                           unsigned threads)
{
    const struct csi_wino *banded = csi_wino_variant(features, SPLIT_BANDED);
    const bool staged = few_tiles(desc) ? !own_bands(banded, desc, threads)
                                        : desc->height * desc->width <= 64u * 64u && desc->cin >= 128;
    return staged ? csi_wino_variant(features, SPLIT_STAGED) : banded;
}

const struct csi_wino *csi_wino_choose(const struct csi_wino_desc *desc, uint32_t features, unsigned threads,
                                       bool compact)
{
    if (compact)
        features &= ~(uint32_t)CSI_CPU_AMX_BF16; /* has no compact variants */
    const struct csi_wino *banded = csi_wino_variant(features, BANDED_4);
    if (banded->ops->split)
        return choose_split(desc, features, threads);
    if (few_tiles(desc) && !compact && own_bands(banded, desc, threads))
        return banded;
    if (few_tiles(desc))
        return csi_wino_variant(features, compact ? COMPACT_4 : STAGED_4);
    const bool largest = !compact && largest_tiles(desc);
    if (medium_tiles(desc))
        return csi_wino_variant(features, compact ? COMPACT_6 : largest ? STAGED_8 : STAGED_6);
    return csi_wino_variant(features, largest ? BANDED_8 : large_tiles(desc) ? BANDED_6 : BANDED_4);
}

const struct csi_wino *csi_wino_fixed_variant(uint32_t features, size_t index)
{
    for (const struct csi_wino *kernel = fixed_variants; kernel->name != NULL; kernel++) {
        if ((kernel->fixed->features & ~features) != 0)
            continue;
        if (index == 0)
            return kernel;
        index--;
    }
    return NULL;
}

/* Errors of fixed point grow with the square root of the channels, and those of F(8,3) are five times those
 * of F(6,3): on medium maps it would bring two thirds of the squared error of the network's logits for a
 * fiftieth of its time (docs/experiments.md). */
#define FIXED_8_CHANNELS 128u
/* Weights above this are read once for all of few tiles. */
#define FIXED_STAGED_BYTES (2u << 20)

static enum fixed_variant fixed_index(const struct csi_wino_desc *desc, unsigned threads)
{
    const size_t weights = csi_wino_pitch(desc->cin) * csi_wino_pitch(desc->cout) * 36 * sizeof(int16_t);
    if (few_tiles(desc))
        return threads > 4 || weights > FIXED_STAGED_BYTES ? FIXED_STAGED_4 : FIXED_BANDED_4;
    if (medium_tiles(desc))
        return FIXED_STAGED_6;
    if (largest_tiles(desc) && desc->cin <= FIXED_8_CHANNELS)
        return FIXED_BANDED_8;
    return large_tiles(desc) ? FIXED_BANDED_6 : FIXED_BANDED_4;
}

/* Do a layer's tiles and channels fill seven eighths of its panels and blocks? AMX multiplies all of them,
 * whatever is in them. */
static bool fills_panels(const struct csi_wino *kernel, const struct csi_wino_desc *desc)
{
    const size_t side = csi_wino_tile(kernel), pitch = csi_wino_pitch(desc->cin);
    const size_t tiles = products(desc, side) / ((side + 2) * (side + 2));
    const size_t panels = (tiles + kernel->fixed->rows - 1) / kernel->fixed->rows;
    return tiles * pitch * 8 >= panels * kernel->fixed->rows * csi_round_up(pitch, kernel->fixed->block) * 7;
}

const struct csi_wino *csi_wino_choose_fixed(const struct csi_wino_desc *desc, uint32_t features,
                                             unsigned threads)
{
    const enum fixed_variant index = fixed_index(desc, threads);
    const struct csi_wino *kernel = csi_wino_fixed_variant(features, index);
    if ((features & CSI_CPU_AMX_INT8) == 0 || kernel == NULL || fills_panels(kernel, desc))
        return kernel;
    return csi_wino_fixed_variant(features & ~(uint32_t)CSI_CPU_AMX_INT8, index);
}
