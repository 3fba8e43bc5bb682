/*
 * Image formats by content: see format.h. Owns the signatures and the limits on declared sizes; decodes
 * nothing.
 */
#include "image/format.h"

#include <string.h>

const char *cs_image_format_name(enum cs_image_format format)
{
    switch (format) {
    case CS_FORMAT_JPEG: return "jpeg";
    case CS_FORMAT_PNG: return "png";
    case CS_FORMAT_WEBP: return "webp";
    case CS_FORMAT_UNKNOWN: break;
    }
    return "unknown";
}

struct cs_limits csi_limits_complete(const struct cs_limits *given)
{
    struct cs_limits limits = {
        .max_bytes = (size_t)25 << 20, .max_pixels = 50000000, .max_side = 16384, .max_jpeg_scans = 100};

    if (given == NULL)
        return limits;
    if (given->max_bytes != 0)
        limits.max_bytes = given->max_bytes;
    if (given->max_pixels != 0)
        limits.max_pixels = given->max_pixels;
    if (given->max_side != 0)
        limits.max_side = given->max_side;
    if (given->max_jpeg_scans != 0)
        limits.max_jpeg_scans = given->max_jpeg_scans;
    return limits;
}

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

struct signature {
    const char *name;
    size_t offset, size;
    const char *bytes;
};

/* What people send instead. ISO media files ("ftyp") carry their brand behind the box name. */
static const struct signature foreign[] = {
    {"a GIF", 0, 4, "GIF8"},
    {"a BMP", 0, 2, "BM"},
    {"a HEIC photo", 4, 8, "ftypheic"},
    {"a HEIC photo", 4, 8, "ftypheix"},
    {"a HEIF image", 4, 8, "ftypmif1"},
    {"a HEIF image", 4, 8, "ftypmsf1"},
    {"an AVIF image", 4, 8, "ftypavif"},
    {"an AVIF image", 4, 8, "ftypavis"},
    {"a video", 4, 4, "ftyp"},
    {"a TIFF", 0, 4, "II*\0"},
    {"a TIFF", 0, 4, "MM\0*"},
    {"a JPEG XL image", 0, 2, "\xff\x0a"},
    {"a JPEG XL image", 4, 4, "JXL "},
    {"a JPEG 2000 image", 4, 4, "jP  "},
    {"a PDF", 0, 5, "%PDF-"},
    {"a ZIP archive", 0, 4, "PK\x03\x04"},
    {"a Photoshop file", 0, 4, "8BPS"},
    {"a WebM or Matroska video", 0, 4, "\x1a\x45\xdf\xa3"},
};

static bool looks_like_text(const uint8_t *bytes, size_t size)
{
    size_t n = size < 512 ? size : 512;

    for (size_t i = 0; i < n; i++)
        if (bytes[i] < 0x20 && bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != '\t')
            return false;
    return true;
}

static const char *foreign_name(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        const struct signature *s = &foreign[i];

        if (size >= s->offset + s->size && memcmp(bytes + s->offset, s->bytes, s->size) == 0)
            return s->name;
    }
    return looks_like_text(bytes, size) ? "text" : "of no known image format";
}

enum cs_status csi_format_recognise(const void *bytes, size_t size, const struct cs_limits *limits,
                                    enum cs_image_format *format, struct cs_error *error)
{
    const uint8_t *b = bytes;

    *format = CS_FORMAT_UNKNOWN;
    if (size == 0 || bytes == NULL)
        return csi_fail(error, CS_EMPTY_INPUT, "the image is empty (0 bytes)");
    if (size > limits->max_bytes)
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "the image has %zu bytes, the limit is %zu", size,
                        limits->max_bytes);
    if (size >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff) {
        *format = CS_FORMAT_JPEG;
    } else if (memcmp(b, png_signature, size < sizeof png_signature ? size : sizeof png_signature) == 0) {
        *format = CS_FORMAT_PNG;
    } else if (size >= 12 && memcmp(b, "RIFF", 4) == 0 && memcmp(b + 8, "WEBP", 4) == 0) {
        *format = CS_FORMAT_WEBP;
    } else if ((size < 3 && b[0] == 0xff && (size == 1 || b[1] == 0xd8)) ||
               (size >= 4 && size < 12 && memcmp(b, "RIFF", 4) == 0)) {
        return csi_fail(error, CS_CORRUPT_IMAGE, "the image ends after %zu bytes", size);
    } else {
        return csi_fail(error, CS_UNSUPPORTED_FORMAT, "not a JPEG, PNG or WebP image: the content is %s",
                        foreign_name(b, size));
    }
    return CS_OK;
}

enum cs_status csi_format_check_size(uint64_t width, uint64_t height, const struct cs_limits *limits,
                                     struct cs_error *error)
{
    if (width == 0 || height == 0 || width > UINT32_MAX || height > UINT32_MAX)
        return csi_fail(error, CS_CORRUPT_IMAGE, "the header declares %llu x %llu pixels",
                        (unsigned long long)width, (unsigned long long)height);
    if (width > limits->max_side || height > limits->max_side)
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "%llu x %llu pixels: the limit is %u a side",
                        (unsigned long long)width, (unsigned long long)height, (unsigned)limits->max_side);
    if (width * height > limits->max_pixels)
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "%llu x %llu pixels: the limit is %llu in all",
                        (unsigned long long)width, (unsigned long long)height,
                        (unsigned long long)limits->max_pixels);
    return CS_OK;
}
