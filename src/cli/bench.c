/*
 * cropshield bench: latency of the whole request or of inference alone, and of each layer. What is timed is
 * the public interface, as any program would call it. The stream stage stands in bench_stream.c, the
 * statistics in summary.c.
 */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/summary.h"

struct bench {
    size_t warmup, iterations, batch;
    const char *image, *stage;
    bool layers, json, warm;
    double target_ms;
    const char *subject; /* the file that a failure is about; NULL: none */
    /* results */
    double *ms;
    struct cs_timings stages; /* mean */
    double json_ms;           /* a diagnosis as JSON */
};

/* About the size a phone makes. */
enum { PHOTO_WIDTH = 4000, PHOTO_HEIGHT = 3000 };

enum cs_status csi_bench_photo(uint32_t width, uint32_t height, uint8_t **bytes, size_t *size,
                               struct cs_error *error)
{
    uint8_t *pixels = malloc((size_t)width * height * 3);
    cs_image *image = NULL;
    struct cs_blob blob = {NULL, 0};
    uint32_t noise = 1;
    enum cs_status status;

    *bytes = NULL;
    if (pixels == NULL)
        return csi_fail_memory(error, "photo");
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            double dx = ((double)x - width / 2.0) / (width * 0.375);
            double dy = ((double)y - height / 2.0) / (height * 0.3);
            bool leaf = dx * dx + dy * dy < 1 + 0.05 * sin((double)x / 40);
            double vein = 18 * sin((double)(x + y) / 60) + 12 * sin((double)x / 23);
            uint8_t *p = pixels + (y * width + x) * 3;

            noise = noise * 1664525u + 1013904223u;
            p[0] = (uint8_t)((leaf ? 70 : 150) + vein / 2 + (noise >> 28));
            p[1] = (uint8_t)((leaf ? 130 : 145) + vein + (noise >> 28));
            p[2] = (uint8_t)((leaf ? 50 : 140) + vein / 3 + (noise >> 28));
        }
    status = cs_image_from_pixels(pixels, width, height, (size_t)width * 3, &image, error);
    free(pixels);
    if (status == CS_OK)
        status = cs_image_encode(image, CS_FORMAT_JPEG, 92, &blob, error);
    cs_image_destroy(image);
    if (status != CS_OK)
        return status;
    *bytes = malloc(blob.size);
    if (*bytes != NULL)
        memcpy(*bytes, blob.bytes, *size = blob.size);
    cs_blob_destroy(&blob);
    return *bytes != NULL ? CS_OK : csi_fail_memory(error, "photo");
}

static void add_stages(struct cs_timings *sum, const struct cs_timings *one, double scale)
{
    sum->decode += one->decode * scale;
    sum->resize += one->resize * scale;
    sum->preprocess += one->preprocess * scale;
    sum->inference += one->inference * scale;
    sum->gradcam += one->gradcam * scale;
    sum->total += one->total * scale;
}

struct batch_stream {
    const uint8_t *bytes;
    size_t size;
    struct cs_timings sum;
    struct cs_error error;
    bool failed;
};

static enum cs_status batch_load(void *context, size_t index, const void **bytes, size_t *size,
                                 const char **name, struct cs_error *error)
{
    struct batch_stream *stream = context;

    (void)index;
    (void)error;
    *bytes = stream->bytes;
    *size = stream->size;
    *name = "";
    return CS_OK;
}

static void batch_unload(void *context, size_t index, const void *bytes, size_t size)
{
    (void)context;
    (void)index;
    (void)bytes;
    (void)size;
}

static bool batch_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                       const struct cs_error *failure)
{
    struct batch_stream *stream = context;

    (void)index;
    if (failure != NULL) {
        stream->error = *failure;
        stream->failed = true;
        return false;
    }
    add_stages(&stream->sum, &diagnosis->timings, 1);
    return true;
}

/* The mean of a thousand, because one is shorter than the clock is exact. */
static enum cs_status bench_json(struct bench *bench, const cs_diagnosis *diagnosis, struct cs_error *error)
{
    enum { TIMES = 1000 };
    uint64_t start = csi_now_ns();
    enum cs_status status = CS_OK;

    for (int i = 0; i < TIMES && status == CS_OK; i++) {
        struct cs_blob blob = {NULL, 0};

        status = cs_diagnosis_json(diagnosis, &blob, error);
        cs_blob_destroy(&blob);
    }
    bench->json_ms = csi_ms_since(start) / TIMES;
    return status;
}

/* The whole request: bytes to diagnosis with heat map, nothing cached (or, with --warm, everything). */
static enum cs_status bench_request(struct bench *bench, cs_diagnoser *diagnoser, const uint8_t *bytes,
                                    size_t size, struct cs_error *error)
{
    struct cs_request request = cs_request_defaults();

    request.gradcam = true;
    request.no_cache = !bench->warm;
    for (size_t i = 0; i < bench->warmup + bench->iterations; i++) {
        uint64_t start = csi_now_ns();
        struct cs_timings timings = {0, 0, 0, 0, 0, 0};
        double took;

        if (bench->batch == 1) {
            cs_diagnosis *diagnosis = NULL;
            enum cs_status status = cs_diagnose(diagnoser, bytes, size, &request, &diagnosis, error);

            if (status != CS_OK)
                return status;
            took = csi_ms_since(start);
            timings = diagnosis->timings;
            if (i + 1 == bench->warmup + bench->iterations)
                status = bench_json(bench, diagnosis, error);
            cs_diagnosis_destroy(diagnosis);
            if (status != CS_OK)
                return status;
        } else {
            struct batch_stream context = {.bytes = bytes, .size = size};
            struct cs_stream stream = {bench->batch, bench->batch, request, batch_load,
                                       batch_unload, batch_done,   &context};
            enum cs_status status = cs_diagnose_stream(diagnoser, &stream, error);

            if (status == CS_OK && context.failed) {
                *error = context.error;
                status = error->status;
            }
            if (status != CS_OK)
                return status;
            took = csi_ms_since(start);
            timings = context.sum;
        }
        if (i >= bench->warmup) {
            bench->ms[i - bench->warmup] = took;
            add_stages(&bench->stages, &timings, 1.0 / (double)bench->iterations);
        }
    }
    return CS_OK;
}

/* The forward pass alone, on seeded noise: its time does not depend on the values. */
static enum cs_status bench_inference(struct bench *bench, cs_session *session,
                                      const struct cs_model_info *info, struct cs_error *error)
{
    size_t elements = bench->batch * 3 * info->input_size * info->input_size;
    float *input = malloc(elements * sizeof *input);
    uint32_t noise = 7;
    enum cs_status status = CS_OK;

    if (input == NULL)
        return csi_fail_memory(error, "input");
    for (size_t i = 0; i < elements; i++) {
        noise = noise * 1664525u + 1013904223u;
        input[i] = (float)(noise >> 8) / 8388608.0f - 1.0f;
    }
    for (size_t i = 0; status == CS_OK && i < bench->warmup + bench->iterations; i++) {
        uint64_t start = csi_now_ns();

        status = cs_session_forward(session, input, bench->batch, error);
        if (i >= bench->warmup)
            bench->ms[i - bench->warmup] = csi_ms_since(start);
    }
    free(input);
    return status;
}

static int wider(int width, const char *text)
{
    return (int)strlen(text) > width ? (int)strlen(text) : width;
}

/* The peak that bounds a layer, GOP/s, and its name: kernels on integers are called so. A 16-bit dot product
 * does half as much as an 8-bit one, on tiles a quarter; a tile of bfloat16 does half as much as one of
 * bytes, and split numbers take three of them. 0 and NULL: none was measured, it runs on a GPU. */
static double peak_of(const struct cs_layer_profile *layer, const struct cs_machine_peaks *peaks,
                      const char **name)
{
    bool words = strstr(layer->algorithm, "_int16") != NULL;

    if (strncmp(layer->algorithm, "cuda_", 5) == 0) {
        *name = NULL;
        return 0;
    }
    if (strstr(layer->algorithm, "_split") != NULL && peaks->tile_gops > 0) {
        *name = "split float32";
        return peaks->tile_gops / 6;
    }
    if (strstr(layer->algorithm, "amx") != NULL && peaks->tile_gops > 0) {
        *name = words ? "int16 tiles" : "int8 tiles";
        return words ? peaks->tile_gops / 4 : peaks->tile_gops;
    }
    if ((words || strstr(layer->algorithm, "_int8") != NULL) && peaks->int8_gops > 0) {
        *name = words ? "int16" : "int8";
        return words ? peaks->int8_gops / 2 : peaks->int8_gops;
    }
    *name = "float32";
    return peaks->fma_gflops;
}

