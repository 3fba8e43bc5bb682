/* A growing byte buffer: see buffer.h. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

void csi_buffer_init(struct csi_buffer *buffer)
{
    memset(buffer, 0, sizeof *buffer);
}

/* Makes room for `more` bytes and a NUL behind them. */
static int reserve(struct csi_buffer *buffer, size_t more)
{
    size_t need, capacity = buffer->capacity == 0 ? 256 : buffer->capacity;
    uint8_t *bytes;

    if (csi_add_overflows(buffer->size, more, &need) || csi_add_overflows(need, 1, &need))
        return 0;
    if (need <= buffer->capacity)
        return 1;
    while (capacity < need)
        if (csi_mul_overflows(capacity, 2, &capacity))
            return 0;
    bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL)
        return 0;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return 1;
}

void csi_buffer_append(struct csi_buffer *buffer, const void *bytes, size_t size)
{
    if (buffer->failed || !reserve(buffer, size)) {
        buffer->failed = 1;
        return;
    }
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    buffer->bytes[buffer->size] = 0;
}

void csi_buffer_printf(struct csi_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || buffer->failed || !reserve(buffer, (size_t)length)) {
        buffer->failed = 1;
        return;
    }
    va_start(arguments, format);
    vsnprintf((char *)buffer->bytes + buffer->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)length;
}

void csi_buffer_free(struct csi_buffer *buffer)
{
    free(buffer->bytes);
    csi_buffer_init(buffer);
}
