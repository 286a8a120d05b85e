"""Layouts: canonical weights to and from the parameter names of a framework's plain ViT; one file a framework."""

from __future__ import annotations

from .base import Layout
from .mmpretrain import MMPRETRAIN
from .swin import SWIN
from .timm import TIMM

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (TIMM, MMPRETRAIN)}

__all__ = ["LAYOUTS", "MMPRETRAIN", "SWIN", "TIMM", "Layout"]
