/* The edges of the page: too many photos, photos that fail among others, hurried hands, and what arrives late. */
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { ask, canvasPage, changeAnswers, focusedId, heatShown, moreSettings, settled, upload, visit } from "./harness.mjs";
import { leafPicture } from "./leaf.mjs";

const REFUSED = [/status of 4\d\d/]; // Chromium's own line about an answer that the test asks for

async function leaves(count, seed) {
    const drawing = await canvasPage();
    const photos = [];
    for (let i = 0; i < count; i++)
        photos.push(await leafPicture(drawing, { width: 320, height: 240 + 4 * i, seed: seed + i, name: `leaf${i + 1}.jpg` }));
    return photos;
}

test("more photos than a joint answer takes are diagnosed one by one, and the page says so", async () => {
    const { page, close } = await visit();
    await page.click("label[for=same-plant]");
    await upload(page, await leaves(7, 60));
    assert.equal(await page.locator(".strip-card[data-phase=done]").count(), 7);
    assert.match(await page.textContent("#case"), /at most 6 photos of one plant; these 7/);
    await page.click("#start-over");
    await upload(page, await leaves(6, 60));
    assert.match(await page.textContent("#case"), /Joint answer for 6 photos of one plant/);
    await close();
});

test("the joint answer counts the photos that could be read", async () => {
    const [first, second, third] = await leaves(3, 70);
    third.buffer = third.buffer.subarray(0, 900);
    const { page, close } = await visit({ allow: REFUSED });
    await page.click("label[for=same-plant]");
    await upload(page, [first, second, third]);
    assert.equal(await page.locator(".strip-card[data-phase=failed]").count(), 1);
    assert.match(await page.textContent("#case"), /Joint answer for 2 photos of one plant/);
    await close();
});

test("cancelling works at once for photos that wait, that are asked for again, and for each of a group", async () => {
    const photos = await leaves(4, 80);
    const { page, requests, close } = await visit({ allow: [/status of 503/] });
    const held = [];
    const posted = () => requests.filter((request) => request.method === "POST").length;
    await page.route("**/api/v1/predict*", (route) => held.push(route));
    await page.setInputFiles("#file-input", photos);
    await page.waitForFunction(() => document.querySelectorAll(".strip-card[data-phase=queued]").length === 2);
    await page.click("#strip li:nth-child(4) .strip-card");
    await page.click(".working .button");
    await page.waitForSelector("#strip li:nth-child(4) .strip-card[data-phase=failed]", { timeout: 3000 });
    assert.match(await page.textContent(".failed"), /Cancelled/);
    assert.equal(await page.textContent(":focus"), "Try again", "the keyboard goes on in the new card");
    await page.click(".failed .button");
    await page.waitForSelector("#strip li:nth-child(4) .strip-card[data-phase=queued]");
    assert.equal(await page.textContent(":focus"), "Cancel");
    await page.click(".working .button");
    await page.waitForSelector("#strip li:nth-child(4) .strip-card[data-phase=failed]");

    // one that the server was too busy for: it is not sent again
    await page.click("#strip li:nth-child(1) .strip-card");
    for (let i = 0; held.length < 2 && i < 100; i++) await page.waitForTimeout(20);
    const busy = { error: { code: "overloaded", message: "64 requests in flight" } };
    await held[0].fulfill({ status: 503, headers: { "Retry-After": "2" }, json: busy });
    await page.waitForSelector("#strip li:nth-child(1) .strip-card[data-phase=queued]");
    const before = posted();
    await page.click(".working .button");
    await page.waitForSelector("#strip li:nth-child(1) .strip-card[data-phase=failed]", { timeout: 1500 });
    await page.waitForFunction(() => document.querySelectorAll(".strip-card[data-phase=queued]").length === 0); // the third goes instead
    await page.waitForTimeout(2300);
    assert.equal(posted(), before + 1);
    await page.click("#start-over");
    await page.waitForTimeout(150);
    assert.doesNotMatch(await page.textContent("#announcer"), /leaf[23]/, "photos that were put away are not spoken of");

    // one of a group that travels together
    await page.click("label[for=same-plant]");
    const sent = held.length;
    await page.setInputFiles("#file-input", photos.slice(0, 2));
    for (let i = 0; held.length === sent && i < 100; i++) await page.waitForTimeout(20);
    await page.click("#strip li:nth-child(2) .strip-card");
    await page.click(".working .button");
    await page.waitForSelector("#strip li:nth-child(2) .strip-card[data-phase=failed]", { timeout: 3000 });
    await close();
});

