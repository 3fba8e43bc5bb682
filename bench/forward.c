/*
 * CropShield in the peers' benchmark: the same input file, the same reference logits, one JSON line, like
 * bench/peers/. Everything before the timed loop (loading, packing) is done before, as in all of them.
 *
 *   bench_forward MODEL DIR THREADS BATCH ITERATIONS [PRECISION] [CPU-MASK] [cuda]   (DIR holds input.bin,
 * logits.bin)
 */
#include <cropshield/cropshield.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct cs_model_options options = cs_model_options_defaults();
    struct cs_error error;
    cs_model *model = NULL;
    cs_session *session = NULL;

    if (argc < 6) {
        fprintf(stderr,
                "usage: bench_forward MODEL DIR THREADS BATCH ITERATIONS [PRECISION] [CPU-MASK] [cuda]\n");
        return 2;
    }
    size_t batch = (size_t)atoi(argv[4]), iterations = (size_t)atoi(argv[5]);
    size_t warmup = iterations < 5 ? iterations : 5;

    options.path = argv[1];
    options.threads = (unsigned)atoi(argv[3]);
    options.max_batch = (unsigned)batch;
    options.precision = CS_PRECISION_FP32;
    for (int p = CS_PRECISION_FP32; argc > 6 && p <= CS_PRECISION_INT8; p++)
        if (strcmp(argv[6], cs_precision_name((enum cs_precision)p)) == 0)
            options.precision = (enum cs_precision)p;
    if (argc > 7)
        options.cpu_mask = argv[7];
    options.device = argc > 8 && strcmp(argv[8], "cuda") == 0 ? CS_DEVICE_CUDA : CS_DEVICE_CPU;
    if (cs_model_load(&options, &model, &error) != CS_OK ||
        cs_session_create(model, &session, &error) != CS_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], error.message);
        return 1;
    }
    struct cs_model_info info = cs_model_info(model);
    size_t plane = (size_t)3 * info.input_size * info.input_size;
    float *input = read_floats(argv[2], "input.bin", batch * plane);
    float *want = read_floats(argv[2], "logits.bin", batch * info.class_count);
    double *ms = malloc(iterations * sizeof *ms), worst = 0;

    for (size_t i = 0; ms != NULL && i < warmup + iterations; i++) {
        double start = now_ms();

        if (cs_session_forward(session, input, batch, &error) != CS_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
        if (i >= warmup)
            ms[i - warmup] = now_ms() - start;
    }
    for (size_t i = 0; i < batch * info.class_count; i++)
        worst = fmax(worst, fabs((double)cs_session_logits(session)[i] - want[i]));
    qsort(ms, iterations, sizeof *ms, compare);
    printf("{\"engine\":\"cropshield-%s-%s\",\"threads\":%u,\"batch\":%zu,\"p50\":%.3f,\"min\":%.3f,\"max\":%"
           ".3f,"
           "\"max_abs_error\":%.3g}\n",
           cs_precision_name(info.precision), info.kernels, info.threads, batch, ms[iterations / 2], ms[0],
           ms[iterations - 1], worst);
    free(input);
    free(want);
    free(ms);
    cs_session_destroy(session);
    cs_model_destroy(model);
    return 0;
}
