/*
 * cropshield quantize: calibrates INT8 on a folder of photos, compares it with float32 on them, reports what
 * changes, and writes a native file whose INT8 precision computes in 8-bit integers and which vouches for it,
 * so that `--precision auto` takes it. `--method fixed` calibrates nothing and vouches for the 16-bit
 * fixed-point precision, which finds its scales while running. The weights in the file stay as they are.
 */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/eval.h"

struct quantize {
    struct csi_file_stream files; /* first: it is the context of the stream's load */
    struct csi_eval eval[2];      /* float32, fast */
    size_t *truth;
    size_t *top[2]; /* top class of each photo; CSI_EVAL_NO_CLASS: it failed */
    double *probability[2];
    unsigned pass;
    struct csi_progress progress;
};

struct report {
    size_t photos, equal, labelled;
    double drop_points; /* top-1 of float32 minus top-1 of the fast precision, in points; 0 without labels */
    double top1[2];     /* in percent, of labelled photos: float32, int8 */
    double probability_change; /* mean absolute change of the top class's probability */
};

static bool on_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                    const struct cs_error *failure)
{
    struct quantize *quantize = context;

    if (failure != NULL) {
        csi_progress_clear(&quantize->progress);
        if (quantize->pass == 0)
            csi_report(quantize->files.paths->items[index], failure);
        quantize->eval[quantize->pass].failed++;
        quantize->top[quantize->pass][index] = CSI_EVAL_NO_CLASS;
        csi_progress_update(&quantize->progress, index + 1);
        return true;
    }
    csi_eval_add(&quantize->eval[quantize->pass], quantize->truth[index], diagnosis);
    quantize->top[quantize->pass][index] = diagnosis->predictions[0].index;
    quantize->probability[quantize->pass][index] = diagnosis->predictions[0].probability;
    csi_progress_update(&quantize->progress, index + 1);
    return true;
}

/* One pass over the photos. */
static enum cs_status run_pass(struct quantize *quantize, struct cs_diagnoser_options options,
                               enum cs_precision precision, const char *root, struct cs_error *error)
{
    cs_diagnoser *diagnoser = NULL;
    cs_model *model = NULL;
    struct cs_stream stream = {0};
    enum cs_status status;

    options.model.precision = precision;
    status = cs_diagnoser_create(&options, &diagnoser, error);
    if (status != CS_OK)
        return status;
    model = cs_diagnoser_model(diagnoser);
    struct cs_model_info info = cs_model_info(model);

    if (info.precision != precision)
        status = csi_fail(error, CS_MODEL_UNSUPPORTED,
                          "no layer of %s can run in %s with the %s kernels of this CPU", info.name,
                          cs_precision_name(precision), info.kernels);
    else if (!csi_eval_init(&quantize->eval[quantize->pass], &info))
        status = csi_fail_memory(error, "quantize");
    for (size_t i = 0; status == CS_OK && i < quantize->files.paths->count; i++)
        quantize->truth[i] =
            csi_eval_class_of(quantize->files.paths->items[i], root, info.classes, info.class_count);
    stream = (struct cs_stream){quantize->files.paths->count,
                                0,
                                cs_request_defaults(),
                                csi_stream_load,
                                csi_stream_unload,
                                on_done,
                                quantize};
    stream.request.no_cache = true;
    if (status == CS_OK) {
        csi_progress_begin(&quantize->progress, cs_precision_name(precision), stream.count);
        status = cs_diagnose_stream(diagnoser, &stream, error);
        csi_progress_end(&quantize->progress);
    }
    cs_model_destroy(model);
    cs_diagnoser_destroy(diagnoser);
    return status;
}

static struct report compare(const struct quantize *quantize)
{
    struct report report = {.labelled = (size_t)quantize->eval[0].images};

    for (size_t i = 0; i < quantize->files.paths->count; i++) {
        if (quantize->top[0][i] == CSI_EVAL_NO_CLASS)
            continue;
        report.photos++;
        report.equal += quantize->top[0][i] == quantize->top[1][i];
        report.probability_change += fabs(quantize->probability[0][i] - quantize->probability[1][i]);
    }
    if (report.photos > 0)
        report.probability_change /= (double)report.photos;
    for (int p = 0; p < 2 && report.labelled > 0; p++)
        report.top1[p] = 100 * (double)quantize->eval[p].top1 / (double)report.labelled;
    report.drop_points = report.top1[0] - report.top1[1];
    return report;
}

