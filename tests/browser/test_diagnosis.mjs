/* A photo in, an answer out: verdict, bars, sizes, times, heat map, and photos of which the right answer is known. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ask, canvasPage, changeAnswers, heatPixels, heatShown, lendModules, moreSettings, twiceUsedIds, upload, visit } from "./harness.mjs";
import { leafPicture } from "./leaf.mjs";

test("an empty page says what to do", async () => {
    const { page, close } = await visit();
    assert.match(await page.textContent("h1"), /leaf/);
    assert.equal(await page.getAttribute("#camera-input", "capture"), "environment");
    assert.equal(await page.getAttribute("#file-input", "multiple"), "");
    assert.equal(await page.locator("#tips li").count(), 4);
    assert.match(await page.textContent("#crops"), /tells 22 kinds of leaf apart: .* of Potato, Sugarcane, Tomato, Wheat/);
    assert.ok(await page.isHidden("#results"));
    await close();
});

test("a drawn leaf gets verdict, bars, sizes and times", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 1600, height: 1200, seed: 3 });
    const { page, close } = await visit();
    await upload(page, leaf);
    const status = await ask(page, "/api/v1/status");
    const { history } = await ask(page, "/api/v1/history");
    assert.equal(history.length, 1);
    const { diagnosis } = history[0];
    assert.equal(diagnosis.image.name, "leaf.jpg");

    const title = await page.textContent("#verdict-title");
    const badge = await page.textContent(".verdict .badge");
    const words = { confident: "Confident", likely: "Likely", uncertain: "Uncertain", not_a_leaf: "No supported leaf" };
    assert.equal(badge, words[diagnosis.verdict]);
    assert.equal(title, diagnosis.verdict === "not_a_leaf" ? "Not a leaf that CropShield knows" : diagnosis.predictions[0].label);
    assert.match(await page.textContent("#sizes"), /1,600 × 1,200 px, JPEG, .*800 × 600 px/);

    assert.equal(await page.locator(".bars .bar").count(), 3);
    const fill = await page.evaluate(
        () =>
            document.querySelector(".bar-fill").getBoundingClientRect().width /
            document.querySelector(".bar-track").getBoundingClientRect().width,
    );
    assert.ok(Math.abs(fill - diagnosis.predictions[0].probability) < 0.02, `bar ${fill}`);

    assert.equal(await page.locator(".time-list li").count(), 5);
    const total = diagnosis.timings_ms.total;
    const light = total < 200 ? "good" : total < 500 ? "fair" : "poor";
    assert.ok(await page.isVisible(`.times .text-${light}`));
    assert.match(
        await page.textContent(".times-total"),
        total <= status.target_ms ? /faster than the target/ : /slower than the target/,
    );
    await page.waitForSelector("#panel-speed .chart");
    assert.match(await page.getAttribute("#panel-speed .chart", "aria-label"), /last 1 requests: mean/);
    assert.match(await page.textContent("#announcer"), /leaf\.jpg/);
    await close();
});

test("an answer says how often the first one was right on other farms, as far as the model tells; how long it took comes last", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 320, height: 240, seed: 140, name: "confident" });
    const { page, close } = await visit({ size: "phone" });
    await changeAnswers(page, (answer) => {
        answer.verdict = answer.image.name === "other model" ? "likely" : answer.image.name;
        if (answer.image.name === "other model") answer.model.digest = "0123";
    });
    await upload(page, [leaf, { ...leaf, name: "not_a_leaf" }, { ...leaf, name: "other model" }]);
    assert.equal(
        await page.textContent(".honesty"),
        "In tests on photos from other farms, the first answer was right in about 5 of 10. Check the signs below. Saying what grows there helps.",
    );
    const tops = await page.evaluate(() =>
        ["#photo", ".bars", ".advice", "#times"].map((name) => document.querySelector(name).getBoundingClientRect().top),
    );
    assert.deepEqual(
        tops.slice().sort((a, b) => a - b),
        tops,
    );
    for (const at of [2, 3]) {
        await page.click(`#strip li:nth-child(${at}) .strip-card`);
        assert.equal(await page.locator(".honesty").count(), 0);
    }
    // a class number is its own model's: no map by another one, until the page hears that the server has the same
    await page.waitForSelector(".photo-message >> text=This answer comes from another model");
    assert.ok(await page.isHidden("#heat-layer"));
    await page.route("**/api/v1/status", async (route) => {
        const answer = await (await route.fetch()).json();
        answer.model.digest = "0123";
        await route.fulfill({ json: answer });
    });
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.waitForSelector("#heat-layer:not([hidden])");
    assert.equal(await page.textContent(".photo-message"), "");
    await page.unroute("**/api/v1/status");
    await Promise.all([
        page.waitForResponse("**/api/v1/status"),
        page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))),
    ]);
    await page.click("#strip li:nth-child(1) .strip-card");
    await page.selectOption("#plant", "Wheat");
    await page.waitForSelector("text=You said that it is Wheat");
    assert.match(await page.textContent(".honesty"), /5 of 10\. Check the signs below\.$/);
    await close();
});

