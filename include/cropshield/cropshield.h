/*
 * CropShield: diagnosis of crop diseases from leaf photos, in C.
 *
 * This header is the whole public interface. It compiles alone as C99, C11 and C++17.
 *
 * ---------------------------------------------------------------------------------------------------------------
 *  1. In one minute
 * ---------------------------------------------------------------------------------------------------------------
 *
 *      struct cs_diagnoser_options options = cs_diagnoser_options_defaults();
 *      struct cs_error             error;
 *      cs_diagnoser               *diagnoser = NULL;
 *      cs_diagnosis               *diagnosis = NULL;
 *
 *      if (cs_diagnoser_create(&options, &diagnoser, &error) != CS_OK) …error.message says why…
 *      if (cs_diagnose(diagnoser, bytes, size, NULL, &diagnosis, &error) == CS_OK)
 *          printf("%s %.3f\n", diagnosis->predictions[0].label, diagnosis->predictions[0].probability);
 *      cs_diagnosis_destroy(diagnosis);
 *      cs_diagnoser_destroy(diagnoser);
 *
 * ---------------------------------------------------------------------------------------------------------------
 *  2. Conventions that hold everywhere
 * ---------------------------------------------------------------------------------------------------------------
 *
 *  - Every function that can fail returns `enum cs_status` and takes, last, a `struct cs_error *` that may be
 * NULL. On failure the output pointers are NULL (or untouched buffers) and the error holds the status and one
 * sentence. An error struct on the caller's stack, rather than a message on a context, works for constructors
 * too and needs no thread-local state.
 *  - Settings are plain structs. Get one from its `…_defaults()`, change what you want. A zero or NULL member
 * that the comment calls "default" means the default.
 *  - `…_destroy(NULL)` does nothing. Whatever a function hands out is destroyed by the function named beside
 * it.
 *  - Pointers must not be NULL, except where the comment of the function or member says what NULL means
 * there.
 *  - Strings are UTF-8 and NUL-terminated. `const char *` members of a struct live as long as the struct.
 *  - Images are 8-bit RGB, row-major, top row first, 3 bytes a pixel. Tensors are float32, NCHW.
 *  - A bad input never aborts and never prints.
 *
 *  Threads: a `cs_model` and a `cs_diagnoser` may be used by any number of threads at the same time. A
 * `cs_session` and a `cs_image` belong to one thread at a time.
 */
#ifndef CROPSHIELD_H
#define CROPSHIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CS_API __attribute__((visibility("default")))
#else
#define CS_API
#endif

#define CS_VERSION_MAJOR  1
#define CS_VERSION_MINOR  0
#define CS_VERSION_PATCH  0
#define CS_VERSION_STRING "1.0.0"

/* ----------------------------------------------------------------------------------------------------------------
 *  3. Status codes and errors
 * ----------------------------------------------------------------------------------------------------------------
 */

/* Values are pinned: they never change meaning and are never reused. */
enum cs_status {
    CS_OK = 0,
    CS_UNSUPPORTED_FORMAT = 1, /* the bytes are of no image format that CropShield reads */
    CS_CORRUPT_IMAGE = 2,      /* the format is known, the content is damaged or truncated */
    CS_IMAGE_TOO_LARGE = 3,    /* over a limit of `struct cs_limits` */
    CS_EMPTY_INPUT = 4,        /* no bytes, or a directory without images */
    CS_NOT_FOUND = 5,          /* no such file, id, class, layer or route */
    CS_BAD_REQUEST = 6,        /* an argument is out of its range */
    CS_MODEL_INVALID = 7,      /* a model file is damaged, hostile or inconsistent */
    CS_MODEL_UNSUPPORTED = 8,  /* a model file is sound but holds what CropShield cannot run */
    CS_OVERLOADED = 9,         /* too many requests in flight */
    CS_TIMEOUT = 10,           /* a deadline passed */
    CS_UNAUTHORIZED = 11,      /* a token is missing or wrong */
    CS_INTERNAL = 12           /* out of memory, an operating-system error, or a bug */
};

#define CS_ERROR_MESSAGE_SIZE 512

struct cs_error {
    enum cs_status status;
    char message[CS_ERROR_MESSAGE_SIZE]; /* one sentence without a full stop: what, and where */
};

/* The code of a status as users see it in JSON: "ok", "corrupt_image", … A constant string, never NULL. */
CS_API const char *cs_status_name(enum cs_status status);

/* ----------------------------------------------------------------------------------------------------------------
 *  4. Version and machine
 * ----------------------------------------------------------------------------------------------------------------
 */

/* "1.0.0". Constant. */
CS_API const char *cs_version(void);

