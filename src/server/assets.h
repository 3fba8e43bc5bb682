/* The page's files, embedded in the binary. */
#ifndef CSI_SERVER_ASSETS_H
#define CSI_SERVER_ASSETS_H

#include <stddef.h>
#include <stdint.h>

struct csi_asset {
    const uint8_t *bytes;
    size_t size;
    const char *type; /* Content-Type */
};

/* False: no such file. Thread-safe. */
int csi_asset_find(const char *name, struct csi_asset *asset);

#endif
