/*
 * How to take a photo that helps; shown while there is no result.
 */
import { byId, h, replace } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { get, on } from "./state.js";

const TIPS = ["single", "focus", "sun", "leaf"];

export function start() {
    const section = byId("tips");
    replace(
        section,
        h("h2", { id: "tips-title", text: t("tips.title") }),
        h(
            "ul",
            { class: "tips" },
            TIPS.map((name) =>
                h(
                    "li",
                    {},
                    icon(name),
                    h("div", {}, h("h3", { text: t("tips." + name) }), h("p", { text: t(`tips.${name}_text`) })),
                ),
            ),
        ),
    );
    const toggle = () => {
        section.hidden = get("items").length > 0;
    };
    toggle();
    on("items", toggle);
}
