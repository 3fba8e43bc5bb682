/*
 * What the commands share: settings that lead to a diagnoser, messages, colour, progress, lists of photos.
 * Stands on the public header and base alone, as any other program could.
 */
#ifndef CSI_CLI_CLI_H
#define CSI_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cropshield/cropshield.h>

#include "cli/options.h"

enum { CSI_EXIT_OK = 0, CSI_EXIT_FAILED = 1, CSI_EXIT_USAGE = 2, CSI_GOES_ON = -1 };

/* One command a file. `argv[0]` is the command's name. Each returns the exit status. */
int csi_command_predict(int argc, char **argv);
int csi_command_explain(int argc, char **argv);
int csi_command_serve(int argc, char **argv);
int csi_command_bench(int argc, char **argv);
int csi_command_eval(int argc, char **argv);
int csi_command_quantize(int argc, char **argv);
int csi_command_convert(int argc, char **argv);
int csi_command_inspect(int argc, char **argv);
int csi_command_doctor(int argc, char **argv);

/* The options of CONTRACT's "shared by predict, explain, serve, bench, eval", as text until they are
 * resolved. */
struct csi_shared {
    const char *model, *device, *precision, *cpu_mask, *decode, *classes, *target_layer;
    size_t threads, max_size, max_bytes, max_pixels, max_side, max_scans;
    size_t resize, crop, input_size;
    bool compact;
    const char *mean, *std_dev;
};
struct csi_shared csi_shared_defaults(void);

/* The shared table for `shared`; the caller's array has room for CSI_SHARED_OPTIONS entries. */
#define CSI_SHARED_OPTIONS 22
const struct csi_option *csi_shared_table(struct csi_shared *shared, struct csi_option *table);

/* How every command begins: parses the line and resolves the shared options. CSI_GOES_ON, or the exit status
 * when help was shown or something was wrong and has been reported. */
int csi_command_begin(const struct csi_command_line *line, const struct csi_shared *shared, int argc,
                      char **argv, size_t *count, struct cs_diagnoser_options *options);
/* Leaves `--device auto` to the CPU: for work that takes less time than opening a GPU. Not for precisions
 * that only a GPU has. */
void csi_stay_on_cpu(struct cs_model_options *options);
/* Raises the bound of the heat-map cache so that the largest photo that the options allow fits: its display
 * image and the picture made of it. */
void csi_make_room_for_heatmap(struct cs_diagnoser_options *options);
/* The model that a command is about: its argument, else --model or its twin. False: there is none, or both
 * are written, which has been reported. */
bool csi_model_argument(const struct csi_command_line *line, const struct csi_shared *shared, char **argv,
                        size_t count, const char **model);
/* Whether `*output` may be the name of a native model file: neither "-" nor the ending of another format;
 * `exactly`: only .safetensors. False: reported. */
bool csi_native_output(const struct csi_command_line *line, const char *const *output, bool exactly);
/* A MODEL argument as model path: "embedded" is the built-in one, NULL. */
const char *csi_model_named(const char *argument);

/* A file's name, or a text with one in it, as it is but for control characters, which a terminal would obey:
 * "\\x1b". */
void csi_put_name(FILE *stream, const char *name);
/* "cropshield: what: code: message" on stderr. `what` may be NULL. */
void csi_report(const char *what, const struct cs_error *error);
/* A warning callback for cs_diagnoser_options. */
void csi_report_warning(void *context, const char *message);

/* Escape sequences when `stream` is a terminal and NO_COLOR is not set, else "". */
enum csi_colour { CSI_PLAIN, CSI_BOLD, CSI_DIM, CSI_GREEN, CSI_YELLOW, CSI_RED };
const char *csi_colour_out(enum csi_colour colour); /* for stdout */
const char *csi_colour_err(enum csi_colour colour); /* for stderr */
/* Green under 200 ms, yellow under 500, else red. */
enum csi_colour csi_colour_of_ms(double ms);

/* A progress bar on stderr, on terminals only, drawn at most ten times a second. */
struct csi_progress {
    const char *title;
    size_t total;
    unsigned long long started_ns, drawn_ns;
    bool active;
};
void csi_progress_begin(struct csi_progress *progress, const char *title, size_t total);
void csi_progress_update(struct csi_progress *progress, size_t done);
/* Takes the bar out of the way of what is printed; updates draw it again. */
void csi_progress_clear(struct csi_progress *progress);
void csi_progress_end(struct csi_progress *progress);

/* Photos named on the command line: files as they are, "-" for standard input, directories walked (regular
 * files by name: .jpg .jpeg .jpe .jfif .png .webp; links are followed, each directory is entered once),
 * sorted. Begins zeroed but for on_failure. */
struct csi_paths {
    char **items;
    size_t count, capacity;
    size_t
        others; /* pictures in directories of kinds that are not read, by their names: told in one warning */
    size_t failed; /* directories without photos, and those that cannot be read: reported, the rest goes on */
    void (*on_failure)(const char *path, const struct cs_error *error); /* told before the report; or NULL */
};
/* False: out of memory, which has been reported. */
bool csi_paths_collect(struct csi_paths *paths, char **arguments, size_t count);
/* The photos of one directory. False: there are none, or the reason has been reported. */
bool csi_paths_in_folder(struct csi_paths *paths, char *folder);
void csi_paths_free(struct csi_paths *paths);

/* A photo's bytes, malloc'ed; "-": standard input; a pipe or character device is read to its end as that is.
 * Fails as csi_file_read. */
enum cs_status csi_photo_read(const char *path, size_t limit, uint8_t **bytes, size_t *size,
                              struct cs_error *error);

/* A stream over files: context of cs_stream.load/unload. `done` and its context are the command's. */
struct csi_file_stream {
    const struct csi_paths *paths;
    size_t max_bytes;
};
enum cs_status csi_stream_load(void *context, size_t index, const void **bytes, size_t *size,
                               const char **name, struct cs_error *error);
void csi_stream_unload(void *context, size_t index, const void *bytes, size_t size);

#endif
