/*
 * Activations and arithmetic as every kernel knows them, also those of a device's plug-in: C and C++.
 */
#ifndef CSI_KERNELS_FUNCTIONS_H
#define CSI_KERNELS_FUNCTIONS_H

/* Same meaning and parameters as the graph's activations (graph.h); a clip with infinite bounds covers none
 * and ReLU. */
enum csi_act {
    CSI_FN_NONE,
    CSI_FN_RELU,       /* x < 0 ? 0 : x */
    CSI_FN_LEAKY_RELU, /* x < 0 ? alpha·x : x */
    CSI_FN_CLIP,       /* alpha..beta */
    CSI_FN_SIGMOID,
    CSI_FN_HARD_SIGMOID, /* clip(alpha·x+beta, 0, 1) */
    CSI_FN_SWISH,
    CSI_FN_HARD_SWISH,
    CSI_FN_TANH,
    CSI_FN_ELU, /* x < 0 ? alpha·(e^x - 1) : x */
    CSI_FN_GELU,
    CSI_FN_GELU_TANH
};

/* GELU by tanh is x·sigmoid(a·x + b·x³): 2√(2/π), and that by 0.044715. */
#define CSI_GELU_TANH_1 1.59576912f
#define CSI_GELU_TANH_3 0.0713548163f

struct csi_act_params {
    enum csi_act kind;
    float alpha, beta;
};

enum csi_arith { CSI_ARITH_ADD, CSI_ARITH_SUB, CSI_ARITH_MUL, CSI_ARITH_DIV };

#endif
