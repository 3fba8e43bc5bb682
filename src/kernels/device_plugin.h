/*
 * Finding the plug-in of a device: a shared library beside the program, which most machines lack.
 */
#ifndef CSI_KERNELS_DEVICE_PLUGIN_H
#define CSI_KERNELS_DEVICE_PLUGIN_H

#include "base/error.h"
#include "kernels/device.h"

#define CSI_DEVICE_FILE "libcropshield_cuda.so"

/* The plug-in of this installation, opened at the first call and kept until the process ends; every later
 * call says the same. It is looked for at absolute places only: the folder of the program or library that
 * holds this code, `../lib/cropshield` from there, and where it was installed. CS_NOT_FOUND: there is none,
 * and the message says where it was looked for; CS_MODEL_UNSUPPORTED: it is there and of no use, and the
 * message says which file and why. Thread-safe; `*api` is NULL then, and else lives as long as the process.
 */
enum cs_status csi_device_load(const struct csi_device_api **api, struct cs_error *error);

/* The same of the first of `count` absolute folders that has the file; nothing is remembered. */
enum cs_status csi_device_load_from(const char *const *folders, size_t count,
                                    const struct csi_device_api **api, struct cs_error *error);

#endif
