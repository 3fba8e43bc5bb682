/*
 * Gradients of one logit with respect to the target map, through what stands behind it, in plain C over NCHW.
 * Used by maps of networks whose head is not just a pool and a linear layer; needs no help from the compiled
 * plan.
 */
#ifndef CSI_ENGINE_BACKWARD_H
#define CSI_ENGINE_BACKWARD_H

#include <stddef.h>

#include "graph/graph.h"

struct csi_tail;     /* the nodes behind the target, immutable, shared by threads */
struct csi_backward; /* memory of one thread */

/* Copies the nodes of `graph` on the way from value `target` to value `output`, and their constants. An
 * operator without a backward pass is an error of csi_backward_create, so that such networks still predict.
 */
enum cs_status csi_tail_create(const struct csi_graph *graph, int target, int output, struct csi_tail **tail,
                               struct cs_error *error);
void csi_tail_destroy(struct csi_tail *tail);

/* Activations that the tail reads although they do not depend on the target: shortcuts around it. */
size_t csi_tail_side_count(const struct csi_tail *tail);
int csi_tail_side(const struct csi_tail *tail, size_t index); /* value of the graph */

enum cs_status csi_backward_create(const struct csi_tail *tail, struct csi_backward **backward,
                                   struct cs_error *error);
void csi_backward_destroy(struct csi_backward *backward);

/* Where the caller puts C×H×W of the target, and of side `index`, for one photo before a run. */
float *csi_backward_target(struct csi_backward *backward);
float *csi_backward_side(struct csi_backward *backward, size_t index);

/* d logit[class_index] / d target, C×H×W: valid until the next run. */
const float *csi_backward_run(struct csi_backward *backward, size_t class_index);

#endif
