/* Forms: what the parser takes, what it refuses and how it says so, at any fragmentation; and what a
 * request's body makes of the parts. */
#include "http/support.h"

#include "server/body.h"
#include "server/multipart.h"

/* ---- the parser, its parts written down as text ---- */

static enum cs_status write_begin(void *context, const struct csi_multipart_part *part,
                                  struct cs_error *error)
{
    (void)error;
    csi_buffer_printf(context, "[%zu %s|%s|%s|%s]", part->number, part->name, part->file_name, part->type,
                      part->coding);
    return CS_OK;
}

static enum cs_status write_data(void *context, const char *bytes, size_t size, struct cs_error *error)
{
    (void)error;
    assert_true(size > 0);
    csi_buffer_append(context, bytes, size);
    return CS_OK;
}

static const struct csi_multipart_sink writer = {write_begin, write_data};

static enum cs_status feed_copy(struct csi_multipart *form, const char *bytes, size_t size,
                                struct cs_error *error)
{
    /* A copy of exactly this size: sanitizers see a read behind it. */
    char *copy = malloc(size == 0 ? 1 : size);
    enum cs_status status;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    status = csi_multipart_feed(form, copy, size, error);
    free(copy);
    return status;
}

/* Reads a form, its first `cut` bytes in one piece and the others in pieces of `step`, and gives what came:
 * the parts, and the error behind "! ". Freed with csi_buffer_free. */
static struct csi_buffer transcript(const char *type, const char *body, size_t size, size_t cut, size_t step)
{
    struct csi_multipart form;
    struct csi_buffer text;
    struct cs_error error = {CS_OK, ""};
    enum cs_status status;

    csi_buffer_init(&text);
    csi_buffer_append(&text, "", 0);
    status = csi_multipart_begin(&form, type, &writer, &text, &error);
    if (status == CS_OK)
        status = feed_copy(&form, body, cut, &error);
    for (size_t at = cut; at < size && status == CS_OK; at += step)
        status = feed_copy(&form, body + at, size - at < step ? size - at : step, &error);
    if (status == CS_OK)
        status = csi_multipart_end(&form, &error);
    csi_multipart_free(&form);
    if (status != CS_OK) {
        assert_int_equal(status, CS_BAD_REQUEST);
        assert_int_equal(error.status, status);
        csi_buffer_printf(&text, "! %s", error.message);
    }
    assert_false(text.failed);
    return text;
}

static void assert_reads(const char *type, const char *body, size_t size, size_t cut, size_t step,
                         const char *expected)
{
    struct csi_buffer text = transcript(type, body, size, cut, step);

    if (strcmp((char *)text.bytes, expected) != 0)
        fail_msg("cut at %zu, then %zu bytes each, of %s\n%s\nread as  %s\nexpected %s", cut, step, type,
                 body, (char *)text.bytes, expected);
    csi_buffer_free(&text);
}

/* The same whole, in two pieces cut anywhere, byte by byte and in threes. */
static void assert_reads_at_every_cut(const char *type, const char *body, const char *expected)
{
    size_t size = strlen(body);

    for (size_t cut = 0; cut <= size; cut++)
        assert_reads(type, body, size, cut, size + 1, expected);
    assert_reads(type, body, size, 0, 1, expected);
    assert_reads(type, body, size, 0, 3, expected);
}

/* Cut off anywhere before its last boundary is over, a form is incomplete; behind it, it is whole. */
static void assert_whole_only_at_its_end(const char *type, const char *body)
{
    size_t size = strlen(body), whole = 0;

    for (size_t end = 0; end <= size; end++) {
        struct csi_buffer text = transcript(type, body, end, end, 1);
        bool failed = strstr((char *)text.bytes, "! ") != NULL;

        if (!failed && whole == 0)
            whole = end;
        assert_int_equal(failed, whole == 0);
        csi_buffer_free(&text);
    }
    assert_true(whole > 2);
    assert_memory_equal(body + whole - 2, "--", 2);
}

#define X_TYPE    "multipart/form-data; boundary=X"
#define CD        "Content-Disposition: form-data; "
#define IMAGE     CD "name=\"image\"\r\n\r\n"
#define ONE(head) "--X\r\n" head "\r\n\r\nabc\r\n--X--\r\n"

