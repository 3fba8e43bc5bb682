/*
 * CPU: instruction sets, topology, quota. Owns detection and `--cpu-mask`; which kernel runs is the kernels
 * floor's choice.
 */
#ifndef CSI_BASE_CPU_H
#define CSI_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Instruction sets, as bits. Each x86 level means: the CPU and the operating system both support it. */
enum csi_cpu_feature {
    CSI_CPU_SSE41 = 1u << 0,
    CSI_CPU_AVX2 = 1u << 1,   /* AVX2 + FMA + F16C */
    CSI_CPU_AVX512 = 1u << 2, /* F + BW + DQ + VL */
    CSI_CPU_AVX512_VNNI = 1u << 3,
    CSI_CPU_AVX512_BF16 = 1u << 4,
    CSI_CPU_AVX_VNNI = 1u << 5, /* the 256-bit VEX form */
    CSI_CPU_AMX_INT8 = 1u << 6, /* tiles of bytes, beside AVX-512 VNNI; this process may use them */
    CSI_CPU_AMX_BF16 = 1u << 7, /* tiles of bfloat16, beside AVX-512 BF16; likewise */
    CSI_CPU_NEON = 1u << 8,
    CSI_CPU_DOTPROD = 1u << 9,
    CSI_CPU_I8MM = 1u << 10
};

struct csi_cpu {
    char brand[96];
    uint32_t features;       /* of the machine */
    unsigned physical_cores; /* allowed to this process: affinity mask, one an SMT group, cgroup quota rounded
                                up; ≥ 1 */
    unsigned logical_cpus;   /* allowed by the affinity mask */
    size_t l3_bytes;         /* shared; a cautious guess when unknown */
};

/* Detected once, then constant. Thread-safe. */
const struct csi_cpu *csi_cpu(void);

/* `mask`: comma-separated names of the most that may be used: "generic", "sse41", "avx2", "avx512",
 * "avxvnni", "avx512vnni", "avx512bf16", "amxint8", "amxbf16", "neon", "dotprod", "i8mm", "all"; a name
 * allows what stands below it too ("avx512" allows avx2). NULL or "": everything. The result is `allowed` =
 * machine features ∩ mask. CS_BAD_REQUEST names an unknown word. */
enum cs_status csi_cpu_allowed(const char *mask, uint32_t *allowed, struct cs_error *error);

/* The kernel set for CPUs with `features`: "generic", "avx2", … A constant string. */
const char *csi_cpu_kernels(uint32_t features);

/* Space-separated names of `features` into `text`. */
void csi_cpu_feature_names(uint32_t features, char *text, size_t size);

/* The parts of detection that tests feed with recorded files: cgroup v2 "cpu.max" content -> whole CPUs (0:
 * no limit). */
unsigned csi_cpu_parse_quota(const char *cpu_max);
/* Size of CPU 0's data or unified cache of that level, from the tree at `sysfs` ("/sys"); 0 when unknown. */
size_t csi_cpu_cache_bytes(const char *sysfs, unsigned level);
/* Physical cores among the CPUs with allowed[cpu], from the tree at `sysfs` ("/sys"). */
unsigned csi_cpu_count_cores(const char *sysfs, const bool *allowed, size_t count);

#endif
