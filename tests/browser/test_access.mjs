/* For everybody: small screens, dark colours, the keyboard alone, enough contrast; and every sentence exists. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ask, canvasPage, heatShown, noSidewaysScroll, settled, SIZES, twiceUsedIds, upload, visit } from "./harness.mjs";
import { leafPicture } from "./leaf.mjs";

const web = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..", "web");

/* Texts whose contrast to the colour behind them is below WCAG's 4.5 (3 for large ones). Gradients are skipped. */
function weakTexts() {
    const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
    const luminance = ([r, g, b]) => {
        const [R, G, B] = [r, g, b].map((value) =>
            value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
        );
        return 0.2126 * R + 0.7152 * G + 0.0722 * B;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const weak = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (
            !walker.currentNode.data.trim() ||
            !element.getClientRects().length ||
            element.closest(".visually-hidden, .skip, noscript, option, svg")
        )
            continue;
        const style = getComputedStyle(element);
        const [a, b] = [luminance(parse(style.color)), luminance(behind(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && Number(style.fontWeight) >= 700);
        if (ratio < (large ? 3 : 4.5)) weak.add(`${walker.currentNode.data.trim().slice(0, 40)} ${ratio.toFixed(2)}`);
    }
    return Array.from(weak);
}

/* Contrast of two of the theme's colours. */
function contrastOf([one, two]) {
    const luminance = (name) => {
        const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
        const [r, g, b] = [0, 2, 4].map((at) => {
            const value = parseInt(hex.slice(at, at + 2), 16) / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [luminance(one), luminance(two)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}

/* Edges of switches, fields and cards are seen, and text on the coloured corner is read. */
const PAIRS = [
    ["--line-strong", "--bg", 3],
    ["--line-strong", "--surface", 3],
    ["--line-strong", "--raised", 3],
    ["--line-strong", "--brand-soft", 3],
    ["--muted", "--lime", 4.5],
    ["--brand", "--lime", 4.5],
];

for (const size of Object.keys(SIZES)) {
    for (const scheme of ["light", "dark"]) {
        test(`${size}, ${scheme}: fits, readable`, async () => {
            const leaf = await leafPicture(await canvasPage(), {
                width: 900,
                height: 1200,
                seed: 41,
                name: "a_rather_long_file_name_without_any_space_in_it_20260131_120000.jpg",
            });
            const { page, close } = await visit({ size, scheme });
            assert.equal(await page.getAttribute("html", "data-theme"), scheme);
            await noSidewaysScroll(page, "the empty page");
            assert.deepEqual(await page.evaluate(weakTexts), []);
            for (const [edge, ground, least] of PAIRS) {
                const ratio = await page.evaluate(contrastOf, [edge, ground]);
                assert.ok(ratio >= least, `${edge} on ${ground}: ${ratio.toFixed(2)}`);
            }
            await upload(page, leaf);
            await page.waitForSelector("#heat-layer:not([hidden])");
            await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
            await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
            await noSidewaysScroll(page, "the result");
            assert.deepEqual(await page.evaluate(weakTexts), []);
            const small = await page.evaluate(() =>
                Array.from(document.querySelectorAll(".picker-face, .button:not(.tiny), select, .icon-button, .strip-card"))
                    .filter((element) => element.getClientRects().length && element.getBoundingClientRect().height < 43.5)
                    .map((element) => element.textContent),
            );
            assert.deepEqual(small, [], "targets for fingers");
            await close();
        });
    }
}

/* Nothing sticks out of its card, and no card out of the screen. */
async function staysInside(page, where) {
    await noSidewaysScroll(page, where);
    const out = await page.evaluate(() =>
        Array.from(document.querySelectorAll("main :is(.button, select, p, h1, h2, h3, h4, input, progress, .steps, .strip-card)"))
            .filter((element) => element.getClientRects().length && !element.closest(".visually-hidden, #strip"))
            .filter((element) => element.getBoundingClientRect().right > window.innerWidth - 16)
            .map((element) => element.outerHTML.slice(0, 80)),
    );
    assert.deepEqual(out, [], `${where} sticks out of its card`);
}

test("at 320 pixels, which is 1280 at 400 %, no word of a button is broken", async () => {
    const name = "a_rather_long_file_name_without_any_space_in_it_20260131_120000.jpg";
    const leaf = await leafPicture(await canvasPage(), { width: 400, height: 300, seed: 45, name });
    const { page, close } = await visit();
    let held = null;
    await page.route("**/api/v1/predict*", (route) => (held ? route.continue() : (held = route)));
    await page.setInputFiles("#file-input", leaf);
    for (const card of [".working", ".failed"]) {
        await page.waitForSelector(card);
        for (const width of [360, 320]) {
            await page.setViewportSize({ width, height: 640 });
            await staysInside(page, `the card ${card} at ${width} px`);
        }
        await page.click(`${card} [data-start]`); // cancels, then tries again
    }
    await settled(page, 1);
    await staysInside(page, "the result");
    const broken = await page.evaluate(() => {
        const words = [];
        for (const face of document.querySelectorAll(".picker-title, .button")) {
            const text = Array.from(face.childNodes).find((node) => node.nodeType === Node.TEXT_NODE);
            for (const { 0: word, index } of (text ? text.data : "").matchAll(/\S+/g)) {
                const range = document.createRange();
                range.setStart(text, index);
                range.setEnd(text, index + word.length);
                if (range.getClientRects().length > 1) words.push(word);
            }
        }
        return words;
    });
    assert.deepEqual(broken, []);
    await close();
});

test("at twice the size of text nothing is cut off or wider than a phone", async () => {
    const drawing = await canvasPage();
    const leaf = await leafPicture(drawing, { width: 400, height: 300, seed: 46 });
    const { page, close } = await visit({ size: "phone" });
    await page.evaluate(() => document.documentElement.style.setProperty("font-size", "200%"));
    await page.waitForFunction(() => getComputedStyle(document.body).fontSize === "32px");
    assert.ok((await page.evaluate(() => document.querySelector(".skip").getBoundingClientRect().bottom)) < 0);
    await noSidewaysScroll(page, "the empty page");
    await upload(page, [leaf, { ...leaf, name: "second.jpg" }]);
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    await noSidewaysScroll(page, "the result");
    await close();
});

test("a tall photo leaves room for the answer, is seen in a browser without aspect-ratio, and is printed", async () => {
    const tall = await leafPicture(await canvasPage(), { width: 260, height: 2600, seed: 47, name: "row_7.jpg" });
    const { page, close } = await visit({ scheme: "dark" });
    await upload(page, tall);
    const height = () => page.evaluate(() => document.querySelector(".photo-stage").getBoundingClientRect().height);
    assert.ok((await height()) <= 0.7 * SIZES.laptop[1] + 1, `${await height()} px`);
    const before = await height();
    await page.waitForFunction(() => document.getElementById("photo").naturalWidth > 0);
    await page.evaluate(() => document.querySelector(".photo-stage").style.removeProperty("aspect-ratio"));
    assert.ok(Math.abs((await height()) - before) < 2, `${await height()} px without aspect-ratio`);

    // on paper: the photo's name and the day, light colours, no times
    assert.ok(await page.isHidden(".print-only"));
    await page.emulateMedia({ media: "print" });
    assert.match(await page.locator(".print-only").innerText(), /row_7\.jpg, diagnosed .*20\d\d/);
    for (const name of ["#times", "#intake", "#panels", "#strip", ".share", "#heat"]) assert.ok(await page.isHidden(name), name);
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".bar-fill")).printColorAdjust), "exact");
    await close();
});

test("the theme can be switched and is remembered", async () => {
    const { page, close } = await visit({ scheme: "light" });
    await page.click("#theme");
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    await page.reload();
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    await page.click("#theme");
    assert.equal(await page.getAttribute("html", "data-theme"), "light");
    await close();
});

test("the button tells what it does after the system's colours have changed", async () => {
    const { page, close } = await visit({ scheme: "light" });
    assert.match(await page.getAttribute("#theme", "aria-label"), /dark/);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForSelector("html[data-theme=dark]");
    assert.match(await page.getAttribute("#theme", "aria-label"), /light/);
    await close();
});

test("the keyboard alone is enough", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 800, height: 600, seed: 42 });
    const { page, close } = await visit();
    page.on("filechooser", () => {}); // from now on the dialog is intercepted: switching that on takes a moment
    const focused = () =>
        page.evaluate(() => {
            const element = document.activeElement;
            const face = element.matches("input[type=file], .switch input") ? element.nextElementSibling : element;
            const style = getComputedStyle(face);
            return {
                id: element.id,
                text: element.textContent.trim().slice(0, 30),
                outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
            };
        });
    const tabTo = async (wanted, key = "Tab") => {
        for (let i = 0; i < 80; i++) {
            await page.keyboard.press(key);
            const at = await focused();
            if (at.id || at.text) assert.ok(at.outline, `no visible focus on ${JSON.stringify(at)}`);
            if (wanted(at)) return;
        }
        assert.fail(`the keyboard does not reach ${wanted}`);
    };
    await page.keyboard.press("Tab");
    assert.match((await focused()).text, /Skip to the photo/);
    await page.keyboard.press("Enter");
    await tabTo((at) => at.id === "camera-input");
    await tabTo((at) => at.id === "file-input");
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Enter")]);
    await chooser.setFiles(leaf);
    await page.waitForSelector("#heat-layer:not([hidden])");
    assert.equal((await focused()).id, "results-title", "the focus moves to the results");

    await tabTo((at) => at.id === "heat-opacity");
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => document.getElementById("heat-layer").style.opacity), "0.51");
    await tabTo((at) => at.text === "More settings");
    await page.keyboard.press("Enter");
    await tabTo((at) => at.id === "heat-class");
    const { diagnosis } = (await ask(page, "/api/v1/history")).history[0];
    await page.keyboard.press("ArrowDown");
    await heatShown(page, diagnosis.predictions[1].index);
    await tabTo((at) => at.id === "clear-all");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.getElementById("caches-said").textContent !== "");
    await close();
});