/* What the file says about the comparison; for free(). */
static char *vouching(const struct report *report)
{
    char facts[256];
    json_t *metadata;
    char *text;

    snprintf(facts, sizeof facts,
             "{\"photos\":%zu,\"same_top1\":%zu,\"labelled\":%zu,\"top1_drop_points\":%.3f,\"probability_"
             "change\":%.5f}",
             report->photos, report->equal, report->labelled, report->drop_points,
             report->probability_change);
    metadata = json_pack("{s:s,s:s}", "vouched_precision", cs_precision_name(CS_PRECISION_INT8), "vouched_by",
                         facts);
    text = metadata != NULL ? json_dumps(metadata, JSON_COMPACT) : NULL;
    json_decref(metadata);
    return text;
}

static enum cs_status save(const struct cs_diagnoser_options *options, const cs_quantizer *quantizer,
                           const struct report *report, const char *output, struct cs_error *error)
{
    cs_model *model = NULL;
    char *text = vouching(report);
    enum cs_status status = CS_OK;

    if (text == NULL)
        return csi_fail_memory(error, "metadata");
    if (quantizer != NULL) {
        status = cs_quantizer_save(quantizer, text, output, error);
    } else {
        status = cs_model_load(&options->model, &model, error);
        if (status == CS_OK)
            status = cs_model_save_with_metadata(model, text, output, error);
        cs_model_destroy(model);
    }
    free(text);
    return status;
}

struct quantize_options {
    const char *calibration, *output, *method;
    double max_drop, percentile;
    size_t photos;
    bool force, json, report, no_bias_correction;
};

/* ---- calibration ---- */

/* Photo -> network input. */
static enum cs_status take_photo(const char *path, const struct cs_diagnoser_options *options,
                                 const cs_model *model, float *input, struct cs_error *error)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    cs_image *image = NULL;
    enum cs_status status = csi_file_read(path, options->limits.max_bytes, &bytes, &size, error);

    if (status == CS_OK)
        status =
            cs_image_decode_display(bytes, size, &options->limits, options->decode,
                                    options->max_size != 0 ? options->max_size : 800, &image, NULL, error);
    if (status == CS_OK)
        status = cs_preprocess(model, image, input, error);
    cs_image_destroy(image);
    free(bytes);
    return status;
}

/* Shows every n-th photo to `show`, at most `most` of them. A photo that fails is passed over: the comparison
 * reports it. */
static enum cs_status show_photos(const struct quantize *quantize, const struct cs_diagnoser_options *options,
                                  cs_quantizer *quantizer, size_t most,
                                  enum cs_status (*show)(cs_quantizer *quantizer, const float *input,
                                                         struct cs_error *error),
                                  struct cs_error *error)
{
    const cs_model *model = cs_quantizer_model(quantizer);
    size_t side = cs_model_info(model).input_size, count = quantize->files.paths->count;
    size_t wanted = count < most ? count : most;
    float *input = malloc(3 * side * side * sizeof *input);
    enum cs_status status = input == NULL ? csi_fail_memory(error, "photo") : CS_OK;
    struct csi_progress progress;

    csi_progress_begin(&progress, "calibration", wanted);
    for (size_t i = 0; i < wanted && status == CS_OK; i++) {
        struct cs_error unread;

        if (take_photo(quantize->files.paths->items[i * count / wanted], options, model, input, &unread) ==
            CS_OK)
            status = show(quantizer, input, error);
        csi_progress_update(&progress, i + 1);
    }
    csi_progress_end(&progress);
    free(input);
    return status;
}

/* Layer by layer. */
#define REPORT_PHOTOS 16u

static enum cs_status print_layers(const struct quantize *quantize,
                                   const struct cs_diagnoser_options *options, cs_quantizer *quantizer,
                                   bool as_json, struct cs_error *error)
{
    const struct cs_layer_noise *layers = NULL;
    size_t count = 0;
    enum cs_status status =
        show_photos(quantize, options, quantizer, REPORT_PHOTOS, cs_quantizer_compare, error);

    if (status == CS_OK)
        status = cs_quantizer_layers(quantizer, &layers, &count, error);
    if (status != CS_OK)
        return status;
    if (as_json) {
        json_t *object = json_object(), *rows = json_array();
        char *text;

        for (size_t i = 0; i < count; i++)
            json_array_append_new(rows,
                                  json_pack("{s:s,s:f}", "name", layers[i].name, "snr_db", layers[i].snr_db));
        json_object_set_new(object, "layers", rows);
        text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(4));
        printf("%s\n", text != NULL ? text : "{}");
        free(text);
        json_decref(object);
        return CS_OK;
    }
    printf("%-40s %s\n", "layer", "signal to noise, dB");
    for (size_t i = 0; i < count; i++)
        printf("%-40s %.1f\n", layers[i].name, layers[i].snr_db);
    return CS_OK;
}

static enum cs_status calibrate(const struct quantize *quantize, const struct quantize_options *own,
                                const struct cs_diagnoser_options *options, cs_quantizer **quantizer,
                                struct cs_error *error)
{
    struct cs_quantize_options settings = cs_quantize_options_defaults();
    enum cs_status status = cs_quantize_method_parse(own->method, &settings.method, error);

