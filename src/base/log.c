/* Log lines: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/utf8.h"

#define MESSAGE_SIZE 1024u

static enum csi_log_level log_lowest = CSI_LOG_INFO;
static bool log_json;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void csi_log_configure(enum csi_log_level lowest, bool json)
{
    log_lowest = lowest;
    log_json = json;
}

/* Copies `text` with everything escaped that could break the line (or, in JSON, the string). */
static void escape(const char *text, char *out, size_t size)
{
    size_t used = 0;

    for (; *text != '\0' && used + 7 < size; text++) {
        unsigned char c = (unsigned char)*text;

        if (csi_utf8_is_control(text)) {
            text += csi_utf8_length(text) - 1; /* the last byte is the character's number */
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", (unsigned)(unsigned char)*text);
        } else if (log_json && (c == '"' || c == '\\')) {
            used += (size_t)snprintf(out + used, size - used, "\\%c", c);
        } else {
            out[used++] = (char)c;
        }
    }
    out[used] = '\0';
}

/* One line into one write, so that lines of several threads stay whole. `members` may be NULL. */
static void write_line(enum csi_log_level level, const char *members, const char *message)
{
    char escaped[6 * MESSAGE_SIZE], stamp[32];
    struct csi_buffer clean, line;
    struct timespec now;
    struct tm utc;

    csi_buffer_init(&clean);
    csi_buffer_utf8(&clean, message); /* names and paths from outside may hold any bytes */
    escape(clean.failed || clean.bytes == NULL ? "" : (const char *)clean.bytes, escaped, sizeof escaped);
    csi_buffer_free(&clean);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    csi_buffer_init(&line);
    if (log_json)
        csi_buffer_printf(&line, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"%s\"%s%s}\n", stamp,
                          (int)(now.tv_nsec / 1000000), level_names[level], escaped,
                          members == NULL ? "" : ",", members == NULL ? "" : members);
    else
        csi_buffer_printf(&line, "%s.%03dZ %s %s\n", stamp, (int)(now.tv_nsec / 1000000), level_names[level],
                          escaped);
    if (!line.failed)
        fwrite(line.bytes, 1, line.size, stderr);
    csi_buffer_free(&line);
}

static void write_message(enum csi_log_level level, const char *members, const char *format,
                          va_list arguments)
{
    char message[MESSAGE_SIZE];

    if (level < log_lowest)
        return;
    vsnprintf(message, sizeof message, format, arguments);
    write_line(level, members, message);
}

void csi_log(enum csi_log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_message(level, NULL, format, arguments);
    va_end(arguments);
}

void csi_log_with(enum csi_log_level level, const char *members, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_message(level, members, format, arguments);
    va_end(arguments);
}
