/* Forms as they come: see multipart.h. */
#include "server/multipart.h"

#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "server/mime.h"

/* ---- Content-Type ---- */

/* RFC 2046 allows letters, digits and '()+_,-./:=? and blanks inside. Clients also send what else a token may
 * hold ("*****"), so every printable character is taken. */
static bool boundary_is_sound(const char *boundary, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (boundary[i] < 0x20 || boundary[i] >= 0x7f)
            return false;
    return boundary[size - 1] != ' ';
}

static enum cs_status take_boundary(struct csi_multipart *form, const char *content_type,
                                    struct csi_buffer *boundary, struct cs_error *error)
{
    enum csi_mime_found found = csi_mime_parameter(content_type, "boundary", boundary);

    if (boundary->failed)
        return csi_fail_memory(error, "boundary");
    if (found == CSI_MIME_MALFORMED)
        return csi_fail(error, CS_BAD_REQUEST, "the parameters in Content-Type are malformed");
    if (found == CSI_MIME_ABSENT || boundary->size == 0)
        return csi_fail(error, CS_BAD_REQUEST, "Content-Type is multipart/form-data without a boundary");
    if (boundary->size > CSI_BOUNDARY_MAX)
        return csi_fail(error, CS_BAD_REQUEST, "the boundary in Content-Type is longer than %u characters",
                        CSI_BOUNDARY_MAX);
    if (!boundary_is_sound((const char *)boundary->bytes, boundary->size))
        return csi_fail(error, CS_BAD_REQUEST,
                        "the boundary in Content-Type holds a character that is not allowed");
    memcpy(form->delimiter, "\r\n--", 4);
    memcpy(form->delimiter + 4, boundary->bytes, boundary->size + 1);
    form->delimiter_size = 4 + boundary->size;
    return CS_OK;
}

enum cs_status csi_multipart_begin(struct csi_multipart *form, const char *content_type,
                                   const struct csi_multipart_sink *sink, void *context,
                                   struct cs_error *error)
{
    size_t type = strcspn(content_type, "; \t");
    struct csi_buffer boundary;
    enum cs_status status;

    memset(form, 0, sizeof *form);
    csi_buffer_init(&form->header);
    form->sink = sink;
    form->context = context;
    form->matched = 1; /* the body begins at the beginning of a line */
    if (type != 19 || strncasecmp(content_type, "multipart/form-data", type) != 0)
        return csi_fail(error, CS_BAD_REQUEST, "Content-Type is %.*s, a form is multipart/form-data",
                        (int)csi_min_size(type, 100), content_type);
    csi_buffer_init(&boundary);
    status = take_boundary(form, content_type, &boundary, error);
    csi_buffer_free(&boundary);
    return status;
}

/* ---- a part's header ---- */

enum { DISPOSITION, TYPE, CODING, FIELD_COUNT };
static const char *const field_names[FIELD_COUNT] = {"Content-Disposition", "Content-Type",
                                                     "Content-Transfer-Encoding"};

/* Cuts the next line off, with the folded ones that belong to it; NULL: the blank line. `*at` stands in a
 * header block that ends with a blank line. */
static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');

    if (end == line || (line[0] == '\r' && end == line + 1))
        return NULL;
    while (end[1] == ' ' || end[1] == '\t') {
        *end = ' ';
        if (end[-1] == '\r')
            end[-1] = ' ';
        end = strchr(end, '\n');
    }
    *at = end + 1;
    if (end[-1] == '\r')
        end--;
    *end = '\0';
    return line;
}

/* Sorts the header's lines into `fields`; they point into the header, "" where there is none. */
static enum cs_status split_header(struct csi_multipart *form, const char **fields, struct cs_error *error)
{
    char *at = (char *)form->header.bytes, *line;

    for (size_t i = 0; i < FIELD_COUNT; i++)
        fields[i] = "";
    if (memchr(at, '\0', form->header.size) != NULL)
        return csi_fail(error, CS_BAD_REQUEST, "the header of part %zu holds a NUL", form->number);
    while ((line = next_line(&at)) != NULL) {
        size_t size = strcspn(line, ": \t");
        char *value = line + size + strspn(line + size, " \t");

        if (size == 0 || *value != ':')
            return csi_fail(error, CS_BAD_REQUEST,
                            "the header of part %zu has a line that is no \"name: value\"", form->number);
        value++;
        value += strspn(value, " \t");
        for (size_t i = 0; i < FIELD_COUNT; i++) {
            if (size != strlen(field_names[i]) || strncasecmp(line, field_names[i], size) != 0)
                continue;
            if (fields[i][0] != '\0')
                return csi_fail(error, CS_BAD_REQUEST, "part %zu has two lines %s", form->number,
                                field_names[i]);
            fields[i] = value;
        }
    }
    return CS_OK;
}

