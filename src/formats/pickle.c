/*
 * The unpickler's machine: stack, memo and opcodes. See pickle.h. What globals stand for is
 * pickle_globals.c's.
 *
 * Memory is bounded by the pickle's size: an opcode takes at least one byte and makes one object at most, or
 * three where it names a global.
 * What opcodes copy from one container into another is counted, because objects can be taken from the memo
 * again and again.
 */
#include "formats/pickle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define CHUNK_OBJECTS 256u
#define MAX_JSON      20000u /* values in one conversion: shared sub-objects could otherwise multiply */
#define MAX_DEPTH     64u
#define MAX_PICKLE    ((size_t)8 << 20) /* 20,000 tensors take 3 MB; an object of a byte takes some 120 */

struct chunk {
    struct chunk *next;
    struct csi_pickle_object objects[CHUNK_OBJECTS];
};

struct csi_pickle {
    const uint8_t *bytes;
    size_t size, at, opcode_at;
    bool torchscript;
    struct chunk *chunks;
    size_t used; /* objects of the first chunk */
    struct csi_pickle_object **stack;
    size_t depth, stack_capacity;
    size_t *marks; /* stack depths */
    size_t mark_count, mark_capacity;
    struct csi_pickle_object **memo;
    size_t memo_capacity, memo_next;
    size_t copied; /* items, from container to container */
    struct csi_pickle_object *root;
    struct cs_error *error;
};

struct csi_pickle_object *csi_pickle_new(struct csi_pickle *pickle, enum csi_pickle_kind kind)
{
    struct csi_pickle_object *object;

    if (pickle->chunks == NULL || pickle->used == CHUNK_OBJECTS) {
        struct chunk *chunk = calloc(1, sizeof *chunk);

        if (chunk == NULL)
            return NULL;
        chunk->next = pickle->chunks;
        pickle->chunks = chunk;
        pickle->used = 0;
    }
    object = &pickle->chunks->objects[pickle->used++];
    object->kind = kind;
    return object;
}

bool csi_pickle_append(struct csi_pickle_object *object, struct csi_pickle_object *item)
{
    if (object->count == object->capacity) {
        size_t wanted = object->capacity == 0 ? 4 : object->capacity * 2;
        struct csi_pickle_object **items = realloc((void *)object->items, wanted * sizeof *items);

        if (items == NULL)
            return false;
        object->items = items;
        object->capacity = wanted;
    }
    object->items[object->count++] = item;
    return true;
}

bool csi_pickle_may_copy(struct csi_pickle *pickle, size_t count)
{
    /* Copied once, as in files that Python wrote, items are fewer than the opcodes that made them. */
    return !csi_add_overflows(pickle->copied, count, &pickle->copied) && pickle->copied <= pickle->size;
}

bool csi_pickle_torchscript(const struct csi_pickle *pickle)
{
    return pickle->torchscript;
}

void csi_pickle_free(struct csi_pickle *pickle)
{
    if (pickle == NULL)
        return;
    while (pickle->chunks != NULL) {
        struct chunk *chunk = pickle->chunks;

        pickle->chunks = chunk->next;
        for (size_t i = 0; i < CHUNK_OBJECTS; i++) {
            free((void *)chunk->objects[i].items);
            free(chunk->objects[i].shape);
        }
        free(chunk);
    }
    free((void *)pickle->stack);
    free(pickle->marks);
    free((void *)pickle->memo);
    free(pickle);
}

const struct csi_pickle_object *csi_pickle_root(const struct csi_pickle *pickle)
{
    return pickle->root;
}

static enum cs_status damaged(struct csi_pickle *pickle, const char *what)
{
    return csi_fail(pickle->error, CS_MODEL_INVALID, "the pickle is damaged at byte %zu: %s",
                    pickle->opcode_at, what);
}

static enum cs_status no_memory(struct csi_pickle *pickle)
{
    return csi_fail_memory(pickle->error, "pickle");
}

static enum cs_status push(struct csi_pickle *pickle, struct csi_pickle_object *object)
{
    if (object == NULL)
        return no_memory(pickle);
    if (pickle->depth == pickle->stack_capacity) {
        size_t wanted = pickle->stack_capacity == 0 ? 64 : pickle->stack_capacity * 2;
        struct csi_pickle_object **stack = realloc((void *)pickle->stack, wanted * sizeof *stack);

        if (stack == NULL)
            return no_memory(pickle);
        pickle->stack = stack;
        pickle->stack_capacity = wanted;
    }
    pickle->stack[pickle->depth++] = object;
    return CS_OK;
}

