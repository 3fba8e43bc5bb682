/*
 * Draws a class-activation map: the coarse map is resized bilinearly (pixel centres, edges clamped, as the server does),
 * then coloured. The page blends it over the photo by CSS opacity, so moving the slider computes nothing.
 */
import { table } from "./colormaps.js";

/* For each target pixel: the two source pixels and the share of the second. */
function axis(from, to) {
    const low = new Int32Array(to);
    const high = new Int32Array(to);
    const share = new Float32Array(to);
    for (let i = 0; i < to; i++) {
        const at = Math.max(0, Math.min(from - 1, ((i + 0.5) * from) / to - 0.5));
        low[i] = Math.floor(at);
        high[i] = Math.min(from - 1, low[i] + 1);
        share[i] = at - low[i];
    }
    return { low, high, share };
}

/* Paints `map` (rows of numbers 0…1) on a canvas of width × height pixels. */
export function paint(canvas, map, width, height, colormap) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    const colours = table(colormap);
    const x = axis(map[0].length, width);
    const y = axis(map.length, height);
    let out = 0;
    for (let row = 0; row < height; row++) {
        const top = map[y.low[row]];
        const bottom = map[y.high[row]];
        const fy = y.share[row];
        for (let column = 0; column < width; column++) {
            const l = x.low[column];
            const r = x.high[column];
            const fx = x.share[column];
            const upper = top[l] + (top[r] - top[l]) * fx;
            const lower = bottom[l] + (bottom[r] - bottom[l]) * fx;
            const index = Math.round((upper + (lower - upper) * fy) * 255) * 3;
            picture.data[out] = colours[index];
            picture.data[out + 1] = colours[index + 1];
            picture.data[out + 2] = colours[index + 2];
            picture.data[out + 3] = 255;
            out += 4;
        }
    }
    context.putImageData(picture, 0, 0);
}

/* The colour scale from low to high, for the legend. */
export function paintLegend(canvas, colormap) {
    const row = [Array.from({ length: 256 }, (_, i) => i / 255)];
    paint(canvas, row, 256, 1, colormap);
}
