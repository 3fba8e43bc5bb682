/*
 * Which processor a model runs on: a GPU where there is one, the CPU otherwise.
 */
#ifndef CSI_DIAGNOSIS_DEVICE_H
#define CSI_DIAGNOSIS_DEVICE_H

#include "engine/engine.h"
#include "kernels/device.h"

/* The plug-in and what it says of GPU `index`. Opens it at the first call, which may take half a second.
 * CS_NOT_FOUND: there is no plug-in; CS_MODEL_UNSUPPORTED: it, its driver or that GPU is of no use. The
 * message says which. `*api` lives as long as the process. Thread-safe. */
enum cs_status csi_gpu_open(int index, const struct csi_device_api **api, struct csi_device_info *info,
                            struct cs_error *error);

/* Whether `options` insist on a device that is not there: then CS_MODEL_UNSUPPORTED and what to do. */
enum cs_status csi_gpu_check(const struct cs_model_options *options, struct cs_error *error);

/* Compiles for the device that `options` name. AUTO: the GPU when there is one that runs the network, but not
 * for INT8 or networks that are quantised themselves. `on_cpu` is how the CPU would compile it; its precision
 * is what AUTO means there. */
enum cs_status csi_plan_for(const struct csi_graph *graph, const struct cs_model_options *options,
                            const struct csi_plan_options *on_cpu, struct csi_plan **plan,
                            struct cs_error *error);

#endif
