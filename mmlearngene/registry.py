"""Registries of scope ``mmlearngene``, children of mmengine's: their parts are found from any OpenMMLab config."""

import logging
import warnings
from pathlib import Path

try:
    from mmengine import registry as mmengine_registry
    from mmengine.registry import DefaultScope, Registry
except ImportError as error:
    raise ImportError("this part of mmlearngene needs OpenMMLab: pip install mmlearngene[mm]") from error

from .config_files import read_config
from .errors import LearngeneError
from .learngenes import LEARNGENES, Learngene

# of mmcv without compiled operators, which nothing here needs; said at every start otherwise
warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
_LOGGER = logging.getLogger("mmlearngene")

MODELS = Registry("model", parent=mmengine_registry.MODELS, scope="mmlearngene", locations=["mmlearngene.models"])
HOOKS = Registry(
    "hook",
    parent=mmengine_registry.HOOKS,
    scope="mmlearngene",
    locations=["mmlearngene.engine", "mmlearngene.engine.visualization"],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optim_wrapper_constructor",
    parent=mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    scope="mmlearngene",
    locations=["mmlearngene.engine"],
)
DATASETS = Registry(
    "dataset", parent=mmengine_registry.DATASETS, scope="mmlearngene", locations=["mmlearngene.datasets"]
)
TRANSFORMS = Registry(
    "transform", parent=mmengine_registry.TRANSFORMS, scope="mmlearngene", locations=["mmlearngene.datasets"]
)
METRICS = Registry("metric", parent=mmengine_registry.METRICS, scope="mmlearngene", locations=["mmlearngene.engine"])
# samplers of sizes
TASK_UTILS = Registry(
    "task util", parent=mmengine_registry.TASK_UTILS, scope="mmlearngene", locations=["mmlearngene.models"]
)
# mmengine looks initializers up in its root registry, in whatever scope a config runs
WEIGHT_INITIALIZERS = mmengine_registry.WEIGHT_INITIALIZERS


def _make_config_type(cls: type[Learngene]) -> None:
    """``dict(type='LeTs')`` for a method's class, one from outside as well."""
    other = MODELS.module_dict.get(cls.__name__)
    if other is not None and not issubclass(other, Learngene):
        _LOGGER.warning("%s.%s is no type in configs: the name is taken", cls.__module__, cls.__name__)
        return
    MODELS.register_module(module=cls, force=True)


LEARNGENES.watch(_make_config_type)


def model_of_config(path: str | Path):
    """The model of an OpenMMLab config, at its start values.

    Raises:
        LearngeneError: the config cannot be read, or has no ``model``.
    """
    cfg = read_config(path)
    if "model" not in cfg:
        raise LearngeneError(f"{path} has no model")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmpretrain"):
        return MODELS.build(cfg.model)
