/* Models of the public header. The logic stands in diagnosis/model.c. */
#include "diagnosis/model.h"

struct cs_model_options cs_model_options_defaults(void)
{
    return (struct cs_model_options){.max_batch = 8};
}

enum cs_status cs_model_load(const struct cs_model_options *options, cs_model **model, struct cs_error *error)
{
    struct cs_model_options defaults = cs_model_options_defaults();

    return csi_model_load(options != NULL ? options : &defaults, NULL, model, error);
}

cs_model *cs_model_retain(cs_model *model)
{
    return csi_model_retain(model);
}

void cs_model_destroy(cs_model *model)
{
    csi_model_release(model);
}

struct cs_model_info cs_model_info(const cs_model *model)
{
    return csi_model_info(model);
}

enum cs_status cs_model_save(const cs_model *model, const char *path, struct cs_error *error)
{
    return csi_model_save(model, NULL, path, error);
}

enum cs_status cs_model_save_with_metadata(const cs_model *model, const char *metadata_json, const char *path,
                                           struct cs_error *error)
{
    return csi_model_save(model, metadata_json, path, error);
}

enum cs_status cs_model_find_class(const cs_model *model, const char *text, size_t *index,
                                   struct cs_error *error)
{
    return csi_model_find_class(model, text, index, error);
}

enum cs_status cs_model_find_plant(const cs_model *model, const char *text, size_t *index,
                                   struct cs_error *error)
{
    return csi_model_find_plant(model, text, index, error);
}
