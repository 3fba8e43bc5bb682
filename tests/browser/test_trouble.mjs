/* What can go wrong, and what the page says then. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { canvasPage, settled, upload, visit } from "./harness.mjs";
import { leafPicture } from "./leaf.mjs";

const REFUSED = [/status of 4\d\d/]; // Chromium's own line about an answer that the test asks for

test("broken files are named in words and stop nothing", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 31 });
    const { page, close } = await visit({ allow: REFUSED });
    await upload(page, [
        { name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("these are words, not a picture") },
        { name: "half.jpg", mimeType: "image/jpeg", buffer: leaf.buffer.subarray(0, 400) },
        { name: "nothing.jpg", mimeType: "image/jpeg", buffer: Buffer.alloc(0) },
        { name: "IMG_1.heic", mimeType: "image/heic", buffer: Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1") },
        leaf,
    ]);
    const titles = await page.locator(".strip-title").allTextContents();
    assert.match(titles[0], /not a photo CropShield can read/);
    assert.match(titles[1], /damaged/);
    assert.match(titles[2], /empty/);
    assert.match(titles[3], /HEIC/);
    assert.ok(await page.isVisible("#strip li:nth-child(5) button[data-phase=done]"));
    await page.click("#strip li:nth-child(4) button");
    assert.match(await page.textContent(".failed"), /Most Compatible/);
    await page.click("#strip li:nth-child(2) button");
    await page.click(".failed summary");
    assert.match(await page.textContent(".failed details"), /corrupt_image/);
    await close();
});

test("a file over the limit never travels", async () => {
    const { page, requests, close } = await visit();
    const folder = mkdtempSync(path.join(tmpdir(), "cropshield-")); // a path: bytes would go through the debugger, slowly
    const huge = path.join(folder, "huge.jpg");
    writeFileSync(huge, Buffer.from([0xff, 0xd8, 0xff]));
    truncateSync(huge, 27 * 1024 * 1024);
    await upload(page, huge);
    assert.match(await page.textContent(".failed"), /too large.*27 MB.*25 MB/s);
    assert.equal(requests.filter((request) => request.method === "POST").length, 0);
    await close();
    rmSync(folder, { recursive: true });
});

test("a picture that only the browser can read is turned into a JPEG", async () => {
    const { page, close } = await visit();
    const gif = Buffer.from("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");
    await upload(page, { name: "dot.gif", mimeType: "image/gif", buffer: gif });
    assert.match(await page.textContent(".result"), /turned this GIF file into a JPEG/);
    await close();
});

test("without a connection the page says so, and recovers", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 32 });
    const { page, context, close } = await visit({ allow: [/ERR_INTERNET_DISCONNECTED/, /ERR_NETWORK/] });
    await context.setOffline(true);
    await upload(page, leaf);
    assert.match(await page.textContent(".failed"), /No connection/);
    await page.waitForSelector(".pill-offline");
    assert.match(await page.textContent("#banner"), /does not answer/);
    await context.setOffline(false);
    await page.click("#banner button");
    await page.waitForSelector(".pill-online");
    await page.click(".failed .button");
    await page.waitForSelector("#verdict-title");
    await close();
});

test("without the event stream everything still works", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 33 });
    const { page, close } = await visit({
        allow: [/ERR_FAILED/],
        prepare: (page) => page.route("**/api/v1/events", (route) => route.abort()),
    });
    await upload(page, leaf);
    await page.waitForSelector("#panel-speed .chart");
    await page.waitForSelector("#heat-layer:not([hidden])");
    await close();
});

test("a tab in the background holds no connection, and listens again when it is seen", async () => {
    const { page, close } = await visit();
    const stream = (request) => request.url().endsWith("/api/v1/events");
    const turn = (hidden) =>
        page.evaluate((value) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
            document.dispatchEvent(new Event("visibilitychange"));
        }, hidden);
    await page.waitForTimeout(200);
    await Promise.all([page.waitForEvent("requestfailed", { predicate: stream, timeout: 5000 }), turn(true)]);
    await Promise.all([page.waitForEvent("request", { predicate: stream, timeout: 5000 }), turn(false)]);
    await close();
});

