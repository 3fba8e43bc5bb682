/* POST /api/v1/predict and the pictures of a diagnosed photo: one, several, a case, and everything that can
 * be wrong. */
#include "http/support.h"

#include <math.h>

static const char *text_at(const json_t *json, const char *a, const char *b)
{
    const json_t *value = json_object_get(json, a);

    if (b != NULL)
        value = json_object_get(value, b);
    return json_is_string(value) ? json_string_value(value) : "";
}

static void one_photo(void **state)
{
    struct csi_buffer photo = draw_jpeg(2, 400, 300);
    struct answer answer = request("POST", "/api/v1/predict?top_k=5&gradcam=1&name=dir/le%22af.jpg",
                                   "X-Request-Id: abc-1\r\n", photo.bytes, photo.size);
    json_t *first, *second;
    double sum = 0;

    (void)state;
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "application/json");
    assert_string_equal(answer_header(&answer, "X-Request-Id"), "abc-1");
    assert_string_equal(answer_header(&answer, "Cache-Control"), "no-store");
    assert_true(strlen(answer_header(&answer, "Server-Timing")) > 0);
    first = parse(&answer);
    assert_int_equal(json_string_length(json_object_get(first, "id")), 64);
    assert_string_equal(text_at(first, "image", "name"), "le\"af.jpg");
    assert_string_equal(text_at(first, "image", "format"), "jpeg");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "image"), "width")), 400);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "image"), "bytes")),
                     photo.size);
    assert_int_equal(json_array_size(json_object_get(first, "predictions")), 5);
    for (size_t i = 0; i < 5; i++)
        sum += json_number_value(
            json_object_get(json_array_get(json_object_get(first, "predictions"), i), "probability"));
    assert_true(sum > 0.1 && sum < 1.0001);
    assert_string_equal(text_at(first, "cache", "prediction"), "miss");
    answer_free(&answer);
    /* The same bytes again: the same diagnosis, from the cache. */
    answer =
        request("POST", "/api/v1/predict?top_k=5", "Content-Type: image/jpeg\r\n", photo.bytes, photo.size);
    second = parse(&answer);
    assert_string_equal(text_at(second, "cache", "prediction"), "hit");
    assert_string_equal(text_at(second, "id", NULL), text_at(first, "id", NULL));
    assert_true(json_equal(json_object_get(first, "predictions"), json_object_get(second, "predictions")));
    json_decref(first);
    json_decref(second);
    answer_free(&answer);
    csi_buffer_free(&photo);
}

/* Photos that the metrics call failed. */
static unsigned failed_photos(void)
{
    return (unsigned)metric("cropshield_photos_total{result=\"error\"}");
}

static void bad_photos(void **state)
{
    struct csi_buffer photo = draw_jpeg(3, 400, 300);
    unsigned failed = failed_photos();
    struct answer answer;

    (void)state;
    answer = request("POST", "/api/v1/predict", "", "", 0);
    assert_error(&answer, 400, "empty_input");
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict", "", "just words", 10);
    assert_error(&answer, 415, "unsupported_format");
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict", "", photo.bytes, 200); /* cut inside its header */
    assert_error(&answer, 422, "corrupt_image");
    answer_free(&answer);
    csi_buffer_free(&photo);
    photo = draw_jpeg(3, 17000, 8); /* longer than 16,384 pixels */
    answer = request("POST", "/api/v1/predict", "", photo.bytes, photo.size);
    assert_error(&answer, 413, "image_too_large");
    answer_free(&answer);
    csi_buffer_free(&photo);
    assert_int_equal(failed_photos() - failed, 4);
}

static void bad_parameters(void **state)
{
    static const char *const paths[] = {
        "/api/v1/predict?top_k=0",    "/api/v1/predict?top_k=-1",
        "/api/v1/predict?top_k=x",    "/api/v1/predict?top_k=",
        "/api/v1/predict?top_k=1001", "/api/v1/predict?top_k=99999999999999999999",
        "/api/v1/predict?gradcam=2",  "/api/v1/predict?case=yes",
        "/api/v1/predict?plant=oak",
    };

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct answer answer = request("POST", paths[i], "", "abc", 3);

        assert_error(&answer, 400, "bad_request");
        answer_free(&answer);
    }
}

