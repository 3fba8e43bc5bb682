/*
 * Feeds every file of the folders (or files) named on the command line to a fuzz target, and every truncation
 * of small ones, so that the committed corpus is part of the normal tests. Sanitizer builds make it bite.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static size_t runs;

static void feed(const uint8_t *bytes, size_t size)
{
    /* A copy of exactly this size, so that a read past the end is seen. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    if (copy == NULL)
        return;
    if (size > 0)
        memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static int feed_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;
    uint8_t *bytes;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        fprintf(stderr, "cannot read %s\n", path);
        if (file != NULL)
            fclose(file);
        return 0;
    }
    rewind(file);
    bytes = malloc((size_t)size + 1);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        fclose(file);
        free(bytes);
        return 0;
    }
    fclose(file);
    feed(bytes, (size_t)size);
    /* Cut at 32 places: the ends of headers and blocks are where parsers trip. */
    for (long i = 1; i < 32; i++)
        feed(bytes, (size_t)(size * i / 32));
    free(bytes);
    return 1;
}

int main(int argc, char **argv)
{
    size_t files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *entry;

        if (folder == NULL) {
            files += (size_t)feed_file(argv[i]);
            continue;
        }
        while ((entry = readdir(folder)) != NULL) {
            char path[4096];

            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            files += (size_t)feed_file(path);
        }
        closedir(folder);
    }
    printf("%zu files, %zu runs\n", files, runs);
    return files == 0; /* an empty corpus proves nothing */
}
