/*
 * Streams of photos. Two ways:
 *
 * - one photo a worker (batch 1): as many threads as the model computes with, each takes a photo the
 * whole way with a forward pass on its own core alone. No thread ever waits for another, which gives the
 * highest throughput, on a GPU too: 1.8 times that of batches of 8 with 16 threads (an H200), because one
 * thread does not feed it.
 * - batches (batch ≥ 2): the workers read and decode; the calling thread collects photos and runs them
 * together over the whole pool.
 *
 * Batch 0 takes the first way, or the second when there are fewer photos than workers and cores would idle
 * (one photo is diagnosed over the whole pool, as a request is), and for networks whose weights are hundreds
 * of megabytes (VGG), which a batch reads once. A photo that comes more than once is computed once, as
 * everywhere: the first way goes through the cache's single flight; by the second, later ones wait in their
 * place for the first.
 *
 * Results are delivered in order on the calling thread. At most `window` photos are anywhere between load and
 * done.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diagnosis/diagnoser.h"
#include "diagnosis/diagnosis.h"

/* Weights that take longer to read than to compute with, beyond what caches hold. On two threads batches are
 * 1.15 and 1.35 times as fast as a photo a thread for VGG-11 (43 MB a GFLOP) and AlexNet (178), and 0.8 times
 * for the reference network (5). */
#define HEAVY_BYTES     ((size_t)32 << 20)
#define HEAVY_PER_GFLOP 30e6

static bool has_heavy_weights(const struct csi_plan_info *info)
{
    return info->weight_bytes > HEAVY_BYTES && (double)info->weight_bytes > info->gflop * HEAVY_PER_GFLOP;
}

enum place { EMPTY, UNDER_WAY, DECODED, REPEATED, FINISHED };

/* One photo between load and done: place index % window. */
struct item {
    enum place place; /* REPEATED: the same photo as a claimed one of the window; still loaded */
    size_t index;
    bool claimed; /* this item computes the prediction of `key`; both guarded by the stream's lock */
    struct csi_hash key;
    uint64_t generation; /* of the prediction cache, when the photo was taken up */
    const void *bytes;
    size_t size;
    const char *name;
    bool loaded;
    struct csi_job job; /* batches only; job.model retained */
    struct cs_request request;
    float *input;
    uint64_t start_ns;
    cs_diagnosis *diagnosis;
    enum cs_status status;
    struct cs_error error;
};

struct stream {
    cs_diagnoser *diagnoser;
    const struct cs_stream *user;
    size_t batch, window;
    bool alone; /* one photo: it has all cores */
    struct item *items;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;      /* first index that no worker has taken */
    size_t delivered; /* first index that is not delivered */
    bool stop;
};

static bool load_item(struct stream *stream, struct item *item)
{
    csi_error_clear(&item->error);
    item->start_ns = csi_now_ns();
    item->status = stream->user->load(stream->user->context, item->index, &item->bytes, &item->size,
                                      &item->name, &item->error);
    item->loaded = item->status == CS_OK;
    if (!item->loaded && item->error.message[0] == '\0') /* the caller's own function need not say more */
        csi_fail(&item->error, item->status, "photo %zu cannot be loaded", item->index);
    item->error.status = item->status;
    item->request = stream->user->request;
    item->request.name = item->name;
    item->request.on_stage = NULL; /* it would be called on a worker thread */
    return item->loaded;
}

static void unload_item(struct stream *stream, struct item *item)
{
    if (item->loaded && stream->user->unload != NULL)
        stream->user->unload(stream->user->context, item->index, item->bytes, item->size);
    item->loaded = false;
}

/* The item of the window that computes `key`. Lock held. */
static struct item *claimant(struct stream *stream, const struct csi_hash *key)
{
    for (size_t i = stream->delivered; i < stream->next; i++) {
        struct item *item = &stream->items[i % stream->window];

        if (item->claimed && memcmp(item->key.bytes, key->bytes, CSI_HASH_SIZE) == 0)
            return item;
    }
    return NULL;
}

