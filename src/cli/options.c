/* Command-line options: see options.h. */
#include "cli/options.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENVIRONMENT_NAME 64

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

#define MOST_WHOLE 9e15 /* up to here doubles hold every whole number */

/* "1" or "0.1": whole numbers without an exponent. */
static const char *in_words(double number, char *text, size_t size)
{
    snprintf(text, size, number == floor(number) ? "%.0f" : "%g", number);
    return text;
}

/* The number in `text`, in bytes where a unit says so; false: it is none. */
static bool read_number(const struct csi_option *option, const char *text, double *value)
{
    char *end = NULL;

    *value = strtod(text, &end);
    if (option->type == CSI_OPT_BYTES && end != text && *end != '\0') {
        const char *units = "KMG", *unit = strchr(units, toupper((unsigned char)*end));

        if (unit != NULL && end[1] == '\0') {
            *value = ldexp(*value, 10 * (int)(unit - units + 1));
            end++;
        }
    }
    return end != text && *end == '\0' && !isnan(*value);
}

/* `source` is what the user wrote: "--port" or "CROPSHIELD_PORT". */
static bool set_number(const struct csi_option *option, const char *source, const char *text)
{
    bool whole = option->type != CSI_OPT_NUMBER, bounded = option->low < option->high;
    double value, low = bounded ? option->low : whole ? 0 : -DBL_MAX;
    double high = bounded ? option->high : whole ? MOST_WHOLE : DBL_MAX;

    if (!read_number(option, text, &value)) {
        fprintf(stderr, "cropshield: %s: '%s' is not a number%s\n", source, text,
                option->type == CSI_OPT_BYTES ? " of bytes; units are K, M and G" : "");
        return false;
    }
    if (whole && isfinite(value) && value != floor(value)) {
        fprintf(stderr, "cropshield: %s: '%s' is not a whole number\n", source, text);
        return false;
    }
    if (value < low || value > high) {
        char least[32], most[32];

        fprintf(stderr, "cropshield: %s: %s is out of range, %s to %s\n", source, text,
                in_words(low, least, sizeof least), in_words(high, most, sizeof most));
        return false;
    }
    if (whole)
        *(size_t *)option->target = (size_t)value;
    else
        *(double *)option->target = value;
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

/* An argument list on its way through the tables. */
struct parse {
    const struct csi_command_line *line;
    int argc, index; /* of the argument that is looked at */
    char **argv;
    const struct csi_option *given[64]; /* on the command line; more than a command has */
    size_t given_count;
};

static bool was_given(const struct parse *parse, const struct csi_option *option)
{
    for (size_t i = 0; i < parse->given_count; i++)
        if (parse->given[i] == option)
            return true;
    return false;
}

static void note_given(struct parse *parse, const struct csi_option *option)
{
    if (!was_given(parse, option) && parse->given_count < sizeof parse->given / sizeof parse->given[0])
        parse->given[parse->given_count++] = option;
}

/* Kubernetes tells a container of every Service of its namespace in such variables: of one that is called
 * "cropshield", CROPSHIELD_PORT=tcp://10.96.0.17:8501. Such a value is not for us, and no number either. */
static bool is_of_a_service(const char *name, const char *text)
{
    if (strcmp(name, "CROPSHIELD_PORT") != 0 || strncmp(text, "tcp://", 6) != 0)
        return false;
    fputs(
        "cropshield: warning: CROPSHIELD_PORT is ignored: Kubernetes sets it for a Service named cropshield "
        "(enableServiceLinks: false in the pod avoids that)\n",
        stderr);
    return true;
}

/* What the command line does not say. */
static bool from_environment(const struct parse *parse, const struct csi_option *options)
{
    char name[ENVIRONMENT_NAME];

    for (; options != NULL && options->name != NULL; options++) {
        const char *text;

        if (was_given(parse, options))
            continue;
        environment_name(options->name, name, sizeof name);
        text = getenv(name);
        if (text == NULL || *text == '\0' || is_of_a_service(name, text))
            continue;
        if (!set_value(options, name, text))
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

/* `option` with the value that was written to it, or (NULL) the next argument, over which the index moves. */
static enum csi_parse_result take(struct parse *parse, const struct csi_option *option, const char *value)
{
    const char *source = parse->argv[parse->index];

    note_given(parse, option);
    if (value == NULL && option->type == CSI_OPT_FLAG)
        value = "1";
    if (value == NULL) {
        if (parse->index + 1 >= parse->argc)
            return wrong(parse->line, "missing value after ", source);
        value = parse->argv[++parse->index];
    }
    return set_value(option, source, value) ? CSI_PARSE_OK : CSI_PARSE_WRONG;
}

static enum csi_parse_result show_help(const struct csi_command_line *line)
{
    csi_options_help(line);
    return CSI_PARSE_HELP;
}

/* One argument that starts with a dash: --name, --name=value, --name value, -n value, -nvalue, and flags in
 * a row, -jq. */
static enum csi_parse_result parse_option(struct parse *parse)
{
    const char *text = parse->argv[parse->index];
    const struct csi_option *option;

    if (text[1] == '-') {
        size_t length = strcspn(text + 2, "=");

        option = find(parse->line, text + 2, length, 0);
        if (option == NULL)
            return wrong(parse->line, "unknown option ", text);
        return take(parse, option, text[2 + length] == '=' ? text + 3 + length : NULL);
    }
    for (const char *letter = text + 1; *letter != '\0'; letter++) {
        option = find(parse->line, NULL, 0, *letter);
        if (option == NULL)
            return *letter == 'h' ? show_help(parse->line) : wrong(parse->line, "unknown option ", text);
        if (option->type != CSI_OPT_FLAG)
            return take(parse, option, letter[1] != '\0' ? letter + 1 : NULL);
        note_given(parse, option);
        *(bool *)option->target = true;
    }
    return CSI_PARSE_OK;
}

/* "missing: IMAGE": of "[options] -o OUT.png IMAGE", what is no option. */
static enum csi_parse_result missing(const struct csi_command_line *line)
{
    char text[128], words[128], *rest = NULL;
    size_t used = 0;

    snprintf(text, sizeof text, "%s", line->usage);
    words[0] = '\0';
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (word[0] == '-') /* with its value */
            strtok_r(NULL, " ", &rest);
        else if (word[0] != '[' && used < sizeof words)
            used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", used > 0 ? " " : "", word);
    }
    return wrong(line, "missing: ", words);
}

enum csi_parse_result csi_options_parse(const struct csi_command_line *line, int argc, char **argv,
                                        size_t *count)
{
    struct parse parse = {.line = line, .argc = argc, .argv = argv};
    size_t found = 0;
    bool only_paths = false;

    *count = 0;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return show_help(line);
    for (parse.index = 1; parse.index < argc; parse.index++) {
        char *text = argv[parse.index];

        if (!only_paths && strcmp(text, "--") == 0) {
            only_paths = true;
        } else if (!only_paths && text[0] == '-' && text[1] != '\0') {
            enum csi_parse_result result = parse_option(&parse);

            if (result != CSI_PARSE_OK)
                return result;
        } else {
            argv[found++] = text;
        }
    }
    if (!from_environment(&parse, line->own) || !from_environment(&parse, line->shared))
        return CSI_PARSE_WRONG;
    if (found < line->least)
        return missing(line);
    if (line->most != 0 && found > line->most)
        return wrong(line, "one argument too many: ", argv[line->most]);
    if (line->most == 0 && line->least == 0 && found > 0)
        return wrong(line, "this command takes no argument: ", argv[0]);
    *count = found;
    return CSI_PARSE_OK;
}

/* The option whose value is at `target`; the environment's name of it in `twin`. */
static const struct csi_option *option_of(const struct csi_command_line *line, const void *target, char *twin,
                                          size_t size)
{
    const struct csi_option *tables[] = {line->own, line->shared};

    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const struct csi_option *option = tables[t]; option != NULL && option->name != NULL; option++)
            if (option->target == target) {
                environment_name(option->name, twin, size);
                return option;
            }
    return NULL;
}

bool csi_option_is_twins(const struct csi_command_line *line, const void *target)
{
    char twin[ENVIRONMENT_NAME];
    const char *word = *(const char *const *)target;

    /* Words are not copied: one of the environment is where getenv finds it. */
    return option_of(line, target, twin, sizeof twin) != NULL && word != NULL && word == getenv(twin);
}

void csi_option_refuse(const struct csi_command_line *line, const void *target, const char *format, ...)
{
    char twin[ENVIRONMENT_NAME];
    const struct csi_option *option = option_of(line, target, twin, sizeof twin);
    bool twins = csi_option_is_twins(line, target);
    va_list arguments;

    fprintf(stderr, "cropshield: %s%s: ", twins ? "" : "--",
            twins            ? twin
            : option != NULL ? option->name
                             : "");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
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
