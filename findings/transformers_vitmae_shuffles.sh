#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.11.0)
# Expected: ViTMAEModel with mask_ratio=0.0 in eval mode masks nothing and gives one image the same features at every call, in the
#           order of its patches, as ViTModel does.
# Seen: "patch features of two calls equal: False; after ids_restore: True".
#       Nothing is masked, but the patches are still shuffled at random, and last_hidden_state keeps the shuffled order.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile transformers==5.23.0 torch==2.11.0 numpy==2.4.6
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from transformers import ViTMAEConfig, ViTMAEModel

torch.manual_seed(0)
config = ViTMAEConfig(
    mask_ratio=0.0, image_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)
model = ViTMAEModel(config).eval()
image = torch.randn(1, 3, 64, 64)
with torch.no_grad():
    outputs = [model(image) for _ in range(2)]
patches = [out.last_hidden_state[0, 1:] for out in outputs]
restored = [p[out.ids_restore[0]] for p, out in zip(patches, outputs)]
masked = int(sum(out.mask.sum() for out in outputs))
equal, equal_restored = (torch.allclose(*pair, atol=1e-5) for pair in (patches, restored))
print(f"patches masked: {masked}")
print(f"patch features of two calls equal: {equal}; after ids_restore: {equal_restored}")
if masked or equal or not equal_restored:
    sys.exit("The behaviour has changed.")
PY