/* Whether this item is the first of the window with its key, which then is its to compute. */
static bool claim(struct stream *stream, struct item *item, const struct csi_hash *key)
{
    pthread_mutex_lock(&stream->lock);
    item->key = *key;
    item->claimed = claimant(stream, key) == NULL;
    pthread_mutex_unlock(&stream->lock);
    return item->claimed;
}

/* Decodes, preprocesses; a photo whose prediction is kept goes the whole way at once. */
static enum place prepare(struct stream *stream, struct item *item)
{
    struct csi_job *job = &item->job;
    struct csi_hash key;
    bool cached = !item->request.no_cache && stream->diagnoser->options.prediction_cache_bytes != 0;

    *job = (struct csi_job){
        .diagnoser = stream->diagnoser, .bytes = item->bytes, .size = item->size, .request = &item->request};
    item->generation = csi_cache_generation(stream->diagnoser->predictions);
    if (item->size == 0 || item->size > stream->diagnoser->options.limits.max_bytes)
        goto whole; /* it fails there with the right words */
    job->model = csi_slot_model_for(stream->diagnoser, &item->request, &item->error);
    if (job->model == NULL) {
        item->status = stream->diagnoser->slot.first_error.status;
        return FINISHED;
    }
    csi_recent_identify(stream->diagnoser->recent, item->bytes, item->size, &job->id);
    csi_prediction_key(stream->diagnoser, job->model, &job->id, &key);
    /* Claimed first, looked up then: between the two nobody else can have computed it unseen. */
    if (cached && !item->request.gradcam && !claim(stream, item, &key))
        return REPEATED;
    if (item->request.gradcam || (cached && csi_cache_contains(stream->diagnoser->predictions, &key)))
        goto whole;
    if (cached)
        csi_cache_count_miss(stream->diagnoser->predictions);
    item->status = csi_job_decode(job, &item->error);
    if (item->status == CS_OK) {
        uint64_t start = csi_now_ns();
        size_t side = job->model->plan_info->input_height;

        item->input = malloc(3 * side * side * sizeof *item->input);
        item->status = item->input == NULL ? csi_fail_memory(&item->error, "photo")
                                           : csi_model_preprocess(job->model, job->display, item->input,
                                                                  &job->content, &item->error);
        job->timings.preprocess = csi_ms_since(start);
    }
    return item->status == CS_OK ? DECODED : FINISHED;
whole:
    item->status = csi_diagnose(stream->diagnoser, item->bytes, item->size, &item->request, false,
                                &item->diagnosis, &item->error);
    return FINISHED;
}

