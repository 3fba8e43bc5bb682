/*
 * The results: the joint answer of a plant, the strip of photos, and the place where the selected photo is shown.
 */
import { announce, byId, h, replace, reveal } from "./dom.js";
import { t } from "./i18n.js";
import { clearAll, join, joinable } from "./jobs.js";
import { errorWords } from "./labels.js";
import { classes, emit, get, itemOf, on } from "./state.js";
import * as plantCase from "./view_case.js";
import { drawDetail } from "./view_detail.js";
import { drawStrip, scrollToCard, updateCard } from "./view_strip.js";
import { sentenceOf, titleOf } from "./view_verdict.js";

function drawJoin() {
    byId("join").hidden = joinable().length === 0;
}

function say(item) {
    if (item.kept) {
        announce(t("results.announce_kept", { name: item.name, title: errorWords(item.kept, item).title }));
    } else if (item.phase === "done") {
        announce(
            t("results.announce", { name: item.name, label: titleOf(item.diagnosis), sentence: sentenceOf(item.diagnosis) }),
        );
    } else if (item.phase === "failed") {
        const words = errorWords(item.error, item);
        announce(t("results.announce_error", { name: item.name, title: words.title, advice: words.advice }));
    }
}

export function start() {
    const section = byId("results");
    replace(
        section,
        h(
            "div",
            { class: "results-head" },
            h("h2", { id: "results-title", tabindex: "-1", text: t("results.title") }),
            h("span", { id: "results-count", class: "muted" }),
            h("button", {
                type: "button",
                class: "button quiet",
                id: "join",
                hidden: true,
                text: t("results.join"),
                title: t("results.join_hint"),
                on: {
                    click: () => {
                        join();
                        reveal(byId("results-title")); // the button goes away
                    },
                },
            }),
            h("button", {
                type: "button",
                class: "button quiet",
                id: "start-over",
                text: t("results.clear"),
                title: t("results.clear_hint"),
                on: {
                    click: () => {
                        clearAll();
                        reveal(byId("main"));
                    },
                },
            }),
        ),
        h("div", { id: "case", class: "card case", hidden: true }),
        h("ul", { id: "strip", class: "strip", "aria-label": t("results.list") }),
        h("div", { id: "detail" }),
    );
    drawStrip();
    on("items", drawStrip);
    plantCase.start();
    on(["items", "item", "plantCase"], drawJoin);
    on("selected", (key) => {
        const item = itemOf(key);
        for (const other of get("items")) updateCard(other);
        drawDetail(item);
        scrollToCard(key);
    });
    on("shown", () => reveal(byId("results-title"))); // chosen elsewhere on the page: the reader follows
    on("item", (_, item) => {
        updateCard(item);
        const settled = item.phase === "done" || item.phase === "failed";
        if (get("selected") === item.key) emit("detail", item);
        if (settled && itemOf(item.key)) say(item); // not of photos that were put away meanwhile
    });
    on("status", () => classes().length && drawStrip());
}
