/*
 * Networks that were saved inside another module: PyTorch Lightning and trainers like it call every weight
 * "model.conv1.weight". Internal to the formats floor. One thread at a time.
 */
#ifndef CSI_FORMATS_WRAPPERS_H
#define CSI_FORMATS_WRAPPERS_H

#include "formats/tensors.h"

/* Takes the wrapper's part off the names where that makes the tensors a network that is supported; a set that
 * is one already, or does not become one, is left as it is. Two ways, the first that fits: what all names
 * share goes; or exactly one of the usual members ("model.", "net.", "network.", "backbone.") holds a
 * network, and beside it are extras, which stay, and the state of losses and metrics, which is dropped. The
 * whole set decides, never one name. Not for TorchScript: its code, which is not run, says what a wrapper
 * does. CS_MODEL_UNSUPPORTED: there are two networks, or the network has something beside it that may be a
 * part of what the file's user computes. */
enum cs_status csi_tensor_set_unwrap(struct csi_tensor_set *set, struct cs_error *error);

/* Names of tensors that are no part of the network: parameters of the leaf gate and the like. */
bool csi_is_extra_name(const char *name);

#endif
