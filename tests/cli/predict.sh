#!/bin/bash
# predict: text, JSON, directories, top-k, environment twins, heat maps, batches; a failing photo does not stop the rest.
. "$(dirname "$0")/_lib.sh"
samples
run 0 predict leaf.jpg; has out "leaf.jpg"; has out "%"; empty err
small_network
run 0 predict --json leaf.jpg; empty err
json "sorted(o) == sorted(['id','image','verdict','predictions','model','cache','timings_ms'] + [k for k in ('hints','leaf_score') if k in o])"
json "len(o['id']) == 64 and o['image']['format'] == 'jpeg' and o['image']['name'] == 'leaf.jpg'"
json "(o['image']['width'], o['image']['height']) == (3000, 4000)"
json "(o['image']['display_width'], o['image']['display_height']) == (600, 800)"
json "o['image']['bytes'] == __import__('os').path.getsize('leaf.jpg')"
json "o['id'] == __import__('hashlib').blake2b(open('leaf.jpg','rb').read(), digest_size=32).hexdigest()"
json "o['verdict'] in ('confident','likely','uncertain','not_a_leaf')"
json "len(o['predictions']) == 3 and all(a['probability'] >= b['probability'] for a, b in zip(o['predictions'], o['predictions'][1:]))"
json "set(o['timings_ms']) == {'decode','resize','preprocess','inference','gradcam','total'} and o['timings_ms']['inference'] > 0"
json "o['model']['device'] == 'cpu' and len(o['model']['digest']) == 64"
run 0 predict --json --top-k 22 leaf.png
json "len(o['predictions']) == 22 and abs(sum(p['probability'] for p in o['predictions']) - 1) < 1e-3"
json "o['image']['format'] == 'png'"
CROPSHIELD_TOP_K=5 run 0 predict --json leaf.webp; json "len(o['predictions']) == 5 and o['image']['format'] == 'webp'"
for precision in bf16 fp16; do # known names that no CPU engine computes in
    run 1 predict --precision $precision leaf.png; has err "model_unsupported: the CPU engine computes in fp32 and int8 only"; empty out
done
# what grows there is known
run 0 predict --json --plant WHEAT --top-k 22 leaf.jpg
json "o['plant'] == 'Wheat' and [p['class'][:7] for p in o['predictions']] == ['Wheat__'] * 4 and abs(sum(p['probability'] for p in o['predictions']) - 1) < 1e-5"
run 0 predict -p tomato --gradcam known leaf.jpg; has out "(known plant: Tomato)"; [ -s known/leaf_gradcam.png ] || complain "no heat map of a known plant"
for photos in leaf.jpg "leaf.jpg photos" "--json nowhere.jpg"; do # once, before any photo
    run 2 predict --plant oak $photos; has err "--plant: the model knows no plant 'oak': choose one of Potato, Sugarcane, Tomato, Wheat"
    [ "$(wc -l <err)" = 1 ] || complain "more than one line about a plant: $(cat err)"; empty out
done
run 2 explain --plant oak -o oak.png leaf.jpg; has err "--plant: the model knows no plant 'oak'"
run 1 predict --plant wheat --model none.safetensors leaf.png; has err "none.safetensors: not_found"
# a directory is walked in order; every photo has its line
run 0 predict --json photos; json "[l['image']['name'] for l in lines] == ['photos/plant%d.jpg' % i for i in (1, 2, 3, 4)]"
cp out one-by-one
run 0 predict --json --batch 3 photos
$python - <<'P' || complain "a batch gives other results than single photos"
import json
a, b = ([json.loads(l) for l in open(n)] for n in ("one-by-one", "out"))
assert all(abs(x["predictions"][0]["probability"] - y["predictions"][0]["probability"]) < 1e-4 and
           x["predictions"][0]["index"] == y["predictions"][0]["index"] for x, y in zip(a, b))
P
# links to directories are followed, as those who train do; loops end, and nothing is counted twice
mkdir -p linked/real; cp photos/plant1.jpg linked/real; ln -s ../photos linked/far; ln -s real linked/again; ln -s .. linked/real/up; ln -s nowhere linked/gone
run 0 predict --json linked
json "[l['image']['name'] for l in lines] == ['linked/far/plant%d.jpg' % i for i in (1, 2, 3, 4)] + ['linked/real/plant1.jpg']"
# a failing photo among good ones
run 1 predict --json photos/plant1.jpg notes.jpg missing.jpg photos/plant2.jpg
json "len(lines) == 4 and lines[1]['error']['code'] == 'unsupported_format' and lines[2]['error']['code'] == 'not_found'"
json "lines[1]['image']['name'] == 'notes.jpg' and 'predictions' in lines[3]"
has err "notes.jpg: unsupported_format"; has err "missing.jpg: not_found"
# heat maps
run 0 predict --gradcam maps photos/plant1.jpg leaf.jpg
for file in maps/plant1_gradcam.png maps/leaf_gradcam.png; do [ -s $file ] || complain "no $file"; done
$python -c "from PIL import Image; assert Image.open('maps/leaf_gradcam.png').size == (600, 800)" || complain "heat map size"
has out "  heat map: maps/plant1_gradcam.png"; [ "$(grep -A9 '^leaf.jpg' out | grep -c 'heat map: maps/leaf_gradcam.png')" = 1 ] || complain "no line about leaf.jpg's map: $(cat out)"
run 0 predict --json --gradcam maps/ photos/plant1.jpg leaf.jpg
json "[l['gradcam_file'] for l in lines] == ['maps/plant1_gradcam.png', 'maps/leaf_gradcam.png'] and all(l['predictions'] for l in lines)"
run 0 predict --json photos/plant1.jpg; json "'gradcam_file' not in o"
# a second photo of the same name gets another heat map, and running again writes the same files
mkdir -p one two
cp photos/plant1.jpg one/same.jpg; cp photos/plant2.jpg two/same.jpg
for _ in 1 2; do
    run 0 predict --gradcam twice one two/same.jpg
    [ "$(find twice -name 'same*_gradcam.png' | wc -l)" = 2 ] || complain "heat maps of namesakes: $(ls twice)"
