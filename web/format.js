/*
 * Numbers, sizes, times and dates in words, and the two traffic lights: speed and confidence.
 */
import { language, t } from "./i18n.js";

const number = (digits) => new Intl.NumberFormat(language, { maximumFractionDigits: digits });
const whole = number(0);
const tenth = number(1);
const hundredth = number(2);

export const count = (value) => whole.format(value);

export function ms(value) {
    if (!Number.isFinite(value)) return "–";
    const text = value >= 100 ? whole.format(value) : value >= 10 ? tenth.format(value) : hundredth.format(value);
    return t("unit.ms", { value: text });
}

export function percent(fraction, digits = 1) {
    const share = Math.max(0, Math.min(1, fraction)) * 100;
    if (share > 0 && share < 0.1) return t("unit.percent_less", { value: tenth.format(0.1) });
    const step = 10 ** digits;
    const shown = share > 99 ? Math.floor(share * step) / step : share; // only the whole is 100 %
    return t("unit.percent", { value: number(digits).format(shown) });
}

/* A probability: neither 100 % nor, of a class that was in the running, 0 %, because a network is never certain. */
export function probability(fraction, inTheRunning = true) {
    if (fraction >= 0.9995) return t("unit.percent_more", { value: tenth.format(99.9) });
    if (fraction <= 0 && inTheRunning) return t("unit.percent_less", { value: tenth.format(0.1) });
    return percent(fraction);
}

export function bytes(size) {
    const units = ["unit.b", "unit.kb", "unit.mb", "unit.gb"];
    let value = size;
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return t(units[unit], { value: unit === 0 || value >= 100 ? whole.format(value) : tenth.format(value) });
}

export function compact(value) {
    if (value >= 1e9) return t("unit.giga", { value: tenth.format(value / 1e9) });
    if (value >= 1e6) return t("unit.mega", { value: tenth.format(value / 1e6) });
    return whole.format(value);
}

export const decimal = (value) => hundredth.format(value);

/* The time of day as this browser's owner is used to it. */
export function clock(iso) {
    const date = new Date(iso);
    return Number.isNaN(date.getTime())
        ? ""
        : date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function day(iso) {
    const date = new Date(iso);
    const parts = { day: "numeric", month: "short", year: "numeric" };
    return Number.isNaN(date.getTime()) ? "" : date.toLocaleDateString(undefined, parts);
}

/* The time, with the date when it is not today's. */
export function moment(iso) {
    const date = new Date(iso);
    const isToday = date.toDateString() === new Date().toDateString();
    return isToday ? clock(iso) : [day(iso), clock(iso)].filter(Boolean).join(", ");
}

export function duration(seconds) {
    if (seconds < 90) return t("unit.s", { value: whole.format(seconds) });
    if (seconds < 5400) return t("unit.min", { value: whole.format(seconds / 60) });
    return t("unit.h", { value: tenth.format(seconds / 3600) });
}

/* Speed: under 200 ms good, under 500 ms fair, else poor. */
export const speedLight = (milliseconds) => (milliseconds < 200 ? "good" : milliseconds < 500 ? "fair" : "poor");

/* Confidence: above 0.8 good, above 0.5 fair, else poor; the same borders as the verdict's. */
export const confidenceLight = (probability) => (probability > 0.8 ? "good" : probability > 0.5 ? "fair" : "poor");
