/*
 * The engine: a graph is compiled into a plan (batch norms folded, activations, pooling and residual adds
 * fused, algorithm and packing chosen for each layer, memory laid out), and the plan is run.
 *
 * Plans are immutable and shared by threads. An execution context is one thread's scratch memory; running
 * allocates nothing.
 */
#ifndef CSI_ENGINE_ENGINE_H
#define CSI_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "graph/graph.h"

struct csi_device_api; /* kernels/device.h */
struct csi_plan;
struct csi_exec;

struct csi_plan_options {
    /* AUTO and FP32: float32. INT8: 8-bit integers when the graph carries scales; else 3×3 convolutions in
     * 16-bit fixed point where CPU and shape allow it and float elsewhere; csi_plan_info says what came of
     * it. Others: CS_MODEL_UNSUPPORTED. With a device: AUTO is FP16, and INT8 is CS_MODEL_UNSUPPORTED. */
    enum cs_precision precision;
    bool fastest; /* INT8 of a calibrated graph: 16-bit fixed point, which stays nearer to float32, where it
                     is faster than 8-bit integers; never for a network that is quantised itself */
    uint32_t cpu_features; /* from csi_cpu_allowed */
    unsigned max_batch;    /* ≥ 1 */
    const char *
        target_layer; /* activations kept for maps; NULL: graph->gradcam_layer, else the last convolution's */
    struct csi_pool *pool; /* used for packing in parallel, and by runs; outlives the plan */
    bool separate;         /* one step a layer, so that an observer sees every map */
    bool compact;          /* large 3×3 weights stay as they are and are transformed in every forward pass */
    /* Computes everything up to the target map; NULL: the CPU does. Stays while the plan is there. */
    const struct csi_device_api *device;
    int device_index;
};

/* The graph is only read during the call. */
enum cs_status csi_plan_create(const struct csi_graph *graph, const struct csi_plan_options *options,
                               struct csi_plan **plan, struct cs_error *error);
void csi_plan_destroy(struct csi_plan *plan);

struct csi_plan_info {
    const char *kernels;         /* "avx512"; with a device its own: "cuda_sm90" */
    enum cs_device device;       /* CPU or CUDA */
    const char *device_name;     /* "NVIDIA H200"; NULL: the CPU */
    enum cs_precision precision; /* in use; with a device, there */
    bool integers;               /* computes in 8-bit integers */
    bool split_floats;           /* some layer on the CPU works on floats as sums of two bfloat16 */
    size_t input_channels, input_height, input_width;
    size_t class_count;
    size_t embedding_size; /* input of the final linear layer when it is fed by a pooled map; else 0 */
    const char
        *target_layer; /* name of the node whose output feeds the maps; "" when the network has no 2-D map */
    size_t map_channels, map_height, map_width;
    bool linear_head; /* only global average pool and one linear layer stand behind the target: maps are
                         closed form */
    const float *head_weight; /* class_count × map_channels, when linear_head: d logit_c / d mean(A_k) */
    size_t arena_bytes, weight_bytes;
    double gflop;       /* of one photo, as direct convolution */
    bool light_weights; /* a batch is cut by photos: faster although each thread then reads all weights */
};
const struct csi_plan_info *csi_plan_info(const struct csi_plan *plan);

enum cs_status csi_exec_create(const struct csi_plan *plan, struct csi_exec **exec, struct cs_error *error);
void csi_exec_destroy(struct csi_exec *exec);

/* input: batch×C×H×W float32 NCHW. `serial`: use the calling thread only (a stream that runs one photo a
 * worker). Results do not depend on batch and threads, to the bit. Blocking. */
enum cs_status csi_exec_run(struct csi_exec *exec, const float *input, size_t batch, bool serial,
                            struct cs_error *error);

/* Whether the last run gave numbers for photo `index`. CS_MODEL_INVALID: a logit is an infinity or a NaN, as
 * happens where weights are so large that sums leave float32's range; nothing follows from the others then.
 * Runs do not fail for it, because one photo of a batch must not fail the others. */
enum cs_status csi_exec_check(const struct csi_exec *exec, size_t index, struct cs_error *error);

/* Results of the last run, borrowed until the next one. */
const float *csi_exec_logits(const struct csi_exec *exec);    /* batch × class_count */
const float *csi_exec_embedding(const struct csi_exec *exec); /* batch × embedding_size or NULL */
/* Target activations of photo `index`, float32 NCHW: map_channels × map_height × map_width. Converted on
 * demand into the exec's own buffer (valid until the next call or run). */
const float *csi_exec_activations(struct csi_exec *exec, size_t index);
/* d logit_c / dA at the target, the same layout. For plans without a linear head it runs backwards through
 * what stands behind the target. CS_MODEL_UNSUPPORTED names the operator that has no backward pass. */
enum cs_status csi_exec_gradient(struct csi_exec *exec, size_t index, size_t class_index,
                                 const float **gradient, struct cs_error *error);

/* One layer as compiled. */
struct csi_layer {
    const char *name;      /* "block1.3" */
    const char *algorithm; /* "conv3x3_wino6_avx512" */
    char shape[48];        /* "64x224x224 -> 64x112x112" */
    double gflop;          /* of one photo, as direct convolution */
};
size_t csi_plan_layer_count(const struct csi_plan *plan);
const struct csi_layer *csi_plan_layer(const struct csi_plan *plan, size_t index);
/* Runs once and stores each layer's nanoseconds in ns[layer_count]: of the whole batch, which goes layer by
 * layer on all threads here. */
enum cs_status csi_exec_profile(struct csi_exec *exec, const float *input, size_t batch, uint64_t *ns,
                                struct cs_error *error);

/* Runs and shows each map as soon as it is made: `node` of the graph that made it (-1: none in particular),
 * the layer's name, and the map of photo 0 as float32 NHWC, `pitch` floats from pixel to pixel. With a plan
 * that is `separate`. */
struct csi_observed {
    int node;
    const char *name;
    const float *data;
    size_t channels, pixels, pitch;
};
typedef void csi_observer(void *context, const struct csi_observed *map);
enum cs_status csi_exec_observe(struct csi_exec *exec, const float *input, csi_observer *observer,
                                void *context, struct cs_error *error);

/* Measured peaks, see cs_machine_measure. */
enum cs_status csi_measure_peaks(uint32_t cpu_features, struct csi_pool *pool, struct cs_machine_peaks *peaks,
                                 struct cs_error *error);

#endif
