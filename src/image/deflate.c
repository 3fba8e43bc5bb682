/*
 * Deflate with Huffman codes alone: see deflate.h. Every block has a code of its own, unless its bytes are so
 * evenly spread that they are shorter as they are.
 */
#include "image/deflate.h"

#include <string.h>

#include "base/checked.h"

enum {
    BLOCK_BYTES = 32768, /* a stored block holds twice that; photos packed 0.2 % smaller than with it */
    END = 256,           /* ends a block */
    SYMBOLS = 257,
    MAX_LENGTH = 14, /* a bit less than the format allows: four codes and seven bits are one word */
    LENGTH_SYMBOLS = 19,
    MAX_LENGTH_LENGTH = 7,
    ALL_LENGTHS = SYMBOLS + 1, /* and one distance code, which nobody uses */
    USUAL_HEAD_BITS = 600,
    HEAD_BYTES = 512, /* more than a block's head: 17 + 19·3 bits, 258 lengths of 7 bits and their repeats */
};

/* ---- bits ---- */

struct bits {
    uint8_t *to;
    uint64_t word;
    unsigned count; /* under 8 between two calls */
};

static void store64(uint8_t *to, uint64_t word)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &word, sizeof word);
#else
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(word >> (8 * i));
#endif
}

/* Whole bytes of the word go out. Eight bytes are written, of which those behind the end are written again.
 */
static inline void flush(struct bits *bits)
{
    store64(bits->to, bits->word);
    bits->to += bits->count >> 3;
    bits->word >>= bits->count & ~7u;
    bits->count &= 7u;
}

static void put(struct bits *bits, uint32_t value, unsigned count)
{
    bits->word |= (uint64_t)value << bits->count;
    bits->count += count;
    flush(bits);
}

/* ---- codes ---- */

struct code {
    uint16_t bits[SYMBOLS]; /* lowest first, as they are written */
    uint8_t lengths[SYMBOLS];
};

/* Symbols that occur, rarest first: two passes of eight bits. */
static unsigned sort_symbols(const uint32_t *counts, unsigned symbols, uint16_t *sorted)
{
    uint16_t places[2][257] = {{0}}, first[SYMBOLS];
    unsigned used = 0;

    for (unsigned s = 0; s < symbols; s++) {
        if (counts[s] == 0)
            continue;
        places[0][(counts[s] & 255u) + 1]++;
        places[1][(counts[s] >> 8 & 255u) + 1]++;
        used++;
    }
    for (unsigned i = 0; i < 256; i++) {
        places[0][i + 1] = (uint16_t)(places[0][i + 1] + places[0][i]);
        places[1][i + 1] = (uint16_t)(places[1][i + 1] + places[1][i]);
    }
    for (unsigned s = 0; s < symbols; s++)
        if (counts[s] != 0)
            first[places[0][counts[s] & 255u]++] = (uint16_t)s;
    for (unsigned i = 0; i < used; i++)
        sorted[places[1][counts[first[i]] >> 8 & 255u]++] = first[i];
    return used;
}

/* How many codes have which length, of `used` ≥ 2 symbols with these counts, rarest first: the two rarest
 * trees become one until one is left. Trees are made in order of their weight, so two queues hold them
 * sorted. */
static void tree_lengths(const uint32_t *counts, const uint16_t *sorted, unsigned used,
                         uint32_t of_length[SYMBOLS])
{
    uint32_t weight[2 * SYMBOLS] = {0};
    uint16_t parent[2 * SYMBOLS] = {0}, depth[2 * SYMBOLS] = {0};
    unsigned leaf = 0, tree = used, end = used;

    for (unsigned i = 0; i < used; i++)
        weight[i] = counts[sorted[i]];
    for (; end + 1 < 2 * used; end++) {
        for (int i = 0; i < 2; i++) {
            unsigned rarest = leaf < used && (tree == end || weight[leaf] <= weight[tree]) ? leaf++ : tree++;

            weight[end] += weight[rarest];
            parent[rarest] = (uint16_t)end;
        }
    }
    for (unsigned i = end - 1; i-- > 0;) {
        depth[i] = (uint16_t)(depth[parent[i]] + 1);
        if (i < used)
            of_length[depth[i]]++;
    }
}

/* Codes longer than `most` become that long, and others longer, until all have room again (Kraft's sum is 1).
 */
