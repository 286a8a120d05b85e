#!/usr/bin/env bash
# safetensors 0.8.0
# Expected: the same tensors and the same metadata give the same file, byte for byte.
# Seen: several files that differ, for example "20 saves of equal content: 19 different files, tensors and metadata equal: True".
#       The header holds the metadata in an order of chance, which changes from one call to the next in one process.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile safetensors==0.8.0 numpy==2.4.6
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import hashlib
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

tensors = {"weight": np.arange(4, dtype=np.float32)}
metadata = {"format": "pt", "model": "vit_tiny", "epoch": "90", "top1": "72.1", "license": "mit", "data": "imagenet"}
digests, equal = set(), True
for i in range(20):
    save_file(tensors, "model.safetensors", metadata)
    digests.add(hashlib.sha256(open("model.safetensors", "rb").read()).hexdigest())
    with safe_open("model.safetensors", "np") as f:
        equal &= f.metadata() == metadata and np.array_equal(f.get_tensor("weight"), tensors["weight"])
print(f"20 saves of equal content: {len(digests)} different files, tensors and metadata equal: {equal}")
if len(digests) == 1 or not equal:
    sys.exit("The behaviour has changed.")
PY
