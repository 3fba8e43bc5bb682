/*
 * JPEG through libjpeg-turbo. Owns all of setjmp and longjmp that JPEG needs: no other file sees them. Every
 * object that a jump may leave behind hangs on one struct, which the caller of setjmp releases.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "base/checked.h"
#include "base/memory.h"
#include "image/decoder.h"
#include "image/format.h"

/* libjpeg's arrays of coefficients of a progressive photo: 50 megapixels in four components of 16 bits, and
 * some. */
#define MAX_LIBRARY_MEMORY (512L * 1024 * 1024)

/* A block of 8×8 pixels takes at least one bit of the first DC scan, in at least one component: 512 pixels a
 * byte. Four times that leaves room for odd sampling factors; a header that declares more lies. Arithmetic
 * coding has no such bound. */
#define MAX_PIXELS_A_BYTE 2048u

struct failure {
    struct jpeg_error_mgr manager; /* first: libjpeg hands us its address */
    jmp_buf jump;
    enum cs_status status;
    char message[JMSG_LENGTH_MAX];
};

struct reader {
    struct jpeg_decompress_struct library;
    struct jpeg_progress_mgr progress;
    struct failure failure;
    uint32_t max_scans;
    uint8_t *batch; /* CSI_ROW_BATCH rows as the library gives them */
    uint8_t *rgb;   /* the same as RGB, for CMYK photos */
};

/* ---- errors ---- */

static enum cs_status status_of(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY: return CS_INTERNAL;
    case JERR_NO_BACKING_STORE: /* over MAX_LIBRARY_MEMORY */
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW: return CS_IMAGE_TOO_LARGE;
    case JERR_BAD_PRECISION: /* 12 bit */
    case JERR_SOF_UNSUPPORTED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_NOT_COMPILED: return CS_UNSUPPORTED_FORMAT;
    default: return CS_CORRUPT_IMAGE;
    }
}

static void leave(j_common_ptr library)
{
    struct failure *failure = (struct failure *)library->err;

    failure->status = status_of(failure->manager.msg_code);
    failure->manager.format_message(library, failure->message);
    longjmp(failure->jump, 1);
}

/* Warnings. libjpeg goes on with grey blocks where data is missing; a diagnosis of grey blocks is worth
 * nothing. What cameras and editors are known to get wrong without harm to the pixels stays a warning. */
static void judge_warning(j_common_ptr library, int level)
{
    if (level >= 0)
        return; /* trace messages */
    switch (library->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC: leave(library); break;
    default: library->err->num_warnings++;
    }
}

static void stay_silent(j_common_ptr library)
{
    (void)library;
}

static struct jpeg_error_mgr *prepare_failure(struct failure *failure)
{
    struct jpeg_error_mgr *manager = jpeg_std_error(&failure->manager);

    manager->error_exit = leave;
    manager->emit_message = judge_warning;
    manager->output_message = stay_silent;
    failure->status = CS_INTERNAL;
    return manager;
}

/* Runs inside every pass: a progressive file may hold thousands of scans over a big image. */
static void count_scans(j_common_ptr library)
{
    struct reader *reader = library->client_data;

    if (reader->library.input_scan_number > 0 &&
        (uint32_t)reader->library.input_scan_number > reader->max_scans) {
        reader->failure.status = CS_IMAGE_TOO_LARGE;
        snprintf(reader->failure.message, sizeof reader->failure.message, "more than %u progressive scans",
                 (unsigned)reader->max_scans);
        longjmp(reader->failure.jump, 1);
    }
}

/* ---- reading ---- */

/* Header read and judged. Called with the jump set. */
static enum cs_status read_header(struct reader *reader, const uint8_t *bytes, size_t size,
                                  const struct cs_limits *limits, struct cs_error *error)
{
    struct jpeg_decompress_struct *library = &reader->library;
    enum cs_status status;

    jpeg_create_decompress(library);
    library->client_data = reader;
    library->mem->max_memory_to_use = MAX_LIBRARY_MEMORY;
    library->progress = &reader->progress;
    reader->progress.progress_monitor = count_scans;
    reader->max_scans = limits->max_jpeg_scans;
    jpeg_mem_src(library, bytes, size);
    jpeg_read_header(library, TRUE);
    status = csi_format_check_size(library->image_width, library->image_height, limits, error);
    if (status != CS_OK)
        return status;
    if (library->num_components != 1 && library->num_components != 3 && library->num_components != 4)
        return csi_fail(error, CS_UNSUPPORTED_FORMAT, "a JPEG of %d components", library->num_components);
    if (!library->arith_code &&
        (uint64_t)library->image_width * library->image_height / MAX_PIXELS_A_BYTE > size)
        return csi_fail(error, CS_CORRUPT_IMAGE, "%u x %u pixels cannot be in %zu bytes",
                        (unsigned)library->image_width, (unsigned)library->image_height, size);
    return CS_OK;
}

