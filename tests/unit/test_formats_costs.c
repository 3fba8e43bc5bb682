/*
 * What model files may cost: time and memory grow with the file's size, not with its square, whatever names
 * and parts it chooses. Bounds on time are on the processor's, and far from what a sound reader takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "formats/metadata.h"
#include "formats/model_file.h"
#include "unit/onnx_writer.h"

#define MOST_SECONDS 5.0

static double seconds_since(clock_t begin)
{
    return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

static void check_time(clock_t begin)
{
    const double seconds = seconds_since(begin);

    if (seconds > MOST_SECONDS)
        fail_msg("%.1f seconds", seconds);
}

static enum cs_status read_model(const struct csi_buffer *file, struct csi_graph **graph,
                                 struct cs_error *error)
{
    assert_false(file->failed);
    return csi_model_file_read(file->bytes, file->size, NULL, graph, NULL, error);
}

/* FNV-1a: the hash that a table of names without a seed would likely have. */
static uint64_t fnv(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

/* Tensors whose names all begin their search in the same few places of such a table. */
static void colliding_names_are_told_apart_in_time(void **state)
{
    enum { NAMES = 60000, SLOTS = 131072 };
    struct csi_buffer graph = {0}, file;
    struct csi_graph *network;
    struct cs_error error = {0};
    const float number = 1.0f;
    clock_t begin;

    (void)state;
    for (unsigned made = 0, i = 0; made < NAMES; i++) {
        char name[16];

        snprintf(name, sizeof name, "%x", i);
        if ((fnv(name) & (SLOTS - 1)) >= SLOTS / 256)
            continue;
        put_tensor(&graph, name, 1, 0, &number);
        made++;
    }
    put_input(&graph, 8);
    put_model(&file, &graph, "f");
    begin = clock();
    if (read_model(&file, &network, &error) != CS_OK)
        fail_msg("%s", error.message);
    check_time(begin);
    csi_graph_destroy(network);
    csi_buffer_free(&file);
}

/* As many untested names as classes, none of which is one. */
static void untested_classes_are_found_in_time(void **state)
{
    static const char name[] = ",\"class_x\"";
    enum { CLASSES = 100000 };
    struct csi_buffer list = {0};
    json_t *metadata = json_object();
    struct csi_graph *graph;
    struct csi_node flatten = csi_node_init(CSI_OP_FLATTEN, "f");
    struct cs_error error = {0};
    clock_t begin;

    (void)state;
    csi_buffer_printf(&list, "[\"class_7\"");
    for (int i = 0; i < CLASSES; i++)
        csi_buffer_append(&list, name, sizeof name - 1);
    csi_buffer_printf(&list, "]");
    json_object_set_new(metadata, "untested_classes", json_string((const char *)list.bytes));
    csi_buffer_free(&list);
    assert_int_equal(csi_graph_create(&graph, &error), CS_OK);
    assert_int_equal(csi_graph_add_input(graph, 1, CLASSES, 1, &flatten.inputs[0], &error), CS_OK);
    flatten.input_count = 1;
    assert_int_equal(csi_graph_add_node(graph, &flatten, &graph->output, &error), CS_OK);
    begin = clock();
    assert_int_equal(csi_metadata_finish(metadata, NULL, graph, &error), CS_OK);
    check_time(begin);
    for (size_t i = 0; i < CLASSES; i++)
        assert_int_equal(graph->tested[i], i != 7);
    csi_graph_destroy(graph);
    json_decref(metadata);
}

/* A file of one part that is no list, again and again: protobuf would put it together from the start each
 * time. */
static void parts_that_are_no_list_come_once(void **state)
{
    struct csi_buffer file = {0}, part = {0};
    struct csi_graph *network;
    struct cs_error error = {0};
    clock_t begin;

    (void)state;
    put_bytes(&part, 1, "", 0);
    put_number(&file, 1, 8);
    for (int i = 0; i < 190000; i++)
        put_bytes(&file, 7, part.bytes, part.size);
    begin = clock();
    assert_int_equal(read_model(&file, &network, &error), CS_MODEL_INVALID);
    check_time(begin);
    assert_non_null(
        strstr(error.message, "damaged at byte 6, in a ModelProto: a field that is no list comes twice"));
    csi_buffer_free(&part);
    csi_buffer_free(&file);
}

/* Empty texts and unknown fields: two or three bytes in the file, some hundred unpacked. */
static void texts_and_unknown_fields_are_counted(void **state)
{
    (void)state;
    for (int unknown = 0; unknown < 2; unknown++) {
        struct csi_buffer graph = {0}, node = {0}, file;
        struct csi_graph *network;
        struct cs_error error = {0};

        for (int i = 0; i < 400000; i++)
            put_bytes(&node, unknown ? 30 : 1, "", 0);
        put_part(&graph, 1, &node);
        put_model(&file, &graph, "f");
        assert_int_equal(read_model(&file, &network, &error), CS_MODEL_INVALID);
        assert_non_null(strstr(error.message, "in a NodeProto: there are more than 400000 parts"));
        csi_buffer_free(&file);
    }
}

enum { WIDTH = 1000 };

/* A chain of `layers` MatMul (or, by `gemm`, Gemm) nodes over one weight of WIDTH × WIDTH. */
static void put_chain(struct csi_buffer *file, int layers, bool gemm)
{
    struct csi_buffer graph = {0};
    float *weight = calloc((size_t)WIDTH * WIDTH, sizeof *weight);
    char from[16] = "y0", to[16];

    assert_non_null(weight);
    put_tensor(&graph, "first", 3, WIDTH, weight);
    put_tensor(&graph, "shared", WIDTH, WIDTH, weight);
    put_input(&graph, 8);
    put_node(&graph, "MatMul", "f", "first", from);
    for (int i = 1; i <= layers; i++) {
        snprintf(to, sizeof to, "y%d", i);
        put_node(&graph, gemm ? "Gemm" : "MatMul", from, "shared", to);
        memcpy(from, to, sizeof from);
    }
    put_model(file, &graph, from);
    free(weight);
}

/* Layers that share a weight share what is made of it; so many that the engine would fill the memory are
 * refused. */
static void shared_weights_stay_shared(void **state)
{
    struct csi_buffer file;
    struct csi_graph *network;
    struct cs_error error = {0};

    (void)state;
    for (int gemm = 0; gemm < 2; gemm++) {
        size_t constants = 0;

        put_chain(&file, 6, gemm != 0);
        if (read_model(&file, &network, &error) != CS_OK)
            fail_msg("%s", error.message);
        for (size_t i = 0; i < network->value_count; i++)
            constants += csi_value_is_constant(&network->values[i]);
        assert_int_equal(constants, 2);
        assert_int_equal(csi_graph_count_parameters(network), 3 * WIDTH + 6 * WIDTH * WIDTH);
        csi_graph_destroy(network);
        csi_buffer_free(&file);
        put_chain(&file, 1000, gemm != 0);
        assert_int_equal(read_model(&file, &network, &error), CS_MODEL_INVALID);
        assert_non_null(strstr(error.message, "too many nodes share them"));
        csi_buffer_free(&file);
    }
}

/* Gemm's factors make each node a weight of its own: what they make is bounded by the file's size. */
static void scaled_weights_are_counted(void **state)
{
    struct csi_buffer graph = {0}, file;
    struct csi_graph *network;
    struct cs_error error = {0};
    float *weight = calloc((size_t)WIDTH * WIDTH, sizeof *weight);
    const float alpha = 0.5f;

    (void)state;
    assert_non_null(weight);
    put_tensor(&graph, "first", 3, WIDTH, weight);
    put_tensor(&graph, "shared", WIDTH, WIDTH, weight);
    put_input(&graph, 8);
    put_node(&graph, "MatMul", "f", "first", "y0");
    for (int i = 1; i <= 40; i++) {
        struct csi_buffer node = {0}, factor = {0};
        char from[16], to[16];
        uint32_t bits;

        snprintf(from, sizeof from, "y%d", i - 1);
        snprintf(to, sizeof to, "y%d", i);
        put_text(&node, 1, from);
        put_text(&node, 1, "shared");
        put_text(&node, 2, to);
        put_text(&node, 4, "Gemm");
        memcpy(&bits, &alpha, sizeof bits);
        put_text(&factor, 1, "alpha");
        put_varint(&factor, 2 << 3 | 5);
        csi_buffer_append(&factor, &bits, sizeof bits);
        put_number(&factor, 20, 1);
        put_part(&node, 5, &factor);
        put_part(&graph, 1, &node);
    }
    put_model(&file, &graph, "y40");
    assert_int_equal(read_model(&file, &network, &error), CS_MODEL_INVALID);
    assert_non_null(strstr(error.message, "constants grow far beyond the file's size"));
    csi_buffer_free(&file);
    free(weight);
}

/* The same sharing in a native file that describes its network. */
static void shared_weights_of_a_described_network(void **state)
{
    (void)state;
    for (int layers = 6; layers <= 1000; layers += 994) {
        static float weight[WIDTH * WIDTH];
        struct csi_tensor tensors[2] = {{"first", 2, {WIDTH, 3}, weight},
                                        {"shared", 2, {WIDTH, WIDTH}, weight}};
        const struct csi_weights weights = {.tensors = tensors, .count = 2};
        struct csi_buffer config = {0};
        struct csi_graph *graph;
        struct cs_error error = {0};
        enum cs_status status;

        csi_buffer_printf(&config,
                          "{\"output\":%d,\"nodes\":[{\"op\":\"input\",\"name\":\"x\",\"inputs\":[],"
                          "\"shape\":[1,3,1,1]},{\"op\":\"flatten\",\"name\":\"f\",\"inputs\":[0]},"
                          "{\"op\":\"linear\",\"name\":\"l\",\"inputs\":[1,\"first\"]}",
                          layers + 2);
        for (int i = 0; i < layers; i++)
            csi_buffer_printf(&config, ",{\"op\":\"linear\",\"name\":\"l\",\"inputs\":[%d,\"shared\"]}",
                              i + 2);
        csi_buffer_printf(&config, "]}");
        assert_int_equal(csi_graph_create(&graph, &error), CS_OK);
        csi_graph_borrow(graph);
        status = csi_build_architecture(graph, CSI_ARCHITECTURE_GRAPH, (const char *)config.bytes, &weights,
                                        1, &error);
        if (layers == 6 && status != CS_OK)
            fail_msg("%s", error.message);
        assert_int_equal(status, layers == 6 ? CS_OK : CS_MODEL_INVALID);
        assert_true(layers == 6 || strstr(error.message, "too many nodes share them") != NULL);
        csi_graph_destroy(graph);
        csi_buffer_free(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colliding_names_are_told_apart_in_time),
        cmocka_unit_test(untested_classes_are_found_in_time),
        cmocka_unit_test(parts_that_are_no_list_come_once),
        cmocka_unit_test(texts_and_unknown_fields_are_counted),
        cmocka_unit_test(shared_weights_stay_shared),
        cmocka_unit_test(scaled_weights_are_counted),
        cmocka_unit_test(shared_weights_of_a_described_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
