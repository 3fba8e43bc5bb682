/*
 * The speed panel: mean of the last 10, and a chart of the last 20 requests with mean, fastest, slowest and target.
 * The chart is an SVG of our own; the same numbers stand in a table for who cannot see it.
 */
import { byId, h, redraw, replace, s } from "./dom.js";
import { clock, ms, speedLight } from "./format.js";
import { plural, t } from "./i18n.js";
import { light } from "./icons.js";
import { panel } from "./panel.js";
import { get, on } from "./state.js";
import { difference, ranAny, STAGES } from "./view_times.js";

const WIDTH = 320;
const HEIGHT = 150;
const LEFT = 34; // room for the scale
const BOTTOM = 132;
const TOP = 10;
const SLOTS = 20;
const NOTE = 13; // height of a line's words and the room around them

/* A round number at or above `value` for the top of the scale. */
function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/* A line across the chart and its words above it; below it where those would be struck through by another line, at `other`. */
function line(y, other, className, text, atStart) {
    const below = y > other && y - other < NOTE;
    return [
        s("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y, class: className }),
        s(
            "text",
            {
                x: atStart ? LEFT + 4 : WIDTH,
                y: below ? y + NOTE - 3 : y - 3,
                class: "chart-note " + className,
                "text-anchor": atStart ? "start" : "end",
            },
            text,
        ),
    ];
}

/* Of the requests in the chart. */
function summary(data) {
    const totals = data.requests.map((entry) => entry.timings_ms.total);
    return {
        count: totals.length,
        mean: totals.reduce((sum, value) => sum + value, 0) / totals.length,
        min: Math.min(...totals),
        max: Math.max(...totals),
    };
}

function chart(data) {
    const { count, mean, min, max } = summary(data);
    const showTarget = data.target_ms <= max * 2.5;
    const top = roundUp(Math.max(max, showTarget ? data.target_ms : 0) * 1.05);
    const y = (value) => BOTTOM - (value / top) * (BOTTOM - TOP);
    const slot = (WIDTH - LEFT) / SLOTS;
    const bars = data.requests.map((entry, index) => {
        const total = entry.timings_ms.total;
        const height = Math.max(2, BOTTOM - y(total));
        const cached = entry.cache === "hit" || entry.cache === "coalesced";
        return s(
            "rect",
            {
                x: LEFT + index * slot + 1.5,
                y: BOTTOM - height,
                width: slot - 3,
                height,
                rx: 2,
                class: `chart-bar fill-${speedLight(total)}${cached ? " cached" : ""}`,
            },
            s("title", {}, `${entry.name || ""} ${ms(total)} (${t(cached ? "speed.cached" : "speed.computed")})`),
        );
    });
    const words = t("speed.chart", { count, mean: ms(mean), min: ms(min), max: ms(max) });
    return s(
        "svg",
        { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
        [0, 0.5, 1].map((share) => [
            s("line", { x1: LEFT, x2: WIDTH, y1: y(top * share), y2: y(top * share), class: "chart-grid" }),
            s(
                "text",
                { x: LEFT - 5, y: y(top * share) + 3.5, class: "chart-scale", "text-anchor": "end" },
                ms(top * share).replace(/\s*ms$/, ""),
            ),
        ]),
        bars,
        line(y(mean), showTarget ? y(data.target_ms) : Infinity, "chart-mean", t("speed.mean_line", { mean: ms(mean) })),
        showTarget &&
            line(y(data.target_ms), y(mean), "chart-target", t("speed.target", { target: ms(data.target_ms) }), true),
        s("text", { x: LEFT, y: HEIGHT - 4, class: "chart-scale" }, clock(data.requests[0].at)),
        s(
            "text",
            { x: WIDTH, y: HEIGHT - 4, class: "chart-scale", "text-anchor": "end" },
            clock(data.requests[data.requests.length - 1].at),
        ),
    );
}

function table(data) {
    const cell = (entry, name) => h("td", { text: entry.timings_ms[name] > 0 ? ms(entry.timings_ms[name]) : "–" });
    return h(
        "details",
        { class: "small chart-table" },
        h("summary", { "data-key": "summary", text: t("speed.table") }),
        h(
            "div",
            { class: "table-scroll", "data-key": "table", tabindex: "0", role: "region", "aria-label": t("speed.table") },
            h(
                "table",
                {},
                h(
                    "thead",
                    {},
                    h(
                        "tr",
                        {},
                        [
                            t("speed.when"),
                            t("speed.photo"),
                            t("stage.total"),
                            ...STAGES.map((name) => t("stage." + name)),
                            t("speed.cache"),
                        ].map((text) => h("th", { scope: "col", text })),
                    ),
                ),
                h(
                    "tbody",
                    {},
                    data.requests
                        .slice()
                        .reverse()
                        .map((entry) =>
                            h(
                                "tr",
                                {},
                                h("td", { text: clock(entry.at) }),
                                h("td", { class: "table-name", title: entry.name, text: entry.name }),
                                cell(entry, "total"),
                                STAGES.map((name) => cell(entry, name)),
                                h("td", {
                                    text: t(entry.cache === "miss" || entry.cache === "off" ? "speed.computed" : "speed.cached"),
                                }),
                            ),
                        ),
                ),
            ),
        ),
    );
}

const figure = (label, value) =>
    h("div", { class: "figure" }, h("span", { class: "small muted", text: label }), h("strong", { text: value }));

function draw(body) {
    const data = get("performance");
    if (!data || !data.requests || data.requests.length === 0) {
        byId("panel-speed-short").textContent = "";
        return replace(body, h("p", { class: "muted", text: t("speed.empty") }));
    }
    const level = speedLight(data.mean_last_10_ms);
    byId("panel-speed-short").textContent = ms(data.mean_last_10_ms);
    const wasOpen = body.querySelector(".chart-table") && body.querySelector(".chart-table").open;
    const rows = table(data);
    const shown = summary(data);
    rows.open = wasOpen || false;
    return replace(
        body,
        h("p", { class: "small muted", text: t("speed.mean10") }),
        h(
            "p",
            { class: "times-total text-" + level },
            light(level),
            h("strong", { text: ms(data.mean_last_10_ms) }),
            h("span", { text: t("times.light." + level) }),
        ),
        data.requests.slice(-10).some((entry) => ranAny(entry.timings_ms)) &&
            h("p", { class: "small muted", text: difference(data.mean_last_10_ms) }),
        h("h3", { class: "small chart-title", text: plural("speed.last", shown.count) }),
        chart(data),
        h(
            "div",
            { class: "figures" },
            figure(t("speed.min"), ms(shown.min)),
            figure(t("speed.mean"), ms(shown.mean)),
            figure(t("speed.max"), ms(shown.max)),
        ),
        h(
            "p",
            { class: "small muted swatches" },
            h("span", {}, h("span", { class: "swatch" }), t("speed.counts_cold", { count: data.cold })),
            h("span", {}, h("span", { class: "swatch cached" }), t("speed.counts_warm", { count: data.warm })),
        ),
        rows,
    );
}

export function start(place) {
    const { root, body } = panel("speed", "clock");
    place.append(root);
    draw(body);
    on("performance", () => redraw(body, () => draw(body)));
}
