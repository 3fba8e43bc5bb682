/*
 * Reading PNG through libpng's row interface; png_write.c writes. Owns all of setjmp and longjmp that PNG
 * needs. Every object that a jump may leave behind hangs on one struct, which the caller of setjmp releases.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "base/checked.h"
#include "base/memory.h"
#include "image/decoder.h"
#include "image/format.h"

/* No chunk that we read is bigger: the palette is 768 bytes, image data streams. */
#define MAX_CHUNK_BYTES (8u * 1024 * 1024)
/* Deflate expands at most 1032 times (RFC 1951: a match of 258 bytes in 2 bits). */
#define MAX_EXPANSION 1032u

struct png_state {
    png_structp library;
    png_infop info;
    jmp_buf jump;
    enum cs_status status;
    char message[160];
    const uint8_t *bytes; /* what is left */
    size_t left;
    uint8_t *batch; /* CSI_ROW_BATCH rows, or the whole image when it is interlaced */
    uint8_t *rgb;   /* the batch composed on white */
};

static void leave(png_structp library, png_const_charp message)
{
    struct png_state *state = png_get_error_ptr(library);

    snprintf(state->message, sizeof state->message, "%s", message);
    longjmp(state->jump, 1);
}

static void ignore_warning(png_structp library, png_const_charp message)
{
    (void)library;
    (void)message;
}

/* libpng's error carries text alone; memory that ran out is known by this. */
static png_voidp allocate(png_structp library, png_alloc_size_t size)
{
    struct png_state *state = png_get_mem_ptr(library);
    void *memory = malloc(size == 0 ? 1 : size);

    if (memory == NULL)
        state->status = CS_INTERNAL;
    return memory;
}

static void release(png_structp library, png_voidp memory)
{
    (void)library;
    free(memory);
}

static void read_bytes(png_structp library, png_bytep to, size_t size)
{
    struct png_state *state = png_get_io_ptr(library);

    if (size > state->left)
        png_error(library, "the file ends early");
    memcpy(to, state->bytes, size);
    state->bytes += size;
    state->left -= size;
}

/* ---- reading ---- */

/* The IHDR chunk, which the specification puts first: 8 bytes signature, length 13, "IHDR", width, height. */
static enum cs_status check_header(const uint8_t *b, size_t size, const struct cs_limits *limits,
                                   uint32_t *width, uint32_t *height, struct cs_error *error)
{
    static const uint8_t start[8] = {0, 0, 0, 13, 'I', 'H', 'D', 'R'};

    if (size < 33)
        return csi_fail(error, CS_CORRUPT_IMAGE, "PNG: the file ends in its header");
    if (memcmp(b + 8, start, sizeof start) != 0)
        return csi_fail(error, CS_CORRUPT_IMAGE, "PNG: no header chunk");
    *width = (uint32_t)b[16] << 24 | (uint32_t)b[17] << 16 | (uint32_t)b[18] << 8 | b[19];
    *height = (uint32_t)b[20] << 24 | (uint32_t)b[21] << 16 | (uint32_t)b[22] << 8 | b[23];
    return csi_format_check_size(*width, *height, limits, error);
}

/* Chunks that would only cost: texts, profiles and the like, many of them compressed. */
static void ignore_metadata(png_structp library)
{
    static const char names[] = "iCCP\0tEXt\0zTXt\0iTXt\0sPLT\0hIST\0pCAL\0sCAL\0oFFs\0tIME\0eXIf";

    png_set_keep_unknown_chunks(library, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep)names,
                                (int)(sizeof names / 5));
}

/* Any PNG as 8-bit RGB or RGBA. 16 bits lose their low byte, as in Pillow. */
static void ask_for_rgb(png_structp library, png_infop info)
{
    png_set_strip_16(library);
    png_set_packing(library);
    png_set_palette_to_rgb(library);
    png_set_expand_gray_1_2_4_to_8(library);
    if (png_get_valid(library, info, PNG_INFO_tRNS))
        png_set_tRNS_to_alpha(library);
    png_set_gray_to_rgb(library);
}

/* Rows [0, count) of `from` to the sink, composed on white where there is alpha. */
static enum cs_status push(struct png_state *state, const uint8_t *from, size_t stride, uint32_t width,
                           uint32_t count, const struct csi_row_sink *sink, struct cs_error *error)
{
    if (state->rgb == NULL)
        return sink->rows(sink->context, from, stride, count, error);
    csi_compose_on_white(from, state->rgb, (size_t)width * count);
    return sink->rows(sink->context, state->rgb, (size_t)width * 3, count, error);
}

