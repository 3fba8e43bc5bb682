/*
 * The part of a plan that a device computes: from the photo to the target map, in one step, the first.
 */
#ifndef CSI_ENGINE_DEVICE_H
#define CSI_ENGINE_DEVICE_H

#include "engine/internal.h"

/* Whether options with a device can be followed at all, whatever the network is. CS_MODEL_UNSUPPORTED. */
enum cs_status csi_device_check(const struct csi_plan_options *options, struct cs_error *error);

/* Compiles what the target map needs for the device and marks those nodes (`on_device`): no steps, no weights
 * of the CPU are made of them. Batch norms' factors go into weights of their own. CS_MODEL_UNSUPPORTED names
 * the layer that does not run there, or says that the network has no map to end at. */
enum cs_status csi_device_compile(struct csi_plan *plan, struct csi_ir *ir,
                                  const struct csi_plan_options *options, struct cs_error *error);

/* The step that does it: with a plan that csi_device_compile has filled. */
void csi_step_device(const struct csi_plan *plan, const struct csi_ir *ir, struct csi_step *step);

#endif
