#!/bin/bash
# eval: figures that add up, reports as JSON, CSV and PNG; on the real test photos, the accuracy that the model's card states.
. "$(dirname "$0")/_lib.sh"
samples
run 0 eval labelled; hasnt err "no photo has a class"; has out "(4 photos)"; has out "top-1"; has out "as with --plant"; has out "ECE"
run 0 eval --json --csv confusion.csv --png confusion.png --predictions rows.csv labelled
json "{'top1','top3','macro_f1','ece','per_class','confusion','images','images_per_second'} <= set(o)"
json "o['images'] == 4 and sum(map(sum, o['confusion'])) == 4 and len(o['per_class']) == 22"
json "o['top1'] == sum(o['confusion'][i][i] for i in range(22)) / 4 and o['top1'] <= o['top3'] <= 1"
json "o['top1'] <= o['top1_in_plant'] <= 1"
[ "$(wc -l <rows.csv)" = 5 ] || complain "rows.csv has $(wc -l <rows.csv) lines"
[ "$(wc -l <confusion.csv)" = 23 ] || complain "confusion.csv has $(wc -l <confusion.csv) lines"
$python -c "from PIL import Image; Image.open('confusion.png').load()" || complain "confusion.png"
run 1 eval photos-that-are-nowhere; has err "photos-that-are-nowhere: not_found"; empty out
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
        $python "$CROPSHIELD_SOURCE/tests/parity/accuracy.py" "$model" "$CROPSHIELD_DATA/test" --every $every >part.json ||
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
    if "$CROPSHIELD" doctor | grep -q avx512vnni; then # fixed point has the same accuracy within a tenth of a point
        run 0 eval --json --precision int8 "$CROPSHIELD_DATA/test"
        json "abs(o['top1'] - json.load(open('fast'))['top1']) <= 0.001"
    fi
fi
finish
