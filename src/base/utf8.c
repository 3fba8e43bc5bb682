/* UTF-8: see utf8.h. */
#include "base/utf8.h"

#include <string.h>

size_t csi_utf8_length(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char first = at[0], lowest = 0x80, highest = 0xbf;
    size_t length = first < 0x80                     ? 1
                    : first >= 0xc2 && first <= 0xdf ? 2
                    : first >= 0xe0 && first <= 0xef ? 3
                    : first >= 0xf0 && first <= 0xf4 ? 4
                                                     : 0;

    if (first == 0xe0)
        lowest = 0xa0;
    else if (first == 0xed)
        highest = 0x9f;
    else if (first == 0xf0)
        lowest = 0x90;
    else if (first == 0xf4)
        highest = 0x8f;
    for (size_t i = 1; i < length; i++) {
        if (at[i] < lowest || at[i] > highest)
            return 0; /* the NUL at the end is no continuation either */
        lowest = 0x80;
        highest = 0xbf;
    }
    return length;
}

bool csi_utf8_is_control(const char *text)
{
    unsigned char first = (unsigned char)text[0], second = first == 0xc2 ? (unsigned char)text[1] : 0;

    return (first > 0 && first < 0x20) || first == 0x7f || (second >= 0x80 && second <= 0x9f);
}

bool csi_is_utf8(const char *text)
{
    while (*text != '\0') {
        size_t length = csi_utf8_length(text);

        if (length == 0)
            return false;
        text += length;
    }
    return true;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0u) == 0x80u;
}

size_t csi_utf8_prefix(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);

    if (length <= most)
        return length;
    for (length = most; length > 0 && is_continuation(text[length]);)
        length--;
    return length;
}

void csi_utf8_copy(char *out, size_t size, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t at = 0;

    while (*text != '\0') {
        size_t length = csi_utf8_length(text), taken = length == 0 ? 1 : length;
        const char *from = length == 0 ? replacement : text;

        if (length == 0)
            length = sizeof replacement - 1;
        if (at + length >= size)
            break;
        memcpy(out + at, from, length);
        at += length;
        text += taken;
    }
    out[at] = '\0';
}
