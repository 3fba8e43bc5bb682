/*
 * Every kernel of every set that this machine allows against plain C, on random shapes, between guard zones.
 */
#include "kernels/guarded.h"
#include "kernels/tolerances.h"

#include "base/cpu.h"
#include "kernels/kernels.h"

#define ROUNDS 60

static const struct csi_kernels *sets[CSI_KERNEL_SETS];
static size_t set_count;

static int find_sets(void **state)
{
    uint32_t features = csi_cpu()->features;

    (void)state;
    set_count = csi_kernels_list(features, sets);
    for (size_t i = 0; i < set_count; i++)
        print_message("set: %s\n", sets[i]->name);
    return set_count > 0 && strcmp(sets[0]->name, "generic") == 0 ? 0 : -1;
}

static void random_clamp(uint32_t *seed, float *low, float *high)
{
    *low = random_bits(seed) % 2 ? -INFINITY : 0.0f;
    *high = random_bits(seed) % 2 ? INFINITY : 0.7f;
}

/* ---- tile and packing ---- */

struct tile_case {
    size_t rows, outputs, taps, depth, out_pitch;
    struct guarded in, weight, bias, residual, scale, out, expected;
    bool with_residual, with_scale;
    float low, high;
    struct csi_act_params act;
};

static struct csi_act_params random_act(uint32_t *seed)
{
    static const enum csi_act kinds[] = {
        CSI_FN_NONE,         CSI_FN_NONE, CSI_FN_SWISH, CSI_FN_HARD_SWISH, CSI_FN_SIGMOID,  CSI_FN_LEAKY_RELU,
        CSI_FN_HARD_SIGMOID, CSI_FN_TANH, CSI_FN_ELU,   CSI_FN_GELU,       CSI_FN_GELU_TANH};

    return (struct csi_act_params){kinds[random_bits(seed) % (sizeof kinds / sizeof kinds[0])], 0.2f, 0.5f};
}

static void make_tile_case(struct tile_case *c, size_t most_rows, uint32_t *seed)
{
    c->rows = random_size(seed, 1, most_rows);
    c->outputs = random_size(seed, 1, 90);
    c->taps = random_size(seed, 1, 9);
    c->depth = random_size(seed, 1, 40);
    c->out_pitch = csi_pitch(c->outputs);
    c->with_residual = random_bits(seed) % 2 == 0;
    c->with_scale = random_bits(seed) % 2 == 0;
    c->act = random_act(seed);
    random_clamp(seed, &c->low, &c->high);
    c->scale = guarded_make(c->depth);
    fill_random(seed, c->scale.data, c->scale.count);
    c->in = guarded_make(c->taps * c->rows * c->depth);
    c->weight = guarded_make(c->outputs * c->taps * c->depth);
    c->bias = guarded_make(c->out_pitch);
    c->residual = guarded_make(c->rows * c->out_pitch);
    c->out = guarded_make(c->rows * c->out_pitch);
    c->expected = guarded_make(c->rows * c->out_pitch);
    fill_random(seed, c->in.data, c->in.count);
    fill_random(seed, c->weight.data, c->weight.count);
    fill_map(seed, c->bias.data, 1, c->outputs, c->out_pitch);
    fill_map(seed, c->residual.data, c->rows, c->outputs, c->out_pitch);
    for (size_t r = 0; r < c->rows; r++) {
        for (size_t o = 0; o < c->out_pitch; o++) {
            double sum = (double)c->bias.data[o] +
                         (c->with_residual ? (double)c->residual.data[r * c->out_pitch + o] : 0.0);

            for (size_t k = 0; o < c->outputs && k < c->taps * c->depth; k++)
                sum += (double)c->in.data[(k / c->depth * c->rows + r) * c->depth + k % c->depth] *
                       (c->with_scale ? (double)c->scale.data[k % c->depth] : 1.0) *
                       (double)c->weight.data[(o * c->depth + k % c->depth) * c->taps + k / c->depth];
            c->expected.data[r * c->out_pitch + o] =
                csi_act_value(&c->act, fminf(fmaxf((float)sum, c->low), c->high));
        }
    }
}

