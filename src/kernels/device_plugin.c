/*
 * Loads the plug-in of a device. It is trusted as the program is, so it comes from where the program comes
 * from and from nowhere else: no environment variable and no current folder has a say.
 */
#include "kernels/device_plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef CSI_PLUGIN_FOLDER
#define CSI_PLUGIN_FOLDER "/usr/local/lib/cropshield"
#endif

static bool is_complete(const struct csi_device_api *api)
{
    return api->info != NULL && api->plan_create != NULL && api->plan_destroy != NULL &&
           api->run_create != NULL && api->run_destroy != NULL && api->lend != NULL && api->run != NULL;
}

/* A file of another kind than the program's own is refused whole: closed again. */
static enum cs_status open_file(const char *path, const struct csi_device_api **api, struct cs_error *error)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    csi_device_entry *entry = NULL;
    const struct csi_device_api *found;
    void *symbol;

    if (library == NULL)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the plug-in cannot be loaded: %s", dlerror());
    symbol = dlsym(library, CSI_DEVICE_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* C has no cast from an object to a function */
    found = entry == NULL ? NULL : entry();
    if (found == NULL)
        csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' is no plug-in: it has no %s", path, CSI_DEVICE_ENTRY);
    else if (found->abi != CSI_DEVICE_ABI)
        csi_fail(error, CS_MODEL_UNSUPPORTED,
                 "'%s' is of another version: its interface is number %u, this program's %u", path,
                 (unsigned)found->abi, (unsigned)CSI_DEVICE_ABI);
    else if (!is_complete(found))
        csi_fail(error, CS_MODEL_UNSUPPORTED, "'%s' is no whole plug-in: functions are missing", path);
    else
        *api = found;
    if (*api == NULL) {
        dlclose(library);
        return CS_MODEL_UNSUPPORTED;
    }
    return CS_OK;
}

enum cs_status csi_device_load_from(const char *const *folders, size_t count,
                                    const struct csi_device_api **api, struct cs_error *error)
{
    char path[PATH_MAX], places[400] = "";

    *api = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(places);

        if (folders[i][0] != '/')
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folders[i], CSI_DEVICE_FILE) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return open_file(path, api, error);
        snprintf(places + length, sizeof places - length, "%s'%.120s'", length == 0 ? "" : ", ", folders[i]);
    }
    return csi_fail(error, CS_NOT_FOUND, "no plug-in: %s is not in %s", CSI_DEVICE_FILE, places);
}

/* The folder of the program or shared library that this function is in, without a slash at its end. */
static bool own_folder(char *folder, size_t size)
{
    Dl_info info;
    struct link_map *map = NULL;
    char *slash;
    ssize_t length = -1;

    if (dladdr1((const void *)is_complete, &info, (void **)&map, RTLD_DL_LINKMAP) == 0)
        return false;
    if (map == NULL || map->l_name == NULL || map->l_name[0] == '\0') {
        /* The program itself: what it was called by may be a name without a folder. */
        length = readlink("/proc/self/exe", folder, size - 1);
        if (length < 0)
            return false;
        folder[length] = '\0';
    } else if (snprintf(folder, size, "%s", map->l_name) >= (int)size) {
        return false;
    }
    slash = strrchr(folder, '/');
    if (folder[0] != '/' || slash == folder)
        return false;
    *slash = '\0';
    return true;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct csi_device_api *loaded;
static struct cs_error why_not;

static void load(void)
{
    char own[PATH_MAX - 32] = "", beside[PATH_MAX] = "";
    const char *folders[3];
    size_t count = 0;

    if (own_folder(own, sizeof own)) {
        snprintf(beside, sizeof beside, "%s/../lib/cropshield", own);
        folders[count++] = own;
        folders[count++] = beside;
    }
    folders[count++] = CSI_PLUGIN_FOLDER;
    csi_device_load_from(folders, count, &loaded, &why_not);
}

enum cs_status csi_device_load(const struct csi_device_api **api, struct cs_error *error)
{
    pthread_once(&once, load);
    *api = loaded;
    return loaded != NULL ? CS_OK : csi_fail(error, why_not.status, "%s", why_not.message);
}