test("a busy server is asked again; a token is asked for; a missing model is told", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 34 });
    const { page, close } = await visit({ allow: [/status of (401|503)/] });
    let refusals = 0;
    await page.route("**/api/v1/predict*", (route) => {
        refusals += 1;
        if (refusals > 2) return route.continue();
        return route.fulfill({
            status: 503,
            headers: { "Retry-After": "1" },
            json: { error: { code: "overloaded", message: "64 requests in flight" } },
        });
    });
    await upload(page, leaf);
    assert.equal(refusals, 3);
    assert.ok(await page.isVisible("#verdict-title"));

    await page.route("**/api/v1/status", (route) =>
        route.fulfill({ status: 401, json: { error: { code: "unauthorized", message: "a token is needed" } } }),
    );
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.waitForSelector("#token");
    for (const wrong of ["open", "\u201csesame\u201d"]) {
        await page.fill("#token", wrong);
        await page.click(".banner-form button");
        await page.waitForFunction(() => document.getElementById("token-said").textContent.includes("does not accept"));
        await page.waitForTimeout(200);
        assert.ok(await page.isVisible("#token"), `the form is gone after ${wrong}`);
    }
    await page.unroute("**/api/v1/status");
    const [request] = await Promise.all([
        page.waitForRequest("**/api/v1/status"),
        page.fill("#token", "sesame").then(() => page.click(".banner-form button")),
    ]);
    assert.equal(request.headers().authorization, "Bearer sesame");
    await page.waitForSelector(".pill-online");

    await page.route("**/api/v1/status", async (route) => {
        const answer = await (await route.fetch()).json();
        await route.fulfill({ json: { ...answer, model: null } });
    });
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.waitForSelector(".pill-no_model");
    assert.match(await page.textContent("#banner"), /No model is loaded/);
    await close();
});

test("a file with HTML in its name stays text", async () => {
    const name = "<img src=x onerror=alert(1)>.jpg";
    const leaf = await leafPicture(await canvasPage(), { width: 320, height: 240, seed: 35, name });
    const { page, close } = await visit();
    await upload(page, leaf);
    await page.waitForSelector(".history-row");
    assert.equal(await page.locator('img[src="x"]').count(), 0);
    assert.ok((await page.textContent("#panel-history")).includes("onerror"));
    await close();
});

test("progress shows the stages that the server tells", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 3200, height: 2400, seed: 36 });
    const { page, close } = await visit();
    await page.evaluate(() => {
        window.seen = new Set();
        new MutationObserver(() => {
            for (const step of document.querySelectorAll(".steps .done")) window.seen.add(step.id);
        }).observe(document.getElementById("detail"), { subtree: true, childList: true, attributes: true });
    });
    await upload(page, leaf);
    const seen = await page.evaluate(() => Array.from(window.seen));
    assert.ok(seen.includes("step-upload") && seen.includes("step-decode"), `seen: ${seen}`);
    await close();
});

test("dropped and pasted photos are taken", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 37 });
    const { page, close } = await visit();
    const bytes = Array.from(leaf.buffer);
    await page.evaluate((content) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(content)], "dropped.jpg", { type: "image/jpeg" }));
        for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }, bytes);
    await settled(page, 1);
    assert.ok(await page.isHidden("#drop-cover"));
    await page.evaluate((content) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(content)], "pasted.jpg", { type: "image/jpeg" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
    }, bytes);
    await settled(page, 2);
    await page.waitForFunction(() => document.querySelectorAll(".history-row").length === 2);
    const names = await page.locator("#strip button").evaluateAll((buttons) => buttons.map((button) => button.title));
    assert.deepEqual(names, ["dropped.jpg", "pasted.jpg"]);
    await close();
});

test("a computer's camera takes a photo; without permission the page says so", async () => {
    const { page, context, close } = await visit();
    await context.grantPermissions(["camera"]);
    await page.click("label[for=camera-input]");
    await page.waitForFunction(() => document.querySelector(".camera-picture").videoWidth > 0);
    await page.click("#camera-shoot");
    await settled(page, 1);
    assert.ok(await page.isVisible("#verdict-title"));
    assert.equal(await page.evaluate(() => document.querySelector(".camera").open), false);
    await context.clearPermissions();
    await page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.click("label[for=camera-input]");
    await page.waitForFunction(() => document.getElementById("camera-said").textContent.includes("Allow it"));
    await page.keyboard.press("Escape");
    await close();
});
