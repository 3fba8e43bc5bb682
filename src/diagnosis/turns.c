/* Turns at the cores: see turns.h. */
#include "diagnosis/turns.h"

#include <stddef.h>

struct csi_turn_waiter {
    enum csi_turn_wish wish;
    struct csi_turn_waiter *next;
};

void csi_turns_init(struct csi_turns *turns, unsigned threads)
{
    *turns = (struct csi_turns){.threads = threads};
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->changed, NULL);
}

void csi_turns_destroy(struct csi_turns *turns)
{
    pthread_cond_destroy(&turns->changed);
    pthread_mutex_destroy(&turns->lock);
}

/* Whether the first of the queue may go now, and how. Lock held. */
static bool may_start(const struct csi_turns *turns, enum csi_turn_wish wish, bool *alone)
{
    if (turns->together)
        return false;
    *alone = wish == CSI_TURN_ALONE ||
             (wish == CSI_TURN_ANY && (turns->alone > 0 || turns->willing >= turns->threads));
    return *alone ? turns->alone < turns->threads : turns->alone == 0;
}

bool csi_turns_enter(struct csi_turns *turns, enum csi_turn_wish wish)
{
    struct csi_turn_waiter self = {wish, NULL};
    bool alone = false;

    pthread_mutex_lock(&turns->lock);
    if (turns->last != NULL)
        turns->last->next = &self;
    else
        turns->first = &self;
    turns->last = &self;
    turns->willing += wish != CSI_TURN_TOGETHER;
    while (turns->first != &self || !may_start(turns, wish, &alone))
        pthread_cond_wait(&turns->changed, &turns->lock);
    turns->first = self.next;
    if (turns->first == NULL)
        turns->last = NULL;
    turns->willing -= wish != CSI_TURN_TOGETHER;
    if (alone)
        turns->alone++;
    else
        turns->together = true;
    if (alone && turns->first != NULL) /* the next one may be able to go too */
        pthread_cond_broadcast(&turns->changed);
    pthread_mutex_unlock(&turns->lock);
    return alone;
}

void csi_turns_leave(struct csi_turns *turns, bool alone)
{
    pthread_mutex_lock(&turns->lock);
    if (alone)
        turns->alone--;
    else
        turns->together = false;
    if (turns->first != NULL)
        pthread_cond_broadcast(&turns->changed);
    pthread_mutex_unlock(&turns->lock);
}
