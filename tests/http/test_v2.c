/* Open Inference Protocol v2: descriptions, inference with JSON and binary tensors, classification, and what
 * is refused. */
#include "http/support.h"

#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>

#include "server/v2_request.h"

#define INFER "/v2/models/cropshield_cnn/infer"

static void descriptions(void **state)
{
    struct answer answer = get("/v2");
    json_t *json = parse(&answer);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "name")), "cropshield");
    assert_true(json_array_size(json_object_get(json, "extensions")) >= 2);
    json_decref(json);
    answer_free(&answer);
    answer = get("/v2/models/cropshield_cnn");
    json = parse(&answer);
    assert_int_equal(json_array_size(json_object_get(json, "inputs")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "outputs")), 4);
    json_decref(json);
    answer_free(&answer);
    answer = get("/v2/models/cropshield_cnn/ready");
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    answer = get("/v2/models/other");
    assert_v2_error(&answer, 404);
    answer_free(&answer);
    answer = get("/v2/nonsense");
    assert_v2_error(&answer, 404);
    answer_free(&answer);
    answer = request("POST", "/v2/repository/index", "", "{}", 2);
    json = parse(&answer);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "state")), "READY");
    json_decref(json);
    answer_free(&answer);
}

/* Version 1 is the model; there is no other. */
static void versions(void **state)
{
    static const char *const tails[] = {"", "/ready", "/stats"};
    struct csi_buffer photo = draw_jpeg(79, 200, 200);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *tail = i < 3 ? tails[i] : "/infer", *bare = "Inference-Header-Content-Length: 0\r\n";
        const char *const models[] = {"cropshield_cnn", "cropshield_cnn/versions/1",
                                      "cropshield_cnn/versions/2", "other/versions/1"};
        struct answer answers[4];

        for (size_t j = 0; j < 4; j++) {
            char path[128];

            snprintf(path, sizeof path, "/v2/models/%s%s", models[j], tail);
            answers[j] = i < 3 ? get(path) : request("POST", path, bare, photo.bytes, photo.size);
        }
        assert_int_equal(answers[0].status, 200);
        assert_int_equal(answers[1].status, 200);
        assert_int_equal(answers[0].body_size, answers[1].body_size);
        assert_memory_equal(answers[0].body, answers[1].body, answers[0].body_size);
        assert_non_null(strstr(answers[2].body, "cropshield_cnn has one version, 1"));
        assert_v2_error(&answers[2], 404);
        assert_v2_error(&answers[3], 404);
        for (size_t j = 0; j < 4; j++)
            answer_free(&answers[j]);
    }
    csi_buffer_free(&photo);
}

/* The output `name` of a JSON answer. */
static const json_t *output(const json_t *json, const char *name)
{
    const json_t *list = json_object_get(json, "outputs");

    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0)
            return json_array_get(list, i);
    fail_msg("no output %s", name);
    return NULL;
}

/* A photo by base64, and the same photo as a binary element: the answers agree with each other and with
 * predict. */