static void several_photos(void **state)
{
    struct csi_buffer a = draw_jpeg(4, 300, 200), b = draw_jpeg(5, 200, 300), form;
    struct answer answer;
    json_t *json, *results, *by_itself;

    (void)state;
    csi_buffer_init(&form);
    add_part(&form, "image", "C:\\photos\\a.jpg", a.bytes, a.size);
    add_part(&form, "comment", NULL, "hello", 5);
    add_part(&form, "image", "bad.jpg", "no photo", 8);
    add_part(&form, "image", "../b.jpg", b.bytes, b.size);
    add_part(&form, "image", "empty.jpg", "", 0);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict?top_k=2", FORM_TYPE, form.bytes, form.size);
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    results = json_object_get(json, "results");
    assert_int_equal(json_array_size(results), 4);
    assert_string_equal(text_at(json_array_get(results, 0), "image", "name"), "a.jpg");
    assert_string_equal(text_at(json_array_get(results, 1), "image", "name"), "bad.jpg");
    assert_string_equal(text_at(json_array_get(results, 1), "error", "code"), "unsupported_format");
    assert_string_equal(text_at(json_array_get(results, 2), "image", "name"), "b.jpg");
    assert_string_equal(text_at(json_array_get(results, 3), "error", "code"), "empty_input");
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict?top_k=2", "", b.bytes, b.size);
    by_itself = parse(&answer);
    assert_true(json_equal(json_object_get(by_itself, "predictions"),
                           json_object_get(json_array_get(results, 2), "predictions")));
    answer_free(&answer);
    json_decref(by_itself);
    json_decref(json);
    csi_buffer_free(&form);
    /* One part: the diagnosis itself. */
    add_part(&form, "image", "a.jpg", a.bytes, a.size);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    json = parse(&answer);
    assert_int_equal(json_string_length(json_object_get(json, "id")), 64);
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&form);
    csi_buffer_free(&a);
    csi_buffer_free(&b);
}

/* Forms that are legal and written in another way than curl's. */
static void forms_of_other_clients(void **state)
{
    static const struct {
        const char *type, *head, *tail, *name;
    } rows[] = {
        /* .NET's MultipartFormDataContent */
        {"multipart/form-data; boundary=\"1a2b3c\"",
         "--1a2b3c\r\nContent-Type: image/jpeg\r\nContent-Disposition: form-data; name=image; "
         "filename=x.jpg; "
         "filename*=utf-8''x.jpg\r\n\r\n",
         "\r\n--1a2b3c--\r\n", "x.jpg"},
        {"multipart/form-data; boundary=\"1a2b3c\"",
         "--1a2b3c\r\nContent-Disposition: form-data; name=image; filename=\"=?utf-8?B?YmzDpHR0LmpwZw==?=\"; "
         "filename*=utf-8''bl%C3%A4tt.jpg\r\n\r\n",
         "\r\n--1a2b3c--\r\n", "bl\xc3\xa4tt.jpg"},
        /* Java's HttpClient, with a publisher of one's own */
        {"multipart/form-data; boundary=BoundaryX; charset=utf-8",
         "--BoundaryX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x.jpg\"\r\n"
         "Content-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n\r\n",
         "\r\n--BoundaryX--", "x.jpg"},
        /* Android, as it is often copied */
        {"multipart/form-data;boundary=*****",
         "--*****\r\nContent-Disposition: form-data; name=\"image\";filename=\"x.jpg\"\r\n\r\n",
         "\r\n--*****--\r\n", "x.jpg"},
        /* whatever RFC 2046 lets stand around the parts */
        {"Multipart/Form-Data; Boundary=b",
         "preamble\r\n--b \t\r\ncontent-disposition: form-data; filename=\"a name=\\\"q.jpg\"; "
         "name=\"image\"\r\n\r\n",
         "\r\n--b-- \r\nepilogue", "a name=\"q.jpg"},
    };
    struct csi_buffer photo = draw_jpeg(7, 100, 100), form;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char type[128];
        struct answer answer;
        json_t *json;

        csi_buffer_init(&form);
        csi_buffer_printf(&form, "%s", rows[i].head);
        csi_buffer_append(&form, photo.bytes, photo.size);
        csi_buffer_printf(&form, "%s", rows[i].tail);
        snprintf(type, sizeof type, "Content-Type: %s\r\n", rows[i].type);
        answer = request("POST", "/api/v1/predict", type, form.bytes, form.size);
        if (answer.status != 200)
            fail_msg("row %zu: status %d: %s", i, answer.status, answer.body);
        json = parse(&answer);
        assert_string_equal(text_at(json, "image", "name"), rows[i].name);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "image"), "bytes")),
                         photo.size);
        json_decref(json);
        answer_free(&answer);
        csi_buffer_free(&form);
    }
    csi_buffer_free(&photo);
}

