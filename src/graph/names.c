/* Names and what they stand for: see names.h. The hash table is Jansson's, which seeds itself at random. */
#include "graph/names.h"

#include <jansson.h>

bool csi_names_put(struct csi_names *names, const char *name, size_t number)
{
    if (names->table == NULL)
        names->table = json_object();
    return json_object_set_new_nocheck(names->table, name, json_integer((json_int_t)number)) == 0;
}

bool csi_names_find(const struct csi_names *names, const char *name, size_t *number)
{
    const json_t *found = json_object_get(names->table, name);

    if (found == NULL)
        return false;
    *number = (size_t)json_integer_value(found);
    return true;
}

void csi_names_free(struct csi_names *names)
{
    json_decref(names->table);
    names->table = NULL;
}
