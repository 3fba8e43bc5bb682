/* The routes that tell and clear: their JSON, methods, headers, sessions; and that docs, OpenAPI and router
 * agree. */
#include "http/support.h"

#include <math.h>

#include "server/router.h"

static struct answer predict(const char *headers, unsigned seed, const char *name)
{
    struct csi_buffer photo = draw_jpeg(seed, 160, 120);
    char path[128];
    struct answer answer;

    snprintf(path, sizeof path, "/api/v1/predict?name=%s", name);
    answer = request("POST", path, headers, photo.bytes, photo.size);
    csi_buffer_free(&photo);
    assert_int_equal(answer.status, 200);
    return answer;
}

static void status_tells(void **state)
{
    static const char *const keys[] = {"version",  "git",         "uptime_s",  "target_ms", "model",
                                       "device",   "device_name", "precision", "threads",   "kernels",
                                       "features", "limits",      "formats"};
    static const char *const model_keys[] = {
        "name",          "path",          "architecture", "digest",        "format",
        "parameters",    "gmac",          "classes",      "input_size",    "temperature",
        "load_ms",       "loaded_at",     "loads",        "load_failures", "last_error",
        "has_leaf_gate", "gradcam_layer", "metadata",     "plants",        "resize"};
    struct answer answer = get("/api/v1/status");
    json_t *json = parse(&answer), *model = json_object_get(json, "model");

    (void)state;
    assert_int_equal(answer.status, 200);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_object_get(json, keys[i]) == NULL)
            fail_msg("no %s", keys[i]);
    for (size_t i = 0; i < sizeof model_keys / sizeof model_keys[0]; i++)
        if (json_object_get(model, model_keys[i]) == NULL)
            fail_msg("no model.%s", model_keys[i]);
    assert_int_equal(json_array_size(json_object_get(model, "classes")), 22);
    assert_int_equal(json_array_size(json_object_get(model, "plants")), 4);
    assert_int_equal(json_integer_value(json_object_get(model, "loads")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "limits"), "max_bytes")),
                     26214400);
    json_decref(json);
    answer_free(&answer);
}

static void every_answer_has_its_headers(void **state)
{
    static const char *const paths[] = {"/", "/api/v1/status", "/nothing", "/metrics", "/openapi.json"};

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct answer answer = get(paths[i]);
        char policy[512];

        assert_string_equal(answer_header(&answer, "X-Content-Type-Options"), "nosniff");
        assert_string_equal(answer_header(&answer, "Referrer-Policy"), "no-referrer");
        assert_string_equal(answer_header(&answer, "Cross-Origin-Opener-Policy"), "same-origin");
        assert_string_equal(answer_header(&answer, "Cross-Origin-Resource-Policy"), "same-origin");
        assert_string_equal(answer_header(&answer, "Connection"), "close");
        snprintf(policy, sizeof policy, "%s", answer_header(&answer, "Content-Security-Policy"));
        assert_non_null(strstr(policy, "default-src 'none'"));
        assert_null(strstr(policy, "unsafe"));
        assert_string_equal(answer_header(&answer, "Access-Control-Allow-Origin"), "");
        answer_free(&answer);
    }
}

static void the_page(void **state)
{
    struct answer page = get("/"), again;
    char headers[256], etag[64];

    (void)state;
    assert_int_equal(page.status, 200);
    assert_string_equal(answer_header(&page, "Content-Type"), "text/html; charset=utf-8");
    assert_string_equal(answer_header(&page, "Cache-Control"), "private, no-cache"); /* it sets a cookie */
    assert_non_null(strstr(page.body, "<html"));
    assert_null(strstr(page.body, "<script>")); /* the policy forbids inline code */
    snprintf(etag, sizeof etag, "%s", answer_header(&page, "ETag"));
    assert_true(etag[0] == '"');
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", etag);
    again = request("GET", "/", headers, NULL, 0);
    assert_int_equal(again.status, 304);
    assert_int_equal(again.body_size, 0);
    /* RFC 9110, 8.6: the length that the whole answer has, or none */
    assert_true(answer_header(&again, "Content-Length")[0] == '\0' ||
                (size_t)atoi(answer_header(&again, "Content-Length")) == page.body_size);
    assert_string_equal(answer_header(&again, "ETag"), etag);
    answer_free(&again);
    again = get("/icon.svg");
    assert_string_equal(answer_header(&again, "Cache-Control"), "no-cache");
    assert_string_equal(answer_header(&again, "Set-Cookie"), "");
    answer_free(&again);
    again = request("HEAD", "/", "", NULL, 0);
    assert_int_equal(again.status, 200);
    assert_int_equal(again.body_size, 0);
    assert_int_equal(atoi(answer_header(&again, "Content-Length")), page.body_size);
    answer_free(&again);
    answer_free(&page);
}

