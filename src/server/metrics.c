/* Counters and histograms: see metrics.h. */
#include "server/metrics.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const double bounds_ms[CSI_METRICS_BUCKETS] = {0.25, 0.5, 1,   2.5, 5,    10,   25,
                                                      50,   100, 200, 500, 1000, 2500, 10000};
static const char *const stage_names[CSI_METRICS_STAGES] = {"decode",    "resize",  "preprocess",
                                                            "inference", "gradcam", "total"};
/* The last stands for every other status. */
static const unsigned statuses[CSI_METRICS_STATUSES] = {200, 304, 400, 401, 404, 405, 408, 413,
                                                        415, 422, 429, 500, 503, 0,   0,   0};

static void observe(struct csi_histogram *histogram, double ms)
{
    for (unsigned i = 0; i < CSI_METRICS_BUCKETS; i++)
        if (ms <= bounds_ms[i]) {
            atomic_fetch_add(&histogram->buckets[i], 1);
            break;
        }
    atomic_fetch_add(&histogram->count, 1);
    atomic_fetch_add(&histogram->sum_us, (uint64_t)(ms * 1000));
}

void csi_metrics_request(struct csi_metrics *metrics, unsigned route, unsigned http_status, double ms)
{
    unsigned column = 0;

    while (column + 1 < CSI_METRICS_STATUSES && statuses[column] != http_status)
        column++;
    if (route >= CSI_METRICS_ROUTES)
        route = CSI_METRICS_ROUTES - 1;
    atomic_fetch_add(&metrics->requests[route][column], 1);
    observe(&metrics->request, ms);
}

void csi_metrics_diagnosis(struct csi_metrics *metrics, const cs_diagnosis *diagnosis)
{
    const struct cs_timings *t = &diagnosis->timings;
    const double ms[CSI_METRICS_STAGES] = {t->decode,    t->resize,  t->preprocess,
                                           t->inference, t->gradcam, t->total};

    atomic_fetch_add(&metrics->photos, 1);
    for (unsigned i = 0; i < CSI_METRICS_STAGES; i++)
        if (ms[i] > 0) /* a stage that a cache saved did not run */
            observe(&metrics->stages[i], ms[i]);
}

void csi_metrics_label(struct csi_buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            csi_buffer_append(out, "\\n", 2);
        else if (*text == '"' || *text == '\\')
            csi_buffer_printf(out, "\\%c", *text);
        else
            csi_buffer_append(out, text, 1);
    }
}

static void write_histogram(const struct csi_histogram *histogram, const char *name, const char *labels,
                            struct csi_buffer *out)
{
    const char *comma = labels[0] == '\0' ? "" : ",";
    const char *open = labels[0] == '\0' ? "" : "{", *close = labels[0] == '\0' ? "" : "}";
    uint64_t sum = 0, count = atomic_load(&histogram->count);

    for (unsigned i = 0; i < CSI_METRICS_BUCKETS; i++) {
        sum += atomic_load(&histogram->buckets[i]);
        csi_buffer_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, bounds_ms[i] / 1000,
                          (unsigned long long)sum);
    }
    if (count < sum)
        count = sum; /* a request came between the two reads: +Inf must not be less than the last bucket */
    csi_buffer_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
                      (unsigned long long)count);
    csi_buffer_printf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, close,
                      (double)atomic_load(&histogram->sum_us) / 1e6);
    csi_buffer_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)count);
}

void csi_metrics_write_stages(const struct csi_metrics *metrics, struct csi_buffer *out)
{
    csi_buffer_printf(
        out, "# HELP cropshield_stage_duration_seconds Time of each stage of diagnoses that ran it.\n"
             "# TYPE cropshield_stage_duration_seconds histogram\n");
    for (unsigned i = 0; i < CSI_METRICS_STAGES; i++) {
        char label[32];

        snprintf(label, sizeof label, "stage=\"%s\"", stage_names[i]);
        write_histogram(&metrics->stages[i], "cropshield_stage_duration_seconds", label, out);
    }
    csi_buffer_printf(
        out,
        "# HELP cropshield_photos_total Photos that were diagnosed, and that failed.\n"
        "# TYPE cropshield_photos_total counter\n"
        "cropshield_photos_total{result=\"ok\"} %llu\ncropshield_photos_total{result=\"error\"} %llu\n",
        (unsigned long long)atomic_load(&metrics->photos),
        (unsigned long long)atomic_load(&metrics->photo_errors));
}

void csi_metrics_write_requests(const struct csi_metrics *metrics, struct csi_buffer *out,
                                void (*route_labels)(unsigned route, const char **method,
                                                     const char **pattern))
{
    csi_buffer_printf(out, "# HELP cropshield_http_requests_total Requests answered.\n"
                           "# TYPE cropshield_http_requests_total counter\n");
    for (unsigned i = 0; i < CSI_METRICS_ROUTES; i++)
        for (unsigned j = 0; j < CSI_METRICS_STATUSES; j++) {
            uint64_t count = atomic_load(&metrics->requests[i][j]);
            const char *method, *pattern;

            if (count == 0)
                continue;
            route_labels(i, &method, &pattern);
            csi_buffer_printf(out, "cropshield_http_requests_total{method=\"%s\",route=\"%s\",code=\"",
                              method, pattern);
            if (statuses[j] == 0)
                csi_buffer_printf(out, "other\"} %llu\n", (unsigned long long)count);
            else
                csi_buffer_printf(out, "%u\"} %llu\n", statuses[j], (unsigned long long)count);
        }
    csi_buffer_printf(out, "# HELP cropshield_http_refused_total Requests that were answered at the gate.\n"
                           "# TYPE cropshield_http_refused_total counter\n");
    for (unsigned i = 0; i < CSI_REFUSED_COUNT; i++)
        csi_buffer_printf(out, "cropshield_http_refused_total{reason=\"%s\"} %llu\n",
                          csi_refusal_reason_name((enum csi_refusal_reason)i),
                          (unsigned long long)atomic_load(&metrics->refused[i]));
    csi_buffer_printf(
        out,
        "# HELP cropshield_http_request_duration_seconds From a checked head to the answer's first byte.\n"
        "# TYPE cropshield_http_request_duration_seconds histogram\n");
    write_histogram(&metrics->request, "cropshield_http_request_duration_seconds", "", out);
}

/* Pages of resident memory, from the kernel; 0 when it does not tell. */
static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (fscanf(file, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count < 3 ? 0 : count - 3; /* ".", ".." and the folder itself */
}

/* When this process began, in seconds since the epoch: field 22 of stat is ticks after boot. Found once: two
 * clocks read one after the other never give quite the same again, and a start that moves looks like another.
 */
static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static double start_seconds;
static void find_start(void)
{
    unsigned long long ticks = 0;
    struct timespec now, boot;
    FILE *file = fopen("/proc/self/stat", "re");

    if (file == NULL)
        return;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own number */
    if (fscanf(
            file,
            "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
            &ticks) != 1)
        ticks = 0;
    fclose(file);
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    start_seconds = (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 +
                    (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void csi_metrics_write_process(struct csi_buffer *out)
{
    struct rusage usage;
    double cpu = 0;

    pthread_once(&start_once, find_start);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
              (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    csi_buffer_printf(out,
                      "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n"
                      "# TYPE process_open_fds gauge\nprocess_open_fds %u\n"
                      "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.2f\n"
                      "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.2f\n",
                      (unsigned long long)resident_bytes(), open_descriptors(), cpu, start_seconds);
}