static void a_photo_in_two_ways(void **state)
{
    struct csi_buffer photo = draw_jpeg(80, 260, 240), text, body;
    size_t encoded_size = sodium_base64_ENCODED_LEN(photo.size, sodium_base64_VARIANT_ORIGINAL), header_size;
    char *encoded = malloc(encoded_size), headers[160];
    struct answer answer, reference;
    json_t *json, *diagnosis;
    const json_t *data;
    float probabilities[22];
    uint8_t length[4];
    double best = 0;

    (void)state;
    assert_non_null(encoded);
    sodium_bin2base64(encoded, encoded_size, photo.bytes, photo.size, sodium_base64_VARIANT_ORIGINAL);
    csi_buffer_init(&text);
    csi_buffer_printf(&text,
                      "{\"id\":\"q1\",\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],"
                      "\"data\":[\"%s\"]}]}",
                      encoded);
    answer = request("POST", INFER, "", text.bytes, text.size);
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    assert_string_equal(json_string_value(json_object_get(json, "model_name")), "cropshield_cnn");
    assert_string_equal(json_string_value(json_object_get(json, "id")), "q1");
    data = json_object_get(output(json, "probabilities"), "data");
    assert_int_equal(json_array_size(data), 22);
    assert_int_equal(json_array_size(json_object_get(output(json, "logits"), "data")), 22);
    assert_int_equal(json_array_size(json_object_get(output(json, "embedding"), "data")), 512);
    assert_int_equal(json_array_size(json_object_get(output(json, "cam"), "data")), 196);
    for (size_t i = 0; i < 22; i++) {
        probabilities[i] = (float)json_number_value(json_array_get(data, i));
        best = fmax(best, (double)probabilities[i]);
    }
    reference = request("POST", "/api/v1/predict?top_k=1", "", photo.bytes, photo.size);
    diagnosis = parse(&reference);
    assert_float_equal(json_number_value(json_object_get(
                           json_array_get(json_object_get(diagnosis, "predictions"), 0), "probability")),
                       best, 1e-3);
    json_decref(diagnosis);
    answer_free(&reference);
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&text);

    csi_buffer_printf(&text,
                      "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":"
                      "{\"binary_data_size\":%zu}}],\"outputs\":[{\"name\":\"probabilities\",\"parameters\":"
                      "{\"binary_data\":true}},{\"name\":\"logits\",\"parameters\":{\"classification\":3}}]}",
                      photo.size + 4);
    for (int i = 0; i < 4; i++)
        length[i] = (uint8_t)(photo.size >> (8 * i));
    csi_buffer_init(&body);
    csi_buffer_append(&body, text.bytes, text.size);
    csi_buffer_append(&body, length, 4);
    csi_buffer_append(&body, photo.bytes, photo.size);
    snprintf(headers, sizeof headers,
             "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %zu\r\n", text.size);
    answer = request("POST", INFER, headers, body.bytes, body.size);
    assert_int_equal(answer.status, 200);
    header_size = (size_t)atoi(answer_header(&answer, "Inference-Header-Content-Length"));
    assert_int_equal(answer.body_size, header_size + sizeof probabilities);
    for (size_t i = 0; i < 22; i++) {
        float value;

        memcpy(&value, answer.body + header_size + 4 * i, 4);
        assert_float_equal(value, probabilities[i], 1e-6);
    }
    json = json_loadb(answer.body, header_size, 0, NULL);
    data = json_object_get(output(json, "logits"), "data");
    assert_int_equal(json_array_size(data), 3);
    assert_non_null(strstr(json_string_value(json_array_get(data, 0)), "__")); /* value:index:label */
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&body);
    csi_buffer_free(&text);
    csi_buffer_free(&photo);
    free(encoded);
}

/* Tensors: two at once give what each gives alone. */
static void tensors(void **state)
{
    const size_t count = 3 * 224 * 224;
    float *values = malloc(2 * count * sizeof *values), one[22], two[44];
    struct csi_buffer body;
    char headers[160];

    (void)state;
    assert_non_null(values);
    for (size_t i = 0; i < 2 * count; i++)
        values[i] = (float)((i * 2654435761u) % 1000u) / 500.0f - 1.0f;
    csi_buffer_init(&body);
    for (unsigned batch = 1; batch <= 2; batch++) {
        struct answer answer;
        size_t header_size;

        csi_buffer_printf(&body,
                          "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[%u,3,224,224],"
                          "\"parameters\":{\"binary_data_size\":%zu}}],\"outputs\":[{\"name\":\"logits\"}],"
                          "\"parameters\":{\"binary_data_output\":true}}",
                          batch, batch * count * 4);
        snprintf(headers, sizeof headers, "Inference-Header-Content-Length: %zu\r\n", body.size);
        csi_buffer_append(&body, values, batch * count * 4);
        answer = request("POST", INFER, headers, body.bytes, body.size);
        assert_int_equal(answer.status, 200);
        header_size = (size_t)atoi(answer_header(&answer, "Inference-Header-Content-Length"));
        assert_int_equal(answer.body_size - header_size, batch * sizeof one);
        memcpy(batch == 1 ? one : two, answer.body + header_size, batch * sizeof one);
        answer_free(&answer);
        csi_buffer_free(&body);
    }
    assert_memory_equal(one, two, sizeof one);
    assert_memory_not_equal(one, two + 22, sizeof one);
    free(values);
}