static void run_tile_case(const struct csi_kernels *kernels, struct tile_case *c)
{
    const float *at[9 * CSI_MAX_TILE_ROWS];
    struct csi_panel_source source = {c->weight.data,     c->outputs, c->taps, c->depth,
                                      c->taps * c->depth, 1,          c->taps};

    for (size_t t = 0; t < c->taps; t++) {
        for (size_t r = 0; r < c->rows; r++)
            at[t * c->rows + r] = c->in.data + (t * c->rows + r) * c->depth;
    }
    for (size_t panel = 0; panel < csi_panel_count(kernels, c->outputs); panel++) {
        size_t width = csi_panel_width(kernels, c->outputs, panel), first = panel * kernels->panel_width;
        struct guarded packed = guarded_make(c->taps * c->depth * width);

        csi_pack_panel(kernels, &source, panel, packed.data);
        kernels->tile(&(struct csi_tile){
            .rows = c->rows,
            .width = width,
            .taps = c->taps,
            .depth = c->depth,
            .at = at,
            .row_step = c->rows,
            .weights = packed.data,
            .bias = c->bias.data + first,
            .out = c->out.data + first,
            .out_step = c->out_pitch,
            .residual = c->with_residual ? c->residual.data + first : NULL,
            .scale = c->with_scale ? c->scale.data : NULL,
            .low = c->low,
            .high = c->high,
            .act = c->act.kind == CSI_FN_NONE ? NULL : &c->act,
        });
        guarded_free(&packed);
    }
}

static void test_tile(void **state)
{
    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 1;

        for (int round = 0; round < ROUNDS; round++) {
            struct tile_case c;

            make_tile_case(&c, sets[s]->tile_rows, &seed);
            run_tile_case(sets[s], &c);
            assert_close(sets[s]->name, c.out.data, c.expected.data, c.out.count, TOLERANCE_TILE);
            guarded_free(&c.in);
            guarded_free(&c.weight);
            guarded_free(&c.bias);
            guarded_free(&c.residual);
            guarded_free(&c.scale);
            guarded_free(&c.out);
            guarded_free(&c.expected);
        }
    }
}

/* ---- products over packed inputs ---- */

static void test_pack_rows(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        for (int round = 0; round < ROUNDS; round++) {
            size_t rows = random_size(&seed, 1, sets[s]->product_rows), blocks = random_size(&seed, 1, 5);
            struct guarded in = guarded_make(rows * blocks * 16), scale = guarded_make(blocks * 16);
            struct guarded out = guarded_make(rows * blocks * 16);
            const float *at[CSI_MAX_TILE_ROWS];
            bool scaled = random_bits(&seed) % 2 == 0;

            fill_random(&seed, in.data, in.count);
            fill_random(&seed, scale.data, scale.count);
            for (size_t r = 0; r < rows; r++)
                at[r] = in.data + (rows - 1 - r) * blocks * 16;
            sets[s]->pack_rows(at, rows, blocks, scaled ? scale.data : NULL, out.data);
            for (size_t i = 0; i < out.count; i++) {
                size_t r = i / 16 % rows, k = i / 16 / rows * 16 + i % 16;

                assert_true(out.data[i] == (scaled ? at[r][k] * scale.data[k] : at[r][k]));
            }
            guarded_free(&in);
            guarded_free(&scale);
            guarded_free(&out);
        }
    }
}

struct product_case {
    size_t rows, outputs, depth, out_pitch, at[CSI_MAX_TILE_ROWS];
    struct guarded in, weight, bias, residual, out, expected;
    bool with_bias, last, with_residual;
    float low, high;
    struct csi_act_params act;
};