#define MOST_FILES 80

struct names {
    char of[MOST_FILES][64];
    size_t count;
};

static bool is_file_name(const char *text, size_t length)
{
    return length > 0 && length < sizeof((struct names *)NULL)->of[0] && memchr(text, '.', length) != NULL &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.") >= length;
}

/* What stands in quotes behind `before`, once each. */
static void collect(struct names *names, const char *text, const char *before)
{
    for (const char *at = text; (at = strstr(at, before)) != NULL;) {
        size_t length, i = 0;

        at += strlen(before);
        length = strcspn(at, "\"");
        while (i < names->count &&
               !(strlen(names->of[i]) == length && strncmp(names->of[i], at, length) == 0))
            i++;
        if (i < names->count || !is_file_name(at, length))
            continue;
        assert_true(names->count < MOST_FILES);
        snprintf(names->of[names->count++], sizeof names->of[0], "%.*s", (int)length, at);
    }
}

/* Every file that the page names, and every one that these import, is there and has a type. */
static void the_pages_files(void **state)
{
    struct answer page = get("/");
    struct names names = {.count = 0};
    size_t named;

    (void)state;
    collect(&names, page.body, "=\"/");
    named = names.count;
    assert_true(named >= 4); /* icon, manifest, styles, scripts */
    answer_free(&page);
    for (size_t i = 0; i < names.count; i++) {
        char path[80];

        snprintf(path, sizeof path, "/%s", names.of[i]);
        page = get(path);
        if (page.status != 200)
            fail_msg("%s: %d", path, page.status);
        assert_string_not_equal(answer_header(&page, "Content-Type"), "application/octet-stream");
        assert_true(page.body_size > 0);
        collect(&names, page.body, "\"./");
        answer_free(&page);
    }
    /* One script and one style sheet hold all, or each imports its own. */
    if (names.count > named)
        assert_true(names.count > named + 20);
}

/* The description lists just the types that the page's files have. */
static void types_of_files(void **state)
{
    static const char *const files[] = {"index.html", "style.css", "main.js", "icon.svg",
                                        "manifest.webmanifest"};
    struct answer answer = get("/openapi.json"), file;
    json_t *json = parse(&answer), *types = json_object_get(json, "paths");
    static const char *const way[] = {"/{file}", "get", "responses", "200", "content"};

    (void)state;
    for (size_t i = 0; i < 5; i++)
        types = json_object_get(types, way[i]);
    assert_int_equal(json_object_size(types), 5);
    for (size_t i = 0; i < 5; i++) {
        char path[64], type[64];

        snprintf(path, sizeof path, "/%s", files[i]);
        file = get(path);
        snprintf(type, sizeof type, "%s", answer_header(&file, "Content-Type"));
        type[strcspn(type, ";")] = '\0';
        if (json_object_get(types, type) == NULL)
            fail_msg("%s is %s, which is not described", path, type);
        answer_free(&file);
    }
    json_decref(json);
    answer_free(&answer);
}

