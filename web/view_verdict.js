/*
 * The answer in words: verdict, disease, sentence, coach's hints, bars, and general information about the class.
 */
import { advice } from "./advice_en.js";
import { byId, h } from "./dom.js";
import { confidenceLight, day, probability } from "./format.js";
import { has, t } from "./i18n.js";
import { icon, light } from "./icons.js";
import { crops, errorWords, fieldShare, inTheRunning, isTested } from "./labels.js";
import { option } from "./settings.js";
import { shareButton } from "./share.js";
import { plants, saidPlant } from "./state.js";

const SIGN = { confident: "good", likely: "fair", uncertain: "question", not_a_leaf: "leaf" };

export function titleOf(diagnosis) {
    return diagnosis.verdict === "not_a_leaf" ? t("title.not_a_leaf") : diagnosis.predictions[0].label;
}

export function sentenceOf(diagnosis) {
    return t("sentence." + diagnosis.verdict, { probability: probability(diagnosis.predictions[0].probability), crops: crops() });
}

/* Whether there are words about what the photo shows. */
export const hasAdvice = ({ verdict, predictions }) =>
    option("advice") && verdict !== "not_a_leaf" && Boolean(advice[predictions[0].class]);

/* How far the answer can be trusted outdoors, for a model that tells; `signs`: what to look at stands below. */
export function drawHonesty(diagnosis, signs) {
    const share = fieldShare(diagnosis);
    if (share === null || diagnosis.verdict === "not_a_leaf") return null;
    const sentences = [t("verdict.field", { right: Math.round(share * 10) })];
    if (signs) sentences.push(t("verdict.field_signs"));
    if (!diagnosis.plant && plants().length > 1) sentences.push(t("verdict.field_plant"));
    return h("p", { class: "muted small honesty", text: sentences.join(" ") });
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

function bar(prediction, { verdict, plant }) {
    const value = probability(prediction.probability, inTheRunning(prediction, plant));
    const level = verdict === "not_a_leaf" ? "poor" : confidenceLight(prediction.probability);
    const words = t("bars.row", {
        label: prediction.label,
        probability: value,
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
                value,
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
            rows.map((row) => bar(row, diagnosis)),
        ),
    );
}

export const drawPlant = ({ plant }) => plant && h("p", { class: "muted small", text: t("verdict.plant", { plant }) });

const note = (words) => h("p", { class: "note note-fair" }, icon("fair"), words);

/* The plant that was said after the answer was given; "": none was. */
export function saidSince({ plant }) {
    const said = saidPlant();
    return said === (plant || "") ? "" : said;
}

/* An answer from before the plant was said, or before the connection broke, says so. */
export function drawBefore(item) {
    const plant = saidSince(item.diagnosis);
    return [
        item.kept && note(t("verdict.kept", { title: errorWords(item.kept, item).title })),
        plant && note(t(item.file ? "verdict.before" : "verdict.before_choose", { plant })),
    ];
}

/* Opens the camera, as the big button does. */
export const anotherPhoto = () =>
    h(
        "button",
        { type: "button", class: "button quiet another", on: { click: () => byId("camera-input").click() } },
        icon("camera"),
        t("another.photo"),
    );

/* What the photo shows, in a few words; `honesty`: how far to trust them, where nothing else on the page says so. */
export function drawVerdict(item, honesty) {
    const { diagnosis } = item;
    const coached = hints(diagnosis);
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
        h("h3", { class: "verdict-title", id: "verdict-title", tabindex: "-1", "data-start": true, text: titleOf(diagnosis) }),
        h("p", { class: "verdict-sentence", text: sentenceOf(diagnosis) }),
        h("p", { class: "print-only", text: t("print.photo", { name: item.name, at: day(item.at) }) }),
        honesty,
        drawPlant(diagnosis),
        drawBefore(item),
        !isTested(diagnosis.predictions[0]) && note(t("untested.long")),
        coached,
        (coached || ["uncertain", "not_a_leaf"].includes(diagnosis.verdict)) && h("p", {}, anotherPhoto()),
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
        shareButton(diagnosis, t("copy.photo", { name: item.name })),
    );
}

/* What is known about the class of an answer; `id` of the title: a joint answer and a photo outside it may both have one. */
export function drawAdvice(diagnosis, className = "card advice", id = "advice-title") {
    if (!hasAdvice(diagnosis)) return null;
    const top = diagnosis.predictions[0];
    const text = advice[top.class];
    return h(
        "section",
        { class: className, "aria-labelledby": id },
        h(
            "div",
            { class: "advice-head" },
            h("h3", { id, text: t("advice.title", { label: top.label }) }),
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
