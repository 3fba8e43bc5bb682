/* Command-line options: see options.h. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "max-size" -> "CROPSHIELD_MAX_SIZE" */
static void environment_name(const char *name, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "CROPSHIELD_");

    for (; *name != '\0' && used + 1 < size; name++)
        out[used++] = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
    out[used] = '\0';
}

static bool set_flag(const struct csi_option *option, const char *source, const char *text)
{
    static const char *const words[] = {"0", "no", "false", "off", "1", "yes", "true", "on"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *(bool *)option->target = i >= 4;
            return true;
        }
    fprintf(stderr, "cropshield: %s: '%s' is none of 1, yes, true, on, 0, no, false, off\n", source, text);
    return false;
}

/* "1" or "0.1": whole numbers without an exponent. */
static const char *in_words(double number, char *text, size_t size)
{
    snprintf(text, size, number == floor(number) ? "%.0f" : "%g", number);
    return text;
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
        char low[32], high[32];

        fprintf(stderr, "cropshield: %s: %s is out of range, %s to %s\n", source, text,
                in_words(option->low, low, sizeof low), in_words(option->high, high, sizeof high));
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
    case CSI_OPT_FLAG: return set_flag(option, source, text);
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

/* `option` with the value that was written to it, or (NULL) the next argument, over which *index moves. */
static enum csi_parse_result take(const struct csi_command_line *line, const struct csi_option *option,
                                  const char *value, int argc, char **argv, int *index)
{
    const char *source = argv[*index];

    if (value == NULL && option->type == CSI_OPT_FLAG)
        value = "1";
    if (value == NULL) {
        if (*index + 1 >= argc)
            return wrong(line, "missing value after ", source);
        value = argv[++*index];
    }
    return set_value(option, source, value) ? CSI_PARSE_OK : CSI_PARSE_WRONG;
}

/* One argument that starts with a dash: --name, --name=value, --name value, -n value, -nvalue, and flags in
 * a row, -jq. */
static enum csi_parse_result parse_option(const struct csi_command_line *line, int argc, char **argv,
                                          int *index)
{
    const char *text = argv[*index];
    const struct csi_option *option;

    if (text[1] == '-') {
        size_t length = strcspn(text + 2, "=");

        option = find(line, text + 2, length, 0);
        if (option == NULL)
            return wrong(line, "unknown option ", text);
        return take(line, option, text[2 + length] == '=' ? text + 3 + length : NULL, argc, argv, index);
    }
    for (const char *letter = text + 1; *letter != '\0'; letter++) {
        option = find(line, NULL, 0, *letter);
        if (option == NULL)
            return wrong(line, "unknown option ", text);
        if (option->type != CSI_OPT_FLAG)
            return take(line, option, letter[1] != '\0' ? letter + 1 : NULL, argc, argv, index);
        *(bool *)option->target = true;
    }
    return CSI_PARSE_OK;
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
