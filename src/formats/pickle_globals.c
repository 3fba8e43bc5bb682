/*
 * What the globals in files of weights stand for. The list is that of PyTorch's own `weights_only` reader,
 * without what makes no tensors; TorchScript adds the classes of its modules and its list helpers. See
 * pickle.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "formats/pickle.h"

enum meaning {
    MEANS_NOTHING, /* not allowed */
    MEANS_TENSOR,  /* (storage, offset, size, stride, …) */
    MEANS_FIRST,   /* a wrapper around its first argument */
    MEANS_TYPED,   /* (function, type, arguments, state): function(*arguments) */
    MEANS_DICT,
    MEANS_LIST, /* of the one argument */
    MEANS_OPAQUE,
    MEANS_STORAGE,   /* a storage's type: appears in persistent ids */
    MEANS_QUANTIZED, /* tensors of PyTorch's own quantisation */
    MEANS_MODULE     /* a class of a TorchScript archive */
};

static const struct {
    const char *module, *name;
    enum meaning meaning;
    enum csi_dtype dtype; /* of STORAGE */
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", MEANS_TENSOR, CSI_F32},
    {"torch._utils", "_rebuild_tensor", MEANS_TENSOR, CSI_F32},
    {"torch._utils", "_rebuild_parameter", MEANS_FIRST, CSI_F32},
    {"torch._utils", "_rebuild_parameter_with_state", MEANS_FIRST, CSI_F32},
    {"torch._utils", "_rebuild_qtensor", MEANS_QUANTIZED, CSI_F32},
    {"torch._tensor", "_rebuild_from_type_v2", MEANS_TYPED, CSI_F32},
    {"torch.nn.parameter", "Parameter", MEANS_OPAQUE, CSI_F32},
    {"torch", "Tensor", MEANS_OPAQUE, CSI_F32},
    {"torch", "Size", MEANS_FIRST, CSI_F32},
    {"torch", "device", MEANS_OPAQUE, CSI_F32},
    {"collections", "OrderedDict", MEANS_DICT, CSI_F32},
    {"collections", "Counter", MEANS_FIRST, CSI_F32}, /* of a dictionary */
    {"__builtin__", "set", MEANS_LIST, CSI_F32},
    {"builtins", "set", MEANS_LIST, CSI_F32},
    {"_codecs", "encode", MEANS_FIRST, CSI_F32}, /* bytes in protocol 2 */
    {"torch", "FloatStorage", MEANS_STORAGE, CSI_F32},
    {"torch", "HalfStorage", MEANS_STORAGE, CSI_F16},
    {"torch", "BFloat16Storage", MEANS_STORAGE, CSI_BF16},
    {"torch", "DoubleStorage", MEANS_STORAGE, CSI_F64},
    {"torch", "CharStorage", MEANS_STORAGE, CSI_I8},
    {"torch", "ByteStorage", MEANS_STORAGE, CSI_U8},
    {"torch", "ShortStorage", MEANS_STORAGE, CSI_I16},
    {"torch", "IntStorage", MEANS_STORAGE, CSI_I32},
    {"torch", "LongStorage", MEANS_STORAGE, CSI_I64},
    {"torch", "BoolStorage", MEANS_STORAGE, CSI_BOOL},
    {"torch", "float32", MEANS_OPAQUE, CSI_F32},
    {"torch", "float16", MEANS_OPAQUE, CSI_F32},
    {"torch", "bfloat16", MEANS_OPAQUE, CSI_F32},
    {"torch", "float64", MEANS_OPAQUE, CSI_F32},
    {"torch", "int64", MEANS_OPAQUE, CSI_F32},
    {"torch", "int32", MEANS_OPAQUE, CSI_F32},
    {"torch.jit._pickle", "build_intlist", MEANS_FIRST, CSI_F32},
    {"torch.jit._pickle", "build_doublelist", MEANS_FIRST, CSI_F32},
    {"torch.jit._pickle", "build_boollist", MEANS_FIRST, CSI_F32},
    {"torch.jit._pickle", "build_tensorlist", MEANS_FIRST, CSI_F32},
    {"torch.jit._pickle", "restore_type_tag", MEANS_FIRST, CSI_F32},
};

