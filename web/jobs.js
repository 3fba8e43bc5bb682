/*
 * From chosen files to diagnoses: a queue of uploads, two at a time, with retries while the server is busy.
 * Changes items in the state; draws nothing.
 */
import * as api from "./api.js";
import { prepare } from "./files.js";
import { option } from "./settings.js";
import { classes, emit, get, itemOf, plants, set, updateItem } from "./state.js";

const AT_ONCE = 2;
const MOST_OF_A_CASE = 6; // photos that the server combines
const MOST_CLASSES = 1000; // that the server lists in an answer
const TRIES_WHEN_BUSY = 4;
const waiting = [];
const byRequest = new Map(); // X-Request-Id -> items, for the event stream
let running = 0;
let nextKey = 1;

const cancelled = () => new api.ApiError("aborted", "");

/* Until the time is over or one of the signals aborts. */
const wait = (seconds, signals) =>
    new Promise((resolve) => {
        setTimeout(resolve, seconds * 1000);
        for (const signal of signals) signal.addEventListener("abort", resolve);
    });

/* What the user says grows there, if the model knows it. */
const saidPlant = () => (plants().includes(get("plant")) ? get("plant") : "");

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
        converted: null,
        abort: new AbortController(),
    };
}

/* Why so many photos get no joint answer. */
const tooMany = (items) => ({ keys: [], tooMany: items.length, most: MOST_OF_A_CASE });

/*
 * Takes files in: one request a photo, or one request for all when they show the same plant and are few enough for a joint answer.
 */
export function addFiles(files) {
    const items = Array.from(files, newItem);
    if (items.length === 0) return;
    const samePlant = option("samePlant") && items.length > 1;
    const together = samePlant && items.length <= MOST_OF_A_CASE;
    set("plantCase", samePlant && !together ? tooMany(items) : null);
    set("items", get("items").concat(items));
    set("selected", items[0].key);
    if (together) waiting.push(items);
    else for (const item of items) waiting.push([item]);
    pump();
}

/* An older diagnosis of the history, shown again. */
export function addDiagnosis(diagnosis) {
    const known = get("items").find(
        ({ diagnosis: shown }) => shown && shown.id === diagnosis.id && (shown.plant || "") === (diagnosis.plant || ""),
    );
    if (known) return set("selected", known.key);
    const item = {
        ...newItem({ name: diagnosis.image.name, size: diagnosis.image.bytes }),
        file: null,
        phase: "done",
        diagnosis,
    };
    set("items", get("items").concat(item));
    return set("selected", item.key);
}

/* A photo that waits goes at once; of those that travel in one request, none arrives. */
export function cancel(item) {
    item.abort.abort();
    const at = waiting.findIndex((items) => items.includes(item));
    if (at < 0) return;
    const others = waiting[at].filter((other) => other !== item);
    waiting.splice(at, 1, ...(others.length > 0 ? [others] : []));
    fail(item, cancelled());
}

export function retry(item) {
    if (!item.file) return;
    item.abort = new AbortController();
    updateItem(item, { phase: "queued", error: null, uploaded: 0, stages: {} });
    waiting.push([item]);
    pump();
}

const isAnswered = (item) => Boolean(item.file) && item.phase === "done";

/* Groups of photos that have travelled before; each group goes in one request. */
function sendAgain(groups) {
    for (const item of groups.flat()) updateItem(item, { phase: "queued", uploaded: 0, stages: {} });
    waiting.push(...groups);
    pump();
}

/* The finished photos of this visit once more: what was said about them has changed. Photos of one plant stay together. */
export function askAgain() {
    const joint = (get("plantCase") && get("plantCase").keys) || [];
    const items = get("items").filter(isAnswered);
    const together = items.filter((item) => joint.includes(item.key));
    const groups = items.filter((item) => !together.includes(item)).map((item) => [item]);
    if (together.length > 0) groups.push(together);
    set("plantCase", null);
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
    set("plantCase", null);
    return items.length > 0 && sendAgain([items]);
}

export function clearAll() {
    waiting.length = 0;
    for (const item of get("items")) {
        item.abort.abort();
        if (item.preview) URL.revokeObjectURL(item.preview);
    }
    set("plantCase", null);
    set("selected", null);
    set("items", []);
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

async function work(items) {
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
    if (ready.length === 0) return;
    try {
        const plant = saidPlant();
        const answer = await upload(ready, plant);
        if (plant === saidPlant()) finish(ready, answer);
        else sendAgain([ready.map(({ item }) => item)]); // said while it travelled: this is not the answer to it
    } catch (error) {
        for (const { item } of ready) fail(item, error);
    }
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
            updateItem(item, { phase: "done", diagnosis: result, error: null });
        }
    });
    const read = ready.filter(({ item }) => item.phase === "done");
    if (answer.case) set("plantCase", { ...answer.case, keys: read.map(({ item }) => item.key) });
}

function fail(item, error) {
    const known = error instanceof api.ApiError ? error : new api.ApiError("internal", String(error && error.message));
    updateItem(item, { phase: "failed", error: known });
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
