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
    {"pytorch/legacy", CS_MODEL_UNSUPPORTED, "torch.save"},
    {"pytorch/legacy_tar", CS_MODEL_UNSUPPORTED, "torch.save"},
    {"pytorch/torchscript_deep", CS_MODEL_INVALID, "nested deeper"},
    {"pytorch/torchscript_class_without_archive", CS_MODEL_INVALID, "'__torch__.net.Net'"},

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
    {"model/text", CS_MODEL_INVALID, "none of"},
    {"model/empty", CS_MODEL_INVALID, "empty"},

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

    if (status == CS_OK)
        json_decref(csi_pickle_to_json(csi_pickle_root(pickle)));
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
    if (strncmp(file, "model/", 6) == 0)
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_files_are_named)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