/* Objects above the innermost mark (or on the whole stack) that an opcode may take. */
static size_t available(const struct csi_pickle *pickle)
{
    return pickle->depth - (pickle->mark_count == 0 ? 0 : pickle->marks[pickle->mark_count - 1]);
}

static struct csi_pickle_object *pop(struct csi_pickle *pickle)
{
    return available(pickle) == 0 ? NULL : pickle->stack[--pickle->depth];
}

static enum cs_status push_mark(struct csi_pickle *pickle)
{
    if (pickle->mark_count == pickle->mark_capacity) {
        size_t wanted = pickle->mark_capacity == 0 ? 16 : pickle->mark_capacity * 2;
        size_t *marks = realloc(pickle->marks, wanted * sizeof *marks);

        if (marks == NULL)
            return no_memory(pickle);
        pickle->marks = marks;
        pickle->mark_capacity = wanted;
    }
    pickle->marks[pickle->mark_count++] = pickle->depth;
    return CS_OK;
}

/* Takes `count` bytes of argument; NULL: the pickle ends before. */
static const uint8_t *take(struct csi_pickle *pickle, size_t count)
{
    const uint8_t *bytes = pickle->bytes + pickle->at;

    if (count > pickle->size - pickle->at)
        return NULL;
    pickle->at += count;
    return bytes;
}

static bool take_number(struct csi_pickle *pickle, size_t width, uint64_t *number)
{
    const uint8_t *bytes = take(pickle, width);

    *number = 0;
    for (size_t i = 0; i < width && bytes != NULL; i++)
        *number |= (uint64_t)bytes[i] << (8 * i);
    return bytes != NULL;
}

static enum cs_status push_int(struct csi_pickle *pickle, enum csi_pickle_kind kind, int64_t value)
{
    struct csi_pickle_object *object = csi_pickle_new(pickle, kind);

    if (object != NULL)
        object->integer = value;
    return push(pickle, object);
}

/* BININT, BININT1, BININT2: `width` bytes, the widest signed. */
static enum cs_status op_int(struct csi_pickle *pickle, size_t width)
{
    uint64_t number;

    if (!take_number(pickle, width, &number))
        return damaged(pickle, "a number is cut");
    return push_int(pickle, CSI_PICKLE_INT,
                    width == 4 ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number);
}

/* LONG1: two's complement of any length; more than 64 bits do not occur in sizes. */
static enum cs_status op_long(struct csi_pickle *pickle)
{
    uint64_t length, number;

    if (!take_number(pickle, 1, &length) || length > 8)
        return damaged(pickle, "a number is cut or longer than 64 bits");
    if (!take_number(pickle, (size_t)length, &number))
        return damaged(pickle, "a number is cut");
    if (length > 0 && length < 8 && (number >> (8 * length - 1) & 1) != 0)
        number |= ~(uint64_t)0 << (8 * length);
    return push_int(pickle, CSI_PICKLE_INT, (int64_t)number);
}

static enum cs_status op_float(struct csi_pickle *pickle)
{
    const uint8_t *bytes = take(pickle, 8);
    struct csi_pickle_object *object;
    uint64_t bits = 0;

    if (bytes == NULL)
        return damaged(pickle, "a number is cut");
    for (unsigned i = 0; i < 8; i++) /* big-endian, unlike all the rest */
        bits = bits << 8 | bytes[i];
    object = csi_pickle_new(pickle, CSI_PICKLE_FLOAT);
    if (object != NULL)
        memcpy(&object->number, &bits, sizeof bits);
    return push(pickle, object);
}

/* A string behind a length of `width` bytes. */
static enum cs_status op_text(struct csi_pickle *pickle, size_t width)
{
    struct csi_pickle_object *object;
    const uint8_t *bytes;
    uint64_t length;

    if (!take_number(pickle, width, &length) || length > pickle->size ||
        (bytes = take(pickle, (size_t)length)) == NULL)
        return damaged(pickle, "a string reaches over the end");
    object = csi_pickle_new(pickle, CSI_PICKLE_STRING);
    if (object != NULL) {
        object->text = (const char *)bytes;
        object->text_size = (size_t)length;
    }
    return push(pickle, object);
}

