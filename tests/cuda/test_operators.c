/*
 * Every operator of the CUDA plug-in against the device in plain C, on random shapes, in every type; and each
 * photo of a batch against itself alone, to the bit. Skipped where there is no plug-in or no GPU.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/device_plugin.h"
#include "support/reference_device.h"

#define BATCH    3u
#define ROUNDS   150
#define MAX_MAPS 16
#define MAX_OPS  12

/* Rounds of a test that are left out: none, or most where tests are to be short, as under a sanitizer. */
static uint32_t stride = 1;
static const struct csi_device_api *gpu;
static struct csi_device_info gpu_info;

/* ---- random networks ---- */

struct net {
    uint32_t seed;
    struct csi_device_map maps[MAX_MAPS];
    struct csi_device_op ops[MAX_OPS];
    float *owned[3 * MAX_OPS];
    size_t owned_count;
    int32_t outputs[2];
    struct csi_device_network network;
};

static uint32_t bits(struct net *net)
{
    net->seed = net->seed * 1664525u + 1013904223u;
    return net->seed >> 8;
}

static uint32_t between(struct net *net, uint32_t low, uint32_t high)
{
    return low + bits(net) % (high - low + 1);
}

static float number(struct net *net)
{
    return (float)bits(net) / (float)(1u << 23) - 1.0f;
}

static float *numbers(struct net *net, size_t count, float scale)
{
    float *data = malloc((count + 1) * sizeof *data);

    assert_non_null(data);
    for (size_t i = 0; i < count; i++)
        data[i] = number(net) * scale;
    net->owned[net->owned_count++] = data;
    return data;
}

static int32_t map(struct net *net, uint32_t channels, uint32_t height, uint32_t width)
{
    net->maps[net->network.map_count] = (struct csi_device_map){channels, height, width, NULL};
    return (int32_t)net->network.map_count++;
}

static struct csi_act_params any_act(struct net *net)
{
    return (struct csi_act_params){(enum csi_act)between(net, CSI_FN_NONE, CSI_FN_GELU_TANH), 0.2f, 0.6f};
}

static struct csi_device_op *add(struct net *net, enum csi_device_kind kind, int32_t input)
{
    struct csi_device_op *op = &net->ops[net->network.op_count++];

    *op = (struct csi_device_op){.kind = kind,
                                 .name = "layer",
                                 .inputs = {input},
                                 .input_count = 1,
                                 .gate = -1,
                                 .residual = -1,
                                 .groups = 1,
                                 .kernel = {1, 1},
                                 .stride = {1, 1},
                                 .dilation = {1, 1}};
    return op;
}

static uint32_t outputs_of(const struct csi_device_op *op, uint32_t size, int axis)
{
    return (size + op->pads[axis] + op->pads[axis + 2] - op->dilation[axis] * (op->kernel[axis] - 1) - 1) /
               op->stride[axis] +
           1;
}

/* The weights of a convolution whose window is set, and its output's map (before a pool). */
static int32_t finish_conv(struct net *net, struct csi_device_op *op, uint32_t channels, bool bias)
{
    const struct csi_device_map *in = &net->maps[op->inputs[0]];
    uint32_t depth = in->channels / op->groups * op->kernel[0] * op->kernel[1];

    op->weight = numbers(net, (size_t)channels * depth, 1.7f / sqrtf((float)depth));
    op->bias = bias ? numbers(net, channels, 0.5f) : NULL;
    op->output = map(net, channels, outputs_of(op, in->height, 0), outputs_of(op, in->width, 1));
    return op->output;
}

static int32_t pointwise(struct net *net, int32_t input, uint32_t channels)
{
    return finish_conv(net, add(net, CSI_DEVICE_CONV, input), channels, true);
}

