/* GET /api/v1/images/{id}/gradcam and …/display: pictures of a photo that was diagnosed before. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "server/router.h"

static bool take_format(struct csi_request *request, enum cs_image_format fallback,
                        enum cs_image_format *format, bool *json)
{
    const char *text = csi_query(request, "format");

    *format = fallback;
    if (text == NULL)
        return true;
    if (strcmp(text, "png") == 0) {
        *format = CS_FORMAT_PNG;
    } else if (strcmp(text, "jpeg") == 0 || strcmp(text, "jpg") == 0) {
        *format = CS_FORMAT_JPEG;
    } else if (strcmp(text, "webp") == 0) {
        *format = CS_FORMAT_WEBP;
    } else if (json != NULL && strcmp(text, "json") == 0) {
        *json = true;
    } else {
        csi_reply_fail(request, CS_BAD_REQUEST,
                       json != NULL ? "format must be png, jpeg, webp or json"
                                    : "format must be jpeg, png or webp");
        return false;
    }
    return true;
}

static bool id_is_sound(struct csi_request *request)
{
    struct csi_hash hash;

    if (csi_hash_from_hex(request->captures[0], &hash))
        return true;
    csi_reply_fail(request, CS_BAD_REQUEST, "an id is 64 lower-case hex digits");
    return false;
}

/* Tagged by its bytes, so that whatever draws another picture (model, options, parameters) has another tag.
 */
static void reply_image(struct csi_request *request, enum cs_image_format format, struct cs_blob *image)
{
    char type[32], etag[CSI_ETAG_SIZE];
    void *bytes = malloc(image->size == 0 ? 1 : image->size);

    snprintf(type, sizeof type, "image/%s", cs_image_format_name(format));
    if (bytes == NULL) {
        csi_reply_fail(request, CS_INTERNAL, "out of memory (image)");
    } else {
        if (image->size > 0)
            memcpy(bytes, image->bytes, image->size);
        csi_etag(bytes, image->size, etag);
        csi_reply_bytes(request, csi_etag_status(request, etag), type, bytes, image->size);
        csi_reply_header(request, "ETag", etag);
        csi_reply_header(request, "Cache-Control", "private, no-cache"); /* a new model draws another map */
    }
    cs_blob_destroy(image);
}

/* The map as rows of numbers. */
static void reply_map(struct csi_request *request, size_t class_index, enum cs_cam_method method)
{
    struct cs_blob blob = {NULL, 0};
    struct cs_error error = {CS_OK, ""};
    uint32_t width = 0, height = 0;
    struct csi_buffer out;
    const float *map;

    if (cs_diagnoser_map(request->server->options.diagnoser, request->captures[0], class_index, method, &blob,
                         &width, &height, &error) != CS_OK) {
        csi_reply_error(request, &error);
        return;
    }
    csi_buffer_init(&out);
    csi_buffer_printf(&out,
                      "{\"id\":\"%s\",\"class\":%zu,\"method\":\"%s\",\"width\":%u,\"height\":%u,\"map\":[",
                      request->captures[0], class_index, cs_cam_method_name(method), width, height);
    map = (const float *)(const void *)blob.bytes;
    for (uint32_t y = 0; y < height; y++) {
        csi_buffer_printf(&out, y > 0 ? ",[" : "[");
        for (uint32_t x = 0; x < width; x++)
            csi_buffer_printf(&out, x > 0 ? ",%.6g" : "%.6g", (double)map[(size_t)y * width + x]);
        csi_buffer_printf(&out, "]");
    }
    csi_buffer_printf(&out, "]}");
    cs_blob_destroy(&blob);
    csi_reply_buffer(request, 200, "application/json", &out);
}

/* `class=`, an index, name or label; a wrong `plant=` is told beside it, too. */
static enum cs_status find_class(cs_diagnoser *diagnoser, const char *text, const char *plant, size_t *index,
                                 struct cs_error *error)
{
    cs_model *model = cs_diagnoser_model(diagnoser);
    size_t known;
    enum cs_status status = cs_model_find_plant(model, plant, &known, error);

    if (status == CS_OK)
        status = cs_model_find_class(model, text, index, error);
    cs_model_destroy(model);
    return status;
}

/* The class to explain: the one asked for, or the photo's top one among those of `plant=`. `named`: the
 * answer names it; else SIZE_MAX may stand for the top one of all. */
static bool take_class(struct csi_request *request, bool named, size_t *index)
{
    cs_diagnoser *diagnoser = request->server->options.diagnoser;
    const char *text = csi_query(request, "class"), *plant = csi_query(request, "plant");
    struct cs_error error = {CS_OK, ""};
    enum cs_status status = CS_OK;

    *index = SIZE_MAX;
    if (text != NULL && text[0] != '\0')
        status = find_class(diagnoser, text, plant, index, &error);
    else if (named || (plant != NULL && plant[0] != '\0'))
        status = cs_diagnoser_top_class(diagnoser, request->captures[0], plant, index, &error);
    if (status != CS_OK)
        csi_reply_error(request, &error);
    return status == CS_OK;
}

void csi_route_gradcam(struct csi_request *request)
{
    struct cs_heatmap_request ask = cs_heatmap_request_defaults();
    const char *colormap = csi_query(request, "colormap"), *method = csi_query(request, "method");
    struct cs_error error = {CS_OK, ""};
    enum cs_cache_result result = CS_CACHE_OFF;
    struct cs_blob image = {NULL, 0};
    bool json = false;
    char timing[64];
    double ms = 0;

    if (!id_is_sound(request) || !take_format(request, CS_FORMAT_PNG, &ask.format, &json) ||
        !csi_query_float(request, "alpha", 0, 1, &ask.alpha))
        return;
    if ((colormap != NULL && cs_colormap_parse(colormap, &ask.colormap, &error) != CS_OK) ||
        (method != NULL && cs_cam_method_parse(method, &ask.method, &error) != CS_OK)) {
        error.status = CS_BAD_REQUEST; /* an unknown name, whatever the parser calls it */
        csi_reply_error(request, &error);
        return;
    }
    if (!take_class(request, json, &ask.class_index))
        return;
    if (json) {
        reply_map(request, ask.class_index, ask.method);
        return;
    }
    if (cs_diagnoser_heatmap(request->server->options.diagnoser, request->captures[0], &ask, &image, &result,
                             &ms, &error) != CS_OK) {
        csi_reply_error(request, &error);
        return;
    }
    reply_image(request, ask.format, &image);
    snprintf(timing, sizeof timing, "gradcam;dur=%.2f", ms);
    csi_reply_header(request, "X-Cache", cs_cache_result_name(result));
    csi_reply_header(request, "Server-Timing", timing);
}

void csi_route_display(struct csi_request *request)
{
    struct cs_error error = {CS_OK, ""};
    struct cs_blob image = {NULL, 0};
    enum cs_image_format format;

    if (!id_is_sound(request) || !take_format(request, CS_FORMAT_JPEG, &format, NULL))
        return;
    if (cs_diagnoser_display(request->server->options.diagnoser, request->captures[0], format, &image,
                             &error) != CS_OK)
        csi_reply_error(request, &error);
    else
        reply_image(request, format, &image);
}
