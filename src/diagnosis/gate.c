/*
 * Gate and coach: see gate.h. The formulas are training's (training/README.md); parameters come from the
 * metadata's `ood` and `coach` objects and from the tensors `ood.center`, `ood.basis`, `ood.mean`,
 * `reject.weight`, `reject.bias`.
 *
 * Gate: z = clip((input - mean) / scale, ±clip); leaf score = threshold - (weight·z + bias). Inputs are
 * named; the four that the network gives are reject       reject.weight·f + reject.bias of the pooled
 * features f energy       log Σ exp(logit / temperature) over the tested classes max_logit    the largest
 * logit / temperature of the tested classes mahalanobis  least distance of basis·(f/|f| - center) to a row of
 * ood.mean and the others are features of the content.
 *
 * Below LEAST_SPREAD grey levels of standard deviation there is nothing to see, whatever the network makes of
 * it (black, white and one colour are far from all that training shows it): the score is then at most the
 * spread - LEAST_SPREAD, below 0. The flattest of some 2,000 photos of leaves spreads over 14 levels.
 */
#include "diagnosis/gate.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REJECT, ENERGY, MAX_LOGIT, MAHALANOBIS, NETWORK_INPUTS };
#define MAX_DIRECTIONS 512
#define LEAST_SPREAD   4.0
#define INPUTS         ((size_t)NETWORK_INPUTS + CSI_FEATURE_COUNT)

struct csi_gate {
    size_t count; /* of terms */
    unsigned input[INPUTS];
    double mean[INPUTS], scale[INPUTS], weight[INPUTS];
    double clip, bias, threshold, temperature, reject_bias;
    size_t embedding_size, directions, centres, class_count;
    float *reject;  /* embedding_size, or NULL when no term asks for it */
    float *center;  /* embedding_size, or NULL likewise */
    float *basis;   /* directions × embedding_size */
    float *means;   /* centres × directions */
    bool *tested;   /* class_count */
    double *origin; /* basis·center: directions */
};

struct csi_coach {
    size_t count;
    struct {
        enum csi_hint hint;
        enum csi_feature feature;
        double below, above;
    } rules[CSI_HINT_COUNT];
};

/* ---- reading ---- */

/* The metadata's member `key`, itself JSON in a string (or an object): a new reference, NULL when there is
 * none. */
static enum cs_status read_member(const struct csi_graph *graph, const char *key, json_t **object,
                                  struct cs_error *error)
{
    json_t *metadata = json_loads(graph->metadata_json != NULL ? graph->metadata_json : "{}", 0, NULL),
           *member;

    *object = NULL;
    member = json_object_get(metadata, key);
    if (json_is_object(member))
        *object = json_incref(member);
    else if (json_is_string(member))
        *object = json_loads(json_string_value(member), JSON_REJECT_DUPLICATES, NULL);
    if (member != NULL && !json_is_null(member) && !json_is_object(*object)) {
        json_decref(*object);
        *object = NULL;
        json_decref(metadata);
        return csi_fail(error, CS_MODEL_INVALID, "the metadata's '%s' is no JSON object", key);
    }
    json_decref(metadata);
    return CS_OK;
}

static bool finite_number(const json_t *value, double *number)
{
    *number = json_number_value(value);
    return json_is_number(value) && isfinite(*number);
}

static bool find_feature(const char *name, enum csi_feature *feature)
{
    for (int i = 0; name != NULL && i < CSI_FEATURE_COUNT; i++)
        if (strcmp(name, csi_feature_name((enum csi_feature)i)) == 0) {
            *feature = (enum csi_feature)i;
            return true;
        }
    return false;
}

static bool find_input(const char *name, unsigned *input)
{
    static const char *const network[NETWORK_INPUTS] = {"reject", "energy", "max_logit", "mahalanobis"};
    enum csi_feature feature;

    for (unsigned i = 0; name != NULL && i < NETWORK_INPUTS; i++)
        if (strcmp(name, network[i]) == 0) {
            *input = i;
            return true;
        }
    if (!find_feature(name, &feature))
        return false;
    *input = NETWORK_INPUTS + (unsigned)feature;
    return true;
}

