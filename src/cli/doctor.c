/* cropshield doctor: one line a finding, ok, warn or fail. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/cli.h"
#include "server/server.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

static int worst;

static void report(enum finding finding, const char *what, const char *format, ...) CSI_PRINTF(3, 4);

static void report(enum finding finding, const char *what, const char *format, ...)
{
    static const char *const words[] = {"ok", "warn", "fail"};
    static const enum csi_colour colours[] = {CSI_GREEN, CSI_YELLOW, CSI_RED};
    va_list arguments;

    printf("%s%-4s%s  %-10s ", csi_colour_out(colours[finding]), words[finding], csi_colour_out(CSI_PLAIN),
           what);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    if ((int)finding > worst)
        worst = (int)finding;
}

static void check_machine(const char *mask)
{
    struct cs_machine_info machine;
    struct cs_error error;

    if (cs_machine_info(mask, &machine, &error) != CS_OK) {
        report(FINDING_FAIL, "cpu", "%s", error.message);
        return;
    }
    report(FINDING_OK, "cpu", "%s", machine.cpu);
    report(strcmp(machine.kernels, "generic") == 0 ? FINDING_WARN : FINDING_OK, "kernels", "%s of: %s",
           machine.kernels, machine.features);
    report(FINDING_OK, "threads", "%u physical cores, %u logical CPUs allowed to this process",
           machine.physical_cores, machine.logical_cpus);
    report(machine.memory_bytes < ((uint64_t)512 << 20) ? FINDING_WARN : FINDING_OK, "memory", "%.1f GiB",
           (double)machine.memory_bytes / (1 << 30));
}

/* A build without the plug-in is as it should be; a plug-in that finds no GPU was made for one. */
static void check_gpu(const struct cs_model_options *options)
{
    struct cs_gpu_info gpu;
    struct cs_error error;
    enum cs_status status = cs_gpu_info(options->device_index, &gpu, &error);

    if (status == CS_OK)
        report(FINDING_OK, "gpu", "%s, %.1f GiB, %s kernels", gpu.name, (double)gpu.memory_bytes / (1 << 30),
               gpu.kernels);
    else
        report(status == CS_NOT_FOUND ? FINDING_OK : FINDING_WARN, "gpu",
               "none usable, everything runs on the CPU: %s", error.message);
}

static void check_model(const struct cs_diagnoser_options *options)
{
    cs_model *model = NULL;
    struct cs_error error;

    if (cs_model_load(&options->model, &model, &error) != CS_OK) {
        report(FINDING_FAIL, "model", "%s: %s", cs_status_name(error.status), error.message);
        return;
    }
    struct cs_model_info info = cs_model_info(model);
    cs_session *session = NULL;
    float *input = calloc((size_t)3 * info.input_size * info.input_size, sizeof *input);

    report(FINDING_OK, "model", "%s (%s), %zu classes, loaded in %.0f ms", info.name, info.path,
           info.class_count, info.load_ms);
    report(info.has_leaf_gate ? FINDING_OK : FINDING_WARN, "leaf gate", "%s",
           info.has_leaf_gate ? "the model can say 'not a leaf'"
                              : "the model has no parameters for 'not a leaf'");
    if (input == NULL || cs_session_create(model, &session, &error) != CS_OK ||
        cs_session_forward(session, input, 1, &error) != CS_OK)
        report(FINDING_FAIL, "inference", "%s", input == NULL ? "out of memory" : error.message);
    else
        report(FINDING_OK, "inference", "a forward pass runs (%s, %s, %s)", cs_device_name(info.device),
               cs_precision_name(info.precision), info.kernels);
    cs_session_destroy(session);
    cs_model_destroy(model);
    free(input);
}

/* As serve would find it. */
static void check_cache(const char *path)
{
    bool damaged;
    struct cs_error error;

    if (path == NULL)
        report(FINDING_OK, "cache", "memory only");
    else if (cs_cache_file_check(path, &damaged, &error) != CS_OK)
        report(FINDING_FAIL, "cache", "%s: not used: %s", path, error.message);
    else if (damaged)
        report(FINDING_WARN, "cache", "%s: damaged: it would be set aside and a new one begun", path);
    else
        report(FINDING_OK, "cache", "%s%s", path, access(path, F_OK) == 0 ? "" : " (would be made)");
}

int csi_command_doctor(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_option table[CSI_SHARED_OPTIONS];
    const char *cache_path = NULL;
    const struct csi_option own[] = {
        {"cache-file", 0, CSI_OPT_STRING, "FILE", "the cache file that serve would use", &cache_path, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {"doctor",
                                          "[options]",
                                          "Checks CPU, GPU, libraries, model and caches.",
                                          own,
                                          csi_shared_table(&shared, table),
                                          0,
                                          0};
    struct cs_diagnoser_options options;
    struct cs_build_info build = cs_build_info();
    size_t count;

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    worst = FINDING_OK;
    report(FINDING_OK, "version", "%s (%s), %s", build.version, build.git_hash, build.compiler);
    report(FINDING_OK, "libraries", "%s, libmicrohttpd %s", build.libraries, csi_server_library_version());
    check_machine(shared.cpu_mask);
    check_gpu(&options.model);
    check_model(&options);
    check_cache(cache_path);
    return worst == FINDING_FAIL ? CSI_EXIT_FAILED : CSI_EXIT_OK;
}
