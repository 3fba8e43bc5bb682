/*
 * The strip: a card for every photo of this visit, to look at it or to put it away.
 */
import { byId, h, reducedMotion, replace, reveal } from "./dom.js";
import { percent, probability } from "./format.js";
import { plural, t } from "./i18n.js";
import { icon, light } from "./icons.js";
import { remove } from "./jobs.js";
import { errorWords, verdictLight } from "./labels.js";
import { get, itemOf, set } from "./state.js";
import { titleOf } from "./view_verdict.js";

const cards = new Map(); // item key -> { root, button, image, title, note, name }

/* The keyboard goes to the next photo's card; where none is left, to the start of what is. */
function putAway(item) {
    const at = get("items").indexOf(item);
    remove(item);
    const left = get("items");
    if (left.length > 1) cards.get(left[Math.min(at, left.length - 1)].key).button.focus();
    else reveal(byId(left.length > 0 ? "results-title" : "main"));
}

function card(item) {
    const image = h("img", { alt: "", class: "thumb", draggable: "false", on: { error: () => image.removeAttribute("src") } });
    const title = h("span", { class: "strip-title" });
    const note = h("span", { class: "strip-note" });
    const name = h("span", { class: "strip-name" });
    const button = h(
        "button",
        { type: "button", class: "strip-card", id: "card-" + item.key, on: { click: () => set("selected", item.key) } },
        h("span", { class: "thumb-frame" }, image),
        h("span", { class: "strip-words" }, title, note, name),
    );
    const away = h(
        "button",
        {
            type: "button",
            class: "strip-remove",
            title: t("strip.remove"),
            "aria-label": t("strip.remove_label", { name: item.name }),
            on: { click: () => putAway(item) },
        },
        icon("close"),
    );
    return { root: h("li", {}, button, away), button, image, title, note, name };
}

function noteOf(item) {
    if (item.phase === "done") {
        const { verdict, predictions } = item.diagnosis;
        const share = verdict === "not_a_leaf" ? "" : probability(predictions[0].probability) + " · ";
        return [light(verdictLight(verdict)), share + t("verdict." + verdict)];
    }
    if (item.phase === "failed") return [light("poor"), t("phase.failed")];
    return [t("phase." + item.phase, { share: percent(item.uploaded, 0) })];
}

const headOf = (item) =>
    item.phase === "done" ? titleOf(item.diagnosis) : item.phase === "failed" ? errorWords(item.error, item).title : item.name;

export function updateCard(item) {
    const parts = cards.get(item.key);
    if (!parts) return;
    if (item.preview && parts.shown !== item.preview) {
        parts.shown = item.preview; // once: a picture that the browser cannot show stays an empty frame
        parts.image.src = item.preview;
    }
    const title = headOf(item);
    if (parts.title.textContent !== title) parts.title.textContent = title;
    parts.name.textContent = title === item.name ? "" : item.name;
    replace(parts.note, noteOf(item));
    parts.button.title = item.name;
    parts.button.dataset.phase = item.phase;
    parts.button.setAttribute("aria-pressed", String(get("selected") === item.key));
}

export function drawStrip() {
    const items = get("items");
    const strip = byId("strip");
    for (const key of Array.from(cards.keys())) {
        if (itemOf(key)) continue;
        cards.get(key).root.remove();
        cards.delete(key);
    }
    for (const item of items) {
        if (!cards.has(item.key)) {
            cards.set(item.key, card(item));
            strip.append(cards.get(item.key).root);
        }
        updateCard(item);
    }
    strip.hidden = items.length < 2;
    byId("results").hidden = items.length === 0;
    byId("results-count").textContent = items.length > 1 ? plural("results.count", items.length) : "";
}

/* Moves the strip, and nothing else of the page, until a card is seen whole. */
export function scrollToCard(key) {
    const parts = cards.get(key);
    const strip = byId("strip");
    if (!parts || strip.hidden) return;
    const frame = strip.getBoundingClientRect();
    const box = parts.root.getBoundingClientRect();
    const off = (from, to, low, high) => (from < low ? from - low : to > high ? Math.min(to - high, from - low) : 0);
    strip.scrollBy({
        left: off(box.left, box.right, frame.left + 4, frame.right - 4),
        top: off(box.top, box.bottom, frame.top + 4, frame.bottom - 4),
        behavior: reducedMotion() ? "auto" : "smooth",
    });
}
