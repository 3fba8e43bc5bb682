/*
 * Translating the front of a network for a device: the nodes that the target map depends on. What stands
 * behind it (mostly a pool and a linear layer) stays in float32 on the CPU, and so do gradients.
 */
#include "engine/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/fuse.h"

/* A network in the making. */
struct translation {
    struct csi_plan *plan;
    struct csi_ir *ir;
    struct csi_device_map *maps;
    struct csi_device_op *ops;
    int32_t *map_of; /* of each IR value, -1: none yet */
    int32_t *outputs;
    bool *wanted; /* IR values that come back if the device computes them */
    size_t map_count, op_count, output_count;
};

static const char *type_name(enum csi_device_type type)
{
    return type == CSI_DEVICE_FP32 ? "fp32" : type == CSI_DEVICE_FP16 ? "fp16" : "bf16";
}

enum cs_status csi_device_check(const struct csi_plan_options *options, struct cs_error *error)
{
    if (options->precision == CS_PRECISION_INT8)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "int8 runs on the CPU only: use fp16, bf16 or fp32 on cuda, or device cpu");
    if (options->separate)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "layers are watched one by one on the CPU only");
    return CS_OK;
}

static enum csi_device_type type_of(enum cs_precision precision)
{
    switch (precision) {
    case CS_PRECISION_FP32: return CSI_DEVICE_FP32;
    case CS_PRECISION_BF16: return CSI_DEVICE_BF16;
    default: return CSI_DEVICE_FP16;
    }
}

/* ---- which nodes, which outputs ---- */

static void mark_value(struct csi_ir *ir, int value)
{
    if (value >= 0 && ir->values[value].producer >= 0)
        ir->nodes[ir->values[value].producer].on_device = true;
}

/* Readers stand behind what they read: one pass from the end reaches all. */
static void mark_nodes(struct csi_ir *ir)
{
    mark_value(ir, ir->target);
    for (size_t i = ir->node_count; i-- > 0;) {
        const struct csi_ir_node *node = &ir->nodes[i];

        if (!node->on_device)
            continue;
        for (unsigned k = 0; k < node->input_count; k++)
            mark_value(ir, node->inputs[k]);
        mark_value(ir, node->residual);
    }
}

/* Values that are kept to the end of the run or that a node of the CPU reads. */
static void find_wanted(const struct csi_ir *ir, bool *wanted)
{
    for (size_t i = 0; i < ir->value_count; i++)
        wanted[i] = ir->values[i].kept;
    for (size_t i = 0; i < ir->node_count; i++) {
        const struct csi_ir_node *node = &ir->nodes[i];

        if (node->dead || node->on_device)
            continue;
        for (unsigned k = 0; k < node->input_count; k++)
            wanted[node->inputs[k]] = true;
        if (node->residual >= 0)
            wanted[node->residual] = true;
    }
}

/* The target first: it gives the step its name and place. */
static enum cs_status find_outputs(struct translation *t, struct cs_error *error)
{
    const struct csi_ir *ir = t->ir;
    int *slots = csi_plan_alloc(t->plan, (ir->node_count + 1) * sizeof *slots);
    size_t count = 0;

    if (slots == NULL)
        return csi_fail_memory(error, "outputs of the device");
    find_wanted(ir, t->wanted);
    slots[count++] = ir->target;
    for (size_t i = 0; i < ir->node_count; i++) {
        const struct csi_ir_node *node = &ir->nodes[i];

        if (!node->dead && node->on_device && node->output != ir->target && t->wanted[node->output])
            slots[count++] = node->output;
    }
    for (size_t i = 0; i < count; i++)
        t->outputs[i] = t->map_of[slots[i]];
    t->output_count = count;
    t->plan->device_outputs = slots;
    t->plan->device_output_count = count;
    return CS_OK;
}

/* ---- maps ---- */

static int32_t add_map(struct translation *t, const struct csi_shape *shape, const float *constant)
{
    t->maps[t->map_count] = (struct csi_device_map){(uint32_t)shape->channels, (uint32_t)shape->height,
                                                    (uint32_t)shape->width, constant};
    return (int32_t)t->map_count++;
}

static int32_t map_of(struct translation *t, int value)
{
    if (t->map_of[value] < 0)
        t->map_of[value] = add_map(t, &t->ir->values[value].shape, NULL);
    return t->map_of[value];
}

/* A constant operand of `node`, aligned with the output's dimensions: as graph constants are stored, which is
 * CHW. */
