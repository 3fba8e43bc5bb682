/* Lists of photos from files and directories, and the stream that reads them. See cli.h. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"

static bool append(struct csi_paths *paths, const char *path)
{
    if (paths->count == paths->capacity) {
        size_t capacity = paths->capacity == 0 ? 64 : paths->capacity * 2;
        char **items = realloc(paths->items, capacity * sizeof *items);

        if (items == NULL)
            return false;
        paths->items = items;
        paths->capacity = capacity;
    }
    paths->items[paths->count] = csi_strdup(path);
    return paths->items[paths->count++] != NULL;
}

static bool looks_like_photo(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Walks without following links to directories, so that a loop of links ends. Hidden entries are passed over.
 */
static bool walk(struct csi_paths *paths, const char *folder, unsigned depth)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;
    bool ok = true;

    if (stream == NULL) {
        struct cs_error error = {CS_NOT_FOUND, "cannot open the directory"};

        csi_report(folder, &error);
        return true;
    }
    while (ok && (entry = readdir(stream)) != NULL) {
        struct stat info;
        size_t size = strlen(folder) + strlen(entry->d_name) + 2;
        char *path;

        if (entry->d_name[0] == '.')
            continue;
        path = malloc(size);
        if (path == NULL) {
            ok = false;
            break;
        }
        snprintf(path, size, "%s/%s", folder, entry->d_name);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
            if (depth < 64)
                ok = walk(paths, path, depth + 1);
        } else if (looks_like_photo(entry->d_name)) {
            ok = append(paths, path);
        }
        free(path);
    }
    closedir(stream);
    return ok;
}

bool csi_paths_collect(struct csi_paths *paths, char **arguments, size_t count, size_t *failed)
{
    memset(paths, 0, sizeof *paths);
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        size_t first = paths->count;

        if (stat(arguments[i], &info) != 0 || !S_ISDIR(info.st_mode)) {
            if (!append(paths, arguments[i]))
                return false;
            continue;
        }
        size_t length = strlen(arguments[i]);
        while (length > 1 && arguments[i][length - 1] == '/')
            arguments[i][--length] = '\0';
        if (!walk(paths, arguments[i], 0))
            return false;
        if (paths->count == first) {
            struct cs_error error = {CS_EMPTY_INPUT, "no photo in this directory (.jpg, .jpeg, .png, .webp)"};

            csi_report(arguments[i], &error);
            (*failed)++;
        } else {
            qsort(paths->items + first, paths->count - first, sizeof *paths->items, compare);
        }
    }
    return true;
}

void csi_paths_free(struct csi_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->items[i]);
    free(paths->items);
    memset(paths, 0, sizeof *paths);
}

enum cs_status csi_stream_load(void *context, size_t index, const void **bytes, size_t *size,
                               const char **name, struct cs_error *error)
{
    const struct csi_file_stream *stream = context;
    uint8_t *content = NULL;
    enum cs_status status;

    *name = stream->paths->items[index];
    status = csi_file_read(*name, stream->max_bytes, &content, size, error);
    *bytes = content;
    return status;
}

void csi_stream_unload(void *context, size_t index, const void *bytes, size_t size)
{
    union {
        const void *in;
        void *out;
    } memory = {bytes}; /* what csi_stream_load made */

    (void)context;
    (void)index;
    (void)size;
    free(memory.out);
}
