/*
 * Fuzz target: forms. The first line is the Content-Type, the rest the body. Besides memory errors it looks
 * for answers that depend on how the bytes came: whole, cut in two and byte by byte must give the same parts
 * and the same error, and no more bytes than were sent.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "server/body.h"
#include "server/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct outcome {
    struct csi_buffer heads, data;
    struct cs_error error;
};

static enum cs_status keep_head(void *context, const struct csi_multipart_part *part, struct cs_error *error)
{
    struct outcome *outcome = context;

    (void)error;
    if (part->number == 0)
        abort();
    csi_buffer_printf(&outcome->heads, "%zu at %zu: %s|%s|%s|%s\n", part->number, outcome->data.size,
                      part->name, part->file_name, part->type, part->coding);
    return CS_OK;
}

static enum cs_status keep_data(void *context, const char *bytes, size_t size, struct cs_error *error)
{
    struct outcome *outcome = context;

    (void)error;
    if (size == 0 || outcome->heads.size == 0)
        abort();
    csi_buffer_append(&outcome->data, bytes, size);
    return CS_OK;
}

static const struct csi_multipart_sink sink = {keep_head, keep_data};

/* The first `cut` bytes in one piece, the others in pieces of `step`. */
static void read_form(const char *type, const char *body, size_t size, size_t cut, size_t step,
                      struct outcome *outcome)
{
    struct csi_multipart form;
    enum cs_status status;

    memset(outcome, 0, sizeof *outcome);
    status = csi_multipart_begin(&form, type, &sink, outcome, &outcome->error);
    if (status == CS_OK)
        status = csi_multipart_feed(&form, body, cut, &outcome->error);
    for (size_t at = cut; at < size && status == CS_OK; at += step) {
        status = csi_multipart_feed(&form, body + at, csi_min_size(step, size - at), &outcome->error);
        if (form.header.size > CSI_MULTIPART_HEADER_MAX)
            abort();
    }
    if (status == CS_OK)
        status = csi_multipart_end(&form, &outcome->error);
    if (status != outcome->error.status || (status != CS_OK && status != CS_BAD_REQUEST) ||
        outcome->data.size > size)
        abort();
    csi_multipart_free(&form);
}

static void free_outcome(struct outcome *outcome)
{
    csi_buffer_free(&outcome->heads);
    csi_buffer_free(&outcome->data);
}

static bool same_bytes(const struct csi_buffer *a, const struct csi_buffer *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void compare(const char *type, const char *body, size_t size, size_t cut, size_t step,
                    const struct outcome *whole)
{
    struct outcome other;

    read_form(type, body, size, cut, step, &other);
    if (!same_bytes(&whole->heads, &other.heads) || !same_bytes(&whole->data, &other.data) ||
        strcmp(whole->error.message, other.error.message) != 0)
        abort();
    free_outcome(&other);
}

/* Through a request's body, with limits that small inputs reach. */
static void read_body(const char *type, const char *bytes, size_t size)
{
    struct csi_body body;
    struct cs_error error = {CS_OK, ""};
    enum cs_status status = csi_body_begin(&body, type, true, 4096, 64, &error);

    if (status == CS_OK)
        status = csi_body_feed(&body, bytes, size, &error);
    if (status == CS_OK)
        status = csi_body_end(&body, &error);
    if (status == CS_OK && body.part_count == 0)
        status = csi_body_no_image(&body, &error);
    if (status != error.status || body.part_count > CSI_BODY_PARTS_MAX)
        abort();
    for (size_t i = 0; i < body.part_count; i++)
        if (body.parts[i].bytes.size > 64 || strchr(body.parts[i].name, '/') != NULL)
            abort();
    csi_body_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *line = memchr(bytes, '\n', size);
    size_t type_size = line == NULL ? size : (size_t)(line - bytes);
    char *type = malloc(type_size + 1);
    const char *body = (const char *)bytes + type_size + (line != NULL);
    struct outcome whole;

    if (type == NULL)
        return 0;
    memcpy(type, bytes, type_size);
    type[type_size] = '\0';
    size -= type_size + (line != NULL);
    read_form(type, body, size, size, 1, &whole);
    for (size_t cut = 0; cut < size; cut += 1 + size / 32)
        compare(type, body, size, cut, size, &whole);
    compare(type, body, size, 0, size <= 4096 ? 1 : 61, &whole);
    free_outcome(&whole);
    read_body(type, body, size);
    free(type);
    return 0;
}
