/*
 * Quantisation: see quantizer.h. The file is converted to the native form first, because the scales are
 * written by node and the nodes are those that a reader of the written file will see.
 */
#include "diagnosis/quantizer.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/calibrate.h"
#include "formats/metadata.h"
#include "formats/model_file.h"

struct cs_quantizer {
    cs_model *model; /* float32 */
    struct cs_quantize_options options;
    struct csi_model_file_options file;
    uint8_t *native; /* the model's bytes as a native file */
    size_t native_size;
    struct csi_graph *graph; /* of them */
    struct csi_calibration *calibration;
    uint8_t *result;
    size_t result_size;
    struct csi_graph *integers; /* of `result` */
    struct csi_plan *plan;      /* of `integers` */
    struct csi_layer_noise *noise;
    size_t noise_count;
    struct cs_layer_noise *layers; /* of `noise`, once somebody has asked for them */
};

/* Without what an earlier quantisation wrote. */
static enum cs_status to_native(cs_quantizer *quantizer, struct cs_error *error)
{
    const uint8_t *bytes = NULL;
    uint8_t *owned = NULL;
    size_t size = 0;
    struct csi_model_file_options file = quantizer->file;
    enum cs_status status = csi_model_bytes(quantizer->model, &bytes, &owned, &size, error);

    file.extra_prefix = CSI_CORRECTION_PREFIX;
    file.preprocess = &quantizer->model->preprocess; /* photos are shown so */
    file.gradcam_layer = quantizer->model->target_layer;
    if (status == CS_OK)
        status =
            csi_model_file_convert(bytes, size, &file, &quantizer->native, &quantizer->native_size, error);
    free(owned);
    if (status == CS_OK)
        status = csi_model_file_read(quantizer->native, quantizer->native_size, &quantizer->file,
                                     &quantizer->graph, NULL, error);
    return status;
}

enum cs_status csi_quantizer_create(const struct cs_model_options *model,
                                    const struct cs_quantize_options *options, cs_quantizer **out,
                                    struct cs_error *error)
{
    struct cs_model_options wanted = *model;
    cs_quantizer *made;
    enum cs_status status;

    *out = NULL;
    if ((int)options->method < 0 || options->method > CS_QUANTIZE_MSE ||
        !(options->percentile > 50 && options->percentile <= 100))
        return csi_fail(error, CS_BAD_REQUEST, "no such method, or a percentile that is not in 50…100");
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return csi_fail_memory(error, "quantizer");
    made->options = *options;
    wanted.precision = CS_PRECISION_FP32;
    wanted.device = CS_DEVICE_CPU; /* where integers are computed */
    status = csi_model_load(&wanted, NULL, &made->model, error);
    if (status == CS_OK) {
        made->file.classes_path = made->model->classes_path;
        made->file.input_size = model->preprocess.crop;
        made->file.path = made->model->embedded ? NULL : made->model->path;
        status = to_native(made, error);
    }
    if (status == CS_OK)
        status = csi_calibration_create(made->graph, made->model->compute->cpu_features,
                                        made->model->compute->pool, &made->calibration, error);
    if (status != CS_OK) {
        csi_quantizer_destroy(made);
        return status;
    }
    *out = made;
    return CS_OK;
}

void csi_quantizer_destroy(cs_quantizer *quantizer)
{
    if (quantizer == NULL)
        return;
    csi_calibration_destroy(quantizer->calibration);
    csi_plan_destroy(quantizer->plan);
    csi_graph_destroy(quantizer->graph);
    csi_graph_destroy(quantizer->integers);
    csi_model_release(quantizer->model);
    free(quantizer->native);
    free(quantizer->result);
    free(quantizer->noise);
    free(quantizer->layers);
    free(quantizer);
}

cs_model *csi_quantizer_model(cs_quantizer *quantizer)
{
    return quantizer->model;
}

enum cs_status csi_quantizer_add(cs_quantizer *quantizer, const float *input, struct cs_error *error)
{
    return csi_calibration_add(quantizer->calibration, input, error);
}

/* The native file again, with scales and corrections. */
static enum cs_status write_result(cs_quantizer *quantizer, const struct csi_output_scale *scales,
                                   size_t count, const struct csi_tensor *corrections,
                                   size_t correction_count, struct cs_error *error)
{
    struct csi_model_file_options file = quantizer->file;
    char *scales_text = csi_metadata_scales_text(
        quantizer->graph, cs_quantize_method_name(quantizer->options.method), scales, count);
    json_t *metadata = scales_text == NULL ? NULL : json_pack("{s:s}", "int8", scales_text);
    char *text = metadata == NULL ? NULL : json_dumps(metadata, JSON_COMPACT);
    enum cs_status status = CS_OK;

    file.extras = corrections;
    file.extra_count = correction_count;
    file.extra_prefix = CSI_CORRECTION_PREFIX;
    file.metadata_json = text;
    free(quantizer->result);
    quantizer->result = NULL;
    status = text == NULL ? csi_fail_memory(error, "INT8 scales")
                          : csi_model_file_convert(quantizer->native, quantizer->native_size, &file,
                                                   &quantizer->result, &quantizer->result_size, error);
    free(text);
    json_decref(metadata);
    free(scales_text);
    return status;
}