static void assert_304(const char *path)
{
    struct answer answer = get(path), again;
    char headers[128], etag[64];

    assert_int_equal(answer.status, 200);
    snprintf(etag, sizeof etag, "%s", answer_header(&answer, "ETag"));
    assert_int_equal(strlen(etag), 18);
    snprintf(headers, sizeof headers, "If-None-Match: \"x\", %s\r\n", etag);
    again = request("GET", path, headers, NULL, 0);
    assert_int_equal(again.status, 304);
    assert_int_equal(again.body_size, 0);
    assert_string_equal(answer_header(&again, "ETag"), etag);
    answer_free(&again);
    again = request("GET", path, "If-None-Match: \"0123456789abcdef\"\r\n", NULL, 0);
    assert_int_equal(again.status, 200);
    assert_int_equal(again.body_size, answer.body_size);
    answer_free(&again);
    answer_free(&answer);
}

/* What the client has is not sent again; another picture has another tag. */
static void unchanged_things(void **state)
{
    struct answer answer = predict("", 64, "tagged.jpg"), other;
    json_t *json = parse(&answer);
    char path[160], etag[64];

    (void)state;
    assert_304("/openapi.json");
    snprintf(path, sizeof path, "/api/v1/images/%s/display", json_string_value(json_object_get(json, "id")));
    assert_304(path);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?alpha=0.9",
             json_string_value(json_object_get(json, "id")));
    assert_304(path);
    answer_free(&answer);
    answer = get(path);
    snprintf(etag, sizeof etag, "%s", answer_header(&answer, "ETag"));
    path[strlen(path) - 1] = '8';
    other = get(path);
    assert_string_not_equal(answer_header(&other, "ETag"), etag);
    answer_free(&other);
    answer_free(&answer);
    json_decref(json);
}

static void wrong_methods(void **state)
{
    static const struct {
        const char *method, *path, *allow;
    } rows[] = {
        {"GET", "/api/v1/predict", "POST"},
        {"POST", "/api/v1/status", "GET, HEAD"},
        {"PUT", "/api/v1/caches", "GET, HEAD, DELETE"},
        {"POST", "/api/v1/history", "GET, HEAD, DELETE"},
        {"POST", "/", "GET, HEAD"},
        {"GET", "/v2/models/x/infer", "POST"},
        {"DELETE", "/metrics", "GET, HEAD"},
        {"TRACE", "/api/v1/status", "GET, HEAD"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int with_body = 0; with_body < 2; with_body++) { /* answered by the gate, before it has come */
            struct answer answer = request(rows[i].method, rows[i].path, "X-Request-Id: a.b-1\r\n",
                                           with_body ? "abc" : NULL, with_body ? 3 : 0);

            assert_int_equal(answer.status, 405);
            assert_string_equal(answer_header(&answer, "Allow"), rows[i].allow);
            assert_string_equal(answer_header(&answer, "X-Request-Id"), "a.b-1");
            answer_free(&answer);
        }
}

/* No method is wrong on a path that does not exist, though any name could be one of the page's files. */
static void no_such_path(void **state)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    static const char *const paths[] = {"/nope",     "/api",         "/v3",
                                        "/main.mjs", "/api/v1/nope", "/v2/models/x/nope"};

    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        for (size_t j = 0; j < sizeof paths / sizeof paths[0]; j++) {
            struct answer answer = request(methods[i], paths[j], "", NULL, 0);

            assert_int_equal(answer.status, 404);
            assert_string_equal(answer_header(&answer, "Allow"), "");
            answer_free(&answer);
        }
}

/* Of a request that GET /api/v1/performance lists. */
static double total_ms(const json_t *performance, size_t index)
{
    const json_t *request = json_array_get(json_object_get(performance, "requests"), index);

    return json_number_value(json_object_get(json_object_get(request, "timings_ms"), "total"));
}