static enum meaning look_up(const struct csi_pickle *pickle, const struct csi_pickle_object *global,
                            enum csi_dtype *dtype)
{
    static const char script[] = "__torch__";
    const struct csi_pickle_object *module = global->items[0];

    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
        if (csi_pickle_is_text(module, globals[i].module) &&
            csi_pickle_is_text(global->items[1], globals[i].name)) {
            *dtype = globals[i].dtype;
            return globals[i].meaning;
        }
    if (csi_pickle_torchscript(pickle) && module->text_size >= sizeof script - 1 &&
        memcmp(module->text, script, sizeof script - 1) == 0 &&
        (module->text_size == sizeof script - 1 || module->text[sizeof script - 1] == '.'))
        return MEANS_MODULE;
    return MEANS_NOTHING;
}

bool csi_pickle_global_allowed(const struct csi_pickle *pickle, const struct csi_pickle_object *global)
{
    enum csi_dtype dtype;

    return look_up(pickle, global, &dtype) != MEANS_NOTHING;
}

static bool read_size(const struct csi_pickle_object *object, size_t *size)
{
    if (object->kind != CSI_PICKLE_INT || object->integer < 0)
        return false;
    *size = (size_t)object->integer;
    return true;
}

/* The last element that the shape reaches lies inside the storage, and no element is counted twice: a tensor
 * that is expanded beyond its storage is larger than the file. */
static bool fits(const struct csi_pickle_shape *shape, size_t elements)
{
    size_t last = shape->offset, count = 1, reach;

    for (unsigned i = 0; i < shape->rank; i++) {
        if (csi_mul_overflows(count, shape->dims[i], &count))
            return false;
        if (shape->dims[i] == 0)
            return shape->offset <= elements;
        if (csi_mul_overflows(shape->dims[i] - 1, shape->strides[i], &reach) ||
            csi_add_overflows(last, reach, &last))
            return false;
    }
    return last < elements && count <= elements;
}

static enum cs_status make_tensor(struct csi_pickle *pickle, const struct csi_pickle_object *arguments,
                                  struct csi_pickle_object **result, struct cs_error *error)
{
    struct csi_pickle_object *tensor = csi_pickle_new(pickle, CSI_PICKLE_TENSOR), *storage, *size, *stride;
    struct csi_pickle_shape *shape;

    *result = tensor;
    if (tensor == NULL || (tensor->shape = calloc(1, sizeof *tensor->shape)) == NULL)
        return csi_fail_memory(error, "pickle");
    if (arguments->count < 4)
        return csi_fail(error, CS_MODEL_INVALID, "a tensor without shape");
    shape = tensor->shape;
    storage = arguments->items[0];
    size = arguments->items[2];
    stride = arguments->items[3];
    if (storage->kind != CSI_PICKLE_STORAGE || !read_size(arguments->items[1], &shape->offset) ||
        size->kind != CSI_PICKLE_TUPLE || stride->kind != CSI_PICKLE_TUPLE || size->count != stride->count)
        return csi_fail(error, CS_MODEL_INVALID, "a tensor without shape or storage");
    if (size->count > CSI_MAX_RANK)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "a tensor of %zu dimensions, more than %d", size->count,
                        CSI_MAX_RANK);
    shape->rank = (unsigned)size->count;
    for (unsigned i = 0; i < shape->rank; i++)
        if (!read_size(size->items[i], &shape->dims[i]) || !read_size(stride->items[i], &shape->strides[i]))
            return csi_fail(error, CS_MODEL_INVALID,
                            "a tensor whose shape or stride is no list of positive numbers");
    if (!fits(shape, (size_t)storage->integer))
        return csi_fail(error, CS_MODEL_INVALID, "a tensor that reaches out of its storage of %lld elements",
                        (long long)storage->integer);
    tensor->dtype = storage->dtype;
    return csi_pickle_append(tensor, storage) ? CS_OK : csi_fail_memory(error, "pickle");
}

static enum cs_status make_dict(struct csi_pickle *pickle, const struct csi_pickle_object *arguments,
                                struct csi_pickle_object **result, struct cs_error *error)
{
    const struct csi_pickle_object *pairs = arguments->count == 0 ? NULL : arguments->items[0];

