/*
 * Draws a leaf in the browser and hands it out as an encoded picture: tests and screenshots need no photo of anybody.
 */

/* Runs inside a page. `seed` moves the spots; `type` is what canvas.toDataURL knows. */
function draw({ width, height, seed, spots, type }) {
    let state = seed * 2654435761;
    const random = () => {
        state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) | 0;
        return ((state ^ (state >>> 13)) >>> 0) / 4294967296;
    };
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const c = canvas.getContext("2d");
    const unit = Math.min(width, height) / 100;

    const ground = c.createLinearGradient(0, 0, width, height);
    ground.addColorStop(0, "#b9b4ab");
    ground.addColorStop(1, "#8f8a83");
    c.fillStyle = ground;
    c.fillRect(0, 0, width, height);
    for (let i = 0; i < 900; i++) {
        c.fillStyle = `rgba(${random() < 0.5 ? "60,56,50" : "235,230,220"},${0.05 + random() * 0.08})`;
        c.fillRect(random() * width, random() * height, unit * 0.5, unit * 0.5);
    }

    c.translate(width / 2, height / 2);
    c.rotate(-0.42);
    c.scale(unit, unit);
    // the outline: a pointed oval with a toothed edge
    const outline = new Path2D();
    const side = (from, to, sign) => {
        for (let i = from; i !== to; i += Math.sign(to - from)) {
            const at = i / 60;
            const half = 27 * Math.sin(Math.PI * at ** 0.82) ** 0.9;
            const tooth = 1 + 0.055 * Math.abs(Math.sin(at * 34)) + 0.02 * Math.sin(at * 91);
            outline.lineTo(-43 + at * 86, sign * half * tooth);
        }
    };
    outline.moveTo(-43, 0);
    side(0, 60, -1);
    side(60, 0, 1);
    outline.closePath();
    c.save();
    c.shadowColor = "rgba(20,20,10,0.45)";
    c.shadowBlur = 5 * unit;
    c.shadowOffsetY = 2 * unit;
    const blade = c.createLinearGradient(0, -28, 0, 28);
    blade.addColorStop(0, "#7ea347");
    blade.addColorStop(0.48, "#557f31");
    blade.addColorStop(0.52, "#4a742b");
    blade.addColorStop(1, "#648c38");
    c.fillStyle = blade;
    c.fill(outline);
    c.restore();
    c.save();
    c.clip(outline);
    for (let i = 0; i < 900; i++) {
        c.fillStyle = `rgba(${random() < 0.5 ? "30,60,15" : "170,195,95"},${0.03 + random() * 0.07})`;
        c.beginPath();
        c.arc(-43 + random() * 86, -28 + random() * 56, 0.4 + random() * 2.2, 0, 7);
        c.fill();
    }
    c.strokeStyle = "rgba(190,208,130,0.75)";
    c.lineWidth = 0.9;
    c.beginPath();
    c.moveTo(-46, 0);
    c.quadraticCurveTo(0, -1.5, 43, 0);
    c.stroke();
    for (let i = 0; i < 9; i++) {
        for (const sign of [-1, 1]) {
            const x = -36 + i * 8.4;
            c.lineWidth = 0.45;
            c.beginPath();
            c.moveTo(x, -0.5);
            c.quadraticCurveTo(x + 6, sign * 9, x + 14, sign * 25);
            c.stroke();
            c.lineWidth = 0.18;
            for (let k = 1; k < 5; k++) {
                c.beginPath();
                c.moveTo(x + k * 2.4, sign * k * 4.2);
                c.lineTo(x + k * 2.4 + 6, sign * (k * 4.2 + 1.2));
                c.stroke();
            }
        }
    }
    for (let i = 0; i < spots; i++) {
        const x = -30 + random() * 58;
        const y = (random() - 0.5) * 34;
        const r = 1.6 + random() * 3.6;
        const halo = c.createRadialGradient(x, y, r * 0.6, x, y, r * 2);
        halo.addColorStop(0, "rgba(214,196,66,0.85)");
        halo.addColorStop(1, "rgba(214,196,66,0)");
        c.fillStyle = halo;
        c.beginPath();
        c.arc(x, y, r * 2, 0, 7);
        c.fill();
        for (let ring = 0; ring < 4; ring++) {
            c.fillStyle = ["#4a3219", "#7a5a33", "#553a1d", "#8d6f48"][ring];
            c.beginPath();
            for (let k = 0; k <= 18; k++) {
                const angle = (k / 18) * Math.PI * 2;
                const reach = r * (1 - ring * 0.24) * (0.94 + 0.1 * Math.sin(k * 1.7 + i) * Math.cos(k * 0.9 + ring));
                c.lineTo(x + Math.cos(angle) * reach, y + Math.sin(angle) * reach);
            }
            c.fill();
        }
    }
    c.restore();
    c.strokeStyle = "#6d8f3d";
    c.lineWidth = 1.6;
    c.lineCap = "round";
    c.beginPath();
    c.moveTo(-43, 0);
    c.quadraticCurveTo(-49, 1, -54, 5);
    c.stroke();
    return canvas.toDataURL(type, 0.9);
}

/* { name, mimeType, buffer } as Playwright's setInputFiles takes it. */
export async function leafPicture(page, options = {}) {
    const wanted = { width: 1600, height: 1200, seed: 1, spots: 12, type: "image/jpeg", name: "leaf.jpg", ...options };
    const url = await page.evaluate(draw, wanted);
    return { name: wanted.name, mimeType: wanted.type, buffer: Buffer.from(url.split(",")[1], "base64") };
}
