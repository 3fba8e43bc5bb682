/*
 * The kernels on 8-bit maps, every set against plain C: the same bytes, on random shapes, between guard
 * zones. Plain C itself against sums in 64 bits.
 */
#include "kernels/guarded.h"

#include "base/cpu.h"
#include "kernels/kernels.h"

#define ROUNDS 80

static const struct csi_kernels *sets[2 * CSI_KERNEL_SETS];
static size_t set_count;

/* Also those that have instructions of their own for bytes as they are without them. */
static int find_sets(void **state)
{
    const struct csi_kernels *plain[CSI_KERNEL_SETS];
    size_t plain_count = csi_kernels_list(csi_cpu()->features & ~(uint32_t)CSI_CPU_DOTPROD, plain);

    (void)state;
    set_count = csi_kernels_list(csi_cpu()->features, sets);
    for (size_t i = 0; i < plain_count; i++) {
        size_t same = 0;

        while (same < set_count && sets[same] != plain[i])
            same++;
        if (same == set_count)
            sets[set_count++] = plain[i];
    }
    for (size_t i = 0; i < set_count; i++)
        print_message("set: %s%s, tile %zu x %zu\n", sets[i]->name, sets[i]->byte_name(1, 1, 1, true),
                      sets[i]->byte_rows, sets[i]->byte_panel);
    return set_count > 0 && strcmp(sets[0]->name, "generic") == 0 ? 0 : -1;
}

/* `bytes` bytes between guards. */
static struct guarded guarded_bytes(size_t bytes)
{
    return guarded_make((bytes + 3) / 4);
}

static uint8_t *bytes_of(const struct guarded *g)
{
    return (uint8_t *)(void *)g->data;
}

/* All values, the extremes often: they are what saturates. */
static void fill_bytes(uint32_t *seed, void *data, size_t count)
{
    uint8_t *bytes = data;

    for (size_t i = 0; i < count; i++)
        bytes[i] = random_bits(seed) % 3 == 0 ? 255 : (uint8_t)random_bits(seed);
}

static void fill_levels(uint32_t *seed, int8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        data[i] = random_bits(seed) % 3 == 0 ? 127 : (int8_t)((int)random_size(seed, 0, 254) - 127);
}

static struct csi_byte_scale random_scale(uint32_t *seed)
{
    return (struct csi_byte_scale){0.01f + 0.05f * (float)random_size(seed, 0, 100),
                                   (int32_t)random_size(seed, 0, 255)};
}

static void assert_bytes(const char *what, const struct guarded *got, const struct guarded *expected,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_of(got)[i] != bytes_of(expected)[i])
            fail_msg("%s: byte %zu is %d instead of %d", what, i, bytes_of(got)[i], bytes_of(expected)[i]);
    }
}

/* ---- tile and packing ---- */

struct tile_case {
    size_t rows, outputs, pitch, taps, depth, quads, step;
    size_t offsets[9];
    int32_t zero_in;
    unsigned residual; /* 0 none, 1 bytes, 2 floats */
    bool bytes;        /* of the output */
    struct csi_byte_scale out_scale, residual_scale;
    float low, high;
    struct guarded in, levels, scale, bias, sums, residual_map, out, expected;
};

