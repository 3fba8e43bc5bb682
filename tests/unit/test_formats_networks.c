/*
 * torchvision's networks as people save them (tests/data/models, written by PyTorch): checkpoints of every
 * float type, dictionary form, prefix and order of keys, and TorchScript archives, traced and scripted. Each
 * gives the named network with every tensor as PyTorch stored it, the user's class count, and, converted, the
 * same network again. Variants whose shapes contradict what goes by position (strides, pools, padding) are
 * refused.
 */
#include "unit/made_weights.h"

struct network {
    const char *name;
    enum csi_dtype dtype; /* of the checkpoint; TorchScript is float32 */
    size_t constants;     /* convolutions, norms (4 each), linear layers */
    const char *layer;    /* of the maps */
};

static const struct network networks[] = {
    {"resnet18", CSI_F64, 20 + 20 * 4 + 2, "layer4"},
    {"resnet34", CSI_F16, 36 + 36 * 4 + 2, "layer4"},
    {"resnet50", CSI_BF16, 53 + 53 * 4 + 2, "layer4"},
    {"mobilenet_v2", CSI_F16, 52 + 52 * 4 + 2, "features.18"},
    {"mobilenet_v3_small", CSI_F32, 34 + 18 * 2 + 34 * 4 + 4, "features.12"},
    {"mobilenet_v3_large", CSI_BF16, 46 + 16 * 2 + 46 * 4 + 4, "features.16"},
    {"efficientnet_b0", CSI_F16, 49 + 32 * 2 + 49 * 4 + 2, "features.8"},
    {"vgg11_bn", CSI_F16, 8 * 2 + 8 * 4 + 3 * 2, "features.27"},
    {"vgg16_bn", CSI_F16, 13 * 2 + 13 * 4 + 3 * 2, "features.42"},
};

static void check_network(const struct network *network, const struct csi_graph *graph, enum csi_dtype dtype)
{
    assert_string_equal(graph->architecture, network->name);
    assert_string_equal(graph->gradcam_layer, network->layer);
    assert_int_equal(graph->class_count, 6);
    assert_int_equal(made_weights_check(graph, dtype), network->constants);
}

static void read_both_ways(const struct network *network, const char *ending, const char *format,
                           enum csi_dtype dtype)
{
    char file[64];
    uint8_t *bytes, *native;
    size_t size, native_size;
    struct csi_graph *graph;
    struct cs_error error = {0};

