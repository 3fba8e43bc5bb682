/*
 * Graph -> plan: one step for each node that fusion left, slots, memory, what the plan says about itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "engine/backward.h"
#include "engine/device.h"
#include "engine/internal.h"

/* Small pieces stand in blocks of this size, which the memory module gives 2 MiB pages: a network of a
 * hundred layers is read through a few TLB entries and costs a few page faults at start. */
#define CHUNK_BYTES ((size_t)4 << 20)

static void *keep_block(struct csi_plan *plan, size_t bytes)
{
    void *memory;

    if (plan->block_count == plan->block_capacity) {
        size_t capacity = plan->block_capacity == 0 ? 64 : plan->block_capacity * 2;
        void **blocks = realloc(plan->blocks, capacity * sizeof *blocks);

        if (blocks == NULL)
            return NULL;
        plan->blocks = blocks;
        plan->block_capacity = capacity;
    }
    memory = csi_model_alloc(bytes);
    if (memory != NULL)
        plan->blocks[plan->block_count++] = memory;
    return memory;
}

void *csi_plan_alloc_packed(struct csi_plan *plan, size_t bytes)
{
    size_t size;
    void *memory;

    if (bytes > SIZE_MAX / 2)
        return NULL;
    size = csi_round_up(bytes == 0 ? 1 : bytes, CSI_ALIGNMENT);
    if (size >= CHUNK_BYTES / 4) {
        memory = keep_block(plan, bytes);
    } else {
        if (size > plan->chunk_left) {
            plan->chunk = keep_block(plan, CHUNK_BYTES);
            plan->chunk_left = plan->chunk == NULL ? 0 : CHUNK_BYTES;
        }
        memory = plan->chunk;
        if (memory != NULL) {
            plan->chunk += size;
            plan->chunk_left -= size;
        }
    }
    if (memory != NULL)
        plan->weight_bytes += bytes;
    return memory;
}

void *csi_plan_alloc(struct csi_plan *plan, size_t bytes)
{
    void *memory = csi_plan_alloc_packed(plan, bytes);

    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

/* ---- slots ---- */

static enum cs_status make_slots(struct csi_plan *plan, const struct csi_ir *ir, struct cs_error *error)
{
    plan->slot_count = ir->value_count;
    plan->slots = calloc(plan->slot_count + 1, sizeof *plan->slots);
    plan->slot_nodes = calloc(plan->slot_count + 1, sizeof *plan->slot_nodes);
    if (plan->slots == NULL || plan->slot_nodes == NULL)
        return csi_fail_memory(error, "slots");
    for (size_t i = 0; i < plan->slot_count; i++) {
        struct csi_slot *slot = &plan->slots[i];

        plan->slot_nodes[i] = i < ir->graph->value_count ? ir->graph->values[i].producer : -1;
        slot->shape = ir->values[i].shape;
        slot->pitch = csi_pitch(slot->shape.channels);
        slot->photo = slot->shape.height * slot->shape.width * slot->pitch;
        slot->bytes = ir->values[i].bytes;
        slot->scale = ir->values[i].scale;
        if (slot->bytes)
            slot->photo /= sizeof(float); /* a pitch is a multiple of 16 */
    }
    plan->input_slot = ir->input;
    plan->output_slot = ir->output;
    plan->target_slot = ir->target;
    plan->embedding_slot = ir->embedding;
    return CS_OK;
}

static void write_slot(struct csi_plan *plan, int slot, size_t step)
{
    plan->slots[slot].used = true;
    plan->slots[slot].first_step = plan->slots[slot].last_step = step;
}

static void read_slot(struct csi_plan *plan, int slot, size_t step)
{
    plan->slots[slot].last_step = csi_max_size(plan->slots[slot].last_step, step);
}

/* From the step that writes a slot to the last that reads it; what is kept lives to the end. */
static void find_lifetimes(struct csi_plan *plan)
{
    const int kept[] = {plan->output_slot, plan->target_slot, plan->embedding_slot};

    for (size_t i = 0; i < plan->step_count; i++) {
        const struct csi_step *step = &plan->steps[i];

        write_slot(plan, step->output, i);
        for (size_t k = 0; step->device && k < plan->device_output_count; k++)
            write_slot(plan, plan->device_outputs[k], i);
        if (!step->reads_photo) {
            for (unsigned k = 0; k < step->input_count; k++)
                read_slot(plan, step->inputs[k], i);
        }
        if (step->residual >= 0)
            read_slot(plan, step->residual, i);
    }
    for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++) {
        if (kept[k] >= 0)
            plan->slots[kept[k]].last_step = plan->step_count;
    }
    for (size_t i = 0; plan->tail != NULL && i < csi_tail_side_count(plan->tail); i++)
        plan->slots[plan->side_slots[i]].last_step = plan->step_count;
}