static void legal_forms(void **state)
{
    static const struct {
        const char *type, *body, *expected;
    } rows[] = {
        /* as curl and browsers send it */
        {X_TYPE, ONE(CD "name=\"image\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg"),
         "[1 image|a.jpg|image/jpeg|]abc"},
        {X_TYPE, "--X\r\n" CD "name=\"note\"\r\n\r\nhi\r\n--X\r\n" IMAGE "abc\r\n--X--\r\n",
         "[1 note|||]hi[2 image|||]abc"},
        /* .NET: tokens, both names of the file */
        {"multipart/form-data; boundary=\"X\"", ONE(CD "name=image; filename=x.png; filename*=utf-8''x.png"),
         "[1 image|x.png||]abc"},
        {X_TYPE,
         ONE(CD "name=image; filename=\"=?utf-8?B?YmzDpHR0LnBuZw==?=\"; filename*=utf-8''bl%C3%A4tt.png"),
         "[1 image|blätt.png||]abc"},
        /* Java: parameters behind the boundary */
        {"multipart/form-data; boundary=BoundaryX; charset=utf-8",
         "--BoundaryX\r\n" CD "name=\"image\"; filename=\"x.png\"\r\n\r\nabc\r\n--BoundaryX--\r\n",
         "[1 image|x.png||]abc"},
        {"multipart/form-data;charset=utf-8;boundary=X;", ONE(CD "name=image"), "[1 image|||]abc"},
        /* names of either case, blanks */
        {"Multipart/Form-Data ; Boundary = X", ONE("content-disposition:FORM-DATA;NAME=image ; FileName = x"),
         "[1 image|x||]abc"},
        {X_TYPE, ONE("CONTENT-DISPOSITION : form-data; name=\t\"image\"\t"), "[1 image|||]abc"},
        {X_TYPE, ONE("Content-Disposition: attachment; name=image"), "[1 image|||]abc"}, /* no harm in it */
        /* Android: a boundary that is only a token */
        {"multipart/form-data;boundary=*****",
         "--*****\r\n" CD "name=\"image\";filename=\"a.jpg\"\r\n\r\nabc\r\n--*****--\r\n",
         "[1 image|a.jpg||]abc"},
        {"multipart/form-data; boundary=\"a b'()+_,-./:=?\"",
         "--a b'()+_,-./:=?\r\n" IMAGE "abc\r\n--a b'()+_,-./:=?--", "[1 image|||]abc"},
        {"multipart/form-data; boundary=a:b/c=d", "--a:b/c=d\r\n" IMAGE "abc\r\n--a:b/c=d--",
         "[1 image|||]abc"},
        /* quoted strings */
        {X_TYPE, ONE(CD "filename=\"a name=\\\"q.png\"; name=\"image\""), "[1 image|a name=\"q.png||]abc"},
        {X_TYPE, ONE(CD "filename=\"a; name=b.png\"; name=\"image\""), "[1 image|a; name=b.png||]abc"},
        {X_TYPE, ONE(CD "name=\"image\"; filename=\"C:\\photos\\a.jpg\""),
         "[1 image|C:\\photos\\a.jpg||]abc"},
        {X_TYPE, ONE(CD "name=\"image\"; filename=\"a\\\\b\""), "[1 image|a\\b||]abc"},
        {X_TYPE, ONE(CD "name=\"image\"; filename=\"\""), "[1 image|||]abc"},
        {X_TYPE, ONE(CD "name=image; filename=my photo.png"), "[1 image|my photo.png||]abc"},
        /* filename* alone, and such that cannot be read */
        {X_TYPE, ONE(CD "name=image; filename*=UTF-8''bl%C3%A4tt.png"), "[1 image|blätt.png||]abc"},
        {X_TYPE, ONE(CD "name=image; filename*=utf-8'de'a%2fb"), "[1 image|a/b||]abc"},
        {X_TYPE, ONE(CD "name=image; filename=\"a\"; filename*=utf-8''%zz"), "[1 image|a||]abc"},
        {X_TYPE, ONE(CD "name=image; filename=\"a\"; filename*=utf-8''%4"), "[1 image|a||]abc"},
        {X_TYPE, ONE(CD "name=image; filename=\"a\"; filename*=utf-8''%00"), "[1 image|a||]abc"},
        {X_TYPE, ONE(CD "name=image; filename=\"a\"; filename*=utf-8'x"), "[1 image|a||]abc"},
        {X_TYPE, ONE(CD "name=image; filename*=iso-8859-1''%e4"), "[1 image|||]abc"},
        /* header lines: order, folding, bare LF, others */
        {X_TYPE,
         ONE("Content-Transfer-Encoding: binary\r\nX-Other: 1\r\nContent-Type: image/png\r\n" CD
             "name=image"),
         "[1 image||image/png|binary]abc"},
        {X_TYPE, ONE("Content-Disposition: form-data;\r\n name=image;\r\n\tfilename=x\r\nX:"),
         "[1 image|x||]abc"},
        {X_TYPE, "--X\n" CD "name=image\nContent-Type: a/b\n\nabc\r\n--X--", "[1 image||a/b|]abc"},
        /* around the parts */
        {X_TYPE, "a preamble\r\n\r\n" ONE(CD "name=image") "an epilogue\r\n--X\r\nand more",
         "[1 image|||]abc"},
        {X_TYPE, "-- X\r\n--Y\r\nx--X\r\n\n" ONE(CD "name=image"), "[1 image|||]abc"},
        {X_TYPE, "\r\n" ONE(CD "name=image") "\r\n", "[1 image|||]abc"},
        {X_TYPE, "--X \t\r\n" IMAGE "abc\r\n--X\t\r\n" IMAGE "def\r\n--X-- \t\r\n",
         "[1 image|||]abc[2 image|||]def"},
        /* empty parts, and bytes that look like a boundary */
        {X_TYPE, "--X\r\n" IMAGE "\r\n--X\r\n" IMAGE "--X--", "[1 image|||][2 image|||]"},
        {X_TYPE, "--X\r\n" IMAGE "\r\n\r\n--X--", "[1 image|||]\r\n"},
        {X_TYPE, "--X--", ""},
        {"multipart/form-data; boundary=XY",
         "--XY\r\n" IMAGE "--XX\r\r\n\r\n-\r\n--\r\n--X\r\n--X\n--XY\r--XY--XY\r\n\r\n--XY--",
         "[1 image|||]--XX\r\r\n\r\n-\r\n--\r\n--X\r\n--X\n--XY\r--XY--XY\r\n"},
        {"multipart/form-data; boundary=--", "----\r\n" IMAGE "\r\n---\r\n------", "[1 image|||]\r\n---"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_reads_at_every_cut(rows[i].type, rows[i].body, rows[i].expected);
        assert_whole_only_at_its_end(rows[i].type, rows[i].body);
    }
}

static void broken_forms(void **state)
{
    static const struct {
        const char *type, *body, *expected;
    } rows[] = {
        {"multipart/mixed; boundary=X", "",
         "! Content-Type is multipart/mixed, a form is multipart/form-data"},
        {"multipart/form-dataX; boundary=X", "",
         "! Content-Type is multipart/form-dataX, a form is multipart/form-data"},
        {"multipart/form-data", "", "! Content-Type is multipart/form-data without a boundary"},
        {"multipart/form-data; boundary=", "", "! Content-Type is multipart/form-data without a boundary"},
        {"multipart/form-data; boundary=\"\"", "",
         "! Content-Type is multipart/form-data without a boundary"},
        {"multipart/form-data; boundary=\"X", "", "! the parameters in Content-Type are malformed"},
        {"multipart/form-data; boundary=X; boundary=Y", "", "! the parameters in Content-Type are malformed"},
        {"multipart/form-data; boundary", "", "! the parameters in Content-Type are malformed"},
        {"multipart/form-data; boundary=\"X \"", "",
         "! the boundary in Content-Type holds a character that is not allowed"},
        {"multipart/form-data; boundary=\xc3\xa4", "",
         "! the boundary in Content-Type holds a character that is not allowed"},
        {X_TYPE, "", "! the form has no line that begins with its boundary, --X"},
        {X_TYPE, "abc --X\r\n", "! the form has no line that begins with its boundary, --X"},
        {X_TYPE, "--X", "! the form ends without its last boundary, --X--"},
        {X_TYPE, "--X-", "! the form ends without its last boundary, --X--"},
        {X_TYPE, "--X\r", "! the form ends without its last boundary, --X--"},
        {X_TYPE, "--X\r\n", "! the form ends inside the header of part 1"},
        {X_TYPE, "--X\r\n" IMAGE, "[1 image|||]! the form ends inside part 1"},
        {X_TYPE, "--X\r\n" IMAGE "abc\r\n--X\r\n" IMAGE "d\r\n--",
         "[1 image|||]abc[2 image|||]d! the form ends inside part 2"},
        {X_TYPE, "--X\r\n" IMAGE "abc\r\n--X \t",
         "[1 image|||]abc! the form ends without its last boundary, --X--"},
        {X_TYPE, "--X\n" CD "name=image\n\nabc\n--X--\n",
         "[1 image|||]abc\n--X--\n! the form ends inside part 1: its lines must end in CR LF"},
        {X_TYPE, "--Xa\r\n", "! the boundary before part 1 is not alone on its line"},
        {X_TYPE, "--X\ra", "! the boundary before part 1 is not alone on its line"},
        {X_TYPE, "--X\r\r\n", "! the boundary before part 1 is not alone on its line"},
        {X_TYPE, "--X -", "! the boundary before part 1 is not alone on its line"},
        {X_TYPE, "--X-\n", "! the boundary before part 1 is not alone on its line"},
        {X_TYPE, "--X\r\n\r\nabc", "! part 1 has no Content-Disposition"},
        {X_TYPE, "--X\r\nContent-Type: a/b\r\n\r\nabc", "! part 1 has no Content-Disposition"},
        {X_TYPE, "--X\r\nContent-Disposition:\r\n\r\nabc", "! part 1 has no Content-Disposition"},
        {X_TYPE, ONE("Content-Disposition: form-data"), "! the Content-Disposition of part 1 has no name"},
        {X_TYPE, ONE(CD "filename=image"), "! the Content-Disposition of part 1 has no name"},
        {X_TYPE, ONE(CD "name=\"image"), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=\"image\\\""), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=\"image\" filename=x"), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=image; name=note"), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=image; =x"), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=image; filename"), "! the Content-Disposition of part 1 is malformed"},
        {X_TYPE, ONE(CD "name=image\r\n" CD "name=image"), "! part 1 has two lines Content-Disposition"},
        {X_TYPE, ONE(CD "name=image\r\nno colon"),
         "! the header of part 1 has a line that is no \"name: value\""},
        {X_TYPE, ONE(" folded: x\r\n" CD "name=image"),
         "! the header of part 1 has a line that is no \"name: value\""},
        {X_TYPE, ONE(": x\r\n" CD "name=image"),
         "! the header of part 1 has a line that is no \"name: value\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_reads_at_every_cut(rows[i].type, rows[i].body, rows[i].expected);
}

static void nul_bytes(void **state)
{
    static const char in_data[] = "--X\r\n" IMAGE "a\0b\r\n--X--", in_header[] = "--X\r\nX: \0\r\n" IMAGE;
    struct csi_buffer text = transcript(X_TYPE, in_data, sizeof in_data - 1, 3, 1);

    (void)state;
    assert_int_equal(text.size, 15);
    assert_memory_equal(text.bytes, "[1 image|||]a\0b", 15);
    csi_buffer_free(&text);
    text = transcript(X_TYPE, in_header, sizeof in_header - 1, sizeof in_header - 1, 1);
    assert_string_equal((char *)text.bytes, "! the header of part 1 holds a NUL");
    csi_buffer_free(&text);
}

static void limits_of_lengths(void **state)
{
    struct csi_buffer body, type;
    char boundary[CSI_BOUNDARY_MAX + 2];

    (void)state;
    memset(boundary, 'b', sizeof boundary);
    for (size_t size = CSI_BOUNDARY_MAX; size <= CSI_BOUNDARY_MAX + 1; size++) {
        csi_buffer_init(&type);
        csi_buffer_init(&body);
        csi_buffer_printf(&type, "multipart/form-data; boundary=%.*s", (int)size, boundary);
        csi_buffer_printf(&body, "--%.*s\r\n" IMAGE "abc\r\n--%.*s--", (int)size, boundary, (int)size,
                          boundary);
        assert_reads_at_every_cut((char *)type.bytes, (char *)body.bytes,
                                  size <= CSI_BOUNDARY_MAX
                                      ? "[1 image|||]abc"
                                      : "! the boundary in Content-Type is longer than 70 characters");
        csi_buffer_free(&type);
        csi_buffer_free(&body);
    }
    for (size_t size = CSI_MULTIPART_HEADER_MAX; size <= CSI_MULTIPART_HEADER_MAX + 1; size++) {
        const char *expected = size <= CSI_MULTIPART_HEADER_MAX
                                   ? "[1 image|||]abc"
                                   : "! the header of part 1 is larger than 16384 bytes";

        csi_buffer_init(&body);
        csi_buffer_printf(&body, "--X\r\nY: %0*d\r\n" IMAGE "abc\r\n--X--",
                          (int)(size - strlen("Y: \r\n" IMAGE)), 0);
        assert_reads(X_TYPE, (char *)body.bytes, body.size, body.size, 1, expected);
        assert_reads(X_TYPE, (char *)body.bytes, body.size, 0, 1, expected);
        assert_reads(X_TYPE, (char *)body.bytes, body.size, 5000, 999, expected);
        csi_buffer_free(&body);
    }
}

/* What a delimiter begins with, over and over: the time must not grow with the square. */
static void hostile_bytes_take_no_time(void **state)
{
    static const char *const words[] = {"\r", "\n", "\r\n", "\r\n--", "\r\n--bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbc",
                                        "-",  "b"};
    static const char type[] = "multipart/form-data; boundary=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const size_t size = 1u << 20;
    char *bytes = malloc(size);
    uint64_t start = csi_now_ns();

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t word = strlen(words[i]);
        struct csi_multipart form;
        struct csi_buffer text;
        struct cs_error error;

        for (size_t at = 0; at < size; at++)
            bytes[at] = words[i][at % word];
        for (size_t piece = 7; piece <= 65536; piece = piece * 9362 + 2) {
            csi_buffer_init(&text);
            assert_int_equal(csi_multipart_begin(&form, type, &writer, &text, &error), CS_OK);
            for (size_t at = 0; at < size; at += piece)
                assert_int_equal(
                    csi_multipart_feed(&form, bytes + at, size - at < piece ? size - at : piece, &error),
                    CS_OK);
            assert_int_equal(text.size, 0);
            csi_multipart_free(&form);
            csi_buffer_free(&text);
        }
    }
    free(bytes);
    assert_true(csi_ms_since(start) < 60000);
}

