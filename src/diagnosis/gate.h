/*
 * The "not a leaf" gate and the photo coach: evaluated with the parameters of the model file, which training
 * fitted.
 */
#ifndef CSI_DIAGNOSIS_GATE_H
#define CSI_DIAGNOSIS_GATE_H

#include "base/error.h"
#include "diagnosis/content.h"
#include "graph/graph.h"

struct csi_gate;
struct csi_coach;

/* `*gate` NULL with CS_OK: the file carries none. CS_MODEL_INVALID names a parameter that does not fit. */
enum cs_status csi_gate_create(const struct csi_graph *graph, size_t embedding_size, struct csi_gate **gate,
                               struct cs_error *error);
void csi_gate_destroy(struct csi_gate *gate);
/* > 0: looks like a leaf of a supported crop. Always below 0 for a photo without structure: one colour. */
double csi_gate_score(const struct csi_gate *gate, const float *logits, size_t class_count,
                      const float *embedding, const struct csi_content *content);

enum cs_status csi_coach_create(const struct csi_graph *graph, struct csi_coach **coach,
                                struct cs_error *error);
void csi_coach_destroy(struct csi_coach *coach);
/* Bits of enum csi_hint. */
uint32_t csi_coach_hints(const struct csi_coach *coach, const struct csi_content *content);

#endif