/* ---- steps ---- */

static enum cs_status make_step(struct csi_plan *plan, const struct csi_ir *ir,
                                const struct csi_ir_node *node, struct csi_step *step, struct cs_error *error)
{
    enum cs_status status;

    for (unsigned k = 0; k < node->input_count; k++)
        step->inputs[k] = node->inputs[k];
    step->input_count = node->input_count;
    step->output = node->output;
    step->residual = node->residual;
    step->residual_after = node->residual_after;
    step->act = node->act;
    step->low = -INFINITY;
    step->high = INFINITY;
    snprintf(step->name, sizeof step->name, "%s", node->name);
    switch (node->integer ? CSI_OP_INPUT : node->op) {
    case CSI_OP_INPUT: status = csi_step_byte(plan, ir, node, step, error); break;
    case CSI_OP_CONV: status = csi_step_conv(plan, ir, node, step, error); break;
    case CSI_OP_MAX_POOL:
    case CSI_OP_AVG_POOL:
    case CSI_OP_GLOBAL_AVG_POOL: status = csi_step_pool(plan, ir, node, step, error); break;
    case CSI_OP_CONCAT:
    case CSI_OP_PAD:
    case CSI_OP_FLATTEN:
    case CSI_OP_RESHAPE: status = csi_step_shape(plan, ir, node, step, error); break;
    default: status = csi_step_elementwise(plan, ir, node, step, error); break;
    }
    if (status != CS_OK)
        return status;
    if (csi_act_value(&step->act, 0.0f) != 0.0f && plan->slots[step->output].shape.channels % CSI_PITCH != 0)
        step->tail_pass = true;
    step->layer.gflop = csi_ir_flops(ir, node) / 1e9;
    csi_describe_shapes(step->layer.shape, sizeof step->layer.shape, &ir->values[node->inputs[0]].shape,
                        &ir->values[node->output].shape);
    return CS_OK;
}

static bool needs_packed_input(const struct csi_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct csi_step *step = &plan->steps[i];

        for (unsigned k = 0; k < step->input_count && !step->reads_photo; k++) {
            if (step->inputs[k] == plan->input_slot)
                return true;
        }
        if (step->residual == plan->input_slot)
            return true;
    }
    for (size_t i = 0; plan->tail != NULL && i < csi_tail_side_count(plan->tail); i++) {
        if (plan->side_slots[i] == plan->input_slot)
            return true;
    }
    return false;
}

static enum cs_status make_steps(struct csi_plan *plan, const struct csi_ir *ir, struct cs_error *error)
{
    const unsigned threads = csi_pool_threads(plan->pool);
    enum cs_status status;

