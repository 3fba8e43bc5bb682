/*
 * The classes of a model: labels, plants, finding one by name, probabilities. A class name is
 * "Plant__condition"; one without "__" belongs to no plant.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "diagnosis/model.h"
#include "graph/names.h"

/* Length of the plant's part of a class name; 0: it has none. A name that begins with "__" has none. */
static size_t plant_length(const char *class_name)
{
    const char *end = class_name[0] == '\0' ? NULL : strstr(class_name + 1, "__");

    return end == NULL ? 0 : (size_t)(end - class_name);
}

char *csi_class_label(const char *class_name)
{
    size_t length = strlen(class_name), plant = plant_length(class_name);
    char *label = malloc(length + 1);

    if (label == NULL)
        return NULL;
    for (size_t i = 0; i <= length; i++)
        label[i] = class_name[i] == '_' ? ' ' : class_name[i];
    if (plant > 0)
        label[plant] = ':';
    return label;
}

/* The first `length` bytes of `text`, for free(); NULL without memory. */
static char *beginning(const char *text, size_t length)
{
    char *copy = malloc(length + 1);

    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

/* The plant of class `index`, whose name's part for it is `length` bytes long; `known` has those before it.
 * False without memory. */
static bool find_plant_of(cs_model *model, size_t index, size_t length, struct csi_names *known)
{
    char *key = beginning(model->classes[index], length), *name = NULL;
    bool done = key != NULL;

    if (done && !csi_names_find(known, key, &model->plant_of[index])) {
        name = beginning(model->labels[index], length); /* as people read it */
        done = name != NULL && csi_names_put(known, key, model->plant_count);
    }
    if (done && name != NULL) {
        model->plant_of[index] = model->plant_count;
        model->plants[model->plant_count++] = name;
        name = NULL;
    }
    free(name);
    free(key);
    return done;
}

bool csi_model_find_plants(cs_model *model)
{
    struct csi_names known = {0};
    bool done = true;

    model->plants = calloc(model->class_count, sizeof *model->plants);
    model->plant_of = calloc(model->class_count, sizeof *model->plant_of);
    if (model->plants == NULL || model->plant_of == NULL)
        return false;
    for (size_t i = 0; i < model->class_count && done; i++) {
        size_t length = plant_length(model->classes[i]);

        model->plant_of[i] = CSI_ANY_PLANT;
        if (length > 0)
            done = find_plant_of(model, i, length, &known);
    }
    csi_names_free(&known);
    return done;
}

/* Equal but for case, and for '_' where the other has a space. */
static bool same_plant(const char *a, const char *b)
{
    for (;; a++, b++) {
        int x = *a == '_' ? ' ' : tolower((unsigned char)*a),
            y = *b == '_' ? ' ' : tolower((unsigned char)*b);

        if (x != y)
            return false;
        if (x == '\0')
            return true;
    }
}

enum cs_status csi_model_find_plant(const cs_model *model, const char *text, size_t *plant,
                                    struct cs_error *error)
{
    struct csi_buffer all;
    enum cs_status status;

    *plant = CSI_ANY_PLANT;
    if (text == NULL || text[0] == '\0')
        return CS_OK;
    for (size_t i = 0; i < model->plant_count; i++)
        if (same_plant(text, model->plants[i])) {
            *plant = i;
            return CS_OK;
        }
    if (model->plant_count == 0)
        return csi_fail(error, CS_BAD_REQUEST, "the model's classes name no plant, so not '%.64s' either",
                        text);
    csi_buffer_init(&all);
    for (size_t i = 0; i < model->plant_count; i++)
        csi_buffer_printf(&all, "%s%s", i > 0 ? ", " : "", model->plants[i]);
    status = all.failed
                 ? csi_fail_memory(error, "plants")
                 : csi_fail(error, CS_BAD_REQUEST, "the model knows no plant '%.64s': choose one of %s", text,
                            (const char *)all.bytes);
    csi_buffer_free(&all);
    return status;
}

enum cs_status csi_model_find_class(const cs_model *model, const char *text, size_t *index,
                                    struct cs_error *error)
{
    char *end;
    unsigned long long number;

    for (size_t i = 0; i < model->class_count; i++)
        if (strcmp(text, model->classes[i]) == 0 || strcmp(text, model->labels[i]) == 0) {
            *index = i;
            return CS_OK;
        }
    if (text[0] >= '0' && text[0] <= '9') {
        errno = 0;
        number = strtoull(text, &end, 10);
        if (*end == '\0' && errno == 0 && number < model->class_count) {
            *index = (size_t)number;
            return CS_OK;
        }
    }
    return csi_fail(error, CS_NOT_FOUND, "no class '%.200s': give a name or an index from 0 to %zu", text,
                    model->class_count - 1);
}

bool csi_model_is_of(const cs_model *model, size_t class_index, size_t plant)
{
    return plant == CSI_ANY_PLANT || model->plant_of[class_index] == plant;
}

size_t csi_model_top_class(const cs_model *model, const float *logits, size_t plant)
{
    size_t top = SIZE_MAX;

    for (size_t i = 0; i < model->class_count; i++)
        if (csi_model_is_of(model, i, plant) && (top == SIZE_MAX || logits[i] > logits[top]))
            top = i;
    return top;
}

void csi_model_probabilities(const cs_model *model, const float *logits, size_t plant, float *probabilities)
{
    double highest = -INFINITY, sum = 0;

    for (size_t i = 0; i < model->class_count; i++)
        if (csi_model_is_of(model, i, plant) && (double)logits[i] > highest)
            highest = (double)logits[i];
    for (size_t i = 0; i < model->class_count; i++) {
        double share =
            csi_model_is_of(model, i, plant) ? exp(((double)logits[i] - highest) / model->temperature) : 0;

        probabilities[i] = (float)share;
        sum += share;
    }
    for (size_t i = 0; i < model->class_count; i++)
        probabilities[i] = (float)((double)probabilities[i] / sum);
}
