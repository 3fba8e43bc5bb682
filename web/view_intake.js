/*
 * Taking photos in: the two big buttons, drag and drop, paste, and the "same plant" switch.
 */
import { announce, byId, h, replace } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { addFiles, askAgain } from "./jobs.js";
import { crops } from "./labels.js";
import { option, setOption } from "./settings.js";
import { classes, get, on, plants, set } from "./state.js";
import * as camera from "./view_camera.js";

/* Formats the server reads, and what a browser may be able to turn into one of them. */
const ACCEPT = "image/jpeg,image/png,image/webp,image/heic,image/heif,image/avif,image/gif,image/bmp,.jpg,.jpeg,.png,.webp,.heic";

/* `instead`: a module that takes the photo itself where it can; else the browser's own dialog opens. */
function picker(id, iconName, title, hint, attributes, instead) {
    const input = h("input", {
        type: "file",
        id,
        class: "visually-hidden",
        ...attributes,
        on: {
            click: (event) => {
                if (!instead || !instead.usable()) return;
                event.preventDefault();
                instead.open();
            },
            change: () => {
                addFiles(input.files);
                input.value = ""; // the same file may be chosen again
            },
        },
    });
    const hintId = id + "-hint";
    input.setAttribute("aria-describedby", hintId);
    return h(
        "div",
        { class: "picker" },
        input,
        h(
            "label",
            { for: id, class: "picker-face" },
            icon(iconName),
            h("span", { class: "picker-title", text: title }),
            h("span", { class: "picker-hint", id: hintId, text: hint }),
        ),
    );
}

function draw() {
    const same = h("input", {
        type: "checkbox",
        id: "same-plant",
        checked: option("samePlant"),
        "aria-describedby": "same-plant-hint",
        on: { change: () => setOption("samePlant", same.checked) },
    });
    replace(
        byId("intake"),
        h("h1", { id: "intake-title", text: t("intake.title") }),
        h("p", { class: "lead", text: t("intake.lead") }),
        h(
            "div",
            { class: "pickers" },
            picker(
                "camera-input",
                "camera",
                t("intake.camera"),
                t(camera.forbidden() ? "intake.camera_insecure" : "intake.camera_hint"),
                { accept: "image/*", capture: "environment" },
                camera,
            ),
            picker("file-input", "folder", t("intake.files"), t("intake.files_hint"), { accept: ACCEPT, multiple: true }),
        ),
        h("p", { class: "drop-hint", text: t("intake.drop") }),
        h(
            "div",
            { class: "intake-foot" },
            h("div", { id: "plant-place", hidden: true }),
            h(
                "label",
                { class: "switch", for: "same-plant" },
                same,
                h("span", { class: "switch-face" }),
                h("span", { text: t("intake.same_plant") }),
            ),
            h("span", { class: "muted", id: "same-plant-hint", text: t("intake.same_plant_hint") }),
        ),
        h("p", { class: "muted crops", id: "crops" }),
    );
    drawCrops();
}

/* What the model knows: in words, and as a choice where there is one. */
function drawCrops() {
    const known = classes();
    byId("crops").textContent = known.length ? t("intake.crops", { crops: crops(), count: known.length }) : "";
    drawPlants();
}

function drawPlants() {
    const place = byId("plant-place");
    const shown = place.dataset.plants || "";
    if (shown === plants().join("\n")) return; // redrawing would close an open list
    place.dataset.plants = plants().join("\n");
    place.hidden = plants().length < 2;
    const choice = h(
        "select",
        {
            id: "plant",
            "aria-describedby": "plant-hint",
            on: {
                change: () => {
                    set("plant", choice.value);
                    askAgain();
                },
            },
        },
        h("option", { value: "", text: t("intake.plant_any") }),
        plants().map((name) => h("option", { value: name, text: name })),
    );
    choice.value = plants().includes(get("plant")) ? get("plant") : "";
    replace(
        place,
        h("label", { class: "plant", for: "plant" }, h("span", { text: t("intake.plant") }), choice),
        h("span", { class: "muted", id: "plant-hint", text: t("intake.plant_hint") }),
    );
}

/* With results on the page the intake becomes a slim bar. */
function drawTitle() {
    const busy = get("items").length > 0;
    document.body.classList.toggle("has-results", busy);
    byId("intake-title").textContent = t(busy ? "intake.more" : "intake.title");
}

const holdsFiles = (event) => event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");

function take(files, wasPicture) {
    if (files.length > 0) addFiles(files);
    else if (wasPicture) announce(t("intake.no_image"));
}

function listenForDrops() {
    const cover = byId("drop-cover");
    let depth = 0; // dragenter and dragleave also come from children
    const show = (visible) => {
        cover.hidden = !visible;
        if (!visible) depth = 0;
    };
    document.addEventListener("dragenter", (event) => {
        if (!holdsFiles(event)) return;
        depth += 1;
        show(true);
    });
    document.addEventListener("dragleave", (event) => {
        if (holdsFiles(event) && --depth <= 0) show(false);
    });
    document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
        if (!holdsFiles(event)) return;
        event.preventDefault();
        show(false);
        take(Array.from(event.dataTransfer.files), true);
    });
    document.addEventListener("paste", (event) => {
        const files = Array.from((event.clipboardData && event.clipboardData.files) || []);
        if (files.length > 0) {
            event.preventDefault();
            take(files, false);
        }
    });
}

export function start() {
    draw();
    drawTitle();
    listenForDrops();
    on("status", drawCrops);
    on("items", drawTitle);
}
