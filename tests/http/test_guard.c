/* The guard over request heads: what it lets through, what it refuses and why, at any fragmentation. */
#include "http/support.h"

#include "server/guard.h"

static enum csi_guard_verdict check(const char *text, struct csi_http_head *head)
{
    /* A copy of exactly this size: sanitizers see a read behind it. */
    size_t size = strlen(text);
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    enum csi_guard_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, text, size);
    verdict = csi_http_guard_check(copy, size, head);
    free(copy);
    return verdict;
}

static void sound_heads(void **state)
{
    static const struct {
        const char *text;
        bool has_length, chunked;
        uint64_t length;
        unsigned minor;
        bool v2;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
        {"GET / HTTP/1.0\r\n\r\n", false, false, 0, 0, false},
        {"POST /x?a=b%20c HTTP/1.1\r\nHost: [::1]:8501\r\nContent-Length: 12\r\n\r\n", true, false, 12, 1,
         false},
        {"POST / HTTP/1.1\r\nhOST:a\r\ncontent-LENGTH: \t 7 \t\r\n\r\n", true, false, 7, 1, false},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", false, true, 0, 1, false},
        {"DELETE /api HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\nY:\r\n\r\n", false, false, 0, 1, false},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / whatever follows\n", false, false, 0, 1, false},
        {"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, true},
        {"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, true},
        {"GET /v2?x HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, true},
        {"GET /v22 HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
        {"GET /v HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
        {"GET HTTP://a:80/v2/x HTTP/1.1\r\nHost: b\r\n\r\n", false, false, 0, 1, true},
        {"GET http://[::1]:80 HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
        {"GET http://a?x=/v2 HTTP/1.1\r\nHost: a\r\n\r\n", false, false, 0, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct csi_http_head head;

        assert_int_equal(check(rows[i].text, &head), CSI_GUARD_COMPLETE);
        assert_int_equal(head.has_length, rows[i].has_length);
        assert_int_equal(head.chunked, rows[i].chunked);
        assert_int_equal(head.content_length, rows[i].length);
        assert_int_equal(head.minor, rows[i].minor);
        assert_int_equal(head.v2, rows[i].v2);
        assert_int_equal(head.size, strstr(rows[i].text, "\r\n\r\n") + 4 - rows[i].text);
        /* Every beginning of it is incomplete, never refused. */
        for (size_t cut = 0; cut < head.size; cut++) {
            struct csi_http_head part;

            assert_int_equal(csi_http_guard_check((const uint8_t *)rows[i].text, cut, &part),
                             CSI_GUARD_INCOMPLETE);
        }
    }
}

#define H "Host: a\r\n"
static void hostile_heads(void **state)
{
    static const struct {
        const char *text;
        unsigned status;
    } rows[] = {
        /* two opinions about the length */
        {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 413},
        /* codings */
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
         "chunked\r\n\r\n",
         400},
        /* lines */
        {"GET / HTTP/1.1\n" H "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        {"GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "X: a\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "\tX: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "no colon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H ": no name\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "X(y): a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400},
        {"\r\nGET / HTTP/1.1\r\n" H "\r\n", 400},
        /* request line */
        {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
        {"GET /\r\n" H "\r\n", 400},
        {"GET / HTTP/2.0\r\n" H "\r\n", 400},
        {"GET / HTTP/1.2\r\n" H "\r\n", 400},
        {"GET / http/1.1\r\n" H "\r\n", 400},
        {"get / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http:///x HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http:/a/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http:// HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://u@a/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://a%2fb/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://a#b HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://a/%00 HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\n\r\n", 400},
        {"GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET a HTTP/1.1\r\n" H "\r\n", 400},
        {"CONNECT a:80 HTTP/1.1\r\n" H "\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /%00 HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /%4 HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /%zz HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /# HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 400},
        {"AMETHODTHATISTOOLONG / HTTP/1.1\r\n" H "\r\n", 400},
        {"\x16\x03\x01\x02", 400},
        /* single fields */
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Origin: http://a\r\nOrigin: http://b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: b\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 400},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct csi_http_head head;

        if (check(rows[i].text, &head) != CSI_GUARD_REFUSED)
            fail_msg("row %zu was not refused: %s", i, rows[i].text);
        assert_int_equal(head.status, rows[i].status);
        assert_non_null(head.reason);
    }
}

static void nul_bytes(void **state)
{
    static const char head_nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    static const char line_nul[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct csi_http_head head;

    (void)state;
    assert_int_equal(csi_http_guard_check((const uint8_t *)head_nul, sizeof head_nul - 1, &head),
                     CSI_GUARD_REFUSED);
    assert_int_equal(csi_http_guard_check((const uint8_t *)line_nul, sizeof line_nul - 1, &head),
                     CSI_GUARD_REFUSED);
}

static void sizes(void **state)
{
    struct csi_buffer text;
    struct csi_http_head head;

    (void)state;
    csi_buffer_init(&text);
    csi_buffer_printf(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 99; i++)
        csi_buffer_printf(&text, "X-%d: y\r\n", i);
    csi_buffer_printf(&text, "\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_COMPLETE);
    assert_int_equal(head.fields, 100);
    text.size -= 2;
    csi_buffer_printf(&text, "One: more\r\n\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_REFUSED);
    csi_buffer_free(&text);

    /* Arguments are those of the query alone, cookies those of all lines. */
    csi_buffer_printf(&text, "GET /&&?a");
    for (int i = 1; i < 100; i++)
        csi_buffer_printf(&text, "&");
    csi_buffer_printf(&text, " HTTP/1.1\r\nHost: a\r\nX: &;&\r\ncookie: a");
    for (int i = 1; i < 150; i++)
        csi_buffer_printf(&text, ";");
    csi_buffer_printf(&text, "\r\nCOOKIE: b");
    for (int i = 1; i < 50; i++)
        csi_buffer_printf(&text, ";");
    csi_buffer_printf(&text, "\r\n\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_COMPLETE);
    assert_int_equal(head.arguments, 100);
    assert_int_equal(head.cookies, 200);
    text.bytes[5] = '?'; /* "/?&?a…": one more */
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_REFUSED);
    assert_int_equal(head.status, 400);
    text.bytes[5] = '&';
    text.size -= 4;
    csi_buffer_printf(&text, ";\r\n\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_REFUSED);
    assert_int_equal(head.status, 400);
    csi_buffer_free(&text);

    /* 16 KiB: a head that ends exactly there is the largest. */
    csi_buffer_printf(&text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    while (text.size < CSI_HTTP_HEAD_MAX - 4)
        csi_buffer_append(&text, "y", 1);
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_INCOMPLETE);
    csi_buffer_printf(&text, "\r\n\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_COMPLETE);
    text.size -= 4;
    csi_buffer_printf(&text, "y\r\n\r\n");
    assert_int_equal(csi_http_guard_check(text.bytes, text.size, &head), CSI_GUARD_REFUSED);
    assert_int_equal(head.status, 400);
    csi_buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_heads),
        cmocka_unit_test(hostile_heads),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(sizes),
    };

    return cmocka_run_group_tests_name("http guard", tests, NULL, NULL);
}