struct cs_build_info {
    const char *version;
    const char *git_hash; /* "unknown" outside a checkout */
    const char *compiler;
    const char *libraries; /* "libjpeg-turbo 2.1.5, libpng 1.6.39, …": the versions linked at run time */
};
CS_API struct cs_build_info cs_build_info(void);

/* What the machine offers and what would be used on it. */
struct cs_machine_info {
    char cpu[96];            /* brand string */
    char features[256];      /* space-separated: "sse41 avx2 avx512 …" */
    char kernels[32];        /* the kernel set chosen: "generic", "avx2", "avx512", "neon" */
    unsigned physical_cores; /* physical cores this process may use: affinity and cgroup quota respected */
    unsigned logical_cpus;   /* logical CPUs this process may use */
    uint64_t memory_bytes;
    char gpu[96]; /* name of the first; "" when none is usable */
};
/* `cpu_mask`: comma-separated names of the instruction sets that may be used; NULL or "" for all. Opens the
 * GPU's plug-in, see cs_gpu_info. */
CS_API enum cs_status cs_machine_info(const char *cpu_mask, struct cs_machine_info *info,
                                      struct cs_error *error);

/* A GPU that models can run on (CS_DEVICE_CUDA), through a plug-in: libcropshield_cuda.so beside the program
 * or library, in ../lib/cropshield from there, or where it was installed. The first call opens it, which may
 * take half a second. CS_NOT_FOUND: there is no plug-in, and the message says where it was looked for.
 * CS_MODEL_UNSUPPORTED: there is one, but it, the driver or GPU `index` is of no use. Thread-safe. */
struct cs_gpu_info {
    char name[96];    /* "NVIDIA H200" */
    char kernels[32]; /* "cuda_sm90" */
    uint64_t memory_bytes;
};
CS_API enum cs_status cs_gpu_info(int index, struct cs_gpu_info *info, struct cs_error *error);

/* Peak rates of this CPU as measured now (takes about half a second), for `threads` threads. */
struct cs_machine_peaks {
    double fma_gflops; /* float32 fused multiply-adds, 2 FLOP each, kernel set `cpu_mask` allows */
    double int8_gops;  /* 8-bit dot products (VNNI, SDOT), 0 when there is none */
    double memory_gbs; /* streaming reads, GB/s */
    double tile_gops;  /* 8-bit products of tiles (AMX), 0 when there are none */
};
CS_API enum cs_status cs_machine_measure(const char *cpu_mask, unsigned threads,
                                         struct cs_machine_peaks *peaks, struct cs_error *error);

/* ----------------------------------------------------------------------------------------------------------------
 *  5. Images
 * ----------------------------------------------------------------------------------------------------------------
 */

enum cs_image_format { CS_FORMAT_UNKNOWN = 0, CS_FORMAT_JPEG = 1, CS_FORMAT_PNG = 2, CS_FORMAT_WEBP = 3 };

/* "jpeg", "png", "webp" or "unknown". */
CS_API const char *cs_image_format_name(enum cs_image_format format);

/* Past a limit the answer is CS_IMAGE_TOO_LARGE. Headers are checked before anything is allocated. */
struct cs_limits {
    size_t max_bytes;        /* encoded size; default 25 MiB */
    uint64_t max_pixels;     /* width × height; default 50,000,000 */
    uint32_t max_side;       /* pixels; default 16,384 */
    uint32_t max_jpeg_scans; /* progressive scans; default 100 */
};
CS_API struct cs_limits cs_limits_defaults(void);

enum cs_decode_mode {
    CS_DECODE_FAST =
        0, /* JPEG: the largest scaled decode that keeps both sides at least twice what is needed next */
    CS_DECODE_EXACT = 1 /* every pixel of the file is decoded */
};

enum cs_filter { CS_FILTER_BILINEAR = 0, CS_FILTER_LANCZOS = 1 }; /* antialiased, as Pillow defines them */

struct cs_image_info {
    enum cs_image_format format;
    uint32_t width, height; /* of the photo as the file says, after its EXIF orientation */
    int orientation;        /* EXIF 1..8 */
};

typedef struct cs_image cs_image;

/* Reads the header only. Thread-safe. Here and below: `limits` NULL: defaults; `info` may be NULL. */
CS_API enum cs_status cs_image_probe(const void *bytes, size_t size, const struct cs_limits *limits,
                                     struct cs_image_info *info, struct cs_error *error);

/* Decodes to RGB, EXIF orientation applied, alpha composed on white; nothing is resized (CS_DECODE_EXACT). */
CS_API enum cs_status cs_image_decode(const void *bytes, size_t size, const struct cs_limits *limits,
                                      cs_image **image, struct cs_image_info *info, struct cs_error *error);

/* Decodes and fits the photo into `max_side` (Lanczos, aspect kept, never enlarged) in one streaming pass.
 * CS_BAD_REQUEST: a `max_side` of 0, or a mode that is none of `enum cs_decode_mode`. */