    settings.percentile = own->percentile;
    settings.no_bias_correction = own->no_bias_correction;
    if (status == CS_OK)
        status = cs_quantizer_create(&options->model, &settings, quantizer, error);
    if (status == CS_OK)
        status = show_photos(quantize, options, *quantizer, own->photos, cs_quantizer_add, error);
    if (status == CS_OK)
        status = cs_quantizer_finish(*quantizer, error);
    if (status == CS_OK && own->report)
        status = print_layers(quantize, options, *quantizer, own->json, error);
    return status;
}

static void print_report(const struct quantize_options *own, const struct report *report)
{
    if (own->json) {
        printf("{\"photos\":%zu,\"same_top1\":%zu,\"labelled\":%zu,\"top1_fp32\":%.4f,\"top1_int8\":%.4f,"
               "\"top1_drop_points\":%.4f,\"probability_change\":%.6f}\n",
               report->photos, report->equal, report->labelled, report->top1[0], report->top1[1],
               report->drop_points, report->probability_change);
        return;
    }
    if (report->labelled > 0)
        printf("top-1 on %zu labelled photo%s: float32 %.2f %%, int8 %.2f %%\n", report->labelled,
               report->labelled == 1 ? "" : "s", report->top1[0], report->top1[1]);
    printf("%zu photo%s, same top class as float32: %zu (%.2f %%)\n", report->photos,
           report->photos == 1 ? "" : "s", report->equal,
           report->photos > 0 ? 100.0 * (double)report->equal / (double)report->photos : 0.0);
    if (report->labelled > 0)
        printf("top-1 on %zu labelled photo%s changes by %+.2f points\n", report->labelled,
               report->labelled == 1 ? "" : "s",
               fabs(report->drop_points) < 0.005 ? 0.0 : -report->drop_points);
    printf("mean change of the top class's probability: %.4f\n", report->probability_change);
}

static enum cs_status allocate(struct quantize *quantize, struct cs_error *error)
{
    size_t count = quantize->files.paths->count;

    quantize->truth = calloc(count + 1, sizeof *quantize->truth);
    for (int p = 0; p < 2; p++) {
        quantize->top[p] = calloc(count + 1, sizeof *quantize->top[p]);
        quantize->probability[p] = calloc(count + 1, sizeof *quantize->probability[p]);
        if (quantize->truth == NULL || quantize->top[p] == NULL || quantize->probability[p] == NULL)
            return csi_fail_memory(error, "quantize");
    }
    return CS_OK;
}

/* Both precisions over all photos: the model as it is, and what would be written. */
static enum cs_status run_passes(struct quantize *quantize, const struct quantize_options *own,
                                 const struct cs_diagnoser_options *options, const cs_quantizer *quantizer,
                                 struct cs_error *error)
{
    struct cs_diagnoser_options second = *options;
    char trial[4096];
    enum cs_status status = run_pass(quantize, *options, CS_PRECISION_FP32, own->calibration, error);

    quantize->pass = 1;
    if (status != CS_OK || quantizer == NULL)
        return status == CS_OK ? run_pass(quantize, second, CS_PRECISION_INT8, own->calibration, error)
                               : status;
    if (snprintf(trial, sizeof trial, "%s.trial-%ld", own->output, (long)getpid()) >= (int)sizeof trial)
        return csi_fail(error, CS_BAD_REQUEST, "the path of the output is too long");
    status = cs_quantizer_save(quantizer, NULL, trial, error);
    second.model.path = trial;
    if (status == CS_OK)
        status = run_pass(quantize, second, CS_PRECISION_INT8, own->calibration, error);
    unlink(trial);
    return status;
}

static enum cs_status judge(struct quantize *quantize, const struct quantize_options *own,
                            const struct cs_diagnoser_options *options, const cs_quantizer *quantizer,
                            struct cs_error *error)
{
    struct report report = compare(quantize);
    enum cs_status status;

    print_report(own, &report);
    if (report.photos == 0)
        return csi_fail(error, CS_EMPTY_INPUT, "no photo in '%s' could be read", own->calibration);
    /* Without labels a changed top class counts as a loss. */
    double loss = report.labelled > 0
                      ? report.drop_points
                      : 100.0 * (double)(report.photos - report.equal) / (double)report.photos;

    if (loss > own->max_drop && !own->force)
        return csi_fail(
            error, CS_MODEL_INVALID,
            "%.2f points are lost, more than --max-drop %.2f: nothing is written (--force writes)", loss,
            own->max_drop);
    status = save(options, quantizer, &report, own->output, error);
    if (status == CS_OK && !own->json)
        printf("%s: written; --precision auto now runs it in int8 where the CPU has 8-bit dot products\n",
               own->output);
    return status;
}

