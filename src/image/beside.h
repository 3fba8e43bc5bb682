/*
 * A row sink that works on a thread of its own: the decoder goes on while rows that it has finished are
 * resampled. Owns the rows on the way and the thread. Internal to the image floor.
 */
#ifndef CSI_IMAGE_BESIDE_H
#define CSI_IMAGE_BESIDE_H

#include "image/decoder.h"

struct csi_beside;

/* `outer` takes the rows for `inner`, whose `begin` is called on the caller's thread and whose `rows` on the
 * other. Both stay until csi_beside_finish, which has to come, whatever the decoder did. */
enum cs_status csi_beside_create(const struct csi_row_sink *inner, struct csi_beside **beside,
                                 struct csi_row_sink *outer, struct cs_error *error);
/* Waits until `inner` has got all rows; frees. The status is the first failure of inner->rows. */
enum cs_status csi_beside_finish(struct csi_beside *beside, struct cs_error *error);

#endif