CS_API enum cs_status cs_image_decode_display(const void *bytes, size_t size, const struct cs_limits *limits,
                                              enum cs_decode_mode mode, uint32_t max_side, cs_image **image,
                                              struct cs_image_info *info, struct cs_error *error);

/* A new image from `pixels` (RGB, `stride` bytes a row, copied). */
CS_API enum cs_status cs_image_from_pixels(const uint8_t *pixels, uint32_t width, uint32_t height,
                                           size_t stride, cs_image **image, struct cs_error *error);

/* Resamples to exactly width × height; within 1/255 of Pillow's `Image.resize` at every pixel.
 * CS_BAD_REQUEST: a side of 0 or too many pixels, or a filter that is none of `enum cs_filter`. */
CS_API enum cs_status cs_image_resize(const cs_image *image, uint32_t width, uint32_t height,
                                      enum cs_filter filter, cs_image **resized, struct cs_error *error);

CS_API uint32_t cs_image_width(const cs_image *image);
CS_API uint32_t cs_image_height(const cs_image *image);
/* Borrowed; `*stride` (may be NULL) receives the bytes a row. */
CS_API const uint8_t *cs_image_pixels(const cs_image *image, size_t *stride);
CS_API void cs_image_destroy(cs_image *image);

/* Bytes that the library hands out; `cs_blob_destroy` frees them. */
struct cs_blob {
    uint8_t *bytes;
    size_t size;
};
CS_API void cs_blob_destroy(struct cs_blob *blob);

/* Encodes. `quality` 1..100 counts for JPEG and WebP. */
CS_API enum cs_status cs_image_encode(const cs_image *image, enum cs_image_format format, int quality,
                                      struct cs_blob *blob, struct cs_error *error);

/* ----------------------------------------------------------------------------------------------------------------
 *  6. Models
 * ----------------------------------------------------------------------------------------------------------------
 */

/* CUDA: a GPU computes everything up to the Grad-CAM map, in cs_precision, and the CPU the rest (mostly a
 * pool and the classifier) in float32; CS_MODEL_UNSUPPORTED where no GPU is usable (cs_gpu_info says why) or
 * the network does not run there. AUTO: CUDA where that works, else the CPU; the CPU too for INT8 and, unless
 * another precision is asked for, networks that are quantised themselves. */
enum cs_device { CS_DEVICE_AUTO = 0, CS_DEVICE_CPU = 1, CS_DEVICE_CUDA = 2 };
/* FP16 and BF16 need a GPU, INT8 the CPU: CS_MODEL_UNSUPPORTED otherwise. */
enum cs_precision {
    CS_PRECISION_AUTO = 0, /* the fastest whose accuracy the model file vouches for; on a GPU FP16 */
    CS_PRECISION_FP32 = 1,
    CS_PRECISION_BF16 = 2,
    CS_PRECISION_FP16 = 3,
    CS_PRECISION_INT8 = 4
};
CS_API const char *cs_precision_name(enum cs_precision precision);
CS_API const char *cs_device_name(enum cs_device device);

/* Replaces what the model file says about preprocessing; zero members keep the file's value. */
struct cs_preprocess_override {
    uint32_t resize;  /* short side in pixels before the crop */
    uint32_t crop;    /* side of the centre crop = network input */
    float mean[3];    /* used when `has_mean` */
    float std_dev[3]; /* used when `has_std` */
    bool has_mean, has_std;
};

struct cs_model_options {
    const char *path; /* NULL or "": the embedded model; "lite": the shipped small model; else a file */
    enum cs_device device;
    int device_index; /* of the GPU, from 0; nothing on the CPU */
    enum cs_precision precision;
    unsigned threads;         /* compute threads; 0: physical cores allowed to this process */
    const char *cpu_mask;     /* instruction sets that may be used, e.g. "generic", "avx2"; NULL for all */
    const char *classes_path; /* class_to_idx.json to use instead of the one found; NULL: metadata, else
                                 beside the model */
    const char *target_layer; /* Grad-CAM layer; NULL: the architecture's */
    unsigned max_batch;       /* photos a forward pass; default 8 */
    struct cs_preprocess_override preprocess;
    bool compact; /* keep large 3×3 weights as they are instead of 4 to 11 times as large, transformed: a
                   * quarter of the memory, a faster load, forward passes a sixth slower */
};
CS_API struct cs_model_options cs_model_options_defaults(void);

typedef struct cs_model cs_model;

/* Loads, compiles and packs. The model is immutable afterwards and may be shared by threads. Counted:
 * destroyed when the last owner (creator, retainers, sessions) lets go. Nothing in a model file is ever
 * executed. */
