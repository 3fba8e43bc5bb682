/* One thread's memory and stream for a plan. All on the current device, which is the plan's. */
#ifndef CSI_KERNELS_CUDA_RUN_CUH
#define CSI_KERNELS_CUDA_RUN_CUH

#include "kernels/cuda/plan.cuh"

namespace csi_cuda
{

/* Also when it fails *run is what destroy_run wants, unless it throws. */
enum cs_status create_run(const csi_device_plan *plan, csi_device_run **run, cs_error *error);
void destroy_run(csi_device_run *run);
/* Maps that lie in `memory` are written there by the device, if the system lets it. */
void take_memory(csi_device_run *run, void *memory, size_t bytes);
enum cs_status execute(csi_device_run *run, const float *input, size_t batch, float *const *outputs,
                       cs_error *error);
int device_of(const csi_device_run &run);

} // namespace csi_cuda

#endif
