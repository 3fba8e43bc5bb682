/* What can go wrong, and what the page says then. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { base, canvasPage, heatShown, moreSettings, plainPage, settled, upload, visit } from "./harness.mjs";
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
    assert.ok(await page.isVisible("#strip li:nth-child(5) .strip-card[data-phase=done]"));
    await page.click("#strip li:nth-child(4) .strip-card");
    assert.match(await page.textContent(".failed"), /Most Compatible/);
    await page.click("#strip li:nth-child(2) .strip-card");
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
    await page.click("label[for=same-plant]");
    await page.setInputFiles("#file-input", [leaf, { ...leaf, name: "second.jpg" }]);
    await settled(page, 2);
    assert.match(await page.textContent(".failed"), /No connection.*sent by itself/s);
    await page.waitForSelector(".pill-offline");
    assert.match(await page.textContent("#banner"), /does not answer.*sent by themselves/s);
    for (const width of [320, 360]) {
        await page.setViewportSize({ width, height: 640 });
        const [brand, pill, theme] = await page.evaluate(() =>
            [".brand-name", "#pill", "#theme"].map((name) => document.querySelector(name).getBoundingClientRect().toJSON()),
        );
        assert.ok(pill.top >= brand.bottom || pill.left >= brand.right, `the pill covers the name at ${width} px`);
        assert.ok(theme.right <= width);
    }
    await page.click("#banner button");
    await page.waitForFunction(() => /Still no answer/.test(document.getElementById("banner-said").textContent));
    assert.ok(await page.isVisible("#banner[role=alert] #banner-said"));
    await context.setOffline(false);
    await page.waitForSelector("#verdict-title"); // without a click
    await page.waitForSelector("text=Joint answer for 2 photos"); // in one request, as before
    await close();
});

test("a photo that no connection ever carries, or a proxy only, is not sent for ever", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 320, height: 240, seed: 38 });
    const { page, requests, close } = await visit({ allow: [/ERR_FAILED/, /status of 502/] });
    let turn = 0;
    await page.route("**/api/v1/predict*", (route) =>
        ++turn % 2 === 0 ? route.abort() : route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad Gateway</h1>" }),
    );
    await page.setInputFiles("#file-input", leaf);
    await settled(page, 1);
    assert.match(await page.textContent(".failed"), /No connection.*sent by itself when/s);
    for (let i = 0; i < 5; i++) {
        await page.evaluate(() => window.dispatchEvent(new Event("online")));
        await page.waitForTimeout(150);
    }
    await settled(page, 1);
    assert.equal(requests.filter(({ url }) => url.includes("/predict")).length, 4);
    assert.match(await page.textContent(".failed"), /not sent by itself any more\. Press Try again/);
    await close();
});

test("an answer that is there survives a broken connection and a server that has no time", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 39 });
    const { page, context, close } = await visit({
        allow: [/ERR_INTERNET_DISCONNECTED/, /ERR_NETWORK/, /status of 504/],
    });
    await upload(page, [leaf, { ...leaf, name: "second.jpg" }]);
    const title = await page.textContent("#verdict-title");
    await page.route("**/api/v1/predict*", (route) =>
        route.fulfill({ status: 504, json: { error: { code: "timeout", message: "too late" } } }),
    );
    await page.click("#join");
    await page.waitForSelector("text=It took too long. This is the answer from before.");
    assert.equal(await page.textContent("#verdict-title"), title);
    assert.equal(await page.locator(".strip-card[data-phase=done]").count(), 2);
    assert.ok(await page.isVisible("#join"));
    await page.waitForFunction(() => /The answer from before stays/.test(document.getElementById("announcer").textContent));
    await page.unroute("**/api/v1/predict*");
    await page.click("#join");
    await page.waitForSelector("text=Joint answer for 2 photos");
    const joint = await page.textContent("#case-sentence");

    // a map that the connection did not carry comes without a click
    await heatShown(page, await page.evaluate(() => document.getElementById("heat-class").value));
    await moreSettings(page);
    await context.setOffline(true);
    const other = await page.locator("#heat-class option").nth(1).getAttribute("value");
    await page.selectOption("#heat-class", other);
    await page.waitForSelector(".photo-message >> text=The heat map could not be made: No connection to the server");
    await page.waitForSelector(".pill-offline");
    await context.setOffline(false);
    await heatShown(page, other);
    assert.equal(await page.textContent(".photo-message"), "");

    await context.setOffline(true);
    await page.selectOption("#plant", "Wheat");
    await page.waitForSelector("#detail >> text=No connection to the server. This is the answer from before.");
    assert.equal(await page.locator(".strip-card[data-phase=done]").count(), 2);
    assert.equal(await page.textContent("#case-sentence"), joint);
    await page.waitForSelector("#case >> text=Diagnosed before you said Wheat.");
    await context.setOffline(false);
    await page.waitForSelector("#case >> text=You said that it is Wheat"); // asked again without a click
    await page.waitForSelector("#detail >> text=You said that it is Wheat");
    await close();
});

