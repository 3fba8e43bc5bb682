/*
 * Convolutions as steps: which algorithm for which shape; Winograd, first-layer and depthwise steps. The
 * implicit matrix product stands in step_tile.c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

/* ---- Winograd ---- */

static enum cs_status run_wino(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_wino_step *wino = &step->u.wino;
    const float *residual = wino->desc.residual ? csi_slot_data(run, step->residual) : NULL;

    csi_wino_run(wino->kernel, &wino->desc, wino->packed, csi_slot_data(run, step->inputs[0]), residual,
                 csi_slot_data(run, step->output), run->batch, run->scratch, run->pool);
    csi_finish_output(step, run);
    return CS_OK;
}

struct wino_packing {
    const struct csi_wino_step *wino;
    const struct csi_ir_node *node;
    void *packed;
};

static void pack_wino_slice(void *context, size_t index, unsigned worker)
{
    const struct wino_packing *packing = context;

    (void)worker;
    csi_wino_pack(packing->wino->kernel, &packing->wino->desc, packing->node->weight, packing->node->factors,
                  packing->node->bias, packing->packed, index);
}

static struct csi_wino_desc describe(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    const struct csi_shape *in = &ir->values[node->inputs[0]].shape, *out = &ir->values[node->output].shape;

    return (struct csi_wino_desc){
        .cin = in->channels,
        .cout = out->channels,
        .height = in->height,
        .width = in->width,
        .activation = node->act.kind == CSI_FN_RELU ? CSI_WINO_RELU : CSI_WINO_LINEAR,
        .pool = node->pool,
    };
}

/* Fixed point where the plan asks for it and the CPU and the shape allow it, else float. Bytes of packed
 * weights, 0: neither covers the shape. */
static size_t choose_wino(struct csi_plan *plan, struct csi_wino_step *wino)
{
    unsigned threads = csi_pool_threads(plan->pool);

    if (plan->precision == CS_PRECISION_INT8) {
        wino->kernel = csi_wino_choose_fixed(&wino->desc, plan->cpu_features, threads);
        if (wino->kernel != NULL) {
            size_t bytes = csi_wino_packed_size(wino->kernel, &wino->desc);

            if (bytes != 0) {
                plan->has_fixed_point = true;
                return bytes;
            }
        }
    }
    wino->kernel = csi_wino_choose(&wino->desc, plan->cpu_features, threads, plan->compact);
    plan->has_split_floats = plan->has_split_floats || csi_wino_is_split(wino->kernel);
    return csi_wino_packed_size(wino->kernel, &wino->desc);
}

