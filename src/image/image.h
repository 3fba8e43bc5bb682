/*
 * Images: encoded bytes <-> RGB pixels, EXIF orientation, resampling. Owns limits and formats; knows nothing
 * of models.
 */
#ifndef CSI_IMAGE_IMAGE_H
#define CSI_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct csi_pool;

/* Readable bytes behind the last pixel of every image: vector code loads whole registers. */
#define CSI_IMAGE_PADDING 64u

/* 8-bit RGB, row-major, `stride` bytes a row (3·width), CSI_IMAGE_PADDING bytes behind the last row. Made by
 * csi_image_create alone, because of that padding. */
struct cs_image {
    uint8_t *pixels;
    uint32_t width, height;
    size_t stride;
};

/* Pixels are not cleared. CS_BAD_REQUEST: a side is 0 or over CSI_IMAGE_MAX_SIDE. */
#define CSI_IMAGE_MAX_SIDE 65535u
enum cs_status csi_image_create(uint32_t width, uint32_t height, cs_image **image, struct cs_error *error);
enum cs_status csi_image_from_pixels(const uint8_t *pixels, uint32_t width, uint32_t height, size_t stride,
                                     cs_image **image, struct cs_error *error);
void csi_image_destroy(cs_image *image);

/* Turns `image` as EXIF `orientation` (1…8) says; 1 does nothing. On failure the image stays as it was. */
enum cs_status csi_image_orient(cs_image *image, int orientation, struct cs_error *error);

/* cs_image_probe and cs_image_decode of the public header. `limits`, `info` not NULL. */
enum cs_status csi_image_probe(const void *bytes, size_t size, const struct cs_limits *limits,
                               struct cs_image_info *info, struct cs_error *error);
enum cs_status csi_image_decode(const void *bytes, size_t size, const struct cs_limits *limits,
                                cs_image **image, struct cs_image_info *info, struct cs_error *error);

/* Display size of a photo: long side to at most `max_side`, the other rounded to nearest, at least 1; never
 * enlarged. */
void csi_display_size(uint32_t width, uint32_t height, uint32_t max_side, uint32_t *display_width,
                      uint32_t *display_height);

/* Eighths of a photo's size at which it is decoded for display where it need not be exact. */
unsigned csi_display_eighths(uint32_t width, uint32_t height, uint32_t max_side);

/* What cs_image_decode_display does, with its two stages timed (they overlap row by row: `decode_ms` is the
 * decoder's share, `resize_ms` the resampler's). `cpu_features` picks the resampling kernels. */
struct csi_display_options {
    struct cs_limits limits;
    enum cs_decode_mode mode;
    uint32_t max_side;
    uint32_t cpu_features;
    bool beside; /* resample on a thread of its own while decoding goes on: the stages then overlap in time
                    too */
};
enum cs_status csi_image_load_display(const void *bytes, size_t size,
                                      const struct csi_display_options *options, cs_image **image,
                                      struct cs_image_info *info, double *decode_ms, double *resize_ms,
                                      struct cs_error *error);

/* Pillow's Image.resize for RGB: separable, horizontal then vertical, 8-bit in between, fixed-point
 * coefficients. */
enum cs_status csi_image_resize(const cs_image *image, uint32_t width, uint32_t height, enum cs_filter filter,
                                uint32_t cpu_features, cs_image **resized, struct cs_error *error);

/* Short side to `resize` (long side = floor(resize·long/short)), centre crop `crop`×`crop`, as torchvision's
 * Resize and CenterCrop on Pillow images: only what the crop needs is computed. Photos smaller than the crop
 * after resizing are padded with black as torchvision does. */
enum cs_status csi_image_crop_for_network(const cs_image *image, uint32_t resize, uint32_t crop,
                                          uint32_t cpu_features, cs_image **cropped, struct cs_error *error);

/* The same, scaled to [0,1], minus mean, over deviation, as float32 NCHW: 3×crop×crop. */
enum cs_status csi_image_to_tensor(const cs_image *cropped, const float mean[3], const float std_dev[3],
                                   uint32_t cpu_features, float *output, struct cs_error *error);

/* Encoders append to `out`. PNG compresses fast rather than small (filter and level chosen for photos with
 * heat maps), on the threads of `pool` (NULL: the caller's alone); the bytes do not depend on their number.
 */
enum cs_status csi_image_encode_png(const cs_image *image, struct csi_pool *pool, struct csi_buffer *out,
                                    struct cs_error *error);
enum cs_status csi_image_encode_jpeg(const cs_image *image, int quality, struct csi_buffer *out,
                                     struct cs_error *error);
enum cs_status csi_image_encode_webp(const cs_image *image, int quality, struct csi_buffer *out,
                                     struct cs_error *error);

#endif
