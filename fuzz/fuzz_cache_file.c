/* Fuzz target: the cache file: what doctor says of it, opening it, reading, writing, closing. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/disk.h"
#include "store/disk_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char folder[] = "/tmp/cropshield-fuzz-XXXXXX", path[64];

static void empty_folder(void)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    char name[512];

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        unlink(name);
    }
    if (directory != NULL)
        closedir(directory);
}

static void remove_folder(void)
{
    empty_folder();
    rmdir(folder);
}

static void write_file(const uint8_t *bytes, size_t size)
{
    FILE *file;

    if (path[0] == '\0') {
        if (mkdtemp(folder) == NULL)
            abort();
        snprintf(path, sizeof path, "%s/cache.db", folder);
        atexit(remove_folder);
    }
    file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const caches[] = {"prediction", "gradcam"};
    struct csi_disk_options options = {.max_bytes = 1 << 16};
    struct csi_hash key = {{0}}; /* the corpus keeps values under it */
    struct csi_disk *disk;
    uint64_t entries, kept, errors;
    bool damaged;

    write_file(bytes, size);
    options.path = path;
    csi_disk_check(path, &damaged, NULL);
    if (csi_disk_open(&options, &disk, NULL) != CS_OK)
        abort();
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++) {
        uint8_t *value;
        size_t value_size;
        double age_s;

        if (csi_disk_get(disk, caches[i], &key, &value, &value_size, &age_s))
            free(value);
        csi_disk_put(disk, caches[i], &key, "value", 5);
    }
    csi_disk_flush(disk);
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++)
        csi_disk_stats(disk, caches[i], &entries, &kept, &errors);
    csi_disk_clear(disk, caches[0], NULL);
    csi_disk_close(disk);
    empty_folder();
    return 0;
}