static void limit_lengths(uint32_t of_length[SYMBOLS], unsigned most)
{
    uint32_t taken = 0;

    for (unsigned length = most + 1; length < SYMBOLS; length++)
        of_length[most] += of_length[length];
    for (unsigned length = 1; length <= most; length++)
        taken += of_length[length] << (most - length);
    for (; taken > (1u << most); taken--) { /* one leaves the bottom to stand beside a shorter one's place */
        unsigned length = most - 1;

        while (of_length[length] == 0)
            length--;
        of_length[most]--;
        of_length[length]--;
        of_length[length + 1] += 2;
    }
}

static uint16_t reversed(uint32_t bits, unsigned count)
{
    uint32_t turned = 0;

    for (unsigned i = 0; i < count; i++)
        turned |= (bits >> i & 1u) << (count - 1 - i);
    return (uint16_t)turned;
}

/* The code for `counts`, no code longer than `most`. A single symbol takes one bit. */
static void make_code(const uint32_t *counts, unsigned symbols, unsigned most, struct code *code)
{
    uint16_t sorted[SYMBOLS];
    uint32_t of_length[SYMBOLS] = {0}, next[MAX_LENGTH + 2] = {0};
    unsigned used = sort_symbols(counts, symbols, sorted), at = 0;

    memset(code, 0, sizeof *code);
    if (used == 1)
        of_length[1] = 1;
    else
        tree_lengths(counts, sorted, used, of_length);
    limit_lengths(of_length, most);
    for (unsigned length = most; length > 0; length--)
        for (uint32_t i = 0; i < of_length[length]; i++)
            code->lengths[sorted[at++]] = (uint8_t)length;
    for (unsigned length = 1; length <= most; length++)
        next[length + 1] = (next[length] + of_length[length]) << 1;
    for (unsigned s = 0; s < symbols; s++)
        if (code->lengths[s] != 0)
            code->bits[s] = reversed(next[code->lengths[s]]++, code->lengths[s]);
}

/* ---- blocks ---- */

/* The lengths of a code as the head tells them: symbols 0 to 15 are lengths, 16 to 18 are repeats with a
 * number of so many bits behind them. */
struct told {
    uint8_t symbol[ALL_LENGTHS], number[ALL_LENGTHS], bits[ALL_LENGTHS];
    unsigned count;
};

static void tell(struct told *told, unsigned symbol, unsigned number, unsigned bits)
{
    told->symbol[told->count] = (uint8_t)symbol;
    told->number[told->count] = (uint8_t)number;
    told->bits[told->count++] = (uint8_t)bits;
}

static void tell_lengths(const uint8_t lengths[ALL_LENGTHS], struct told *told)
{
    told->count = 0;
    for (unsigned i = 0, run; i < ALL_LENGTHS; i += run) {
        for (run = 1; i + run < ALL_LENGTHS && lengths[i + run] == lengths[i] && run < 138; run++)
            ;
        if (lengths[i] == 0 && run >= 11) {
            tell(told, 18, run - 11, 7);
        } else if (lengths[i] == 0 && run >= 3) {
            tell(told, 17, run - 3, 3);
        } else if (run >= 4) {
            run = run < 7 ? run : 7;
            tell(told, lengths[i], 0, 0);
            tell(told, 16, run - 4, 2);
        } else {
            run = 1;
            tell(told, lengths[i], 0, 0);
        }
    }
}

