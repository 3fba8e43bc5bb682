/*
 * Counters and histograms, written as Prometheus text. Lock-free: every number is an atomic; a scrape sees
 * each of them exactly, not all of them at one instant. Names and labels are documented in docs/api.md.
 */
#ifndef CSI_SERVER_METRICS_H
#define CSI_SERVER_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "server/gate.h"

#define CSI_METRICS_ROUTES   48u /* rows of the route table, and one for everything else */
#define CSI_METRICS_STATUSES 16u
#define CSI_METRICS_BUCKETS  14u
#define CSI_METRICS_STAGES   6u

struct csi_histogram {
    _Atomic uint64_t
        buckets[CSI_METRICS_BUCKETS]; /* not yet cumulated; past the last bound: only in `count` */
    _Atomic uint64_t count, sum_us;
};

struct csi_metrics {
    _Atomic uint64_t requests[CSI_METRICS_ROUTES][CSI_METRICS_STATUSES];
    struct csi_histogram request; /* head seen to answer handed over */
    struct csi_histogram
        stages[CSI_METRICS_STAGES]; /* decode, resize, preprocess, inference, gradcam, total */
    _Atomic uint64_t photos, photo_errors;
    _Atomic uint64_t refused[CSI_REFUSED_COUNT]; /* answered by the gate itself */
};

void csi_metrics_request(struct csi_metrics *metrics, unsigned route, unsigned http_status, double ms);
void csi_metrics_diagnosis(struct csi_metrics *metrics, const cs_diagnosis *diagnosis);

/* `text` as a label's value: backslash, quote and newline escaped. */
void csi_metrics_label(struct csi_buffer *out, const char *text);
void csi_metrics_write_stages(const struct csi_metrics *metrics, struct csi_buffer *out);
void csi_metrics_write_requests(const struct csi_metrics *metrics, struct csi_buffer *out,
                                void (*route_labels)(unsigned route, const char **method,
                                                     const char **pattern));
/* process_*: resident memory, descriptors, CPU seconds, start time, as the Prometheus clients name them. */
void csi_metrics_write_process(struct csi_buffer *out);

#endif
