#!/bin/bash
# Every command in README and docs/ works.
set -eu
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c "import PIL" 2>/dev/null || { echo "no python3-pil"; exit 77; }
exec $python "$CROPSHIELD_SOURCE/tests/docs/run_documents.py"
