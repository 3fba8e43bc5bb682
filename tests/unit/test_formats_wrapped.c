/*
 * Networks that trainers saved inside a module of theirs: whatever stands before all names goes, or the one
 * member that holds the network is taken; the same network comes out. Files of which it cannot be told what
 * they compute stay refused.
 */
#include "unit/made_weights.h"

struct beside {
    const char *name; /* NULL: none */
    unsigned rank;
};

struct wrapping {
    const char *prefix;
    struct beside beside[3];
    const char *words; /* of the error; NULL: the network is read */
};

static const struct wrapping wrappings[] = {
    {"model.", {{NULL, 0}}, NULL},
    {"net.", {{NULL, 0}}, NULL},
    {"anything_at_all.", {{NULL, 0}}, NULL},
    {"module.model._orig_mod.", {{NULL, 0}}, NULL},
    {"a.b.c.d.e.f.", {{NULL, 0}}, NULL},
    {"model.", {{"criterion.weight", 1}}, NULL},
    {"network.", {{"loss_fn.weight", 1}, {"val_f1.tp", 1}, {"test_metrics.confmat", 2}}, NULL},
    {"backbone.", {{"class_weights", 1}, {"train_acc.total", 0}}, NULL},
    {"model._orig_mod.module.", {{"Criterion_2.pos_weight", 1}}, NULL},
    {"trainer.net.", {{"trainer.criterion.weight", 1}, {"trainer.net.reject.weight", 2}}, NULL},
    {"model.", {{"ood.mean", 1}, {"int8.x", 1}}, NULL}, /* extras, as without a wrapper */
    {"net.", {{"crit.weight", 1}, {"confusion_matrix", 2}}, NULL},
    {"model.", {{"model.block1.1.num_batches_tracked", 0}}, NULL},
    {"", {{"block1.1.num_batches_tracked", 0}, {"ood.mean", 1}}, NULL},
    {"", {{"other.weight", 1}}, "'other.weight' is no part of CropShieldCNN: export"},
    {"", {{"block1.se.fc1.weight", 4}}, "'block1.se.fc1.weight' is no part of CropShieldCNN"},
    {"", {{"classifier.4.weight", 2}}, "'classifier.4.weight' is no part of CropShieldCNN"},
    /* What else stands there may be a part of what the file's user computes. */
    {"model.", {{"head.weight", 2}}, "'head.weight' stands beside the network 'model'"},
    {"model.", {{"mean", 1}, {"std", 1}}, "'mean' stands beside"},
    {"net.", {{"criterion.weight", 2}}, "'criterion.weight' stands beside the network 'net'"},
    {"model.", {{"metric_fc.weight", 2}}, "'metric_fc.weight' stands beside the network 'model'"},
    {"model.", {{"accuracy_head.weight", 2}}, "'accuracy_head.weight' stands beside"},
    {"net.", {{"precision_fc.weight", 4}}, "'precision_fc.weight' stands beside"},
    {"net.", {{"gloss.weight", 1}}, "'gloss.weight' stands beside"},
    {"net.", {{"accent.weight", 1}}, "'accent.weight' stands beside"},
    {"x.model.", {{"x.model_ema.block1.0.weight", 4}}, "'model_ema.block1.0.weight' stands beside"},
    {"model.", {{"ood.mean", 1}, {"model.ood.mean", 1}}, "two tensors named 'ood.mean'"},
    /* No usual member's name, or names that share none: not looked into. */
    {"student.", {{"criterion.weight", 1}}, "no known architecture (first of "},
    {"model", {{"criterion.weight", 1}}, "no known architecture"},
    {"model.x", {{NULL, 0}}, "no known architecture"},
};

static void every_wrapping(void **state)
{
    static const size_t other[CSI_MAX_RANK] = {2, 3, 1, 1}, confusion[CSI_MAX_RANK] = {3, 3};

    (void)state;
    for (size_t i = 0; i < sizeof wrappings / sizeof wrappings[0]; i++) {
        const struct wrapping *wrapping = &wrappings[i];
        struct csi_tensor_set set;
        struct csi_graph *graph;
        struct cs_error error = {0};
        enum cs_status status;

        assert_int_equal(csi_tensor_set_init(&set, "safetensors", &error), CS_OK);
        if (i % 2 == 1) /* in front or behind */
            made_add_network(&set, "plain.pth", wrapping->prefix, NULL);
        for (size_t k = 0; k < 3 && wrapping->beside[k].name != NULL; k++)
            made_add(&set, wrapping->beside[k].name, wrapping->beside[k].rank,
                     strstr(wrapping->beside[k].name, "conf") != NULL ? confusion : other, NULL);
        if (i % 2 == 0)
            made_add_network(&set, "plain.pth", wrapping->prefix, NULL);
        status = made_read_set(&set, &graph, &error);
        if (wrapping->words != NULL) {
            if (status == CS_OK || strstr(error.message, wrapping->words) == NULL)
                fail_msg("%s %s: %s '%s'", wrapping->prefix, wrapping->beside[0].name, cs_status_name(status),
                         error.message);
            assert_null(graph);
            continue;
        }
        if (status != CS_OK)
            fail_msg("%s: %s", wrapping->prefix, error.message);
        assert_string_equal(graph->architecture, "CropShieldCNN");
        assert_int_equal(made_weights_check(graph, CSI_F32), 8 * 5 + 2);
        for (size_t k = 0; k < 3 && wrapping->beside[k].name != NULL; k++) {
            const char *name = wrapping->beside[k].name;
            bool kept = strncmp(name, "ood.", 4) == 0 || strncmp(name, "int8.", 5) == 0;

            assert_int_equal(csi_graph_find_extra(graph, name) != NULL, kept);
        }
        csi_graph_destroy(graph);
    }
}

