/* cropshield explain: the heat map of one photo, as a picture or as numbers. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"

/* "-" is standard output. */
static enum cs_status write_output(const char *path, const void *bytes, size_t size, struct cs_error *error)
{
    if (strcmp(path, "-") != 0)
        return csi_file_write_atomic(path, bytes, size, error);
    if (fwrite(bytes, 1, size, stdout) != size || fflush(stdout) != 0)
        return csi_fail(error, CS_INTERNAL, "cannot write to standard output: %s", strerror(errno));
    return CS_OK;
}

/* NumPy's .npy 1.0 (numpy.org, "NEP 1"): magic, version, header length, a Python dict padded to 64 bytes, the
 * numbers. */
static enum cs_status write_npy(const char *path, const float *map, uint32_t width, uint32_t height,
                                struct cs_error *error)
{
    char header[128];
    struct csi_buffer buffer;
    enum cs_status status;
    int length = snprintf(header, sizeof header,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%u, %u), }", height, width);
    size_t padded = ((size_t)length + 10 + 1 + 63) / 64 * 64 - 10;

    memset(header + length, ' ', padded - (size_t)length);
    header[padded - 1] = '\n';
    csi_buffer_init(&buffer);
    csi_buffer_append(&buffer, "\x93NUMPY\x01\x00", 8);
    csi_buffer_append(&buffer, (const uint8_t[]){(uint8_t)(padded & 0xff), (uint8_t)(padded >> 8)}, 2);
    csi_buffer_append(&buffer, header, padded);
    csi_buffer_append(&buffer, map,
                      (size_t)width * height *
                          sizeof *map); /* little-endian hosts only, as all we build for */
    status =
        buffer.failed ? csi_fail_memory(error, path) : write_output(path, buffer.bytes, buffer.size, error);
    csi_buffer_free(&buffer);
    return status;
}

static bool has_ending(const char *path, const char *ending)
{
    size_t a = strlen(path), b = strlen(ending);

    return a >= b && strcmp(path + a - b, ending) == 0;
}

static bool format_named(const char *name, enum cs_image_format *format)
{
    static const enum cs_image_format formats[] = {CS_FORMAT_PNG, CS_FORMAT_JPEG, CS_FORMAT_WEBP};

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(name, cs_image_format_name(formats[i])) == 0) {
            *format = formats[i];
            return true;
        }
    return false;
}

/* By the name's ending; a name without one (a pipe, a device) gets PNG. */
static bool format_of(const char *path, enum cs_image_format *format)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;

    *format = CS_FORMAT_PNG;
    if (has_ending(path, ".jpg") || has_ending(path, ".jpeg"))
        *format = CS_FORMAT_JPEG;
    else if (has_ending(path, ".webp"))
        *format = CS_FORMAT_WEBP;
    else
        return has_ending(path, ".png") || strchr(base, '.') == NULL;
    return true;
}

struct explain {
    const char *class_text, *plant, *method, *colormap, *output, *format, *raw;
    double alpha;
    bool to_stdout; /* a result goes to standard output: what is said goes to the other stream */
};

static enum cs_status write_outputs(cs_diagnoser *diagnoser, const struct explain *explain, const char *id,
                                    const struct cs_heatmap_request *request, struct cs_error *error)
{
    enum cs_status status = CS_OK;
    struct cs_blob blob;
    uint32_t width, height;

    if (explain->output != NULL) {
        status = cs_diagnoser_heatmap(diagnoser, id, request, &blob, NULL, NULL, error);
        if (status == CS_OK) {
            status = write_output(explain->output, blob.bytes, blob.size, error);
            cs_blob_destroy(&blob);
        }
    }
    if (status == CS_OK && explain->raw != NULL) {
        status = cs_diagnoser_map(diagnoser, id, request->class_index, request->method, &blob, &width,
                                  &height, error);
        if (status == CS_OK) {
            status = write_npy(explain->raw, (const float *)(const void *)blob.bytes, width, height, error);
            cs_blob_destroy(&blob);
        }
    }
    return status;
}

/* Whether the model knows the class and the plant that were asked for; what is wrong has been reported. */
static bool are_known(const struct csi_command_line *line, const struct explain *explain,
                      const cs_model *model, size_t *class_index)
{
    struct cs_error error;
    size_t plant;

    if (explain->class_text != NULL &&
        cs_model_find_class(model, explain->class_text, class_index, &error) != CS_OK) {
        csi_option_refuse(line, &explain->class_text, "%s", error.message);
        return false;
    }
    if (cs_model_find_plant(model, explain->plant, &plant, &error) != CS_OK) {
        csi_option_refuse(line, &explain->plant, "%s", error.message);
        return false;
    }
    return true;
}

static int run(const struct csi_command_line *line, const struct explain *explain,
               const struct cs_diagnoser_options *options, const char *path,
               struct cs_heatmap_request *heatmap)
{
    cs_diagnoser *diagnoser = NULL;
    cs_diagnosis *diagnosis = NULL;
    cs_model *model = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    struct cs_request request = cs_request_defaults();
    struct cs_error error;
    enum cs_status status = cs_diagnoser_create(options, &diagnoser, &error);

