/*
 * From chosen files to diagnoses: a queue of uploads, two at a time, with retries while the server is busy.
 * Changes items in the state; draws nothing.
 */
import * as api from "./api.js";
import { prepare } from "./files.js";
import { option } from "./settings.js";
import { classes, emit, get, itemOf, on, saidPlant, set, updateItem } from "./state.js";

const AT_ONCE = 2;
const MOST_OF_A_CASE = 6; // photos that the server combines
const MOST_CLASSES = 1000; // that the server lists in an answer
const TRIES_WHEN_BUSY = 4;
const TRIES_WHEN_BACK = 3; // a photo that no connection carries does not travel for ever
const waiting = [];
const byRequest = new Map(); // X-Request-Id -> items, for the event stream
let running = 0;
let nextKey = 1;
let caseBefore = null; // the joint answer that stood there until its photos were sent again

const cancelled = () => new api.ApiError("aborted", "");

/* Until the time is over or one of the signals aborts. */
const wait = (seconds, signals) =>
    new Promise((resolve) => {
        setTimeout(resolve, seconds * 1000);
        for (const signal of signals) signal.addEventListener("abort", resolve);
    });

function newItem(file) {
    return {
        key: "photo-" + nextKey++,
        name: file.name || "photo",
        size: file.size,
        file,
        preview: null,
        phase: "queued",
        uploaded: 0,
        stages: {},
        diagnosis: null,
        error: null,
        at: "",
        kept: null,
        lost: null,
        resent: 0,
        converted: null,
        abort: new AbortController(),
    };
}

/* Why so many photos get no joint answer. */
const tooMany = (items) => ({ keys: [], tooMany: items.length, most: MOST_OF_A_CASE });

/* A photo that the page turns to. */
function show(item) {
    set("selected", item.key);
    emit("shown", item);
}

/*
 * Takes files in: one request a photo, or one request for all when they show the same plant and are few enough for a joint answer.
 */
export function addFiles(files) {
    const items = Array.from(files, newItem);
    if (items.length === 0) return;
    const samePlant = option("samePlant") && items.length > 1;
    const together = samePlant && items.length <= MOST_OF_A_CASE;
    caseBefore = null;
    set("plantCase", samePlant && !together ? tooMany(items) : null);
    set("items", get("items").concat(items));
    show(items[0]);
    if (together) waiting.push(items);
    else for (const item of items) waiting.push([item]);
    pump();
}

/* An older diagnosis of the history, shown again. */
export function addDiagnosis(diagnosis, at) {
    const known = get("items").find(
        ({ diagnosis: shown }) => shown && shown.id === diagnosis.id && (shown.plant || "") === (diagnosis.plant || ""),
    );
    if (known) return show(known);
    const item = {
        ...newItem({ name: diagnosis.image.name, size: diagnosis.image.bytes }),
        file: null,
        phase: "done",
        diagnosis,
        at,
    };
    set("items", get("items").concat(item));
    return show(item);
}

/* Takes a photo out of the queue; false when it was not there. */
function unqueue(item) {
    const at = waiting.findIndex((items) => items.includes(item));
    if (at < 0) return false;
    const others = waiting[at].filter((other) => other !== item);
    waiting.splice(at, 1, ...(others.length > 0 ? [others] : []));
    return true;
}

/* A photo that waits goes at once; of those that travel in one request, none arrives. */
export function cancel(item) {
    item.abort.abort();
    if (unqueue(item)) fail(item, cancelled());
}

/* Lets the picture of a photo go that nothing shows any more. */
function forget(item) {
    if (item.preview) URL.revokeObjectURL(item.preview);
}

/* Puts one photo away; a joint answer that counted it goes too. Others that travel with it are sent again without it. */
export function remove(item) {
    const at = get("items").indexOf(item);
    const left = get("items").filter((other) => other !== item);
    const joint = get("plantCase");
    unqueue(item);
    set("items", left);
    item.abort.abort();
    if (joint && (joint.tooMany || joint.keys.includes(item.key))) set("plantCase", null);
    if (get("selected") === item.key) set("selected", left.length > 0 ? left[Math.min(at, left.length - 1)].key : null);
    forget(item);
}

export function retry(item) {
    if (!item.file) return;
    item.resent = 0;
    sendAgain([[item]]);
}

const isAnswered = (item) => Boolean(item.file) && item.phase === "done";