CS_API enum cs_status cs_model_load(const struct cs_model_options *options, cs_model **model,
                                    struct cs_error *error);
CS_API cs_model *cs_model_retain(cs_model *model);
CS_API void cs_model_destroy(cs_model *model);

struct cs_model_info {
    const char *name;         /* "cropshield_cnn" */
    const char *path;         /* "embedded" or the file */
    const char *format;       /* "safetensors", "pytorch", "torchscript", "onnx" */
    const char *architecture; /* "CropShieldCNN" */
    const char *digest;       /* 64 hex: BLAKE2b-256 of the file */
    const char *gradcam_layer;
    const char *metadata_json; /* the file's metadata as one JSON object */
    const char *kernels;       /* kernel set in use: "avx512", …; on a GPU its own: "cuda_sm90" */
    enum cs_precision precision;
    enum cs_device device;
    unsigned threads;
    size_t class_count;
    const char *const *classes; /* "Tomato__early_blight" */
    const char *const *labels;  /* "Tomato: early blight" */
    const bool *tested;         /* false: no photo of this class was ever tested */
    uint64_t parameters;
    double gmac; /* multiply-accumulates of one photo / 1e9, counted as direct convolution */
    double temperature;
    uint32_t input_size;            /* S: the network sees 3×S×S */
    uint32_t map_width, map_height; /* Grad-CAM map */
    size_t embedding_size;          /* features before the classifier; 0 when there is no such point */
    bool has_leaf_gate;             /* the file carries the parameters of the "not a leaf" verdict */
    double load_ms;
    const char *const *plants; /* "Tomato": the parts of class names before "__", each once; may be none */
    size_t plant_count;
    const size_t *plant_of;  /* of each class: an index into `plants`; SIZE_MAX: its name tells none */
    uint32_t resize;         /* the photo's short side becomes this, before the centre crop to S */
    const char *device_name; /* "NVIDIA H200"; NULL on the CPU */
};
/* Pointers live as long as the model. */
CS_API struct cs_model_info cs_model_info(const cs_model *model);

/* Writes the model as a native .safetensors file (atomically: a reader sees the old file or the new one),
 * with the class names, the preprocessing and the Grad-CAM layer in use. */
CS_API enum cs_status cs_model_save(const cs_model *model, const char *path, struct cs_error *error);

/* The same, with the strings of `metadata_json` (a JSON object, string to string; NULL: none) put over the
 * file's metadata. */
CS_API enum cs_status cs_model_save_with_metadata(const cs_model *model, const char *metadata_json,
                                                  const char *path, struct cs_error *error);

/* Post-training quantisation to INT8: shown some photos, a quantizer finds how large the numbers between the
 * layers get and writes a native file whose INT8 precision computes in 8-bit integers. The weights in the
 * file stay as they are, so the other precisions lose nothing. One thread. */
typedef struct cs_quantizer cs_quantizer;

enum cs_quantize_method {
    CS_QUANTIZE_MINMAX = 0,     /* everything that was seen fits */
    CS_QUANTIZE_PERCENTILE = 1, /* the outermost values are clamped */
    CS_QUANTIZE_MSE = 2         /* the least squared error */
};
struct cs_quantize_options {
    enum cs_quantize_method method;
    double percentile;       /* of the values, for that method; 99.99 */
    bool no_bias_correction; /* leave out the correction of the biases for what rounding takes from a layer's
                                mean */
};
CS_API struct cs_quantize_options cs_quantize_options_defaults(void);
CS_API enum cs_status cs_quantize_method_parse(const char *name, enum cs_quantize_method *method,
                                               struct cs_error *error);
CS_API const char *cs_quantize_method_name(enum cs_quantize_method method);

/* `model`: any readable one; its precision is of no importance. A file that a quantizer wrote is calibrated
 * anew. CS_MODEL_UNSUPPORTED: the network itself is in integers already, as an ONNX file with quantisation
 * marks. NULL, both: defaults. */
CS_API enum cs_status cs_quantizer_create(const struct cs_model_options *model,
                                          const struct cs_quantize_options *options, cs_quantizer **quantizer,
                                          struct cs_error *error);
CS_API void cs_quantizer_destroy(cs_quantizer *quantizer);
/* The model in float32, for cs_preprocess; borrowed. */
CS_API cs_model *cs_quantizer_model(cs_quantizer *quantizer);
/* One photo's network input, 3×S×S float32. */
CS_API enum cs_status cs_quantizer_add(cs_quantizer *quantizer, const float *input, struct cs_error *error);
/* Call when all photos are shown: from what was seen to a quantised network. */
CS_API enum cs_status cs_quantizer_finish(cs_quantizer *quantizer, struct cs_error *error);

/* How much INT8 disturbs a layer's output: 10·log10 of the signal's energy over that of the difference from
 * float32, over the photos shown to cs_quantizer_compare behind cs_quantizer_finish. */
