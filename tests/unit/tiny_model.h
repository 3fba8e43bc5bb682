/*
 * A tiny network of the reference architecture (an eighth of the width, 64×64 inputs, three classes), written
 * as a native model file with weights from a seed: whole models for tests in 300 kB and no stored file.
 */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY_CLASSES 3u

struct tiny_writer {
    char *header;
    float *data;
    size_t header_size, count;
    uint32_t random;
};

static float tiny_random(struct tiny_writer *writer)
{
    writer->random = writer->random * 1664525u + 1013904223u;
    return (float)(writer->random >> 8) / 8388608.0f - 1.0f;
}

/* `low` + `spread`·random for every element. */
static void tiny_tensor(struct tiny_writer *writer, const char *name, const char *shape, size_t elements,
                        float low, float spread)
{
    int length = sprintf(writer->header + writer->header_size,
                         ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", name, shape,
                         writer->count * 4, (writer->count + elements) * 4);

    writer->header_size += (size_t)length;
    for (size_t i = 0; i < elements; i++)
        writer->data[writer->count++] = low + spread * tiny_random(writer);
}

/* A convolution and its batch norm: "block1.0", "block1.1". */
static void tiny_convolution(struct tiny_writer *writer, int block, int first, unsigned in, unsigned out)
{
    char name[64], shape[64];

    sprintf(name, "block%d.%d.weight", block, first);
    sprintf(shape, "%u,%u,3,3", out, in);
    tiny_tensor(writer, name, shape, (size_t)out * in * 9, 0, sqrtf(3.0f / (float)(in * 9)));
    sprintf(shape, "%u", out);
    sprintf(name, "block%d.%d.weight", block, first + 1);
    tiny_tensor(writer, name, shape, out, 1.2f, 0.2f);
    sprintf(name, "block%d.%d.bias", block, first + 1);
    tiny_tensor(writer, name, shape, out, 0.1f, 0.2f);
    sprintf(name, "block%d.%d.running_mean", block, first + 1);
    tiny_tensor(writer, name, shape, out, 0, 0.1f);
    sprintf(name, "block%d.%d.running_var", block, first + 1);
    tiny_tensor(writer, name, shape, out, 0.6f, 0.2f);
}

/* The file's bytes, malloc'ed. `metadata`: more members of __metadata__, each with a comma before it; "" for
 * none. */
static uint8_t *tiny_model_bytes(uint32_t seed, const char *metadata, size_t *size)
{
    struct tiny_writer writer = {.random = seed * 2654435761u + 1};
    unsigned channels = 3;
    uint64_t header_length;
    uint8_t *bytes;

    writer.header = calloc(1, 16384 + strlen(metadata));
    writer.data = malloc(sizeof(float) * 200000);
    writer.header_size = (size_t)sprintf(
        writer.header,
        "{\"__metadata__\":{\"format_version\":\"1\",\"name\":\"tiny\",\"architecture\":\"CropShieldCNN\","
        "\"classes\":\"[\\\"Tomato__healthy\\\",\\\"Tomato__early_blight\\\",\\\"Wheat__yellow_rust\\\"]\","
        "\"untested_classes\":\"[\\\"Wheat__yellow_rust\\\"]\","
        "\"preprocess\":\"{\\\"max_size\\\":800,\\\"resize\\\":72,\\\"crop\\\":64,\\\"mean\\\":[0.485,0.456,"
        "0.406],"
        "\\\"std\\\":[0.229,0.224,0.225]}\",\"temperature\":\"0.8\"%s}",
        metadata);
    for (int block = 1; block <= 4; block++) {
        unsigned width = 4u << block;

        tiny_convolution(&writer, block, 0, channels, width);
        tiny_convolution(&writer, block, 3, width, width);
        channels = width;
    }
    tiny_tensor(&writer, "classifier.1.weight", "3,64", (size_t)TINY_CLASSES * channels, 0, 0.5f);
    tiny_tensor(&writer, "classifier.1.bias", "3", TINY_CLASSES, 0, 0.1f);
    writer.header[writer.header_size++] = '}';
    header_length = writer.header_size;
    *size = 8 + writer.header_size + writer.count * 4;
    bytes = malloc(*size);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(header_length >> (8 * i));
    memcpy(bytes + 8, writer.header, writer.header_size);
    memcpy(bytes + 8 + writer.header_size, writer.data, writer.count * 4);
    free(writer.header);
    free(writer.data);
    return bytes;
}

/* Writes `size` bytes in place, as a careless copy does: a reader may meet a part. */
static bool tiny_write(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    bool written = file != NULL && fwrite(bytes, 1, size, file) == size;

    if (file != NULL && fclose(file) != 0)
        written = false;
    return written;
}

static bool tiny_model_write(const char *path, uint32_t seed)
{
    size_t size;
    uint8_t *bytes = tiny_model_bytes(seed, "", &size);
    bool written = tiny_write(path, bytes, size);

    free(bytes);
    return written;
}

#endif
