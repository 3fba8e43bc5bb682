/*
 * Running a plan: one caller's memory, the loop over steps, results in the layouts that callers read.
 *
 * A batch that has a photo for every thread is cut by photos where all caches together hold the weights: each
 * thread takes one through all steps, waits for nobody and finds in its caches what it has just written.
 * Photos that are left over, smaller batches and other networks go through each step together, on all
 * threads.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/backward.h"
#include "engine/internal.h"

struct csi_exec {
    const struct csi_plan *plan;
    float *memory;                 /* arena, then scratch */
    float *logits;                 /* max_batch × class_count */
    float *embedding;              /* max_batch × embedding_size, or NULL */
    float *activations;            /* map_channels × map_height × map_width, or NULL */
    float *gradient;               /* the same */
    struct csi_backward *backward; /* made at the first gradient without a closed form */
    struct csi_device_run *device; /* with a device */
    float **device_outputs;
    size_t batch; /* of the last run, */
    size_t alone; /* the first of them that had a thread each */
};

static enum cs_status lend_device(struct csi_exec *exec, struct cs_error *error)
{
    const struct csi_plan *plan = exec->plan;
    struct cs_error said = {CS_INTERNAL, "the device has no memory for a forward pass"};
    enum cs_status status;

    exec->device_outputs = calloc(plan->device_output_count, sizeof *exec->device_outputs);
    if (exec->device_outputs == NULL)
        return csi_fail_memory(error, "execution context");
    status = plan->device->run_create(plan->device_plan, &exec->device, &said);
    if (status == CS_OK) {
        plan->device->lend(exec->device, exec->memory, plan->info.arena_bytes);
        return CS_OK;
    }
    exec->device = NULL;
    return csi_fail(error, status, "%s", said.message);
}

enum cs_status csi_exec_create(const struct csi_plan *plan, struct csi_exec **out, struct cs_error *error)
{
    const struct csi_plan_info *info = &plan->info;
    size_t map = info->map_channels * info->map_height * info->map_width;
    struct csi_exec *exec = calloc(1, sizeof *exec);

    *out = NULL;
    if (exec == NULL)
        return csi_fail_memory(error, "execution context");
    exec->plan = plan;
    exec->memory = csi_aligned_alloc(info->arena_bytes);
    exec->logits = csi_aligned_calloc(plan->max_batch * info->class_count * sizeof(float));
    if (info->embedding_size > 0)
        exec->embedding = csi_aligned_calloc(plan->max_batch * info->embedding_size * sizeof(float));
    if (map > 0) {
        exec->activations = csi_aligned_calloc(map * sizeof(float));
        exec->gradient = csi_aligned_calloc(map * sizeof(float));
    }
    if (exec->memory == NULL || exec->logits == NULL ||
        (info->embedding_size > 0 && exec->embedding == NULL) ||
        (map > 0 && (exec->activations == NULL || exec->gradient == NULL))) {
        csi_exec_destroy(exec);
        return csi_fail_memory(error, "the memory of a forward pass");
    }
    if (plan->device != NULL) {
        enum cs_status status = lend_device(exec, error);

        if (status != CS_OK) {
            csi_exec_destroy(exec);
            return status;
        }
    }
    *out = exec;
    return CS_OK;
}

void csi_exec_destroy(struct csi_exec *exec)
{
    if (exec == NULL)
        return;
    if (exec->device != NULL)
        exec->plan->device->run_destroy(exec->device);
    free(exec->device_outputs);
    csi_backward_destroy(exec->backward);
    csi_aligned_free(exec->memory);
    csi_aligned_free(exec->logits);
    csi_aligned_free(exec->embedding);
    csi_aligned_free(exec->activations);
    csi_aligned_free(exec->gradient);
    free(exec);
}

/* Where a slot of one photo of the last run lies. Photos that ran alone have a part of the arena each, laid
 * out as for a batch of 1; the others share the part behind. */
static const float *photo_slot(const struct csi_exec *exec, int index, size_t photo)
{
    const struct csi_slot *slot = &exec->plan->slots[index];
    const float *together = exec->memory + exec->alone * exec->plan->photo_floats;

    if (photo < exec->alone)
        return exec->memory + photo * exec->plan->photo_floats + slot->offset;
    return together + slot->offset * (exec->batch - exec->alone) + (photo - exec->alone) * slot->photo;
}

/* The first channels of each photo's 1 × 1 map, densely. */
static void gather(const struct csi_exec *exec, int slot, size_t channels, float *out)
{
    for (size_t n = 0; n < exec->batch; n++)
        memcpy(out + n * channels, photo_slot(exec, slot, n), channels * sizeof *out);
}

