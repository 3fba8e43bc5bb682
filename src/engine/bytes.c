/*
 * The INT8 pass: see bytes.h.
 *
 * A node computes on bytes when its input's scale is known and a kernel covers it. A value lives as bytes
 * when somebody reads bytes and nobody needs more; when both are wanted, it exists twice, with a conversion
 * behind its producer. Numbers that the network itself rounds to bytes are kept as bytes even then, so that
 * the float copy has been rounded too; numbers that are only ours to round stay float where floats are read
 * (the map that explains, the head).
 */
#include "engine/bytes.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Sums of more products could overflow 32 bits: 255 · 128 · 65,000 < 2^31. */
#define MAX_PRODUCTS 65000u
/* Bytes of a kernel row of a photo. */
#define PHOTO_CHANNELS 4u

struct demand {
    bool bytes, floats;
    int twin; /* the other form, -1: none */
};

struct pass {
    struct csi_ir *ir;
    struct demand *demand; /* by value, as many as before the pass */
    size_t old_values;
    struct csi_ir_node *nodes; /* the new list */
    size_t node_count;
};

/* ---- scales ---- */

static void take_scales(struct csi_ir *ir)
{
    const struct csi_graph *graph = ir->graph;

    for (size_t i = 0; i < graph->scale_count; i++) {
        const struct csi_output_scale *from = &graph->scales[i];
        struct csi_ir_value *value = &ir->values[csi_ir_resolve(ir, graph->nodes[from->node].output)];

        if (value->rounded)
            continue;
        value->has_scale = true;
        value->scale = (struct csi_byte_scale){from->scale, from->zero};
    }
}

/* ---- which nodes ---- */

static bool weights_fit(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    size_t inputs = ir->values[node->inputs[0]].shape.channels / node->groups;
    size_t products = inputs * node->kernel[0] * node->kernel[1];
    size_t count = products * ir->values[node->output].shape.channels;

    if (products > MAX_PRODUCTS)
        return false;
    for (size_t i = 0; node->weight_scales != NULL && i < count; i++) {
        float level = node->weight[i] / node->weight_scales[i / products];

        if (!(level > -128.5f && level < 127.5f)) /* weights with zero points far from 0 */
            return false;
    }
    return true;
}

static bool conv_runs(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    float low, high;

    if (node->input_count != 1 || !ir->values[node->inputs[0]].has_scale || !weights_fit(ir, node) ||
        (ir->values[node->inputs[0]].rounded &&
         node->weight_scales == NULL)) /* float by its own definition */
        return false;
    if (csi_ir_is_depthwise(ir, node))
        return node->kernel[0] <= 64 && node->residual < 0 && !node->pool &&
               csi_act_as_clamp(&node->act, &low, &high);
    return node->groups == 1 &&
           (node->residual < 0 || !node->residual_after || node->act.kind == CSI_FN_NONE);
}

static bool add_runs(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    const struct csi_ir_value *a = &ir->values[node->inputs[0]], *b = &ir->values[node->inputs[1]];
    const struct csi_ir_value *out = &ir->values[node->output];
    float low, high;

    return node->input_count == 2 && a->has_scale && b->has_scale && out->has_scale && !out->kept &&
           a->shape.channels == b->shape.channels && a->shape.height == b->shape.height &&
           a->shape.width == b->shape.width && csi_act_as_clamp(&node->act, &low, &high);
}

/* The photo is quantised by the convolution on bytes that reads it, row by row: as the mark between them
 * says. One in float wants the mark's own numbers. */
static void skip_photo_mark(struct csi_ir *ir, struct csi_ir_node *node)
{
    const struct csi_ir_value *in = &ir->values[node->inputs[0]];

    if (in->producer >= 0 && ir->nodes[in->producer].op == CSI_OP_QUANTIZE &&
        ir->nodes[in->producer].inputs[0] == ir->input) {
        struct csi_ir_value *photo = &ir->values[ir->input];

        photo->has_scale = true;
        photo->scale = in->scale;
        node->inputs[0] = ir->input;
    }
}

static bool reads_photo(const struct csi_ir *ir, const struct csi_ir_node *node)
{
    return node->integer && node->op == CSI_OP_CONV && node->inputs[0] == ir->input &&
           ir->values[ir->input].shape.channels <= PHOTO_CHANNELS && node->dilation[1] == 1 &&
           !csi_ir_is_depthwise(ir, node);
}