static void sessions_are_apart(void **state)
{
    struct answer first = predict("", 31, "mine.jpg"), answer, second;
    char mine[256], theirs[256];
    json_t *json, *history;
    double first_ms, second_ms;

    (void)state;
    snprintf(mine, sizeof mine, "%s", cookie_line(&first));
    assert_int_equal(strlen(mine), strlen("Cookie: cs_session=\r\n") + 32);
    assert_non_null(strstr(answer_header(&first, "Set-Cookie"), "HttpOnly"));
    assert_non_null(strstr(answer_header(&first, "Set-Cookie"), "SameSite=Lax"));
    answer_free(&first);
    first = predict(mine, 31, "mine2.jpg");
    assert_string_equal(answer_header(&first, "Set-Cookie"), ""); /* known already */
    answer_free(&first);
    second = predict("", 32, "theirs.jpg");
    snprintf(theirs, sizeof theirs, "%s", cookie_line(&second));
    assert_string_not_equal(mine, theirs);
    answer_free(&second);

    answer = request("GET", "/api/v1/history", mine, NULL, 0);
    json = parse(&answer);
    history = json_object_get(json, "history");
    assert_int_equal(json_array_size(history), 2); /* newest first */
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(json_object_get(json_array_get(history, 0), "diagnosis"), "image"), "name")),
        "mine2.jpg");
    json_decref(json);
    answer_free(&answer);

    answer = request("GET", "/api/v1/performance", mine, NULL, 0);
    json = parse(&answer);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "cold")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "warm")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "requests")), 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(json, "requests"), 0), "name")),
        "mine.jpg"); /* oldest first */
    first_ms = total_ms(json, 0);
    second_ms = total_ms(json, 1);
    assert_float_equal(json_number_value(json_object_get(json, "min_ms")), fmin(first_ms, second_ms), 1e-9);
    assert_float_equal(json_number_value(json_object_get(json, "max_ms")), fmax(first_ms, second_ms), 1e-9);
    assert_float_equal(json_number_value(json_object_get(json, "mean_ms")), (first_ms + second_ms) / 2,
                       0.002);
    json_decref(json);
    answer_free(&answer);

    answer = request("DELETE", "/api/v1/history", mine, NULL, 0);
    assert_string_equal(answer.body, "{\"history\":[]}");
    answer_free(&answer);
    /* The times stay, and say no more of which photos they are. */
    answer = request("GET", "/api/v1/performance", mine, NULL, 0);
    assert_null(strstr(answer.body, "mine"));
    json = parse(&answer);
    assert_int_equal(json_array_size(json_object_get(json, "requests")), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *entry = json_array_get(json_object_get(json, "requests"), i);

        assert_string_equal(json_string_value(json_object_get(entry, "id")), "");
        assert_string_equal(json_string_value(json_object_get(entry, "name")), "");
        assert_true(total_ms(json, i) == (i == 0 ? first_ms : second_ms));
    }
    json_decref(json);
    answer_free(&answer);
    answer = request("GET", "/api/v1/history", theirs, NULL, 0);
    json = parse(&answer);
    assert_int_equal(json_array_size(json_object_get(json, "history")), 1);
    json_decref(json);
    answer_free(&answer);
    /* An invented cookie opens nothing. */
    answer =
        request("GET", "/api/v1/history", "Cookie: cs_session=00112233445566778899aabbccddeeff\r\n", NULL, 0);
    assert_string_equal(answer.body, "{\"history\":[]}");
    answer_free(&answer);
}

/* Where a proxy says that the client speaks TLS, the cookie never goes over plain HTTP. */
static void cookies_are_secure_behind_tls(void **state)
{
    static const struct {
        const char *header;
        bool secure;
    } rows[] = {
        {"", false},
        {"X-Forwarded-Proto: http\r\n", false},
        {"X-Forwarded-Proto: httpsx\r\n", false},
        {"X-Forwarded-Proto: http, https\r\n", false}, /* the first one is the client's */
        {"X-Forwarded-Proto: https\r\n", true},
        {"X-Forwarded-Proto: HTTPS, http\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer answer = request("GET", "/", rows[i].header, NULL, 0);
        const char *cookie = answer_header(&answer, "Set-Cookie");

        if (cookie[0] == '\0' || (strstr(cookie, "; Secure") != NULL) != rows[i].secure)
            fail_msg("row %zu: %s", i, cookie);
        answer_free(&answer);
    }
}

static void rings_are_bounded(void **state)
{
    struct answer answer = predict("", 40, "x.jpg");
    char cookie[256];
    json_t *json;
    double sum = 0;

    (void)state;
    snprintf(cookie, sizeof cookie, "%s", cookie_line(&answer));
    answer_free(&answer);
    for (int i = 0; i < 104; i++) {
        answer = predict(cookie, 40, "x.jpg");
        answer_free(&answer);
    }
    answer = request("GET", "/api/v1/history", cookie, NULL, 0);
    json = parse(&answer);
    assert_int_equal(json_array_size(json_object_get(json, "history")), 100);
    json_decref(json);
    answer_free(&answer);
    answer = request("GET", "/api/v1/performance", cookie, NULL, 0);
    json = parse(&answer);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), 105);
    assert_int_equal(json_array_size(json_object_get(json, "requests")), 20);
    for (size_t i = 10; i < 20; i++)
        sum += total_ms(json, i);
    assert_float_equal(json_number_value(json_object_get(json, "mean_last_10_ms")), sum / 10, 0.002);
    json_decref(json);
    answer_free(&answer);
}

