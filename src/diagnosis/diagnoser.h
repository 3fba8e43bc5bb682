/*
 * The diagnoser's inside: model slot, caches, recent uploads. Shared by the files of the pipeline; nobody
 * else sees it.
 */
#ifndef CSI_DIAGNOSIS_DIAGNOSER_H
#define CSI_DIAGNOSIS_DIAGNOSER_H

#include <pthread.h>

#include "base/file.h"
#include "base/hash.h"
#include "diagnosis/model.h"
#include "diagnosis/places.h"
#include "diagnosis/recent.h"
#include "diagnosis/record.h"
#include "image/image.h"
#include "store/cache.h"
#include "store/disk.h"

/* Where the model in use stands, and how it is replaced (slot.c). */
struct csi_slot {
    pthread_mutex_t lock; /* guards the members below; held for moments only */
    cs_model *model;
    uint64_t uses, loads, failures;
    char last_error[CS_ERROR_MESSAGE_SIZE];
    int64_t loaded_unix_ms;

    pthread_mutex_t loading; /* one load at a time */
    struct csi_compute *compute;
    pthread_t loader; /* options.load_beside */
    bool loads_beside;
    bool pending;           /* the first load is under way */
    pthread_cond_t settled; /* it no longer is */
    struct cs_error first_error;
    struct csi_file_stamp stamp; /* of the file that was last tried; guarded by `loading` */
    pthread_t watcher;
    bool watching;
    pthread_mutex_t watch_lock;
    pthread_cond_t watch_wake;
    bool watch_stop;
};

struct cs_diagnoser {
    struct cs_diagnoser_options options; /* strings owned, see csi_diagnoser_create */
    char *strings[5];
    struct csi_slot slot;
    struct csi_disk *disk;
    struct csi_cache *predictions, *gradcams;
    struct csi_recent *recent;
    struct csi_places decoding; /* photos being decoded at a time */
};

enum cs_status csi_diagnoser_create(const struct cs_diagnoser_options *options, cs_diagnoser **diagnoser,
                                    struct cs_error *error);
void csi_diagnoser_destroy(cs_diagnoser *diagnoser);
void csi_diagnoser_warn(const cs_diagnoser *diagnoser, const char *format, ...) CSI_PRINTF(2, 3);
void csi_diagnoser_cache_stats(cs_diagnoser *diagnoser, enum cs_cache cache, struct cs_cache_stats *stats);
enum cs_status csi_diagnoser_cache_clear(cs_diagnoser *diagnoser, enum cs_cache cache,
                                         struct cs_error *error);

/* slot.c */
void csi_slot_init(cs_diagnoser *diagnoser);
enum cs_status csi_slot_open(cs_diagnoser *diagnoser, struct cs_error *error);
void csi_slot_close(cs_diagnoser *diagnoser);
/* The model in use, retained; counted as a use. NULL: loading it beside has failed. */
cs_model *csi_slot_model(cs_diagnoser *diagnoser, struct cs_error *error);
/* The same for a request, which may bring the model to use. */
cs_model *csi_slot_model_for(cs_diagnoser *diagnoser, const struct cs_request *request,
                             struct cs_error *error);
enum cs_status csi_slot_reload(cs_diagnoser *diagnoser, struct cs_error *error);
void csi_slot_stats(cs_diagnoser *diagnoser, struct cs_cache_stats *stats);
void csi_slot_status(cs_diagnoser *diagnoser, struct cs_diagnoser_status *status);

/* pipeline.c */

/* One photo on its way. */
struct csi_job {
    cs_diagnoser *diagnoser;
    cs_model *model; /* borrowed; NULL while the photo is decoded before its model is needed */
    const void *bytes;
    size_t size;
    const struct cs_request *request;
    bool serial; /* this thread alone: a stream that runs one photo a worker */
    struct csi_hash id;
    struct cs_timings timings;
    bool decode_tried;            /* the three below hold what came of it */
    struct cs_error decode_error; /* status CS_OK when it went well */
    struct csi_photo_facts facts;
    cs_image *display;
    uint64_t display_generation; /* of the heat-map cache, when decoding began */
    bool display_kept;           /* in the heat-map cache, for maps asked for later */
    struct csi_content content;  /* measured by preprocessing when the model's gate or coach needs it */
};

enum cs_status csi_diagnose(cs_diagnoser *diagnoser, const void *bytes, size_t size,
                            const struct cs_request *request, bool serial, cs_diagnosis **diagnosis,
                            struct cs_error *error);

/* The key of a photo's prediction under the model in use and these options. */
void csi_prediction_key(const cs_diagnoser *diagnoser, const cs_model *model, const struct csi_hash *id,
                        struct csi_hash *key);
/* The key of a photo's display image: does not depend on the model. */
void csi_display_key(const cs_diagnoser *diagnoser, const struct csi_hash *id, struct csi_hash *key);

/* What the records of this model hold. */
struct csi_record_shape csi_model_record_shape(const cs_model *model);

/* Decodes job->bytes into job->display and job->facts unless that was done; keeps the display image. */
enum cs_status csi_job_decode(struct csi_job *job, struct cs_error *error);
/* Preprocess, forward, maps, gate: job->display -> record bytes. */
enum cs_status csi_job_compute(struct csi_job *job, uint8_t **bytes, size_t *size, struct cs_error *error);
/* The record of one photo whose forward pass is done: photo `index` of the session's batch. */
enum cs_status csi_job_record(struct csi_job *job, cs_session *session, size_t index, uint8_t **bytes,
                              size_t *size, struct cs_error *error);
void csi_job_stage(const struct csi_job *job, enum cs_stage stage, double ms);

/* heatmap.c */

/* The overlay of a photo under way (its record at hand) as encoded image, through the heat-map cache. */
enum cs_status csi_job_heatmap(struct csi_job *job, const struct csi_record *record,
                               const struct cs_heatmap_request *request, struct csi_cached *image,
                               enum cs_cache_result *result, struct cs_error *error);
enum cs_status csi_diagnoser_heatmap(cs_diagnoser *diagnoser, const char *id,
                                     const struct cs_heatmap_request *request, struct cs_blob *image,
                                     enum cs_cache_result *result, double *ms, struct cs_error *error);
enum cs_status csi_diagnoser_map(cs_diagnoser *diagnoser, const char *id, size_t class_index,
                                 enum cs_cam_method method, struct cs_blob *blob, uint32_t *width,
                                 uint32_t *height, struct cs_error *error);
enum cs_status csi_diagnoser_top_class(cs_diagnoser *diagnoser, const char *id, const char *plant,
                                       size_t *class_index, struct cs_error *error);
enum cs_status csi_diagnoser_display(cs_diagnoser *diagnoser, const char *id, enum cs_image_format format,
                                     struct cs_blob *image, struct cs_error *error);
enum cs_status csi_encode(const cs_image *image, enum cs_image_format format, struct csi_pool *pool,
                          struct csi_buffer *out, struct cs_error *error);

/* stream.c */
enum cs_status csi_diagnose_stream(cs_diagnoser *diagnoser, const struct cs_stream *stream,
                                   struct cs_error *error);

#endif
