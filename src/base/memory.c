/* Memory: see memory.h. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"

/* From this size on a block is worth 2 MiB pages: packed weights and arenas are touched once at start, and
 * 512 page faults a page set cost more than packing does; afterwards the panels need fewer TLB entries. */
#define HUGE_FROM ((size_t)4 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

void *csi_aligned_alloc(size_t size)
{
    size_t alignment = size >= HUGE_FROM ? HUGE_PAGE : CSI_ALIGNMENT;
    void *memory;

    if (size > SIZE_MAX - HUGE_PAGE)
        return NULL;
    memory = aligned_alloc(alignment, csi_round_up(size == 0 ? 1 : size, alignment)); /* C11: a multiple */
    if (memory != NULL && size >= HUGE_FROM)
        madvise(memory, size / HUGE_PAGE * HUGE_PAGE,
                MADV_HUGEPAGE); /* a hint: without it nothing but speed is lost */
    return memory;
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