static json_int_t figure(const json_t *caches, const char *cache, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(caches, cache), key));
}

static void caches_are_told_and_cleared(void **state)
{
    struct answer answer;
    json_t *before, *after;

    (void)state;
    answer = predict("", 50, "c.jpg");
    answer_free(&answer);
    answer = get("/api/v1/caches");
    before = parse(&answer);
    assert_true(figure(before, "prediction", "entries") > 0);
    assert_true(figure(before, "prediction", "bytes") > 0);
    assert_int_equal(figure(before, "model", "entries"), 1);
    assert_non_null(json_object_get(json_object_get(before, "gradcam"), "disk"));
    answer_free(&answer);
    answer = predict("", 50, "c.jpg");
    answer_free(&answer);
    answer = get("/api/v1/caches");
    after = parse(&answer);
    assert_int_equal(figure(after, "prediction", "hits"), figure(before, "prediction", "hits") + 1);
    json_decref(before);
    json_decref(after);
    answer_free(&answer);
    answer = request("DELETE", "/api/v1/caches/prediction", "", NULL, 0);
    assert_int_equal(answer.status, 200);
    after = parse(&answer);
    assert_int_equal(figure(after, "prediction", "entries"), 0);
    json_decref(after);
    answer_free(&answer);
    answer = request("DELETE", "/api/v1/caches/biscuit", "", NULL, 0);
    assert_error(&answer, 404, "not_found");
    answer_free(&answer);
    answer = request("DELETE", "/api/v1/caches", "", NULL, 0);
    assert_int_equal(answer.status, 200);
    after = parse(&answer);
    assert_int_equal(figure(after, "gradcam", "entries"), 0);
    json_decref(after);
    answer_free(&answer);
    answer = get("/api/v1/status"); /* clearing the model cache has loaded it again */
    after = parse(&answer);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(after, "model"), "loads")), 2);
    json_decref(after);
    answer_free(&answer);
    answer = predict("", 50, "c.jpg");
    assert_non_null(strstr(answer.body, "\"prediction\":\"miss\""));
    answer_free(&answer);
}

/* The value of the line "NAME VALUE"; the test fails where there is none. */
static double sample(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
        if (at > text && at[-1] == '\n' && at[length] == ' ')
            return strtod(at + length, NULL);
    fail_msg("no %s in\n%s", name, text);
    return 0;
}

/* The sum of all samples whose names begin so. */
static double sum_of(const char *text, const char *start)
{
    double sum = 0;

    for (const char *at = strstr(text, start); at != NULL; at = strstr(at + 1, start))
        if (at[-1] == '\n')
            sum += strtod(at + strcspn(at, " \n"), NULL);
    return sum;
}

/* Buckets hold all that took no longer than their bound; the sum lies where the buckets leave room for it.
 * Returns the count. */
