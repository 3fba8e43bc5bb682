/*
 * Words. `t("key", { name: value })` looks a sentence up in the language's module and fills {name}.
 * Another language is another module with the same keys, chosen in `load`.
 */
import { strings as english } from "./strings_en.js";

const languages = { en: english };
const wanted = (navigator.languages || ["en"]).map((tag) => tag.slice(0, 2)).find((tag) => languages[tag]) || "en";
const strings = languages[wanted];

export const language = wanted;

export function has(key) {
    return Object.prototype.hasOwnProperty.call(strings, key);
}

export function t(key, values) {
    const sentence = has(key) ? strings[key] : Object.prototype.hasOwnProperty.call(english, key) ? english[key] : key;
    return sentence.replace(/\{(\w+)\}/g, (all, name) => (values && name in values ? String(values[name]) : all));
}

/* t with a ".one" form for the number 1. */
export function plural(key, count, values) {
    return t(count === 1 && has(key + ".one") ? key + ".one" : key, { count, ...values });
}

/* Fills every data-t (text) and data-t-label (aria-label) of the skeleton. */
export function fillSkeleton(root) {
    document.documentElement.lang = wanted;
    for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
    for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
