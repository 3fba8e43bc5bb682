/*
 * What the model readers answer to the hostile files of the fuzz corpora: the right code, and words that name
 * what and where. fuzz/make_corpus.py writes the files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "formats/metadata.h"
#include "formats/model_file.h"
#include "formats/pickle.h"
#include "formats/pytorch.h"
#include "formats/safetensors.h"
#include "formats/zip_archive.h"

struct expectation {
    const char *file; /* folder/name in fuzz/corpus */
    enum cs_status status;
    const char *words; /* in the message */
};

static const struct expectation expectations[] = {
    {"safetensors/good", CS_OK, ""},
    {"safetensors/scalar_and_types", CS_OK, ""},
    {"safetensors/length_over_file", CS_MODEL_INVALID, "header states 1099511627776 bytes"},
    {"safetensors/length_overflows", CS_MODEL_INVALID, "header states"},
    {"safetensors/length_zero", CS_MODEL_INVALID, "no JSON"},
    {"safetensors/offsets_over_end", CS_MODEL_INVALID, "data_offsets of tensor 'a'"},
    {"safetensors/offsets_reversed", CS_MODEL_INVALID, "data_offsets of tensor 'a'"},
    {"safetensors/offsets_negative", CS_MODEL_INVALID, "data_offsets of tensor 'a'"},
    {"safetensors/overlap", CS_MODEL_INVALID, "tensor 'b' overlaps"},
    {"safetensors/hole", CS_MODEL_INVALID, "4 unused bytes lie before tensor 'b'"},
    {"safetensors/rest", CS_MODEL_INVALID, "8 unused bytes lie behind"},
    {"safetensors/shape_overflows", CS_MODEL_INVALID, "shape of tensor 'a'"},
    {"safetensors/shape_lies", CS_MODEL_INVALID, "tensor 'a' takes 8 bytes"},
    {"safetensors/shape_deep", CS_MODEL_UNSUPPORTED, "tensor 'a' has 9 dimensions"},
    {"safetensors/shape_empty", CS_MODEL_INVALID, "tensor 'a' is empty"},
    {"safetensors/type_unknown", CS_MODEL_UNSUPPORTED, "F8_E4M3"},
    {"safetensors/entry_extra_key", CS_MODEL_INVALID, "'a' is not {dtype, shape, data_offsets}"},
    {"safetensors/name_twice", CS_MODEL_INVALID, "duplicate"},
    {"safetensors/name_long", CS_MODEL_INVALID, "longer than 127"},
    {"safetensors/metadata_number", CS_MODEL_INVALID, "metadata 'temperature' is not a string"},
    {"safetensors/digest_wrong", CS_MODEL_INVALID, "digest"},
    {"safetensors/deep_nesting", CS_MODEL_INVALID, "depth"},
    {"safetensors/not_an_object", CS_MODEL_INVALID, "not a JSON object"},
    {"safetensors/not_utf8", CS_MODEL_INVALID, "decode byte 0xff"},
    {"safetensors/integer_huge", CS_MODEL_INVALID, "too big integer"},

    {"pickle/good", CS_OK, ""},
    {"pickle/plain_data", CS_OK, ""},
    {"pickle/plain_data_4", CS_OK, ""},
    {"pickle/os_system", CS_MODEL_INVALID, "'posix.system' at byte 2"},
    {"pickle/os_system_4", CS_MODEL_INVALID, "'posix.system'"},
    {"pickle/builtins_eval", CS_MODEL_INVALID, "'__builtin__.eval'"},
    {"pickle/nested_global", CS_MODEL_INVALID, "'subprocess.Popen'"},
    {"pickle/torch_lookalike", CS_MODEL_INVALID, "'torch.load'"},
    {"pickle/dotted_global", CS_MODEL_INVALID, "_utils.os.system"},
    {"pickle/newobj", CS_MODEL_INVALID, "'posix.system'"},
    {"pickle/inst_opcode", CS_MODEL_INVALID, "opcode 0x69"},
    {"pickle/ext_opcode", CS_MODEL_INVALID, "opcode 0x82"},
    {"pickle/no_stop", CS_MODEL_INVALID, "no end"},
    {"pickle/stack_underflow", CS_MODEL_INVALID, "byte 2"},
    {"pickle/mark_underflow", CS_MODEL_INVALID, "no mark"},
    {"pickle/items_into_number", CS_MODEL_INVALID, "no list or dictionary"},
    {"pickle/memo_unknown", CS_MODEL_INVALID, "memo index is unknown"},
    {"pickle/memo_huge", CS_MODEL_INVALID, "memo index is larger"},
    {"pickle/string_over_end", CS_MODEL_INVALID, "string reaches over the end"},
    {"pickle/own_member", CS_OK, ""},
    {"pickle/billion_laughs", CS_OK, ""},
    {"pickle/counter", CS_OK, ""},
    {"pickle/ordered_dicts_of_one_list", CS_MODEL_INVALID, "OrderedDicts of the same list"},
    {"pickle/deep_tuples", CS_OK, ""},
    {"pickle/persistent_id_not_storage", CS_MODEL_INVALID, "no storage"},
    {"pickle/tensor_out_of_storage", CS_MODEL_INVALID, "reaches out of its storage of 6"},
    {"pickle/tensor_expanded", CS_MODEL_INVALID, "reaches out of its storage of 1"},
    {"pickle/tensor_overflows", CS_MODEL_INVALID, "reaches out of its storage"},
    {"pickle/tensor_negative", CS_MODEL_INVALID, "without shape"},
    {"pickle/tensor_negative_stride", CS_MODEL_INVALID, "no list of positive numbers"},

    {"zip/good", CS_OK, ""},
    {"zip/deflated", CS_OK, ""},
    {"zip/overlap", CS_MODEL_INVALID, "overlap"},
    {"zip/dot_dot", CS_MODEL_INVALID, "'../evil', which leaves the archive"},
    {"zip/absolute", CS_MODEL_INVALID, "'/etc/evil', which leaves the archive"},
    {"zip/backslash", CS_MODEL_INVALID, "leaves the archive"},
    {"zip/twice", CS_MODEL_INVALID, "two ZIP entries named 'a/x'"},
    {"zip/bomb", CS_MODEL_INVALID, "unpacks to 31457280 bytes"},
    {"zip/size_lies", CS_MODEL_INVALID, "reaches over the end"},
    {"zip/size_lies_stored", CS_MODEL_INVALID, "contradict"},
    {"zip/size_lies_deflated", CS_MODEL_INVALID, "a/data.pkl"},
    {"zip/checksum", CS_MODEL_INVALID, "'a/data.pkl' is damaged"},
    {"zip/encrypted", CS_MODEL_UNSUPPORTED, "encrypted"},
    {"zip/method", CS_MODEL_UNSUPPORTED, "method 97"},
    {"zip/directory_outside", CS_MODEL_INVALID, "outside the archive"},
    {"zip/count_lies", CS_MODEL_INVALID, "outside the archive"},
    {"zip/zip64_outside", CS_MODEL_INVALID, "ZIP64 end record"},
    {"zip/zip64_size", CS_MODEL_INVALID, "reaches over the end"},
    {"zip/zip64_no_field", CS_MODEL_INVALID, "entry 0 has a damaged ZIP64 field"},
    {"zip/zip64_field_short", CS_MODEL_INVALID, "entry 0 has a damaged ZIP64 field"},
    {"zip/zip64_other_count", CS_MODEL_INVALID, ""},
    {"zip/names_collide", CS_MODEL_INVALID,
     "the names of the ZIP entries, at entry 256, are chosen to collide"},
    {"zip/no_end", CS_MODEL_INVALID, "cut"},
    {"zip/comment_lies", CS_MODEL_INVALID, "cut"},

    {"pytorch/good", CS_OK, ""},
    {"pytorch/transposed", CS_OK, ""},
    {"pytorch/torchscript", CS_OK, ""},
    {"pytorch/os_system", CS_MODEL_INVALID,
     "'posix.system' at byte 2, which no file of weights needs; nothing was executed"},
    {"pytorch/storage_missing", CS_MODEL_INVALID, "no entry for storage '7'"},
    {"pytorch/storage_short", CS_MODEL_INVALID, "storage '0' has 24 bytes"},
    {"pytorch/storage_name", CS_MODEL_INVALID, "no entry for storage '../../etc/passwd'"},
    {"pytorch/many_views", CS_MODEL_INVALID, "more elements than the file has bytes"},
    {"pytorch/name_twice", CS_MODEL_INVALID, "two tensors named 'a'"},
    {"pytorch/big_endian", CS_MODEL_UNSUPPORTED, "big-endian"},
    {"pytorch/no_pickle", CS_MODEL_INVALID, "no data.pkl"},
    {"pytorch/not_tensors", CS_MODEL_INVALID, "no dictionary of named tensors"},
    {"pytorch/name_not_utf8", CS_MODEL_INVALID, "is not UTF-8"},
    {"pytorch/member_not_utf8", CS_OK, ""},
    {"pytorch/classes_of_no_names", CS_OK, ""},
    {"pytorch/classes_list_empty", CS_OK, ""},
    {"pytorch/classes_text", CS_MODEL_INVALID, "the class list is not a JSON object or array"},
    {"pytorch/legacy", CS_MODEL_UNSUPPORTED, "torch.save"},
    {"pytorch/legacy_tar", CS_MODEL_UNSUPPORTED, "torch.save"},
    {"pytorch/torchscript_os_system", CS_MODEL_INVALID, "'posix.system' at byte"},
    {"pytorch/torchscript_deep", CS_MODEL_INVALID, "nested deeper"},
    {"pytorch/torchscript_class_without_archive", CS_MODEL_INVALID, "'__torch__.net.Net'"},
    {"pytorch/torchscript_one_state", CS_MODEL_INVALID, "same state for many objects"},
    {"pytorch/torchscript_many_modules", CS_MODEL_INVALID, "more than 1000000 parts"},
    {"pytorch/torchscript_many_parts", CS_MODEL_INVALID, "more than 1000000 parts"},

    {"model/good", CS_OK, ""},
    {"model/tensor_missing", CS_MODEL_INVALID, "'block2.4.running_var' is missing"},
    {"model/channels", CS_MODEL_INVALID, "block2.0"},
    {"model/rank", CS_MODEL_INVALID, "'classifier.1.weight' has 1 dimensions"},
    {"model/kernel", CS_MODEL_INVALID, "'block1.0.weight'"},
    {"model/classes", CS_MODEL_INVALID, "3 class names for 2 outputs"},
    {"model/classes_type", CS_MODEL_INVALID, "class 0 is not a string"},
    {"model/crop", CS_MODEL_INVALID, "preprocess.crop"},
    {"model/crop_small", CS_MODEL_INVALID, "do not fit"},
    {"model/mean", CS_MODEL_INVALID, "preprocess.mean"},
    {"model/std_zero", CS_MODEL_INVALID, "standard deviation"},
    {"model/temperature", CS_MODEL_INVALID, "temperature"},
    {"model/temperature_text", CS_MODEL_INVALID, "'temperature' is no JSON"},
    {"model/layer", CS_MODEL_INVALID, "gradcam_layer 'block7'"},
    {"model/architecture", CS_MODEL_INVALID, "'resnet50' but its tensors are those of 'CropShieldCNN'"},
    {"model/nan", CS_MODEL_INVALID, "'classifier.1.bias' holds a number that is not finite"},
    {"model/wrapped", CS_OK, ""},
    {"model/wrapped_deep", CS_OK, ""},
    {"model/wrapped_twice", CS_MODEL_UNSUPPORTED, "two networks, 'model' and 'net'"},
    {"model/wrapped_head", CS_MODEL_UNSUPPORTED, "'head.weight' stands beside the network 'model'"},
    {"model/wrapped_extra_twice", CS_MODEL_INVALID, "two tensors named 'ood.mean'"},
    {"model/wrapped_only_dots", CS_MODEL_UNSUPPORTED, "'CropShieldCNN' is not supported, or its tensors"},
    {"model/int8_zero_wraps", CS_MODEL_INVALID, "the zero point 65664 of 'block1.0' is not 0 to 255"},
    {"model/int8_zero_negative", CS_MODEL_INVALID, "the zero point -65536 of 'block1.0' is not 0 to 255"},
    {"model/range_of_four_bits", CS_MODEL_INVALID, "node 'q' (quantize): the range is 0 to 15"},
    {"model/range_huge", CS_MODEL_INVALID, "node 'q' (quantize): the range is -3e+38 to 3e+38"},
    {"model/range_without_zero", CS_MODEL_INVALID, "node 'q' (quantize): the zero point 60000"},
    {"model/text", CS_MODEL_INVALID, "none of"},
    {"model/empty", CS_MODEL_INVALID, "empty"},

    {"onnx/good", CS_OK, ""},
    {"onnx/shape_arithmetic", CS_OK, ""},
    {"onnx/shape_parts", CS_OK, ""},
    {"onnx/quantised_weight", CS_OK, ""},
    {"onnx/operator_unknown", CS_MODEL_UNSUPPORTED, "'rnn' (LSTM): this operator is not supported"},
    {"onnx/operator_of_others", CS_MODEL_UNSUPPORTED, "com.microsoft"},
    {"onnx/external_data", CS_MODEL_UNSUPPORTED, "'w' lies in another file"},
    {"onnx/external_constant", CS_MODEL_UNSUPPORTED, "external data is refused"},
    {"onnx/pad_axes", CS_OK, ""},
    {"onnx/pad_axes_outside", CS_MODEL_UNSUPPORTED, "'p0' (Pad)"},
    {"onnx/weight_quantised_here", CS_OK, ""},
    {"onnx/transposes", CS_OK, ""},
    {"onnx/transpose_at_the_end", CS_MODEL_UNSUPPORTED, "cannot be removed"},
    {"onnx/broadcast_grows", CS_MODEL_INVALID, "'ab' (Mul): constants grow far beyond the file's size"},
    {"onnx/gelu_spelt", CS_OK, ""},
    {"onnx/gelu_parts", CS_OK, ""},
    {"onnx/erf_alone", CS_MODEL_UNSUPPORTED, "'e' is an erf outside of GELU"},
    {"onnx/gelu_factor_huge", CS_MODEL_INVALID, "a factor is out of range"},
    {"onnx/gelu_scale_huge", CS_MODEL_INVALID, "a factor is out of range"},
    {"onnx/prelu", CS_OK, ""},
    {"onnx/prelu_of_rows", CS_MODEL_UNSUPPORTED, "'pr' (PRelu): the slope is no constant for all or each"},
    {"onnx/mean_axes_huge", CS_MODEL_INVALID, "'p' (ReduceMean): axis 9223372036854775807 is out of range"},
    {"onnx/gemm_alpha_huge", CS_MODEL_INVALID, "'fc' (Gemm): 'v' times alpha is not finite"},
    {"onnx/gemm_beta_huge", CS_MODEL_INVALID, "'fc' (Gemm): 'b' times beta is not finite"},
    {"onnx/opset_old", CS_MODEL_UNSUPPORTED, "opset 8"},
    {"onnx/opset_new", CS_MODEL_UNSUPPORTED, "opset 99"},
    {"onnx/tensor_lies", CS_MODEL_INVALID, "tensor 'w' does not hold"},
    {"onnx/tensor_overflows", CS_MODEL_INVALID, "shape of tensor 'w'"},
    {"onnx/tensor_negative", CS_MODEL_INVALID, "shape of tensor 'w'"},
    {"onnx/name_twice", CS_MODEL_INVALID, "'c' is empty or defined twice"},
    {"onnx/name_missing", CS_MODEL_INVALID, "'nowhere' is not defined"},
    {"onnx/own_output", CS_MODEL_INVALID, "'c' is not defined"},
    {"onnx/stride_zero", CS_MODEL_UNSUPPORTED, "strides"},
    {"onnx/pads_huge", CS_MODEL_INVALID, "more than"},
    {"onnx/groups", CS_MODEL_INVALID, "7 groups"},
    {"onnx/reshape_overflows", CS_MODEL_INVALID, "overflows"},
    {"onnx/constants_grow", CS_MODEL_INVALID, "far beyond the file's size"},
    {"onnx/gather_outside", CS_MODEL_INVALID, "index is out of range"},
    {"onnx/no_output", CS_MODEL_INVALID, "no output"},
    {"onnx/output_constant", CS_MODEL_INVALID, "no output"},
    {"onnx/input_flat", CS_MODEL_UNSUPPORTED, "'x' is not [batch, 3, height, width]"},
    {"onnx/two_inputs", CS_MODEL_UNSUPPORTED, "more than one input"},
    {"onnx/two_graphs", CS_MODEL_INVALID, "in a ModelProto: a field that is no list comes twice"},
    {"onnx/deep", CS_MODEL_INVALID, "in a GraphProto: messages are nested deeper than 24"},
    {"onnx/length_lies", CS_MODEL_INVALID,
     "damaged at byte 2, in a ModelProto: a length reaches over the end"},
    {"onnx/cut", CS_MODEL_INVALID, "in a ModelProto: a length reaches over the end"},
    {"onnx/wire_type", CS_MODEL_INVALID, "damaged at byte 2, in a ModelProto: a field has a type"},

    {"classes/good", CS_OK, ""},
    {"classes/list", CS_OK, ""},
    {"classes/hole", CS_MODEL_INVALID, "0 to 1, each once"},
    {"classes/twice", CS_MODEL_INVALID, "each once"},
    {"classes/negative", CS_MODEL_INVALID, "each once"},
    {"classes/name_twice", CS_MODEL_INVALID, "duplicate"},
    {"classes/number", CS_MODEL_INVALID, "no JSON"},
    {"classes/empty", CS_MODEL_INVALID, "is empty"},
    {"classes/deep", CS_MODEL_INVALID, "depth"},
    {"classes/text", CS_MODEL_INVALID, "each once"},
    {"classes/cut", CS_MODEL_INVALID, "no JSON"},
    {"classes/control", CS_MODEL_INVALID, "each once"},
};

