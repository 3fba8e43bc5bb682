/*
 * Modules of the page that need no page, as they stand in web/: borders of the two traffic lights, from which end the scale of the heat
 * map runs, what a failed request is called, and how the event stream is read. node takes .js for modules only beside a package.json that
 * says so, hence the copy.
 */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const folder = mkdtempSync(join(tmpdir(), "cropshield-modules-"));
after(() => rmSync(folder, { recursive: true }));
cpSync(fileURLToPath(new URL("../../web", import.meta.url)), folder, { recursive: true });
writeFileSync(join(folder, "package.json"), '{"type": "module"}');
if (globalThis.navigator === undefined) globalThis.navigator = { languages: ["en"] };
const load = (name) => import(pathToFileURL(join(folder, name)).href);

test("the lights change where the verdict and the target do", async () => {
    const { confidenceLight, speedLight } = await load("format.js");
    const confidence = [
        [1, "good"],
        [0.8001, "good"],
        [0.8, "fair"], // above, not at
        [0.5001, "fair"],
        [0.5, "poor"],
        [0, "poor"],
    ];
    for (const [value, light] of confidence) assert.equal(confidenceLight(value), light, String(value));
    const speed = [
        [0, "good"],
        [199.9, "good"],
        [200, "fair"],
        [499.9, "fair"],
        [500, "poor"],
    ];
    for (const [value, light] of speed) assert.equal(speedLight(value), light, String(value));
});

/* A canvas that keeps what is painted. */
function canvas() {
    const context = {
        createImageData: (width, height) => ({ width, height, data: new Uint8ClampedArray(width * height * 4) }),
        putImageData(picture) {
            this.picture = picture;
        },
    };
    return { getContext: () => context, context };
}

test("the scale of the heat map runs from little to much", async () => {
    const { paintLegend } = await load("heatmap.js");
    const { COLORMAPS, table } = await load("colormaps.js");
    for (const name of COLORMAPS) {
        const legend = canvas();
        paintLegend(legend, name);
        const { width, data } = legend.context.picture;
        assert.equal(width, 256);
        const colours = table(name);
        for (let i = 0; i < 256; i++) assert.deepEqual([...data.slice(4 * i, 4 * i + 3)], [...colours.slice(3 * i, 3 * i + 3)], `${name} ${i}`);
    }
    const grey = canvas();
    paintLegend(grey, "grey");
    assert.deepEqual([...grey.context.picture.data.slice(0, 3)], [0, 0, 0]);
    assert.deepEqual([...grey.context.picture.data.slice(255 * 4, 255 * 4 + 3)], [255, 255, 255]);
});

test("a proxy's word for a server that is not there is no connection; the server's own word stands", async (t) => {
    const { status } = await load("api.js");
    const inner = globalThis.fetch;
    t.after(() => (globalThis.fetch = inner));
    const ours = JSON.stringify({ error: { code: "overloaded", message: "64 requests in flight" } });
    const broken = new ReadableStream({ start: (controller) => controller.error(new TypeError("network error")) });
    const answers = [
        [502, "<h1>Bad Gateway</h1>", "network"],
        [503, '{"message": "Service Unavailable"}', "network"],
        [504, "", "network"],
        [503, ours, "overloaded"],
        [429, "", "overloaded"],
        [500, "<h1>Error</h1>", "internal"],
        [200, "<h1>Welcome</h1>", "internal"],
        [200, broken, "network"],
    ];
    for (const [code, body, wanted] of answers) {
        globalThis.fetch = async () => new Response(body, { status: code });
        await assert.rejects(status(), { code: wanted }, `${code} ${body}`);
    }
});

test("the event stream is read without TextDecoderStream, and one that cannot be read is let go and tried more seldom", async (t) => {
    const { listen } = await load("events.js");
    const before = { fetch: globalThis.fetch, setTimeout: globalThis.setTimeout, TextDecoderStream: globalThis.TextDecoderStream };
    t.after(() => Object.assign(globalThis, before));
    delete globalThis.TextDecoderStream;
    const page = { hidden: false, addEventListener() {}, removeEventListener() {} };
    globalThis.document = page;
    const waits = [];
    globalThis.setTimeout = (next, ms) => {
        waits.push(ms);
        setImmediate(next);
    };
    const signals = [];
    const text = Buffer.from(': hello\n\nevent: stage\ndata: {"name": "früh"}\n\nevent: sta');
    const middle = text.indexOf(0xc3) + 1; // within a letter of two bytes
    const stream = () =>
        new ReadableStream({
            start(controller) {
                controller.enqueue(new Uint8Array(text.subarray(0, middle)));
                controller.enqueue(new Uint8Array(text.subarray(middle)));
                controller.close();
            },
        });
    const answers = [{ ok: true, body: {} }, { ok: false, body: stream() }, { ok: true, body: stream() }];
    const told = [];
    await new Promise((resolve) => {
        globalThis.fetch = async (_, { signal }) => {
            signals.push(signal);
            if (answers.length > 0) return answers.shift();
            page.hidden = true; // ends the test: an unseen page asks no more
            setImmediate(() => setImmediate(resolve));
            throw new TypeError("refused");
        };
        listen(
            (name, data) => told.push([name, data]),
            (open) => told.push(open),
        );
    });
    assert.deepEqual(told, [false, false, true, ["stage", { name: "früh" }], false, false]);
    assert.deepEqual(waits, [1000, 2000, 1000, 2000]);
    assert.ok(signals.every((signal) => signal.aborted));
});