static enum cs_status constant_map(struct translation *t, const struct csi_ir_node *node, int value,
                                   int32_t *map, struct cs_error *error)
{
    struct csi_value aligned = t->ir->graph->values[value];
    struct csi_shape shape;

    if (!csi_align_constant(&aligned, t->ir->graph->values[node->output].rank, &shape))
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' cannot be broadcast", aligned.name);
    *map = add_map(t, &shape, aligned.data);
    return CS_OK;
}

/* ---- operators ---- */

/* False: a device does not know it. */
static bool kind_of(enum csi_op op, enum csi_device_kind *kind)
{
    switch (op) {
    case CSI_OP_CONV: *kind = CSI_DEVICE_CONV; return true;
    case CSI_OP_MAX_POOL: *kind = CSI_DEVICE_MAX_POOL; return true;
    case CSI_OP_AVG_POOL: *kind = CSI_DEVICE_AVG_POOL; return true;
    case CSI_OP_GLOBAL_AVG_POOL: *kind = CSI_DEVICE_GLOBAL_AVG_POOL; return true;
    case CSI_OP_BATCH_NORM: *kind = CSI_DEVICE_SCALE_SHIFT; return true;
    case CSI_OP_ACTIVATION: *kind = CSI_DEVICE_ACTIVATION; return true;
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV: *kind = CSI_DEVICE_ARITH; return true;
    case CSI_OP_CONCAT: *kind = CSI_DEVICE_CONCAT; return true;
    case CSI_OP_PAD: *kind = CSI_DEVICE_PAD; return true;
    case CSI_OP_FLATTEN:
    case CSI_OP_RESHAPE: *kind = CSI_DEVICE_RESHAPE; return true;
    case CSI_OP_QUANTIZE: *kind = CSI_DEVICE_QUANTIZE; return true;
    default: return false;
    }
}

static enum cs_status take_inputs(struct translation *t, const struct csi_ir_node *node,
                                  struct csi_device_op *op, struct cs_error *error)
{
    /* A convolution's second input is its gate. */
    unsigned count = op->kind == CSI_DEVICE_CONV ? 1 : node->input_count;
    enum cs_status status;

    _Static_assert(CSI_NODE_MAX_INPUTS <= CSI_DEVICE_MAX_INPUTS, "every node's inputs fit");
    op->input_count = count;
    for (unsigned k = 0; k < node->input_count; k++) {
        int value = node->inputs[k];
        int32_t *to = k < count ? &op->inputs[k] : &op->gate;

        if (!t->ir->values[value].constant) {
            *to = map_of(t, value);
            continue;
        }
        if (op->kind != CSI_DEVICE_ARITH)
            return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': a constant input does not run on a device",
                            node->name);
        status = constant_map(t, node, value, to, error);
        if (status != CS_OK)
            return status;
    }
    if (node->residual >= 0)
        op->residual = map_of(t, node->residual);
    return CS_OK;
}

static void take_attributes(const struct csi_ir_node *node, struct csi_device_op *op)
{
    static const enum csi_arith ariths[] = {CSI_ARITH_ADD, CSI_ARITH_SUB, CSI_ARITH_MUL, CSI_ARITH_DIV};
    const struct csi_node *from = node->source;

    op->residual_after = node->residual_after;
    op->pool = node->pool;
    op->count_include_pad = from->count_include_pad;
    for (unsigned i = 0; i < 2; i++) {
        op->kernel[i] = node->kernel[i];
        op->stride[i] = node->stride[i];
        op->dilation[i] = node->dilation[i];
    }
    for (unsigned i = 0; i < 4; i++)
        op->pads[i] = node->pads[i];
    op->groups = node->groups;
    op->weight = node->weight;
    op->bias = node->bias;
    op->act = node->act;
    if (op->kind == CSI_DEVICE_ARITH)
        op->arith = ariths[node->op - CSI_OP_ADD];
    if (op->kind == CSI_DEVICE_QUANTIZE) {
        op->scale = from->scale;
        op->zero = (float)from->zero_point;
        op->low = from->alpha;
        op->high = from->beta;
    }
}

static enum cs_status add_op(struct translation *t, struct csi_ir_node *node, struct cs_error *error)
{
    struct csi_device_op *op = &t->ops[t->op_count];
    enum cs_status status;

