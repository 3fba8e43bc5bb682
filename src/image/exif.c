/*
 * EXIF orientation: see exif.h. The container walks are pure functions of the bytes and never read past them.
 */
#include "image/exif.h"

#include <stdlib.h>
#include <string.h>

#include <libexif/exif-data.h>

#include "base/checked.h"

static const uint8_t exif_prefix[6] = {'E', 'x', 'i', 'f', 0, 0};

/* What a JPEG segment can hold. PNG and WebP have room for more (a preview, an editor's notes): the
 * orientation stands at the beginning. */
#define MAX_EXIF_BYTES ((size_t)65535)

struct block {
    const uint8_t *bytes;
    size_t size;
};

static uint32_t big32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t little32(const uint8_t *b)
{
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* ITU T.81 B.1.1: segments "FF marker length…" up to the first scan. */
static struct block find_in_jpeg(const uint8_t *b, size_t size)
{
    struct block none = {NULL, 0};
    size_t at = 2;

    while (at + 4 <= size) {
        size_t length;
        uint8_t marker;

        if (b[at] != 0xff) { /* stray bytes between segments: libjpeg skips them too */
            at++;
            continue;
        }
        marker = b[at + 1];
        if (marker == 0xff || marker == 0x00) {
            at++;
            continue;
        }
        if (marker == 0xda || marker == 0xd9)
            return none;
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
            at += 2;
            continue;
        }
        length = (size_t)b[at + 2] << 8 | b[at + 3];
        if (length < 2 || length > size - at - 2)
            return none;
        if (marker == 0xe1 && length >= 8 && memcmp(b + at + 4, exif_prefix, sizeof exif_prefix) == 0)
            return (struct block){b + at + 4, length - 2};
        at += 2 + length;
    }
    return none;
}

/* PNG (third edition) 5.3: length, type, data, CRC. eXIf may stand before or behind the image data. */
static struct block find_in_png(const uint8_t *b, size_t size)
{
    size_t at = 8;

    while (at + 12 <= size) {
        size_t length = big32(b + at);

        if (length > size - at - 12)
            break;
        if (memcmp(b + at + 4, "eXIf", 4) == 0)
            return (struct block){b + at + 8, length};
        at += 12 + length;
    }
    return (struct block){NULL, 0};
}

/* WebP container (RFC 9649, 2.3): "RIFF" size "WEBP", then chunks padded to even sizes. */
static struct block find_in_webp(const uint8_t *b, size_t size)
{
    size_t at = 12;

    while (at + 8 <= size) {
        size_t length = little32(b + at + 4);

        if (length > size - at - 8)
            break;
        if (memcmp(b + at, "EXIF", 4) == 0)
            return (struct block){b + at + 8, length};
        at += 8 + length + (length & 1);
    }
    return (struct block){NULL, 0};
}

/* libexif reports nothing but a missing tag when memory runs out inside it; these tell us. */
static _Thread_local bool out_of_memory;

static void *exif_allocate(ExifLong size)
{
    void *memory = calloc(size == 0 ? 1 : size, 1);

    out_of_memory |= memory == NULL;
    return memory;
}

static void *exif_reallocate(void *memory, ExifLong size)
{
    void *moved = realloc(memory, size == 0 ? 1 : size);

    out_of_memory |= moved == NULL;
    return moved;
}

static void exif_release(void *memory)
{
    free(memory);
}

static int read_orientation(ExifData *data)
{
    ExifEntry *entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
    int value = 1;

    if (entry != NULL && entry->format == EXIF_FORMAT_SHORT && entry->components >= 1 && entry->size >= 2)
        value = exif_get_short(entry->data, exif_data_get_byte_order(data));
    return value >= 1 && value <= 8 ? value : 1;
}

enum cs_status csi_exif_orientation(enum cs_image_format format, const uint8_t *bytes, size_t size,
                                    int *orientation, struct cs_error *error)
{
    struct block block = {NULL, 0};
    uint8_t *copy = NULL;
    ExifMem *memory = NULL;
    ExifData *data = NULL;
    size_t prefix;

    *orientation = 1;
    switch (format) {
    case CS_FORMAT_JPEG: block = find_in_jpeg(bytes, size); break;
    case CS_FORMAT_PNG: block = find_in_png(bytes, size); break;
    case CS_FORMAT_WEBP: block = find_in_webp(bytes, size); break;
    case CS_FORMAT_UNKNOWN: break;
    }
    if (block.size < 14)
        return CS_OK;
    block.size = csi_min_size(block.size, MAX_EXIF_BYTES);
    /* JPEG stores the block with a prefix, PNG and most WebP files without; libexif wants it. */
    prefix = memcmp(block.bytes, exif_prefix, sizeof exif_prefix) == 0 ? 0 : sizeof exif_prefix;
    out_of_memory = false;
    copy = malloc(prefix + block.size);
    memory = exif_mem_new(exif_allocate, exif_reallocate, exif_release);
    data = memory == NULL ? NULL : exif_data_new_mem(memory);
    if (copy != NULL && data != NULL) {
        memcpy(copy, exif_prefix, prefix);
        memcpy(copy + prefix, block.bytes, block.size);
        /* "Following the specification" would repair and rewrite entries: no use here. */
        exif_data_unset_option(data, EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
        exif_data_load_data(data, copy, (unsigned)(prefix + block.size));
        *orientation = read_orientation(data);
    }
    if (copy == NULL || data == NULL)
        out_of_memory = true;
    exif_data_unref(data);
    exif_mem_unref(memory);
    free(copy);
    return out_of_memory ? csi_fail_memory(error, "EXIF data") : CS_OK;
}