static enum cs_status push_rows(struct png_state *state, size_t file_size, uint32_t width, uint32_t height,
                                const struct csi_row_sink *sink, struct cs_error *error)
{
    size_t stride = png_get_rowbytes(state->library, state->info), held;
    bool alpha = png_get_channels(state->library, state->info) == 4;
    bool interlaced = png_get_interlace_type(state->library, state->info) != PNG_INTERLACE_NONE;
    int passes = png_set_interlace_handling(state->library);
    enum cs_status status;

    held = stride * (interlaced ? height : CSI_ROW_BATCH) + CSI_IMAGE_PADDING;
    /* One bit a pixel is the least a file can hold before deflate. */
    if ((uint64_t)width * height / 8 / MAX_EXPANSION > file_size)
        return csi_fail(error, CS_CORRUPT_IMAGE, "PNG: %u x %u pixels cannot be in %zu bytes",
                        (unsigned)width, (unsigned)height, file_size);
    state->batch = interlaced ? csi_aligned_calloc(held) : csi_aligned_alloc(held);
    if (alpha)
        state->rgb = csi_aligned_calloc((size_t)width * 3 * CSI_ROW_BATCH + CSI_IMAGE_PADDING);
    if (state->batch == NULL || (alpha && state->rgb == NULL))
        return csi_fail_memory(error, "PNG rows");
    memset(state->batch + held - CSI_IMAGE_PADDING, 0, CSI_IMAGE_PADDING);
    if (interlaced) /* each pass fills in pixels of the whole image */
        for (int pass = 0; pass < passes; pass++)
            for (uint32_t y = 0; y < height; y++)
                png_read_row(state->library, state->batch + y * stride, NULL);
    status = sink->begin(sink->context, width, height, error);
    for (uint32_t y = 0; status == CS_OK && y < height; y += CSI_ROW_BATCH) {
        uint32_t count = height - y < CSI_ROW_BATCH ? height - y : CSI_ROW_BATCH;

        if (interlaced) {
            status = push(state, state->batch + y * stride, stride, width, count, sink, error);
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            png_read_row(state->library, state->batch + i * stride, NULL);
        status = push(state, state->batch, stride, width, count, sink, error);
    }
    if (status == CS_OK)
        png_read_end(state->library, NULL); /* the checksums of the last rows, and that the file is whole */
    return status;
}

static enum cs_status run_reader(struct png_state *state, const struct csi_decode_job *job, uint32_t width,
                                 uint32_t height, const struct csi_row_sink *sink, struct cs_error *error)
{
    if (setjmp(state->jump))
        return csi_fail(error, state->status, "PNG: %s", state->message);
    state->library = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, state, leave, ignore_warning, state,
                                              allocate, release);
    if (state->library == NULL)
        return csi_fail_memory(error, "PNG reader");
    state->info = png_create_info_struct(state->library);
    if (state->info == NULL)
        return csi_fail_memory(error, "PNG reader");
    png_set_read_fn(state->library, state, read_bytes);
    png_set_user_limits(state->library, job->limits->max_side, job->limits->max_side);
    png_set_chunk_malloc_max(state->library, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(state->library, 16);
    ignore_metadata(state->library);
    png_read_info(state->library, state->info);
    if (sink == NULL)
        return CS_OK;
    ask_for_rgb(state->library, state->info);
    (void)png_set_interlace_handling(state->library);
    png_read_update_info(state->library, state->info);
    return push_rows(state, job->size, width, height, sink, error);
}

/* The frame around the jump: owns the struct. `sink` NULL: the header alone. */
static enum cs_status read_png(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                               uint32_t *width, uint32_t *height, struct cs_error *error)
{
    struct png_state *state;
    enum cs_status status = check_header(job->bytes, job->size, job->limits, width, height, error);

    if (status != CS_OK)
        return status;
    state = calloc(1, sizeof *state);
    if (state == NULL)
        return csi_fail_memory(error, "PNG reader");
    state->status = CS_CORRUPT_IMAGE;
    state->bytes = job->bytes;
    state->left = job->size;
    status = run_reader(state, job, *width, *height, sink, error);
    png_destroy_read_struct(&state->library, &state->info, NULL);
    csi_aligned_free(state->batch);
    csi_aligned_free(state->rgb);
    free(state);
    return status;
}

enum cs_status csi_png_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                             uint32_t *width, uint32_t *height, struct cs_error *error)
{
    struct csi_decode_job job = {bytes, size, limits, 8};

    return read_png(&job, NULL, width, height, error);
}

enum cs_status csi_png_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                              struct cs_error *error)
{
    uint32_t width, height;

    return read_png(job, sink, &width, &height, error);
}
