/*
 * Errors: filling the caller's `struct cs_error`. Owns the wording helpers; the codes live in the public
 * header.
 */
#ifndef CSI_BASE_ERROR_H
#define CSI_BASE_ERROR_H

#include <cropshield/cropshield.h>

#if defined(__GNUC__)
#define CSI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define CSI_PRINTF(text, first)
#endif

/* Stores status and message (cut to fit) in `error` when it is not NULL. */
void csi_error_set(struct cs_error *error, enum cs_status status, const char *format, ...) CSI_PRINTF(3, 4);

static inline enum cs_status csi_same_status(enum cs_status status)
{
    return status;
}

/* `return csi_fail(error, CS_CORRUPT_IMAGE, "…", …);` stores and gives the status. A macro, so that whoever
 * reads the code by machine sees the very status and not a call that might return anything. */
#define csi_fail(error, status, ...) (csi_error_set((error), (status), __VA_ARGS__), csi_same_status(status))

/* CS_INTERNAL, "out of memory (what)". */
static inline enum cs_status csi_fail_memory(struct cs_error *error, const char *what)
{
    return csi_fail(error, CS_INTERNAL, "out of memory (%s)", what);
}

/* Puts "prefix: " before the message that `error` holds; keeps the status. */
void csi_error_prefix(struct cs_error *error, const char *format, ...) CSI_PRINTF(2, 3);

/* Sets CS_OK and an empty message. */
void csi_error_clear(struct cs_error *error);

#endif