static enum cs_status read_tensors(const char *file, const uint8_t *bytes, size_t size,
                                   struct cs_error *error)
{
    struct csi_tensor_set set;
    enum cs_status status = csi_tensor_set_init(&set, "test", error);

    assert_int_equal(status, CS_OK);
    status = strncmp(file, "pytorch/", 8) == 0 ? csi_pytorch_read(bytes, size, &set, error)
                                               : csi_safetensors_read(bytes, size, &set, error);
    if (status == CS_OK)
        assert_true(set.count > 0);
    csi_tensor_set_free(&set);
    return status;
}

static enum cs_status read_zip(const uint8_t *bytes, size_t size, struct cs_error *error)
{
    struct csi_zip *zip;
    enum cs_status status = csi_zip_open(bytes, size, &zip, error);

    for (size_t i = 0; status == CS_OK && i < csi_zip_count(zip); i++) {
        const uint8_t *content;

        status = csi_zip_read(zip, i, &content, error);
    }
    csi_zip_close(zip);
    return status;
}

static enum cs_status read_pickle(const uint8_t *bytes, size_t size, struct cs_error *error)
{
    struct csi_pickle *pickle;
    enum cs_status status = csi_pickle_read(bytes, size, false, &pickle, error);
    size_t budget = CSI_PICKLE_JSON_BUDGET;

