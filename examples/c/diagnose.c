/*
 * Diagnoses photos with libcropshield: diagnose PHOTO… [-o HEATMAP.png]
 *
 * For each photo: verdict and the three most probable classes; with -o also the heat map of the last photo's
 * top class.
 *
 *     cc diagnose.c $(pkg-config --cflags --libs cropshield) -o diagnose
 */
#include <cropshield/cropshield.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a whole file; NULL (and a message) when that fails. The caller frees it. */
static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long length;

    if (file == NULL) {
        perror(path);
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0 &&
        (bytes = malloc((size_t)length + 1)) != NULL)
        *size = fread(bytes, 1, (size_t)length, file);
    if (bytes == NULL)
        perror(path);
    fclose(file);
    return bytes;
}

static int write_file(const char *path, const struct cs_blob *blob)
{
    FILE *file = fopen(path, "wb");
    int written = file != NULL && fwrite(blob->bytes, 1, blob->size, file) == blob->size;

    if (file != NULL && fclose(file) != 0)
        written = 0;
    if (!written)
        perror(path);
    return written;
}

static void print(const cs_diagnosis *diagnosis)
{
    size_t i;

    printf("%s: %s (%u×%u, %.1f ms)\n", diagnosis->name, cs_verdict_name(diagnosis->verdict),
           diagnosis->width, diagnosis->height, diagnosis->timings.total);
    for (i = 0; i < diagnosis->prediction_count; i++)
        printf("  %5.1f %%  %s\n", 100 * diagnosis->predictions[i].probability,
               diagnosis->predictions[i].label);
}

/* Prints the diagnosis of one photo and stores its id. */
static int diagnose(cs_diagnoser *diagnoser, const char *path, char id[CS_ID_SIZE])
{
    struct cs_request request = cs_request_defaults();
    cs_diagnosis *diagnosis = NULL;
    struct cs_error error;
    size_t size = 0;
    unsigned char *bytes = read_file(path, &size);
    int done = 0;

    if (bytes == NULL)
        return 0;
    request.name = path;
    if (cs_diagnose(diagnoser, bytes, size, &request, &diagnosis, &error) == CS_OK) {
        print(diagnosis);
        memcpy(id, diagnosis->id, CS_ID_SIZE);
        done = 1;
    } else {
        fprintf(stderr, "%s: %s: %s\n", path, cs_status_name(error.status), error.message);
    }
    cs_diagnosis_destroy(diagnosis);
    free(bytes);
    return done;
}

static int write_heatmap(cs_diagnoser *diagnoser, const char *id, const char *path)
{
    struct cs_heatmap_request request =
        cs_heatmap_request_defaults(); /* the top class, jet, half transparent */
    struct cs_blob png;
    struct cs_error error;
    int written;

    if (cs_diagnoser_heatmap(diagnoser, id, &request, &png, NULL, NULL, &error) != CS_OK) {
        fprintf(stderr, "%s: %s\n", path, error.message);
        return 0;
    }
    written = write_file(path, &png);
    cs_blob_destroy(&png);
    return written;
}

int main(int argc, char **argv)
{
    struct cs_diagnoser_options options = cs_diagnoser_options_defaults();
    cs_diagnoser *diagnoser = NULL;
    struct cs_error error;
    const char *heatmap = NULL;
    char id[CS_ID_SIZE] = "";
    int failed = 0, i;

    if (argc < 2) {
        fprintf(stderr, "usage: %s PHOTO… [-o HEATMAP.png]\n", argv[0]);
        return 2;
    }
    if (cs_diagnoser_create(&options, &diagnoser, &error) != CS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            heatmap = argv[++i];
        else if (!diagnose(diagnoser, argv[i], id))
            failed = 1;
    }
    if (heatmap != NULL && (id[0] == '\0' || !write_heatmap(diagnoser, id, heatmap)))
        failed = 1;
    cs_diagnoser_destroy(diagnoser);
    return failed;
}