done
# display images of which the cache holds one or two, behind a photo that takes longer: none gets lost
if ! instrumented; then
    $python - <<'P'
from PIL import Image
import os
os.mkdir("large")
photo = Image.open("photos/plant1.jpg").convert("RGB")
photo.resize((6000, 4500)).save("large/0.jpg", quality=95, progressive=True)
for i in range(1, 6):
    photo.rotate(i).resize((3600, 2700)).save(f"large/{i}.jpg", quality=60)
P
    run 0 predict --max-size 4000 --gradcam large large
    [ "$(ls large/*_gradcam.png | wc -l)" = 6 ] || complain "heat maps of large photos: $(ls large)"
fi
# the longest name that a heat map can have
long=$(printf 'n%.0s' $(seq 243)); cp leaf.png "$long.png"
run 0 predict --gradcam maps "$long.png"; [ -s "maps/${long}_gradcam.png" ] || complain "no heat map of a long name"
# endings of any kind and case; what is a picture of another kind by its name is counted once, pipes are no photos
mkdir -p endings/deeper others
for name in a.JPG b.Jpeg c.jpe d.JFIF deeper/e.PNG f.webp; do cp leaf.png endings/$name; done
for name in deeper/g.HEIC h.heif i.avif j.tif k.TIFF l.bmp m.gif; do echo >endings/$name; done
echo >endings/notes.txt; mkfifo endings/pipe.jpg; ln -s nowhere endings/n.txt
run 0 predict --json endings photos/plant1.jpg
json "[l['image']['name'][8:] for l in lines[:-1]] == ['a.JPG', 'b.Jpeg', 'c.jpe', 'd.JFIF', 'deeper/e.PNG', 'f.webp'] and len(lines) == 7"
has err "warning: 7 pictures of other kinds were passed over: in directories only .jpg, .jpeg, .jpe, .jfif, .png, .webp are read"
[ "$(wc -l <err)" = 1 ] || complain "more than one line about pictures of other kinds: $(cat err)"
echo >others/one.heic
run 1 predict others; has err "1 picture of another kind was passed over"; has err "others: empty_input: no photo in this directory (.jpg, "
# a pipe that is named is read, within the limit, by every name that it has
"$CROPSHIELD" predict --json <(cat leaf.png) photos/plant1.jpg >out 2>err || complain "a named pipe: $(cat err)"
json "lines[0]['image']['bytes'] == __import__('os').path.getsize('leaf.png') and lines[0]['image']['name'].startswith('/dev/fd/') and len(lines) == 2"
cat leaf.png | "$CROPSHIELD" predict --json /dev/stdin >out 2>err || complain "/dev/stdin: $(cat err)"
json "o['image']['bytes'] == __import__('os').path.getsize('leaf.png')"
"$CROPSHIELD" predict --json /dev/fd/7 >out 2>err 7<leaf.png || complain "/dev/fd/7: $(cat err)"
mkfifo fifo; cat leaf.png >fifo &
run 0 explain -o fifo.png fifo; [ -s fifo.png ] || complain "no heat map of a photo from a pipe"
wait
run 1 predict --json --max-bytes 1K /dev/zero; json "o['error']['code'] == 'image_too_large'"
run 1 predict --json /dev/null; json "o['error']['code'] == 'empty_input'"
# a photo from standard input
"$CROPSHIELD" predict --json - <leaf.png >out 2>err || complain "standard input"
json "o['image']['name'] == '-' and o['image']['bytes'] == __import__('os').path.getsize('leaf.png')"
"$CROPSHIELD" predict --json --max-bytes 1K - <leaf.png >out 2>err && complain "standard input over the limit"
json "o['error']['code'] == 'image_too_large'"
"$CROPSHIELD" predict --json - </dev/null >out 2>err && complain "empty standard input"
json "o['error']['code'] == 'empty_input'"
# one photo, whose model is loaded beside it: what is wrong with the model is said of the model
"$CROPSHIELD" predict --json --model none.safetensors leaf.png >out 2>err && complain "no model, one photo"
has err "none.safetensors: not_found"; hasnt err "leaf.png"; [ -s out ] && complain "a line for a photo without a model"
run 0 predict --json --compact leaf.png leaf.png
# names that are not UTF-8 do not hide what is wrong
cp notes.jpg $'n\xff.jpg'; cp leaf.png $'l\xff.png'
run 1 predict --json $'n\xff.jpg' $'l\xff.png'
json "lines[0]['image']['name'] == 'n\ufffd.jpg' and lines[0]['error']['code'] == 'unsupported_format' and 'text' in lines[0]['error']['message']"
json "lines[1]['image']['name'] == 'l\ufffd.png' and lines[1]['predictions']"
# names that would steer a terminal are escaped where they are shown, and whole in JSON
odd=$'od\e]0;d\nd\xc2\x9b.jpg'; cp photos/plant1.jpg "$odd"; cp notes.jpg $'b\rad.jpg'
run 1 predict --gradcam maps "$odd" $'b\rad.jpg' $'no\twhere.jpg'
has out 'od\x1b]0;d\x0ad\x9b.jpg'; has out 'heat map: maps/od\x1b]0;d\x0ad\x9b_gradcam.png'; has err 'b\x0dad.jpg: unsupported_format'; has err 'no\x09where.jpg: not_found'
LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' out err && complain "control characters are shown: $(cat -v out err)"
run 0 explain -o o.png "$odd"; has out 'od\x1b]0;d\x0ad\x9b.jpg: heat map'
run 0 predict --json --gradcam maps "$odd"; json "o['image']['name'] == 'od\x1b]0;d\nd\x9b.jpg' and o['gradcam_file'] == 'maps/od\x1b]0;d\nd\x9b_gradcam.png'"
# one plant
run 0 predict --case --json photos; json "lines[-1]['case']['photos'] == 4 and 0 <= lines[-1]['case']['agreement'] <= 1 and lines[-1]['case']['predictions']"
run 0 predict --case --json --plant tomato photos; json "lines[-1]['case']['plant'] == 'Tomato' and lines[-1]['case']['predictions'][0]['class'].startswith('Tomato__')"
json "not {'image', 'cache', 'timings_ms'} & set(lines[-1]['case']) and all('image' in l for l in lines[:-1])" # several photos are none
run 0 predict --case photos; has out "all 4 photos together ("; has out "% of them agree)"
run 1 predict --case photos/plant1.jpg notes.jpg; has out "1 of 2 photos alone"; hasnt out "all 1"
run 1 predict --case photos notes.jpg; has out "4 of 5 photos ("
run 0 predict --case leaf.png; has out "1 photo alone"
run 2 predict --case photos labelled photos; has err "at most 6"
"$CROPSHIELD" predict --case --json - photos/plant1.jpg <leaf.png >out 2>err || complain "a case from standard input: $(cat err)"
json "[l['image']['name'] for l in lines[:2]] == ['-', 'photos/plant1.jpg'] and lines[-1]['case']['photos'] == 2"
# the same answer from every kernel set, within rounding
run 0 predict --json --cpu-mask generic photos/plant1.jpg; cp out generic
run 0 predict --json photos/plant1.jpg
$python - <<'P' || complain "kernel sets disagree"
import json
a, b = (json.loads(open(n).readline())["predictions"] for n in ("generic", "out"))
assert a[0]["index"] == b[0]["index"] and abs(a[0]["probability"] - b[0]["probability"]) < 1e-3
P
# nothing in the picture, no leaf in it: black, white, one colour, one pixel
mkdir plain
$python -c "
from PIL import Image
for name, side, colour in (('black.png', 640, 0), ('white.png', 640, 0xffffff), ('grey.jpg', 640, 0x808080), ('blue.png', 640, 0xff0000), ('one.png', 1, 0x20a010)):
    Image.new('RGB', (side, side), colour).save('plain/' + name)"
run 0 predict --json plain
json "len(lines) == 5 and all(l['verdict'] == 'not_a_leaf' and l['leaf_score'] < 0 for l in lines)"
# no colour and no progress without a terminal, however many photos there are
run 0 predict photos photos photos
hasnt out $'\033'; hasnt err $'\033'
# who reads no further is told nothing
"$CROPSHIELD" predict photos photos 2>err | head -1 >/dev/null; [ "${PIPESTATUS[0]}" = 1 ] || complain "a closed pipe was no failure"
empty err
# stdout that cannot be written is a failure
"$CROPSHIELD" predict photos/plant1.jpg >&- 2>err && complain "a closed stdout went unnoticed"
"$CROPSHIELD" predict photos/plant1.jpg >/dev/full 2>err && complain "a full stdout went unnoticed"
has err "cannot write the results"
"$CROPSHIELD" inspect --json embedded >/dev/full 2>err && complain "a full stdout went unnoticed"
has err "cannot write the results"
finish
