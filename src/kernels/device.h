/*
 * A device: a processor beside the CPU that computes the front of a network, from the photo to the maps that
 * the engine names, while the rest stays with the CPU's kernels.
 *
 * This is the binary interface between the engine and a plug-in, which is a shared library of its own because
 * it is built with another compiler and needs a driver that most machines lack. C and C++; no function of the
 * program is called from a plug-in. What crosses it is copied: nothing is kept after a call returns but the
 * handles.
 *
 * Numbers: float32 at this border, whatever the device computes in. Maps that come back are NHWC with the
 * channel pitch rounded up to a multiple of 16 and zeroes behind the channels, as the engine keeps its own.
 * Results of a photo do not depend on the batch that it is in, to the bit.
 *
 * Errors: a status and one sentence in `error`, which is never NULL here.
 */
#ifndef CSI_KERNELS_DEVICE_H
#define CSI_KERNELS_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/functions.h"
#include <cropshield/cropshield.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every change of what follows; a plug-in of another number is refused. */
#define CSI_DEVICE_ABI 2u

#define CSI_DEVICE_MAX_INPUTS 8

/* What it computes in. Sums are float32 in all of them. */
enum csi_device_type { CSI_DEVICE_FP32, CSI_DEVICE_FP16, CSI_DEVICE_BF16 };

/* One photo's map. Vectors are 1 × 1 maps. */
struct csi_device_map {
    uint32_t channels, height, width;
    const float *constant; /* channels × height × width (CHW) of an ARITH operand; NULL: computed */
};

enum csi_device_kind {
    CSI_DEVICE_CONV,     /* window, groups, weight [O][I/groups][KH][KW], bias [O] or NULL; `pool`: a 2×2
                            max-pool of stride 2 behind the activation, odd last lines dropped */
    CSI_DEVICE_MAX_POOL, /* window; padding counts as nothing */
    CSI_DEVICE_AVG_POOL, /* window, count_include_pad; what a window has behind the padded input never counts
                          */
    CSI_DEVICE_GLOBAL_AVG_POOL, /* to 1 × 1 */
    CSI_DEVICE_SCALE_SHIFT,     /* x·weight[c] + bias[c] */
    CSI_DEVICE_ACTIVATION,      /* act(x) */
    CSI_DEVICE_ARITH,           /* inputs[0] arith inputs[1]; dimensions of 1 are broadcast in either */
    CSI_DEVICE_CONCAT,          /* along the channels */
    CSI_DEVICE_PAD,             /* zeroes: pads */
    CSI_DEVICE_RESHAPE,         /* the numbers in CHW order stay, the map's shape changes */
    CSI_DEVICE_QUANTIZE         /* (clamp(round(x/scale)+zero, low, high)-zero)·scale, halves to even */
};

/* act() stands behind CONV, SCALE_SHIFT and ARITH, too. */
struct csi_device_op {
    enum csi_device_kind kind;
    const char *name;                      /* the layer's, for messages */
    int32_t inputs[CSI_DEVICE_MAX_INPUTS]; /* maps; a CONV has one */
    uint32_t input_count;
    int32_t output;
    int32_t gate;     /* CONV: 1 × 1 map that multiplies the input's channels; -1: none */
    int32_t residual; /* CONV: map of the output's shape before pooling, added to the output; -1: none */
    uint32_t residual_after; /* act(x) + residual instead of act(x + residual) */
    uint32_t pool, count_include_pad;
    uint32_t kernel[2], stride[2], dilation[2]; /* rows, columns */
    uint32_t pads[4];                           /* top, left, bottom, right */
    uint32_t groups;
    const float *weight, *bias;
    enum csi_arith arith;
    struct csi_act_params act;
    float scale, zero, low, high;
};

struct csi_device_network {
    const struct csi_device_map *maps;
    size_t map_count;
    const struct csi_device_op *ops; /* in an order that computes inputs first */
    size_t op_count;
    int32_t input;          /* the photo's map */
    const int32_t *outputs; /* maps that come back, each once */
    size_t output_count;
    enum csi_device_type type;
    uint32_t max_batch;
};

struct csi_device_info {
    char name[96];    /* "NVIDIA H200" */
    char kernels[32]; /* "cuda_sm90" */
    uint64_t memory_bytes;
};

struct csi_device_plan; /* a compiled network with its weights on the device; immutable, shared by threads */
struct csi_device_run;  /* one thread's memory for it */

/* All functions may be called from any thread; a run by one at a time. */
struct csi_device_api {
    uint32_t abi;
    /* CS_NOT_FOUND: no device of that index, or no driver. */
    enum cs_status (*info)(int index, struct csi_device_info *info, struct cs_error *error);
    /* CS_MODEL_UNSUPPORTED names the layer or the type that the device does not compute. */
    enum cs_status (*plan_create)(int index, const struct csi_device_network *network,
                                  struct csi_device_plan **plan, struct cs_error *error);
    void (*plan_destroy)(struct csi_device_plan *plan); /* after its runs; NULL: nothing */
    enum cs_status (*run_create)(const struct csi_device_plan *plan, struct csi_device_run **run,
                                 struct cs_error *error);
    void (*run_destroy)(struct csi_device_run *run); /* NULL: nothing */
    /* `memory` is there as long as the run: where outputs lie in it, a device may write them itself. Once,
     * before the first run. */
    void (*lend)(struct csi_device_run *run, void *memory, size_t bytes);
    /* input: batch photos NCHW, 1 ≤ batch ≤ max_batch. outputs[i]: room for `batch` maps of network output i.
     * Blocking. */
    enum cs_status (*run)(struct csi_device_run *run, const float *input, size_t batch, float *const *outputs,
                          struct cs_error *error);
};

/* The one symbol of a plug-in: never NULL, constant. */
typedef const struct csi_device_api *csi_device_entry(void);
#define CSI_DEVICE_ENTRY "csi_device_plugin"

#ifdef __cplusplus
}
#endif

#endif
