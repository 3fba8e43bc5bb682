/*
 * What streams of photos are fed with in tests: photos of which one may be missing and one cut, counted on
 * their way, and the logits that come back. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_FEED_H
#define TESTS_UNIT_FEED_H

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cropshield/cropshield.h>

#include "unit/tiny_model.h"

#define FEED_PHOTOS  40u
#define FEED_NOTHING SIZE_MAX

struct feed {
    struct cs_blob photos[FEED_PHOTOS];
    size_t missing, cut, named; /* photos; FEED_NOTHING: none */
    size_t stop_at;             /* the stream is ended after so many; 0: not */
    atomic_uint loaded, given_back, delivered;
    size_t good, bad;
    float logits[FEED_PHOTOS][TINY_CLASSES];
    double inference_ms[FEED_PHOTOS];
};

static inline enum cs_status feed_load(void *context, size_t index, const void **bytes, size_t *size,
                                       const char **name, struct cs_error *error)
{
    struct feed *feed = context;

    if (index == feed->missing) {
        if (error != NULL)
            snprintf(error->message, sizeof error->message, "no photo %zu", index);
        return CS_NOT_FOUND;
    }
    atomic_fetch_add(&feed->loaded, 1);
    *bytes = feed->photos[index].bytes;
    *size = index == feed->cut ? 100 : feed->photos[index].size;
    *name = index == feed->named ? "named" : NULL;
    return CS_OK;
}

static inline void feed_unload(void *context, size_t index, const void *bytes, size_t size)
{
    struct feed *feed = context;

    (void)index;
    (void)bytes;
    (void)size;
    atomic_fetch_add(&feed->given_back, 1);
}

/* In order, each with its name; what is missing or cut fails, and nothing else does. */
static inline bool feed_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                             const struct cs_error *failure)
{
    struct feed *feed = context;

    assert_int_equal(index, atomic_load(&feed->delivered));
    if (diagnosis != NULL) {
        assert_null(failure);
        assert_string_equal(diagnosis->name, index == feed->named ? "named" : "");
        memcpy(feed->logits[index], diagnosis->logits, sizeof feed->logits[index]);
        feed->inference_ms[index] = diagnosis->timings.inference;
        feed->good++;
    } else {
        assert_true(index == feed->missing || index == feed->cut);
        assert_int_not_equal(failure->status, CS_OK);
        if (index == feed->missing) {
            char expected[40];

            assert_int_equal(failure->status, CS_NOT_FOUND); /* though load says it by its return alone */
            snprintf(expected, sizeof expected, "no photo %zu", index);
            assert_string_equal(failure->message, expected);
        }
        feed->bad++;
    }
    return atomic_fetch_add(&feed->delivered, 1) + 1 != feed->stop_at;
}

/* Before a stream: nothing was fed yet. The photos stay. */
static inline void feed_start(struct feed *feed, size_t stop_at)
{
    atomic_store(&feed->loaded, 0);
    atomic_store(&feed->given_back, 0);
    atomic_store(&feed->delivered, 0);
    feed->good = feed->bad = 0;
    feed->stop_at = stop_at;
}

static inline struct cs_stream feed_stream(struct feed *feed, size_t count, size_t batch)
{
    return (struct cs_stream){.count = count,
                              .batch = batch,
                              .load = feed_load,
                              .unload = feed_unload,
                              .done = feed_done,
                              .context = feed};
}

static inline void assert_all_given_back(struct feed *feed)
{
    assert_int_equal(atomic_load(&feed->loaded), atomic_load(&feed->given_back));
}

#endif
