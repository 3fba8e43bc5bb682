/*
 * The panel about the model and the machine that runs it.
 */
import { byId, h, replace } from "./dom.js";
import { clock, compact, count, decimal, duration, ms } from "./format.js";
import { t } from "./i18n.js";
import { facts, panel } from "./panel.js";
import { get, on } from "./state.js";

function modelFacts(status) {
    const model = status.model;
    const untested = model.classes.filter((entry) => entry.tested === false).length;
    return facts([
        [t("model.name"), model.name],
        [
            t("model.architecture"),
            [
                model.architecture,
                h("br"),
                h("span", {
                    class: "muted",
                    text: t("model.parameters", { count: compact(model.parameters), gmac: decimal(model.gmac) }),
                }),
            ],
        ],
        [t("model.loaded"), t("model.loaded_value", { ms: ms(model.load_ms), at: clock(model.loaded_at) })],
        [t("model.file"), model.path === "embedded" ? t("model.embedded") : model.path],
        [
            t("model.classes"),
            untested ? t("model.classes_value", { count: model.classes.length, untested }) : count(model.classes.length),
        ],
        [t("model.gate"), t(model.has_leaf_gate ? "model.gate_yes" : "model.gate_no")],
        [t("model.digest"), h("code", { title: model.digest, text: model.digest.slice(0, 12) })],
    ]);
}

export function start(place) {
    const { root, body } = panel("model", "chip", false);
    place.append(root);
    const draw = () => {
        const status = get("status");
        byId("panel-model-short").textContent = status ? `${String(status.device).toUpperCase()} ${status.precision}` : "";
        if (!status) return replace(body, h("p", { class: "muted", text: t("model.unknown") }));
        return replace(
            body,
            status.model ? modelFacts(status) : h("p", { text: t("model.none") }),
            facts([
                [
                    t("model.device"),
                    [
                        String(status.device).toUpperCase(),
                        status.device_name && [h("br"), h("span", { class: "muted", text: status.device_name })],
                    ],
                ],
                [t("model.precision"), status.precision],
                [t("model.threads"), count(status.threads)],
                [t("model.kernels"), status.kernels],
                [t("model.uptime"), duration(status.uptime_s)],
            ]),
        );
    };
    draw();
    on("status", draw);
}