static void make_tile_case(struct tile_case *c, uint32_t *seed)
{
    size_t last = 0;

    c->rows = random_bits(seed) % 3 ? random_size(seed, 1, 70) : 16 * random_size(seed, 1, 5);
    c->outputs = random_size(seed, 1, 90);
    c->pitch = csi_pitch(c->outputs);
    c->taps = random_size(seed, 1, 9);
    c->depth = random_bits(seed) % 2 ? random_size(seed, 1, 70) : 32 * random_size(seed, 1, 5);
    c->quads = (c->depth + 3) / 4;
    c->step = random_size(seed, 1, 150);
    for (size_t t = 0; t < c->taps; t++) {
        c->offsets[t] = random_size(seed, 0, 300);
        last = csi_max_size(last, c->offsets[t]);
    }
    c->zero_in = (int32_t)random_size(seed, 0, 255);
    c->residual = (unsigned)random_size(seed, 0, 2);
    c->bytes = random_bits(seed) % 2 == 0;
    c->out_scale = random_scale(seed);
    c->residual_scale = random_scale(seed);
    c->low = random_bits(seed) % 2 ? -10000.0f : 0.0f;
    c->high = random_bits(seed) % 2 ? 10000.0f : 6.0f;
    c->in = guarded_bytes((c->rows - 1) * c->step + last + 4 * c->quads);
    c->levels = guarded_bytes(c->outputs * c->taps * c->depth);
    c->scale = guarded_make(c->pitch);
    c->bias = guarded_make(c->pitch);
    c->sums = guarded_make(c->pitch);
    c->residual_map = guarded_make(c->rows * c->pitch);
    c->out = guarded_make(c->rows * c->pitch);
    c->expected = guarded_make(c->rows * c->pitch);
    fill_bytes(seed, c->in.data, c->in.count * 4);
    fill_levels(seed, (int8_t *)bytes_of(&c->levels), c->levels.count * 4);
    for (size_t o = 0; o < c->pitch; o++) {
        int32_t sum = 0;

        c->scale.data[o] = 0.0001f + 0.001f * (float)random_size(seed, 0, 50);
        c->bias.data[o] = random_float(seed);
        for (size_t k = 0; o < c->outputs && k < c->taps * c->depth; k++)
            sum += ((int8_t *)bytes_of(&c->levels))[o * c->taps * c->depth + k];
        memcpy(&c->sums.data[o], &sum, sizeof sum);
    }
    if (c->residual == 1)
        fill_bytes(seed, c->residual_map.data, c->rows * c->pitch);
    else
        fill_random(seed, c->residual_map.data, c->rows * c->pitch);
}

static void free_tile_case(struct tile_case *c)
{
    guarded_free(&c->in);
    guarded_free(&c->levels);
    guarded_free(&c->scale);
    guarded_free(&c->bias);
    guarded_free(&c->sums);
    guarded_free(&c->residual_map);
    guarded_free(&c->out);
    guarded_free(&c->expected);
}

/* All rows and panels of a case into `out`. Weights lie [output][tap][depth]. */
static void run_tile_case(const struct csi_kernels *kernels, struct tile_case *c, struct guarded *out)
{
    const struct csi_byte_source source = {(const int8_t *)bytes_of(&c->levels),
                                           c->outputs,
                                           c->taps,
                                           c->depth,
                                           c->quads,
                                           c->taps * c->depth,
                                           c->depth,
                                           1};

    for (size_t panel = 0; panel < csi_byte_panel_count(kernels, c->outputs); panel++) {
        size_t width = csi_byte_panel_width(kernels, c->outputs, panel), first = panel * kernels->byte_panel;
        struct guarded packed = guarded_bytes(c->taps * c->quads * 4 * width);
        _Alignas(64) int32_t start[CSI_MAX_BYTE_PANEL];

        csi_pack_byte_panel(kernels, &source, panel, (int8_t *)bytes_of(&packed));
        for (size_t o = 0; o < width; o++) {
            memcpy(&start[o], &c->sums.data[first + o], sizeof start[o]);
            start[o] *= kernels->byte_offset - c->zero_in;
        }
        for (size_t row = 0; row < c->rows; row += kernels->byte_rows) {
            size_t at = row * c->pitch + first;

            kernels->byte_tile(&(struct csi_byte_tile){
                .rows = csi_min_size(kernels->byte_rows, c->rows - row),
                .width = width,
                .taps = c->taps,
                .quads = c->quads,
                .in = bytes_of(&c->in) + row * c->step,
                .row_step = c->step,
                .offsets = c->offsets,
                .weights = (const int8_t *)bytes_of(&packed),
                .start = start,
                .scale = c->scale.data + first,
                .bias = c->bias.data + first,
                .residual_bytes = c->residual == 1 ? bytes_of(&c->residual_map) + at : NULL,
                .residual_floats = c->residual == 2 ? c->residual_map.data + at : NULL,
                .residual_step = c->pitch,
                .residual = c->residual_scale,
                .low = c->low,
                .high = c->high,
                .out_bytes = c->bytes ? bytes_of(out) + at : NULL,
                .out_floats = c->bytes ? NULL : out->data + at,
                .out_step = c->pitch,
                .inverse = 1.0f / c->out_scale.scale,
                .zero = c->out_scale.zero,
            });
        }
        guarded_free(&packed);
    }
    kernels->byte_release();
}

