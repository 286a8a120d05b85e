"""A tiny ancestry of Cluster-Learngene, and what a ViT says."""

import torch

import mmlearngene.engine  # noqa: F401  (registers the initializer)
from mmlearngene import ViTSpec, ViTWeights
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.testing import random_weights

TINY = dict(head_dim=8, patch_size=4, img_size=16, num_classes=5)


def ancestry(class_token: bool = False, size: str = "h4-l4") -> ViTWeights:
    torch.manual_seed(0)
    pool = "cls" if class_token else "avg_norm"
    weights = random_weights(ViTSpec.parse(size, **TINY, class_token=class_token, pool=pool))
    stacked = {name: torch.stack(t) if isinstance(t, list) else t for name, t in weights.tensors.items()}
    return ViTWeights(weights.spec, stacked)


def logits(weights: ViTWeights, x: torch.Tensor) -> torch.Tensor:
    model = TIMM.make(weights.spec).eval()
    model.load_state_dict(TIMM.state_dict(weights))
    return model(x)
