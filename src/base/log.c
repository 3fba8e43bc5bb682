/* Log lines: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"

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

        if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", (unsigned)c);
        else if (log_json && (c == '"' || c == '\\'))
            used += (size_t)snprintf(out + used, size - used, "\\%c", c);
        else
            out[used++] = (char)c;
    }
    out[used] = '\0';
}

void csi_log(enum csi_log_level level, const char *format, ...)
{
    char message[1024], escaped[6 * sizeof message], stamp[32], line[sizeof escaped + 128];
    struct csi_buffer clean;
    struct timespec now;
    struct tm utc;
    va_list arguments;
    int length;

    if (level < log_lowest)
        return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    csi_buffer_init(&clean);
    csi_buffer_utf8(&clean, message); /* names and paths from outside may hold any bytes */
    escape(clean.failed || clean.bytes == NULL ? "" : (const char *)clean.bytes, escaped, sizeof escaped);
    csi_buffer_free(&clean);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    length = snprintf(line, sizeof line,
                      log_json ? "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"%s\"}\n"
                               : "%s.%03dZ %s %s\n",
                      stamp, (int)(now.tv_nsec / 1000000), level_names[level], escaped);
    if (length > 0)
        fwrite(line, 1, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1, stderr);
}
