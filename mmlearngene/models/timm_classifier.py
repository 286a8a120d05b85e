"""A timm model of any spec as a classifier of mmpretrain."""

from __future__ import annotations

from collections.abc import Mapping

from mmpretrain.models.classifiers import TimmClassifier

from ..errors import LearngeneError
from ..frameworks import Layout, layout_for
from ..frameworks.mmpretrain import classifier_cfg
from ..registry import MODELS
from ..vit.spec import ViTSpec


@MODELS.register_module()
class TimmSpecClassifier(TimmClassifier):
    """mmpretrain's ``TimmClassifier`` for a ViT that no name of timm stands for.

    Args:
        spec: the ViT's spec, or its fields.
        **kwargs: ``loss``, ``train_cfg``, ``data_preprocessor`` and ``init_cfg`` of the ``TimmClassifier``.

    Raises:
        LearngeneError: timm has no such ViT.
    """

    def __init__(self, spec: Mapping | ViTSpec, **kwargs) -> None:
        super().__init__("test_vit", **kwargs)  # the smallest of timm, only to be replaced
        spec = ViTSpec.parse(spec)
        self.model = layout_for(spec, "timm").build(spec)


def mmpretrain_or_timm(spec: ViTSpec) -> Layout:
    """The table of mmpretrain's class that can be a ViT of ``spec``, or of timm's where only timm has the features.

    Raises:
        LearngeneError: neither has.
    """
    try:
        return layout_for(spec, "mmpretrain")
    except LearngeneError:
        return layout_for(spec, "timm")


def any_classifier_cfg(spec: ViTSpec, head: dict | None = None, **overrides) -> dict:
    """Config of a classifier of ``spec``: of mmpretrain's own classes, or of timm's where only timm has the features.

    Args:
        spec: the ViT, with classes.
        head: overrides of the ``LinearClsHead``; of them timm's takes the ``loss`` alone.
        **overrides: ``train_cfg`` and ``init_cfg``, say.

    Raises:
        LearngeneError: neither has the features.
    """
    if mmpretrain_or_timm(spec).framework == "mmpretrain":
        return classifier_cfg(spec, head=head, **overrides)
    loss = {"loss": head["loss"]} if head and "loss" in head else {}
    return dict(type="mmlearngene.TimmSpecClassifier", spec=spec.asdict(), **loss, **overrides)
