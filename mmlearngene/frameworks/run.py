"""Run a live ViT beside one that its class makes anew, with equal random weights: whatever acts at inference shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import LearngeneError, in_words
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .live import Found
from .modules import weightless

MOST_MACS = 100e9  # a second or two on two cores; what costs more is run only where something looks changed
_TOLERANCE = 2e-5  # of the largest value of a layer
_HALVES = {torch.bfloat16: 5e-2, torch.float16: 1e-2}  # the same where buffers, of rotary positions say, were rounded
# attributes that say which outputs a backbone gives, not how it computes them
_LIBRARIES = ("torch", "timm", "transformers", "mmpretrain", "mmseg", "mmcv", "mmengine", "mmlearngene")
_LAST = "its output"
_SERVED = ("global_pool", "out_type", "out_indices", "output_cls_token", "out_origin")


def check_function(found: Found, model: nn.Module, verify: bool | None = None) -> None:
    """Make sure that a live ViT computes what its class does: nothing that replaces, hooks or patches it is left.

    Both run on one random image with the same random weights, in evaluation mode; the live model keeps its own weights
    and everything else.

    Args:
        found: the ViT.
        model: the model that it is in.
        verify: whether to run them; when None, unless that takes more than :data:`MOST_MACS` and nothing looks changed.

    Raises:
        LearngeneError: they differ, or the live one cannot be run; the message names the first layer that differs.
    """
    if verify is False or any(tensor.is_meta for tensor in found.module.parameters()):
        return
    suspects = _suspects(found.module)
    if verify is None and found.spec.macs > MOST_MACS and not suspects:
        return
    if "ViTMAE" in type(found.module).__name__:  # hides patches at random, so that no two runs are equal
        if suspects:
            raise LearngeneError(f"{type(found.module).__name__} was changed: {', '.join(suspects)}")
        return
    built = weightless(lambda: found.layout.make(found.spec))
    own = next(found.module.parameters())
    # half precision would hide small differences, and not every class runs in it on every device
    like = own.float() if own.dtype in _HALVES else own
    weights = _random(found.spec, like)
    ours = _outputs(*_prepared_built(found, built, weights, like), _image(found.spec, like))
    try:
        theirs = _outputs(*_prepared_live(found, model, weights, like), _image(found.spec, like))
    except Exception as error:  # of code that was changed in any way
        raise LearngeneError(
            f"{type(found.module).__name__} cannot be run on one image of its size ({in_words(error)}); "
            "verify=False takes it for what its class computes"
        ) from error
    if found.spec.depths and _served(found.module) != _served(found.layout.vit_of(built)):
        ours.pop(_LAST, None)  # other stages, or no mean of the last one
    for name in filter(theirs.__contains__, ours):  # in order, the layers first
        if theirs[name].shape != ours[name].shape:
            difference = f"of shape {tuple(theirs[name].shape)} instead of {tuple(ours[name].shape)}"
        else:
            apart = (theirs[name].float() - ours[name].float()).abs().max().item()
            largest = ours[name].float().abs().max().item()
            if apart <= _HALVES.get(own.dtype, _TOLERANCE) * largest:
                continue
            difference = f"by {apart / largest:.2g} of the largest output"
        suspects += _other_buffers(found.module, found.layout.vit_of(built))
        raise LearngeneError(
            f"{type(found.module).__name__} computes something else than its class does with the same weights, from "
            f"{name} on, {difference}; {', '.join(suspects) or 'what was changed is not known'}"
        )


def _served(vit: nn.Module) -> dict[str, str]:
    return {name: str(getattr(vit, name)) for name in _SERVED if hasattr(vit, name)}


def _suspects(vit: nn.Module) -> list[str]:
    """Whatever may change what modules compute beside their weights and numbers, in words."""
    found = []
    for name, module in vit.named_modules():
        where = name or "the ViT"
        if type(module).__module__.partition(".")[0] not in _LIBRARIES:
            found.append(f"{where} is a {type(module).__module__}.{type(module).__qualname__}")
        if "forward" in vars(module):
            found.append(f"forward of {where} is replaced")
        if module._forward_hooks or module._forward_pre_hooks:
            found.append(f"{where} has a hook")
    return found


def _other_buffers(vit: nn.Module, built: nn.Module) -> list[str]:
    """Buffers of other values than the class makes."""
    own = dict(built.named_buffers())
    return [
        f"the buffer {name} has other values"
        for name, buffer in vit.named_buffers()
        if name in own and (buffer.shape != own[name].shape or not torch.equal(buffer.cpu(), own[name].cpu()))
    ]


def _random(spec: ViTSpec, like: Tensor) -> ViTWeights:
    """Weights under which every part of a ViT matters: norms near 1, linear layers that keep the size of inputs."""
    generator = torch.Generator().manual_seed(0)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=generator)
        if name.endswith(("gamma", "norm.weight")) or name.startswith("norm") and name.endswith("weight"):
            values = 1 + 0.2 * values
        elif name.endswith("weight"):
            values = values / (shape[-1] if "qkv" in name or "fc1" in name else values[0].numel()) ** 0.5
        else:
            values = 0.5 * values
        return values.to(like)

    layers = [
        {name: tensor(name, shape) for name, shape in spec.layer_shapes(layer).items()}
        for layer in range(spec.num_layers)
    ]
    return ViTWeights.from_layers(spec, {n: tensor(n, shape) for n, shape in spec.stem_shapes().items()}, layers)


def _image(spec: ViTSpec, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, spec.in_channels, *spec.img_size, generator=generator).to(like)


def _prepared_built(
    found: Found, built: nn.Module, weights: ViTWeights, like: Tensor
) -> tuple[nn.Module, dict[str, Tensor], dict[str, nn.Module]]:
    """The model that the class makes, its weights, and its layers by name; it serves what the live one serves."""
    layout = found.layout
    state = {name: torch.zeros(p.shape, dtype=like.dtype, device=like.device) for name, p in built.named_parameters()}
    state |= {name: t for name, t in layout.state_dict_of(built, weights).items() if name in state}
    vit = layout.vit_of(built)
    for module in built.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(like.device)
    for name in _SERVED:
        if hasattr(found.module, name) and hasattr(vit, name) and found.spec.depths is None:
            setattr(vit, name, getattr(found.module, name))
    if not _has_classifier_around(found):
        built, state = vit, {name.removeprefix(f"{layout.inside}."): tensor for name, tensor in state.items()}
    return built, state, _layers(found, vit)


def _prepared_live(
    found: Found, model: nn.Module, weights: ViTWeights, like: Tensor
) -> tuple[nn.Module, dict[str, Tensor], dict[str, nn.Module]]:
    """The live ViT, or the classifier around it, and the same weights under its names."""
    path = found.around if _has_classifier_around(found) else found.path
    whole = model.get_submodule(path)
    prefix, own = f"{path}." if path else "", dict(whole.named_parameters())
    state = {name: p.detach().to(like.dtype) for name, p in own.items() if p.dtype != like.dtype}  # of poolers, say
    state |= {name: tensor for slot, tensor in found.entries(weights) if (name := slot.key.removeprefix(prefix)) in own}
    return whole, state, _layers(found, found.module)


def _has_classifier_around(found: Found) -> bool:
    """Whether the ViT is run with what stands around it, as its class has the classifier there."""
    return bool(found.layout.heads and found.spec.num_classes)


def _layers(found: Found, vit: nn.Module) -> dict[str, nn.Module]:
    """The layers of a ViT by name."""
    names = [slot.key.rsplit(".", 2)[0] for slot in found.layout.bind(found.spec, "") if slot.name == "norm1.weight"]
    return {name: vit.get_submodule(name) for name in names}


@torch.no_grad()
def _outputs(
    model: nn.Module, state: Mapping[str, Tensor], layers: Mapping[str, nn.Module], image: Tensor
) -> dict[str, Tensor]:
    """What a model gives for an image, layer by layer and at its end."""
    found: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            found[name] = output[0] if isinstance(output, (tuple, list)) else output

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        with _evaluating(model), torch.random.fork_rng(devices=[]):
            out = functional_call(model, dict(state), (image,))
    finally:
        for hook in hooks:
            hook.remove()
    return found | _tensors(out)


def _tensors(out: object) -> dict[str, Tensor]:
    """The last tensor of a model's outputs, or those of Hugging Face's that every such model has."""
    if isinstance(out, Tensor):
        return {_LAST: out}
    if isinstance(out, Mapping):
        names = ("logits", "last_hidden_state", "pooler_output")
        return {name: out[name] for name in names if isinstance(out.get(name), Tensor)}
    return _tensors(out[-1])


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode, and as they were afterwards."""
    before = {module: module.training for module in model.modules()}
    for module in before:
        module.training = False
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
