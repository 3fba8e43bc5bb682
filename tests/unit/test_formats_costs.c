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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colliding_names_are_told_apart_in_time),
        cmocka_unit_test(untested_classes_are_found_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
