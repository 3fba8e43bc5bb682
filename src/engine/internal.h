/*
 * What the engine's files share: the plan, its steps, a run. Not for other floors.
 *
 * A plan is a list of steps over slots (activations at fixed places of an arena). A step is a function and
 * its parameters; it may cover several layers of the graph, so a later schedule (two convolutions of a block
 * in bands of rows), another precision or another backend is a new kind of step, not a new engine.
 */
#ifndef CSI_ENGINE_INTERNAL_H
#define CSI_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "engine/ir.h"
#include "kernels/device.h"
#include "kernels/kernels.h"
#include "kernels/wino.h"

/* Maps of fewer pixels are shared out to the threads by channels, larger ones by rows, in every step alike: a
 * thread then finds what it wrote in its own cache. */
#define CSI_SMALL_MAP 100u

/* Memory that one photo on one thread may take: for its maps, and for a step's scratch. Files of a few
 * hundred bytes can state windows and borders that need more than any machine has; common networks stay below
 * half of it at 1024 pixels. */
#define CSI_PLAN_MAX_BYTES ((size_t)1 << 31)

/* Where a value lives: NHWCp at `offset` · batch floats of the arena, the batch's photos one behind the
 * other. Places are made for one photo and stretch with the batch that runs, so that a single photo of a plan
 * for many touches no more memory than that of a plan for one. */
struct csi_slot {
    struct csi_shape shape;
    size_t pitch;
    size_t photo; /* floats of one photo: height·width·pitch, a quarter of that for bytes */
    bool bytes;   /* INT8: bytes that stand for (q - zero)·scale */
    struct csi_byte_scale scale;
    size_t offset;
    size_t first_step, last_step; /* alive from … to; kept values to the end */
    bool used;
};

/* One run in progress. */
struct csi_run {
    const struct csi_plan *plan;
    const float *input; /* NCHW */
    size_t batch;
    float *arena;
    float *scratch;        /* plan->scratch_floats, shared by the workers of one step; for a single photo
                              without a pool plan->alone_floats will do */
    struct csi_pool *pool; /* NULL: this thread alone */
    /* With a device: its memory for this run, and room for the places of its outputs. */
    struct csi_device_run *device;
    float **device_outputs;
    struct cs_error *error; /* never NULL: a step that fails may say why in it */
};

/* A convolution as implicit matrix product; also linear layers. */
struct csi_conv_step {
    unsigned kernel[2], stride[2], dilation[2], pads[4], groups;
    size_t group_inputs, group_outputs;
    size_t taps, depth; /* of the product: for `compact` inputs a tap is a whole kernel row */
    /* Input is a small-channel photo: each task copies what it needs into scratch as NHWC without padding
     * channels, borders written out. Floats of such a line; output rows and floats (of a worker) at most. */
    bool compact;
    size_t compact_line, band_rows, band_floats;
    bool whole;      /* the kernel covers the input exactly: one position of depth height·width·pitch */
    bool flat;       /* 1×1 without stride and padding: an output's input has its own number */
    int scale;       /* slot whose 1×1 map multiplies the input channels, -1: none */
    bool act_inside; /* the activation is done by the tile */
    bool product;    /* over packed inputs: step_product.c */
    size_t panels, panel_floats; /* of one group; floats from a panel to the next */
    const float *weights, *bias, *zeros;
    size_t macs; /* of one photo */
};

struct csi_wino_step {
    const struct csi_wino *kernel;
    struct csi_wino_desc desc;
    const void *packed;
};

/* A convolution over bytes as implicit matrix product. A task is a band of output lines × some panels: it
 * copies the band's input into scratch with the padding written out, so that every tile has one pixel step
 * and one table of offsets, and computes. */
struct csi_byte_conv_step {
    unsigned kernel[2], stride[2], dilation[2], pads[4];
    bool
        photo; /* reads the caller's floats: bytes of all channels of a pixel together, no padding channels */
    bool copied;  /* the input is copied into scratch; else tiles read the slot itself */
    bool linear;  /* 1×1 and stride 1: pixels are one long line */
    bool pool;    /* a 2×2 max-pool behind it */
    bool through; /* floats in scratch between the tile and the output: for an activation or a pool of floats
                   */
    size_t width; /* outputs of a line, before pooling */
    size_t line_pixels; /* of the input as tiles see it */
    size_t pixel_bytes, line_bytes;
    size_t taps, quads;
    const size_t *offsets;
    size_t panels, panel_bytes; /* bytes from a panel to the next */
    const int8_t *weights;
    const int32_t *start;
    const float *scale, *bias;
    struct csi_byte_scale in, out, residual;
    size_t band;           /* output lines of a task, after pooling */
    size_t splits;         /* tasks that share a band, each with its panels */
    size_t worker_bytes;   /* scratch of a worker */
    size_t scratch_output; /* where in it the floats or the unpooled lines lie */
    size_t macs;
};

struct csi_byte_depthwise_step {
    unsigned kernel[2], stride[2], dilation[2], pads[4];
    const float *weights, *scale, *bias;
    struct csi_byte_scale in, out;
};

