/*
 * Winograd convolutions and the first layer's direct kernel: every variant that this machine can run against
 * a direct convolution in double precision, on odd shapes, in buffers that end at an unreadable page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "kernels/expected_set.h"
#include "kernels/wino_plan.h"

/*
 * Error bounds: root mean square of the errors ÷ root mean square of the outputs, for inputs of unit
 * variance. Measured with 512 input channels: first layer 1e-7, F(4,3) 4.8e-6, F(6,3) 9e-6, F(8,3) 2.2e-5,
 * F(4,3) with split numbers 5.2e-5, in 16 bits 2.6e-3, 4.8e-3 and 2.4e-2. No single output may be off by more
 * than WORST times that.
 */
#define WORST 20.0
static const struct {
    const char *part;
    double bound;
} error_bounds[] = {{"wino4_split", 8e-5}, {"wino8_int16", 3e-2}, {"wino6_int16", 7e-3}, {"int16", 4e-3},
                    {"first", 5e-7},       {"wino4", 8e-6},       {"wino6", 1.5e-5},     {"wino8", 3.7e-5}};

static double bound_of(const char *name)
{
    for (size_t i = 0; i < sizeof(error_bounds) / sizeof(error_bounds[0]); i++) {
        if (strstr(name, error_bounds[i].part))
            return error_bounds[i].bound;
    }
    fail_msg("no error bound for %s", name);
    return 0;
}

/* Memory whose last byte stands before an unreadable page; 64-byte aligned because every size here is a
 * multiple of 64. */
struct guarded {
    unsigned char *pages, *bytes;
    size_t page_bytes, size;
};

/* A file in memory full of 0xff, NaN: pages that nobody touches are never filled. */
#define POISON_BYTES ((size_t)4 << 20)

static int poison_file(void)
{
    static int file = -1;
    if (file < 0) {
        unsigned char line[4096];
        memset(line, 0xff, sizeof(line));
        file = memfd_create("poison", 0);
        assert_true(file >= 0);
        for (size_t i = 0; i < POISON_BYTES; i += sizeof(line))
            assert_int_equal(write(file, line, sizeof(line)), sizeof(line));
    }
    return file;
}

static struct guarded guarded_make(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), rounded = (size + 63) / 64 * 64;
    struct guarded g = {.page_bytes = (rounded + page - 1) / page * page + 2 * page, .size = rounded};
    g.pages = mmap(NULL, g.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.pages != MAP_FAILED);
    for (size_t at = page; at < g.page_bytes - page; at += POISON_BYTES) {
        const size_t left = g.page_bytes - page - at;
        assert_true(mmap(g.pages + at, left < POISON_BYTES ? left : POISON_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_FIXED, poison_file(), 0) == g.pages + at);
    }
    g.bytes = g.pages + g.page_bytes - page - rounded; /* reading what nobody wrote shows: NaN */
    return g;
}

static void guarded_free(struct guarded *g)
{
    munmap(g->pages, g->page_bytes);
}

static uint32_t random_state = 1;

static float noise(void)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        random_state = random_state * 1664525u + 1013904223u;
        sum += (float)(random_state >> 8) / 16777216.0F - 0.5F;
    }
    return sum * 1.7320508F; /* variance 1 */
}

struct problem {
    struct csi_wino_desc desc;
    size_t batch;
    struct guarded weights, bias, input, residual, output;
    bool planar;  /* inputs are NCHW: the first layer's */
    double *want; /* computed by the first check: pairs are compared with single layers instead */
    size_t out_height, out_width;
};

/* Image pixels are NHWCp, or NCHW for the first layer. One pixel's outputs, before pooling; `weights`:
 * [tap][cin][cout]. Long loops over plain pointers, since sanitizers and emulators run this too. */
static void want_pixel(const struct problem *p, const double *weights, size_t image, size_t y, size_t x,
                       double *out)
{
    const struct csi_wino_desc *d = &p->desc;
    const size_t channel_step = p->planar ? d->height * d->width : 1;
    const size_t pixel_step = p->planar ? 1 : csi_wino_pitch(d->cin);
    const size_t image_floats = d->height * d->width * (p->planar ? d->cin : pixel_step);
    const float *bias = (const float *)p->bias.bytes;

    for (size_t n = 0; n < d->cout; n++)
        out[n] = (double)bias[n];
    for (size_t tap = 0; tap < 9; tap++) {
        const size_t row = y + tap / 3 - 1, column = x + tap % 3 - 1; /* outside: wrapped around, or behind */
        const float *in = (const float *)p->input.bytes + image * image_floats;
        if (row >= d->height || column >= d->width)
            continue;
        in += (row * d->width + column) * pixel_step;
        for (size_t c = 0; c < d->cin; c++) {
            const double value = (double)in[c * channel_step], *w = weights + (tap * d->cin + c) * d->cout;
            for (size_t n = 0; n < d->cout; n++)
                out[n] += value * w[n];
        }
    }
    for (size_t n = 0; n < d->cout; n++) {
        if (d->residual)
            out[n] +=
                (double)((const float *)p->residual
                             .bytes)[((image * d->height + y) * d->width + x) * csi_wino_pitch(d->cout) + n];
        if (d->activation == CSI_WINO_RELU)
            out[n] = out[n] < 0 ? 0 : out[n];
    }
}

static void reference(struct problem *p)
{
    const struct csi_wino_desc *d = &p->desc;
    const size_t step = d->pool ? 2 : 1;
    double *want = calloc(p->batch * p->out_height * p->out_width * d->cout + 1, sizeof(double));
    double *weights = malloc((d->cin * 9 + 1) * d->cout * sizeof(double)), *pixel = weights;
    assert_non_null(want);
    assert_non_null(weights);
    pixel += d->cin * 9 * d->cout;
    for (size_t n = 0; n < d->cout; n++) {
        for (size_t i = 0; i < d->cin * 9; i++)
            weights[(i % 9 * d->cin + i / 9) * d->cout + n] =
                (double)((const float *)p->weights.bytes)[n * d->cin * 9 + i];
    }
    p->want = want;
    for (size_t image = 0; image < p->batch; image++) {
        for (size_t y = 0; y < p->out_height; y++) {
            for (size_t x = 0; x < p->out_width; x++, want += d->cout) {
                for (size_t i = 0; i < step * step; i++) {
                    want_pixel(p, weights, image, y * step + i / step, x * step + i % step, pixel);
                    for (size_t n = 0; n < d->cout; n++)
                        want[n] = i == 0 ? pixel[n] : fmax(want[n], pixel[n]);
                }
            }
        }
    }
    free(weights);
}

static void fill(struct guarded *g, size_t pixels, size_t channels, size_t pitch)
{
    float *f = (float *)g->bytes;
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < pitch; c++)
            f[i * pitch + c] = c < channels ? noise() : 0.0F;
    }
}

static struct problem problem_make(struct csi_wino_desc desc, size_t batch, bool planar)
{
    struct problem p = {.desc = desc, .batch = batch, .planar = planar};
    const size_t pixels = batch * desc.height * desc.width, pitch = csi_wino_pitch(desc.cout);
    const size_t in_pitch = planar ? desc.cin : csi_wino_pitch(desc.cin);
    p.out_height = desc.pool ? desc.height / 2 : desc.height;
    p.out_width = desc.pool ? desc.width / 2 : desc.width;
    p.weights = guarded_make(desc.cin * desc.cout * 9 * sizeof(float));
    p.bias = guarded_make(desc.cout * sizeof(float));
    p.input = guarded_make(pixels * in_pitch * sizeof(float));
    p.residual = guarded_make(pixels * pitch * sizeof(float));
    p.output = guarded_make(batch * p.out_height * p.out_width * pitch * sizeof(float));
    for (size_t i = 0; i < desc.cin * desc.cout * 9; i++)
        ((float *)p.weights.bytes)[i] = noise() / sqrtf((float)desc.cin * 9.0F);
    for (size_t i = 0; i < desc.cout; i++)
        ((float *)p.bias.bytes)[i] = noise() * 0.1F;
    fill(&p.input, pixels, in_pitch < desc.cin ? in_pitch : desc.cin, in_pitch);
    fill(&p.residual, pixels, desc.cout, pitch);
    return p;
}

static void problem_free(struct problem *p)
{
    guarded_free(&p->weights);
    guarded_free(&p->bias);
    guarded_free(&p->input);
    guarded_free(&p->residual);
    guarded_free(&p->output);
    free(p->want);
}

static void check(struct problem *p, const char *name)
{
    const size_t pixels = p->batch * p->out_height * p->out_width, pitch = csi_wino_pitch(p->desc.cout);
    const float *got = (const float *)p->output.bytes;
    double largest = 0, squares = 0, error_squares = 0;
    if (p->want == NULL)
        reference(p);
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < pitch; c++) {
            float value = got[i * pitch + c];
            if (c >= p->desc.cout) {
                assert_true(value == 0.0F); /* padding */
                continue;
            }
            double want = p->want[i * p->desc.cout + c], error = fabs((double)value - want);
            assert_true(error == error); /* not NaN */
            largest = error > largest ? error : largest;
            squares += want * want;
            error_squares += error * error;
        }
    }
    const double count = (double)(pixels * p->desc.cout) + 1e-9, bound = bound_of(name);
    double scale = sqrt(squares / count);
    scale = scale > 0.5 ? scale : 0.5; /* few outputs may all be near zero */
    const double rms = sqrt(error_squares / count) / scale, worst = largest / scale;
    if (getenv("CROPSHIELD_PRINT_ERRORS"))
        print_message("%-28s %3zu -> %3zu  rms %.2e  worst %.2e\n", name, p->desc.cin, p->desc.cout, rms,
                      worst);
    if (rms > bound || worst > bound * WORST)
        fail_msg("%s: %zu -> %zu, %zux%zu, batch %zu: error %.2e rms, %.2e at worst", name, p->desc.cin,
                 p->desc.cout, p->desc.height, p->desc.width, p->batch, rms, worst);
    memset(p->output.bytes, 0xff, p->output.size);
}

static struct guarded pack(const struct problem *p, const struct csi_wino *kernel)
{
    struct guarded packed = guarded_make(csi_wino_packed_size(kernel, &p->desc));
    for (size_t s = 0; s < csi_wino_pack_slices(kernel, &p->desc); s++)
        csi_wino_pack(kernel, &p->desc, (const float *)p->weights.bytes, NULL, (const float *)p->bias.bytes,
                      packed.bytes, s);
    return packed;
}

static void run_packed(struct problem *p, const struct csi_wino *kernel, const struct guarded *packed,
                       struct csi_pool *pool)
{
    struct guarded scratch =
        guarded_make(csi_wino_scratch_size(kernel, &p->desc, p->batch, pool ? csi_pool_threads(pool) : 1));
    csi_wino_run(kernel, &p->desc, packed->bytes, (const float *)p->input.bytes,
                 p->desc.residual ? (const float *)p->residual.bytes : NULL, (float *)p->output.bytes,
                 p->batch, scratch.bytes, pool);
    guarded_free(&scratch);
}

static void run_unchecked(struct problem *p, const struct csi_wino *kernel)
{
    struct guarded packed = pack(p, kernel);
    run_packed(p, kernel, &packed, NULL);
    guarded_free(&packed);
}

/* On one thread and in the pool, from weights packed once: that takes longer than running. */
static void run_variant(struct problem *p, const struct csi_wino *kernel, struct csi_pool *pool)
{
    struct guarded packed = pack(p, kernel);
    for (int threads = 0; threads < 2; threads++) {
        run_packed(p, kernel, &packed, threads ? pool : NULL);
        check(p, csi_wino_name(kernel));
    }
    guarded_free(&packed);
}

static void try_shape(struct csi_wino_desc desc, size_t batch, struct csi_pool *pool)
{
    struct problem p = problem_make(desc, batch, false);
    const struct csi_wino *kernel;
    size_t tried = 0;
    for (size_t i = 0; (kernel = csi_wino_variant(csi_cpu()->features, i)) != NULL; i++) {
        if (!set_wanted(csi_wino_name(kernel)))
            continue;
        run_variant(&p, kernel, pool);
        tried++;
    }
    assert_true(tried >= 6); /* sizes and schedules of one set at least */
    for (size_t i = 0; (kernel = csi_wino_fixed_variant(csi_cpu()->features, i)) != NULL; i++) {
        run_variant(&p, kernel, pool);
    }
    problem_free(&p);
}

static void test_shapes(void **state)
{
    struct csi_pool *pool = *state;
    static const size_t shapes[][5] = {
        /* cin, cout, height, width, batch */
        {1, 1, 1, 1, 1},     {3, 5, 1, 7, 2},    {16, 16, 4, 4, 1},   {17, 33, 5, 6, 3},
        {64, 64, 14, 14, 1}, {20, 48, 13, 9, 2}, {48, 20, 28, 3, 1},  {5, 100, 6, 31, 1},
        {128, 32, 8, 8, 4},  {32, 96, 2, 2, 5},  {16, 16, 40, 37, 1},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (unsigned options = 0; options < 4; options++) {
            struct csi_wino_desc desc = {.cin = shapes[i][0],
                                         .cout = shapes[i][1],
                                         .height = shapes[i][2],
                                         .width = shapes[i][3],
                                         .activation = options % 3 == 0 ? CSI_WINO_LINEAR : CSI_WINO_RELU,
                                         .pool = options >= 2,
                                         .residual = options == 1 || options == 3};
            try_shape(desc, shapes[i][4], pool);
        }
    }
}

static void test_many_channels(void **state)
{
    static const size_t shapes[][4] = {{512, 64, 12, 12}, {160, 20, 12, 28}}; /* several panels, unequal */
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        try_shape((struct csi_wino_desc){.cin = shapes[i][0],
                                         .cout = shapes[i][1],
                                         .height = shapes[i][2],
                                         .width = shapes[i][3],
                                         .activation = CSI_WINO_LINEAR},
                  1, *state);
}

/* Right on one thread and in the pool, with the same bytes. */
static void check_alone_and_together(struct problem *p, const struct csi_wino *kernel, struct csi_pool *pool)
{
    struct guarded alone = guarded_make(p->output.size), packed = pack(p, kernel);
    for (int threads = 0; threads < 2; threads++) {
        run_packed(p, kernel, &packed, threads ? pool : NULL);
        if (threads)
            assert_memory_equal(alone.bytes, p->output.bytes, p->output.size);
        memcpy(alone.bytes, p->output.bytes, p->output.size);
        check(p, csi_wino_name(kernel));
    }
    guarded_free(&alone);
    guarded_free(&packed);
}

/* More input channels than are transformed at a time, in chunks of unequal size; and results that do not
 * depend on the threads, though there are fewer output blocks than threads. */
static void test_compact(void **state)
{
    static const size_t shapes[][5] = {
        {300, 70, 9, 11, 2}, {272, 20, 14, 14, 1}, {513, 16, 7, 7, 3}, {16, 33, 30, 31, 1}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct csi_wino_desc desc = {.cin = shapes[i][0],
                                     .cout = shapes[i][1],
                                     .height = shapes[i][2],
                                     .width = shapes[i][3],
                                     .activation = CSI_WINO_LINEAR};
        struct problem p = problem_make(desc, shapes[i][4], false);
        const struct csi_wino *kernel;
        for (size_t k = 0; (kernel = csi_wino_variant(csi_cpu()->features, k)) != NULL; k++) {
            if (kernel->schedule != CSI_WINO_COMPACT)
                continue;
            check_alone_and_together(&p, kernel, *state);
        }
        problem_free(&p);
    }
}

/* A row of transformed weights by every instruction set against plain C. */
static void test_weights(void **state)
{
    (void)state;
    const struct csi_wino *kernel;
    for (size_t k = 0; (kernel = csi_wino_variant(csi_cpu()->features, k)) != NULL; k++) {
        const struct csi_wino_ops *ops = kernel->ops;
        csi_wino_weights_fn *plain = csi_wino_ops_generic.weights[kernel->size];
        const size_t n = csi_wino_tile(kernel) + 2, lanes = ops->lanes, generic = csi_wino_ops_generic.lanes;
        for (size_t channels = 1; kernel->schedule == CSI_WINO_COMPACT && channels < 20; channels += 6) {
            const size_t stride = n * lanes + 16;
            /* No floats behind the last row: they are not the transform's. */
            struct guarded g = guarded_make(channels * 9 * lanes * sizeof(float));
            struct guarded u = guarded_make((channels * stride - 16) * sizeof(float));
            float part[9 * 16], want[8 * 16];
            for (size_t i = 0; i < channels * 9 * lanes; i++)
                ((float *)g.bytes)[i] = noise();
            for (size_t row = 0; row < n; row++) {
                ops->weights[kernel->size]((const float *)g.bytes, row, channels, (float *)u.bytes, stride);
                for (size_t at = 0; at < channels * lanes; at += generic) {
                    const size_t channel = at / lanes, lane = at % lanes;
                    for (size_t tap = 0; tap < 9; tap++)
                        memcpy(part + tap * generic,
                               (const float *)g.bytes + (channel * 9 + tap) * lanes + lane,
                               generic * sizeof(float));
                    plain(part, row, 1, want, n * generic);
                    for (size_t i = 0; i < n * generic; i++) {
                        const float got =
                            ((const float *)
                                 u.bytes)[channel * stride + i / generic * lanes + lane + i % generic];
                        if (!(fabsf(got - want[i]) <= 1e-6F))
                            fail_msg("%s, row %zu: %g instead of %g", csi_wino_name(kernel), row, (double)got,
                                     (double)want[i]);
                    }
                }
            }
            guarded_free(&g);
            guarded_free(&u);
        }
    }
}

/* Integers as large as they get: everything points the same way, or the opposite, or one channel is far
 * larger.
 */
enum extreme { SAME_WAY, OPPOSITE, ONE_LARGE, EXTREMES };

static void make_extreme(struct problem *p, enum extreme kind)
{
    const size_t pitch = csi_wino_pitch(p->desc.cin), pixels = p->batch * p->desc.height * p->desc.width;
    float *weights = (float *)p->weights.bytes, *input = (float *)p->input.bytes;
    for (size_t k = 0; k < p->desc.cin * p->desc.cout * 9; k++)
        weights[k] = kind == ONE_LARGE && k / 9 % p->desc.cin > 0 ? 1e-20F
                     : kind == OPPOSITE                           ? -3e-9F
                                                                  : 3e-9F;
    for (size_t c = 0; c < pixels * pitch; c++)
        input[c] = c % pitch >= p->desc.cin ? 0.0F : kind == ONE_LARGE && c % pitch > 0 ? -1e-3F : 2e12F;
}

/* Fixed point where sums in int32 come closest to their limits: weights and inputs that point the same way,
 * channels far larger than the others, magnitudes far from one. And results that depend neither on the
 * threads nor on what else is in the batch. */
static void test_fixed_extremes(void **state)
{
    static const size_t channels[] = {16, 48, 64, 300, 1024};
    for (size_t i = 0; i < 2 * sizeof(channels) / sizeof(channels[0]); i++) {
        struct csi_wino_desc desc = {.cin = channels[i / 2], .cout = 33, .height = 9, .width = 12};
        struct problem p = problem_make(desc, 2, false);
        make_extreme(&p, i % 2 == 1 ? ONE_LARGE : SAME_WAY);
        for (size_t n = 0; n < desc.cout; n++)
            ((float *)p.bias.bytes)[n] = 0.0F;
        const struct csi_wino *kernel;
        for (size_t k = 0; (kernel = csi_wino_fixed_variant(csi_cpu()->features, k)) != NULL; k++) {
            check_alone_and_together(&p, kernel, *state);
            assert_memory_equal(p.output.bytes, p.output.bytes + p.output.size / 2, p.output.size / 2);
        }
        problem_free(&p);
    }
}

#define WITHOUT_AMX (csi_cpu()->features & ~(uint32_t)CSI_CPU_AMX_INT8)

/* Fixed point with AMX and without: the same bytes by every variant. */
static void check_sets(struct problem *p, struct csi_pool *pool)
{
    struct guarded want = guarded_make(p->output.size);
    const struct csi_wino *plain;
    for (size_t k = 0; (plain = csi_wino_fixed_variant(WITHOUT_AMX, k)) != NULL; k++) {
        const struct csi_wino *tiled = csi_wino_fixed_variant(csi_cpu()->features, k);
        assert_non_null(strstr(csi_wino_name(tiled), "_avx512amx"));
        struct guarded packed = pack(p, plain), tiles = pack(p, tiled);
        run_packed(p, plain, &packed, NULL);
        memcpy(want.bytes, p->output.bytes, p->output.size);
        for (int threads = 0; threads < 2; threads++) {
            memset(p->output.bytes, 0xff, p->output.size);
            run_packed(p, tiled, &tiles, threads ? pool : NULL);
            if (memcmp(want.bytes, p->output.bytes, p->output.size) != 0)
                fail_msg("%s: %zu -> %zu, %zux%zu, batch %zu: not the bytes of %s", csi_wino_name(tiled),
                         p->desc.cin, p->desc.cout, p->desc.height, p->desc.width, p->batch,
                         csi_wino_name(plain));
        }
        guarded_free(&packed);
        guarded_free(&tiles);
    }
    guarded_free(&want);
}

static void test_fixed_sets(void **state)
{
    if (WITHOUT_AMX == csi_cpu()->features)
        skip();
    static const size_t shapes[][4] = {{64, 40, 24, 25},  {200, 33, 13, 14}, {48, 70, 41, 6},
                                       {130, 16, 32, 31}, {1, 5, 2, 1},      {512, 32, 14, 28}};
    for (int i = 0; i < 13; i++) {
        random_state = random_state * 1664525u + 1013904223u;
        const uint32_t r = random_state >> 4;
        const size_t *shape = shapes[i % 6];
        const bool any = i >= 6;
        struct csi_wino_desc desc = {.cin = any ? 1 + r % 200 : shape[0],
                                     .cout = any ? 1 + r / 211 % 70 : shape[1],
                                     .height = any ? 1 + r / 3001 % 30 : shape[2],
                                     .width = any ? 1 + r / 70001 % 33 : shape[3],
                                     .activation = r & 8 ? CSI_WINO_RELU : CSI_WINO_LINEAR,
                                     .pool = (r & 1) != 0,
                                     .residual = (r & 2) != 0};
        struct problem p = problem_make(desc, 1 + (r >> 2) % 3, false);
        if (i >= 10)
            make_extreme(&p, (enum extreme)(i % EXTREMES));
        check_sets(&p, *state);
        problem_free(&p);
    }
}

/* With AMX and without the same tiles and schedules, so that results do not depend on it. */
static void test_fixed_choice(void **state)
{
    (void)state;
    for (size_t side = 1; side < 300; side += 9) {
        for (size_t cin = 4; cin < 600; cin += 20) {
            const struct csi_wino_desc desc = {.cin = cin, .cout = 2 * cin, .height = side, .width = side};
            for (unsigned threads = 1; threads < 9; threads += 7) {
                const struct csi_wino *any = csi_wino_choose_fixed(&desc, csi_cpu()->features, threads),
                                      *plain = csi_wino_choose_fixed(&desc, WITHOUT_AMX, threads);
                assert_int_equal(any == NULL, plain == NULL);
                if (any == NULL)
                    continue;
                assert_int_equal(csi_wino_features(plain) & ~WITHOUT_AMX, 0);
                assert_int_equal(csi_wino_features(any) & ~csi_cpu()->features, 0);
                assert_int_equal(any->size, plain->size);
                assert_int_equal(any->schedule, plain->schedule);
                if (side > 100 && cin % 64 == 0) /* many tiles, no padding */
                    assert_int_equal((csi_wino_features(any) ^ csi_cpu()->features) & CSI_CPU_AMX_INT8, 0);
                if (side < 10 || cin < 50)
                    assert_int_equal(csi_wino_features(any) & CSI_CPU_AMX_INT8, 0);
            }
        }
    }
}

/* Factors at packing are the same as weights multiplied before. */
static void test_factors(void **state)
{
    struct csi_wino_desc desc = {.cin = 21, .cout = 37, .height = 10, .width = 9};
    struct problem p = problem_make(desc, 1, false);
    float *weights = (float *)p.weights.bytes, *plain = malloc(p.weights.size);
    double factors[37];
    const struct csi_wino *kernel;
    (void)state;
    assert_non_null(plain);
    memcpy(plain, weights, p.weights.size);
    for (size_t o = 0; o < desc.cout; o++) {
        factors[o] = (double)noise();
        for (size_t i = 0; i < desc.cin * 9; i++)
            weights[o * desc.cin * 9 + i] = (float)((double)plain[o * desc.cin * 9 + i] * factors[o]);
    }
    size_t floats = 0;
    while (csi_wino_variant(csi_cpu()->features, floats) != NULL)
        floats++;
    for (size_t k = 0;; k++) {
        kernel = k < floats ? csi_wino_variant(csi_cpu()->features, k)
                            : csi_wino_fixed_variant(csi_cpu()->features, k - floats);
        if (kernel == NULL)
            break;
        struct guarded before = guarded_make(csi_wino_packed_size(kernel, &desc)),
                       after = guarded_make(csi_wino_packed_size(kernel, &desc));
        for (size_t s = 0; s < csi_wino_pack_slices(kernel, &desc); s++) {
            csi_wino_pack(kernel, &desc, weights, NULL, NULL, before.bytes, s);
            csi_wino_pack(kernel, &desc, plain, factors, NULL, after.bytes, s);
        }
        assert_memory_equal(before.bytes, after.bytes, csi_wino_packed_size(kernel, &desc));
        guarded_free(&before);
        guarded_free(&after);
    }
    free(plain);
    problem_free(&p);
}

static void test_random_shapes(void **state)
{
    for (int i = 0; i < 12; i++) {
        random_state = random_state * 1664525u + 1013904223u;
        uint32_t r = random_state >> 4;
        struct csi_wino_desc desc = {.cin = 1 + r % 40,
                                     .cout = 1 + r / 41 % 70,
                                     .height = 1 + r / 3001 % 20,
                                     .width = 1 + r / 70001 % 23,
                                     .activation = CSI_WINO_RELU,
                                     .pool = (r & 1) != 0,
                                     .residual = (r & 2) != 0};
        try_shape(desc, 1 + (r >> 2) % 3, *state);
    }
}

static void test_first_layer(void **state)
{
    static const size_t shapes[][5] = {
        {3, 64, 15, 29, 2}, {1, 7, 1, 1, 1}, {4, 40, 9, 3, 1}, {2, 16, 5, 44, 3}, {3, 90, 6, 14, 1}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (unsigned activation = 0; activation < 2; activation++) {
            struct csi_wino_desc desc = {.cin = shapes[i][0],
                                         .cout = shapes[i][1],
                                         .height = shapes[i][2],
                                         .width = shapes[i][3],
                                         .activation = (enum csi_wino_activation)activation};
            struct problem p = problem_make(desc, shapes[i][4], true);
            struct guarded packed = guarded_make(csi_conv_first_packed_size(&desc));
            struct guarded scratch =
                guarded_make(csi_conv_first_scratch_size(&desc, csi_pool_threads(*state)));
            csi_conv_first_pack(&desc, (const float *)p.weights.bytes, (const float *)p.bias.bytes,
                                packed.bytes);
            const struct csi_conv_first *kernel;
            for (size_t k = 0; (kernel = csi_conv_first_variant(csi_cpu()->features, k)) != NULL; k++) {
                for (int threads = 0; threads < 2; threads++) {
                    csi_conv_first_run(kernel, &desc, packed.bytes, (const float *)p.input.bytes,
                                       (float *)p.output.bytes, p.batch, scratch.bytes,
                                       threads ? *state : NULL);
                    check(&p, csi_conv_first_name(kernel));
                }
            }
            guarded_free(&packed);
            guarded_free(&scratch);
            problem_free(&p);
        }
    }
}

/* A NaN at pixel (y, x) of an input: all outputs that it is part of are NaN. A pooled one is when it is part
 * of the last of the four. */
static void check_not_a_number(const struct problem *p, size_t y, size_t x, const char *name)
{
    const struct csi_wino_desc *d = &p->desc;
    const size_t pitch = csi_wino_pitch(d->cout);
    const float *out = (const float *)p->output.bytes;
    for (size_t row = y > 0 ? y - 1 : 0; row < y + 2 && row < d->height; row++) {
        for (size_t column = x > 0 ? x - 1 : 0; column < x + 2 && column < d->width; column++) {
            size_t at = row * d->width + column;
            if (d->pool && (row % 2 == 0 || column % 2 == 0))
                continue;
            if (d->pool)
                at = row / 2 * p->out_width + column / 2;
            for (size_t n = 0; n < d->cout; n++) {
                if (!isnan(out[at * pitch + n]))
                    fail_msg("%s: NaN at %zu, %zu: output %zu, %zu is %g", name, y, x, row, column,
                             (double)out[at * pitch + n]);
            }
        }
    }
}

/* By the variant with this number, floats first; false: there is none. */
static bool run_numbered(struct problem *p, size_t variant, const char **name)
{
    size_t floats = 0;
    while (csi_wino_variant(csi_cpu()->features, floats) != NULL)
        floats++;
    const struct csi_wino *kernel = variant < floats
                                        ? csi_wino_variant(csi_cpu()->features, variant)
                                        : csi_wino_fixed_variant(csi_cpu()->features, variant - floats);
    if (kernel == NULL)
        return false;
    *name = csi_wino_name(kernel);
    run_unchecked(p, kernel);
    return true;
}

