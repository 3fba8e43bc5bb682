/* cropshield predict: diagnoses photos, as text or one JSON object a line. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"

/* Opening a GPU (driver, context, weights) takes 0.4 s; two cores diagnose so many photos in it. */
#define FEW_PHOTOS 16u

struct predict {
    struct csi_file_stream files; /* first: it is the context of the stream's load */
    cs_diagnoser *diagnoser;
    bool json, as_case;
    const char *gradcam_dir, *plant, *model_path;
    bool *namesake; /* of each photo, with --gradcam */
    struct csi_progress progress;
    size_t failed;
    cs_diagnosis *photos[CS_CASE_MAX]; /* with --case */
    size_t photo_count;
};

static void print_error_json(const char *name, const struct cs_error *error)
{
    struct csi_buffer line;

    csi_buffer_init(&line);
    csi_buffer_printf(&line, "{\"image\":{\"name\":");
    csi_buffer_json(&line, name);
    csi_buffer_printf(&line, "},\"error\":{\"code\":\"%s\",\"message\":", cs_status_name(error->status));
    csi_buffer_json(&line, error->message);
    csi_buffer_printf(&line, "}}\n");
    if (!line.failed)
        fputs((const char *)line.bytes, stdout);
    csi_buffer_free(&line);
}

/* `map`: the file of the heat map; NULL: none was written. */
static bool print_json(const cs_diagnosis *diagnosis, const char *map, struct cs_error *error)
{
    struct cs_blob blob;
    struct csi_buffer line;
    bool whole;

    if (cs_diagnosis_json(diagnosis, &blob, error) != CS_OK)
        return false;
    csi_buffer_init(&line);
    csi_buffer_append(&line, blob.bytes, blob.size - 1); /* open again: without the last brace */
    if (map != NULL) {
        csi_buffer_printf(&line, ",\"gradcam_file\":");
        csi_buffer_json(&line, map);
    }
    csi_buffer_printf(&line, "}\n");
    cs_blob_destroy(&blob);
    whole = !line.failed;
    if (whole)
        fwrite(line.bytes, 1, line.size, stdout);
    else
        csi_fail_memory(error, "answer");
    csi_buffer_free(&line);
    return whole;
}

static enum csi_colour colour_of_verdict(enum cs_verdict verdict)
{
    switch (verdict) {
    case CS_VERDICT_CONFIDENT: return CSI_GREEN;
    case CS_VERDICT_LIKELY: return CSI_YELLOW;
    default: return CSI_RED;
    }
}

static const char *hint_sentence(const char *hint)
{
    static const char *const table[][2] = {
        {"blurred", "the photo is blurred: hold still and tap the leaf to focus"},
        {"too_dark", "the photo is too dark: turn towards the light"},
        {"too_bright", "the photo is too bright: shade the leaf"},
        {"leaf_too_small", "the leaf is small in the photo: go closer"},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(hint, table[i][0]) == 0)
            return table[i][1];
    return hint;
}

static void print_text(const char *title, const cs_diagnosis *diagnosis)
{
    const char *plain = csi_colour_out(CSI_PLAIN);

    fputs(csi_colour_out(CSI_BOLD), stdout);
    csi_put_name(stdout, title);
    fputs(plain, stdout);
    if (diagnosis->plant != NULL)
        printf(" (known plant: %s)", diagnosis->plant);
    putchar('\n');
    if (diagnosis->verdict == CS_VERDICT_NOT_A_LEAF)
        printf("  %sdoes not look like a leaf of a supported crop%s; the nearest classes:\n",
               csi_colour_out(CSI_RED), plain);
    for (size_t i = 0; i < diagnosis->prediction_count; i++) {
        const struct cs_prediction *prediction = &diagnosis->predictions[i];

        printf("  %5.1f %%  %s%s", 100 * prediction->probability, prediction->label,
               prediction->tested ? "" : " (never tested on a photo)");
        if (i == 0 && diagnosis->verdict != CS_VERDICT_NOT_A_LEAF)
            printf("  %s%s%s", csi_colour_out(colour_of_verdict(diagnosis->verdict)),
                   cs_verdict_name(diagnosis->verdict), plain);
        putchar('\n');
    }
    for (size_t i = 0; i < diagnosis->hint_count; i++)
        printf("  hint: %s\n", hint_sentence(diagnosis->hints[i]));
}

/* "/a/b/leaf.jpg" -> "leaf": where it begins, and its length. */
static const char *stem_of(const char *path, size_t *length)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');

    *length = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    return base;
}

/* By stem, then by place in the run. */
static int compare_stems(const void *a, const void *b)
{
    const char *const *x = *(const char *const *const *)a, *const *y = *(const char *const *const *)b;
    size_t x_length, y_length;
    const char *x_stem = stem_of(*x, &x_length), *y_stem = stem_of(*y, &y_length);
    int order = memcmp(x_stem, y_stem, x_length < y_length ? x_length : y_length);

    if (order == 0)
        order = (x_length > y_length) - (x_length < y_length);
    return order != 0 ? order : (x > y) - (x < y);
}

