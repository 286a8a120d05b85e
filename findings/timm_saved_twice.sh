#!/usr/bin/env bash
# timm 1.0.31 (torch 2.11.0)
# Expected: save_for_hf into a folder that already holds a model replaces the model; the folder then opens as the last one saved.
# Seen: "saved last: 2.0, opened: 1.0". The first call wrote model.safetensors, the second one pytorch_model.bin (its default).
#       Both files stay, and create_model prefers the safetensors file: the old weights come back, with no warning.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile timm==1.0.31 torch==2.11.0 torchvision==0.26.0 safetensors==0.8.0
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import sys

import timm
import torch


def model(bias):
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    torch.nn.init.constant_(vit.head.bias, bias)
    return vit


timm.models.save_for_hf(model(1.0), "folder", safe_serialization=True)
timm.models.save_for_hf(model(2.0), "folder")
opened = timm.create_model("local-dir:folder", pretrained=True).head.bias[0].item()
print(f"saved last: 2.0, opened: {opened}")
if opened != 1.0:
    sys.exit("The behaviour has changed.")
PY