/* Pillow's definition: JPEG stores CMYK inverted (Adobe's habit, assumed for all), and RGB = (255 - ink)·(255
 * - black) / 255, rounded. `cmyk` holds 255 - ink already. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t count)
{
    for (size_t i = 0; i < count; i++, cmyk += 4, rgb += 3) {
        int paper = cmyk[3];

        for (int c = 0; c < 3; c++) {
            int product = (255 - cmyk[c]) * paper + 128;

            rgb[c] = (uint8_t)(paper - ((product + (product >> 8)) >> 8) > 0
                                   ? paper - ((product + (product >> 8)) >> 8)
                                   : 0);
        }
    }
}

/* All rows, batch by batch. Called with the jump set; the sink never jumps. */
static enum cs_status push_rows(struct reader *reader, const struct csi_row_sink *sink,
                                struct cs_error *error)
{
    struct jpeg_decompress_struct *library = &reader->library;
    bool cmyk = library->out_color_space == JCS_CMYK;
    size_t pitch = cmyk ? (size_t)library->output_width * 4 : csi_row_pitch(library->output_width);
    size_t rgb_pitch = cmyk ? (size_t)library->output_width * 3 : pitch;
    size_t size = pitch * CSI_ROW_BATCH, rgb_size = rgb_pitch * CSI_ROW_BATCH;
    enum cs_status status;

    reader->batch = csi_aligned_alloc(CSI_ROW_SHIFT + size + CSI_IMAGE_PADDING);
    reader->rgb = cmyk ? csi_aligned_alloc(rgb_size + CSI_IMAGE_PADDING) : NULL;
    if (reader->batch == NULL || (cmyk && reader->rgb == NULL))
        return csi_fail_memory(error, "JPEG rows");
    memset(cmyk ? reader->rgb + rgb_size : reader->batch + CSI_ROW_SHIFT + size, 0, CSI_IMAGE_PADDING);
    status = sink->begin(sink->context, library->output_width, library->output_height, error);
    while (status == CS_OK && library->output_scanline < library->output_height) {
        JSAMPROW rows[CSI_ROW_BATCH];
        uint32_t count = 0, left = library->output_height - library->output_scanline;
        uint32_t want = left < CSI_ROW_BATCH ? left : CSI_ROW_BATCH;
        uint8_t *to = sink->room != NULL && !cmyk ? sink->room(sink->context) : reader->batch + CSI_ROW_SHIFT;

        for (uint32_t i = 0; i < want; i++)
            rows[i] = to + i * pitch;
        while (count < want)
            count += jpeg_read_scanlines(library, rows + count, want - count);
        if (cmyk)
            cmyk_to_rgb(to, reader->rgb, (size_t)library->output_width * count);
        status = sink->rows(sink->context, cmyk ? reader->rgb : to, rgb_pitch, count, error);
    }
    return status;
}

static enum cs_status run_reader(struct reader *reader, const struct csi_decode_job *job,
                                 const struct csi_row_sink *sink, struct cs_error *error)
{
    enum cs_status status;

    if (setjmp(reader->failure.jump))
        return csi_fail(error, reader->failure.status, "JPEG: %s", reader->failure.message);
    status = read_header(reader, job->bytes, job->size, job->limits, error);
    if (status != CS_OK || sink == NULL)
        return status;
    /* Left as they are, because Pillow leaves them too: dct_method (slow integer) and fancy upsampling. */
    reader->library.out_color_space = reader->library.num_components == 4 ? JCS_CMYK : JCS_RGB;
    reader->library.scale_num = job->eighths;
    reader->library.scale_denom = 8;
    jpeg_start_decompress(&reader->library);
    /* jpeg_finish_decompress is not called: what stands behind the last row is no concern of the photo. */
    return push_rows(reader, sink, error);
}

