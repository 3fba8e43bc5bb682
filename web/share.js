/*
 * Hands a result on as text: the device's share sheet where there is one, else the clipboard.
 */
import { announce, h } from "./dom.js";
import { probability } from "./format.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

async function copy(text) {
    if (navigator.share) {
        await navigator.share({ text });
        return "";
    }
    if (navigator.clipboard && window.isSecureContext) {
        await navigator.clipboard.writeText(text);
        return t("copy.done");
    }
    const field = h("textarea", { value: text, class: "visually-hidden", "aria-hidden": "true" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy"); // pages without HTTPS have no other way
    field.remove();
    return t(done ? "copy.done" : "copy.failed");
}

/* `from`: what was looked at, one photo or several. */
export function shareButton(diagnosis, from) {
    const said = h("span", { class: "muted small" });
    const button = h("button", {
        type: "button",
        class: "button quiet",
        on: {
            click: async () => {
                const { predictions, verdict } = diagnosis;
                const text = t(verdict === "not_a_leaf" ? "copy.not_a_leaf" : "copy.text", {
                    label: predictions[0].label,
                    probability: probability(predictions[0].probability),
                    verdict: t("verdict." + verdict),
                    title: t("title.not_a_leaf"),
                    from,
                });
                try {
                    said.textContent = await copy(text);
                } catch (error) {
                    said.textContent = error.name === "AbortError" ? "" : t("copy.failed");
                }
                if (said.textContent) announce(said.textContent);
            },
        },
    });
    button.append(icon("share"), t("copy.button"));
    return h("p", { class: "share" }, button, said);
}