static double check_histogram(const char *text, const char *name, const char *labels)
{
    static const char *const bounds[] = {"0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
                                         "0.05",    "0.1",    "0.2",   "0.5",    "1",     "2.5",  "10"};
    char line[160];
    double below = 0, bound = 0, least = 0, most = 0, count, sum;

    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        double upper = strtod(bounds[i], NULL), here;

        snprintf(line, sizeof line, "%s_bucket{%s%sle=\"%s\"}", name, labels, labels[0] == '\0' ? "" : ",",
                 bounds[i]);
        here = sample(text, line);
        if (here < below)
            fail_msg("%s is %g, the bucket before it %g", line, here, below);
        least += (here - below) * bound;
        most += (here - below) * upper;
        below = here;
        bound = upper;
    }
    snprintf(line, sizeof line, "%s_bucket{%s%sle=\"+Inf\"}", name, labels, labels[0] == '\0' ? "" : ",");
    count = sample(text, line);
    assert_true(count >= below);
    least += (count - below) * bound;
    most += (count - below) * 600; /* longer than any test runs */
    snprintf(line, sizeof line, labels[0] == '\0' ? "%s_count%s" : "%s_count{%s}", name, labels);
    assert_float_equal(sample(text, line), count, 0);
    snprintf(line, sizeof line, labels[0] == '\0' ? "%s_sum%s" : "%s_sum{%s}", name, labels);
    sum = sample(text, line); /* in whole microseconds, cut */
    if (!(sum >= least - count * 1e-6 - 1e-6 && sum <= most + 1e-6))
        fail_msg("%s is %g, by its buckets %g to %g", line, sum, least, most);
    return count;
}

static void histograms_add_up(const char *text)
{
    static const char *const stages[] = {"decode", "resize", "preprocess", "inference", "gradcam", "total"};
    double photos = sample(text, "cropshield_photos_total{result=\"ok\"}"), count;

    assert_true(photos > 0);
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        char label[32];

        snprintf(label, sizeof label, "stage=\"%s\"", stages[i]);
        count = check_histogram(text, "cropshield_stage_duration_seconds", label);
        if (strcmp(stages[i], "total") == 0)
            assert_float_equal(count, photos, 0);
        else
            assert_true(count <= photos);
    }
    count = check_histogram(text, "cropshield_http_request_duration_seconds", "");
    assert_float_equal(count, sum_of(text, "cropshield_http_requests_total{"), 0);
}

static void metrics_count(void **state)
{
    static const char *const names[] = {
        "cropshield_http_requests_total{method=\"POST\",route=\"/api/v1/predict\",code=\"200\"}",
        "cropshield_http_request_duration_seconds_bucket{le=\"+Inf\"}",
        "cropshield_stage_duration_seconds_bucket{stage=\"inference\",le=\"0.1\"}",
        "cropshield_photos_total{result=\"ok\"}",
        "cropshield_cache_hits_total{cache=\"prediction\"}",
        "cropshield_http_in_flight 0",
        "cropshield_sessions ",
        "cropshield_model_loads_total ",
        "cropshield_models_in_memory 1",
        "cropshield_build_info{version=\"1.0.0\"",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    };
    struct answer answer = predict("", 60, "m.jpg");
    double started;

    (void)state;
    answer_free(&answer);
    started = metric("process_start_time_seconds"); /* the same at every scrape */
    assert_true(started > 0);
    for (int i = 0; i < 20; i++)
        assert_true(metric("process_start_time_seconds") == started);
    answer = get("/metrics");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(answer.body, names[i]) == NULL)
            fail_msg("no %s in\n%s", names[i], answer.body);
    histograms_add_up(answer.body);
    /* Every line is a comment or "name{labels} number". */
    for (char *line = strtok((char *)(uintptr_t)answer.body, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *end, *last = strrchr(line, ' ');

        if (line[0] == '#')
            continue;
        assert_non_null(last);
        strtod(last + 1, &end);
        if (*end != '\0' || end == last + 1)
            fail_msg("no sample: %s", line);
    }
    answer_free(&answer);
}

