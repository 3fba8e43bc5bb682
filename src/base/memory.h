/*
 * Memory: aligned allocation and the arena that a forward pass lives in.
 */
#ifndef CSI_BASE_MEMORY_H
#define CSI_BASE_MEMORY_H

#include <stddef.h>

/* Every tensor and packed weight starts on such a boundary: one cache line, one AVX-512 register. */
#define CSI_ALIGNMENT 64u

/* 64-byte aligned memory, not cleared; NULL when there is none or `size` overflows. Freed with
 * csi_aligned_free. Blocks of 4 MiB and more are mappings of their own and leave the process with that. */
void *csi_aligned_alloc(size_t size);
void *csi_aligned_calloc(size_t size);
void csi_aligned_free(void *memory);
/* The same for what lives as long as a model or its loading: mapped from 1 MiB on. */
void *csi_model_alloc(size_t size);

/* Free memory that malloc keeps for later goes back to the system. Takes milliseconds: for after something
 * big went that does not come back, such as a replaced model. */
void csi_memory_give_back(void);

/* Constants of the program's own file that nobody will read for long: their pages leave the process and come
 * back from the file when they are read again. */
void csi_memory_forget(const void *bytes, size_t size);

/* For the start of a program that owns its process: malloc keeps some megabytes of free memory instead of
 * handing every big block back at once. A request's buffers are then no fresh pages each time, which cost
 * more than what is done with them. */
void csi_memory_keep_warm(void);

/* A block that hands out 64-byte aligned pieces from front to back; freed as a whole. One thread at a time.
 */
struct csi_arena {
    unsigned char *memory;
    size_t size, used;
};
/* False: no memory; the arena is then empty. */
int csi_arena_init(struct csi_arena *arena, size_t size);
/* NULL when the arena is full. */
void *csi_arena_take(struct csi_arena *arena, size_t size);
void csi_arena_reset(struct csi_arena *arena);
void csi_arena_free(struct csi_arena *arena);

/* A copy of `text` on the heap (NULL for NULL or when there is no memory). */
char *csi_strdup(const char *text);

#endif
