/*
 * Explanations: class-activation maps from activations and gradients, colour maps, overlay. Pure functions;
 * thread-safe.
 */
#ifndef CSI_EXPLAIN_EXPLAIN_H
#define CSI_EXPLAIN_EXPLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"

/* Grad-CAM of every class behind a global average pool and a linear layer (closed form):
 * maps[c,p] = Σ_k weight[c,k]·activations[k,p] / pixels. Raw: neither ReLU nor normalisation.
 * activations: channels×pixels; weight: classes×channels; maps: classes×pixels. */
void csi_cam_linear_all(const float *activations, const float *weight, size_t channels, size_t pixels,
                        size_t classes, float *maps);

/* One map from activations A and gradients G (both channels×pixels). Raw. */
enum cs_status csi_cam_map(enum cs_cam_method method, const float *activations, const float *gradients,
                           size_t channels, size_t height, size_t width, float *map, struct cs_error *error);

/* ReLU, then (m-min)/(max-min) in place; zeros when the map is constant. */
void csi_cam_normalise(float *map, size_t pixels);

/* 256 RGB entries; NULL for a value outside the enumeration. jet is as in MATLAB and OpenCV (COLORMAP_JET),
 * the others as their authors published them. */
const uint8_t (*csi_colormap(enum cs_colormap colormap))[3];

/* The heat map over the photo: `map` (map_height×map_width, values 0…1, others are clamped) resized
 * bilinearly to the image (half-pixel centres: align_corners=False in PyTorch, INTER_LINEAR in OpenCV),
 * coloured, blended: (1-alpha)·photo + alpha·colour. A new image. CS_BAD_REQUEST: alpha outside 0…1, an empty
 * map, an unknown colour map. */
enum cs_status csi_overlay(const cs_image *image, const float *map, uint32_t map_width, uint32_t map_height,
                           enum cs_colormap colormap, float alpha, cs_image **overlay,
                           struct cs_error *error);

#endif