static enum cs_status read_terms(struct csi_gate *gate, const json_t *ood, struct cs_error *error)
{
    const json_t *inputs = json_object_get(ood, "inputs"), *mean = json_object_get(ood, "mean");
    const json_t *scale = json_object_get(ood, "scale"), *weight = json_object_get(ood, "weight");

    gate->count = json_array_size(inputs);
    if (gate->count == 0 || gate->count > INPUTS || json_array_size(mean) != gate->count ||
        json_array_size(scale) != gate->count || json_array_size(weight) != gate->count)
        return csi_fail(error, CS_MODEL_INVALID,
                        "'ood' needs equally long lists inputs, mean, scale and weight of 1 to %zu", INPUTS);
    for (size_t i = 0; i < gate->count; i++) {
        const char *name = json_string_value(json_array_get(inputs, i));

        if (!find_input(name, &gate->input[i]))
            return csi_fail(error, CS_MODEL_UNSUPPORTED, "'ood' asks for the unknown input '%.64s'",
                            name != NULL ? name : "");
        if (!finite_number(json_array_get(mean, i), &gate->mean[i]) ||
            !finite_number(json_array_get(scale, i), &gate->scale[i]) || gate->scale[i] <= 0 ||
            !finite_number(json_array_get(weight, i), &gate->weight[i]))
            return csi_fail(error, CS_MODEL_INVALID, "'ood' has no sound mean, scale and weight for '%s'",
                            name);
    }
    if (!finite_number(json_object_get(ood, "clip"), &gate->clip) || gate->clip <= 0 ||
        !finite_number(json_object_get(ood, "bias"), &gate->bias) ||
        !finite_number(json_object_get(ood, "threshold"), &gate->threshold))
        return csi_fail(error, CS_MODEL_INVALID, "'ood' needs the numbers clip, bias and threshold");
    return CS_OK;
}

/* A copy of the extra tensor `name`; `elements` 0: any number, which is stored there. */
static enum cs_status copy_extra(const struct csi_graph *graph, const char *name, size_t *elements,
                                 float **copy, struct cs_error *error)
{
    const struct csi_value *value = csi_graph_find_extra(graph, name);
    size_t have = value != NULL ? csi_value_elements(value) : 0;

    if (have == 0 || (*elements != 0 && have != *elements))
        return csi_fail(error, CS_MODEL_INVALID,
                        "the gate's tensor '%s' is missing or has %zu elements, not %zu", name, have,
                        *elements);
    *copy = malloc(have * sizeof **copy);
    if (*copy == NULL)
        return csi_fail_memory(error, name);
    memcpy(*copy, value->data, have * sizeof **copy);
    *elements = have;
    return CS_OK;
}

static bool asks_for(const struct csi_gate *gate, unsigned input)
{
    for (size_t i = 0; i < gate->count; i++)
        if (gate->input[i] == input)
            return true;
    return false;
}

static enum cs_status read_distance(struct csi_gate *gate, const struct csi_graph *graph,
                                    struct cs_error *error)
{
    size_t elements = gate->embedding_size;
    enum cs_status status = copy_extra(graph, "ood.center", &elements, &gate->center, error);

    elements = 0;
    if (status == CS_OK)
        status = copy_extra(graph, "ood.basis", &elements, &gate->basis, error);
    if (status != CS_OK)
        return status;
    gate->directions = elements / gate->embedding_size;
    if (gate->directions * gate->embedding_size != elements || gate->directions > MAX_DIRECTIONS)
        return csi_fail(error, CS_MODEL_INVALID, "'ood.basis' has %zu elements, not 1 to %d times %zu",
                        elements, MAX_DIRECTIONS, gate->embedding_size);
    elements = 0;
    status = copy_extra(graph, "ood.mean", &elements, &gate->means, error);
    if (status != CS_OK)
        return status;
    gate->centres = elements / gate->directions;
    if (gate->centres * gate->directions != elements)
        return csi_fail(error, CS_MODEL_INVALID, "'ood.mean' has %zu elements, no multiple of %zu", elements,
                        gate->directions);
    gate->origin = calloc(gate->directions, sizeof *gate->origin);
    if (gate->origin == NULL)
        return csi_fail_memory(error, "gate");
    for (size_t d = 0; d < gate->directions; d++)
        for (size_t k = 0; k < gate->embedding_size; k++)
            gate->origin[d] += (double)gate->basis[d * gate->embedding_size + k] * (double)gate->center[k];
    return CS_OK;
}

