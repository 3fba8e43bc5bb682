/* A queue for a bounded number of places: see places.h. */
#include "diagnosis/places.h"

void csi_places_init(struct csi_places *places, unsigned limit)
{
    pthread_mutex_init(&places->lock, NULL);
    pthread_cond_init(&places->changed, NULL);
    places->limit = limit;
    places->asked = places->left = 0;
}

void csi_places_destroy(struct csi_places *places)
{
    pthread_cond_destroy(&places->changed);
    pthread_mutex_destroy(&places->lock);
}

void csi_places_enter(struct csi_places *places)
{
    uint64_t ticket;

    pthread_mutex_lock(&places->lock);
    ticket = places->asked++;
    while (ticket >= places->left + places->limit)
        pthread_cond_wait(&places->changed, &places->lock);
    pthread_mutex_unlock(&places->lock);
}

void csi_places_leave(struct csi_places *places)
{
    pthread_mutex_lock(&places->lock);
    places->left++;
    pthread_cond_broadcast(&places->changed); /* only one ticket has become due, and which thread holds it is
                                                 not known */
    pthread_mutex_unlock(&places->lock);
}
