/*
 * Clocks: monotonic for durations and deadlines, wall for what people read.
 */
#ifndef CSI_BASE_CLOCK_H
#define CSI_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds on a monotonic clock. */
uint64_t csi_now_ns(void);
/* Milliseconds since the Unix epoch. */
int64_t csi_unix_ms(void);

static inline double csi_ms_since(uint64_t start_ns)
{
    return (double)(csi_now_ns() - start_ns) / 1e6;
}

#endif