/* Groups of photos that have travelled before; each group goes in one request. */
function sendAgain(groups) {
    for (const item of groups.flat()) {
        item.abort = new AbortController();
        updateItem(item, { phase: "queued", error: null, kept: null, lost: null, uploaded: 0, stages: {} });
    }
    waiting.push(...groups.filter((group) => group.length > 0));
    pump();
}

/* What no connection carried goes again when there is one, in the groups in which it travelled. */
function sendLost() {
    if (get("connection") !== "online") return;
    const lost = get("items").filter((item) => item.lost && item.resent < TRIES_WHEN_BACK);
    if (lost.length === 0) return;
    const groups = new Map(lost.map((item) => [item.lost, []]));
    for (const item of lost) {
        item.resent += 1;
        groups.get(item.lost).push(item);
    }
    if (get("plantCase") && get("plantCase").keys.some((key) => lost.includes(itemOf(key)))) putCaseAway();
    sendAgain(Array.from(groups.values()));
}
on("connection", sendLost);

/*
 * Sends a photo once more that the server no longer has, quietly: its answer stands. Resolves when the server has it again, false
 * when this page cannot help.
 */
export async function bringBack(item) {
    if (!item.file) return false;
    const photo = await prepare(item.file, get("status") && get("status").limits);
    const { plant } = item.diagnosis;
    await api.predict([photo], { topK: 1, plantCase: false, plant, requestId: api.requestId(), signals: [item.abort.signal] });
    return true;
}

function putCaseAway() {
    caseBefore = get("plantCase");
    set("plantCase", null);
}

/* The joint answer from before, where its photos kept their answers too. */
function bringCaseBack() {
    if (!caseBefore || caseBefore.keys.length === 0 || get("plantCase")) return;
    const items = caseBefore.keys.map(itemOf);
    if (items.every((item) => item && item.phase === "done" && item.kept)) set("plantCase", caseBefore);
}

/* The finished photos of this visit once more: what was said about them has changed. Photos of one plant stay together. */
export function askAgain() {
    const joint = (get("plantCase") && get("plantCase").keys) || [];
    const items = get("items").filter(isAnswered);
    const together = items.filter((item) => joint.includes(item.key));
    const groups = items.filter((item) => !together.includes(item)).map((item) => [item]);
    if (together.length > 0) groups.push(together);
    for (const item of items) item.resent = 0;
    putCaseAway();
    sendAgain(groups);
}

/* The photos that a joint answer could be asked for: all answered ones, where there are several and no word about them together yet. */
export function joinable() {
    const known = get("plantCase");
    const items = get("items").filter(isAnswered);
    const settled = get("items").every((item) => item.phase === "done" || item.phase === "failed");
    if (!settled || items.length < 2) return [];
    if (known && (known.tooMany === items.length || items.every((item) => known.keys.includes(item.key)))) return [];
    return items;
}

/* Photos that were taken one after the other, as a phone's camera does, show one plant. */
export function join() {
    const items = joinable();
    if (items.length > MOST_OF_A_CASE) return set("plantCase", tooMany(items));
    putCaseAway();
    for (const item of items) item.resent = 0;
    return items.length > 0 && sendAgain([items]);
}

export function clearAll() {
    waiting.length = 0;
    caseBefore = null;
    const items = get("items");
    for (const item of items) item.abort.abort();
    set("selected", null);
    set("plantCase", null);
    set("items", []);
    items.forEach(forget);
}

export function isBusy() {
    return running > 0 || waiting.length > 0;
}

function pump() {
    while (running < AT_ONCE && waiting.length > 0) {
        running += 1;
        work(waiting.shift()).finally(() => {
            running -= 1;
            emit("settled");
            pump();
        });
    }
}

/* [{ item, photo }] of the photos that can travel; the others have failed. */
async function prepareAll(items) {
    const ready = [];
    for (const item of items) {
        updateItem(item, { phase: "preparing" });
        try {
            const photo = await prepare(item.file, get("status") && get("status").limits);
            if (item.abort.signal.aborted) throw cancelled();
            if (!item.preview) item.preview = URL.createObjectURL(photo.blob);
            updateItem(item, { converted: photo.converted });
            ready.push({ item, photo });
        } catch (error) {
            fail(item, error);
        }
    }
    return ready;
}

