/*
 * Sets the colour theme before the first paint; a plain script, because modules run too late for that.
 * Owns the attribute data-theme of <html> and nothing else. The stored choice is "light", "dark" or absent (the system's).
 */
(function () {
    "use strict";
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    function stored() {
        try {
            return window.localStorage.getItem("cropshield.theme");
        } catch (_) {
            return null; // storage switched off: follow the system
        }
    }
    function apply() {
        const choice = stored();
        const theme = choice === "light" || choice === "dark" ? choice : dark.matches ? "dark" : "light";
        document.documentElement.dataset.theme = theme;
        const meta = document.querySelector('meta[name="theme-color"]');
        if (meta) meta.content = theme === "dark" ? "#0f1511" : "#f6f5ef";
    }
    apply();
    if (dark.addEventListener) dark.addEventListener("change", apply);
    window.addEventListener("cropshield-theme", apply);
})();