/* Rows stand in the output with gaps between them, last one first, and what is between stays as it is. */
static void make_product_case(struct product_case *c, size_t most_rows, uint32_t *seed)
{
    c->rows = random_size(seed, 1, most_rows);
    c->outputs = random_size(seed, 1, 90);
    c->depth = random_size(seed, 1, 70);
    c->out_pitch = csi_pitch(c->outputs);
    c->with_bias = random_bits(seed) % 2 == 0;
    c->last = random_bits(seed) % 2 == 0;
    c->with_residual = random_bits(seed) % 2 == 0;
    c->act = random_act(seed);
    random_clamp(seed, &c->low, &c->high);
    c->in = guarded_make(csi_round_up(c->depth, 16) * c->rows);
    c->weight = guarded_make(c->outputs * c->depth);
    c->bias = guarded_make(c->out_pitch);
    c->residual = guarded_make(2 * c->rows * c->out_pitch);
    c->out = guarded_make(2 * c->rows * c->out_pitch);
    c->expected = guarded_make(2 * c->rows * c->out_pitch);
    fill_random(seed, c->in.data, c->in.count);
    fill_random(seed, c->weight.data, c->weight.count);
    fill_map(seed, c->bias.data, 1, c->outputs, c->out_pitch);
    fill_random(seed, c->residual.data, c->residual.count);
    fill_random(seed, c->out.data, c->out.count);
    memcpy(c->expected.data, c->out.data, c->out.count * sizeof(float));
    for (size_t r = 0; r < c->rows; r++) {
        c->at[r] = 2 * (c->rows - 1 - r) * c->out_pitch;
        for (size_t o = 0; o < c->out_pitch; o++) {
            float *out = c->expected.data + c->at[r] + o;
            double sum = c->with_bias ? (double)c->bias.data[o] : (double)*out;

            for (size_t k = 0; o < c->outputs && k < c->depth; k++)
                sum += (double)c->in.data[(k / 16 * c->rows + r) * 16 + k % 16] *
                       (double)c->weight.data[o * c->depth + k];
            if (c->last && c->with_residual)
                sum += (double)c->residual.data[c->at[r] + o];
            *out = c->last ? csi_act_value(&c->act, fminf(fmaxf((float)sum, c->low), c->high)) : (float)sum;
        }
    }
}

static void run_product_case(const struct csi_kernels *kernels, struct product_case *c)
{
    struct csi_panel_source source = {c->weight.data, c->outputs, 1, c->depth, c->depth, 0, 1};

    for (size_t panel = 0; panel < csi_panel_count(kernels, c->outputs); panel++) {
        size_t width = csi_panel_width(kernels, c->outputs, panel), first = panel * kernels->panel_width;
        struct guarded packed = guarded_make(c->depth * width);

        csi_pack_panel(kernels, &source, panel, packed.data);
        kernels->product(&(struct csi_product){
            .rows = c->rows,
            .width = width,
            .depth = c->depth,
            .in = c->in.data,
            .weights = packed.data,
            .bias = c->with_bias ? c->bias.data + first : NULL,
            .out = c->out.data + first,
            .at = c->at,
            .last = c->last,
            .residual = c->with_residual ? c->residual.data + first : NULL,
            .low = c->low,
            .high = c->high,
            .act = c->act.kind == CSI_FN_NONE ? NULL : &c->act,
            .ahead = packed.data,
            .ahead_lines = panel,
        });
        guarded_free(&packed);
    }
}

static void test_product(void **state)
{
    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 3;

        for (int round = 0; round < 2 * ROUNDS; round++) {
            struct product_case c;

            make_product_case(&c, sets[s]->product_rows, &seed);
            run_product_case(sets[s], &c);
            assert_close(sets[s]->name, c.out.data, c.expected.data, c.out.count, TOLERANCE_TILE);
            guarded_free(&c.in);
            guarded_free(&c.weight);
            guarded_free(&c.bias);
            guarded_free(&c.residual);
            guarded_free(&c.out);
            guarded_free(&c.expected);
        }
    }
}

/* ---- depthwise and pooling rows ---- */

/* One row of a random convolution, by plain C and by `kernels`. Windows, strides and widths are those that
 * have kernels of their own, and others; `channels` may be fewer than what a pixel holds. */
