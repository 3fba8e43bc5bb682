/* The diagnoser's life: options, caches, disk tier, and what users see of the caches. */
#include "diagnosis/diagnoser.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "image/format.h"

#define DEFAULT_MAX_SIZE 800u
#define LARGEST_MAX_SIZE 16384u
/* Of recent uploads, for finding a photo's id without hashing it: half a dozen photos of a phone. */
#define RECENT_BYTES ((size_t)32 << 20)

void csi_diagnoser_warn(const cs_diagnoser *diagnoser, const char *format, ...)
{
    char message[CS_ERROR_MESSAGE_SIZE + 128];
    va_list arguments;

    if (diagnoser->options.on_warning == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    diagnoser->options.on_warning(diagnoser->options.context, message);
}

/* The options' strings as copies: the caller's may go after the constructor. */
static enum cs_status own_strings(cs_diagnoser *diagnoser, struct cs_error *error)
{
    struct cs_diagnoser_options *options = &diagnoser->options;
    const char **strings[] = {&options->model.path, &options->model.cpu_mask, &options->model.classes_path,
                              &options->model.target_layer, &options->cache_path};

    _Static_assert(sizeof strings / sizeof strings[0] ==
                       sizeof diagnoser->strings / sizeof diagnoser->strings[0],
                   "one owner a string");
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        diagnoser->strings[i] = csi_strdup(*strings[i]);
        if (*strings[i] != NULL && diagnoser->strings[i] == NULL)
            return csi_fail_memory(error, "options");
        *strings[i] = diagnoser->strings[i];
    }
    return CS_OK;
}

static enum cs_status settle_options(struct cs_diagnoser_options *options, struct cs_error *error)
{
    options->limits = csi_limits_complete(&options->limits);
    if (options->max_size == 0)
        options->max_size = DEFAULT_MAX_SIZE;
    if (options->max_size > LARGEST_MAX_SIZE)
        return csi_fail(error, CS_BAD_REQUEST, "a display size of %u is larger than %u", options->max_size,
                        LARGEST_MAX_SIZE);
    if ((int)options->decode < 0 || options->decode > CS_DECODE_EXACT)
        return csi_fail(error, CS_BAD_REQUEST, "no decode mode has the number %d", (int)options->decode);
    if (!(options->cache_ttl_s >= 0) || !isfinite(options->cache_ttl_s))
        return csi_fail(error, CS_BAD_REQUEST, "the caches' time to live has to be 0 or more seconds");
    return CS_OK;
}

static enum cs_status open_caches(cs_diagnoser *diagnoser, struct cs_error *error)
{
    const struct cs_diagnoser_options *options = &diagnoser->options;
    struct csi_disk_options disk = {.path = options->cache_path,
                                    .max_bytes = options->cache_path_bytes,
                                    .ttl_s = options->cache_ttl_s,
                                    .on_warning = options->on_warning,
                                    .context = options->context};
    struct csi_cache_options prediction = {
        .name = "prediction", .max_bytes = options->prediction_cache_bytes, .ttl_s = options->cache_ttl_s};
    struct csi_cache_options gradcam = {
        .name = "gradcam", .max_bytes = options->gradcam_cache_bytes, .ttl_s = options->cache_ttl_s};
    enum cs_status status = CS_OK;

    if (options->cache_path != NULL && options->cache_path[0] != '\0' && options->cache_path_bytes > 0)
        status = csi_disk_open(&disk, &diagnoser->disk, error);
    prediction.disk = gradcam.disk = diagnoser->disk;
    if (status == CS_OK)
        status = csi_cache_create(&prediction, &diagnoser->predictions, error);
    if (status == CS_OK)
        status = csi_cache_create(&gradcam, &diagnoser->gradcams, error);
    if (status == CS_OK)
        status = csi_recent_create(options->prediction_cache_bytes != 0 ? RECENT_BYTES : 0,
                                   &diagnoser->recent, error);
    return status;
}

enum cs_status csi_diagnoser_create(const struct cs_diagnoser_options *options, cs_diagnoser **diagnoser,
                                    struct cs_error *error)
{
    cs_diagnoser *made = calloc(1, sizeof *made);
    enum cs_status status;

    *diagnoser = NULL;
    if (made == NULL)
        return csi_fail_memory(error, "diagnoser");
    made->options = *options;
    csi_slot_init(made);
    csi_places_init(&made->decoding, csi_cpu()->physical_cores + 1); /* one more: it fills the others' gaps */
    status = own_strings(made, error);
    if (status == CS_OK)
        status = settle_options(&made->options, error);
    if (status == CS_OK)
        status = open_caches(made, error);
    if (status == CS_OK)
        status = csi_slot_open(made, error);
    if (status != CS_OK) {
        csi_diagnoser_destroy(made);
        return status;
    }
    *diagnoser = made;
    return CS_OK;
}

void csi_diagnoser_destroy(cs_diagnoser *diagnoser)
{
    if (diagnoser == NULL)
        return;
    csi_slot_close(diagnoser);
    csi_recent_destroy(diagnoser->recent);
    csi_cache_destroy(diagnoser->gradcams);
    csi_cache_destroy(diagnoser->predictions);
    csi_disk_close(diagnoser->disk);
    csi_places_destroy(&diagnoser->decoding);
    for (size_t i = 0; i < sizeof diagnoser->strings / sizeof diagnoser->strings[0]; i++)
        free(diagnoser->strings[i]);
    free(diagnoser);
}

void csi_diagnoser_cache_stats(cs_diagnoser *diagnoser, enum cs_cache cache, struct cs_cache_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    switch (cache) {
    case CS_CACHE_MODEL: csi_slot_stats(diagnoser, stats); break;
    case CS_CACHE_PREDICTION: csi_cache_stats(diagnoser->predictions, stats); break;
    case CS_CACHE_GRADCAM: csi_cache_stats(diagnoser->gradcams, stats); break;
    }
}

/* Both, whether or not the first one fails. */
static enum cs_status clear_results(cs_diagnoser *diagnoser, struct cs_error *error)
{
    enum cs_status status = csi_cache_clear(diagnoser->predictions, error);
    enum cs_status second = csi_cache_clear(diagnoser->gradcams, status == CS_OK ? error : NULL);

    return status != CS_OK ? status : second;
}

enum cs_status csi_diagnoser_cache_clear(cs_diagnoser *diagnoser, enum cs_cache cache, struct cs_error *error)
{
    enum cs_status status;

    switch (cache) {
    case CS_CACHE_MODEL: /* even if it is the same one: that is what was asked for */
        status = csi_slot_reload(diagnoser, error);
        return status == CS_OK ? clear_results(diagnoser, error) : status;
    case CS_CACHE_PREDICTION:
        status = csi_cache_clear(diagnoser->predictions, error);
        csi_recent_clear(diagnoser->recent);
        return status;
    case CS_CACHE_GRADCAM: return csi_cache_clear(diagnoser->gradcams, error);
    }
    return csi_fail(error, CS_BAD_REQUEST, "no cache has the number %d", (int)cache);
}