/* The file's name. Who sends `filename*` beside `filename` (.NET does) writes the true name there and a
 * makeshift like =?utf-8?B?…?= into the other one, so the first that can be read counts. RFC 7578 wants
 * neither, RFC 6266 this order. */
static enum csi_mime_found take_file_name(const char *disposition, struct csi_buffer *value)
{
    enum csi_mime_found found = csi_mime_parameter(disposition, "filename*", value);

    if (found == CSI_MIME_FOUND && csi_mime_decode_extended(value))
        return found;
    if (found != CSI_MIME_MALFORMED)
        found = csi_mime_parameter(disposition, "filename", value);
    if (found == CSI_MIME_ABSENT) {
        value->size = 0;
        csi_buffer_append(value, "", 0);
    }
    return found;
}

static enum cs_status hand_over(struct csi_multipart *form, const char *const *fields,
                                struct csi_buffer *name, struct csi_buffer *file_name, struct cs_error *error)
{
    enum csi_mime_found named = csi_mime_parameter(fields[DISPOSITION], "name", name),
                        filed = take_file_name(fields[DISPOSITION], file_name);
    struct csi_multipart_part part = {.number = form->number, .type = fields[TYPE], .coding = fields[CODING]};

    if (name->failed || file_name->failed)
        return csi_fail_memory(error, "form");
    if (fields[DISPOSITION][0] == '\0')
        return csi_fail(error, CS_BAD_REQUEST, "part %zu has no Content-Disposition", form->number);
    if (named == CSI_MIME_MALFORMED || filed == CSI_MIME_MALFORMED)
        return csi_fail(error, CS_BAD_REQUEST, "the Content-Disposition of part %zu is malformed",
                        form->number);
    /* Read over, a photo would be missing in the answer and nobody would know. */
    if (named == CSI_MIME_ABSENT)
        return csi_fail(error, CS_BAD_REQUEST, "the Content-Disposition of part %zu has no name",
                        form->number);
    part.name = (const char *)name->bytes;
    part.file_name = (const char *)file_name->bytes;
    return form->sink->begin(form->context, &part, error);
}

static enum cs_status end_header(struct csi_multipart *form, struct cs_error *error)
{
    const char *fields[FIELD_COUNT];
    struct csi_buffer name, file_name;
    enum cs_status status = split_header(form, fields, error);

    if (status != CS_OK)
        return status;
    csi_buffer_init(&name);
    csi_buffer_init(&file_name);
    status = hand_over(form, fields, &name, &file_name, error);
    csi_buffer_free(&name);
    csi_buffer_free(&file_name);
    form->state = CSI_MULTIPART_DATA;
    form->matched = form->borrowed = 2; /* a part may be empty: then the blank line is the delimiter's, too */
    return status;
}

/* Takes bytes up to the end of a line. */
static enum cs_status take_header(struct csi_multipart *form, const char **at, const char *end,
                                  struct cs_error *error)
{
    const char *feed = memchr(*at, '\n', (size_t)(end - *at));
    size_t size = (size_t)((feed == NULL ? end : feed + 1) - *at), line;

    if (size > CSI_MULTIPART_HEADER_MAX - form->header.size)
        return csi_fail(error, CS_BAD_REQUEST, "the header of part %zu is larger than %u bytes", form->number,
                        CSI_MULTIPART_HEADER_MAX);
    csi_buffer_append(&form->header, *at, size);
    if (form->header.failed)
        return csi_fail_memory(error, "form");
    *at += size;
    if (feed == NULL)
        return CS_OK;
    line = form->header.size - form->line;
    if (line == 1 || (line == 2 && form->header.bytes[form->line] == '\r'))
        return end_header(form, error);
    form->line = form->header.size;
    return CS_OK;
}

/* ---- boundaries ---- */

static void begin_part(struct csi_multipart *form)
{
    form->state = CSI_MULTIPART_HEADER;
    form->header.size = form->line = 0;
    form->number++;
}

/* One byte behind a boundary. Two dashes end the form, whatever follows; else only blanks may fill the line.
 */
static enum cs_status take_boundary_line(struct csi_multipart *form, char c, struct cs_error *error)
{
    enum csi_multipart_state state = form->state;

    if (state == CSI_MULTIPART_BOUNDARY_DASH && c == '-') {
        form->state = CSI_MULTIPART_EPILOGUE;
        return CS_OK;
    }
    if (state == CSI_MULTIPART_BOUNDARY && c == '-') {
        form->state = CSI_MULTIPART_BOUNDARY_DASH;
        return CS_OK;
    }
    if (state != CSI_MULTIPART_BOUNDARY_DASH && c == '\n') {
        form->bare_lf |= state != CSI_MULTIPART_BOUNDARY_CR;
        begin_part(form);
        return CS_OK;
    }
    if (state == CSI_MULTIPART_BOUNDARY || state == CSI_MULTIPART_BOUNDARY_PAD) {
        form->state = c == '\r' ? CSI_MULTIPART_BOUNDARY_CR : CSI_MULTIPART_BOUNDARY_PAD;
        if (c == '\r' || c == ' ' || c == '\t')
            return CS_OK;
    }
    return csi_fail(error, CS_BAD_REQUEST, "the boundary before part %zu is not alone on its line",
                    form->number + 1);
}