/* A photo and a map of `channels` made of it. */
static int32_t start(struct net *net, uint32_t seed, uint32_t channels, uint32_t height, uint32_t width)
{
    memset(net, 0, sizeof *net);
    net->seed = seed * 2654435761u + 12345u;
    net->network.maps = net->maps;
    net->network.ops = net->ops;
    net->network.outputs = net->outputs;
    net->network.output_count = 1;
    net->network.max_batch = BATCH;
    net->network.input = map(net, 3, height, width);
    return pointwise(net, net->network.input, channels);
}

static void free_net(struct net *net)
{
    for (size_t i = 0; i < net->owned_count; i++)
        free(net->owned[i]);
}

/* ---- both devices, one beside the other ---- */

static size_t floats_of(const struct csi_device_map *m)
{
    return (size_t)m->height * m->width * ((m->channels + 15u) / 16u * 16u);
}

/* `lent`: bytes from `out` that the device may write to itself; 0: none. */
static void run_on(const struct csi_device_api *api, const struct net *net, const float *photos, size_t batch,
                   float *out, size_t lent)
{
    struct cs_error error = {0};
    struct csi_device_plan *plan = NULL;
    struct csi_device_run *run = NULL;

    if (api->plan_create(0, &net->network, &plan, &error) != CS_OK ||
        api->run_create(plan, &run, &error) != CS_OK)
        fail_msg("%s", error.message);
    if (lent > 0)
        api->lend(run, out, lent);
    if (api->run(run, photos, batch, &out, &error) != CS_OK)
        fail_msg("%s", error.message);
    api->run_destroy(run);
    api->plan_destroy(plan);
}

static double largest_of(const float *values, size_t count)
{
    double most = 1e-3;

    for (size_t i = 0; i < count; i++)
        most = fabs((double)values[i]) > most ? fabs((double)values[i]) : most;
    return most;
}

/* Each photo alone gives what it gave in the batch; in memory that the device writes to, too. */
static void check_alone(const struct net *net, const float *photos, size_t photo, const float *together,
                        size_t floats)
{
    size_t room = net->network.max_batch * floats * sizeof(float);
    float *alone = malloc(room);

    assert_non_null(alone);
    for (size_t n = 0; n < net->network.max_batch; n++) {
        memset(alone, 0xff, floats * sizeof *alone);
        run_on(gpu, net, photos + n * photo, 1, alone, n == 1 ? room : 0);
        assert_memory_equal(alone, together + n * floats, floats * sizeof *alone);
    }
    free(alone);
}

static void check_type(struct net *net, enum csi_device_type type, double bound, const char *what)
{
    const struct csi_device_map *in = &net->maps[net->network.input], *out = &net->maps[net->outputs[0]];
    size_t photo = (size_t)in->channels * in->height * in->width, floats = floats_of(out), wrong = 0;
    float *photos = malloc(BATCH * photo * sizeof *photos);
    float *expected = calloc(BATCH * floats, sizeof *expected), *got = malloc(BATCH * floats * sizeof *got);
    double most, worst = 0.0;

    assert_non_null(photos);
    assert_non_null(expected);
    assert_non_null(got);
    for (size_t i = 0; i < BATCH * photo; i++)
        photos[i] = number(net);
    for (size_t i = 0; i < BATCH * floats; i++)
        got[i] = NAN; /* what is not written is seen */
    net->network.type = type;
    run_on(reference_device(), net, photos, BATCH, expected, 0);
    run_on(gpu, net, photos, BATCH, got, 0);
    most = largest_of(expected, BATCH * floats);
    for (size_t i = 0; i < BATCH * floats; i++) {
        double error = fabs((double)got[i] - (double)expected[i]) / most;

        worst = error > worst ? error : worst;
        wrong += !(error <= bound);
    }
    if (wrong > 0)
        fail_msg("%s, type %d, %ux%ux%u -> %ux%ux%u: %zu of %zu numbers differ, by %g of the largest at most",
                 what, (int)type, in->channels, in->height, in->width, out->channels, out->height, out->width,
                 wrong, BATCH * floats, worst);
    check_alone(net, photos, photo, got, floats);
    free(photos);
    free(expected);
    free(got);
}