test("fresh figures leave the keyboard and the scroll position where they are", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 400, height: 300, seed: 44 });
    const { page, close } = await visit();
    await upload(page, [leaf, { ...leaf, name: "second.jpg" }, { ...leaf, name: "third.jpg" }]);
    await page.waitForFunction(() => document.querySelectorAll(".history-row").length === 3);
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    const row = page.locator(".history-row").nth(1);
    const name = await row.textContent();
    assert.match(name, /^Show again: .*\.jpg/);
    assert.equal(await row.getAttribute("aria-label"), null, "what is seen is part of the name");
    await row.focus();
    await page.evaluate(() => document.querySelector(".history").style.setProperty("max-height", "60px"));
    await page.waitForFunction(() => document.querySelector(".history").clientHeight === 60);
    await page.evaluate(() => (document.querySelector(".history").scrollTop = 40));
    const [asked] = await Promise.all([
        page.waitForResponse("**/api/v1/history"),
        page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))),
    ]);
    await asked.finished();
    await page.waitForTimeout(100);
    assert.equal(await focused(), name);
    assert.equal(await page.evaluate(() => document.querySelector(".history").scrollTop), 40);

    const another = async (file) => {
        await page.evaluate(async (bytes) => {
            await fetch("/api/v1/predict?name=from_elsewhere.jpg", { method: "POST", body: new Uint8Array(bytes) });
            document.dispatchEvent(new Event("visibilitychange"));
        }, Array.from(file.buffer));
    };
    await another(leaf);
    await page.waitForFunction(() => document.querySelectorAll(".history-row").length === 4);
    assert.equal(await focused(), name);
    await page.click("#panel-speed .chart-table summary");
    await page.locator("#panel-speed .chart-table summary").focus();
    await another(leaf);
    await page.waitForFunction(() => document.querySelectorAll("#panel-speed .chart-bar").length === 5);
    assert.match(await focused(), /same as a table/);
    await close();
});

