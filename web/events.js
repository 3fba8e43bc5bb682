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

/* Reads one stream until it ends; `onOpen()` when its first piece is there. */
async function readStream(signal, onOpen, onEvent) {
    const response = await fetch("/api/v1/events", {
        headers: headers({ Accept: "text/event-stream" }),
        credentials: "same-origin",
        cache: "no-store",
        signal,
    });
    if (!response.ok || !response.body) throw new Error("no stream");
    const reader = response.body.getReader();
    const decoder = new TextDecoder(); // TextDecoderStream is younger than browsers in use
    let open = false;
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        if (!open) onOpen();
        open = true;
        rest = parseEvents(rest + decoder.decode(value, { stream: true }), onEvent);
    }
}

/*
 * `onEvent(name, data)`; `onState(open)` when a stream begins to speak and when one ends or cannot be had; `mayAsk()`: a promise to
 * wait for before each try. Runs until the page goes away, while it is seen: browsers open six connections to a server, and as many
 * forgotten tabs would keep the next one out.
 */
export async function listen(onEvent, onState, mayAsk = async () => {}) {
    let failures = 0;
    const onOpen = () => {
        failures = 0;
        onState(true);
    };
    for (;;) {
        await mayAsk();
        await seen();
        const stream = new AbortController();
        const leave = () => document.hidden && stream.abort();
        document.addEventListener("visibilitychange", leave);
        try {
            await readStream(stream.signal, onOpen, onEvent);
        } catch (_) {
            // falls through to the wait
        }
        document.removeEventListener("visibilitychange", leave);
        const left = stream.signal.aborted; // the tab was hidden
        stream.abort(); // whatever became of it, its connection is free for the next
        onState(false);
        if (left) continue;
        await new Promise((resolve) => setTimeout(resolve, WAITS_MS[Math.min(failures, WAITS_MS.length - 1)]));
        failures += 1;
    }
}