struct cs_layer_noise {
    const char *name;
    double snr_db;
};
CS_API enum cs_status cs_quantizer_compare(cs_quantizer *quantizer, const float *input,
                                           struct cs_error *error);
/* In the order of computation; valid until the next comparison. Asked again, the same array. */
CS_API enum cs_status cs_quantizer_layers(cs_quantizer *quantizer, const struct cs_layer_noise **layers,
                                          size_t *count, struct cs_error *error);

/* Writes the native file, with the strings of `metadata_json` (NULL: none) over its metadata. */
CS_API enum cs_status cs_quantizer_save(const cs_quantizer *quantizer, const char *metadata_json,
                                        const char *path, struct cs_error *error);

/* Index of a class by exact name, by label or by decimal index; CS_NOT_FOUND otherwise. */
CS_API enum cs_status cs_model_find_class(const cs_model *model, const char *text, size_t *index,
                                          struct cs_error *error);
/* Index of a plant among cs_model_info's by name, whatever its case, SIZE_MAX for NULL and ""; CS_BAD_REQUEST
 * otherwise. */
CS_API enum cs_status cs_model_find_plant(const cs_model *model, const char *text, size_t *index,
                                          struct cs_error *error);

/* ----------------------------------------------------------------------------------------------------------------
 *  7. The steps one by one
 * ----------------------------------------------------------------------------------------------------------------
 */

enum cs_cam_method {
    CS_CAM_GRADCAM = 0,
    CS_CAM_GRADCAM_PLUS_PLUS = 1,
    CS_CAM_HIRESCAM = 2,
    CS_CAM_LAYERCAM = 3,
    CS_CAM_EIGENCAM = 4,
    CS_CAM_ABLATIONCAM = 5
};
enum cs_colormap {
    CS_COLORMAP_JET = 0,
    CS_COLORMAP_VIRIDIS = 1,
    CS_COLORMAP_INFERNO = 2,
    CS_COLORMAP_TURBO = 3,
    CS_COLORMAP_GREY = 4
};
CS_API const char *cs_cam_method_name(enum cs_cam_method method);
CS_API const char *cs_colormap_name(enum cs_colormap colormap);
CS_API enum cs_status cs_cam_method_parse(const char *name, enum cs_cam_method *method,
                                          struct cs_error *error);
CS_API enum cs_status cs_colormap_parse(const char *name, enum cs_colormap *colormap, struct cs_error *error);

typedef struct cs_session cs_session;

/* One session: one thread's scratch memory for one model (which it keeps alive). All memory of a forward pass
 * is allocated here; forward passes allocate nothing. */
CS_API enum cs_status cs_session_create(cs_model *model, cs_session **session, struct cs_error *error);
CS_API void cs_session_destroy(cs_session *session);

/* Photo at display size -> network input: short side resized (bilinear, antialiased), centre crop, mean and
 * deviation. `output`: 3×S×S float32, S = input_size. */
CS_API enum cs_status cs_preprocess(const cs_model *model, const cs_image *image, float *output,
                                    struct cs_error *error);

/* Forward pass of `batch` inputs (batch×3×S×S float32, 1 ≤ batch ≤ max_batch). Results stay in the session
 * until its next forward pass. CS_MODEL_INVALID: an output of one of them is no finite number; there are no
 * results then. */
CS_API enum cs_status cs_session_forward(cs_session *session, const float *input, size_t batch,
                                         struct cs_error *error);

/* batch×class_count logits of the last forward pass, borrowed. */
CS_API const float *cs_session_logits(const cs_session *session);
/* batch×embedding_size pooled features of the last forward pass, borrowed; NULL when the network has none. */
CS_API const float *cs_session_embedding(const cs_session *session);

/* probabilities = softmax(logits / temperature). Both: class_count floats; may be the same array. */
CS_API void cs_probabilities(const cs_model *model, const float *logits, float *probabilities);

/* Class-activation map of photo `index` of the last forward pass for class `class_index`:
 * map_height×map_width float32, ReLU applied, min–max normalised to [0, 1] (all zeros when the map is
 * constant). */
CS_API enum cs_status cs_session_map(cs_session *session, size_t index, size_t class_index,
                                     enum cs_cam_method method, float *map, struct cs_error *error);

/* The heat map over the photo: map resized bilinearly to the image, coloured, blended: (1-alpha)·photo +
 * alpha·colour. CS_BAD_REQUEST: an empty map, an unknown colour map, alpha outside 0..1. */
CS_API enum cs_status cs_overlay(const cs_image *image, const float *map, uint32_t map_width,
                                 uint32_t map_height, enum cs_colormap colormap, float alpha,
                                 cs_image **overlay, struct cs_error *error);