/* The frame around the jump: owns the struct, so nothing here can be clobbered. `sink` NULL: the header
 * alone. */
static enum cs_status read_jpeg(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                                uint32_t *width, uint32_t *height, struct cs_error *error)
{
    struct reader *reader = calloc(1, sizeof *reader);
    enum cs_status status;

    if (reader == NULL)
        return csi_fail_memory(error, "JPEG reader");
    reader->library.err = prepare_failure(&reader->failure);
    status = run_reader(reader, job, sink, error);
    if (status == CS_OK && width != NULL) {
        *width = reader->library.image_width;
        *height = reader->library.image_height;
    }
    jpeg_destroy_decompress(&reader->library);
    csi_aligned_free(reader->batch);
    csi_aligned_free(reader->rgb);
    free(reader);
    return status;
}

enum cs_status csi_jpeg_probe(const uint8_t *bytes, size_t size, const struct cs_limits *limits,
                              uint32_t *width, uint32_t *height, struct cs_error *error)
{
    struct csi_decode_job job = {bytes, size, limits, 8};

    return read_jpeg(&job, NULL, width, height, error);
}

enum cs_status csi_jpeg_decode(const struct csi_decode_job *job, const struct csi_row_sink *sink,
                               struct cs_error *error)
{
    return read_jpeg(job, sink, NULL, NULL, error);
}

/* ---- writing ---- */

struct writer {
    struct jpeg_compress_struct library;
    struct jpeg_destination_mgr destination;
    struct failure failure;
    struct csi_buffer *out;
    uint8_t block[16384];
};

static void start_output(j_compress_ptr library)
{
    struct writer *writer = library->client_data;

    writer->destination.next_output_byte = writer->block;
    writer->destination.free_in_buffer = sizeof writer->block;
}

static boolean empty_output(j_compress_ptr library)
{
    struct writer *writer = library->client_data;

    csi_buffer_append(writer->out, writer->block, sizeof writer->block);
    start_output(library);
    return TRUE;
}

static void end_output(j_compress_ptr library)
{
    struct writer *writer = library->client_data;

    csi_buffer_append(writer->out, writer->block, sizeof writer->block - writer->destination.free_in_buffer);
}

static enum cs_status run_writer(struct writer *writer, const cs_image *image, int quality,
                                 struct cs_error *error)
{
    struct jpeg_compress_struct *library = &writer->library;

    if (setjmp(writer->failure.jump))
        return csi_fail(error,
                        writer->failure.status == CS_CORRUPT_IMAGE ? CS_INTERNAL : writer->failure.status,
                        "JPEG: %s", writer->failure.message);
    jpeg_create_compress(library);
    library->client_data = writer;
    writer->destination.init_destination = start_output;
    writer->destination.empty_output_buffer = empty_output;
    writer->destination.term_destination = end_output;
    library->dest = &writer->destination;
    library->image_width = image->width;
    library->image_height = image->height;
    library->input_components = 3;
    library->in_color_space = JCS_RGB;
    jpeg_set_defaults(library);
    jpeg_set_quality(library, quality, TRUE);
    jpeg_start_compress(library, TRUE);
    while (library->next_scanline < library->image_height) {
        JSAMPROW row = image->pixels + library->next_scanline * image->stride;

        jpeg_write_scanlines(library, &row, 1);
    }
    jpeg_finish_compress(library);
    return writer->out->failed ? csi_fail_memory(error, "JPEG output") : CS_OK;
}

enum cs_status csi_image_encode_jpeg(const cs_image *image, int quality, struct csi_buffer *out,
                                     struct cs_error *error)
{
    struct writer *writer;
    enum cs_status status;

    if (quality < 1 || quality > 100)
        return csi_fail(error, CS_BAD_REQUEST, "a JPEG quality of %d: 1 to 100", quality);
    writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return csi_fail_memory(error, "JPEG writer");
    writer->library.err = prepare_failure(&writer->failure);
    writer->out = out;
    status = run_writer(writer, image, quality, error);
    jpeg_destroy_compress(&writer->library);
    free(writer);
    return status;
}
