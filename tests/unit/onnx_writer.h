/*
 * ONNX files for tests, part by part: protobuf's fields into a growing buffer. The numbers are those of
 * onnx.proto.
 */
#ifndef CS_TEST_ONNX_WRITER_H
#define CS_TEST_ONNX_WRITER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

static inline void put_varint(struct csi_buffer *out, uint64_t number)
{
    do {
        const uint8_t byte = (uint8_t)((number & 0x7fu) | (number > 0x7fu ? 0x80u : 0u));

        csi_buffer_append(out, &byte, 1);
        number >>= 7;
    } while (number != 0);
}

static inline void put_number(struct csi_buffer *out, unsigned field, uint64_t number)
{
    put_varint(out, field << 3);
    put_varint(out, number);
}

static inline void put_bytes(struct csi_buffer *out, unsigned field, const void *bytes, size_t size)
{
    put_varint(out, field << 3 | 2);
    put_varint(out, size);
    csi_buffer_append(out, bytes, size);
}

static inline void put_text(struct csi_buffer *out, unsigned field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

/* `part` as field `field`; it is freed. */
static inline void put_part(struct csi_buffer *out, unsigned field, struct csi_buffer *part)
{
    assert_false(part->failed);
    put_bytes(out, field, part->bytes, part->size);
    csi_buffer_free(part);
}

/* A float32 initializer of the graph: `rows` × `columns` numbers, or (`columns` 0) a vector. */
static inline void put_tensor(struct csi_buffer *graph, const char *name, size_t rows, size_t columns,
                              const float *data)
{
    struct csi_buffer tensor = {0};

    put_number(&tensor, 1, rows);
    if (columns != 0)
        put_number(&tensor, 1, columns);
    put_number(&tensor, 2, 1);
    put_text(&tensor, 8, name);
    put_bytes(&tensor, 9, data, rows * (columns == 0 ? 1 : columns) * sizeof *data);
    put_part(graph, 5, &tensor);
}

/* A node of one or two inputs (`b` may be NULL) without attributes, named like its output. */
static inline void put_node(struct csi_buffer *graph, const char *op, const char *a, const char *b,
                            const char *output)
{
    struct csi_buffer node = {0};

    put_text(&node, 1, a);
    if (b != NULL)
        put_text(&node, 1, b);
    put_text(&node, 2, output);
    put_text(&node, 4, op);
    put_part(graph, 1, &node);
}

/* The input "x" [1, 3, side, side], pooled and flattened to "f" [1, 3]. */
static inline void put_input(struct csi_buffer *graph, unsigned side)
{
    const unsigned dims[4] = {1, 3, side, side};
    struct csi_buffer shape = {0}, tensor = {0}, type = {0}, input = {0};

    for (unsigned i = 0; i < 4; i++) {
        struct csi_buffer dimension = {0};

        put_number(&dimension, 1, dims[i]);
        put_part(&shape, 1, &dimension);
    }
    put_number(&tensor, 1, 1);
    put_part(&tensor, 2, &shape);
    put_part(&type, 1, &tensor);
    put_text(&input, 1, "x");
    put_part(&input, 2, &type);
    put_part(graph, 11, &input);
    put_node(graph, "GlobalAveragePool", "x", NULL, "p");
    put_node(graph, "Flatten", "p", NULL, "f");
}

/* The file of a graph whose output is `output`; the graph is freed. */
static inline void put_model(struct csi_buffer *file, struct csi_buffer *graph, const char *output)
{
    struct csi_buffer value = {0}, opset = {0};

    put_text(&value, 1, output);
    put_part(graph, 12, &value);
    put_number(&opset, 2, 13);
    csi_buffer_init(file);
    put_number(file, 1, 8);
    put_part(file, 7, graph);
    put_part(file, 8, &opset);
}

#endif
