"""A small trainer on scikit-learn's digits, in plain PyTorch: 1,297 images to train on, 500 to test."""

import functools

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmlearngene import ViTSpec, ViTWeights, load_ancestry
from mmlearngene.frameworks.timm import VIT as TIMM

FIELDS = dict(head_dim=16, patch_size=2, img_size=8, in_channels=1, num_classes=10)


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(images, labels) to train on and to test on; images (N, 1, 8, 8) of mean 0 and deviation 1."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)
    x, y = (x - x.mean()) / x.std(), torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return (x[:1297], y[:1297]), (x[1297:], y[1297:])


def vit(spec: ViTSpec, weights: ViTWeights | None = None, seed: int = 0) -> nn.Module:
    """timm's ViT with its own start values, or with the given weights."""
    torch.manual_seed(seed)
    model = TIMM.make(spec)
    if weights is not None:
        model.load_state_dict(TIMM.state_dict(weights))
    return model


def train(model: nn.Module, epochs: float, lr: float = 3e-3, seed: int = 0) -> float:
    """AdamW with a linear warm-up of a tenth and a cosine; returns the test accuracy."""
    (x, y), _ = digits()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    steps = int(epochs * (len(x) // 32))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 1), pct_start=0.1)
    model.train()
    for _ in range(steps):
        batch = torch.randint(len(x), (32,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x[batch]), y[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return accuracy(model)


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Share of the test images that the model tells right."""
    _, (x, y) = digits()
    return float((model.eval()(x).argmax(-1) == y).float().mean())


@functools.cache
def ancestry() -> ViTWeights:
    """A trained h4-l4 with class token; about 400 steps."""
    spec = ViTSpec.parse("h4-l4", **FIELDS, class_token=True, pool="cls")
    model = vit(spec)
    train(model, epochs=10)
    return load_ancestry(model)
