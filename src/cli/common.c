/* What the commands share: settings, messages, colour, progress. See cli.h; lists of photos are in paths.c.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/utf8.h"
#include "cli/cli.h"

struct csi_shared csi_shared_defaults(void)
{
    struct cs_limits limits = cs_limits_defaults();
    struct csi_shared shared = {0};

    shared.device = "auto";
    shared.precision = "auto";
    shared.decode = "fast";
    shared.max_size = 800;
    shared.max_bytes = limits.max_bytes;
    shared.max_pixels = (size_t)limits.max_pixels;
    shared.max_side = limits.max_side;
    shared.max_scans = limits.max_jpeg_scans;
    return shared;
}

const struct csi_option *csi_shared_table(struct csi_shared *shared, struct csi_option *table)
{
    const struct csi_option options[] = {
        {"model", 'm', CSI_OPT_STRING, "PATH", "model file, or 'lite'; default: the embedded one",
         &shared->model, 0, 0},
        {"classes", 0, CSI_OPT_STRING, "FILE", "class_to_idx.json with the class names", &shared->classes, 0,
         0},
        {"device", 0, CSI_OPT_STRING, "DEVICE",
         "auto, cpu, cuda or cuda:N (auto: the GPU where there is one)", &shared->device, 0, 0},
        {"precision", 0, CSI_OPT_STRING, "P", "auto, fp32, bf16, fp16 (GPU only) or int8 (CPU only) (auto)",
         &shared->precision, 0, 0},
        {"threads", 't', CSI_OPT_SIZE, "N", "compute threads (physical cores allowed)", &shared->threads, 1,
         1024},
        {"cpu-mask", 0, CSI_OPT_STRING, "LIST", "never use more than these: generic, avx2, avx512, neon, …",
         &shared->cpu_mask, 0, 0},
        {"compact", 0, CSI_OPT_FLAG, NULL, "less memory, forward passes a sixth slower", &shared->compact, 0,
         0},
        {"max-size", 0, CSI_OPT_SIZE, "PIXELS", "long side of the display image (800)", &shared->max_size, 16,
         16384},
        {"decode", 0, CSI_OPT_STRING, "MODE", "exact or fast (fast)", &shared->decode, 0, 0},
        {"target-layer", 0, CSI_OPT_STRING, "NAME", "layer of the heat map (the architecture's)",
         &shared->target_layer, 0, 0},
        {"resize", 0, CSI_OPT_SIZE, "PIXELS", "short side before the crop (the model's)", &shared->resize, 16,
         8192},
        {"crop", 0, CSI_OPT_SIZE, "PIXELS", "side of the centre crop = network input (the model's)",
         &shared->crop, 16, 4096},
        {"input-size", 0, CSI_OPT_SIZE, "PIXELS", "the same as --crop", &shared->input_size, 16, 4096},
        {"mean", 0, CSI_OPT_STRING, "R,G,B", "mean subtracted from [0,1] pixels (the model's)", &shared->mean,
         0, 0},
        {"std", 0, CSI_OPT_STRING, "R,G,B", "deviation divided by (the model's)", &shared->std_dev, 0, 0},
        {"max-bytes", 0, CSI_OPT_BYTES, "BYTES", "largest photo in bytes (25M)", &shared->max_bytes, 1, 4e9},
        {"max-pixels", 0, CSI_OPT_SIZE, "N", "largest photo in pixels (50000000)", &shared->max_pixels, 1,
         1e9},
        {"max-side", 0, CSI_OPT_SIZE, "PIXELS", "longest side of a photo (16384)", &shared->max_side, 1,
         65500},
        {"max-scans", 0, CSI_OPT_SIZE, "N", "most scans of a progressive JPEG (100)", &shared->max_scans, 1,
         100000},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };

    _Static_assert(sizeof options / sizeof options[0] <= CSI_SHARED_OPTIONS,
                   "the caller's array is large enough");
    memcpy(table, options, sizeof options);
    return table;
}

static bool wrong_word(const struct csi_command_line *line, const char *const *target, const char *allowed)
{
    csi_option_refuse(line, target, "'%s' is none of %s", *target, allowed);
    return false;
}

static bool parse_device(const struct csi_command_line *line, const char *const *target,
                         struct cs_model_options *model)
{
    const char *text = *target;

    if (strcmp(text, "auto") == 0) {
        model->device = CS_DEVICE_AUTO;
    } else if (strcmp(text, "cpu") == 0) {
        model->device = CS_DEVICE_CPU;
    } else if (strncmp(text, "cuda", 4) == 0 && (text[4] == '\0' || text[4] == ':')) {
        char *end = NULL;
        long index = text[4] == ':' ? strtol(text + 5, &end, 10) : 0;

        if (text[4] == ':' && (end == text + 5 || *end != '\0' || index < 0 || index > 63))
            return wrong_word(line, target, "auto, cpu, cuda, cuda:N");
        model->device = CS_DEVICE_CUDA;
        model->device_index = (int)index;
    } else {
        return wrong_word(line, target, "auto, cpu, cuda, cuda:N");
    }
    return true;
}

static bool parse_precision(const struct csi_command_line *line, const char *const *target,
                            enum cs_precision *precision)
{
    for (int p = CS_PRECISION_AUTO; p <= CS_PRECISION_INT8; p++)
        if (strcmp(*target, cs_precision_name((enum cs_precision)p)) == 0) {
            *precision = (enum cs_precision)p;
            return true;
        }
    return wrong_word(line, target, "auto, fp32, bf16, fp16, int8");
}

/* "0.485,0.456,0.406" */
static bool parse_triple(const struct csi_command_line *line, const char *const *target, bool positive,
                         float *values)
{
    const char *text = *target;

    for (int i = 0; i < 3; i++) {
        char *end = NULL;

        values[i] = strtof(text, &end);
        if (end == text || !isfinite(values[i]) || (positive && values[i] <= 0) ||
            *end != (i < 2 ? ',' : '\0')) {
            csi_option_refuse(line, target, "three %snumbers with commas are needed, not '%s'",
                              positive ? "positive " : "", *target);
            return false;
        }
        text = end + 1;
    }
    return true;
}

