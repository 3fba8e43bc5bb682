/*
 * Fusion: every pass turns two nodes into one that writes the second one's value. A value that is kept
 * (target, embedding, logits) or read twice is never swallowed.
 *
 * The fused node takes the place of the later one, so whatever it reads besides (a residual) has been
 * computed by then.
 */
#include "engine/fuse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/internal.h"

static void count_uses(struct csi_ir *ir)
{
    for (size_t i = 0; i < ir->value_count; i++)
        ir->values[i].uses = 0;
    for (size_t i = 0; i < ir->node_count; i++) {
        const struct csi_ir_node *node = &ir->nodes[i];

        if (node->dead)
            continue;
        for (unsigned k = 0; k < node->input_count; k++)
            ir->values[node->inputs[k]].uses++;
        if (node->residual >= 0)
            ir->values[node->residual].uses++;
    }
}

/* The node that computes `value`, when its only reader may swallow it. */
static struct csi_ir_node *swallowable(struct csi_ir *ir, int value)
{
    const struct csi_ir_value *v = &ir->values[value];

    if (v->rounded || v->constant || v->kept || v->uses != 1 || v->producer < 0)
        return NULL;
    return &ir->nodes[v->producer];
}

/* `first` becomes part of itself at the place of `second`. */
static void merge(struct csi_ir *ir, struct csi_ir_node *first, struct csi_ir_node *second)
{
    int output = second->output;

    csi_aligned_free(second->owned_weight);
    csi_aligned_free(second->owned_bias);
    free(second->factors);
    *second = *first;
    second->output = output;
    first->dead = true;
    first->owned_weight = first->owned_bias = NULL;
    first->factors = NULL;
    ir->values[output].producer = (int)(second - ir->nodes);
}

static void fuse_pad(struct csi_ir *ir, struct csi_ir_node *node)
{
    const struct csi_ir_value *in = &ir->values[node->inputs[0]];
    const struct csi_ir_node *pad;

    if (node->op != CSI_OP_CONV || node->source->op == CSI_OP_LINEAR || in->producer < 0)
        return; /* a linear layer reads its whole map as one run, padding included */
    pad = &ir->nodes[in->producer];
    if (pad->op != CSI_OP_PAD)
        return;
    for (unsigned i = 0; i < 4; i++)
        node->pads[i] += pad->pads[i];
    node->inputs[0] = pad->inputs[0]; /* the pad itself dies when nobody else reads it */
}

/* In blocks of fixed size, which compilers vectorise. */
static void scale_row(const float *restrict from, double factor, size_t count, float *restrict to)
{
    enum { BLOCK = 16 };
    size_t i = 0;

    for (; i + BLOCK <= count; i += BLOCK)
        for (size_t k = 0; k < BLOCK; k++)
            to[i + k] = (float)((double)from[i + k] * factor);
    for (; i < count; i++)
        to[i] = (float)((double)from[i] * factor);
}

