/*
 * Diagnosis objects: from record and request to what the user gets; verdicts; JSON; several photos of one
 * plant.
 */
#ifndef CSI_DIAGNOSIS_DIAGNOSIS_H
#define CSI_DIAGNOSIS_DIAGNOSIS_H

#include "base/hash.h"
#include "diagnosis/model.h"
#include "diagnosis/record.h"

/* `probability`: of the top class, calibrated; `leaf_score`: NaN without a gate. */
enum cs_verdict csi_verdict(double probability, double leaf_score);

/* One block of memory that keeps `model` alive. Caches and timings are the caller's to fill. */
enum cs_status csi_diagnosis_create(cs_model *model, const struct csi_hash *id,
                                    const struct csi_record *record, const struct cs_request *request,
                                    cs_diagnosis **diagnosis, struct cs_error *error);
void csi_diagnosis_destroy(cs_diagnosis *diagnosis);
enum cs_status csi_diagnosis_json(const cs_diagnosis *diagnosis, struct cs_blob *json,
                                  struct cs_error *error);
/* How many photos this is the joint answer of, and the share of them that agrees; 0: it is that of one photo.
 */
size_t csi_diagnosis_case(const cs_diagnosis *diagnosis, double *agreement);
enum cs_status csi_diagnose_case(const cs_diagnosis *const *photos, size_t count, size_t top_k,
                                 cs_diagnosis **combined, double *agreement, struct cs_error *error);

#endif
