"""Test-time augmentation, as OpenMMLab's tools do it."""

from __future__ import annotations

from copy import deepcopy

from mmengine.config import Config

from ...errors import LearngeneError


def use_tta(cfg: Config) -> None:
    """Let a config's test average over augmented copies of an image: its ``tta_model`` and ``tta_pipeline``.

    A classification that has none averages the scores of the image and of its mirror image, as mmpretrain does.

    Args:
        cfg: a whole config; model and test pipeline are changed in place.

    Raises:
        LearngeneError: there is none, and the config is not one of classification.
    """
    dataset = cfg.test_dataloader.dataset
    if cfg.get("default_scope") == "mmpretrain":
        cfg.setdefault("tta_model", dict(type="mmpretrain.AverageClsScoreTTA"))
        if "tta_pipeline" not in cfg:
            *most, packed = deepcopy(dataset.pipeline)
            flips = [dict(type="RandomFlip", prob=prob) for prob in (1.0, 0.0)]
            cfg.tta_pipeline = [*most, dict(type="TestTimeAug", transforms=[flips, [packed]])]
    for field in ("tta_model", "tta_pipeline"):
        if field not in cfg:
            raise LearngeneError(
                f"--tta: the config has no {field}; expected one, as configs/_base_/seg/ade20k.py has for segmentation"
            )
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline
