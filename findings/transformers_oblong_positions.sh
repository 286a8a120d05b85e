#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.11.0)
# Expected: a ViT made for images of 32 x 128 (2 x 8 patches) gives the same features at that very size with and without
#           interpolate_pos_encoding=True, since there is nothing to resample.
# Seen: "ViT: positions equal: False", and the top row of patches, whose columns are 0 to 7, gets the columns
#       "2.3 2.6 3.0 3.7 4.1 4.7 5.2 5.5". The 2 x 8 positions are read as a 4 x 4 square, without a warning.
#       DINOv2 has no such switch: it reads its own positions so at every call.
#       A grid whose number of patches is no square raises an error instead.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile transformers==5.23.0 torch==2.11.0 numpy==2.4.6
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

sizes = dict(
    image_size=(32, 128), patch_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
# The position is all that the embeddings hold: channel 0 holds the patch's row, channel 1 its column.
rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(8.0), indexing="ij")
positions = torch.zeros(1, 17, 32)
positions[0, 1:, 0], positions[0, 1:, 1] = rows.flatten(), columns.flatten()
image = torch.zeros(1, 3, 32, 128)
changed = False
for name, model, switch in (
    ("ViT", ViTModel(ViTConfig(**sizes)), {"interpolate_pos_encoding": True}),
    ("DINOv2", Dinov2Model(Dinov2Config(**sizes)), {}),
):
    embeddings = model.eval().embeddings
    with torch.no_grad():
        for parameter in embeddings.parameters():
            parameter.zero_()
        embeddings.position_embeddings.copy_(positions)
        seen = embeddings(image, **switch)
    equal = torch.allclose(seen, positions)
    print(f"{name}: positions equal: {equal}; top row's columns:", *(f"{c:.1f}" for c in seen[0, 1:9, 1].tolist()))
    changed |= equal
if changed:
    sys.exit("The behaviour has changed.")
PY