static void test_tile(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 1;

        for (int round = 0; round < ROUNDS; round++) {
            struct tile_case c;

            make_tile_case(&c, &seed);
            run_tile_case(sets[0], &c, &c.expected);
            run_tile_case(sets[s], &c, &c.out);
            assert_bytes(sets[s]->name, &c.out, &c.expected, c.rows * c.pitch * (c.bytes ? 1 : 4));
            free_tile_case(&c);
        }
    }
}

/* Plain C is right: sums in 64 bits, from the weights as they were before packing. */
static void test_tile_sums(void **state)
{
    uint32_t seed = 5;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct tile_case c;

        make_tile_case(&c, &seed);
        c.bytes = false;
        c.residual = 0;
        c.low = -1e9f;
        c.high = 1e9f;
        run_tile_case(sets[0], &c, &c.out);
        for (size_t r = 0; r < c.rows; r++) {
            for (size_t o = 0; o < c.outputs; o++) {
                int64_t sum = 0;
                double expected;

                for (size_t k = 0; k < c.taps * c.depth; k++) {
                    const uint8_t *in = bytes_of(&c.in) + r * c.step + c.offsets[k / c.depth];

                    sum += (int64_t)(in[k % c.depth] - c.zero_in) *
                           (int8_t)bytes_of(&c.levels)[o * c.taps * c.depth + k];
                }
                expected = (double)sum * (double)c.scale.data[o] + (double)c.bias.data[o];
                assert_true(fabs((double)c.out.data[r * c.pitch + o] - expected) <=
                            1e-6 * (1.0 + fabs(expected)));
            }
        }
        free_tile_case(&c);
    }
}

/* ---- depthwise ---- */

