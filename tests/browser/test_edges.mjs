/* The edges of the page: too many photos, photos that fail among others, hurried hands, and what arrives late. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, canvasPage, heatPixels, heatShown, settled, upload, visit } from "./harness.mjs";
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
