/*
 * Whose forward pass runs when, and on how many cores: one over the whole pool, or one a core. Owns the
 * choice and the waiting; the passes themselves are the engine's.
 *
 * One photo over all cores is answered soonest. When as many wait as there are cores, a photo a core gets
 * more of them done, because no core ever waits for another: then all of them start at once, and who comes
 * while they run takes the next free core. First come, first served.
 */
#ifndef CSI_DIAGNOSIS_TURNS_H
#define CSI_DIAGNOSIS_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What a pass asks for. */
enum csi_turn_wish {
    CSI_TURN_ANY,      /* whatever serves all best */
    CSI_TURN_TOGETHER, /* the whole pool: batches, measurements */
    CSI_TURN_ALONE     /* one core: streams */
};

struct csi_turns {
    unsigned threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool together;    /* a pass has the whole pool */
    unsigned alone;   /* passes on one core each, at most `threads` */
    unsigned willing; /* in the queue, and would go alone */
    uint64_t tickets; /* handed out, one a pass */
    uint64_t next;    /* the ticket whose pass starts next; the queue is what lies between the two */
};

void csi_turns_init(struct csi_turns *turns, unsigned threads);
void csi_turns_destroy(struct csi_turns *turns);

/* Waits for a turn. True: it is for one core alone. Each is followed by a leave with the answer. */
bool csi_turns_enter(struct csi_turns *turns, enum csi_turn_wish wish);
void csi_turns_leave(struct csi_turns *turns, bool alone);

#endif
