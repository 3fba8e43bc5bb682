/*
 * The results: the strip of photos, the joint answer of a plant, and the place where the selected photo is shown.
 */
import { announce, byId, h, replace, reveal } from "./dom.js";
import { percent } from "./format.js";
import { plural, t } from "./i18n.js";
import { light } from "./icons.js";
import { clearAll, join, joinable } from "./jobs.js";
import { errorWords, verdictLight } from "./labels.js";
import { classes, emit, get, itemOf, on, set } from "./state.js";
import { drawDetail } from "./view_detail.js";
import { sentenceOf, titleOf } from "./view_verdict.js";

const cards = new Map(); // item key -> { button, image, title, note }
let revealed = null; // key of the item that the page has already scrolled to

function card(item) {
    const image = h("img", { alt: "", class: "thumb", on: { error: () => image.removeAttribute("src") } });
    const title = h("span", { class: "strip-title" });
    const note = h("span", { class: "strip-note" });
    const button = h(
        "button",
        { type: "button", class: "strip-card", id: "card-" + item.key, on: { click: () => set("selected", item.key) } },
        h("span", { class: "thumb-frame" }, image),
        h("span", { class: "strip-words" }, title, note),
    );
    return { button, image, title, note };
}

function noteOf(item) {
    if (item.phase === "done") {
        const { verdict, predictions } = item.diagnosis;
        const share = verdict === "not_a_leaf" ? "" : percent(predictions[0].probability) + " · ";
        return [light(verdictLight(verdict)), share + t("verdict." + verdict)];
    }
    if (item.phase === "failed") return [light("poor"), t("phase.failed")];
    return [t("phase." + item.phase, { share: percent(item.uploaded, 0) })];
}

function updateCard(item) {
    const parts = cards.get(item.key);
    if (!parts) return;
    if (item.preview && parts.shown !== item.preview) {
        parts.shown = item.preview; // once: a picture that the browser cannot show stays an empty frame
        parts.image.src = item.preview;
    }
    const title =
        item.phase === "done"
            ? titleOf(item.diagnosis)
            : item.phase === "failed"
              ? errorWords(item.error, item).title
              : item.name;
    if (parts.title.textContent !== title) parts.title.textContent = title;
    replace(parts.note, noteOf(item));
    parts.button.title = item.name;
    parts.button.dataset.phase = item.phase;
    parts.button.setAttribute("aria-pressed", String(get("selected") === item.key));
}

function drawStrip() {
    const items = get("items");
    const strip = byId("strip");
    for (const key of Array.from(cards.keys())) {
        if (itemOf(key)) continue;
        cards.get(key).button.closest("li").remove();
        cards.delete(key);
    }
    for (const item of items) {
        if (!cards.has(item.key)) {
            cards.set(item.key, card(item));
            strip.append(h("li", {}, cards.get(item.key).button));
        }
        updateCard(item);
    }
    strip.hidden = items.length < 2;
    byId("results").hidden = items.length === 0;
    byId("results-count").textContent = items.length > 1 ? plural("results.count", items.length) : "";
}

function drawJoin() {
    byId("join").hidden = joinable().length === 0;
}

function drawCase() {
    const place = byId("case");
    const joint = get("plantCase");
    place.hidden = !joint;
    if (!joint) return replace(place);
    if (joint.tooMany)
        return replace(
            place,
            h("h3", { text: t("case.none") }),
            h("p", { text: t("case.too_many", { most: joint.most, count: joint.tooMany }) }),
        );
    const top = joint.predictions[0];
    return replace(
        place,
        h("h3", { text: plural("case.title", joint.keys.length) }),
        h(
            "p",
            { class: "case-verdict" },
            h(
                "span",
                { class: `badge badge-${joint.verdict}` },
                light(verdictLight(joint.verdict)),
                t("verdict." + joint.verdict),
            ),
        ),
        h("p", {
            text:
                t("case.sentence", {
                    label: top.label,
                    probability: percent(top.probability),
                    agreement: percent(joint.agreement, 0),
                }) + (joint.agreement < 0.5 ? " " + t("case.few") : ""),
        }),
    );
}

function say(item) {
    if (item.phase === "done") {
        announce(
            t("results.announce", { name: item.name, label: titleOf(item.diagnosis), sentence: sentenceOf(item.diagnosis) }),
        );
    } else if (item.phase === "failed") {
        const words = errorWords(item.error, item);
        announce(t("results.announce_error", { name: item.name, title: words.title, advice: words.advice }));
    }
}

function revealOnce(item) {
    if (revealed === item.key) return;
    revealed = item.key;
    reveal(byId("results-title"));
}

export function start() {
    const section = byId("results");
    replace(
        section,
        h(
            "div",
            { class: "results-head" },
            h("h2", { id: "results-title", tabindex: "-1", text: t("results.title") }),
            h("span", { id: "results-count", class: "muted" }),
            h("button", {
                type: "button",
                class: "button quiet",
                id: "join",
                hidden: true,
                text: t("results.join"),
                title: t("results.join_hint"),
                on: {
                    click: () => {
                        join();
                        reveal(byId("results-title")); // the button goes away
                    },
                },
            }),
            h("button", {
                type: "button",
                class: "button quiet",
                id: "start-over",
                text: t("results.clear"),
                title: t("results.clear_hint"),
                on: {
                    click: () => {
                        clearAll();
                        reveal(byId("main"));
                    },
                },
            }),
        ),
        h("div", { id: "case", class: "card case", role: "status", hidden: true }),
        h("ul", { id: "strip", class: "strip", "aria-label": t("results.list") }),
        h("div", { id: "detail" }),
    );
    drawStrip();
    on("items", drawStrip);
    on("plantCase", drawCase);
    on(["items", "item", "plantCase"], drawJoin);
    on("selected", (key) => {
        const item = itemOf(key);
        for (const other of get("items")) updateCard(other);
        drawDetail(item);
        if (item) revealOnce(item);
    });
    on("item", (_, item) => {
        updateCard(item);
        const settled = item.phase === "done" || item.phase === "failed";
        if (get("selected") === item.key) emit("detail", item);
        if (settled && itemOf(item.key)) say(item); // not of photos that were put away meanwhile
    });
    on("status", () => classes().length && drawStrip());
}
