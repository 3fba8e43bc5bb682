/*
 * Operators of the tail: see tail_ops.h. Written for clarity: the tail is short, and a map is asked for
 * rarely.
 */
#include "engine/tail_ops.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

bool csi_tail_supports(const struct csi_node *node)
{
    return node->op != CSI_OP_INPUT;
}

/* ---- convolution and linear ---- */

/* Calls for each weight: out[oy][ox] pairs with in[iy][ix] along a row. Forward adds w·in to out, backward
 * w·g_out to g_in. */
static void convolve(const struct csi_node *node, const struct csi_tail_operand *in,
                     const struct csi_tail_operand *out, float *result)
{
    const struct csi_tail_operand *x = &in[0], *weight = &in[1];
    size_t height = x->dims[2], width = x->dims[3], out_height = out->dims[2], out_width = out->dims[3];
    size_t group_in = weight->dims[1], group_out = weight->dims[0] / node->groups;
    size_t kh = node->kernel[0], kw = node->kernel[1];

    for (size_t o = 0; o < weight->dims[0]; o++) {
        for (size_t i = 0; i < group_in; i++) {
            size_t plane = o / group_out * group_in + i;

            for (size_t k = 0; k < kh * kw; k++) {
                float w = weight->data[(o * group_in + i) * kh * kw + k];

                for (size_t oy = 0; oy < out_height; oy++) {
                    size_t iy = oy * node->stride[0] + k / kw * node->dilation[0] - node->pads[0];

                    if (iy >= height) /* also what wrapped around below 0 */
                        continue;
                    for (size_t ox = 0; ox < out_width; ox++) {
                        size_t ix = ox * node->stride[1] + k % kw * node->dilation[1] - node->pads[1];
                        size_t from = (plane * height + iy) * width + ix,
                               to = (o * out_height + oy) * out_width + ox;

                        if (ix >= width)
                            continue;
                        if (result != NULL)
                            result[to] += w * x->data[from];
                        else
                            x->gradient[from] += w * out->gradient[to];
                    }
                }
            }
        }
    }
}

static void add_bias(const struct csi_node *node, const struct csi_tail_operand *in,
                     const struct csi_tail_operand *out, float *result)
{
    const float *bias = node->input_count > 2 && node->inputs[2] != CSI_NO_VALUE ? in[2].data : NULL;
    size_t plane = out->count / out->dims[1];

    for (size_t i = 0; i < out->count; i++)
        result[i] = bias == NULL ? 0.0f : bias[i / plane];
}

static void linear(const struct csi_tail_operand *in, const struct csi_tail_operand *out, float *result)
{
    for (size_t o = 0; o < out->count; o++) {
        const float *weight = in[1].data + o * in[0].count;

        for (size_t i = 0; i < in[0].count; i++) {
            if (result != NULL)
                result[o] += weight[i] * in[0].data[i];
            else
                in[0].gradient[i] += weight[i] * out->gradient[o];
        }
    }
}

/* ---- batch norm, activation ---- */

