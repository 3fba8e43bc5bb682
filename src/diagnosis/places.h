/*
 * A bounded number of places, given out in the order of asking. Owns nothing but the queue.
 *
 * Decoding a 12-megapixel photo takes working memory and a whole core. More decodes at a time than there are
 * cores only add the memory, so that those who come later wait here, first come first served.
 */
#ifndef CSI_DIAGNOSIS_PLACES_H
#define CSI_DIAGNOSIS_PLACES_H

#include <pthread.h>
#include <stdint.h>

struct csi_places {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t limit, asked, left; /* a caller is in when fewer than `limit` of those before it are */
};

void csi_places_init(struct csi_places *places, unsigned limit);
void csi_places_destroy(struct csi_places *places);
/* Waits for a place; every enter is followed by a leave on the same thread. Thread-safe. */
void csi_places_enter(struct csi_places *places);
void csi_places_leave(struct csi_places *places);

#endif
