/*
 * The session's history: what was diagnosed, newest first; a click shows it again.
 */
import * as api from "./api.js";
import { announce, byId, h, redraw, replace } from "./dom.js";
import { moment, probability } from "./format.js";
import { t } from "./i18n.js";
import { light } from "./icons.js";
import { addDiagnosis } from "./jobs.js";
import { errorWords, verdictLight } from "./labels.js";
import { panel } from "./panel.js";
import { get, on, set } from "./state.js";
import { titleOf } from "./view_verdict.js";

function row(entry) {
    const { diagnosis } = entry;
    const top = diagnosis.predictions[0];
    const name = diagnosis.image.name;
    return h(
        "li",
        {},
        h(
            "button",
            {
                type: "button",
                class: "history-row",
                "data-key": `${entry.at} ${diagnosis.id}`,
                on: { click: () => addDiagnosis(diagnosis, entry.at) },
            },
            h("span", { class: "visually-hidden", text: t("history.show") + " " }),
            light(verdictLight(diagnosis.verdict)),
            h(
                "span",
                { class: "history-words" },
                h("span", { class: "history-title", text: titleOf(diagnosis) }),
                h("span", { class: "small muted", text: `${moment(entry.at)} · ${name}` }),
            ),
            h("span", { class: "history-value", text: diagnosis.verdict === "not_a_leaf" ? "" : probability(top.probability) }),
        ),
    );
}

export function start(place) {
    const { root, body } = panel("history", "list");
    place.append(root);
    const said = h("p", { class: "small muted", role: "status" });
    const draw = () => {
        const entries = get("history");
        byId("panel-history-short").textContent = entries.length ? String(entries.length) : "";
        if (entries.length === 0) return replace(body, h("p", { class: "muted", text: t("history.empty") }), said);
        said.textContent = "";
        return replace(
            body,
            h("ul", { class: "history" }, entries.map(row)),
            h("button", {
                type: "button",
                class: "button quiet",
                id: "history-clear",
                "data-key": "clear",
                text: t("history.clear"),
                on: {
                    click: async () => {
                        try {
                            set("history", (await api.clearHistory()).history || []);
                            announce(t("history.cleared"));
                            root.querySelector("summary").focus();
                        } catch (error) {
                            said.textContent = errorWords(error).title;
                        }
                    },
                },
            }),
            said,
        );
    };
    draw();
    on("history", () => redraw(body, draw));
}
