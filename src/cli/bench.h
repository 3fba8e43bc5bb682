/* What the stages of `cropshield bench` share: the photo that is drawn for them, and the stream stage. */
#ifndef CSI_CLI_BENCH_H
#define CSI_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cropshield/cropshield.h>

/* A JPEG with leaf-like smooth shapes and sensor-like noise, always the same; for free(). */
enum cs_status csi_bench_photo(uint32_t width, uint32_t height, uint8_t **bytes, size_t *size,
                               struct cs_error *error);

/* Photos a second of a stream by every way there is, in turn, beside one thread; prints them. `image` NULL: a
 * drawn photo of display size. Each way gets `warmup` and then `iterations` photos a thread. `*subject`: the
 * file that a failure is about, the photo or the model; NULL: none. Blocking. */
enum cs_status csi_bench_stream(const struct cs_diagnoser_options *options, const char *image, size_t warmup,
                                size_t iterations, bool as_json, const char **subject,
                                struct cs_error *error);

#endif
