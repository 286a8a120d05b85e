"""Registries of scope ``mmlearngene``, children of mmengine's: their parts are found from any OpenMMLab config."""

try:
    from mmengine import registry as mmengine_registry
    from mmengine.registry import Registry
except ImportError as error:
    raise ImportError("this part of mmlearngene needs OpenMMLab: pip install mmlearngene[mm]") from error

from .learngenes import LEARNGENES, load
from .learngenes.extracted import extract

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
# samplers of sizes
TASK_UTILS = Registry(
    "task util", parent=mmengine_registry.TASK_UTILS, scope="mmlearngene", locations=["mmlearngene.models"]
)
# mmengine looks initializers up in its root registry, in whatever scope a config runs
WEIGHT_INITIALIZERS = mmengine_registry.WEIGHT_INITIALIZERS

for _cls in LEARNGENES.values():
    MODELS.register_module(module=_cls)
# learngenes that a config does not build from nothing: dict(type='LoadLearngene', path=...), for example
MODELS.register_module(name="LoadLearngene", module=load)
MODELS.register_module(name="ExtractLearngene", module=extract)
