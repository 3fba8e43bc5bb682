/*
 * How far an optimised kernel may be from plain C, by algorithm: |a - b| ≤ relative · (1 + |b|) for inputs of
 * size about 1. The one place for these numbers. float32 carries 6e-8 a rounding.
 */
#ifndef CS_TESTS_KERNELS_TOLERANCES_H
#define CS_TESTS_KERNELS_TOLERANCES_H

#define TOLERANCE_TILE       2e-5 /* sums of up to some thousand products, in another order and fused */
#define TOLERANCE_DEPTHWISE  2e-6 /* sums of up to 49 products */
#define TOLERANCE_MAX_POOL   0.0  /* no arithmetic */
#define TOLERANCE_AVERAGE    2e-6 /* sums in another order, a reciprocal */
#define TOLERANCE_ACTIVATION 1e-6 /* e^x by polynomial */
#define TOLERANCE_ARITH      0.0  /* one rounding, the same everywhere */
#define TOLERANCE_SCALE      3e-7 /* fused or not */

#endif