static void choose_nodes(struct csi_ir *ir)
{
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node *node = &ir->nodes[i];
        struct csi_ir_value *in, *out;

        if (node->dead)
            continue;
        in = &ir->values[node->inputs[0]];
        out = &ir->values[node->output];
        switch (node->op) {
        case CSI_OP_CONV:
            node->integer = conv_runs(ir, node);
            if (node->integer)
                skip_photo_mark(ir, node);
            break;
        case CSI_OP_MAX_POOL:
            node->integer = in->has_scale && !out->kept && node->inputs[0] != ir->input;
            if (node->integer) { /* no arithmetic: the scale stays */
                out->has_scale = true;
                out->scale = in->scale;
                out->rounded = in->rounded;
            }
            break;
        case CSI_OP_ADD: node->integer = add_runs(ir, node); break;
        case CSI_OP_GLOBAL_AVG_POOL: node->integer = in->has_scale && in->rounded; break;
        case CSI_OP_QUANTIZE: node->integer = true; break;
        default: break;
        }
    }
}

/* ---- who reads what ---- */

static void find_demand(struct pass *pass)
{
    struct csi_ir *ir = pass->ir;

    for (size_t i = 0; i < ir->node_count; i++) {
        const struct csi_ir_node *node = &ir->nodes[i];
        bool bytes = node->integer && node->op != CSI_OP_QUANTIZE;

        if (node->dead)
            continue;
        for (unsigned k = 0; k < node->input_count; k++) {
            if (bytes && !reads_photo(ir, node))
                pass->demand[node->inputs[k]].bytes = true;
            else if (!bytes)
                pass->demand[node->inputs[k]].floats = true;
        }
        if (node->residual >= 0 && !node->integer)
            pass->demand[node->residual].floats = true;
    }
    for (size_t i = 0; i < pass->old_values; i++) {
        const struct csi_ir_value *value = &ir->values[i];
        struct demand *demand = &pass->demand[i];

        if (value->kept)
            demand->floats = true;
        if (value->rounded)
            demand->bytes = true;
        if (!demand->bytes && !demand->floats && value->has_scale && (int)i != ir->input)
            demand->bytes = true; /* read as a residual only */
    }
}

/* There is room: csi_ir_to_bytes made it. */
static int new_value(struct pass *pass, int like, bool bytes)
{
    struct csi_ir *ir = pass->ir;
    int made = (int)ir->value_count++;

    ir->values[made] = ir->values[like];
    ir->values[made].alias = made;
    ir->values[made].bytes = bytes;
    ir->values[made].rounded = false;
    return made;
}

static void append(struct pass *pass, const struct csi_ir_node *node)
{
    pass->ir->values[node->output].producer = (int)pass->node_count;
    pass->nodes[pass->node_count++] = *node;
}

static void append_conversion(struct pass *pass, const struct csi_ir_node *near, int from, int to)
{
    struct csi_ir_node node = {.op = CSI_OP_QUANTIZE,
                               .source = near != NULL ? near->source : &pass->ir->graph->nodes[0],
                               .name = near != NULL ? near->name : "input",
                               .inputs = {from},
                               .input_count = 1,
                               .output = to,
                               .residual = -1,
                               .groups = 1,
                               .integer = true};

    append(pass, &node);
}

/* The form of a node's output, and its other form behind it. `producer` NULL: the photo. */
static void settle_output(struct pass *pass, struct csi_ir_node *producer, int value)
{
    struct csi_ir_value *values = pass->ir->values;
    struct demand *demand = &pass->demand[value];
    bool able = producer != NULL && producer->integer && producer->op != CSI_OP_GLOBAL_AVG_POOL;
    bool only = able && producer->op != CSI_OP_CONV; /* kernels that write nothing else */
    bool rounded = values[value].rounded;
    int raw = value;

    values[value].bytes = only || (demand->bytes && (rounded || (able && !demand->floats)));
    if (rounded && !able && producer != NULL) { /* computed in float, then rounded */
        raw = new_value(pass, value, false);
        values[raw].kept = false;
    }
    if (producer != NULL) {
        producer->output = raw;
        append(pass, producer);
    }
    if (raw != value)
        append_conversion(pass, producer, raw, value);
    if (values[value].bytes ? demand->floats : demand->bytes) {
        demand->twin = new_value(pass, value, !values[value].bytes);
        append_conversion(pass, producer, value, demand->twin);
        values[values[value].bytes ? value : demand->twin].kept = false; /* callers read floats */
    }
}