/* A new container of everything above the mark. */
static enum cs_status op_collect(struct csi_pickle *pickle, enum csi_pickle_kind kind, size_t count)
{
    struct csi_pickle_object *object = csi_pickle_new(pickle, kind);

    if (object == NULL)
        return no_memory(pickle);
    if (count > available(pickle))
        return damaged(pickle, "the stack is empty");
    for (size_t i = pickle->depth - count; i < pickle->depth; i++)
        if (!csi_pickle_append(object, pickle->stack[i]))
            return no_memory(pickle);
    pickle->depth -= count;
    return push(pickle, object);
}

/* The objects above the innermost mark, whose number is given; the mark goes. */
static enum cs_status pop_mark(struct csi_pickle *pickle, size_t *count)
{
    if (pickle->mark_count == 0)
        return damaged(pickle, "there is no mark");
    *count = available(pickle);
    pickle->mark_count--;
    return CS_OK;
}

static enum cs_status op_collect_marked(struct csi_pickle *pickle, enum csi_pickle_kind kind)
{
    size_t count = 0;
    enum cs_status status = pop_mark(pickle, &count);

    return status == CS_OK ? op_collect(pickle, kind, count) : status;
}

/* APPEND(S), SETITEM(S): the top `count` objects go into the container below them. */
static enum cs_status op_extend(struct csi_pickle *pickle, enum csi_pickle_kind kind, size_t count)
{
    struct csi_pickle_object *container;

    if (count >= available(pickle))
        return damaged(pickle, "the stack is empty");
    container = pickle->stack[pickle->depth - count - 1];
    if (container->kind != kind || (kind == CSI_PICKLE_DICT && count % 2 != 0))
        return damaged(pickle, "items for something that is no list or dictionary");
    for (size_t i = pickle->depth - count; i < pickle->depth; i++)
        if (!csi_pickle_append(container, pickle->stack[i]))
            return no_memory(pickle);
    pickle->depth -= count;
    return CS_OK;
}

static enum cs_status op_extend_marked(struct csi_pickle *pickle, enum csi_pickle_kind kind)
{
    size_t count = 0;
    enum cs_status status = pop_mark(pickle, &count);

    return status == CS_OK ? op_extend(pickle, kind, count) : status;
}

/* The memo is as large as the largest index, which is below the number of opcodes before it in files that
 * Python wrote. */
static enum cs_status put(struct csi_pickle *pickle, uint64_t index)
{
    if (available(pickle) == 0)
        return damaged(pickle, "the stack is empty");
    if (index > pickle->size)
        return damaged(pickle, "a memo index is larger than the pickle");
    if (index >= pickle->memo_capacity) {
        size_t wanted =
            csi_min_size(csi_max_size((size_t)index + 1, 2 * pickle->memo_capacity + 64), pickle->size + 1);
        struct csi_pickle_object **memo = realloc((void *)pickle->memo, wanted * sizeof *memo);

        if (memo == NULL)
            return no_memory(pickle);
        memset((void *)(memo + pickle->memo_capacity), 0, (wanted - pickle->memo_capacity) * sizeof *memo);
        pickle->memo = memo;
        pickle->memo_capacity = wanted;
    }
    pickle->memo[index] = pickle->stack[pickle->depth - 1];
    pickle->memo_next++;
    return CS_OK;
}

static enum cs_status op_put(struct csi_pickle *pickle, size_t width)
{
    uint64_t index;

    if (!take_number(pickle, width, &index))
        return damaged(pickle, "a memo index is cut");
    return put(pickle, index);
}

static enum cs_status op_get(struct csi_pickle *pickle, size_t width)
{
    uint64_t index;

    if (!take_number(pickle, width, &index) || index >= pickle->memo_capacity || pickle->memo[index] == NULL)
        return damaged(pickle, "a memo index is unknown");
    return push(pickle, pickle->memo[index]);
}

