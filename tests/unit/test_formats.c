/*
 * The model readers on sound files (tests/data/models, written by PyTorch): every tensor as PyTorch stored
 * it, metadata, class lists, conversion to the native file and back; and what files that are sound but of no
 * use here are answered.
 */
#include "base/utf8.h"
#include "unit/made_weights.h"
#include "unit/onnx_writer.h"

static enum cs_status read_model(const char *name, const char *classes, struct csi_graph **graph,
                                 struct cs_error *error)
{
    char path[1024], classes_path[1024];
    struct csi_model_file_options options = {.path = path,
                                             .classes_path = classes == NULL ? NULL : classes_path};
    uint8_t *bytes;
    size_t size;
    enum cs_status status;

    snprintf(path, sizeof path, "%s/models/%s", CS_TEST_DATA, name);
    snprintf(classes_path, sizeof classes_path, "%s/models/%s", CS_TEST_DATA, classes == NULL ? "" : classes);
    made_read_bytes(name, &bytes, &size);
    status = csi_model_file_read(bytes, size, &options, graph, NULL, error);
    free(bytes);
    return status;
}

static void every_format_gives_the_same_network(void **state)
{
    static const struct {
        const char *file, *format;
        enum csi_dtype dtype;
    } files[] = {{"plain.pth", "pytorch", CSI_F32},          {"protocol4.pth", "pytorch", CSI_F32},
                 {"prefixed.pth", "pytorch", CSI_F32},       {"dict_half.pth", "pytorch", CSI_F16},
                 {"dict_bfloat16.pth", "pytorch", CSI_BF16}, {"dict_double.pth", "pytorch", CSI_F32},
                 {"shared_storage.pth", "pytorch", CSI_F32}, {"scripted.pt", "torchscript", CSI_F32},
                 {"traced.pt", "torchscript", CSI_F32}};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct csi_graph *graph;
        struct cs_error error = {0};

        if (read_model(files[i].file, NULL, &graph, &error) != CS_OK)
            fail_msg("%s: %s", files[i].file, error.message);
        assert_string_equal(graph->format, files[i].format);
        assert_string_equal(graph->architecture, "CropShieldCNN");
        assert_string_equal(graph->gradcam_layer, "block4");
        assert_int_equal(graph->class_count, 5);
        assert_int_equal(graph->parameters, 4831);
        assert_int_equal(made_weights_check(graph, files[i].dtype), 8 * 5 + 2);
        csi_graph_destroy(graph);
    }
}