test("no probability is said to be 100 %, and none of a class in the running 0 %", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 320, height: 240, seed: 141 });
    const { page, close } = await visit();
    await lendModules(page);
    const words = await page.evaluate(async () => {
        const { percent, probability } = await import("/format.js");
        return [1, 0.9996, 0.9994, 0.5, 0.0004, 0].map((value) => probability(value)).concat(probability(0, false), percent(1, 0));
    });
    assert.deepEqual(words, ["> 99.9 %", "> 99.9 %", "99.9 %", "50 %", "< 0.1 %", "< 0.1 %", "0 %", "100 %"]);
    await changeAnswers(page, (answer) => {
        answer.verdict = "confident";
        answer.predictions.forEach((entry, at) => (entry.probability = at === 0 ? 1 : 0));
    });
    await upload(page, leaf);
    assert.equal(await page.textContent(".verdict-sentence"), "The photo fits this well: > 99.9 %.");
    assert.match(await page.locator(".bars .bar").nth(1).textContent(), /: < 0\.1 %/);
    await page.selectOption("#plant", "Wheat");
    await page.waitForSelector("text=You said that it is Wheat");
    await moreSettings(page);
    const choices = await page.locator("#heat-class option").allTextContents();
    for (const text of choices.slice(1)) assert.doesNotMatch(text, text.startsWith("Wheat") ? / 0 %/ : /<|>/);
    await close();
});

