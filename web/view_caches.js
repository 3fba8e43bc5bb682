/*
 * The caches panel: how full, how often useful, and the buttons that clear them.
 */
import * as api from "./api.js";
import { announce, byId, h, replace } from "./dom.js";
import { bytes, percent } from "./format.js";
import { plural, t } from "./i18n.js";
import { errorWords } from "./labels.js";
import { panel } from "./panel.js";
import { emit, get, on, set } from "./state.js";

const NAMES = ["prediction", "gradcam", "model"];

function rate(cache) {
    const all = cache.hits + cache.misses + cache.coalesced;
    if (all === 0) return t("caches.unused");
    const words = t("caches.rate", { rate: percent(cache.hit_rate, 0), hits: cache.hits + cache.coalesced, all });
    return cache.coalesced ? `${words}, ${t("caches.coalesced", { count: cache.coalesced })}` : words;
}

export function start(place) {
    const { root, body } = panel("caches", "layers");
    place.append(root);
    const said = h("p", { class: "small", id: "caches-said", role: "status" });

    const clear = async (name) => {
        try {
            set("caches", await api.clearCaches(name));
            said.textContent = name ? t("caches.cleared", { name: t("caches." + name) }) : t("caches.cleared_all");
            said.classList.remove("failed");
        } catch (error) {
            const words = errorWords(error);
            said.textContent = `${t("caches.failed")} ${(error.code === "internal" && words.detail) || words.title}`;
            said.classList.add("failed");
            emit("cachesUsed"); // what could be cleared was
        }
        announce(said.textContent);
    };

    /* What of a row changes; by name. Buttons stay as they are while figures change at any moment: one drawn anew between pressing and
       letting go would swallow the click. */
    const figures = {};
    const row = (name) => {
        figures[name] = h("div", { class: "cache-figures" });
        return h(
            "li",
            { class: "cache" },
            h(
                "div",
                { class: "cache-head" },
                h("strong", { text: t("caches." + name) }),
                h("button", {
                    type: "button",
                    class: "button quiet tiny",
                    id: "clear-" + name,
                    text: t("caches.clear_one"),
                    "aria-label": t("caches.clear_label", { name: t("caches." + name) }),
                    on: { click: () => clear(name) },
                }),
            ),
            figures[name],
        );
    };

    const figuresOf = (cache) =>
        cache.enabled === false
            ? [h("p", { class: "small muted", text: t("caches.off") })]
            : [
                  h(
                      "div",
                      { class: "cache-track", "aria-hidden": "true" },
                      h("span", { class: "cache-fill", style: { width: ((cache.hit_rate || 0) * 100).toFixed(1) + "%" } }),
                  ),
                  h("p", { class: "small muted", text: rate(cache) }),
                  h("p", {
                      class: "small muted",
                      text: plural("caches.entries", cache.entries, { bytes: bytes(cache.bytes) }),
                  }),
                  cache.disk &&
                      cache.disk.entries > 0 &&
                      h("p", {
                          class: "small muted",
                          text: t("caches.disk", { count: cache.disk.entries, bytes: bytes(cache.disk.bytes) }),
                      }),
              ];

    let drawn = null; // the names whose rows stand there
    const draw = () => {
        const caches = get("caches");
        if (!caches) {
            drawn = null;
            replace(body, h("p", { class: "muted", text: t("model.unknown") }));
            return;
        }
        const prediction = caches.prediction || {};
        const names = NAMES.filter((name) => caches[name]);
        byId("panel-caches-short").textContent = prediction.hits ? percent(prediction.hit_rate, 0) : "";
        if (drawn !== names.join()) {
            drawn = names.join();
            replace(
                body,
                h("ul", { class: "caches" }, names.map(row)),
                h("button", {
                    type: "button",
                    class: "button",
                    id: "clear-all",
                    text: t("caches.clear_all"),
                    on: { click: () => clear("") },
                }),
                said,
                h("p", { class: "small muted", text: t("caches.note") }),
            );
        }
        for (const name of names) replace(figures[name], figuresOf(caches[name]));
    };
    draw();
    on("caches", draw);
}
