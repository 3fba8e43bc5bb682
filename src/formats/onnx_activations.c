/*
 * ONNX's activations: those that are one operator, and those that files spell out in several. x·sigmoid(x) is
 * swish; x·(1 + erf(x/√2))/2 is GELU, in whatever order the factors come. What may become a part of one waits
 * for its first reader (GATE, GELU_PART). See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SQRT2 1.41421356f

/* ---- nodes ---- */

static enum cs_status add_activation(struct csi_onnx *onnx, enum csi_activation activation, int x,
                                     const char *name, int *index)
{
    struct csi_node node = csi_node_init(CSI_OP_ACTIVATION, name);

    node.inputs[0] = x;
    node.input_count = 1;
    node.activation = activation;
    return csi_graph_add_node(onnx->graph, &node, index, onnx->error);
}

/* x·factor; x itself where that is 1. */
static enum cs_status add_product(struct csi_onnx *onnx, int x, float factor, const char *name, int *index)
{
    struct csi_node node = csi_node_init(CSI_OP_MUL, name);
    char constant[CSI_NAME_SIZE];
    enum cs_status status;

    *index = x;
    if (fabsf(factor - 1.0f) < 1e-6f)
        return CS_OK;
    if (!isfinite(factor))
        return csi_onnx_fail(onnx, CS_MODEL_INVALID, "a factor is out of range");
    snprintf(constant, sizeof constant, "%.100s.factor", name);
    status = csi_graph_add_constant(onnx->graph, constant, 0, NULL, &factor, &node.inputs[1], onnx->error);
    node.inputs[0] = x;
    node.input_count = 2;
    return status == CS_OK ? csi_graph_add_node(onnx->graph, &node, index, onnx->error) : status;
}

static enum cs_status node_activation(struct csi_onnx *onnx, enum csi_activation activation, float alpha,
                                      float beta)
{
    struct csi_node node = csi_onnx_new_node(onnx, CSI_OP_ACTIVATION);
    enum cs_status status = csi_onnx_take(onnx, 0, &node.inputs[0]);

    node.input_count = 1;
    node.activation = activation;
    node.alpha = alpha;
    node.beta = beta;
    return status == CS_OK ? csi_onnx_finish(onnx, &node) : status;
}

static enum cs_status node_clip(struct csi_onnx *onnx)
{
    float low, high;

    if (!csi_onnx_number(onnx, 1, csi_onnx_float(onnx, "min", -INFINITY), &low) ||
        !csi_onnx_number(onnx, 2, csi_onnx_float(onnx, "max", INFINITY), &high))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the bounds are not constants");
    if (low == 0.0f && high > 3e38f)
        return node_activation(onnx, CSI_ACT_RELU, 0.0f, 0.0f);
    return node_activation(onnx, CSI_ACT_CLIP, low, high);
}

static enum cs_status node_elu(struct csi_onnx *onnx)
{
    return node_activation(onnx, CSI_ACT_ELU, csi_onnx_float(onnx, "alpha", 1.0f), 0.0f);
}

static enum cs_status node_gelu(struct csi_onnx *onnx)
{
    if (csi_onnx_text_is(onnx, "approximate", "none", true))
        return node_activation(onnx, CSI_ACT_GELU, 0.0f, 0.0f);
    if (csi_onnx_text_is(onnx, "approximate", "tanh", false))
        return node_activation(onnx, CSI_ACT_GELU_TANH, 0.0f, 0.0f);
    return csi_onnx_fail(onnx, CS_MODEL_INVALID, "approximate is neither none nor tanh");
}

static enum cs_status node_hard_swish(struct csi_onnx *onnx)
{
    return node_activation(onnx, CSI_ACT_HARD_SWISH, 0.0f, 0.0f);
}

static enum cs_status node_leaky_relu(struct csi_onnx *onnx)
{
    return node_activation(onnx, CSI_ACT_LEAKY_RELU, csi_onnx_float(onnx, "alpha", 0.01f), 0.0f);
}

static enum cs_status node_relu(struct csi_onnx *onnx)
{
    return node_activation(onnx, CSI_ACT_RELU, 0.0f, 0.0f);
}

static enum cs_status node_tanh(struct csi_onnx *onnx)
{
    return node_activation(onnx, CSI_ACT_TANH, 0.0f, 0.0f);
}

