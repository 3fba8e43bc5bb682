/* CPU detection: masks, names, quotas, SMT topology from recorded trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "kernels/expected_set.h"
#include "kernels/kernels.h"

static void test_quota(void **state)
{
    (void)state;
    assert_int_equal(csi_cpu_parse_quota("max 100000"), 0);
    assert_int_equal(csi_cpu_parse_quota("max"), 0);
    assert_int_equal(csi_cpu_parse_quota("-1 100000"), 0);
    assert_int_equal(csi_cpu_parse_quota("200000 100000"), 2);
    assert_int_equal(csi_cpu_parse_quota("150000 100000\n"), 2); /* rounded up */
    assert_int_equal(csi_cpu_parse_quota("50000 100000"), 1);
    assert_int_equal(csi_cpu_parse_quota("1000 100000"), 1);
    assert_int_equal(csi_cpu_parse_quota("300000"), 3); /* the kernel's default period */
    assert_int_equal(csi_cpu_parse_quota("400000 50000"), 8);
    assert_int_equal(csi_cpu_parse_quota(""), 0);
    assert_int_equal(csi_cpu_parse_quota("nonsense"), 0);
    assert_int_equal(csi_cpu_parse_quota("1e300 1"), 0);
    assert_int_equal(csi_cpu_parse_quota("200000 0"), 2);
    assert_int_equal(csi_cpu_parse_quota(NULL), 0);
}

