/*
 * CPU detection: see cpu.h. Owns cpuid/hwcap reading, SMT topology and caches from sysfs, cgroup quotas and
 * the mask names.
 */
#include "base/cpu.h"

#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define MAX_CPUS 1024u

/* ARCH_REQ_XCOMP_PERM of Linux's asm/prctl.h, which headers before 5.16 lack, and the number of the tiles'
 * data among x86's extended states (Documentation/arch/x86/xstate.rst). */
#define REQUEST_PERMISSION 0x1023
#define TILE_DATA          18

static const struct {
    const char *name;
    uint32_t bit;
    uint32_t allows; /* what the name lets through as a mask word: itself and what stands below it */
} sets[] = {
    {"sse41", CSI_CPU_SSE41, CSI_CPU_SSE41},
    {"avx2", CSI_CPU_AVX2, CSI_CPU_SSE41 | CSI_CPU_AVX2},
    {"avxvnni", CSI_CPU_AVX_VNNI, CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX_VNNI},
    {"avx512", CSI_CPU_AVX512, CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX512},
    {"avx512vnni", CSI_CPU_AVX512_VNNI,
     CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX_VNNI | CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI},
    {"avx512bf16", CSI_CPU_AVX512_BF16,
     CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX_VNNI | CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI |
         CSI_CPU_AVX512_BF16},
    {"amxint8", CSI_CPU_AMX_INT8,
     CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX_VNNI | CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI |
         CSI_CPU_AMX_INT8},
    {"amxbf16", CSI_CPU_AMX_BF16,
     CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX_VNNI | CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI |
         CSI_CPU_AVX512_BF16 | CSI_CPU_AMX_BF16},
    {"neon", CSI_CPU_NEON, CSI_CPU_NEON},
    {"dotprod", CSI_CPU_DOTPROD, CSI_CPU_NEON | CSI_CPU_DOTPROD},
    {"i8mm", CSI_CPU_I8MM, CSI_CPU_NEON | CSI_CPU_DOTPROD | CSI_CPU_I8MM},
};

/* ---- instruction sets ---- */

#if defined(__x86_64__) || defined(__i386__)

/* Which register files the operating system saves: without that an instruction set faults although cpuid
 * lists it. */
static uint64_t os_saved_state(void)
{
    uint32_t low = 0, high = 0;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

static bool has(uint32_t reg, unsigned bit)
{
    return (reg >> bit & 1u) != 0;
}

/* Linux hands the state of AMX's tiles out on request only, to the whole process: since 5.16, and not beside
 * a signal stack that could not hold it. */
static bool may_use_tiles(void)
{
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static uint32_t detect_features(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0, b7 = 0, c7 = 0, d7 = 0, a71 = 0, features = 0;
    uint64_t saved = 0;
    bool ymm, zmm, tiles;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (has(c, 27))
        saved = os_saved_state();
    ymm = (saved & 0x6u) == 0x6u;
    zmm = (saved & 0xe6u) == 0xe6u;
    tiles = (saved & 0x60000u) == 0x60000u;
    if (has(c, 19))
        features |= CSI_CPU_SSE41;
    if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) {
        uint32_t unused = 0;

        __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
    }
    if (ymm && has(b7, 5) && has(c, 12) && has(c, 29)) { /* AVX2, FMA, F16C */
        features |= CSI_CPU_AVX2;
        if (has(a71, 4))
            features |= CSI_CPU_AVX_VNNI;
        if (zmm && has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31)) { /* F, DQ, BW, VL */
            features |= CSI_CPU_AVX512;
            if (has(c7, 11))
                features |= CSI_CPU_AVX512_VNNI;
            if (has(a71, 5))
                features |= CSI_CPU_AVX512_BF16;
            if (tiles && has(d7, 24) && may_use_tiles()) { /* TILE */
                if (has(c7, 11) && has(d7, 25))
                    features |= CSI_CPU_AMX_INT8;
                if (has(a71, 5) && has(d7, 22))
                    features |= CSI_CPU_AMX_BF16;
            }
        }
    }
    return features;
}

static void detect_brand(char *brand, size_t size)
{
    uint32_t words[12];
    char text[sizeof words + 1];
    const char *start = text;
    size_t length;

    memset(words, 0, sizeof words);
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    memcpy(text, words, sizeof words);
    text[sizeof words] = '\0';
    while (*start == ' ')
        start++;
    length = strlen(start);
    while (length > 0 && start[length - 1] == ' ')
        length--;
    snprintf(brand, size, "%.*s", (int)length, length > 0 ? start : "");
    if (length == 0)
        snprintf(brand, size, "x86 CPU");
}

#elif defined(__aarch64__)

static uint32_t detect_features(void)
{
    unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    uint32_t features = CSI_CPU_NEON;

    if (caps & (1ul << 20))
        features |= CSI_CPU_DOTPROD;
    if (caps2 & (1ul << 13))
        features |= CSI_CPU_I8MM;
    return features;
}

