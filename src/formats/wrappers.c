/*
 * Names of wrapped networks: see wrappers.h. Names are tried on a copy of the table; the set itself changes
 * only when the network is found, so that every message quotes the file's own names.
 */
#include "formats/wrappers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* What trainers call the member that holds the network. */
static const char *const homes[] = {"model.", "net.", "network.", "backbone."};
#define HOMES (sizeof homes / sizeof homes[0])

static bool begins_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

bool csi_is_extra_name(const char *name)
{
    static const char *const prefixes[] = {"ood.", "reject.", "coach.", "gate.", "int8."};

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (begins_with(name, prefixes[i]))
            return true;
    return false;
}

/* Length of the whole parts ("model.net.") that all names begin with; something is left of each. */
static size_t shared_parts(const struct csi_tensor *tensors, size_t count)
{
    size_t shared = count == 0 ? 0 : strlen(tensors[0].name) - 1;

    for (size_t i = 0; i < count; i++) {
        size_t same = 0;

        while (same < shared && tensors[i].name[same] == tensors[0].name[same])
            same++; /* ends at the end of either name at the latest */
        shared = same < strlen(tensors[i].name) ? same : strlen(tensors[i].name) - 1;
    }
    while (shared > 0 && tensors[0].name[shared - 1] != '.')
        shared--;
    return shared;
}

static void cut_names(struct csi_tensor *tensors, size_t count, size_t length)
{
    for (size_t i = 0; i < count; i++)
        memmove(tensors[i].name, tensors[i].name + length, strlen(tensors[i].name) + 1 - length);
}

/* The tensors under `home` into `found`, without it and what they share behind it; how many there are. */
static size_t take_home(const struct csi_tensor *tensors, size_t count, const char *home,
                        struct csi_tensor *found)
{
    size_t taken = 0;

    for (size_t i = 0; i < count; i++)
        if (begins_with(tensors[i].name, home) && tensors[i].name[strlen(home)] != '\0')
            found[taken++] = tensors[i];
    cut_names(found, taken, strlen(home));
    cut_names(found, taken, shared_parts(found, taken));
    return taken;
}

/* False: no memory. */
static bool note_names(const struct csi_tensor *tensors, size_t count, struct csi_names *names)
{
    bool noted = true;

    for (size_t i = 0; i < count && noted; i++)
        noted = csi_names_put(names, tensors[i].name, i);
    return noted;
}

static bool is_network(const struct csi_tensor *tensors, size_t count)
{
    struct csi_weights weights = {.tensors = tensors, .count = count};
    bool found;

    if (!note_names(tensors, count, &weights.names))
        csi_names_free(&weights.names); /* without memory the tensors are looked through */
    found = csi_recognise_architecture(&weights) != NULL;
    csi_names_free(&weights.names);
    return found;
}

/* Is `word` one of the words of the name's first part, as "acc" is in "val_acc.total"? */
static bool has_word(const char *name, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = name; *at != '\0' && *at != '.'; at++) {
        size_t same = 0;

        if (at != name && at[-1] != '_')
            continue;
        while (same < length && tolower((unsigned char)at[same]) == word[same])
            same++;
        if (same == length && !isalpha((unsigned char)at[same]))
            return true;
    }
    return false;
}

/* State that training alone reads. Whole numbers count something. A loss weighs classes by one number each
 * and a metric keeps one, or counts each class against each; what holds another matrix (as the losses and
 * heads of metric learning do) is the classifier itself. */
static bool is_training_state(const struct csi_tensor *tensor, enum csi_dtype dtype)
{
    static const char *const losses[] = {"loss", "losses",       "criterion",     "criteria",
                                         "crit", "class_weight", "class_weights", "pos_weight"};
    static const char *const metrics[] = {"metric", "metrics",   "acc",    "accuracy", "f1",
                                          "iou",    "auroc",     "auprc",  "auc",      "precision",
                                          "recall", "confusion", "confmat"};

    bool whole = dtype == CSI_I64 || dtype == CSI_I32 || dtype == CSI_BOOL;

    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        if (has_word(tensor->name, losses[i]))
            return tensor->rank <= 1;
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        if (has_word(tensor->name, metrics[i]))
            return whole || tensor->rank <= 1 || (tensor->rank == 2 && tensor->dims[0] == tensor->dims[1]);
    return whole;
}