/* What one layer of the compiled network took. */
struct cs_layer_profile {
    char name[64];
    char algorithm[48]; /* the kernel: "conv3x3_wino6_avx512" */
    char shape[48];     /* "64x224x224 -> 64x112x112" */
    double ms;          /* median */
    double gflop;       /* counted as direct convolution, 2 FLOP a multiply-add */
};
/* Times every layer over `iterations` forward passes; `*layers` is freed with cs_layer_profiles_destroy. */
CS_API enum cs_status cs_session_profile(cs_session *session, size_t batch, unsigned iterations,
                                         struct cs_layer_profile **layers, size_t *count,
                                         struct cs_error *error);
CS_API void cs_layer_profiles_destroy(struct cs_layer_profile *layers);

/* ----------------------------------------------------------------------------------------------------------------
 *  8. Diagnosis: the whole way, with caches
 * ----------------------------------------------------------------------------------------------------------------
 */

enum cs_verdict {
    CS_VERDICT_CONFIDENT = 0,
    CS_VERDICT_LIKELY = 1,
    CS_VERDICT_UNCERTAIN = 2,
    CS_VERDICT_NOT_A_LEAF = 3
};
CS_API const char *cs_verdict_name(enum cs_verdict verdict);

enum cs_cache_result { CS_CACHE_OFF = 0, CS_CACHE_MISS = 1, CS_CACHE_HIT = 2, CS_CACHE_COALESCED = 3 };
CS_API const char *cs_cache_result_name(enum cs_cache_result result);

struct cs_prediction {
    size_t index;
    const char *class_name; /* "Tomato__early_blight" */
    const char *label;      /* "Tomato: early blight" */
    double probability;     /* calibrated */
    bool tested;            /* false: the model never met a test photo of this class */
};

/* Milliseconds; a stage that did not run (cache hit, not asked for) is 0. `total` is wall time of the whole
 * call; a large photo is resized while it is decoded, so that the stages may sum to more. */
struct cs_timings {
    double decode, resize, preprocess;
    double inference; /* the forward pass alone: waiting until the cores are free counts in `total` only */
    double gradcam, total;
};

#define CS_ID_SIZE 65 /* 64 hex digits and NUL */

typedef struct cs_diagnosis {
    char id[CS_ID_SIZE]; /* BLAKE2b-256 of the encoded bytes */
    const char *name;    /* as given in the request, else "" */
    enum cs_image_format format;
    size_t bytes;
    uint32_t width, height;                 /* of the photo, oriented */
    uint32_t display_width, display_height; /* of the display image and of heat maps */
    enum cs_verdict verdict;
    const struct cs_prediction *predictions; /* top_k, most probable first */
    size_t prediction_count;
    const char *const *hints; /* photo coach: "blurred", "too_dark", "too_bright", "leaf_too_small" */
    size_t hint_count;
    double leaf_score; /* > 0: looks like a leaf of a supported crop; < 0 for a photo without structure, which
                          cannot show one; NaN when the model has no gate */
    const char *model_name;
    const char *model_digest;
    enum cs_precision precision;
    enum cs_device device;
    enum cs_cache_result prediction_cache, gradcam_cache;
    struct cs_timings timings;
    const float *logits; /* class_count raw logits */
    size_t class_count;
    const char *plant; /* when the request named one, as the model writes it; else NULL */
} cs_diagnosis;

CS_API void cs_diagnosis_destroy(cs_diagnosis *diagnosis);

/* The diagnosis object as JSON (docs/api.md), one line, no newline at the end, of a case with `photos`
 * and `agreement` instead of `image`, `cache` and `timings_ms`; freed with cs_blob_destroy. NUL-terminated,
 * `size` does not count the NUL. */
CS_API enum cs_status cs_diagnosis_json(const cs_diagnosis *diagnosis, struct cs_blob *json,
                                        struct cs_error *error);

enum cs_stage {
    CS_STAGE_DECODE,
    CS_STAGE_RESIZE,
    CS_STAGE_PREPROCESS,
    CS_STAGE_INFERENCE,
    CS_STAGE_GRADCAM,
    CS_STAGE_DONE
};
CS_API const char *cs_stage_name(enum cs_stage stage);