static void check_depthwise(const struct csi_kernels *kernels, uint32_t *seed)
{
    size_t real = random_size(seed, 1, 60), pitch = csi_pitch(real), width = random_size(seed, 1, 40);
    unsigned kh = (unsigned)random_size(seed, 1, 5), kw = (unsigned)random_size(seed, 1, 7);
    unsigned stride = (unsigned)random_size(seed, 1, 3), dilation = random_bits(seed) % 4 == 0 ? 2u : 1u;
    size_t pad = random_size(seed, 0, kw), padded = width + 2 * pad, span = (kw - 1) * dilation + 1;
    size_t channels = csi_pitch(random_size(seed, 1, pitch)), out_width;
    struct csi_act_params act = random_act(seed);
    struct guarded in, weights, bias, out, expected;
    const float *lines[5];

    if (padded < span)
        return;
    out_width = (padded - span) / stride + 1;
    in = guarded_make(kh * width * pitch);
    weights = guarded_make((size_t)kh * kw * pitch);
    bias = guarded_make(pitch);
    out = guarded_make(out_width * pitch);
    expected = guarded_make(out_width * pitch);
    fill_map(seed, in.data, kh * width, real, pitch);
    fill_map(seed, weights.data, (size_t)kh * kw, real, pitch);
    fill_map(seed, bias.data, 1, real, pitch);
    fill_random(seed, expected.data, expected.count); /* other channels stay as they are */
    memcpy(out.data, expected.data, out.count * sizeof *out.data);
    for (size_t i = 0; i < kh; i++)
        lines[i] = random_bits(seed) % 4 == 0 ? NULL : in.data + i * width * pitch;
    {
        struct csi_depthwise_row row = {.in = lines,
                                        .in_width = width,
                                        .pitch = pitch,
                                        .channels = channels,
                                        .kernel_height = kh,
                                        .kernel_width = kw,
                                        .stride = stride,
                                        .dilation = dilation,
                                        .pad_left = pad,
                                        .weights = weights.data,
                                        .bias = bias.data,
                                        .out = expected.data,
                                        .out_width = out_width,
                                        .act = act.kind == CSI_FN_NONE ? NULL : &act};

        random_clamp(seed, &row.low, &row.high);
        sets[0]->depthwise_row(&row);
        row.out = out.data;
        kernels->depthwise_row(&row);
    }
    assert_close(kernels->name, out.data, expected.data, out.count, TOLERANCE_DEPTHWISE);
    guarded_free(&in);
    guarded_free(&weights);
    guarded_free(&bias);
    guarded_free(&out);
    guarded_free(&expected);
}

static void test_depthwise(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 2;

        for (int round = 0; round < 10 * ROUNDS; round++)
            check_depthwise(sets[s], &seed);
    }
}

