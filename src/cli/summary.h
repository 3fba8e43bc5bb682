/*
 * What `cropshield bench` says of the milliseconds that it took: pure functions of the values. Safe from any
 * thread; nothing is allocated and nothing fails.
 */
#ifndef CSI_CLI_SUMMARY_H
#define CSI_CLI_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>

/* `std`: of the whole, as NumPy's (divided by the count). */
struct csi_summary {
    double mean, std, min, p50, p90, p99, max;
};

/* Percentile by linear interpolation between the nearest ranks, as NumPy's; sorts `values`, of which there is
 * one at least. */
double csi_percentile(double *values, size_t count, double p);

/* Sorts `values`, of which there is one at least. */
struct csi_summary csi_summarise(double *values, size_t count);

/* Whether the median is within the target. */
bool csi_summary_achieves(const struct csi_summary *summary, double target);

#endif