static void known_plant(void **state)
{
    struct csi_buffer photo = draw_jpeg(9, 300, 200);
    struct answer answer =
        request("POST", "/api/v1/predict?plant=wheat&top_k=22", "", photo.bytes, photo.size);
    json_t *json, *predictions;
    double sum = 0;

    (void)state;
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    assert_string_equal(text_at(json, "plant", NULL), "Wheat");
    predictions = json_object_get(json, "predictions");
    assert_int_equal(json_array_size(predictions), 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *prediction = json_array_get(predictions, i);

        assert_memory_equal(text_at(prediction, "class", NULL), "Wheat__", 7);
        sum += json_number_value(json_object_get(prediction, "probability"));
    }
    assert_true(fabs(sum - 1) < 1e-5);
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&photo);
}

/* Without a class a heat map explains the photo's top class, of the plant that is known; the map as numbers
 * names it, and the picture is that class's. */
static void heat_maps_of_a_known_plant(void **state)
{
    static const char *const plants[] = {"", "potato", "sugarcane", "TOMATO", "wheat"};
    struct csi_buffer photo = draw_jpeg(9, 300, 200);
    json_int_t tops[5];
    char path[256], id[65];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct answer answer, picture;
        json_t *json;

        snprintf(path, sizeof path, "/api/v1/predict?plant=%s", plants[i]);
        answer = request("POST", path, "", photo.bytes, photo.size);
        json = parse(&answer);
        snprintf(id, sizeof id, "%s", text_at(json, "id", NULL));
        tops[i] = json_integer_value(
            json_object_get(json_array_get(json_object_get(json, "predictions"), 0), "index"));
        json_decref(json);
        answer_free(&answer);
        snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?plant=%s&format=json", id, plants[i]);
        answer = get(path);
        json = parse(&answer);
        assert_true(json_is_integer(json_object_get(json, "class")));
        assert_int_equal(json_integer_value(json_object_get(json, "class")), tops[i]);
        json_decref(json);
        answer_free(&answer);
        snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?plant=%s", id, plants[i]);
        picture = get(path);
        snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?class=%d", id, (int)tops[i]);
        answer = get(path);
        assert_string_equal(answer_header(&answer, "X-Cache"), "hit"); /* of the same class */
        assert_int_equal(picture.body_size, answer.body_size);
        assert_memory_equal(picture.body, answer.body, answer.body_size);
        answer_free(&picture);
        answer_free(&answer);
    }
    for (size_t i = 1; i < 4; i++)
        assert_int_not_equal(tops[i], tops[i + 1]);
    for (size_t i = 0; i < 2; i++) {
        struct answer answer;

        snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?plant=banana%s", id, i == 0 ? "" : "&class=9");
        answer = get(path);
        assert_error(&answer, 400, "bad_request");
        answer_free(&answer);
    }
    csi_buffer_free(&photo);
}

/* A compressed body is no damaged photo: the answer names the header. */
static void coded_bodies(void **state)
{
    static const char *const paths[] = {"/api/v1/predict", "/v2/models/cropshield_cnn/infer"};
    struct csi_buffer photo = draw_jpeg(8, 100, 100);
    struct answer answer;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        answer = request("POST", paths[i], "Content-Encoding: gzip\r\n", photo.bytes, photo.size);
        assert_int_equal(answer.status, 415);
        assert_non_null(strstr(answer.body, "Content-Encoding 'gzip'"));
        assert_string_equal(answer_header(&answer, "Accept-Encoding"), "identity");
        answer_free(&answer);
    }
    answer = request("POST", paths[0], "Content-Encoding: Identity\r\n", photo.bytes, photo.size);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    answer = request("GET", "/api/v1/status", "Content-Encoding: gzip\r\n", NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    csi_buffer_free(&photo);
}

static void assert_message(const struct answer *answer, const char *message)
{
    json_t *json = parse(answer);

    assert_string_equal(text_at(json, "error", "message"), message);
    json_decref(json);
}

