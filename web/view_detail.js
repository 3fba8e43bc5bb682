/*
 * The selected photo, large: progress while it is worked on, then picture, verdict and times, or the error in words.
 * Rebuilds only when the photo, its phase or what was said about it changes; progress moves inside.
 */
import { byId, h, replace } from "./dom.js";
import { bytes, ms, percent } from "./format.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { cancel, retry } from "./jobs.js";
import { errorWords } from "./labels.js";
import { option } from "./settings.js";
import { get, itemOf, on } from "./state.js";
import { closePhoto, drawPhoto } from "./view_photo.js";
import { drawTimes } from "./view_times.js";
import { anotherPhoto, drawAdvice, drawBars, drawHonesty, drawVerdict, hasAdvice, saidSince } from "./view_verdict.js";

const STAGES = ["decode", "resize", "preprocess", "inference", "gradcam"];
/* Errors of the file itself: sending it again would not help. */
const FINAL = [
    "unsupported_format",
    "corrupt_image",
    "image_too_large",
    "too_many_bytes",
    "empty_input",
    "heic",
    "unreadable_file",
];
let drawn = ""; // photo, phase and what else decides about what stands there

function drawError(item) {
    const words = errorWords(item.error, item);
    const again = item.file && !FINAL.includes(item.error.code);
    return h(
        "div",
        { class: "card failed" },
        h("div", { class: "failed-sign" }, icon("poor")),
        h(
            "div",
            {},
            h("h3", { text: words.title }),
            h("p", { text: words.advice }),
            h("p", { class: "muted", text: `${item.name} · ${bytes(item.size)}` }),
            words.detail &&
                h(
                    "details",
                    { class: "small" },
                    h("summary", { text: t("failed.detail") }),
                    h("p", { text: `${item.error.code}: ${words.detail}` }),
                ),
            h(
                "p",
                { class: "failed-buttons" },
                again &&
                    h("button", {
                        type: "button",
                        class: "button",
                        "data-start": true,
                        text: t("failed.retry"),
                        on: { click: () => retry(item) },
                    }),
                anotherPhoto(),
            ),
        ),
    );
}

function drawProgress(item) {
    const names = ["upload", ...STAGES.filter((name) => name !== "gradcam" || option("heatmap"))];
    return h(
        "div",
        { class: "card working" },
        h(
            "div",
            { class: "working-photo" },
            h("img", { id: "working-image", alt: "", draggable: "false", on: { error: (event) => event.target.removeAttribute("src") } }),
        ),
        h(
            "div",
            { class: "working-words" },
            h("h3", { id: "working-phase" }),
            h("p", { class: "muted", text: `${item.name} · ${bytes(item.size)}` }),
            h("progress", { id: "working-bar", max: 100, value: 0, "aria-label": t("progress.label", { name: item.name }) }),
            h(
                "ol",
                { class: "steps" },
                names.map((name) =>
                    h(
                        "li",
                        { id: "step-" + name },
                        h("span", { class: "step-dot" }),
                        h("span", { text: t("stage." + name) }),
                        h("span", { class: "step-ms" }),
                    ),
                ),
            ),
            h("button", {
                type: "button",
                class: "button quiet",
                "data-start": true,
                text: t("progress.cancel"),
                on: { click: () => cancel(item) },
            }),
        ),
    );
}

function markStep(name, done, active, text) {
    const step = byId("step-" + name);
    if (!step) return;
    step.className = done ? "done" : active ? "active" : "";
    step.lastChild.textContent = text || "";
}

/* Sending counts for 60 of 100, the server's stages share the rest: on a phone the way there is the long part. */
function moveProgress(item) {
    if (!byId("working-phase")) return;
    byId("working-phase").textContent = t("phase." + item.phase, { share: percent(item.uploaded, 0) });
    const image = byId("working-image");
    if (item.preview && image.dataset.shown !== item.preview) {
        image.dataset.shown = item.preview;
        image.src = item.preview;
    }
    const finished = STAGES.filter((name) => name in item.stages).length;
    byId("working-bar").value = item.uploaded * 60 + (finished / STAGES.length) * 40;
    markStep("upload", item.uploaded >= 1, item.phase === "uploading", "");
    const next = STAGES.find((name) => !(name in item.stages));
    for (const name of STAGES)
        markStep(
            name,
            name in item.stages,
            item.uploaded >= 1 && name === next,
            name in item.stages ? ms(item.stages[name]) : "",
        );
}

/* A photo of a joint answer says nothing about treating its own class where the joint card does so for the joint one. */
function isOfCase(item) {
    const joint = get("plantCase");
    return Boolean(joint && joint.keys.includes(item.key) && hasAdvice(joint));
}

/* What to do comes before how long it took. */
function drawResult(item) {
    const { diagnosis } = item;
    const ofCase = isOfCase(item);
    const signs = !ofCase && hasAdvice(diagnosis);
    const honesty = !ofCase && drawHonesty(diagnosis, signs);
    return [
        h("div", { class: "card result" }, drawVerdict(item, honesty), drawPhoto(item), drawBars(item)),
        signs && drawAdvice(diagnosis),
        option("timings") && drawTimes(diagnosis),
    ];
}

/* The keyboard was on something that is gone: it goes on with what came instead. */
function startReading(place) {
    const start = place.querySelector("[data-start]") || place.querySelector("button") || byId("results-title");
    start.focus({ preventScroll: true });
}

export function drawDetail(item, force) {
    const place = byId("detail");
    if (!item) {
        drawn = "";
        closePhoto();
        return replace(place);
    }
    const kind = item.phase === "done" ? "done" : item.phase === "failed" ? "failed" : "working";
    const now = [item.key, kind].concat(kind === "done" ? [isOfCase(item), saidSince(item.diagnosis)] : []).join(" ");
    if (force || now !== drawn) {
        const held = place.contains(document.activeElement);
        drawn = now;
        closePhoto();
        replace(place, kind === "done" ? drawResult(item) : kind === "failed" ? drawError(item) : drawProgress(item));
        if (held) startReading(place);
    }
    if (kind === "working") moveProgress(item);
    return place;
}

on("detail", (_, item) => drawDetail(item));
on(["plantCase", "plant"], () => {
    const item = itemOf(get("selected"));
    if (item) drawDetail(item);
});
on("option", (_, name) => {
    if (["timings", "bars", "advice", "topK", "heatmap"].includes(name)) drawDetail(itemOf(get("selected")), name !== "heatmap");
});