static void *work(void *context)
{
    struct stream *stream = context;

    pthread_mutex_lock(&stream->lock);
    while (!stream->stop && stream->next < stream->user->count) {
        struct item *item;
        enum place place = FINISHED;
        size_t index;

        if (stream->next - stream->delivered >= stream->window) {
            pthread_cond_wait(&stream->changed, &stream->lock);
            continue;
        }
        index = stream->next++;
        item = &stream->items[index % stream->window];
        item->place = UNDER_WAY;
        item->index = index;
        pthread_mutex_unlock(&stream->lock);
        if (load_item(stream, item)) {
            if (stream->batch > 1)
                place = prepare(stream, item);
            else
                item->status = csi_diagnose(stream->diagnoser, item->bytes, item->size, &item->request,
                                            !stream->alone, &item->diagnosis, &item->error);
        }
        if (place != REPEATED)
            unload_item(stream, item);
        pthread_mutex_lock(&stream->lock);
        item->place = place;
        pthread_cond_broadcast(&stream->changed);
    }
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

static void clear_item(struct item *item)
{
    csi_diagnosis_destroy(item->diagnosis);
    csi_image_destroy(item->job.display);
    csi_model_release(item->job.model);
    free(item->input);
    memset(item, 0, sizeof *item);
}

/* Record, cache, diagnosis of one photo whose forward pass is done. */
static void finish_item(struct stream *stream, struct item *item, cs_session *session, size_t index,
                        double inference_ms)
{
    struct csi_job *job = &item->job;
    const struct csi_record_shape shape = csi_model_record_shape(job->model);
    struct csi_cached cached = {0};
    struct csi_record record;
    uint8_t *bytes = NULL;
    size_t size = 0;

    job->timings.inference = inference_ms;
    item->status = csi_job_record(job, session, index, &bytes, &size, &item->error);
    if (item->status == CS_OK)
        item->status = csi_cached_own(bytes, size, &cached, &item->error);
    if (item->status == CS_OK)
        item->status = csi_record_read(cached.bytes, cached.size, &shape, &record, &item->error);
    if (item->status == CS_OK)
        item->status = csi_diagnosis_create(job->model, &job->id, &record, &item->request, &item->diagnosis,
                                            &item->error);
    if (item->status == CS_OK) {
        job->timings.total = csi_ms_since(item->start_ns);
        item->diagnosis->timings = job->timings;
        if (!item->request.no_cache && stream->diagnoser->options.prediction_cache_bytes != 0) {
            csi_cache_put(stream->diagnoser->predictions, &item->key, cached.bytes, cached.size,
                          item->generation);
            item->diagnosis->prediction_cache = CS_CACHE_MISS;
        }
    }
    csi_cached_release(&cached);
}

/* Runs `count` decoded photos of one model together. */
static void run_batch(struct stream *stream, struct item **items, size_t count)
{
    cs_model *model = items[0]->job.model;
    size_t elements = 3 * model->plan_info->input_height * model->plan_info->input_width;
    float *input = malloc(count * elements * sizeof *input);
    cs_session *session = NULL;
    struct cs_error error;
    enum cs_status status;

    csi_error_clear(&error);
    status = input == NULL ? csi_fail_memory(&error, "batch") : csi_session_borrow(model, &session, &error);
    if (status == CS_OK) {
        for (size_t i = 0; i < count; i++)
            memcpy(input + i * elements, items[i]->input, elements * sizeof *input);
        status = csi_session_forward(session, input, count, false, &error);
    }
    for (size_t i = 0; i < count; i++) {
        if (status == CS_OK) {
            finish_item(stream, items[i], session, i, session->run_ms / (double)count);
        } else {
            items[i]->status = status;
            items[i]->error = error;
        }
    }
    csi_session_return(session);
    free(input);
}

/* Collects the decoded photos in front of the queue that share a model. Lock held. */
static size_t collect(struct stream *stream, struct item **items)
{
    size_t count = 0, limit = stream->batch;

    for (size_t i = stream->delivered; i < stream->next && count < limit; i++) {
        struct item *item = &stream->items[i % stream->window];

        if (item->place == UNDER_WAY)
            return 0; /* a photo comes that could join */
        if (item->place != DECODED)
            continue;
        if (count == 0)
            limit = limit < item->job.model->max_batch ? limit : item->job.model->max_batch;
        else if (item->job.model != items[0]->job.model)
            break;
        items[count++] = item;
    }
    if (count < limit && stream->next < stream->user->count &&
        stream->next - stream->delivered < stream->window)
        return 0; /* the workers will take more */
    return count;
}

/* Whether the front item can be answered now from what another one left in the cache. Lock held. */
static bool twin_is_done(struct stream *stream, const struct item *item)
{
    const struct item *twin = claimant(stream, &item->key);

    return twin == NULL || twin->place == FINISHED;
}

/* A hit, unless its twin failed or the cache is too small to keep what it found. */
static void finish_repeated(struct stream *stream, struct item *item)
{
    item->status = csi_diagnose(stream->diagnoser, item->bytes, item->size, &item->request, false,
                                &item->diagnosis, &item->error);
    unload_item(stream, item);
}

/* Delivers in order; the calling thread runs the batches too. */
static void deliver(struct stream *stream, struct item **batch)
{
    pthread_mutex_lock(&stream->lock);
    while (stream->delivered < stream->user->count && !stream->stop) {
        struct item *item = &stream->items[stream->delivered % stream->window];
        size_t count;
        bool go_on;

        if (stream->delivered < stream->next && item->place == FINISHED) {
            pthread_mutex_unlock(&stream->lock);
            go_on = stream->user->done(stream->user->context, stream->delivered,
                                       item->status == CS_OK ? item->diagnosis : NULL,
                                       item->status == CS_OK ? NULL : &item->error);
            pthread_mutex_lock(&stream->lock);
            clear_item(item);
            stream->delivered++;
            stream->stop = !go_on;
            pthread_cond_broadcast(&stream->changed);
            continue;
        }
        if (stream->delivered < stream->next && item->place == REPEATED && twin_is_done(stream, item)) {
            pthread_mutex_unlock(&stream->lock);
            finish_repeated(stream, item);
            pthread_mutex_lock(&stream->lock);
            item->place = FINISHED;
            continue;
        }
        count = collect(stream, batch);
        if (count == 0) {
            pthread_cond_wait(&stream->changed, &stream->lock);
            continue;
        }
        pthread_mutex_unlock(&stream->lock);
        run_batch(stream, batch, count);
        pthread_mutex_lock(&stream->lock);
        for (size_t i = 0; i < count; i++)
            batch[i]->place = FINISHED;
    }
    stream->stop = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

enum cs_status csi_diagnose_stream(cs_diagnoser *diagnoser, const struct cs_stream *user,
                                   struct cs_error *error)
{
    struct stream stream = {.diagnoser = diagnoser, .user = user};
    unsigned workers = diagnoser->slot.compute->threads, started = 0;
    pthread_t *threads = calloc(workers, sizeof *threads);
    struct item **batch = NULL;
    cs_model *model;
    enum cs_status status = CS_OK;

    if (user->load == NULL || user->done == NULL) {
        free(threads);
        return csi_fail(error, CS_BAD_REQUEST, "a stream needs load and done");
    }
    stream.batch = user->batch;
    stream.alone = user->count == 1;
    if (stream.alone && user->batch == 0) {
        stream.batch = 1; /* without a look at the model, which may still be loaded meanwhile */
    } else {
        model = csi_slot_model_for(diagnoser, &user->request, error);
        if (model == NULL) {
            free(threads);
            return diagnoser->slot.first_error.status;
        }
        if (user->batch == 0)
            stream.batch = user->count < workers                 ? user->count
                           : has_heavy_weights(model->plan_info) ? model->max_batch
                                                                 : 1;
        stream.batch = stream.batch > model->max_batch ? model->max_batch : stream.batch;
        csi_model_release(model);
    }
    /* Enough for every worker to be one photo ahead of the slowest, and for a batch to fill while one
     * computes. */
    stream.window = 2 * (size_t)workers + 2 * (stream.batch > 1 ? stream.batch : 1);
    stream.items = calloc(stream.window, sizeof *stream.items);
    batch = calloc(stream.batch > 1 ? stream.batch : 1, sizeof *batch);
    pthread_mutex_init(&stream.lock, NULL);
    pthread_cond_init(&stream.changed, NULL);
    if (threads == NULL || stream.items == NULL || batch == NULL)
        status = csi_fail_memory(error, "stream");
    while (status == CS_OK && started < workers && started < user->count) {
        if (pthread_create(&threads[started], NULL, work, &stream) != 0) {
            if (started == 0)
                status = csi_fail(error, CS_INTERNAL, "cannot start a thread");
            break;
        }
        started++;
    }
    if (status == CS_OK)
        deliver(&stream, batch);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; stream.items != NULL && i < stream.window; i++) {
        unload_item(&stream, &stream.items[i]); /* repeated photos of a stream that was stopped */
        clear_item(&stream.items[i]);
    }
    pthread_cond_destroy(&stream.changed);
    pthread_mutex_destroy(&stream.lock);
    free(stream.items);
    free(batch);
    free(threads);
    return status;
}
