/*
 * Starts the views and keeps the state fresh: the event stream tells what happens, and where it is missing the page asks.
 */
import * as api from "./api.js";
import { announce, byId } from "./dom.js";
import { listen } from "./events.js";
import { fillSkeleton, t } from "./i18n.js";
import { isBusy, stageDone } from "./jobs.js";
import { get, on, set } from "./state.js";
import * as caches from "./view_caches.js";
import * as history from "./view_history.js";
import * as intake from "./view_intake.js";
import * as model from "./view_model.js";
import * as options from "./view_options.js";
import * as results from "./view_results.js";
import * as speed from "./view_speed.js";
import * as status from "./view_status.js";
import * as tips from "./view_tips.js";

const LOOK_AGAIN_MS = 5000; // while the server does not answer
const LOOK_NOW_AND_THEN_MS = 60000; // while it does

let questions = 0;
const answered = new Map(); // name -> the latest question whose answer is known

function note(error) {
    if (error.code === "unauthorized") set("connection", "locked");
    else if (error.code === "network") set("connection", "offline");
}

/*
 * Asks for one thing and keeps it; a failure shows in the header and leaves the old value. What is as it was is not drawn again:
 * who scrolls in it or has the keyboard there stays.
 */
async function look(name, ask, pick = (answer) => answer) {
    const question = ++questions;
    try {
        const found = pick(await ask());
        if (question < (answered.get(name) || 0)) return true; // a later question was answered first
        answered.set(name, question);
        if (JSON.stringify(found) !== JSON.stringify(get(name))) set(name, found);
        return true;
    } catch (error) {
        note(error);
        return false;
    }
}

async function refresh() {
    if (!(await look("status", api.status))) return;
    set("connection", "online");
    await afterwards();
}

/* What a finished request changes. */
async function afterwards() {
    await Promise.all([
        look("performance", api.performanceNow),
        look("caches", api.caches),
        look("history", api.history, (answer) => answer.history || []),
    ]);
}

function keepLooking() {
    let timer = 0;
    const again = () => {
        clearTimeout(timer);
        const wait = get("connection") === "online" || get("connection") === "locked" ? LOOK_NOW_AND_THEN_MS : LOOK_AGAIN_MS;
        timer = setTimeout(async () => {
            if (!document.hidden && !isBusy()) await refresh();
            again();
        }, wait);
    };
    on("connection", again);
    window.addEventListener("online", () => get("connection") !== "locked" && refresh()); // the device is back in a network
    document.addEventListener("visibilitychange", () => !document.hidden && get("connection") !== "locked" && refresh());
    again();
}

/*
 * A stream that ends tells first that a server has stopped; one that opens after that may be another server's, of another model. Where
 * there is none at all, each try asks: at most every 15 seconds.
 */
function askWhenStreamsChange() {
    let missed = false;
    return (open) => {
        if (document.hidden || get("connection") === "locked") return; // seen again, or unlocked, the page asks anyway
        if (!open || missed) refresh();
        missed = !open;
    };
}

/*
 * A promise of the first answer of the status, or of the first one to the token: it brings the session that the stream is to belong to.
 * Asked at the same time, each would be given one of its own.
 */
function sessionIsThere() {
    const there = () => get("connection") === "online" || get("connection") === "offline";
    let goOn = () => {};
    on("connection", () => there() && goOn());
    return () =>
        new Promise((resolve) => {
            goOn = resolve;
            if (there()) resolve();
        });
}

function listenToServer() {
    listen(
        (name, data) => {
            if (name === "stage") stageDone(data);
            else if (name === "performance") set("performance", data);
            else if (name === "model") {
                refresh().then(() => {
                    const loaded = get("status") && get("status").model;
                    if (loaded) announce(t("model.changed", { name: loaded.name }));
                });
            }
        },
        askWhenStreamsChange(),
        sessionIsThere(),
    );
}

let soon = 0;
/* Caches changed a little: look once things are quiet. */
function lookAtCachesSoon() {
    clearTimeout(soon);
    soon = setTimeout(() => look("caches", api.caches), 150);
}

fillSkeleton(document);
status.start(refresh);
intake.start();
tips.start();
results.start();
for (const view of [speed, history, caches, model, options]) view.start(byId("panels"));
on("settled", afterwards);
on("cachesUsed", lookAtCachesSoon);
on("otherModel", () => look("status", api.status));
refresh();
keepLooking();
listenToServer();
