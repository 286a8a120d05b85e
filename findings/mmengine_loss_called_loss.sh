#!/usr/bin/env bash
# onedl-mmengine 0.10.12 (torch 2.11.0)
# Expected: BaseModel.parse_losses logs the total under "loss", whatever the parts are called, or refuses a part called "loss".
# Seen: "trained on 3.0, logged as loss: 1.0". The part called "loss" takes the total's place in the log, in silence.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile onedl-mmengine==0.10.12 torch==2.11.0 numpy==2.4.6
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from mmengine.model import BaseModel


class Model(BaseModel):
    def forward(self, inputs, data_samples=None, mode="tensor"):
        return inputs


total, logged = Model().parse_losses({"loss": torch.tensor(1.0), "loss_distill": torch.tensor(2.0)})
print(f"trained on {total.item()}, logged as loss: {logged['loss'].item()}")
if (total.item(), logged["loss"].item()) != (3.0, 1.0):
    sys.exit("The behaviour has changed.")
PY
