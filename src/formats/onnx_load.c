/*
 * Unpacking ONNX files: the guard before protobuf-c, which recurses as deep as a file tells it to, and
 * tensors to constants. See onnx.h.
 */
#include "formats/onnx.h"

#ifdef CSI_HAVE_ONNX

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

#define MAX_DEPTH 24u     /* these two are named in words below */
#define MAX_PARTS 400000u /* a message of two bytes takes some 150 unpacked */

#define TOO_MANY "there are more than 400000 parts"

struct guard {
    const uint8_t *at, *end;
};

/* What the walk over a file has found. */
struct survey {
    const uint8_t *start;
    size_t parts;        /* messages, texts of lists, fields that the schema does not know */
    const char *trouble; /* NULL: none */
    const char *inside;  /* the message type that has it */
    size_t offset;       /* and where */
};

static bool trouble(struct survey *survey, const struct guard *guard,
                    const ProtobufCMessageDescriptor *descriptor, const char *what)
{
    if (survey->trouble == NULL) {
        survey->trouble = what;
        survey->inside = descriptor->short_name;
        survey->offset = (size_t)(guard->at - survey->start);
    }
    return false;
}

static bool take_varint(struct guard *guard, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (guard->at == guard->end)
            return false;
        *number |= (uint64_t)(*guard->at & 0x7fu) << shift;
        if ((*guard->at++ & 0x80u) == 0)
            return true;
    }
    return false;
}

static bool skip_bytes(struct guard *guard, uint64_t count)
{
    if (count > (uint64_t)(guard->end - guard->at))
        return false;
    guard->at += count;
    return true;
}

/* What protobuf-c makes of field `field` (NULL: unknown) is bounded: what it allocates is counted, and a
 * field that is no list may come once. protobuf-c would put together as many as there are, from the start
 * each time.
 * `*seen` has a bit for each field of the message that has come. NULL: nothing is wrong. */
static const char *look_at(const ProtobufCMessageDescriptor *descriptor,
                           const ProtobufCFieldDescriptor *field, uint64_t *seen, struct survey *survey)
{
    uint64_t bit;

    if ((field == NULL ||
         (field->label == PROTOBUF_C_LABEL_REPEATED &&
          (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES))) &&
        ++survey->parts > MAX_PARTS)
        return TOO_MANY;
    if (field == NULL || field->label == PROTOBUF_C_LABEL_REPEATED)
        return NULL;
    bit = UINT64_C(1) << (field - descriptor->fields); /* no message of ONNX has more than 18 fields */
    if ((*seen & bit) != 0)
        return "a field that is no list comes twice";
    *seen |= bit;
    return NULL;
}

/* Walks a message as its schema describes it; false: damaged, too deep or too many. */
static bool walk(struct guard guard, const ProtobufCMessageDescriptor *descriptor, unsigned depth,
                 struct survey *survey)
{
    uint64_t seen = 0;

    if (depth > MAX_DEPTH)
        return trouble(survey, &guard, descriptor, "messages are nested deeper than 24");
    if (++survey->parts > MAX_PARTS)
        return trouble(survey, &guard, descriptor, TOO_MANY);
    while (guard.at != guard.end) {
        const ProtobufCFieldDescriptor *field;
        struct guard part = guard;
        uint64_t key, length;
        const char *wrong;

        if (!take_varint(&guard, &key) || key >> 3 > UINT32_MAX)
            return trouble(survey, &part, descriptor, "a field's number is cut or out of range");
        field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
        switch (key & 7u) {
        case 0:
            if (!take_varint(&guard, &length))
                return trouble(survey, &part, descriptor, "a number is cut or longer than 64 bits");
            break;
        case 1:
        case 5:
            if (!skip_bytes(&guard, (key & 7u) == 1 ? 8 : 4))
                return trouble(survey, &part, descriptor, "a number is cut");
            break;
        case 2:
            if (!take_varint(&guard, &length) || length > (uint64_t)(guard.end - guard.at))
                return trouble(survey, &part, descriptor, "a length reaches over the end");
            if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE &&
                !walk((struct guard){guard.at, guard.at + length}, field->descriptor, depth + 1, survey))
                return false;
            guard.at += length;
            break;
        default: return trouble(survey, &part, descriptor, "a field has a type that does not exist");
        }
        wrong = look_at(descriptor, field, &seen, survey);
        if (wrong != NULL)
            return trouble(survey, &part, descriptor, wrong);
    }
    return true;
}

enum cs_status csi_onnx_unpack(const uint8_t *bytes, size_t size, Onnx__ModelProto **model,
                               struct cs_error *error)
{
    struct survey survey = {.start = bytes};

    *model = NULL;
    if (!walk((struct guard){bytes, bytes + size}, &onnx__model_proto__descriptor, 0, &survey))
        return csi_fail(error, CS_MODEL_INVALID, "the ONNX file is damaged at byte %zu, in a %s: %s",
                        survey.offset, survey.inside, survey.trouble);
    *model = onnx__model_proto__unpack(NULL, size, bytes);
    if (*model == NULL)
        return csi_fail(error, CS_MODEL_INVALID,
                        "the ONNX file is damaged: it does not follow ONNX's schema");
    return CS_OK;
}