static enum cs_status push_global(struct csi_pickle *pickle, const char *module, size_t module_size,
                                  const char *name, size_t name_size)
{
    struct csi_pickle_object *object = csi_pickle_new(pickle, CSI_PICKLE_GLOBAL), *parts[2];

    if (object == NULL)
        return no_memory(pickle);
    for (unsigned i = 0; i < 2; i++) {
        parts[i] = csi_pickle_new(pickle, CSI_PICKLE_STRING);
        if (parts[i] == NULL || !csi_pickle_append(object, parts[i]))
            return no_memory(pickle);
        parts[i]->text = i == 0 ? module : name;
        parts[i]->text_size = i == 0 ? module_size : name_size;
    }
    if (!csi_pickle_global_allowed(pickle, object))
        return csi_fail(
            pickle->error, CS_MODEL_INVALID,
            "the pickle asks for '%.*s.%.*s' at byte %zu, which no file of weights needs; nothing was "
            "executed (save model.state_dict(), not the whole model)",
            (int)csi_min_size(module_size, 100), module, (int)csi_min_size(name_size, 100), name,
            pickle->opcode_at);
    return push(pickle, object);
}

static bool take_line(struct csi_pickle *pickle, const char **text, size_t *size)
{
    const uint8_t *start = pickle->bytes + pickle->at;
    const uint8_t *end = memchr(start, '\n', pickle->size - pickle->at);

    if (end == NULL)
        return false;
    *text = (const char *)start;
    *size = (size_t)(end - start);
    pickle->at += *size + 1;
    return true;
}

static enum cs_status op_global(struct csi_pickle *pickle)
{
    const char *module, *name;
    size_t module_size, name_size;

    if (!take_line(pickle, &module, &module_size) || !take_line(pickle, &name, &name_size))
        return damaged(pickle, "a global's name is cut");
    return push_global(pickle, module, module_size, name, name_size);
}

static enum cs_status op_stack_global(struct csi_pickle *pickle)
{
    const struct csi_pickle_object *name = pop(pickle), *module = pop(pickle);

    if (name == NULL || module == NULL || name->kind != CSI_PICKLE_STRING ||
        module->kind != CSI_PICKLE_STRING)
        return damaged(pickle, "a global without a name");
    return push_global(pickle, module->text, module->text_size, name->text, name->text_size);
}

/* REDUCE and NEWOBJ: global and arguments. */
static enum cs_status op_reduce(struct csi_pickle *pickle)
{
    struct csi_pickle_object *arguments = pop(pickle), *result = NULL;
    const struct csi_pickle_object *global = pop(pickle);
    enum cs_status status;

    if (arguments == NULL || global == NULL || arguments->kind != CSI_PICKLE_TUPLE ||
        global->kind != CSI_PICKLE_GLOBAL)
        return damaged(pickle, "a call of something that is no global");
    status = csi_pickle_reduce(pickle, global, arguments, &result, pickle->error);
    if (status != CS_OK) {
        csi_error_prefix(pickle->error, "pickle, byte %zu", pickle->opcode_at);
        return status;
    }
    return push(pickle, result);
}

/* BUILD: state for the object below. An OrderedDict's is the state_dict's version table, a tensor's its
 * Python attributes. */
static enum cs_status op_build(struct csi_pickle *pickle)
{
    struct csi_pickle_object *state = pop(pickle),
                             *object = available(pickle) == 0 ? NULL : pickle->stack[pickle->depth - 1];

    if (state == NULL || object == NULL)
        return damaged(pickle, "the stack is empty");
    if (object->kind == CSI_PICKLE_DICT || object->kind == CSI_PICKLE_TENSOR)
        return CS_OK;
    if (object->kind != CSI_PICKLE_OBJECT || state->kind != CSI_PICKLE_DICT)
        return damaged(pickle, "state for something that has none");
    if (!csi_pickle_may_copy(pickle, state->count))
        return damaged(pickle, "the same state for many objects");
    for (size_t i = 0; i < state->count; i++)
        if (!csi_pickle_append(object, state->items[i]))
            return no_memory(pickle);
    return CS_OK;
}

static enum cs_status op_persistent(struct csi_pickle *pickle)
{
    const struct csi_pickle_object *id = pop(pickle);
    struct csi_pickle_object *storage = NULL;
    enum cs_status status;

