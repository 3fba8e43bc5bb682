/*
 * Where activations live: slots alive at the same time get different places of one arena. Largest first, each
 * at the lowest gap that fits ("greedy by size", Pisarchyk and Lee 2020): within a few percent of the optimum
 * on CNNs.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

/* qsort has no context argument: what it sorts carries the size. */
struct placing {
    struct csi_slot *slot;
    size_t floats;
};

static int larger_first(const void *a, const void *b)
{
    const struct placing *x = a, *y = b;

    if (x->floats != y->floats)
        return x->floats > y->floats ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot; /* the same plan every time */
}

static bool meet(const struct csi_slot *a, const struct csi_slot *b)
{
    return a->first_step <= b->last_step && b->first_step <= a->last_step;
}

enum cs_status csi_memory_plan(struct csi_plan *plan, struct cs_error *error)
{
    struct placing *all = calloc(plan->slot_count + 1, sizeof *all);
    struct placing *placed = calloc(plan->slot_count + 1, sizeof *placed); /* by offset */
    enum cs_status status = CS_OK;
    size_t count = 0;

    if (all == NULL || placed == NULL) {
        status = csi_fail_memory(error, "memory plan");
        goto done;
    }
    for (size_t i = 0; i < plan->slot_count; i++) {
        struct csi_slot *slot = &plan->slots[i];

        if (!slot->used)
            continue;
        status =
            csi_check_bytes(&plan->steps[slot->first_step], "the output", slot->photo, sizeof(float), error);
        if (status != CS_OK)
            goto done;
        /* with room for many such maps in size_t */
        if (csi_mul_overflows(slot->photo, plan->max_batch, &all[count].floats) ||
            all[count].floats > SIZE_MAX / 64 / (plan->slot_count + 1)) {
            status = csi_fail(error, CS_MODEL_UNSUPPORTED,
                              "an activation of %zu numbers is too large for batches of %u", slot->photo,
                              plan->max_batch);
            goto done;
        }
        all[count].floats = csi_round_up(slot->photo, CSI_PITCH);
        all[count++].slot = slot;
    }
    qsort(all, count, sizeof *all, larger_first);
    for (size_t i = 0; i < count; i++) {
        size_t offset = 0, at = 0;

        for (size_t k = 0; k < i; k++) {
            if (!meet(all[i].slot, placed[k].slot))
                continue;
            if (placed[k].slot->offset >= offset && placed[k].slot->offset - offset >= all[i].floats)
                break;
            offset = csi_max_size(offset, placed[k].slot->offset + placed[k].floats);
        }
        all[i].slot->offset = offset;
        plan->photo_floats = csi_max_size(plan->photo_floats, offset + all[i].floats);
        while (at < i && placed[at].slot->offset <= offset)
            at++;
        memmove(placed + at + 1, placed + at, (i - at) * sizeof *placed);
        placed[at] = all[i];
    }
    if (plan->photo_floats > CSI_PLAN_MAX_BYTES / sizeof(float))
        status = csi_fail(error, CS_MODEL_UNSUPPORTED,
                          "the maps that are needed at a time take %zu bytes for a photo, more than %zu",
                          plan->photo_floats * sizeof(float), CSI_PLAN_MAX_BYTES);
    plan->arena_floats = plan->photo_floats * plan->max_batch;
done:
    free(all);
    free(placed);
    return status;
}
