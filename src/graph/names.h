/*
 * Names of a model file and what they stand for: a table whose hash has a secret seed, so that no file can
 * choose names that make it slow. One thread at a time.
 */
#ifndef CSI_GRAPH_NAMES_H
#define CSI_GRAPH_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct json_t;

/* All zero: an empty table. */
struct csi_names {
    struct json_t *table;
};

/* `name`, which is copied, stands for `number` from now on. False: no memory; the table is as it was. */
bool csi_names_put(struct csi_names *names, const char *name, size_t number);
/* False: the name is not there, and `*number` is untouched. */
bool csi_names_find(const struct csi_names *names, const char *name, size_t *number);
/* Leaves an empty table. */
void csi_names_free(struct csi_names *names);

#endif
