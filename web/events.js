/*
 * The server's event stream, read with fetch: EventSource cannot send an access token. Reconnects by itself;
 * without it the page still works, only less lively.
 */
import { headers } from "./api.js";

const WAITS_MS = [1000, 2000, 5000, 10000, 15000];

/* Splits a stream of text into events; returns what is left of an unfinished one. */
export function parseEvents(buffer, emit) {
    const blocks = buffer.split(/\r?\n\r?\n/);
    const rest = blocks.pop();
    for (const block of blocks) {
        let name = "message";
        const data = [];
        for (const line of block.split(/\r?\n/)) {
            if (line.startsWith("event:")) name = line.slice(6).trim();
            else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        if (data.length === 0) continue; // a comment that keeps the line open
        try {
            emit(name, JSON.parse(data.join("\n")));
        } catch (_) {
            // an event we cannot read is an event we do not need
        }
    }
    return rest;
}

const seen = () =>
    new Promise((resolve) => {
        const look = () => {
            if (document.hidden) return;
            document.removeEventListener("visibilitychange", look);
            resolve();
        };
        document.addEventListener("visibilitychange", look);
        look();
    });

/*
 * `onEvent(name, data)`, `onState(open)`. Runs until the page goes away, while it is seen: browsers open six connections to a
 * server, and as many forgotten tabs would keep the next one out.
 */
export async function listen(onEvent, onState) {
    let failures = 0;
    for (;;) {
        await seen();
        const hidden = new AbortController();
        const leave = () => document.hidden && hidden.abort();
        document.addEventListener("visibilitychange", leave);
        try {
            const response = await fetch("/api/v1/events", {
                headers: headers({ Accept: "text/event-stream" }),
                credentials: "same-origin",
                cache: "no-store",
                signal: hidden.signal,
            });
            if (!response.ok || !response.body) throw new Error("no stream");
            onState(true);
            failures = 0;
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            let rest = "";
            for (;;) {
                const { value, done } = await reader.read();
                if (done) break;
                rest = parseEvents(rest + value, onEvent);
            }
        } catch (_) {
            // falls through to the wait
        }
        document.removeEventListener("visibilitychange", leave);
        onState(false);
        if (hidden.signal.aborted) continue;
        await new Promise((resolve) => setTimeout(resolve, WAITS_MS[Math.min(failures, WAITS_MS.length - 1)]));
        failures += 1;
    }
}
