/* Memory: see memory.h. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/checked.h"

/* From these sizes on a block is mapped by itself. It is worth 2 MiB pages: packed weights and arenas are
 * touched once at start, and 512 page faults a page set cost more than packing does; afterwards the panels
 * need fewer TLB entries. And it goes back to the system when it is freed: malloc would sooner or later serve
 * such blocks from its heaps, where the memory of a replaced model stays behind. Blocks of a request come and
 * go, and are best served from a heap that is warm, up to a larger size than those of a model.
 * AddressSanitizer sees overruns of its own blocks alone, so under it malloc serves all. */
#if defined(__has_feature) /* clang's way to say it */
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WATCHED)
#define MAPPED_FROM SIZE_MAX
#define MODEL_FROM  SIZE_MAX
#else
#define MAPPED_FROM ((size_t)4 << 20)
#define MODEL_FROM  ((size_t)1 << 20)
#endif
#define HUGE_PAGE ((size_t)2 << 20)

/* Right in front of the memory that is handed out. */
struct header {
    unsigned char *base;
    size_t mapped; /* bytes; 0: from malloc */
};
_Static_assert(sizeof(struct header) <= CSI_ALIGNMENT, "the header has one alignment unit");

static void *hand_out(unsigned char *memory, unsigned char *base, size_t mapped)
{
    struct header header = {base, mapped};

    memcpy(memory - sizeof header, &header, sizeof header);
    return memory;
}

/* `size` bytes on a 2 MiB boundary, one unit for the header in front; zero. */
static void *map_block(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = csi_round_up(CSI_ALIGNMENT, page);
    size_t rest = size % HUGE_PAGE, wanted, whole, ahead;
    unsigned char *base;

    size = csi_round_up(size, rest >= HUGE_PAGE / 4 * 3 ? HUGE_PAGE
                                                        : page); /* a short tail is worth no huge page */
    wanted = before + size;
    whole = wanted + HUGE_PAGE;
    base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED)
        return NULL;
    ahead = csi_round_up((uintptr_t)base + before, HUGE_PAGE) - before - (uintptr_t)base;
    if (ahead > 0)
        munmap(base, ahead);
    base += ahead;
    if (whole - ahead > wanted)
        munmap(base + wanted, whole - ahead - wanted);
    /* A hint: without it nothing but speed is lost. */
    madvise(base + before, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return hand_out(base + before, base, wanted);
}

static void *allocate(size_t size, size_t mapped_from)
{
    unsigned char *base;

    if (size > SIZE_MAX / 2)
        return NULL;
    if (size >= mapped_from)
        return map_block(size);
    /* C11: a multiple of the alignment */
    base = aligned_alloc(CSI_ALIGNMENT, CSI_ALIGNMENT + csi_round_up(size == 0 ? 1 : size, CSI_ALIGNMENT));
    return base == NULL ? NULL : hand_out(base + CSI_ALIGNMENT, base, 0);
}

void *csi_aligned_alloc(size_t size)
{
    return allocate(size, MAPPED_FROM);
}

void *csi_model_alloc(size_t size)
{
    return allocate(size, MODEL_FROM);
}

void *csi_aligned_calloc(size_t size)
{
    void *memory = csi_aligned_alloc(size);

    if (memory != NULL && size < MAPPED_FROM) /* what was mapped is zero */
        memset(memory, 0, size);
    return memory;
}

void csi_aligned_free(void *memory)
{
    struct header header;

    if (memory == NULL)
        return;
    memcpy(&header, (unsigned char *)memory - sizeof header, sizeof header);
    if (header.mapped != 0)
        munmap(header.base, header.mapped);
    else
        free(header.base);
}

void csi_memory_give_back(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

void csi_memory_forget(const void *bytes, size_t size)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = csi_round_up((uintptr_t)bytes, page);
    const uintptr_t last = ((uintptr_t)bytes + size) / page * page;

    if (first < last)
        madvise((void *)first, last - first, MADV_DONTNEED); /* a hint: only memory is lost without it */
}

void csi_memory_keep_warm(void)
{
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 8 << 20); /* larger than any buffer of a request for a photo of usual size */
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
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