static enum cs_status read_network_inputs(struct csi_gate *gate, const struct csi_graph *graph,
                                          struct cs_error *error)
{
    enum cs_status status = CS_OK;

    if ((asks_for(gate, REJECT) || asks_for(gate, MAHALANOBIS)) && gate->embedding_size == 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "the gate needs pooled features, which this network has not");
    if (asks_for(gate, REJECT)) {
        const struct csi_value *bias = csi_graph_find_extra(graph, "reject.bias");
        size_t elements = gate->embedding_size;

        status = copy_extra(graph, "reject.weight", &elements, &gate->reject, error);
        if (status == CS_OK && (bias == NULL || csi_value_elements(bias) != 1))
            status = csi_fail(error, CS_MODEL_INVALID, "the gate's tensor 'reject.bias' is missing");
        if (status == CS_OK)
            gate->reject_bias = (double)bias->data[0];
    }
    if (status == CS_OK && asks_for(gate, MAHALANOBIS))
        status = read_distance(gate, graph, error);
    return status;
}

enum cs_status csi_gate_create(const struct csi_graph *graph, size_t embedding_size, struct csi_gate **gate,
                               struct cs_error *error)
{
    struct csi_gate *made;
    json_t *ood;
    enum cs_status status = read_member(graph, "ood", &ood, error);

    *gate = NULL;
    if (status != CS_OK || ood == NULL)
        return status;
    made = calloc(1, sizeof *made);
    if (made == NULL || (made->tested = calloc(graph->class_count, sizeof *made->tested)) == NULL) {
        status = csi_fail_memory(error, "gate");
        goto done;
    }
    made->embedding_size = embedding_size;
    made->class_count = graph->class_count;
    made->temperature = graph->temperature > 0 ? graph->temperature : 1;
    for (size_t i = 0; i < graph->class_count; i++)
        made->tested[i] = graph->tested == NULL || graph->tested[i];
    status = read_terms(made, ood, error);
    if (status == CS_OK)
        status = read_network_inputs(made, graph, error);
done:
    json_decref(ood);
    if (status != CS_OK) {
        csi_gate_destroy(made);
        return status;
    }
    *gate = made;
    return CS_OK;
}

void csi_gate_destroy(struct csi_gate *gate)
{
    if (gate == NULL)
        return;
    free(gate->reject);
    free(gate->center);
    free(gate->basis);
    free(gate->means);
    free(gate->tested);
    free(gate->origin);
    free(gate);
}

/* ---- evaluating ---- */

static double reject_logit(const struct csi_gate *gate, const float *features)
{
    double sum = gate->reject_bias;

    for (size_t k = 0; k < gate->embedding_size; k++)
        sum += (double)gate->reject[k] * (double)features[k];
    return sum;
}

/* Least distance of the normalised features to a class. */
static double least_distance(const struct csi_gate *gate, const float *features)
{
    double projection[MAX_DIRECTIONS], norm = 0, least = INFINITY, scale;

    for (size_t k = 0; k < gate->embedding_size; k++)
        norm += (double)features[k] * (double)features[k];
    norm = sqrt(norm);
    scale = 1 / (norm > 1e-12 ? norm : 1e-12);
    for (size_t d = 0; d < gate->directions; d++) {
        double sum = 0;

        for (size_t k = 0; k < gate->embedding_size; k++)
            sum += (double)gate->basis[d * gate->embedding_size + k] * (double)features[k];
        projection[d] = sum * scale - gate->origin[d];
    }
    for (size_t c = 0; c < gate->centres; c++) {
        double square = 0;

        for (size_t d = 0; d < gate->directions; d++) {
            double difference = projection[d] - (double)gate->means[c * gate->directions + d];

            square += difference * difference;
        }
        if (square < least)
            least = square;
    }
    return sqrt(least);
}