test("the heat map: opacity, classes, colours and methods, and it equals the server's", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 1200, height: 900, seed: 5 });
    const { page, requests, close } = await visit();
    await upload(page, leaf);
    const { diagnosis } = (await ask(page, "/api/v1/history")).history[0];
    const top = diagnosis.predictions[0].index;
    await heatShown(page, top);
    const first = await heatPixels(page);
    assert.ok(new Set(first).size > 20, "the map is flat");

    // the slider: at once, without a request
    const asked = () => requests.filter((request) => request.url.includes("/images/")).length;
    const before = asked();
    for (const value of ["0", "35", "100"]) {
        await page.fill("#heat-opacity", value);
        assert.equal(await page.evaluate(() => document.getElementById("heat-layer").style.opacity), String(value / 100));
    }
    assert.equal(asked(), before);

    // the page resizes and colours a map as the server does
    await lendModules(page);
    const difference = await page.evaluate(
        async ([id, index]) => {
            const blob = await (await fetch(`/api/v1/images/${id}/gradcam?class=${index}&alpha=1&colormap=jet`)).blob();
            const picture = await createImageBitmap(blob);
            const canvas = document.createElement("canvas");
            canvas.width = picture.width;
            canvas.height = picture.height;
            const context = canvas.getContext("2d");
            context.drawImage(picture, 0, 0);
            const { paint } = await import("/heatmap.js");
            const { map } = await (await fetch(`/api/v1/images/${id}/gradcam?class=${index}&format=json`)).json();
            const whole = { x: 0, y: 0, width: picture.width, height: picture.height };
            const ours = document.createElement("canvas");
            paint(ours, map, whole, whole, "jet");
            const a = context.getImageData(0, 0, canvas.width, canvas.height).data;
            const b = ours.getContext("2d").getImageData(0, 0, ours.width, ours.height).data;
            let sum = 0;
            for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
            return sum / a.length;
        },
        [diagnosis.id, top],
    );
    assert.ok(difference < 3, `mean difference to the server's overlay: ${difference}`);

    // the map lies on what the network sees: 224 of 256 parts of the short side, in the middle of 800 × 600
    const painted = await page.evaluate(() => {
        const canvas = document.getElementById("heat-layer");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const opaque = (x, y) => data[(y * canvas.width + x) * 4 + 3] === 255;
        const columns = Array.from({ length: canvas.width }, (_, x) => x).filter((x) => opaque(x, 300));
        const rows = Array.from({ length: canvas.height }, (_, y) => y).filter((y) => opaque(400, y));
        return [columns[0], columns.length, rows[0], rows.length];
    });
    assert.deepEqual(painted, [138, 525, 38, 525]);

    // the rest of the settings is folded away at first
    assert.ok(await page.isHidden("#heat-class"));
    await moreSettings(page);
    // every class can be chosen; the first choice is the most probable
    assert.equal(await page.locator("#heat-class option").count(), 22);
    assert.match(await page.textContent("#heat-class"), /red stripe.*\(untested\)/);
    const other = diagnosis.predictions[1].index;
    await page.selectOption("#heat-class", String(other));
    await heatShown(page, other);
    assert.notDeepEqual(await heatPixels(page), first);
    await page.selectOption("#heat-class", String(top));
    await heatShown(page, top);
    assert.deepEqual(await heatPixels(page), first);

    // colours: no request
    const colours = asked();
    await page.selectOption("#heat-colormap", "viridis");
    assert.notDeepEqual(await heatPixels(page), first);
    assert.equal(asked(), colours);

    await page.selectOption("#heat-method", "hirescam");
    await heatShown(page, top, "hirescam");
    assert.match(await page.getAttribute("#photo", "alt"), /with a heat map for/);
    await page.click("label[for=heat-toggle]");
    assert.ok(await page.isHidden("#heat-layer"));
    assert.doesNotMatch(await page.getAttribute("#photo", "alt"), /heat map/);

    await page.click("label[for=heat-toggle]");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#heat-save")]);
    assert.equal(download.suggestedFilename(), "leaf_heatmap.png");
    await close();
});

test("several photos: a list, and one joint answer for one plant", async () => {
    const drawing = await canvasPage();
    const photos = [];
    for (let seed = 1; seed <= 3; seed++)
        photos.push(await leafPicture(drawing, { width: 640, height: 480 + seed * 20, seed, name: `leaf${seed}.jpg` }));
    const { page, close } = await visit();
    await upload(page, photos);
    assert.equal(await page.locator("#strip li").count(), 3);
    await page.click("#strip li:nth-child(3) .strip-card");
    assert.match(await page.textContent("#sizes"), /640 × 540/);
    assert.equal(await page.getAttribute("#strip li:nth-child(3) .strip-card", "aria-pressed"), "true");
    assert.ok(await page.isHidden("#case"));

    await page.click("#start-over");
    assert.ok(await page.isHidden("#results"));
    await page.click("label[for=same-plant]");
    await upload(page, photos);
    await page.waitForSelector("#case:not([hidden])");
    assert.match(await page.textContent("#case"), /3 photos of one plant/);
    assert.ok(await page.isHidden("#join"));
    await close();
});