/* OpenAPI lists exactly the router's routes, and every $ref in it leads somewhere. */
static void check_references(const json_t *root, const json_t *node)
{
    const char *key;
    const json_t *value;
    size_t index;

    if (json_is_array(node))
        json_array_foreach(node, index, value) check_references(root, value);
    if (!json_is_object(node))
        return;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        if (strcmp(key, "$ref") == 0) {
            char path[128];
            const json_t *target = root;

            snprintf(path, sizeof path, "%s", json_string_value(value) + 2);
            for (char *part = strtok(path, "/"); part != NULL; part = strtok(NULL, "/"))
                target = json_object_get(target, part);
            if (target == NULL)
                fail_msg("%s leads nowhere", json_string_value(value));
        } else {
            check_references(root, value);
        }
    }
}

static void openapi_is_the_router(void **state)
{
    struct answer answer = get("/openapi.json");
    json_t *json = parse(&answer), *paths = json_object_get(json, "paths"), *methods;
    const struct csi_route *route;
    size_t count = 0;
    const char *path;

    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "openapi")), "3.1.0");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "info"), "version")),
                        cs_version());
    for (size_t i = 0; (route = csi_route_at(i)) != NULL; i++) {
        char method[16];

        snprintf(method, sizeof method, "%s", route->method);
        for (char *c = method; *c != '\0'; c++)
            *c = (char)(*c | 0x20);
        if (json_object_get(json_object_get(paths, route->pattern), method) == NULL)
            fail_msg("%s %s is not described", route->method, route->pattern);
        count++;
    }
    json_object_foreach(paths, path, methods) count -= json_object_size(methods);
    assert_int_equal(count, 0);
    check_references(json, json);
    json_decref(json);
    answer_free(&answer);
}

static size_t history_size(const char *cookie)
{
    struct answer answer = request("GET", "/api/v1/history", cookie, NULL, 0);
    json_t *json = parse(&answer);
    size_t size = json_array_size(json_object_get(json, "history"));

    json_decref(json);
    answer_free(&answer);
    return size;
}

/* A page outlives its server: its cookie is known no more. It asks for the status first, which gives it a new
 * session; what it sends at the same time then belongs to that one. */
static void a_session_of_another_server(void **state)
{
    struct answer answer = predict("", 71, "before.jpg");
    char stale[256], fresh[256];

    snprintf(stale, sizeof stale, "%s", cookie_line(&answer));
    answer_free(&answer);
    answer = request("GET", "/api/v1/status", stale, NULL, 0);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Set-Cookie"), ""); /* it is known */
    answer_free(&answer);
    stop_server(state);
    assert_int_equal(start_server(state), 0);
    answer = get("/api/v1/status");
    assert_string_equal(answer_header(&answer, "Set-Cookie"), ""); /* a script's */
    answer_free(&answer);
    answer = request("GET", "/api/v1/status", stale, NULL, 0);
    assert_int_equal(answer.status, 200);
    snprintf(fresh, sizeof fresh, "%s", cookie_line(&answer));
    assert_int_equal(strlen(fresh), strlen(stale));
    assert_string_not_equal(fresh, stale);
    answer_free(&answer);
    for (unsigned i = 0; i < 2; i++) {
        answer = predict(fresh, 72 + i, "after.jpg");
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer_header(&answer, "Set-Cookie"), "");
        answer_free(&answer);
    }
    assert_int_equal(history_size(fresh), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_tells),
        cmocka_unit_test(every_answer_has_its_headers),
        cmocka_unit_test(the_page),
        cmocka_unit_test(the_pages_files),
        cmocka_unit_test(wrong_methods),
        cmocka_unit_test(types_of_files),
        cmocka_unit_test(unchanged_things),
        cmocka_unit_test(no_such_path),
        cmocka_unit_test(sessions_are_apart),
        cmocka_unit_test(cookies_are_secure_behind_tls),
        cmocka_unit_test(rings_are_bounded),
        cmocka_unit_test(a_session_of_another_server),
        cmocka_unit_test(caches_are_told_and_cleared),
        cmocka_unit_test(metrics_count),
        cmocka_unit_test(openapi_is_the_router),
    };

    return cmocka_run_group_tests_name("routes", tests, start_server, stop_all);
}
