/*
 * Post-training quantisation: from a model file and photos to a native file with INT8 scales. The engine
 * calibrates; this keeps the file's bytes, the graphs and the report together.
 */
#ifndef CSI_DIAGNOSIS_QUANTIZER_H
#define CSI_DIAGNOSIS_QUANTIZER_H

#include "diagnosis/model.h"

enum cs_status csi_quantizer_create(const struct cs_model_options *model,
                                    const struct cs_quantize_options *options, cs_quantizer **quantizer,
                                    struct cs_error *error);
void csi_quantizer_destroy(cs_quantizer *quantizer);
cs_model *csi_quantizer_model(cs_quantizer *quantizer);
enum cs_status csi_quantizer_add(cs_quantizer *quantizer, const float *input, struct cs_error *error);
enum cs_status csi_quantizer_finish(cs_quantizer *quantizer, struct cs_error *error);
enum cs_status csi_quantizer_compare(cs_quantizer *quantizer, const float *input, struct cs_error *error);
enum cs_status csi_quantizer_layers(cs_quantizer *quantizer, const struct cs_layer_noise **layers,
                                    size_t *count, struct cs_error *error);
enum cs_status csi_quantizer_save(const cs_quantizer *quantizer, const char *metadata_json, const char *path,
                                  struct cs_error *error);

#endif
