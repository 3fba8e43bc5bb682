/* Errors: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *cs_status_name(enum cs_status status)
{
    switch (status) {
    case CS_OK: return "ok";
    case CS_UNSUPPORTED_FORMAT: return "unsupported_format";
    case CS_CORRUPT_IMAGE: return "corrupt_image";
    case CS_IMAGE_TOO_LARGE: return "image_too_large";
    case CS_EMPTY_INPUT: return "empty_input";
    case CS_NOT_FOUND: return "not_found";
    case CS_BAD_REQUEST: return "bad_request";
    case CS_MODEL_INVALID: return "model_invalid";
    case CS_MODEL_UNSUPPORTED: return "model_unsupported";
    case CS_OVERLOADED: return "overloaded";
    case CS_TIMEOUT: return "timeout";
    case CS_UNAUTHORIZED: return "unauthorized";
    case CS_INTERNAL: return "internal";
    }
    return "internal";
}

void csi_error_set(struct cs_error *error, enum cs_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->status = status;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
}

void csi_error_prefix(struct cs_error *error, const char *format, ...)
{
    char old[CS_ERROR_MESSAGE_SIZE];
    va_list arguments;
    int length;

    if (error == NULL)
        return;
    memcpy(old, error->message, sizeof old);
    old[sizeof old - 1] = '\0';
    va_start(arguments, format);
    length = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length < sizeof error->message)
        snprintf(error->message + length, sizeof error->message - (size_t)length, ": %s", old);
}

void csi_error_clear(struct cs_error *error)
{
    if (error != NULL) {
        error->status = CS_OK;
        error->message[0] = '\0';
    }
}
