/* Mean, deviation and percentiles: see summary.h. */
#include "cli/summary.h"

#include <math.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t count, double p)
{
    double place = p / 100 * (double)(count - 1);
    size_t low = (size_t)place;

    if (low + 1 >= count)
        return sorted[count - 1];
    return sorted[low] + (place - (double)low) * (sorted[low + 1] - sorted[low]);
}

double csi_percentile(double *values, size_t count, double p)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return percentile(values, count, p);
}

struct csi_summary csi_summarise(double *values, size_t count)
{
    struct csi_summary s = {0, 0, 0, 0, 0, 0, 0};

    qsort(values, count, sizeof *values, compare_doubles);
    for (size_t i = 0; i < count; i++)
        s.mean += values[i] / (double)count;
    for (size_t i = 0; i < count; i++)
        s.std += (values[i] - s.mean) * (values[i] - s.mean) / (double)count;
    s.std = sqrt(s.std);
    s.min = values[0];
    s.max = values[count - 1];
    s.p50 = percentile(values, count, 50);
    s.p90 = percentile(values, count, 90);
    s.p99 = percentile(values, count, 99);
    return s;
}

bool csi_summary_achieves(const struct csi_summary *summary, double target)
{
    return summary->p50 <= target;
}