/* Energy and largest logit of the tested classes. */
static void logit_inputs(const struct csi_gate *gate, const float *logits, double *energy, double *largest)
{
    double sum = 0;

    *largest = -INFINITY;
    for (size_t i = 0; i < gate->class_count; i++)
        if (gate->tested[i] && (double)logits[i] / gate->temperature > *largest)
            *largest = (double)logits[i] / gate->temperature;
    for (size_t i = 0; i < gate->class_count; i++)
        if (gate->tested[i])
            sum += exp((double)logits[i] / gate->temperature - *largest);
    *energy = *largest + log(sum);
}

double csi_gate_score(const struct csi_gate *gate, const float *logits, size_t class_count,
                      const float *embedding, const struct csi_content *content)
{
    const double margin = 255 * content->values[CSI_FEATURE_LUMA_STD] - LEAST_SPREAD;
    double values[INPUTS] = {0}, score = gate->bias;

    (void)class_count; /* the gate's own, checked when it was made */
    logit_inputs(gate, logits, &values[ENERGY], &values[MAX_LOGIT]);
    if (gate->reject != NULL)
        values[REJECT] = reject_logit(gate, embedding);
    if (gate->means != NULL)
        values[MAHALANOBIS] = least_distance(gate, embedding);
    memcpy(values + NETWORK_INPUTS, content->values, sizeof content->values);
    for (size_t i = 0; i < gate->count; i++) {
        double z = (values[gate->input[i]] - gate->mean[i]) / gate->scale[i];

        z = z > gate->clip ? gate->clip : z < -gate->clip ? -gate->clip : z;
        score += gate->weight[i] * z;
    }
    score = gate->threshold - score;
    return margin < 0 && !(score < margin) ? margin : score;
}

/* ---- the coach ---- */

enum cs_status csi_coach_create(const struct csi_graph *graph, struct csi_coach **coach,
                                struct cs_error *error)
{
    struct csi_coach *made = NULL;
    json_t *rules;
    enum cs_status status = read_member(graph, "coach", &rules, error);

    *coach = NULL;
    if (status != CS_OK || rules == NULL)
        return status;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        status = csi_fail_memory(error, "coach");
    for (unsigned i = 0; status == CS_OK && i < CSI_HINT_COUNT; i++) {
        const json_t *rule = json_object_get(rules, csi_hint_name((enum csi_hint)i)), *below, *above;
        const char *feature = json_string_value(json_object_get(rule, "feature"));
        double low = -INFINITY, high = INFINITY;

        if (rule == NULL)
            continue;
        below = json_object_get(rule, "below");
        above = json_object_get(rule, "above");
        made->rules[made->count].hint = (enum csi_hint)i;
        if (!find_feature(feature, &made->rules[made->count].feature) || (below == NULL && above == NULL) ||
            (below != NULL && !finite_number(below, &low)) || (above != NULL && !finite_number(above, &high)))
            status = csi_fail(error, CS_MODEL_INVALID, "the metadata's 'coach' has no sound rule for '%s'",
                              csi_hint_name((enum csi_hint)i));
        made->rules[made->count].below = low;
        made->rules[made->count].above = high;
        made->count++;
    }
    json_decref(rules);
    if (status != CS_OK) {
        free(made);
        return status;
    }
    *coach = made;
    return CS_OK;
}

void csi_coach_destroy(struct csi_coach *coach)
{
    free(coach);
}

uint32_t csi_coach_hints(const struct csi_coach *coach, const struct csi_content *content)
{
    uint32_t hints = 0;

    for (size_t i = 0; i < coach->count; i++) {
        double value = content->values[coach->rules[i].feature];

        if (value < coach->rules[i].below || value > coach->rules[i].above)
            hints |= 1u << coach->rules[i].hint;
    }
    return hints;
}
