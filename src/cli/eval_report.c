/* What eval found, as text, JSON, CSV and PNG. See eval.h. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/eval.h"

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_confusion(const struct csi_eval *eval)
{
    printf("\nconfusion (rows: true class, columns: predicted)\n     ");
    for (size_t c = 0; c < eval->class_count; c++)
        printf(" %4zu", c);
    putchar('\n');
    for (size_t r = 0; r < eval->class_count; r++) {
        if (csi_eval_class(eval, r).images == 0)
            continue;
        printf("%4zu:", r);
        for (size_t c = 0; c < eval->class_count; c++) {
            uint64_t n = eval->confusion[r * eval->class_count + c];

            if (n == 0)
                printf("    .");
            else
                printf(" %s%4llu%s", r == c ? csi_colour_out(CSI_GREEN) : csi_colour_out(CSI_RED),
                       (unsigned long long)n, csi_colour_out(CSI_PLAIN));
        }
        putchar('\n');
    }
}

void csi_eval_print(const struct csi_eval *eval)
{
    if (eval->images > 0) {
        printf("%-4s %-48s %7s %9s %7s %7s\n", "", "class", "photos", "precision", "recall", "F1");
        for (size_t i = 0; i < eval->class_count; i++) {
            struct csi_class_score score = csi_eval_class(eval, i);

            if (score.images > 0 || score.predicted > 0)
                printf("%3zu  %-48s %7llu %8.1f%% %6.1f%% %6.1f%%\n", i, eval->labels[i],
                       (unsigned long long)score.images, 100 * score.precision, 100 * score.recall,
                       100 * score.f1);
        }
        print_confusion(eval);
        printf("\ntop-1 %.2f %%  top-3 %.2f %%  macro-F1 %.2f %% of the classes with photos  ECE %.2f %%  "
               "(%llu photo%s)\n",
               100 * share(eval->top1, eval->images), 100 * share(eval->top3, eval->images),
               100 * csi_eval_macro_f1(eval), 100 * csi_eval_ece(eval), (unsigned long long)eval->images,
               plural(eval->images));
        printf("top-1 among the classes of the photo's plant, as with --plant: %.2f %%\n",
               100 * share(eval->top1_in_plant, eval->images));
        printf("called 'not a leaf': %llu (%.2f %%)\n", (unsigned long long)eval->rejected,
               100 * share(eval->rejected, eval->images));
    }
    if (eval->unlabelled > 0)
        printf("photos of no class of the model: %llu, called 'not a leaf': %llu (%.1f %%)\n",
               (unsigned long long)eval->unlabelled, (unsigned long long)eval->unlabelled_rejected,
               100 * share(eval->unlabelled_rejected, eval->unlabelled));
    printf("%.1f images/s\n",
           eval->seconds > 0 ? (double)(eval->images + eval->unlabelled) / eval->seconds : 0);
    if (eval->failed > 0)
        printf("%llu photo%s failed\n", (unsigned long long)eval->failed, plural(eval->failed));
}

/* null where no photo of a known class was there to be right or wrong about. */
static json_t *figure(const struct csi_eval *eval, double value)
{
    return eval->images > 0 ? json_real(value) : json_null();
}

void csi_eval_print_json(const struct csi_eval *eval)
{
    json_t *classes = json_array(), *confusion = json_array(), *report;

    for (size_t i = 0; i < eval->class_count; i++) {
        struct csi_class_score score = csi_eval_class(eval, i);
        json_t *row = json_array();

        json_array_append_new(classes,
                              json_pack("{s:i,s:s,s:I,s:f,s:f,s:f}", "index", (int)i, "class",
                                        eval->classes[i], "images", (json_int_t)score.images, "precision",
                                        score.precision, "recall", score.recall, "f1", score.f1));
        for (size_t c = 0; c < eval->class_count; c++)
            json_array_append_new(row, json_integer((json_int_t)eval->confusion[i * eval->class_count + c]));
        json_array_append_new(confusion, row);
    }
    report = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:f,s:I,s:I,s:I,s:I}", "top1",
        figure(eval, share(eval->top1, eval->images)), "top3", figure(eval, share(eval->top3, eval->images)),
        "top1_in_plant", figure(eval, share(eval->top1_in_plant, eval->images)), "macro_f1",
        figure(eval, csi_eval_macro_f1(eval)), "ece", figure(eval, csi_eval_ece(eval)), "per_class", classes,
        "confusion", confusion, "images", (json_int_t)eval->images, "images_per_second",
        eval->seconds > 0 ? (double)(eval->images + eval->unlabelled) / eval->seconds : 0, "not_a_leaf",
        (json_int_t)eval->rejected, "unlabelled", (json_int_t)eval->unlabelled, "unlabelled_not_a_leaf",
        (json_int_t)eval->unlabelled_rejected, "failed", (json_int_t)eval->failed);
    json_dumpf(report, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(report);
}