/* ---- a request's body ---- */

static enum cs_status read_body(struct csi_body *body, const char *form, size_t size, size_t step,
                                size_t max_bytes, size_t max_part_bytes, struct cs_error *error)
{
    enum cs_status status = csi_body_begin(body, X_TYPE, true, max_bytes, max_part_bytes, error);

    for (size_t at = 0; at < size && status == CS_OK; at += step)
        status = csi_body_feed(body, form + at, size - at < step ? size - at : step, error);
    return status == CS_OK ? csi_body_end(body, error) : status;
}

#define PART(name, bytes) "--X\r\n" CD "name=\"" name "\"; filename=\"dir/" name ".jpg\"\r\n\r\n" bytes "\r\n"

static void parts_of_a_body(void **state)
{
    static const char form[] =
        PART("image", "12345") PART("note", "a long note") PART("image", "123456") PART("image", "") "--X--";

    (void)state;
    for (size_t step = 1; step < sizeof form; step++) {
        struct csi_body body;
        struct cs_error error = {CS_OK, ""};

        assert_int_equal(read_body(&body, form, sizeof form - 1, step, 1000, 5, &error), CS_OK);
        assert_int_equal(body.part_count, 3);
        assert_string_equal(body.parts[0].name, "image.jpg");
        assert_int_equal(body.parts[0].bytes.size, 5);
        assert_memory_equal(body.parts[0].bytes.bytes, "12345", 5);
        assert_false(body.parts[0].too_large);
        assert_true(body.parts[1].too_large);
        assert_int_equal(body.parts[1].bytes.size, 0);
        assert_false(body.parts[2].too_large);
        assert_int_equal(body.parts[2].bytes.size, 0);
        csi_body_free(&body);
        assert_int_equal(read_body(&body, form, sizeof form - 1, step, sizeof form - 2, 5, &error),
                         CS_IMAGE_TOO_LARGE);
        csi_body_free(&body);
    }
}