    if (status == CS_OK)
        json_decref(csi_pickle_to_json(csi_pickle_root(pickle), &budget));
    csi_pickle_free(pickle);
    return status;
}

static enum cs_status read_model(const uint8_t *bytes, size_t size, struct cs_error *error)
{
    struct csi_graph *graph;
    enum cs_status status = csi_model_file_read(bytes, size, NULL, &graph, NULL, error);

    if (status != CS_OK)
        assert_null(graph);
    csi_graph_destroy(graph);
    return status;
}

static enum cs_status read_file(const char *file, const uint8_t *bytes, size_t size, struct cs_error *error)
{
    json_t *classes;
    enum cs_status status;

    if (strncmp(file, "zip/", 4) == 0)
        return read_zip(bytes, size, error);
    if (strncmp(file, "pickle/", 7) == 0)
        return read_pickle(bytes, size, error);
    if (strncmp(file, "model/", 6) == 0 || strncmp(file, "onnx/", 5) == 0)
        return read_model(bytes, size, error);
    if (strncmp(file, "classes/", 8) != 0)
        return read_tensors(file, bytes, size, error);
    status = csi_classes_parse(bytes, size, &classes, error);
    json_decref(classes);
    return status;
}

static void hostile_files_are_named(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        const struct expectation *expected = &expectations[i];
        struct cs_error error = {0};
        char path[1024];
        uint8_t *bytes;
        size_t size;
        enum cs_status status;

        snprintf(path, sizeof path, "%s/../../fuzz/corpus/%s", CS_TEST_DATA, expected->file);
        if (csi_file_read(path, 0, &bytes, &size, &error) != CS_OK)
            fail_msg("%s", error.message);
        status = read_file(expected->file, bytes, size, &error);
        free(bytes);
        if (status == expected->status && (status == CS_OK || strstr(error.message, expected->words) != NULL))
            continue;
        printf("%s: %s '%s', expected %s '%s'\n", expected->file, cs_status_name(status),
               status == CS_OK ? "" : error.message, cs_status_name(expected->status), expected->words);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_int_not_equal(access("/tmp/executed", F_OK), 0); /* what the pickles would have made */
}

