/*
 * The top of the page: is the server there, is there a model, light or dark, and the banner that says what is wrong.
 */
import * as api from "./api.js";
import { byId, h, replace } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { setTheme, theme } from "./settings.js";
import { get, on } from "./state.js";

function condition() {
    const connection = get("connection");
    if (connection !== "online") return connection;
    const status = get("status");
    return status && !status.model ? "no_model" : "online";
}

function drawPill() {
    const now = condition();
    const pill = byId("pill");
    const text = t("pill." + now);
    if (pill.textContent === text) return;
    pill.className = "pill pill-" + now;
    pill.textContent = text;
}

function unlockForm(refresh) {
    const field = h("input", { type: "password", id: "token", autocomplete: "current-password" });
    const said = h("p", { class: "small", id: "token-said", role: "status" });
    return h(
        "form",
        {
            class: "banner-form",
            on: {
                submit: async (event) => {
                    event.preventDefault();
                    const token = field.value.trim();
                    said.textContent = "";
                    if (/^[\x20-\x7e]*$/.test(token)) {
                        // anything else, say typographic quotes, no request could carry
                        api.setToken(token);
                        await refresh();
                        if (get("connection") !== "locked") return;
                    }
                    said.textContent = t("banner.refused");
                    field.select();
                },
            },
        },
        h("label", { for: "token", text: t("banner.token") }),
        field,
        h("button", { type: "submit", class: "button", text: t("banner.unlock") }),
        said,
    );
}

/* What the page says while the server does not answer, and a button for who cannot wait. */
function offline(refresh) {
    const said = h("p", { class: "small", id: "banner-said" });
    const again = async () => {
        await refresh();
        if (get("connection") === "offline") said.textContent = t("banner.still", { at: clock(new Date()) });
    };
    return [
        h("div", {}, h("p", { text: t("banner.offline") }), said),
        h("button", { class: "button", type: "button", text: t("banner.try_now"), on: { click: again } }),
    ];
}

let shown = "";
function drawBanner(refresh) {
    const now = condition();
    const model = get("status") && get("status").model;
    const reason = now === "online" && model && model.last_error ? model.last_error : "";
    const what = now + reason;
    if (what === shown) return; // a form in it must survive the next look at the server
    shown = what;
    const banner = byId("banner");
    const held = banner.contains(document.activeElement);
    if (now === "offline") {
        replace(banner, offline(refresh));
    } else if (now === "locked") {
        replace(banner, h("p", { text: t("banner.locked") }), unlockForm(refresh));
    } else if (now === "no_model") {
        replace(banner, h("p", { text: t("banner.no_model") }));
    } else if (reason) {
        replace(
            banner,
            h("p", { text: t("banner.model_error", { reason: typeof reason === "string" ? reason : reason.message }) }),
        );
    } else {
        replace(banner);
    }
    if (held && !banner.childElementCount) byId("main").focus({ preventScroll: true }); // what was pressed is gone
    banner.className = banner.childElementCount ? "banner banner-" + (now === "online" ? "no_model" : now) : "";
}

function drawTheme() {
    const dark = theme() === "dark";
    const button = byId("theme");
    const label = t(dark ? "theme.to_light" : "theme.to_dark");
    replace(button, icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-label", label);
    button.title = label;
}

export function start(refresh) {
    const draw = () => {
        drawPill();
        drawBanner(refresh);
        const status = get("status");
        byId("foot-version").textContent = status ? t("foot.version", { version: status.version }) : "";
    };
    on(["connection", "status"], draw);
    on("theme", drawTheme);
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    if (dark.addEventListener) dark.addEventListener("change", drawTheme); // theme.js has followed it by then
    byId("theme").addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
    draw();
    drawTheme();
}
