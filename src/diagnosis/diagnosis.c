/*
 * Building the diagnosis object, and combining several. Owns top-k and verdicts.
 */
#include "diagnosis/diagnosis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "diagnosis/content.h"

#define DEFAULT_TOP_K   3u
#define CONFIDENT_ABOVE 0.8
#define LIKELY_ABOVE    0.5

/* What stands behind the public struct. */
struct diagnosis {
    cs_diagnosis public; /* first: the handle's address is this struct's */
    cs_model *model;
    size_t plant;     /* among the model's, or CSI_ANY_PLANT */
    size_t photos;    /* of the case that this is the joint answer of; 0: of one photo */
    double agreement; /* share of them */
};

enum cs_verdict csi_verdict(double probability, double leaf_score)
{
    if (!isnan(leaf_score) && !(leaf_score > 0))
        return CS_VERDICT_NOT_A_LEAF;
    if (probability > CONFIDENT_ABOVE)
        return CS_VERDICT_CONFIDENT;
    return probability > LIKELY_ABOVE ? CS_VERDICT_LIKELY : CS_VERDICT_UNCERTAIN;
}

static size_t count_classes(const cs_model *model, size_t plant)
{
    size_t count = 0;

    for (size_t i = 0; i < model->class_count; i++)
        count += csi_model_is_of(model, i, plant);
    return count;
}

/* The plant's `count` most probable classes in order; the lower index first among equals. */
static void select_top(const cs_model *model, size_t plant, const float *probabilities,
                       struct cs_prediction *top, size_t count)
{
    size_t filled = 0;

    for (size_t i = 0; i < model->class_count; i++) {
        double probability = (double)probabilities[i];
        size_t at = filled;

        if (!csi_model_is_of(model, i, plant))
            continue;
        while (at > 0 && probability > top[at - 1].probability)
            at--;
        if (at == count)
            continue;
        if (filled < count)
            filled++;
        memmove(top + at + 1, top + at, (filled - at - 1) * sizeof *top);
        top[at] =
            (struct cs_prediction){i, model->classes[i], model->labels[i], probability, model->tested[i]};
    }
}

/* The parts behind the struct, in order of alignment. */
struct layout {
    size_t predictions, hints, logits, name, total;
};

static bool lay_out(size_t top_k, size_t class_count, size_t name_size, struct layout *layout)
{
    size_t predictions_size, logits_size;

    layout->predictions = csi_round_up(sizeof(struct diagnosis), sizeof(double));
    if (csi_mul_overflows(top_k, sizeof(struct cs_prediction), &predictions_size) ||
        csi_mul_overflows(class_count, sizeof(float), &logits_size) ||
        csi_add_overflows(layout->predictions, predictions_size, &layout->hints) ||
        csi_add_overflows(layout->hints, CSI_HINT_COUNT * sizeof(char *), &layout->logits) ||
        csi_add_overflows(layout->logits, logits_size, &layout->name) ||
        csi_add_overflows(layout->name, name_size, &layout->total))
        return false;
    return true;
}

/* Allocates, and fills all that follows from logits, plant, score, hints and name. */
static struct diagnosis *assemble(cs_model *model, size_t plant, const float *logits,
                                  const float *probabilities, double leaf_score, uint32_t hints, size_t top_k,
                                  const char *name)
{
    struct layout layout;
    struct diagnosis *made;
    struct cs_prediction *top;
    const char **hint_names;
    float *own_logits;
    char *own_name, *memory;
    size_t name_size = strlen(name) + 1;

    top_k = csi_min_size(top_k == 0 ? DEFAULT_TOP_K : top_k, count_classes(model, plant));
    if (!lay_out(top_k, model->class_count, name_size, &layout))
        return NULL;
    memory = calloc(1, layout.total);
    if (memory == NULL)
        return NULL;
    made = (void *)memory;
    top = (void *)(memory + layout.predictions);
    hint_names = (void *)(memory + layout.hints);
    own_logits = (void *)(memory + layout.logits);
    own_name = memory + layout.name;
    memcpy(own_name, name, name_size);
    memcpy(own_logits, logits, model->class_count * sizeof *logits);
    select_top(model, plant, probabilities, top, top_k);
    for (unsigned i = 0; i < CSI_HINT_COUNT; i++)
        if (hints & 1u << i)
            hint_names[made->public.hint_count++] = csi_hint_name((enum csi_hint)i);
    made->model = csi_model_retain(model);
    made->plant = plant;
    made->public.plant = plant == CSI_ANY_PLANT ? NULL : model->plants[plant];
    made->public.name = own_name;
    made->public.predictions = top;
    made->public.prediction_count = top_k;
    made->public.hints = hint_names;
    made->public.logits = own_logits;
    made->public.class_count = model->class_count;
    made->public.leaf_score = leaf_score;
    made->public.verdict = csi_verdict(top_k > 0 ? top[0].probability : 0, leaf_score);
    made->public.model_name = model->name;
    made->public.model_digest = model->digest_hex;
    made->public.precision = model->plan_info->precision;
    made->public.device = model->plan_info->device;
    return made;
}

