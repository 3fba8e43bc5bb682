/*
 * Plans whose front a device computes, on a device in plain C: the same results as on the CPU, batches,
 * types, failures; and the loader of plug-ins. Every network of the engine's tests goes through it, too
 * (nets.h).
 */
#include <pthread.h>
#include <unistd.h>

#include "formats/model_file.h"
#include "kernels/device_plugin.h"
#include "unit/made_weights.h"
#include "unit/nets.h"

#define PHOTOS 3u

struct pair {
    struct csi_plan *cpu, *device;
    struct csi_exec *cpu_exec, *device_exec;
    float *input;
    size_t photo;
};

static struct csi_plan_options options_of(const char *target, enum cs_precision precision)
{
    struct csi_plan_options options = {
        .max_batch = PHOTOS, .target_layer = target, .device = reference_device(), .precision = precision};

    assert_int_equal(csi_cpu_allowed(NULL, &options.cpu_features, NULL), CS_OK);
    options.cpu_features &= ~(uint32_t)CSI_CPU_AMX_BF16; /* results as exact as the device's */
    return options;
}

static void open_pair(struct pair *pair, const struct csi_graph *graph, const char *target,
                      enum cs_precision precision)
{
    struct csi_plan_options options = options_of(target, precision);
    struct cs_error error = {0};
    struct net numbers = {.seed = 99};

