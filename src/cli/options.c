/* Command-line options: see options.h. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "max-size" -> "CROPSHIELD_MAX_SIZE" */
static void environment_name(const char *name, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "CROPSHIELD_");

    for (; *name != '\0' && used + 1 < size; name++)
        out[used++] = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
    out[used] = '\0';
}

static bool truthy(const char *text)
{
    return strcmp(text, "") != 0 && strcmp(text, "0") != 0 && strcmp(text, "no") != 0 &&
           strcmp(text, "false") != 0;
}

/* `source` is what the user wrote: "--port" or "CROPSHIELD_PORT". */
static bool set_number(const struct csi_option *option, const char *source, const char *text)
{
    char *end = NULL;
    double value, scale = 1;

    errno = 0;
    value = strtod(text, &end);
    if (option->type == CSI_OPT_BYTES && end != text && *end != '\0') {
        const char *units = "KMG", *unit = strchr(units, toupper((unsigned char)*end));

        if (unit != NULL && end[1] == '\0') {
            scale = ldexp(1.0, 10 * (int)(unit - units + 1));
            end++;
        }
    }
    if (end == text || *end != '\0' || errno != 0 || !isfinite(value)) {
        fprintf(stderr, "cropshield: %s: '%s' is not a number\n", source, text);
        return false;
    }
    value *= scale;
    if (option->type != CSI_OPT_NUMBER && (value < 0 || value != floor(value) || value > 9e15)) {
        fprintf(stderr, "cropshield: %s: '%s' is not a whole number\n", source, text);
        return false;
    }
    if (option->low < option->high && (value < option->low || value > option->high)) {
        fprintf(stderr, "cropshield: %s: %s is out of range, %g to %g\n", source, text, option->low,
                option->high);
        return false;
    }
    if (option->type == CSI_OPT_NUMBER)
        *(double *)option->target = value;
    else
        *(size_t *)option->target = (size_t)value;
    return true;
}

static bool set_value(const struct csi_option *option, const char *source, const char *text)
{
    switch (option->type) {
    case CSI_OPT_FLAG: *(bool *)option->target = truthy(text); return true;
    case CSI_OPT_STRING: *(const char **)option->target = text; return true;
    default: return set_number(option, source, text);
    }
}

static bool from_environment(const struct csi_option *options)
{
    char name[64];

    for (; options != NULL && options->name != NULL; options++) {
        const char *text;

        environment_name(options->name, name, sizeof name);
        text = getenv(name);
        if (text != NULL && *text != '\0' && !set_value(options, name, text))
            return false;
    }
    return true;
}

/* By long name (`length` characters) or by letter. */
static const struct csi_option *find_in(const struct csi_option *options, const char *name, size_t length,
                                        char letter)
{
    for (; options != NULL && options->name != NULL; options++)
        if (letter != 0 ? options->letter == letter
                        : strlen(options->name) == length && strncmp(options->name, name, length) == 0)
            return options;
    return NULL;
}

static const struct csi_option *find(const struct csi_command_line *line, const char *name, size_t length,
                                     char letter)
{
    const struct csi_option *option = find_in(line->own, name, length, letter);

    return option != NULL ? option : find_in(line->shared, name, length, letter);
}

static enum csi_parse_result wrong(const struct csi_command_line *line, const char *message, const char *what)
{
    fprintf(stderr, "cropshield: %s%s\nTry 'cropshield %s --help'.\n", message, what, line->command);
    return CSI_PARSE_WRONG;
}

/* One argument that starts with a dash; *index moves over a value that stands apart. */
static enum csi_parse_result parse_option(const struct csi_command_line *line, int argc, char **argv,
                                          int *index)
{
    const char *text = argv[*index], *value = NULL;
    const struct csi_option *option;
    bool is_long = text[1] == '-';

    if (is_long) {
        size_t length = strcspn(text + 2, "=");

        option = find(line, text + 2, length, 0);
        if (text[2 + length] == '=')
            value = text + 2 + length + 1;
    } else {
        option = find(line, NULL, 0, text[1]);
        if (text[2] != '\0')
            value = text + 2;
    }
    if (option == NULL)
        return wrong(line, "unknown option ", text);
    if (option->type == CSI_OPT_FLAG) {
        if (value != NULL && !is_long)
            return wrong(line, "unknown option ", text);
        return set_value(option, text, value != NULL ? value : "1") ? CSI_PARSE_OK : CSI_PARSE_WRONG;
    }
    if (value == NULL) {
        if (*index + 1 >= argc)
            return wrong(line, "missing value after ", text);
        value = argv[++*index];
    }
    return set_value(option, text, value) ? CSI_PARSE_OK : CSI_PARSE_WRONG;
}

enum csi_parse_result csi_options_parse(const struct csi_command_line *line, int argc, char **argv,
                                        size_t *count)
{
    size_t found = 0;
    bool only_paths = false;

    *count = 0;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            csi_options_help(line);
            return CSI_PARSE_HELP;
        }
    if (!from_environment(line->own) || !from_environment(line->shared))
        return CSI_PARSE_WRONG;
    for (int i = 1; i < argc; i++) {
        if (!only_paths && strcmp(argv[i], "--") == 0) {
            only_paths = true;
        } else if (!only_paths && argv[i][0] == '-' && argv[i][1] != '\0') {
            enum csi_parse_result result = parse_option(line, argc, argv, &i);

            if (result != CSI_PARSE_OK)
                return result;
        } else {
            argv[found++] = argv[i];
        }
    }
    if (found < line->least)
        return wrong(line, "missing: ", line->usage + (strncmp(line->usage, "[options] ", 10) == 0 ? 10 : 0));
    if (line->most != 0 && found > line->most)
        return wrong(line, "one argument too many: ", argv[line->most]);
    if (line->most == 0 && line->least == 0 && found > 0)
        return wrong(line, "this command takes no argument: ", argv[0]);
    *count = found;
    return CSI_PARSE_OK;
}

static void help_table(const struct csi_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char left[64];
        char letter[5] = "    ";

        if (options->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, options->name, options->argument != NULL ? " " : "",
                 options->argument != NULL ? options->argument : "");
        printf("  %-34s %s\n", left, options->help);
    }
}

void csi_options_help(const struct csi_command_line *line)
{
    printf("usage: cropshield %s %s\n\n%s\n\noptions:\n", line->command, line->usage, line->summary);
    help_table(line->own);
    printf("  %-34s %s\n", "-h, --help", "show this help");
    if (line->shared != NULL) {
        printf("\nmodel, device and image options:\n");
        help_table(line->shared);
    }
    printf("\nEvery option has an environment twin: --max-size is CROPSHIELD_MAX_SIZE.\n");
}
