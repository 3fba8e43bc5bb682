/*
 * oneDNN's bare primitives on the exported reference network: one JSON line, as the other peers. Built when
 * Debian's libdnnl-dev is there. Everything is prepared before the timed loop: primitives, packed weights,
 * memory. Layouts are those that oneDNN asks for; where two layers differ, and from the caller's NCHW floats,
 * a reorder stands in the timed chain.
 *
 *   bench_onednn DIR THREADS BATCH ITERATIONS direct|winograd|int8
 *
 * DIR holds input.bin, logits.bin, weights.bin, ranges.bin (bench/peers/export.py). Convolution, bias and
 * ReLU are one primitive; max-pools, the mean and the linear layer are their own. "winograd": every
 * convolution but the first, which is faster direct. "int8": 8-bit unsigned maps, 8-bit weights
 * with a scale a channel; the first layer's input is signed.
 */
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common.h"

enum { CONVOLUTIONS = 8, MAX_STEPS = 64, SIDE = 224 };

static const dnnl_dim_t widths[CONVOLUTIONS + 1] = {3, 64, 64, 128, 128, 256, 256, 512, 512};

struct step {
    dnnl_primitive_t primitive;
    int count;
    dnnl_exec_arg_t args[4];
};

struct net {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_dim_t batch;
    struct step steps[MAX_STEPS];
    size_t count;
};

#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        dnnl_status_t status_ = (call);                                                                      \
        if (status_ != dnnl_success) {                                                                       \
            fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, #call, (int)status_);              \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static dnnl_memory_desc_t describe(int rank, const dnnl_dim_t *dims, dnnl_data_type_t type,
                                   dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md;

    CHECK(dnnl_memory_desc_init_by_tag(&md, rank, dims, type, tag));
    return md;
}

static dnnl_memory_desc_t map_of(const struct net *net, dnnl_dim_t channels, dnnl_dim_t side,
                                 dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {net->batch, channels, side, side};

    return describe(4, dims, type, tag);
}

static dnnl_memory_t memory(const struct net *net, const dnnl_memory_desc_t *md, void *data)
{
    dnnl_memory_t made;

    CHECK(dnnl_memory_create(&made, md, net->engine, data != NULL ? data : DNNL_MEMORY_ALLOCATE));
    return made;
}

static const dnnl_memory_desc_t *md_of(dnnl_memory_t of)
{
    const dnnl_memory_desc_t *md;

    CHECK(dnnl_memory_get_memory_desc(of, &md));
    return md;
}

static dnnl_memory_desc_t wanted(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return *dnnl_primitive_desc_query_md(pd, what, 0);
}

/* Adds a primitive to the chain; `pd` is taken. */
static void add_step(struct net *net, dnnl_primitive_desc_t pd, int count, const dnnl_exec_arg_t *args)
{
    struct step *step = &net->steps[net->count++];

    CHECK(dnnl_primitive_create(&step->primitive, pd));
    CHECK(dnnl_primitive_desc_destroy(pd));
    step->count = count;
    memcpy(step->args, args, (size_t)count * sizeof *args);
}

static void run_step(const struct net *net, const struct step *step)
{
    CHECK(dnnl_primitive_execute(step->primitive, net->stream, step->count, step->args));
}