test("without JavaScript, or with a part of it missing, the page says what to do; without the right to the camera, what it takes", async () => {
    for (const options of [{ javaScriptEnabled: false }, {}]) {
        const page = await plainPage({ ...options, viewport: { width: 360, height: 740 } });
        await page.route("**/main.js", (route) => route.abort());
        await page.goto(base);
        assert.match(await page.locator("#intake").innerText(), /Turn on JavaScript in the browser's settings, or reload\./);
        assert.doesNotMatch(await page.locator("body").innerText(), /cropshield predict/);
        for (const tool of ["#pill", "#theme"]) assert.ok(await page.isHidden(tool), tool);
        await page.context().close();
    }
    const { page, close } = await visit({
        prepare: (page) =>
            page.addInitScript(() => Object.defineProperty(Navigator.prototype, "mediaDevices", { get: () => undefined })),
    });
    assert.doesNotMatch(await page.textContent("body"), /Turn on JavaScript/);
    assert.match(await page.textContent("#camera-input-hint"), /needs https or this very computer/);
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
    const { page, close } = await visit({
        allow: [/status of (401|503)/],
        prepare: (page) =>
            page.addInitScript(() => {
                const inner = window.fetch;
                window.fetch = (url, options) => {
                    if (!url.endsWith("/events")) return inner(url, options);
                    const line = new AbortController();
                    options.signal.addEventListener("abort", () => line.abort());
                    window.cutStream = () => line.abort();
                    return inner(url, { ...options, signal: line.signal });
                };
            }),
    });
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
    await page.evaluate(() => window.cutStream()); // as when the server stops: the page asks at once
    await page.waitForSelector(".pill-no_model", { timeout: 5000 });
    assert.match(await page.textContent("#banner"), /No model is loaded/);
    await page.unroute("**/api/v1/status");
    await page.waitForSelector(".pill-online", { timeout: 5000 }); // and when there is a stream again
    await close();
});

test("the event stream waits for the status, and for the token: the answer to it may bring another session", async () => {
    const order = [];
    let form = null;
    const { page, close } = await visit({
        allow: [/status of 401/],
        prepare: async (page) => {
            page.on("request", (request) => {
                if (request.url().endsWith("/api/v1/events")) order.push("stream");
            });
            await page.route("**/api/v1/status", async (route) => {
                const locked = !route.request().headers().authorization;
                await new Promise((resolve) => setTimeout(resolve, 300));
                order.push(locked ? "locked" : "status");
                if (!locked) return route.continue();
                return route.fulfill({ status: 401, json: { error: { code: "unauthorized", message: "a token is needed" } } });
            });
            form = (async () => {
                await page.waitForSelector("#token");
                await page.waitForTimeout(1500); // longer than a stream that was refused waits
                await page.fill("#token", "sesame");
                const stream = page.waitForRequest("**/api/v1/events");
                await page.click(".banner-form button");
                await stream;
            })();
        },
    });
    await form;
    assert.deepEqual(order.slice(0, 3), ["locked", "status", "stream"]);
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
    const names = await page.locator("#strip .strip-card").evaluateAll((buttons) => buttons.map((button) => button.title));
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