    if (id == NULL)
        return damaged(pickle, "the stack is empty");
    status = csi_pickle_storage(pickle, id, &storage, pickle->error);
    if (status != CS_OK) {
        csi_error_prefix(pickle->error, "pickle, byte %zu", pickle->opcode_at);
        return status;
    }
    return push(pickle, storage);
}

static enum cs_status op_skip(struct csi_pickle *pickle, size_t count)
{
    return take(pickle, count) == NULL ? damaged(pickle, "it ends in an opcode") : CS_OK;
}

static enum cs_status op_stop(struct csi_pickle *pickle)
{
    pickle->root = pop(pickle);
    if (pickle->root == NULL || pickle->depth != 0)
        return damaged(pickle, "it does not end with one object");
    return CS_OK;
}

static enum cs_status op_proto(struct csi_pickle *pickle)
{
    uint64_t version;

    if (!take_number(pickle, 1, &version) || version < 2 || version > 5)
        return damaged(pickle, "its protocol is not 2 to 5");
    return CS_OK;
}

static enum cs_status op_pop(struct csi_pickle *pickle)
{
    return pop(pickle) == NULL ? damaged(pickle, "the stack is empty") : CS_OK;
}

static enum cs_status op_memoize(struct csi_pickle *pickle)
{
    return put(pickle, pickle->memo_next);
}

/* The opcodes that Python's and PyTorch's picklers write for plain data and tensors. */
static enum cs_status step(struct csi_pickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: return op_proto(pickle);
    case 0x95: return op_skip(pickle, 8); /* FRAME: where a reader may stop to read ahead */
    case '(': return push_mark(pickle);
    case '0': return op_pop(pickle);
    case 'N': return push_int(pickle, CSI_PICKLE_NONE, 0);
    case 0x88: return push_int(pickle, CSI_PICKLE_BOOL, 1);
    case 0x89: return push_int(pickle, CSI_PICKLE_BOOL, 0);
    case 'J': return op_int(pickle, 4);
    case 'K': return op_int(pickle, 1);
    case 'M': return op_int(pickle, 2);
    case 0x8a: return op_long(pickle);
    case 'G': return op_float(pickle);
    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING */
    case 'B': /* BINBYTES */ return op_text(pickle, 4);
    case 0x8c: /* SHORT_BINUNICODE */
    case 'U':  /* SHORT_BINSTRING */
    case 'C': /* SHORT_BINBYTES */ return op_text(pickle, 1);
    case ')': return op_collect(pickle, CSI_PICKLE_TUPLE, 0);
    case 0x85: return op_collect(pickle, CSI_PICKLE_TUPLE, 1);
    case 0x86: return op_collect(pickle, CSI_PICKLE_TUPLE, 2);
    case 0x87: return op_collect(pickle, CSI_PICKLE_TUPLE, 3);
    case 't': return op_collect_marked(pickle, CSI_PICKLE_TUPLE);
    case ']':
    case 0x8f: /* EMPTY_SET */ return op_collect(pickle, CSI_PICKLE_LIST, 0);
    case 'l': return op_collect_marked(pickle, CSI_PICKLE_LIST);
    case '}': return op_collect(pickle, CSI_PICKLE_DICT, 0);
    case 'a': return op_extend(pickle, CSI_PICKLE_LIST, 1);
    case 'e':
    case 0x90: /* ADDITEMS */ return op_extend_marked(pickle, CSI_PICKLE_LIST);
    case 's': return op_extend(pickle, CSI_PICKLE_DICT, 2);
    case 'u': return op_extend_marked(pickle, CSI_PICKLE_DICT);
    case 'q': return op_put(pickle, 1);
    case 'r': return op_put(pickle, 4);
    case 0x94: return op_memoize(pickle);
    case 'h': return op_get(pickle, 1);
    case 'j': return op_get(pickle, 4);
    case 'c': return op_global(pickle);
    case 0x93: return op_stack_global(pickle);
    case 'R':
    case 0x81: /* NEWOBJ */ return op_reduce(pickle);
    case 'b': return op_build(pickle);
    case 'Q': return op_persistent(pickle);
    case '.': return op_stop(pickle);
    default:
        return csi_fail(pickle->error, CS_MODEL_INVALID,
                        "the pickle holds opcode 0x%02x at byte %zu, which no file of weights needs", opcode,
                        pickle->opcode_at);
    }
}