test("a photo is put away: its picture is let go, the keyboard stays near, and the joint answer that counted it goes", async () => {
    const { page, close } = await visit({
        prepare: (page) =>
            page.addInitScript(() => {
                window.let_go = [];
                const revoke = URL.revokeObjectURL;
                URL.revokeObjectURL = (url) => (window.let_go.push(url), revoke.call(URL, url));
            }),
    });
    await page.click("label[for=same-plant]");
    await upload(page, await leaves(3, 85));
    await page.waitForSelector("#case:not([hidden])");
    await page.click("#strip li:nth-child(2) .strip-card");
    assert.equal(await focusedId(page), await page.getAttribute("#strip li:nth-child(2) .strip-card", "id"));
    const picture = await page.getAttribute("#strip li:nth-child(2) img", "src");
    await page.click("button[aria-label='Remove leaf2.jpg']");
    assert.deepEqual(await page.locator(".strip-name").allTextContents(), ["leaf1.jpg", "leaf3.jpg"]);
    assert.ok((await page.evaluate(() => window.let_go)).includes(picture));
    assert.equal(await page.getAttribute("#strip li:nth-child(2) .strip-card", "aria-pressed"), "true");
    assert.equal(await focusedId(page), await page.getAttribute("#strip li:nth-child(2) .strip-card", "id"));
    assert.ok(await page.isHidden("#case"));
    assert.ok(await page.isVisible("#join"));
    await page.click("button[aria-label='Remove leaf1.jpg']");
    assert.ok(await page.isHidden("#strip"));
    assert.equal(await focusedId(page), "results-title");
    await close();
});

test("a photo that is put away while it travels with others does not keep them", async () => {
    const { page, close } = await visit();
    let held = null;
    await page.route("**/api/v1/predict*", (route) => (held ? route.continue() : (held = route)));
    await page.click("label[for=same-plant]");
    await page.setInputFiles("#file-input", await leaves(3, 95));
    for (let i = 0; !held && i < 100; i++) await page.waitForTimeout(20);
    await page.click("button[aria-label='Remove leaf2.jpg']");
    await page.waitForSelector("text=Joint answer for 2 photos");
    await close();
});

test("where the answer is no help the next photo is one click away", async () => {
    const [leaf] = await leaves(1, 88);
    const { page, context, close } = await visit({ allow: REFUSED });
    await context.grantPermissions(["camera"]);
    const kinds = { confident: 0, blurred: 1, uncertain: 1, not_a_leaf: 1 }; // -> buttons
    await changeAnswers(page, (answer) => {
        if (!answer.image) return;
        const name = answer.image.name;
        Object.assign(answer, name === "blurred" ? { verdict: "confident", hints: [name] } : { verdict: name, hints: [] });
    });
    await upload(
        page,
        Object.keys(kinds).map((name) => ({ ...leaf, name })),
    );
    for (const [at, name] of Object.keys(kinds).entries()) {
        await page.click(`#strip li:nth-child(${at + 1}) .strip-card`);
        assert.equal(await page.locator(".another").count(), kinds[name], name);
    }
    await page.unroute("**/api/v1/predict*");
    await page.click("#start-over");
    await upload(page, { ...leaf, buffer: leaf.buffer.subarray(0, 300) });
    await page.click(".failed .another");
    assert.ok(await page.isVisible("dialog.camera"));
    await page.keyboard.press("Escape");
    await close();
});

test("a photo that the server has dropped is sent again for its heat map; without the file the page says so", async () => {
    const [leaf] = await leaves(1, 98);
    const { page, requests, close } = await visit({ allow: REFUSED });
    await upload(page, leaf);
    const { diagnosis } = (await ask(page, "/api/v1/history")).history[0];
    await heatShown(page, diagnosis.predictions[0].index);
    let gone = 1; // times
    await page.route("**/gradcam*", (route) => {
        if (gone === 0) return route.continue();
        gone -= 1;
        return route.fulfill({ status: 404, json: { error: { code: "not_found", message: "no such image" } } });
    });
    await moreSettings(page);
    await page.selectOption("#heat-class", String(diagnosis.predictions[1].index));
    await heatShown(page, diagnosis.predictions[1].index);
    const posted = () => requests.filter(({ method }) => method === "POST").length;
    assert.equal(posted(), 2);
    assert.equal(await page.textContent(".photo-message"), "");
    gone = 9; // a server that keeps no photo
    await page.selectOption("#heat-class", String(diagnosis.predictions[2].index));
    await page.waitForSelector("text=The heat map could not be made: no such image");
    assert.equal(posted(), 3);

    gone = 0;
    await page.reload();
    await page.click("#panel-history .history-row");
    await heatShown(page, diagnosis.predictions[0].index);
    await page.selectOption("#plant", "Wheat");
    await page.waitForSelector("text=Diagnosed before you said Wheat. Choose the photo again.");
    gone = 1;
    await page.selectOption("#heat-class", String(diagnosis.predictions[1].index));
    await page.waitForSelector("text=no longer keeps this photo");
    assert.match(await page.textContent(".photo-message"), /Choose the photo again above/);
    await close();
});

