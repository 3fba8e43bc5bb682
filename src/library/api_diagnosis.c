/* Diagnosis of the public header: thin doors to diagnosis/. Output pointers are NULL after a failure, as the
 * header says. */
#include <stdlib.h>
#include <string.h>

#include "diagnosis/diagnoser.h"
#include "diagnosis/diagnosis.h"
#include "store/disk_file.h"

#define MIB ((size_t)1 << 20)

void cs_diagnosis_destroy(cs_diagnosis *diagnosis)
{
    csi_diagnosis_destroy(diagnosis);
}

enum cs_status cs_diagnosis_json(const cs_diagnosis *diagnosis, struct cs_blob *json, struct cs_error *error)
{
    memset(json, 0, sizeof *json);
    return csi_diagnosis_json(diagnosis, json, error);
}

struct cs_request cs_request_defaults(void)
{
    return (struct cs_request){.top_k = 3, .alpha = 0.5f};
}

struct cs_diagnoser_options cs_diagnoser_options_defaults(void)
{
    return (struct cs_diagnoser_options){
        .model = cs_model_options_defaults(),
        .limits = cs_limits_defaults(),
        .max_size = 800,
        .prediction_cache_bytes = 32 * MIB,
        .gradcam_cache_bytes = 64 * MIB,
        .cache_path_bytes = 256 * MIB,
    };
}

enum cs_status cs_diagnoser_create(const struct cs_diagnoser_options *options, cs_diagnoser **diagnoser,
                                   struct cs_error *error)
{
    struct cs_diagnoser_options defaults = cs_diagnoser_options_defaults();

    return csi_diagnoser_create(options != NULL ? options : &defaults, diagnoser, error);
}

void cs_diagnoser_destroy(cs_diagnoser *diagnoser)
{
    csi_diagnoser_destroy(diagnoser);
}

enum cs_status cs_diagnose(cs_diagnoser *diagnoser, const void *bytes, size_t size,
                           const struct cs_request *request, cs_diagnosis **diagnosis, struct cs_error *error)
{
    return csi_diagnose(diagnoser, bytes, size, request, false, diagnosis, error);
}

enum cs_status cs_diagnose_stream(cs_diagnoser *diagnoser, const struct cs_stream *stream,
                                  struct cs_error *error)
{
    return csi_diagnose_stream(diagnoser, stream, error);
}

enum cs_status cs_diagnose_case(cs_diagnoser *diagnoser, const cs_diagnosis *const *photos, size_t count,
                                size_t top_k, cs_diagnosis **combined, double *agreement,
                                struct cs_error *error)
{
    (void)diagnoser; /* the photos know their model, which may be older than the diagnoser's */
    return csi_diagnose_case(photos, count, top_k, combined, agreement, error);
}

struct cs_heatmap_request cs_heatmap_request_defaults(void)
{
    return (struct cs_heatmap_request){.class_index = SIZE_MAX, .alpha = 0.5f};
}

enum cs_status cs_diagnoser_heatmap(cs_diagnoser *diagnoser, const char *id,
                                    const struct cs_heatmap_request *request, struct cs_blob *image,
                                    enum cs_cache_result *result, double *ms, struct cs_error *error)
{
    struct cs_heatmap_request defaults = cs_heatmap_request_defaults();

    memset(image, 0, sizeof *image);
    return csi_diagnoser_heatmap(diagnoser, id, request != NULL ? request : &defaults, image, result, ms,
                                 error);
}

enum cs_status cs_diagnoser_map(cs_diagnoser *diagnoser, const char *id, size_t class_index,
                                enum cs_cam_method method, struct cs_blob *blob, uint32_t *width,
                                uint32_t *height, struct cs_error *error)
{
    memset(blob, 0, sizeof *blob);
    return csi_diagnoser_map(diagnoser, id, class_index, method, blob, width, height, error);
}

enum cs_status cs_diagnoser_top_class(cs_diagnoser *diagnoser, const char *id, const char *plant,
                                      size_t *class_index, struct cs_error *error)
{
    return csi_diagnoser_top_class(diagnoser, id, plant, class_index, error);
}

enum cs_status cs_diagnoser_display(cs_diagnoser *diagnoser, const char *id, enum cs_image_format format,
                                    struct cs_blob *image, struct cs_error *error)
{
    memset(image, 0, sizeof *image);
    return csi_diagnoser_display(diagnoser, id, format, image, error);
}

cs_model *cs_diagnoser_model(cs_diagnoser *diagnoser)
{
    return csi_slot_model(diagnoser, NULL);
}

void cs_diagnoser_status(cs_diagnoser *diagnoser, struct cs_diagnoser_status *status)
{
    csi_slot_status(diagnoser, status);
}

enum cs_status cs_diagnoser_reload(cs_diagnoser *diagnoser, struct cs_error *error)
{
    return csi_slot_reload(diagnoser, error);
}

void cs_diagnoser_cache_stats(cs_diagnoser *diagnoser, enum cs_cache cache, struct cs_cache_stats *stats)
{
    csi_diagnoser_cache_stats(diagnoser, cache, stats);
}

enum cs_status cs_diagnoser_cache_clear(cs_diagnoser *diagnoser, enum cs_cache cache, struct cs_error *error)
{
    return csi_diagnoser_cache_clear(diagnoser, cache, error);
}

enum cs_status cs_cache_file_check(const char *path, bool *damaged, struct cs_error *error)
{
    bool own;

    csi_error_clear(error);
    return csi_disk_check(path, damaged != NULL ? damaged : &own, error);
}