static void test_depthwise(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 2;

        for (int round = 0; round < ROUNDS; round++) {
            size_t pitch = csi_pitch(random_size(&seed, 1, 40)), width = random_size(&seed, 1, 23);
            unsigned kh = (unsigned)random_size(&seed, 1, 5), kw = (unsigned)random_size(&seed, 1, 5);
            unsigned stride = (unsigned)random_size(&seed, 1, 3),
                     dilation = (unsigned)random_size(&seed, 1, 2);
            size_t pad = random_size(&seed, 0, kw), span = (kw - 1) * dilation + 1, out_width;
            bool bytes = random_bits(&seed) % 2 == 0;
            struct csi_byte_scale out_scale = random_scale(&seed);
            struct guarded in, weights, scale, bias, out, expected;
            const uint8_t *lines[5];
            struct csi_byte_depthwise_row row;

            if (width + 2 * pad < span)
                continue;
            out_width = (width + 2 * pad - span) / stride + 1;
            in = guarded_bytes(kh * width * pitch);
            weights = guarded_make(kh * kw * pitch);
            scale = guarded_make(pitch);
            bias = guarded_make(pitch);
            out = guarded_make(out_width * pitch);
            expected = guarded_make(out_width * pitch);
            fill_bytes(&seed, in.data, kh * width * pitch);
            for (size_t i = 0; i < weights.count; i++)
                weights.data[i] = (float)random_size(&seed, 0, 254) - 127.0f;
            for (size_t i = 0; i < pitch; i++) {
                scale.data[i] = 0.0001f * (float)random_size(&seed, 1, 100);
                bias.data[i] = random_float(&seed);
            }
            for (size_t i = 0; i < kh; i++)
                lines[i] = random_bits(&seed) % 4 == 0 ? NULL : bytes_of(&in) + i * width * pitch;
            row = (struct csi_byte_depthwise_row){
                .in = lines,
                .in_width = width,
                .pitch = pitch,
                .kernel_height = kh,
                .kernel_width = kw,
                .stride = stride,
                .dilation = dilation,
                .pad_left = pad,
                .zero_in = (int32_t)random_size(&seed, 0, 255),
                .weights = weights.data,
                .scale = scale.data,
                .bias = bias.data,
                .low = -3.0f,
                .high = 300.0f,
                .out_width = out_width,
                .inverse = 1.0f / out_scale.scale,
                .zero = out_scale.zero,
                .out_bytes = bytes ? bytes_of(&expected) : NULL,
                .out_floats = bytes ? NULL : expected.data,
            };
            sets[0]->byte_depthwise_row(&row);
            row.out_bytes = bytes ? bytes_of(&out) : NULL;
            row.out_floats = bytes ? NULL : out.data;
            sets[s]->byte_depthwise_row(&row);
            assert_bytes(sets[s]->name, &out, &expected, out_width * pitch * (bytes ? 1 : 4));
            guarded_free(&in);
            guarded_free(&weights);
            guarded_free(&scale);
            guarded_free(&bias);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

/* ---- pooling ---- */

static void test_max_pool(void **state)
{
    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 3;

        for (int round = 0; round < ROUNDS; round++) {
            size_t pitch = csi_pitch(random_size(&seed, 1, 70)), width = random_size(&seed, 2, 20);
            size_t rows = random_size(&seed, 1, 3), pad = random_size(&seed, 0, 1),
                   out_width = (width + 2 * pad - 2) / 2 + 1;
            struct guarded in = guarded_bytes(rows * width * pitch), out = guarded_bytes(out_width * pitch);
            const uint8_t *lines[3];

            fill_bytes(&seed, in.data, rows * width * pitch);
            for (size_t i = 0; i < rows; i++)
                lines[i] = bytes_of(&in) + i * width * pitch;
            sets[s]->byte_max_pool_row(&(struct csi_byte_pool_row){
                .in = lines,
                .rows = rows,
                .in_width = width,
                .in_pitch = pitch,
                .out_pitch = pitch,
                .channels = pitch,
                .kernel_width = 2,
                .stride = 2,
                .dilation = 1,
                .pad_left = pad,
                .out = bytes_of(&out),
                .out_width = out_width,
            });
            for (size_t i = 0; i < out_width * pitch; i++) {
                int best = 0;

                for (size_t k = 0; k < 2 * rows; k++) {
                    size_t at = i / pitch * 2 + k % 2;

                    if (at >= pad && at - pad < width) {
                        int value = lines[k / 2][(at - pad) * pitch + i % pitch];

                        best = value > best ? value : best;
                    }
                }
                assert_int_equal(bytes_of(&out)[i], best);
            }
            guarded_free(&in);
            guarded_free(&out);
        }
    }
}

/* ---- value by value ---- */

static void test_add(void **state)
{
    (void)state;
    for (size_t s = 1; s < set_count; s++) {
        uint32_t seed = 4;

        for (int round = 0; round < ROUNDS; round++) {
            size_t count = 16 * random_size(&seed, 1, 40);
            struct guarded a = guarded_bytes(count), b = guarded_bytes(count), out = guarded_bytes(count),
                           expected = guarded_bytes(count);
            struct csi_byte_scale scale = random_scale(&seed);
            struct csi_byte_add add = {.a = bytes_of(&a),
                                       .b = bytes_of(&b),
                                       .a_scale = random_scale(&seed),
                                       .b_scale = random_scale(&seed),
                                       .low = random_bits(&seed) % 2 ? -1000.0f : 0.0f,
                                       .high = 1000.0f,
                                       .inverse = 1.0f / scale.scale,
                                       .zero = scale.zero,
                                       .count = count};

            fill_bytes(&seed, a.data, count);
            fill_bytes(&seed, b.data, count);
            add.out = bytes_of(&expected);
            sets[0]->byte_add(&add);
            add.out = bytes_of(&out);
            sets[s]->byte_add(&add);
            assert_bytes(sets[s]->name, &out, &expected, count);
            guarded_free(&a);
            guarded_free(&b);
            guarded_free(&out);
            guarded_free(&expected);
        }
    }
}

static void test_conversions(void **state)
{
    (void)state;
    for (size_t s = 0; s < set_count; s++) {
        uint32_t seed = 6;

        for (int round = 0; round < ROUNDS; round++) {
            size_t pixels = random_size(&seed, 1, 60), pitch = 16 * random_size(&seed, 1, 5),
                   count = pixels * pitch;
            struct csi_byte_scale scale = random_scale(&seed);
            struct guarded floats = guarded_make(count), back = guarded_make(count),
                           mean = guarded_make(pitch), bytes = guarded_bytes(count);

            for (size_t i = 0; i < count; i++)
                floats.data[i] = 300.0f * scale.scale * random_float(&seed);
            floats.data[0] = INFINITY;
            floats.data[1] = -INFINITY;
            floats.data[2] = NAN;
            floats.data[3] = 2.5f * scale.scale; /* a tie: to the even neighbour */
            sets[s]->quantize(floats.data, scale, bytes_of(&bytes), count);
            sets[s]->dequantize(bytes_of(&bytes), scale, back.data, count);
            sets[s]->byte_global_average(bytes_of(&bytes), pixels, pitch, pitch, scale, mean.data);
            assert_int_equal(bytes_of(&bytes)[0], 255);
            assert_int_equal(bytes_of(&bytes)[1], 0);
            assert_int_equal(bytes_of(&bytes)[2], 0);
            for (size_t i = 3; i < count; i++) {
                double level = nearbyint((double)(floats.data[i] / scale.scale)) + scale.zero;

                assert_int_equal(bytes_of(&bytes)[i], level < 0 ? 0 : level > 255 ? 255 : (int)level);
                assert_true(back.data[i] == (float)(bytes_of(&bytes)[i] - scale.zero) * scale.scale);
            }
            for (size_t c = 0; c < pitch; c++) {
                double sum = 0;

                for (size_t p = 0; p < pixels; p++)
                    sum += bytes_of(&bytes)[p * pitch + c];
                assert_true(fabs((sum / (double)pixels - scale.zero) * (double)scale.scale -
                                 (double)mean.data[c]) <= 1e-4 * (double)scale.scale);
            }
            guarded_free(&floats);
            guarded_free(&back);
            guarded_free(&mean);
            guarded_free(&bytes);
        }
    }
}

/* What has dot products of bytes says so, and only that is called fast. */
static void test_names(void **state)
{
    const uint32_t features = csi_cpu()->features, dots = CSI_CPU_DOTPROD | CSI_CPU_AVX512_VNNI;
    const struct csi_kernels *best = csi_kernels_select(features),
                             *plain = csi_kernels_select(features & ~(dots | CSI_CPU_AMX_INT8));

    (void)state;
    assert_int_equal(best->byte_fast, (features & dots) != 0);
    assert_int_equal(best->byte_name(1, 1, 1, true)[0] != '\0', best->byte_fast);
    assert_false(plain->byte_fast);
    assert_string_equal(plain->byte_name(1, 1, 1, true), "");
    if (features & CSI_CPU_DOTPROD)
        assert_string_equal(best->byte_name(1, 1, 1, true), "dotprod");
    if (features & CSI_CPU_NEON) /* not plain C's tile */
        assert_ptr_not_equal(plain->byte_tile, sets[0]->byte_tile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tile),     cmocka_unit_test(test_tile_sums), cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_max_pool), cmocka_unit_test(test_add),       cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("bytes", tests, find_sets, NULL);
}