static void test_masks(void **state)
{
    uint32_t all, allowed;
    struct cs_error error;

    (void)state;
    assert_int_equal(csi_cpu_allowed(NULL, &all, NULL), CS_OK);
    assert_int_equal(all, csi_cpu()->features);
    assert_int_equal(csi_cpu_allowed("", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all);
    assert_int_equal(csi_cpu_allowed("all", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all);
    assert_int_equal(csi_cpu_allowed("generic", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, 0);
    assert_int_equal(csi_cpu_allowed("avx2", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all & (CSI_CPU_SSE41 | CSI_CPU_AVX2));
    assert_int_equal(csi_cpu_allowed("avx512", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all & (CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX512));
    assert_int_equal(csi_cpu_allowed("avx512vnni", &allowed, NULL), CS_OK);
    assert_int_equal(allowed & CSI_CPU_AMX_INT8, 0);
    assert_int_equal(csi_cpu_allowed("amxint8", &allowed, NULL), CS_OK);
    assert_int_equal(allowed & CSI_CPU_AMX_INT8, all & CSI_CPU_AMX_INT8);
    assert_int_equal(allowed & (CSI_CPU_AVX512_BF16 | CSI_CPU_AMX_BF16), 0);
    assert_int_equal(csi_cpu_allowed("avx512bf16", &allowed, NULL), CS_OK);
    assert_int_equal(allowed & (CSI_CPU_AVX512_BF16 | CSI_CPU_AMX_BF16), all & CSI_CPU_AVX512_BF16);
    assert_int_equal(csi_cpu_allowed("amxbf16", &allowed, NULL), CS_OK);
    assert_int_equal(allowed & (CSI_CPU_AMX_BF16 | CSI_CPU_AMX_INT8), all & CSI_CPU_AMX_BF16);
    assert_int_equal(csi_cpu_allowed("generic,sse41", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all & CSI_CPU_SSE41);
    assert_int_equal(csi_cpu_allowed("neon", &allowed, NULL), CS_OK);
    assert_int_equal(allowed, all & CSI_CPU_NEON);
    assert_int_equal(csi_cpu_allowed("avx9", &allowed, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "'avx9'"));
    assert_int_equal(csi_cpu_allowed("avx", &allowed, &error), CS_BAD_REQUEST);
    assert_int_equal(csi_cpu_allowed("avx2,quantum", &allowed, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "quantum"));
}

static void test_names(void **state)
{
    char text[128], tiny[5];

    (void)state;
    csi_cpu_feature_names(CSI_CPU_SSE41 | CSI_CPU_AVX2 | CSI_CPU_AVX512_VNNI, text, sizeof text);
    assert_string_equal(text, "sse41 avx2 avx512vnni");
    csi_cpu_feature_names(0, text, sizeof text);
    assert_string_equal(text, "");
    memset(tiny, 'x', sizeof tiny);
    csi_cpu_feature_names(UINT32_MAX, tiny, sizeof tiny); /* cut, and closed */
    assert_non_null(memchr(tiny, '\0', sizeof tiny));
}

static void test_this_machine(void **state)
{
    const struct csi_cpu *cpu = csi_cpu();

    (void)state;
    assert_true(cpu->physical_cores >= 1);
    assert_true(cpu->logical_cpus >= 1);
    assert_true(cpu->physical_cores <= cpu->logical_cpus);
    assert_true(cpu->brand[0] != '\0');
    assert_true(cpu->l3_bytes >= 4096);
    if (cpu->features & CSI_CPU_AVX512)
        assert_true(cpu->features & CSI_CPU_AVX2);
    if (cpu->features & CSI_CPU_AMX_INT8)
        assert_true(cpu->features & CSI_CPU_AVX512_VNNI);
}

/* A sysfs as a machine with the given sibling lists would show it. */
static void record_tree(char *root, const char *const *siblings, size_t count)
{
    char command[512];

    strcpy(root, "/tmp/csi-cpu-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < count; i++) {
        char path[256];
        FILE *file;

        if (siblings[i] == NULL)
            continue;
        snprintf(command, sizeof command, "mkdir -p %s/devices/system/cpu/cpu%zu/topology", root, i);
        assert_int_equal(system(command), 0);
        snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%zu/topology/thread_siblings_list", root, i);
        file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "%s\n", siblings[i]);
        fclose(file);
    }
}

static void remove_tree(const char *root)
{
    char command[256];

    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

static void test_cores_of_recorded_machines(void **state)
{
    static const char *const split[] = {"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"};
    static const char *const paired[] = {"0-1", "0-1", "2-3", "2-3"};
    static const char *const single[] = {"0", "1", "2", "3"};
    static const char *const unknown[] = {"0-1", "0-1", NULL, "garbage"};
    const bool all[8] = {true, true, true, true, true, true, true, true};
    const bool upper[8] = {false, false, false, false, true, true, true, true};
    const bool one_pair[8] = {true, false, false, false, true, false, false, false};
    const bool none[8] = {false};
    char root[32];

    (void)state;
    record_tree(root, split, 8);
    assert_int_equal(csi_cpu_count_cores(root, all, 8), 4);
    assert_int_equal(csi_cpu_count_cores(root, upper, 8),
                     4); /* the first thread of a core is not ours, the second is */
    assert_int_equal(csi_cpu_count_cores(root, one_pair, 8), 1);
    assert_int_equal(csi_cpu_count_cores(root, none, 8), 0);
    remove_tree(root);
    record_tree(root, paired, 4);
    assert_int_equal(csi_cpu_count_cores(root, all, 4), 2);
    remove_tree(root);
    record_tree(root, single, 4);
    assert_int_equal(csi_cpu_count_cores(root, all, 4), 4);
    remove_tree(root);
    record_tree(root, unknown, 4);
    assert_int_equal(csi_cpu_count_cores(root, all, 4),
                     3); /* what cannot be read counts as a core of its own */
    remove_tree(root);
}

/* The best set that the mask leaves, and before it each lesser one, plain C first. */
static void test_kernel_sets(void **state)
{
    static const char *const masks[] = {"generic", "avx2",    "avx512", "avx512vnni",
                                        "amxint8", "amxbf16", "neon",   "all"};

    (void)state;
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        const struct csi_kernels *sets[CSI_KERNEL_SETS] = {NULL};
        uint32_t features;
        size_t count;

        assert_int_equal(csi_cpu_allowed(masks[i], &features, NULL), CS_OK);
        count = csi_kernels_list(features, sets);
        assert_string_equal(csi_kernels_select(features)->name, expected_set(features));
        assert_ptr_equal(csi_kernels_select(features), sets[count - 1]);
        assert_string_equal(sets[0]->name, "generic");
        assert_int_equal(count > 1, strcmp(expected_set(features), "generic") != 0);
        for (size_t k = 1; k < count; k++)
            assert_ptr_not_equal(sets[k], sets[k - 1]);
    }
}

/* Files of CPU 0's cache `index`; NULL: not there. */
static void record_cache(const char *root, unsigned index, const char *level, const char *type,
                         const char *size)
{
    const char *const names[] = {"level", "type", "size"}, *const texts[] = {level, type, size};
    char path[256];

    snprintf(path, sizeof path, "mkdir -p %s/devices/system/cpu/cpu0/cache/index%u", root, index);
    assert_int_equal(system(path), 0);
    for (size_t i = 0; i < 3; i++) {
        FILE *file;

        if (texts[i] == NULL)
            continue;
        snprintf(path, sizeof path, "%s/devices/system/cpu/cpu0/cache/index%u/%s", root, index, names[i]);
        file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "%s\n", texts[i]);
        fclose(file);
    }
}

static void test_caches_of_recorded_machines(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
    } sizes[] = {{"32768K", (size_t)32 << 20},
                 {"36M", (size_t)36 << 20},
                 {"4096", 4096},
                 {"8192X", 0},
                 {"-4K", 0},
                 {"", 0},
                 {"K", 0},
                 {"4KB", 0},
                 {"99999999999999999999G", 0}};
    char root[32];

    (void)state;
    record_tree(root, NULL, 0);
    assert_int_equal(csi_cpu_cache_bytes(root, 1), 0);
    record_cache(root, 0, "1", "Instruction", "48K");
    record_cache(root, 1, "1", "Data", "64K");
    record_cache(root, 2, "2", "Unified", "1024K");
    record_cache(root, 3, "3", "Unified", "32768K");
    assert_int_equal(csi_cpu_cache_bytes(root, 1), 64 << 10);
    assert_int_equal(csi_cpu_cache_bytes(root, 2), 1 << 20);
    assert_int_equal(csi_cpu_cache_bytes(root, 3), 32 << 20);
    assert_int_equal(csi_cpu_cache_bytes(root, 4), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        record_cache(root, 3, NULL, NULL, sizes[i].text);
        assert_int_equal(csi_cpu_cache_bytes(root, 3), sizes[i].bytes);
    }
    remove_tree(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quota),
                                       cmocka_unit_test(test_masks),
                                       cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_this_machine),
                                       cmocka_unit_test(test_cores_of_recorded_machines),
                                       cmocka_unit_test(test_kernel_sets),
                                       cmocka_unit_test(test_caches_of_recorded_machines)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
