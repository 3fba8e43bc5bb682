/* The leaf gate and the photo coach: figures of training's Python, and refusal of parameters that do not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "diagnosis/gate.h"

#define THRESHOLD 0.25
/* training/cropshield/gate.py's score for the parameters and inputs below. */
#define EXPECTED_SCORE (-0.10023624533782122)

static const char coach_rules[] = "\\\"blurred\\\":{\\\"feature\\\":\\\"sharpness\\\",\\\"below\\\":3},"
                                  "\\\"too_bright\\\":{\\\"feature\\\":\\\"luma_mean\\\",\\\"above\\\":0.75},"
                                  "\\\"too_dark\\\":{\\\"feature\\\":\\\"luma_mean\\\",\\\"below\\\":0.25}";

static void add(struct csi_graph *graph, const char *name, size_t rows, size_t columns, const float *data)
{
    size_t dims[2] = {rows, columns};

    assert_int_equal(csi_graph_add_extra(graph, name, 2, dims, data, NULL), CS_OK);
}

/* A graph that says nothing but gate and coach. `ood` NULL: the whole sound one. */
static struct csi_graph *make_graph(const char *ood, bool with_tensors)
{
    static const float center[3] = {.1f, .2f, .3f}, basis[6] = {1, 2, -1, .5f, -.25f, 3},
                       means[4] = {.5f, -.5f, 1.5f, .25f};
    static const float weight[3] = {.25f, -.5f, 1}, bias[1] = {.125f};
    struct csi_graph *graph;
    char text[8192];
    int used;

    assert_int_equal(csi_graph_create(&graph, NULL), CS_OK);
    graph->class_count = 3;
    graph->classes = calloc(3, sizeof *graph->classes);
    graph->tested = calloc(3, sizeof *graph->tested);
    for (int i = 0; i < 3; i++)
        graph->classes[i] = csi_strdup("x");
    graph->tested[0] = graph->tested[1] = true;
    graph->temperature = 0.8;
    used = snprintf(text, sizeof text, "{\"coach\":\"{%s}\",\"ood\":\"", coach_rules);
    if (ood != NULL) {
        used += snprintf(text + used, sizeof text - (size_t)used, "%s", ood);
    } else {
        static const char *const network[4] = {"reject", "energy", "max_logit", "mahalanobis"};
        static const char *const lists[4] = {"inputs", "mean", "scale", "weight"};

        used += snprintf(text + used, sizeof text - (size_t)used,
                         "{\\\"clip\\\":4,\\\"bias\\\":0.375,\\\"threshold\\\":%g", THRESHOLD);
        for (int list = 0; list < 4; list++) {
            used += snprintf(text + used, sizeof text - (size_t)used, ",\\\"%s\\\":[", lists[list]);
            for (int i = 0; i < 18; i++) {
                double value = list == 1   ? 0.1 * i
                               : list == 2 ? 0.5 + 0.05 * i
                                           : (i % 2 ? 0.3 : -0.2) + 0.01 * i;

                used += snprintf(text + used, sizeof text - (size_t)used, i == 0 ? "" : ",");
                if (list == 0)
                    used += snprintf(text + used, sizeof text - (size_t)used, "\\\"%s\\\"",
                                     i < 4 ? network[i] : csi_feature_name((enum csi_feature)(i - 4)));
                else
                    used += snprintf(text + used, sizeof text - (size_t)used, "%.17g", value);
            }
            used += snprintf(text + used, sizeof text - (size_t)used, "]");
        }
        used += snprintf(text + used, sizeof text - (size_t)used, "}");
    }
    snprintf(text + used, sizeof text - (size_t)used, "\"}");
    free(graph->metadata_json);
    graph->metadata_json = csi_strdup(text);
    if (with_tensors) {
        add(graph, "ood.center", 1, 3, center);
        add(graph, "ood.basis", 2, 3, basis);
        add(graph, "ood.mean", 2, 2, means);
        add(graph, "reject.weight", 1, 3, weight);
        add(graph, "reject.bias", 1, 1, bias);
    }
    return graph;
}

static void the_score_equals_the_training_side(void **state)
{
    struct csi_graph *graph = make_graph(NULL, true);
    const float logits[3] = {1.5f, -.25f, 9}, features[3] = {.5f, 1, 2}; /* the third class is untested */
    struct csi_content content;
    struct csi_gate *gate;
    double score;

    (void)state;
    for (int i = 0; i < CSI_FEATURE_COUNT; i++)
        content.values[i] = i / 14.0;
    assert_int_equal(csi_gate_create(graph, 3, &gate, NULL), CS_OK);
    assert_non_null(gate);
    score = csi_gate_score(gate, logits, 3, features, &content);
    if (!(fabs(score - (THRESHOLD - EXPECTED_SCORE)) < 1e-6))
        fail_msg("%.12g", score);
    csi_gate_destroy(gate);
    csi_graph_destroy(graph);
}

