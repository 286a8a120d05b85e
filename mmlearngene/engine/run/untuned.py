"""Evaluate what a learngene expands to, without any tuning and without a checkpoint."""

from __future__ import annotations

from mmengine.config import Config

from ...errors import LearngeneError
from ...frameworks.mmpretrain import classifier_cfg
from ...learngenes import LEARNGENES, load
from ...utils.typed import settings_of


def use_learngene(cfg: Config, path: str, size: str | None = None) -> None:
    """Let a classification config evaluate a learngene's descendant on its data, classifier included.

    Args:
        cfg: a whole config; its model is changed in place.
        path: the learngene file.
        size: of the descendant. When omitted, that of the config's own model; or the Aux-Net's where the config is one
            that trains a learngene.

    Raises:
        LearngeneError: no such size, the config's model has no classifier, or the learngene has none.
    """
    learngene = load(path)
    if not learngene.aux_spec.num_classes:
        raise LearngeneError(
            f"{path} has no classifier to evaluate; its features are judged by `mmlearngene probe`, or tune a "
            "descendant first"
        )
    model = cfg.model
    trains = next(settings_of(model, tuple(cls.__name__ for cls in LEARNGENES.values())), None) is not None
    if not trains and (model.get("head") or {}).get("num_classes") is None:
        raise LearngeneError(
            f"{path} is a learngene, which has no weights for the {model.type} of this config; expected a config of "
            "classification, or the checkpoint of a trained model"
        )
    if size is not None or trains:
        spec = learngene.target(size)
        if not trains and (side := model.backbone.get("img_size")) is not None:
            spec = spec.replace(img_size=tuple(side) if isinstance(side, list) else side)
        own = dict(data_preprocessor=model.data_preprocessor) if model.get("data_preprocessor") else {}
        cfg.model = dict(classifier_cfg(spec), **own)
    cfg.model.pop("init_cfg", None)
    hook = dict(type="mmlearngene.LearngeneInitHook", checkpoint=path, head="inherit")
    cfg.custom_hooks = [hook]  # those of the training have nothing to do