/* Who looks at a run: NULL members look at nothing. */
struct watch {
    uint64_t *ns; /* [step] */
    csi_observer *observer;
    void *context;
    float *copy; /* of a map that lives as bytes */
};

static void show(const struct csi_exec *exec, const struct csi_step *step, const struct watch *watch)
{
    const struct csi_plan *plan = exec->plan;
    const struct csi_slot *slot = &plan->slots[step->output];
    const float *data = exec->memory + slot->offset; /* of one photo */

    if (slot->bytes) {
        plan->kernels->dequantize((const uint8_t *)(const void *)data, slot->scale, watch->copy,
                                  slot->photo * sizeof(float));
        data = watch->copy;
    }
    watch->observer(watch->context,
                    &(struct csi_observed){plan->slot_nodes[step->output], step->name, data,
                                           slot->shape.channels, slot->shape.height * slot->shape.width,
                                           slot->pitch});
}

/* Not CS_OK: *failed is the step that failed, and now->error says why if the step does. */
static enum cs_status run_steps(const struct csi_exec *exec, const struct csi_run *now,
                                const struct watch *watch, const struct csi_step **failed)
{
    const struct csi_plan *plan = exec->plan;

    for (size_t i = 0; i < plan->step_count; i++) {
        uint64_t start = watch == NULL || watch->ns == NULL ? 0 : csi_now_ns();
        enum cs_status status = plan->steps[i].run(&plan->steps[i], now);

        if (status != CS_OK) {
            *failed = &plan->steps[i];
            return status;
        }
        if (watch != NULL && watch->ns != NULL)
            watch->ns[i] = csi_now_ns() - start;
        if (watch != NULL && watch->observer != NULL)
            show(exec, &plan->steps[i], watch);
    }
    return CS_OK;
}

/* Photos that have a thread each. */
struct alone {
    const struct csi_exec *exec;
    const float *input;
    size_t photo;       /* floats of an input */
    atomic_bool failed; /* one of them, in this step: */
    const struct csi_step *step;
    enum cs_status status;
    struct cs_error error;
};

static void photo_task(void *context, size_t index, unsigned worker)
{
    struct alone *alone = context;
    const struct csi_plan *plan = alone->exec->plan;
    struct cs_error error = {0};
    struct csi_run now = {
        .plan = plan,
        .error = &error,
        .input = alone->input + index * alone->photo,
        .batch = 1,
        .arena = alone->exec->memory + index * plan->photo_floats,
        .scratch = alone->exec->memory + plan->arena_floats + worker * plan->alone_floats,
    };
    const struct csi_step *step = NULL;
    enum cs_status status = run_steps(alone->exec, &now, NULL, &step);

    if (status != CS_OK && !atomic_exchange(&alone->failed, true)) {
        alone->step = step;
        alone->status = status;
        alone->error = error;
    }
}

static enum cs_status run(struct csi_exec *exec, const float *input, size_t batch, bool serial,
                          const struct watch *watch, struct cs_error *error)
{
    const struct csi_plan *plan = exec->plan;
    const struct csi_plan_info *info = &plan->info;
    const unsigned threads = serial ? 1 : csi_pool_threads(plan->pool);
    struct alone alone = {
        .exec = exec,
        .input = input,
        .photo = info->input_channels * info->input_height * info->input_width,
    };

    if (batch == 0 || batch > plan->max_batch)
        return csi_fail(error, CS_BAD_REQUEST, "batches of 1 to %u photos, not %zu", plan->max_batch, batch);
    exec->batch = 0;
    exec->alone = threads > 1 && watch == NULL && info->light_weights && plan->device == NULL
                      ? batch / threads * threads
                      : 0;
    if (exec->alone > 0) /* a run of nothing would wait for its turn, too */
        csi_pool_run(plan->pool, exec->alone, photo_task, &alone);
    if (alone.status == CS_OK && batch > exec->alone) {
        struct csi_run now = {
            .plan = plan,
            .input = input + exec->alone * alone.photo,
            .batch = batch - exec->alone,
            .arena = exec->memory + exec->alone * plan->photo_floats,
            .scratch = exec->memory + plan->arena_floats,
            .pool = serial ? NULL : plan->pool,
            .device = exec->device,
            .device_outputs = exec->device_outputs,
            .error = &alone.error,
        };

        alone.status = run_steps(exec, &now, watch, &alone.step);
    }
    if (alone.status != CS_OK)
        return csi_fail(error, alone.status, "layer '%s' failed%s%s", alone.step->name,
                        alone.error.message[0] != '\0' ? ": " : "", alone.error.message);
    exec->batch = batch;
    gather(exec, plan->output_slot, info->class_count, exec->logits);
    if (exec->embedding != NULL)
        gather(exec, plan->embedding_slot, info->embedding_size, exec->embedding);
    return CS_OK;
}