/* `from` as `md` describes, times `scale`: itself, or a reorder in the chain. */
static dnnl_memory_t as(struct net *net, dnnl_memory_t from, dnnl_memory_desc_t md, float scale)
{
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    dnnl_memory_t to;

    if (dnnl_memory_desc_equal(md_of(from), &md) && scale >= 1 && scale <= 1)
        return from;
    to = memory(net, &md, NULL);
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale));
    CHECK(dnnl_reorder_primitive_desc_create(&pd, md_of(from), net->engine, &md, net->engine, attr));
    CHECK(dnnl_primitive_attr_destroy(attr));
    add_step(net, pd, 2, (const dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    return to;
}

/* Packs now: constants are not in the chain. */
static dnnl_memory_t packed(struct net *net, void *data, dnnl_memory_desc_t plain, dnnl_memory_desc_t md)
{
    dnnl_memory_t from = memory(net, &plain, data), to = as(net, from, md, 1);

    if (to != from) {
        run_step(net, &net->steps[--net->count]);
        CHECK(dnnl_stream_wait(net->stream));
        CHECK(dnnl_primitive_destroy(net->steps[net->count].primitive));
        CHECK(dnnl_memory_destroy(from));
    }
    return to;
}

/* What a convolution computes with: float32, or integers that stand for in_scale × and out_scale ×
 * themselves. */
struct layer {
    dnnl_dim_t in, out, side;
    dnnl_alg_kind_t algorithm;
    bool int8;
    float in_scale, out_scale;
    float *weight, *bias;
};

/* Weights to 8-bit integers in place of `out`, a scale a channel; the bias in units of the sums; the factors
 * of the results. */
static void quantise(const struct layer *layer, signed char *whole, float *bias, float *factors)
{
    size_t each = (size_t)layer->in * 9;

    for (size_t o = 0; o < (size_t)layer->out; o++) {
        float most = 0, scale;

        for (size_t i = 0; i < each; i++)
            most = fmaxf(most, fabsf(layer->weight[o * each + i]));
        scale = most > 0 ? most / 127 : 1;
        for (size_t i = 0; i < each; i++)
            whole[o * each + i] = (signed char)lrintf(layer->weight[o * each + i] / scale);
        bias[o] = layer->bias[o] / (layer->in_scale * scale);
        factors[o] = layer->in_scale * scale / layer->out_scale;
    }
}

static dnnl_primitive_desc_t describe_convolution(const struct net *net, const struct layer *layer,
                                                  dnnl_data_type_t in, const dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t one = {1, 1}, kernel = {layer->out, layer->in, 3, 3};
    dnnl_memory_desc_t source = map_of(net, layer->in, layer->side, in, dnnl_format_tag_any);
    dnnl_memory_desc_t weight = describe(4, kernel, layer->int8 ? dnnl_s8 : dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_t bias = describe(1, kernel, dnnl_f32, dnnl_a);
    dnnl_memory_desc_t target =
        map_of(net, layer->out, layer->side, layer->int8 ? dnnl_u8 : dnnl_f32, dnnl_format_tag_any);
    dnnl_alg_kind_t algorithms[2] = {layer->algorithm, dnnl_convolution_direct};
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = dnnl_unimplemented;

    for (int i = 0; i < 2 && status == dnnl_unimplemented; i++) {
        CHECK(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, algorithms[i], &source,
                                                 &weight, &bias, &target, one, one, one));
        status = dnnl_primitive_desc_create(&pd, &desc, attr, net->engine, NULL);
    }
    CHECK(status);
    return pd;
}

static dnnl_memory_t convolve(struct net *net, const struct layer *layer, dnnl_memory_t x)
{
    const dnnl_dims_t kernel = {layer->out, layer->in, 3, 3};
    size_t out = (size_t)layer->out;
    signed char *whole = malloc(out * (size_t)layer->in * 9);
    float *scaled = malloc(out * sizeof *scaled), *factors = malloc(out * sizeof *factors);
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t relu;
    dnnl_primitive_desc_t pd;
    dnnl_memory_desc_t md;
    dnnl_memory_t weight, bias, y;

    if (whole == NULL || scaled == NULL || factors == NULL)
        exit(1);
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_post_ops_create(&relu));
    CHECK(dnnl_post_ops_append_eltwise(relu, 1, dnnl_eltwise_relu, 0, 0));
    CHECK(dnnl_primitive_attr_set_post_ops(attr, relu));
    CHECK(dnnl_post_ops_destroy(relu));
    if (layer->int8) {
        quantise(layer, whole, scaled, factors);
        CHECK(dnnl_primitive_attr_set_output_scales(attr, layer->out, 1 << 1, factors));
    }
    pd = describe_convolution(net, layer, !layer->int8 ? dnnl_f32 : layer->in == 3 ? dnnl_s8 : dnnl_u8, attr);
    CHECK(dnnl_primitive_attr_destroy(attr));
    x = as(net, x, wanted(pd, dnnl_query_src_md), layer->int8 && layer->in == 3 ? 1 / layer->in_scale : 1);
    weight = packed(net, layer->int8 ? (void *)whole : layer->weight,
                    describe(4, kernel, layer->int8 ? dnnl_s8 : dnnl_f32, dnnl_oihw),
                    wanted(pd, dnnl_query_weights_md));
    md = describe(1, kernel, dnnl_f32, dnnl_a);
    bias = memory(net, &md, NULL);
    {
        void *handle;

        CHECK(dnnl_memory_get_data_handle(bias, &handle));
        memcpy(handle, layer->int8 ? scaled : layer->bias, out * sizeof(float));
    }
    md = wanted(pd, dnnl_query_dst_md);
    y = memory(net, &md, NULL);
    if (getenv("BENCH_ONEDNN_VERBOSE") != NULL) {
        const char *name;

        CHECK(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name));
        fprintf(stderr, "%d -> %d at %d: %s\n", (int)layer->in, (int)layer->out, (int)layer->side, name);
    }
    add_step(net, pd, 4,
             (const dnnl_exec_arg_t[]){
                 {DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}});
    free(whole);
    free(scaled);
    free(factors);
    return y;
}