/* What members of a checkpoint share is not converted again and again without an end. */
static void metadata_has_a_budget(void **state)
{
    static const uint8_t bytes[] = "\x80\x02](K\x01K\x02K\x03K\x04"
                                   "e.";
    struct csi_pickle *pickle;
    size_t budget = 12;

    (void)state;
    assert_int_equal(csi_pickle_read(bytes, sizeof bytes - 1, false, &pickle, NULL), CS_OK);
    for (size_t times = 1; times <= 2; times++) { /* the list and its four numbers */
        json_t *json = csi_pickle_to_json(csi_pickle_root(pickle), &budget);

        assert_int_equal(json_array_size(json), 4);
        assert_int_equal(budget, 12 - 5 * times);
        json_decref(json);
    }
    assert_null(csi_pickle_to_json(csi_pickle_root(pickle), &budget));
    assert_int_equal(budget, 0);
    csi_pickle_free(pickle);
}

/* Half a million empty nodes: two bytes each in the file, some 150 when unpacked. */
static void parts_are_counted_before_they_are_unpacked(void **state)
{
    static const uint8_t head[] = {0x08, 0x07, 0x3a}, part[] = {0x0a, 0x00};
    const size_t parts = 500000, length = parts * sizeof part;
    uint8_t *bytes = malloc(sizeof head + 3 + length), *at = bytes;
    struct cs_error error = {0};

    (void)state;
    assert_non_null(bytes);
    memcpy(at, head, sizeof head);
    at += sizeof head;
    *at++ = (uint8_t)(length | 0x80);
    *at++ = (uint8_t)(length >> 7 | 0x80);
    *at++ = (uint8_t)(length >> 14);
    for (size_t i = 0; i < parts; i++, at += sizeof part)
        memcpy(at, part, sizeof part);
    assert_int_equal(read_model(bytes, (size_t)(at - bytes), &error), CS_MODEL_INVALID);
    assert_non_null(strstr(error.message, "parts"));
    free(bytes);
}

