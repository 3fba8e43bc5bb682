/*
 * The machine's measured peaks: what the profile's percentages refer to. Each is the best of several short
 * trials, since anything that disturbs a trial can only slow it down.
 */
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

#define TRIALS       8u
#define TRIAL_NS     12e6
#define STREAM_LEAST ((size_t)64 << 20) /* bytes read to measure the memory: at least, … */
#define STREAM_MOST  ((size_t)1 << 30)  /* … and at most; three times the last cache in between */
#define MOST_PIECES  1024u              /* threads of a pool at most */

struct trial {
    double (*kernel)(size_t rounds, float *sink);
    size_t rounds;
    const float *stream;
    size_t stream_floats;
    size_t pieces;
    double work[MOST_PIECES]; /* by piece */
};

static void compute_piece(void *context, size_t index, unsigned worker)
{
    struct trial *trial = context;
    volatile float keep;
    float sink;

    (void)worker;
    trial->work[index] = trial->kernel(trial->rounds, &sink);
    keep = sink; /* the work must not look unused */
    (void)keep;
}

static void stream_piece(void *context, size_t index, unsigned worker)
{
    struct trial *trial = context;
    size_t floats = trial->stream_floats / trial->pieces / CSI_PITCH * CSI_PITCH;
    const float *in = trial->stream + index * floats;
    volatile float keep = 0.0f;
    float sum[CSI_PITCH];

    (void)worker;
    memset(sum, 0, sizeof sum);
    for (size_t i = 0; i < floats; i += CSI_PITCH) {
        for (size_t k = 0; k < CSI_PITCH; k++)
            sum[k] += in[i + k];
    }
    for (size_t k = 0; k < CSI_PITCH; k++)
        keep += sum[k];
    trial->work[index] = (double)(floats * sizeof(float));
}

/* Work a nanosecond = giga-work a second, the best of TRIALS. */
static double best_rate(struct csi_pool *pool, struct trial *trial, void (*piece)(void *, size_t, unsigned))
{
    double best = 0.0;

    for (unsigned t = 0; t < TRIALS; t++) {
        uint64_t start = csi_now_ns();
        double ns, work = 0.0;

        csi_pool_run(pool, trial->pieces, piece, trial);
        ns = (double)(csi_now_ns() - start);
        for (size_t i = 0; i < trial->pieces; i++)
            work += trial->work[i];
        if (ns > 0.0 && work / ns > best)
            best = work / ns;
    }
    return best;
}

static double compute_rate(struct csi_pool *pool, double (*kernel)(size_t rounds, float *sink))
{
    struct trial trial = {.kernel = kernel, .rounds = 20000, .pieces = csi_pool_threads(pool)};
    uint64_t start = csi_now_ns();
    double ns;

    compute_piece(&trial, 0, 0);
    ns = (double)(csi_now_ns() - start);
    trial.rounds = (size_t)((double)trial.rounds * (ns > 0.0 ? TRIAL_NS / ns : 1.0)) + 1;
    return best_rate(pool, &trial, compute_piece);
}

enum cs_status csi_measure_peaks(uint32_t cpu_features, struct csi_pool *pool, struct cs_machine_peaks *peaks,
                                 struct cs_error *error)
{
    const struct csi_kernels *kernels = csi_kernels_select(cpu_features);
    struct trial stream = {.pieces = csi_pool_threads(pool)};
    size_t bytes = csi_min_size(csi_max_size(3 * csi_cpu()->l3_bytes, STREAM_LEAST), STREAM_MOST);
    float *memory;

    memset(peaks, 0, sizeof *peaks);
    memory = csi_aligned_alloc(bytes);
    if (memory == NULL)
        return csi_fail_memory(error, "measuring the memory");
    memset(memory, 1, bytes); /* real pages, not one shared page of zeros */
    stream.stream = memory;
    stream.stream_floats = bytes / sizeof *memory;
    peaks->fma_gflops = compute_rate(pool, kernels->peak_fma);
    if (kernels->peak_int8 != NULL)
        peaks->int8_gops = compute_rate(pool, kernels->peak_int8);
    if (kernels->peak_tiles != NULL)
        peaks->tile_gops = compute_rate(pool, kernels->peak_tiles);
    peaks->memory_gbs = best_rate(pool, &stream, stream_piece);
    csi_aligned_free(memory);
    return CS_OK;
}
