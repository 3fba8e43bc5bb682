/* The entry of a plug-in around the reference device. The build makes broken ones of it, too. */
#include "support/reference_device.h"

#ifndef REFERENCE_ABI
#define REFERENCE_ABI CSI_DEVICE_ABI
#endif

#ifdef REFERENCE_WITHOUT_ENTRY
#define ENTRY another_name
#else
#define ENTRY csi_device_plugin
#endif

__attribute__((visibility("default"))) const struct csi_device_api *ENTRY(void);

const struct csi_device_api *ENTRY(void)
{
    static struct csi_device_api api;

    api = *reference_device();
    api.abi = REFERENCE_ABI;
#ifdef REFERENCE_WITHOUT_RUN
    api.run = 0;
#endif
#ifdef REFERENCE_FULL
    reference_faults.run_create = CS_INTERNAL;
#endif
    return &api;
}
