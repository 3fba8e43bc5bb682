/*
 * What a model says about itself: from the metadata (string -> string, the native file's keys) to the graph's
 * fields and back. Class lists in class_to_idx.json too. Internal to the formats floor.
 */
#ifndef CSI_FORMATS_METADATA_H
#define CSI_FORMATS_METADATA_H

#include <jansson.h>

#include "base/error.h"
#include "graph/graph.h"

/* Class names as a JSON array of strings from {"name": index, …} (contiguous from 0) or from an array of
 * names. The caller releases `*classes`. */
enum cs_status csi_classes_from_json(const json_t *json, json_t **classes, struct cs_error *error);
/* The same from the bytes of a file; strict JSON. */
enum cs_status csi_classes_parse(const void *bytes, size_t size, json_t **classes, struct cs_error *error);

/* Name, preprocessing, temperature. `input_size`: 0 keeps what the metadata say. Before the network is built.
 */
enum cs_status csi_metadata_to_graph(const json_t *metadata, uint32_t input_size, struct csi_graph *graph,
                                     struct cs_error *error);
/* Class names (`classes` may be NULL: metadata, else numbered), untested classes, gradcam_layer, the metadata
 * as text. After the network is built. */
enum cs_status csi_metadata_finish(const json_t *metadata, const json_t *classes, struct csi_graph *graph,
                                   struct cs_error *error);

/* The INT8 scales that `cropshield quantize` writes, metadata `int8`: {"method": …, "scales": [[node, "name
 * of its layer", scale, zero], …]}. */
enum cs_status csi_metadata_take_scales(const json_t *metadata, struct csi_graph *graph,
                                        struct cs_error *error);
/* The same as text for free(); NULL: no memory. */
char *csi_metadata_scales_text(const struct csi_graph *graph, const char *method,
                               const struct csi_output_scale *scales, size_t count);

/* The graph's fields into `metadata`, over what is there, so that a native file made of it reads the same. */
enum cs_status csi_metadata_from_graph(const struct csi_graph *graph, json_t *metadata,
                                       struct cs_error *error);

#endif
