"""Owns the pictures of the run record and the model card, drawn with Pillow alone: curves, confusion, reliability."""

from PIL import Image, ImageDraw

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")


def _axes(size, box, lows, highs, labels):
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    draw.rectangle(box, outline="#888888")
    for i in range(6):
        x, y = left + (right - left) * i / 5, bottom - (bottom - top) * i / 5
        draw.line((left, y, right, y), fill="#e4e4e4")
        draw.text((x - 12, bottom + 4), f"{lows[0] + (highs[0] - lows[0]) * i / 5:.4g}", fill="#444444")
        draw.text((4, y - 5), f"{lows[1] + (highs[1] - lows[1]) * i / 5:.3g}", fill="#444444")
    draw.text(((left + right) / 2 - 20, bottom + 18), labels[0], fill="black")
    draw.text((4, 4), labels[1], fill="black")
    return image, draw


def lines(series, path, labels, lows=None, highs=None):
    """series: {name: [(x, y), ...]}."""
    points = [p for line in series.values() for p in line]
    if not points:
        return
    lows = lows or (min(p[0] for p in points), min(p[1] for p in points))
    highs = highs or (max(p[0] for p in points), max(p[1] for p in points))
    spread = [max(b - a, 1e-9) for a, b in zip(lows, highs)]
    box = (48, 22, 620, 330)
    image, draw = _axes((640, 370), box, lows, [a + s for a, s in zip(lows, spread)], labels)
    for i, (name, line) in enumerate(series.items()):
        place = [(box[0] + (box[2] - box[0]) * (x - lows[0]) / spread[0],
                  box[3] - (box[3] - box[1]) * min(1, max(0, (y - lows[1]) / spread[1]))) for x, y in line]
        draw.line(place, fill=_COLOURS[i % 5], width=2)
        draw.text((box[2] - 170, box[3] - 16 * (len(series) - i)), name, fill=_COLOURS[i % 5])
    image.quantize(64).save(path, optimize=True)


def curves(record, path):
    """Validation accuracy over training time."""
    names = [key for key in record["curve"][-1] if key.endswith(".val")] if record["curve"] else []
    lines({key: [(p["seconds"], p[key]) for p in record["curve"] if key in p] for key in names}, path,
          ("seconds", "top-1 on the validation photos"), lows=(0, 0.8),
          highs=(max(p["seconds"] for p in record["curve"]), 1.0) if names else None)


def reliability(splits, path):
    series = {"ideal": [(0, 0), (1, 1)]}
    series.update({name: [(c, a) for c, a, _ in points] for name, points in splits.items()})
    lines(series, path, ("confidence", "share right"), lows=(0, 0), highs=(1, 1))


def confusion(table, names, path, cell=20):
    """Rows: what it was; columns: what was said; shade: share of the row."""
    used = [i for i in range(len(names)) if sum(table[i]) or sum(row[i] for row in table)]
    left, top = 300, 24
    image = Image.new("RGB", (left + cell * len(used) + 8, top + cell * len(used) + 8), "white")
    draw = ImageDraw.Draw(image)
    for r, i in enumerate(used):
        draw.text((4, top + r * cell + 4), f"{r + 1:>2} {names[i]}", fill="black")
        draw.text((left + r * cell + 3, 8), str(r + 1), fill="black")
        total = max(1, sum(table[i]))
        for c, j in enumerate(used):
            share = table[i][j] / total
            shade = int(255 * (1 - share ** 0.5))
            place = (left + c * cell, top + r * cell, left + (c + 1) * cell - 1, top + (r + 1) * cell - 1)
            draw.rectangle(place, fill=(shade, shade, 255) if i == j else (255, shade, shade), outline="#dddddd")
            if table[i][j]:
                draw.text((place[0] + 2, place[1] + 4), str(table[i][j]), fill="white" if share > 0.4 else "black")
    image.quantize(64).save(path, optimize=True)