    if (csi_plan_create(graph, &options, &pair->device, &error) != CS_OK)
        fail_msg("%s", error.message);
    options.device = NULL;
    options.precision = CS_PRECISION_FP32;
    assert_int_equal(csi_plan_create(graph, &options, &pair->cpu, &error), CS_OK);
    if (csi_exec_create(pair->device, &pair->device_exec, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(csi_exec_create(pair->cpu, &pair->cpu_exec, &error), CS_OK);
    pair->photo = csi_value_elements(&graph->values[graph->input]);
    pair->input = malloc(PHOTOS * pair->photo * sizeof(float));
    assert_non_null(pair->input);
    for (size_t i = 0; i < PHOTOS * pair->photo; i++)
        pair->input[i] = random_float(&numbers);
}

static void close_pair(struct pair *pair)
{
    csi_exec_destroy(pair->device_exec);
    csi_exec_destroy(pair->cpu_exec);
    csi_plan_destroy(pair->device);
    csi_plan_destroy(pair->cpu);
    free(pair->input);
    assert_int_equal(reference_alive(), 0);
}

static float *copied(const float *from, size_t count)
{
    float *copy = malloc((count + 1) * sizeof *copy);

    assert_non_null(from);
    assert_non_null(copy);
    memcpy(copy, from, count * sizeof *copy);
    return copy;
}

static void compare_maps(const char *what, const struct pair *pair, double tolerance)
{
    const struct csi_plan_info *info = csi_plan_info(pair->device);
    size_t map = info->map_channels * info->map_height * info->map_width;
    struct cs_error error = {0};

    for (size_t n = 0; n < PHOTOS; n++) {
        const float *here, *there;
        enum cs_status status = csi_exec_gradient(pair->cpu_exec, n, 1, &here, &error);

        assert_near(what, csi_exec_activations(pair->device_exec, n), csi_exec_activations(pair->cpu_exec, n),
                    map, tolerance);
        assert_int_equal(csi_exec_gradient(pair->device_exec, n, 1, &there, &error), status);
        if (status == CS_OK)
            assert_near(what, there, here, map, tolerance);
    }
}

/* Everything that a run gives, and photos one by one as in a batch, to the bit. */
static void compare(const char *what, const struct pair *pair, double tolerance)
{
    const struct csi_plan_info *info = csi_plan_info(pair->device);
    size_t logits = PHOTOS * info->class_count, embedding = PHOTOS * info->embedding_size;
    float *together, *embedded = NULL;

    assert_int_equal(csi_exec_run(pair->cpu_exec, pair->input, PHOTOS, false, NULL), CS_OK);
    assert_int_equal(csi_exec_run(pair->device_exec, pair->input, PHOTOS, false, NULL), CS_OK);
    assert_near(what, csi_exec_logits(pair->device_exec), csi_exec_logits(pair->cpu_exec), logits, tolerance);
    if (embedding > 0)
        assert_near(what, csi_exec_embedding(pair->device_exec), csi_exec_embedding(pair->cpu_exec),
                    embedding, tolerance);
    compare_maps(what, pair, tolerance);
    together = copied(csi_exec_logits(pair->device_exec), logits);
    if (embedding > 0)
        embedded = copied(csi_exec_embedding(pair->device_exec), embedding);
    for (size_t n = 0; n < PHOTOS; n++) {
        assert_int_equal(csi_exec_run(pair->device_exec, pair->input + n * pair->photo, 1, n % 2 == 1, NULL),
                         CS_OK);
        assert_memory_equal(csi_exec_logits(pair->device_exec), together + n * info->class_count,
                            info->class_count * sizeof(float));
        if (embedding > 0)
            assert_memory_equal(csi_exec_embedding(pair->device_exec), embedded + n * info->embedding_size,
                                info->embedding_size * sizeof(float));
    }
    free(together);
    free(embedded);
}

/* ---- known networks ---- */

static void read_model(const char *name, struct csi_graph **graph)
{
    /* A VGG pools to 7×7; an export has one size. */
    bool own = strncmp(name, "vgg", 3) == 0 || strstr(name, ".onnx") != NULL;
    struct csi_model_file_options file = {.input_size = own ? 0 : 64};
    struct cs_error error = {0};
    uint8_t *bytes;
    size_t size;

    made_read_bytes(name, &bytes, &size);
    if (csi_model_file_read(bytes, size, &file, graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", name, error.message);
    free(bytes);
}

static void test_architectures(void **state)
{
    static const char *const names[] = {
        "resnet18.pth",        "resnet34.pth",   "resnet50.pth",           "mobilenet_v2.pth",
        "vgg11_bn.pth",        "vgg16_bn.pth",   "mobilenet_v3_small.pth", "mobilenet_v3_large.pth",
        "efficientnet_b0.pth", "resnet18.onnx",  "mobilenet_v2.onnx",      "native.safetensors",
        "activations.onnx",    "quantised.onnx", "quantised_residual.onnx"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct csi_graph *graph;
        struct pair pair;

        read_model(names[i], &graph);
        open_pair(&pair, graph, NULL, CS_PRECISION_FP32);
        /* Sums whose last digits differ may be rounded to another level. */
        compare(names[i], &pair, strncmp(names[i], "quantised", 9) == 0 ? 1e-2 : 1e-4);
        close_pair(&pair);
        csi_graph_destroy(graph);
    }
}

/* Every layer of a ResNet as target: shortcuts around it come back from the device or start on the CPU. */
static void test_targets_in_the_middle(void **state)
{
    static const char *const targets[] = {"conv1",          "layer1.0.conv1", "layer1.0.bn1",
                                          "layer1.0.conv2", "layer1.0",       "layer2.0.conv1",
                                          "layer2",         "layer3.1.conv1", "layer4.0.downsample"};
    struct csi_graph *graph;

    (void)state;
    read_model("resnet18.pth", &graph);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct pair pair;

        open_pair(&pair, graph, targets[i], CS_PRECISION_FP32);
        compare(targets[i], &pair, 1e-4);
        close_pair(&pair);
    }
    csi_graph_destroy(graph);
}

/* ---- what a plan says ---- */

static void start_small(struct net *net)
{
    start(net, 3, 20, 16);
    conv(net, net->last, (struct conv_shape){24, 3, 1, 1, 1, 1, true});
    norm(net, net->last);
    act(net, net->last, CSI_ACT_RELU, 0, 0);
    conv(net, net->last, (struct conv_shape){18, 3, 2, 1, 1, 1, true});
    head(net, 6);
    net->graph->output = net->last;
}

static void test_info(void **state)
{
    struct csi_plan_options options = options_of(NULL, CS_PRECISION_AUTO);
    const struct csi_plan_info *info;
    struct csi_plan *plan;
    struct net net;
    double flops = 0;

    (void)state;
    start_small(&net);
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    info = csi_plan_info(plan);
    assert_string_equal(info->kernels, REFERENCE_KERNELS);
    assert_int_equal(info->device, CS_DEVICE_CUDA);
    assert_int_equal(info->precision, CS_PRECISION_FP16);
    assert_int_equal(csi_plan_layer_count(plan), 3); /* the device, the pool, the linear layer */
    assert_string_equal(csi_plan_layer(plan, 0)->name, "n3");
    assert_string_equal(csi_plan_layer(plan, 0)->algorithm, REFERENCE_KERNELS "_fp16");
    assert_string_equal(csi_plan_layer(plan, 0)->shape, "3x20x16 -> 18x10x8");
    for (size_t i = 0; i < csi_plan_layer_count(plan); i++)
        flops += csi_plan_layer(plan, i)->gflop * 1e9;
    assert_true(fabs(flops - 2.0 * csi_graph_macs(net.graph)) < 1.0);
    csi_plan_destroy(plan);
    options.device = NULL;
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_plan_info(plan)->device, CS_DEVICE_CPU);
    csi_plan_destroy(plan);
    csi_graph_destroy(net.graph);
}

static void test_types(void **state)
{
    static const struct {
        enum cs_precision precision;
        double tolerance;
    } types[] = {{CS_PRECISION_FP16, 4e-3}, {CS_PRECISION_BF16, 3e-2}, {CS_PRECISION_FP32, 1e-5}};
    struct net net;

    (void)state;
    start_small(&net);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct pair pair;

        open_pair(&pair, net.graph, NULL, types[i].precision);
        assert_int_equal(csi_plan_info(pair.device)->precision, types[i].precision);
        compare(cs_precision_name(types[i].precision), &pair, types[i].tolerance);
        close_pair(&pair);
    }
    csi_graph_destroy(net.graph);
}

/* A photo too bright for fp16 does not pass for an answer, and the message says what does compute it. */
static void test_range_of_fp16(void **state)
{
    struct net net;
    struct pair pair;
    struct cs_error error = {0};

    (void)state;
    start_small(&net);
    open_pair(&pair, net.graph, NULL, CS_PRECISION_FP16);
    for (size_t i = 0; i < pair.photo; i++)
        pair.input[i] *= 1e9f;
    assert_int_equal(csi_exec_run(pair.device_exec, pair.input, 2, false, NULL), CS_OK);
    assert_int_equal(csi_exec_check(pair.device_exec, 0, &error), CS_MODEL_INVALID);
    assert_non_null(strstr(error.message, "fp16 ends at 65504"));
    assert_int_equal(csi_exec_check(pair.device_exec, 1, &error), CS_OK);
    assert_int_equal(csi_exec_run(pair.cpu_exec, pair.input, 1, false, NULL), CS_OK);
    assert_int_equal(csi_exec_check(pair.cpu_exec, 0, &error), CS_OK);
    close_pair(&pair);
    csi_graph_destroy(net.graph);
}

static void test_profile(void **state)
{
    struct net net;
    struct pair pair;
    uint64_t ns[8];

    (void)state;
    start_small(&net);
    open_pair(&pair, net.graph, NULL, CS_PRECISION_FP32);
    assert_int_equal(csi_exec_profile(pair.device_exec, pair.input, PHOTOS, ns, NULL), CS_OK);
    assert_true(ns[0] > 0);
    close_pair(&pair);
    csi_graph_destroy(net.graph);
}

/* What the device computes and the CPU reads later is not overwritten meanwhile: a map behind several steps
 * of the CPU, all of the same size. */
static void test_late_readers(void **state)
{
    static const struct conv_shape same = {16, 3, 1, 1, 1, 1, true};
    struct net net;
    struct pair pair;
    int early, target;
    char name[32];

    (void)state;
    start(&net, 16, 9, 9);
    early = conv(&net, net.last, same);
    target = act(&net, conv(&net, early, same), CSI_ACT_RELU, 0, 0);
    snprintf(name, sizeof name, "%s", last_node(&net)->name);
    for (int i = 0; i < 5; i++)
        act(&net, conv(&net, net.last, same), CSI_ACT_RELU, 0, 0);
    binary(&net, CSI_OP_MUL, net.last, early);
    conv(&net, net.last, same);
    binary(&net, CSI_OP_SUB, net.last, target);
    head(&net, 4);
    net.graph->output = net.last;
    open_pair(&pair, net.graph, name, CS_PRECISION_FP32);
    compare("late readers", &pair, 1e-4);
    close_pair(&pair);
    csi_graph_destroy(net.graph);
}

struct caller {
    const struct pair *pair;
    const float *expected;
    pthread_t thread;
    size_t wrong;
};

static void *call(void *context)
{
    struct caller *caller = context;
    const struct csi_plan *plan = caller->pair->device;
    struct csi_exec *exec;

    caller->wrong = 1;
    if (csi_exec_create(plan, &exec, NULL) != CS_OK)
        return NULL;
    caller->wrong = 0;
    for (size_t i = 0; i < 4; i++) {
        if (csi_exec_run(exec, caller->pair->input, PHOTOS, i % 2 == 0, NULL) != CS_OK ||
            memcmp(csi_exec_logits(exec), caller->expected,
                   PHOTOS * csi_plan_info(plan)->class_count * sizeof(float)) != 0)
            caller->wrong++;
    }
    csi_exec_destroy(exec);
    return NULL;
}

/* One plan, a run for each thread. */
static void test_threads(void **state)
{
    struct caller callers[3];
    struct net net;
    struct pair pair;

    (void)state;
    start_small(&net);
    open_pair(&pair, net.graph, NULL, CS_PRECISION_FP16);
    assert_int_equal(csi_exec_run(pair.device_exec, pair.input, PHOTOS, false, NULL), CS_OK);
    for (size_t i = 0; i < 3; i++) {
        callers[i] = (struct caller){.pair = &pair, .expected = csi_exec_logits(pair.device_exec)};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].wrong, 0);
    }
    close_pair(&pair);
    csi_graph_destroy(net.graph);
}

