/*
 * What the parity tests share: reading a case that make_goldens.py wrote, making its weights and inputs from
 * their names, and compiling it for one kernel set.
 */
#ifndef TESTS_PARITY_GOLDEN_H
#define TESTS_PARITY_GOLDEN_H

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/thread_pool.h"
#include "engine/engine.h"
#include "formats/model_file.h"
#include "graph/graph.h"
#include "kernels/expected_set.h"

#define GOLDEN_TOLERANCE 1e-3
#define GOLDEN_METHODS   5 /* beside Grad-CAM, each with a map of class 1 */

struct golden {
    json_t *json;
    struct csi_graph *graph;
    size_t input_size, classes, inputs, map_pixels;
    uint8_t *file;       /* of the numbers */
    const float *logits; /* inputs × classes */
    const float *maps;   /* (classes + GOLDEN_METHODS) × map_pixels */
    float *input;        /* inputs × 3 × size × size */
};

/* splitmix64 seeded with FNV-1a of the name, as in make_goldens.py. */
static inline void golden_uniform(const char *name, size_t count, float *out)
{
    uint64_t seed = UINT64_C(0xcbf29ce484222325);

    for (const char *c = name; *c != '\0'; c++)
        seed = (seed ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < count; i++) {
        uint64_t x = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31;
        out[i] = (float)(x >> 40) * 0x1p-24f;
    }
}

static inline bool golden_ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static inline void golden_tensor(const char *name, unsigned rank, const size_t *dims, double gain, float *out)
{
    size_t count = 1;

    for (unsigned i = 0; i < rank; i++)
        count *= dims[i];
    golden_uniform(name, count, out);
    if (rank > 1) {
        float bound = (float)sqrt(3.0 * gain / (double)(count / dims[0]));

        for (size_t i = 0; i < count; i++)
            out[i] = (out[i] * 2.0f - 1.0f) * bound;
    } else if (golden_ends_with(name, "running_var") || golden_ends_with(name, "weight")) {
        for (size_t i = 0; i < count; i++)
            out[i] = out[i] + 0.5f;
    } else {
        for (size_t i = 0; i < count; i++)
            out[i] = (out[i] - 0.5f) * 0.2f;
    }
}

static inline void golden_inputs(struct golden *golden)
{
    size_t pixels = 3 * golden->input_size * golden->input_size;

    golden->input = malloc(golden->inputs * pixels * sizeof *golden->input);
    assert_non_null(golden->input);
    for (size_t i = 0; i < golden->inputs; i++) {
        char name[32];

        snprintf(name, sizeof name, "input%zu", i);
        golden_uniform(name, pixels, golden->input + i * pixels);
    }
    for (size_t i = 0; i < golden->inputs * pixels; i++)
        golden->input[i] = golden->input[i] * 4.0f - 2.0f;
}

/* Makes the weights and builds the network by the names of its tensors. */
static inline void golden_build(struct golden *golden)
{
    const json_t *list = json_object_get(golden->json, "tensors");
    size_t count = json_array_size(list);
    double gain = json_number_value(json_object_get(golden->json, "gain"));
    struct csi_tensor *tensors = calloc(count + 1, sizeof *tensors);
    struct csi_weights weights = {.tensors = tensors, .count = count};
    struct cs_error error = {0};

    assert_non_null(tensors);
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(list, i), *shape = json_array_get(entry, 1);
        size_t elements = 1;
        float *data;

        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", json_string_value(json_array_get(entry, 0)));
        tensors[i].rank = (unsigned)json_array_size(shape);
        for (unsigned k = 0; k < tensors[i].rank; k++) {
            tensors[i].dims[k] = (size_t)json_integer_value(json_array_get(shape, k));
            elements *= tensors[i].dims[k];
        }
        data = malloc(elements * sizeof *data);
        assert_non_null(data);
        golden_tensor(tensors[i].name, tensors[i].rank, tensors[i].dims, gain, data);
        tensors[i].data = data;
    }
    assert_int_equal(csi_graph_create(&golden->graph, &error), CS_OK);
    if (csi_build_architecture(golden->graph,
                               json_string_value(json_object_get(golden->json, "architecture")),
                               json_string_value(json_object_get(golden->json, "architecture_config")),
                               &weights, (uint32_t)golden->input_size, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(csi_graph_set_classes(golden->graph, NULL, golden->classes, &error), CS_OK);
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)tensors[i].data);
    free(tensors);
}

/* The embedded model: the numbers must be those of these weights. */
static inline void golden_load_embedded(struct golden *golden, const char *digest)
{
    size_t size;
    const uint8_t *bytes = csi_embedded_model(NULL, &size);
    struct csi_hash hash;
    char hex[CSI_HASH_HEX_SIZE];
    struct cs_error error = {0};

    assert_non_null(bytes);
    if (csi_model_file_read(bytes, size, NULL, &golden->graph, &hash, &error) != CS_OK)
        fail_msg("%s", error.message);
    csi_hash_to_hex(&hash, hex);
    if (strcmp(hex, digest) != 0)
        fail_msg("the embedded model is %s, the stored numbers are of %s: run tests/parity/make_goldens.py "
                 "embedded",
                 hex, digest);
}

