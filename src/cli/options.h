/*
 * Command-line options: one table a command, parsed from arguments and from the environment (every `--name`
 * has the twin CROPSHIELD_NAME). Owns syntax, help and ranges; what an option means is the command's.
 */
#ifndef CSI_CLI_OPTIONS_H
#define CSI_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum csi_option_type {
    CSI_OPT_FLAG,   /* bool */
    CSI_OPT_STRING, /* const char * */
    CSI_OPT_SIZE,   /* size_t: a whole number */
    CSI_OPT_BYTES,  /* size_t: a number with an optional K, M or G (powers of 1024) */
    CSI_OPT_NUMBER  /* double */
};

struct csi_option {
    const char *name; /* without the dashes */
    char letter;      /* short form, 0 for none */
    enum csi_option_type type;
    const char *argument; /* shown in the help: "PATH"; NULL for flags */
    const char *help;
    void *target;
    double low, high; /* range of numbers, when low < high */
};

struct csi_command_line {
    const char *command;             /* "predict" */
    const char *usage;               /* "[options] PATH…" */
    const char *summary;             /* one sentence */
    const struct csi_option *own;    /* ends with a NULL name */
    const struct csi_option *shared; /* ends with a NULL name; NULL for none */
    size_t least, most;              /* positional arguments; most 0: any number */
};

/* What happened. */
enum csi_parse_result {
    CSI_PARSE_OK,
    CSI_PARSE_HELP /* printed, exit 0 */,
    CSI_PARSE_WRONG /* reported, exit 2 */
};

/* Fills targets from argv[1…], and those that are not named there from the environment. Positional arguments
 * are moved to the front of `argv`: argv[0…count-1]. */
enum csi_parse_result csi_options_parse(const struct csi_command_line *line, int argc, char **argv,
                                        size_t *count);

/* Whether the word at `target`, an option's, came from the environment. */
bool csi_option_is_twins(const struct csi_command_line *line, const void *target);
/* Reports a word that an option does not take, by the name that brought it: "cropshield: --decode: …" or
 * "cropshield: CROPSHIELD_DECODE: …". */
void csi_option_refuse(const struct csi_command_line *line, const void *target, const char *format, ...)
    CSI_PRINTF(3, 4);

/* The table as help text on stdout. */
void csi_options_help(const struct csi_command_line *line);

#endif
