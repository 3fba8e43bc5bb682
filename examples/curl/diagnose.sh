#!/bin/sh
# Diagnoses a photo with curl and saves the heat map: diagnose.sh PHOTO [URL]
set -eu
[ $# -gt 0 ] || { echo "usage: $0 PHOTO [URL]" >&2; exit 2; }
photo=$1
url=${2:-http://127.0.0.1:8501}

answer=$(curl -sS --data-binary "@$photo" "$url/api/v1/predict?top_k=3&gradcam=1")
echo "$answer"

id=$(printf '%s' "$answer" | sed -n 's/^{"id":"\([0-9a-f]\{64\}\)".*/\1/p')
[ -n "$id" ] || exit 1
curl -sS -f -o heatmap.png "$url/api/v1/images/$id/gradcam?alpha=0.5&colormap=jet"
echo "heatmap.png written" >&2