struct csi_first_step {
    const struct csi_conv_first *kernel;
    struct csi_wino_desc desc;
    const void *packed;
};

/* The first layer and the convolution behind it, band by band: the map between them stays in the cache. */
struct csi_pair_step {
    struct csi_first_step first;
    struct csi_wino_step wino;
};

struct csi_depthwise_step {
    unsigned kernel[2], stride[2], dilation[2], pads[4];
    const float *weights, *bias;
    bool act_inside;
};

struct csi_pool_step {
    unsigned kernel[2], stride[2], dilation[2], pads[4];
    bool average, count_include_pad;
};

struct csi_arith_step {
    enum csi_arith op;
    bool swapped; /* the map is the second operand */
    /* The other operand: a slot, or a constant of its own shape in NHWC. Dimensions of 1 are broadcast. */
    const float *constant;
    struct csi_shape shape;
    size_t pitch;
};

struct csi_scale_step {
    const float *scale, *shift; /* [pitch] */
};

struct csi_quantize_step {
    float scale, zero, low, high;
};

struct csi_step {
    enum cs_status (*run)(const struct csi_step *step, const struct csi_run *run); /* NULL is never stored */
    int inputs[CSI_NODE_MAX_INPUTS];                                               /* slots */
    unsigned input_count;
    int output, residual; /* slots; residual -1: none */
    bool residual_after;
    struct csi_act_params act;
    float low, high;       /* the activation when it is a clamp, else ±infinity */
    bool act_pass;         /* the activation is no clamp: a pass of its own over what was just written */
    bool residual_pass;    /* the residual is added by that pass */
    bool tail_pass;        /* f(0) ≠ 0: padding channels must be zeroed again */
    bool device;           /* writes all of plan->device_outputs */
    bool reads_photo;      /* from the caller's NCHW input instead of a slot */
    size_t scratch_floats; /* for the plan's threads and largest batch */
    size_t scratch_alone;  /* for one photo on one thread */
    struct csi_layer layer;
    char name[CSI_NAME_SIZE], algorithm[48];
    union {
        struct csi_conv_step conv;
        struct csi_wino_step wino;
        struct csi_first_step first;
        struct csi_pair_step pair;
        struct csi_byte_conv_step byte_conv;
        struct csi_byte_depthwise_step byte_depthwise;
        struct csi_depthwise_step depthwise;
        struct csi_pool_step pool;
        struct csi_arith_step arith;
        struct csi_scale_step scale;
        struct csi_quantize_step quantize;
        unsigned pads[4];
    } u;
};

struct csi_tail; /* backward.h */

struct csi_plan {
    const struct csi_kernels *kernels;
    uint32_t cpu_features;
    enum cs_precision precision; /* of the CPU's steps, as asked for: FP32 or INT8 */
    bool has_fixed_point;        /* some layer computes in integers */
    bool has_split_floats;       /* some layer computes in floats as sums of two bfloat16 */
    bool separate, compact;      /* see csi_plan_options */
    unsigned max_batch;
    struct csi_pool *pool;
    const struct csi_device_api *device; /* NULL: everything runs on the CPU */
    struct csi_device_plan *device_plan;
    struct csi_device_info device_info;
    enum csi_device_type device_type;
    const int *device_outputs; /* slots that the device writes, the target's first */
    size_t device_output_count;
    struct csi_step *steps;
    size_t step_count;
    struct csi_slot *slots; /* one for each value of the graph, and one for the input as NHWCp */
    size_t slot_count;
    int *slot_nodes; /* the graph's node that computes a slot, -1: none in particular */
    int input_slot, output_slot, target_slot, embedding_slot; /* -1: none */
    size_t photo_floats;                                      /* of the arena, for one photo */
    size_t arena_floats, scratch_floats;                      /* for max_batch photos */
    size_t alone_floats; /* from the scratch of one thread to the next one's where each has a photo */
    void **blocks;       /* packed weights and other memory of the steps */
    size_t block_count, block_capacity;
    unsigned char *chunk; /* the rest of the block that small pieces are taken from */
    size_t chunk_left;
    size_t weight_bytes;
    const float *zeros;    /* what padding points at */
    struct csi_tail *tail; /* what stands behind the target, for gradients; NULL with a linear head */
    int *side_slots;       /* slots of the tail's sides */
    char target_name[CSI_NAME_SIZE];
    float *head_weight;
    struct csi_plan_info info;
};

/* Cleared, 64-byte aligned memory that lives as long as the plan. NULL: none left. */
void *csi_plan_alloc(struct csi_plan *plan, size_t bytes);
/* The same, not cleared: for packed weights, which are tens of megabytes and written whole. */
void *csi_plan_alloc_packed(struct csi_plan *plan, size_t bytes);

static inline uint8_t *csi_slot_bytes(const struct csi_run *run, int slot)
{
    return (uint8_t *)(void *)(run->arena + run->plan->slots[slot].offset * run->batch);
}