/* ---- refusals ---- */

static void assert_refused(const struct csi_graph *graph, const struct csi_plan_options *options,
                           enum cs_status status, const char *words)
{
    struct cs_error error = {0};
    struct csi_plan *plan;

    assert_int_equal(csi_plan_create(graph, options, &plan, &error), status);
    assert_null(plan);
    assert_int_equal(error.status, status);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, words);
    assert_int_equal(reference_alive(), 0);
}

static void test_refusals(void **state)
{
    struct csi_plan_options options = options_of(NULL, CS_PRECISION_INT8);
    struct net net;

    (void)state;
    start_small(&net);
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "int8 runs on the CPU only");
    options.precision = CS_PRECISION_FP16;
    options.separate = true;
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "on the CPU only");
    options.separate = false;
    options.device_index = 5;
    assert_refused(net.graph, &options, CS_NOT_FOUND, "no device has this index");
    options.device_index = 0;
    options.device = NULL;
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "bf16 and fp16 need device cuda");
    csi_graph_destroy(net.graph);
    options.device = reference_device();
    start(&net, 12, 1, 1); /* vectors only */
    simple(&net, net.last, CSI_OP_FLATTEN);
    linear(&net, net.last, 4);
    net.graph->output = net.last;
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "without a two-dimensional map");
    csi_graph_destroy(net.graph);
}

