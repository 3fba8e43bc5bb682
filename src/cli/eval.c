/* cropshield eval: runs a labelled directory through the pipeline and counts. Reports are in eval_report.c.
 */
#include "cli/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"

bool csi_eval_init(struct csi_eval *eval, const struct cs_model_info *info)
{
    memset(eval, 0, sizeof *eval);
    eval->class_count = info->class_count;
    eval->classes = info->classes;
    eval->labels = info->labels;
    eval->plant_of = info->plant_of;
    eval->confusion = calloc(info->class_count * info->class_count, sizeof *eval->confusion);
    return eval->confusion != NULL;
}

void csi_eval_free(struct csi_eval *eval)
{
    free(eval->confusion);
    eval->confusion = NULL;
}

/* What the answer had been, had the plant been told: the most probable class of the plant of class `truth`.
 */
static size_t best_in_plant(const struct csi_eval *eval, const cs_diagnosis *diagnosis, size_t truth)
{
    size_t plant = eval->plant_of[truth];

    for (size_t i = 0; i < diagnosis->prediction_count; i++)
        if (plant == SIZE_MAX || eval->plant_of[diagnosis->predictions[i].index] == plant)
            return diagnosis->predictions[i].index;
    return CSI_EVAL_NO_CLASS;
}

void csi_eval_add(struct csi_eval *eval, size_t truth, const cs_diagnosis *diagnosis)
{
    size_t top = diagnosis->predictions[0].index, bin;
    double confidence = diagnosis->predictions[0].probability;
    bool rejected = diagnosis->verdict == CS_VERDICT_NOT_A_LEAF;

    if (truth == CSI_EVAL_NO_CLASS) {
        eval->unlabelled++;
        eval->unlabelled_rejected += rejected;
        return;
    }
    eval->images++;
    eval->rejected += rejected;
    eval->confusion[truth * eval->class_count + top]++;
    eval->top1 += top == truth;
    eval->top1_in_plant += best_in_plant(eval, diagnosis, truth) == truth;
    for (size_t i = 0; i < 3 && i < diagnosis->prediction_count; i++)
        eval->top3 += diagnosis->predictions[i].index == truth;
    /* Bins are (low, high], as the paper has them. */
    bin = (size_t)fmax(0, ceil(confidence * CSI_EVAL_BINS) - 1);
    if (bin >= CSI_EVAL_BINS)
        bin = CSI_EVAL_BINS - 1;
    eval->bin_count[bin]++;
    eval->bin_right[bin] += top == truth;
    eval->bin_confidence[bin] += confidence;
}

struct csi_class_score csi_eval_class(const struct csi_eval *eval, size_t index)
{
    struct csi_class_score score = {0, 0, 0, 0, 0, 0};

    for (size_t i = 0; i < eval->class_count; i++) {
        score.images += eval->confusion[index * eval->class_count + i];
        score.predicted += eval->confusion[i * eval->class_count + index];
    }
    score.right = eval->confusion[index * eval->class_count + index];
    if (score.predicted > 0)
        score.precision = (double)score.right / (double)score.predicted;
    if (score.images > 0)
        score.recall = (double)score.right / (double)score.images;
    if (score.right > 0)
        score.f1 = 2 * score.precision * score.recall / (score.precision + score.recall);
    return score;
}

double csi_eval_macro_f1(const struct csi_eval *eval)
{
    double sum = 0;
    size_t classes = 0;

    for (size_t i = 0; i < eval->class_count; i++) {
        struct csi_class_score score = csi_eval_class(eval, i);

        if (score.images > 0) {
            sum += score.f1;
            classes++;
        }
    }
    return classes > 0 ? sum / (double)classes : 0;
}

double csi_eval_ece(const struct csi_eval *eval)
{
    double sum = 0;

    for (size_t b = 0; b < CSI_EVAL_BINS; b++)
        if (eval->bin_count[b] > 0)
            sum += fabs((double)eval->bin_right[b] - eval->bin_confidence[b]);
    return eval->images > 0 ? sum / (double)eval->images : 0;
}

struct run {
    struct csi_file_stream files; /* first: it is the context of the stream's load */
    struct csi_eval eval;
    size_t *truth;           /* a photo's class */
    struct csi_buffer *rows; /* a row a photo, or NULL */
    struct csi_progress progress;
};

static bool on_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                    const struct cs_error *failure)
{
    struct run *run = context;
    const char *name = run->files.paths->items[index];

    if (failure != NULL) {
        csi_progress_clear(&run->progress);
        csi_report(name, failure);
        run->eval.failed++;
        csi_progress_update(&run->progress, index + 1);
        return true;
    }
    csi_eval_add(&run->eval, run->truth[index], diagnosis);
    if (run->rows != NULL) {
        csi_eval_csv_text(run->rows, name);
        csi_buffer_append(run->rows, ",", 1);
        csi_eval_csv_text(run->rows,
                          run->truth[index] == CSI_EVAL_NO_CLASS ? "" : run->eval.classes[run->truth[index]]);
        csi_buffer_append(run->rows, ",", 1);
        csi_eval_csv_text(run->rows, diagnosis->predictions[0].class_name);
        csi_buffer_printf(run->rows, ",%.6f,%s,%.6f\n", diagnosis->predictions[0].probability,
                          cs_verdict_name(diagnosis->verdict), diagnosis->leaf_score);
    }
    csi_progress_update(&run->progress, index + 1);
    return true;
}

/* The class of "DIR/<class>/…": the first folder below DIR. */
size_t csi_eval_class_of(const char *path, const char *root, const char *const *classes, size_t count)
{
    const char *start = path + strlen(root);
    size_t length;

    while (*start == '/')
        start++;
    length = strcspn(start, "/");
    for (size_t i = 0; i < count; i++)
        if (strlen(classes[i]) == length && strncmp(classes[i], start, length) == 0)
            return i;
    return CSI_EVAL_NO_CLASS;
}