static void batch_norm(const struct csi_node *node, const struct csi_tail_operand *in,
                       const struct csi_tail_operand *out, float *result)
{
    size_t plane = out->count / out->dims[1];

    for (size_t i = 0; i < out->count; i++) {
        size_t c = i / plane;
        float scale = in[1].data[c] / sqrtf(in[4].data[c] + node->epsilon);

        if (result != NULL)
            result[i] = (in[0].data[i] - in[3].data[c]) * scale + in[2].data[c];
        else
            in[0].gradient[i] += out->gradient[i] * scale;
    }
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Of the normal distribution: the share below x, and its density. */
static float share_below(float x)
{
    return 0.5f * erfcf(x * -0.707106781f);
}

static float density(float x)
{
    return 0.398942280f * expf(-0.5f * x * x);
}

/* GELU by tanh is x times the sigmoid of this. */
static float gelu_argument(float x)
{
    return x * (CSI_GELU_TANH_1 + CSI_GELU_TANH_3 * x * x);
}

static float activation(const struct csi_node *node, float x)
{
    switch (node->activation) {
    case CSI_ACT_NONE: break;
    case CSI_ACT_RELU: return x > 0.0f ? x : 0.0f;
    case CSI_ACT_LEAKY_RELU: return x > 0.0f ? x : node->alpha * x;
    case CSI_ACT_CLIP: return fminf(fmaxf(x, node->alpha), node->beta);
    case CSI_ACT_SIGMOID: return sigmoid(x);
    case CSI_ACT_HARD_SIGMOID: return fminf(fmaxf(node->alpha * x + node->beta, 0.0f), 1.0f);
    case CSI_ACT_SWISH: return x * sigmoid(x);
    case CSI_ACT_HARD_SWISH: return x * fminf(fmaxf(x / 6.0f + 0.5f, 0.0f), 1.0f);
    case CSI_ACT_TANH: return tanhf(x);
    case CSI_ACT_ELU: return x > 0.0f ? x : node->alpha * expm1f(x);
    case CSI_ACT_GELU: return x * share_below(x);
    case CSI_ACT_GELU_TANH: return x * sigmoid(gelu_argument(x));
    }
    return x;
}

static float slope(const struct csi_node *node, float x)
{
    float s;

    switch (node->activation) {
    case CSI_ACT_NONE: break;
    case CSI_ACT_RELU: return x > 0.0f ? 1.0f : 0.0f;
    case CSI_ACT_LEAKY_RELU: return x > 0.0f ? 1.0f : node->alpha;
    case CSI_ACT_CLIP: return x > node->alpha && x < node->beta ? 1.0f : 0.0f;
    case CSI_ACT_SIGMOID: s = sigmoid(x); return s * (1.0f - s);
    case CSI_ACT_HARD_SIGMOID:
        s = node->alpha * x + node->beta;
        return s > 0.0f && s < 1.0f ? node->alpha : 0.0f;
    case CSI_ACT_SWISH: s = sigmoid(x); return s + x * s * (1.0f - s);
    case CSI_ACT_HARD_SWISH: return x <= -3.0f ? 0.0f : x < 3.0f ? x / 3.0f + 0.5f : 1.0f;
    case CSI_ACT_TANH: s = tanhf(x); return 1.0f - s * s;
    case CSI_ACT_ELU: return x > 0.0f ? 1.0f : node->alpha * expf(x);
    case CSI_ACT_GELU: return share_below(x) + x * density(x);
    case CSI_ACT_GELU_TANH:
        s = sigmoid(gelu_argument(x));
        return s + x * s * (1.0f - s) * (CSI_GELU_TANH_1 + 3.0f * CSI_GELU_TANH_3 * x * x);
    }
    return 1.0f;
}

/* ---- pooling ---- */

static void average_window(const struct csi_node *node, const struct csi_tail_operand *x, size_t oy,
                           size_t ox, size_t out_at, size_t plane, const struct csi_tail_operand *out,
                           float *result)
{
    size_t height = x->dims[2], width = x->dims[3], counted = 0, inside = 0;
    float sum = 0.0f;

    for (unsigned pass = 0; pass < 2; pass++) { /* count and sum, then share the gradient out */
        if (pass == 1 && result != NULL)
            break;
        for (size_t ky = 0; ky < node->kernel[0]; ky++) {
            for (size_t kx = 0; kx < node->kernel[1]; kx++) {
                size_t py = oy * node->stride[0] + ky * node->dilation[0], iy = py - node->pads[0];
                size_t px = ox * node->stride[1] + kx * node->dilation[1], ix = px - node->pads[1];
                bool in_input = iy < height && ix < width;

                if (pass == 0) {
                    counted += py < node->pads[0] + height + node->pads[2] &&
                               px < node->pads[1] + width + node->pads[3];
                    inside += in_input;
                    sum += in_input && result != NULL ? x->data[(plane * height + iy) * width + ix] : 0.0f;
                } else if (in_input) {
                    size_t divisor = node->count_include_pad ? counted : inside;

                    x->gradient[(plane * height + iy) * width + ix] += out->gradient[out_at] / (float)divisor;
                }
            }
        }
    }
    if (result != NULL)
        result[out_at] = inside == 0 ? 0.0f : sum / (float)(node->count_include_pad ? counted : inside);
}

static void max_window(const struct csi_node *node, const struct csi_tail_operand *x, size_t oy, size_t ox,
                       size_t out_at, size_t plane, const struct csi_tail_operand *out, float *result)
{
    size_t height = x->dims[2], width = x->dims[3], place = SIZE_MAX;
    float best = -INFINITY;

    for (size_t ky = 0; ky < node->kernel[0]; ky++) {
        for (size_t kx = 0; kx < node->kernel[1]; kx++) {
            size_t iy = oy * node->stride[0] + ky * node->dilation[0] - node->pads[0];
            size_t ix = ox * node->stride[1] + kx * node->dilation[1] - node->pads[1];
            size_t at = (plane * height + iy) * width + ix;

            if (iy < height && ix < width && (place == SIZE_MAX || x->data[at] > best)) {
                best = x->data[at];
                place = at;
            }
        }
    }
    if (result != NULL)
        result[out_at] = best;
    else if (place != SIZE_MAX)
        x->gradient[place] += out->gradient[out_at];
}

static void pool(const struct csi_node *node, const struct csi_tail_operand *x,
                 const struct csi_tail_operand *out, float *result)
{
    for (size_t i = 0; i < out->count; i++) {
        size_t ox = i % out->dims[3], oy = i / out->dims[3] % out->dims[2],
               plane = i / (out->dims[3] * out->dims[2]);

        if (node->op == CSI_OP_MAX_POOL)
            max_window(node, x, oy, ox, i, plane, out, result);
        else
            average_window(node, x, oy, ox, i, plane, out, result);
    }
}

static void global_average(const struct csi_tail_operand *x, const struct csi_tail_operand *out,
                           float *result)
{
    size_t plane = x->count / out->count;

    for (size_t i = 0; i < x->count; i++) {
        if (result != NULL)
            result[i / plane] += x->data[i] / (float)plane;
        else
            x->gradient[i] += out->gradient[i / plane] / (float)plane;
    }
}

/* ---- arithmetic with broadcasting ---- */

/* Position in an operand of the output's element `index`. */
static size_t broadcast(const struct csi_tail_operand *operand, const struct csi_tail_operand *out,
                        size_t index)
{
    size_t at = 0, step = 1;

    for (unsigned i = 0; i < out->rank; i++) { /* from the last axis */
        size_t length = out->dims[out->rank - 1 - i], here = index % length;

        if (i < operand->rank) {
            size_t own = operand->dims[operand->rank - 1 - i];

            at += own == 1 ? 0 : here * step;
            step *= own;
        }
        index /= length;
    }
    return at;
}

static void arith(const struct csi_node *node, const struct csi_tail_operand *in,
                  const struct csi_tail_operand *out, float *result)
{
    for (size_t i = 0; i < out->count; i++) {
        size_t ia = broadcast(&in[0], out, i), ib = broadcast(&in[1], out, i);
        float a = in[0].data[ia], b = in[1].data[ib], da = 1.0f, db = 1.0f, value = 0.0f;

        switch (node->op) {
        case CSI_OP_ADD: value = a + b; break;
        case CSI_OP_SUB:
            value = a - b;
            db = -1.0f;
            break;
        case CSI_OP_MUL:
            value = a * b;
            da = b;
            db = a;
            break;
        default:
            value = a / b;
            da = 1.0f / b;
            db = -a / (b * b);
            break;
        }
        if (result != NULL) {
            result[i] = value;
            continue;
        }
        if (in[0].gradient != NULL)
            in[0].gradient[ia] += out->gradient[i] * da;
        if (in[1].gradient != NULL)
            in[1].gradient[ib] += out->gradient[i] * db;
    }
}

/* ---- moving numbers ---- */

static void concat(const struct csi_node *node, const struct csi_tail_operand *in,
                   const struct csi_tail_operand *out, float *result)
{
    size_t at = 0;

    for (unsigned k = 0; k < node->input_count; k++) {
        for (size_t i = 0; i < in[k].count; i++) {
            if (result != NULL)
                result[at + i] = in[k].data[i];
            else if (in[k].gradient != NULL)
                in[k].gradient[i] += out->gradient[at + i];
        }
        at += in[k].count;
    }
}

static void pad(const struct csi_node *node, const struct csi_tail_operand *x,
                const struct csi_tail_operand *out, float *result)
{
    for (size_t i = 0; i < x->count; i++) {
        size_t ix = i % x->dims[3], iy = i / x->dims[3] % x->dims[2], plane = i / (x->dims[3] * x->dims[2]);
        size_t to = (plane * out->dims[2] + iy + node->pads[0]) * out->dims[3] + ix + node->pads[1];

        if (result != NULL)
            result[to] = x->data[i];
        else
            x->gradient[i] += out->gradient[to];
    }
}

static void softmax(const struct csi_tail_operand *x, const struct csi_tail_operand *out, float *result)
{
    float most = -INFINITY, sum = 0.0f;

    if (result == NULL) {
        for (size_t i = 0; i < out->count; i++)
            sum += out->gradient[i] * out->data[i];
        for (size_t i = 0; i < out->count; i++)
            x->gradient[i] += out->data[i] * (out->gradient[i] - sum);
        return;
    }
    for (size_t i = 0; i < x->count; i++)
        most = fmaxf(most, x->data[i]);
    for (size_t i = 0; i < x->count; i++)
        sum += result[i] = expf(x->data[i] - most);
    for (size_t i = 0; i < x->count; i++)
        result[i] /= sum;
}

static void round_levels(const struct csi_node *node, const struct csi_tail_operand *in, float *result)
{
    float zero = (float)node->zero_point;

    for (size_t i = 0; i < in->count; i++) {
        float level = nearbyintf(in->data[i] / node->scale) + zero;

        level = level < node->alpha ? node->alpha : level > node->beta ? node->beta : level;
        result[i] = (level - zero) * node->scale;
    }
}

void csi_tail_forward(const struct csi_node *node, const struct csi_tail_operand *in,
                      const struct csi_tail_operand *out, float *result)
{
    memset(result, 0, out->count * sizeof *result);
    switch (node->op) {
    case CSI_OP_CONV:
        add_bias(node, in, out, result);
        convolve(node, in, out, result);
        break;
    case CSI_OP_LINEAR:
        add_bias(node, in, out, result);
        linear(in, out, result);
        break;
    case CSI_OP_BATCH_NORM: batch_norm(node, in, out, result); break;
    case CSI_OP_ACTIVATION:
        for (size_t i = 0; i < out->count; i++)
            result[i] = activation(node, in[0].data[i]);
        break;
    case CSI_OP_MAX_POOL:
    case CSI_OP_AVG_POOL: pool(node, &in[0], out, result); break;
    case CSI_OP_GLOBAL_AVG_POOL: global_average(&in[0], out, result); break;
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV: arith(node, in, out, result); break;
    case CSI_OP_CONCAT: concat(node, in, out, result); break;
    case CSI_OP_PAD: pad(node, &in[0], out, result); break;
    case CSI_OP_SOFTMAX: softmax(&in[0], out, result); break;
    case CSI_OP_QUANTIZE: round_levels(node, &in[0], result); break;
    default: memcpy(result, in[0].data, out->count * sizeof *result); break; /* flatten, reshape, identity */
    }
}

void csi_tail_backward(const struct csi_node *node, const struct csi_tail_operand *in,
                       const struct csi_tail_operand *out)
{
    switch (node->op) {
    case CSI_OP_CONV: convolve(node, in, out, NULL); break;
    case CSI_OP_LINEAR: linear(in, out, NULL); break;
    case CSI_OP_BATCH_NORM: batch_norm(node, in, out, NULL); break;
    case CSI_OP_ACTIVATION:
        for (size_t i = 0; i < out->count; i++)
            in[0].gradient[i] += out->gradient[i] * slope(node, in[0].data[i]);
        break;
    case CSI_OP_MAX_POOL:
    case CSI_OP_AVG_POOL: pool(node, &in[0], out, NULL); break;
    case CSI_OP_GLOBAL_AVG_POOL: global_average(&in[0], out, NULL); break;
    case CSI_OP_ADD:
    case CSI_OP_SUB:
    case CSI_OP_MUL:
    case CSI_OP_DIV: arith(node, in, out, NULL); break;
    case CSI_OP_CONCAT: concat(node, in, out, NULL); break;
    case CSI_OP_PAD: pad(node, &in[0], out, NULL); break;
    case CSI_OP_SOFTMAX: softmax(&in[0], out, NULL); break;
    default: /* rounding too: its slope is 1 on the whole, the way quantised networks are trained */
        for (size_t i = 0; i < out->count; i++)
            in[0].gradient[i] += out->gradient[i];
        break;
    }
}
