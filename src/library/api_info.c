/* Version, build facts and machine of the public header. */
#include <jansson.h>
#include <jconfig.h>
#include <png.h>
#include <protobuf-c/protobuf-c.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <webp/decode.h>
#include <zip.h>
#include <zlib.h>

#include <pthread.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "diagnosis/device.h"
#include "engine/engine.h"

#ifndef CSI_GIT_HASH
#define CSI_GIT_HASH "unknown"
#endif

#ifndef CSI_LIBEXIF_VERSION
#define CSI_LIBEXIF_VERSION "unknown"
#endif

#define TEXT_OF(value)  #value
#define VALUE_OF(value) TEXT_OF(value)

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

static char libraries[256];
static pthread_once_t libraries_once = PTHREAD_ONCE_INIT;

/* What is linked at run time; libjpeg-turbo and libexif tell their version at build time only. */
static void name_libraries(void)
{
    int webp = WebPGetDecoderVersion();

    snprintf(libraries, sizeof libraries,
             "libjpeg-turbo %s, libpng %s, zlib %s, libwebp %d.%d.%d, libzip %s, protobuf-c %s, jansson %s, "
             "libsodium "
             "%s, SQLite %s, libexif %s",
#ifdef LIBJPEG_TURBO_VERSION
             VALUE_OF(LIBJPEG_TURBO_VERSION),
#else
             "unknown",
#endif
             png_get_libpng_ver(NULL), zlibVersion(), webp >> 16 & 0xff, webp >> 8 & 0xff, webp & 0xff,
             zip_libzip_version(), protobuf_c_version(), jansson_version_str(), sodium_version_string(),
             sqlite3_libversion(), CSI_LIBEXIF_VERSION);
}

const char *cs_version(void)
{
    return CS_VERSION_STRING;
}

struct cs_build_info cs_build_info(void)
{
    pthread_once(&libraries_once, name_libraries);
    return (struct cs_build_info){
        .version = CS_VERSION_STRING, .git_hash = CSI_GIT_HASH, .compiler = COMPILER, .libraries = libraries};
}

enum cs_status cs_machine_info(const char *cpu_mask, struct cs_machine_info *info, struct cs_error *error)
{
    const struct csi_cpu *cpu = csi_cpu();
    uint32_t allowed = 0;
    const struct csi_device_api *api;
    struct csi_device_info gpu;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    enum cs_status status = csi_cpu_allowed(cpu_mask, &allowed, error);

    memset(info, 0, sizeof *info);
    if (status != CS_OK)
        return status;
    snprintf(info->cpu, sizeof info->cpu, "%s", cpu->brand);
    csi_cpu_feature_names(cpu->features, info->features, sizeof info->features);
    snprintf(info->kernels, sizeof info->kernels, "%s", csi_cpu_kernels(allowed));
    info->physical_cores = cpu->physical_cores;
    info->logical_cpus = cpu->logical_cpus;
    info->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    if (csi_gpu_open(0, &api, &gpu, NULL) == CS_OK)
        snprintf(info->gpu, sizeof info->gpu, "%s", gpu.name);
    return CS_OK;
}

enum cs_status cs_gpu_info(int index, struct cs_gpu_info *info, struct cs_error *error)
{
    const struct csi_device_api *api;
    struct csi_device_info gpu;
    enum cs_status status;

    memset(info, 0, sizeof *info);
    if (index < 0)
        return csi_fail(error, CS_BAD_REQUEST, "no device has the index %d", index);
    status = csi_gpu_open(index, &api, &gpu, error);
    if (status != CS_OK)
        return status;
    snprintf(info->name, sizeof info->name, "%s", gpu.name);
    snprintf(info->kernels, sizeof info->kernels, "%s", gpu.kernels);
    info->memory_bytes = gpu.memory_bytes;
    return CS_OK;
}

enum cs_status cs_machine_measure(const char *cpu_mask, unsigned threads, struct cs_machine_peaks *peaks,
                                  struct cs_error *error)
{
    struct csi_pool *pool = NULL;
    uint32_t allowed = 0;
    enum cs_status status = csi_cpu_allowed(cpu_mask, &allowed, error);

    memset(peaks, 0, sizeof *peaks);
    if (status == CS_OK)
        status = csi_pool_create(threads != 0 ? threads : csi_cpu()->physical_cores, &pool, error);
    if (status == CS_OK)
        status = csi_measure_peaks(allowed, pool, peaks, error);
    csi_pool_destroy(pool);
    return status;
}
