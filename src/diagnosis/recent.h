/*
 * Recent uploads: the way from a photo's bytes to its id without hashing them again.
 *
 * BLAKE2b runs at 0.7 GB/s, so that the id of a 5 MB photo costs 7 ms: several times what the rest of a
 * cached answer takes. The bytes of the last photos are therefore kept for a while; a photo of the same
 * length whose every byte is the same (memcmp, > 10 GB/s) has the same id. Nothing weaker than equality is
 * trusted.
 */
#ifndef CSI_DIAGNOSIS_RECENT_H
#define CSI_DIAGNOSIS_RECENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/hash.h"

struct csi_recent;

/* Keeps at most `max_bytes` of photos; 0: keeps nothing. */
enum cs_status csi_recent_create(size_t max_bytes, struct csi_recent **recent, struct cs_error *error);
void csi_recent_destroy(struct csi_recent *recent);
/* BLAKE2b-256 of the bytes, remembered or computed. Thread-safe. */
void csi_recent_identify(struct csi_recent *recent, const void *bytes, size_t size, struct csi_hash *id);
/* Whether these bytes may have been identified before (a fingerprint of samples says so; it is noted for the
 * next call). False: they were not, as far as is remembered, and no cache of this process knows them. Only
 * good for choosing the faster way. */
bool csi_recent_may_know(struct csi_recent *recent, const void *bytes, size_t size);
void csi_recent_clear(struct csi_recent *recent);

#endif