static void native_metadata_is_used(void **state)
{
    struct csi_graph *graph;
    struct cs_error error = {0};
    const struct csi_value *extra;

    (void)state;
    if (read_model("native.safetensors", NULL, &graph, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_string_equal(graph->format, "safetensors");
    assert_string_equal(graph->name, "tiny");
    assert_string_equal(graph->classes[4], "Wheat__yellow_rust");
    assert_true(graph->tested[2]);
    assert_false(graph->tested[3]);
    assert_true(graph->temperature == 0.75);
    assert_int_equal(graph->preprocess.max_size, 640);
    assert_int_equal(graph->preprocess.resize, 40);
    assert_int_equal(graph->preprocess.crop, 32);
    assert_true(graph->preprocess.mean[2] == 0.3f && graph->preprocess.std_dev[1] == 0.25f);
    assert_non_null(strstr(graph->metadata_json, "\"architecture\":\"CropShieldCNN\""));
    extra = csi_graph_find_extra(graph, "ood.mean");
    assert_non_null(extra);
    assert_int_equal(extra->dims[0], 16);
    assert_true(extra->data[15] == 15.0f);
    assert_null(csi_graph_find_extra(graph, "block1.0.weight"));
    csi_graph_destroy(graph);
}

/* A header of 8 modulo 256 bytes begins as an ONNX file does: 0x08, then a small number. */
static void every_length_of_header_is_read(void **state)
{
    uint8_t *bytes, *padded;
    size_t size, header, wanted;

    (void)state;
    made_read_bytes("native.safetensors", &bytes, &size);
    header = (size_t)bytes[0] + ((size_t)bytes[1] << 8);
    wanted = (header / 256 + 1) * 256 + 8;
    padded = malloc(size + wanted - header);
    assert_non_null(padded);
    memcpy(padded, bytes, 8 + header);
    memset(padded + 8 + header, ' ', wanted - header);
    memcpy(padded + 8 + wanted, bytes + 8 + header, size - 8 - header);
    padded[0] = (uint8_t)wanted;
    padded[1] = (uint8_t)(wanted >> 8);
    assert_int_equal(padded[0], 8);
    assert_in_range(padded[1], 1, 30);
    {
        struct csi_graph *graph;
        struct cs_error error = {0};

        if (csi_model_file_read(padded, size + wanted - header, NULL, &graph, NULL, &error) != CS_OK)
            fail_msg("%s", error.message);
        assert_string_equal(graph->format, "safetensors");
        csi_graph_destroy(graph);
    }
    free(padded);
    free(bytes);
}

static void checkpoint_members_are_used(void **state)
{
    struct csi_graph *graph;
    struct cs_error error = {0};

    (void)state;
    assert_int_equal(read_model("dict_half.pth", NULL, &graph, &error), CS_OK);
    assert_string_equal(graph->name, "dict_half");
    assert_string_equal(graph->classes[1], "Potato__late_blight");
    assert_true(graph->temperature == 0.75);
    assert_null(strstr(graph->metadata_json, "optimizer"));
    csi_graph_destroy(graph);
    assert_int_equal(read_model("dict_bfloat16.pth", NULL, &graph, &error), CS_OK);
    assert_string_equal(graph->classes[0], "Potato__healthy");
    csi_graph_destroy(graph);
}

static void class_lists_from_files(void **state)
{
    struct csi_graph *graph;
    struct cs_error error = {0};
    struct csi_model_file_options options = {.path = "nowhere/plain.pth",
                                             .classes_path = "nowhere/classes.json"};
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_int_equal(read_model("plain.pth", NULL, &graph, &error), CS_OK); /* none beside it */
    assert_string_equal(graph->classes[3], "class_3");
    csi_graph_destroy(graph);
    assert_int_equal(read_model("plain.pth", "class_to_idx_example.json", &graph, &error), CS_OK);
    assert_string_equal(graph->classes[3], "Wheat__healthy");
    csi_graph_destroy(graph);
    made_read_bytes("plain.pth", &bytes, &size);
    assert_int_equal(csi_model_file_read(bytes, size, &options, &graph, NULL, &error), CS_NOT_FOUND);
    assert_null(graph);
    options.classes_path = NULL;
    options.input_size = 64;
    assert_int_equal(csi_model_file_read(bytes, size, &options, &graph, NULL, &error), CS_OK);
    assert_int_equal(graph->preprocess.crop, 64);
    assert_int_equal(graph->preprocess.resize, 73); /* 256/224 of it */
    csi_graph_destroy(graph);
    options.input_size = 100000;
    assert_int_equal(csi_model_file_read(bytes, size, &options, &graph, NULL, &error), CS_BAD_REQUEST);
    free(bytes);
}

static void class_list_beside_the_model(void **state)
{
    char folder[] = "/tmp/cropshield_formats_XXXXXX", path[128];
    static const char list[] = "{\"a\":4,\"b\":3,\"c\":2,\"d\":1,\"e\":0}";
    struct csi_model_file_options options = {.path = path};
    struct csi_graph *graph;
    struct cs_error error = {0};
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/class_to_idx.json", folder);
    assert_int_equal(csi_file_write_atomic(path, list, sizeof list - 1, &error), CS_OK);
    snprintf(path, sizeof path, "%s/model.pth", folder);
    made_read_bytes("plain.pth", &bytes, &size);
    assert_int_equal(csi_model_file_read(bytes, size, &options, &graph, NULL, &error), CS_OK);
    assert_string_equal(graph->classes[0], "e");
    csi_graph_destroy(graph);
    free(bytes);
    snprintf(path, sizeof path, "%s/class_to_idx.json", folder);
    assert_int_equal(remove(path), 0);
    assert_int_equal(remove(folder), 0);
}

static void conversion_keeps_everything(void **state)
{
    static const char *const files[] = {"plain.pth",          "dict_half.pth",      "dict_double.pth",
                                        "shared_storage.pth", "native.safetensors", "traced.pt"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct csi_graph *first, *second;
        struct cs_error error = {0};
        uint8_t *bytes, *native, *again;
        size_t size, native_size, again_size;

        made_read_bytes(files[i], &bytes, &size);
        if (csi_model_file_convert(bytes, size, NULL, &native, &native_size, &error) != CS_OK)
            fail_msg("%s: %s", files[i], error.message);
        assert_int_equal(csi_model_file_read(bytes, size, NULL, &first, NULL, &error), CS_OK);
        if (csi_model_file_read(native, native_size, NULL, &second, NULL, &error) != CS_OK)
            fail_msg("%s: %s", files[i], error.message);
        assert_string_equal(second->format, "safetensors");
        assert_string_equal(first->classes[4], second->classes[4]);
        assert_true(first->temperature == second->temperature);
        assert_memory_equal(&first->preprocess, &second->preprocess, sizeof first->preprocess);
        assert_int_equal(first->extra_count, second->extra_count);
        assert_memory_equal(first->tested, second->tested, first->class_count * sizeof *first->tested);
        assert_int_equal(first->value_count, second->value_count);
        for (size_t k = 0; k < first->value_count; k++)
            if (csi_value_is_constant(&first->values[k]))
                assert_memory_equal(first->values[k].data, second->values[k].data,
                                    csi_value_elements(&first->values[k]) * sizeof(float));
        /* A file of ours converts to itself. */
        assert_int_equal(csi_model_file_convert(native, native_size, NULL, &again, &again_size, &error),
                         CS_OK);
        assert_int_equal(native_size, again_size);
        assert_memory_equal(native, again, native_size);
        csi_graph_destroy(first);
        csi_graph_destroy(second);
        free(again);
        free(native);
        free(bytes);
    }
}

static void what_cannot_be_used_is_explained(void **state)
{
    static const struct {
        const char *file;
        enum cs_status status;
        const char *words;
    } files[] = {
        {"legacy.pth", CS_MODEL_UNSUPPORTED, "write it again with torch.save"},
        {"whole_model.pth", CS_MODEL_INVALID, "cropshield.models.CropShieldCNN"},
        {"unknown_tensor.pth", CS_MODEL_UNSUPPORTED, "'block9.0.weight'"},
        {"wrapped_head.pth", CS_MODEL_UNSUPPORTED, "'head.weight' stands beside the network 'model'"},
        {"wrapped.pt", CS_MODEL_UNSUPPORTED, "no known architecture (first of 42: 'model."},
        {"wrong_count.pth", CS_MODEL_INVALID, "num_classes 9, but the network has 5"},
        {"wrong_type.pth", CS_MODEL_INVALID, "'resnet18'"},
        {"frozen.pt", CS_MODEL_UNSUPPORTED, "frozen"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct csi_graph *graph;
        struct cs_error error = {0};

        assert_int_equal(read_model(files[i].file, NULL, &graph, &error), files[i].status);
        assert_null(graph);
        assert_int_equal(error.status, files[i].status);
        if (strstr(error.message, files[i].words) == NULL)
            fail_msg("%s: '%s' does not say '%s'", files[i].file, error.message, files[i].words);
    }
}

/* Flipping any byte of a native file's weights is noticed; flipping one elsewhere never does harm. */
static void damage_is_noticed(void **state)
{
    uint8_t *bytes;
    size_t size, header;
    struct csi_graph *graph;
    struct cs_error error = {0};

    (void)state;
    made_read_bytes("native.safetensors", &bytes, &size);
    header = 8 + (size_t)bytes[0] + ((size_t)bytes[1] << 8);
    for (size_t at = 0; at < size; at += at < header ? 1 : 97) {
        enum cs_status status;

        bytes[at] ^= 0x10;
        status = csi_model_file_read(bytes, size, NULL, &graph, NULL, &error);
        if (at >= header)
            assert_int_equal(status, CS_MODEL_INVALID);
        csi_graph_destroy(graph);
        bytes[at] ^= 0x10;
    }
    free(bytes);
}

static void half_precision_is_exact(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        float value, wanted;
        uint32_t exponent = i >> 10 & 31u, fraction = i & 1023u;

        csi_dtype_to_float(CSI_F16, (const uint8_t *)&half, 1, &value);
        if (exponent == 31 && fraction != 0) {
            assert_true(isnan(value));
            assert_true((csi_float_to_half(value) & 0x7fffu) > 0x7c00u);
            continue;
        }
        wanted = exponent == 31  ? INFINITY
                 : exponent == 0 ? ldexpf((float)fraction, -24)
                                 : ldexpf((float)(1024 + fraction), (int)exponent - 25);
        assert_true(value == ((i & 0x8000u) != 0 ? -wanted : wanted));
        assert_int_equal(csi_float_to_half(value), half);
    }
    assert_int_equal(csi_float_to_half(65519.996f), 0x7bff);
    assert_int_equal(csi_float_to_half(65520.0f), 0x7c00);
    assert_int_equal(csi_float_to_half(1.00048828125f), 0x3c00); /* halfway: to even */
    assert_int_equal(csi_float_to_half(1.00146484375f), 0x3c02);
    assert_int_equal(csi_float_to_half(0x1p-25f), 0);
    assert_int_equal(csi_float_to_half(0x1.8p-24f), 2);
}

static void embedded_models(void **state)
{
    size_t size;

    (void)state;
    assert_non_null(csi_embedded_model("", &size));
    assert_true(size > 1000);
    assert_null(csi_embedded_model("no such model", &size));
    assert_int_equal(size, 0);
}

/* What the build computed is what hashing gives, and the digest that the file states is right. */
static void embedded_digests(void **state)
{
    static const char *const names[] = {"", "lite"};
    struct csi_hash known, hashed;
    struct csi_graph *graph;
    uint8_t *copy;
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const uint8_t *bytes = csi_embedded_model(names[i], &size);

        if (bytes == NULL)
            continue; /* a build without it */
        csi_hash_bytes(bytes, size, &hashed);
        if (csi_embedded_digest(bytes, &known))
            assert_memory_equal(known.bytes, hashed.bytes, CSI_HASH_SIZE);
        assert_int_equal(csi_model_file_read(bytes, size, NULL, &graph, &known, NULL), CS_OK);
        assert_memory_equal(known.bytes, hashed.bytes, CSI_HASH_SIZE);
        csi_graph_destroy(graph);
        copy = malloc(size); /* elsewhere the same bytes are hashed, and checked against what they state */
        assert_non_null(copy);
        memcpy(copy, bytes, size);
        assert_false(csi_embedded_digest(copy, &known));
        assert_int_equal(csi_model_file_read(copy, size, NULL, &graph, &known, NULL), CS_OK);
        assert_memory_equal(known.bytes, hashed.bytes, CSI_HASH_SIZE);
        csi_graph_destroy(graph);
        copy[size - 1] ^= 1;
        assert_int_equal(csi_model_file_read(copy, size, NULL, &graph, &known, NULL), CS_MODEL_INVALID);
        free(copy);
    }
}

/* `text` is what `expected` says, then `times` times `part`, then `rest`. */
static void check_text(const char *text, const char *expected, size_t times, const char *part,
                       const char *rest)
{
    size_t at = strlen(expected);

    assert_memory_equal(text, expected, at);
    for (size_t i = 0; i < times; i++, at += strlen(part))
        assert_memory_equal(text + at, part, strlen(part));
    assert_string_equal(text + at, rest);
}

/* Names of any bytes and any length: cut between characters, what is not UTF-8 replaced, and kept by
 * conversion. */
static void names_become_utf8(void **state)
{
    struct csi_buffer graph = {0}, file, name = {0}, path = {0};
    struct csi_model_file_options options = {0};
    struct csi_graph *network;
    struct cs_error error = {0};
    const float ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const char *weights[2] = {"", ""};
    uint8_t *native;
    size_t size;

    (void)state;
    csi_buffer_printf(&name, "\xff");
    csi_buffer_printf(&path, "folder/");
    for (int i = 0; i < 100; i++) {
        csi_buffer_printf(&name, "\xc3\xa9");
        csi_buffer_printf(&path, "\xe2\x82\xac");
    }
    put_input(&graph, 8);
    for (int i = 0; i < 2; i++) { /* two long names that are the same once they are cut */
        struct csi_buffer weight = {0};

        csi_buffer_printf(&weight, "%s.%d", (const char *)name.bytes, i);
        put_tensor(&graph, (const char *)weight.bytes, 3, 3, ones);
        put_node(&graph, "MatMul", i == 0 ? "f" : (const char *)name.bytes, (const char *)weight.bytes,
                 i == 0 ? (const char *)name.bytes : "y");
        csi_buffer_free(&weight);
    }
    put_model(&file, &graph, "y");
    options.path = (const char *)path.bytes;
    if (csi_model_file_read(file.bytes, file.size, &options, &network, NULL, &error) != CS_OK)
        fail_msg("%s", error.message);
    check_text(network->nodes[3].name, "\xef\xbf\xbd", 62, "\xc3\xa9", ""); /* 127 bytes */
    check_text(network->name, "", 42, "\xe2\x82\xac", "");
    csi_graph_destroy(network);
    if (csi_model_file_convert(file.bytes, file.size, &options, &native, &size, &error) != CS_OK ||
        csi_model_file_read(native, size, NULL, &network, NULL, &error) != CS_OK)
        fail_msg("%s", error.message);
    check_text(network->name, "", 42, "\xe2\x82\xac", "");
    for (size_t i = 0, found = 0; i < network->value_count; i++)
        if (csi_value_is_constant(&network->values[i]))
            weights[found++] = network->values[i].name;
    check_text(weights[0], "\xef\xbf\xbd", 62, "\xc3\xa9", "");
    check_text(weights[1], "\xef\xbf\xbd", 48, "\xc3\xa9",
               ".5"); /* what fits into 100 bytes, and its place */
    csi_graph_destroy(network);
    free(native);
    csi_buffer_free(&file);
    csi_buffer_free(&name);
    csi_buffer_free(&path);
}

static void utf8_is_told_and_cut(void **state)
{
    static const char *const bad[] = {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};
    char out[6];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(csi_is_utf8(bad[i]));
    assert_true(csi_is_utf8("") && csi_is_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\xb1"));
    assert_int_equal(csi_utf8_prefix("\xc3\xa9\xc3\xa9", 4), 4);
    assert_int_equal(csi_utf8_prefix("\xc3\xa9\xc3\xa9", 3), 2);
    assert_int_equal(csi_utf8_prefix("\xf0\x9f\x8c\xb1", 3), 0);
    csi_utf8_copy(out, sizeof out, "a\xff\xc3\xa9");
    assert_string_equal(out, "a\xef\xbf\xbd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_the_same_network),
        cmocka_unit_test(native_metadata_is_used),
        cmocka_unit_test(every_length_of_header_is_read),
        cmocka_unit_test(checkpoint_members_are_used),
        cmocka_unit_test(class_lists_from_files),
        cmocka_unit_test(class_list_beside_the_model),
        cmocka_unit_test(conversion_keeps_everything),
        cmocka_unit_test(what_cannot_be_used_is_explained),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(half_precision_is_exact),
        cmocka_unit_test(embedded_models),
        cmocka_unit_test(embedded_digests),
        cmocka_unit_test(names_become_utf8),
        cmocka_unit_test(utf8_is_told_and_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
