/*
 * A network on the device: steps, weights, and where each map lies in a run's memory.
 */
#ifndef CSI_KERNELS_CUDA_PLAN_CUH
#define CSI_KERNELS_CUDA_PLAN_CUH

#include <string>
#include <vector>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/maps.cuh"

namespace csi_cuda
{

/* Photos that are computed at once, at most. */
constexpr int piece_photos = 8;

/* A map, or a step's scratch memory, in a run's arena: `offset` · photos of a piece bytes from its start. */
struct stored {
    map_view view;
    const float *constant;      /* on the device; NULL: computed */
    size_t photo_bytes, offset; /* of one photo, whole cache lines */
    size_t first, last;         /* steps between which it lives */
    bool used;
};

struct step {
    csi_device_kind kind;
    std::string name;
    std::vector<int> inputs;    /* maps */
    int output, gate, residual; /* -1: none */
    int gated, scratch;         /* scratch memory: the input times its gate; parts of sums. -1: none */
    conv convolution;
    pool_shape pool;
    plain_shape plain;
};

/* Device memory that goes with its owner. */
class device_memory
{
  public:
    device_memory() = default;
    device_memory(const device_memory &) = delete;
    device_memory &operator=(const device_memory &) = delete;
    ~device_memory();
    /* CS_INTERNAL: there is not enough. */
    enum cs_status allocate(size_t bytes, void **memory, cs_error *error);
    enum cs_status upload(const void *bytes, size_t size, const void **memory, cs_error *error);

  private:
    std::vector<void *> blocks_;
};

} // namespace csi_cuda

/* The handle of device.h. */
struct csi_device_plan {
    int device = 0;
    csi_cuda::gpu gpu = {};
    csi_device_type type = CSI_DEVICE_FP32;
    unsigned max_batch = 1;
    int input = -1;
    csi_cuda::photo_shape photo = {};
    bool spread = false; /* the photo, for its first convolution */
    std::vector<int> outputs;
    std::vector<csi_cuda::stored> maps; /* those of the network, then scratch memory */
    std::vector<csi_cuda::step> steps;
    size_t photo_bytes = 0; /* of the arena */
    csi_cuda::device_memory memory;
};

namespace csi_cuda
{

/* Fills `plan`, whose device is the current one. */
enum cs_status make_plan(const csi_device_network &network, csi_device_plan *plan, cs_error *error);

} // namespace csi_cuda

#endif