static void detect_brand(char *brand, size_t size)
{
    snprintf(brand, size, "ARM64 CPU");
}

#else

static uint32_t detect_features(void)
{
    return 0;
}

static void detect_brand(char *brand, size_t size)
{
    snprintf(brand, size, "CPU");
}

#endif

/* ---- topology ---- */

/* First line of a small file, without its newline; false when it cannot be read. */
static bool read_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    bool ok;

    if (file == NULL)
        return false;
    ok = fgets(text, (int)size, file) != NULL;
    fclose(file);
    if (ok)
        text[strcspn(text, "\n")] = '\0';
    return ok;
}

/* The lowest CPU of a kernel list ("0-1,4") that is allowed; -1 when there is none. */
static long lowest_allowed(const char *list, const bool *allowed, size_t count)
{
    while (*list != '\0') {
        char *end;
        long first = strtol(list, &end, 10), last = first;

        if (end == list)
            return -1;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long cpu = first; cpu >= 0 && cpu <= last && cpu < (long)count; cpu++) {
            if (allowed[cpu])
                return cpu;
        }
        list = *end == ',' ? end + 1 : end;
        if (*end != ',' && *end != '\0')
            return -1;
    }
    return -1;
}

unsigned csi_cpu_count_cores(const char *sysfs, const bool *allowed, size_t count)
{
    unsigned cores = 0;

    for (size_t cpu = 0; cpu < count; cpu++) {
        char path[512], list[256];
        long first;

        if (!allowed[cpu])
            continue;
        snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%zu/topology/thread_siblings_list", sysfs, cpu);
        if (!read_line(path, list, sizeof list)) {
            cores++; /* nothing known: count it as a core of its own */
            continue;
        }
        first = lowest_allowed(list, allowed, count);
        if (first < 0 || (size_t)first == cpu)
            cores++;
    }
    return cores;
}

unsigned csi_cpu_parse_quota(const char *cpu_max)
{
    char *end;
    double quota, period;

    if (cpu_max == NULL)
        return 0;
    while (isspace((unsigned char)*cpu_max))
        cpu_max++;
    quota = strtod(cpu_max, &end);
    if (end == cpu_max || !(quota > 0.0))
        return 0; /* "max", "-1" or nonsense: no limit */
    period = strtod(end, &end);
    if (!(period > 0.0))
        period = 100000.0;
    if (quota / period >= (double)MAX_CPUS)
        return 0;
    {
        unsigned whole = (unsigned)(quota / period);

        return (double)whole * period < quota ? whole + 1 : whole;
    }
}

static unsigned smaller_limit(unsigned a, unsigned b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* The tightest quota of a group and its ancestors. `path` is shortened on the way. */
static unsigned quota_up_the_tree(const char *mount, char *path, bool version2)
{
    unsigned limit = 0;

    for (;;) {
        char file[1024], text[128];
        char *slash;

        if (version2) {
            snprintf(file, sizeof file, "%s%s/cpu.max", mount, path);
            if (read_line(file, text, sizeof text))
                limit = smaller_limit(limit, csi_cpu_parse_quota(text));
        } else {
            char quota[64], period[64];

            snprintf(file, sizeof file, "%s%s/cpu.cfs_quota_us", mount, path);
            if (read_line(file, quota, sizeof quota)) {
                snprintf(file, sizeof file, "%s%s/cpu.cfs_period_us", mount, path);
                if (!read_line(file, period, sizeof period))
                    period[0] = '\0';
                snprintf(text, sizeof text, "%.60s %.60s", quota, period);
                limit = smaller_limit(limit, csi_cpu_parse_quota(text));
            }
        }
        slash = strrchr(path, '/');
        if (slash == NULL)
            return limit;
        *slash = '\0';
    }
}

/* Whole CPUs that the cgroup lets this process use, 0 for no limit. Inside a container the listed path may
 * not exist under the mount: walking up ends at the mount itself, which is then the container's own group. */
static unsigned detect_quota(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[900];
    unsigned limit = 0;

    if (file == NULL)
        return 0;
    while (fgets(line, (int)sizeof line, file) != NULL) {
        char *controllers = strchr(line, ':'), *path;

        if (controllers == NULL || (path = strchr(++controllers, ':')) == NULL)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (path[0] == '/' && path[1] == '\0')
            path[0] = '\0';
        if (controllers[0] == '\0') {
            limit = smaller_limit(limit, quota_up_the_tree("/sys/fs/cgroup", path, true));
        } else if (strcmp(controllers, "cpu") == 0 || strncmp(controllers, "cpu,", 4) == 0 ||
                   strstr(controllers, ",cpu,") != NULL ||
                   (strlen(controllers) > 4 && strcmp(controllers + strlen(controllers) - 4, ",cpu") == 0)) {
            limit = smaller_limit(limit, quota_up_the_tree("/sys/fs/cgroup/cpu", path, false));
        }
    }
    fclose(file);
    return limit;
}

/* One of a CPU's cache files, "index2/size". */
static bool read_cache_line(const char *sysfs, unsigned index, const char *name, char *text, size_t size)
{
    char path[512];

    snprintf(path, sizeof path, "%s/devices/system/cpu/cpu0/cache/index%u/%s", sysfs, index, name);
    return read_line(path, text, size);
}

/* "512K", "32M" -> bytes; 0 for anything else. */
static size_t parse_cache_size(const char *text)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

    if (end == text || text[0] == '-' || end[shift != 0] != '\0' || number > SIZE_MAX >> shift)
        return 0;
    return (size_t)(number << shift);
}

