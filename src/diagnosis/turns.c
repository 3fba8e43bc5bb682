/* Turns at the cores: see turns.h. */
#include "diagnosis/turns.h"

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
    uint64_t ticket;
    bool alone = false;

    pthread_mutex_lock(&turns->lock);
    ticket = turns->tickets++;
    turns->willing += wish != CSI_TURN_TOGETHER;
    while (turns->next != ticket || !may_start(turns, wish, &alone))
        pthread_cond_wait(&turns->changed, &turns->lock);
    turns->next++;
    turns->willing -= wish != CSI_TURN_TOGETHER;
    if (alone)
        turns->alone++;
    else
        turns->together = true;
    if (alone && turns->next != turns->tickets) /* the next one may be able to go too */
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
    if (turns->next != turns->tickets)
        pthread_cond_broadcast(&turns->changed);
    pthread_mutex_unlock(&turns->lock);
}
