"""Registries of scope ``mmlearngene``, children of mmengine's: their parts are found from any OpenMMLab config."""

import warnings

try:
    from mmengine import registry as mmengine_registry
    from mmengine.registry import Registry
except ImportError as error:
    raise ImportError("this part of mmlearngene needs OpenMMLab: pip install mmlearngene[mm]") from error

# of mmcv without compiled operators, which nothing here needs; said at every start otherwise
warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")

MODELS = Registry("model", parent=mmengine_registry.MODELS, scope="mmlearngene", locations=["mmlearngene.models"])
HOOKS = Registry(
    "hook",
    parent=mmengine_registry.HOOKS,
    scope="mmlearngene",
    locations=["mmlearngene.engine", "mmlearngene.engine.hooks.visualization"],
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
STRATEGIES = Registry(
    "strategy", parent=mmengine_registry.STRATEGIES, scope="mmlearngene", locations=["mmlearngene.engine.fsdp"]
)
# samplers of sizes
TASK_UTILS = Registry(
    "task util", parent=mmengine_registry.TASK_UTILS, scope="mmlearngene", locations=["mmlearngene.models"]
)
# mmengine looks initializers up in its root registry, in whatever scope a config runs
WEIGHT_INITIALIZERS = mmengine_registry.WEIGHT_INITIALIZERS
