/* The page's files: see assets.h. The table is generated from web/ by the build. */
#include "server/assets.h"

#include <string.h>

#include "web_files.h"

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".webmanifest", "application/manifest+json"},
    {".json", "application/json"},
};

static const char *type_of(const char *name)
{
    const char *suffix = strrchr(name, '.');

    for (size_t i = 0; suffix != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(suffix, types[i].suffix) == 0)
            return types[i].type;
    return "application/octet-stream";
}

int csi_asset_find(const char *name, struct csi_asset *asset)
{
    for (const struct csi_web_file *file = csi_web_files; file->name != NULL; file++) {
        if (strcmp(file->name, name) != 0)
            continue;
        asset->bytes = file->bytes;
        asset->size = *file->size;
        asset->type = type_of(name);
        return 1;
    }
    return 0;
}
