/*
 * cropshield bench --stage stream: photos a second of many photos, by every way that CropShield has of
 * computing them, beside one thread. Owns the ways and the table; which way a stream or a server takes is
 * chosen in the diagnosis floor.
 *
 * The ways take turns, round after round, so that a machine that changes its clock changes it for all.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/summary.h"

enum { ROUNDS = 3, DISPLAY_WIDTH = 800, DISPLAY_HEIGHT = 600 };

enum way { ONE_THREAD, IN_TURN, TOGETHER, EACH_ALONE, CHOSEN, CALLERS, WAYS };

static const struct {
    const char *name, *text;
} ways[WAYS] = {
    [ONE_THREAD] = {"one_thread", "one thread"},
    [IN_TURN] = {"in_turn", "a photo at a time, all threads"},
    [TOGETHER] = {"together", "stream, several photos a forward pass, all threads"},
    [EACH_ALONE] = {"each_alone", "stream, a photo a thread"},
    [CHOSEN] = {"chosen", "stream, the way that is chosen (predict, eval)"},
    [CALLERS] = {"callers", "requests from two callers more than threads (serve)"},
};

/* The photos of one timing: the same bytes again and again, cached nowhere. */
struct photos {
    cs_diagnoser *diagnoser;
    const uint8_t *bytes;
    size_t size;
    atomic_size_t next;
    size_t count;
    pthread_mutex_t lock; /* guards `error` */
    struct cs_error error;
};

static void take_error(struct photos *photos, const struct cs_error *error)
{
    pthread_mutex_lock(&photos->lock);
    if (photos->error.status == CS_OK)
        photos->error = *error;
    pthread_mutex_unlock(&photos->lock);
}

static enum cs_status load(void *context, size_t index, const void **bytes, size_t *size, const char **name,
                           struct cs_error *error)
{
    const struct photos *photos = context;

    (void)index;
    (void)error;
    *bytes = photos->bytes;
    *size = photos->size;
    *name = "";
    return CS_OK;
}

static bool done(void *context, size_t index, const cs_diagnosis *diagnosis, const struct cs_error *failure)
{
    (void)index;
    (void)diagnosis;
    if (failure != NULL)
        take_error(context, failure);
    return failure == NULL;
}

/* One caller: photo after photo until all are taken. */
static void *call(void *context)
{
    struct photos *photos = context;
    struct cs_request request = cs_request_defaults();

    request.no_cache = true;
    while (atomic_fetch_add(&photos->next, 1) < photos->count) {
        cs_diagnosis *diagnosis = NULL;
        struct cs_error error;

        if (cs_diagnose(photos->diagnoser, photos->bytes, photos->size, &request, &diagnosis, &error) !=
            CS_OK) {
            take_error(photos, &error);
            break;
        }
        cs_diagnosis_destroy(diagnosis);
    }
    return NULL;
}

static enum cs_status call_from(struct photos *photos, unsigned callers, struct cs_error *error)
{
    pthread_t *threads = calloc(callers, sizeof *threads);
    unsigned started = 0;

    if (threads == NULL)
        return csi_fail_memory(error, "bench");
    while (started < callers && pthread_create(&threads[started], NULL, call, photos) == 0)
        started++;
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return started == callers ? CS_OK : csi_fail(error, CS_INTERNAL, "cannot start a thread");
}

static enum cs_status run_way(enum way way, struct photos *photos, unsigned threads, unsigned max_batch,
                              struct cs_error *error)
{
    struct cs_stream stream = {photos->count, 1, cs_request_defaults(), load, NULL, done, photos};
    enum cs_status status;

    atomic_store(&photos->next, 0);
    stream.request.no_cache = true;
    stream.batch = way == TOGETHER ? max_batch : way == CHOSEN ? 0 : 1;
    if (way == IN_TURN || way == CALLERS)
        status = call_from(photos, way == IN_TURN ? 1 : threads + 2, error);
    else
        status = cs_diagnose_stream(photos->diagnoser, &stream, error);
    if (status == CS_OK && photos->error.status != CS_OK) {
        *error = photos->error;
        status = photos->error.status;
    }
    return status;
}