test("a joint answer shows its best photo, its own advice, and warns when half of the photos say something else", async () => {
    const drawing = await canvasPage();
    const photos = [];
    for (let seed = 1; seed <= 2; seed++)
        photos.push(await leafPicture(drawing, { width: 320, height: 240, seed: 150 + seed, name: `leaf${seed}.jpg` }));
    const { page, close } = await visit({
        size: "phone",
        prepare: (page) =>
            page.addInitScript(() => {
                window.shared = [];
                navigator.share = async ({ text }) => window.shared.push(text);
            }),
    });
    const blight = { index: 11, class: "Tomato__late_blight", label: "Tomato: late blight" };
    const rust = { index: 18, class: "Wheat__brown_rust", label: "Wheat: brown rust" };
    let agreement = 0.5;
    const of = (first, second, p) => [
        { ...first, probability: p },
        { ...second, probability: 1 - p },
    ];
    await changeAnswers(page, (answer) => {
        const [one, two] = answer.results;
        Object.assign(one, { verdict: "confident", predictions: of(blight, rust, 0.9) });
        Object.assign(two, { verdict: "likely", predictions: of(rust, blight, 0.7) });
        Object.assign(answer.case, { verdict: "likely", agreement, predictions: of(rust, blight, 0.6) });
        assert.equal(answer.case.photos, 2);
    });
    await page.route("**/api/v1/history", async (route) => {
        const answer = await (await route.fetch()).json();
        for (const { diagnosis } of answer.history)
            Object.assign(diagnosis, { plant: "Tomato", verdict: "confident", predictions: of(blight, rust, 0.9) });
        await route.fulfill({ json: answer });
    });
    await page.click("label[for=same-plant]");
    await upload(page, photos);
    await page.waitForSelector("#case .advice");
    assert.equal(
        await page.textContent("#case-sentence"),
        "Wheat: brown rust, 60 %. 1 of 2 photos agrees. The photos disagree. Look at each one, or take new ones.",
    );
    await page.waitForFunction(() => /^Joint answer for 2 photos/.test(document.getElementById("announcer").textContent));
    assert.match(await page.textContent(".honesty"), /5 of 10/);
    assert.equal(await page.locator(".honesty").count(), 1, "said once");
    assert.equal(await page.getAttribute("#strip li:nth-child(2) .strip-card", "aria-pressed"), "true");
    assert.equal(await page.textContent("#verdict-title"), rust.label);
    assert.equal(await page.textContent("#case-advice-title"), "About Wheat: brown rust");
    const seen = await page.evaluate(() => {
        const card = document.querySelector("#strip li:nth-child(2)").getBoundingClientRect();
        return card.left >= 0 && card.right <= window.innerWidth;
    });
    assert.ok(seen, "the strip shows the card of the selected photo");
    await page.click("#case .share button");
    assert.match((await page.evaluate(() => window.shared))[0], /Wheat: brown rust \(60 %, Likely\)\. 2 photos of one plant\./);
    await page.click("#strip li:nth-child(1) .strip-card");
    assert.equal(await page.textContent("#verdict-title"), blight.label);
    assert.equal(await page.locator(".advice").count(), 1, "advice for one class only");
    await page.click("summary:has-text('History')");
    await page.click("#panel-history .history-row"); // a photo that the joint answer did not count
    assert.equal(await page.locator(".advice").count(), 2);
    assert.deepEqual(await twiceUsedIds(page), []);
    await page.click("#start-over");
    agreement = 1;
    await upload(page, photos);
    await page.waitForSelector("#case .advice");
    assert.match(await page.textContent("#case-sentence"), /60 %\. 2 of 2 photos agree\.$/);
    await close();
});