test("a plant that is said while a photo travels counts for that photo too", async () => {
    const [leaf] = await leaves(1, 90);
    const { page, close } = await visit();
    let held = null;
    await page.route("**/api/v1/predict*", (route) => (held ? route.continue() : (held = route)));
    await page.setInputFiles("#file-input", leaf);
    for (let i = 0; !held && i < 100; i++) await page.waitForTimeout(20);
    await page.selectOption("#plant", "Wheat");
    await held.continue();
    await settled(page, 1);
    assert.match(await page.textContent(".verdict"), /You said that it is Wheat/);
    await close();
});

test("a class whose map cannot be had shows none, whatever the colours, and the picture that is saved is the photo", async () => {
    const [leaf] = await leaves(1, 100);
    const { page, close } = await visit({ allow: [/status of 500/] });
    await upload(page, leaf);
    const { diagnosis } = (await ask(page, "/api/v1/history")).history[0];
    await heatShown(page, diagnosis.predictions[0].index);
    await page.route("**/gradcam*", (route) =>
        route.fulfill({ status: 500, json: { error: { code: "internal", message: "out of memory" } } }),
    );
    await moreSettings(page);
    await page.selectOption("#heat-class", String(diagnosis.predictions[1].index));
    await page.waitForFunction(() => document.querySelector(".photo-message").textContent.includes("out of memory"));
    await page.selectOption("#heat-colormap", "grey");
    assert.ok(await page.isHidden("#heat-layer"), "the map of another class");
    assert.doesNotMatch(await page.getAttribute("#photo", "alt"), /heat map/);

    await page.click("#start-over");
    await upload(page, leaf);
    await page.waitForFunction(() => document.querySelector(".photo-message").textContent.includes("out of memory"));
    await page.waitForFunction(() => document.getElementById("photo").naturalWidth > 0);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#heat-save")]);
    const png = fs.readFileSync(await download.path());
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [320, 240]);
    await close();
});

test("a camera that starts late is let go, a second click takes no second photo, and another camera may work", async () => {
    const { page, context, close } = await visit();
    await context.grantPermissions(["camera"]);
    await page.evaluate(() => {
        const devices = navigator.mediaDevices;
        const ask = devices.getUserMedia.bind(devices);
        window.streams = [];
        window.delay = 400;
        window.refuse = false;
        window.asked = [];
        const list = devices.enumerateDevices.bind(devices);
        devices.enumerateDevices = async () => [{ kind: "videoinput", deviceId: "other" }, ...(await list())];
        devices.getUserMedia = async (wanted) => {
            const device = wanted.video.deviceId;
            window.asked.push(device ? device.exact : "any");
            if (device && device.exact === "other") delete wanted.video.deviceId;
            await new Promise((resolve) => setTimeout(resolve, window.delay));
            if (window.refuse) throw new DOMException("in use", "NotReadableError");
            const stream = await ask(wanted);
            window.streams.push(stream);
            return stream;
        };
    });
    const running = () => page.evaluate(() => window.streams.filter((stream) => stream.active).length);
    await page.click("label[for=camera-input]");
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => window.streams.length === 1);
    await page.waitForTimeout(100);
    assert.equal(await running(), 0, "the camera of a closed dialog runs");

    await page.evaluate(() => {
        window.delay = 0;
        window.refuse = true;
    });
    await page.click("label[for=camera-input]");
    await page.waitForFunction(() => document.getElementById("camera-said").textContent.includes("does not start"));
    await page.evaluate(() => {
        window.refuse = false;
        document.getElementById("camera-next").hidden = false; // as with two cameras
        window.asked = [];
    });
    await page.click("#camera-next");
    await page.waitForFunction(() => document.querySelector(".camera-picture").videoWidth > 0);
    await page.waitForFunction(() => document.getElementById("camera-said").textContent === "");
    await page.dblclick("#camera-shoot");
    await page.waitForTimeout(500);
    await settled(page, 1);
    assert.equal(await running(), 0);

    // the second opening shows nothing of the first, nor does the other camera of the one before
    await page.evaluate(() => (window.delay = 400));
    const blank = () =>
        page.evaluate(() => document.getElementById("camera-shoot").disabled && !document.querySelector(".camera-picture").srcObject);
    await page.click("label[for=camera-input]");
    assert.ok(await blank(), "a picture of the last time can be taken");
    assert.notEqual(await focusedId(page), "camera-shoot");
    await page.waitForSelector("#camera-shoot:enabled");
    assert.equal(await focusedId(page), "camera-shoot");
    await page.click("#camera-next:visible");
    assert.ok(await blank(), "a picture of the other camera can be taken");
    await page.waitForSelector("#camera-shoot:enabled");
    const [first, second, third] = await page.evaluate(() => window.asked);
    assert.equal(first, "any");
    assert.ok(!["any", "other"].includes(second), "the one that ran before");
    assert.equal(third, "other", "the one that does not run");
    await page.keyboard.press("Escape");
    await close();
});

