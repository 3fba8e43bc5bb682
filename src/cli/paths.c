/* Lists of photos from files and directories, and the stream that reads them. See cli.h. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buffer.h"
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

/* Whether the name ends in one of `count` endings, in any case. */
static bool ends_in(const char *name, const char *const *endings, size_t count)
{
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < count; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

#define PHOTO_ENDINGS ".jpg, .jpeg, .jpe, .jfif, .png, .webp"

static bool looks_like_photo(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"};

    return ends_in(name, endings, sizeof endings / sizeof endings[0]);
}

/* Of a kind that is not read. */
static bool looks_like_other_picture(const char *name)
{
    static const char *const endings[] = {".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif"};

    return ends_in(name, endings, sizeof endings / sizeof endings[0]);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void fail(struct csi_paths *paths, const char *path, const struct cs_error *error)
{
    paths->failed++;
    if (paths->on_failure != NULL)
        paths->on_failure(path, error);
    csi_report(path, error);
}

/* A walk over one directory named on the command line. */
struct walk {
    struct csi_paths *paths;
    struct folder_id {
        dev_t device;
        ino_t inode;
    } * entered; /* each directory is entered once, so that a loop of links ends */
    size_t count, capacity;
    struct csi_paths links; /* to directories, not followed yet */
};

/* Whether this directory is entered for the first time. False in *ok: out of memory. */
static bool enter(struct walk *walk, const struct stat *info, bool *ok)
{
    for (size_t i = 0; i < walk->count; i++)
        if (walk->entered[i].device == info->st_dev && walk->entered[i].inode == info->st_ino)
            return false;
    if (walk->count == walk->capacity) {
        size_t capacity = walk->capacity == 0 ? 64 : walk->capacity * 2;
        struct folder_id *entered = realloc(walk->entered, capacity * sizeof *entered);

        if (entered == NULL) {
            *ok = false;
            return false;
        }
        walk->entered = entered;
        walk->capacity = capacity;
    }
    walk->entered[walk->count++] = (struct folder_id){info->st_dev, info->st_ino};
    return true;
}

/* False: out of memory. */
static bool take_file(struct csi_paths *paths, const char *path)
{
    const char *name = strrchr(path, '/') + 1;

    if (looks_like_photo(name))
        return append(paths, path);
    paths->others += looks_like_other_picture(name);
    return true;
}

/* Hidden entries are passed over; links to directories are noted for later. False: out of memory. */
static bool walk_folder(struct walk *walk, const char *folder, unsigned depth)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;
    struct stat info;
    bool ok = true;

    if (stream == NULL) {
        struct cs_error error;

        csi_fail(&error, CS_NOT_FOUND, "cannot open the directory: %s", strerror(errno));
        fail(walk->paths, folder, &error);
        return true;
    }
    if (fstat(dirfd(stream), &info) == 0 && !enter(walk, &info, &ok)) {
        closedir(stream);
        return ok;
    }
    while (ok && (entry = readdir(stream)) != NULL) {
        size_t size = strlen(folder) + strlen(entry->d_name) + 2;
        bool known, linked;
        char *path;

        if (entry->d_name[0] == '.')
            continue;
        path = malloc(size);
        if (path == NULL) {
            ok = false;
            break;
        }
        snprintf(path, size, "%s/%s", folder, entry->d_name);
        known = lstat(path, &info) == 0;
        linked = known && S_ISLNK(info.st_mode);
        if (linked)
            known = stat(path, &info) == 0;
        if (known && S_ISDIR(info.st_mode)) {
            if (depth < 64)
                ok = linked ? append(&walk->links, path) : walk_folder(walk, path, depth + 1);
        } else if (!known || S_ISREG(info.st_mode)) { /* reading a pipe or device could wait for ever */
            ok = take_file(walk->paths, path);
        }
        free(path);
    }
    closedir(stream);
    return ok;
}

/* Directories first and links to directories afterwards, by name: a link into what was walked anyway adds
 * nothing, whichever order the system lists them in. False: out of memory. */
static bool walk_all(struct csi_paths *paths, const char *folder)
{
    struct walk walk = {.paths = paths};
    bool ok = walk_folder(&walk, folder, 0);

    for (size_t i = 0; ok && i < walk.links.count; i++) {
        qsort(walk.links.items + i, walk.links.count - i, sizeof *walk.links.items, compare);
        ok = walk_folder(&walk, walk.links.items[i], 0);
    }
    csi_paths_free(&walk.links);
    free(walk.entered);
    return ok;
}

static bool add_folder(struct csi_paths *paths, char *folder)
{
    size_t first = paths->count, failed = paths->failed, length = strlen(folder);

    while (length > 1 && folder[length - 1] == '/')
        folder[--length] = '\0';
    if (!walk_all(paths, folder))
        return false;
    if (paths->count > first) {
        qsort(paths->items + first, paths->count - first, sizeof *paths->items, compare);
    } else if (paths->failed == failed) {
        struct cs_error error = {CS_EMPTY_INPUT, "no photo in this directory (" PHOTO_ENDINGS ")"};

        fail(paths, folder, &error);
    }
    return true;
}

static void tell_others(size_t count)
{
    char message[160];

    snprintf(message, sizeof message, "%zu %s passed over: in directories only %s are read", count,
             count == 1 ? "picture of another kind was" : "pictures of other kinds were", PHOTO_ENDINGS);
    csi_report_warning(NULL, message);
}

bool csi_paths_collect(struct csi_paths *paths, char **arguments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        bool folder = stat(arguments[i], &info) == 0 && S_ISDIR(info.st_mode);

        if (!(folder ? add_folder(paths, arguments[i]) : append(paths, arguments[i]))) {
            fprintf(stderr, "cropshield: out of memory\n");
            return false;
        }
    }
    if (paths->others > 0)
        tell_others(paths->others);
    return true;
}

