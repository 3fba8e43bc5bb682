/* Parameters of MIME header values: see mime.h. */
#include "server/mime.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"

/* Takes the quoted string that begins at `*at`. A backslash escapes a quote or a backslash; before anything
 * else it stands for itself, because old browsers send paths of Windows as they are. False: no closing quote.
 */
static bool take_quoted(const char **at, struct csi_buffer *value)
{
    const char *text = *at + 1;

    for (;;) {
        size_t plain = strcspn(text, "\"\\");

        csi_buffer_append(value, text, plain);
        text += plain;
        if (*text != '\\')
            break;
        text += text[1] == '"' || text[1] == '\\';
        csi_buffer_append(value, text++, 1);
    }
    *at = text + (*text == '"');
    return *text == '"';
}

static void take_plain(const char **at, struct csi_buffer *value)
{
    size_t size = strcspn(*at, ";");
    const char *text = *at;

    *at += size;
    while (size > 0 && strchr(BLANKS, text[size - 1]) != NULL)
        size--;
    csi_buffer_append(value, text, size);
}

/* Takes ` name = value ` up to the next ';' or the end. False: malformed. */
static bool take_parameter(const char **at, const char **name, size_t *name_size, struct csi_buffer *value)
{
    value->size = 0;
    *name = *at;
    *name_size = strcspn(*at, "= \t;\"");
    *at += *name_size;
    *at += strspn(*at, BLANKS);
    if (*name_size == 0 || **at != '=')
        return false;
    ++*at;
    *at += strspn(*at, BLANKS);
    if (**at != '"')
        take_plain(at, value);
    else if (!take_quoted(at, value))
        return false;
    *at += strspn(*at, BLANKS);
    return **at == ';' || **at == '\0';
}

enum csi_mime_found csi_mime_parameter(const char *header, const char *name, struct csi_buffer *value)
{
    const char *at = header + strcspn(header, ";"), *key;
    enum csi_mime_found found = CSI_MIME_ABSENT;
    struct csi_buffer other;
    size_t key_size;

    csi_buffer_init(&other);
    while (*(at += strspn(at, "; \t")) != '\0') {
        if (!take_parameter(&at, &key, &key_size, &other)) {
            found = CSI_MIME_MALFORMED;
            break;
        }
        if (key_size != strlen(name) || strncasecmp(key, name, key_size) != 0)
            continue;
        if (found == CSI_MIME_FOUND) {
            found = CSI_MIME_MALFORMED;
            break;
        }
        found = CSI_MIME_FOUND;
        value->size = 0;
        csi_buffer_append(value, other.bytes, other.size);
    }
    value->failed |= other.failed;
    csi_buffer_free(&other);
    return found;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool csi_mime_decode_extended(struct csi_buffer *value)
{
    const char *text = (const char *)value->bytes, *end;
    size_t used = 0;

    if (value->failed || text == NULL || strncasecmp(text, "UTF-8'", 6) != 0)
        return false;
    end = text + value->size;
    text = strchr(text + 6, '\'');
    if (text == NULL)
        return false;
    while (++text < end) {
        uint8_t byte = (uint8_t)*text;

        if (byte == '%') {
            int high = hex_value((uint8_t)text[1]), low = high < 0 ? -1 : hex_value((uint8_t)text[2]);

            if (low < 0 || (high == 0 && low == 0))
                return false;
            byte = (uint8_t)(high * 16 + low);
            text += 2;
        }
        value->bytes[used++] = byte;
    }
    value->size = used;
    value->bytes[used] = 0;
    return true;
}