enum cs_status csi_pickle_read(const uint8_t *bytes, size_t size, bool torchscript, struct csi_pickle **out,
                               struct cs_error *error)
{
    struct csi_pickle *pickle = calloc(1, sizeof *pickle);
    struct cs_error local;
    enum cs_status status = CS_OK;

    *out = NULL;
    if (size > MAX_PICKLE) {
        free(pickle);
        return csi_fail(error, CS_MODEL_INVALID, "a pickle of %zu bytes is larger than %zu", size,
                        MAX_PICKLE);
    }
    if (pickle == NULL)
        return csi_fail_memory(error, "pickle");
    pickle->bytes = bytes;
    pickle->size = size;
    pickle->torchscript = torchscript;
    pickle->error = error == NULL ? &local : error;
    while (status == CS_OK && pickle->root == NULL) {
        const uint8_t *opcode;

        pickle->opcode_at = pickle->at;
        opcode = take(pickle, 1);
        status = opcode == NULL ? damaged(pickle, "it has no end") : step(pickle, *opcode);
    }
    if (status != CS_OK) {
        csi_pickle_free(pickle);
        return status;
    }
    *out = pickle;
    return CS_OK;
}

bool csi_pickle_is_text(const struct csi_pickle_object *object, const char *text)
{
    return object != NULL && object->kind == CSI_PICKLE_STRING && object->text_size == strlen(text) &&
           memcmp(object->text, text, object->text_size) == 0;
}

const struct csi_pickle_object *csi_pickle_get(const struct csi_pickle_object *dict, const char *key)
{
    if (dict == NULL || (dict->kind != CSI_PICKLE_DICT && dict->kind != CSI_PICKLE_OBJECT))
        return NULL;
    for (size_t i = 0; i + 1 < dict->count; i += 2)
        if (csi_pickle_is_text(dict->items[i], key))
            return dict->items[i + 1];
    return NULL;
}

static json_t *to_json(const struct csi_pickle_object *object, unsigned depth, size_t *left);

static json_t *dict_to_json(const struct csi_pickle_object *dict, unsigned depth, size_t *left)
{
    json_t *json = json_object();

    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        const struct csi_pickle_object *key = dict->items[i];
        json_t *value = to_json(dict->items[i + 1], depth + 1, left);
        char name[256];

        if (key->kind == CSI_PICKLE_STRING && key->text_size < sizeof name &&
            memchr(key->text, 0, key->text_size) == NULL)
            snprintf(name, sizeof name, "%.*s", (int)key->text_size, key->text);
        else if (key->kind == CSI_PICKLE_INT)
            snprintf(name, sizeof name, "%lld", (long long)key->integer);
        else {
            json_decref(value);
            value = NULL;
        }
        if (value == NULL || json_object_set_new(json, name, value) != 0) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

static json_t *list_to_json(const struct csi_pickle_object *list, unsigned depth, size_t *left)
{
    json_t *json = json_array();

    for (size_t i = 0; i < list->count; i++)
        if (json_array_append_new(json, to_json(list->items[i], depth + 1, left)) != 0) {
            json_decref(json);
            return NULL;
        }
    return json;
}

static json_t *to_json(const struct csi_pickle_object *object, unsigned depth, size_t *left)
{
    if (*left == 0 || depth > MAX_DEPTH)
        return NULL;
    (*left)--;
    switch (object->kind) {
    case CSI_PICKLE_NONE: return json_null();
    case CSI_PICKLE_BOOL: return json_boolean(object->integer);
    case CSI_PICKLE_INT: return json_integer((json_int_t)object->integer);
    case CSI_PICKLE_FLOAT: return isfinite(object->number) ? json_real(object->number) : json_null();
    case CSI_PICKLE_STRING: return json_stringn(object->text, object->text_size); /* NULL unless UTF-8 */
    case CSI_PICKLE_TUPLE:
    case CSI_PICKLE_LIST: return list_to_json(object, depth, left);
    case CSI_PICKLE_DICT: return dict_to_json(object, depth, left);
    default: return NULL;
    }
}

json_t *csi_pickle_to_json(const struct csi_pickle_object *object, size_t *budget)
{
    const size_t most = csi_min_size(*budget, MAX_JSON);
    size_t left = most;
    json_t *json = to_json(object, 0, &left);

    *budget -= most - left;
    return json;
}
