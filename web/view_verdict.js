/*
 * The answer in words: verdict, disease, sentence, coach's hints, bars, and general information about the class.
 */
import { advice } from "./advice_en.js";
import { h } from "./dom.js";
import { confidenceLight, percent } from "./format.js";
import { has, t } from "./i18n.js";
import { icon, light } from "./icons.js";
import { crops, isTested } from "./labels.js";
import { option } from "./settings.js";
import { shareButton } from "./share.js";

const SIGN = { confident: "good", likely: "fair", uncertain: "question", not_a_leaf: "leaf" };

export function titleOf(diagnosis) {
    return diagnosis.verdict === "not_a_leaf" ? t("title.not_a_leaf") : diagnosis.predictions[0].label;
}

export function sentenceOf(diagnosis) {
    return t("sentence." + diagnosis.verdict, { probability: percent(diagnosis.predictions[0].probability), crops: crops() });
}

function hints(diagnosis) {
    const known = (diagnosis.hints || []).filter((name) => has("hint." + name));
    if (known.length === 0) return null;
    return h(
        "div",
        { class: "note note-fair" },
        icon("focus"),
        h(
            "div",
            {},
            h("h4", { text: t("hint.title") }),
            known.map((name) => h("p", { text: t("hint." + name) })),
        ),
    );
}

function bar(prediction, verdict) {
    const level = verdict === "not_a_leaf" ? "poor" : confidenceLight(prediction.probability);
    const words = t("bars.row", {
        label: prediction.label,
        probability: percent(prediction.probability),
        level: t("light." + level),
    });
    return h(
        "li",
        { class: "bar bar-" + level },
        h("span", { class: "visually-hidden", text: words + (isTested(prediction) ? "" : ", " + t("untested.short")) }),
        h(
            "span",
            { class: "bar-head", "aria-hidden": "true" },
            h(
                "span",
                { class: "bar-label" },
                prediction.label,
                !isTested(prediction) && h("span", { class: "tag", title: t("untested.long"), text: t("untested.short") }),
            ),
            h(
                "span",
                { class: "bar-value" },
                percent(prediction.probability),
                light(level),
                h("span", { class: "bar-level", text: t("light." + level) }),
            ),
        ),
        h(
            "span",
            { class: "bar-track", "aria-hidden": "true" },
            h("span", { class: "bar-fill", style: { width: (prediction.probability * 100).toFixed(2) + "%" } }),
        ),
    );
}

function bars(diagnosis) {
    const limit = option("topK");
    const rows = limit > 0 ? diagnosis.predictions.slice(0, limit) : diagnosis.predictions;
    return h(
        "div",
        { class: "bars-block" },
        h("h4", { text: t("bars.title") }),
        h(
            "ol",
            { class: "bars" },
            rows.map((row) => bar(row, diagnosis.verdict)),
        ),
    );
}

/* What the photo shows, in a few words. */
export function drawVerdict({ diagnosis }) {
    return h(
        "div",
        { class: "verdict" },
        h(
            "p",
            {},
            h(
                "span",
                { class: "badge badge-" + diagnosis.verdict },
                icon(SIGN[diagnosis.verdict] || "question"),
                t("verdict." + diagnosis.verdict),
            ),
        ),
        h("h3", { class: "verdict-title", id: "verdict-title", text: titleOf(diagnosis) }),
        h("p", { class: "verdict-sentence", text: sentenceOf(diagnosis) }),
        diagnosis.plant && h("p", { class: "muted small", text: t("verdict.plant", { plant: diagnosis.plant }) }),
        !isTested(diagnosis.predictions[0]) && h("p", { class: "note note-fair" }, icon("fair"), t("untested.long")),
        hints(diagnosis),
    );
}

/* The bars, where the answer came from, and the button that hands it on. */
export function drawBars(item) {
    const { diagnosis, converted } = item;
    const cache = diagnosis.cache && diagnosis.cache.prediction;
    return h(
        "div",
        { class: "verdict-more" },
        option("bars") && bars(diagnosis),
        (cache === "hit" || cache === "coalesced") && h("p", { class: "muted small", text: t("cache." + cache) }),
        converted && h("p", { class: "muted small", text: t("converted", { format: converted.toUpperCase() }) }),
        shareButton(item),
    );
}

export function drawAdvice(diagnosis) {
    const top = diagnosis.predictions[0];
    const text = advice[top.class];
    if (!text) return null;
    return h(
        "section",
        { class: "card advice", "aria-labelledby": "advice-title" },
        h(
            "div",
            { class: "advice-head" },
            h("h3", { id: "advice-title", text: t("advice.title", { label: top.label }) }),
            h("span", { class: "tag", text: t("advice.general") }),
        ),
        h("p", { text: text.about }),
        text.urgent && h("p", { class: "note note-fair" }, icon("clock"), t("advice.urgent")),
        h(
            "div",
            { class: "advice-columns" },
            h(
                "div",
                {},
                h("h4", { text: t("advice.look") }),
                h(
                    "ul",
                    {},
                    text.look.map((line) => h("li", { text: line })),
                ),
            ),
            h(
                "div",
                {},
                h("h4", { text: t("advice.care") }),
                h("p", { text: text.care }),
                h("p", { class: "muted", text: t("advice.ask") }),
            ),
        ),
    );
}
