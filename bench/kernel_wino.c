/*
 * The eight convolutions of the reference network with random weights, without the engine: for each layer
 * every variant's median time, then the chosen chain as a whole. Usage: bench_kernel_wino [--threads N]
 * [--batch N] [--iterations N] [--mask LIST] [--chain-only] [--no-pair] [--fixed]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "kernels/wino.h"

#define LAYERS         8u
#define VARIANTS       8u  /* of an instruction set; with AMX its two and six of the next one */
#define FIXED_VARIANTS 12u /* at most: six of an instruction set */
#define MOST_ROUNDS    512u

static const struct {
    size_t cin, cout, side;
    bool pool;
} network[LAYERS] = {
    {3, 64, 224, false},   {64, 64, 224, true},  {64, 128, 112, false}, {128, 128, 112, true},
    {128, 256, 56, false}, {256, 256, 56, true}, {256, 512, 28, false}, {512, 512, 28, true},
};

struct layer {
    struct csi_wino_desc desc;
    const struct csi_wino *kernel;
    void *packed;
    double gflop;
};

struct bench {
    unsigned threads;
    size_t batch, iterations;
    uint32_t features;
    bool fixed; /* 16-bit fixed point */
    bool pair;  /* the first two layers as one */
    struct csi_pool *pool;
    float *input, *maps[2];
    void *scratch;
    struct layer layers[LAYERS];
};

static void *need(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0F - 1.0F;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *ms, size_t count)
{
    qsort(ms, count, sizeof(*ms), by_value);
    return ms[count / 2];
}

static void *pack(const struct csi_wino *kernel, const struct csi_wino_desc *desc)
{
    const size_t count = desc->cout * desc->cin * 9;
    float *weights = need(malloc(count * sizeof(float)));
    uint32_t state = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        weights[i] = noise(&state) * 0.05F;
    void *packed;
    if (kernel) {
        packed = need(csi_aligned_alloc(csi_wino_packed_size(kernel, desc)));
        for (size_t s = 0; s < csi_wino_pack_slices(kernel, desc); s++)
            csi_wino_pack(kernel, desc, weights, NULL, NULL, packed, s);
    } else {
        packed = need(csi_aligned_alloc(csi_conv_first_packed_size(desc)));
        csi_conv_first_pack(desc, weights, NULL, packed);
    }
    free(weights);
    return packed;
}

static void run_layer(const struct bench *bench, const struct csi_wino *kernel, const struct layer *layer,
                      const void *packed, const float *in, float *out)
{
    if (kernel)
        csi_wino_run(kernel, &layer->desc, packed, in, NULL, out, bench->batch, bench->scratch, bench->pool);
    else
        csi_conv_first_run(csi_conv_first_variant(bench->features, 0), &layer->desc, packed, in, out,
                           bench->batch, bench->scratch, bench->pool);
}

/* Every variant of the best set, each iteration running all of them in turn. */
static void compare_variants(const struct bench *bench)
{
    static double ms[FIXED_VARIANTS][MOST_ROUNDS];
    for (size_t l = 1; l < LAYERS; l++) {
        const struct layer *layer = &bench->layers[l];
        const struct csi_wino *kernels[FIXED_VARIANTS];
        void *packed[FIXED_VARIANTS];
        size_t count = 0;
        for (; count < (bench->fixed ? FIXED_VARIANTS : VARIANTS); count++) {
            kernels[count] = bench->fixed ? csi_wino_fixed_variant(bench->features, count)
                                          : csi_wino_variant(bench->features, count);
            if (!kernels[count])
                break;
            packed[count] = pack(kernels[count], &layer->desc);
        }
        for (size_t i = 0; i < bench->iterations; i++) {
            for (size_t k = 0; k < count; k++) {
                uint64_t start = csi_now_ns();
                run_layer(bench, kernels[k], layer, packed[k], bench->maps[0], bench->maps[1]);
                ms[k][i] = csi_ms_since(start) / (double)bench->batch;
            }
        }
        printf("%3zu -> %3zu @ %3zu%s", layer->desc.cin, layer->desc.cout, layer->desc.height,
               layer->desc.pool ? "p" : " ");
        for (size_t k = 0; k < count; k++) {
            double m = median(ms[k], bench->iterations);
            printf("  %s %.3f ms %.0f GFLOP/s", csi_wino_name(kernels[k]) + 8, m, layer->gflop / m * 1e3);
            csi_aligned_free(packed[k]);
        }
        printf("\n");
    }
}

