/*
 * The network while it is compiled: the graph's nodes after simplification and fusion, still without kernels
 * or memory.
 *
 * Owned by one compile; weights point into the graph unless folding made a copy.
 */
#ifndef CSI_ENGINE_IR_H
#define CSI_ENGINE_IR_H

#include <stdbool.h>
#include <stddef.h>

#include "graph/graph.h"
#include "kernels/kernels.h"

struct csi_tail; /* backward.h */

/* A map of one photo: channels × height × width. Vectors are 1 × 1 maps. */
struct csi_shape {
    size_t channels, height, width;
};

struct csi_ir_value {
    struct csi_shape shape;
    int alias;     /* the value that holds this one's numbers: itself unless a node was elided */
    int producer;  /* IR node, -1: none */
    unsigned uses; /* inputs of living nodes that read it, after aliasing */
    bool kept;     /* must exist at the end of the run: no fusion across it */
    bool constant; /* data is in the graph */
    const struct csi_node *mark; /* the first quantisation mark that reads it, NULL: none */
    /* INT8 only */
    bool has_scale; /* a byte q would stand for (q - zero)·scale */
    struct csi_byte_scale scale;
    bool rounded; /* the numbers are such bytes by the network's own definition: nothing may skip the rounding
                   */
    bool bytes;   /* the numbers live as bytes */
};

struct csi_ir_node {
    enum csi_op op;                /* INPUT, IDENTITY and elided nodes do not live here */
    const struct csi_node *source; /* names and attributes that fusion leaves alone */
    const char *name;
    bool dead;
    /* Activations and broadcast constants: IR values. A CONV with two: the second, a 1×1 map, scales the
     * channels of the first. */
    int inputs[CSI_NODE_MAX_INPUTS];
    unsigned input_count;
    int output;
    /* CONV and LINEAR (a linear layer is a convolution whose kernel covers its input). */
    unsigned kernel[2], stride[2], dilation[2], pads[4], groups;
    const float *weight; /* [O][I/groups][KH][KW]; BATCH_NORM: scale [C] */
    const float *bias;   /* [O] or NULL;           BATCH_NORM: shift [C] */
    float *owned_weight, *owned_bias;
    /* [O], owned, NULL: none. What a batch norm multiplies the weights by, where packing does that: for
     * Winograd steps, so that a network's weights are not copied for it. */
    double *factors;
    const float *weight_scales; /* of weights that were 8-bit numbers in the file: [O], else NULL */
    bool pool;                  /* a 2×2 max-pool of stride 2 behind it */
    int residual;               /* value added to the output, -1: none */
    bool residual_after;        /* act(x) + residual instead of act(x + residual) */
    struct csi_act_params act;
    bool integer;   /* computes on bytes: a step of step_byte….c */
    bool on_device; /* a device computes it: see device.h */
};

struct csi_ir {
    const struct csi_graph *graph;
    struct csi_ir_value *values; /* one for each value of the graph, same index */
    size_t value_count;
    struct csi_ir_node *nodes; /* in an order that computes inputs first */
    size_t node_count;
    bool integers;                        /* compiled for INT8 with known scales: see bytes.h */
    int input, output, target, embedding; /* values; -1: none (target, embedding) */
    const char *target_name;
    bool linear_head;
    const float *head_weight; /* in the graph: classes × channels */
    struct csi_tail *tail;    /* for gradients; taken over by the plan */
};

/* The value that holds the numbers of `value`. */
int csi_ir_resolve(const struct csi_ir *ir, int value);

/* Simplifies and fuses. `target_layer`: see csi_plan_options. CS_NOT_FOUND names an unknown layer. */
enum cs_status csi_ir_create(const struct csi_graph *graph, const char *target_layer, bool integers,
                             struct csi_ir **ir, struct cs_error *error);
void csi_ir_destroy(struct csi_ir *ir);

/* 3×3, stride 1, padding 1, one group: what Winograd and the first-layer kernel cover. */
bool csi_ir_is_plain3x3(const struct csi_ir *ir, const struct csi_ir_node *node);
/* One input channel a group, as many outputs as inputs. */
bool csi_ir_is_depthwise(const struct csi_ir *ir, const struct csi_ir_node *node);

/* Value of the graph whose numbers `target_layer` names (graph->gradcam_layer, else the last convolution's
 * when NULL or ""): a node's output or that of the last node of a scope. -1 and CS_OK: the network has no
 * such map. */
enum cs_status csi_find_target(const struct csi_graph *graph, const char *target_layer, int *value,
                               const char **name, struct cs_error *error);

/* Floating-point operations of a node for one photo, as direct convolution; 0 for what is none. */
double csi_ir_flops(const struct csi_ir *ir, const struct csi_ir_node *node);

/* A constant against an output of rank `rank`: gives `constant` leading dimensions of 1 up to that rank, and
 * its shape as a map. False: there is none. */
bool csi_align_constant(struct csi_value *constant, unsigned rank, struct csi_shape *shape);

/* [N,C], [N,C,W] and [N,C,H,W] as maps. False: no such shape. */
bool csi_shape_of(const struct csi_value *value, struct csi_shape *shape);

#endif
