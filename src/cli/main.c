/* The program's entry: finds the command, prints help and version. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "server/server.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"predict", "diagnose photos (files or directories)", csi_command_predict},
    {"explain", "write a heat map over a photo: what the network looked at", csi_command_explain},
    {"serve", "web app, REST API and metrics", csi_command_serve},
    {"bench", "measure latency, stages and layers", csi_command_bench},
    {"eval", "accuracy and calibration on a labelled directory", csi_command_eval},
    {"quantize", "check the fast precision on photos and let a model vouch for it", csi_command_quantize},
    {"convert", "turn any readable model into the native file", csi_command_convert},
    {"inspect", "say what a model file holds", csi_command_inspect},
    {"doctor", "check CPU, libraries, model and caches", csi_command_doctor},
};

static void help(FILE *stream)
{
    fprintf(stream,
            "usage: cropshield COMMAND [options]\n\n"
            "Diagnoses crop diseases from leaf photos: potato, tomato, wheat, sugarcane.\n\ncommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream, "\n  cropshield COMMAND --help   options of a command\n"
                    "  cropshield --version        version, compiler, libraries, kernels\n");
}

static int version(void)
{
    struct cs_build_info build = cs_build_info();
    uint32_t allowed;
    struct cs_error error;
    const char *mask = getenv("CROPSHIELD_CPU_MASK"); /* as every command has it; "" for all */

    if (csi_cpu_allowed(mask, &allowed, &error) != CS_OK) {
        fprintf(stderr, "cropshield: CROPSHIELD_CPU_MASK: %s\n", error.message);
        return CSI_EXIT_USAGE;
    }
    printf("cropshield %s (%s)\ncompiler: %s\nlibraries: %s, libmicrohttpd %s\nkernels: %s (%s)\n",
           build.version, build.git_hash, build.compiler, build.libraries, csi_server_library_version(),
           csi_cpu_kernels(allowed), csi_cpu()->brand);
    return CSI_EXIT_OK;
}

/* A standard stream that was closed would be whatever file or socket is opened next, and messages would be
 * written there. In its place stands /dev/null, opened so that using the stream still fails. */
static void hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return;
}

/* Whether stdout is a pipe that nobody reads any more. */
static bool reader_has_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/* Results go to stdout: a full disk or closed pipe there must not end in success. A reader that has seen
 * enough
 * ("| head") needs no message. */
static int finish(int status)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        /* An earlier write may have failed, whose errno is gone. */
        if (errno != EPIPE && !reader_has_gone() && status == CSI_EXIT_OK)
            fprintf(stderr, "cropshield: cannot write the results%s%s\n", errno != 0 ? ": " : "",
                    errno != 0 ? strerror(errno) : "");
        return CSI_EXIT_FAILED;
    }
    return status;
}

int main(int argc, char **argv)
{
    static char help_flag[] = "--help";

    hold_standard_streams();
    csi_memory_keep_warm();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error to report, as a full disk is */
    if (argc < 2) {
        help(stderr);
        return CSI_EXIT_USAGE;
    }
    if (argc == 3 && strcmp(argv[1], "help") == 0) { /* as COMMAND --help */
        argv[1] = argv[2];
        argv[2] = help_flag;
    }
    if (argc > 3 && strcmp(argv[1], "help") == 0) {
        fprintf(stderr, "cropshield: one argument too many: %s\nTry 'cropshield --help'.\n", argv[3]);
        return CSI_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return finish(CSI_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return finish(version());
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return finish(commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "cropshield: unknown command '%s'\nTry 'cropshield --help'.\n", argv[1]);
    return CSI_EXIT_USAGE;
}