    *op = (struct csi_device_op){.name = node->name, .gate = -1, .residual = -1};
    if (!kind_of(node->op, &op->kind))
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s': %s does not run on a device", node->name,
                        csi_op_name(node->op));
    status = take_inputs(t, node, op, error);
    if (status == CS_OK && node->op == CSI_OP_CONV)
        status = csi_ir_apply_factors(t->ir, node, error);
    if (status != CS_OK)
        return status;
    take_attributes(node, op);
    op->output = map_of(t, node->output);
    t->op_count++;
    return CS_OK;
}

/* ---- the whole ---- */

static enum cs_status translate(struct translation *t, struct cs_error *error)
{
    const struct csi_ir *ir = t->ir;
    size_t inputs = 1; /* each with a map of its own at most, and each node one for its output */

    for (size_t i = 0; i < ir->node_count; i++)
        inputs += ir->nodes[i].input_count + 2;
    t->maps = calloc(inputs, sizeof *t->maps);
    t->ops = calloc(ir->node_count + 1, sizeof *t->ops);
    t->map_of = malloc((ir->value_count + 1) * sizeof *t->map_of);
    t->outputs = calloc(ir->node_count + 1, sizeof *t->outputs);
    t->wanted = calloc(ir->value_count + 1, sizeof *t->wanted);
    if (t->maps == NULL || t->ops == NULL || t->map_of == NULL || t->outputs == NULL || t->wanted == NULL)
        return csi_fail_memory(error, "compiling for a device");
    for (size_t i = 0; i < ir->value_count; i++)
        t->map_of[i] = -1;
    map_of(t, ir->input);
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node *node = &t->ir->nodes[i];
        enum cs_status status = node->dead || !node->on_device ? CS_OK : add_op(t, node, error);

        if (status != CS_OK)
            return status;
    }
    return find_outputs(t, error);
}

static enum cs_status create(struct translation *t, const struct csi_plan_options *options,
                             struct cs_error *error)
{
    struct csi_plan *plan = t->plan;
    struct cs_error said = {CS_INTERNAL, "the device does not compile the network"};
    struct csi_device_network network = {
        .maps = t->maps,
        .map_count = t->map_count,
        .ops = t->ops,
        .op_count = t->op_count,
        .input = t->map_of[t->ir->input],
        .outputs = t->outputs,
        .output_count = t->output_count,
        .type = plan->device_type,
        .max_batch = plan->max_batch,
    };
    enum cs_status status;

    status = options->device->plan_create(options->device_index, &network, &plan->device_plan, &said);
    if (status == CS_OK)
        return CS_OK;
    plan->device_plan = NULL;
    return csi_fail(error, status, "%s", said.message);
}

enum cs_status csi_device_compile(struct csi_plan *plan, struct csi_ir *ir,
                                  const struct csi_plan_options *options, struct cs_error *error)
{
    struct translation t = {.plan = plan, .ir = ir};
    struct cs_error said = {CS_INTERNAL, "the device says nothing of itself"};
    enum cs_status status;

    plan->device = options->device;
    plan->device_type = type_of(options->precision);
    status = plan->device->info(options->device_index, &plan->device_info, &said);
    if (status != CS_OK)
        return csi_fail(error, status, "%s", said.message);
    if (ir->target < 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "a network without a two-dimensional map does not run on a device");
    mark_nodes(ir);
    status = translate(&t, error);
    if (status == CS_OK)
        status = create(&t, options, error);
    free(t.maps);
    free(t.ops);
    free(t.map_of);
    free(t.outputs);
    free(t.wanted);
    return status;
}

static enum cs_status run_device(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_plan *plan = run->plan;

    (void)step;
    for (size_t i = 0; i < plan->device_output_count; i++)
        run->device_outputs[i] = csi_slot_data(run, plan->device_outputs[i]);
    return plan->device->run(run->device, run->input, run->batch, run->device_outputs, run->error);
}

void csi_step_device(const struct csi_plan *plan, const struct csi_ir *ir, struct csi_step *step)
{
    step->run = run_device;
    step->device = true;
    step->reads_photo = true;
    step->output = ir->target;
    step->residual = -1;
    snprintf(step->name, sizeof step->name, "%s", ir->target_name);
    snprintf(step->algorithm, sizeof step->algorithm, "%s_%s", plan->device_info.kernels,
             type_name(plan->device_type));
    csi_describe_shapes(step->layer.shape, sizeof step->layer.shape, &ir->values[ir->input].shape,
                        &ir->values[ir->target].shape);
    for (size_t i = 0; i < ir->node_count; i++) {
        if (!ir->nodes[i].dead && ir->nodes[i].on_device)
            step->layer.gflop += csi_ir_flops(ir, &ir->nodes[i]) / 1e9;
    }
}
