/*
 * Our own line drawings, 24 × 24, as SVG elements. Decorative: the words beside them carry the meaning.
 */
import { s } from "./dom.js";

const PATHS = {
    camera: "M4 8h3.2l1.6-2.5h6.4L16.8 8H20a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
    folder: "M3.5 18.5v-13h6l2 2.5h9v10.5zM12 16v-5m-2.2 2L12 10.8 14.2 13",
    sun: "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM12 2v2m0 16v2M2 12h2m16 0h2M4.9 4.9l1.4 1.4m11.4 11.4 1.4 1.4M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
    moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
    check: "M4.5 12.5 10 18 19.5 7",
    good: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8 12.2l2.8 2.8L16 9.5",
    fair: "M12 3.5 21.5 20h-19zM12 10v4.5m0 2.5v.01",
    poor: "M8 3h8l5 5v8l-5 5H8l-5-5V8zM9 9l6 6m0-6-6 6",
    question: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.5 9.5a2.5 2.5 0 1 1 3.7 2.2c-.8.5-1.2 1-1.2 1.9M12 17v.01",
    leaf: "M20 4c1 9-2.5 15.5-11 15.5A5 5 0 0 1 4 14.5C4 7.5 12 6.5 20 4zM3.5 21C6.5 15.5 10.5 11.5 15 9",
    close: "M6 6l12 12M18 6 6 18",
    download: "M12 4v10m-4-3.5 4 4 4-4M4.5 19.5h15",
    share: "M12 15V4m-4 3.5L12 4l4 3.5M6 11H4.5v9h15v-9H18",
    clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5.2l3.5 2",
    chip: "M7 7h10v10H7zM10 3v4m4-4v4m-4 10v4m4-4v4M3 10h4m-4 4h4m10-4h4m-4 4h4",
    layers: "M12 3.5 21 8.5l-9 5-9-5zM3.5 13 12 17.8 20.5 13",
    sliders: "M4 7h9m4 0h3M4 17h3m4 0h9M15 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
    list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
    again: "M19.5 8A8.5 8.5 0 1 0 20.5 12M20 3.5V8h-4.5",
    focus: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
    single: "M12 20C6 20 6 9 12 4c6 5 6 16 0 16zM12 8v12",
};

export function icon(name, className) {
    return s(
        "svg",
        {
            class: "icon" + (className ? " " + className : ""),
            viewBox: "0 0 24 24",
            width: 24,
            height: 24,
            "aria-hidden": "true",
            focusable: "false",
        },
        s("path", {
            d: PATHS[name] || PATHS.question,
            fill: "none",
            stroke: "currentColor",
            "stroke-width": 1.8,
            "stroke-linecap": "round",
            "stroke-linejoin": "round",
        }),
    );
}

/* A traffic light as a shape: circle with a tick, triangle, octagon with a cross; colour comes from the class. */
export const light = (level) => icon(level, "light light-" + level);
