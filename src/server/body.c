/* A request's body: see body.h. Multipart is taken apart by libmicrohttpd's PostProcessor as the bytes come.
 */
#include "server/body.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"

#define PARSER_BUFFER 65536u

void csi_part_name(const char *given, char *name, size_t size)
{
    const char *slash, *backslash;
    size_t length;

    if (given == NULL)
        given = "";
    slash = strrchr(given, '/');
    if (slash != NULL)
        given = slash + 1;
    backslash = strrchr(given, '\\'); /* old browsers on Windows send whole paths */
    if (backslash != NULL)
        given = backslash + 1;
    length = csi_min_size(strlen(given), size - 1);
    while (length > 0 && length < strlen(given) && ((unsigned char)given[length] & 0xc0) == 0x80)
        length--; /* never cut inside a UTF-8 sequence */
    for (size_t i = 0; i < length; i++)
        name[i] = (unsigned char)given[i] < 0x20 || given[i] == 0x7f ? '_' : given[i];
    name[length] = '\0';
}

static enum MHD_Result part_failed(struct csi_body *body, enum cs_status status, const char *message)
{
    csi_fail(&body->error, status, "%s", message);
    return MHD_NO;
}

/* libmicrohttpd gives one part in pieces; `offset` 0 begins a new one. */
static enum MHD_Result on_part(void *context, enum MHD_ValueKind kind, const char *key, const char *file_name,
                               const char *type, const char *coding, const char *data, uint64_t offset,
                               size_t size)
{
    struct csi_body *body = context;

    (void)kind;
    (void)type;
    (void)coding;
    if (offset == 0) {
        body->open = NULL;
        if (key == NULL || strcmp(key, "image") != 0)
            return MHD_YES; /* other fields of a form are read over */
        if (body->parts == NULL)
            body->parts = calloc(CSI_BODY_PARTS_MAX, sizeof *body->parts);
        if (body->parts == NULL)
            return part_failed(body, CS_INTERNAL, "out of memory (form)");
        if (body->part_count == CSI_BODY_PARTS_MAX)
            return part_failed(body, CS_BAD_REQUEST, "more than 32 image parts");
        body->open = &body->parts[body->part_count++];
        csi_part_name(file_name, body->open->name, sizeof body->open->name);
    }
    if (body->open == NULL || body->open->too_large)
        return MHD_YES;
    if (size > body->max_part_bytes - body->open->bytes.size) {
        csi_buffer_free(&body->open->bytes);
        body->open->too_large = true;
        return MHD_YES;
    }
    csi_buffer_append(&body->open->bytes, data, size);
    return body->open->bytes.failed ? part_failed(body, CS_INTERNAL, "out of memory (form)") : MHD_YES;
}

enum cs_status csi_body_begin(struct csi_body *body, struct MHD_Connection *connection,
                              bool multipart_allowed, size_t max_bytes, size_t max_part_bytes,
                              struct cs_error *error)
{
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");

    memset(body, 0, sizeof *body);
    body->max_bytes = max_bytes;
    body->max_part_bytes = max_part_bytes;
    if (!multipart_allowed || type == NULL || strncasecmp(type, "multipart/", 10) != 0)
        return CS_OK;
    body->multipart = true;
    if (strncasecmp(type, "multipart/form-data", 19) == 0)
        body->parser = MHD_create_post_processor(connection, PARSER_BUFFER, on_part, body);
    if (body->parser == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "the body is no multipart/form-data with a boundary");
    return CS_OK;
}

enum cs_status csi_body_feed(struct csi_body *body, const char *bytes, size_t size, struct cs_error *error)
{
    if (size > body->max_bytes - body->received)
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "the body is larger than %zu bytes", body->max_bytes);
    body->received += size;
    if (!body->multipart) {
        csi_buffer_append(&body->raw, bytes, size);
        return body->raw.failed ? csi_fail_memory(error, "body") : CS_OK;
    }
    if (MHD_post_process(body->parser, bytes, size) != MHD_YES) {
        if (body->error.status != CS_OK) {
            if (error != NULL)
                *error = body->error;
            return body->error.status;
        }
        return csi_fail(error, CS_BAD_REQUEST, "the multipart body is malformed");
    }
    return CS_OK;
}

enum cs_status csi_body_end(struct csi_body *body, struct cs_error *error)
{
    if (body->parser != NULL) {
        struct MHD_PostProcessor *parser = body->parser;

        body->parser = NULL;
        if (MHD_destroy_post_processor(parser) != MHD_YES)
            return csi_fail(error, CS_BAD_REQUEST, "the multipart body ends too early");
    }
    return CS_OK;
}

void csi_body_free(struct csi_body *body)
{
    if (body->parser != NULL)
        MHD_destroy_post_processor(body->parser);
    csi_buffer_free(&body->raw);
    for (size_t i = 0; i < body->part_count; i++)
        csi_buffer_free(&body->parts[i].bytes);
    free(body->parts);
    memset(body, 0, sizeof *body);
}
