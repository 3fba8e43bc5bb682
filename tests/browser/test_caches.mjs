/* Caches, history, speed, options: what the panels show and what their buttons do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, base, canvasPage, heatShown, lendModules, settled, upload, visit } from "./harness.mjs";
import { leafPicture } from "./leaf.mjs";

test("a repeated photo comes from the cache until the cache is cleared", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 800, height: 600, seed: 21 });
    const { page, close } = await visit();
    await ask(page, "/api/v1/caches", { method: "DELETE" });
    const once = async (times) => {
        await Promise.all([page.waitForResponse("**/display"), page.setInputFiles("#file-input", leaf)]);
        await settled(page, times);
        await page.waitForSelector("#heat-layer:not([hidden])"); // nothing is on its way any more
        return (await ask(page, "/api/v1/history")).history[0].diagnosis.cache.prediction;
    };
    assert.equal(await once(1), "miss");
    await page.waitForFunction(() => document.getElementById("panel-caches").textContent.includes("1 kept"));
    const button = await page.$("#clear-all");
    assert.equal(await once(2), "hit");
    assert.match(await page.textContent(".result"), /From the cache/);
    await page.waitForFunction(() => document.getElementById("panel-caches").textContent.includes("1 kept"));

    await page.click("#clear-prediction");
    await page.waitForFunction(() => document.getElementById("caches-said").textContent.includes("Diagnoses"));
    assert.equal((await ask(page, "/api/v1/caches")).prediction.entries, 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), "clear-prediction");
    assert.equal(await once(3), "miss");

    // Fresh figures came meanwhile, and the button that somebody may be pressing is still the same one.
    assert.ok(await button.evaluate((node) => node.isConnected));
    await page.click("#clear-all");
    await page.waitForFunction(() => document.getElementById("caches-said").textContent.includes("All caches"));
    const caches = await ask(page, "/api/v1/caches");
    assert.equal(caches.prediction.entries + caches.gradcam.entries, 0);
    assert.equal(await once(4), "miss");

    const speed = await ask(page, "/api/v1/performance");
    assert.deepEqual([speed.cold, speed.warm], [3, 1]);
    await page.waitForFunction(() => document.querySelectorAll("#panel-speed .chart-bar").length === 4);
    assert.match(await page.textContent("#panel-speed"), /3 computed.*1 from the cache/);
    await page.click("#panel-speed .chart-table summary");
    assert.equal(await page.locator("#panel-speed tbody tr").count(), 4);
    await close();
});

test("the history survives a reload, shows a photo again and can be forgotten", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 700, height: 500, seed: 22, name: "yesterday.jpg" });
    const { page, close } = await visit({ allow: [/ERR_FAILED/] });
    await upload(page, leaf);
    await page.waitForSelector("#panel-history .history-row");
    const title = await page.textContent("#verdict-title");
    await page.reload();
    await page.waitForSelector("#panel-history .history-row");
    assert.ok(await page.isHidden("#results"));
    await page.route("**/display", (route) => route.abort(), { times: 1 });
    await page.click("#panel-history .history-row");
    assert.equal(await page.textContent("#verdict-title"), title);
    await page.waitForSelector(".pill-offline"); // what the connection did not carry comes when it is back
    await page.evaluate(() => window.dispatchEvent(new Event("online")));
    await page.waitForFunction(() => document.getElementById("photo").naturalWidth === 700);
    const { diagnosis } = (await ask(page, "/api/v1/history")).history[0];
    await heatShown(page, diagnosis.predictions[0].index);

    // an older entry has its date, and times are told as the browser's owner is used to them
    await lendModules(page);
    const [today, before, wanted] = await page.evaluate(async () => {
        const { clock, moment } = await import("/format.js");
        const now = new Date();
        const old = new Date(2020, 4, 7, 15, 4, 5);
        const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
        window.asked = [];
        const inner = Date.prototype.toLocaleTimeString;
        Date.prototype.toLocaleTimeString = function (locale, options) {
            window.asked.push(locale === undefined ? "own" : locale);
            return inner.call(this, locale, options);
        };
        const answers = [moment(now) === clock(now), moment(old)];
        return [...answers, [old.toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" }), window.asked]];
    });
    assert.equal(today, true);
    assert.ok(before.startsWith(wanted[0] + ", ") && before.includes("04:05"), before);
    assert.deepEqual([...new Set(wanted[1])], ["own"]);
    await page.click("#history-clear");
    await page.waitForFunction(() => !document.querySelector(".history-row"));
    assert.deepEqual((await ask(page, "/api/v1/history")).history, []);
    // the times say no more of which photo they are
    await page.waitForFunction(() => !document.getElementById("panel-speed").textContent.includes("yesterday.jpg"));
    assert.ok((await page.locator("#panel-speed .chart-bar").count()) > 0);
    await close();
});

