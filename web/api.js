/*
 * The HTTP API as functions. Every failure is an ApiError with one of the server's codes, or "network" / "aborted".
 * Owns the access token (kept for this browser tab only) and nothing else.
 */
const TOKEN_KEY = "cropshield.token";
let token = "";
try {
    token = window.sessionStorage.getItem(TOKEN_KEY) || "";
} catch (_) {
    // asked again after a reload
}

export class ApiError extends Error {
    constructor(code, message, status = 0, retryAfter = 0) {
        super(message || code);
        this.code = code;
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

export function setToken(value) {
    token = value;
    try {
        window.sessionStorage.setItem(TOKEN_KEY, value);
    } catch (_) {
        // kept in memory
    }
}

export function headers(more) {
    return token ? { Authorization: "Bearer " + token, ...more } : { ...more };
}

const GATEWAY = [502, 503, 504]; // a proxy's word for a server that is not there

/* A code for answers without a body of ours (a proxy in between, a cut connection). */
function codeOf(status) {
    if (status === 401) return "unauthorized";
    if (status === 404) return "not_found";
    if (status === 408) return "timeout";
    if (status === 413) return "image_too_large";
    if (status === 415) return "unsupported_format";
    if (status === 429) return "overloaded";
    if (GATEWAY.includes(status)) return "network";
    return status >= 400 && status < 500 ? "bad_request" : "internal";
}

function errorOf(status, text, retryAfter) {
    let body = null;
    try {
        body = JSON.parse(text);
    } catch (_) {
        // not ours
    }
    const error = body && body.error;
    if (error && typeof error === "object") return new ApiError(error.code || codeOf(status), error.message, status, retryAfter);
    return new ApiError(codeOf(status), typeof error === "string" ? error : "", status, retryAfter);
}

/* What a request or the reading of its answer came to: an answer that is no JSON is the server's fault, the rest the connection's. */
function failureOf(error) {
    if (error instanceof ApiError) return error;
    const code = error.name === "AbortError" ? "aborted" : error.name === "SyntaxError" ? "internal" : "network";
    return new ApiError(code, error.message);
}

/* `read(response)`: what is wanted of an answer. A connection may break while it is read. */
async function request(path, read, { method = "GET", signal } = {}) {
    try {
        const response = await fetch(path, { method, signal, headers: headers(), credentials: "same-origin", cache: "no-store" });
        if (response.ok) return await read(response);
        throw errorOf(response.status, await response.text(), Number(response.headers.get("Retry-After")) || 0);
    } catch (error) {
        throw failureOf(error);
    }
}

const json = (path, options) => request(path, (response) => response.json(), options);

export const status = () => json("/api/v1/status");
export const performanceNow = () => json("/api/v1/performance");
export const caches = () => json("/api/v1/caches");
export const clearCaches = (name) => json("/api/v1/caches" + (name ? "/" + name : ""), { method: "DELETE" });
export const history = () => json("/api/v1/history");
export const clearHistory = () => json("/api/v1/history", { method: "DELETE" });

/* The photo at display size, as a blob: an <img> of its own could not send the token. */
export const displayImage = (id) => request(`/api/v1/images/${id}/display`, (response) => response.blob());

/* { map: [[…]], width, height }: what the network looked at for one class, 0…1. */
export const gradcamMap = (id, index, method, signal) =>
    json(`/api/v1/images/${id}/gradcam?class=${index}&method=${encodeURIComponent(method)}&format=json`, { signal });

/*
 * Uploads photos. XMLHttpRequest rather than fetch, because only it tells how much of the body has left.
 * No overlay is asked for: the page draws it from the map, which the forward pass leaves behind anyway.
 * `onUpload(fraction)`; each of `signals` aborts. Resolves with the server's answer.
 */
export function predict(photos, { topK, plantCase, plant, requestId, onUpload, signals }) {
    const body = new FormData();
    for (const photo of photos) body.append("image", photo.blob, photo.name);
    const query = `top_k=${topK}&gradcam=0${plantCase ? "&case=1" : ""}${plant ? "&plant=" + encodeURIComponent(plant) : ""}`;
    return new Promise((resolve, reject) => {
        const call = new XMLHttpRequest();
        call.open("POST", "/api/v1/predict?" + query);
        for (const [name, value] of Object.entries(headers({ "X-Request-Id": requestId, Accept: "application/json" }))) {
            call.setRequestHeader(name, value);
        }
        call.upload.onprogress = (event) => onUpload && event.lengthComputable && onUpload(event.loaded / event.total);
        call.upload.onload = () => onUpload && onUpload(1);
        call.onload = () => {
            if (call.status >= 200 && call.status < 300) {
                try {
                    resolve(JSON.parse(call.responseText));
                } catch (_) {
                    reject(new ApiError("internal", "the answer is not JSON"));
                }
                return;
            }
            reject(errorOf(call.status, call.responseText, Number(call.getResponseHeader("Retry-After")) || 0));
        };
        call.onerror = () => reject(new ApiError("network", ""));
        call.onabort = () => reject(new ApiError("aborted", ""));
        for (const signal of signals) signal.addEventListener("abort", () => call.abort());
        call.send(body);
    });
}

/* A token that names one upload in the event stream. crypto.randomUUID exists on HTTPS pages only. */
export function requestId() {
    const random = crypto.getRandomValues(new Uint8Array(12));
    return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
