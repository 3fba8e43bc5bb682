/*
 * Calibrates the reference network's 8-bit integers on the peers' benchmark input, as the 8-bit peers are
 * calibrated on it: a native model file for bench_forward.
 *
 *   bench_calibrate MODEL DIR OUT      (DIR holds input.bin)
 */
#include <cropshield/cropshield.h>

#include <stdio.h>
#include <stdlib.h>

enum { PHOTOS = 8 };

int main(int argc, char **argv)
{
    struct cs_model_options options = cs_model_options_defaults();
    struct cs_quantize_options settings = cs_quantize_options_defaults();
    struct cs_error error;
    cs_quantizer *quantizer = NULL;
    char path[4096];

    if (argc != 4) {
        fprintf(stderr, "usage: bench_calibrate MODEL DIR OUT\n");
        return 2;
    }
    options.path = argv[1];
    enum cs_status status = cs_quantizer_create(&options, &settings, &quantizer, &error);

    snprintf(path, sizeof path, "%s/input.bin", argv[2]);
    FILE *file = status == CS_OK ? fopen(path, "rb") : NULL;
    size_t side = status == CS_OK ? cs_model_info(cs_quantizer_model(quantizer)).input_size : 0;
    float *input = malloc(3 * side * side * sizeof *input + 1);

    for (int i = 0; status == CS_OK && i < PHOTOS; i++) {
        if (file == NULL || input == NULL ||
            fread(input, sizeof *input, 3 * side * side, file) != 3 * side * side) {
            fprintf(stderr, "cannot read %d inputs from %s\n", PHOTOS, path);
            return 1;
        }
        status = cs_quantizer_add(quantizer, input, &error);
    }
    if (status == CS_OK)
        status = cs_quantizer_finish(quantizer, &error);
    if (status == CS_OK)
        status = cs_quantizer_save(quantizer, NULL, argv[3], &error);
    if (status != CS_OK)
        fprintf(stderr, "%s: %s\n", argv[1], error.message);
    if (file != NULL)
        fclose(file);
    free(input);
    cs_quantizer_destroy(quantizer);
    return status == CS_OK ? 0 : 1;
}