/* "Raw binary request": no JSON, the body is the photo. The same answer as with JSON around it. */
static void a_bare_photo(void **state)
{
    struct csi_buffer photo = draw_jpeg(81, 320, 200);
    struct answer answer =
        request("POST", INFER, "Inference-Header-Content-Length: 0\r\n", photo.bytes, photo.size);
    struct answer reference = request("POST", "/api/v1/predict?top_k=22", "", photo.bytes, photo.size);
    json_t *json, *diagnosis, *first;
    const json_t *data;

    (void)state;
    assert_int_equal(answer.status, 200);
    json = parse(&answer);
    diagnosis = parse(&reference);
    first = json_array_get(json_object_get(diagnosis, "predictions"), 0);
    data = json_object_get(output(json, "probabilities"), "data");
    assert_float_equal(
        json_number_value(json_array_get(data, (size_t)json_integer_value(json_object_get(first, "index")))),
        json_number_value(json_object_get(first, "probability")), 1e-5);
    json_decref(json);
    json_decref(diagnosis);
    answer_free(&answer);
    answer_free(&reference);
    answer = request("POST", INFER, "Inference-Header-Content-Length: 0\r\n", "no photo", 8);
    assert_v2_error(&answer, 415);
    answer_free(&answer);
    answer = request("POST", INFER, "Inference-Header-Content-Length: 0\r\n", "", 0);
    assert_v2_error(&answer, 400);
    answer_free(&answer);
    answer = request("POST", INFER, "", photo.bytes, photo.size); /* the error says what it lacks */
    assert_v2_error(&answer, 400);
    assert_non_null(strstr(answer.body, "needs the header Inference-Header-Content-Length: 0"));
    answer_free(&answer);
    csi_buffer_free(&photo);
}

/* A body of the allowed size must not make many times its size of values: it is refused before it is parsed.
 */
static void a_flood_of_values(void **state)
{
    const size_t size = 30u << 20;
    char *body = malloc(size);
    struct answer answer;

    (void)state;
    assert_non_null(body);
    memset(body, ',', size);
    memcpy(body, "{\"inputs\":[0", 12);
    answer = request("POST", INFER, "", body, size);
    assert_v2_error(&answer, 400);
    assert_non_null(strstr(answer.body, "more values"));
    answer_free(&answer);
    free(body);
}

/* Lists and objects take three times a number's memory, and a nested list needs no comma: they are counted
 * for themselves. Written `count` times. */
static void a_flood_of_lists(void **state)
{
    static const struct {
        const char *value, *says;
        size_t count;
    } rows[] = {
        {"[", "more lists", 60000},           {"[],", "more lists", 60000},
        {"{},", "more objects", 60000},       {"\"\",", "more objects", 60000},
        {"\"\\\"\",", "more objects", 60000}, {"[0,[0]],", "more lists", 30000},
    };
    struct csi_buffer body;

    (void)state;
    csi_buffer_init(&body);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer answer;

        csi_buffer_printf(&body, "{\"x\":[");
        for (size_t n = 0; n < rows[i].count; n++)
            csi_buffer_append(&body, rows[i].value, strlen(rows[i].value));
        csi_buffer_printf(&body, "0]}");
        answer = request("POST", INFER, "", body.bytes, body.size);
        if (strstr(answer.body, rows[i].says) == NULL)
            fail_msg("row %zu: %d %s", i, answer.status, answer.body);
        assert_v2_error(&answer, 400);
        answer_free(&answer);
        csi_buffer_free(&body);
    }
    assert_alive();
}

/* The largest tensor of a network, each row a list of its own, has as many values and lists as are let
 * through; brackets inside strings are none. */
