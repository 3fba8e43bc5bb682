/*
 * The photo with its heat map: two layers, the upper one a canvas whose opacity the slider sets. Maps are fetched once a
 * class and method and kept; colours and strength change without a request.
 */
import * as api from "./api.js";
import { COLORMAPS } from "./colormaps.js";
import { announce, h } from "./dom.js";
import { bytes, count, percent, probability } from "./format.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { paint, paintLegend, seenSquare } from "./heatmap.js";
import { bringBack } from "./jobs.js";
import { errorWords, inTheRunning, isOfThisModel, isTested } from "./labels.js";
import { option, setOption } from "./settings.js";
import { classes, emit, get, on, preprocessing, set, updateItem } from "./state.js";

const METHODS = ["gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "ablationcam"];
const TRIES_WHEN_BACK = 3; // what no connection carries is not asked for again for ever
let open = null; // what is on the page now

export function closePhoto() {
    if (!open) return;
    open.abort.abort();
    if (open.url) URL.revokeObjectURL(open.url);
    open = null;
}

/* All classes, likely ones first, for the switch. */
function choices(diagnosis) {
    const known = new Map(diagnosis.predictions.map((prediction) => [prediction.index, prediction]));
    const rest = isOfThisModel(diagnosis) ? classes().filter((entry) => !known.has(entry.index)) : [];
    return diagnosis.predictions.concat(rest);
}

function select(id, label, entries, value, onChange) {
    const field = h(
        "select",
        { id, on: { change: () => onChange(field.value) } },
        entries.map(([key, text]) => h("option", { value: key, text })),
    );
    field.value = value;
    return h("label", { class: "field", for: id }, h("span", { text: label }), field);
}

/* What no connection carried is loaded when there is one. */
function noteLost(view, what, error) {
    view.lost[what] = error.code === "network";
    if (view.lost[what]) set("connection", "offline");
}

async function loadPhoto(view) {
    const { item } = view;
    if (item.preview) view.image.src = item.preview;
    try {
        const blob = await api.displayImage(item.diagnosis.id);
        if (open !== view) return;
        const url = URL.createObjectURL(blob);
        if (item.preview) view.url = url;
        else updateItem(item, { preview: url }); // a photo of the history: the strip shows it too
        view.image.src = url;
    } catch (error) {
        if (open !== view) return;
        if (!item.preview) view.message.textContent = error.code === "not_found" ? t("photo.gone") : errorWords(error).title;
        noteLost(view, "photo", error);
    }
}

/* The server keeps photos for a while only; this page may still hold the file. */
async function returned(item) {
    try {
        return await bringBack(item);
    } catch (_) {
        return false; // then the map is missing, as before
    }
}

function describe(view) {
    const { name } = view.item;
    const heated = view.map && option("heatmap");
    view.image.alt = heated ? t("photo.alt_heat", { name, label: labelOf(view) }) : t("photo.alt", { name });
}

function showNoMap(view, why) {
    view.map = null; // the one before is another class's
    view.canvas.hidden = true;
    describe(view);
    view.message.textContent = why;
}

/* Class numbers are a model's own: another one's map would be of something else. */
function showOtherModel(view) {
    showNoMap(view, t("heat.other_model"));
    view.stage.classList.remove("loading");
    if (!view.doubted) emit("otherModel"); // it may be the page that knows the older one
    view.doubted = true;
}

/* Why there is no map; the browser's own words about a connection help nobody. `gone`: the server has dropped the photo. */
function showMapError(view, error, gone) {
    const reason = (error.code !== "network" && error.message) || errorWords(error).title;
    showNoMap(view, gone ? t("heat.gone") : t("heat.failed", { reason }));
    noteLost(view, "map", error);
}

/* `again`: after the photo was sent once more; a server that keeps none would be sent it for ever. */
async function loadMap(view, again = false) {
    const { diagnosis } = view.item;
    const wanted = `${view.classIndex} ${option("method")}`;
    view.wanted = wanted;
    if (!option("heatmap")) return undefined;
    let answer = view.maps.get(wanted);
    if (!answer && !isOfThisModel(diagnosis)) return showOtherModel(view);
    if (!answer) {
        view.stage.classList.add("loading");
        try {
            answer = await api.gradcamMap(diagnosis.id, view.classIndex, option("method"), view.abort.signal);
            view.maps.set(wanted, answer);
            emit("cachesUsed");
        } catch (error) {
            const gone = error.code === "not_found";
            if (gone && !again && (await returned(view.item)) && open === view) return await loadMap(view, true);
            if (open === view && view.wanted === wanted && error.code !== "aborted") showMapError(view, error, gone && !again);
            return undefined;
        } finally {
            if (view.wanted === wanted) view.stage.classList.remove("loading");
        }
    }
    if (open !== view || view.wanted !== wanted) return undefined; // another class was chosen meanwhile
    view.map = answer.map;
    view.message.textContent = "";
    view.canvas.dataset.shown = wanted;
    return drawMap(view);
}

function drawMap(view) {
    if (!view.map) return;
    const { image } = view.item.diagnosis;
    const size = { width: image.display_width, height: image.display_height };
    paint(view.canvas, view.map, size, seenSquare(size.width, size.height, preprocessing()), option("colormap"));
    view.canvas.hidden = !option("heatmap");
    paintLegend(view.legend, option("colormap"));
    describe(view);
}

const labelOf = (view) => view.entries.find((entry) => entry.index === view.classIndex).label;

function setOpacity(view, value) {
    view.canvas.style.opacity = String(value / 100);
    view.strength.textContent = percent(value / 100, 0);
}

/* What the page shows, as a picture to keep. */
async function save(view) {
    const { image } = view.item.diagnosis;
    const canvas = document.createElement("canvas");
    canvas.width = image.display_width;
    canvas.height = image.display_height;
    const context = canvas.getContext("2d");
    if (view.image.naturalWidth > 0) context.drawImage(view.image, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = option("opacity") / 100;
    if (!view.canvas.hidden) context.drawImage(view.canvas, 0, 0);
    const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const url = URL.createObjectURL(picture);
    h("a", { href: url, download: view.item.name.replace(/\.\w+$/, "") + "_heatmap.png" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/* The classes as choices, each with its probability where there is one. */
function classChoices({ entries, item }) {
    return entries.map((entry) => {
        const value = "probability" in entry && probability(entry.probability, inTheRunning(entry, item.diagnosis.plant));
        const label = value ? t("heat.option", { label: entry.label, probability: value }) : entry.label;
        return [String(entry.index), isTested(entry) ? label : `${label} (${t("untested.short")})`];
    });
}

function choosers(view) {
    return [
        select("heat-class", t("heat.class"), classChoices(view), String(view.classIndex), (value) => {
            view.classIndex = Number(value);
            announce(t("heat.shown", { label: labelOf(view) }));
            loadMap(view);
        }),
        h(
            "div",
            { class: "field-pair" },
            select(
                "heat-colormap",
                t("heat.colormap"),
                COLORMAPS.map((name) => [name, t("colormap." + name)]),
                option("colormap"),
                (value) => {
                    setOption("colormap", value);
                    drawMap(view);
                },
            ),
            select(
                "heat-method",
                t("heat.method"),
                METHODS.map((name) => [name, t("method." + name)]),
                option("method"),
                (value) => {
                    setOption("method", value);
                    loadMap(view);
                },
            ),
        ),
    ];
}

function legend(view) {
    return h(
        "div",
        { class: "legend" },
        h("span", { class: "small muted", text: t("heat.legend") }),
        h("div", { class: "legend-row" }, h("span", { text: t("heat.low") }), view.legend, h("span", { text: t("heat.high") })),
        h("p", { class: "small muted", text: t("heat.square") }),
    );
}

/* What most people never need is folded away, so that what to do stands near the photo. */
function more(view) {
    const keep = h("button", { type: "button", class: "button quiet", id: "heat-save", on: { click: () => save(view) } });
    keep.append(icon("download"), t("heat.save"));
    const summary = h("summary", { text: t("heat.more") });
    const root = h(
        "details",
        { class: "heat-more", id: "heat-more", open: Boolean(option("panels").heat) },
        summary,
        h("div", { class: "heat-controls" }, choosers(view), legend(view), keep),
    );
    summary.addEventListener("click", () => {
        setOption("panels", { ...option("panels"), heat: !root.open }); // still the state before the click
    });
    return root;
}

function controls(view) {
    const { diagnosis } = view.item;
    const toggle = h("input", {
        type: "checkbox",
        id: "heat-toggle",
        checked: option("heatmap"),
        on: { change: () => setOption("heatmap", toggle.checked) },
    });
    const slider = h("input", {
        type: "range",
        id: "heat-opacity",
        min: 0,
        max: 100,
        step: 1,
        value: option("opacity"),
        on: { input: () => setOpacity(view, Number(slider.value)), change: () => setOption("opacity", Number(slider.value)) },
    });
    view.toggle = toggle;
    view.body = h(
        "div",
        { class: "heat-controls", hidden: !option("heatmap") },
        h(
            "label",
            { class: "field field-slider", for: "heat-opacity" },
            h("span", {}, t("heat.opacity"), " ", view.strength),
            slider,
        ),
        more(view),
    );
    setOpacity(view, option("opacity"));
    return h(
        "fieldset",
        { class: "heat", id: "heat", "data-id": diagnosis.id },
        h("legend", { text: t("heat.title") }),
        h(
            "label",
            { class: "switch", for: "heat-toggle" },
            toggle,
            h("span", { class: "switch-face" }),
            h("span", { text: t("heat.show") }),
        ),
        view.body,
    );
}

/* As wide as the photo at most, and a tall photo no taller than most of the window. */
function sizeStage(stage, { display_width: width, display_height: height }) {
    stage.style.setProperty("aspect-ratio", `${width} / ${height}`);
    stage.style.setProperty("max-width", width + "px");
    stage.style.setProperty("max-width", `min(${width}px, ${((70 * width) / height).toFixed(3)}vh)`);
}

/* The figure of a diagnosed photo. */
export function drawPhoto(item) {
    const { diagnosis } = item;
    const { image } = diagnosis;
    const view = {
        item,
        abort: new AbortController(),
        lost: {}, // "photo", "map": true where no connection carried it
        tries: 0, // to load what was lost
        maps: item.maps || (item.maps = new Map()),
        entries: choices(diagnosis),
        classIndex: diagnosis.predictions[0].index,
        image: h("img", {
            class: "photo",
            id: "photo",
            width: image.display_width,
            height: image.display_height,
            alt: t("photo.alt", { name: item.name }),
            draggable: "false", // let go over the page it would pass for a new one
        }),
        canvas: h("canvas", { class: "heat-layer", id: "heat-layer", "aria-hidden": "true", hidden: true }),
        legend: h("canvas", { class: "legend-scale", "aria-hidden": "true" }),
        strength: h("output", { class: "muted", for: "heat-opacity" }),
        message: h("p", { class: "small photo-message", role: "status" }),
    };
    view.stage = h("div", { class: "photo-stage" }, view.image, view.canvas);
    sizeStage(view.stage, image);
    open = view;
    loadPhoto(view);
    const figure = h(
        "figure",
        { class: "photo-side" },
        view.stage,
        h("figcaption", {
            class: "small muted",
            id: "sizes",
            text: t("photo.sizes", {
                width: count(image.width),
                height: count(image.height),
                format: image.format.toUpperCase(),
                bytes: bytes(image.bytes),
                display_width: count(image.display_width),
                display_height: count(image.display_height),
            }),
        }),
        view.message,
        controls(view),
    );
    loadMap(view);
    return figure;
}

on("option", (_, name) => {
    if (name !== "heatmap" || !open) return;
    open.toggle.checked = option("heatmap");
    open.body.hidden = !option("heatmap");
    open.canvas.hidden = !option("heatmap") || !open.map;
    describe(open);
    if (option("heatmap")) loadMap(open);
});

/* Loads what a broken connection kept away. */
function loadLost() {
    const view = open;
    if (!view || get("connection") !== "online" || view.tries >= TRIES_WHEN_BACK) return;
    const { photo, map } = view.lost;
    if (!photo && !map) return;
    view.tries += 1;
    view.lost = {};
    view.message.textContent = "";
    if (photo) loadPhoto(view);
    if (map) loadMap(view);
}
on("connection", loadLost);
on("shown", (_, item) => {
    if (!open || open.item !== item) return;
    open.tries = 0; // who asks for it may have more luck
    loadLost();
});
on("status", () => {
    if (!open || !open.doubted || open.map || !isOfThisModel(open.item.diagnosis)) return;
    open.doubted = false; // what fails from here on fails for another reason
    loadMap(open);
});