    plan->steps = calloc(ir->node_count + 1, sizeof *plan->steps);
    if (plan->steps == NULL)
        return csi_fail_memory(error, "steps");
    if (plan->device != NULL)
        csi_step_device(plan, ir, &plan->steps[plan->step_count++]);
    for (size_t i = 0; i < ir->node_count; i++) {
        if (ir->nodes[i].dead || ir->nodes[i].on_device)
            continue;
        status = make_step(plan, ir, &ir->nodes[i], &plan->steps[plan->step_count], error);
        if (status != CS_OK)
            return status;
        if (plan->step_count > 0 && !plan->separate &&
            csi_step_pair(plan, ir, &plan->steps[plan->step_count - 1], &plan->steps[plan->step_count])) {
            plan->steps[plan->step_count - 1] = plan->steps[plan->step_count];
            memset(&plan->steps[plan->step_count], 0, sizeof plan->steps[0]);
        } else {
            plan->step_count++;
        }
    }
    if (needs_packed_input(plan)) {
        memmove(plan->steps + 1, plan->steps, plan->step_count * sizeof *plan->steps);
        memset(plan->steps, 0, sizeof *plan->steps);
        plan->step_count++;
        status = csi_step_pack_input(plan, &plan->steps[0], error);
        if (status != CS_OK)
            return status;
        csi_describe_shapes(plan->steps[0].layer.shape, sizeof plan->steps[0].layer.shape,
                            &ir->values[ir->input].shape, &ir->values[ir->input].shape);
    }
    for (size_t i = 0; i < plan->step_count; i++) {
        struct csi_step *step = &plan->steps[i];

        status = csi_check_bytes(step, "scratch memory", step->scratch_alone, sizeof(float), error);
        if (status != CS_OK)
            return status;
        step->layer.name = step->name;
        step->layer.algorithm = step->algorithm;
        plan->scratch_floats = csi_max_size(plan->scratch_floats, step->scratch_floats);
        plan->alone_floats = csi_max_size(plan->alone_floats, step->scratch_alone);
    }
    plan->alone_floats = csi_round_up(plan->alone_floats, CSI_WORKER_FLOATS);
    if (threads > 1 && plan->max_batch >= threads)
        plan->scratch_floats = csi_max_size(plan->scratch_floats, threads * plan->alone_floats);
    find_lifetimes(plan);
    return CS_OK;
}

/* ---- the whole ---- */

/* Weights that the third-level cache holds beside the maps of all threads: as large as measured. */
static bool has_light_weights(const struct csi_plan *plan)
{
    return plan->weight_bytes <= csi_min_size(csi_cpu()->l3_bytes / 2, (size_t)32 << 20);
}

static enum cs_precision precision_in_use(const struct csi_plan *plan)
{
    static const enum cs_precision there[] = {CS_PRECISION_FP32, CS_PRECISION_FP16, CS_PRECISION_BF16};

    if (plan->device != NULL)
        return there[plan->device_type];
    return plan->has_fixed_point ? CS_PRECISION_INT8 : CS_PRECISION_FP32;
}

static enum cs_status fill_info(struct csi_plan *plan, const struct csi_ir *ir, struct cs_error *error)
{
    struct csi_plan_info *info = &plan->info;
    const struct csi_shape *in = &ir->values[ir->input].shape, *out = &ir->values[ir->output].shape;

