/* Records and kept display images as bytes: see record.h. */
#include "diagnosis/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "diagnosis/content.h"
#include "image/image.h"

/* Sizes of the parts behind the head; false when they overflow. */
static bool part_sizes(const struct csi_record_head *head, size_t *logits, size_t *maps)
{
    size_t pixels;

    return !csi_mul_overflows(head->class_count, sizeof(float), logits) &&
           !csi_mul_overflows(head->map_width, head->map_height, &pixels) &&
           !csi_mul_overflows(pixels, head->map_classes, maps) &&
           !csi_mul_overflows(*maps, sizeof(uint16_t), maps);
}

enum cs_status csi_record_write(const struct csi_record_head *head, const float *logits, const float *maps,
                                uint8_t **bytes, size_t *size, struct cs_error *error)
{
    size_t logits_size, maps_size, total;
    uint8_t *out;

    *bytes = NULL;
    *size = 0;
    if (!part_sizes(head, &logits_size, &maps_size) || csi_add_overflows(sizeof *head, logits_size, &total) ||
        csi_add_overflows(total, maps_size, &total))
        return csi_fail(error, CS_INTERNAL, "the maps of %u classes do not fit into memory",
                        head->class_count);
    out = malloc(total);
    if (out == NULL)
        return csi_fail_memory(error, "record");
    memcpy(out, head, sizeof *head);
    memcpy(out + sizeof *head, logits, logits_size);
    for (size_t i = 0; i < maps_size / sizeof(uint16_t); i++) {
        float value = maps[i] * 65535.0f + 0.5f;
        uint16_t level = value >= 65535.0f ? 65535 : value > 0 ? (uint16_t)value : 0;

        memcpy(out + sizeof *head + logits_size + i * sizeof level, &level, sizeof level);
    }
    *bytes = out;
    *size = total;
    return CS_OK;
}

static bool has_shape(const struct csi_record_head *head, const struct csi_record_shape *shape)
{
    return head->magic == CSI_RECORD_MAGIC && head->class_count == shape->class_count &&
           head->map_classes == shape->map_classes && head->map_width == shape->map_width &&
           head->map_height == shape->map_height;
}

/* Whether a decoder can have said this. */
static bool are_sound(const struct csi_photo_facts *facts)
{
    return facts->format > CS_FORMAT_UNKNOWN && facts->format <= CS_FORMAT_WEBP && facts->bytes > 0 &&
           facts->display_width > 0 && facts->display_width <= facts->width && facts->display_height > 0 &&
           facts->display_height <= facts->height;
}

enum cs_status csi_record_read(const uint8_t *bytes, size_t size, const struct csi_record_shape *shape,
                               struct csi_record *record, struct cs_error *error)
{
    size_t logits_size, maps_size;

    if (size >= sizeof record->head)
        memcpy(&record->head, bytes, sizeof record->head);
    if (size < sizeof record->head || !has_shape(&record->head, shape) || !are_sound(&record->head.photo) ||
        record->head.hints >= 1u << CSI_HINT_COUNT || !part_sizes(&record->head, &logits_size, &maps_size) ||
        size - sizeof record->head < logits_size || size - sizeof record->head - logits_size != maps_size)
        return csi_fail(error, CS_INTERNAL, "a cached prediction of %zu bytes is none", size);
    record->logits = (const float *)(const void *)(bytes + sizeof record->head);
    record->maps = (const uint16_t *)(const void *)(bytes + sizeof record->head + logits_size);
    return CS_OK;
}

void csi_record_map(const struct csi_record *record, size_t class_index, float *map)
{
    size_t pixels = (size_t)record->head.map_width * record->head.map_height;
    const uint16_t *from = record->maps + class_index * pixels;

    for (size_t i = 0; i < pixels; i++)
        map[i] = (float)from[i] / 65535.0f;
}

enum cs_status csi_display_write(const struct csi_photo_facts *facts, const cs_image *image, uint8_t **bytes,
                                 size_t *size, struct cs_error *error)
{
    size_t row = (size_t)image->width * 3, total;
    uint8_t *out;

    *bytes = NULL;
    *size = 0;
    if (csi_mul_overflows(row, image->height, &total) || csi_add_overflows(total, sizeof *facts, &total))
        return csi_fail_memory(error, "display image");
    out = malloc(total);
    if (out == NULL)
        return csi_fail_memory(error, "display image");
    memcpy(out, facts, sizeof *facts);
    for (uint32_t y = 0; y < image->height; y++)
        memcpy(out + sizeof *facts + y * row, image->pixels + y * image->stride, row);
    *bytes = out;
    *size = total;
    return CS_OK;
}

enum cs_status csi_display_read(const uint8_t *bytes, size_t size, uint32_t max_side,
                                struct csi_photo_facts *facts, cs_image **image, struct cs_error *error)
{
    uint32_t width, height;
    size_t row, total;
    enum cs_status status;

    *image = NULL;
    if (size >= sizeof *facts)
        memcpy(facts, bytes, sizeof *facts);
    if (size < sizeof *facts || !are_sound(facts))
        return csi_fail(error, CS_INTERNAL, "a cached photo of %zu bytes is none", size);
    csi_display_size(facts->width, facts->height, max_side, &width, &height);
    if (facts->display_width != width || facts->display_height != height ||
        csi_mul_overflows((size_t)facts->display_width * 3, facts->display_height, &total) ||
        total != size - sizeof *facts)
        return csi_fail(error, CS_INTERNAL, "a cached photo of %zu bytes is none", size);
    status = csi_image_create(facts->display_width, facts->display_height, image, error);
    if (status != CS_OK)
        return status;
    row = (size_t)facts->display_width * 3;
    for (uint32_t y = 0; y < facts->display_height; y++)
        memcpy((*image)->pixels + y * (*image)->stride, bytes + sizeof *facts + y * row, row);
    return CS_OK;
}
