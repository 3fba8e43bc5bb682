/*
 * The memory plan of real networks: maps that are alive at the same time never share memory, and the arena is
 * a fraction of what all maps together would take. That the results stay right is in parity.logits.
 */
#include "engine/internal.h"
#include "parity/golden.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_share_memory_when_they_can)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
