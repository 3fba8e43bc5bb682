/*
 * What the programs that time forward passes share: the clock, and reading the exported inputs.
 */
#ifndef CS_BENCH_COMMON_H
#define CS_BENCH_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The whole file; for free(). Ends the program where it cannot be read. */
static inline float *read_floats(const char *folder, const char *name, size_t count)
{
    char path[4096];
    float *values = malloc(count * sizeof *values);
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (values == NULL || file == NULL || fread(values, sizeof *values, count, file) != count) {
        fprintf(stderr, "cannot read %zu floats from %s\n", count, path);
        exit(1);
    }
    fclose(file);
    return values;
}

#endif