static bool parse_cpu_mask(const struct csi_command_line *line, const char *const *target)
{
    uint32_t allowed;
    struct cs_error error;

    if (csi_cpu_allowed(*target, &allowed, &error) == CS_OK)
        return true;
    csi_option_refuse(line, target, "%s", error.message);
    return false;
}

/* Resolves names and numbers; false: a word was wrong and has been reported. */
static bool resolve(const struct csi_command_line *line, const struct csi_shared *shared,
                    struct cs_diagnoser_options *options)
{
    *options = cs_diagnoser_options_defaults();
    options->on_warning = csi_report_warning;
    options->model.path = shared->model != NULL ? csi_model_named(shared->model) : NULL;
    options->model.classes_path = shared->classes;
    options->model.cpu_mask = shared->cpu_mask;
    options->model.target_layer = shared->target_layer;
    options->model.threads = (unsigned)shared->threads;
    options->model.compact = shared->compact;
    options->model.preprocess.resize = (uint32_t)shared->resize;
    options->model.preprocess.crop = (uint32_t)(shared->crop != 0 ? shared->crop : shared->input_size);
    options->limits.max_bytes = shared->max_bytes;
    options->limits.max_pixels = shared->max_pixels;
    options->limits.max_side = (uint32_t)shared->max_side;
    options->limits.max_jpeg_scans = (uint32_t)shared->max_scans;
    options->max_size = (uint32_t)shared->max_size;
    if (shared->crop != 0 && shared->input_size != 0 && shared->crop != shared->input_size) {
        fprintf(stderr, "cropshield: --crop %zu and --input-size %zu name the same side\n", shared->crop,
                shared->input_size);
        return false;
    }
    if (strcmp(shared->decode, "exact") == 0)
        options->decode = CS_DECODE_EXACT;
    else if (strcmp(shared->decode, "fast") == 0)
        options->decode = CS_DECODE_FAST;
    else
        return wrong_word(line, &shared->decode, "exact, fast");
    if (shared->mean != NULL) {
        options->model.preprocess.has_mean = true;
        if (!parse_triple(line, &shared->mean, false, options->model.preprocess.mean))
            return false;
    }
    if (shared->std_dev != NULL) {
        options->model.preprocess.has_std = true;
        if (!parse_triple(line, &shared->std_dev, true, options->model.preprocess.std_dev))
            return false;
    }
    return parse_device(line, &shared->device, &options->model) &&
           parse_precision(line, &shared->precision, &options->model.precision) &&
           parse_cpu_mask(line, &shared->cpu_mask);
}

int csi_command_begin(const struct csi_command_line *line, const struct csi_shared *shared, int argc,
                      char **argv, size_t *count, struct cs_diagnoser_options *options)
{
    switch (csi_options_parse(line, argc, argv, count)) {
    case CSI_PARSE_HELP: return CSI_EXIT_OK;
    case CSI_PARSE_WRONG: return CSI_EXIT_USAGE;
    case CSI_PARSE_OK: break;
    }
    return resolve(line, shared, options) ? CSI_GOES_ON : CSI_EXIT_USAGE;
}

bool csi_model_argument(const struct csi_command_line *line, const struct csi_shared *shared, char **argv,
                        size_t count, const char **model)
{
    bool named = shared->model != NULL && !csi_option_is_twins(line, &shared->model);

    if (count > 0 && named) {
        fprintf(stderr, "cropshield: two models: '%s' and --model '%s'\n", argv[0], shared->model);
        return false;
    }
    *model = count > 0 ? argv[0] : shared->model;
    if (*model == NULL)
        fprintf(stderr, "cropshield: missing: MODEL\nTry 'cropshield %s --help'.\n", line->command);
    return *model != NULL;
}

