/*
 * Memory runs out at the n-th allocation, for every n: the answer is CS_INTERNAL (or, where a library can do
 * without, the right image), nothing leaks and nothing is freed twice. Works by standing in front of the C
 * library's allocator, so not in sanitizer builds, which do that themselves.
 */
#include "support.h"

#include <errno.h>

#include "explain/explain.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
int main(void)
{
    printf("skipped: the allocator belongs to the sanitizer\n");
    return 77;
}
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static long countdown = -1; /* < 0: off */
static long balance;        /* allocations minus frees while counting */
static int counting;

static int fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

static void *note(void *memory)
{
    if (counting && memory != NULL)
        balance++;
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : note(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : note(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    void *moved;

    if (fails())
        return NULL;
    moved = __libc_realloc(memory, size);
    return memory == NULL ? note(moved) : moved;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : note(__libc_memalign(alignment, size));
}

void free(void *memory)
{
    if (counting && memory != NULL)
        balance--;
    __libc_free(memory);
}

/* Everything that a request does with an image. */
static enum cs_status whole_way(const uint8_t *file, size_t size, enum cs_image_format output)
{
    static const float map[4] = {0.0f, 1.0f, 0.5f, 0.2f};
    struct csi_display_options options = {cs_limits_defaults(), CS_DECODE_EXACT, 20, csi_cpu()->features,
                                          false};
    struct cs_image_info info;
    cs_image *image = NULL, *crop = NULL, *overlay = NULL;
    struct cs_blob blob = {NULL, 0};
    double decode_ms, resize_ms;
    enum cs_status status =
        csi_image_load_display(file, size, &options, &image, &info, &decode_ms, &resize_ms, NULL);

    if (status == CS_OK)
        status = csi_image_crop_for_network(image, 16, 24, options.cpu_features, &crop, NULL);
    if (status == CS_OK)
        status = csi_overlay(image, map, 2, 2, CS_COLORMAP_JET, 0.5f, &overlay, NULL);
    if (status == CS_OK)
        status = cs_image_encode(overlay, output, 80, &blob, NULL);
    cs_blob_destroy(&blob);
    csi_image_destroy(overlay);
    csi_image_destroy(crop);
    csi_image_destroy(image);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    size_t size, at = 8;
    uint8_t *file = read_data("decode.bin", &size);
    uint32_t count = little(file + 4, 4);
    long failures = 0;

    (void)state;
    (void)csi_cpu();
    for (uint32_t i = 0; i < count; i++) {
        const char *name = (const char *)file + at;
        uint32_t bytes = little(file + at + 16, 4),
                 pixels = little(file + at + 20, 2) * little(file + at + 22, 2);
        enum cs_image_format output = (enum cs_image_format)(1 + i % 3);

        at += 24;
        assert_int_equal(whole_way(file + at, bytes, output),
                         CS_OK); /* also fills the libraries' lazy tables */
        /* libwebp 1.2.4 itself reads through a null pointer when memory for its lossless tables runs out. */
        for (long n = 0; strncmp(name, "webp", 4) != 0 || strcmp(name, "webp lossy") == 0; n++) {
            enum cs_status status;
            long left;

            balance = 0;
            counting = 1;
            countdown = n;
            status = whole_way(file + at, bytes, output);
            left = countdown;
            countdown = -1;
            counting = 0;
            if (balance != 0)
                fail_msg("%s, allocation %ld: %ld blocks leaked", name, n, balance);
            if (status != CS_OK && status != CS_INTERNAL)
                fail_msg("%s, allocation %ld: %s", name, n, cs_status_name(status));
            failures += status == CS_INTERNAL;
            if (left >= 0) { /* there are fewer than n */
                assert_int_equal(status, CS_OK);
                break;
            }
        }
        at += bytes + pixels * 3;
    }
    print_message("%u files, %ld failed allocations answered with internal\n", count, failures);
    assert_true(failures > 500);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