enum cs_status csi_diagnosis_create(cs_model *model, const struct csi_hash *id,
                                    const struct csi_record *record, const struct cs_request *request,
                                    cs_diagnosis **diagnosis, struct cs_error *error)
{
    const struct csi_photo_facts *photo = &record->head.photo;
    float *probabilities;
    struct diagnosis *made = NULL;
    size_t plant;
    enum cs_status status = csi_model_find_plant(model, request->plant, &plant, error);

    *diagnosis = NULL;
    if (status != CS_OK)
        return status;
    probabilities = malloc(model->class_count * sizeof *probabilities);
    if (probabilities != NULL) {
        csi_model_probabilities(model, record->logits, plant, probabilities);
        made = assemble(model, plant, record->logits, probabilities, record->head.leaf_score,
                        record->head.hints, request->top_k, request->name != NULL ? request->name : "");
    }
    free(probabilities);
    if (made == NULL)
        return csi_fail_memory(error, "diagnosis");
    csi_hash_to_hex(id, made->public.id);
    made->public.format = (enum cs_image_format)photo->format;
    made->public.bytes = (size_t)photo->bytes;
    made->public.width = photo->width;
    made->public.height = photo->height;
    made->public.display_width = photo->display_width;
    made->public.display_height = photo->display_height;
    *diagnosis = &made->public;
    return CS_OK;
}

void csi_diagnosis_destroy(cs_diagnosis *diagnosis)
{
    struct diagnosis *whole = (struct diagnosis *)(void *)diagnosis;

    if (diagnosis == NULL)
        return;
    csi_model_release(whole->model);
    free(whole);
}

static const struct diagnosis *inside(const cs_diagnosis *diagnosis)
{
    return (const struct diagnosis *)(const void *)diagnosis;
}

size_t csi_diagnosis_case(const cs_diagnosis *diagnosis, double *agreement)
{
    *agreement = inside(diagnosis)->agreement;
    return inside(diagnosis)->photos;
}

static enum cs_status check_case(const cs_diagnosis *const *photos, size_t count, struct cs_error *error)
{
    if (count == 0 || count > CS_CASE_MAX)
        return csi_fail(error, count == 0 ? CS_EMPTY_INPUT : CS_BAD_REQUEST,
                        "a case holds 1 to %d photos, not %zu", CS_CASE_MAX, count);
    for (size_t i = 1; i < count; i++)
        if (photos[i]->class_count != photos[0]->class_count ||
            strcmp(photos[i]->model_digest, photos[0]->model_digest) != 0)
            return csi_fail(error, CS_BAD_REQUEST, "the photos of a case were diagnosed by different models");
    for (size_t i = 1; i < count; i++)
        if (inside(photos[i])->plant != inside(photos[0])->plant)
            return csi_fail(error, CS_BAD_REQUEST, "the photos of a case were diagnosed as different plants");
    return CS_OK;
}

/* One bit for each hint that at least one photo carries. */
static uint32_t union_of_hints(const cs_diagnosis *const *photos, size_t count)
{
    uint32_t hints = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < photos[i]->hint_count; k++)
            for (unsigned bit = 0; bit < CSI_HINT_COUNT; bit++)
                if (strcmp(photos[i]->hints[k], csi_hint_name((enum csi_hint)bit)) == 0)
                    hints |= 1u << bit;
    return hints;
}

/* The middle score: one odd photo decides neither way. */
static double middle_score(const cs_diagnosis *const *photos, size_t count)
{
    double sorted[CS_CASE_MAX] = {0};

    for (size_t i = 0; i < count; i++) {
        size_t at = i;

        if (isnan(photos[i]->leaf_score))
            return photos[i]->leaf_score;
        for (; at > 0 && sorted[at - 1] > photos[i]->leaf_score; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = photos[i]->leaf_score;
    }
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

enum cs_status csi_diagnose_case(const cs_diagnosis *const *photos, size_t count, size_t top_k,
                                 cs_diagnosis **combined, double *agreement, struct cs_error *error)
{
    cs_model *model;
    struct diagnosis *made = NULL;
    float *logits, *probabilities;
    struct csi_hasher hasher;
    struct csi_hash id;
    size_t agreeing = 0, top, plant;
    enum cs_status status = check_case(photos, count, error);

    *combined = NULL;
    if (status != CS_OK)
        return status;
    model = inside(photos[0])->model;
    plant = inside(photos[0])->plant;
    logits = calloc(model->class_count, 2 * sizeof *logits);
    if (logits == NULL)
        return csi_fail_memory(error, "case");
    probabilities = logits + model->class_count;
    /* Softmax undoes whatever constant each photo's log-probabilities carry, so that the mean of the logits
     * gives the same answer as the mean of the log-probabilities. */
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < model->class_count; c++)
            logits[c] += photos[i]->logits[c] / (float)count;
    csi_model_probabilities(model, logits, plant, probabilities);
    made = assemble(model, plant, logits, probabilities, middle_score(photos, count),
                    union_of_hints(photos, count), top_k, "");
    top = csi_model_top_class(model, logits, plant);
    free(logits);
    if (made == NULL)
        return csi_fail_memory(error, "case");
    csi_hasher_init(&hasher);
    for (size_t i = 0; i < count; i++) {
        agreeing += csi_model_top_class(model, photos[i]->logits, plant) == top;
        csi_hasher_update(&hasher, photos[i]->id, CS_ID_SIZE - 1);
        made->public.bytes += photos[i]->bytes;
        made->public.timings.total += photos[i]->timings.total;
    }
    csi_hasher_final(&hasher, &id);
    csi_hash_to_hex(&id, made->public.id);
    made->photos = count;
    made->agreement = (double)agreeing / (double)count;
    if (agreement != NULL)
        *agreement = made->agreement;
    *combined = &made->public;
    return CS_OK;
}
