/*
 * Accuracy on labelled photos: counting and reporting, shared by eval.c (which runs the photos) and
 * eval_report.c (which writes).
 */
#ifndef CSI_CLI_EVAL_H
#define CSI_CLI_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cropshield/cropshield.h>

#include "base/buffer.h"

#define CSI_EVAL_BINS                                                                                        \
    15 /* of the calibration error: equal width, as Guo et al., "On Calibration of Modern Neural Networks"   \
        */
#define CSI_EVAL_NO_CLASS SIZE_MAX

struct csi_eval {
    size_t class_count;
    const char *const *classes, *const *labels;
    const size_t *plant_of;                   /* as in cs_model_info */
    uint64_t *confusion;                      /* class_count × class_count: true × predicted */
    uint64_t images, top1, top3;              /* photos with a known class */
    uint64_t top1_in_plant;                   /* right among the classes of the photo's plant */
    uint64_t rejected;                        /* of them: called not a leaf */
    uint64_t unlabelled, unlabelled_rejected; /* photos in folders that name no class of the model */
    uint64_t bin_count[CSI_EVAL_BINS], bin_right[CSI_EVAL_BINS];
    double bin_confidence[CSI_EVAL_BINS];
    uint64_t failed;
    double seconds;
};

/* Borrows what `info` points to; false without memory. */
bool csi_eval_init(struct csi_eval *eval, const struct cs_model_info *info);
void csi_eval_free(struct csi_eval *eval);
/* The class of ROOT/<class>/…: CSI_EVAL_NO_CLASS when the first folder below ROOT names none. */
size_t csi_eval_class_of(const char *path, const char *root, const char *const *classes, size_t count);
/* `truth` may be CSI_EVAL_NO_CLASS. The diagnosis lists all classes. */
void csi_eval_add(struct csi_eval *eval, size_t truth, const cs_diagnosis *diagnosis);

struct csi_class_score {
    uint64_t images, predicted, right;
    double precision, recall, f1; /* 0 where there is nothing to divide by */
};
struct csi_class_score csi_eval_class(const struct csi_eval *eval, size_t index);
/* Over classes that have photos. */
double csi_eval_macro_f1(const struct csi_eval *eval);
double csi_eval_ece(const struct csi_eval *eval);

/* A field of a CSV file, in quotes where it needs them (RFC 4180). */
void csi_eval_csv_text(struct csi_buffer *csv, const char *text);

/* Reports. Text and JSON go to stdout; CSV is the confusion matrix with names; PNG is it as a picture. */
void csi_eval_print(const struct csi_eval *eval);
void csi_eval_print_json(const struct csi_eval *eval);
enum cs_status csi_eval_write_csv(const struct csi_eval *eval, const char *path, struct cs_error *error);
enum cs_status csi_eval_write_png(const struct csi_eval *eval, const char *path, struct cs_error *error);

#endif
