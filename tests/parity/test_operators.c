/*
 * ONNX operator by operator (tests/data/operators): every operator of classifiers with each of its attributes
 * and forms, in opsets 9 to 21, against NumPy's float64; two photos together and one alone, from the file and
 * from the native file it converts to, with plain C and the fastest kernels; functions of one value as near
 * as float32 gets. And what is refused, by name.
 */
#include "parity/golden.h"

#define PHOTOS    2
#define TOLERANCE 2e-4

struct operators {
    json_t *index;
    uint8_t *bytes;
    size_t size;
};

static const uint8_t *part(const struct operators *all, const json_t *entry, const char *key, size_t *size)
{
    const json_t *place = json_object_get(entry, key);
    size_t at = (size_t)json_integer_value(json_array_get(place, 0));

    *size = (size_t)json_integer_value(json_array_get(place, 1));
    assert_true(*size > 0 && at + *size <= all->size);
    return all->bytes + at;
}

static void make_input(size_t pixels, float *input)
{
    for (size_t i = 0; i < PHOTOS; i++) {
        char name[32];

        snprintf(name, sizeof name, "input%zu", i);
        golden_uniform(name, pixels, input + i * pixels);
    }
    for (size_t i = 0; i < PHOTOS * pixels; i++)
        input[i] = input[i] * 4.0f - 2.0f;
}

/* Largest difference, relative where numbers are large. */
static double difference(const float *got, const float *wanted, size_t count)
{
    double largest = 0.0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)wanted[i]) / fmax(1.0, fabs((double)wanted[i]));

        if (!(d <= largest))
            largest = isnan(d) ? (double)INFINITY : d;
    }
    return largest;
}

/* Both photos together, then the second alone. */
static double run(const struct csi_graph *graph, const char *mask, struct csi_pool *pool, const float *input,
                  size_t pixels, const float *wanted)
{
    struct csi_plan_options options = {.precision = CS_PRECISION_FP32, .max_batch = PHOTOS, .pool = pool};
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};
    double largest;

    assert_int_equal(csi_cpu_allowed(mask, &options.cpu_features, &error), CS_OK);
    if (csi_plan_create(graph, &options, &plan, &error) != CS_OK ||
        csi_exec_create(plan, &exec, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(csi_exec_run(exec, input, PHOTOS, false, &error), CS_OK);
    largest = difference(csi_exec_logits(exec), wanted, PHOTOS * graph->class_count);
    assert_int_equal(csi_exec_run(exec, input + pixels, 1, false, &error), CS_OK);
    largest =
        fmax(largest, difference(csi_exec_logits(exec), wanted + graph->class_count, graph->class_count));
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    return largest;
}

static double compute(const struct operators *all, const char *name, const json_t *entry,
                      struct csi_pool *pool)
{
    size_t size, logits_size, native_size, side = (size_t)json_integer_value(json_object_get(entry, "size"));
    const uint8_t *file = part(all, entry, "file", &size);
    const float *wanted = (const float *)(const void *)part(all, entry, "logits", &logits_size);
    size_t pixels = 3 * side * side;
    float *input = malloc(PHOTOS * pixels * sizeof *input), *copy = malloc(logits_size);
    struct csi_graph *graph;
    struct cs_error error = {0};
    uint8_t *native;
    double largest;

    assert_true(input != NULL && copy != NULL);
    memcpy(copy, wanted, logits_size); /* files have any length: the numbers lie where they lie */
    make_input(pixels, input);
    if (csi_model_file_read(file, size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", name, error.message);
    if (json_object_get(entry, "nodes") != NULL && /* what is spelt out in several has become one */
        json_integer_value(json_object_get(entry, "nodes")) != (json_int_t)graph->node_count)
        fail_msg("%s has become %zu nodes", name, graph->node_count);
    assert_int_equal(graph->class_count * PHOTOS * sizeof *copy, logits_size);
    largest =
        fmax(run(graph, "generic", pool, input, pixels, copy), run(graph, "all", pool, input, pixels, copy));
    csi_graph_destroy(graph);
    if (csi_model_file_convert(file, size, NULL, &native, &native_size, &error) != CS_OK ||
        csi_model_file_read(native, native_size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", name, error.message);
    largest = fmax(largest, run(graph, "all", pool, input, pixels, copy));
    csi_graph_destroy(graph);
    free(native);
    free(copy);
    free(input);
    return largest;
}

static bool is_refused(const struct operators *all, const char *name, const json_t *entry)
{
    const char *words = json_string_value(json_object_get(entry, "error"));
    const char *status = json_string_value(json_object_get(entry, "status"));
    size_t size;
    const uint8_t *file = part(all, entry, "file", &size);
    struct csi_graph *graph;
    struct cs_error error = {0};
    enum cs_status got = csi_model_file_read(file, size, NULL, &graph, NULL, &error);

    csi_graph_destroy(graph);
    if (strcmp(cs_status_name(got), status) == 0 && strstr(error.message, words) != NULL &&
        strstr(error.message, "'n") != NULL) /* the node's name */
        return true;
    printf("%-36s %s '%s', not %s '%s'\n", name, cs_status_name(got), got == CS_OK ? "" : error.message,
           status, words);
    return false;
}

static void operators_load(struct operators *all)
{
    struct cs_error error = {0};
    json_error_t where;

    all->index = json_load_file(CS_TEST_DATA "/operators/operators.json", 0, &where);
    assert_non_null(all->index);
    if (csi_file_read(CS_TEST_DATA "/operators/operators.bin", 0, &all->bytes, &all->size, &error) != CS_OK)
        fail_msg("%s", error.message);
}

static void every_form_is_what_numpy_computes(void **state)
{
    struct operators all;
    struct csi_pool *pool;
    struct cs_error error = {0};
    const char *name;
    json_t *entry;
    size_t cases = 0, wrong = 0;
    double largest = 0.0;

    (void)state;
    operators_load(&all);
    assert_int_equal(csi_pool_create(2, &pool, &error), CS_OK);
    json_object_foreach(all.index, name, entry)
    {
        const json_t *stated = json_object_get(entry, "tolerance");
        double d, allowed = stated != NULL ? json_number_value(stated) : TOLERANCE;

        if (json_object_get(entry, "error") != NULL)
            continue;
        d = compute(&all, name, entry, pool);
        cases++;
        largest = fmax(largest, d);
        if (!(d <= allowed)) {
            printf("%-36s difference %.2e  TOO LARGE\n", name, d);
            wrong++;
        }
    }
    printf("%zu cases, largest difference %.2e\n", cases, largest);
    csi_pool_destroy(pool);
    json_decref(all.index);
    free(all.bytes);
    assert_true(cases > 300);
    assert_int_equal(wrong, 0);
}

static void what_is_not_supported_is_named(void **state)
{
    struct operators all;
    const char *name;
    json_t *entry;
    size_t cases = 0, wrong = 0;

    (void)state;
    operators_load(&all);
    json_object_foreach(all.index, name, entry)
    {
        if (json_object_get(entry, "error") == NULL)
            continue;
        cases++;
        wrong += !is_refused(&all, name, entry);
    }
    json_decref(all.index);
    free(all.bytes);
    assert_true(cases > 30);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_is_what_numpy_computes),
                                       cmocka_unit_test(what_is_not_supported_is_named)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
