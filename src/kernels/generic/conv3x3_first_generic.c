/*
 * The first layer's row in plain C: the reference for the vector versions.
 */
#include "kernels/conv3x3_first_ops.h"

static void row(const struct csi_first_row *row)
{
    for (size_t x = 0; x < row->width; x++) {
        float sum[CSI_FIRST_LANES];
        for (size_t c = 0; c < CSI_FIRST_LANES; c++)
            sum[c] = row->bias[c];
        for (size_t line = 0; line < row->line_count; line++) {
            for (size_t dx = 0; dx < 3; dx++) {
                const float pixel = row->lines[line * row->line_pitch + x + dx];
                const float *w = row->weights + (line * 3 + dx) * CSI_FIRST_LANES;
                for (size_t c = 0; c < CSI_FIRST_LANES; c++)
                    sum[c] += pixel * w[c];
            }
        }
        for (size_t c = 0; c < row->lanes; c++)
            row->out[x * row->pitch + c] = row->relu && sum[c] < 0.0F ? 0.0F : sum[c];
    }
}

const struct csi_conv_first csi_conv_first_generic = {"conv3x3_first_generic", 0, row};