test("photos taken one after the other on a phone: a joint answer when it is asked for", async () => {
    const drawing = await canvasPage();
    const { page, close } = await visit({ size: "phone" });
    for (let seed = 1; seed <= 7; seed++) {
        await upload(page, await leafPicture(drawing, { width: 320, height: 240, seed: 40 + seed, name: `leaf${seed}.jpg` }));
        assert.equal(await page.isVisible("#join"), seed > 1);
        if (seed !== 3 && seed !== 7) continue;
        await page.click("#join");
        await page.waitForSelector("#case:not([hidden])");
        const words = seed > 6 ? /at most 6 photos of one plant/ : new RegExp(`${seed} photos of one plant`);
        assert.match(await page.textContent("#case"), words);
        assert.ok(await page.isHidden("#join"));
    }
    await close();
});

test("the plant is known: only its classes, for photos to come and for those that are there", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 640, height: 480, seed: 11 });
    const { page, close } = await visit();
    await upload(page, leaf);
    assert.equal(await page.locator("#plant option").count(), 5);
    await page.selectOption("#plant", "Wheat");
    await page.waitForSelector("text=You said that it is Wheat");
    for (const label of await page.locator(".bars .bar-label").allTextContents()) assert.match(label, /^Wheat: /);
    assert.equal(await page.locator("#heat-class option").count(), 22); // any class can still be explained
    assert.match(await page.textContent("#verdict-title"), /^(Wheat: |Not a leaf)/);
    await page.click("#start-over");
    await upload(page, leaf);
    assert.match(await page.textContent(".verdict"), /You said that it is Wheat/);
    await page.waitForSelector("#heat-layer:not([hidden])");
    const [shown] = (await page.getAttribute("#heat-layer", "data-shown")).split(" ");
    const { history } = await ask(page, "/api/v1/history");
    assert.deepEqual([...new Set(history.map((entry) => entry.diagnosis.plant || ""))].sort(), ["", "Wheat"]);
    await page.selectOption("#plant", "");
    await page.waitForSelector("text=You said", { state: "detached" });
    await page.waitForSelector(".bars");
    // maps are an answer's: the next one, perhaps of another model, has its own
    await Promise.all([page.waitForRequest(`**/gradcam?class=${shown}&*`), page.selectOption("#plant", "Wheat")]);
    await heatShown(page, shown);
    await close();
});

test("information for every class of the model", async () => {
    const { page, close } = await visit();
    const status = await ask(page, "/api/v1/status");
    await lendModules(page);
    const missing = await page.evaluate(async (classes) => {
        const { advice } = await import("/advice_en.js");
        return classes
            .filter((entry) => !advice[entry.class] || !advice[entry.class].about || advice[entry.class].look.length === 0)
            .map((entry) => entry.class);
    }, status.model.classes);
    assert.deepEqual(missing, []);
    await close();
});

const data = process.env.CROPSHIELD_DATA;
test(
    "real photos get the right class",
    { skip: data && fs.existsSync(path.join(data, "test")) ? false : "CROPSHIELD_DATA is not set" },
    async () => {
        const wanted = [
            "Tomato__late_blight",
            "Potato__early_blight",
            "Wheat__yellow_rust",
            "Sugarcane__rust",
            "Tomato__yellow_leaf_curl_virus",
            "Potato__healthy",
        ];
        const files = wanted.map((name) => {
            const folder = path.join(data, "test", name);
            return path.join(folder, fs.readdirSync(folder).sort()[0]);
        });
        const { page, close } = await visit();
        await upload(page, files);
        const { history } = await ask(page, "/api/v1/history");
        const right = wanted.filter((name, at) =>
            history.some(
                (entry) =>
                    entry.diagnosis.image.name === path.basename(files[at]) && entry.diagnosis.predictions[0].class === name,
            ),
        );
        assert.ok(right.length >= 5, `right: ${right.join(", ")}`);
        await page.waitForSelector("#heat-layer:not([hidden])");
        assert.ok(await page.evaluate(() => document.getElementById("photo").naturalWidth > 0));
        await close();
    },
);
