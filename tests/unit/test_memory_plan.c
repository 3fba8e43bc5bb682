/*
 * The memory plan of real networks: maps that are alive at the same time never share memory, and the arena is
 * a fraction of what all maps together would take. That the results stay right is in parity.logits. And the
 * limits of what a network may ask for.
 */
#include "engine/internal.h"
#include "parity/golden.h"
#include "unit/nets.h"

static size_t slot_floats(const struct csi_slot *slot, size_t batch)
{
    return slot->photo * batch;
}

/* No two slots that live at the same time overlap, in a batch of any size. */
static void check_places(const struct csi_plan *plan, size_t batch)
{
    for (size_t i = 0; i < plan->slot_count; i++)
        for (size_t k = i + 1; k < plan->slot_count; k++) {
            const struct csi_slot *a = &plan->slots[i], *b = &plan->slots[k];

            if (!a->used || !b->used || a->last_step < b->first_step || b->last_step < a->first_step)
                continue;
            if (a->offset * batch < b->offset * batch + slot_floats(b, batch) &&
                b->offset * batch < a->offset * batch + slot_floats(a, batch))
                fail_msg("slots %zu and %zu live together and share memory", i, k);
        }
}

/* Every step's inputs are alive when it runs, and so is what it writes. */
static void check_lives(const struct csi_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct csi_step *step = &plan->steps[i];

        for (unsigned k = 0; k < step->input_count; k++)
            if (step->inputs[k] >= 0) {
                assert_true(plan->slots[step->inputs[k]].first_step <= i);
                assert_true(plan->slots[step->inputs[k]].last_step >= i);
            }
        assert_true(plan->slots[step->output].first_step <= i);
        assert_true(plan->slots[step->output].last_step >= i);
    }
}

static void maps_share_memory_when_they_can(void **state)
{
    static const struct {
        const char *name;
        double share; /* of all maps together that the arena may take */
    } nets[] = {
        {"resnet18", 0.40}, {"resnet50", 0.25}, {"mobilenet_v3_large", 0.30}, {"efficientnet_b0", 0.30}};

    (void)state;
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct golden golden;
        struct csi_plan *plan;
        struct csi_exec *exec;
        size_t all = 0, largest = 0;
        uint32_t features;

        golden_load(nets[i].name, &golden);
        assert_true(golden_kernels("all", &features));
        golden_plan(&golden, features, NULL, &plan, &exec);
        for (size_t k = 0; k < plan->slot_count; k++)
            if (plan->slots[k].used) {
                size_t floats = slot_floats(&plan->slots[k], plan->max_batch);

                all += floats;
                largest = csi_max_size(largest, floats);
                assert_true(plan->slots[k].offset * plan->max_batch + floats <= plan->arena_floats);
            }
        for (size_t batch = 1; batch <= plan->max_batch; batch++)
            check_places(plan, batch);
        check_lives(plan);
        printf("%-20s all maps %zu kB, arena %zu kB (%.0f %%), largest %zu kB\n", nets[i].name, all / 256,
               plan->arena_floats / 256, 100.0 * (double)plan->arena_floats / (double)all, largest / 256);
        assert_true(plan->arena_floats >= largest);
        assert_true((double)plan->arena_floats <= nets[i].share * (double)all);
        csi_exec_destroy(exec);
        csi_plan_destroy(plan);
        golden_free(&golden);
    }
}

/* Bytes of the arena of one photo on two threads, or 0 and why there is no plan. `integers`: in INT8. */
static size_t arena_of(struct net *net, bool integers, struct cs_error *error)
{
    struct csi_plan_options options = {.max_batch = 1,
                                       .precision = integers ? CS_PRECISION_INT8 : CS_PRECISION_FP32};
    struct csi_plan *plan;
    enum cs_status status;
    size_t bytes = 0;

    net->graph->output = net->last;
    assert_int_equal(csi_cpu_allowed("all", &options.cpu_features, NULL), CS_OK);
    assert_int_equal(csi_pool_create(2, &options.pool, NULL), CS_OK);
    status = csi_plan_create(net->graph, &options, &plan, error);
    if (status == CS_OK)
        bytes = csi_plan_info(plan)->arena_bytes;
    else
        assert_int_equal(status, CS_MODEL_UNSUPPORTED);
    csi_plan_destroy(plan);
    csi_pool_destroy(options.pool);
    return bytes;
}

/* The same scale everywhere: nothing runs. */
static void pretend_calibration(const struct net *net)
{
    struct csi_output_scale *scales = calloc(net->graph->node_count, sizeof *scales);

    assert_non_null(scales);
    for (size_t i = 0; i < net->graph->node_count; i++)
        scales[i] = (struct csi_output_scale){.node = i, .scale = 0.1f, .zero = 128};
    assert_int_equal(csi_graph_set_scales(net->graph, scales, net->graph->node_count, NULL), CS_OK);
    free(scales);
}