enum cs_status csi_exec_run(struct csi_exec *exec, const float *input, size_t batch, bool serial,
                            struct cs_error *error)
{
    return run(exec, input, batch, serial, NULL, error);
}

enum cs_status csi_exec_profile(struct csi_exec *exec, const float *input, size_t batch, uint64_t *ns,
                                struct cs_error *error)
{
    return run(exec, input, batch, false, &(struct watch){.ns = ns}, error);
}

enum cs_status csi_exec_observe(struct csi_exec *exec, const float *input, csi_observer *observer,
                                void *context, struct cs_error *error)
{
    struct watch watch = {.observer = observer, .context = context};
    enum cs_status status;
    size_t most = 0;

    for (size_t i = 0; i < exec->plan->slot_count; i++) {
        const struct csi_slot *slot = &exec->plan->slots[i];

        most = csi_max_size(most, slot->used && slot->bytes ? slot->photo * sizeof(float) : 0);
    }
    watch.copy = csi_aligned_alloc((most + 1) * sizeof(float));
    if (watch.copy == NULL)
        return csi_fail_memory(error, "a copy of a map");
    status = run(exec, input, 1, false, &watch, error);
    csi_aligned_free(watch.copy);
    return status;
}

enum cs_status csi_exec_check(const struct csi_exec *exec, size_t index, struct cs_error *error)
{
    const size_t classes = exec->plan->info.class_count;

    for (size_t i = 0; i < classes; i++) {
        const float logit = exec->logits[index * classes + i];

        if (!isfinite(logit))
            return csi_fail(
                error, CS_MODEL_INVALID, "the network's outputs are no finite numbers: output %zu is %s%s", i,
                isnan(logit) ? "NaN" : "infinite",
                exec->plan->info.precision == CS_PRECISION_FP16 ? " (fp16 ends at 65504: try bf16 or fp32)"
                                                                : "");
    }
    return CS_OK;
}

const float *csi_exec_logits(const struct csi_exec *exec)
{
    return exec->logits;
}

const float *csi_exec_embedding(const struct csi_exec *exec)
{
    return exec->embedding;
}

/* One photo's map as NCHW. */
static void unpack(const struct csi_exec *exec, int slot_index, size_t photo, float *out)
{
    const struct csi_slot *slot = &exec->plan->slots[slot_index];
    const float *from = photo_slot(exec, slot_index, photo);
    size_t pixels = slot->shape.height * slot->shape.width;

    for (size_t c = 0; c < slot->shape.channels; c++) {
        for (size_t p = 0; p < pixels; p++)
            out[c * pixels + p] = from[p * slot->pitch + c];
    }
}

const float *csi_exec_activations(struct csi_exec *exec, size_t index)
{
    if (exec->activations == NULL || index >= exec->batch)
        return NULL;
    unpack(exec, exec->plan->target_slot, index, exec->activations);
    return exec->activations;
}

enum cs_status csi_exec_gradient(struct csi_exec *exec, size_t index, size_t class_index,
                                 const float **gradient, struct cs_error *error)
{
    const struct csi_plan_info *info = &exec->plan->info;
    size_t pixels = info->map_height * info->map_width;
    enum cs_status status;

    *gradient = NULL;
    if (exec->gradient == NULL)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network has no two-dimensional map to explain");
    if (index >= exec->batch || class_index >= info->class_count)
        return csi_fail(error, CS_BAD_REQUEST, "no photo %zu or no class %zu", index, class_index);
    if (info->linear_head) {
        for (size_t k = 0; k < info->map_channels; k++) {
            float value = info->head_weight[class_index * info->map_channels + k] / (float)pixels;

            for (size_t p = 0; p < pixels; p++)
                exec->gradient[k * pixels + p] = value;
        }
    } else {
        if (exec->backward == NULL) {
            status = csi_backward_create(exec->plan->tail, &exec->backward, error);
            if (status != CS_OK)
                return status;
        }
        unpack(exec, exec->plan->target_slot, index, csi_backward_target(exec->backward));
        for (size_t i = 0; i < csi_tail_side_count(exec->plan->tail); i++)
            unpack(exec, exec->plan->side_slots[i], index, csi_backward_side(exec->backward, i));
        *gradient = csi_backward_run(exec->backward, class_index);
        return CS_OK;
    }
    *gradient = exec->gradient;
    return CS_OK;
}
