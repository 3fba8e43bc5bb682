/* cropshield inspect and convert: what a model file holds, and turning it into the native file. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "cli/cli.h"

static json_t *to_json(const struct cs_model_info *info)
{
    json_t *classes = json_array(), *metadata = json_loads(info->metadata_json, 0, NULL), *object;
    struct csi_buffer path; /* a file's name may be anything, JSON is UTF-8 */

    csi_buffer_init(&path);
    csi_buffer_utf8(&path, info->path);
    for (size_t i = 0; i < info->class_count; i++)
        json_array_append_new(classes,
                              json_pack("{s:i,s:s,s:s,s:b}", "index", (int)i, "class", info->classes[i],
                                        "label", info->labels[i], "tested", (int)info->tested[i]));
    object = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:I,s:f,s:i,s:i,s:i,s:f,s:s,s:b,s:s,s:s,s:f,s:o,s:o?}", "name", info->name,
        "path", path.size > 0 ? (const char *)path.bytes : "", "format", info->format, "architecture",
        info->architecture, "digest", info->digest, "parameters", (json_int_t)info->parameters, "gmac",
        info->gmac, "input_size", (int)info->input_size, "map_width", (int)info->map_width, "map_height",
        (int)info->map_height, "temperature", info->temperature, "gradcam_layer", info->gradcam_layer,
        "has_leaf_gate", (int)info->has_leaf_gate, "precision", cs_precision_name(info->precision), "kernels",
        info->kernels, "load_ms", round(info->load_ms * 1e3) / 1e3, "classes", classes, "metadata", metadata);
    csi_buffer_free(&path);
    return object;
}

/* At most `most` bytes of UTF-8 from a foreign file, whole characters, without what could steer a terminal.
 */
static void print_clean(const char *text, size_t most)
{
    size_t length = strlen(text);

    if (length > most) {
        length = most;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    for (size_t i = 0; i < length; i++)
        putchar((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
    if (text[length] != '\0')
        printf("…");
}

/* The metadata's plain strings; long ones (class lists, gate parameters) are cut. The native file's own
 * digest is of its data section, not of the file. */
static void print_metadata(const char *text, bool native)
{
    json_t *metadata = json_loads(text, 0, NULL), *value;
    const char *key;

    json_object_foreach(metadata, key, value)
    {
        const char *string = json_string_value(value);
        const char *title = native && strcmp(key, "digest") == 0 ? "data digest" : key;

        if (string == NULL)
            continue;
        printf("  ");
        print_clean(title, 64);
        printf("%*s ", strlen(title) < 18 ? 18 - (int)strlen(title) : 0, "");
        print_clean(string, 90);
        putchar('\n');
    }
    json_decref(metadata);
}

static void print_text(const struct cs_model_info *info)
{
    printf("%s%s%s\n", csi_colour_out(CSI_BOLD), info->name, csi_colour_out(CSI_PLAIN));
    printf("  file               %s (%s)\n", info->path, info->format);
    printf("  architecture       %s, %.2f M parameters, %.3f GMAC at %ux%u\n", info->architecture,
           (double)info->parameters / 1e6, info->gmac, info->input_size, info->input_size);
    printf("  file digest        %s\n", info->digest);
    printf("  heat map           %s, %ux%u\n", info->gradcam_layer, info->map_width, info->map_height);
    printf("  temperature        %.4f\n", info->temperature);
    printf("  leaf gate          %s\n", info->has_leaf_gate ? "yes" : "no");
    printf("  runs as            %s with %s kernels, loaded in %.0f ms\n", cs_precision_name(info->precision),
           info->kernels, info->load_ms);
    printf("  classes            %zu\n", info->class_count);
    for (size_t i = 0; i < info->class_count; i++)
        printf("    %3zu  %-48s %s%s\n", i, info->classes[i], info->labels[i],
               info->tested[i] ? "" : " (untested)");
    printf("metadata\n");
    print_metadata(info->metadata_json, strcmp(info->format, "safetensors") == 0);
}

int csi_command_inspect(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_option table[CSI_SHARED_OPTIONS];
    bool json = false;
    const struct csi_option own[] = {
        {"json", 'j', CSI_OPT_FLAG, NULL, "one JSON object", &json, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "inspect",
        "[options] MODEL",
        "Says what a model file holds ('embedded' and 'lite' are the shipped models).",
        own,
        csi_shared_table(&shared, table),
        0,
        1};
    struct cs_diagnoser_options options;
    struct cs_model_info info;
    struct cs_error error;
    cs_model *model = NULL;
    const char *name;
    int status = CSI_EXIT_OK;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (!csi_model_argument(&line, &shared, argv, count, &name))
        return CSI_EXIT_USAGE;
    options.model.path = csi_model_named(name);
    if (cs_model_load(&options.model, &model, &error) != CS_OK) {
        csi_report(name, &error);
        return CSI_EXIT_FAILED;
    }
    info = cs_model_info(model);
    if (json) {
        json_t *object = to_json(&info);

        if (object == NULL) {
            fprintf(stderr, "cropshield: the facts about '%s' cannot be written as JSON\n", name);
            status = CSI_EXIT_FAILED;
        } else {
            json_dumpf(object, stdout,
                       JSON_COMPACT |
                           JSON_REAL_PRECISION(6)); /* a full disk is told at the end, as everywhere */
            putchar('\n');
        }
        json_decref(object);
    } else {
        print_text(&info);
    }
    cs_model_destroy(model);
    return status;
}

int csi_command_convert(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_option table[CSI_SHARED_OPTIONS];
    const char *output = NULL, *name;
    const struct csi_option own[] = {
        {"output", 'o', CSI_OPT_STRING, "FILE", "native file to write: OUT.safetensors", &output, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {
        "convert", "[options] MODEL -o OUT.safetensors", "Turns any readable model into the native file.",
        own,       csi_shared_table(&shared, table),     0,
        1};
    struct cs_diagnoser_options options;
    struct cs_error error;
    cs_model *model = NULL;
    enum cs_status status;
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (!csi_model_argument(&line, &shared, argv, count, &name))
        return CSI_EXIT_USAGE;
    if (output == NULL) {
        fprintf(stderr, "cropshield: convert needs -o OUT.safetensors\n");
        return CSI_EXIT_USAGE;
    }
    if (!csi_native_output(&line, (const char *const *)&output, true))
        return CSI_EXIT_USAGE;
    options.model.path = csi_model_named(name);
    csi_stay_on_cpu(&options.model); /* nothing is computed */
    status = cs_model_load(&options.model, &model, &error);
    if (status == CS_OK)
        status = cs_model_save(model, output, &error);
    cs_model_destroy(model);
    if (status != CS_OK) {
        csi_report(name, &error);
        return CSI_EXIT_FAILED;
    }
    printf("%s: written\n", output);
    return CSI_EXIT_OK;
}
