/*
 * What the page knows, in one place, and who wants to hear of a change. No drawing, no network.
 *
 * items: photos of this visit, oldest first. An item is
 *   { key, name, size, file, preview, phase, uploaded, stages, diagnosis, at, error, kept, lost, converted }
 *   at: when it was diagnosed
 *   kept: why a newer answer did not come, when `diagnosis` is one from before
 *   lost: the photos that travelled in one request that no connection carried
 *   phase: "queued" | "preparing" | "uploading" | "working" | "done" | "failed"
 */
const state = {
    connection: "connecting", // "connecting" | "online" | "offline" | "locked"
    status: null,
    performance: null,
    caches: null,
    history: [],
    items: [],
    selected: null, // key of the item shown large
    plantCase: null, // joint answer for several photos of one plant, or { tooMany, most } why there is none
    plant: "", // what the user says grows there; "": nothing said. Not remembered: forgotten, it would mislead
};
/* Of the names above, and of "item", "detail", "shown", "settled", "cachesUsed", "otherModel", "option", "theme". */
const listeners = new Map();

export function get(name) {
    return state[name];
}

export function set(name, value) {
    state[name] = value;
    emit(name);
}

export function emit(name, detail) {
    for (const listener of listeners.get(name) || []) listener(state[name], detail);
}

/* Calls `listener(value, detail)` at every change of one of the names. */
export function on(names, listener) {
    for (const name of [].concat(names)) {
        if (!listeners.has(name)) listeners.set(name, new Set());
        listeners.get(name).add(listener);
    }
}

export const itemOf = (key) => state.items.find((item) => item.key === key) || null;

/* Changes an item and tells who listens to "item". */
export function updateItem(item, changes) {
    Object.assign(item, changes);
    emit("item", item);
}

/* The class list of the model: [{ index, class, label, tested }]. */
export function classes() {
    const model = state.status && state.status.model;
    return (model && model.classes) || [];
}

/* "Tomato", …: the plants whose leaves the model knows; none for a model whose classes name none. */
export function plants() {
    const model = state.status && state.status.model;
    return (model && model.plants) || [];
}

/* What the user says grows there, if the model knows it. */
export const saidPlant = () => (plants().includes(state.plant) ? state.plant : "");

/* { resize, crop } in use: the short side in pixels and the square in its middle that the network sees; null when unknown. */
export function preprocessing() {
    const model = state.status && state.status.model;
    return model && model.resize ? { resize: model.resize, crop: model.input_size } : null;
}

export const targetMs = () => (state.status && state.status.target_ms) || 200;
