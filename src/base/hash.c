/* BLAKE2b-256: see hash.h. The arithmetic is libsodium's. */
#include "base/hash.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(((struct csi_hasher *)0)->state), "state fits");

static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

/* libsodium chooses its SIMD code here; without it the plain C version runs. */
static void choose_code(void)
{
    if (sodium_init() < 0)
        return; /* no random device: hashing does without, in plain C */
}

void csi_hash_bytes(const void *bytes, size_t size, struct csi_hash *hash)
{
    pthread_once(&sodium_once, choose_code);
    crypto_generichash(hash->bytes, CSI_HASH_SIZE, bytes, size, NULL, 0);
}

void csi_hasher_init(struct csi_hasher *hasher)
{
    pthread_once(&sodium_once, choose_code);
    crypto_generichash_init((crypto_generichash_state *)(void *)hasher->state, NULL, 0, CSI_HASH_SIZE);
}

void csi_hasher_update(struct csi_hasher *hasher, const void *bytes, size_t size)
{
    crypto_generichash_update((crypto_generichash_state *)(void *)hasher->state, bytes, size);
}

void csi_hasher_final(struct csi_hasher *hasher, struct csi_hash *hash)
{
    crypto_generichash_final((crypto_generichash_state *)(void *)hasher->state, hash->bytes, CSI_HASH_SIZE);
}

/* A thread costs about as much as hashing 64 KiB. */
#define HASH_APART ((size_t)512 << 10)

static void *run_job(void *context)
{
    struct csi_hash_job *job = context;

    csi_hash_bytes(job->bytes, job->size, &job->hash);
    return NULL;
}

void csi_hash_begin(struct csi_hash_job *job, const void *bytes, size_t size)
{
    job->bytes = bytes;
    job->size = size;
    job->running = size >= HASH_APART && pthread_create(&job->thread, NULL, run_job, job) == 0;
}

void csi_hash_end(struct csi_hash_job *job, struct csi_hash *hash)
{
    if (job->running)
        pthread_join(job->thread, NULL);
    else
        run_job(job);
    job->running = false;
    *hash = job->hash;
}

void csi_hash_to_hex(const struct csi_hash *hash, char *hex)
{
    sodium_bin2hex(hex, CSI_HASH_HEX_SIZE, hash->bytes, CSI_HASH_SIZE);
}

int csi_hash_from_hex(const char *hex, struct csi_hash *hash)
{
    if (strlen(hex) != CSI_HASH_HEX_SIZE - 1 || strspn(hex, "0123456789abcdef") != CSI_HASH_HEX_SIZE - 1)
        return 0;
    return sodium_hex2bin(hash->bytes, CSI_HASH_SIZE, hex, CSI_HASH_HEX_SIZE - 1, NULL, NULL, NULL) == 0;
}