/* ---- PRelu ---- */

/* One number for each index of axis 1 of `x`, or one for all. */
static bool is_by_channel(const struct csi_onnx_value *slope, const struct csi_value *x)
{
    if (slope->rank > x->rank || csi_onnx_elements(slope) == 0)
        return false;
    for (unsigned i = 0; i < slope->rank; i++) {
        unsigned axis = x->rank - slope->rank + i;

        if (slope->dims[i] != 1 && (axis != 1 || slope->dims[i] != x->dims[1]))
            return false;
    }
    return true;
}

static bool is_one_number(const struct csi_onnx_value *slope)
{
    for (size_t i = 1; i < csi_onnx_elements(slope); i++)
        if (slope->data[i] != slope->data[0])
            return false;
    return isfinite(slope->data[0]);
}

/* max(x, 0) + slope·min(x, 0): exact, one of the two is 0. */
static enum cs_status prelu_of_channels(struct csi_onnx *onnx, int x)
{
    struct csi_node negative = csi_node_init(CSI_OP_ACTIVATION, ""), scaled = csi_node_init(CSI_OP_MUL, ""),
                    sum = csi_onnx_new_node(onnx, CSI_OP_ADD);
    char name[CSI_NAME_SIZE];
    enum cs_status status = csi_onnx_constant(onnx, 1, &scaled.inputs[1]);

    snprintf(name, sizeof name, "%.100s.positive", onnx->node_name);
    if (status == CS_OK)
        status = add_activation(onnx, CSI_ACT_RELU, x, name, &sum.inputs[0]);
    snprintf(negative.name, sizeof negative.name, "%.100s.negative", onnx->node_name);
    negative.inputs[0] = x;
    negative.input_count = 1;
    negative.activation = CSI_ACT_CLIP;
    negative.alpha = -INFINITY;
    if (status == CS_OK)
        status = csi_graph_add_node(onnx->graph, &negative, &scaled.inputs[0], onnx->error);
    snprintf(scaled.name, sizeof scaled.name, "%.100s.slope", onnx->node_name);
    scaled.input_count = 2;
    if (status == CS_OK)
        status = csi_graph_add_node(onnx->graph, &scaled, &sum.inputs[1], onnx->error);
    sum.input_count = 2;
    return status == CS_OK ? csi_onnx_finish(onnx, &sum) : status;
}

static enum cs_status node_prelu(struct csi_onnx *onnx)
{
    const struct csi_onnx_value *slope = csi_onnx_input(onnx, 1);
    int x;
    enum cs_status status = csi_onnx_take(onnx, 0, &x);

    if (status != CS_OK)
        return status;
    if (slope == NULL || slope->kind != CSI_ONNX_CONSTANT ||
        !is_by_channel(slope, csi_onnx_graph_value(onnx, x)))
        return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED, "the slope is no constant for all or each channel");
    return is_one_number(slope) ? node_activation(onnx, CSI_ACT_LEAKY_RELU, slope->data[0], 0.0f)
                                : prelu_of_channels(onnx, x);
}

/* ---- swish ---- */

/* Sigmoid and hard sigmoid wait for their first reader: multiplied by their own input they are swish and hard
 * swish. */
static enum cs_status node_gate(struct csi_onnx *onnx, enum csi_activation activation)
{
    struct csi_onnx_value value = {.kind = CSI_ONNX_GATE, .activation = activation};
    enum cs_status status = csi_onnx_take(onnx, 0, &value.index);

    if (activation == CSI_ACT_HARD_SIGMOID) {
        value.alpha = csi_onnx_float(onnx, "alpha", 0.2f);
        value.beta = csi_onnx_float(onnx, "beta", 0.5f);
    }
    return status == CS_OK ? csi_onnx_define(onnx, onnx->node->output[0], &value) : status;
}

static enum cs_status node_sigmoid(struct csi_onnx *onnx)
{
    return node_gate(onnx, CSI_ACT_SIGMOID);
}

static enum cs_status node_hard_sigmoid(struct csi_onnx *onnx)
{
    return node_gate(onnx, CSI_ACT_HARD_SIGMOID);
}

