/* The steps one by one of the public header. The logic stands in diagnosis/session.c and explain. */
#include <stdlib.h>

#include "diagnosis/diagnoser.h"
#include "explain/explain.h"

enum cs_status cs_session_create(cs_model *model, cs_session **session, struct cs_error *error)
{
    return csi_session_create(model, true, session, error);
}

void cs_session_destroy(cs_session *session)
{
    csi_session_destroy(session);
}

enum cs_status cs_preprocess(const cs_model *model, const cs_image *image, float *output,
                             struct cs_error *error)
{
    return csi_model_preprocess(model, image, output, NULL, error);
}

enum cs_status cs_session_forward(cs_session *session, const float *input, size_t batch,
                                  struct cs_error *error)
{
    enum cs_status status = csi_session_forward(session, input, batch, false, error);

    for (size_t i = 0; status == CS_OK && i < batch; i++)
        status = csi_exec_check(session->exec, i, error);
    if (status != CS_OK)
        session->batch = 0;
    return status;
}

const float *cs_session_logits(const cs_session *session)
{
    return session->batch != 0 ? csi_exec_logits(session->exec) : NULL;
}

const float *cs_session_embedding(const cs_session *session)
{
    return session->batch != 0 ? csi_exec_embedding(session->exec) : NULL;
}

void cs_probabilities(const cs_model *model, const float *logits, float *probabilities)
{
    csi_model_probabilities(model, logits, CSI_ANY_PLANT, probabilities);
}

enum cs_status cs_session_map(cs_session *session, size_t index, size_t class_index,
                              enum cs_cam_method method, float *map, struct cs_error *error)
{
    return csi_session_map(session, index, class_index, method, map, error);
}

enum cs_status cs_overlay(const cs_image *image, const float *map, uint32_t map_width, uint32_t map_height,
                          enum cs_colormap colormap, float alpha, cs_image **overlay, struct cs_error *error)
{
    return csi_overlay(image, map, map_width, map_height, colormap, alpha, overlay, error);
}

enum cs_status cs_session_profile(cs_session *session, size_t batch, unsigned iterations,
                                  struct cs_layer_profile **layers, size_t *count, struct cs_error *error)
{
    return csi_session_profile(session, batch, iterations, layers, count, error);
}

void cs_layer_profiles_destroy(struct cs_layer_profile *layers)
{
    free(layers);
}