static void put_head(struct bits *bits, const struct code *code)
{
    static const uint8_t order[LENGTH_SYMBOLS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                  11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[ALL_LENGTHS] = {0}; /* the distance code's one length is 0: no distances */
    uint32_t counts[LENGTH_SYMBOLS] = {0};
    struct told told;
    struct code of_lengths;
    unsigned sent = LENGTH_SYMBOLS;

    memcpy(lengths, code->lengths, sizeof code->lengths);
    tell_lengths(lengths, &told);
    for (unsigned i = 0; i < told.count; i++)
        counts[told.symbol[i]]++;
    make_code(counts, LENGTH_SYMBOLS, MAX_LENGTH_LENGTH, &of_lengths);
    while (sent > 4 && of_lengths.lengths[order[sent - 1]] == 0)
        sent--;
    put(bits, SYMBOLS - 257, 5);
    put(bits, 0, 5);
    put(bits, sent - 4, 4);
    for (unsigned i = 0; i < sent; i++)
        put(bits, of_lengths.lengths[order[i]], 3);
    for (unsigned i = 0; i < told.count; i++) {
        put(bits, of_lengths.bits[told.symbol[i]], of_lengths.lengths[told.symbol[i]]);
        put(bits, told.number[i], told.bits[i]);
    }
}

/* The hot loop: four bytes, at most 56 bits, a word. */
static void put_bytes(struct bits *to, const struct code *code, const uint8_t *bytes, size_t size)
{
    struct bits bits = *to; /* kept in registers */
    uint32_t entries[256];
    size_t i = 0;

    for (unsigned s = 0; s < 256; s++)
        entries[s] = (uint32_t)code->bits[s] << 8 | code->lengths[s];
    for (; i + 4 <= size; i += 4) {
        uint32_t a = entries[bytes[i]], b = entries[bytes[i + 1]], c = entries[bytes[i + 2]],
                 d = entries[bytes[i + 3]];
        uint64_t ab = a >> 8 | (uint64_t)(b >> 8) << (a & 63u), cd = c >> 8 | (uint64_t)(d >> 8) << (c & 63u);
        unsigned first = (a & 63u) + (b & 63u), second = (c & 63u) + (d & 63u);

        bits.word |= (ab | cd << first) << bits.count;
        bits.count += first + second;
        flush(&bits);
    }
    *to = bits;
    for (; i < size; i++)
        put(to, code->bits[bytes[i]], code->lengths[bytes[i]]);
}

/* How often each byte occurs. Four tables, because the next byte is often the same. */
static void count_bytes(const uint8_t *bytes, size_t size, uint32_t counts[SYMBOLS])
{
    uint32_t parts[4][256] = {{0}};
    size_t i = 0;

    for (; i + 4 <= size; i += 4)
        for (unsigned j = 0; j < 4; j++)
            parts[j][bytes[i + j]]++;
    for (; i < size; i++)
        parts[0][bytes[i]]++;
    for (unsigned s = 0; s < 256; s++)
        counts[s] = parts[0][s] + parts[1][s] + parts[2][s] + parts[3][s];
    counts[END] = 1;
}

static void put_stored(struct bits *bits, const uint8_t *bytes, size_t size, bool last)
{
    put(bits, last, 3);
    put(bits, 0, (8 - bits->count) & 7u);
    put(bits, (uint32_t)size, 16);
    put(bits, ~(uint32_t)size & 0xffffu, 16);
    if (size > 0)
        memcpy(bits->to, bytes, size);
    bits->to += size;
}

static void put_block(struct bits *bits, const uint8_t *bytes, size_t size, bool last)
{
    uint32_t counts[SYMBOLS];
    struct code code;
    size_t coded = 0;

    count_bytes(bytes, size, counts);
    make_code(counts, SYMBOLS, MAX_LENGTH, &code);
    for (unsigned s = 0; s < SYMBOLS; s++)
        coded += (size_t)counts[s] * code.lengths[s];
    if (coded + USUAL_HEAD_BITS >= 8 * size) {
        put_stored(bits, bytes, size, last);
        return;
    }
    put(bits, 2u << 1 | last, 3);
    put_head(bits, &code);
    put_bytes(bits, &code, bytes, size);
    put(bits, code.bits[END], code.lengths[END]);
}

size_t csi_deflate_bound(size_t size)
{
    size_t heads, bound;

    /* A coded block has fewer bytes than it codes, and its head; the last block may be empty, and another
     * ends the bytes on a boundary; a word is written at once. */
    if (csi_mul_overflows(size / BLOCK_BYTES + 2, HEAD_BYTES, &heads) ||
        csi_add_overflows(size, heads, &bound))
        return 0;
    return bound;
}

size_t csi_deflate(const uint8_t *bytes, size_t size, bool last, uint8_t *to)
{
    struct bits bits = {to, 0, 0};

    while (size > BLOCK_BYTES) {
        put_block(&bits, bytes, BLOCK_BYTES, false);
        bytes += BLOCK_BYTES;
        size -= BLOCK_BYTES;
    }
    if (size > 0 || last)
        put_block(&bits, bytes, size, last);
    if (!last)
        put_stored(&bits, NULL, 0, false);
    if (bits.count > 0)
        put(&bits, 0, 8 - bits.count);
    return (size_t)(bits.to - to);
}