static inline float *csi_slot_data(const struct csi_run *run, int slot)
{
    return run->arena + run->plan->slots[slot].offset * run->batch;
}

/* Fill `step->u`, pack weights, choose the function. The common part of the step is filled already.
 * step_conv.c */
enum cs_status csi_step_conv(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error);
/* Does csi_step_conv make a Winograd step of this convolution in float32 or fixed point? Such a step applies
 * the node's factors while it packs. */
bool csi_conv_is_wino(const struct csi_ir *ir, const struct csi_ir_node *node);
/* Is Winograd faster than the matrix product for a 3×3 convolution that it covers? */
bool csi_step_wino_pays(size_t inputs, size_t outputs, size_t pixels);
/* Makes `second` do the work of `first`, the step before it, too, when both are of kinds that run as one and
 * nobody else reads the map between them. */
bool csi_step_pair(const struct csi_plan *plan, const struct csi_ir *ir, const struct csi_step *first,
                   struct csi_step *second);
enum cs_status csi_step_tile_conv(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error);
/* step_product.c: a step of csi_step_tile_conv over packed inputs: whether that is faster, the run, floats of
 * scratch that a worker needs. */
bool csi_product_pays(const struct csi_plan *plan, const struct csi_step *step);
enum cs_status csi_run_product(const struct csi_step *step, const struct csi_run *run);
size_t csi_product_scratch(const struct csi_plan *plan, const struct csi_step *step);
enum cs_status csi_step_depthwise(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error);
/* step_pool.c */
enum cs_status csi_step_pool(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error);
/* step_elementwise.c */
enum cs_status csi_step_elementwise(struct csi_plan *plan, const struct csi_ir *ir,
                                    const struct csi_ir_node *node, struct csi_step *step,
                                    struct cs_error *error);
/* step_byte_conv.c, step_byte.c: the nodes that compute on bytes */
enum cs_status csi_step_byte_conv(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error);
enum cs_status csi_step_byte(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error);
/* The weights of a node as levels [output][row·column][input channel of a group] and their scales [output],
 * both for free(). False: no memory. */
bool csi_byte_levels(const struct csi_ir *ir, const struct csi_ir_node *node, int8_t **levels,
                     float **scales);
/* What calibration found that must be added to each bias of a layer that loses some of its mean: an extra of
 * the graph by the name below. NULL: nothing. */
const float *csi_byte_correction(const struct csi_ir *ir, const struct csi_ir_node *node);
/* "int8.correction.<layer>", and its number where another layer's name begins alike. `layer`: a node of
 * `graph`. */
struct csi_layer_name csi_byte_correction_name(const struct csi_graph *graph, const struct csi_node *layer);
/* The clamp of a step's output: that of its activation, and for bytes that of their range. */
void csi_byte_bounds(const struct csi_slot *out, float *low, float *high);
/* step_shape.c */
enum cs_status csi_step_shape(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                              struct csi_step *step, struct cs_error *error);
enum cs_status csi_step_pack_input(struct csi_plan *plan, struct csi_step *step, struct cs_error *error);

/* Residual, activation and padding channels over `pixels` finished pixels at `out`, as the step's …_pass
 * flags say. `residual` points at the same pixels. */
void csi_finish_pixels(const struct csi_step *step, const struct csi_kernels *kernels, float *out,
                       const float *residual, size_t pixels, const struct csi_slot *slot);
/* The same over the whole output, in parallel. */
void csi_finish_output(const struct csi_step *step, const struct csi_run *run);

/* Zeroes channels channels…pitch-1 of each pixel. */
void csi_zero_tail(float *out, size_t pixels, size_t channels, size_t pitch);

/* A part of `total` units: piece `index` of `pieces`. */
struct csi_range {
    size_t first, count;
};
struct csi_range csi_piece(size_t total, size_t pieces, size_t index);
/* Pieces of at least `grain` units that keep the run's threads busy. */
size_t csi_piece_count(const struct csi_run *run, size_t total, size_t grain);

/* A step in pieces: what csi_run_pieces hands to each. */
struct csi_job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t units, pieces;
};
/* Calls piece(job, index, worker) for each of the pieces that csi_piece_count makes of `units`, on the run's
 * threads. */
void csi_run_pieces(const struct csi_step *step, const struct csi_run *run, size_t units, size_t grain,
                    void (*piece)(void *job, size_t index, unsigned worker));

/* CS_MODEL_UNSUPPORTED names the step and the bytes where `count` times `bytes` are more than
 * CSI_PLAN_MAX_BYTES; `what` takes them: "scratch memory", "the output". */
enum cs_status csi_check_bytes(const struct csi_step *step, const char *what, size_t count, size_t bytes,
                               struct cs_error *error);

/* "64x224x224 -> 64x112x112" */
void csi_describe_shapes(char *text, size_t size, const struct csi_shape *in, const struct csi_shape *out);

/* Places slots in the arena so that those alive at the same time do not overlap; fills offsets,
 * plan->photo_floats and plan->arena_floats. */
enum cs_status csi_memory_plan(struct csi_plan *plan, struct cs_error *error);

#endif