/* Marks the photos whose stem an earlier photo of the run has. False: out of memory. */
static bool mark_namesakes(struct predict *predict)
{
    const struct csi_paths *paths = predict->files.paths;
    char ***order = calloc(paths->count, sizeof *order);

    predict->namesake = calloc(paths->count, sizeof *predict->namesake);
    if (order == NULL || predict->namesake == NULL) {
        free(order);
        return false;
    }
    for (size_t i = 0; i < paths->count; i++)
        order[i] = &paths->items[i];
    qsort(order, paths->count, sizeof *order, compare_stems);
    for (size_t i = 1; i < paths->count; i++) {
        size_t length, before_length;
        const char *stem = stem_of(*order[i], &length), *before = stem_of(*order[i - 1], &before_length);

        predict->namesake[order[i] - paths->items] =
            length == before_length && memcmp(stem, before, length) == 0;
    }
    free(order);
    return true;
}

/* Reads and diagnoses one photo on this thread; `*diagnosis` is the caller's. */
static enum cs_status diagnose_photo(const struct predict *predict, size_t index, struct cs_request request,
                                     cs_diagnosis **diagnosis, struct cs_error *error)
{
    struct csi_file_stream files = predict->files;
    const void *bytes = NULL;
    size_t size = 0;
    enum cs_status status = csi_stream_load(&files, index, &bytes, &size, &request.name, error);

    *diagnosis = NULL;
    if (status == CS_OK) {
        status = cs_diagnose(predict->diagnoser, bytes, size, &request, diagnosis, error);
        csi_stream_unload(NULL, index, bytes, size);
    }
    return status;
}

/* The picture of the top class. The photos by which the stream is ahead may have pushed it out of the cache:
 * then it is made again. The stream waits for us meanwhile, so that they soon stop coming. */
static enum cs_status draw_heatmap(const struct predict *predict, const cs_diagnosis *diagnosis, size_t index,
                                   struct cs_blob *blob, struct cs_error *error)
{
    struct cs_heatmap_request heatmap = cs_heatmap_request_defaults();
    enum cs_status status;

    heatmap.class_index = diagnosis->predictions[0].index;
    status = cs_diagnoser_heatmap(predict->diagnoser, diagnosis->id, &heatmap, blob, NULL, NULL, error);
    for (unsigned tries = 0; status == CS_NOT_FOUND && tries < 3; tries++) {
        struct cs_request request = cs_request_defaults();
        cs_diagnosis *again;

        request.gradcam = true;
        request.plant = predict->plant;
        if (diagnose_photo(predict, index, request, &again, error) != CS_OK)
            return error->status;
        cs_diagnosis_destroy(again);
        status = cs_diagnoser_heatmap(predict->diagnoser, diagnosis->id, &heatmap, blob, NULL, NULL, error);
    }
    return status;
}

/* DIR/leaf_gradcam.png; DIR/leaf_<the id's first digits>_gradcam.png for a second leaf.jpg of the run. The
 * name is in `path` afterwards. */
static enum cs_status write_heatmap(const struct predict *predict, const cs_diagnosis *diagnosis,
                                    size_t index, struct csi_buffer *path, struct cs_error *error)
{
    size_t length;
    const char *stem = stem_of(predict->files.paths->items[index], &length), *dir = predict->gradcam_dir;
    struct cs_blob blob;
    enum cs_status status = draw_heatmap(predict, diagnosis, index, &blob, error);

    if (status != CS_OK)
        return status;
    csi_buffer_printf(path, "%s%s", dir, dir[0] != '\0' && dir[strlen(dir) - 1] == '/' ? "" : "/");
    csi_buffer_append(path, stem, length);
    if (predict->namesake[index])
        csi_buffer_printf(path, "_%.12s", diagnosis->id);
    csi_buffer_printf(path, "_gradcam.png");
    status = path->failed ? csi_fail_memory(error, "heat map")
                          : csi_file_write_atomic((const char *)path->bytes, blob.bytes, blob.size, error);
    cs_blob_destroy(&blob);
    return status;
}

/* One photo's answer, with its heat map if there is to be one: an answer without it is better than none. */
static enum cs_status answer(const struct predict *predict, const cs_diagnosis *diagnosis, size_t index,
                             struct cs_error *error)
{
    struct csi_buffer path;
    const char *map = NULL;
    enum cs_status status = CS_OK;