bool csi_paths_in_folder(struct csi_paths *paths, char *folder)
{
    struct cs_error error;
    struct stat info;

    if (stat(folder, &info) != 0)
        csi_fail(&error, CS_NOT_FOUND, "cannot open the directory: %s", strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        csi_fail(&error, CS_BAD_REQUEST, "this is no directory");
    else
        return csi_paths_collect(paths, &folder, 1) && paths->count > 0;
    fail(paths, folder, &error);
    return false;
}

void csi_paths_free(struct csi_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->items[i]);
    free(paths->items);
    memset(paths, 0, sizeof *paths);
}

/* What has no size to ask for, until its end. */
static enum cs_status read_to_end(FILE *file, size_t limit, uint8_t **bytes, size_t *size,
                                  struct cs_error *error)
{
    struct csi_buffer buffer;
    uint8_t piece[65536];
    size_t got;
    enum cs_status status = CS_OK;

    csi_buffer_init(&buffer);
    while (status == CS_OK && (got = fread(piece, 1, sizeof piece, file)) > 0) {
        csi_buffer_append(&buffer, piece, got);
        if (limit != 0 && buffer.size > limit)
            status = csi_fail(error, CS_IMAGE_TOO_LARGE, "more than %zu bytes, the limit", limit);
        else if (buffer.failed)
            status = csi_fail_memory(error, "photo");
    }
    if (status == CS_OK && ferror(file))
        status = csi_fail(error, CS_INTERNAL, "cannot read to the end: %s", strerror(errno));
    if (status != CS_OK) {
        csi_buffer_free(&buffer);
        return status;
    }
    *bytes = buffer.bytes;
    *size = buffer.size;
    return CS_OK;
}

/* A pipe or device is read as standard input is: whoever names one ("predict <(cat leaf.jpg)") means what
 * comes out of it, and waits for it. */
static enum cs_status read_pipe(const char *path, size_t limit, uint8_t **bytes, size_t *size,
                                struct cs_error *error)
{
    FILE *file = fopen(path, "rbe");
    enum cs_status status;

    if (file == NULL)
        return csi_fail(error, CS_NOT_FOUND, "cannot open '%s': %s", path, strerror(errno));
    status = read_to_end(file, limit, bytes, size, error);
    fclose(file);
    return status;
}

enum cs_status csi_photo_read(const char *path, size_t limit, uint8_t **bytes, size_t *size,
                              struct cs_error *error)
{
    struct stat info;

    *bytes = NULL;
    *size = 0;
    if (strcmp(path, "-") == 0)
        return read_to_end(stdin, limit, bytes, size, error);
    if (stat(path, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)))
        return read_pipe(path, limit, bytes, size, error);
    return csi_file_read(path, limit, bytes, size, error);
}

enum cs_status csi_stream_load(void *context, size_t index, const void **bytes, size_t *size,
                               const char **name, struct cs_error *error)
{
    const struct csi_file_stream *stream = context;
    uint8_t *content = NULL;
    enum cs_status status;

    *name = stream->paths->items[index];
    status = csi_photo_read(*name, stream->max_bytes, &content, size, error);
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
