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

/*
 * The part of a photo that the network sees: the centre crop of its preprocessing, a square in display pixels. Without a word about
 * preprocessing it is the whole photo.
 */
export function seenSquare(width, height, preprocess) {
    if (!preprocess || !(preprocess.crop > 0) || !(preprocess.resize >= preprocess.crop)) return { x: 0, y: 0, width, height };
    const side = Math.max(1, Math.round((Math.min(width, height) * preprocess.crop) / preprocess.resize));
    return { x: Math.round((width - side) / 2), y: Math.round((height - side) / 2), width: side, height: side };
}

/* Clears the canvas to the photo's size and paints `map` (rows of numbers 0…1) on `square` of it. */
export function paint(canvas, map, size, square, colormap) {
    const { width, height } = square;
    canvas.width = size.width;
    canvas.height = size.height;
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
    context.putImageData(picture, square.x, square.y);
}

/* The colour scale from low to high, for the legend. */
export function paintLegend(canvas, colormap) {
    const row = [Array.from({ length: 256 }, (_, i) => i / 255)];
    const whole = { x: 0, y: 0, width: 256, height: 1 };
    paint(canvas, row, whole, whole, colormap);
}
