"""What live modules say of themselves, in the words of a spec; and whether two modules compute the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from ..errors import LearngeneError

LITTLE = 1e-3  # so that int() finds the hidden width, whatever the ratio

# attributes of modules that do not decide what they compute at inference
_NO_MATTER = {
    "training", "inplace", "p", "fused_attn", "grad_checkpointing", "gradient_checkpointing", "init_values", "init_cfg",
    "num_classes", "num_labels", "weight_init_mode", "fix_init", "scale_by_keep", "head_init_scale", "num_features",
    "head_hidden_size", "feature_info", "with_cp", "is_init", "mlp_ratio", "frozen_stages", "interpolate_mode",
    "out_indices", "pretrained_cfg", "default_cfg", "attention_dropout", "distilled_training",
    "layer_scale_init_value",
    "shift_coords", "jitter_coords", "rescale_coords", "aug_active", "norm_eval", "frozen_exclude", "pretrained",
    "convert_weights", "max_seq_len", "training_only", "attn_drop_p", "use_abs_pos_embed", "name_or_path",
}  # fmt: skip
_NOTHING = (nn.Identity, nn.Dropout)  # at inference; and whatever drops paths
_ACTS = {
    "GELU": "gelu", "GELUActivation": "gelu", "GELUTanh": "gelu_tanh", "PytorchGELUTanh": "gelu_tanh",
    "NewGELUActivation": "gelu_tanh", "QuickGELU": "quick_gelu", "QuickGELUActivation": "quick_gelu", "ReLU": "relu",
    "SiLU": "silu", "Swish": "silu", "SiLUActivation": "silu",
}  # fmt: skip


def known(value: str, choices: Iterable[str], what: str) -> str:
    """``value`` if it is one of ``choices``.

    Raises:
        LearngeneError: it is not: a ViT with it is not one that a spec can describe.
    """
    if value not in choices:
        raise LearngeneError(f"{what} {value!r} is not known here; expected one of {', '.join(filter(None, choices))}")
    return value


def ratio_of(hidden: int, width: int) -> float:
    """The ratio of which ``int(width * ratio)`` is the hidden width."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + LITTLE) / width


def act_name(module: nn.Module) -> str:
    """The activation that a module is, in a spec's words.

    Raises:
        LearngeneError: it is none of a spec's.
    """
    name = _ACTS[known(type(module).__name__, _ACTS, "activation")]
    return "gelu_tanh" if name == "gelu" and getattr(module, "approximate", "none") == "tanh" else name


def pool_name(pool: object) -> str:
    """A pooling as text, where timm has it as text, a module or not at all."""
    return str(getattr(pool, "pool_type", pool) or "")


def difference(
    one: nn.Module,
    other: nn.Module,
    ignore: Iterable[str] = (),
    aside: Callable[[str], bool] = lambda key: False,
    path: str = "",
) -> str | None:
    """Where two modules do not compute the same although their parameters may be equal, in words; None if nowhere.

    Classes, the shapes of parameters, and all attributes that are plain values are compared, module by module. What
    acts in training only (dropout, drop-path, start values) is passed over.

    Args:
        one: a module.
        other: what it should be.
        ignore: attributes that are no difference.
        aside: whether a parameter, or a child (its path with a dot behind), may be there or not.
        path: of the modules, for the message.
    """
    where = path or "the model"
    if path and _kind(one) != _kind(other):
        return f"{where} is {_kind(one)} instead of {_kind(other)}"
    for name, (mine, others) in _attributes(one, other).items():
        if name not in ignore and mine != others:
            return f"{where} has {name}={mine} instead of {others}"
    shapes = [{n: tuple(p.shape) for n, p in m._parameters.items() if p is not None} for m in (one, other)]
    for name in sorted({*shapes[0], *shapes[1]}):
        if shapes[0].get(name) != shapes[1].get(name) and not aside(f"{path}.{name}".lstrip(".")):
            return f"{where} has {name} of shape {shapes[0].get(name)} instead of {shapes[1].get(name)}"
    mine, others = (_children(module) for module in (one, other))
    for name in [*mine, *(name for name in others if name not in mine)]:
        below = f"{path}.{name}".lstrip(".")
        if aside(f"{below}."):
            continue
        if name not in mine or name not in others:
            has, extra = ("a", mine) if name in mine else ("no", others)
            return f"{where} has {has} {name} ({type(extra[name]).__name__})"
        if found := difference(mine[name], others[name], ignore, aside, below):
            return found
    return None


