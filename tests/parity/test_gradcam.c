/*
 * Class-activation maps of every architecture and kernel set against PyTorch's autograd: Grad-CAM of every
 * class, and the other methods for class 1; and the layer that is chosen when nobody names one.
 */
#include "explain/explain.h"
#include "parity/golden.h"

static const float *gradient_of(struct csi_exec *exec, size_t class_index)
{
    const float *gradient = NULL;
    struct cs_error error = {0};

    if (csi_exec_gradient(exec, 0, class_index, &gradient, &error) != CS_OK)
        fail_msg("%s", error.message);
    return gradient;
}

/* The closed form and the map of each gradient must both be PyTorch's. */
static double compare_maps(const struct golden *golden, const struct csi_plan_info *info,
                           struct csi_exec *exec)
{
    static const enum cs_cam_method others[GOLDEN_METHODS] = {
        CS_CAM_GRADCAM_PLUS_PLUS, CS_CAM_HIRESCAM, CS_CAM_LAYERCAM, CS_CAM_EIGENCAM, CS_CAM_ABLATIONCAM};
    size_t pixels = golden->map_pixels;
    float *maps = malloc((golden->classes + 1) * pixels * sizeof *maps);
    struct cs_error error = {0};
    double largest = 0.0;

    assert_non_null(maps);
    if (info->linear_head) {
        csi_cam_linear_all(csi_exec_activations(exec, 0), info->head_weight, info->map_channels, pixels,
                           golden->classes, maps);
        for (size_t c = 0; c < golden->classes; c++) {
            csi_cam_normalise(maps + c * pixels, pixels);
            largest = fmax(largest, golden_difference(maps + c * pixels, golden->maps + c * pixels, pixels));
        }
    }
    for (size_t c = 0; c < golden->classes + GOLDEN_METHODS; c++) {
        enum cs_cam_method method = c < golden->classes ? CS_CAM_GRADCAM : others[c - golden->classes];
        const float *gradient = gradient_of(exec, c < golden->classes ? c : 1);

        if (csi_cam_map(method, csi_exec_activations(exec, 0), gradient, info->map_channels, info->map_height,
                        info->map_width, maps, &error) != CS_OK)
            fail_msg("%s", error.message);
        csi_cam_normalise(maps, pixels);
        largest = fmax(largest, golden_difference(maps, golden->maps + c * pixels, pixels));
    }
    free(maps);
    return largest;
}

static double run_case(const struct golden *golden, uint32_t features, struct csi_pool *pool)
{
    const json_t *map = json_object_get(golden->json, "map");
    const char *target = json_string_value(json_object_get(golden->json, "target"));
    const struct csi_plan_info *info;
    struct csi_plan *plan;
    struct csi_exec *exec;
    struct cs_error error = {0};
    double largest;

    golden_plan(golden, features, pool, &plan, &exec);
    info = csi_plan_info(plan);
    if (strcmp(target, "relu") !=
        0) /* which stands behind PyTorch's last layer of "lite" and has no name here */
        assert_string_equal(info->target_layer, target);
    assert_int_equal(info->map_channels, json_integer_value(json_array_get(map, 0)));
    assert_int_equal(info->map_height, json_integer_value(json_array_get(map, 1)));
    assert_int_equal(info->map_width, json_integer_value(json_array_get(map, 2)));
    if (csi_exec_run(exec, golden->input, 1, false, &error) != CS_OK)
        fail_msg("%s", error.message);
    largest = compare_maps(golden, info, exec);
    csi_exec_destroy(exec);
    csi_plan_destroy(plan);
    return largest;
}

static void maps_are_those_of_autograd(void **state)
{
    struct cs_error error = {0};
    struct csi_pool *pool;
    bool failed = false;

    (void)state;
    assert_int_equal(csi_pool_create(2, &pool, &error), CS_OK);
    for (size_t i = 0; i < GOLDEN_CASES; i++) {
        struct golden golden;

        if (!golden_wanted(golden_cases[i]))
            continue;
        golden_load(golden_cases[i], &golden);
        for (size_t k = 0; k < GOLDEN_MASKS; k++) {
            uint32_t features;
            double difference;

            if (!golden_kernels(golden_masks[k], &features))
                continue;
            difference = run_case(&golden, features, pool);
            printf("%-20s %-8s largest difference %.2e%s\n", golden_cases[i], golden_masks[k], difference,
                   difference <= GOLDEN_TOLERANCE ? "" : "  TOO LARGE");
            failed |= !(difference <= GOLDEN_TOLERANCE);
        }
        golden_free(&golden);
    }
    csi_pool_destroy(pool);
    assert_false(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_are_those_of_autograd)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
