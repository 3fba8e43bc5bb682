/*
 * multipart/form-data (RFC 7578, RFC 2046 section 5.1.1), taken apart while its bytes come, whatever the
 * pieces are. Owns the grammar and holds one part's header at most; what becomes of the parts is the sink's
 * business. Knows no sockets and no photos.
 */
#ifndef CSI_SERVER_MULTIPART_H
#define CSI_SERVER_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define CSI_BOUNDARY_MAX         70u    /* characters (RFC 2046) */
#define CSI_MULTIPART_HEADER_MAX 16384u /* bytes of one part's header, the blank line included */

/* What a part's header says; valid during the call that hands it over. */
struct csi_multipart_part {
    size_t number;         /* 1: the first of the form */
    const char *name;      /* of the field */
    const char *file_name; /* as the client sent it, folders and all; "" when there is none */
    const char *type;      /* Content-Type, "" when there is none */
    const char *coding;    /* Content-Transfer-Encoding, "" when there is none */
};

/* Where the parts go. What is not CS_OK ends the form, with the error that the function has filled. */
struct csi_multipart_sink {
    enum cs_status (*begin)(void *context, const struct csi_multipart_part *part, struct cs_error *error);
    /* Bytes of the part that began last; `size` > 0. */
    enum cs_status (*data)(void *context, const char *bytes, size_t size, struct cs_error *error);
};

enum csi_multipart_state {
    CSI_MULTIPART_PREAMBLE,      /* before the first boundary */
    CSI_MULTIPART_BOUNDARY,      /* directly behind a boundary */
    CSI_MULTIPART_BOUNDARY_DASH, /* behind the first of the two dashes that end the form */
    CSI_MULTIPART_BOUNDARY_PAD,  /* behind blanks that pad a boundary's line */
    CSI_MULTIPART_BOUNDARY_CR,   /* before the LF that ends a boundary's line */
    CSI_MULTIPART_HEADER,
    CSI_MULTIPART_DATA,
    CSI_MULTIPART_EPILOGUE /* behind the last boundary */
};

struct csi_multipart {
    const struct csi_multipart_sink *sink;
    void *context;
    enum csi_multipart_state state;
    char delimiter[4 + CSI_BOUNDARY_MAX + 1]; /* CR LF "--" boundary */
    size_t delimiter_size;
    size_t matched;  /* the last bytes were the first ones of the delimiter: they are data if it ends there */
    size_t borrowed; /* so many of them belong to a line before */
    size_t number;   /* of the part that is open, 0 before the first */
    bool bare_lf;    /* a boundary's line ended without CR */
    struct csi_buffer header;
    size_t line; /* where the header's last line begins */
};

/* Prepares for a form with this Content-Type; `sink` and `context` must outlive `form`. Free it whatever
 * comes. CS_BAD_REQUEST: not multipart/form-data, or no usable boundary. */
enum cs_status csi_multipart_begin(struct csi_multipart *form, const char *content_type,
                                   const struct csi_multipart_sink *sink, void *context,
                                   struct cs_error *error);
/* The next bytes. What the sink gets, and the error, do not depend on where the pieces end. CS_BAD_REQUEST:
 * it is malformed; CS_INTERNAL: out of memory; others: the sink's. After an error nothing may be fed. One
 * thread at a time. */
enum cs_status csi_multipart_feed(struct csi_multipart *form, const char *bytes, size_t size,
                                  struct cs_error *error);
/* No more will come. CS_BAD_REQUEST: the last boundary is missing. */
enum cs_status csi_multipart_end(const struct csi_multipart *form, struct cs_error *error);
void csi_multipart_free(struct csi_multipart *form);

#endif
