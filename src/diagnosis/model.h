/*
 * A loaded model: compiled plan, labels, calibration, gate; counted and immutable. And its sessions: the
 * scratch memory of forward passes, kept in a free list so that a request allocates nothing big.
 */
#ifndef CSI_DIAGNOSIS_MODEL_H
#define CSI_DIAGNOSIS_MODEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "diagnosis/gate.h"
#include "diagnosis/turns.h"
#include "engine/engine.h"
#include "graph/graph.h"

/* The threads and instruction sets that forward passes use. Counted: a reloaded model goes on with those of
 * the one before. */
struct csi_compute {
    atomic_uint references;
    struct csi_pool *pool;
    unsigned threads;
    uint32_t cpu_features;
    struct csi_turns turns;
};
enum cs_status csi_compute_create(const struct cs_model_options *options, struct csi_compute **compute,
                                  struct cs_error *error);
struct csi_compute *csi_compute_retain(struct csi_compute *compute);
void csi_compute_release(struct csi_compute *compute);

struct cs_model {
    atomic_uint references;
    struct csi_compute *compute;
    struct csi_plan *plan;
    const struct csi_plan_info *plan_info;
    struct csi_preprocess preprocess;  /* in effect: the file's under the options' */
    char *classes_path, *target_layer; /* of the options, NULL: none */
    double temperature;
    struct csi_hash digest; /* of the file */
    struct csi_hash
        identity; /* of all that decides the logits: digest, precision, kernels, preprocessing, map layer */
    struct csi_gate *gate;   /* NULL: the file carries none */
    struct csi_coach *coach; /* NULL: the file carries none */

    /* What cs_model_info points to; all owned. */
    char digest_hex[CSI_HASH_HEX_SIZE];
    char *name, *path, *format, *architecture, *metadata_json;
    char **classes, **labels;
    bool *tested;
    size_t class_count;
    char **plants;                 /* in order of the classes */
    size_t *plant_of, plant_count; /* plant of each class: an index into plants, or CSI_ANY_PLANT */
    uint64_t parameters;
    double gmac, load_ms;
    bool embedded;
    bool replaced; /* its last user hands the process's free memory back: another model has come for good */
    unsigned max_batch;

    pthread_mutex_t sessions_lock;
    pthread_cond_t session_back;
    struct cs_session *idle;
    unsigned session_count, session_limit;
};

/* `compute` NULL: own threads as the options say. */
enum cs_status csi_model_load(const struct cs_model_options *options, struct csi_compute *compute,
                              cs_model **model, struct cs_error *error);
cs_model *csi_model_retain(cs_model *model);
void csi_model_release(cs_model *model);
struct cs_model_info csi_model_info(const cs_model *model);
enum cs_status csi_model_save(const cs_model *model, const char *metadata_json, const char *path,
                              struct cs_error *error);
/* The bytes of the file that the model came from; free `*owned`. CS_NOT_FOUND: it has changed since. */
enum cs_status csi_model_bytes(const cs_model *model, const uint8_t **bytes, uint8_t **owned, size_t *size,
                               struct cs_error *error);

/* Classes (classes.c). `plant`: an index into the model's plants, or CSI_ANY_PLANT for all classes. */
#define CSI_ANY_PLANT SIZE_MAX
enum cs_status csi_model_find_class(const cs_model *model, const char *text, size_t *index,
                                    struct cs_error *error);
/* Fills plants and plant_of from classes and labels; false without memory. */
bool csi_model_find_plants(cs_model *model);
/* By name, whatever its case; NULL or "": CSI_ANY_PLANT. CS_BAD_REQUEST lists those there are. */
enum cs_status csi_model_find_plant(const cs_model *model, const char *text, size_t *plant,
                                    struct cs_error *error);
bool csi_model_is_of(const cs_model *model, size_t class_index, size_t plant);
/* The first among equals. */
size_t csi_model_top_class(const cs_model *model, const float *logits, size_t plant);
/* softmax(logits / temperature) over the classes of the plant, 0 for others; in place allowed. */
void csi_model_probabilities(const cs_model *model, const float *logits, size_t plant, float *probabilities);
/* "Tomato__early_blight" -> "Tomato: early blight"; malloc'ed, NULL without memory. */
char *csi_class_label(const char *class_name);

struct cs_session {
    cs_model *model;
    bool owns_model; /* made by the user: it keeps its model alive; pooled ones are kept by their model */
    struct cs_session *next;
    struct csi_exec *exec;
    size_t batch;  /* of the last forward pass; 0: none yet */
    double run_ms; /* what the last forward pass took, without the wait for its turn */
    float *input;  /* one photo's network input */
    float *maps;   /* class_count maps, when there are maps at all */
};

enum cs_status csi_session_create(cs_model *model, bool owns_model, cs_session **session,
                                  struct cs_error *error);
void csi_session_destroy(cs_session *session);
/* From the free list, or a new one, or, past the limit, whoever comes back first. */
enum cs_status csi_session_borrow(cs_model *model, cs_session **session, struct cs_error *error);
void csi_session_return(cs_session *session);

/* Photo at display size -> 3×S×S. `content` (may be NULL) is measured on the way when the model's gate or
 * coach needs it. */
enum cs_status csi_model_preprocess(const cs_model *model, const cs_image *image, float *output,
                                    struct csi_content *content, struct cs_error *error);
enum cs_status csi_session_forward(cs_session *session, const float *input, size_t batch, bool serial,
                                   struct cs_error *error);
/* The closed form holds: maps of all classes come from the activations alone. */
bool csi_model_has_linear_maps(const cs_model *model);
/* All class maps of photo `index`, ReLU and normalised, in session->maps. Only with
 * csi_model_has_linear_maps. */
void csi_session_all_maps(cs_session *session, size_t index);
enum cs_status csi_session_map(cs_session *session, size_t index, size_t class_index,
                               enum cs_cam_method method, float *map, struct cs_error *error);
enum cs_status csi_session_profile(cs_session *session, size_t batch, unsigned iterations,
                                   struct cs_layer_profile **layers, size_t *count, struct cs_error *error);

#endif