static void the_largest_nested_tensor(void **state)
{
    const size_t side = 64;
    struct csi_v2_request parsed;
    struct cs_error error = {CS_OK, ""};
    struct csi_buffer body;

    (void)state;
    csi_buffer_init(&body);
    csi_buffer_printf(&body, "{\"note\":\"");
    for (size_t i = 0; i < 30000; i++)
        csi_buffer_append(&body, "[{\\\"", 4);
    csi_buffer_printf(&body,
                      "\",\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[%u,3,%zu,%zu],"
                      "\"data\":[",
                      CSI_V2_BATCH_MAX, side, side);
    for (size_t row = 0; row < CSI_V2_BATCH_MAX * 3 * side; row++) {
        size_t plane = row / side;

        csi_buffer_append(&body, ",", row > 0);
        csi_buffer_append(&body, "[", row % (3 * side) == 0);
        csi_buffer_append(&body, "[", row % side == 0);
        csi_buffer_append(&body, "[", 1);
        for (size_t x = 0; x < side; x++)
            csi_buffer_append(&body, x == 0 ? "0" : ",0", x == 0 ? 1 : 2);
        csi_buffer_append(&body, "]", 1);
        csi_buffer_append(&body, "]", row % side == side - 1);
        csi_buffer_append(&body, "]", row % side == side - 1 && plane % 3 == 2);
    }
    csi_buffer_printf(&body, "]}]}");
    if (csi_v2_request_parse(body.bytes, body.size, SIZE_MAX, side, &parsed, &error) != CS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(parsed.batch, CSI_V2_BATCH_MAX);
    csi_v2_request_free(&parsed);
    csi_buffer_free(&body);
}

/* Values of JSON in memory: now, and the most there were. */
static atomic_long values_live, values_peak;

static void *count_malloc(size_t size)
{
    long live = atomic_fetch_add(&values_live, 1) + 1, peak = atomic_load(&values_peak);

    while (live > peak && !atomic_compare_exchange_weak(&values_peak, &peak, live))
        ;
    return malloc(size);
}

static void count_free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&values_live, 1);
    free(block);
}

#define CROWD_SIDE  64u
#define CROWD_BATCH 64u
#define CROWD_COUNT ((size_t)CROWD_BATCH * 3 * CROWD_SIDE * CROWD_SIDE)

/* A request of CROWD_COUNT numbers, value i is i % 10. */
static struct csi_buffer large_request(void)
{
    struct csi_buffer body;

    csi_buffer_init(&body);
    csi_buffer_printf(&body,
                      "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[%u,3,%u,%u],"
                      "\"data\":[",
                      CROWD_BATCH, CROWD_SIDE, CROWD_SIDE);
    for (size_t i = 0; i < CROWD_COUNT; i++) {
        const char digit[2] = {',', (char)('0' + i % 10)};

        csi_buffer_append(&body, digit + (i == 0), i == 0 ? 1 : 2);
    }
    csi_buffer_printf(&body, "]}]}");
    return body;
}

/* Two good requests, and one between them that breaks off. NULL when all were read rightly. */
static void *read_large_ones(void *body)
{
    const struct csi_buffer *text = body;

    for (size_t i = 0; i < 3; i++) {
        struct csi_v2_request parsed;
        struct cs_error error = {CS_OK, ""};
        enum cs_status status =
            csi_v2_request_parse(text->bytes, text->size - i % 2, SIZE_MAX, CROWD_SIDE, &parsed, &error);

        if (status != (i % 2 ? CS_BAD_REQUEST : CS_OK))
            return body;
        for (size_t j = 0; status == CS_OK && j < CROWD_COUNT; j++)
            if (parsed.tensor[j] != (float)(j % 10))
                return body;
        if (status == CS_OK)
            csi_v2_request_free(&parsed);
    }
    return NULL;
}

/* Large requests at the same time are read rightly, and the values of one are gone before another's come. */
static void large_ones_at_once(void **state)
{
    struct csi_buffer body = large_request();
    pthread_t threads[4];
    long peak;

    (void)state;
    json_set_alloc_funcs(count_malloc, count_free);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_large_ones, &body), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    json_set_alloc_funcs(malloc, free);
    peak = atomic_load(&values_peak);
    assert_true(peak >= (long)CROWD_COUNT);
    assert_true(peak < (long)CROWD_COUNT * 3 / 2);
    assert_int_equal(atomic_load(&values_live), 0);
    csi_buffer_free(&body);
}