/* The value of the wanted form. */
static int in_form(const struct pass *pass, int value, bool bytes)
{
    if (pass->ir->values[value].bytes == bytes || pass->demand[value].twin < 0)
        return value;
    return pass->demand[value].twin;
}

static void rewrite(struct pass *pass)
{
    struct csi_ir *ir = pass->ir;

    settle_output(pass, NULL, ir->input);
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node node = ir->nodes[i];
        bool bytes = node.integer && node.op != CSI_OP_QUANTIZE && !reads_photo(ir, &node);

        if (node.dead)
            continue;
        ir->nodes[i].owned_weight = ir->nodes[i].owned_bias = NULL; /* they move */
        for (unsigned k = 0; k < node.input_count; k++) {
            if (!ir->values[node.inputs[k]].constant)
                node.inputs[k] = in_form(pass, node.inputs[k], bytes);
        }
        if (node.residual >= 0)
            node.residual = in_form(pass, node.residual, node.integer);
        settle_output(pass, &node, node.output);
    }
}

/* What callers read is float. */
static void settle_results(const struct pass *pass)
{
    struct csi_ir *ir = pass->ir;
    int *results[] = {&ir->output, &ir->target, &ir->embedding};

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (*results[i] >= 0)
            *results[i] = in_form(pass, *results[i], false);
    }
    for (size_t i = 0; i < pass->old_values; i++) { /* for the gradient's shortcuts, which resolve names */
        if (ir->values[i].alias == (int)i)
            ir->values[i].alias = in_form(pass, (int)i, false);
    }
}

static void count_readers(struct csi_ir *ir)
{
    for (size_t i = 0; i < ir->value_count; i++)
        ir->values[i].uses = 0;
    for (size_t i = 0; i < ir->node_count; i++) {
        if (ir->nodes[i].dead)
            continue;
        for (unsigned k = 0; k < ir->nodes[i].input_count; k++)
            ir->values[ir->nodes[i].inputs[k]].uses++;
        if (ir->nodes[i].residual >= 0)
            ir->values[ir->nodes[i].residual].uses++;
    }
}

/* Marks that skip_photo_mark went around are read by nobody now. */
static void drop_marks(struct csi_ir *ir)
{
    count_readers(ir);
    for (size_t i = 0; i < ir->node_count; i++) {
        struct csi_ir_node *node = &ir->nodes[i];

        if (node->op == CSI_OP_QUANTIZE && ir->values[node->output].uses == 0 &&
            !ir->values[node->output].kept)
            node->dead = true;
    }
}

enum cs_status csi_ir_to_bytes(struct csi_ir *ir, struct cs_error *error)
{
    struct pass pass = {.ir = ir, .old_values = ir->value_count};
    struct csi_ir_value *values = realloc(ir->values, (3 * ir->value_count + 1) * sizeof *values);

    if (values != NULL)
        ir->values = values;
    pass.demand = calloc(ir->value_count + 1, sizeof *pass.demand);
    pass.nodes = calloc(3 * ir->node_count + 3, sizeof *pass.nodes);
    if (values == NULL || pass.demand == NULL || pass.nodes == NULL) {
        free(pass.demand);
        free(pass.nodes);
        return csi_fail_memory(error, "compiling the network");
    }
    take_scales(ir);
    choose_nodes(ir);
    drop_marks(ir);
    for (size_t i = 0; i < pass.old_values; i++)
        pass.demand[i].twin = -1;
    find_demand(&pass);
    rewrite(&pass);
    settle_results(&pass);
    for (size_t i = 0; i < ir->node_count; i++) { /* of dead nodes */
        csi_aligned_free(ir->nodes[i].owned_weight);
        csi_aligned_free(ir->nodes[i].owned_bias);
    }
    free(ir->nodes);
    ir->nodes = pass.nodes;
    ir->node_count = pass.node_count;
    count_readers(ir);
    free(pass.demand);
    return CS_OK;
}
