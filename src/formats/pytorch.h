/*
 * PyTorch's files: checkpoints (.pth, .pt: a ZIP archive with a pickle and raw storages, since torch 1.6) and
 * TorchScript archives, of which only the weights are read. Nothing is executed. Internal to the formats
 * floor.
 */
#ifndef CSI_FORMATS_PYTORCH_H
#define CSI_FORMATS_PYTORCH_H

#include "formats/tensors.h"

/* True for archives and for the older formats, which csi_pytorch_read refuses with the way out. */
bool csi_is_pytorch(const uint8_t *bytes, size_t size);

/* Tensors by their state_dict names ("module." and "_orig_mod." stripped) and, from dictionary checkpoints,
 * metadata. Pure function of the bytes. */
enum cs_status csi_pytorch_read(const uint8_t *bytes, size_t size, struct csi_tensor_set *set,
                                struct cs_error *error);

#endif