/* x · sigmoid(x)? */
static bool is_swish(const struct csi_onnx_value *x, const struct csi_onnx_value *gate,
                     enum csi_activation *activation)
{
    if (x->kind != CSI_ONNX_ACTIVATION || gate->kind != CSI_ONNX_GATE || gate->index != x->index)
        return false;
    *activation = gate->activation == CSI_ACT_SIGMOID ? CSI_ACT_SWISH : CSI_ACT_HARD_SWISH;
    return gate->activation == CSI_ACT_SIGMOID ||
           (fabsf(gate->alpha - 1.0f / 6.0f) < 1e-6f && fabsf(gate->beta - 0.5f) < 1e-6f);
}

/* ---- GELU, spelt out ---- */

/* Parts, x the value of the graph, s `alpha`, c `scale`: c·x (SCALED); erf(s·x); c·(1 + erf(s·x)); and
 * c·x·(1 + erf(s·x)), which is gelu(m·x) · 2c/m with m = √2·s. Of a GELU of x as it stands m is 1 and c a
 * half.
 */

static bool is_part(const struct csi_onnx_value *value, enum csi_onnx_part part)
{
    return value->kind == CSI_ONNX_GELU_PART && value->part == part;
}

/* The factor before x when `value` is x, scaled or not; 0: it is neither. */
static float factor_of(const struct csi_onnx_value *value)
{
    return value->kind == CSI_ONNX_ACTIVATION ? 1.0f : is_part(value, CSI_PART_SCALED) ? value->scale : 0.0f;
}

static enum cs_status node_erf(struct csi_onnx *onnx)
{
    const struct csi_onnx_value *input = csi_onnx_input(onnx, 0);
    struct csi_onnx_value value = {.kind = CSI_ONNX_GELU_PART, .part = CSI_PART_ERF, .alpha = 1.0f};
    enum cs_status status = CS_OK;

    if (input != NULL && factor_of(input) != 0.0f) {
        value.index = input->index;
        value.alpha = factor_of(input);
    } else {
        status = csi_onnx_take(onnx, 0, &value.index);
    }
    return status == CS_OK ? csi_onnx_define(onnx, onnx->node->output[0], &value) : status;
}

/* The whole product, under the names that start with `name`. */
static enum cs_status add_gelu(struct csi_onnx *onnx, const struct csi_onnx_value *product, const char *name,
                               int *index)
{
    float inner = SQRT2 * product->alpha;
    char part[CSI_NAME_SIZE];
    int x;
    enum cs_status status;

    snprintf(part, sizeof part, "%.100s.input", name);
    status = add_product(onnx, product->index, inner, part, &x);
    if (status == CS_OK)
        status = add_activation(onnx, CSI_ACT_GELU, x, name, index);
    snprintf(part, sizeof part, "%.100s.scaled", name);
    return status == CS_OK ? add_product(onnx, *index, 2.0f * product->scale / inner, part, index) : status;
}

enum cs_status csi_onnx_gelu_part(struct csi_onnx *onnx, const struct csi_onnx_value *value, int *index)
{
    if (value->part == CSI_PART_SCALED)
        return add_product(onnx, value->index, value->scale, value->name, index);
    if (value->part == CSI_PART_PRODUCT)
        return add_gelu(onnx, value, value->name, index);
    return csi_onnx_fail(onnx, CS_MODEL_UNSUPPORTED,
                         "its input '%.100s' is an erf outside of GELU, which is x·(1 + erf(x/√2))/2",
                         value->name);
}

/* A new part; a GELU as soon as nothing is missing. */
static enum cs_status define_part(struct csi_onnx *onnx, const struct csi_onnx_value *value)
{
    struct csi_onnx_value made = {.kind = CSI_ONNX_ACTIVATION};
    enum cs_status status;

    if (value->part != CSI_PART_PRODUCT ||
        fabsf(value->scale / (0.5f * SQRT2 * value->alpha) - 1.0f) >= 2e-6f)
        return csi_onnx_define(onnx, onnx->node->output[0], value);
    status = add_gelu(onnx, value, onnx->node_name, &made.index);
    return status == CS_OK ? csi_onnx_define(onnx, onnx->node->output[0], &made) : status;
}