/* One request. Zero-initialised members mean the default. */
struct cs_request {
    const char *name; /* shown back, never opened; NULL: "" */
    size_t top_k;     /* default 3; more than there are classes: all */
    bool gradcam;     /* also prepare the heat map of the top class, so that it is a hit later */
    bool no_cache;    /* neither look up nor keep */
    enum cs_colormap colormap;
    float alpha; /* default 0.5; give a negative number for 0 */
    enum cs_cam_method method;
    void (*on_stage)(void *context, enum cs_stage stage,
                     double ms); /* called on the calling thread as stages end; may be NULL */
    void *context;
    const char *plant; /* the photo is known to show this plant, one of cs_model_info's (case does not
                        * matter): only its classes are listed, and their probabilities sum to 1. NULL or "":
                        * any. CS_BAD_REQUEST: the model knows no such plant */
    cs_model *model;   /* the model to use, one that cs_diagnoser_model gave for this diagnoser: photos that
                        * belong together keep it although another one replaces it meanwhile. Borrowed for the
                        * call. NULL: the one in use */
};
CS_API struct cs_request cs_request_defaults(void);

struct cs_diagnoser_options {
    struct cs_model_options model;
    struct cs_limits limits;
    enum cs_decode_mode decode;
    uint32_t max_size;             /* display size: long side in pixels; default 800 */
    size_t prediction_cache_bytes; /* memory bound; 0: off; default 32 MiB */
    size_t gradcam_cache_bytes;    /* memory bound of display images and heat maps; 0: off; default 64 MiB */
    double cache_ttl_s;            /* 0: entries do not age */
    const char *cache_path;        /* SQLite file that keeps both caches over a restart; NULL: memory only */
    size_t cache_path_bytes;       /* bound of that file's content; default 256 MiB */
    bool watch;       /* look at the model file's change time and load the new one between two requests */
    bool load_beside; /* cs_diagnoser_create does not wait for the model: the first photo is decoded while it
                       * is loaded; without `watch` only. What is wrong with the model is then the error of
                       * every call that needs it, and cs_diagnoser_model returns NULL */
    void (*on_warning)(
        void *context,
        const char *message); /* damaged cache file, bad new model, …; may be NULL; any thread */
    void *context;
};
CS_API struct cs_diagnoser_options cs_diagnoser_options_defaults(void);

typedef struct cs_diagnoser cs_diagnoser;

CS_API enum cs_status cs_diagnoser_create(const struct cs_diagnoser_options *options,
                                          cs_diagnoser **diagnoser, struct cs_error *error);
CS_API void cs_diagnoser_destroy(cs_diagnoser *diagnoser);

/* Encoded photo -> diagnosis. `request` NULL: defaults. Thread-safe. Identical photos asked for at the same
 * time are computed once. */
CS_API enum cs_status cs_diagnose(cs_diagnoser *diagnoser, const void *bytes, size_t size,
                                  const struct cs_request *request, cs_diagnosis **diagnosis,
                                  struct cs_error *error);

/* Many photos as a stream: reading and decoding overlap with computing, forward passes run in batches of
 * `batch` (0: chosen). `load` (called from worker threads, any order) gives photo `index`'s bytes, which
 * `unload` (any thread; may be NULL) takes back; `done` is called once for each photo, in order of index, on
 * the calling thread, with a diagnosis (owned by the library, valid in the call) or an error. A failing photo
 * does not stop the rest. `done` returning false stops the stream early. A photo that comes several times is
 * computed once unless `request.no_cache` is set; `request.on_stage` is not called. */
struct cs_stream {
    size_t count;
    size_t batch;
    struct cs_request request; /* `name` is ignored: `load` gives it */
    enum cs_status (*load)(void *context, size_t index, const void **bytes, size_t *size, const char **name,
                           struct cs_error *error);
    void (*unload)(void *context, size_t index, const void *bytes, size_t size);
    bool (*done)(void *context, size_t index, const cs_diagnosis *diagnosis, const struct cs_error *failure);
    void *context;
};
CS_API enum cs_status cs_diagnose_stream(cs_diagnoser *diagnoser, const struct cs_stream *stream,
                                         struct cs_error *error);

/* Several photos of one plant (at most CS_CASE_MAX): mean log-probability. `agreement` is the share of photos
 * whose own top class is the combined one. The result's `id` is the BLAKE2b-256 of the photos' ids in order,
 * each as its 64 hexadecimal digits. CS_EMPTY_INPUT without photos; CS_BAD_REQUEST for too many, or when
 * they were diagnosed by different models or as different plants. */
#define CS_CASE_MAX 6
CS_API enum cs_status cs_diagnose_case(cs_diagnoser *diagnoser, const cs_diagnosis *const *photos,
                                       size_t count, size_t top_k, cs_diagnosis **combined, double *agreement,
                                       struct cs_error *error);

struct cs_heatmap_request {
    size_t class_index; /* SIZE_MAX: the photo's top class */
    enum cs_cam_method method;
    enum cs_colormap colormap;
    float alpha;                 /* 0..1 */
    enum cs_image_format format; /* CS_FORMAT_PNG, CS_FORMAT_JPEG or CS_FORMAT_WEBP; CS_FORMAT_UNKNOWN: PNG */
};
CS_API struct cs_heatmap_request cs_heatmap_request_defaults(void);

