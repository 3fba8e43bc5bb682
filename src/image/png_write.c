/*
 * PNG writing. Owns the container and the cut of an image into strips, which are compressed apart and so on
 * several threads at once, what libpng cannot; the compression is zlib's. Reading is png.c's.
 *
 * Deflate streams that end on a byte boundary may simply follow each other (RFC 1951, 3.2.4): every strip but
 * the last ends with an empty stored block. The cut depends on the image alone, so the file does too.
 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/checked.h"
#include "base/thread_pool.h"
#include "image/image.h"

/* Filtered bytes of a strip, about: the window and the blocks of deflate are smaller. */
#define STRIP_BYTES ((size_t)192 << 10)
#define BLOCK       16u

enum { FILTER_AVERAGE = 3 };

struct strip {
    uint32_t first, rows;
    uint8_t *filtered, *packed;
    size_t filtered_size, packed_size, capacity;
    uLong adler;
    bool made;
};

struct writer {
    const cs_image *image;
    struct strip *strips;
    size_t count;
};

/* PNG (third edition) 9.2, filter 3: differences to the mean of the left and the upper neighbour. `above`
 * NULL: the first row. */
static void filter_row(const uint8_t *restrict row, const uint8_t *restrict above, size_t size,
                       uint8_t *restrict to)
{
    static const uint8_t zeros[BLOCK];
    size_t x = 0;

    *to++ = FILTER_AVERAGE;
    for (; x < 3; x++) /* no left neighbour; a row has at least one pixel */
        to[x] = (uint8_t)(row[x] - (above == NULL ? 0 : above[x] / 2));
    for (; x + BLOCK <= size; x += BLOCK) {
        const uint8_t *up = above == NULL ? zeros : above + x;

        for (unsigned i = 0; i < BLOCK; i++)
            to[x + i] = (uint8_t)(row[x + i] - (uint8_t)((uint16_t)(row[x + i - 3] + up[i]) >> 1));
    }
    for (; x < size; x++)
        to[x] = (uint8_t)(row[x] - (row[x - 3] + (above == NULL ? 0 : above[x])) / 2);
}

/* Photos hardly repeat, so searching for matches costs time and saves nothing: Huffman codes alone. */
static bool compress_strip(struct strip *strip, bool last)
{
    z_stream stream;
    int result;

    memset(&stream, 0, sizeof stream);
    if (deflateInit2(&stream, 1, Z_DEFLATED, -MAX_WBITS, 8, Z_HUFFMAN_ONLY) != Z_OK)
        return false;
    strip->capacity = deflateBound(&stream, (uLong)strip->filtered_size) + 64; /* and the empty block */
    strip->packed = malloc(strip->capacity);
    if (strip->packed == NULL) {
        deflateEnd(&stream);
        return false;
    }
    stream.next_in = strip->filtered;
    stream.avail_in = (uInt)strip->filtered_size;
    stream.next_out = strip->packed;
    stream.avail_out = (uInt)strip->capacity;
    result = deflate(&stream, last ? Z_FINISH : Z_SYNC_FLUSH);
    strip->packed_size = strip->capacity - stream.avail_out;
    strip->adler = adler32(adler32(0, NULL, 0), strip->filtered, (uInt)strip->filtered_size);
    deflateEnd(&stream);
    return result == (last ? Z_STREAM_END : Z_OK) && stream.avail_in == 0 &&
           strip->packed_size < strip->capacity;
}

static void make_strip(void *context, size_t index, unsigned worker)
{
    struct writer *writer = context;
    struct strip *strip = &writer->strips[index];
    const cs_image *image = writer->image;
    size_t line = image->stride + 1;

    (void)worker;
    strip->filtered_size = line * strip->rows;
    strip->filtered = malloc(strip->filtered_size);
    if (strip->filtered == NULL)
        return;
    for (uint32_t i = 0; i < strip->rows; i++) {
        const uint8_t *row = image->pixels + (strip->first + i) * image->stride;

        filter_row(row, strip->first + i == 0 ? NULL : row - image->stride, image->stride,
                   strip->filtered + i * line);
    }
    strip->made = compress_strip(strip, index + 1 == writer->count);
}

/* ---- the container ---- */

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A chunk whose data come in up to three pieces. */
static void append_chunk(struct csi_buffer *out, const char *name, const uint8_t *const *pieces,
                         const size_t *sizes, unsigned count)
{
    uint8_t number[4];
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)name, 4);
    size_t size = 0;

    for (unsigned i = 0; i < count; i++)
        size += sizes[i];
    put32(number, (uint32_t)size);
    csi_buffer_append(out, number, 4);
    csi_buffer_append(out, name, 4);
    for (unsigned i = 0; i < count; i++) {
        csi_buffer_append(out, pieces[i], sizes[i]);
        crc = crc32(crc, pieces[i], (uInt)sizes[i]);
    }
    put32(number, (uint32_t)crc);
    csi_buffer_append(out, number, 4);
}

static void append_file(const struct writer *writer, struct csi_buffer *out)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t zlib_head[2] = {0x78, 0x01}; /* 32 KiB window, fastest */
    uint8_t header[13] = {[8] = 8, [9] = 2}, tail[4]; /* 8 bits, RGB, not interlaced */
    const uint8_t *piece = header;
    size_t size = sizeof header;
    uLong adler = adler32(0, NULL, 0);

    csi_buffer_append(out, signature, sizeof signature);
    put32(header, writer->image->width);
    put32(header + 4, writer->image->height);
    append_chunk(out, "IHDR", &piece, &size, 1);
    for (size_t i = 0; i < writer->count; i++) {
        const struct strip *strip = &writer->strips[i];
        const uint8_t *pieces[3] = {zlib_head, strip->packed, tail};
        size_t sizes[3] = {i == 0 ? sizeof zlib_head : 0, strip->packed_size,
                           i + 1 == writer->count ? sizeof tail : 0};

        adler = adler32_combine(adler, strip->adler, (z_off_t)strip->filtered_size);
        put32(tail, (uint32_t)adler);
        append_chunk(out, "IDAT", pieces, sizes, 3);
    }
    append_chunk(out, "IEND", NULL, NULL, 0);
}

enum cs_status csi_image_encode_png(const cs_image *image, struct csi_pool *pool, struct csi_buffer *out,
                                    struct cs_error *error)
{
    uint32_t rows = (uint32_t)csi_max_size(STRIP_BYTES / (image->stride + 1), 1);
    struct writer writer = {image, NULL, (image->height + rows - 1) / rows};
    bool made = true;

    writer.strips = calloc(writer.count, sizeof *writer.strips);
    if (writer.strips == NULL)
        return csi_fail_memory(error, "PNG output");
    for (size_t i = 0; i < writer.count; i++) {
        writer.strips[i].first = (uint32_t)i * rows;
        writer.strips[i].rows = (uint32_t)csi_min_size(rows, image->height - i * rows);
    }
    csi_pool_run(pool, writer.count, make_strip, &writer);
    for (size_t i = 0; i < writer.count; i++)
        made = made && writer.strips[i].made;
    if (made)
        append_file(&writer, out);
    for (size_t i = 0; i < writer.count; i++) {
        free(writer.strips[i].filtered);
        free(writer.strips[i].packed);
    }
    free(writer.strips);
    return !made || out->failed ? csi_fail_memory(error, "PNG output") : CS_OK;
}