def _kind(module: nn.Module) -> str:
    """The class of a module, for classes of this package the one that they are instead of."""
    return next(cls.__name__ for cls in type(module).__mro__ if not cls.__module__.startswith("mmlearngene."))


def _children(module: nn.Module) -> dict[str, nn.Module]:
    """The children that do something at inference."""
    return {
        name: child
        for name, child in module._modules.items()
        if child is not None and not isinstance(child, _NOTHING) and "drop" not in type(child).__name__.lower()
    }


def _attributes(one: nn.Module, other: nn.Module) -> dict[str, tuple[object, object]]:
    """The plain values that both modules have, by name."""
    pairs = {}
    for name in vars(one).keys() & vars(other).keys():
        if not (name.startswith("_") or name in _NO_MATTER or "drop" in name):
            pair = _plain(vars(one)[name]), _plain(vars(other)[name])
            if None not in pair:
                pairs[name] = pair
    return pairs


def _plain(value: object) -> object | None:
    """A value that can be compared, or None."""
    if isinstance(value, (bool, int, float, str)):
        return float(value) if isinstance(value, float) else value
    if isinstance(value, (list, tuple)) and all(isinstance(item, (bool, int, float, str)) for item in value):
        return tuple(value)
    if isinstance(value, partial):
        return f"{_plain(value.func)} with {value.keywords}"
    if inspect.isfunction(value) or inspect.isbuiltin(value):
        return value.__name__
    return None


# parts of names that tools add to a model's tensors, what they are, and how to get rid of them
_TOOLS = (
    ("lora_", "LoRA", "merge it first (merge_and_unload)"),
    ("weight_orig", "pruned", "make it permanent first (torch.nn.utils.prune.remove)"),
    ("weight_mask", "pruned", "make it permanent first (torch.nn.utils.prune.remove)"),
    ("parametrizations.", "parametrised", "remove it first (torch.nn.utils.parametrize.remove_parametrizations)"),
    ("weight_g", "weight-normed", "remove it first (torch.nn.utils.remove_weight_norm)"),
    ("_packed_params", "quantised", "take the weights from before"),
    ("zero_point", "quantised", "take the weights from before"),
    ("qweight", "quantised", "take the weights from before"),
    ("weight_scale", "quantised", "take the weights from before"),
    ("SCB", "quantised", "take the weights from before"),
    ("flat_param", "sharded by FSDP", "gather its full state dict first"),
)


_WRAPPERS = ("CheckpointWrapper", "FullyShardedDataParallel", "OptimizedModule", "OffloadWrapper")


def tool_of(names: Iterable[str]) -> str | None:
    """In words, the first tensor that is not a model's own but a tool's (LoRA, pruning, quantisation, sharding)."""
    for name in names:
        for mark, what, way in _TOOLS:
            if mark in name:
                return f"{name.partition(mark)[0].rstrip('._') or name} is {what}; {way}"
    return None


def odd_parameter(module: nn.Module) -> str | None:
    """In words, the first parameter of a live model that is a tool's, or no plain tensor of its own."""
    if found := tool_of(module.state_dict()):
        return found
    for name, inner in module.named_modules():
        if type(inner).__name__ in _WRAPPERS:
            return f"{name} is wrapped ({type(inner).__name__}); put the module inside in its place first"
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if hasattr(parameter, "full_tensor"):
            return f"{name} is sharded (DTensor); gather it first (full_tensor)"
        if not parameter.is_floating_point():
            return f"{name} is quantised ({parameter.dtype}); take the weights from before"
        if other := first.get(id(parameter)):
            return f"{name} is tied to {other}; give each its own parameters first (copy.deepcopy)"
        first[id(parameter)] = name
    return None


def weightless(make: Callable[[], nn.Module], buffers: bool = True) -> nn.Module:
    """A model with its parameters on the meta device; it moves no random numbers.

    Args:
        make: makes it.
        buffers: whether its buffers, if any, are to be used.
    """
    try:
        with torch.device("meta"):
            model = make()
        if not buffers or next(model.buffers(), None) is None:
            return model
    except (RuntimeError, TypeError):  # a class that reads numbers from tensors while it is made
        pass
    with torch.random.fork_rng(devices=[]):  # start values that nobody sees must not move the run's random numbers
        model = make()
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
    return model