size_t csi_cpu_cache_bytes(const char *sysfs, unsigned level)
{
    char text[64];

    for (unsigned index = 0; read_cache_line(sysfs, index, "level", text, sizeof text); index++) {
        if (strtoul(text, NULL, 10) != level || !read_cache_line(sysfs, index, "type", text, sizeof text) ||
            strcmp(text, "Instruction") == 0 || !read_cache_line(sysfs, index, "size", text, sizeof text))
            continue;
        return parse_cache_size(text);
    }
    return 0;
}

/* glibc reads the caches from cpuid and, on other processors, from nothing: 0. The kernel knows them there.
 */
static size_t detect_l3(void)
{
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t known = size > 0 ? (size_t)size : csi_cpu_cache_bytes("/sys", 3);

    return known > 0 ? known : 2u << 20;
}

static void detect_topology(struct csi_cpu *cpu)
{
    static bool allowed[MAX_CPUS]; /* filled once, under pthread_once */
    cpu_set_t mask;
    unsigned quota;

    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
        for (unsigned i = 0; i < MAX_CPUS && i < CPU_SETSIZE; i++) {
            allowed[i] = CPU_ISSET(i, &mask) != 0;
            cpu->logical_cpus += allowed[i] ? 1u : 0u;
        }
        cpu->physical_cores = csi_cpu_count_cores("/sys", allowed, MAX_CPUS);
    } else {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        cpu->logical_cpus = cpu->physical_cores = online > 0 ? (unsigned)online : 1u;
    }
    if (cpu->logical_cpus == 0)
        cpu->logical_cpus = 1;
    quota = detect_quota();
    if (quota > 0 && quota < cpu->physical_cores)
        cpu->physical_cores = quota;
    if (cpu->physical_cores == 0)
        cpu->physical_cores = 1;
    cpu->l3_bytes = detect_l3();
}

static struct csi_cpu detected;
static pthread_once_t detected_once = PTHREAD_ONCE_INIT;

static void detect(void)
{
    detected.features = detect_features();
    detect_brand(detected.brand, sizeof detected.brand);
    detect_topology(&detected);
}

const struct csi_cpu *csi_cpu(void)
{
    pthread_once(&detected_once, detect);
    return &detected;
}

/* ---- masks and names ---- */

enum cs_status csi_cpu_allowed(const char *mask, uint32_t *allowed, struct cs_error *error)
{
    uint32_t bits = 0;

    *allowed = csi_cpu()->features;
    if (mask == NULL || mask[0] == '\0')
        return CS_OK;
    while (*mask != '\0') {
        size_t length = strcspn(mask, ",");
        bool known = false;

        if (length == 0 || (length == 7 && strncmp(mask, "generic", 7) == 0)) {
            known = true;
        } else if (length == 3 && strncmp(mask, "all", 3) == 0) {
            known = true;
            bits = UINT32_MAX;
        }
        for (size_t i = 0; i < sizeof sets / sizeof sets[0] && !known; i++) {
            if (strlen(sets[i].name) == length && strncmp(sets[i].name, mask, length) == 0) {
                bits |= sets[i].allows;
                known = true;
            }
        }
        if (!known)
            return csi_fail(
                error, CS_BAD_REQUEST,
                "unknown instruction set '%.*s' (generic, sse41, avx2, avxvnni, avx512, avx512vnni, "
                "avx512bf16, amxint8, amxbf16, neon, dotprod, i8mm, all)",
                (int)(length > 40 ? 40 : length), mask);
        mask += length;
        if (*mask == ',')
            mask++;
    }
    *allowed &= bits;
    return CS_OK;
}

const char *csi_cpu_kernels(uint32_t features)
{
    return (features & CSI_CPU_AVX512) != 0 ? "avx512"
           : (features & CSI_CPU_AVX2) != 0 ? "avx2"
           : (features & CSI_CPU_NEON) != 0 ? "neon"
                                            : "generic";
}

void csi_cpu_feature_names(uint32_t features, char *text, size_t size)
{
    size_t used = 0;

    if (size == 0)
        return;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        int length;

        if ((features & sets[i].bit) == 0)
            continue;
        length = snprintf(text + used, size - used, "%s%s", used > 0 ? " " : "", sets[i].name);
        if (length < 0 || (size_t)length >= size - used)
            return;
        used += (size_t)length;
    }
}