/* `part` times `factor`, when that is a part as well. */
static bool scale_part(const struct csi_onnx_value *part, float factor, struct csi_onnx_value *made)
{
    *made = *part;
    if (!isfinite(factor) || factor == 0.0f)
        return false;
    if (part->kind == CSI_ONNX_ACTIVATION) {
        made->kind = CSI_ONNX_GELU_PART;
        made->part = CSI_PART_SCALED;
        made->scale = factor;
        return true;
    }
    made->scale *= factor;
    return part->kind == CSI_ONNX_GELU_PART && part->part != CSI_PART_ERF && isfinite(made->scale) &&
           made->scale != 0.0f;
}

/* The node at hand with input `at` a single number. */
static bool with_number(const struct csi_onnx *onnx, enum csi_op op, unsigned at, struct csi_onnx_value *made)
{
    const struct csi_onnx_value *part = csi_onnx_input(onnx, 1 - at), *constant = csi_onnx_input(onnx, at);
    float number;

    if (constant->kind != CSI_ONNX_CONSTANT || !csi_onnx_number(onnx, at, 0.0f, &number) ||
        (part->kind != CSI_ONNX_ACTIVATION && part->kind != CSI_ONNX_GELU_PART) ||
        constant->rank > csi_onnx_graph_value(onnx, part->index)->rank)
        return false;
    if (op == CSI_OP_MUL || (op == CSI_OP_DIV && at == 1))
        return scale_part(part, op == CSI_OP_MUL ? number : 1.0f / number, made);
    if (op != CSI_OP_ADD || !is_part(part, CSI_PART_ERF) || number != 1.0f)
        return false;
    *made = *part;
    made->part = CSI_PART_ERF_AND_1;
    made->scale = 1.0f;
    return true;
}

/* x, scaled or not, times 1 + erf of the same x. */
static bool with_x(const struct csi_onnx_value *x, const struct csi_onnx_value *gate,
                   struct csi_onnx_value *made)
{
    if (!is_part(gate, CSI_PART_ERF_AND_1) || factor_of(x) == 0.0f || x->index != gate->index)
        return false;
    *made = *gate;
    made->part = CSI_PART_PRODUCT;
    made->scale *= factor_of(x);
    return isfinite(made->scale) && made->scale != 0.0f;
}

enum cs_status csi_onnx_spelt_out(struct csi_onnx *onnx, enum csi_op op, bool *done)
{
    const struct csi_onnx_value *values[2] = {csi_onnx_input(onnx, 0), csi_onnx_input(onnx, 1)};
    enum csi_activation activation;

    *done = true;
    for (unsigned i = 0; i < 2; i++) {
        struct csi_onnx_value made;

        if (op == CSI_OP_MUL && is_swish(values[i], values[1 - i], &activation)) {
            made = (struct csi_onnx_value){.kind = CSI_ONNX_ACTIVATION};
            const enum cs_status status =
                add_activation(onnx, activation, values[i]->index, onnx->node_name, &made.index);

            return status == CS_OK ? csi_onnx_define(onnx, onnx->node->output[0], &made) : status;
        }
        if (onnx->has_erf && (with_number(onnx, op, i, &made) ||
                              (op == CSI_OP_MUL && with_x(values[i], values[1 - i], &made))))
            return define_part(onnx, &made);
    }
    *done = false;
    return CS_OK;
}

enum cs_status csi_onnx_activate(struct csi_onnx *onnx, bool *done)
{
    static const struct {
        const char *op;
        enum cs_status (*read)(struct csi_onnx *onnx);
    } operators[] = {
        {"Clip", node_clip},
        {"Elu", node_elu},
        {"Erf", node_erf},
        {"Gelu", node_gelu},
        {"HardSwish", node_hard_swish},
        {"HardSigmoid", node_hard_sigmoid},
        {"LeakyRelu", node_leaky_relu},
        {"PRelu", node_prelu},
        {"Relu", node_relu},
        {"Sigmoid", node_sigmoid},
        {"Tanh", node_tanh},
    };

    *done = true;
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (strcmp(onnx->node->op_type, operators[i].op) == 0)
            return operators[i].read(onnx);
    *done = false;
    return CS_OK;
}

#else
typedef int csi_onnx_activations_is_left_out; /* a translation unit must not be empty */
#endif