static enum cs_status run(struct quantize *quantize, const struct quantize_options *own,
                          const struct cs_diagnoser_options *options, struct cs_error *error)
{
    cs_quantizer *quantizer = NULL;
    enum cs_status status = allocate(quantize, error);

    if (status == CS_OK && strcmp(own->method, "fixed") != 0)
        status = calibrate(quantize, own, options, &quantizer, error);
    if (status == CS_OK)
        status = run_passes(quantize, own, options, quantizer, error);
    if (status == CS_OK)
        status = judge(quantize, own, options, quantizer, error);
    cs_quantizer_destroy(quantizer);
    return status;
}

/* Whether the options say what to do; false: what is wrong or missing has been reported. */
static bool may_run(const struct csi_command_line *line, const struct quantize_options *own)
{
    enum cs_quantize_method method;

    if (own->calibration == NULL || own->output == NULL) {
        fprintf(stderr, "cropshield: quantize needs %s%s%s\n",
                own->calibration == NULL ? "--calibration DIR" : "",
                own->calibration == NULL && own->output == NULL ? " and " : "",
                own->output == NULL ? "-o OUT.safetensors" : "");
        return false;
    }
    if (strcmp(own->method, "fixed") != 0 && cs_quantize_method_parse(own->method, &method, NULL) != CS_OK) {
        csi_option_refuse(line, &own->method, "'%s' is none of minmax, percentile, mse, fixed", own->method);
        return false;
    }
    return csi_native_output(line, &own->output, false);
}

int csi_command_quantize(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_option table[CSI_SHARED_OPTIONS];
    struct quantize_options own = {.method = "mse", .max_drop = 0.5, .percentile = 99.99, .photos = 200};
    const struct csi_option list[] = {
        {"calibration", 0, CSI_OPT_STRING, "DIR", "photos to check on; DIR/<class>/photo also gives accuracy",
         &own.calibration, 0, 0},
        {"output", 'o', CSI_OPT_STRING, "FILE", "native file to write", &own.output, 0, 0},
        {"method", 0, CSI_OPT_STRING, "NAME",
         "minmax, percentile, mse (default); fixed: 16-bit, no calibration", &own.method, 0, 0},
        {"percentile", 0, CSI_OPT_NUMBER, "P", "share of the values that fits, for that method (99.99)",
         &own.percentile, 51, 100},
        {"photos", 0, CSI_OPT_SIZE, "N", "photos to calibrate on, spread over DIR (200)", &own.photos, 1,
         100000},
        {"no-bias-correction", 0, CSI_OPT_FLAG, NULL, "leave biases as they are", &own.no_bias_correction, 0,
         0},
        {"report", 0, CSI_OPT_FLAG, NULL, "signal-to-noise ratio layer by layer", &own.report, 0, 0},
        {"max-drop", 0, CSI_OPT_NUMBER, "POINTS", "largest loss of top-1 that is accepted (0.5)",
         &own.max_drop, 0, 100},
        {"force", 'f', CSI_OPT_FLAG, NULL, "write even when more is lost", &own.force, 0, 0},
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object", &own.json, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "quantize",
        "[options] MODEL --calibration DIR -o OUT.safetensors",
        "Calibrates INT8 on photos, compares it with float32 and writes a model that vouches for it.",
        list,
        csi_shared_table(&shared, table),
        0,
        1};
    struct quantize quantize = {0};
    struct cs_diagnoser_options options;
    struct csi_paths paths = {0};
    struct cs_error error;
    enum cs_status status;
    const char *name;
    uint64_t failed;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    csi_stay_on_cpu(&options.model); /* where both precisions are */
    if (!csi_model_argument(&line, &shared, argv, count, &name) || !may_run(&line, &own))
        return CSI_EXIT_USAGE;
    options.model.path = csi_model_named(name);
    if (!csi_paths_in_folder(&paths, (char *)(uintptr_t)own.calibration)) {
        csi_paths_free(&paths);
        return CSI_EXIT_FAILED;
    }
    quantize.files = (struct csi_file_stream){&paths, options.limits.max_bytes};
    status = run(&quantize, &own, &options, &error);
    if (status != CS_OK)
        csi_report(name, &error);
    failed = paths.failed + quantize.eval[0].failed; /* reported before; the others were worked with */
    for (int p = 0; p < 2; p++) {
        csi_eval_free(&quantize.eval[p]);
        free(quantize.top[p]);
        free(quantize.probability[p]);
    }
    free(quantize.truth);
    csi_paths_free(&paths);
    return status == CS_OK && failed == 0 ? CSI_EXIT_OK : CSI_EXIT_FAILED;
}
