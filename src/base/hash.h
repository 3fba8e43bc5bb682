/*
 * BLAKE2b-256 content keys. A key names content for caches and ids, so it has to be collision-proof: a 64-bit
 * hash could return another photo's diagnosis.
 */
#ifndef CSI_BASE_HASH_H
#define CSI_BASE_HASH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSI_HASH_SIZE     32u
#define CSI_HASH_HEX_SIZE 65u /* with the NUL */

struct csi_hash {
    uint8_t bytes[CSI_HASH_SIZE];
};

/* Thread-safe; needs no set-up. */
void csi_hash_bytes(const void *bytes, size_t size, struct csi_hash *hash);

/* Piecewise: init, any number of updates, final. */
struct csi_hasher {
    _Alignas(64) unsigned char state[384]; /* libsodium's crypto_generichash_state */
};
void csi_hasher_init(struct csi_hasher *hasher);
void csi_hasher_update(struct csi_hasher *hasher, const void *bytes, size_t size);
void csi_hasher_final(struct csi_hasher *hasher, struct csi_hash *hash);

/* Hashing beside other work, on a thread of its own where that pays. `bytes` stay until the end, which has to
 * come. */
struct csi_hash_job {
    const void *bytes;
    size_t size;
    pthread_t thread;
    bool running;
    struct csi_hash hash;
};
void csi_hash_begin(struct csi_hash_job *job, const void *bytes, size_t size);
void csi_hash_end(struct csi_hash_job *job, struct csi_hash *hash);

/* Lower-case hex with NUL: `hex` holds CSI_HASH_HEX_SIZE bytes. */
void csi_hash_to_hex(const struct csi_hash *hash, char *hex);
/* 0 when `hex` is not exactly 64 lower-case hex digits. */
int csi_hash_from_hex(const char *hex, struct csi_hash *hash);

#endif
