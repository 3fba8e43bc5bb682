/*
 * The model slot: which model is in use, how a changed file replaces it. Requests in flight keep the model
 * they began with by their reference; its last user frees it.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "diagnosis/diagnoser.h"

#define LOOK_EVERY_MS 250

static const char *watched_path(const cs_diagnoser *diagnoser)
{
    const char *path = diagnoser->options.model.path;

    return path == NULL || path[0] == '\0' || strcmp(path, "lite") == 0 ? NULL : path;
}

/* Puts `model` in the place of the old one. The caches' content belongs to the old one and goes, unless both
 * are the same: what a file that was only written again answers is known already. */
static void install(cs_diagnoser *diagnoser, cs_model *model)
{
    struct csi_slot *slot = &diagnoser->slot;
    cs_model *old;
    bool other;

    pthread_mutex_lock(&slot->lock);
    old = slot->model;
    slot->model = model;
    slot->loads++;
    slot->loaded_unix_ms = csi_unix_ms();
    slot->last_error[0] = '\0';
    other = old != NULL && memcmp(&old->identity, &model->identity, sizeof model->identity) != 0;
    pthread_mutex_unlock(&slot->lock);
    if (other) {
        /* What cannot be deleted from the disk is in nobody's way: its keys are the old model's. */
        csi_cache_clear(diagnoser->predictions, NULL);
        csi_cache_clear(diagnoser->gradcams, NULL);
    }
    if (old != NULL) {
        old->replaced = true; /* nobody takes it any more; who still holds it looks when it lets go */
        csi_model_release(old);
    }
}

/* Loads the file and installs the model. `loading` held. */
static enum cs_status load(cs_diagnoser *diagnoser, struct cs_error *error)
{
    struct csi_slot *slot = &diagnoser->slot;
    const char *path = watched_path(diagnoser);
    struct cs_error local;
    cs_model *model = NULL;
    enum cs_status status;

    csi_error_clear(&local);
    /* The stamp is taken before the file is read: what is written in between is noticed by the next look. */
    if (path != NULL)
        csi_file_stamp(path, &slot->stamp);
    status = csi_model_load(&diagnoser->options.model, slot->compute, &model, &local);
    if (status == CS_OK) {
        install(diagnoser, model);
        return CS_OK;
    }
    pthread_mutex_lock(&slot->lock);
    slot->failures++;
    snprintf(slot->last_error, sizeof slot->last_error, "%s", local.message);
    pthread_mutex_unlock(&slot->lock);
    if (error != NULL)
        *error = local;
    return status;
}

/* One look at the file. It is loaded when it has changed and two looks in a row found the same: a writer that
 * is still at work changes size or time in between. What cannot be loaded is tried again once it has changed
 * again. */
static void look(cs_diagnoser *diagnoser, struct csi_file_stamp *last)
{
    struct csi_slot *slot = &diagnoser->slot;
    struct csi_file_stamp now;
    struct cs_error error;
    bool there = csi_file_stamp(watched_path(diagnoser), &now), steady = csi_file_stamp_equal(&now, last);
    enum cs_status status = CS_OK;

    *last = now;
    if (!there || !steady)
        return; /* gone for a moment, or being written */
    pthread_mutex_lock(&slot->loading);
    if (!csi_file_stamp_equal(&now, &slot->stamp))
        status = load(diagnoser, &error);
    pthread_mutex_unlock(&slot->loading);
    if (status != CS_OK)
        csi_diagnoser_warn(diagnoser, "the new model was not loaded, the old one stays: %s", error.message);
}

static void *watch(void *context)
{
    cs_diagnoser *diagnoser = context;
    struct csi_slot *slot = &diagnoser->slot;
    struct csi_file_stamp last;

    pthread_mutex_lock(&slot->loading);
    last = slot->stamp;
    pthread_mutex_unlock(&slot->loading);
    pthread_mutex_lock(&slot->watch_lock);
    while (!slot->watch_stop) {
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_EVERY_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&slot->watch_wake, &slot->watch_lock, &until);
        if (slot->watch_stop)
            break;
        pthread_mutex_unlock(&slot->watch_lock);
        look(diagnoser, &last);
        pthread_mutex_lock(&slot->watch_lock);
    }
    pthread_mutex_unlock(&slot->watch_lock);
    return NULL;
}