static void refused(void **state)
{
    static const char *const bodies[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"inputs\":[]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\"]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[0],\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[65],\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"aa\"]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"not base64!\"]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{\"binary_data_"
        "size\":9}}]}",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,2,2],\"data\":[1,2,3,4,5,6,7,"
        "8,9,10,11,12]}]}",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,224,224],\"data\":[1,2,3]}]}",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,224,224],\"data\":[[[[[[[1]]]]"
        "]]]}]}",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[9223372036854775807,3,224,224],"
        "\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"aaaa\"]}],"
        "\"outputs\":[{\"name\":\"x\"}]}",
        "{\"id\":\"a\",\"id\":\"b\",\"inputs\":[]}",
    };
    struct answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        answer = request("POST", INFER, "", bodies[i], strlen(bodies[i]));
        if (answer.status != 400)
            fail_msg("row %zu: %d %s", i, answer.status, answer.body);
        assert_null(strstr(answer.body, ": \"")); /* a message that breaks off */
        assert_v2_error(&answer, 400);
        answer_free(&answer);
    }
    answer = request("POST", INFER, "Inference-Header-Content-Length: 99\r\n", "{}", 2);
    assert_v2_error(&answer, 400);
    answer_free(&answer);
    answer = request("POST", INFER, "Inference-Header-Content-Length: -1\r\n", "{}", 2);
    assert_v2_error(&answer, 400);
    answer_free(&answer);
    answer = request("POST", "/v2/models/other/infer", "", "{}", 2);
    assert_v2_error(&answer, 404);
    answer_free(&answer);
    /* A photo that is none: the error of the photo. */
    {
        static const char text[] = "{\"inputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],"
                                   "\"data\":[\"aGVsbG8=\"]}]}";

        answer = request("POST", INFER, "", text, sizeof text - 1);
        assert_v2_error(&answer, 415);
        answer_free(&answer);
    }
}

static json_int_t stat_at(const json_t *stats, const char *part, const char *name)
{
    return json_integer_value(
        json_object_get(json_object_get(json_object_get(stats, "inference_stats"), part), name));
}

static void statistics(void **state)
{
    struct answer answer = get("/v2/models/cropshield_cnn/stats");
    json_t *json = parse(&answer), *stats = json_array_get(json_object_get(json, "model_stats"), 0);
    static const char *const parts[] = {"queue", "compute_input", "compute_infer", "compute_output"};
    json_int_t sum = 0;

    (void)state;
    /* Of the tests above. */
    assert_int_equal(json_integer_value(json_object_get(stats, "inference_count")), 6);
    assert_int_equal(json_integer_value(json_object_get(stats, "execution_count")), 6);
    assert_true(json_integer_value(json_object_get(stats, "last_inference")) > 1500000000000);
    assert_true(json_is_array(json_object_get(stats, "batch_stats")));
    assert_int_equal(stat_at(stats, "success", "count"), 5);
    assert_true(stat_at(stats, "fail", "count") > 10);
    assert_true(stat_at(stats, "fail", "ns") > 0);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(stat_at(stats, parts[i], "count"), 5);
        assert_true(stat_at(stats, parts[i], "ns") > 0);
        sum += stat_at(stats, parts[i], "ns");
    }
    assert_int_equal(stat_at(stats, "success", "ns"), sum);
    assert_true(stat_at(stats, "compute_infer", "ns") > sum / 100);
    json_decref(json);
    answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions),
        cmocka_unit_test(a_photo_in_two_ways),
        cmocka_unit_test(tensors),
        cmocka_unit_test(a_bare_photo),
        cmocka_unit_test(a_flood_of_values),
        cmocka_unit_test(refused),
        cmocka_unit_test(statistics),
        cmocka_unit_test(versions),
        cmocka_unit_test(a_flood_of_lists),
        cmocka_unit_test(the_largest_nested_tensor),
        cmocka_unit_test(large_ones_at_once),
    };

    return cmocka_run_group_tests_name("inference protocol", tests, start_server, stop_all);
}