static void test_pool_rows(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 3;

        for (int round = 0; round < ROUNDS; round++) {
            size_t channels = random_size(&seed, 1, 40), pitch = csi_pitch(channels),
                   width = random_size(&seed, 1, 23);
            size_t rows = random_size(&seed, 1, 4), pad, out_width;
            unsigned kw = (unsigned)random_size(&seed, 1, 4), stride = (unsigned)random_size(&seed, 1, 3);
            struct guarded in = guarded_make(rows * width * pitch), out, expected;
            const float *lines[4];
            struct csi_pool_row row = {.in = lines,
                                       .rows = rows,
                                       .in_width = width,
                                       .pitch = pitch,
                                       .kernel_width = kw,
                                       .stride = stride,
                                       .dilation = 1,
                                       .window_rows = rows};

            pad = random_size(&seed, 0, kw - 1);
            fill_map(&seed, in.data, rows * width, channels, pitch);
            for (size_t i = 0; i < rows; i++)
                lines[i] = in.data + i * width * pitch;
            if (width + 2 * pad < kw) {
                guarded_free(&in);
                continue;
            }
            out_width = (width + 2 * pad - kw) / stride + 1;
            out = guarded_make(out_width * pitch);
            expected = guarded_make(out_width * pitch);
            row.pad_left = pad;
            row.padded_width = width + 2 * pad;
            row.out_width = out_width;
            row.count_include_pad = random_bits(&seed) % 2 == 0;
            row.out = expected.data;
            sets[0]->max_pool_row(&row);
            row.out = out.data;
            sets[s]->max_pool_row(&row);
            assert_close(sets[s]->name, out.data, expected.data, out.count, TOLERANCE_MAX_POOL);
            row.out = expected.data;
            sets[0]->average_pool_row(&row);
            row.out = out.data;
            sets[s]->average_pool_row(&row);
            assert_close(sets[s]->name, out.data, expected.data, out.count, TOLERANCE_AVERAGE);
            guarded_free(&in);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

static void test_global_average(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 4;

        for (int round = 0; round < ROUNDS; round++) {
            size_t pixels = random_size(&seed, 1, 200), pitch = csi_pitch(random_size(&seed, 1, 70));
            size_t channels = csi_pitch(random_size(&seed, 1, pitch));
            struct guarded in = guarded_make(pixels * pitch), out = guarded_make(pitch),
                           expected = guarded_make(pitch);

            fill_random(&seed, in.data, in.count);
            sets[0]->global_average(in.data, pixels, channels, pitch, expected.data);
            sets[s]->global_average(in.data, pixels, channels, pitch, out.data);
            assert_close(sets[s]->name, out.data, expected.data, channels, TOLERANCE_AVERAGE);
            guarded_free(&in);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

/* ---- value by value ---- */

static void test_activations(void **state)
{
    static const struct csi_act_params acts[] = {
        {CSI_FN_NONE, 0, 0},       {CSI_FN_RELU, 0, 0},  {CSI_FN_LEAKY_RELU, 0.1f, 0},
        {CSI_FN_CLIP, 0, 6},       {CSI_FN_CLIP, -1, 1}, {CSI_FN_HARD_SIGMOID, 0.2f, 0.5f},
        {CSI_FN_SIGMOID, 0, 0},    {CSI_FN_SWISH, 0, 0}, {CSI_FN_HARD_SIGMOID, 1.0f / 6.0f, 0.5f},
        {CSI_FN_HARD_SWISH, 0, 0}, {CSI_FN_TANH, 0, 0},  {CSI_FN_ELU, 1, 0},
        {CSI_FN_ELU, -2.5f, 0},    {CSI_FN_GELU, 0, 0},  {CSI_FN_GELU_TANH, 0, 0}};

    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 5;

        for (size_t a = 0; a < sizeof acts / sizeof acts[0]; a++) {
            size_t count = 16 * random_size(&seed, 1, 40);
            struct guarded in = guarded_make(count), out = guarded_make(count),
                           expected = guarded_make(count);

            for (size_t i = 0; i < count; i++)
                in.data[i] = random_float(&seed) * (i % 3 == 0 ? 100.0f : 8.0f);
            in.data[0] = 0.0f;
            in.data[1] = 1e30f;
            in.data[2] = -1e30f;
            for (size_t i = 0; i < count; i++)
                expected.data[i] = csi_act_value(&acts[a], in.data[i]);
            sets[s]->activate(&acts[a], in.data, out.data, count);
            assert_close(sets[s]->name, out.data, expected.data, count, TOLERANCE_ACTIVATION);
            sets[s]->activate(&acts[a], in.data, in.data, count); /* in place */
            assert_memory_equal(in.data, out.data, count * sizeof(float));
            guarded_free(&in);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

/* Whatever is done with a NaN, wherever it stands: it comes through. */
static void test_not_a_number(void **state)
{
    enum { COUNT = 64, PITCH = 16 };
    float in[COUNT], out[COUNT], ones[COUNT];
    const float *line = in;

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        ones[i] = 1.0f;
    for (size_t s = 0; s < set_count; s++) {
        for (size_t at = 0; at < COUNT; at++) {
            const struct csi_pool_row row = {.in = &line,
                                             .rows = 1,
                                             .in_width = COUNT / PITCH,
                                             .pitch = PITCH,
                                             .kernel_width = COUNT / PITCH,
                                             .stride = 1,
                                             .dilation = 1,
                                             .out = out,
                                             .out_width = 1};

            for (size_t i = 0; i < COUNT; i++)
                in[i] = i == at ? NAN : (float)i - 20.0f;
            for (int kind = CSI_FN_NONE; kind <= CSI_FN_GELU_TANH; kind++) {
                const struct csi_act_params act = {(enum csi_act)kind, 0.2f, 0.5f};

                sets[s]->activate(&act, in, out, COUNT);
                for (size_t i = 0; i < COUNT; i++) {
                    if (isnan(out[i]) != (i == at))
                        fail_msg("%s: function %d of %g is %g", sets[s]->name, kind, (double)in[i],
                                 (double)out[i]);
                }
            }
            sets[s]->max_pool_row(&row);
            for (size_t i = 0; i < PITCH; i++) {
                if (isnan(out[i]) != (i == at % PITCH))
                    fail_msg("%s: the largest of four with a NaN at %zu is %g", sets[s]->name, at / PITCH,
                             (double)out[i]);
            }
            sets[s]->scale_shift(in, ones, ones, out, COUNT / PITCH, PITCH, 0.0f, 6.0f);
            assert_true(isnan(out[at]));
            sets[s]->arith(CSI_ARITH_ADD, ones, in, PITCH, 1, out, COUNT / PITCH, PITCH, PITCH, 0.0f, 6.0f);
            assert_true(isnan(out[at]));
        }
    }
}

static double meaning(enum csi_act kind, double x)
{
    switch (kind) {
    case CSI_FN_SIGMOID: return 1.0 / (1.0 + exp(-x));
    case CSI_FN_SWISH: return x / (1.0 + exp(-x));
    case CSI_FN_TANH: return tanh(x);
    case CSI_FN_ELU: return x < 0.0 ? expm1(x) : x;
    case CSI_FN_GELU: return x * 0.5 * erfc(-x * sqrt(0.5));
    case CSI_FN_GELU_TANH: return x * 0.5 * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    default: return x;
    }
}

/* Against the functions themselves in double: near 0 by the size of the result, so that small numbers are not
 * lost, and out to where nothing changes any more. */
static void test_activations_are_the_functions(void **state)
{
    static const enum csi_act kinds[] = {CSI_FN_SIGMOID, CSI_FN_SWISH, CSI_FN_TANH,
                                         CSI_FN_ELU,     CSI_FN_GELU,  CSI_FN_GELU_TANH};
    enum { COUNT = 4096 };

    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            struct csi_act_params act = {kinds[k], 1.0f, 0.0f};
            struct guarded in = guarded_make(COUNT), out = guarded_make(COUNT);

            for (size_t i = 0; i < COUNT; i++) {
                float u = ((float)i - COUNT / 2.0f) / (COUNT / 2.0f);

                in.data[i] = i % 2 == 0 ? u * 24.0f : u * u * u * 2.0f;
            }
            sets[s]->activate(&act, in.data, out.data, COUNT);
            for (size_t i = 0; i < COUNT; i++) {
                double x = (double)in.data[i], expected = meaning(kinds[k], x);
                double allowed = fabs(x) < 0.5 ? 1e-6 * fabs(expected) : 1e-6 * (0.1 + fabs(expected));

                if (!(fabs((double)out.data[i] - expected) <= allowed))
                    fail_msg("%s: function %d of %.9g is %.9g, not %.9g", sets[s]->name, (int)kinds[k], x,
                             (double)out.data[i], expected);
            }
            in.data[0] = NAN; /* comes through */
            in.data[1] = INFINITY;
            in.data[2] = -INFINITY;
            sets[s]->activate(&act, in.data, out.data, 16);
            assert_true(isnan(out.data[0]));
            assert_true(kinds[k] == CSI_FN_SIGMOID || kinds[k] == CSI_FN_TANH ? out.data[1] == 1.0f
                                                                              : out.data[1] == INFINITY);
            if (kinds[k] == CSI_FN_TANH || kinds[k] == CSI_FN_ELU)
                assert_true(out.data[2] == -1.0f);
            guarded_free(&in);
            guarded_free(&out);
        }
    }
}

static void test_arith(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 6;

        for (int round = 0; round < ROUNDS; round++) {
            size_t pixels = random_size(&seed, 1, 30), pitch = csi_pitch(random_size(&seed, 1, 70));
            size_t b_step = random_bits(&seed) % 2 ? pitch : 0, b_channel = random_bits(&seed) % 3 ? 1 : 0;
            enum csi_arith op = (enum csi_arith)(round % 4);
            struct guarded a = guarded_make(pixels * pitch), b = guarded_make(pixels * pitch);
            struct guarded out = guarded_make(pixels * pitch), expected = guarded_make(pixels * pitch);
            float low, high;

            random_clamp(&seed, &low, &high);
            fill_random(&seed, a.data, a.count);
            for (size_t i = 0; i < b.count; i++)
                b.data[i] = 1.5f + random_float(&seed);
            sets[0]->arith(op, a.data, b.data, b_step, b_channel, expected.data, pixels, pitch, pitch, low,
                           high);
            sets[s]->arith(op, a.data, b.data, b_step, b_channel, out.data, pixels, pitch, pitch, low, high);
            assert_close(sets[s]->name, out.data, expected.data, out.count, TOLERANCE_ARITH);
            sets[0]->scale_shift(a.data, b.data, b.data, expected.data, pixels, pitch, low, high);
            sets[s]->scale_shift(a.data, b.data, b.data, out.data, pixels, pitch, low, high);
            assert_close(sets[s]->name, out.data, expected.data, out.count, TOLERANCE_SCALE);
            guarded_free(&a);
            guarded_free(&b);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

static void test_pack_nchw(void **state)
{
    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 7;

        for (int round = 0; round < 10; round++) {
            size_t pixels = random_size(&seed, 1, 50), channels = random_size(&seed, 1, 20),
                   pitch = csi_pitch(channels);
            struct guarded in = guarded_make(pixels * channels), out = guarded_make(pixels * pitch);

            fill_random(&seed, in.data, in.count);
            sets[s]->pack_nchw(in.data, channels, pixels, out.data, pitch);
            for (size_t i = 0; i < out.count; i++) {
                float expected = i % pitch < channels ? in.data[i % pitch * pixels + i / pitch] : 0.0f;

                assert_true(out.data[i] == expected);
            }
            guarded_free(&in);
            guarded_free(&out);
        }
    }
}

/* ---- choice ---- */

static void test_selection_follows_the_mask(void **state)
{
    (void)state;
    assert_string_equal(csi_kernels_select(0)->name, "generic");
    assert_string_equal(csi_kernels_select(csi_cpu()->features)->name, sets[set_count - 1]->name);
    for (size_t s = 0; s < set_count; s++) {
        assert_in_range(sets[s]->tile_rows, 1, CSI_MAX_TILE_ROWS);
        assert_in_range(sets[s]->product_rows, 1, CSI_MAX_TILE_ROWS);
        assert_in_range(sets[s]->panel_width, CSI_PITCH, CSI_MAX_PANEL);
        assert_int_equal(sets[s]->panel_width % CSI_PITCH, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tile),
                                       cmocka_unit_test(test_pack_rows),
                                       cmocka_unit_test(test_product),
                                       cmocka_unit_test(test_depthwise),
                                       cmocka_unit_test(test_pool_rows),
                                       cmocka_unit_test(test_global_average),
                                       cmocka_unit_test(test_activations),
                                       cmocka_unit_test(test_not_a_number),
                                       cmocka_unit_test(test_activations_are_the_functions),
                                       cmocka_unit_test(test_arith),
                                       cmocka_unit_test(test_pack_nchw),
                                       cmocka_unit_test(test_selection_follows_the_mask)};

    return cmocka_run_group_tests(tests, find_sets, NULL);
}
