/*
 * The guard: what a request head must look like before libmicrohttpd may see it. A pure function over bytes;
 * who reads them, deadlines and answers are gate.c's business.
 *
 * It refuses what libmicrohttpd 0.9.75 lets through and what makes two readers of one request disagree about
 * where it ends (RFC 9112 sections 2.2, 5 and 6.3): bare CR or LF, folded lines, blanks around a field name,
 * repeated Host or Content-Length, Content-Length that is no plain number or stands beside Transfer-Encoding,
 * codings other than "chunked".
 */
#ifndef CSI_SERVER_GUARD_H
#define CSI_SERVER_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSI_HTTP_HEAD_MAX   16384u /* bytes, the blank line included */
#define CSI_HTTP_FIELDS_MAX 100u
/* Each costs libmicrohttpd far more than its bytes; what its memory for a connection does not hold it answers
 * by itself, with a page of HTML. Browsers keep at most 180 cookies a site, those of all ports together. */
#define CSI_HTTP_ARGUMENTS_MAX 100u
#define CSI_HTTP_COOKIES_MAX   200u
#define CSI_HTTP_HOST_MAX      255u

enum csi_guard_verdict {
    CSI_GUARD_COMPLETE,   /* a sound head; `head` is filled */
    CSI_GUARD_INCOMPLETE, /* sound so far */
    CSI_GUARD_REFUSED     /* `head->status` and `head->reason` say why */
};

struct csi_http_head {
    size_t size;      /* of the head, the blank line included */
    unsigned minor;   /* HTTP/1.minor: 0 or 1 */
    unsigned fields;  /* header lines */
    size_t arguments; /* of the query */
    size_t cookies;
    bool has_length;         /* Content-Length is there */
    uint64_t content_length; /* bytes; 0 without Content-Length */
    bool chunked;            /* the body comes in chunks */
    bool v2;                 /* the target lies under /v2, where errors have another form */
    unsigned status;         /* of a refusal: 400 or 413 */
    const char *reason;      /* of a refusal: one sentence, constant */
};

/* Looks at the first `size` bytes that came over a connection. Reads no byte behind them, keeps nothing.
 * Thread-safe. */
enum csi_guard_verdict csi_http_guard_check(const uint8_t *bytes, size_t size, struct csi_http_head *head);

#endif
