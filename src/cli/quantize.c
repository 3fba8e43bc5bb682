/*
 * cropshield quantize: runs a folder of photos in float32 and in the fast precision, reports what changes,
 * and writes a model file that vouches for the fast one, so that `--precision auto` takes it. The fast
 * precision finds its scales while running: the weights in the file stay as they are, and one file serves
 * every CPU.
 */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
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
    double probability_change; /* mean absolute change of the top class's probability */
};

static bool on_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                    const struct cs_error *failure)
{
    struct quantize *quantize = context;

    if (failure != NULL) {
        csi_progress_end(&quantize->progress);
        if (quantize->pass == 0)
            csi_report(quantize->files.paths->items[index], failure);
        quantize->eval[quantize->pass].failed++;
        quantize->top[quantize->pass][index] = CSI_EVAL_NO_CLASS;
        return true;
    }
    csi_eval_add(&quantize->eval[quantize->pass], quantize->truth[index], diagnosis);
    quantize->top[quantize->pass][index] = diagnosis->predictions[0].index;
    quantize->probability[quantize->pass][index] = diagnosis->predictions[0].probability;
    csi_progress_update(&quantize->progress, index + 1);
    return true;
}

/* One pass over the photos. Gives the precision that was really used. */
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
    else if (!csi_eval_init(&quantize->eval[quantize->pass], info.class_count, info.classes, info.labels))
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
    struct report report = {0, 0, (size_t)quantize->eval[0].images, 0, 0};

    for (size_t i = 0; i < quantize->files.paths->count; i++) {
        if (quantize->top[0][i] == CSI_EVAL_NO_CLASS)
            continue;
        report.photos++;
        report.equal += quantize->top[0][i] == quantize->top[1][i];
        report.probability_change += fabs(quantize->probability[0][i] - quantize->probability[1][i]);
    }
    if (report.photos > 0)
        report.probability_change /= (double)report.photos;
    if (report.labelled > 0)
        report.drop_points =
            100 * ((double)quantize->eval[0].top1 - (double)quantize->eval[1].top1) / (double)report.labelled;
    return report;
}

/* What is written into the model file. */
static enum cs_status save(const struct cs_diagnoser_options *options, const struct report *report,
                           const char *output, struct cs_error *error)
{
    cs_model *model = NULL;
    char facts[256];
    json_t *metadata;
    char *text;
    enum cs_status status = cs_model_load(&options->model, &model, error);

    if (status != CS_OK)
        return status;
    snprintf(facts, sizeof facts,
             "{\"photos\":%zu,\"same_top1\":%zu,\"labelled\":%zu,\"top1_drop_points\":%.3f,\"probability_"
             "change\":%.5f}",
             report->photos, report->equal, report->labelled, report->drop_points,
             report->probability_change);
    metadata = json_pack("{s:s,s:s}", "vouched_precision", cs_precision_name(CS_PRECISION_INT8), "vouched_by",
                         facts);
    text = metadata != NULL ? json_dumps(metadata, JSON_COMPACT) : NULL;
    status = text != NULL ? cs_model_save_with_metadata(model, text, output, error)
                          : csi_fail_memory(error, "metadata");
    free(text);
    json_decref(metadata);
    cs_model_destroy(model);
    return status;
}

struct quantize_options {
    const char *calibration, *output;
    double max_drop;
    bool force, json;
};

static void print_report(const struct quantize_options *own, const struct report *report)
{
    if (own->json) {
        printf("{\"photos\":%zu,\"same_top1\":%zu,\"labelled\":%zu,\"top1_drop_points\":%.4f,\"probability_"
               "change\":%.6f}\n",
               report->photos, report->equal, report->labelled, report->drop_points,
               report->probability_change);
        return;
    }
    printf("%zu photos, same top class as float32: %zu (%.2f %%)\n", report->photos, report->equal,
           report->photos > 0 ? 100.0 * (double)report->equal / (double)report->photos : 0.0);
    if (report->labelled > 0)
        printf("top-1 on %zu labelled photos changes by %+.2f points\n", report->labelled,
               -report->drop_points);
    printf("mean change of the top class's probability: %.4f\n", report->probability_change);
}

static enum cs_status run(struct quantize *quantize, const struct quantize_options *own,
                          const struct cs_diagnoser_options *options, struct cs_error *error)
{
    size_t count = quantize->files.paths->count;
    enum cs_status status = CS_OK;
    struct report report;

    quantize->truth = calloc(count, sizeof *quantize->truth);
    for (int p = 0; p < 2; p++) {
        quantize->top[p] = calloc(count, sizeof *quantize->top[p]);
        quantize->probability[p] = calloc(count, sizeof *quantize->probability[p]);
        if (quantize->truth == NULL || quantize->top[p] == NULL || quantize->probability[p] == NULL)
            return csi_fail_memory(error, "quantize");
    }
    for (quantize->pass = 0; status == CS_OK && quantize->pass < 2; quantize->pass++)
        status = run_pass(quantize, *options, quantize->pass == 0 ? CS_PRECISION_FP32 : CS_PRECISION_INT8,
                          own->calibration, error);
    if (status != CS_OK)
        return status;
    report = compare(quantize);
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
    status = save(options, &report, own->output, error);
    if (status == CS_OK && !own->json)
        printf("%s: written; --precision auto now runs it in int8\n", own->output);
    return status;
}

int csi_command_quantize(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_option table[CSI_SHARED_OPTIONS];
    struct quantize_options own = {NULL, NULL, 0.5, false, false};
    const struct csi_option list[] = {
        {"calibration", 0, CSI_OPT_STRING, "DIR", "photos to check on; DIR/<class>/photo also gives accuracy",
         &own.calibration, 0, 0},
        {"output", 'o', CSI_OPT_STRING, "FILE", "native file to write", &own.output, 0, 0},
        {"max-drop", 0, CSI_OPT_NUMBER, "POINTS", "largest loss of top-1 that is accepted (0.5)",
         &own.max_drop, 0, 100},
        {"force", 'f', CSI_OPT_FLAG, NULL, "write even when more is lost", &own.force, 0, 0},
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object", &own.json, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "quantize",
        "[options] MODEL --calibration DIR -o OUT.safetensors",
        "Compares the fast precision with float32 on photos and writes a model that vouches for it.",
        list,
        csi_shared_table(&shared, table),
        1,
        1};
    struct quantize quantize = {0};
    struct cs_diagnoser_options options;
    struct csi_paths paths = {0};
    struct cs_error error;
    enum cs_status status;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (own.calibration == NULL || own.output == NULL) {
        fprintf(stderr, "cropshield: quantize needs --calibration DIR and -o OUT.safetensors\n");
        return CSI_EXIT_USAGE;
    }
    options.model.path = csi_model_named(argv[0]);
    if (!csi_paths_in_folder(&paths, (char *)(uintptr_t)own.calibration) || paths.failed > 0) {
        csi_paths_free(&paths);
        return CSI_EXIT_FAILED;
    }
    quantize.files = (struct csi_file_stream){&paths, options.limits.max_bytes};
    status = run(&quantize, &own, &options, &error);
    if (status != CS_OK)
        csi_report(argv[0], &error);
    for (int p = 0; p < 2; p++) {
        csi_eval_free(&quantize.eval[p]);
        free(quantize.top[p]);
        free(quantize.probability[p]);
    }
    free(quantize.truth);
    csi_paths_free(&paths);
    return status == CS_OK ? CSI_EXIT_OK : CSI_EXIT_FAILED;
}
