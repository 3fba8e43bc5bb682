/*
 * Aligned memory: alignment, zeros, sizes at the edge of what is mapped, and that big blocks leave the
 * process when they are freed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"

#define MIB ((size_t)1 << 20)

static size_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long all, pages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &all, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void sizes(void **state)
{
    static const size_t cases[] = {0,
                                   1,
                                   63,
                                   64,
                                   65,
                                   4096,
                                   4 * MIB - 1,
                                   4 * MIB,
                                   4 * MIB + 1,
                                   6 * MIB,
                                   6 * MIB - 1,
                                   9 * MIB + 4095,
                                   9 * MIB + 4096,
                                   9 * MIB + 4097};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char *written = csi_aligned_alloc(cases[i]), *zero = csi_aligned_calloc(cases[i]);

        assert_non_null(written);
        assert_non_null(zero);
        assert_int_equal((uintptr_t)written % CSI_ALIGNMENT, 0);
        assert_int_equal((uintptr_t)zero % CSI_ALIGNMENT, 0);
        memset(written, 0xff, cases[i]); /* every byte is there, and none is a neighbour's */
        for (size_t k = 0; k < cases[i]; k++)
            assert_int_equal(zero[k], 0);
        csi_aligned_free(zero);
        csi_aligned_free(written);
    }
    csi_aligned_free(NULL);
}

static void absurd_sizes(void **state)
{
    (void)state;
    assert_null(csi_aligned_alloc(SIZE_MAX));
    assert_null(csi_aligned_alloc(SIZE_MAX - 4096));
    assert_null(csi_aligned_calloc(SIZE_MAX / 2 + 1));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_null(csi_aligned_alloc(SIZE_MAX / 2));
#endif
}

/* As when one model replaces another: big blocks and small ones between them, again and again. */
static void freed_blocks_leave(void **state)
{
    enum { ROUNDS = 12, BLOCKS = 6, SMALL = 3000 };
    size_t first = 0, most = 0;

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they keep freed memory to catch late uses */
#endif
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char *big[BLOCKS], *small[SMALL];
        size_t before;

        for (size_t i = 0; i < BLOCKS; i++) {
            size_t size = 4 * MIB + i * MIB + 7;

            big[i] = csi_aligned_alloc(size);
            assert_non_null(big[i]);
            memset(big[i], 1, size);
        }
        for (size_t i = 0; i < SMALL; i++) {
            small[i] = csi_aligned_alloc(4096);
            assert_non_null(small[i]);
            memset(small[i], 1, 4096);
        }
        before = resident();
        for (size_t i = 0; i < BLOCKS; i++)
            csi_aligned_free(big[i]);
        assert_true(resident() + 38 * MIB < before); /* 39 MiB went */
        for (size_t i = 0; i < SMALL; i++)
            csi_aligned_free(small[i]);
        csi_memory_give_back();
        most = resident() > most ? resident() : most;
        if (round == 0)
            first = most;
    }
    assert_true(most < first + 2 * MIB);
}

static void arena(void **state)
{
    struct csi_arena it;
    unsigned char *a, *b;

    (void)state;
    assert_true(csi_arena_init(&it, 5 * MIB));
    a = csi_arena_take(&it, 1);
    b = csi_arena_take(&it, 5 * MIB - CSI_ALIGNMENT);
    assert_non_null(a);
    assert_ptr_equal(b, a + CSI_ALIGNMENT);
    assert_null(csi_arena_take(&it, 1));
    csi_arena_reset(&it);
    assert_ptr_equal(csi_arena_take(&it, 5 * MIB), a);
    csi_arena_free(&it);
    assert_null(csi_arena_take(&it, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(absurd_sizes),
        cmocka_unit_test(freed_blocks_leave),
        cmocka_unit_test(arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