    csi_buffer_init(&path);
    if (predict->gradcam_dir != NULL) {
        status = write_heatmap(predict, diagnosis, index, &path, error);
        map = status == CS_OK ? (const char *)path.bytes : NULL;
    }
    if (predict->json) {
        if (!print_json(diagnosis, map, error))
            status = error->status;
    } else {
        print_text(predict->files.paths->items[index], diagnosis);
        if (map != NULL) {
            printf("  heat map: ");
            csi_put_name(stdout, map);
            putchar('\n');
        }
    }
    csi_buffer_free(&path);
    return status;
}

/* Whether the model, loaded beside the photo, is what failed. */
static bool is_the_model(const struct predict *predict, const struct cs_error *failure)
{
    struct cs_diagnoser_status status;

    cs_diagnoser_status(predict->diagnoser, &status);
    return status.model_loads == 0 && strcmp(status.last_error, failure->message) == 0;
}

static bool on_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                    const struct cs_error *failure)
{
    struct predict *predict = context;
    const char *name = predict->files.paths->items[index];
    struct cs_error error;

    csi_progress_clear(&predict->progress); /* out of the way of what is printed */
    if (failure != NULL && is_the_model(predict, failure)) {
        csi_report(predict->model_path, failure);
        predict->failed++;
        return false;
    }
    if (failure == NULL) {
        if (answer(predict, diagnosis, index, &error) != CS_OK)
            failure = &error;
    } else if (predict->json) {
        print_error_json(name, failure);
    }
    if (failure != NULL) {
        csi_report(name, failure);
        predict->failed++;
    }
    fflush(stdout);
    csi_progress_update(&predict->progress, index + 1);
    return !ferror(stdout);
}

/* The photos of a case one after the other: their diagnoses are needed together at the end, a stream lends
 * each only for a moment, and standard input can be read once. */
static void run_case(struct predict *predict, const struct cs_request *request)
{
    bool go_on = true;

    for (size_t i = 0; i < predict->files.paths->count && go_on; i++) {
        cs_diagnosis *diagnosis;
        struct cs_error error;
        enum cs_status status = diagnose_photo(predict, i, *request, &diagnosis, &error);

        go_on = on_done(predict, i, diagnosis, status == CS_OK ? NULL : &error);
        if (status == CS_OK)
            predict->photos[predict->photo_count++] = diagnosis;
    }
}

static void print_case(const struct predict *predict, const cs_diagnosis *combined, double agreement)
{
    size_t given = predict->files.paths->count, read = predict->photo_count;
    char title[128], photos[64];

    if (read < given)
        snprintf(photos, sizeof photos, "%zu of %zu photos", read, given);
    else
        snprintf(photos, sizeof photos, read == 1 ? "1 photo" : "all %zu photos together", read);
    if (read > 1)
        snprintf(title, sizeof title, "%s (%.0f %% of them agree)", photos, 100 * agreement);
    else
        snprintf(title, sizeof title, "%s alone", photos);
    print_text(title, combined);
}

static int finish_case(struct predict *predict, size_t top_k)
{
    cs_diagnosis *combined = NULL;
    double agreement = 0;
    struct cs_error error;
    enum cs_status status;

    if (predict->photo_count == 0)
        return CSI_EXIT_FAILED;
    status = cs_diagnose_case(predict->diagnoser, (const cs_diagnosis *const *)predict->photos,
                              predict->photo_count, top_k, &combined, &agreement, &error);
    if (status == CS_OK && predict->json) {
        struct cs_blob blob;

        status = cs_diagnosis_json(combined, &blob, &error);
        if (status == CS_OK) {
            printf("{\"case\":%s}\n", (const char *)blob.bytes);
            cs_blob_destroy(&blob);
        }
    } else if (status == CS_OK) {
        print_case(predict, combined, agreement);
    }
    if (status != CS_OK)
        csi_report("case", &error);
    cs_diagnosis_destroy(combined);
    for (size_t i = 0; i < predict->photo_count; i++)
        cs_diagnosis_destroy(predict->photos[i]);
    return status == CS_OK ? CSI_EXIT_OK : CSI_EXIT_FAILED;
}

/* Whether the model knows the plant that was asked for; if not, this has been reported. A model that cannot
 * be loaded is reported with the photos. */
static bool plant_is_known(const struct csi_command_line *line, const struct predict *predict)
{
    cs_model *model;
    struct cs_error error;
    size_t plant;
    bool known;

    if (predict->plant == NULL)
        return true;
    model = cs_diagnoser_model(predict->diagnoser);
    known = model == NULL || cs_model_find_plant(model, predict->plant, &plant, &error) == CS_OK;
    cs_model_destroy(model);
    if (!known)
        csi_option_refuse(line, &predict->plant, "%s", error.message);
    return known;
}