struct eval_options {
    bool json;
    size_t batch;
    const char *csv, *png, *predictions;
};

static enum cs_status write_reports(const struct eval_options *own, const struct run *run,
                                    struct cs_error *error)
{
    enum cs_status status = CS_OK;

    if (own->json)
        csi_eval_print_json(&run->eval);
    else
        csi_eval_print(&run->eval);
    if (own->csv != NULL)
        status = csi_eval_write_csv(&run->eval, own->csv, error);
    if (status == CS_OK && own->png != NULL)
        status = csi_eval_write_png(&run->eval, own->png, error);
    if (status == CS_OK && own->predictions != NULL)
        status = run->rows->failed
                     ? csi_fail_memory(error, own->predictions)
                     : csi_file_write_atomic(own->predictions, run->rows->bytes, run->rows->size, error);
    return status;
}

/* Whoever names a directory with another layout gets figures about nothing: say what was looked for. */
static void warn_without_classes(const struct run *run, size_t count, const char *root)
{
    char message[512];

    for (size_t i = 0; i < count; i++)
        if (run->truth[i] != CSI_EVAL_NO_CLASS)
            return;
    snprintf(message, sizeof message,
             "no photo has a class: expected %s/<class>/photo.jpg with the model's class names, such as %s "
             "(cropshield inspect lists them)",
             root, run->eval.classes[0]);
    csi_report_warning(NULL, message);
}

static int evaluate(const struct eval_options *own, const struct cs_diagnoser_options *options,
                    struct csi_paths *paths, const char *root)
{
    cs_diagnoser *diagnoser = NULL;
    cs_model *model = NULL;
    struct cs_error error;
    struct cs_stream stream = {0};
    struct csi_buffer rows = {0};
    struct run run = {.files = {paths, options->limits.max_bytes},
                      .rows = own->predictions != NULL ? &rows : NULL};
    uint64_t start;
    enum cs_status status = cs_diagnoser_create(options, &diagnoser, &error);

    csi_buffer_init(&rows);
    csi_buffer_printf(&rows, "file,class,predicted,probability,verdict,leaf_score\n");
    if (status == CS_OK) {
        model = cs_diagnoser_model(diagnoser);
        struct cs_model_info info = cs_model_info(model);

        run.truth = calloc(paths->count, sizeof *run.truth);
        if (run.truth == NULL || !csi_eval_init(&run.eval, &info))
            status = csi_fail_memory(&error, "eval");
        for (size_t i = 0; status == CS_OK && i < paths->count; i++)
            run.truth[i] = csi_eval_class_of(paths->items[i], root, info.classes, info.class_count);
        if (status == CS_OK)
            warn_without_classes(&run, paths->count, root);
        stream = (struct cs_stream){
            paths->count, own->batch, cs_request_defaults(), csi_stream_load, csi_stream_unload,
            on_done,      &run};
        stream.request.top_k = info.class_count;
        stream.request.no_cache = true;
    }
    if (status == CS_OK) {
        csi_progress_begin(&run.progress, "evaluating", paths->count);
        start = csi_now_ns();
        status = cs_diagnose_stream(diagnoser, &stream, &error);
        run.eval.seconds = csi_ms_since(start) / 1000;
        csi_progress_end(&run.progress);
    }
    if (status == CS_OK)
        status = write_reports(own, &run, &error);
    if (status != CS_OK)
        csi_report(diagnoser == NULL ? options->model.path : NULL, &error);
    csi_buffer_free(&rows);
    csi_eval_free(&run.eval);
    free(run.truth);
    cs_model_destroy(model);
    cs_diagnoser_destroy(diagnoser);
    return status == CS_OK && run.eval.failed == 0 ? CSI_EXIT_OK : CSI_EXIT_FAILED;
}

int csi_command_eval(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct eval_options eval = {false, 0, NULL, NULL, NULL};
    struct csi_option table[CSI_SHARED_OPTIONS];
    const struct csi_option own[] = {
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object", &eval.json, 0, 0},
        {"csv", 0, CSI_OPT_STRING, "FILE", "also write the confusion matrix", &eval.csv, 0, 0},
        {"png", 0, CSI_OPT_STRING, "FILE", "also draw the confusion matrix", &eval.png, 0, 0},
        {"predictions", 0, CSI_OPT_STRING, "FILE", "also write a CSV row for each photo", &eval.predictions,
         0, 0},
        {"batch", 'b', CSI_OPT_SIZE, "N", "photos a forward pass (chosen)", &eval.batch, 1, 256},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "eval",
        "[options] DIR",
        "Accuracy and calibration on DIR/<class>/photo. Folders that name no class of the model are\n"
        "counted apart: how many of their photos are called 'not a leaf'.",
        own,
        csi_shared_table(&shared, table),
        1,
        1};
    struct cs_diagnoser_options options;
    struct csi_paths paths = {0};
    const char *const *const files[] = {&eval.csv, &eval.png, &eval.predictions};
    size_t count;
    int status;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (*files[i] != NULL && strcmp(*files[i], "-") == 0) {
            csi_option_refuse(&line, files[i],
                              "a report is written to a file: standard output has the figures");
            return CSI_EXIT_USAGE;
        }
    if (eval.batch > options.model.max_batch)
        options.model.max_batch = (unsigned)eval.batch;
    status =
        csi_paths_in_folder(&paths, argv[0]) ? evaluate(&eval, &options, &paths, argv[0]) : CSI_EXIT_FAILED;
    if (paths.failed > 0)
        status = CSI_EXIT_FAILED;
    csi_paths_free(&paths);
    return status;
}