    snprintf(file, sizeof file, "%s.%s", network->name, ending);
    made_read_bytes(file, &bytes, &size);
    if (csi_model_file_read(bytes, size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", file, error.message);
    assert_string_equal(graph->format, format);
    check_network(network, graph, dtype);
    if (strcmp(file, "efficientnet_b0.pth") == 0) /* its class_to_idx counts backwards */
        assert_string_equal(graph->classes[0], "Leaf__5");
    else
        assert_string_equal(graph->classes[5], "class_5");
    csi_graph_destroy(graph);
    if (csi_model_file_convert(bytes, size, NULL, &native, &native_size, &error) != CS_OK ||
        csi_model_file_read(native, native_size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", file, error.message);
    assert_string_equal(graph->format, "safetensors");
    check_network(network, graph, dtype);
    csi_graph_destroy(graph);
    free(native);
    free(bytes);
}

static void checkpoints(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        read_both_ways(&networks[i], "pth", "pytorch",
                       networks[i].dtype == CSI_F64 ? CSI_F32 : networks[i].dtype);
}

static void torchscript(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        read_both_ways(&networks[i], "pt", "torchscript", CSI_F32);
}

/* A network with another tensor in one place, or whose file states an architecture (NULL: not). */
static enum cs_status read_changed(const char *file, const struct csi_tensor *other, const char *stated,
                                   struct csi_graph **graph, struct cs_error *error)
{
    struct csi_tensor_set set;

    assert_int_equal(csi_tensor_set_init(&set, "safetensors", error), CS_OK);
    if (stated != NULL)
        assert_int_equal(json_object_set_new(set.metadata, "architecture", json_string(stated)), 0);
    made_add_network(&set, file, "", other);
    return made_read_set(&set, graph, error);
}

/* Tensor names and all other shapes are those of the network. */
static void variants_of_other_shapes_are_refused(void **state)
{
    static const struct {
        const char *file;
        struct csi_tensor other;
        const char *words;
    } variants[] = {
        /* the stem for small photos: stride 1, no pool */
        {"resnet18.pth", {"conv1.weight", 4, {2, 3, 3, 3}, NULL}, "a 3x3 kernel, not the architecture's 7x7"},
        {"resnet50.pth", {"conv1.weight", 4, {2, 3, 7, 3}, NULL}, "a 7x3 kernel, not the architecture's 7x7"},
        {"resnet18.pth", {"layer1.0.conv1.weight", 4, {2, 2, 1, 1}, NULL}, "a 1x1 kernel, not the"},
        {"resnet50.pth", {"layer2.0.conv1.weight", 4, {4, 8, 3, 3}, NULL}, "a 3x3 kernel, not the"},
        {"vgg11_bn.pth", {"features.0.weight", 4, {2, 3, 1, 1}, NULL}, "a 1x1 kernel, not the"},
        {"mobilenet_v2.pth", {"features.1.conv.1.weight", 4, {1, 1, 3, 3}, NULL}, "a 3x3 kernel, not the"},
        {"plain.pth", {"block2.0.weight", 4, {4, 2, 5, 5}, NULL}, "a 5x5 kernel, not the architecture's 3x3"},
        {"efficientnet_b0.pth", {"features.2.0.block.1.0.weight", 4, {6, 1, 4, 4}, NULL}, "whose padding"},
        {"efficientnet_b0.pth", {"features.0.0.weight", 4, {3, 1, 3, 3}, NULL}, "reads 1 channels"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        struct csi_graph *graph;
        struct cs_error error = {0};
        enum cs_status status = read_changed(variants[i].file, &variants[i].other, NULL, &graph, &error);

        if (status != CS_MODEL_UNSUPPORTED || strstr(error.message, variants[i].words) == NULL ||
            strstr(error.message, variants[i].other.name) == NULL)
            fail_msg("%s, %s: %s '%s'", variants[i].file, variants[i].other.name, cs_status_name(status),
                     error.message);
    }
}

/* The architecture that the file states: the network's name, its family's or nobody's, in any case. */
static void stated_names_are_true_or_say_nothing(void **state)
{
    static const struct {
        const char *file, *stated;
        const char *words; /* NULL: it is read */
    } files[] = {
        {"resnet18.pth", "ResNet18", NULL},
        {"resnet18.pth", "resnet", NULL},
        {"resnet34.pth", "ResNet", NULL},
        {"efficientnet_b0.pth", "EfficientNet", NULL},
        {"vgg11_bn.pth", "VGG", NULL},
        {"vgg11_bn.pth", "my_leaf_net", NULL},
        {"resnet18.pth", "resnet34", "says 'resnet34' but its tensors are those of 'resnet18'"},
        {"resnet18.pth", "VGG", "says 'VGG' but its tensors are those of 'resnet18'"},
        {"mobilenet_v2.pth", "resnet", "says 'resnet' but its tensors are those of 'mobilenet_v2'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct csi_graph *graph;
        struct cs_error error = {0};
        enum cs_status status = read_changed(files[i].file, NULL, files[i].stated, &graph, &error);

        if (files[i].words == NULL
                ? status != CS_OK
                : status != CS_MODEL_INVALID || strstr(error.message, files[i].words) == NULL)
            fail_msg("%s, %s: %s '%s'", files[i].file, files[i].stated, cs_status_name(status),
                     error.message);
        if (graph != NULL) /* the file's name for it goes no further */
            assert_memory_equal(files[i].file, graph->architecture, strlen(graph->architecture));
        csi_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(checkpoints), cmocka_unit_test(torchscript),
                                       cmocka_unit_test(variants_of_other_shapes_are_refused),
                                       cmocka_unit_test(stated_names_are_true_or_say_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