static void test_not_a_number(void **state)
{
    (void)state;
    for (unsigned options = 0; options < 8; options++) {
        struct csi_wino_desc desc = {.cin = 5,
                                     .cout = 18,
                                     .height = 17,
                                     .width = 13,
                                     .activation = options & 1 ? CSI_WINO_RELU : CSI_WINO_LINEAR,
                                     .pool = (options & 2) != 0,
                                     .residual = (options & 4) != 0};
        struct problem p = problem_make(desc, 1, false);
        float *input = (float *)p.input.bytes;
        const char *name = NULL;
        /* Corners, whole tiles with either parity, a tile that the edge cuts. */
        const size_t places[] = {0, 12, 16 * 13, 16 * 13 + 12, 5 * 13 + 5, 6 * 13 + 3, 15 * 13 + 8};
        for (size_t i = options % 2; i < sizeof(places) / sizeof(places[0]); i += 2) {
            const size_t at = places[i];
            float *number = input + at * csi_wino_pitch(desc.cin) + at % desc.cin, was = *number;
            *number = NAN;
            for (size_t k = 0; run_numbered(&p, k, &name); k++)
                check_not_a_number(&p, at / desc.width, at % desc.width, name);
            *number = was;
        }
        problem_free(&p);
    }
}

/* A weight that is no number, of the largest payload that float16 has: all of its output channel is none. */
static void test_weight_not_a_number(void **state)
{
    struct csi_wino_desc desc = {.cin = 20, .cout = 18, .height = 9, .width = 6};
    struct problem p = problem_make(desc, 1, false);
    const uint32_t bits = 0x7fffe000;
    const struct csi_wino *kernel;
    (void)state;
    memcpy((float *)p.weights.bytes + (7 * desc.cin + 13) * 9 + 4, &bits, sizeof(bits));
    for (size_t k = 0; (kernel = csi_wino_variant(csi_cpu()->features, k)) != NULL; k++) {
        run_unchecked(&p, kernel);
        for (size_t i = 0; i < desc.height * desc.width; i++) {
            const float *out = (const float *)p.output.bytes + i * csi_wino_pitch(desc.cout);
            for (size_t n = 0; n < desc.cout; n++) {
                if (!isnan(out[n]) != (n != 7))
                    fail_msg("%s: pixel %zu, channel %zu: %g", csi_wino_name(kernel), i, n, (double)out[n]);
            }
        }
    }
    problem_free(&p);
}

static void test_first_layer_not_a_number(void **state)
{
    (void)state;
    for (unsigned activation = 0; activation < 2; activation++) {
        struct csi_wino_desc desc = {.cin = 3,
                                     .cout = 40,
                                     .height = 5,
                                     .width = 33,
                                     .activation = (enum csi_wino_activation)activation};
        struct problem p = problem_make(desc, 1, true);
        struct guarded packed = guarded_make(csi_conv_first_packed_size(&desc));
        struct guarded scratch = guarded_make(csi_conv_first_scratch_size(&desc, 1));
        const struct csi_conv_first *kernel;
        csi_conv_first_pack(&desc, (const float *)p.weights.bytes, (const float *)p.bias.bytes, packed.bytes);
        for (size_t at = 0; at < desc.height * desc.width; at += 4) {
            float *number = (float *)p.input.bytes + at, was = *number;
            *number = NAN;
            for (size_t k = 0; (kernel = csi_conv_first_variant(csi_cpu()->features, k)) != NULL; k++) {
                csi_conv_first_run(kernel, &desc, packed.bytes, (const float *)p.input.bytes,
                                   (float *)p.output.bytes, 1, scratch.bytes, NULL);
                check_not_a_number(&p, at / desc.width, at % desc.width, csi_conv_first_name(kernel));
            }
            *number = was;
        }
        guarded_free(&packed);
        guarded_free(&scratch);
        problem_free(&p);
    }
}

/* Two layers as one: the first one's weights are packed. */
static void run_pair(const struct problem *a, const struct guarded *first, const struct problem *b,
                     const struct csi_wino *kernel, const struct guarded *out, struct csi_pool *pool)
{
    struct guarded packed = pack(b, kernel);
    struct guarded scratch = guarded_make(
        csi_conv_pair_scratch_size(&a->desc, kernel, &b->desc, pool ? csi_pool_threads(pool) : 1));
    assert_true(csi_conv_pair_covers(&a->desc, kernel, &b->desc));
    csi_conv_pair_run(csi_conv_first_variant(csi_cpu()->features, 0), &a->desc, first->bytes, kernel,
                      &b->desc, packed.bytes, (const float *)a->input.bytes, (float *)out->bytes, a->batch,
                      scratch.bytes, pool);
    guarded_free(&packed);
    guarded_free(&scratch);
}