static void two_networks_are_no_choice(void **state)
{
    static const char *const pairs[][3] = {
        {"model.", "net.", "two networks, 'model' and 'net'"},
        {"backbone.", "network.", "two networks, 'network' and 'backbone'"},
        {"model.", "ema.", "stands beside the network 'model'"},
        {"student.", "teacher.", "no known architecture (first of 84: 'student.block1.0.weight')"},
        {"", "model.", "' is no part of CropShieldCNN"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct csi_tensor_set set;
        struct csi_graph *graph;
        struct cs_error error = {0};
        enum cs_status status;

        assert_int_equal(csi_tensor_set_init(&set, "safetensors", &error), CS_OK);
        made_add_network(&set, "plain.pth", pairs[i][0], NULL);
        made_add_network(&set, "plain.pth", pairs[i][1], NULL);
        status = made_read_set(&set, &graph, &error);
        if (status != CS_MODEL_UNSUPPORTED || strstr(error.message, pairs[i][2]) == NULL)
            fail_msg("%s %s: %s '%s'", pairs[i][0], pairs[i][1], cs_status_name(status), error.message);
        assert_null(graph);
    }
}

/* Who wrote a file of ours knew what else is in it. */
static void files_of_ours_keep_what_they_hold(void **state)
{
    static const char *const keys[][2] = {{"format_version", "1"}, {"architecture", "CropShieldCNN"}};
    static const size_t dims[1] = {7};

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct csi_tensor_set set;
        struct csi_graph *graph;
        struct cs_error error = {0};

        assert_int_equal(csi_tensor_set_init(&set, "safetensors", &error), CS_OK);
        assert_int_equal(json_object_set_new(set.metadata, keys[i][0], json_string(keys[i][1])), 0);
        made_add_network(&set, "plain.pth", "", NULL);
        made_add(&set, "other.weight", 1, dims, NULL);
        if (made_read_set(&set, &graph, &error) != CS_OK)
            fail_msg("%s: %s", keys[i][0], error.message);
        assert_int_equal(csi_graph_find_extra(graph, "other.weight")->dims[0], 7);
        csi_graph_destroy(graph);
    }
}

/* As a Trainer writes it: make_models.py, lightning(). */
static void checkpoint_of_lightning(void **state)
{
    uint8_t *bytes, *native;
    size_t size, native_size;
    struct csi_graph *graph;
    struct cs_error error = {0};

    (void)state;
    made_read_bytes("lightning.ckpt", &bytes, &size);
    for (int converted = 0; converted < 2; converted++) {
        if (csi_model_file_read(bytes, size, NULL, &graph, NULL, &error) != CS_OK)
            fail_msg("%s", error.message);
        assert_string_equal(graph->format, converted ? "safetensors" : "pytorch");
        assert_string_equal(graph->architecture, "CropShieldCNN");
        assert_string_equal(graph->gradcam_layer, "block4");
        assert_int_equal(graph->class_count, 5);
        assert_int_equal(graph->extra_count, 0);
        assert_int_equal(made_weights_check(graph, CSI_F32), 8 * 5 + 2);
        assert_non_null(strstr(graph->metadata_json, "hyper_parameters"));
        assert_null(strstr(graph->metadata_json, "best_model_path"));
        csi_graph_destroy(graph);
        if (!converted) {
            if (csi_model_file_convert(bytes, size, NULL, &native, &native_size, &error) != CS_OK)
                fail_msg("%s", error.message);
            free(bytes);
            bytes = native;
            size = native_size;
        }
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wrapping), cmocka_unit_test(two_networks_are_no_choice),
        cmocka_unit_test(files_of_ours_keep_what_they_hold), cmocka_unit_test(checkpoint_of_lightning)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