static void broken_forms(void **state)
{
    struct csi_buffer photo = draw_jpeg(6, 100, 100), form;
    struct answer answer;

    (void)state;
    csi_buffer_init(&form);
    add_part(&form, "image", "a.jpg", photo.bytes, photo.size); /* no last boundary */
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 400, "bad_request");
    assert_message(&answer, "the form ends inside part 1");
    answer_free(&answer);
    answer =
        request("POST", "/api/v1/predict", "Content-Type: multipart/form-data\r\n", form.bytes, form.size);
    assert_error(&answer, 400, "bad_request");
    assert_message(&answer, "Content-Type is multipart/form-data without a boundary");
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict", "Content-Type: multipart/mixed; boundary=leaf\r\n",
                     form.bytes, form.size);
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
    csi_buffer_free(&form);
    add_part(&form, "photo", "a.jpg", photo.bytes, photo.size);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 400, "empty_input");
    assert_message(&answer, "the form has a part named 'photo', but none named image");
    answer_free(&answer);
    csi_buffer_free(&form);
    for (int i = 0; i < 33; i++)
        add_part(&form, "image", "a.jpg", "x", 1);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
    csi_buffer_free(&form);
    csi_buffer_free(&photo);
}

static void a_case(void **state)
{
    struct csi_buffer form;
    struct answer answer;
    json_t *json, *combined;
    double agreement;

    (void)state;
    csi_buffer_init(&form);
    for (unsigned i = 0; i < 3; i++) {
        struct csi_buffer photo = draw_jpeg(10 + i, 200, 200);

        add_part(&form, "image", "plant.jpg", photo.bytes, photo.size);
        csi_buffer_free(&photo);
    }
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict?case=1&top_k=4&plant=tomato", FORM_TYPE, form.bytes, form.size);
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    assert_int_equal(json_array_size(json_object_get(json, "results")), 3);
    combined = json_object_get(json, "case");
    assert_int_equal(json_array_size(json_object_get(combined, "predictions")), 4);
    for (size_t i = 0; i < 4; i++) { /* rounded as those of single photos are */
        const json_t *one = json_array_get(json_object_get(combined, "predictions"), i);
        double millionths = 1e6 * json_number_value(json_object_get(one, "probability"));

        assert_true(fabs(millionths - round(millionths)) < 1e-3);
    }
    assert_true(json_string_length(json_object_get(combined, "verdict")) > 0);
    agreement = json_number_value(json_object_get(combined, "agreement"));
    assert_true(agreement >= 0 && agreement <= 1);
    assert_int_equal(json_integer_value(json_object_get(combined, "photos")), 3);
    assert_string_equal(json_string_value(json_object_get(combined, "plant")), "Tomato");
    assert_non_null(json_object_get(json_object_get(combined, "model"), "digest"));
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&form);
    for (unsigned i = 0; i < CS_CASE_MAX + 1; i++)
        add_part(&form, "image", "plant.jpg", "x", 1);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict?case=1", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
    csi_buffer_free(&form);
}

/* Where no photo of a case can be read, the answer says what is wrong with the first, not merely that. */
static void an_unreadable_case(void **state)
{
    static const char *const photos[] = {"GIF89a, more or less", ""};
    struct csi_buffer form;
    struct answer answer;

    (void)state;
    csi_buffer_init(&form);
    for (size_t i = 0; i < 2; i++) {
        csi_buffer_free(&form);
        add_part(&form, "image", "plant.jpg", photos[i], strlen(photos[i]));
        csi_buffer_printf(&form, FORM_END);
        answer = request("POST", "/api/v1/predict?case", FORM_TYPE, form.bytes, form.size);
        assert_error(&answer, i == 0 ? 415 : 400, i == 0 ? "unsupported_format" : "empty_input");
        assert_null(strstr(answer.body, "none of the"));
        answer_free(&answer);
    }
    csi_buffer_free(&form);
    for (size_t i = 0; i < 2; i++)
        add_part(&form, "image", "plant.jpg", photos[i], strlen(photos[i]));
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict?case=1", FORM_TYPE, form.bytes, form.size);
    assert_non_null(strstr(answer.body, "none of the 2 photos of the case could be read; the first: "));
    assert_error(&answer, 415, "unsupported_format");
    answer_free(&answer);
    csi_buffer_free(&form);
}