void csi_eval_csv_text(struct csi_buffer *csv, const char *text)
{
    bool quoted = strpbrk(text, "\",\r\n") != NULL;

    csi_buffer_append(csv, "\"", quoted);
    for (; *text != '\0'; text++)
        csi_buffer_append(csv, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    csi_buffer_append(csv, "\"", quoted);
}

enum cs_status csi_eval_write_csv(const struct csi_eval *eval, const char *path, struct cs_error *error)
{
    struct csi_buffer csv;
    enum cs_status status;

    csi_buffer_init(&csv);
    csi_buffer_printf(&csv, "true\\predicted");
    for (size_t c = 0; c < eval->class_count; c++) {
        csi_buffer_append(&csv, ",", 1);
        csi_eval_csv_text(&csv, eval->classes[c]);
    }
    csi_buffer_printf(&csv, "\n");
    for (size_t r = 0; r < eval->class_count; r++) {
        csi_eval_csv_text(&csv, eval->classes[r]);
        for (size_t c = 0; c < eval->class_count; c++)
            csi_buffer_printf(&csv, ",%llu", (unsigned long long)eval->confusion[r * eval->class_count + c]);
        csi_buffer_printf(&csv, "\n");
    }
    status =
        csv.failed ? csi_fail_memory(error, path) : csi_file_write_atomic(path, csv.bytes, csv.size, error);
    csi_buffer_free(&csv);
    return status;
}

/* The picture: a cell of CELL pixels a pair of classes, darker for a larger share of the true class, its
 * count as digits. */
enum { CELL = 30, MARGIN = 30, SCALE = 2 };

struct canvas {
    uint8_t *pixels;
    size_t side;
};

static void fill(const struct canvas *canvas, size_t x, size_t y, size_t width, size_t height,
                 const uint8_t rgb[3])
{
    for (size_t j = y; j < y + height && j < canvas->side; j++)
        for (size_t i = x; i < x + width && i < canvas->side; i++)
            memcpy(canvas->pixels + (j * canvas->side + i) * 3, rgb, 3);
}

/* Digits of 3×5 dots, a row an octal digit. */
static void draw_number(const struct canvas *canvas, size_t centre_x, size_t centre_y,
                        unsigned long long number, const uint8_t rgb[3])
{
    static const unsigned glyphs[10] = {075557, 026227, 071747, 071717, 055711,
                                        074717, 074757, 071111, 075757, 075717};
    char text[24];
    int length = snprintf(text, sizeof text, "%llu", number);
    size_t width = (size_t)length * 4 * SCALE - SCALE, x = centre_x - width / 2, y = centre_y - 5 * SCALE / 2;

    for (int d = 0; d < length; d++, x += 4 * SCALE)
        for (size_t row = 0; row < 5; row++)
            for (size_t column = 0; column < 3; column++)
                if (glyphs[text[d] - '0'] >> (3 * (4 - row) + (2 - column)) & 1)
                    fill(canvas, x + column * SCALE, y + row * SCALE, SCALE, SCALE, rgb);
}

static void draw_matrix(const struct csi_eval *eval, const struct canvas *canvas)
{
    static const uint8_t black[3] = {30, 30, 30}, white[3] = {255, 255, 255};

    for (size_t r = 0; r < eval->class_count; r++) {
        uint64_t total = csi_eval_class(eval, r).images;

        draw_number(canvas, MARGIN / 2, MARGIN + r * CELL + CELL / 2, r, black);
        draw_number(canvas, MARGIN + r * CELL + CELL / 2, MARGIN / 2, r, black);
        for (size_t c = 0; c < eval->class_count; c++) {
            uint64_t n = eval->confusion[r * eval->class_count + c];
            double part = sqrt(share(n, total)); /* so that single errors are seen */
            uint8_t rgb[3] = {(uint8_t)(245 - (r == c ? 215 : 45) * part),
                              (uint8_t)(245 - (r == c ? 115 : 195) * part),
                              (uint8_t)(245 - (r == c ? 165 : 195) * part)};

            fill(canvas, MARGIN + c * CELL + 1, MARGIN + r * CELL + 1, CELL - 2, CELL - 2, rgb);
            if (n > 0)
                draw_number(canvas, MARGIN + c * CELL + CELL / 2, MARGIN + r * CELL + CELL / 2, n,
                            part > 0.6 ? white : black);
        }
    }
}

enum cs_status csi_eval_write_png(const struct csi_eval *eval, const char *path, struct cs_error *error)
{
    struct canvas canvas = {NULL, MARGIN + eval->class_count * CELL + 4};
    struct cs_blob blob = {NULL, 0};
    cs_image *image = NULL;
    enum cs_status status;

    if (eval->class_count > 300)
        return csi_fail(error, CS_BAD_REQUEST, "a picture of %zu classes would be too large: use --csv",
                        eval->class_count);
    canvas.pixels = malloc(canvas.side * canvas.side * 3);
    if (canvas.pixels == NULL)
        return csi_fail_memory(error, path);
    memset(canvas.pixels, 255, canvas.side * canvas.side * 3);
    draw_matrix(eval, &canvas);
    status = cs_image_from_pixels(canvas.pixels, (uint32_t)canvas.side, (uint32_t)canvas.side,
                                  canvas.side * 3, &image, error);
    free(canvas.pixels);
    if (status == CS_OK)
        status = cs_image_encode(image, CS_FORMAT_PNG, 90, &blob, error);
    if (status == CS_OK)
        status = csi_file_write_atomic(path, blob.bytes, blob.size, error);
    cs_blob_destroy(&blob);
    cs_image_destroy(image);
    return status;
}
