/*
 * A ZIP archive in memory, read through libzip behind a guard that refuses what only hostile archives have:
 * entries that share bytes, names that leave the archive, sizes that lie, contents that unpack to far more
 * than the file weighs. Internal to the formats floor. One thread at a time.
 */
#ifndef CSI_FORMATS_ZIP_ARCHIVE_H
#define CSI_FORMATS_ZIP_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct csi_zip;

/* True when the bytes begin like an archive. */
bool csi_is_zip(const uint8_t *bytes, size_t size);

/* `bytes` are borrowed until csi_zip_close. CS_MODEL_INVALID names the entry and what is wrong with it. */
enum cs_status csi_zip_open(const uint8_t *bytes, size_t size, struct csi_zip **zip, struct cs_error *error);
void csi_zip_close(struct csi_zip *zip);

size_t csi_zip_count(const struct csi_zip *zip);
/* Borrowed. */
const char *csi_zip_name(const struct csi_zip *zip, size_t index);
/* Index of the entry of that name; csi_zip_count() when there is none. */
size_t csi_zip_find(const struct csi_zip *zip, const char *name);
/* Unpacked bytes of one entry and of all. */
size_t csi_zip_size(const struct csi_zip *zip, size_t index);
size_t csi_zip_total(const struct csi_zip *zip);

/* Unpacks an entry once and keeps it until csi_zip_close; its checksum is verified. Borrowed. */
enum cs_status csi_zip_read(struct csi_zip *zip, size_t index, const uint8_t **bytes, struct cs_error *error);

/* The guard's own part: the places of all entries as the central directory tells them. Pure function of the
 * bytes. */
struct csi_zip_place {
    size_t offset; /* of the local header */
    size_t stored; /* packed bytes */
    size_t end;    /* behind the data */
};
/* `*places` (count of them, in directory order) is freed with free(). */
enum cs_status csi_zip_places(const uint8_t *bytes, size_t size, struct csi_zip_place **places, size_t *count,
                              struct cs_error *error);

#endif