static enum cs_status make_wino(struct csi_plan *plan, const struct csi_ir *ir,
                                const struct csi_ir_node *node, struct csi_step *step, struct cs_error *error)
{
    struct csi_wino_step *wino = &step->u.wino;
    struct wino_packing packing = {wino, node, NULL};
    size_t bytes;

    wino->desc = describe(ir, node);
    /* Residual and ReLU are done inside; everything else is a pass over the output. */
    wino->desc.residual = step->residual >= 0 && !step->residual_after &&
                          (node->act.kind == CSI_FN_NONE || node->act.kind == CSI_FN_RELU);
    step->residual_pass = step->residual >= 0 && !wino->desc.residual;
    step->act_pass = node->act.kind != CSI_FN_NONE && node->act.kind != CSI_FN_RELU;
    if (step->residual_pass && !step->residual_after && node->act.kind == CSI_FN_RELU) {
        wino->desc.activation = CSI_WINO_LINEAR;
        step->act_pass = true;
    }
    bytes = choose_wino(plan, wino);
    if (bytes == 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' is too large", step->name);
    packing.packed = csi_plan_alloc_packed(plan, bytes);
    if (packing.packed == NULL)
        return csi_fail_memory(error, "packed weights");
    wino->packed = packing.packed;
    csi_pool_run(plan->pool, csi_wino_pack_slices(wino->kernel, &wino->desc), pack_wino_slice, &packing);
    step->scratch_floats =
        csi_wino_scratch_size(wino->kernel, &wino->desc, plan->max_batch, csi_pool_threads(plan->pool)) /
        sizeof(float);
    step->scratch_alone = csi_wino_scratch_size(wino->kernel, &wino->desc, 1, 1) / sizeof(float);
    step->run = run_wino;
    snprintf(step->algorithm, sizeof step->algorithm, "%s", csi_wino_name(wino->kernel));
    return CS_OK;
}

/* ---- first layer ---- */

static enum cs_status run_first(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_first_step *first = &step->u.first;

    csi_conv_first_run(first->kernel, &first->desc, first->packed, run->input,
                       csi_slot_data(run, step->output), run->batch, run->scratch, run->pool);
    csi_finish_output(step, run);
    return CS_OK;
}

static enum cs_status make_first(struct csi_plan *plan, const struct csi_ir *ir,
                                 const struct csi_ir_node *node, struct csi_step *step,
                                 struct cs_error *error)
{
    struct csi_first_step *first = &step->u.first;
    void *packed;

    first->desc = describe(ir, node);
    step->residual_pass = step->residual >= 0;
    step->act_pass = node->act.kind != CSI_FN_NONE && node->act.kind != CSI_FN_RELU;
    if (step->residual_pass && !step->residual_after && node->act.kind == CSI_FN_RELU) {
        first->desc.activation = CSI_WINO_LINEAR;
        step->act_pass = true;
    }
    first->kernel = csi_conv_first_variant(plan->cpu_features, 0);
    packed = csi_plan_alloc(plan, csi_conv_first_packed_size(&first->desc));
    if (packed == NULL)
        return csi_fail_memory(error, "packed weights");
    csi_conv_first_pack(&first->desc, node->weight, node->bias, packed);
    first->packed = packed;
    step->scratch_floats =
        csi_conv_first_scratch_size(&first->desc, csi_pool_threads(plan->pool)) / sizeof(float);
    step->scratch_alone = csi_conv_first_scratch_size(&first->desc, 1) / sizeof(float);
    step->reads_photo = true;
    step->run = run_first;
    snprintf(step->algorithm, sizeof step->algorithm, "%s", csi_conv_first_name(first->kernel));
    return CS_OK;
}

/* ---- first layer and the next as one ---- */

static enum cs_status run_pair(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_pair_step *pair = &step->u.pair;

    csi_conv_pair_run(pair->first.kernel, &pair->first.desc, pair->first.packed, pair->wino.kernel,
                      &pair->wino.desc, pair->wino.packed, run->input, csi_slot_data(run, step->output),
                      run->batch, run->scratch, run->pool);
    csi_finish_output(step, run);
    return CS_OK;
}

bool csi_step_pair(const struct csi_plan *plan, const struct csi_ir *ir, const struct csi_step *first,
                   struct csi_step *second)
{
    struct csi_pair_step pair;
    char text[sizeof second->name];

    if (first->run != run_first || second->run != run_wino || second->inputs[0] != first->output ||
        first->act_pass || first->residual_pass || first->tail_pass || second->u.wino.desc.residual ||
        ir->values[first->output].uses != 1 || ir->values[first->output].kept ||
        !csi_conv_pair_covers(&first->u.first.desc, second->u.wino.kernel, &second->u.wino.desc))
        return false;
    pair.first = first->u.first;
    pair.wino = second->u.wino;
    second->u.pair = pair;
    second->run = run_pair;
    second->reads_photo = true;
    second->scratch_floats = csi_conv_pair_scratch_size(&pair.first.desc, pair.wino.kernel, &pair.wino.desc,
                                                        csi_pool_threads(plan->pool)) /
                             sizeof(float);
    second->scratch_alone =
        csi_conv_pair_scratch_size(&pair.first.desc, pair.wino.kernel, &pair.wino.desc, 1) / sizeof(float);
    second->layer.gflop += first->layer.gflop;
    snprintf(text, sizeof text, "%.60s+%.60s", first->name, second->name);
    memcpy(second->name, text, sizeof text);
    snprintf(second->algorithm, sizeof second->algorithm, "pair_%.40s", csi_wino_name(pair.wino.kernel));
    csi_describe_shapes(second->layer.shape, sizeof second->layer.shape, &ir->values[ir->input].shape,
                        &ir->values[second->output].shape);
    return true;
}

/* ---- depthwise ---- */

/* Floats of the input rows under one output row: what stays in the first-level cache while the next rows are
 * computed; for maps that no cache of a core holds, which are best read in the order of their memory, what
 * stays in the second-level cache. */
#define LINES_L1   5120u
#define LINES_L2   65536u
#define MAP_FLOATS 131072u
#define MAX_LINES  64u

struct depthwise_job {
    const struct csi_step *step;
    const struct csi_run *run;
    size_t block, blocks; /* channels that are worked on together */
    size_t bands;         /* of rows, of one photo */
};

/* One block of channels of one band of rows: the rows that neighbouring outputs share stay in the cache. */
static void depthwise_piece(void *context, size_t index, unsigned worker)
{
    const struct depthwise_job *job = context;
    const struct csi_step *step = job->step;
    const struct csi_depthwise_step *p = &step->u.depthwise;
    const struct csi_run *run = job->run;
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    size_t channel = index % job->blocks * job->block, photo = index / job->blocks / job->bands;
    struct csi_range range = csi_piece(out->shape.height, job->bands, index / job->blocks % job->bands);
    const float *input = csi_slot_data(run, step->inputs[0]) + photo * in->photo + channel;
    const float *lines[MAX_LINES];
    struct csi_depthwise_row row = {
        .in = lines,
        .in_width = in->shape.width,
        .pitch = in->pitch,
        .channels = csi_min_size(job->block, in->pitch - channel),
        .kernel_height = p->kernel[0],
        .kernel_width = p->kernel[1],
        .stride = p->stride[1],
        .dilation = p->dilation[1],
        .pad_left = p->pads[1],
        .weights = p->weights + channel,
        .bias = p->bias + channel,
        .out_width = out->shape.width,
        .low = step->low,
        .high = step->high,
        .act = p->act_inside ? &step->act : NULL,
    };

    (void)worker;
    for (size_t y = range.first; y < range.first + range.count; y++) {
        for (size_t ky = 0; ky < p->kernel[0]; ky++) {
            size_t line = y * p->stride[0] + ky * p->dilation[0]; /* in the padded input */

            lines[ky] = line >= p->pads[0] && line - p->pads[0] < in->shape.height
                            ? input + (line - p->pads[0]) * in->shape.width * in->pitch
                            : NULL;
        }
        row.out = csi_slot_data(run, step->output) + photo * out->photo + y * out->shape.width * out->pitch +
                  channel;
        run->plan->kernels->depthwise_row(&row);
    }
}

static enum cs_status run_depthwise(const struct csi_step *step, const struct csi_run *run)
{
    const struct csi_depthwise_step *p = &step->u.depthwise;
    const struct csi_slot *in = &run->plan->slots[step->inputs[0]], *out = &run->plan->slots[step->output];
    struct depthwise_job job = {.step = step, .run = run};
    size_t lines = in->photo > MAP_FLOATS ? LINES_L2 : LINES_L1,
           wanted = 4 * (size_t)csi_pool_threads(run->pool);

    lines = lines / (p->kernel[0] * in->shape.width) / CSI_PITCH * CSI_PITCH;
    job.block = csi_max_size(CSI_PITCH, csi_min_size(in->pitch, lines));
    job.bands = 1;
    if (out->shape.height * out->shape.width < CSI_SMALL_MAP) /* by channels: enough blocks for all threads */
        job.block =
            csi_min_size(job.block, csi_max_size(CSI_PITCH, in->pitch / wanted / CSI_PITCH * CSI_PITCH));
    else if (csi_pool_threads(run->pool) > 1)
        job.bands = csi_min_size((out->shape.height + 3) / 4, wanted);
    job.blocks = (in->pitch + job.block - 1) / job.block;
    csi_pool_run(run->pool, run->batch * job.bands * job.blocks, depthwise_piece, &job);
    csi_finish_output(step, run);
    return CS_OK;
}

enum cs_status csi_step_depthwise(struct csi_plan *plan, const struct csi_ir *ir,
                                  const struct csi_ir_node *node, struct csi_step *step,
                                  struct cs_error *error)
{
    struct csi_depthwise_step *p = &step->u.depthwise;
    size_t channels = ir->values[node->output].shape.channels, pitch = csi_pitch(channels);
    size_t taps = (size_t)node->kernel[0] * node->kernel[1];
    float *weights = csi_plan_alloc(plan, taps * pitch * sizeof *weights);
    float *bias = csi_plan_alloc(plan, pitch * sizeof *bias);

    if (weights == NULL || bias == NULL)
        return csi_fail_memory(error, "packed weights");
    for (size_t c = 0; c < channels; c++) {
        for (size_t t = 0; t < taps; t++)
            weights[t * pitch + c] = node->weight[c * taps + t];
        bias[c] = node->bias == NULL ? 0.0f : node->bias[c];
    }
    memcpy(p->kernel, node->kernel, sizeof p->kernel);
    memcpy(p->stride, node->stride, sizeof p->stride);
    memcpy(p->dilation, node->dilation, sizeof p->dilation);
    memcpy(p->pads, node->pads, sizeof p->pads);
    p->weights = weights;
    p->bias = bias;
    step->act_pass = !csi_act_as_clamp(&node->act, &step->low, &step->high);
    step->residual_pass = step->residual >= 0;
    if (step->residual_pass && !step->residual_after && node->act.kind != CSI_FN_NONE) {
        step->act_pass = true; /* act(x + residual): the clamp must wait for the residual */
        step->low = -INFINITY;
        step->high = INFINITY;
    }
    p->act_inside = step->act_pass && !step->residual_pass;
    if (p->act_inside)
        step->act_pass = false;
    step->run = run_depthwise;
    snprintf(step->algorithm, sizeof step->algorithm, "depthwise%ux%u_%s", node->kernel[0], node->kernel[1],
             plan->kernels->name);
    return CS_OK;
}

/* ---- choice ---- */

/* Winograd saves multiplications but reads four times the weights: it needs enough tiles to share them, and
 * enough channels to pay for the transforms. Measured at 512 channels, two threads: 14×14 0.31 ms against
 * 0.52 ms direct; 7×7 1.03 ms against 0.55 ms direct, because there the weights come from memory for four
 * tiles. */
bool csi_step_wino_pays(size_t inputs, size_t outputs, size_t pixels)
{
    return inputs >= 8 && outputs >= 8 && pixels >= 100;
}

static bool reads_first(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    struct csi_wino_desc desc = describe(ir, node);

    return node->inputs[0] == ir->input && !node->pool && csi_conv_first_covers(&desc);
}

bool csi_conv_is_wino(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    const struct csi_shape *in = &ir->values[node->inputs[0]].shape;

    return csi_ir_is_plain3x3(ir, node) && !reads_first(ir, node) &&
           (node->pool || csi_step_wino_pays(in->channels, ir->values[node->output].shape.channels,
                                             in->height * in->width));
}

enum cs_status csi_step_conv(struct csi_plan *plan, const struct csi_ir *ir, const struct csi_ir_node *node,
                             struct csi_step *step, struct cs_error *error)
{
    if (csi_conv_is_wino(ir, node))
        return make_wino(plan, ir, node, step, error);
    if (csi_ir_is_plain3x3(ir, node) && reads_first(ir, node))
        return make_first(plan, ir, node, step, error);
    if (csi_ir_is_depthwise(ir, node) && node->kernel[0] <= MAX_LINES)
        return csi_step_depthwise(plan, ir, node, step, error);
    return csi_step_tile_conv(plan, ir, node, step, error);
}
