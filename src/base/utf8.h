/*
 * UTF-8 as text of foreign files has it, or not. Thread-safe.
 */
#ifndef CSI_BASE_UTF8_H
#define CSI_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length of the well-formed character at `text`, 0 when there is none (Unicode 15, table 3-7). The NUL at the
 * end is a character of one byte. */
size_t csi_utf8_length(const char *text);
/* Whether the character at `text` is a control character (U+0001 to U+001F, U+007F to U+009F): terminals obey
 * some. The last of its one or two bytes is its number. */
bool csi_utf8_is_control(const char *text);
bool csi_is_utf8(const char *text);
/* The most bytes of `text`, `most` at the most, that do not end inside a character. */
size_t csi_utf8_prefix(const char *text, size_t most);
/* `text` into `out`, which holds `size` bytes (4 at the least): U+FFFD in the place of every byte that is not
 * UTF-8, cut at the end of a character when it does not fit. */
void csi_utf8_copy(char *out, size_t size, const char *text);

#endif