void csi_slot_init(cs_diagnoser *diagnoser)
{
    struct csi_slot *slot = &diagnoser->slot;
    pthread_condattr_t attributes;

    pthread_mutex_init(&slot->lock, NULL);
    pthread_cond_init(&slot->settled, NULL);
    pthread_mutex_init(&slot->loading, NULL);
    pthread_mutex_init(&slot->watch_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&slot->watch_wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* options.load_beside: the first load, on a thread of its own. */
static void *load_beside(void *context)
{
    cs_diagnoser *diagnoser = context;
    struct csi_slot *slot = &diagnoser->slot;
    struct cs_error error;

    csi_error_clear(&error);
    pthread_mutex_lock(&slot->loading);
    error.status = load(diagnoser, &error);
    pthread_mutex_unlock(&slot->loading);
    pthread_mutex_lock(&slot->lock);
    slot->first_error = error;
    slot->pending = false;
    pthread_cond_broadcast(&slot->settled);
    pthread_mutex_unlock(&slot->lock);
    return NULL;
}

/* Lock held. */
static void wait_for_first(struct csi_slot *slot)
{
    while (slot->pending)
        pthread_cond_wait(&slot->settled, &slot->lock);
}

enum cs_status csi_slot_open(cs_diagnoser *diagnoser, struct cs_error *error)
{
    struct csi_slot *slot = &diagnoser->slot;
    enum cs_status status = csi_compute_create(&diagnoser->options.model, &slot->compute, error);

    if (status == CS_OK && diagnoser->options.load_beside && !diagnoser->options.watch) {
        slot->pending = true; /* before the thread is there to say that it is over */
        slot->loads_beside = pthread_create(&slot->loader, NULL, load_beside, diagnoser) == 0;
        if (!slot->loads_beside)
            slot->pending = false;
    }
    if (status == CS_OK && !slot->loads_beside) {
        pthread_mutex_lock(&slot->loading);
        status = load(diagnoser, error);
        pthread_mutex_unlock(&slot->loading);
    }
    if (status == CS_OK && diagnoser->options.watch && watched_path(diagnoser) != NULL) {
        if (pthread_create(&slot->watcher, NULL, watch, diagnoser) != 0)
            return csi_fail(error, CS_INTERNAL, "cannot start the thread that watches the model file");
        slot->watching = true;
    }
    return status;
}

void csi_slot_close(cs_diagnoser *diagnoser)
{
    struct csi_slot *slot = &diagnoser->slot;

    if (slot->watching) {
        pthread_mutex_lock(&slot->watch_lock);
        slot->watch_stop = true;
        pthread_cond_signal(&slot->watch_wake);
        pthread_mutex_unlock(&slot->watch_lock);
        pthread_join(slot->watcher, NULL);
    }
    if (slot->loads_beside)
        pthread_join(slot->loader, NULL);
    csi_model_release(slot->model);
    csi_compute_release(slot->compute);
    pthread_cond_destroy(&slot->settled);
    pthread_cond_destroy(&slot->watch_wake);
    pthread_mutex_destroy(&slot->watch_lock);
    pthread_mutex_destroy(&slot->loading);
    pthread_mutex_destroy(&slot->lock);
}

cs_model *csi_slot_model(cs_diagnoser *diagnoser, struct cs_error *error)
{
    static const struct cs_request any;

    return csi_slot_model_for(diagnoser, &any, error);
}

cs_model *csi_slot_model_for(cs_diagnoser *diagnoser, const struct cs_request *request,
                             struct cs_error *error)
{
    struct csi_slot *slot = &diagnoser->slot;
    cs_model *model = request->model;

    pthread_mutex_lock(&slot->lock);
    wait_for_first(slot);
    if (model != NULL) {
        csi_model_retain(model); /* counted when it was fetched */
    } else if (slot->model != NULL) {
        model = csi_model_retain(slot->model);
        slot->uses++;
    } else if (error != NULL) {
        *error = slot->first_error;
    }
    pthread_mutex_unlock(&slot->lock);
    return model;
}

enum cs_status csi_slot_reload(cs_diagnoser *diagnoser, struct cs_error *error)
{
    enum cs_status status;

    pthread_mutex_lock(&diagnoser->slot.loading);
    status = load(diagnoser, error);
    pthread_mutex_unlock(&diagnoser->slot.loading);
    return status;
}

void csi_slot_status(cs_diagnoser *diagnoser, struct cs_diagnoser_status *status)
{
    struct csi_slot *slot = &diagnoser->slot;

    memset(status, 0, sizeof *status);
    pthread_mutex_lock(&slot->lock);
    wait_for_first(slot);
    status->model_loads = slot->loads;
    status->model_load_failures = slot->failures;
    status->models_in_memory =
        atomic_load(&slot->compute->references) - 1; /* the slot's own reference aside */
    memcpy(status->last_error, slot->last_error, sizeof status->last_error);
    status->model_load_ms = slot->model != NULL ? slot->model->load_ms : 0;
    status->model_loaded_unix_ms = slot->loaded_unix_ms;
    pthread_mutex_unlock(&slot->lock);
}

void csi_slot_stats(cs_diagnoser *diagnoser, struct cs_cache_stats *stats)
{
    struct csi_slot *slot = &diagnoser->slot;

    pthread_mutex_lock(&slot->lock);
    wait_for_first(slot);
    stats->enabled = true;
    stats->entries = slot->model != NULL ? 1 : 0;
    stats->bytes = slot->model != NULL ? slot->model->plan_info->weight_bytes : 0;
    stats->hits = slot->uses;
    stats->misses = slot->loads;
    pthread_mutex_unlock(&slot->lock);
}