/* Sums in another order; and one in some hundred numbers then rounds to the neighbour: 2^-11 and 2^-8, twice
 * in a row where a map in between does. */
static void check_net(struct net *net, int32_t output, const char *what)
{
    net->outputs[0] = output;
    check_type(net, CSI_DEVICE_FP32, 3e-6, what);
    check_type(net, CSI_DEVICE_FP16, 2e-3, what);
    if (strcmp(gpu_info.kernels, "cuda_sm80") >= 0 || strlen(gpu_info.kernels) > strlen("cuda_sm80"))
        check_type(net, CSI_DEVICE_BF16, 1.6e-2, what);
    free_net(net);
}

/* ---- tests ---- */

static void random_window(struct net *net, struct csi_device_op *op)
{
    for (int i = 0; i < 2; i++) {
        op->kernel[i] = between(net, 1, 5);
        op->stride[i] = between(net, 1, 2);
        op->dilation[i] = between(net, 1, 2);
        op->pads[i] = between(net, 0, 2);
        op->pads[i + 2] = between(net, 0, 2);
    }
}

static void test_convolutions(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round += stride) {
        struct net net;
        uint32_t groups = round % 3 == 2 ? 4 * (1 + round % 5) : 1, each = round % 4 == 3 ? 3 : 1;
        int32_t before = start(&net, round, groups > 1 ? groups * each : 1 + round * 7 % 90, 10 + round % 9,
                               9 + round % 14);
        struct csi_device_op *op = NULL;
        int32_t gate = -1, residual = -1;
        struct csi_device_op window = {0};
        uint32_t channels = groups > 1 ? groups * (1 + round % 2) : 1 + round * 11 % 150;

        random_window(&net, &window);
        if (round % 5 == 1) { /* a gate: the map's own means */
            op = add(&net, CSI_DEVICE_GLOBAL_AVG_POOL, before);
            op->output = gate = map(&net, net.maps[before].channels, 1, 1);
        }
        if (round % 4 == 1) { /* a shortcut of the output's shape */
            op = add(&net, CSI_DEVICE_CONV, before);
            memcpy(op->kernel, window.kernel, sizeof window.kernel);
            memcpy(op->stride, window.stride, sizeof window.stride);
            memcpy(op->dilation, window.dilation, sizeof window.dilation);
            memcpy(op->pads, window.pads, sizeof window.pads);
            residual = finish_conv(&net, op, channels, false);
        }
        op = add(&net, CSI_DEVICE_CONV, before);
        memcpy(op->kernel, window.kernel, sizeof window.kernel);
        memcpy(op->stride, window.stride, sizeof window.stride);
        memcpy(op->dilation, window.dilation, sizeof window.dilation);
        memcpy(op->pads, window.pads, sizeof window.pads);
        op->groups = groups;
        op->gate = gate;
        op->residual = residual;
        op->residual_after = round % 8 == 5;
        op->act = any_act(&net);
        finish_conv(&net, op, channels, round % 7 != 0);
        if (residual < 0 && groups == 1 && round % 2 == 0 && net.maps[op->output].height > 1 &&
            net.maps[op->output].width > 1) {
            op->pool = 1;
            net.maps[op->output].height /= 2;
            net.maps[op->output].width /= 2;
        }
        check_net(&net, op->output, op->pool ? "convolution and pool" : "convolution");
    }
}