static void assert_body_fails(const char *form, enum cs_status expected, const char *message)
{
    for (size_t step = 1; step <= strlen(form) + 2; step += strlen(form) + 1) {
        struct csi_body body;
        struct cs_error error = {CS_OK, ""};
        enum cs_status status = read_body(&body, form, strlen(form), step, 1000000, 1000, &error);

        if (status == CS_OK && body.part_count == 0)
            status = csi_body_no_image(&body, &error);
        csi_body_free(&body);
        assert_int_equal(status, expected);
        assert_string_equal(error.message, message);
    }
}

static void bodies_that_fail(void **state)
{
    struct csi_buffer form;

    (void)state;
    assert_body_fails("", CS_EMPTY_INPUT, "the body is empty");
    assert_body_fails("--X--", CS_EMPTY_INPUT, "the form has no parts");
    assert_body_fails(PART("photo", "abc") "--X--", CS_EMPTY_INPUT,
                      "the form has a part named 'photo', but none named image");
    assert_body_fails(PART("photo", "abc") PART("a/b", "abc") PART("photo", "abc") "--X--", CS_EMPTY_INPUT,
                      "the form has parts named 'photo', 'a/b', but none named image");
    assert_body_fails(PART("a", "") PART("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "")
                          PART("cccccccccccccccccccccccccccccccccccccccccccccccccc", "")
                              PART("dddddddddddddddddddddddddddddddddddddd", "") PART("e", "") "--X--",
                      CS_EMPTY_INPUT,
                      "the form has parts named 'a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', "
                      "'ccccccccccccccccccccccccccccccccccccccc', …, but none named image");
    assert_body_fails(ONE(CD "name=image\r\nContent-Transfer-Encoding: Base64"), CS_BAD_REQUEST,
                      "part 1 has the Content-Transfer-Encoding Base64, photos are sent as they are");
    assert_body_fails(
        ONE(CD "name=image\r\nContent-Transfer-Encoding: quoted-printable"), CS_BAD_REQUEST,
        "part 1 has the Content-Transfer-Encoding quoted-printable, photos are sent as they are");
    assert_body_fails(PART("note", "") ONE(CD "name=image\r\nContent-Type: multipart/mixed; boundary=Y"),
                      CS_BAD_REQUEST,
                      "part 2 is multipart/mixed, each photo is a part of its own with the name image");
    csi_buffer_init(&form);
    for (unsigned i = 0; i <= CSI_BODY_PARTS_MAX; i++)
        csi_buffer_printf(&form, PART("image", "x"));
    csi_buffer_printf(&form, "--X--");
    assert_body_fails((char *)form.bytes, CS_BAD_REQUEST, "more than 32 image parts");
    csi_buffer_free(&form);
}

/* What is read over may be anything. */
static void other_fields_are_read_over(void **state)
{
    static const char form[] =
        ONE(CD "name=note\r\nContent-Transfer-Encoding: base64\r\nContent-Type: multipart/mixed; boundary=Y");
    struct csi_body body;
    struct cs_error error = {CS_OK, ""};

    (void)state;
    assert_int_equal(read_body(&body, form, sizeof form - 1, 7, 1000, 5, &error), CS_OK);
    assert_int_equal(body.part_count, 0);
    csi_body_free(&body);
}

static void raw_bodies(void **state)
{
    struct csi_body body;

    (void)state;
    assert_int_equal(csi_body_begin(&body, NULL, true, 10, 10, NULL), CS_OK);
    assert_false(body.multipart);
    assert_int_equal(csi_body_feed(&body, "abc", 3, NULL), CS_OK);
    assert_int_equal(csi_body_end(&body, NULL), CS_OK);
    assert_int_equal(body.raw.size, 3);
    csi_body_free(&body);
    assert_int_equal(csi_body_begin(&body, "multipart/form-data", false, 10, 10, NULL), CS_OK);
    assert_false(body.multipart);
    csi_body_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_forms),
        cmocka_unit_test(broken_forms),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(limits_of_lengths),
        cmocka_unit_test(hostile_bytes_take_no_time),
        cmocka_unit_test(parts_of_a_body),
        cmocka_unit_test(bodies_that_fail),
        cmocka_unit_test(other_fields_are_read_over),
        cmocka_unit_test(raw_bodies),
    };

    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