static void pictures(void **state)
{
    struct csi_buffer photo = draw_jpeg(20, 900, 600);
    struct answer answer = request("POST", "/api/v1/predict?gradcam=1", "", photo.bytes, photo.size);
    json_t *json = parse(&answer), *map, *rows;
    char path[256], id[65];

    (void)state;
    snprintf(id, sizeof id, "%s", text_at(json, "id", NULL));
    json_decref(json);
    answer_free(&answer);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam", id);
    answer = get(path);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "image/png");
    assert_memory_equal(answer.body, "\x89PNG", 4);
    assert_true(strlen(answer_header(&answer, "X-Cache")) > 0);
    answer_free(&answer);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?class=9&alpha=0.7&colormap=viridis&format=jpeg",
             id);
    answer = get(path);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "image/jpeg");
    assert_memory_equal(answer.body, "\xff\xd8\xff", 3);
    answer_free(&answer);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?class=9&format=webp", id);
    answer = get(path);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "image/webp");
    assert_memory_equal(answer.body + 8, "WEBP", 4);
    answer_free(&answer);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam?class=9&format=json", id);
    answer = get(path);
    assert_int_equal(answer.status, 200);
    map = parse(&answer);
    rows = json_object_get(map, "map");
    assert_int_equal(json_array_size(rows), json_integer_value(json_object_get(map, "height")));
    assert_int_equal(json_array_size(json_array_get(rows, 0)),
                     json_integer_value(json_object_get(map, "width")));
    assert_int_equal(json_integer_value(json_object_get(map, "class")), 9);
    json_decref(map);
    answer_free(&answer);
    snprintf(path, sizeof path, "/api/v1/images/%s/display", id);
    answer = get(path);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "image/jpeg");
    answer_free(&answer);
    csi_buffer_free(&photo);
    {
        static const struct {
            const char *tail;
            int status;
        } rows_bad[] = {
            {"gradcam?alpha=1.1", 400},    {"gradcam?alpha=nan", 400},   {"gradcam?colormap=pink", 400},
            {"gradcam?method=magic", 400}, {"gradcam?format=gif", 400},  {"gradcam?class=99", 404},
            {"gradcam?class=Banana", 404}, {"display?format=json", 400}, {"other", 404},
        };

        for (size_t i = 0; i < sizeof rows_bad / sizeof rows_bad[0]; i++) {
            snprintf(path, sizeof path, "/api/v1/images/%s/%s", id, rows_bad[i].tail);
            answer = get(path);
            assert_error(&answer, rows_bad[i].status,
                         rows_bad[i].status == 404 ? "not_found" : "bad_request");
            answer_free(&answer);
        }
    }
    memset(id, 'a', 64);
    snprintf(path, sizeof path, "/api/v1/images/%s/gradcam", id);
    answer = get(path);
    assert_error(&answer, 404, "not_found");
    answer_free(&answer);
    answer = get("/api/v1/images/xyz/display");
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
}

static void photo_over_the_limit(void **state)
{
    struct csi_server_options options = test_options();
    struct csi_buffer small = draw_jpeg(1, 64, 64), form;
    struct answer answer;
    json_t *json;
    unsigned failed;
    char *large = calloc(1, 60000);

    stop_server(state);
    options.limits.max_bytes = 50000;
    options.max_body_bytes = 200000;
    start_with(&options);
    assert_non_null(large);
    csi_buffer_init(&form);
    add_part(&form, "image", "large.jpg", large, 60000);
    add_part(&form, "image", "small.jpg", small.bytes, small.size);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    assert_string_equal(text_at(json_array_get(json_object_get(json, "results"), 0), "error", "code"),
                        "image_too_large");
    assert_int_equal(
        json_string_length(json_object_get(json_array_get(json_object_get(json, "results"), 1), "id")), 64);
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&form);
    add_part(&form, "image", "large.jpg", large, 60000);
    csi_buffer_printf(&form, FORM_END);
    failed = failed_photos();
    assert_int_equal(failed, 1); /* of the two before */
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 413, "image_too_large");
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict?case=1", FORM_TYPE, form.bytes, form.size);
    assert_error(&answer, 413, "image_too_large");
    answer_free(&answer);
    assert_int_equal(failed_photos() - failed, 2);
    csi_buffer_free(&form);
    csi_buffer_free(&small);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_photo),
        cmocka_unit_test(bad_photos),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(several_photos),
        cmocka_unit_test(broken_forms),
        cmocka_unit_test(a_case),
        cmocka_unit_test(an_unreadable_case),
        cmocka_unit_test(pictures),
        cmocka_unit_test(photo_over_the_limit),
        cmocka_unit_test(known_plant),
        cmocka_unit_test(coded_bodies),
        cmocka_unit_test(heat_maps_of_a_known_plant),
        cmocka_unit_test(forms_of_other_clients),
    };

    return cmocka_run_group_tests_name("predict", tests, start_server, stop_all);
}