/* Columns as wide as what stands in them: algorithms have long names. */
static void print_layer_table(const struct cs_layer_profile *layers, size_t count,
                              const struct cs_machine_peaks *peaks, unsigned threads)
{
    int name = 5, algorithm = 9, shape = 5;
    double sum_ms = 0, sum_gflop = 0;
    bool on_cpu = true;

    for (size_t i = 0; i < count; i++) {
        name = wider(name, layers[i].name);
        algorithm = wider(algorithm, layers[i].algorithm);
        shape = wider(shape, layers[i].shape);
    }
    printf("peaks of this CPU, %u threads: %.0f GFLOP/s float32 FMA, %.0f GOP/s int8, ", threads,
           peaks->fma_gflops, peaks->int8_gops);
    if (peaks->tile_gops > 0)
        printf("%.0f GOP/s int8 tiles, ", peaks->tile_gops);
    printf("%.1f GB/s memory\n", peaks->memory_gbs);
    printf("%-*s  %-*s  %-*s %8s %9s %8s\n", name, "layer", algorithm, "algorithm", shape, "shape", "ms",
           "GFLOP/s", "of the peak of");
    for (size_t i = 0; i < count; i++) {
        double rate = layers[i].ms > 0 ? layers[i].gflop / layers[i].ms * 1e3 : 0;
        const char *kind;
        double peak = peak_of(&layers[i], peaks, &kind);

        printf("%-*s  %-*s  %-*s %8.3f %9.1f ", name, layers[i].name, algorithm, layers[i].algorithm, shape,
               layers[i].shape, layers[i].ms, rate);
        if (kind != NULL)
            printf("%7.0f%% %s\n", 100 * rate / peak, kind);
        else
            puts("      - GPU");
        on_cpu = on_cpu && kind != NULL;
        sum_ms += layers[i].ms;
        sum_gflop += layers[i].gflop;
    }
    printf("%-*s %8.3f %9.1f", name + algorithm + shape + 4, "all (GFLOP/s counted as direct convolution)",
           sum_ms, sum_gflop / sum_ms * 1e3);
    if (on_cpu)
        printf(" %7.0f%% float32", 100 * sum_gflop / sum_ms * 1e3 / peaks->fma_gflops);
    putchar('\n');
}

static enum cs_status print_layers(struct bench *bench, cs_session *session, const struct cs_model_info *info,
                                   const char *cpu_mask, json_t *report, struct cs_error *error)
{
    struct cs_machine_peaks peaks;
    struct cs_layer_profile *layers = NULL;
    size_t count;
    enum cs_status status = cs_machine_measure(cpu_mask, info->threads, &peaks, error);

    if (status == CS_OK)
        status =
            cs_session_profile(session, bench->batch, (unsigned)bench->iterations, &layers, &count, error);
    if (status != CS_OK)
        return status;
    if (bench->json) {
        json_t *list = json_array();

        for (size_t i = 0; i < count; i++) {
            double rate = layers[i].ms > 0 ? layers[i].gflop / layers[i].ms * 1e3 : 0;
            const char *kind;
            double peak = peak_of(&layers[i], &peaks, &kind);

            json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:f,s:f,s:o,s:s?}", "name", layers[i].name,
                                                  "algorithm", layers[i].algorithm, "shape", layers[i].shape,
                                                  "ms", layers[i].ms, "gflops", rate, "percent_of_peak",
                                                  kind == NULL ? json_null() : json_real(100 * rate / peak),
                                                  "peak", kind));
        }
        json_object_set_new(report, "layers", list);
        json_object_set_new(report, "peaks",
                            json_pack("{s:f,s:f,s:f,s:f}", "fma_gflops", peaks.fma_gflops, "int8_gops",
                                      peaks.int8_gops, "tile_gops", peaks.tile_gops, "memory_gbs",
                                      peaks.memory_gbs));
    } else {
        print_layer_table(layers, count, &peaks, info->threads);
    }
    cs_layer_profiles_destroy(layers);
    return CS_OK;
}

