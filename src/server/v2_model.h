/* What the /v2 routes share: the model's name, and the counters behind …/stats. */
#ifndef CSI_SERVER_V2_MODEL_H
#define CSI_SERVER_V2_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What a request's time went into, in nanoseconds: waiting for a worker; decoding and preprocessing; forward
 * passes; maps and the answer. */
enum csi_v2_part { CSI_V2_QUEUE, CSI_V2_INPUT, CSI_V2_INFER, CSI_V2_OUTPUT, CSI_V2_PARTS };

struct csi_v2_counters {
    _Atomic uint64_t success, success_ns, fail, fail_ns, photos, last_ms;
    _Atomic uint64_t part_ns[CSI_V2_PARTS]; /* of requests that succeeded */
};

/* CS_NOT_FOUND unless `name` is that of the model in use, and `version` (NULL: none was asked for) its only
 * one, "1". */
enum cs_status csi_v2_model_check(const struct cs_model_info *info, const char *name, const char *version,
                                  struct cs_error *error);
void csi_v2_count_success(struct csi_v2_counters *counters, uint64_t photos,
                          const uint64_t part_ns[CSI_V2_PARTS]);
void csi_v2_count_failure(struct csi_v2_counters *counters, uint64_t ns);

#endif
