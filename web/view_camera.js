/*
 * Taking a photo with a computer's camera or a microscope on USB. Phones need none of this: there the button opens the camera itself.
 * Owns the dialog and the camera's stream; hands a JPEG file on.
 */
import { h, replace } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { addFiles } from "./jobs.js";

const QUALITY = 0.95;
let dialog = null;
let video = null;
let stream = null;
let cameras = [];
let chosen = -1; // the one that runs among them; -1: none of them is wanted
let turn = 0; // counts starts and stops: a camera that answers after the dialog was closed is let go

/* Worth a dialog: a mouse-driven device whose browser lets pages use the camera (HTTPS or this very machine). */
export function usable() {
    const devices = navigator.mediaDevices;
    return (
        Boolean(devices && devices.getUserMedia) &&
        window.matchMedia("(pointer: fine)").matches &&
        "showModal" in HTMLDialogElement.prototype
    );
}

/* A page that came over plain HTTP from another computer: browsers keep the camera from it. */
export const forbidden = () => !navigator.mediaDevices && window.matchMedia("(pointer: fine)").matches;

const release = (used) => used.getTracks().forEach((track) => track.stop());

function stop() {
    turn += 1;
    if (stream) release(stream);
    stream = null;
    video.srcObject = null; // its last frame would pass for what is before the next camera
    dialog.querySelector("#camera-shoot").disabled = true;
}

/* There is a picture to take. Who opened the dialog by the keyboard takes it by the same; who went elsewhere stays there. */
function ready() {
    const shoot = dialog.querySelector("#camera-shoot");
    dialog.querySelector("#camera-said").textContent = "";
    shoot.disabled = false;
    if (document.activeElement === dialog) shoot.focus();
}

async function start() {
    stop();
    const mine = turn;
    const wanted = { width: { ideal: 4096 }, height: { ideal: 2160 } };
    const camera = cameras[chosen];
    try {
        const got = await navigator.mediaDevices.getUserMedia({
            video: camera ? { ...wanted, deviceId: { exact: camera.deviceId } } : wanted,
        });
        if (mine !== turn) return release(got);
        stream = got;
        video.srcObject = stream;
        await video.play();
        if (mine !== turn) return undefined;
        ready();
    } catch (error) {
        if (mine === turn) fail(error);
        return undefined;
    }
    const all = await navigator.mediaDevices.enumerateDevices(); // names come only after the permission
    if (mine !== turn) return undefined;
    const { deviceId } = stream.getVideoTracks()[0].getSettings();
    cameras = all.filter((device) => device.kind === "videoinput" && device.deviceId);
    const running = cameras.findIndex((device) => device.deviceId === deviceId);
    if (running >= 0) chosen = running; // a browser may keep that to itself
    dialog.querySelector("#camera-next").hidden = cameras.length < 2;
    return undefined;
}

function fail(error) {
    const reason =
        error.name === "NotAllowedError" ? "camera.denied" : error.name === "NotFoundError" ? "camera.none" : "camera.failed";
    cameras = []; // the next try takes whichever there is: this one may have been unplugged
    dialog.querySelector("#camera-said").textContent = t(reason);
    dialog.querySelector("#camera-shoot").disabled = true;
}

async function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    if (canvas.width === 0) return;
    dialog.querySelector("#camera-shoot").disabled = true; // a second click takes no second photo
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    const stamp = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "_");
    dialog.close();
    addFiles([new File([blob], `photo_${stamp}.jpg`, { type: "image/jpeg" })]);
}

function build() {
    video = h("video", { class: "camera-picture", playsinline: true, "aria-label": t("camera.picture") });
    video.muted = true;
    const button = (id, className, iconName, text, click) => {
        const made = h("button", { type: "button", id, class: className, on: { click } });
        made.append(icon(iconName), text);
        return made;
    };
    dialog = h("dialog", { class: "camera", tabindex: "-1", "aria-labelledby": "camera-title", on: { close: stop } });
    replace(
        dialog,
        h("h2", { id: "camera-title", text: t("camera.title") }),
        video,
        h("p", { id: "camera-said", role: "status" }),
        h(
            "div",
            { class: "camera-buttons" },
            button("camera-shoot", "button", "camera", t("camera.shoot"), shoot),
            button("camera-next", "button quiet", "again", t("camera.next"), () => {
                chosen = cameras.length > 0 ? (chosen + 1) % cameras.length : 0;
                start();
            }),
            button("camera-close", "button quiet", "close", t("camera.close"), () => dialog.close()),
        ),
    );
    document.body.append(dialog);
}

export function open() {
    if (!dialog) build();
    dialog.querySelector("#camera-said").textContent = "";
    dialog.querySelector("#camera-next").hidden = true;
    dialog.showModal();
    dialog.focus(); // until there is a picture to take
    start();
}