    *info = (struct csi_plan_info){
        .kernels = plan->device != NULL ? plan->device_info.kernels : plan->kernels->name,
        .device = plan->device != NULL ? CS_DEVICE_CUDA : CS_DEVICE_CPU,
        .device_name = plan->device != NULL ? plan->device_info.name : NULL,
        .precision = precision_in_use(plan),
        .integers = ir->integers,
        .split_floats = plan->has_split_floats,
        .input_channels = in->channels,
        .input_height = in->height,
        .input_width = in->width,
        .class_count = out->channels,
        .target_layer = plan->target_name,
    };
    if (ir->embedding >= 0)
        info->embedding_size = ir->values[ir->embedding].shape.channels;
    if (ir->target >= 0) {
        const struct csi_shape *map = &ir->values[ir->target].shape;

        snprintf(plan->target_name, sizeof plan->target_name, "%s", ir->target_name);
        info->map_channels = map->channels;
        info->map_height = map->height;
        info->map_width = map->width;
    }
    if (ir->linear_head) {
        size_t bytes = info->class_count * info->map_channels * sizeof(float);

        plan->head_weight = csi_plan_alloc(plan, bytes);
        if (plan->head_weight == NULL)
            return csi_fail_memory(error, "head weights");
        memcpy(plan->head_weight, ir->head_weight, bytes);
        info->linear_head = true;
        info->head_weight = plan->head_weight;
    }
    info->arena_bytes = (plan->arena_floats + plan->scratch_floats) * sizeof(float);
    info->weight_bytes = plan->weight_bytes;
    info->light_weights = has_light_weights(plan);
    for (size_t i = 0; i < plan->step_count; i++)
        info->gflop += plan->steps[i].layer.gflop;
    return CS_OK;
}

static enum cs_status check(const struct csi_graph *graph, const struct csi_plan_options *options,
                            struct cs_error *error)
{
    if (options->max_batch == 0 || options->max_batch > 4096)
        return csi_fail(error, CS_BAD_REQUEST, "batches of 1 to 4096 photos, not %u", options->max_batch);
    if (graph->input < 0 || graph->output < 0)
        return csi_fail(error, CS_MODEL_INVALID, "the network has no input or no output");
    if (options->device != NULL)
        return csi_device_check(options, error);
    if (options->precision == CS_PRECISION_BF16 || options->precision == CS_PRECISION_FP16)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "the CPU engine computes in fp32 and int8 only: bf16 and fp16 need device cuda");
    return CS_OK;
}

static enum cs_status take_tail(struct csi_plan *plan, struct csi_ir *ir, struct cs_error *error)
{
    size_t count = ir->tail == NULL ? 0 : csi_tail_side_count(ir->tail);

    plan->tail = ir->tail;
    ir->tail = NULL;
    plan->side_slots = calloc(count + 1, sizeof *plan->side_slots);
    if (plan->side_slots == NULL)
        return csi_fail_memory(error, "gradient");
    for (size_t i = 0; i < count; i++)
        plan->side_slots[i] = csi_ir_resolve(ir, csi_tail_side(plan->tail, i));
    return CS_OK;
}