/* What stands beside the network under `home` (`own`: its tensors' names) goes behind it in `found` when it
 * is an extra; anything that a prediction may need is refused. */
static enum cs_status look_beside(const struct csi_tensor_set *set, const struct csi_tensor *tensors,
                                  const char *home, const struct csi_names *own, struct csi_tensor *found,
                                  size_t *taken, struct cs_error *error)
{
    for (size_t i = 0; i < set->count; i++) {
        const char *name = tensors[i].name;
        size_t at;

        if (begins_with(name, home) && name[strlen(home)] != '\0')
            continue;
        if (csi_is_extra_name(name)) {
            if (csi_names_find(own, name, &at)) /* those beside have names of their own: the set saw to it */
                return csi_fail(error, CS_MODEL_INVALID, "there are two tensors named '%s'", name);
            found[(*taken)++] = tensors[i];
        } else if (!is_training_state(&tensors[i], set->dtypes[i])) {
            return csi_fail(error, CS_MODEL_UNSUPPORTED,
                            "tensor '%s' stands beside the network '%.*s' and is neither a loss's nor a "
                            "metric's: save the network's own state_dict, or export ONNX",
                            name, (int)strlen(home) - 1, home);
        }
    }
    return CS_OK;
}

/* The set becomes `found`: `own` tensors of the network, then those from beside it, both in the set's order,
 * with the set's data. The data of the others are freed. */
static void become(struct csi_tensor_set *set, const struct csi_tensor *found, size_t own, size_t taken)
{
    size_t kept = 0, at = 0, beside = own;

    for (size_t i = 0; i < set->count; i++) {
        if (at < own && found[at].data == set->tensors[i].data) {
            set->tensors[kept] = found[at++];
        } else if (beside < taken && found[beside].data == set->tensors[i].data) {
            set->tensors[kept] = found[beside++];
        } else {
            csi_aligned_free((void *)(uintptr_t)set->tensors[i].data);
            continue;
        }
        set->dtypes[kept++] = set->dtypes[i];
    }
    set->count = kept;
    csi_tensor_set_renamed(set);
}

static enum cs_status find_member(struct csi_tensor_set *set, const struct csi_tensor *tensors,
                                  struct csi_tensor *found, struct cs_error *error)
{
    const char *home = NULL;
    struct csi_names names = {0};
    size_t own, taken;
    enum cs_status status;

    for (size_t i = 0; i < HOMES; i++) {
        if (!is_network(found, take_home(tensors, set->count, homes[i], found)))
            continue;
        if (home != NULL)
            return csi_fail(error, CS_MODEL_UNSUPPORTED,
                            "the file holds two networks, '%.*s' and '%.*s': save the state_dict of one",
                            (int)strlen(home) - 1, home, (int)strlen(homes[i]) - 1, homes[i]);
        home = homes[i];
    }
    if (home == NULL)
        return CS_OK;
    own = taken = take_home(tensors, set->count, home, found);
    status = note_names(found, own, &names) ? look_beside(set, tensors, home, &names, found, &taken, error)
                                            : csi_fail_memory(error, "tensor names");
    csi_names_free(&names);
    if (status == CS_OK)
        become(set, found, own, taken);
    return status;
}

/* Told by the names' beginnings alone, so that other files cost nothing. */
static bool may_be_wrapped(const struct csi_tensor_set *set, size_t shared)
{
    bool may = shared > 0;

    for (size_t i = 0; i < set->count && !may; i++)
        for (size_t k = 0; k < HOMES && !may; k++)
            may = begins_with(set->tensors[i].name, homes[k]);
    return may;
}

enum cs_status csi_tensor_set_unwrap(struct csi_tensor_set *set, struct cs_error *error)
{
    struct csi_tensor *tensors, *found;
    size_t shared = shared_parts(set->tensors, set->count);
    enum cs_status status = CS_OK;

    if (!may_be_wrapped(set, shared) || is_network(set->tensors, set->count))
        return CS_OK;
    tensors = malloc(2 * set->count * sizeof *tensors);
    if (tensors == NULL)
        return csi_fail_memory(error, "tensor names");
    found = tensors + set->count;
    memcpy(tensors, set->tensors, set->count * sizeof *tensors);
    cut_names(tensors, set->count, shared);
    if (is_network(tensors, set->count))
        become(set, tensors, set->count, set->count);
    else
        status = find_member(set, tensors, found, error);
    free(tensors);
    return status;
}
