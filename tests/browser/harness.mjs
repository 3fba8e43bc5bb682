/*
 * One browser for a test file, and pages that remember everything a good page never does: console errors, exceptions, violations of
 * the content security policy, requests to other hosts, sideways scrolling.
 */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";

const { chromium } = createRequire(path.join(process.env.CS_MODULES, "package.json"))("playwright-core");
export const base = process.env.CS_URL;

const ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
];
export const SIZES = { phone: [360, 740], tablet: [768, 1024], laptop: [1280, 800] };

let browser = null;
before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CS_CHROMIUM, args: ARGS });
});
after(async () => {
    if (browser) await browser.close();
});

/* Modules of the page by themselves, for `import` in it: as they stand in web/, where the page's script holds them all. */
export async function lendModules(page) {
    const web = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..", "web");

    await page.route(/\/\w+\.js$/, (route) =>
        route.fulfill({ path: path.join(web, path.basename(route.request().url())), contentType: "text/javascript" }),
    );
}

/* A blank page to draw pictures in. */
export async function canvasPage() {
    return (await browser.newContext()).newPage();
}

/* A page as it comes, whatever becomes of it; `options` of the browser's context. */
export async function plainPage(options) {
    return (await browser.newContext(options)).newPage();
}

/*
 * A page of a visitor of its own (own cookies). `allow`: patterns of console errors that the test provokes.
 * Call `close()` at the end: it asserts that nothing bad happened.
 */
export async function visit({ size = "laptop", scheme = "light", allow = [], prepare, context: shared } = {}) {
    const [width, height] = SIZES[size];
    const touch = size === "phone" ? { hasTouch: true, isMobile: true } : {};
    const context =
        shared ||
        (await browser.newContext({
            viewport: { width, height },
            colorScheme: scheme,
            reducedMotion: "reduce",
            permissions: [],
            ...touch,
        }));
    const page = await context.newPage();
    const bad = [];
    const requests = [];
    page.on("console", (message) => {
        if (message.type() !== "error" && !/content security/i.test(message.text())) return;
        if (!allow.some((pattern) => pattern.test(message.text()))) bad.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => bad.push(`exception: ${error.stack}`));
    page.on("request", (request) => {
        requests.push({ method: request.method(), url: request.url() });
        if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== new URL(base).origin)
            bad.push(`external: ${request.url()}`);
    });
    await page.addInitScript(() => {
        window.violations = [];
        document.addEventListener("securitypolicyviolation", (event) =>
            window.violations.push(`${event.violatedDirective} ${event.blockedURI}`),
        );
    });
    if (prepare) await prepare(page);
    await page.goto(base);
    await page.waitForSelector(".pill-online");
    return {
        page,
        context,
        requests,
        close: async () => {
            const violations = await page.evaluate(() => window.violations);
            await (shared ? page.close() : context.close());
            assert.deepEqual(violations, []);
            assert.deepEqual(bad, []);
        },
    };
}

/* Chooses files and waits until every photo has its answer. */
export async function upload(page, files, input = "#file-input") {
    const already = await page.locator("#strip li").count();
    await page.setInputFiles(input, files);
    await settled(page, already + [].concat(files).length);
}

export async function settled(page, count) {
    await page.waitForFunction(
        (wanted) => document.querySelectorAll(".strip-card[data-phase=done], .strip-card[data-phase=failed]").length === wanted,
        count,
    );
}

/* The heat map is painted for class `index` and method. */
export const heatShown = (page, index, method = "gradcam") =>
    page.waitForSelector(`#heat-layer:not([hidden])[data-shown="${index} ${method}"]`);

/* The heat layer's pixels, thinned out. */
export const heatPixels = (page) =>
    page.evaluate(() => {
        const canvas = document.getElementById("heat-layer");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return Array.from(data.filter((_, at) => at % 397 === 0));
    });

/* Unfolds what lies behind the heat map's slider; the page remembers it. */
export async function moreSettings(page) {
    if (!(await page.evaluate(() => document.getElementById("heat-more").open))) await page.click("#heat-more summary");
}

/* Answers to photos, changed by `change(answer)` before the page sees them. */
export const changeAnswers = (page, change) =>
    page.route("**/api/v1/predict*", async (route) => {
        const answer = await (await route.fetch()).json();
        await route.fulfill({ json: change(answer) || answer });
    });

/* Ids that more than one element has. */
export const twiceUsedIds = (page) =>
    page.evaluate(() => {
        const ids = Array.from(document.querySelectorAll("[id]"), (element) => element.id);
        return ids.filter((id, at) => ids.indexOf(id) !== at);
    });

/* What has the keyboard. */
export const focusedId = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className);

export async function noSidewaysScroll(page, where) {
    const wide = await page.evaluate(() => {
        const limit = document.documentElement.clientWidth;
        const extra = document.documentElement.scrollWidth - limit;
        const who = Array.from(document.querySelectorAll("body *")).filter(
            (element) => element.getBoundingClientRect().right > limit + 1,
        );
        return extra > 0
            ? { extra, who: who.slice(0, 5).map((element) => element.className || element.id || element.tagName) }
            : null;
    });
    assert.equal(wide, null, `${where} scrolls sideways: ${JSON.stringify(wide)}`);
}

/* What the API says, with the page's own session. */
export const ask = (page, url, options) => page.evaluate(async ([u, o]) => (await fetch(u, o)).json(), [url, options]);