/* A window of three lines that reaches over 12,001, and borders far wider than the photo. */
static void start_wide(struct net *net)
{
    struct csi_node node;
    const size_t dims[4] = {4, 3, 3, 3};

    start(net, 3, 5, 5);
    node = node_of(net, CSI_OP_CONV);
    node.kernel[0] = node.kernel[1] = 3;
    node.dilation[0] = 6000;
    node.stride[0] = node.stride[1] = 65535;
    node.pads[0] = node.pads[1] = node.pads[2] = node.pads[3] = 65535;
    node.inputs[1] = constant(net, 4, dims, 0.5f, 0);
    node.inputs[2] = constant(net, 1, dims, 0.5f, 0);
    node.input_count = 3;
    add(net, &node, net->last);
    head(net, 4);
}

static void wide_windows_take_no_memory(void **state)
{
    struct cs_error error = {0};
    struct net net;
    size_t bytes;

    (void)state;
    start_wide(&net);
    bytes = arena_of(&net, false, &error);
    if (bytes == 0 || bytes > 1 << 20)
        fail_msg("%zu bytes: %s", bytes, error.message);
    check(&net, NULL, -1);
}

static void memory_is_bounded(void **state)
{
    struct cs_error error = {0};
    struct net net;
    int maps[5];

    (void)state;
    start_wide(&net);
    pretend_calibration(&net);
    assert_int_equal(arena_of(&net, true, &error), 0);
    assert_non_null(strstr(error.message, "'n0': scratch memory takes"));
    assert_non_null(strstr(error.message, "more than 2147483648"));
    csi_graph_destroy(net.graph);

    start(&net, 3, 8, 8); /* one channel: padding channels make sixteen of it */
    conv(&net, net.last, (struct conv_shape){1, 1, 1, 5788, 1, 1, false});
    head(&net, 4);
    assert_int_equal(arena_of(&net, false, &error), 0);
    assert_non_null(strstr(error.message, "'n0': the output takes 8588099584 bytes"));
    csi_graph_destroy(net.graph);

    start(&net, 3, 2048, 2048); /* each map is small enough, but five are needed at a time */
    for (int i = 0, wide = conv(&net, net.last, (struct conv_shape){32, 1, 1, 0, 1, 1, false}); i < 5; i++)
        maps[i] = act(&net, wide, CSI_ACT_ELU, 0.1f * (float)(i + 1), 0.0f);
    for (int i = 1, sum = maps[0]; i < 5; i++)
        sum = binary(&net, CSI_OP_MUL, maps[i], sum);
    head(&net, 4);
    assert_int_equal(arena_of(&net, false, &error), 0);
    assert_non_null(strstr(error.message, "the maps that are needed at a time take"));
    csi_graph_destroy(net.graph);
}

/* In float32 and in integers; takes the network. */
static void assert_accepted(struct net *net)
{
    struct cs_error error = {0};

    pretend_calibration(net);
    for (int integers = 0; integers < 2; integers++)
        if (arena_of(net, integers == 1, &error) == 0)
            fail_msg("%s", error.message);
    csi_graph_destroy(net->graph);
}

/* The widest maps of common networks at 1024 pixels. */
static void large_photos_are_accepted(void **state)
{
    struct net net;

    (void)state;
    start(&net, 3, 1024, 1024); /* VGG */
    for (int i = 0; i < 2; i++) {
        conv(&net, net.last, (struct conv_shape){64, 3, 1, 1, 1, 1, true});
        act(&net, net.last, CSI_ACT_RELU, 0, 0);
    }
    pool(&net, net.last, CSI_OP_MAX_POOL, 2, 2, 0, false, false);
    conv(&net, net.last, (struct conv_shape){128, 3, 1, 1, 1, 1, true});
    head(&net, 4);
    assert_accepted(&net);

    start(&net, 3, 1024, 1024); /* EfficientNet-B7 */
    conv(&net, net.last, (struct conv_shape){64, 3, 2, 1, 1, 1, true});
    conv(&net, net.last, (struct conv_shape){384, 1, 1, 0, 1, 1, true});
    act(&net, net.last, CSI_ACT_SWISH, 0, 0);
    conv(&net, net.last, (struct conv_shape){384, 3, 1, 1, 384, 1, true});
    act(&net, net.last, CSI_ACT_SWISH, 0, 0);
    head(&net, 4);
    assert_accepted(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_share_memory_when_they_can), cmocka_unit_test(wide_windows_take_no_memory),
        cmocka_unit_test(memory_is_bounded), cmocka_unit_test(large_photos_are_accepted)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
