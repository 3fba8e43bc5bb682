/* What the /v2 routes share: the model's name, and the counters behind …/stats. */
#ifndef CSI_SERVER_V2_MODEL_H
#define CSI_SERVER_V2_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct csi_v2_counters {
    _Atomic uint64_t success, success_us, fail, fail_us, photos, last_ms;
};

/* CS_NOT_FOUND unless `name` is that of the model in use. */
enum cs_status csi_v2_model_check(const struct cs_model_info *info, const char *name, struct cs_error *error);
void csi_v2_count(struct csi_v2_counters *counters, bool success, uint64_t photos, uint64_t us);
uint64_t csi_v2_clock_us(void);

#endif