/* The two layers as one against the two layers in turn. */
static void try_pair(size_t height, size_t width, size_t middle, size_t batch, const struct csi_wino *kernel,
                     bool pool2, struct csi_pool *pool)
{
    struct csi_wino_desc first = {
        .cin = 3, .cout = middle, .height = height, .width = width, .activation = CSI_WINO_RELU};
    struct csi_wino_desc second = {.cin = middle,
                                   .cout = 20,
                                   .height = height,
                                   .width = width,
                                   .activation = CSI_WINO_RELU,
                                   .pool = pool2};
    const unsigned threads = pool ? csi_pool_threads(pool) : 1;
    const struct csi_conv_first *direct = csi_conv_first_variant(csi_cpu()->features, 0);
    struct problem a = problem_make(first, batch, true), b = problem_make(second, batch, false);
    struct guarded first_packed = guarded_make(csi_conv_first_packed_size(&first));
    struct guarded packed = pack(&b, kernel);
    struct guarded lines = guarded_make(csi_conv_first_scratch_size(&first, threads));
    struct guarded scratch = guarded_make(csi_wino_scratch_size(kernel, &second, batch, threads));
    struct guarded out = guarded_make(b.output.size);
    csi_conv_first_pack(&first, (const float *)a.weights.bytes, (const float *)a.bias.bytes,
                        first_packed.bytes);
    csi_conv_first_run(direct, &first, first_packed.bytes, (const float *)a.input.bytes,
                       (float *)a.output.bytes, batch, lines.bytes, pool);
    csi_wino_run(kernel, &second, packed.bytes, (const float *)a.output.bytes, NULL, (float *)b.output.bytes,
                 batch, scratch.bytes, pool);
    run_pair(&a, &first_packed, &b, kernel, &out, pool);
    const float bound = 1e-5F;
    const float *want = (const float *)b.output.bytes, *got = (const float *)out.bytes;
    for (size_t i = 0; i < batch * b.out_height * b.out_width * csi_wino_pitch(second.cout); i++) {
        if (!(fabsf(got[i] - want[i]) <= bound))
            fail_msg("%s: %zux%zu: %g instead of %g", csi_wino_name(kernel), height, width, (double)got[i],
                     (double)want[i]);
    }
    if ((csi_wino_features(kernel) & CSI_CPU_AMX_INT8) != 0) { /* the bytes of the same variant without AMX */
        size_t k = 0;
        while (csi_wino_fixed_variant(csi_cpu()->features, k) != kernel)
            k++;
        memset(b.output.bytes, 0xff, b.output.size);
        run_pair(&a, &first_packed, &b, csi_wino_fixed_variant(WITHOUT_AMX, k), &b.output, pool);
        assert_memory_equal(out.bytes, b.output.bytes, b.output.size);
    }
    struct guarded *all[] = {&first_packed, &packed, &lines, &scratch, &out};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        guarded_free(all[i]);
    problem_free(&a);
    problem_free(&b);
}

static void test_pair(void **state)
{
    /* The last one is so wide that a row of tiles is cut into segments. */
    static const size_t shapes[][4] = {
        {1, 1, 5, 1}, {7, 13, 33, 2}, {24, 30, 16, 1}, {19, 64, 40, 3}, {9, 365, 40, 1}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const struct csi_wino *kernel;
        for (size_t k = 0; (kernel = csi_wino_variant(csi_cpu()->features, k)) != NULL; k++) {
            if (strstr(csi_wino_name(kernel), "compact") == NULL && set_wanted(csi_wino_name(kernel)))
                try_pair(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], kernel, (k & 1) != 0,
                         (k & 2) ? *state : NULL);
        }
        for (size_t k = 0; (kernel = csi_wino_fixed_variant(csi_cpu()->features, k)) != NULL; k++)
            try_pair(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], kernel, k == 0, *state);
    }
}

static void test_choice(void **state)
{
    (void)state;
    struct csi_wino_desc desc = {.cin = 64, .cout = 64, .height = 224, .width = 224};
    assert_int_equal(csi_wino_features(csi_wino_choose(&desc, 0, 1, false)), 0);
    for (size_t side = 1; side < 300; side += 7) {
        desc.height = desc.width = side;
        for (int compact = 0; compact < 2; compact++) {
            const struct csi_wino *kernel = csi_wino_choose(&desc, csi_cpu()->features, 2, compact != 0);
            assert_int_equal(csi_wino_features(kernel) & ~csi_cpu()->features, 0);
            assert_ptr_equal(csi_wino_find(csi_wino_name(kernel)), kernel);
        }
    }
    desc.cin = 0;
    assert_int_equal(csi_wino_packed_size(csi_wino_choose(&desc, 0, 1, false), &desc), 0);
    desc.cin = SIZE_MAX;
    assert_int_equal(csi_wino_packed_size(csi_wino_choose(&desc, 0, 1, false), &desc), 0);
    assert_null(csi_wino_find("conv3x3_wino5_avx9"));
}

static int start_pool(void **state)
{
    return csi_pool_create(3, (struct csi_pool **)state, NULL) == CS_OK ? 0 : -1;
}

static int stop_pool(void **state)
{
    csi_pool_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_many_channels),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_first_layer),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_fixed_extremes),
        cmocka_unit_test(test_fixed_sets),
        cmocka_unit_test(test_fixed_choice),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_weight_not_a_number),
        cmocka_unit_test(test_first_layer_not_a_number),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