static bool has_ending(const char *name, const char *ending)
{
    size_t length = strlen(name), size = strlen(ending);

    return length >= size && strcasecmp(name + length - size, ending) == 0;
}

bool csi_native_output(const struct csi_command_line *line, const char *const *output, bool exactly)
{
    static const char *const foreign[] = {".onnx", ".pth", ".pt"};

    if (strcmp(*output, "-") == 0) {
        csi_option_refuse(line, output, "a model is written to a file, not to standard output");
        return false;
    }
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (has_ending(*output, foreign[i])) {
            csi_option_refuse(line, output, "'%s': %s writes .safetensors, not %s", *output, line->command,
                              foreign[i]);
            return false;
        }
    if (exactly && !has_ending(*output, ".safetensors")) {
        csi_option_refuse(line, output, "'%s': %s writes .safetensors: the name has to end so", *output,
                          line->command);
        return false;
    }
    return true;
}

void csi_stay_on_cpu(struct cs_model_options *options)
{
    if (options->device == CS_DEVICE_AUTO && options->precision != CS_PRECISION_FP16 &&
        options->precision != CS_PRECISION_BF16)
        options->device = CS_DEVICE_CPU;
}

void csi_make_room_for_heatmap(struct cs_diagnoser_options *options)
{
    uint64_t side = options->max_size, pixels = side * side;
    size_t needed;

    if (pixels > options->limits.max_pixels)
        pixels = options->limits.max_pixels;         /* photos are never enlarged */
    needed = (size_t)pixels * 7 + ((size_t)1 << 20); /* twice 3 bytes a pixel, and what containers add */
    if (options->gradcam_cache_bytes < needed)
        options->gradcam_cache_bytes = needed;
}

const char *csi_model_named(const char *argument)
{
    return strcmp(argument, "embedded") == 0 ? NULL : argument;
}

void csi_put_name(FILE *stream, const char *name)
{
    for (; *name != '\0'; name++) {
        if (csi_utf8_is_control(name)) {
            name += csi_utf8_length(name) - 1;
            fprintf(stream, "\\x%02x", (unsigned)(unsigned char)*name);
        } else {
            putc(*name, stream);
        }
    }
}

void csi_report(const char *what, const struct cs_error *error)
{
    fprintf(stderr, "%scropshield:%s ", csi_colour_err(CSI_RED), csi_colour_err(CSI_PLAIN));
    if (what != NULL) {
        csi_put_name(stderr, what);
        fputs(": ", stderr);
    }
    fprintf(stderr, "%s: ", cs_status_name(error->status));
    csi_put_name(stderr, error->message);
    fputc('\n', stderr);
}

void csi_report_warning(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "%scropshield: warning:%s ", csi_colour_err(CSI_YELLOW), csi_colour_err(CSI_PLAIN));
    csi_put_name(stderr, message);
    fputc('\n', stderr);
}

static const char *colour(enum csi_colour which, int descriptor)
{
    static const char *const sequences[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                            "\033[32m", "\033[33m", "\033[31m"};
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: set and not empty */

    if ((no_color != NULL && *no_color != '\0') || !isatty(descriptor))
        return "";
    return sequences[which];
}

const char *csi_colour_out(enum csi_colour which)
{
    return colour(which, STDOUT_FILENO);
}

const char *csi_colour_err(enum csi_colour which)
{
    return colour(which, STDERR_FILENO);
}

enum csi_colour csi_colour_of_ms(double ms)
{
    return ms < 200 ? CSI_GREEN : ms < 500 ? CSI_YELLOW : CSI_RED;
}

void csi_progress_begin(struct csi_progress *progress, const char *title, size_t total)
{
    progress->title = title;
    progress->total = total;
    progress->started_ns = csi_now_ns();
    progress->drawn_ns = 0;
    progress->active = isatty(STDERR_FILENO) == 1 && total > 1;
}

void csi_progress_update(struct csi_progress *progress, size_t done)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    unsigned long long now = csi_now_ns();
    double seconds = (double)(now - progress->started_ns) / 1e9;
    size_t filled;

    if (!progress->active || (done < progress->total && now - progress->drawn_ns < 100000000u))
        return;
    progress->drawn_ns = now;
    filled = progress->total > 0 ? done * WIDTH / progress->total : WIDTH;
    memset(bar, '.', WIDTH);
    memset(bar, '#', filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %zu/%zu", progress->title, bar, done, progress->total);
    if (done > 0 && seconds > 0)
        fprintf(stderr, " %.1f/s, %.0f s left", (double)done / seconds,
                (double)(progress->total - done) * seconds / (double)done);
    fflush(stderr);
}

void csi_progress_clear(struct csi_progress *progress)
{
    if (progress->active)
        fprintf(stderr, "\r\033[K");
}

void csi_progress_end(struct csi_progress *progress)
{
    csi_progress_clear(progress);
    progress->active = false;
}