/* Large enough for every tile, deep enough for sums in parts; the shapes of real networks. */
static void test_large_convolutions(void **state)
{
    static const struct {
        uint32_t in, out, size, kernel, pad, stride, pool;
    } shapes[] = {{512, 512, 7, 3, 1, 1, 0},  {1280, 40, 1, 1, 0, 1, 0}, {64, 128, 56, 3, 1, 1, 1},
                  {256, 512, 14, 3, 1, 2, 0}, {96, 200, 80, 3, 1, 1, 0}, {40, 64, 112, 1, 0, 1, 0},
                  {64, 33, 90, 3, 1, 1, 1},   {320, 10, 7, 7, 0, 1, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i += stride) {
        struct net net;
        int32_t before = start(&net, 1000 + (uint32_t)i, shapes[i].in, shapes[i].size, shapes[i].size);
        struct csi_device_op *op = add(&net, CSI_DEVICE_CONV, before);

        for (int k = 0; k < 2; k++) {
            op->kernel[k] = shapes[i].kernel;
            op->stride[k] = shapes[i].stride;
            op->pads[k] = op->pads[k + 2] = shapes[i].pad;
        }
        op->act = (struct csi_act_params){CSI_FN_RELU, 0, 0};
        finish_conv(&net, op, shapes[i].out, true);
        if (shapes[i].pool) {
            op->pool = 1;
            net.maps[op->output].height /= 2;
            net.maps[op->output].width /= 2;
        }
        check_net(&net, op->output, "large convolution");
    }
}

/* A batch that is computed in pieces, in other tiles than a photo alone; and in parts of the depth. */
static void test_batches(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 4; round++) {
        struct net net;
        uint32_t channels = round % 2 ? 300 : 40, size = round % 2 ? 7 : 30, batch = 14;
        int32_t before = start(&net, 2000 + round, channels, size, size);
        struct csi_device_op *op = add(&net, CSI_DEVICE_CONV, before);
        size_t photo = (size_t)3 * size * size, floats;
        float *photos = numbers(&net, batch * photo, 1.0f), *together;

        op->kernel[0] = op->kernel[1] = 3;
        op->pads[0] = op->pads[1] = op->pads[2] = op->pads[3] = 1;
        net.outputs[0] = finish_conv(&net, op, 150, true);
        floats = floats_of(&net.maps[net.outputs[0]]);
        together = malloc(batch * floats * sizeof *together);
        assert_non_null(together);
        net.network.max_batch = batch;
        net.network.type = round < 2 ? CSI_DEVICE_FP16 : CSI_DEVICE_FP32;
        run_on(gpu, &net, photos, batch, together, round % 2 ? batch * floats * sizeof *together : 0);
        check_alone(&net, photos, photo, together, floats);
        free(together);
        free_net(&net);
    }
}

/* The first layer reads the photo itself, of any number of channels. */
static void test_photos(void **state)
{
    (void)state;
    for (uint32_t channels = 1; channels <= 17; channels += 2) {
        struct net net;
        struct csi_device_op *op;

        start(&net, channels, 8, 21, 18);
        free_net(&net);
        net.network.op_count = net.owned_count = 0;
        net.network.map_count = 1;
        net.maps[0].channels = channels;
        op = add(&net, CSI_DEVICE_CONV, 0);
        op->kernel[0] = op->kernel[1] = 3;
        op->pads[0] = op->pads[3] = 1;
        if (channels % 4 == 3)
            random_window(&net, op);
        if (channels % 8 == 5) { /* another reads the photo as it is */
            int32_t second;

            op->pads[1] = op->pads[2] = 1;
            second = finish_conv(&net, op, 24, true);
            op = add(&net, CSI_DEVICE_CONCAT, 0);
            op->inputs[1] = second;
            op->input_count = 2;
            op->output = map(&net, channels + 24, 21, 18);
            check_net(&net, op->output, "a photo that is read twice");
            continue;
        }
        check_net(&net, finish_conv(&net, op, 24, true), "first layer");
    }
}

static void test_pools(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round += stride) {
        struct net net;
        int32_t before = start(&net, round, 1 + round * 5 % 70, 12 + round % 7, 10 + round % 5);
        struct csi_device_op *op = add(&net, round % 2 ? CSI_DEVICE_AVG_POOL : CSI_DEVICE_MAX_POOL, before);

        random_window(&net, op);
        op->dilation[0] = op->dilation[1] = round % 2 ? 1 : op->dilation[0];
        for (int i = 0; i < 4; i++) /* a window never lies in padding alone */
            op->pads[i] = op->pads[i] < op->kernel[i % 2] / 2 ? op->pads[i] : op->kernel[i % 2] / 2;
        op->count_include_pad = round % 4 == 1;
        op->output = map(&net, net.maps[before].channels, outputs_of(op, net.maps[before].height, 0),
                         outputs_of(op, net.maps[before].width, 1));
        check_net(&net, op->output, round % 2 ? "average pool" : "max pool");
    }
    for (uint32_t channels = 1; channels < 200; channels += 39) {
        struct net net;
        int32_t before = start(&net, channels, channels, 7 + channels % 30, 9);
        struct csi_device_op *op = add(&net, CSI_DEVICE_GLOBAL_AVG_POOL, before);

        op->output = map(&net, channels, 1, 1);
        check_net(&net, op->output, "global average pool");
    }
}

