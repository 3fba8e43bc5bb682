#!/bin/bash
# eval: figures that add up, reports as JSON, CSV and PNG; on the real test photos, the accuracy that the model's card states.
. "$(dirname "$0")/_lib.sh"
samples
run 0 eval labelled; has out "top-1"; has out "ECE"
run 0 eval --json --csv confusion.csv --png confusion.png --predictions rows.csv labelled
json "{'top1','top3','macro_f1','ece','per_class','confusion','images','images_per_second'} <= set(o)"
json "o['images'] == 4 and sum(map(sum, o['confusion'])) == 4 and len(o['per_class']) == 22"
json "o['top1'] == sum(o['confusion'][i][i] for i in range(22)) / 4 and o['top1'] <= o['top3'] <= 1"
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
mkdir nothing; run 1 eval nothing; has err "empty_input"
if [ "${CROPSHIELD_TESTS:-}" = short ]; then
    echo "left out: the whole test split (CROPSHIELD_TESTS=short)"
elif [ -n "${CROPSHIELD_DATA:-}" ] && [ -d "$CROPSHIELD_DATA/test" ]; then
    run 0 eval --json --predictions rows.csv "$CROPSHIELD_DATA/test"; cp out fast
    json "o['images'] >= 800 and o['failed'] == 0 and o['top1'] > 0.95"
    if $python -c 'import torch' 2>/dev/null; then
        $python "$CROPSHIELD_SOURCE/tests/parity/accuracy.py" "$CROPSHIELD_SOURCE/models/cropshield_cnn.safetensors" \
            "$CROPSHIELD_DATA/test" >torch.json || complain "PyTorch's evaluation failed"
        $python - <<'P' || complain "accuracy differs from PyTorch's by more than 0.1 points"
import json
ours, theirs = json.load(open("fast")), json.load(open("torch.json"))
print(f"top-1: {100 * ours['top1']:.2f} %, PyTorch with Pillow: {100 * theirs['top1']:.2f} %")
assert abs(ours["top1"] - theirs["top1"]) <= 0.001 + 1e-9
import csv
rows = {row["file"]: row["predicted"] for row in csv.DictReader(open("rows.csv"))}
different = [f for f, name in theirs["predicted"].items() if rows[f] != name]
print(f"photos with another top class than PyTorch's: {len(different)} of {len(rows)}")
assert not different, different
P
    fi
fi
finish
