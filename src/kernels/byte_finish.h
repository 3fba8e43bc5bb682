/*
 * What follows the sums of an 8-bit register tile, written once: scale, bias, residual, clamp, bytes. A set's
 * file includes its lanes_….h, defines
 *
 *   dots                     a vector of LANES int32
 *   dots_load, dots_floats   from memory; to lanes
 *
 * and includes this.
 */
#ifndef CSI_KERNELS_BYTE_FINISH_H
#define CSI_KERNELS_BYTE_FINISH_H

#include "kernels/kernels.h"
#include "kernels/lanes_common.h"

ALWAYS_INLINE lanes byte_residual(const struct csi_byte_tile *t, size_t at, const bool bytes)
{
    lanes b;

    if (!bytes)
        return lanes_load(t->residual_floats + at);
    b = lanes_load_bytes(t->residual_bytes + at);
    return lanes_mul(lanes_sub(b, lanes_set((float)t->residual.zero)), lanes_set(t->residual.scale));
}

ALWAYS_INLINE void byte_finish_as(const struct csi_byte_tile *t, const int32_t *sums, const bool residual,
                                  const bool residual_bytes, const bool bytes)
{
    const lanes low = lanes_set(t->low), high = lanes_set(t->high), inverse = lanes_set(t->inverse);

    for (size_t c = 0; c < t->width; c += LANES) {
        const lanes scale = lanes_load(t->scale + c), bias = lanes_load(t->bias + c);
        const int32_t *sum = sums + c;
        size_t out = c, at = c;

        for (size_t r = t->rows; r > 0; r--) {
            lanes x = lanes_add(lanes_mul(dots_floats(dots_load(sum)), scale), bias);

            if (residual)
                x = lanes_add(x, byte_residual(t, at, residual_bytes));
            x = lanes_clamp(x, low, high);
            if (bytes)
                lanes_store_bytes(t->out_bytes + out, lanes_mul(x, inverse), t->zero);
            else
                lanes_store(t->out_floats + out, x);
            sum += t->width;
            out += t->out_step;
            at += t->residual_step;
        }
    }
}

/* A loop of its own over sums in memory: inside byte_body it would take the registers that the sums need.
 * Where rows come from and go to is asked once, not for every vector. */
static void byte_finish(const struct csi_byte_tile *t, const int32_t *sums)
{
    bool bytes = t->out_bytes != NULL;

    if (t->residual_bytes != NULL && bytes)
        byte_finish_as(t, sums, true, true, true);
    else if (t->residual_bytes != NULL)
        byte_finish_as(t, sums, true, true, false);
    else if (t->residual_floats != NULL && bytes)
        byte_finish_as(t, sums, true, false, true);
    else if (t->residual_floats != NULL)
        byte_finish_as(t, sums, true, false, false);
    else if (bytes)
        byte_finish_as(t, sums, false, false, true);
    else
        byte_finish_as(t, sums, false, false, false);
}

#endif
