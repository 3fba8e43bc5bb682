/* A request's body: see body.h. What multipart looks like: multipart.c. */
#include "server/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"

/* Copies what fits, never cutting inside a UTF-8 sequence; control characters become '_'. */
static void copy_shown(const char *given, char *shown, size_t size)
{
    size_t length = csi_min_size(strlen(given), size - 1);

    while (length > 0 && ((unsigned char)given[length] & 0xc0) == 0x80)
        length--;
    for (size_t i = 0; i < length; i++)
        shown[i] = (unsigned char)given[i] < 0x20 || given[i] == 0x7f ? '_' : given[i];
    shown[length] = '\0';
}

void csi_part_name(const char *given, char *name, size_t size)
{
    const char *slash, *backslash;

    if (given == NULL)
        given = "";
    slash = strrchr(given, '/');
    if (slash != NULL)
        given = slash + 1;
    backslash = strrchr(given, '\\'); /* old browsers on Windows send whole paths */
    if (backslash != NULL)
        given = backslash + 1;
    copy_shown(given, name, size);
}

/* Keeps the name of a field that nobody asked for, once, while there is room. */
static void note_other(struct csi_body *body, const char *name)
{
    char shown[40], quoted[48];
    size_t used = strlen(body->others);

    copy_shown(name, shown, sizeof shown);
    snprintf(quoted, sizeof quoted, "'%s'", shown);
    if (body->others_full || strstr(body->others, quoted) != NULL)
        return;
    if (used == 0) {
        snprintf(body->others, sizeof body->others, "%s", quoted);
        return;
    }
    body->several_others = true;
    body->others_full = used + strlen(quoted) + sizeof ", , …" > sizeof body->others;
    snprintf(body->others + used, sizeof body->others - used, ", %s", body->others_full ? "…" : quoted);
}

/* What the bytes of an image part must not be. */
static enum cs_status check_image_part(const struct csi_multipart_part *part, struct cs_error *error)
{
    size_t coding = strcspn(part->coding, "; \t"), type = strcspn(part->type, "; \t");

    if ((coding == 6 && strncasecmp(part->coding, "base64", coding) == 0) ||
        (coding == 16 && strncasecmp(part->coding, "quoted-printable", coding) == 0))
        return csi_fail(error, CS_BAD_REQUEST,
                        "part %zu has the Content-Transfer-Encoding %.*s, photos are sent as they are",
                        part->number, (int)coding, part->coding);
    if (strncasecmp(part->type, "multipart/", 10) == 0)
        return csi_fail(error, CS_BAD_REQUEST,
                        "part %zu is %.*s, each photo is a part of its own with the name image", part->number,
                        (int)csi_min_size(type, 40), part->type);
    return CS_OK;
}

static enum cs_status begin_part(void *context, const struct csi_multipart_part *part, struct cs_error *error)
{
    struct csi_body *body = context;

    body->open = NULL;
    if (strcmp(part->name, "image") != 0) {
        note_other(body, part->name);
        return CS_OK; /* other fields of a form are read over */
    }
    if (check_image_part(part, error) != CS_OK)
        return CS_BAD_REQUEST;
    if (body->parts == NULL)
        body->parts = calloc(CSI_BODY_PARTS_MAX, sizeof *body->parts);
    if (body->parts == NULL)
        return csi_fail_memory(error, "form");
    if (body->part_count == CSI_BODY_PARTS_MAX)
        return csi_fail(error, CS_BAD_REQUEST, "more than %u image parts", CSI_BODY_PARTS_MAX);
    body->open = &body->parts[body->part_count++];
    csi_part_name(part->file_name, body->open->name, sizeof body->open->name);
    return CS_OK;
}

static enum cs_status take_part(void *context, const char *bytes, size_t size, struct cs_error *error)
{
    struct csi_body *body = context;
    struct csi_part *part = body->open;

    if (part == NULL || part->too_large)
        return CS_OK;
    if (size > body->max_part_bytes - part->bytes.size) {
        csi_buffer_free(&part->bytes);
        part->too_large = true;
        return CS_OK;
    }
    csi_buffer_append(&part->bytes, bytes, size);
    return part->bytes.failed ? csi_fail_memory(error, "form") : CS_OK;
}

static const struct csi_multipart_sink sink = {begin_part, take_part};

enum cs_status csi_body_begin(struct csi_body *body, const char *content_type, bool multipart_allowed,
                              size_t max_bytes, size_t max_part_bytes, struct cs_error *error)
{
    memset(body, 0, sizeof *body);
    body->max_bytes = max_bytes;
    body->max_part_bytes = max_part_bytes;
    if (!multipart_allowed || content_type == NULL || strncasecmp(content_type, "multipart/", 10) != 0)
        return CS_OK;
    body->multipart = true;
    return csi_multipart_begin(&body->form, content_type, &sink, body, error);
}

enum cs_status csi_body_feed(struct csi_body *body, const char *bytes, size_t size, struct cs_error *error)
{
    if (size > body->max_bytes - body->received)
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "the body is larger than %zu bytes", body->max_bytes);
    body->received += size;
    if (body->multipart)
        return csi_multipart_feed(&body->form, bytes, size, error);
    csi_buffer_append(&body->raw, bytes, size);
    return body->raw.failed ? csi_fail_memory(error, "body") : CS_OK;
}

enum cs_status csi_body_end(struct csi_body *body, struct cs_error *error)
{
    if (!body->multipart || body->received == 0)
        return CS_OK; /* an empty body is no broken one: the route says what it lacks */
    return csi_multipart_end(&body->form, error);
}

enum cs_status csi_body_no_image(const struct csi_body *body, struct cs_error *error)
{
    if (body->received == 0)
        return csi_fail(error, CS_EMPTY_INPUT, "the body is empty");
    if (body->others[0] == '\0')
        return csi_fail(error, CS_EMPTY_INPUT, "the form has no parts");
    return csi_fail(error, CS_EMPTY_INPUT, "the form has %s named %s, but none named image",
                    body->several_others ? "parts" : "a part", body->others);
}

void csi_body_free(struct csi_body *body)
{
    csi_multipart_free(&body->form);
    csi_buffer_free(&body->raw);
    for (size_t i = 0; i < body->part_count; i++)
        csi_buffer_free(&body->parts[i].bytes);
    free(body->parts);
    memset(body, 0, sizeof *body);
}
