/*
 * A request's body as it arrives: raw bytes, or the `image` parts of multipart/form-data. Owns its memory and
 * its limits.
 */
#ifndef CSI_SERVER_BODY_H
#define CSI_SERVER_BODY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "server/multipart.h"

#define CSI_BODY_PARTS_MAX 32u
#define CSI_PART_NAME_SIZE 256u
#define CSI_BODY_OTHERS    120u

struct csi_part {
    char name[CSI_PART_NAME_SIZE]; /* the file's name without folders; only ever shown back */
    struct csi_buffer bytes;
    bool too_large; /* over the limit for one photo; its bytes were not kept */
};

struct csi_body {
    size_t max_bytes, max_part_bytes;
    size_t received; /* bytes of the whole body so far */
    struct csi_buffer raw;
    bool multipart;
    struct csi_multipart form; /* multipart only */
    struct csi_part *parts;
    size_t part_count;
    struct csi_part *open;        /* the part that data goes to; NULL: a field nobody asked for */
    char others[CSI_BODY_OTHERS]; /* names of fields nobody asked for, quoted: the first ones */
    bool several_others, others_full;
};

/* Chooses by Content-Type (NULL: there is none). `multipart_allowed` false: always raw. `body` must stay
 * where it is. CS_BAD_REQUEST: multipart of another kind, or without a usable boundary. */
enum cs_status csi_body_begin(struct csi_body *body, const char *content_type, bool multipart_allowed,
                              size_t max_bytes, size_t max_part_bytes, struct cs_error *error);
/* CS_IMAGE_TOO_LARGE past a limit, CS_BAD_REQUEST for broken multipart and for images in a form that is not
 * taken. After an error nothing may be fed. */
enum cs_status csi_body_feed(struct csi_body *body, const char *bytes, size_t size, struct cs_error *error);
/* No more will come. CS_BAD_REQUEST: the last boundary is missing. */
enum cs_status csi_body_end(struct csi_body *body, struct cs_error *error);
/* CS_EMPTY_INPUT: for a whole form without an `image` part, which names the parts that it has. */
enum cs_status csi_body_no_image(const struct csi_body *body, struct cs_error *error);
void csi_body_free(struct csi_body *body);

/* The last path component of a client's file name, control characters replaced. */
void csi_part_name(const char *given, char *name, size_t size);

#endif
