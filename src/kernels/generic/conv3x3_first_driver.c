/*
 * The first layer: packing, padding of input rows, threads, and the table of variants. Rows are copied into a
 * small padded buffer so that the arithmetic meets no border; that is 1 % of the work.
 */
#include <string.h>

#include "base/checked.h"
#include "kernels/conv3x3_first_ops.h"

#define ROWS_A_TASK 4u

static const struct csi_conv_first *const variants[] = {
#if defined(__x86_64__)
    &csi_conv_first_avx512,
    &csi_conv_first_avx2,
#elif defined(__aarch64__)
    &csi_conv_first_neon,
#endif
    &csi_conv_first_generic,
};
#define VARIANT_COUNT (sizeof(variants) / sizeof(variants[0]))

const char *csi_conv_first_name(const struct csi_conv_first *kernel)
{
    return kernel->name;
}

uint32_t csi_conv_first_features(const struct csi_conv_first *kernel)
{
    return kernel->features;
}

const struct csi_conv_first *csi_conv_first_variant(uint32_t features, size_t index)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if ((variants[i]->features & ~features) != 0)
            continue;
        if (index == 0)
            return variants[i];
        index--;
    }
    return NULL;
}

bool csi_conv_first_covers(const struct csi_wino_desc *desc)
{
    return desc->cin >= 1 && desc->cin <= CSI_CONV_FIRST_MAX_CIN && desc->cout >= 1 && desc->cout <= 65536 &&
           desc->height >= 1 && desc->width >= 1 && desc->height <= 65536 && desc->width <= 65536 &&
           !desc->pool && !desc->residual;
}

static size_t blocks_of(const struct csi_wino_desc *desc)
{
    return (desc->cout + CSI_FIRST_LANES - 1) / CSI_FIRST_LANES;
}

size_t csi_conv_first_packed_size(const struct csi_wino_desc *desc)
{
    return csi_conv_first_covers(desc)
               ? blocks_of(desc) * CSI_FIRST_LANES * (desc->cin * 9 + 1) * sizeof(float)
               : 0;
}

void csi_conv_first_pack(const struct csi_wino_desc *desc, const float *weights, const float *bias,
                         void *packed)
{
    const size_t channels = blocks_of(desc) * CSI_FIRST_LANES, taps = desc->cin * 9;
    float *out = packed;
    for (size_t c = 0; c < channels; c++)
        *out++ = bias && c < desc->cout ? bias[c] : 0.0F;
    for (size_t first = 0; first < channels; first += CSI_FIRST_LANES) {
        for (size_t tap = 0; tap < taps; tap++) {
            for (size_t c = first; c < first + CSI_FIRST_LANES; c++)
                *out++ = c < desc->cout ? weights[c * taps + tap] : 0.0F;
        }
    }
}

static size_t line_pitch(const struct csi_wino_desc *desc)
{
    return csi_round_up(desc->width + 2, 16) + 16;
}

size_t csi_conv_first_scratch_size(const struct csi_wino_desc *desc, unsigned threads)
{
    return line_pitch(desc) * desc->cin * 3 * threads * sizeof(float);
}

struct run {
    const struct csi_conv_first *kernel;
    const struct csi_wino_desc *desc;
    const float *packed, *input;
    float *output, *scratch;
    size_t rows; /* of the whole batch */
};

/* The input of columns first … first + count - 1: a column more on both sides. */
static void fill_lines(const struct csi_wino_desc *desc, const float *image, size_t y, size_t first,
                       size_t count, float *lines)
{
    const size_t pitch = line_pitch(desc), plane = desc->height * desc->width;
    const size_t left = first > 0 ? 1 : 0, right = first + count < desc->width ? 1 : 0;
    for (size_t c = 0; c < desc->cin; c++) {
        for (size_t dy = 0; dy < 3; dy++, lines += pitch) {
            const size_t row = y + dy; /* one more than the image's */
            if (row < 1 || row > desc->height) {
                memset(lines, 0, (count + 2) * sizeof(float));
                continue;
            }
            lines[0] = lines[count + 1] = 0.0F;
            memcpy(lines + 1 - left, image + c * plane + (row - 1) * desc->width + first - left,
                   (left + count + right) * sizeof(float));
        }
    }
}

void csi_conv_first_row(const struct csi_conv_first *kernel, const struct csi_wino_desc *desc,
                        const void *packed, const float *image, size_t y, size_t first, size_t count,
                        float *out, float *lines)
{
    const size_t pitch = csi_wino_pitch(desc->cout), blocks = blocks_of(desc), taps = desc->cin * 9;
    const float *bias = packed, *weights = bias + blocks * CSI_FIRST_LANES;
    fill_lines(desc, image, y, first, count, lines);
    for (size_t block = 0; block < blocks; block++) {
        const struct csi_first_row row = {
            .lines = lines,
            .weights = weights + block * taps * CSI_FIRST_LANES,
            .bias = bias + block * CSI_FIRST_LANES,
            .out = out + block * CSI_FIRST_LANES,
            .line_count = desc->cin * 3,
            .line_pitch = line_pitch(desc),
            .width = count,
            .pitch = pitch,
            .lanes = csi_min_size(CSI_FIRST_LANES, pitch - block * CSI_FIRST_LANES),
            .relu = desc->activation == CSI_WINO_RELU,
        };
        kernel->row(&row);
    }
}

static void rows_task(void *context, size_t index, unsigned worker)
{
    const struct run *run = context;
    const struct csi_wino_desc *desc = run->desc;
    const size_t plane = desc->height * desc->width, pitch = csi_wino_pitch(desc->cout);
    const size_t end = csi_min_size(run->rows, (index + 1) * ROWS_A_TASK);
    for (size_t r = index * ROWS_A_TASK; r < end; r++)
        csi_conv_first_row(run->kernel, desc, run->packed, run->input + r / desc->height * desc->cin * plane,
                           r % desc->height, 0, desc->width, run->output + r * desc->width * pitch,
                           run->scratch + worker * line_pitch(desc) * desc->cin * 3);
}

void csi_conv_first_run(const struct csi_conv_first *kernel, const struct csi_wino_desc *desc,
                        const void *packed, const float *input, float *output, size_t batch, void *scratch,
                        struct csi_pool *pool)
{
    if (!csi_conv_first_covers(desc))
        return;
    struct run run = {
        .kernel = kernel,
        .desc = desc,
        .packed = packed,
        .input = input,
        .output = output,
        .scratch = scratch,
        .rows = batch * desc->height,
    };
    const size_t tasks = (run.rows + ROWS_A_TASK - 1) / ROWS_A_TASK;
    if (pool) {
        csi_pool_run(pool, tasks, rows_task, &run);
        return;
    }
    for (size_t i = 0; i < tasks; i++)
        rows_task(&run, i, 0);
}