/* A softmax on the way to the map. */
static void test_unknown_operator(void **state)
{
    struct csi_plan_options options = options_of(NULL, CS_PRECISION_FP32);
    struct net net;
    int map;

    (void)state;
    start(&net, 3, 8, 8);
    map = conv(&net, net.last, (struct conv_shape){8, 3, 1, 1, 1, 1, true});
    simple(&net, map, CSI_OP_GLOBAL_AVG_POOL);
    simple(&net, net.last, CSI_OP_FLATTEN);
    simple(&net, net.last, CSI_OP_SOFTMAX);
    {
        struct csi_node node = node_of(&net, CSI_OP_RESHAPE);

        node.shape[0] = 1;
        node.shape[1] = 8;
        node.shape[2] = node.shape[3] = 1;
        node.shape_rank = 4;
        add(&net, &node, net.last);
    }
    binary(&net, CSI_OP_MUL, map, net.last);
    conv(&net, net.last, (struct conv_shape){8, 3, 1, 1, 1, 1, true});
    head(&net, 4);
    net.graph->output = net.last;
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "'n3': softmax does not run on a device");
    csi_graph_destroy(net.graph);
}

static void test_failing_device(void **state)
{
    struct csi_plan_options options = options_of(NULL, CS_PRECISION_FP32);
    struct cs_error error = {0};
    struct csi_plan *plan;
    struct csi_exec *exec;
    float *input;
    struct net net;

    (void)state;
    start_small(&net);
    input = calloc(PHOTOS * 3 * 20 * 16, sizeof *input);
    assert_non_null(input);
    reference_faults.info = CS_NOT_FOUND;
    assert_refused(net.graph, &options, CS_NOT_FOUND, "the driver does not answer");
    reference_faults = (struct reference_faults){.plan_create = CS_MODEL_UNSUPPORTED};
    assert_refused(net.graph, &options, CS_MODEL_UNSUPPORTED, "the device takes no network: n0");
    reference_faults = (struct reference_faults){.run_create = CS_INTERNAL};
    assert_int_equal(csi_plan_create(net.graph, &options, &plan, NULL), CS_OK);
    assert_int_equal(csi_exec_create(plan, &exec, &error), CS_INTERNAL);
    assert_null(exec);
    assert_non_null(strstr(error.message, "the device's memory is full"));
    reference_faults = (struct reference_faults){CS_OK, CS_OK, CS_OK, CS_OK};
    assert_int_equal(csi_exec_create(plan, &exec, NULL), CS_OK);
    reference_faults.run = CS_INTERNAL;
    assert_int_equal(csi_exec_run(exec, input, PHOTOS, false, &error), CS_INTERNAL);
    assert_string_equal(error.message, "layer 'n3' failed: the device fell off the bus");
    reference_faults.run = CS_OK;
    assert_int_equal(csi_exec_run(exec, input, PHOTOS, false, &error), CS_OK);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    assert_int_equal(reference_alive(), 0);
    free(input);
    csi_graph_destroy(net.graph);
}