/* The largest magnitude, in blocks as above: without their signs finite numbers are ordered as their bits. */
static float largest(const float *row, size_t count)
{
    enum { BLOCK = 16 };
    uint32_t most[BLOCK] = {0}, bits;
    float value;
    size_t i = 0;

    for (; i + BLOCK <= count; i += BLOCK)
        for (size_t k = 0; k < BLOCK; k++) {
            memcpy(&bits, row + i + k, sizeof bits);
            bits &= 0x7fffffffu;
            most[k] = bits > most[k] ? bits : most[k];
        }
    for (; i < count; i++) {
        memcpy(&bits, row + i, sizeof bits);
        bits &= 0x7fffffffu;
        most[0] = bits > most[0] ? bits : most[0];
    }
    for (size_t k = 1; k < BLOCK; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    memcpy(&value, &most[0], sizeof value);
    return value;
}

static size_t weights_of_output(const struct csi_ir *ir, const struct csi_ir_node *conv)
{
    return ir->values[conv->inputs[0]].shape.channels / conv->groups * conv->kernel[0] * conv->kernel[1];
}

/* Whoever applies the factors gets finite weights. */
static enum cs_status check_factors(const struct csi_ir *ir, const struct csi_ir_node *conv,
                                    struct cs_error *error)
{
    size_t outputs = ir->values[conv->output].shape.channels, per_output = weights_of_output(ir, conv);

    for (size_t o = 0; o < outputs && conv->factors != NULL; o++)
        if (!isfinite((float)((double)largest(conv->weight + o * per_output, per_output) * conv->factors[o])))
            return csi_fail(error, CS_MODEL_INVALID,
                            "'%s': the weights of output %zu and their batch norm are out of range",
                            conv->name, o);
    return CS_OK;
}

enum cs_status csi_ir_apply_factors(const struct csi_ir *ir, struct csi_ir_node *conv, struct cs_error *error)
{
    size_t outputs = ir->values[conv->output].shape.channels, per_output = weights_of_output(ir, conv);
    enum cs_status status = check_factors(ir, conv, error);
    float *weight;

    if (conv->factors == NULL || status != CS_OK)
        return status;
    weight = csi_model_alloc(outputs * per_output * sizeof *weight);
    if (weight == NULL)
        return csi_fail_memory(error, "folding a batch norm");
    for (size_t o = 0; o < outputs; o++)
        scale_row(conv->weight + o * per_output, conv->factors[o], per_output, weight + o * per_output);
    csi_aligned_free(conv->owned_weight);
    conv->weight = conv->owned_weight = weight;
    free(conv->factors);
    conv->factors = NULL;
    return CS_OK;
}

static enum cs_status fuse_batch_norm(struct csi_ir *ir, struct csi_ir_node *norm, struct cs_error *error)
{
    struct csi_ir_node *conv = swallowable(ir, norm->inputs[0]);
    size_t outputs;
    double *factors;
    float *bias;
    enum cs_status status;

    if (conv == NULL || conv->op != CSI_OP_CONV || conv->act.kind != CSI_FN_NONE || conv->residual >= 0 ||
        conv->pool)
        return CS_OK;
    status = csi_ir_apply_factors(ir, conv, error); /* those of another batch norm before this one */
    if (status != CS_OK)
        return status;
    outputs = ir->values[conv->output].shape.channels;
    factors = malloc(outputs * sizeof *factors);
    bias = csi_model_alloc(outputs * sizeof *bias);
    if (factors == NULL || bias == NULL) {
        free(factors);
        csi_aligned_free(bias);
        return csi_fail_memory(error, "folding a batch norm");
    }
    for (size_t o = 0; o < outputs; o++) {
        factors[o] = (double)norm->weight[o];
        bias[o] =
            (float)((double)norm->bias[o] + (conv->bias == NULL ? 0.0 : (double)conv->bias[o] * factors[o]));
    }
    for (size_t o = 0; o < outputs && status == CS_OK; o++)
        if (!isfinite(bias[o]))
            status =
                csi_fail(error, CS_MODEL_INVALID,
                         "'%s': the bias of output %zu and its batch norm are out of range", conv->name, o);
    if (status != CS_OK) {
        free(factors);
        csi_aligned_free(bias);
        return status;
    }
    csi_aligned_free(conv->owned_bias);
    conv->factors = factors;
    conv->bias = conv->owned_bias = bias;
    conv->weight_scales = NULL;
    merge(ir, conv, norm);
    return CS_OK;
}

static void fuse_activation(struct csi_ir *ir, struct csi_ir_node *node)
{
    struct csi_ir_node *before = swallowable(ir, node->inputs[0]);
    float low, high;

    if (before == NULL || before->act.kind != CSI_FN_NONE || before->residual_after)
        return;
    /* A convolution on bytes does one of the two from its scratch memory: the pool or what is no clamp. */
    if (ir->integers && before->pool && !csi_act_as_clamp(&node->act, &low, &high))
        return;
    switch (before->op) {
    case CSI_OP_CONV:
    case CSI_OP_BATCH_NORM:
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV:
        before->act = node->act;
        merge(ir, before, node);
        break;
    default: break;
    }
}

/* A 1×1 convolution takes over the gate before it (squeeze and excitation): its second input then scales the
 * channels of the first. */
static void fuse_gate(struct csi_ir *ir, struct csi_ir_node *conv)
{
    struct csi_ir_node *mul = swallowable(ir, conv->inputs[0]);
    const struct csi_shape *out = &ir->values[conv->inputs[0]].shape;

    if (mul == NULL || mul->op != CSI_OP_MUL || mul->input_count != 2 || mul->act.kind != CSI_FN_NONE ||
        conv->groups != 1 || conv->kernel[0] != 1 || conv->kernel[1] != 1 || conv->input_count != 1 ||
        out->height * out->width == 1)
        return;
    for (unsigned k = 0; k < 2; k++) {
        int map = mul->inputs[k], gate = mul->inputs[1 - k];
        const struct csi_shape *a = &ir->values[map].shape, *b = &ir->values[gate].shape;

        if (ir->values[map].constant || ir->values[gate].constant || map == ir->input || gate == ir->input ||
            a->channels != out->channels || a->height != out->height || a->width != out->width ||
            b->channels != out->channels || b->height * b->width != 1)
            continue;
        conv->inputs[0] = map;
        conv->inputs[1] = gate;
        conv->input_count = 2;
        mul->dead = true;
        return;
    }
}

static bool takes_residual(const struct csi_ir *ir, const struct csi_ir_node *conv, int other)
{
    const struct csi_shape *a, *b;

    if (conv == NULL || conv->op != CSI_OP_CONV || conv->residual >= 0 || conv->pool)
        return false;
    if (ir->values[other].constant)
        return false;
    a = &ir->values[conv->output].shape;
    b = &ir->values[other].shape;
    return a->channels == b->channels && a->height == b->height && a->width == b->width;
}

static void fuse_add(struct csi_ir *ir, struct csi_ir_node *add)
{
    struct csi_ir_node *chosen = NULL;
    int residual = -1;

    if (add->input_count != 2 || add->inputs[0] == add->inputs[1] || add->act.kind != CSI_FN_NONE)
        return;
    for (unsigned k = 0; k < 2; k++) {
        struct csi_ir_node *conv = swallowable(ir, add->inputs[k]);

        /* Of two candidates the later one: the other has had its turn and its result is on the way out of the
         * cache. */
        if (takes_residual(ir, conv, add->inputs[1 - k]) && (chosen == NULL || conv > chosen)) {
            chosen = conv;
            residual = add->inputs[1 - k];
        }
    }
    if (chosen == NULL)
        return;
    chosen->residual = residual;
    chosen->residual_after = chosen->act.kind != CSI_FN_NONE;
    merge(ir, chosen, add);
}

static void fuse_max_pool(struct csi_ir *ir, struct csi_ir_node *pool)
{
    struct csi_ir_value *in = &ir->values[pool->inputs[0]], *out = &ir->values[pool->output];
    const struct csi_shape *full, *half = &out->shape;
    bool rounded = in->rounded;
    struct csi_ir_node *conv;

    in->rounded = false; /* the largest of rounded numbers is the rounded largest: the pool may come first */
    conv = swallowable(ir, pool->inputs[0]);
    in->rounded = rounded;
    out->rounded = out->has_scale = rounded;
    out->scale = in->scale;
    if (conv == NULL || !csi_ir_is_plain3x3(ir, conv) || conv->inputs[0] == ir->input || conv->pool ||
        conv->residual >= 0 || (conv->act.kind != CSI_FN_NONE && conv->act.kind != CSI_FN_RELU))
        return;
    full = &ir->values[conv->output].shape;
    if (pool->kernel[0] != 2 || pool->kernel[1] != 2 || pool->stride[0] != 2 || pool->stride[1] != 2 ||
        pool->dilation[0] != 1 || pool->dilation[1] != 1 ||
        pool->pads[0] + pool->pads[1] + pool->pads[2] + pool->pads[3] != 0 ||
        half->height != full->height / 2 || half->width != full->width / 2)
        return;
    conv->pool = true;
    merge(ir, conv, pool);
}

/* Whoever reads `from` reads `to` instead. */
static void redirect(struct csi_ir *ir, int from, int to)
{
    for (size_t i = 0; i < ir->node_count; i++) {
        for (unsigned k = 0; k < ir->nodes[i].input_count; k++) {
            if (ir->nodes[i].inputs[k] == from)
                ir->nodes[i].inputs[k] = to;
        }
    }
    count_uses(ir);
}

/* A quantisation mark of the network: the numbers behind it are bytes. What computes them writes them so. */
static void fuse_quantize(struct csi_ir *ir, struct csi_ir_node *mark)
{
    const struct csi_node *source = mark->source;
    struct csi_ir_value *in = &ir->values[mark->inputs[0]], *out = &ir->values[mark->output];
    struct csi_ir_node *before = swallowable(ir, mark->inputs[0]);

    out->rounded = out->has_scale = true;
    out->scale = (struct csi_byte_scale){source->scale, source->zero_point - (int)source->alpha};
    if (in->rounded && in->scale.scale == out->scale.scale && in->scale.zero == out->scale.zero &&
        !out->kept) {
        mark->dead = true;
        redirect(ir, mark->output, mark->inputs[0]);
    } else if (before != NULL && (before->op == CSI_OP_CONV || before->op == CSI_OP_ADD)) {
        merge(ir, before, mark);
    }
}

static void drop_unread(struct csi_ir *ir)
{
    count_uses(ir);
    for (size_t i = ir->node_count; i-- > 0;) { /* readers stand behind what they read */
        struct csi_ir_node *node = &ir->nodes[i];

        if (node->dead || ir->values[node->output].uses > 0 || ir->values[node->output].kept)
            continue;
        node->dead = true;
        for (unsigned k = 0; k < node->input_count; k++)
            ir->values[node->inputs[k]].uses--;
        if (node->residual >= 0)
            ir->values[node->residual].uses--;
    }
}

enum cs_status csi_ir_fuse(struct csi_ir *ir, struct cs_error *error)
{
    for (size_t i = 0; i < ir->node_count; i++)
        fuse_pad(ir, &ir->nodes[i]);
    drop_unread(ir);
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node *node = &ir->nodes[i];

        if (node->dead)
            continue;
        if (node->op == CSI_OP_CONV) {
            if (!ir->integers) /* a convolution on bytes wants the gated map itself */
                fuse_gate(ir, node);
        } else if (node->op == CSI_OP_BATCH_NORM) {
            enum cs_status status = fuse_batch_norm(ir, node, error);

            if (status != CS_OK)
                return status;
        } else if (node->op == CSI_OP_ACTIVATION) {
            fuse_activation(ir, node);
        } else if (node->op == CSI_OP_ADD) {
            fuse_add(ir, node);
        } else if (node->op == CSI_OP_MAX_POOL) {
            fuse_max_pool(ir, node);
        } else if (node->op == CSI_OP_QUANTIZE && ir->integers) {
            fuse_quantize(ir, node);
        }
    }
    count_uses(ir);
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node *node = &ir->nodes[i];
        enum cs_status status = CS_OK;

        if (!node->dead && node->op == CSI_OP_CONV)
            status = ir->integers || !csi_conv_is_wino(ir, node) ? csi_ir_apply_factors(ir, node, error)
                                                                 : check_factors(ir, node, error);
        if (status != CS_OK)
            return status;
    }
    return CS_OK;
}