    *result = csi_pickle_new(pickle, CSI_PICKLE_DICT);
    if (*result == NULL)
        return csi_fail_memory(error, "pickle");
    if (pairs != NULL && !csi_pickle_may_copy(pickle, pairs->count))
        return csi_fail(error, CS_MODEL_INVALID, "many OrderedDicts of the same list");
    for (size_t i = 0; pairs != NULL && i < pairs->count; i++) {
        const struct csi_pickle_object *pair = pairs->items[i];

        if (pairs->kind != CSI_PICKLE_LIST || pair->count != 2 ||
            (pair->kind != CSI_PICKLE_LIST && pair->kind != CSI_PICKLE_TUPLE))
            return csi_fail(error, CS_MODEL_INVALID, "an OrderedDict of something that is no list of pairs");
        if (!csi_pickle_append(*result, pair->items[0]) || !csi_pickle_append(*result, pair->items[1]))
            return csi_fail_memory(error, "pickle");
    }
    return CS_OK;
}

enum cs_status csi_pickle_reduce(struct csi_pickle *pickle, const struct csi_pickle_object *global,
                                 struct csi_pickle_object *arguments, struct csi_pickle_object **result,
                                 struct cs_error *error)
{
    enum csi_dtype dtype;
    enum meaning meaning = look_up(pickle, global, &dtype);

    *result = NULL;
    if (meaning == MEANS_TYPED && arguments->count >= 3 && arguments->items[0]->kind == CSI_PICKLE_GLOBAL &&
        arguments->items[2]->kind == CSI_PICKLE_TUPLE) {
        global = arguments->items[0];
        arguments = arguments->items[2];
        meaning = look_up(pickle, global, &dtype);
    }
    switch (meaning) {
    case MEANS_TENSOR: return make_tensor(pickle, arguments, result, error);
    case MEANS_DICT: return make_dict(pickle, arguments, result, error);
    case MEANS_QUANTIZED:
        return csi_fail(error, CS_MODEL_UNSUPPORTED,
                        "PyTorch's quantised tensors are not read: save the float model");
    case MEANS_OPAQUE:
    case MEANS_MODULE:
        *result = csi_pickle_new(pickle, meaning == MEANS_MODULE ? CSI_PICKLE_OBJECT : CSI_PICKLE_OPAQUE);
        if (*result == NULL)
            return csi_fail_memory(error, "pickle");
        (*result)->text = global->items[1]->text;
        (*result)->text_size = global->items[1]->text_size;
        return CS_OK;
    case MEANS_FIRST:
    case MEANS_LIST:
        if (arguments->count == 0) {
            *result = csi_pickle_new(pickle, CSI_PICKLE_LIST);
            return *result == NULL ? csi_fail_memory(error, "pickle") : CS_OK;
        }
        *result = arguments->items[0];
        return CS_OK;
    default: break;
    }
    return csi_fail(error, CS_MODEL_INVALID, "'%.*s.%.*s' is called with arguments that it does not take",
                    (int)csi_min_size(global->items[0]->text_size, 100), global->items[0]->text,
                    (int)csi_min_size(global->items[1]->text_size, 100), global->items[1]->text);
}

enum cs_status csi_pickle_storage(struct csi_pickle *pickle, const struct csi_pickle_object *id,
                                  struct csi_pickle_object **result, struct cs_error *error)
{
    struct csi_pickle_object *storage;
    enum csi_dtype dtype = CSI_F32;
    size_t elements;

    *result = NULL;
    if (id->kind != CSI_PICKLE_TUPLE || id->count < 5 || !csi_pickle_is_text(id->items[0], "storage") ||
        id->items[1]->kind != CSI_PICKLE_GLOBAL || look_up(pickle, id->items[1], &dtype) != MEANS_STORAGE ||
        id->items[2]->kind != CSI_PICKLE_STRING || !read_size(id->items[4], &elements))
        return csi_fail(error, CS_MODEL_INVALID, "a persistent id that is no storage");
    storage = csi_pickle_new(pickle, CSI_PICKLE_STORAGE);
    if (storage == NULL)
        return csi_fail_memory(error, "pickle");
    storage->dtype = dtype;
    storage->integer = (int64_t)elements;
    storage->text = id->items[2]->text;
    storage->text_size = id->items[2]->text_size;
    *result = storage;
    return CS_OK;
}
