/*
 * Colour maps as tables of 256 RGB triples: jet by its formula, the others interpolated between points of the curve.
 */
const POINTS = {
    viridis: "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    inferno: "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    turbo: "30123b 4145ab 4675ed 39a2fc 1bcfd4 24eca6 61fc6c a4fc3b d1e834 f3c63a fe9b2d f36315 d93806 b11901 7a0402",
    grey: "000000 ffffff",
};
export const COLORMAPS = ["jet", "viridis", "inferno", "turbo", "grey"];
const tables = new Map();

function jet(value) {
    const ramp = (shift) => Math.max(0, Math.min(1, 1.5 - Math.abs(4 * value - shift)));
    return [ramp(3) * 255, ramp(2) * 255, ramp(1) * 255];
}

function between(points, value) {
    const at = value * (points.length - 1);
    const low = Math.min(Math.floor(at), points.length - 2);
    return points[low].map((start, channel) => start + (points[low + 1][channel] - start) * (at - low));
}

/* Uint8ClampedArray of 256 × 3. */
export function table(name) {
    if (!tables.has(name)) {
        const points =
            POINTS[name] && POINTS[name].split(" ").map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
        const colours = new Uint8ClampedArray(256 * 3);
        for (let i = 0; i < 256; i++) colours.set(points ? between(points, i / 255) : jet(i / 255), i * 3);
        tables.set(name, colours);
    }
    return tables.get(name);
}