/* ---- the loader ---- */

static void assert_loads(const char *variant, enum cs_status status, const char *words)
{
    char folder[1024];
    const char *folders[] = {"relative", "/nowhere/at/all", folder};
    const struct csi_device_api *api = reference_device();
    struct cs_error error = {0};

    snprintf(folder, sizeof folder, "%s/%s", CS_TEST_PLUGINS, variant);
    assert_int_equal(csi_device_load_from(folders, 3, &api, &error), status);
    assert_int_equal(api == NULL, status != CS_OK);
    if (status == CS_OK)
        assert_int_equal(api->abi, CSI_DEVICE_ABI);
    else if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, words);
    if (status == CS_MODEL_UNSUPPORTED && strstr(error.message, variant) == NULL)
        fail_msg("'%s' does not name the file of '%s'", error.message, variant);
}

static void test_loader(void **state)
{
    char folder[] = "/tmp/cropshield_plugin_XXXXXX", path[64];
    const char *folders[] = {folder};
    const struct csi_device_api *api;
    struct csi_device_info info;
    struct cs_error error = {0};
    FILE *file;

    (void)state;
    assert_loads("right", CS_OK, NULL);
    assert_loads("old", CS_MODEL_UNSUPPORTED, "interface is number 77, this program's 2");
    assert_loads("without_entry", CS_MODEL_UNSUPPORTED, "it has no csi_device_plugin");
    assert_loads("without_run", CS_MODEL_UNSUPPORTED, "functions are missing");
    assert_loads("none", CS_NOT_FOUND, "libcropshield_cuda.so is not in '/nowhere/at/all', '");
    assert_non_null(mkdtemp(folder)); /* a file that is no library */
    snprintf(path, sizeof path, "%s/%s", folder, CSI_DEVICE_FILE);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("not a library", file);
    fclose(file);
    assert_int_equal(csi_device_load_from(folders, 1, &api, &error), CS_MODEL_UNSUPPORTED);
    assert_non_null(strstr(error.message, path));
    unlink(path);
    rmdir(folder);
    if (csi_device_load(&api, &error) != CS_OK) { /* no plug-in beside this test: the reason stays the same */
        struct cs_error again = {0};

        assert_int_equal(csi_device_load(&api, &again), error.status);
        assert_string_equal(again.message, error.message);
        assert_null(api);
    } else if (api->info(0, &info, &error) == CS_OK) {
        assert_true(info.kernels[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures),  cmocka_unit_test(test_targets_in_the_middle),
        cmocka_unit_test(test_info),           cmocka_unit_test(test_types),
        cmocka_unit_test(test_range_of_fp16),  cmocka_unit_test(test_profile),
        cmocka_unit_test(test_late_readers),   cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_unknown_operator),
        cmocka_unit_test(test_failing_device), cmocka_unit_test(test_loader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
