/*
 * Options that this browser remembers. Where storage is switched off they last as long as the page.
 */
import { emit } from "./state.js";

const KEY = "cropshield.options";
const defaults = {
    heatmap: true,
    timings: true,
    bars: true,
    advice: true,
    topK: 3,
    samePlant: false,
    colormap: "jet",
    method: "gradcam",
    opacity: 50,
    panels: {}, // id -> open
};

function load() {
    try {
        const stored = JSON.parse(window.localStorage.getItem(KEY) || "{}");
        const known = {};
        for (const [name, value] of Object.entries(defaults)) {
            known[name] = typeof stored[name] === typeof value && stored[name] !== null ? stored[name] : value;
        }
        return known;
    } catch (_) {
        return { ...defaults };
    }
}

const options = load();

export const option = (name) => options[name];

export function setOption(name, value) {
    options[name] = value;
    try {
        window.localStorage.setItem(KEY, JSON.stringify(options));
    } catch (_) {
        // remembered until the page is left
    }
    emit("option", name);
}

export function theme() {
    return document.documentElement.dataset.theme || "light";
}

export function setTheme(name) {
    try {
        window.localStorage.setItem("cropshield.theme", name);
    } catch (_) {
        // applied below all the same
    }
    window.dispatchEvent(new Event("cropshield-theme"));
    document.documentElement.dataset.theme = name;
    emit("theme", name);
}
