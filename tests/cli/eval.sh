#!/bin/bash
# eval: figures that add up, reports as JSON, CSV and PNG; on the real test photos, the accuracy that the model's card states.
. "$(dirname "$0")/_lib.sh"
samples
run 0 eval labelled; has out "(4 photos)"; has out "top-1"; has out "as with --plant"; has out "ECE"; empty err
# progress is for terminals
if command -v script >/dev/null; then
    script -qec "'$CROPSHIELD' eval labelled >figures" /dev/null </dev/null >terminal || complain "eval on a terminal"
    has terminal "evaluating ["; has terminal "4/4"; has figures "top-1"; hasnt figures "evaluating ["
    # a bad photo leaves the bar's place and takes neither it nor the count away
    cp -r labelled first_is_bad; cp notes.jpg first_is_bad/Potato__healthy/00.jpg
    script -qec "'$CROPSHIELD' eval first_is_bad >figures" /dev/null </dev/null >terminal && complain "eval of a bad photo ended with 0"
    has terminal "00.jpg: unsupported_format"; has terminal "5/5"
else
    echo "left out: progress on a terminal (no script)"
fi
run 0 eval --json --csv confusion.csv --png confusion.png --predictions rows.csv labelled
json "{'top1','top3','macro_f1','ece','per_class','confusion','images','images_per_second'} <= set(o)"
json "o['images'] == 4 and sum(map(sum, o['confusion'])) == 4 and len(o['per_class']) == 22"
json "o['top1'] == sum(o['confusion'][i][i] for i in range(22)) / 4 and o['top1'] <= o['top3'] <= 1"
json "o['top1'] <= o['top1_in_plant'] <= 1"
[ "$(wc -l <rows.csv)" = 5 ] || complain "rows.csv has $(wc -l <rows.csv) lines"
[ "$(wc -l <confusion.csv)" = 23 ] || complain "confusion.csv has $(wc -l <confusion.csv) lines"
$python -c "from PIL import Image; Image.open('confusion.png').load()" || complain "confusion.png"
# the figures by their definitions, from the matrix and the rows, where answers are right and wrong in the same class and the same bin
mkdir -p mixed/{Potato__healthy,Potato__late_blight,Tomato__early_blight}
cp labelled/Potato__healthy/* leaf.png mixed/Potato__healthy
cp labelled/Tomato__early_blight/1.jpg photos/plant1.jpg mixed/Potato__late_blight
cp labelled/Tomato__early_blight/3.jpg mixed/Tomato__early_blight
run 0 eval --json --predictions mixed.csv mixed
$python - <<'P' || complain "figures of eval that are not those of their definitions"
import csv, json, math
o, rows = json.load(open("out")), list(csv.DictReader(open("mixed.csv")))
names, matrix = [c["class"] for c in o["per_class"]], o["confusion"]
counted = [[0] * len(names) for _ in names]
bins, f1s, uneven = {}, [], 0
for r in rows:
    counted[names.index(r["class"])][names.index(r["predicted"])] += 1
    bins.setdefault(math.ceil(float(r["probability"]) * 15), []).append((r["class"] == r["predicted"]) - float(r["probability"]))
assert len(rows) == o["images"] == 6 and matrix == counted, (matrix, rows)
for i, c in enumerate(o["per_class"]):
    right, true, called = matrix[i][i], sum(matrix[i]), sum(row[i] for row in matrix)
    precision, recall = right / called if called else 0, right / true if true else 0
    f1 = 2 * right / (true + called) if right else 0
    for key, value in (("images", true), ("precision", precision), ("recall", recall), ("f1", f1)):
        assert abs(c[key] - value) < 1e-6, (c, key, value)
    f1s += [f1] * (true > 0)
    uneven += precision > recall > 0 or recall > precision > 0
assert uneven == 2 and any(len(b) > 2 and min(b) < 0 < max(b) for b in bins.values()), ("choose other photos", rows)
assert abs(o["macro_f1"] - sum(f1s) / len(f1s)) < 1e-6, (o["macro_f1"], f1s)
assert abs(o["ece"] - sum(abs(sum(b)) for b in bins.values()) / len(rows)) < 1e-5, (o["ece"], bins)
assert abs(o["top1"] - sum(matrix[i][i] for i in range(len(names))) / len(rows)) < 1e-6
P
"$CROPSHIELD" eval --predictions /proc/self/fd/1 labelled >report 2>err || complain "rows to standard output: $(cat err)"
has report "top-1"; has report "file,class,predicted"
run 1 eval photos-that-are-nowhere; has err "photos-that-are-nowhere: not_found"; empty out
run 1 eval --model none.safetensors labelled; has err "cropshield: none.safetensors: not_found"
run 1 eval --json leaf.jpg; has err "leaf.jpg: bad_request"; empty out
cp -r labelled 'odd, "names"'; cp notes.jpg 'odd, "names"/Tomato__early_blight/broken.jpg'
run 1 eval --json --predictions odd.csv 'odd, "names"/'
json "o['images'] == 4 and o['failed'] == 1"; has err "unsupported_format"
$python -c "
import csv, os
rows = list(csv.DictReader(open('odd.csv')))
assert len(rows) == 4 and all(os.path.exists(r['file']) and r['class'] and float(r['probability']) > 0 for r in rows), rows" || complain "odd.csv"
# without a photo of a known class there is nothing to be right about
mkdir -p strange/nobody_knows; cp photos/plant1.jpg strange/nobody_knows
run 0 eval --json strange; json "o['images'] == 0 and o['unlabelled'] == 1 and all(o[k] is None for k in ('top1', 'top3', 'top1_in_plant', 'macro_f1', 'ece'))"
has err "warning: no photo has a class: expected strange/<class>/photo.jpg with the model's class names, such as Potato__early_blight"
run 0 eval strange; hasnt out "top-1"
cp notes.jpg strange/nobody_knows; run 1 eval strange; has out "1 photo failed"
mkdir nothing; run 1 eval nothing; has err "empty_input"
if [ "${CROPSHIELD_TESTS:-}" = short ]; then
    echo "left out: the whole test split (CROPSHIELD_TESTS=short)"
elif [ -n "${CROPSHIELD_DATA:-}" ] && [ -d "$CROPSHIELD_DATA/test" ]; then
    run 0 eval --json --predictions rows.csv "$CROPSHIELD_DATA/test"; cp out fast
    json "o['images'] >= 800 and o['failed'] == 0 and o['top1'] > 0.95"
    # PyTorch's answer for each photo was stored (tests/parity/accuracy.py); where PyTorch is here, a part of it is asked again.
    model=$CROPSHIELD_SOURCE/models/cropshield_cnn.safetensors
    every=64; [ "${CROPSHIELD_TESTS:-}" != full ] || every=1
    if $python -c 'import torch' 2>/dev/null; then
        OMP_NUM_THREADS=1 $python "$CROPSHIELD_SOURCE/tests/parity/accuracy.py" "$model" "$CROPSHIELD_DATA/test" --every $every >part.json ||
            complain "PyTorch's evaluation failed"
    fi
    $python - "$model" "$CROPSHIELD_SOURCE/tests/data/parity/test_split.json" "$CROPSHIELD_DATA/test/" <<'P' || complain "other answers than PyTorch's"
import csv, hashlib, json, os, sys
model, stored, folder = sys.argv[1:]
ours, theirs = json.load(open("fast")), json.load(open(stored))
assert hashlib.sha256(open(model, "rb").read()).hexdigest() == theirs["weights"], f"{stored} is of other weights"
print(f"top-1: {100 * ours['top1']:.2f} %, PyTorch with Pillow: {100 * theirs['top1']:.2f} %")
assert ours["images"] == theirs["images"] and abs(ours["top1"] - theirs["top1"]) <= 0.001 + 1e-9
rows = {os.path.relpath(row["file"], folder): row["predicted"] for row in csv.DictReader(open("rows.csv"))}
for name, answers in [("stored", theirs)] + [("asked now", json.load(open("part.json")))] * os.path.exists("part.json"):
    different = [photo for photo, top in answers["predicted"].items() if rows[photo] != top]
    print(f"photos with another top class than PyTorch's ({name}): {len(different)} of {answers['images']}")
    assert answers["images"] >= 20 and not different, different
P
    # Fixed point says the same of every photo, but for one that float32 hardly decides.
    if "$CROPSHIELD" doctor | grep -q avx512vnni; then
        run 0 eval --json --precision int8 --predictions fixed.csv "$CROPSHIELD_DATA/test"
        $python - <<'P' || complain "other answers in fixed point"
import csv
floats, fixed = ({row["file"]: row for row in csv.DictReader(open(name))} for name in ("rows.csv", "fixed.csv"))
right = [sum(row["predicted"] == row["class"] for row in rows.values()) for rows in (floats, fixed)]
different = [photo for photo in fixed if floats[photo]["predicted"] != fixed[photo]["predicted"]]
print(f"fixed point: {right[1]} of {len(fixed)} right, float32 {right[0]}; another top class on {len(different)}")
assert len(fixed) == len(floats) and right[0] == right[1] and len(different) <= 1, different
P
    fi
fi
finish
