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

static void put_image(struct csi_buffer *out, const cs_diagnosis *diagnosis)
{
    put(out, ",\"image\":{\"name\":");
    csi_buffer_json(out, diagnosis->name);
    put(out, ",\"format\":");
    csi_buffer_json(out, cs_image_format_name(diagnosis->format));
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
        csi_buffer_json(out, prediction->class_name);
        put(out, ",\"label\":");
        csi_buffer_json(out, prediction->label);
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
        csi_buffer_json(out, diagnosis->hints[i]);
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

/* Of one photo; a joint answer's photos tell theirs. */
static void put_cache_and_timings(struct csi_buffer *out, const cs_diagnosis *diagnosis)
{
    put(out, ",\"cache\":{\"prediction\":");
    csi_buffer_json(out, cs_cache_result_name(diagnosis->prediction_cache));
    put(out, ",\"gradcam\":");
    csi_buffer_json(out, cs_cache_result_name(diagnosis->gradcam_cache));
    put(out, "}");
    put_timings(out, &diagnosis->timings);
}

enum cs_status csi_diagnosis_json(const cs_diagnosis *diagnosis, struct cs_blob *json, struct cs_error *error)
{
    double agreement;
    const size_t photos = csi_diagnosis_case(diagnosis, &agreement);
    struct csi_buffer out;

    csi_buffer_init(&out);
    put(&out, "{\"id\":");
    csi_buffer_json(&out, diagnosis->id);
    if (photos == 0) {
        put_image(&out, diagnosis);
    } else {
        put(&out, ",\"photos\":");
        put_count(&out, photos);
        put(&out, ",\"agreement\":");
        put_number(&out, agreement, 3);
    }
    put(&out, ",\"verdict\":");
    csi_buffer_json(&out, cs_verdict_name(diagnosis->verdict));
    if (diagnosis->plant != NULL) {
        put(&out, ",\"plant\":");
        csi_buffer_json(&out, diagnosis->plant);
    }
    put_predictions(&out, diagnosis);
    put_hints(&out, diagnosis);
    if (!isnan(diagnosis->leaf_score)) {
        put(&out, ",\"leaf_score\":");
        put_number(&out, diagnosis->leaf_score, 4);
    }
    put(&out, ",\"model\":{\"name\":");
    csi_buffer_json(&out, diagnosis->model_name);
    put(&out, ",\"digest\":");
    csi_buffer_json(&out, diagnosis->model_digest);
    put(&out, ",\"precision\":");
    csi_buffer_json(&out, cs_precision_name(diagnosis->precision));
    put(&out, ",\"device\":");
    csi_buffer_json(&out, cs_device_name(diagnosis->device));
    put(&out, "}");
    if (photos == 0)
        put_cache_and_timings(&out, diagnosis);
    put(&out, "}");
    if (out.failed) {
        csi_buffer_free(&out);
        return csi_fail_memory(error, "JSON");
    }
    json->bytes = out.bytes;
    json->size = out.size;
    return CS_OK;
}