/* A file of no more tensors than are allowed, and the first one too many. */
static void tensors_are_counted(void **state)
{
    struct csi_tensor_set set;
    struct cs_error error = {0};
    const size_t dims[1] = {1};
    char name[32];
    float *data;

    (void)state;
    assert_int_equal(csi_tensor_set_init(&set, "test", &error), CS_OK);
    for (unsigned i = 0; i < CSI_MAX_TENSORS; i++) {
        snprintf(name, sizeof name, "tensor%u", i);
        assert_int_equal(csi_tensor_set_add(&set, name, CSI_F32, 1, dims, &data, &error), CS_OK);
        data[0] = 1.0f;
    }
    assert_int_equal(csi_tensor_set_add(&set, name, CSI_F32, 1, dims, &data, &error), CS_MODEL_INVALID);
    assert_non_null(strstr(error.message, "two tensors named 'tensor19999'"));
    assert_int_equal(csi_tensor_set_add(&set, "more", CSI_F32, 1, dims, &data, &error), CS_MODEL_INVALID);
    assert_non_null(strstr(error.message, "more than 20000 tensors"));
    assert_int_equal(set.count, CSI_MAX_TENSORS);
    csi_tensor_set_drop(&set, "tensor1999"); /* 1999 and 19990 to 19999: their names are free again */
    assert_int_equal(csi_tensor_set_add(&set, name, CSI_F32, 1, dims, &data, &error), CS_OK);
    data[0] = 1.0f;
    csi_tensor_set_free(&set);
}