static void print(const struct cs_model_info *info, double rates[WAYS][ROUNDS], size_t size, size_t a_thread,
                  bool as_json)
{
    double one = csi_percentile(rates[ONE_THREAD], ROUNDS, 50);
    json_t *list = json_array(), *report;

    if (!as_json) {
        printf("%s, %s, %s kernels, photos of %zu bytes, %zu a thread in each of %d interleaved "
               "rounds, medians\n",
               info->name, cs_precision_name(info->precision), info->kernels, size, a_thread, ROUNDS);
        printf("%-54s %7s %9s %12s\n", "way", "threads", "photos/s", "÷ one thread");
    }
    for (int way = 0; way < WAYS; way++) {
        double rate = csi_percentile(rates[way], ROUNDS, 50);
        int threads = way == ONE_THREAD ? 1 : (int)info->threads;

        if (as_json)
            json_array_append_new(list, json_pack("{s:s,s:i,s:f,s:f}", "way", ways[way].name, "threads",
                                                  threads, "photos_per_second", rate, "ratio", rate / one));
        else
            printf("%-54s %7d %9.1f %10.2f ×\n", ways[way].text, threads, rate, rate / one);
    }
    report = json_pack("{s:s,s:s,s:s,s:i,s:o}", "model", info->name, "precision",
                       cs_precision_name(info->precision), "kernels", info->kernels, "threads",
                       (int)info->threads, "ways", list);
    if (as_json) {
        json_dumpf(report, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
    json_decref(report);
}

enum cs_status csi_bench_stream(const struct cs_diagnoser_options *options, const char *image, size_t warmup,
                                size_t iterations, bool as_json, const char **subject, struct cs_error *error)
{
    struct cs_diagnoser_options alone = *options;
    cs_diagnoser *one = NULL, *all = NULL;
    cs_model *model = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    double rates[WAYS][ROUNDS];
    enum cs_status status = image != NULL
                                ? csi_file_read(image, options->limits.max_bytes, &bytes, &size, error)
                                : csi_bench_photo(DISPLAY_WIDTH, DISPLAY_HEIGHT, &bytes, &size, error);

    alone.model.threads = 1;
    *subject = status == CS_OK ? options->model.path : image;
    if (status == CS_OK)
        status = cs_diagnoser_create(&alone, &one, error);
    if (status == CS_OK)
        status = cs_diagnoser_create(options, &all, error);
    if (status == CS_OK) {
        model = cs_diagnoser_model(all);
        *subject = image;
    }
    for (int round = -1; status == CS_OK && round < ROUNDS; round++)
        for (int way = 0; status == CS_OK && way < WAYS; way++) {
            unsigned threads = cs_model_info(model).threads;
            size_t a_thread = round < 0 ? warmup : iterations;
            struct photos photos = {.diagnoser = way == ONE_THREAD ? one : all, .bytes = bytes, .size = size};
            uint64_t start = csi_now_ns();

            photos.count = a_thread * (way == ONE_THREAD ? 1 : threads);
            pthread_mutex_init(&photos.lock, NULL);
            status = run_way((enum way)way, &photos, threads, options->model.max_batch, error);
            pthread_mutex_destroy(&photos.lock);
            if (round >= 0)
                rates[way][round] = (double)photos.count / csi_ms_since(start) * 1e3;
        }
    if (status == CS_OK) {
        struct cs_model_info info = cs_model_info(model);

        print(&info, rates, size, iterations, as_json);
    }
    free(bytes);
    cs_model_destroy(model);
    cs_diagnoser_destroy(one);
    cs_diagnoser_destroy(all);
    return status;
}