static inline void golden_load(const char *name, struct golden *golden)
{
    char path[1024];
    size_t size;
    const json_t *map, *digest;
    json_error_t where;
    struct cs_error error = {0};

    memset(golden, 0, sizeof *golden);
    snprintf(path, sizeof path, "%s/parity/%s.json", CS_TEST_DATA, name);
    golden->json = json_load_file(path, 0, &where);
    if (golden->json == NULL)
        fail_msg("%s: %s", path, where.text);
    golden->input_size = (size_t)json_integer_value(json_object_get(golden->json, "input_size"));
    golden->classes = (size_t)json_integer_value(json_object_get(golden->json, "classes"));
    golden->inputs = (size_t)json_integer_value(json_object_get(golden->json, "inputs"));
    map = json_object_get(golden->json, "map");
    golden->map_pixels =
        (size_t)(json_integer_value(json_array_get(map, 1)) * json_integer_value(json_array_get(map, 2)));
    snprintf(path, sizeof path, "%s/parity/%s.bin", CS_TEST_DATA, name);
    if (csi_file_read(path, 0, &golden->file, &size, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(
        size,
        (golden->inputs * golden->classes + (golden->classes + GOLDEN_METHODS) * golden->map_pixels) * 4);
    golden->logits = (const float *)(const void *)golden->file;
    golden->maps = golden->logits + golden->inputs * golden->classes;
    golden_inputs(golden);
    digest = json_object_get(golden->json, "digest");
    if (digest != NULL)
        golden_load_embedded(golden, json_string_value(digest));
    else
        golden_build(golden);
}

static inline void golden_free(struct golden *golden)
{
    csi_graph_destroy(golden->graph);
    json_decref(golden->json);
    free(golden->file);
    free(golden->input);
}

/* False when this machine does not have the set, so that a lower one would run in its place. */
static inline bool golden_kernels(const char *mask, uint32_t *features)
{
    struct cs_error error = {0};

    if (csi_cpu_allowed(mask, features, &error) != CS_OK)
        fail_msg("%s", error.message);
    if (strcmp(mask, "avx2") == 0)
        return (*features & CSI_CPU_AVX2) != 0;
    if (strcmp(mask, "avx512") == 0)
        return (*features & CSI_CPU_AVX512) != 0;
    if (strcmp(mask, "neon") == 0)
        return (*features & CSI_CPU_NEON) != 0;
    return true;
}

static inline void golden_plan(const struct golden *golden, uint32_t features, struct csi_pool *pool,
                               struct csi_plan **plan, struct csi_exec **exec)
{
    struct csi_plan_options options = {.precision = CS_PRECISION_FP32,
                                       .cpu_features = features,
                                       .max_batch = (unsigned)golden->inputs,
                                       .pool = pool};
    struct cs_error error = {0};

    if (csi_plan_create(golden->graph, &options, plan, &error) != CS_OK ||
        csi_exec_create(*plan, exec, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_string_equal(csi_plan_info(*plan)->kernels, expected_set(features));
}

/* Largest absolute difference; NaN counts as infinite. */
static inline double golden_difference(const float *got, const float *wanted, size_t count)
{
    double largest = 0.0;

    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)wanted[i]);

        if (!(difference <= largest))
            largest = isnan(difference) ? (double)INFINITY : difference;
    }
    return largest;
}

static const char *const golden_cases[] = {
    "embedded",           "cnn64",          "cnn224",       "cnn5",     "lite",     "resnet18",
    "resnet34",           "resnet50",       "mobilenet_v2", "vgg11_bn", "vgg16_bn", "mobilenet_v3_small",
    "mobilenet_v3_large", "efficientnet_b0"};
static const char *const golden_masks[] = {"generic", "avx2", "avx512", "neon"};
/* CROPSHIELD_TESTS=short, set where everything takes many times as long (sanitizers, emulators), leaves the
 * full-size networks to the other runs; the small ones have the same steps. CROPSHIELD_CASE="NAME NAME …":
 * those only. */
static inline bool golden_wanted(const char *name)
{
    const char *tests = getenv("CROPSHIELD_TESTS");
    const char *only = getenv("CROPSHIELD_CASE");
    size_t length = strlen(name);
    bool found = only == NULL;

    for (; !found && *only != '\0'; only += strcspn(only, " "), only += strspn(only, " "))
        found = strncmp(only, name, length) == 0 && (only[length] == ' ' || only[length] == '\0');
    if (!found)
        return false;
    if (tests == NULL || strcmp(tests, "short") != 0 ||
        (strcmp(name, "embedded") != 0 && strcmp(name, "lite") != 0))
        return true;
    printf("%-20s left out: CROPSHIELD_TESTS=short\n", name);
    return false;
}

/* Where tests are to be short, plain C computes one network of each kind: deeper ones and larger photos
 * repeat its steps, and it computes them elsewhere, a hundred times as fast. */
static inline bool golden_repeats(const char *name, const char *mask)
{
    static const char *const deeper[] = {"cnn224", "resnet34", "resnet50", "vgg16_bn", "mobilenet_v3_large"};
    const char *tests = getenv("CROPSHIELD_TESTS");

    if (tests == NULL || strcmp(tests, "short") != 0 || strcmp(mask, "generic") != 0)
        return false;
    for (size_t i = 0; i < sizeof deeper / sizeof deeper[0]; i++)
        if (strcmp(name, deeper[i]) == 0) {
            printf("%-20s %-8s left out: CROPSHIELD_TESTS=short\n", name, mask);
            return true;
        }
    return false;
}

#define GOLDEN_CASES (sizeof golden_cases / sizeof golden_cases[0])
#define GOLDEN_MASKS (sizeof golden_masks / sizeof golden_masks[0])

#endif
