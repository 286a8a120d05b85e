#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.11.0)
# Expected: PixioBackbone, opened from the folder of a PixioModel, normalises its last feature map with the trained last norm, so
#           that the map equals the model's last_hidden_state.
# Seen: "map equals last_hidden_state: False; with the trained norm put in: True".
#       The backbone holds the trained norm (pixio.layernorm), but uses a second one of its own, which no such folder holds and
#       which starts at weight 1 and bias 0. The report of loading names it as missing.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile transformers==5.23.0 torch==2.11.0 numpy==2.4.6
cd "$tmp"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from transformers import PixioBackbone, PixioConfig, PixioModel

torch.manual_seed(0)
config = PixioConfig(
    image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)
model = PixioModel(config).eval()
torch.nn.init.uniform_(model.layernorm.weight, 0.5, 2.0)  # As training would leave it: not 1.
model.save_pretrained("folder")
backbone = PixioBackbone.from_pretrained("folder").eval()


def equal():
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        feature_map = backbone(image).feature_maps[-1].flatten(2).transpose(1, 2)
        return torch.allclose(feature_map, model(image).last_hidden_state[:, config.n_cls_tokens :], atol=1e-5)


before = equal()
trained_inside = torch.equal(backbone.pixio.layernorm.weight, model.layernorm.weight)
backbone.layernorm.load_state_dict(model.layernorm.state_dict())
after = equal()
print(f"the trained norm is in the backbone: {trained_inside}")
print(f"map equals last_hidden_state: {before}; with the trained norm put in: {after}")
if before or not (trained_inside and after):
    sys.exit("The behaviour has changed.")
PY
