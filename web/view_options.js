/*
 * The options panel.
 */
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { panel } from "./panel.js";
import { option, setOption } from "./settings.js";
import { on } from "./state.js";

const SWITCHES = ["heatmap", "bars", "timings", "advice"];
const TOP_K = [1, 3, 5, 10, 0]; // 0: all

export function start(place) {
    const { root, body } = panel("options", "sliders", false);
    place.append(root);
    const boxes = new Map();
    for (const name of SWITCHES) {
        const box = h("input", {
            type: "checkbox",
            id: "option-" + name,
            checked: option(name),
            on: { change: () => setOption(name, box.checked) },
        });
        boxes.set(name, box);
        body.append(
            h(
                "label",
                { class: "switch", for: "option-" + name },
                box,
                h("span", { class: "switch-face" }),
                h("span", { text: t("options." + name) }),
            ),
        );
    }
    const top = h(
        "select",
        { id: "option-top-k", on: { change: () => setOption("topK", Number(top.value)) } },
        TOP_K.map((value) => h("option", { value: String(value), text: value ? String(value) : t("options.all") })),
    );
    top.value = String(option("topK"));
    body.append(
        h("label", { class: "field", for: "option-top-k" }, h("span", { text: t("options.top_k") }), top),
        h("p", { class: "small muted", text: t("options.note") }),
    );
    on("option", (_, name) => {
        if (boxes.has(name)) boxes.get(name).checked = option(name);
    });
}