test("a folder, or a file that is gone, is no fault of the server", async () => {
    const { page, requests, close } = await visit();
    await page.evaluate(() => {
        const gone = new File(["x".repeat(4096)], "holiday", { type: "" });
        gone.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("not found", "NotFoundError")) });
        const transfer = { types: ["Files"], files: [gone] };
        const drop = new Event("drop", { bubbles: true, cancelable: true });
        document.body.dispatchEvent(Object.assign(drop, { dataTransfer: transfer }));
    });
    await settled(page, 1);
    assert.match(await page.textContent(".failed"), /cannot be read.*a folder/s);
    assert.equal(requests.filter((request) => request.method === "POST").length, 0);
    await close();
});

test("what is shared of a photo that shows no leaf names no disease", async () => {
    const [leaf] = await leaves(1, 110);
    const { page, close } = await visit({
        prepare: (page) =>
            page.addInitScript(() => {
                window.shared = [];
                navigator.share = async ({ text }) => window.shared.push(text);
            }),
    });
    let verdict = "confident";
    await page.route("**/api/v1/predict*", async (route) =>
        route.fulfill({ json: { ...(await (await route.fetch()).json()), verdict } }),
    );
    await upload(page, leaf);
    const label = await page.textContent("#verdict-title");
    await page.click(".share button");
    verdict = "not_a_leaf";
    await upload(page, leaf);
    await page.click("#strip li:nth-child(2) .strip-card");
    await page.click(".share button");
    const [first, second] = await page.evaluate(() => window.shared);
    assert.ok(first.includes(label), first);
    assert.ok(!second.includes(label) && second.includes("Not a leaf that CropShield knows"), second);
    await close();
});

test("a model of more classes than the server lists is asked for those that it lists", async () => {
    const [leaf] = await leaves(1, 120);
    const { page, requests, close } = await visit({
        prepare: (page) =>
            page.route("**/api/v1/status", async (route) => {
                const answer = await (await route.fetch()).json();
                const more = Array.from({ length: 1001 }, (_, index) => ({ index, class: `c${index}`, label: `c${index}` }));
                answer.model.classes = answer.model.classes.concat(more.slice(answer.model.classes.length));
                await route.fulfill({ json: answer });
            }),
    });
    await upload(page, leaf);
    assert.equal(await page.locator(".strip-card[data-phase=done]").count(), 1);
    assert.ok(requests.some(({ url }) => url.includes("top_k=1000")));
    await close();
});

test("the heat map lies on what the network sees with the preprocessing in use, whatever the model's file says", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 800, height: 600, seed: 130 });
    const { page, close } = await visit({
        prepare: (page) =>
            page.route("**/api/v1/status", async (route) => {
                const answer = await (await route.fetch()).json();
                assert.equal(answer.model.resize, 256);
                answer.model.resize = 448; // as with --resize 448, or a checkpoint without metadata
                await route.fulfill({ json: answer });
            }),
    });
    await upload(page, leaf);
    await page.waitForSelector("#heat-layer:not([hidden])");
    const columns = await page.evaluate(() => {
        const canvas = document.getElementById("heat-layer");
        const { data } = canvas.getContext("2d").getImageData(0, 300, canvas.width, 1);
        return Array.from({ length: canvas.width }, (_, x) => data[x * 4 + 3]).filter((alpha) => alpha === 255).length;
    });
    assert.equal(columns, 300);
    await close();
});
