/* Gate and coach: see gate.h. */
#include "diagnosis/gate.h"

#include <stdlib.h>

struct csi_gate {
    int unused;
};
struct csi_coach {
    int unused;
};

enum cs_status csi_gate_create(const struct csi_graph *graph, size_t embedding_size, struct csi_gate **gate,
                               struct cs_error *error)
{
    (void)graph;
    (void)embedding_size;
    (void)error;
    *gate = NULL;
    return CS_OK;
}

void csi_gate_destroy(struct csi_gate *gate)
{
    free(gate);
}

double csi_gate_score(const struct csi_gate *gate, const float *logits, size_t class_count,
                      const float *embedding, const struct csi_content *content)
{
    (void)gate;
    (void)logits;
    (void)class_count;
    (void)embedding;
    (void)content;
    return 0;
}

enum cs_status csi_coach_create(const struct csi_graph *graph, struct csi_coach **coach,
                                struct cs_error *error)
{
    (void)graph;
    (void)error;
    *coach = NULL;
    return CS_OK;
}

void csi_coach_destroy(struct csi_coach *coach)
{
    free(coach);
}

uint32_t csi_coach_hints(const struct csi_coach *coach, const struct csi_content *content)
{
    (void)coach;
    (void)content;
    return 0;
}
