/*
 * A folder with the tiny model in it, set up and torn down around a test, and diagnosers of that model.
 * Include after cmocka.h.
 */
#ifndef TESTS_UNIT_TINY_DIAGNOSER_H
#define TESTS_UNIT_TINY_DIAGNOSER_H

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cropshield/cropshield.h>

#include "unit/photos.h"
#include "unit/tiny_model.h"

static char folder[64], model_path[96], cache_path[96];
static atomic_uint warnings;

static inline void on_warning(void *context, const char *message)
{
    (void)context;
    (void)message;
    atomic_fetch_add(&warnings, 1);
}

static inline int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cropshield-tiny-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(model_path, sizeof model_path, "%s/tiny.safetensors", folder);
    snprintf(cache_path, sizeof cache_path, "%s/cache.db", folder);
    atomic_store(&warnings, 0);
    return tiny_model_write(model_path, 1) ? 0 : -1;
}

static inline int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline struct cs_diagnoser_options tiny_options(void)
{
    struct cs_diagnoser_options options = cs_diagnoser_options_defaults();

    options.model.path = model_path;
    options.model.threads = 2;
    options.on_warning = on_warning;
    return options;
}

static inline cs_diagnoser *create(const struct cs_diagnoser_options *options)
{
    cs_diagnoser *diagnoser;
    struct cs_error error = {0};

    if (cs_diagnoser_create(options, &diagnoser, &error) != CS_OK)
        fail_msg("%s", error.message);
    return diagnoser;
}

static inline cs_diagnoser *create_tiny(void)
{
    struct cs_diagnoser_options options = tiny_options();

    return create(&options);
}

static inline cs_diagnosis *diagnose(cs_diagnoser *diagnoser, const struct cs_blob *photo,
                                     const struct cs_request *request)
{
    cs_diagnosis *diagnosis;
    struct cs_error error = {0};

    if (cs_diagnose(diagnoser, photo->bytes, photo->size, request, &diagnosis, &error) != CS_OK)
        fail_msg("%s", error.message);
    return diagnosis;
}

static inline void assert_near(double a, double b, double by)
{
    if (!(fabs(a - b) <= by))
        fail_msg("%.9g is not within %g of %.9g", a, by, b);
}

static inline void assert_adds_up(cs_diagnoser *diagnoser, enum cs_cache cache, uint64_t requests)
{
    struct cs_cache_stats stats;

    cs_diagnoser_cache_stats(diagnoser, cache, &stats);
    assert_int_equal(stats.hits + stats.misses + stats.coalesced, requests);
}

#endif