test("no speed is praised where nothing ran, and a long name does not widen the table", async () => {
    const name = "a_rather_long_file_name_without_any_space_in_it_20260131_120000_edited_copy.jpg";
    const leaf = await leafPicture(await canvasPage(), { width: 400, height: 300, seed: 24, name });
    const { page, close } = await visit();
    await fetch(`${base}/api/v1/predict?top_k=22&gradcam=0`, { method: "POST", body: leaf.buffer }); // another visitor's photo
    await upload(page, leaf);
    await page.waitForSelector("#panel-speed .chart");
    assert.doesNotMatch(await page.textContent("#panel-speed"), /than the target/);
    assert.match(await page.textContent("#times"), /No stage had to run/);
    assert.doesNotMatch(await page.textContent("#times"), /than the target/);
    assert.match(await page.textContent("#plant"), /^I don't know, or another plant/);
    await page.click("#panel-speed .chart-table summary");
    const cell = page.locator("#panel-speed .table-name");
    assert.ok((await cell.evaluate((element) => element.clientWidth)) < 300);
    assert.equal(await cell.getAttribute("title"), name);
    await close();
});

test("another visitor sees nothing of it", async () => {
    const { page, close } = await visit();
    assert.deepEqual((await ask(page, "/api/v1/history")).history, []);
    assert.equal(await page.locator(".history-row").count(), 0);
    await close();
});

test("options take effect at once and are remembered", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 600, height: 450, seed: 23 });
    const { page, close } = await visit();
    await upload(page, leaf);
    await page.click("summary:has-text('Options')");
    for (const [name, place] of [
        ["bars", ".bars"],
        ["timings", "#times"],
        ["advice", ".advice"],
        ["heatmap", "#heat-layer"],
    ]) {
        await page.click(`label[for=option-${name}]`);
        await page.waitForSelector(place, { state: "hidden" });
    }
    await page.reload();
    await page.waitForSelector(".pill-online");
    for (const name of ["bars", "timings", "advice", "heatmap"])
        assert.equal(await page.isChecked(`#option-${name}`), false, name);
    for (const name of ["bars", "timings", "advice", "heatmap"]) await page.click(`label[for=option-${name}]`);
    await page.selectOption("#option-top-k", "5");
    await upload(page, leaf);
    assert.equal(await page.locator(".bars .bar").count(), 5);
    await page.selectOption("#option-top-k", "0");
    assert.equal(await page.locator(".bars .bar").count(), 22);
    assert.ok(await page.isVisible(".bars .tag"), "the untested class is marked");
    await close();
});

test("model and device are told", async () => {
    const { page, close } = await visit();
    const status = await ask(page, "/api/v1/status");
    await page.click("summary:has-text('Model and device')");
    const text = await page.textContent("#panel-model");
    for (const word of [status.model.name, status.model.architecture, status.kernels, "4.7 million", "built in"])
        assert.ok(text.includes(word), word);
    await close();
});