static void run_chain(struct bench *bench)
{
    static double ms[LAYERS + 1][MOST_ROUNDS];
    for (size_t i = 0; i < bench->iterations + 3; i++) {
        const float *in = bench->input;
        const size_t slot = i < 3 ? 0 : i - 3; /* three to warm up */
        uint64_t begin = csi_now_ns();
        for (size_t l = 0; l < LAYERS; l++) {
            uint64_t start = csi_now_ns();
            if (l == 1 && bench->pair)
                csi_conv_pair_run(csi_conv_first_variant(bench->features, 0), &bench->layers[0].desc,
                                  bench->layers[0].packed, bench->layers[1].kernel, &bench->layers[1].desc,
                                  bench->layers[1].packed, bench->input, bench->maps[1], bench->batch,
                                  bench->scratch, bench->pool);
            else if (l > 0 || !bench->pair)
                run_layer(bench, bench->layers[l].kernel, &bench->layers[l], bench->layers[l].packed, in,
                          bench->maps[l % 2]);
            ms[l][slot] = csi_ms_since(start) / (double)bench->batch;
            in = bench->maps[l % 2];
        }
        ms[LAYERS][slot] = csi_ms_since(begin) / (double)bench->batch;
    }
    double gflop = 0;
    for (size_t l = 0; l < LAYERS; l++) {
        const struct layer *layer = &bench->layers[l];
        double m = median(ms[l], bench->iterations);
        gflop += layer->gflop;
        printf("%-30s %3zu -> %3zu @ %3zu  %7.3f ms  %5.0f GFLOP/s as direct\n",
               layer->kernel ? csi_wino_name(layer->kernel)
                             : csi_conv_first_name(csi_conv_first_variant(bench->features, 0)),
               layer->desc.cin, layer->desc.cout, layer->desc.height, m, layer->gflop / m * 1e3);
    }
    double m = median(ms[LAYERS], bench->iterations);
    printf("chain: threads %u batch %zu: %.3f ms an image (min %.3f), %.0f GFLOP/s as direct\n",
           bench->threads, bench->batch, m, ms[LAYERS][0], gflop / m * 1e3);
}

static void set_up(struct bench *bench)
{
    struct cs_error error;
    size_t scratch = 0, most = 0;
    if (bench->threads > 1 && csi_pool_create(bench->threads, &bench->pool, &error) != CS_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    for (size_t l = 0; l < LAYERS; l++) {
        struct layer *layer = &bench->layers[l];
        const size_t side = network[l].side;
        layer->desc = (struct csi_wino_desc){.cin = network[l].cin,
                                             .cout = network[l].cout,
                                             .height = side,
                                             .width = side,
                                             .activation = CSI_WINO_RELU,
                                             .pool = network[l].pool};
        layer->gflop = (double)(layer->desc.cin * layer->desc.cout * 9 * side * side) * 2e-9;
        most = most > side * side * layer->desc.cout ? most : side * side * layer->desc.cout;
        layer->kernel = l == 0 ? NULL
                        : bench->fixed
                            ? csi_wino_choose_fixed(&layer->desc, bench->features, bench->threads)
                            : csi_wino_choose(&layer->desc, bench->features, bench->threads, false);
        layer->packed = pack(layer->kernel, &layer->desc);
        size_t needed = l == 0 ? csi_conv_first_scratch_size(&layer->desc, bench->threads) : 0;
        for (size_t k = 0; k < VARIANTS; k++) {
            size_t size = csi_wino_scratch_size(csi_wino_variant(bench->features, k), &layer->desc,
                                                bench->batch, bench->threads);
            needed = size > needed ? size : needed;
        }
        const struct csi_wino *kernel;
        for (size_t k = 0; (kernel = csi_wino_fixed_variant(bench->features, k)) != NULL; k++) {
            size_t size = csi_wino_scratch_size(kernel, &layer->desc, bench->batch, bench->threads);
            needed = size > needed ? size : needed;
        }
        scratch = needed > scratch ? needed : scratch;
    }
    const size_t pair = csi_conv_pair_scratch_size(&bench->layers[0].desc, bench->layers[1].kernel,
                                                   &bench->layers[1].desc, bench->threads);
    scratch = pair > scratch ? pair : scratch;
    uint32_t state = 1;
    bench->input = need(csi_aligned_alloc(bench->batch * 3 * 224 * 224 * sizeof(float)));
    for (size_t i = 0; i < bench->batch * 3 * 224 * 224; i++)
        bench->input[i] = noise(&state);
    for (size_t i = 0; i < 2; i++) {
        bench->maps[i] = need(csi_aligned_calloc(bench->batch * most * sizeof(float)));
        for (size_t j = 0; j < bench->batch * most; j++)
            bench->maps[i][j] = noise(&state);
    }
    bench->scratch = need(csi_aligned_calloc(scratch));
}

int main(int argc, char **argv)
{
    struct bench bench = {.pair = true, .threads = csi_cpu()->physical_cores, .batch = 1, .iterations = 25};
    const char *mask = NULL;
    bool chain_only = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--chain-only") == 0) {
            chain_only = true;
            continue;
        }
        if (strcmp(argv[i], "--fixed") == 0) {
            bench.fixed = true;
            continue;
        }
        if (strcmp(argv[i], "--no-pair") == 0) {
            bench.pair = false;
            continue;
        }
        if (strcmp(argv[i], "--threads") == 0)
            bench.threads = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--batch") == 0)
            bench.batch = strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--iterations") == 0)
            bench.iterations = strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--mask") == 0)
            mask = value;
        i++;
    }
    struct cs_error error;
    if (bench.threads == 0 || bench.batch == 0 || bench.iterations == 0 || bench.iterations > MOST_ROUNDS ||
        csi_cpu_allowed(mask, &bench.features, &error) != CS_OK) {
        fprintf(stderr, "bad arguments\n");
        return 2;
    }
    if (bench.fixed && csi_wino_fixed_variant(bench.features, 0) == NULL) {
        fprintf(stderr, "no fixed-point kernels here\n");
        return 2;
    }
    set_up(&bench);
    if (!chain_only)
        compare_variants(&bench);
    run_chain(&bench);
    for (size_t l = 0; l < LAYERS; l++)
        csi_aligned_free(bench.layers[l].packed);
    csi_aligned_free(bench.input);
    csi_aligned_free(bench.maps[0]);
    csi_aligned_free(bench.maps[1]);
    csi_aligned_free(bench.scratch);
    csi_pool_destroy(bench.pool);
    return 0;
}