static void print_text(const struct bench *bench, const struct cs_model_info *info,
                       const struct csi_summary *s, bool whole)
{
    printf("%s, %s, %s kernels, %u threads, batch %zu, %zu iterations after %zu, %s\n", info->name,
           cs_precision_name(info->precision), info->kernels, info->threads, bench->batch, bench->iterations,
           bench->warmup,
           whole ? (bench->warm ? "whole request, warm caches" : "whole request, cold caches")
                 : "inference alone");
    printf("  mean %.2f ms  std %.2f  min %.2f  p50 %.2f  p90 %.2f  p99 %.2f  max %.2f\n", s->mean, s->std,
           s->min, s->p50, s->p90, s->p99, s->max);
    printf("  %.1f images/s", 1000.0 * (double)bench->batch / s->mean);
    if (!whole)
        printf(", %.1f GFLOP/s as direct convolution", 2 * info->gmac * (double)bench->batch / s->mean * 1e3);
    printf("\n  target %.0f ms: %s%s%s\n", bench->target_ms,
           csi_colour_out(csi_summary_achieves(s, bench->target_ms) ? CSI_GREEN : CSI_RED),
           csi_summary_achieves(s, bench->target_ms) ? "achieved" : "missed", csi_colour_out(CSI_PLAIN));
    if (whole)
        printf("  stages: decode %.2f  resize %.2f  preprocess %.2f  inference %.2f  gradcam %.2f  total "
               "%.2f ms\n",
               bench->stages.decode, bench->stages.resize, bench->stages.preprocess, bench->stages.inference,
               bench->stages.gradcam, bench->stages.total);
    if (whole && bench->batch == 1)
        printf("  its JSON: %.4f ms\n", bench->json_ms);
}

/* GFLOP/s of the network, as direct convolution, from the time of the inference alone; null where all came
 * from a cache. */
static json_t *network_rate(const struct bench *bench, const struct cs_model_info *info, double inference_ms)
{
    return inference_ms > 0 ? json_real(2 * info->gmac * (double)bench->batch / inference_ms * 1e3)
                            : json_null();
}

static json_t *to_json(const struct bench *bench, const struct cs_model_info *info,
                       const struct csi_summary *s, bool whole)
{
    const struct cs_timings *t = &bench->stages;
    json_t *stages =
        whole ? json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "decode", t->decode, "resize", t->resize, "preprocess",
                          t->preprocess, "inference", t->inference, "gradcam", t->gradcam, "total", t->total)
              : json_pack("{s:f}", "inference", s->mean);

    if (whole && bench->batch == 1)
        json_object_set_new(stages, "json", json_real(bench->json_ms));
    return json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:{s:f,s:f,s:f,s:f,s:f,s:f,s:f},s:f,s:o,s:f,s:b,s:o}", "model",
                     info->name, "precision", cs_precision_name(info->precision), "device",
                     cs_device_name(info->device), "threads", (int)info->threads, "batch", (int)bench->batch,
                     "iterations", (int)bench->iterations, "latency_ms", "mean", s->mean, "std", s->std,
                     "min", s->min, "p50", s->p50, "p90", s->p90, "p99", s->p99, "max", s->max,
                     "images_per_second", 1000.0 * (double)bench->batch / s->mean, "gflops",
                     network_rate(bench, info, whole ? t->inference : s->mean), "target_ms", bench->target_ms,
                     "achieved", csi_summary_achieves(s, bench->target_ms), "stages_ms", stages);
}