enum { LONG_TENSORS = 20000, LONG_NODES = 19990 };

static json_t *norm_of(int node, const char *const *names)
{
    json_t *inputs = json_array();

    json_array_append_new(inputs, json_integer(node - 1));
    for (int k = 0; k < 4; k++)
        json_array_append_new(inputs, json_string(names[(node + k) % LONG_TENSORS]));
    return json_pack("{s:s, s:s, s:o}", "op", "batch_norm", "name", "n", "inputs", inputs);
}

/* One batch norm behind the other, each of four tensors, whose names differ at their end only. */
static uint8_t *long_network(size_t *size)
{
    static char texts[LONG_TENSORS][64];
    static const char *names[LONG_TENSORS];
    json_t *header = json_object(), *nodes = json_array();
    char *config, *text;
    uint8_t *bytes;

    for (int i = 0; i < LONG_TENSORS; i++) {
        snprintf(texts[i], sizeof texts[i], "%050d", i);
        names[i] = texts[i];
        json_object_set_new(header, texts[i],
                            json_pack("{s:s, s:[i], s:[i, i]}", "dtype", "F32", "shape", 3, "data_offsets",
                                      12 * i, 12 * i + 12));
    }
    json_array_append_new(nodes, json_pack("{s:s, s:s, s:[], s:[i, i, i, i]}", "op", "input", "name", "x",
                                           "inputs", "shape", 1, 3, 1, 1));
    for (int i = 1; i < LONG_NODES - 1; i++)
        json_array_append_new(nodes, norm_of(i, names));
    json_array_append_new(
        nodes, json_pack("{s:s, s:s, s:[i]}", "op", "flatten", "name", "f", "inputs", LONG_NODES - 2));
    nodes = json_pack("{s:i, s:o}", "output", LONG_NODES - 1, "nodes", nodes);
    config = json_dumps(nodes, JSON_COMPACT);
    json_object_set_new(header, "__metadata__",
                        json_pack("{s:s, s:s, s:s}", "architecture", "graph", "architecture_config", config,
                                  "preprocess", "{\"resize\":1,\"crop\":1}"));
    text = json_dumps(header, JSON_COMPACT);
    *size = 8 + strlen(text) + 12 * LONG_TENSORS;
    bytes = calloc(1, *size);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(strlen(text) >> (8 * i));
    memcpy(bytes + 8, text, strlen(text));
    free(text);
    free(config);
    json_decref(nodes);
    json_decref(header);
    return bytes;
}

/* What a file costs grows with its size, not with its square. */
static void long_networks_are_read_in_time(void **state)
{
    struct cs_error error = {0};
    size_t size;
    uint8_t *bytes = long_network(&size);
    clock_t begin = clock();
    enum cs_status status = read_model(bytes, size, &error);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;

    (void)state;
    free(bytes);
    if (status != CS_OK)
        fail_msg("%s", error.message);
    if (seconds > 5.0)
        fail_msg("%.1f seconds", seconds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_files_are_named), cmocka_unit_test(metadata_has_a_budget),
        cmocka_unit_test(parts_are_counted_before_they_are_unpacked), cmocka_unit_test(tensors_are_counted),
        cmocka_unit_test(long_networks_are_read_in_time)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