/* Black, white, one colour: whatever network and parameters say. The less there is, the lower. */
static void without_structure_there_is_no_leaf(void **state)
{
    static const double levels[] = {0, 1, 3.5, 4, 50}, most[] = {-4, -3, -0.5, 1e9, 1e9};
    struct csi_graph *graph =
        make_graph("{\\\"inputs\\\":[\\\"energy\\\"],\\\"mean\\\":[0],\\\"scale\\\":[1],"
                   "\\\"weight\\\":[0],\\\"clip\\\":4,\\\"bias\\\":0,\\\"threshold\\\":2}",
                   false);
    const float logits[3] = {0, 0, 0};
    struct csi_content content = {{0}};
    struct csi_gate *gate;

    (void)state;
    assert_int_equal(csi_gate_create(graph, 3, &gate, NULL), CS_OK);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        double expected = most[i] < 2 ? most[i] : 2, score;

        content.values[CSI_FEATURE_LUMA_STD] = levels[i] / 255;
        score = csi_gate_score(gate, logits, 3, NULL, &content);
        if (!(fabs(score - expected) < 1e-9))
            fail_msg("%g levels: %g, not %g", levels[i], score, expected);
    }
    csi_gate_destroy(gate);
    csi_graph_destroy(graph);
}

static void no_parameters_no_gate(void **state)
{
    struct csi_graph *graph;
    struct csi_gate *gate;
    struct csi_coach *coach;

    (void)state;
    assert_int_equal(csi_graph_create(&graph, NULL), CS_OK);
    assert_int_equal(csi_gate_create(graph, 3, &gate, NULL), CS_OK);
    assert_null(gate);
    assert_int_equal(csi_coach_create(graph, &coach, NULL), CS_OK);
    assert_null(coach);
    csi_gate_destroy(NULL);
    csi_coach_destroy(NULL);
    csi_graph_destroy(graph);
}

static enum cs_status outcome(const char *ood, bool with_tensors, size_t embedding_size)
{
    struct csi_graph *graph = make_graph(ood, with_tensors);
    struct csi_gate *gate;
    struct cs_error error = {0};
    enum cs_status status = csi_gate_create(graph, embedding_size, &gate, &error);

    assert_null(gate);
    assert_true(strlen(error.message) > 0);
    csi_graph_destroy(graph);
    return status;
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    assert_int_equal(outcome(NULL, false, 3), CS_MODEL_INVALID);    /* no tensors */
    assert_int_equal(outcome(NULL, true, 4), CS_MODEL_INVALID);     /* features of another size */
    assert_int_equal(outcome(NULL, true, 0), CS_MODEL_UNSUPPORTED); /* no features at all */
    assert_int_equal(outcome("[1]", true, 3), CS_MODEL_INVALID);
    assert_int_equal(outcome("nonsense", true, 3), CS_MODEL_INVALID);
    assert_int_equal(outcome("{}", true, 3), CS_MODEL_INVALID);
    assert_int_equal(
        outcome("{\\\"inputs\\\":[\\\"leaf\\\"],\\\"mean\\\":[0],\\\"scale\\\":[0],\\\"weight\\\":[1],"
                "\\\"clip\\\":4,\\\"bias\\\":0,\\\"threshold\\\":0}",
                true, 3),
        CS_MODEL_INVALID); /* a scale of 0 */
    assert_int_equal(
        outcome("{\\\"inputs\\\":[\\\"smell\\\"],\\\"mean\\\":[0],\\\"scale\\\":[1],\\\"weight\\\":[1],"
                "\\\"clip\\\":4,\\\"bias\\\":0,\\\"threshold\\\":0}",
                true, 3),
        CS_MODEL_UNSUPPORTED);
    assert_int_equal(
        outcome("{\\\"inputs\\\":[\\\"leaf\\\"],\\\"mean\\\":[0],\\\"scale\\\":[1],\\\"weight\\\":[1],"
                "\\\"clip\\\":4,\\\"bias\\\":0}",
                true, 3),
        CS_MODEL_INVALID); /* no threshold */
}

static void the_coach_names_what_is_wrong(void **state)
{
    struct csi_graph *graph = make_graph(NULL, true);
    struct csi_coach *coach;
    struct csi_content content = {{0}};

    (void)state;
    assert_int_equal(csi_coach_create(graph, &coach, NULL), CS_OK);
    assert_non_null(coach);
    content.values[CSI_FEATURE_SHARPNESS] = 5;
    content.values[CSI_FEATURE_LUMA_MEAN] = 0.5;
    assert_int_equal(csi_coach_hints(coach, &content), 0);
    content.values[CSI_FEATURE_SHARPNESS] = 2;
    content.values[CSI_FEATURE_LUMA_MEAN] = 0.8;
    assert_int_equal(csi_coach_hints(coach, &content), 1u << CSI_HINT_BLURRED | 1u << CSI_HINT_TOO_BRIGHT);
    content.values[CSI_FEATURE_SHARPNESS] = 3;
    content.values[CSI_FEATURE_LUMA_MEAN] = 0.1;
    assert_int_equal(csi_coach_hints(coach, &content), 1u << CSI_HINT_TOO_DARK);
    csi_coach_destroy(coach);
    csi_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_score_equals_the_training_side),
        cmocka_unit_test(without_structure_there_is_no_leaf),
        cmocka_unit_test(no_parameters_no_gate),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(the_coach_names_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