static enum cs_status compile(struct csi_plan *plan, struct csi_ir *ir,
                              const struct csi_plan_options *options, struct cs_error *error)
{
    enum cs_status status = make_slots(plan, ir, error);
    size_t widest = 0;

    if (status != CS_OK)
        return status;
    if (ir->values[ir->output].producer < 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network computes nothing");
    for (size_t i = 0; i < plan->slot_count; i++)
        widest = csi_max_size(widest, plan->slots[i].pitch);
    plan->zeros = csi_plan_alloc(plan, widest * sizeof(float));
    if (plan->zeros == NULL)
        return csi_fail_memory(error, "zeros");
    status = take_tail(plan, ir, error);
    if (status == CS_OK && options->device != NULL)
        status = csi_device_compile(plan, ir, options, error);
    if (status == CS_OK)
        status = make_steps(plan, ir, error);
    if (status == CS_OK)
        status = csi_memory_plan(plan, error);
    if (status == CS_OK)
        status = fill_info(plan, ir, error);
    return status;
}

/* Measured on two threads against float32's matrix product: 8-bit integers do 3.5 times as many products a
 * second, fixed-point Winograd 4.1 times, and what it does not cover stays with float32. So it is ahead where
 * nearly all products are in 3×3 convolutions that it covers: in networks like VGG, not in ResNets. */
#define FIXED_SHARE 0.955

/* Products of a convolution or linear layer; 0 for other nodes. */
static double products_of(const struct csi_graph *graph, const struct csi_node *node)
{
    const struct csi_value *weight;
    double products;

    if ((node->op != CSI_OP_CONV && node->op != CSI_OP_LINEAR) || node->inputs[1] < 0)
        return 0.0;
    weight = &graph->values[node->inputs[1]];
    products = (double)csi_value_elements(&graph->values[node->output]);
    for (unsigned i = 1; i < weight->rank; i++)
        products *= (double)weight->dims[i];
    return products;
}

static bool fixed_point_covers(const struct csi_graph *graph, const struct csi_node *node)
{
    const struct csi_value *in = &graph->values[node->inputs[0]];

    return node->op == CSI_OP_CONV && in->rank == 4 && node->groups == 1 && node->kernel[0] == 3 &&
           node->kernel[1] == 3 && node->stride[0] == 1 && node->stride[1] == 1 && node->dilation[0] == 1 &&
           node->dilation[1] == 1 && node->pads[0] == 1 && node->pads[1] == 1 && node->pads[2] == 1 &&
           node->pads[3] == 1 &&
           csi_step_wino_pays(in->dims[1], graph->values[node->output].dims[1], in->dims[2] * in->dims[3]);
}

static bool fixed_point_is_faster(const struct csi_graph *graph, uint32_t cpu_features)
{
    double covered = 0.0, all = 0.0;

    if (csi_wino_fixed_variant(cpu_features, 0) == NULL || (cpu_features & CSI_CPU_AMX_INT8) != 0)
        return false;
    for (size_t i = 0; i < graph->node_count; i++) {
        double products = products_of(graph, &graph->nodes[i]);

        all += products;
        if (products > 0.0 && fixed_point_covers(graph, &graph->nodes[i]))
            covered += products;
    }
    return covered > FIXED_SHARE * all;
}

static bool wants_integers(const struct csi_graph *graph, const struct csi_plan_options *options)
{
    if (options->precision != CS_PRECISION_INT8)
        return false;
    if (csi_graph_is_quantized(graph))
        return true;
    return graph->scale_count > 0 &&
           !(options->fastest && fixed_point_is_faster(graph, options->cpu_features));
}

enum cs_status csi_plan_create(const struct csi_graph *graph, const struct csi_plan_options *options,
                               struct csi_plan **out, struct cs_error *error)
{
    struct csi_plan *plan = NULL;
    struct csi_ir *ir = NULL;
    enum cs_status status;

    *out = NULL;
    status = check(graph, options, error);
    if (status != CS_OK)
        return status;
    plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return csi_fail_memory(error, "plan");
    plan->cpu_features = options->cpu_features;
    plan->precision = options->precision == CS_PRECISION_INT8 ? CS_PRECISION_INT8 : CS_PRECISION_FP32;
    plan->kernels = csi_kernels_select(options->cpu_features);
    plan->max_batch = options->max_batch;
    plan->pool = options->pool;
    plan->separate = options->separate;
    plan->compact = options->compact;
    status = csi_ir_create(graph, options->target_layer, wants_integers(graph, options), &ir, error);
    if (status == CS_OK)
        status = compile(plan, ir, options, error);
    csi_ir_destroy(ir);
    if (status != CS_OK) {
        csi_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return CS_OK;
}

void csi_plan_destroy(struct csi_plan *plan)
{
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->block_count; i++)
        csi_aligned_free(plan->blocks[i]);
    if (plan->device_plan != NULL)
        plan->device->plan_destroy(plan->device_plan);
    csi_tail_destroy(plan->tail);
    free(plan->side_slots);
    free(plan->blocks);
    free(plan->steps);
    free(plan->slots);
    free(plan->slot_nodes);
    free(plan);
}

const struct csi_plan_info *csi_plan_info(const struct csi_plan *plan)
{
    return &plan->info;
}

size_t csi_plan_layer_count(const struct csi_plan *plan)
{
    return plan->step_count;
}

const struct csi_layer *csi_plan_layer(const struct csi_plan *plan, size_t index)
{
    return &plan->steps[index].layer;
}
