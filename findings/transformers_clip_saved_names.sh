#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.11.0)
# Expected: save_pretrained writes the names of the model's state_dict, so two models of one class and config with equal weights
#           give files with the same names.
# Seen: "fresh model: embeddings.class_embedding" but "opened from a CLIPModel: vision_model.embeddings.class_embedding".
#       A CLIPVisionModel that was opened from a CLIPModel's folder remembers that folder's prefix, and writes it again.
#       load_state_dict of the second file into the very model that wrote it fails with every name unexpected.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile transformers==5.23.0 torch==2.11.0 numpy==2.4.6 safetensors==0.8.0
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

tower = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
config = CLIPConfig(
    vision_config=dict(tower, image_size=32, patch_size=16), text_config=dict(tower, vocab_size=50), projection_dim=16
)
CLIPModel(config).save_pretrained("clip")
opened = CLIPVisionModel.from_pretrained("clip")
fresh = CLIPVisionModel(opened.config)
fresh.load_state_dict(opened.state_dict())
opened.save_pretrained("opened")
fresh.save_pretrained("fresh")

names = {folder: load_file(f"{folder}/model.safetensors") for folder in ("opened", "fresh")}
print("fresh model:", min(names["fresh"]))
print("opened from a CLIPModel:", min(names["opened"]))
result = opened.load_state_dict(names["opened"], strict=False)
print(f"its own file: {len(result.unexpected_keys)} of {len(names['opened'])} names unexpected")
as_state = {key: set(file) == set(opened.state_dict()) for key, file in names.items()}
if as_state != {"opened": False, "fresh": True}:
    sys.exit("The behaviour has changed.")
PY
