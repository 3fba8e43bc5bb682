/*
 * Calibration for INT8: what ranges the maps of a network have on real photos, and from them the scales; what
 * rounding the weights takes from a layer's mean; how much noise each layer adds.
 *
 * One thread. Photos are shown one by one; nothing of them is kept but histograms and sums.
 */
#ifndef CSI_ENGINE_CALIBRATE_H
#define CSI_ENGINE_CALIBRATE_H

#include "engine/engine.h"

struct csi_calibration;

enum csi_calibration_method {
    CSI_CALIBRATE_MINMAX,     /* everything that was seen fits */
    CSI_CALIBRATE_PERCENTILE, /* all but the outermost values on both sides */
    CSI_CALIBRATE_MSE         /* the least squared error, clamped values and rounding together */
};

/* Extras of the graph by these names correct layers' biases. */
#define CSI_CORRECTION_PREFIX "int8.correction."

/* The graph (without scales) outlives the calibration. CS_MODEL_UNSUPPORTED: it is quantised already. */
enum cs_status csi_calibration_create(const struct csi_graph *graph, uint32_t cpu_features,
                                      struct csi_pool *pool, struct csi_calibration **calibration,
                                      struct cs_error *error);
void csi_calibration_destroy(struct csi_calibration *calibration);

/* One photo, float32 NCHW. */
enum cs_status csi_calibration_add(struct csi_calibration *calibration, const float *input,
                                   struct cs_error *error);

/* The scales of all maps, ascending by node, borrowed. `percentile`: of the values, for that method. */
enum cs_status csi_calibration_scales(struct csi_calibration *calibration, enum csi_calibration_method method,
                                      double percentile, const struct csi_output_scale **scales,
                                      size_t *count, struct cs_error *error);

/* For each convolution that INT8 computes in integers, what has to be added to its biases so that its outputs
 * keep their mean: tensors by name, borrowed. `graph` carries scales. */
enum cs_status csi_calibration_corrections(struct csi_calibration *calibration, const struct csi_graph *graph,
                                           const struct csi_tensor **corrections, size_t *count,
                                           struct cs_error *error);

/* Signal-to-noise ratio of one layer's output in INT8 against float32, over the photos compared. */
struct csi_layer_noise {
    char name[CSI_NAME_SIZE];
    double signal, noise; /* sums of squares */
};
/* Compares the network with scales (`graph`) with the calibration's on one photo and adds to `layers`, which
 * the first call makes (for free()). */
enum cs_status csi_calibration_compare(struct csi_calibration *calibration, const struct csi_plan *integers,
                                       const float *input, struct csi_layer_noise **layers, size_t *count,
                                       struct cs_error *error);

#endif