static void test_arithmetic(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 64; round += stride) {
        struct net net;
        uint32_t channels = 1 + round * 3 % 40, height = 6, width = 5 + round % 4;
        int32_t before = start(&net, round, channels, height, width), other;
        bool constant = round / 4 % 2 == 1;
        uint32_t c = round / 8 % 2 ? 1 : channels, h = round / 16 % 2 ? 1 : height,
                 w = round / 32 % 2 ? 1 : width;
        struct csi_device_op *op;

        if (constant) {
            float *values = numbers(&net, (size_t)c * h * w, 1.0f);

            for (size_t i = 0; i < (size_t)c * h * w; i++)
                values[i] += values[i] < 0.0f ? -0.5f : 0.5f; /* a divisor is far from zero */
            other = map(&net, c, h, w);
            net.maps[other].constant = values;
        } else { /* a map of that shape, above 1 */
            struct csi_device_op *crop = add(&net, CSI_DEVICE_CONV, before);

            crop->kernel[0] = h == 1 ? height : 1;
            crop->kernel[1] = w == 1 ? width : 1;
            crop->act = (struct csi_act_params){CSI_FN_CLIP, 1.0f, 3.0f};
            other = finish_conv(&net, crop, c, true);
        }
        op = add(&net, CSI_DEVICE_ARITH, before);
        op->arith = (enum csi_arith)(round % 4);
        op->inputs[round % 3 == 0 && op->arith != CSI_ARITH_DIV ? 0 : 1] = other;
        op->inputs[round % 3 == 0 && op->arith != CSI_ARITH_DIV ? 1 : 0] = before;
        op->input_count = 2;
        op->act = any_act(&net);
        op->output = map(&net, channels, height, width);
        check_net(&net, op->output, "arithmetic");
    }
}

static void test_others(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round += stride) {
        struct net net;
        uint32_t channels = 4 * (1 + round % 9);
        int32_t before = start(&net, round, channels, 6, 8);
        struct csi_device_op *op = NULL;
        const char *what = NULL;

        switch (round % 6) {
        case 0:
            what = "scale and shift";
            op = add(&net, CSI_DEVICE_SCALE_SHIFT, before);
            op->weight = numbers(&net, channels, 2.0f);
            op->bias = numbers(&net, channels, 1.0f);
            op->act = any_act(&net);
            op->output = map(&net, channels, 6, 8);
            break;
        case 1:
            what = "activation";
            op = add(&net, CSI_DEVICE_ACTIVATION, before);
            op->act = any_act(&net);
            op->output = map(&net, channels, 6, 8);
            break;
        case 2: {
            int32_t second = pointwise(&net, before, 3 + round),
                    third = pointwise(&net, before, 1 + round % 20);

            what = "concatenation";
            op = add(&net, CSI_DEVICE_CONCAT, second);
            op->inputs[1] = before;
            op->inputs[2] = third;
            op->input_count = 3;
            op->output = map(&net, net.maps[second].channels + channels + net.maps[third].channels, 6, 8);
            break;
        }
        case 3:
            what = "padding";
            op = add(&net, CSI_DEVICE_PAD, before);
            for (uint32_t i = 0; i < 4; i++)
                op->pads[i] = (round + i) % 4;
            op->output = map(&net, channels, 6 + op->pads[0] + op->pads[2], 8 + op->pads[1] + op->pads[3]);
            break;
        case 4:
            what = "reshape";
            op = add(&net, CSI_DEVICE_RESHAPE, before);
            op->output = round % 4 == 0 ? map(&net, channels * 48, 1, 1) : map(&net, channels / 4, 12, 16);
            break;
        default:
            what = "quantisation mark";
            op = add(&net, CSI_DEVICE_QUANTIZE, before);
            op->scale = 0.25f;
            op->zero = (float)(round % 5) - 2.0f;
            op->low = -12.0f;
            op->high = 13.0f;
            op->output = map(&net, channels, 6, 8);
            net.ops[0].act = (struct csi_act_params){CSI_FN_CLIP, 0.3f, 0.31f}; /* far from a half */
            break;
        }
        check_net(&net, op->output, what);
    }
}