static enum cs_status run(struct bench *bench, const struct cs_diagnoser_options *options,
                          const char *cpu_mask, struct cs_error *error)
{
    bool whole = strcmp(bench->stage, "all") == 0;
    cs_diagnoser *diagnoser = NULL;
    cs_model *model = NULL;
    cs_session *session = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    json_t *report = NULL;
    enum cs_status status;

    bench->subject = options->model.path;
    status = cs_diagnoser_create(options, &diagnoser, error);
    if (status != CS_OK)
        return status;
    bench->subject = bench->image;
    if (whole)
        status = bench->image != NULL
                     ? csi_file_read(bench->image, options->limits.max_bytes, &bytes, &size, error)
                     : csi_bench_photo(PHOTO_WIDTH, PHOTO_HEIGHT, &bytes, &size, error);
    if (status == CS_OK) {
        model = cs_diagnoser_model(diagnoser);
        if (whole)
            status = bench_request(bench, diagnoser, bytes, size, error);
        if (status == CS_OK && (!whole || bench->layers))
            status = cs_session_create(model, &session, error);
    }
    if (status == CS_OK) {
        struct cs_model_info info = cs_model_info(model);

        if (!whole)
            status = bench_inference(bench, session, &info, error);
        if (status == CS_OK) {
            struct csi_summary summary = csi_summarise(bench->ms, bench->iterations);

            if (bench->json)
                report = to_json(bench, &info, &summary, whole);
            else
                print_text(bench, &info, &summary, whole);
            if (bench->layers)
                status = print_layers(bench, session, &info, cpu_mask, report, error);
        }
    }
    if (status == CS_OK && report != NULL) {
        json_dumpf(report, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
    json_decref(report);
    free(bytes);
    cs_session_destroy(session);
    cs_model_destroy(model);
    cs_diagnoser_destroy(diagnoser);
    return status;
}

/* Whether every option that was given means something for the stage; if not, this has been reported. */
static bool fits_stage(const struct bench *bench)
{
    bool stream = strcmp(bench->stage, "stream") == 0, inference = strcmp(bench->stage, "inference") == 0;
    /* The target's twin is serve's, too: set for that one, it harms nothing here. */
    bool target = bench->target_ms > 0 && getenv("CROPSHIELD_TARGET_MS") == NULL;
    const struct {
        const char *option;
        bool misplaced;
    } checks[] = {{"--layers", bench->layers && stream},
                  {"--warm", bench->warm && (stream || inference)},
                  {"--target-ms", target && stream},
                  {"--image", bench->image != NULL && inference}};

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (checks[i].misplaced) {
            fprintf(stderr, "cropshield: %s is not for --stage %s\n", checks[i].option, bench->stage);
            return false;
        }
    return true;
}

/* Defaults of what was not given. */
static void fill_in(struct bench *bench)
{
    if (bench->batch == 0)
        bench->batch = 1;
    if (!(bench->target_ms > 0))
        bench->target_ms = 200;
    if (bench->warm && bench->warmup == 0)
        bench->warmup = 1; /* somebody has to fill the caches */
}

int csi_command_bench(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct bench bench = {.warmup = 5, .iterations = 10, .stage = "all"};
    struct csi_option table[CSI_SHARED_OPTIONS];
    const struct csi_option own[] = {
        {"warmup", 'w', CSI_OPT_SIZE, "N", "iterations that are not counted (5)", &bench.warmup, 0, 100000},
        {"iterations", 'n', CSI_OPT_SIZE, "N",
         "iterations that are (10); stream: photos a thread in each round", &bench.iterations, 1, 1000000},
        {"image", 'i', CSI_OPT_STRING, "PATH", "photo to use (a generated one of 12 MP)", &bench.image, 0, 0},
        {"batch", 'b', CSI_OPT_SIZE, "N", "photos at a time (1)", &bench.batch, 1, 256},
        {"stage", 's', CSI_OPT_STRING, "STAGE",
         "all: bytes to diagnosis with heat map; inference: the network alone; stream: many photos, photos a "
         "second by every way beside one thread (all)",
         &bench.stage, 0, 0},
        {"warm", 0, CSI_OPT_FLAG, NULL, "with warm caches instead of cold ones, after one iteration at least",
         &bench.warm, 0, 0},
        {"layers", 'l', CSI_OPT_FLAG, NULL, "also each layer beside the measured peak of this CPU",
         &bench.layers, 0, 0},
        {"target-ms", 0, CSI_OPT_NUMBER, "MS", "what the median is compared with (200)", &bench.target_ms,
         0.001, 1e6},
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object", &bench.json, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {"bench",
                                          "[options]",
                                          "Measures latency on this machine. Keep it quiet meanwhile.",
                                          own,
                                          csi_shared_table(&shared, table),
                                          0,
                                          0};
    struct cs_diagnoser_options options;
    struct cs_error error;
    enum cs_status status;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    bool stream = strcmp(bench.stage, "stream") == 0;

    if (!stream && strcmp(bench.stage, "all") != 0 && strcmp(bench.stage, "inference") != 0) {
        csi_option_refuse(&line, &bench.stage, "'%s' is none of all, inference, stream", bench.stage);
        return CSI_EXIT_USAGE;
    }
    if (!fits_stage(&bench))
        return CSI_EXIT_USAGE;
    if (bench.batch > options.model.max_batch || (stream && bench.batch > 0))
        options.model.max_batch = (unsigned)bench.batch;
    fill_in(&bench);
    bench.ms = calloc(bench.iterations, sizeof *bench.ms);
    if (bench.ms == NULL)
        status = csi_fail_memory(&error, "bench");
    else if (stream)
        status = csi_bench_stream(&options, bench.image, bench.warmup, bench.iterations, bench.json,
                                  &bench.subject, &error);
    else
        status = run(&bench, &options, shared.cpu_mask, &error);
    free(bench.ms);
    if (status != CS_OK) {
        csi_report(bench.subject, &error);
        return CSI_EXIT_FAILED;
    }
    return CSI_EXIT_OK;
}
