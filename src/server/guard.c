/* The guard over request heads: see guard.h. Owns the grammar; knows no sockets and allocates nothing. */
#include "server/guard.h"

#include <string.h>
#include <strings.h>

/* Header fields of which a second one would leave open which of them counts. */
enum single {
    SINGLE_HOST,
    SINGLE_LENGTH,
    SINGLE_CODING,
    SINGLE_TYPE,
    SINGLE_AUTHORIZATION,
    SINGLE_ORIGIN,
    SINGLE_COUNT
};
static const char *const single_names[SINGLE_COUNT] = {"host",         "content-length", "transfer-encoding",
                                                       "content-type", "authorization",  "origin"};

struct field {
    const uint8_t *name, *value;
    size_t name_size, value_size; /* value without the blanks around it */
};

static enum csi_guard_verdict refuse(struct csi_http_head *head, unsigned status, const char *reason)
{
    head->status = status;
    head->reason = reason;
    return CSI_GUARD_REFUSED;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9110 section 5.6.2. */
static bool is_token(uint8_t c)
{
    return is_digit(c) || is_alpha(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool equals(const uint8_t *text, size_t size, const char *word)
{
    return size == strlen(word) && strncasecmp((const char *)text, word, size) == 0;
}

/* The path and query: printable ASCII, every escape whole, and no NUL hidden in one (a path is a C string
 * further on). */
static bool path_is_sound(const uint8_t *target, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (target[i] <= 0x20 || target[i] >= 0x7f || target[i] == '#')
            return false;
        if (target[i] == '%') {
            int high, low;

            if (size - i < 3)
                return false;
            high = hex_value(target[i + 1]);
            low = hex_value(target[i + 2]);
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return false;
            i += 2;
        }
    }
    return true;
}

/* reg-name, IPv4 or [IPv6], then an optional port. Whose name it is: origin.c. */
static bool host_is_sound(const uint8_t *host, size_t size)
{
    if (size == 0 || size > CSI_HTTP_HOST_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!is_digit(host[i]) && !is_alpha(host[i]) && (host[i] == 0 || strchr("-._~:[]", host[i]) == NULL))
            return false;
    return true;
}

/* "/path?query", or "http://host/path?query" (RFC 9112 section 3.2.2), whose path may be missing. `*path` is
 * where path and query begin. */
static bool target_is_sound(const uint8_t *target, size_t size, const uint8_t **path)
{
    const size_t scheme = sizeof "http://" - 1;
    size_t host = scheme;

    *path = target;
    if (size > 0 && target[0] == '/')
        return path_is_sound(target, size);
    if (size < scheme || !equals(target, scheme, "http://"))
        return false;
    while (host < size && target[host] != '/' && target[host] != '?')
        host++;
    *path = target + host;
    return host_is_sound(target + scheme, host - scheme) && path_is_sound(*path, size - host);
}

/* How many parts `separator` makes of a text; none of one without bytes. */
static size_t count_parts(const uint8_t *text, size_t size, char separator)
{
    size_t count = size > 0;

    for (size_t i = 0; i < size; i++)
        count += text[i] == (uint8_t)separator;
    return count;
}

static size_t count_arguments(const uint8_t *path, size_t size)
{
    const uint8_t *query = memchr(path, '?', size);

    return query == NULL ? 0 : count_parts(query + 1, size - 1 - (size_t)(query - path), '&');
}

/* METHOD SP target SP HTTP/1.x */
static enum csi_guard_verdict check_request_line(const uint8_t *line, size_t size, struct csi_http_head *head)
{
    const uint8_t *first = memchr(line, ' ', size), *second, *target, *path;
    size_t method_size, rest;

    if (first == NULL)
        return refuse(head, 400, "the request line is malformed");
    method_size = (size_t)(first - line);
    target = first + 1;
    rest = size - method_size - 1;
    second = memchr(target, ' ', rest);
    if (method_size == 0 || method_size > 16 || second == NULL)
        return refuse(head, 400, "the request line is malformed");
    for (size_t i = 0; i < method_size; i++)
        if (!(line[i] >= 'A' && line[i] <= 'Z') && line[i] != '-')
            return refuse(head, 400, "the method is malformed");
    if (!target_is_sound(target, (size_t)(second - target), &path))
        return refuse(head, 400, "the request target is malformed");
    head->v2 = second - path >= 3 && memcmp(path, "/v2", 3) == 0 && strchr("/? ", path[3]) != NULL;
    head->arguments = count_arguments(path, (size_t)(second - path));
    if (head->arguments > CSI_HTTP_ARGUMENTS_MAX)
        return refuse(head, 400, "there are more than 100 arguments in the query");
    rest -= (size_t)(second - target) + 1;
    if (rest != 8 || memcmp(second + 1, "HTTP/1.", 7) != 0 || (second[8] != '0' && second[8] != '1'))
        return refuse(head, 400, "the protocol version is not HTTP/1.0 or HTTP/1.1");
    head->minor = (unsigned)(second[8] - '0');
    return CSI_GUARD_COMPLETE;
}

static bool split_field(const uint8_t *line, size_t size, struct field *field)
{
    const uint8_t *colon = memchr(line, ':', size);

    if (colon == NULL || colon == line)
        return false;
    field->name = line;
    field->name_size = (size_t)(colon - line);
    for (size_t i = 0; i < field->name_size; i++)
        if (!is_token(line[i]))
            return false; /* also a blank before the colon and a folded line, which begins with one */
    field->value = colon + 1;
    field->value_size = size - field->name_size - 1;
    while (field->value_size > 0 && (field->value[0] == ' ' || field->value[0] == '\t')) {
        field->value++;
        field->value_size--;
    }
    while (field->value_size > 0 &&
           (field->value[field->value_size - 1] == ' ' || field->value[field->value_size - 1] == '\t'))
        field->value_size--;
    return true;
}

static enum csi_guard_verdict check_length(const struct field *field, struct csi_http_head *head)
{
    uint64_t length = 0;

    if (field->value_size == 0)
        return refuse(head, 400, "Content-Length is not a number");
    for (size_t i = 0; i < field->value_size; i++)
        if (!is_digit(field->value[i]))
            return refuse(head, 400, "Content-Length is not a number");
    if (field->value_size > 18)
        return refuse(head, 413, "Content-Length is past every limit");
    for (size_t i = 0; i < field->value_size; i++)
        length = length * 10 + (uint64_t)(field->value[i] - '0');
    head->has_length = true;
    head->content_length = length;
    return CSI_GUARD_COMPLETE;
}

static enum csi_guard_verdict check_field(const uint8_t *line, size_t size, unsigned *seen,
                                          struct csi_http_head *head)
{
    struct field field;

    if (!split_field(line, size, &field))
        return refuse(head, 400, "a header line is malformed");
    if (++head->fields > CSI_HTTP_FIELDS_MAX)
        return refuse(head, 400, "there are more than 100 header lines");
    if (equals(field.name, field.name_size, "cookie")) {
        head->cookies += count_parts(field.value, field.value_size, ';');
        if (head->cookies > CSI_HTTP_COOKIES_MAX)
            return refuse(head, 400, "there are more than 200 cookies");
    }
    for (unsigned i = 0; i < SINGLE_COUNT; i++) {
        if (!equals(field.name, field.name_size, single_names[i]))
            continue;
        if (*seen & 1u << i)
            return refuse(head, 400, "a header that may stand once is repeated");
        *seen |= 1u << i;
        if (i == SINGLE_LENGTH)
            return check_length(&field, head);
        if (i == SINGLE_HOST && !host_is_sound(field.value, field.value_size))
            return refuse(head, 400, "Host is malformed");
        if (i == SINGLE_CODING) {
            if (!equals(field.value, field.value_size, "chunked"))
                return refuse(head, 400, "Transfer-Encoding is not exactly chunked");
            head->chunked = true;
        }
    }
    return CSI_GUARD_COMPLETE;
}

static enum csi_guard_verdict check_whole(unsigned seen, struct csi_http_head *head)
{
    if (head->chunked && head->has_length)
        return refuse(head, 400, "Content-Length and Transfer-Encoding stand together");
    if (head->chunked && head->minor == 0)
        return refuse(head, 400, "Transfer-Encoding is not part of HTTP/1.0");
    if (head->minor == 1 && !(seen & 1u << SINGLE_HOST))
        return refuse(head, 400, "Host is missing");
    return CSI_GUARD_COMPLETE;
}

enum csi_guard_verdict csi_http_guard_check(const uint8_t *bytes, size_t size, struct csi_http_head *head)
{
    size_t start = 0, limit = size < CSI_HTTP_HEAD_MAX ? size : CSI_HTTP_HEAD_MAX;
    unsigned seen = 0;
    bool first = true;

    memset(head, 0, sizeof *head);
    for (size_t i = 0; i < limit; i++) {
        enum csi_guard_verdict verdict;
        size_t line;

        if (bytes[i] == '\r') {
            if (i + 1 == limit)
                break; /* the LF may be on its way */
            if (bytes[i + 1] != '\n')
                return refuse(head, 400, "a line holds a bare carriage return");
            continue;
        }
        if (bytes[i] != '\n') {
            if ((bytes[i] < 0x20 && bytes[i] != '\t') || bytes[i] == 0x7f)
                return refuse(head, 400, "the head holds a control character");
            continue;
        }
        if (i == start || bytes[i - 1] != '\r')
            return refuse(head, 400, "a line ends without a carriage return");
        line = i - 1 - start;
        if (line == 0 && !first) {
            head->size = i + 1;
            return check_whole(seen, head);
        }
        verdict = first ? check_request_line(bytes + start, line, head)
                        : check_field(bytes + start, line, &seen, head);
        if (verdict != CSI_GUARD_COMPLETE)
            return verdict;
        first = false;
        start = i + 1;
    }
    if (size >= CSI_HTTP_HEAD_MAX)
        return refuse(head, 400, "the request head is larger than 16 KiB");
    return CSI_GUARD_INCOMPLETE;
}
