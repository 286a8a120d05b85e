"""Mimetic initialisation (Trockman & Kolter, ICML 2023)."""

from __future__ import annotations

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor

from ...vit.spec import ViTSpec
from ...vit.weights import ViTWeights
from ..facts.controls import MimeticFacts
from ..methods import register
from .scratch import Scratch


@register
class Mimetic(MimeticFacts, Scratch):
    """Mimetic initialisation: attention that looks trained, made of random numbers (Trockman & Kolter, ICML 2023).

    With Z normal of variance 1 / embed_dims, drawn anew for every product, acting on row vectors x:

    * in each head ``W_q W_k^T`` is the best approximation of rank head_dim to ``0.7 Z + 0.7 I``;
    * in each layer ``W_v W_proj``, all heads together, is ``0.4 Z - 0.4 I``;
    * learned positions are 2-D sines and cosines, 0 for class and register tokens.

    Both products are factored by singular value decomposition, half of the singular values in either factor. All else,
    biases included, keeps the model's own start values. Nothing comes from the ancestry but its size.
    """

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        width, inner = spec.embed_dims, spec.inner_dims
        generator = torch.Generator().manual_seed(self.config["seed"])
        qkv, proj = [], []
        for _ in range(spec.num_layers):
            heads = [_factored(0.7, 0.7, width, spec.head_dim, generator) for _ in range(spec.num_heads)]
            value, out = _factored(0.4, -0.4, width, inner, generator)
            value = value.view(spec.num_heads, spec.head_dim, width)
            qkv.append(torch.stack([torch.stack([q for q, _ in heads]), torch.stack([k for _, k in heads]), value]))
            proj.append(out.T.view(width, spec.num_heads, spec.head_dim))
        tensors = {"qkv.weight": qkv, "proj.weight": proj}
        if spec.pos_embed == "learn":
            positions = build_sincos2d_pos_embed(list(spec.grid), dim=width)
            tensors["pos_embed"] = torch.cat([positions.new_zeros(spec.prefix_positions, width), positions])
        return ViTWeights(spec, tensors)


def _factored(alpha: float, beta: float, width: int, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two factors A, B of shape (rank, width) with ``A^T B`` near ``alpha Z + beta I``."""
    noise = torch.randn(width, width, generator=generator) / width**0.5
    left, values, right = torch.linalg.svd(alpha * noise + beta * torch.eye(width))
    root = values[:rank, None].sqrt()
    return root * left.T[:rank], root * right[:rank]
