#!/usr/bin/env bash
# onedl-mmsegmentation 1.4.2, onedl-mmengine 0.10.12 (torch 2.11.0)
# Expected: init_cfg=dict(type="Pretrained", checkpoint=..., prefix="backbone.") takes the backbone out of a whole model's
#           checkpoint, as MMEngine's PretrainedInit documents.
# Seen: "ResNet: loaded True" but "VisionTransformer: loaded False".
#       VisionTransformer.init_weights reads the checkpoint itself and does not look at prefix; no name fits, and training would
#       go on from the values of construction. A printed list of names that do not fit is all that tells.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile onedl-mmsegmentation==1.4.2 onedl-mmengine==0.10.12 onedl-mmcv==2.3.6 torch==2.11.0 torchvision==0.26.0
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import contextlib
import io
import sys

import torch
from mmseg.models.backbones import ResNet, VisionTransformer

vit = dict(img_size=(32, 32), patch_size=16, embed_dims=32, num_layers=1, num_heads=2, out_indices=(0,))
loaded = {}
for backbone, options in ((ResNet, dict(depth=18, base_channels=8)), (VisionTransformer, vit)):
    with contextlib.redirect_stdout(io.StringIO()):
        source = backbone(**options)
        for parameter in source.parameters():
            torch.nn.init.normal_(parameter)
        torch.save({"state_dict": {f"backbone.{k}": v for k, v in source.state_dict().items()}}, "model.pth")
        model = backbone(**options, init_cfg=dict(type="Pretrained", checkpoint="model.pth", prefix="backbone."))
        model.init_weights()
    pairs = zip(source.parameters(), model.parameters())
    loaded[backbone.__name__] = all(torch.equal(a, b) for a, b in pairs)
    print(f"{backbone.__name__}: loaded {loaded[backbone.__name__]}")
if loaded != {"ResNet": True, "VisionTransformer": False}:
    sys.exit("The behaviour has changed.")
PY
