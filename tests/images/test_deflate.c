/* Deflate by Huffman codes alone: zlib gives the bytes back, of every size and spread, and the room is
 * enough. */
#include "images/support.h"

#include <zlib.h>

#include "image/deflate.h"

enum { GUARD = 64 };

/* Packs in a block that ends in a guard zone; the caller frees. */
static uint8_t *pack(const uint8_t *bytes, size_t size, bool last, size_t *packed_size)
{
    size_t bound = csi_deflate_bound(size);
    uint8_t *packed = malloc(bound + GUARD);

    assert_non_null(packed);
    assert_true(bound > size);
    memset(packed, 0xa5, bound + GUARD);
    *packed_size = csi_deflate(bytes, size, last, packed);
    assert_true(*packed_size > 0 && *packed_size <= bound);
    for (size_t i = bound; i < bound + GUARD; i++)
        assert_int_equal(packed[i], 0xa5);
    return packed;
}

/* zlib reads `packed` as raw deflate: exactly `bytes`, nothing behind. */
static void expect_back(const uint8_t *packed, size_t packed_size, const uint8_t *bytes, size_t size)
{
    uint8_t *back = malloc(size + 1);
    z_stream stream;

    assert_non_null(back);
    memset(&stream, 0, sizeof stream);
    assert_int_equal(inflateInit2(&stream, -MAX_WBITS), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)packed;
    stream.avail_in = (uInt)packed_size;
    stream.next_out = back;
    stream.avail_out = (uInt)size + 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, size);
    if (size > 0)
        assert_memory_equal(back, bytes, size);
    inflateEnd(&stream);
    free(back);
}

/* Bytes of many spreads: one value, even, mostly small, two values, a Fibonacci-like tree that is too deep
 * for the format, and one that changes in the middle. */
enum { SPREADS = 6 };

static void fill(uint8_t *bytes, size_t size, unsigned spread, uint32_t *random)
{
    uint32_t a = 1, b = 1;
    size_t next = 1;
    unsigned symbol = 0;

    for (size_t i = 0; i < size; i++) {
        uint32_t r = next_random(random);

        switch (spread) {
        case 0: bytes[i] = 7; break;
        case 1: bytes[i] = (uint8_t)r; break;
        case 2: bytes[i] = (uint8_t)(((r & 15u) * (r >> 4 & 15u)) >> 4); break;
        case 3: bytes[i] = r % 100 == 0 ? 255 : 0; break;
        case 4:
            if (i == next) {
                uint32_t sum = a + b;

                a = b;
                b = sum;
                next += b;
                symbol++;
            }
            bytes[i] = (uint8_t)symbol;
            break;
        default: bytes[i] = (uint8_t)(i < size / 2 ? r & 3u : 128 + (r & 63u)); break;
        }
    }
}

static void every_size_and_spread(void **state)
{
    static const size_t sizes[] = {0,   1,   2,    3,    4,     5,     7,     8,     63,    64,     65,    99,
                                   255, 256, 1000, 4097, 32767, 32768, 32769, 65536, 65537, 131072, 300001};
    uint32_t random = 11;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (unsigned spread = 0; spread < SPREADS; spread++) {
            size_t size = sizes[i], packed_size;
            uint8_t *bytes = malloc(size + 1), *packed;

            assert_non_null(bytes);
            fill(bytes, size, spread, &random);
            packed = pack(bytes, size, true, &packed_size);
            expect_back(packed, packed_size, bytes, size);
            free(packed);
            free(bytes);
        }
}

/* Pieces that do not end the stream follow each other, however each of them ends. */
static void pieces_follow_each_other(void **state)
{
    uint32_t random = 5;
    uint8_t *bytes = malloc(400000), *packed = malloc(800000);
    size_t size = 0, packed_size = 0;

    (void)state;
    assert_non_null(bytes);
    assert_non_null(packed);
    for (unsigned piece = 0; piece < 60; piece++) {
        size_t count = piece == 30 ? 70000 : next_random(&random) % 3000, piece_size;
        uint8_t *made;

        fill(bytes + size, count, piece % SPREADS, &random);
        made = pack(bytes + size, count, piece == 59, &piece_size);
        assert_true(packed_size + piece_size <= 800000);
        memcpy(packed + packed_size, made, piece_size);
        free(made);
        size += count;
        packed_size += piece_size;
    }
    expect_back(packed, packed_size, bytes, size);
    free(bytes);
    free(packed);
}

/* Where the spread stays the same, no worse than zlib's Huffman coding by more than a hundredth; noise grows
 * by no more than its blocks' heads. */
static void as_small_as_zlib(void **state)
{
    enum { SIZE = 300000 };
    uint32_t random = 3;
    uint8_t *bytes = malloc(SIZE), *theirs = malloc(2 * SIZE);

    (void)state;
    assert_non_null(bytes);
    assert_non_null(theirs);
    for (unsigned spread = 0; spread < 4; spread++) {
        z_stream stream;
        size_t packed_size;

        fill(bytes, SIZE, spread, &random);
        free(pack(bytes, SIZE, true, &packed_size));
        memset(&stream, 0, sizeof stream);
        assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, -MAX_WBITS, 8, Z_HUFFMAN_ONLY), Z_OK);
        stream.next_in = bytes;
        stream.avail_in = SIZE;
        stream.next_out = theirs;
        stream.avail_out = 2 * SIZE;
        assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
        assert_true(packed_size <= stream.total_out + stream.total_out / 100 + 64);
        assert_true(packed_size <= SIZE + 64);
        deflateEnd(&stream);
    }
    free(bytes);
    free(theirs);
}

static void too_large_for_a_size(void **state)
{
    (void)state;
    assert_int_equal(csi_deflate_bound(SIZE_MAX), 0);
    assert_int_equal(csi_deflate_bound(SIZE_MAX - 100), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_and_spread),
        cmocka_unit_test(pieces_follow_each_other),
        cmocka_unit_test(as_small_as_zlib),
        cmocka_unit_test(too_large_for_a_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
