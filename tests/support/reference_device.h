/*
 * A device in plain C that stands in for a GPU: the whole interface of kernels/device.h, one photo and one
 * number after the other, without anything of the engine's kernels. Weights and maps are rounded to the
 * network's type where they are stored; sums are float32.
 */
#ifndef CS_TESTS_SUPPORT_REFERENCE_DEVICE_H
#define CS_TESTS_SUPPORT_REFERENCE_DEVICE_H

#include "kernels/device.h"

#define REFERENCE_NAME    "Reference device"
#define REFERENCE_KERNELS "cuda_reference"

const struct csi_device_api *reference_device(void);

/* What the device is to fail with, for tests of one thread: CS_OK: nothing. */
struct reference_faults {
    enum cs_status info, plan_create, run_create, run;
};
extern struct reference_faults reference_faults;

/* Plans and runs that are not destroyed yet. */
int reference_alive(void);

#endif