enum cs_status csi_quantizer_finish(cs_quantizer *quantizer, struct cs_error *error)
{
    static const enum csi_calibration_method methods[] = {CSI_CALIBRATE_MINMAX, CSI_CALIBRATE_PERCENTILE,
                                                          CSI_CALIBRATE_MSE};
    const struct csi_plan_options options = {.precision = CS_PRECISION_INT8,
                                             .cpu_features = quantizer->model->compute->cpu_features,
                                             .max_batch = 1,
                                             .pool = quantizer->model->compute->pool,
                                             .separate = true};
    const struct csi_output_scale *scales = NULL;
    const struct csi_tensor *corrections = NULL;
    size_t count = 0, correction_count = 0;
    enum cs_status status = csi_calibration_scales(quantizer->calibration, methods[quantizer->options.method],
                                                   quantizer->options.percentile, &scales, &count, error);

    if (status == CS_OK)
        status = csi_graph_set_scales(quantizer->graph, scales, count, error);
    if (status == CS_OK && !quantizer->options.no_bias_correction)
        status = csi_calibration_corrections(quantizer->calibration, quantizer->graph, &corrections,
                                             &correction_count, error);
    if (status == CS_OK)
        status = write_result(quantizer, scales, count, corrections, correction_count, error);
    csi_graph_destroy(quantizer->integers);
    quantizer->integers = NULL;
    csi_plan_destroy(quantizer->plan);
    quantizer->plan = NULL;
    if (status == CS_OK)
        status = csi_model_file_read(quantizer->result, quantizer->result_size, &quantizer->file,
                                     &quantizer->integers, NULL, error);
    if (status == CS_OK)
        status = csi_plan_create(quantizer->integers, &options, &quantizer->plan, error);
    if (status == CS_OK && csi_plan_info(quantizer->plan)->precision != CS_PRECISION_INT8)
        status = csi_fail(error, CS_MODEL_UNSUPPORTED, "no layer of %s can be computed in integers",
                          quantizer->model->name);
    return status;
}

enum cs_status csi_quantizer_compare(cs_quantizer *quantizer, const float *input, struct cs_error *error)
{
    if (quantizer->plan == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "compare before finish");
    free(quantizer->layers);
    quantizer->layers = NULL;
    return csi_calibration_compare(quantizer->calibration, quantizer->plan, input, &quantizer->noise,
                                   &quantizer->noise_count, error);
}

static bool fill_layers(cs_quantizer *quantizer)
{
    struct cs_layer_noise *layers = calloc(quantizer->noise_count + 1, sizeof *layers);

    for (size_t i = 0; layers != NULL && i < quantizer->noise_count; i++) {
        const struct csi_layer_noise *noise = &quantizer->noise[i];

        layers[i].name = noise->name;
        layers[i].snr_db =
            noise->noise > 0 && noise->signal > 0 ? 10 * log10(noise->signal / noise->noise) : 300;
    }
    quantizer->layers = layers;
    return layers != NULL;
}

enum cs_status csi_quantizer_layers(cs_quantizer *quantizer, const struct cs_layer_noise **layers,
                                    size_t *count, struct cs_error *error)
{
    *layers = NULL;
    *count = 0;
    if (quantizer->layers == NULL && !fill_layers(quantizer))
        return csi_fail_memory(error, "report");
    *layers = quantizer->layers;
    *count = quantizer->noise_count;
    return CS_OK;
}

enum cs_status csi_quantizer_save(const cs_quantizer *quantizer, const char *metadata_json, const char *path,
                                  struct cs_error *error)
{
    struct csi_model_file_options file = quantizer->file;
    uint8_t *bytes = NULL;
    size_t size = 0;
    enum cs_status status;

    if (quantizer->result == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "save before finish");
    if (metadata_json == NULL)
        return csi_file_write_atomic(path, quantizer->result, quantizer->result_size, error);
    file.metadata_json = metadata_json;
    status = csi_model_file_convert(quantizer->result, quantizer->result_size, &file, &bytes, &size, error);
    if (status == CS_OK)
        status = csi_file_write_atomic(path, bytes, size, error);
    free(bytes);
    return status;
}