/* Where sums leave a type's range the outputs say so; weights that do are refused. */
static void test_ranges(void **state)
{
    struct net net;
    struct cs_error error = {0};
    struct csi_device_plan *plan = NULL;
    int32_t output = start(&net, 1, 8, 4, 4);

    (void)state;
    net.outputs[0] = output;
    net.owned[0][0] = 1e6f;
    net.network.type = CSI_DEVICE_FP16;
    assert_int_equal(gpu->plan_create(0, &net.network, &plan, &error), CS_MODEL_UNSUPPORTED);
    assert_non_null(strstr(error.message, "'layer'"));
    assert_null(plan);
    net.network.type = CSI_DEVICE_FP32;
    assert_int_equal(gpu->plan_create(0, &net.network, &plan, &error), CS_OK);
    gpu->plan_destroy(plan);
    assert_int_equal(gpu->plan_create(63, &net.network, &plan, &error), CS_NOT_FOUND);
    assert_null(plan);
    gpu->plan_destroy(NULL);
    gpu->run_destroy(NULL);
    free_net(&net);
}

/* A NaN goes through every operator that computes with it. */
static void test_nan_stays(void **state)
{
    struct net net;
    int32_t before = start(&net, 5, 8, 8, 8);
    struct csi_device_op *op = add(&net, CSI_DEVICE_CONV, before);
    float photo[3 * 8 * 8], out[4 * 4 * 16];

    (void)state;
    op->kernel[0] = op->kernel[1] = 3;
    op->pads[0] = op->pads[1] = op->pads[2] = op->pads[3] = 1;
    op->act = (struct csi_act_params){CSI_FN_RELU, 0, 0};
    finish_conv(&net, op, 16, true);
    op->pool = 1;
    net.maps[op->output].height = net.maps[op->output].width = 4;
    net.outputs[0] = op->output;
    for (size_t i = 0; i < sizeof photo / sizeof photo[0]; i++)
        photo[i] = NAN;
    for (int type = CSI_DEVICE_FP32; type <= CSI_DEVICE_FP16; type++) {
        net.network.type = (enum csi_device_type)type;
        run_on(gpu, &net, photo, 1, out, 0);
        for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
            assert_true(isnan(out[i]));
    }
    free_net(&net);
}

int main(void)
{
    const char *build = getenv("CROPSHIELD_BUILD");
    const char *folders[] = {build != NULL ? build : CS_TEST_BUILD};
    struct cs_error error = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions), cmocka_unit_test(test_large_convolutions),
        cmocka_unit_test(test_batches),      cmocka_unit_test(test_photos),
        cmocka_unit_test(test_pools),        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_others),       cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_nan_stays),
    };

    if (csi_device_load_from(folders, 1, &gpu, &error) != CS_OK || gpu->info(0, &gpu_info, &error) != CS_OK) {
        printf("skipped: %s\n", error.message);
        return 77;
    }
    if (getenv("CROPSHIELD_TESTS") != NULL && strcmp(getenv("CROPSHIELD_TESTS"), "short") == 0)
        stride = 11; /* odd: all kinds of a round come up */
    printf("%s, %s\n", gpu_info.name, gpu_info.kernels);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
