/*
 * The diagnosis object as JSON: printed, not built, because it is printed once for every answer (a few
 * microseconds). Numbers are printed by hand: printf follows the locale, JSON does not.
 */
#include <math.h>
#include <string.h>

#include "base/buffer.h"
#include "diagnosis/diagnosis.h"

static void put(struct csi_buffer *out, const char *text)
{
    csi_buffer_append(out, text, strlen(text));
}

static void put_count(struct csi_buffer *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    csi_buffer_append(out, digits + at, sizeof digits - at);
}

/* At most `decimals` digits behind the point, without trailing zeros; null when it is no number. */
static void put_number(struct csi_buffer *out, double value, unsigned decimals)
{
    uint64_t scale = 1, scaled, fraction;
    char digits[16];

    if (!isfinite(value) || fabs(value) > 1e12) {
        put(out, "null");
        return;
    }
    for (unsigned i = 0; i < decimals; i++)
        scale *= 10;
    scaled = (uint64_t)(fabs(value) * (double)scale + 0.5);
    if (value < 0 && scaled != 0)
        put(out, "-");
    put_count(out, scaled / scale);
    fraction = scaled % scale;
    if (fraction == 0)
        return;
    while (fraction % 10 == 0) {
        fraction /= 10;
        decimals--;
    }
    for (unsigned i = decimals; i > 0; i--) {
        digits[i] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    digits[0] = '.';
    csi_buffer_append(out, digits, decimals + 1);
}

/* Length of the well-formed UTF-8 sequence at `text`, 0 when there is none (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *text)
{
    unsigned char first = text[0], lowest = 0x80, highest = 0xbf;
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
        if (text[i] < lowest || text[i] > highest)
            return 0; /* the NUL at the end is no continuation either */
        lowest = 0x80;
        highest = 0xbf;
    }
    return length;
}

/* A string with quotes. What is not UTF-8 (file names may be anything) becomes U+FFFD. */
static void put_string(struct csi_buffer *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    put(out, "\"");
    while (*at != '\0') {
        const unsigned char *plain = at;
        size_t length = 1;

        while (*at >= 0x20 && *at != '"' && *at != '\\' && *at != 0x7f && (length = utf8_length(at)) != 0)
            at += length;
        csi_buffer_append(out, plain, (size_t)(at - plain));
        if (*at == '\0')
            break;
        if (*at == '"' || *at == '\\') {
            csi_buffer_append(out, "\\", 1);
            csi_buffer_append(out, at, 1);
        } else if (*at < 0x20 || *at == 0x7f) {
            csi_buffer_printf(out, "\\u%04x", (unsigned)*at);
        } else {
            put(out, "\xef\xbf\xbd");
        }
        at++;
    }
    put(out, "\"");
}

static void put_image(struct csi_buffer *out, const cs_diagnosis *diagnosis)
{
    put(out, ",\"image\":{\"name\":");
    put_string(out, diagnosis->name);
    put(out, ",\"format\":");
    put_string(out, cs_image_format_name(diagnosis->format));
    put(out, ",\"bytes\":");
    put_count(out, diagnosis->bytes);
    put(out, ",\"width\":");
    put_count(out, diagnosis->width);
    put(out, ",\"height\":");
    put_count(out, diagnosis->height);
    put(out, ",\"display_width\":");
    put_count(out, diagnosis->display_width);
    put(out, ",\"display_height\":");
    put_count(out, diagnosis->display_height);
    put(out, "}");
}

static void put_predictions(struct csi_buffer *out, const cs_diagnosis *diagnosis)
{
    put(out, ",\"predictions\":[");
    for (size_t i = 0; i < diagnosis->prediction_count; i++) {
        const struct cs_prediction *prediction = &diagnosis->predictions[i];

        put(out, i == 0 ? "{\"index\":" : ",{\"index\":");
        put_count(out, prediction->index);
        put(out, ",\"class\":");
        put_string(out, prediction->class_name);
        put(out, ",\"label\":");
        put_string(out, prediction->label);
        put(out, ",\"probability\":");
        put_number(out, prediction->probability, 6);
        put(out, prediction->tested ? "}" : ",\"tested\":false}");
    }
    put(out, "]");
}

static void put_hints(struct csi_buffer *out, const cs_diagnosis *diagnosis)
{
    if (diagnosis->hint_count == 0)
        return;
    put(out, ",\"hints\":[");
    for (size_t i = 0; i < diagnosis->hint_count; i++) {
        put(out, i == 0 ? "" : ",");
        put_string(out, diagnosis->hints[i]);
    }
    put(out, "]");
}

static void put_timings(struct csi_buffer *out, const struct cs_timings *timings)
{
    const struct {
        const char *name;
        double ms;
    } stages[] = {{",\"timings_ms\":{\"decode\":", timings->decode},
                  {",\"resize\":", timings->resize},
                  {",\"preprocess\":", timings->preprocess},
                  {",\"inference\":", timings->inference},
                  {",\"gradcam\":", timings->gradcam},
                  {",\"total\":", timings->total}};

    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        put(out, stages[i].name);
        put_number(out, stages[i].ms, 3);
    }
    put(out, "}");
}

enum cs_status csi_diagnosis_json(const cs_diagnosis *diagnosis, struct cs_blob *json, struct cs_error *error)
{
    struct csi_buffer out;

    csi_buffer_init(&out);
    put(&out, "{\"id\":");
    put_string(&out, diagnosis->id);
    put_image(&out, diagnosis);
    put(&out, ",\"verdict\":");
    put_string(&out, cs_verdict_name(diagnosis->verdict));
    put_predictions(&out, diagnosis);
    put_hints(&out, diagnosis);
    if (!isnan(diagnosis->leaf_score)) {
        put(&out, ",\"leaf_score\":");
        put_number(&out, diagnosis->leaf_score, 4);
    }
    put(&out, ",\"model\":{\"name\":");
    put_string(&out, diagnosis->model_name);
    put(&out, ",\"digest\":");
    put_string(&out, diagnosis->model_digest);
    put(&out, ",\"precision\":");
    put_string(&out, cs_precision_name(diagnosis->precision));
    put(&out, ",\"device\":");
    put_string(&out, cs_device_name(diagnosis->device));
    put(&out, "},\"cache\":{\"prediction\":");
    put_string(&out, cs_cache_result_name(diagnosis->prediction_cache));
    put(&out, ",\"gradcam\":");
    put_string(&out, cs_cache_result_name(diagnosis->gradcam_cache));
    put(&out, "}");
    put_timings(&out, &diagnosis->timings);
    put(&out, "}");
    if (out.failed) {
        csi_buffer_free(&out);
        return csi_fail_memory(error, "JSON");
    }
    json->bytes = out.bytes;
    json->size = out.size;
    return CS_OK;
}
