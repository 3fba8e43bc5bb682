/* Quantisation of the public header. The logic stands in diagnosis/quantizer.c. */
#include "diagnosis/quantizer.h"

struct cs_quantize_options cs_quantize_options_defaults(void)
{
    return (struct cs_quantize_options){.method = CS_QUANTIZE_MSE, .percentile = 99.99};
}

enum cs_status cs_quantizer_create(const struct cs_model_options *model,
                                   const struct cs_quantize_options *options, cs_quantizer **quantizer,
                                   struct cs_error *error)
{
    const struct cs_quantize_options defaults = cs_quantize_options_defaults();
    const struct cs_model_options plain = cs_model_options_defaults();

    return csi_quantizer_create(model != NULL ? model : &plain, options != NULL ? options : &defaults,
                                quantizer, error);
}

void cs_quantizer_destroy(cs_quantizer *quantizer)
{
    csi_quantizer_destroy(quantizer);
}

cs_model *cs_quantizer_model(cs_quantizer *quantizer)
{
    return csi_quantizer_model(quantizer);
}

enum cs_status cs_quantizer_add(cs_quantizer *quantizer, const float *input, struct cs_error *error)
{
    return csi_quantizer_add(quantizer, input, error);
}

enum cs_status cs_quantizer_finish(cs_quantizer *quantizer, struct cs_error *error)
{
    return csi_quantizer_finish(quantizer, error);
}

enum cs_status cs_quantizer_compare(cs_quantizer *quantizer, const float *input, struct cs_error *error)
{
    return csi_quantizer_compare(quantizer, input, error);
}

enum cs_status cs_quantizer_layers(cs_quantizer *quantizer, const struct cs_layer_noise **layers,
                                   size_t *count, struct cs_error *error)
{
    return csi_quantizer_layers(quantizer, layers, count, error);
}

enum cs_status cs_quantizer_save(const cs_quantizer *quantizer, const char *metadata_json, const char *path,
                                 struct cs_error *error)
{
    return csi_quantizer_save(quantizer, metadata_json, path, error);
}
