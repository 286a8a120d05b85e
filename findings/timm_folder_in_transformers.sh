#!/usr/bin/env bash
# timm 1.0.31, transformers 5.23.0 (torch 2.11.0)
# Expected: transformers opens timm models, so AutoModelForImageClassification opens a folder that timm's save_for_hf wrote.
# Seen: timm opens it; transformers: "got multiple values for keyword argument 'num_classes'".
#       timm notes num_classes among the model's arguments; transformers passes these on beside its own num_classes.
#       Once that single entry is taken out of config.json, both give the same logits.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile timm==1.0.31 transformers==5.23.0 torch==2.11.0 torchvision==0.26.0
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import json
import sys

import timm
import torch
from transformers import AutoModelForImageClassification

vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3).eval()
torch.nn.init.normal_(vit.head.weight)
timm.models.save_for_hf(vit, "folder", safe_serialization=True)
images = torch.randn(2, 3, 32, 32)

same = torch.equal(timm.create_model("local-dir:folder", pretrained=True).eval()(images), vit(images))
print("timm opens the folder, logits equal:", same)
try:
    AutoModelForImageClassification.from_pretrained("folder")
    error = ""
except TypeError as e:
    error = str(e)
print("transformers:", error or "opens the folder")

config = json.load(open("folder/config.json"))
print("entry taken out: num_classes =", config["model_args"].pop("num_classes"))
json.dump(config, open("folder/config.json", "w"))
opened = AutoModelForImageClassification.from_pretrained("folder").eval()
mended = torch.allclose(opened(images).logits, vit(images), atol=1e-6)
print("transformers opens the folder, logits equal:", mended)
if not (same and "num_classes" in error and mended):
    sys.exit("The behaviour has changed.")
PY
