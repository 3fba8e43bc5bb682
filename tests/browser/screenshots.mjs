/* Takes the pictures of the page that the documentation shows, with a drawn leaf: node screenshots.mjs FOLDER (see run.sh). */
import { createRequire } from "node:module";
import path from "node:path";
import { leafPicture } from "./leaf.mjs";

const { chromium } = createRequire(path.join(process.env.CS_MODULES, "package.json"))("playwright-core");
const folder = process.argv[2];
const browser = await chromium.launch({
    executablePath: process.env.CS_CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu"],
});

async function shoot(name, context, leaf, prepare) {
    const page = await (await browser.newContext({ reducedMotion: "reduce", ...context })).newPage();
    await page.goto(process.env.CS_URL);
    await page.waitForSelector(".pill-online");
    await page.setInputFiles("#file-input", leaf);
    await page.waitForSelector("#heat-layer:not([hidden])");
    await page.waitForSelector("#panel-speed .chart", { state: "attached" });
    await prepare(page);
    await page.waitForTimeout(300);
    await page.screenshot({ path: path.join(folder, name) });
}

const drawing = await (await browser.newContext()).newPage();
const more = [];
for (let seed = 50; seed < 62; seed++)
    more.push(await leafPicture(drawing, { width: 3000, height: 2250, seed, name: `row_${seed}.jpg` }));
const leaf = await leafPicture(drawing, { width: 4000, height: 3000, name: "lower_leaf.jpg" });

await shoot("desktop.png", { viewport: { width: 1200, height: 860 } }, more, async (page) => {
    await page.waitForFunction(() => document.querySelectorAll(".strip-card[data-phase=done]").length === 12);
    await page.click("#start-over");
    await page.setInputFiles("#file-input", leaf);
    await page.waitForSelector("#heat-layer:not([hidden])");
    await page.waitForFunction(() => document.querySelectorAll("#panel-speed .chart-bar").length === 13);
    await page.evaluate(() => window.scrollTo(0, 0));
});
await shoot(
    "phone.png",
    { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
    leaf,
    async (page) => {
        await page.evaluate(() => document.getElementById("results").scrollIntoView());
        await page.evaluate(() => window.scrollTo(0, document.getElementById("results").offsetTop - 8));
    },
);
await browser.close();
