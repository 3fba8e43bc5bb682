/* Memory: see memory.h. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

void *csi_aligned_alloc(size_t size)
{
    if (size > SIZE_MAX - CSI_ALIGNMENT)
        return NULL;
    return aligned_alloc(CSI_ALIGNMENT, csi_round_up(size == 0 ? 1 : size, CSI_ALIGNMENT));
}

void *csi_aligned_calloc(size_t size)
{
    void *memory = csi_aligned_alloc(size);

    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

void csi_aligned_free(void *memory)
{
    free(memory);
}

int csi_arena_init(struct csi_arena *arena, size_t size)
{
    arena->memory = csi_aligned_alloc(size);
    arena->size = arena->memory == NULL ? 0 : size;
    arena->used = 0;
    return arena->memory != NULL;
}

void *csi_arena_take(struct csi_arena *arena, size_t size)
{
    size_t start = csi_round_up(arena->used, CSI_ALIGNMENT);

    if (start > arena->size || size > arena->size - start)
        return NULL;
    arena->used = start + size;
    return arena->memory + start;
}

void csi_arena_reset(struct csi_arena *arena)
{
    arena->used = 0;
}

void csi_arena_free(struct csi_arena *arena)
{
    csi_aligned_free(arena->memory);
    arena->memory = NULL;
    arena->size = arena->used = 0;
}

char *csi_strdup(const char *text)
{
    size_t size;
    char *copy;

    if (text == NULL)
        return NULL;
    size = strlen(text) + 1;
    copy = malloc(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}