static enum cs_status pass_on(struct csi_multipart *form, const char *bytes, size_t size,
                              struct cs_error *error)
{
    if (form->state == CSI_MULTIPART_PREAMBLE || size == 0)
        return CS_OK;
    return form->sink->data(form->context, bytes, size, error);
}

/* How many of the last bytes could be the beginning of `word`, whose first character stands in it once. */
static size_t held_back(const char *bytes, size_t size, const char *word, size_t word_size)
{
    size_t tail = csi_min_size(size, word_size - 1);
    const char *first = memrchr(bytes + size - tail, word[0], tail);

    if (first == NULL)
        return 0;
    tail = (size_t)(bytes + size - first);
    return memcmp(first, word, tail) == 0 ? tail : 0;
}

/* Goes on with a delimiter of which `form->matched` bytes were there. When it turns out to be none, they were
 * data; none of them but the first can begin another one, for a boundary holds no CR and no LF. */
static enum cs_status go_on_matching(struct csi_multipart *form, const char *word, size_t word_size,
                                     const char **at, const char *end, struct cs_error *error)
{
    size_t size = csi_min_size((size_t)(end - *at), word_size - form->matched);
    size_t matched = form->matched, borrowed = form->borrowed;

    if (memcmp(*at, word + matched, size) == 0) {
        form->matched += size;
        *at += size;
        return CS_OK;
    }
    form->matched = form->borrowed = 0;
    return pass_on(form, word + borrowed, matched - borrowed, error);
}

/* Passes on what stands before the next delimiter, in long runs. */
static enum cs_status take_data(struct csi_multipart *form, const char **at, const char *end,
                                struct cs_error *error)
{
    /* Before the first boundary a bare LF ends a line, too. */
    size_t skip = form->state == CSI_MULTIPART_PREAMBLE ? 1 : 0;
    const char *word = form->delimiter + skip, *begin = *at, *hit;
    size_t word_size = form->delimiter_size - skip, size = (size_t)(end - begin), held;
    enum cs_status status = CS_OK;

    if (form->matched > 0) {
        status = go_on_matching(form, word, word_size, at, end, error);
    } else {
        hit = memmem(begin, size, word, word_size);
        held = hit == NULL ? held_back(begin, size, word, word_size) : word_size;
        size = hit == NULL ? size - held : (size_t)(hit - begin);
        *at = begin + size + held;
        form->matched = held;
        status = pass_on(form, begin, size, error);
    }
    if (status == CS_OK && form->matched == word_size) {
        form->matched = form->borrowed = 0;
        form->state = CSI_MULTIPART_BOUNDARY;
    }
    return status;
}

enum cs_status csi_multipart_feed(struct csi_multipart *form, const char *bytes, size_t size,
                                  struct cs_error *error)
{
    const char *end = bytes + size;
    enum cs_status status = CS_OK;

    while (bytes < end && status == CS_OK) {
        switch (form->state) {
        case CSI_MULTIPART_PREAMBLE:
        case CSI_MULTIPART_DATA: status = take_data(form, &bytes, end, error); break;
        case CSI_MULTIPART_HEADER: status = take_header(form, &bytes, end, error); break;
        case CSI_MULTIPART_EPILOGUE: return CS_OK;
        default: status = take_boundary_line(form, *bytes++, error); break;
        }
    }
    return status;
}

enum cs_status csi_multipart_end(const struct csi_multipart *form, struct cs_error *error)
{
    const char *boundary = form->delimiter + 2, *hint = form->bare_lf ? ": its lines must end in CR LF" : "";

    switch (form->state) {
    case CSI_MULTIPART_EPILOGUE: return CS_OK;
    case CSI_MULTIPART_PREAMBLE:
        return csi_fail(error, CS_BAD_REQUEST, "the form has no line that begins with its boundary, %s",
                        boundary);
    case CSI_MULTIPART_HEADER:
        return csi_fail(error, CS_BAD_REQUEST, "the form ends inside the header of part %zu", form->number);
    case CSI_MULTIPART_DATA:
        return csi_fail(error, CS_BAD_REQUEST, "the form ends inside part %zu%s", form->number, hint);
    default:
        return csi_fail(error, CS_BAD_REQUEST, "the form ends without its last boundary, %s--", boundary);
    }
}

void csi_multipart_free(struct csi_multipart *form)
{
    csi_buffer_free(&form->header);
}
