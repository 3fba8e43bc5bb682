#!/bin/bash
# The model file is replaced again and again while clients ask: no request is lost or served stale, a bad file leaves the old model in
# place and is reported, and old models are freed.
. "$(dirname "$0")/_lib.sh"
samples
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
model=$CROPSHIELD_SOURCE/models/cropshield_lite.safetensors
cp "$model" model.safetensors
start --model model.safetensors
case $CROPSHIELD_BUILD in *san) slack=1000 ;; *) slack=10 ;; esac # sanitizers keep freed memory back
$python - "$model" "${url##*:}" $server $slack <<'P' || complain "replacing the model under load"
import http.client, json, os, struct, sys, threading, time
model, port, pid, slack = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
photos = [open(name, "rb").read() for name in ("photos/plant1.jpg", "photos/plant2.jpg", "leaf.png")]
data = open(model, "rb").read()
size = struct.unpack("<Q", data[:8])[0]

def ask(method, path, body=None, headers={}):
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    peer.request(method, path, body, headers)
    answer = peer.getresponse()
    text = answer.read()
    peer.close()
    return answer.status, json.loads(text)

def status():
    return ask("GET", "/api/v1/status")[1]["model"]

def replace(temperature):
    """Another file content each time; None: one that is cut."""
    header = json.loads(data[8:8 + size])
    header["__metadata__"]["temperature"] = str(temperature)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + data[8 + size:]
    open("new", "wb").write(whole if temperature is not None else data[:len(data) // 2])
    os.rename("new", "model.safetensors")

def wait(what, condition):
    for _ in range(300):
        if condition(status()):
            return
        time.sleep(0.1)
    raise SystemExit(f"never: {what}: {status()}")

def in_memory():
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    peer.request("GET", "/metrics")
    text = peer.getresponse().read().decode()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("cropshield_models_in_memory ")))

def resident():
    return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def together(turn):
    """Several photos in one request, none seen before: all by the same model."""
    form = b"".join(b"--leaf\r\nContent-Disposition: form-data; name=image; filename=x\r\n\r\n%s%d %d\r\n" % (photos[i % 2], turn, i)
                    for i in range(4)) + b"--leaf--\r\n"
    query = "?case=1" if turn % 3 == 1 else ""
    code, answer = ask("POST", "/api/v1/predict" + query, form, {"Content-Type": "multipart/form-data; boundary=leaf"})
    used = {one.get("model", {}).get("digest") for one in answer.get("results", [])}
    return code, answer, code == 200 and len(used) == 1 and None not in used

stop, wrong, answered, digests = threading.Event(), [], [0], set()
def client(number):
    turn = number
    while not stop.is_set():
        photo = photos[turn % len(photos)]
        if turn % 3 == 0:
            code, answer = ask("POST", "/v2/models/cropshield_lite/infer", photo, {"Inference-Header-Content-Length": "0"})
            good = code == 200 and len(answer["outputs"]) == 4
        elif number == 0:
            code, answer, good = together(turn)
        else:
            code, answer = ask("POST", "/api/v1/predict" + ("?gradcam=1" if turn % 2 else ""), photo)
            good = code == 200 and len(answer["predictions"]) == 3
            digests.add(answer.get("model", {}).get("digest"))
        if not good:
            wrong.append((code, answer))
        answered[0] += 1
        turn += 1

clients = [threading.Thread(target=client, args=(i,)) for i in range(6)]
for thread in clients:
    thread.start()
sizes = []
for round in range(1, 9):
    replace(1 + round / 10)
    wait("a new model", lambda m: m["loads"] == 1 + round and abs(m["temperature"] - 1 - round / 10) < 1e-6)
    if round == 4:
        replace(None)
        wait("a failure that is told", lambda m: m["load_failures"] == 1 and m["last_error"])
        assert status()["loads"] == 1 + round and abs(status()["temperature"] - 1.4) < 1e-6, "the old model went"
    time.sleep(0.3)
    sizes.append(resident())
assert status()["last_error"] is None, "an old error is still shown"
stop.set()
for thread in clients:
    thread.join()
print(f"{answered[0]} requests over 8 replaced models; resident after each:", " ".join(f"{mb:.0f}" for mb in sizes), "MB")
for _ in range(50):
    if in_memory() == 1:
        break
    time.sleep(0.1)
assert in_memory() == 1, f"{in_memory()} models are still in memory"
assert not wrong, wrong[:3]
assert answered[0] > 50, answered
assert len(digests) >= 5, digests
# With no request in flight: under load the sessions of six clients, some 12 MB each, would swing it.
print(f"resident at rest: {resident():.0f} MB")
assert resident() < sum(sizes[:3]) / 3 * 1.15 + slack, "what old models held does not go back to the system"
P
stop
has log "the old one stays"
finish
