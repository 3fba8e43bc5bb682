/*
 * Small helpers that make elements. Knows nothing of CropShield.
 * Styles go through the CSS object model, because the page's content security policy forbids style attributes.
 */
const SVG = "http://www.w3.org/2000/svg";

function apply(element, props) {
    for (const [name, value] of Object.entries(props || {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name === "class") element.setAttribute("class", value);
        else if (name === "text") element.textContent = value;
        else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
        else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
        else if (name === "value" || name === "checked" || name === "selected" || name === "disabled") element[name] = value;
        else element.setAttribute(name, value === true ? "" : String(value));
    }
}

function append(element, children) {
    for (const child of children.flat(Infinity)) {
        if (child === undefined || child === null || child === false) continue;
        element.append(child);
    }
    return element;
}

/* h("p", { class: "note" }, "text", child, …): an HTML element. */
export function h(tag, props, ...children) {
    const element = document.createElement(tag);
    apply(element, props);
    return append(element, children);
}

/* The same for SVG. */
export function s(tag, props, ...children) {
    const element = document.createElementNS(SVG, tag);
    apply(element, props);
    return append(element, children);
}

export function replace(parent, ...children) {
    parent.textContent = "";
    return append(parent, children);
}

/* Draws `place` anew; the keyboard stays on the element with the same data-key. */
export function redraw(place, draw) {
    const key = place.contains(document.activeElement) && document.activeElement.dataset.key;
    draw();
    const again = key && Array.from(place.querySelectorAll("[data-key]")).find((element) => element.dataset.key === key);
    if (again) again.focus();
}

export const byId = (id) => document.getElementById(id);

export const reducedMotion = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/* Brings an element into view and gives it the keyboard focus, without a jump where motion is unwelcome. */
export function reveal(element) {
    element.focus({ preventScroll: true });
    element.scrollIntoView({ behavior: reducedMotion() ? "auto" : "smooth", block: "start" });
}

let announceTimer = 0;
/* Says a sentence to screen readers. */
export function announce(sentence) {
    const place = byId("announcer");
    place.textContent = "";
    clearTimeout(announceTimer);
    announceTimer = setTimeout(() => {
        place.textContent = sentence;
    }, 60); // an empty moment in between makes equal sentences be read again
}
