/*
 * How long one request took, stage by stage, with the speed's traffic light and the difference to the target.
 */
import { h } from "./dom.js";
import { ms, speedLight } from "./format.js";
import { t } from "./i18n.js";
import { light } from "./icons.js";
import { targetMs } from "./state.js";

export const STAGES = ["decode", "resize", "preprocess", "inference", "gradcam"];

function row(name, value, longest) {
    const level = speedLight(value);
    const ran = value > 0;
    return h(
        "li",
        { class: "time" },
        h("span", { text: t("stage." + name) }),
        h(
            "span",
            { class: "time-track", "aria-hidden": "true" },
            ran &&
                h("span", {
                    class: "time-fill fill-" + level,
                    style: { width: Math.min(100, (value / longest) * 100).toFixed(1) + "%" },
                }),
        ),
        h("span", { class: "time-value" }, ran ? ms(value) : h("span", { class: "muted", text: t("times.skipped") })),
        h(
            "span",
            { class: "time-light" },
            ran && [light(level), h("span", { class: "visually-hidden", text: t("times.light." + level) })],
        ),
    );
}

export function difference(total) {
    const target = targetMs();
    const key = total <= target ? "times.under" : "times.over";
    return t(key, { difference: ms(Math.abs(target - total)), target: ms(target) });
}

/* Whether anything was computed: a kept answer says nothing about speed. */
export const ranAny = (times) => STAGES.some((name) => times[name] > 0);

export function drawTimes(diagnosis) {
    const times = diagnosis.timings_ms;
    const level = speedLight(times.total);
    const ran = ranAny(times);
    const longest = Math.max(times.total, ...STAGES.map((name) => times[name] || 0), 0.001);
    return h(
        "section",
        { class: "card times", id: "times", "aria-labelledby": "times-title" },
        h("h3", { id: "times-title", text: t("times.title") }),
        h(
            "p",
            { class: "times-total text-" + level },
            light(level),
            h("strong", { text: ms(times.total) }),
            h("span", { text: t("times.light." + level) }),
            ran && h("span", { class: "muted", text: difference(times.total) }),
        ),
        ran
            ? h(
                  "ul",
                  { class: "time-list" },
                  STAGES.map((name) => row(name, times[name] || 0, longest)),
              )
            : h("p", { class: "muted", text: t("times.cached") }),
        h("p", { class: "small muted", text: t("times.rule") }),
    );
}
