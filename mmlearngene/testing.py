"""For authors of methods: every feature that a ViT may have, and the check that a method treats it or refuses it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .errors import LearngeneError
from .frameworks import build
from .learngenes import Learngene, load
from .learngenes.extracted import Extracted
from .vit.spec import ViTSpec
from .vit.tensors import start_values
from .vit.weights import ViTWeights

PLAIN = dict(head_dim=8, img_size=16, patch_size=4, num_classes=3)
CLS = dict(class_token=True, pool="cls")
EVA = dict(qkv_bias="qv", **CLS)
# one feature a row, in a ViT that some framework has
FEATURES = {
    "plain": dict(),
    "class token": CLS,
    "distillation token": dict(dist_token=True, **CLS),
    "registers": dict(reg_tokens=3, no_embed_class=True),
    "no positions": dict(pos_embed="none", **CLS),
    "layer scale": dict(init_values=0.1),
    "pre-norm": dict(pre_norm=True, patch_bias=False, **CLS),
    "patch norm": dict(patch_norm=True),
    "RMSNorm": dict(norm="rmsnorm"),
    "post-norm": dict(post_norm=True),
    "no final norm": dict(final_norm=False, **CLS),
    "quick-gelu": dict(act="quick_gelu"),
    "swiglu": dict(mlp="swiglu", act="silu"),
    "swiglu packed": dict(mlp="swiglu_packed", act="silu"),
    "no qkv bias": dict(qkv_bias="none"),
    "no bias of keys": EVA,
    "no biases": dict(qkv_bias="none", proj_bias=False, mlp_bias=False),
    "qk-norm": dict(qk_norm=True),
    "norms inside": dict(scale_attn_norm=True, scale_mlp_norm=True),
    "attention pooling": dict(pool="map"),
    "rope cat": dict(rope="cat", **EVA),
    "rope dinov3": dict(rope="dinov3", rope_half=True, rope_temperature=100.0, pos_embed="none", **EVA),
    "rope mixed": dict(rope="mixed", rope_indexing="xy", rope_temperature=10.0, **EVA),
    "relative positions": dict(rel_pos_bias=True, **EVA),
    "Swin": dict(
        num_heads=(1, 2, 4, 8), depths=(2, 2, 2, 1), embed_dims=8, window_size=2, patch_size=2, img_size=32,
        patch_norm=True, rel_pos_bias=True, pos_embed="none", pool="norm_avg", norm_eps=1e-5,
    ),
}  # fmt: skip
# what no framework has where heads are together not as wide as embed_dims
_ORDINARY_ONLY = (
    "no bias of keys", "rope cat", "rope dinov3", "rope mixed", "relative positions", "attention pooling"
)  # fmt: skip


def spec_of(feature: str, size: str = "h3-l4") -> ViTSpec:
    """A small ViT with a feature of :data:`FEATURES`, at 16 pixels; the Swin has sizes of its own."""
    fields = {**PLAIN, **FEATURES[feature]}
    return ViTSpec(**fields, num_layers=7) if "depths" in fields else ViTSpec.parse(size, **fields)


def random_weights(spec: ViTSpec) -> ViTWeights:
    """Weights of any spec, with every tensor off its special start value."""

    def drawn(shapes: dict) -> dict[str, Tensor]:
        values = start_values(spec, shapes)
        return {name: tensor + 0.1 * torch.randn(tensor.shape) for name, tensor in values.items()}

    layers = [drawn(spec.layer_shapes(layer)) for layer in range(spec.num_layers)]
    return ViTWeights.from_layers(spec, drawn(spec.stem_shapes()), layers)


def check_method(
    cls: type[Learngene], feature: str = "plain", make: Callable[[ViTSpec], Learngene] | None = None
) -> None:
    """Check that a method treats a ViT with a feature as a learngene has to, or refuses it by name.

    At the Aux-Net's size and a smaller one it gives every tensor of the ViT in its shape, unless it leaves some random
    by design (``min_inherited = 0``); the size of the Aux-Net gives the same weights whoever asks for it; a
    file gives them back to the last bit; the ViT computes finite numbers; and in a method that is trained every
    parameter has a gradient.

    Args:
        cls: the method's class.
        feature: one of :data:`FEATURES`.
        make: makes the learngene for a spec; by default from random weights of an ancestry, or ``cls(aux=spec)``.

    Raises:
        AssertionError: it does not.
    """
    spec = spec_of(feature)
    if make is None:
        extracted = issubclass(cls, Extracted)
        make = (lambda spec: cls.extract(random_weights(spec))) if extracted else lambda spec: cls(aux=spec)
    if cls.refuses(spec) is not None:
        try:
            make(spec)
        except LearngeneError as error:
            assert "cannot treat" in str(error), error
            return
        raise AssertionError(f"{cls.method} refuses {feature!r}, but makes a learngene of it")
    gene = make(spec)
    if not issubclass(cls, Extracted):
        with torch.no_grad():
            for parameter in gene.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    full, small = gene.expand(), gene.expand(_smaller(gene))
    for weights in (full, small):
        if cls.min_inherited > 0:
            _check_shapes(weights)
        if cls.min_inherited > 0 and (weights.spec.is_ordinary or feature not in _ORDINARY_ONLY):
            model = build(weights).eval()
            images = torch.randn(2, weights.spec.in_channels, *weights.spec.img_size)
            with torch.no_grad():
                assert model(images).isfinite().all(), f"{weights.spec} computes numbers that are not finite"
    assert _equal(full, gene.expand(str(gene.aux_spec))), "two expansions to the size of the Aux-Net differ"
    with tempfile.TemporaryDirectory() as folder:
        again = load(gene.save(Path(folder, "gene.safetensors")))
    assert again.config == gene.config and _equal(small, again.expand(small.spec)), "a file gives another learngene"
    if not issubclass(cls, Extracted):
        gene.zero_grad()
        (_moved_by_all(gene.expand()) + _moved_by_all(gene.expand(_smaller(gene)))).backward()
        for name, parameter in gene.named_parameters():
            gradient = parameter.grad
            assert gradient is not None and gradient.isfinite().all() and gradient.any(), f"{name} is not trained"


def _smaller(gene: Learngene) -> ViTSpec:
    """A size below the largest, narrower where the method allows."""
    aux = gene.aux_spec
    if aux.depths is not None:
        return gene.target(aux.replace(num_heads=(1, 1, 2, 3), num_layers=5, depths=(1, 1, 2, 1)))
    heads, layers = gene.head_choices, gene.layer_choices or range(1, 4)
    heads = max(heads[0], 2) if 2 in heads else heads[-1]
    return gene.target(f"h{heads}-l{max(min(3, layers[-1]), layers[0])}")


def _check_shapes(weights: ViTWeights) -> None:
    spec = weights.spec
    stem = {name: tuple(tensor.shape) for name, tensor in weights.stem().items()}
    assert stem == spec.stem_shapes(), f"{spec} has other tensors outside its layers"
    for number, layer in enumerate(weights.layers()):
        shapes = {name: tuple(tensor.shape) for name, tensor in layer.items()}
        assert shapes == spec.layer_shapes(number), f"layer {number} of {spec} has other tensors"


def _equal(one: ViTWeights, other: ViTWeights) -> bool:
    pairs = [(one.stem(), other.stem()), *zip(one.layers(), other.layers(), strict=True)]
    return all(of.keys() == like.keys() and all(torch.equal(of[name], like[name]) for name in of) for of, like in pairs)


def _moved_by_all(weights: ViTWeights) -> Tensor:
    """A number that every tensor of the weights moves."""
    tensors = [*weights.stem().values(), *(t for layer in weights.layers() for t in layer.values())]
    return sum(
        ((tensor + 0.5) * torch.linspace(0.5, 1.5, tensor.numel()).view(tensor.shape)).sum() for tensor in tensors
    )
