/*
 * A panel of the side column: a <details> that remembers whether it is open.
 */
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { option, setOption } from "./settings.js";

/* Returns { root, body }. On wide screens panels start open. */
export function panel(id, iconName, openByDefault = true) {
    const wide = window.matchMedia("(min-width: 1000px)").matches;
    const stored = option("panels")[id];
    const body = h("div", { class: "panel-body", id: "panel-" + id });
    const root = h(
        "details",
        { class: "card panel", open: stored === undefined ? wide && openByDefault : stored },
        h(
            "summary",
            {},
            icon(iconName),
            h("h2", { text: t(id + ".title") }),
            h("span", { class: "panel-short", id: `panel-${id}-short` }),
        ),
        body,
    );
    root.querySelector("summary").addEventListener("click", () => {
        setOption("panels", { ...option("panels"), [id]: !root.open }); // still the state before the click
    });
    return { root, body };
}

/* A list of terms and values; pairs without a value are left out. */
export function facts(pairs) {
    return h(
        "dl",
        { class: "facts" },
        pairs
            .filter(([, value]) => value !== null && value !== undefined && value !== "")
            .map(([term, value]) => h("div", {}, h("dt", { text: term }), h("dd", {}, value))),
    );
}