static dnnl_memory_t pool(struct net *net, dnnl_alg_kind_t kind, dnnl_dim_t window, dnnl_memory_t x)
{
    const dnnl_dims_t size = {window, window}, none = {0, 0};
    const dnnl_memory_desc_t *source = md_of(x);
    dnnl_memory_desc_t target =
        map_of(net, source->dims[1], source->dims[2] / window, source->data_type, dnnl_format_tag_any);
    dnnl_pooling_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_memory_t y;

    CHECK(dnnl_pooling_forward_desc_init(&desc, dnnl_forward_inference, kind, source, &target, size, size,
                                         none, none));
    CHECK(dnnl_primitive_desc_create(&pd, &desc, NULL, net->engine, NULL));
    target = wanted(pd, dnnl_query_dst_md);
    y = memory(net, &target, NULL);
    add_step(net, pd, 2, (const dnnl_exec_arg_t[]){{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}});
    return y;
}

static dnnl_memory_t classify(struct net *net, dnnl_dim_t classes, float *weight, float *bias,
                              dnnl_memory_t x)
{
    const dnnl_dims_t kernel = {classes, md_of(x)->dims[1], 1, 1}, result = {net->batch, classes};
    dnnl_memory_desc_t any = describe(4, kernel, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_t flat = describe(1, kernel, dnnl_f32, dnnl_a);
    dnnl_memory_desc_t target = describe(2, result, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_t source = map_of(net, kernel[1], 1, dnnl_f32, dnnl_format_tag_any);
    dnnl_inner_product_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_memory_t packed_weight, y;

    CHECK(dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_inference, &source, &any, &flat, &target));
    CHECK(dnnl_primitive_desc_create(&pd, &desc, NULL, net->engine, NULL));
    x = as(net, x, wanted(pd, dnnl_query_src_md), 1);
    packed_weight =
        packed(net, weight, describe(4, kernel, dnnl_f32, dnnl_oihw), wanted(pd, dnnl_query_weights_md));
    y = memory(net, &target, NULL);
    add_step(net, pd, 4,
             (const dnnl_exec_arg_t[]){{DNNL_ARG_SRC, x},
                                       {DNNL_ARG_WEIGHTS, packed_weight},
                                       {DNNL_ARG_BIAS, memory(net, &flat, bias)},
                                       {DNNL_ARG_DST, y}});
    return y;
}

/* The whole network as a chain of steps; returns its logits. */
static dnnl_memory_t build(struct net *net, const char *mode, float *input, float *weights,
                           const float *ranges, size_t classes)
{
    bool int8 = strcmp(mode, "int8") == 0;
    dnnl_memory_desc_t md = map_of(net, 3, SIDE, dnnl_f32, dnnl_nchw);
    dnnl_memory_t x = memory(net, &md, input);
    struct layer layer = {.side = SIDE, .int8 = int8};

    for (int i = 0; i < CONVOLUTIONS; i++) {
        /* Of three channels direct is faster. */
        layer.algorithm =
            i > 0 && strcmp(mode, "winograd") == 0 ? dnnl_convolution_winograd : dnnl_convolution_direct;
        layer.in = widths[i];
        layer.out = widths[i + 1];
        layer.in_scale = ranges[i] / (i == 0 ? 127 : 255);
        layer.out_scale = ranges[i + 1] / 255;
        layer.weight = weights;
        layer.bias = weights + (size_t)layer.in * (size_t)layer.out * 9;
        weights = layer.bias + layer.out;
        x = convolve(net, &layer, x);
        if (i % 2 == 1) {
            x = pool(net, dnnl_pooling_max, 2, x);
            layer.side /= 2;
        }
    }
    if (int8)
        x = as(net, x, map_of(net, widths[CONVOLUTIONS], layer.side, dnnl_f32, dnnl_nhwc), layer.out_scale);
    x = pool(net, dnnl_pooling_avg_exclude_padding, layer.side, x);
    return classify(net, (dnnl_dim_t)classes, weights, weights + classes * (size_t)widths[CONVOLUTIONS], x);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static size_t floats_in(const char *folder, const char *name)
{
    char path[4096];
    FILE *file;
    long size = 0;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (file != NULL)
        fclose(file);
    return size > 0 ? (size_t)size / sizeof(float) : 0;
}

int main(int argc, char **argv)
{
    struct net net = {0};

    if (argc != 6 || atoi(argv[2]) < 1 || atoi(argv[3]) < 1 || atoi(argv[3]) > 8 || atoi(argv[4]) < 1 ||
        (strcmp(argv[5], "direct") != 0 && strcmp(argv[5], "winograd") != 0 &&
         strcmp(argv[5], "int8") != 0)) {
        fprintf(stderr, "usage: bench_onednn DIR THREADS BATCH ITERATIONS direct|winograd|int8\n");
        return 2;
    }
    size_t batch = (size_t)atoi(argv[3]), iterations = (size_t)atoi(argv[4]);
    size_t warmup = iterations < 5 ? iterations : 5, classes = floats_in(argv[1], "logits.bin") / 8;
    float *input = read_floats(argv[1], "input.bin", batch * 3 * SIDE * SIDE);
    float *want = read_floats(argv[1], "logits.bin", batch * classes);
    float *weights = read_floats(argv[1], "weights.bin", floats_in(argv[1], "weights.bin"));
    float *ranges = read_floats(argv[1], "ranges.bin", CONVOLUTIONS + 1);
    double *ms = malloc(iterations * sizeof *ms), worst = 0;
    const float *logits;
    void *handle;

    omp_set_num_threads(atoi(argv[2]));
    net.batch = (dnnl_dim_t)batch;
    CHECK(dnnl_engine_create(&net.engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&net.stream, net.engine, dnnl_stream_default_flags));
    CHECK(dnnl_memory_get_data_handle(build(&net, argv[5], input, weights, ranges, classes), &handle));
    logits = handle;
    for (size_t i = 0; ms != NULL && i < warmup + iterations; i++) {
        double start = now_ms();

        for (size_t k = 0; k < net.count; k++)
            run_step(&net, &net.steps[k]);
        CHECK(dnnl_stream_wait(net.stream));
        if (i >= warmup)
            ms[i - warmup] = now_ms() - start;
    }
    for (size_t i = 0; i < batch * classes; i++)
        worst = fmax(worst, fabs((double)logits[i] - (double)want[i]));
    qsort(ms, iterations, sizeof *ms, compare);
    printf(
        "{\"engine\":\"onednn-%d.%d-%s\",\"threads\":%s,\"batch\":%zu,\"p50\":%.3f,\"min\":%.3f,\"max\":%.3f,"
        "\"max_abs_error\":%.3g}\n",
        dnnl_version()->major, dnnl_version()->minor, argv[5], argv[2], batch, ms[iterations / 2], ms[0],
        ms[iterations - 1], worst);
    return 0; /* the process ends: what the chain holds goes with it */
}
