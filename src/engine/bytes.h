/*
 * INT8: which values of the network live as bytes and which nodes compute on them. The pass runs behind
 * fusion, over an IR whose scales are known: from calibration (graph->scales) or from the network's own
 * quantisation marks (CSI_OP_QUANTIZE, ONNX's QDQ form).
 */
#ifndef CSI_ENGINE_BYTES_H
#define CSI_ENGINE_BYTES_H

#include "engine/ir.h"

/* Marks nodes and values, and puts conversions (CSI_OP_QUANTIZE nodes with `integer` set) between bytes and
 * floats where both are read. */
enum cs_status csi_ir_to_bytes(struct csi_ir *ir, struct cs_error *error);

#endif
