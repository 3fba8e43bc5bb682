/* The words of the public enums, both ways: what users read and write in JSON, options and URLs. */
#include <string.h>

#include "base/error.h"

#define NAME_OF(names, value)                                                                                \
    ((unsigned)(value) < sizeof(names) / sizeof(names)[0] ? (names)[(unsigned)(value)] : "unknown")

static const char *const precision_names[] = {"auto", "fp32", "bf16", "fp16", "int8"};
static const char *const device_names[] = {"auto", "cpu", "cuda"};
static const char *const verdict_names[] = {"confident", "likely", "uncertain", "not_a_leaf"};
static const char *const result_names[] = {"off", "miss", "hit", "coalesced"};
static const char *const stage_names[] = {"decode", "resize", "preprocess", "inference", "gradcam", "done"};
static const char *const cache_names[] = {"model", "prediction", "gradcam"};
static const char *const method_names[] = {"gradcam",  "gradcam++", "hirescam",
                                           "layercam", "eigencam",  "ablationcam"};
static const char *const colormap_names[] = {"jet", "viridis", "inferno", "turbo", "grey"};
static const char *const quantize_names[] = {"minmax", "percentile", "mse"};

const char *cs_precision_name(enum cs_precision precision)
{
    return NAME_OF(precision_names, precision);
}

const char *cs_device_name(enum cs_device device)
{
    return NAME_OF(device_names, device);
}

const char *cs_verdict_name(enum cs_verdict verdict)
{
    return NAME_OF(verdict_names, verdict);
}

const char *cs_cache_result_name(enum cs_cache_result result)
{
    return NAME_OF(result_names, result);
}

const char *cs_stage_name(enum cs_stage stage)
{
    return NAME_OF(stage_names, stage);
}

const char *cs_cache_name(enum cs_cache cache)
{
    return NAME_OF(cache_names, cache);
}

const char *cs_cam_method_name(enum cs_cam_method method)
{
    return NAME_OF(method_names, method);
}

const char *cs_colormap_name(enum cs_colormap colormap)
{
    return NAME_OF(colormap_names, colormap);
}

const char *cs_quantize_method_name(enum cs_quantize_method method)
{
    return NAME_OF(quantize_names, method);
}

/* Index of `name`; fails with all the names there are. */
static enum cs_status parse(const char *what, const char *const *names, size_t count, const char *name,
                            size_t *index, struct cs_error *error)
{
    char all[128] = "";

    for (size_t i = 0; i < count; i++) {
        if (name != NULL && strcmp(name, names[i]) == 0) {
            *index = i;
            return CS_OK;
        }
        strncat(all, i == 0 ? "" : ", ", sizeof all - strlen(all) - 1);
        strncat(all, names[i], sizeof all - strlen(all) - 1);
    }
    return csi_fail(error, CS_BAD_REQUEST, "no %s '%.64s': choose one of %s", what, name != NULL ? name : "",
                    all);
}

enum cs_status cs_cam_method_parse(const char *name, enum cs_cam_method *method, struct cs_error *error)
{
    size_t index = 0;
    enum cs_status status;

    if (name != NULL && strcmp(name, "gradcam_plus_plus") == 0)
        name = "gradcam++"; /* a plus sign does not survive every URL */
    status = parse("heat-map method", method_names, sizeof method_names / sizeof method_names[0], name,
                   &index, error);
    if (status == CS_OK)
        *method = (enum cs_cam_method)index;
    return status;
}

enum cs_status cs_colormap_parse(const char *name, enum cs_colormap *colormap, struct cs_error *error)
{
    size_t index = 0;
    enum cs_status status;

    if (name != NULL && strcmp(name, "gray") == 0)
        name = "grey";
    status = parse("colour map", colormap_names, sizeof colormap_names / sizeof colormap_names[0], name,
                   &index, error);
    if (status == CS_OK)
        *colormap = (enum cs_colormap)index;
    return status;
}

enum cs_status cs_quantize_method_parse(const char *name, enum cs_quantize_method *method,
                                        struct cs_error *error)
{
    size_t index = 0;
    enum cs_status status = parse("method", quantize_names, sizeof quantize_names / sizeof quantize_names[0],
                                  name, &index, error);

    if (status == CS_OK)
        *method = (enum cs_quantize_method)index;
    return status;
}