    if (status != CS_OK) {
        csi_report(options->model.path, &error);
        return CSI_EXIT_FAILED;
    }
    model = cs_diagnoser_model(diagnoser);
    if (!are_known(line, explain, model, &heatmap->class_index)) {
        cs_model_destroy(model);
        cs_diagnoser_destroy(diagnoser);
        return CSI_EXIT_USAGE;
    }
    status = csi_photo_read(path, options->limits.max_bytes, &bytes, &size, &error);
    request.name = path;
    request.plant = explain->plant;
    if (status == CS_OK)
        status = cs_diagnose(diagnoser, bytes, size, &request, &diagnosis, &error);
    if (status == CS_OK && heatmap->class_index == SIZE_MAX)
        heatmap->class_index = diagnosis->predictions[0].index;
    if (status == CS_OK)
        status = write_outputs(diagnoser, explain, diagnosis->id, heatmap, &error);
    if (status == CS_OK) {
        struct cs_model_info info = cs_model_info(model);

        FILE *stream = explain->to_stdout ? stderr : stdout;

        csi_put_name(stream, path);
        fprintf(stream, ": heat map of \"%s\" at %s\n", info.labels[heatmap->class_index],
                info.gradcam_layer);
    } else {
        csi_report(path, &error);
    }
    cs_model_destroy(model);
    cs_diagnosis_destroy(diagnosis);
    cs_diagnoser_destroy(diagnoser);
    free(bytes);
    return status == CS_OK ? CSI_EXIT_OK : CSI_EXIT_FAILED;
}

int csi_command_explain(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct explain explain = {.method = "gradcam", .colormap = "jet", .alpha = 0.5};
    struct csi_option table[CSI_SHARED_OPTIONS];
    const struct csi_option own[] = {
        {"output", 'o', CSI_OPT_STRING, "FILE", "picture to write: .png, .jpg or .webp; -: standard output",
         &explain.output, 0, 0},
        {"format", 'f', CSI_OPT_STRING, "NAME", "png, jpeg or webp (by the picture's name, else png)",
         &explain.format, 0, 0},
        {"raw", 0, CSI_OPT_STRING, "FILE.npy", "the map as numbers, before resizing", &explain.raw, 0, 0},
        {"class", 'c', CSI_OPT_STRING, "NAME|INDEX", "class to explain (the most probable one)",
         &explain.class_text, 0, 0},
        {"plant", 'p', CSI_OPT_STRING, "NAME", "what grows there: the most probable one of its classes",
         &explain.plant, 0, 0},
        {"method", 0, CSI_OPT_STRING, "NAME", "gradcam, gradcam++, hirescam, layercam, eigencam, ablationcam",
         &explain.method, 0, 0},
        {"alpha", 'a', CSI_OPT_NUMBER, "SHARE", "opacity of the heat map, 0 to 1 (0.5)", &explain.alpha, 0,
         1},
        {"colormap", 0, CSI_OPT_STRING, "NAME", "jet, viridis, inferno, turbo, grey (jet)", &explain.colormap,
         0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {"explain",
                                          "[options] -o OUT.png IMAGE",
                                          "Writes what the network looked at: a heat map over the photo at "
                                          "display size. IMAGE -: standard input.",
                                          own,
                                          csi_shared_table(&shared, table),
                                          1,
                                          1};
    struct cs_diagnoser_options options;
    struct cs_heatmap_request heatmap = cs_heatmap_request_defaults();
    struct cs_error error;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (explain.output == NULL && explain.raw == NULL) {
        fprintf(stderr, "cropshield: explain needs -o FILE or --raw FILE\n");
        return CSI_EXIT_USAGE;
    }
    if (explain.output != NULL && explain.raw != NULL && strcmp(explain.output, "-") == 0 &&
        strcmp(explain.raw, "-") == 0) {
        fprintf(stderr, "cropshield: only one of -o and --raw can be standard output\n");
        return CSI_EXIT_USAGE;
    }
    explain.to_stdout = (explain.output != NULL && strcmp(explain.output, "-") == 0) ||
                        (explain.raw != NULL && strcmp(explain.raw, "-") == 0);
    if (cs_cam_method_parse(explain.method, &heatmap.method, &error) != CS_OK) {
        csi_option_refuse(&line, &explain.method, "%s", error.message);
        return CSI_EXIT_USAGE;
    }
    if (cs_colormap_parse(explain.colormap, &heatmap.colormap, &error) != CS_OK) {
        csi_option_refuse(&line, &explain.colormap, "%s", error.message);
        return CSI_EXIT_USAGE;
    }
    heatmap.alpha = (float)explain.alpha;
    csi_make_room_for_heatmap(&options);
    csi_stay_on_cpu(&options.model);
    if (explain.format != NULL && !format_named(explain.format, &heatmap.format)) {
        csi_option_refuse(&line, &explain.format, "'%s' is none of png, jpeg, webp", explain.format);
        return CSI_EXIT_USAGE;
    }
    if (explain.output != NULL && explain.format == NULL && !format_of(explain.output, &heatmap.format)) {
        csi_option_refuse(&line, &explain.output, "'%s' ends in none of .png, .jpg, .jpeg, .webp",
                          explain.output);
        return CSI_EXIT_USAGE;
    }
    return run(&line, &explain, &options, argv[0], &heatmap);
}