static bool element_type(int32_t type, enum csi_dtype *dtype, bool *integer, bool *is_unsigned)
{
    static const struct {
        int32_t type;
        enum csi_dtype dtype;
        bool integer, is_unsigned;
    } known[] = {
        {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, CSI_F32, false, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, CSI_U8, true, true},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, CSI_I8, true, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT16, CSI_I16, true, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, CSI_I32, true, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, CSI_I64, true, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, CSI_BOOL, true, true},
        {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, CSI_F16, false, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, CSI_F64, false, false},
        {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, CSI_BF16, false, false},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].type == type) {
            *dtype = known[i].dtype;
            *integer = known[i].integer;
            *is_unsigned = known[i].is_unsigned;
            return true;
        }
    return false;
}

/* Elements in the typed lists, which narrow types share; false: their number is not the shape's. */
static bool read_lists(const Onnx__TensorProto *tensor, enum csi_dtype dtype, size_t count, float *out)
{
    if (count == 0)
        return true;
    if (dtype == CSI_F32 && tensor->n_float_data == count) {
        memcpy(out, tensor->float_data, count * sizeof *out);
        return true;
    }
    if (dtype == CSI_F64 && tensor->n_double_data == count) {
        for (size_t i = 0; i < count; i++)
            out[i] = (float)tensor->double_data[i];
        return true;
    }
    if (dtype == CSI_I64 && tensor->n_int64_data == count) {
        for (size_t i = 0; i < count; i++)
            out[i] = (float)tensor->int64_data[i];
        return true;
    }
    if (dtype == CSI_F32 || dtype == CSI_F64 || dtype == CSI_I64 || tensor->n_int32_data != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint16_t half = (uint16_t)(uint32_t)tensor->int32_data[i];

        if (dtype == CSI_F16 || dtype == CSI_BF16)
            csi_dtype_to_float(dtype, (const uint8_t *)&half, 1, &out[i]);
        else
            out[i] = (float)tensor->int32_data[i];
    }
    return true;
}

enum cs_status csi_onnx_tensor(const Onnx__TensorProto *tensor, struct csi_onnx_value *value,
                               struct cs_error *error)
{
    const char *name = tensor->name == NULL ? "" : tensor->name;
    size_t count = 1, stored, bytes;
    enum csi_dtype dtype;

    memset(value, 0, sizeof *value);
    value->kind = CSI_ONNX_CONSTANT;
    value->constant = CSI_NO_VALUE;
    if (tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL || tensor->n_external_data != 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "tensor '%.100s' lies in another file: external data is refused", name);
    if (!element_type(tensor->data_type, &dtype, &value->integer, &value->is_unsigned))
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "tensor '%.100s' has element type %d", name,
                        tensor->data_type);
    if (tensor->n_dims > CSI_ONNX_RANK)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "tensor '%.100s' has %zu dimensions, more than %d", name,
                        tensor->n_dims, CSI_ONNX_RANK);
    value->rank = (unsigned)tensor->n_dims;
    value->bits = value->integer ? 8 * (unsigned)csi_dtype_size(dtype) : 0;
    for (unsigned i = 0; i < value->rank; i++) {
        if (tensor->dims[i] < 0 || csi_mul_overflows(count, (size_t)tensor->dims[i], &count))
            return csi_fail(error, CS_MODEL_INVALID, "the shape of tensor '%.100s' is out of range", name);
        value->dims[i] = (size_t)tensor->dims[i];
    }
    /* Compared with the bytes at hand before anything is allocated. */
    stored = tensor->n_float_data + tensor->n_double_data + tensor->n_int64_data + tensor->n_int32_data;
    if (tensor->has_raw_data
            ? csi_mul_overflows(count, csi_dtype_size(dtype), &bytes) || tensor->raw_data.len != bytes
            : stored != count)
        return csi_fail(error, CS_MODEL_INVALID,
                        "tensor '%.100s' does not hold the %zu elements of its shape", name, count);
    value->data = csi_aligned_calloc((count + 1) * sizeof *value->data);
    if (value->data == NULL)
        return csi_fail_memory(error, "ONNX tensor");
    if (tensor->has_raw_data && count > 0)
        csi_dtype_to_float(dtype, tensor->raw_data.data, count, value->data);
    else if (!tensor->has_raw_data && !read_lists(tensor, dtype, count, value->data)) {
        csi_aligned_free(value->data);
        value->data = NULL;
        return csi_fail(error, CS_MODEL_INVALID,
                        "tensor '%.100s' does not hold the %zu elements of its shape", name, count);
    }
    return CS_OK;
}

#else
typedef int csi_onnx_load_is_left_out; /* a translation unit must not be empty */
#endif