/* Heat-map overlay of a photo diagnosed before, by its id: the normalised map resized bilinearly to the whole
 * display image. CS_NOT_FOUND when the photo is not kept (any more): send it again; CS_BAD_REQUEST when `id`
 * is not 64 lower-case hexadecimal digits or a member of `request` is out of its range. `result` (may be
 * NULL) tells hit or miss, `ms` (may be NULL) the time taken. */
CS_API enum cs_status cs_diagnoser_heatmap(cs_diagnoser *diagnoser, const char *id,
                                           const struct cs_heatmap_request *request, struct cs_blob *image,
                                           enum cs_cache_result *result, double *ms, struct cs_error *error);
/* The map as numbers: map_height×map_width floats in `blob`, row-major, normalised; of the square that the
 * network saw, the centre crop of its preprocessing. `class_index` SIZE_MAX: the photo's top class. Errors as
 * above. */
CS_API enum cs_status cs_diagnoser_map(cs_diagnoser *diagnoser, const char *id, size_t class_index,
                                       enum cs_cam_method method, struct cs_blob *blob, uint32_t *width,
                                       uint32_t *height, struct cs_error *error);
/* The most probable class of a photo diagnosed before, among those of `plant` (as in cs_request; NULL or "":
 * any): what SIZE_MAX stands for above when no plant is known. CS_BAD_REQUEST also when the model knows no
 * such plant. Errors as above; thread-safe. */
CS_API enum cs_status cs_diagnoser_top_class(cs_diagnoser *diagnoser, const char *id, const char *plant,
                                             size_t *class_index, struct cs_error *error);
/* The display image of a photo diagnosed before, encoded; CS_FORMAT_UNKNOWN: JPEG. Errors as above. */
CS_API enum cs_status cs_diagnoser_display(cs_diagnoser *diagnoser, const char *id,
                                           enum cs_image_format format, struct cs_blob *image,
                                           struct cs_error *error);

/* The model in use now, retained: give it back with cs_model_destroy. Waits for one that is loaded beside;
 * NULL when that has failed. */
CS_API cs_model *cs_diagnoser_model(cs_diagnoser *diagnoser);

struct cs_diagnoser_status {
    uint64_t model_loads; /* successful loads, the first included */
    uint64_t model_load_failures;
    uint64_t models_in_memory;              /* the one in use and replaced ones that somebody still holds */
    char last_error[CS_ERROR_MESSAGE_SIZE]; /* of the newest failed reload; "" after a good one */
    double model_load_ms;
    int64_t model_loaded_unix_ms;
};
CS_API void cs_diagnoser_status(cs_diagnoser *diagnoser, struct cs_diagnoser_status *status);

/* Loads the model file again now. On failure the old model stays and the error says why. Requests in flight
 * finish on the model they began with. Another model than before clears the caches; the same one keeps them.
 */
CS_API enum cs_status cs_diagnoser_reload(cs_diagnoser *diagnoser, struct cs_error *error);

enum cs_cache { CS_CACHE_MODEL = 0, CS_CACHE_PREDICTION = 1, CS_CACHE_GRADCAM = 2 };
#define CS_CACHE_COUNT 3
/* hits + misses + coalesced = requests that asked this cache; of CS_CACHE_MODEL hits are the model's uses and
 * misses its loads. */
struct cs_cache_stats {
    bool enabled;
    uint64_t entries, bytes, max_bytes;
    uint64_t hits, misses, coalesced, evictions, expired;
    uint64_t disk_entries, disk_bytes, disk_hits, disk_errors;
};
CS_API const char *cs_cache_name(enum cs_cache cache);
CS_API void cs_diagnoser_cache_stats(cs_diagnoser *diagnoser, enum cs_cache cache,
                                     struct cs_cache_stats *stats);
/* What `cache_path` would make of the file at `path`, which is read only (none is made). CS_OK: it would be
 * used, or made where there is none; `*damaged` (may be NULL): it would be set aside and a new one begun.
 * CS_NOT_FOUND: its folder is not there; CS_BAD_REQUEST: it is no cache file but something else, which would
 * be left as it is; CS_INTERNAL: it cannot be read or written. Thread-safe. */
CS_API enum cs_status cs_cache_file_check(const char *path, bool *damaged, struct cs_error *error);
/* Clearing the model cache loads the model again and clears the two others. CS_INTERNAL: the cache file
 * cannot be written (a full disk, another process's lock). What it keeps is not served any more, and deleted
 * as soon as it can be; should the process end before that, the next one would serve it. */
CS_API enum cs_status cs_diagnoser_cache_clear(cs_diagnoser *diagnoser, enum cs_cache cache,
                                               struct cs_error *error);

#ifdef __cplusplus
}
#endif
#endif