async function work(items) {
    const ready = await prepareAll(items);
    if (ready.length === 0) return;
    const group = ready.map(({ item }) => item);
    try {
        const plant = saidPlant();
        const answer = await upload(ready, plant);
        if (plant === saidPlant()) finish(ready, answer);
        else sendAgain([group]); // said while it travelled: this is not the answer to it
    } catch (error) {
        failTogether(group, error);
    }
    bringCaseBack();
}

/* One request came to nothing. Where it was stopped because a photo of it was put away, the others go again. */
function failTogether(group, error) {
    const left = group.filter((item) => itemOf(item.key));
    const others = left.length < group.length ? left.filter((item) => !item.abort.signal.aborted) : [];
    for (const item of left) if (!others.includes(item)) fail(item, error, group);
    if (others.length > 0) sendAgain([others]);
}

async function upload(ready, plant) {
    const items = ready.map((entry) => entry.item);
    const signals = items.map((item) => item.abort.signal);
    for (let attempt = 1; ; attempt++) {
        if (signals.some((signal) => signal.aborted)) throw cancelled();
        const requestId = api.requestId();
        byRequest.set(requestId, items);
        try {
            return await api.predict(
                ready.map((entry) => entry.photo),
                {
                    // all classes that the server lists: bars and the class switch need no second request
                    topK: Math.min(Math.max(classes().length, 3), MOST_CLASSES),
                    plantCase: items.length > 1,
                    plant,
                    requestId,
                    signals,
                    onUpload: (fraction) => {
                        for (const item of items)
                            updateItem(item, { phase: fraction < 1 ? "uploading" : "working", uploaded: fraction });
                    },
                },
            );
        } catch (error) {
            const busy = error.code === "overloaded" && attempt < TRIES_WHEN_BUSY;
            if (!busy) throw error;
            for (const item of items) updateItem(item, { phase: "queued" });
            await wait(Math.min(error.retryAfter || 1, 10), signals);
        } finally {
            byRequest.delete(requestId);
        }
    }
}

function finish(ready, answer) {
    const results = answer.results || [answer];
    ready.forEach(({ item }, index) => {
        const result = results[index];
        if (!result || result.error) {
            const error = (result && result.error) || { code: "internal", message: "" };
            fail(item, new api.ApiError(error.code, error.message));
        } else {
            const at = new Date().toISOString();
            updateItem(item, { phase: "done", diagnosis: result, at, error: null, resent: 0, maps: null }); // maps are an answer's
        }
    });
    const read = ready.filter(({ item }) => item.phase === "done");
    const photos = read.map(({ item }) => item);
    if (answer.case) finishCase(photos, answer.case);
}

/* Of the photos of a joint answer the one that shows it best is selected. */
function finishCase(items, joint) {
    const { index } = joint.predictions[0];
    const fit = ({ diagnosis }) => {
        const { probability } = diagnosis.predictions.find((entry) => entry.index === index) || { probability: 0 };
        const isTop = diagnosis.predictions[0].index === index && diagnosis.verdict !== "not_a_leaf";
        return isTop ? 1 + probability : probability;
    };
    caseBefore = null;
    set("plantCase", { ...joint, keys: items.map((item) => item.key) });
    set("selected", items.reduce((best, item) => (fit(item) > fit(best) ? item : best)).key);
}

/* An answer that is there already stays: it is worth more than none. `group`: the photos that travelled together, if they did. */
function fail(item, error, group = null) {
    const known = error instanceof api.ApiError ? error : new api.ApiError("internal", String(error && error.message));
    const lost = known.code === "network" ? group : null;
    const given = lost && item.resent >= TRIES_WHEN_BACK ? new api.ApiError("not_carried", "") : known; // nor will it be
    updateItem(item, item.diagnosis ? { phase: "done", kept: given, lost } : { phase: "failed", error: given, lost });
    if (known.code === "network") set("connection", "offline");
    if (known.code === "unauthorized") set("connection", "locked");
}

/* A stage of a prediction ended on the server. */
export function stageDone(event) {
    const items = byRequest.get(event.request);
    if (!items) return;
    const item =
        items.length === 1
            ? items[0]
            : items.find((candidate) => candidate.name === event.name && !candidate.stages[event.stage]);
    if (item && itemOf(item.key)) updateItem(item, { phase: "working", stages: { ...item.stages, [event.stage]: event.ms } });
}