test("names, landmarks and labels", async () => {
    const leaf = await leafPicture(await canvasPage(), { width: 800, height: 600, seed: 43 });
    const { page, close } = await visit();
    await upload(page, leaf);
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    const nameless = await page.evaluate(() =>
        Array.from(document.querySelectorAll("button, a, input, select, img, svg[role=img]"))
            .filter((element) => {
                const label = element.id && document.querySelector(`label[for="${element.id}"]`);
                const name =
                    element.getAttribute("aria-label") ||
                    element.getAttribute("alt") ||
                    element.textContent.trim() ||
                    (label && label.textContent.trim());
                return !name && !element.hasAttribute("alt");
            })
            .map((element) => element.outerHTML.slice(0, 90)),
    );
    assert.deepEqual(nameless, []);
    assert.deepEqual(await twiceUsedIds(page), []);
    const draggable = () => Array.from(document.images, (image) => image.draggable && image.id + image.className);
    assert.deepEqual((await page.evaluate(draggable)).filter(Boolean), [], "let go over the page they would pass for new photos");
    assert.equal(await page.locator("main").count(), 1);
    assert.equal(await page.locator("h1").count(), 1);
    await close();
});

test("no file of the page names another host, and every sentence exists", async () => {
    /* As a data URL: older nodes take a .js file outside a package for CommonJS. */
    const source = fs.readFileSync(path.join(web, "strings_en.js"));
    const { strings } = await import(`data:text/javascript;base64,${source.toString("base64")}`);
    const files = fs.readdirSync(web);
    const unknown = [];
    const used = new Set();
    for (const file of files) {
        const text = fs.readFileSync(path.join(web, file), "utf8").replace(/\/\*[^]*?\*\//g, "");
        const hosts = (text.match(/https?:\/\/[^"'\s)]+/g) || []).filter((url) => !url.startsWith("http://www.w3.org/"));
        assert.deepEqual(hosts, [], file);
        assert.doesNotMatch(text, /\sstyle="/, file);
        for (const [, key] of text.matchAll(/(?:\bt|plural)\("([^"]+)"[,)]/g)) used.add(key);
        for (const [, key] of text.matchAll(/data-t(?:-label)?="([^"]+)"/g)) used.add(key);
    }
    for (const key of used) if (!(key in strings)) unknown.push(key);
    assert.deepEqual(unknown, []);
    assert.ok(used.size > 80);
    for (const code of [
        "unsupported_format",
        "corrupt_image",
        "image_too_large",
        "empty_input",
        "not_found",
        "bad_request",
        "model_invalid",
        "model_unsupported",
        "overloaded",
        "timeout",
        "unauthorized",
        "internal",
        "network",
        "not_carried",
        "aborted",
    ]) {
        assert.ok(strings[`error.${code}.title`] && strings[`error.${code}.advice`], code);
    }
});
