/*
 * Which kernel set runs: the ladder from plain C up. Owns the finished tables; the sets' files own their
 * contents.
 */
#include <pthread.h>
#include <stddef.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

/* Best last. `features` must all be there. */
static const struct {
    uint32_t features;
    uint32_t extra; /* with these too, `fill_extra` adds to the table */
    void (*fill)(struct csi_kernels *kernels);
    void (*fill_extra)(struct csi_kernels *kernels);
} ladder[] = {
    {0, 0, csi_kernels_fill_generic, NULL},
#if defined(__x86_64__)
    {CSI_CPU_AVX2, 0, csi_kernels_fill_avx2, NULL},
    {CSI_CPU_AVX512, CSI_CPU_AVX512_VNNI, csi_kernels_fill_avx512, csi_kernels_fill_avx512vnni},
    {CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI | CSI_CPU_AMX_INT8, 0, csi_kernels_fill_avx512amx, NULL},
#elif defined(__aarch64__)
    {CSI_CPU_NEON, CSI_CPU_DOTPROD, csi_kernels_fill_neon, csi_kernels_fill_dotprod},
#endif
};

#define STEPS (sizeof ladder / sizeof ladder[0])

/* [step][with extra] */
static struct csi_kernels tables[STEPS][2];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

/* Only what this processor has: the code that fills a set's table is compiled for that set as well. */
static void fill_tables(void)
{
    uint32_t present = csi_cpu()->features;

    for (size_t i = 0; i < STEPS; i++) {
        if ((present & ladder[i].features) != ladder[i].features)
            continue;
        for (size_t extra = 0; extra < 2; extra++) {
            struct csi_kernels *kernels = &tables[i][extra];

            csi_kernels_fill_generic(kernels);
            ladder[i].fill(kernels);
            if (extra == 1 && ladder[i].fill_extra != NULL && (present & ladder[i].extra) == ladder[i].extra)
                ladder[i].fill_extra(kernels);
        }
    }
}

size_t csi_kernels_list(uint32_t cpu_features, const struct csi_kernels *sets[CSI_KERNEL_SETS])
{
    size_t count = 0;

    pthread_once(&tables_once, fill_tables);
    cpu_features &= csi_cpu()->features;
    for (size_t i = 0; i < STEPS; i++) {
        bool extra = (cpu_features & ladder[i].extra) == ladder[i].extra;

        if ((cpu_features & ladder[i].features) == ladder[i].features)
            sets[count++] = &tables[i][extra ? 1 : 0];
    }
    return count;
}

const struct csi_kernels *csi_kernels_select(uint32_t cpu_features)
{
    const struct csi_kernels *sets[CSI_KERNEL_SETS] = {NULL};

    return sets[csi_kernels_list(cpu_features, sets) - 1];
}