static int run(const struct csi_command_line *line, struct predict *predict,
               const struct cs_diagnoser_options *options, struct csi_paths *paths, size_t top_k,
               size_t batch)
{
    struct cs_stream stream = {0};
    struct cs_error error;
    int status = CSI_EXIT_OK;

    predict->model_path = options->model.path;
    if (cs_diagnoser_create(options, &predict->diagnoser, &error) != CS_OK) {
        csi_report(options->model.path, &error);
        return CSI_EXIT_FAILED;
    }
    if (!plant_is_known(line, predict)) {
        cs_diagnoser_destroy(predict->diagnoser);
        return CSI_EXIT_USAGE;
    }
    stream.count = paths->count;
    stream.batch = batch;
    stream.request = cs_request_defaults();
    stream.request.top_k = top_k;
    stream.request.gradcam = predict->gradcam_dir != NULL;
    stream.request.plant = predict->plant;
    stream.load = csi_stream_load;
    stream.unload = csi_stream_unload;
    stream.done = on_done;
    stream.context = predict;
    csi_progress_begin(&predict->progress, "diagnosing", paths->count > 8 ? paths->count : 0);
    if (predict->as_case) {
        run_case(predict, &stream.request);
    } else if (cs_diagnose_stream(predict->diagnoser, &stream, &error) != CS_OK) {
        csi_report(NULL, &error);
        predict->failed++;
    }
    csi_progress_end(&predict->progress);
    if (predict->as_case)
        status = finish_case(predict, top_k);
    cs_diagnoser_destroy(predict->diagnoser);
    return predict->failed > 0 ? CSI_EXIT_FAILED : status;
}

int csi_command_predict(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct predict predict = {0};
    size_t top_k = 3, batch = 0, count = 0;
    struct csi_option table[CSI_SHARED_OPTIONS];
    const struct csi_option own[] = {
        {"top-k", 'k', CSI_OPT_SIZE, "N", "classes to list (3)", &top_k, 1, 1000},
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object a line", &predict.json, 0, 0},
        {"gradcam", 'g', CSI_OPT_STRING, "DIR", "also write NAME_gradcam.png there, and name the file",
         &predict.gradcam_dir, 0, 0},
        {"batch", 'b', CSI_OPT_SIZE, "N", "photos a forward pass (chosen)", &batch, 1, 256},
        {"case", 0, CSI_OPT_FLAG, NULL, "the photos show one plant: combine them (at most 6)",
         &predict.as_case, 0, 0},
        {"plant", 'p', CSI_OPT_STRING, "NAME",
         "what grows there, e.g. tomato: only its diseases are considered", &predict.plant, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "predict",
        "[options] PATH…",
        "Diagnoses photos; a directory is walked for .jpg, .jpeg, .jpe, "
        ".jfif, .png and .webp; - (or a pipe)\n"
        "is read as one photo. Results on stdout, errors on stderr. Up to 16 photos stay on the "
        "CPU with\n--device auto: opening a GPU takes longer.",
        own,
        csi_shared_table(&shared, table),
        1,
        0};
    struct cs_diagnoser_options options;
    struct csi_paths paths = {0};
    int status = CSI_EXIT_OK;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (batch > options.model.max_batch)
        options.model.max_batch = (unsigned)batch;
    if (predict.gradcam_dir != NULL && mkdir(predict.gradcam_dir, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "cropshield: cannot make directory '%s': %s\n", predict.gradcam_dir, strerror(errno));
        return CSI_EXIT_FAILED;
    }
    paths.on_failure = predict.json ? print_error_json : NULL;
    predict.files = (struct csi_file_stream){&paths, options.limits.max_bytes};
    if (!csi_paths_collect(&paths, argv, count) ||
        (predict.gradcam_dir != NULL && paths.count > 0 && !mark_namesakes(&predict))) {
        status = CSI_EXIT_FAILED;
    } else if (predict.as_case && paths.count > CS_CASE_MAX) {
        fprintf(stderr, "cropshield: --case takes at most %d photos, these are %zu\n", CS_CASE_MAX,
                paths.count);
        status = CSI_EXIT_USAGE;
    } else if (paths.count > 0) {
        if (predict.gradcam_dir == NULL)
            options.gradcam_cache_bytes = 0; /* nobody will ask for heat maps later */
        else
            csi_make_room_for_heatmap(&options);
        if (paths.count <= FEW_PHOTOS)
            csi_stay_on_cpu(&options.model);
        if (paths.count == 1 && batch == 0) {
            /* What one forward pass never earns back: activations of more photos, transformed weights,
             * waiting for the model before the photo is decoded. */
            options.model.max_batch = 1;
            options.model.compact = true;
            options.load_beside = true;
        }
        status = run(&line, &predict, &options, &paths, top_k, batch);
    }
    if (status == CSI_EXIT_OK && (paths.failed > 0 || paths.count == 0))
        status = CSI_EXIT_FAILED;
    free(predict.namesake);
    csi_paths_free(&paths);
    return status;
}
