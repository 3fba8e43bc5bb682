/*
 * Words for what the server names: classes, crops, errors. Stands between the data and the views.
 */
import { bytes, count } from "./format.js";
import { has, t } from "./i18n.js";
import { classes, get, plants } from "./state.js";

/* "Potato, Sugarcane, Tomato, Wheat". */
export function crops() {
    const named = plants();
    return (named.length > 0 ? named : classes().map((entry) => entry.label)).join(", ");
}

export function isTested(prediction) {
    if (prediction.tested === false) return false;
    const entry = classes().find((candidate) => candidate.index === prediction.index);
    return !entry || entry.tested !== false;
}

/* With a plant chosen only its classes are in the running; labels and plants are written by the same hand: "Wheat: brown rust". */
export const inTheRunning = ({ label }, plant) => !plant || label.startsWith(plant + ":");

/* Whether the server's model is the one that gave an answer; true where nobody can tell. */
export function isOfThisModel(diagnosis) {
    const model = get("status") && get("status").model;
    return !model || !diagnosis.model || model.digest === diagnosis.model.digest;
}

/* How often the model that gave an answer was right at first on photos from other farms: 0…1, null where it does not say. */
export function fieldShare(diagnosis) {
    const model = get("status") && get("status").model;
    if (!model || !diagnosis.model || !isOfThisModel(diagnosis)) return null;
    try {
        const share = JSON.parse(model.metadata.metrics).field_top1; // a file's metadata are texts
        return Number.isFinite(share) ? share : null;
    } catch (_) {
        return null;
    }
}

/* The traffic light of a whole answer: a high probability means nothing when the photo shows no supported leaf. */
export const verdictLight = (verdict) => (verdict === "confident" ? "good" : verdict === "likely" ? "fair" : "poor");

/* { title, advice, detail } of an ApiError, in words for people. */
export function errorWords(error, item) {
    const limits = (get("status") && get("status").limits) || { max_bytes: 26214400, max_pixels: 50000000 };
    const code = has(`error.${error.code}.title`) ? error.code : "internal";
    return {
        title: t(`error.${code}.title`),
        advice: t(`error.${code}.advice`, {
            bytes: bytes(limits.max_bytes),
            pixels: count(limits.max_pixels / 1e6),
            size: item ? bytes(item.size) : "",
        }),
        detail: error.message && error.message !== error.code ? error.message : "",
    };
}
