/*
 * ONNX files against the PyTorch networks that they were exported from: the logits of one photo, from the
 * file itself and from the native file that it converts to.
 */
#include "parity/golden.h"

/* `integers`: on every kernel set `mask` names, a network with quantisation marks of its own as INT8. */
static void run_graph(const struct csi_graph *graph, struct csi_pool *pool, bool integers, const char *mask,
                      const float *input, float *logits)
{
    struct csi_plan_options options = {
        .precision = integers ? CS_PRECISION_INT8 : CS_PRECISION_FP32, .max_batch = 1, .pool = pool};
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};

    assert_int_equal(csi_cpu_allowed(mask, &options.cpu_features, &error), CS_OK);
    if (csi_plan_create(graph, &options, &plan, &error) != CS_OK ||
        csi_exec_create(plan, &exec, &error) != CS_OK || csi_exec_run(exec, input, 1, false, &error) != CS_OK)
        fail_msg("%s", error.message);
    if (integers)
        assert_int_equal(csi_plan_info(plan)->precision, CS_PRECISION_INT8);
    memcpy(logits, csi_exec_logits(exec), graph->class_count * sizeof *logits);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
}

/* The largest difference from the file's logits: in float32, or in INT8 over all kernel sets. */
static double compare(const uint8_t *bytes, size_t size, const char *format, struct csi_pool *pool,
                      const json_t *expected, bool integers)
{
    const json_t *wanted = json_object_get(expected, "logits");
    size_t side = (size_t)json_integer_value(json_object_get(expected, "input_size")),
           count = 3 * side * side;
    float *input = malloc(count * sizeof *input), logits[64];
    static const char *const masks[] = {"all", "avx512", "avx2", "generic"};
    struct csi_graph *graph;
    struct cs_error error = {0};
    double largest = 0.0;

    assert_non_null(input);
    golden_uniform("input0", count, input);
    for (size_t i = 0; i < count; i++)
        input[i] = input[i] * 4.0f - 2.0f;
    if (csi_model_file_read(bytes, size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_string_equal(graph->format, format);
    assert_int_equal(graph->preprocess.crop, side);
    assert_int_equal(graph->class_count, json_array_size(wanted));
    assert_true(graph->class_count <= 64);
    for (size_t m = 0; m < (integers ? sizeof masks / sizeof masks[0] : 1); m++) {
        run_graph(graph, pool, integers, masks[m], input, logits);
        for (size_t i = 0; i < graph->class_count; i++) {
            float number = (float)json_number_value(json_array_get(wanted, i));

            largest = fmax(largest, golden_difference(&logits[i], &number, 1));
        }
    }
    csi_graph_destroy(graph);
    free(input);
    return largest;
}

static void onnx_computes_what_pytorch_does(void **state)
{
    const char *file;
    json_t *list, *expected;
    json_error_t where;
    struct csi_pool *pool;
    struct cs_error error = {0};
    bool failed = false;

    (void)state;
    assert_int_equal(csi_pool_create(2, &pool, &error), CS_OK);
    list = json_load_file(CS_TEST_DATA "/models/onnx.json", 0, &where);
    assert_non_null(list);
    assert_true(json_object_size(list) >= 10);
    json_object_foreach(list, file, expected)
    {
        char path[1024];
        uint8_t *bytes, *native;
        size_t size, native_size;
        double direct, converted;

        snprintf(path, sizeof path, "%s/models/%s", CS_TEST_DATA, file);
        assert_int_equal(csi_file_read(path, 0, &bytes, &size, &error), CS_OK);
        direct = compare(bytes, size, "onnx", pool, expected, false);
        if (csi_model_file_convert(bytes, size, NULL, &native, &native_size, &error) != CS_OK)
            fail_msg("%s", error.message);
        converted = compare(native, native_size, "safetensors", pool, expected, false);
        if (json_is_true(json_object_get(expected, "integers"))) {
            direct = fmax(direct, compare(bytes, size, "onnx", pool, expected, true));
            converted = fmax(converted, compare(native, native_size, "safetensors", pool, expected, true));
        }
        printf("%-26s largest difference %.2e, converted %.2e%s\n", file, direct, converted,
               direct <= GOLDEN_TOLERANCE && converted <= GOLDEN_TOLERANCE ? "" : "  TOO LARGE");
        failed |= !(direct <= GOLDEN_TOLERANCE && converted <= GOLDEN_TOLERANCE);
        free(native);
        free(bytes);
    }
    json_decref(list);
    csi_pool_destroy(pool);
    assert_false(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(onnx_computes_what_pytorch_does)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
