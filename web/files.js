/*
 * Looks at a chosen file before it travels: empty, too large, or a format the server does not read. Formats that this
 * browser can show (HEIC on Apple devices, AVIF, BMP, GIF) are turned into JPEG here. Never changes a JPEG, PNG or WebP.
 */
import { ApiError } from "./api.js";

const CONVERT_SIDE = 4096; // pixels; keeps the canvas within what phones allow

const ascii = (bytes, from, to) => String.fromCharCode(...bytes.slice(from, to));

/* The format by its first bytes: "jpeg", "png", "webp", "heic", "avif", "gif", "bmp", "tiff", "pdf" or "unknown". */
export function sniff(bytes) {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
    if (bytes[0] === 0x89 && ascii(bytes, 1, 4) === "PNG") return "png";
    if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 12) === "WEBP") return "webp";
    if (ascii(bytes, 4, 8) === "ftyp")
        return /^avi[fs]/.test(ascii(bytes, 8, 12))
            ? "avif"
            : /^(hei|hev|mif|msf)/.test(ascii(bytes, 8, 12))
              ? "heic"
              : "unknown";
    if (ascii(bytes, 0, 4) === "GIF8") return "gif";
    if (ascii(bytes, 0, 2) === "BM") return "bmp";
    if (ascii(bytes, 0, 4) === "II*\0" || ascii(bytes, 0, 4) === "MM\0*") return "tiff";
    if (ascii(bytes, 0, 4) === "%PDF") return "pdf";
    return "unknown";
}

async function toJpeg(file) {
    const picture = await createImageBitmap(file); // refuses what the browser cannot decode
    const scale = Math.min(1, CONVERT_SIDE / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (picture.close) picture.close();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!blob) throw new Error("no JPEG");
    return blob;
}

/*
 * { blob, name, converted }: what to upload for a file; throws an ApiError that says why not. `limits` of the status
 * (may be null: then the server decides). Files of unknown content go to the server as they are: it has the last word.
 */
export async function prepare(file, limits) {
    if (file.size === 0) throw new ApiError("empty_input", "");
    let head;
    try {
        head = await file.slice(0, 16).arrayBuffer();
    } catch (error) {
        throw new ApiError("unreadable_file", error.message); // a folder, or gone since it was chosen
    }
    const format = sniff(new Uint8Array(head));
    let blob = file;
    let name = file.name || "photo";
    let converted = null;
    if (["heic", "avif", "gif", "bmp", "tiff"].includes(format)) {
        try {
            blob = await toJpeg(file);
        } catch (_) {
            throw new ApiError(format === "heic" ? "heic" : "unsupported_format", format.toUpperCase());
        }
        name = name.replace(/\.\w+$/, "") + ".jpg";
        converted = format;
    } else if (format === "pdf") {
        throw new ApiError("unsupported_format", "PDF");
    }
    if (limits && blob.size > limits.max_bytes) throw new ApiError("too_many_bytes", "");
    return { blob, name, converted };
}
