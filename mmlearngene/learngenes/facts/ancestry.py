"""What follows from the spec of an ancestry: the layers, heads and maps of the learngenes that are taken from it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import LearngeneError, check_choice
from ...vit.spec import ViTSpec
from ...vit.tensors import rows, spread

DEPTHS = ("first", "uniform")
FFN = ("fc1.weight", "fc1.bias", "mlp_norm.weight", "mlp_norm.bias", "fc2.weight", "fc2.bias")


def check_ordinary(spec: ViTSpec) -> None:
    """Check that an ancestry's layers have heads as wide as their residual stream.

    Raises:
        LearngeneError: they are not.
    """
    if not spec.is_ordinary:
        raise LearngeneError(
            f"the ancestry {spec} has heads that are together not {spec.embed_dims} wide in every layer; expected an "
            f"ordinary ViT, the nearest is h{spec.embed_dims // spec.head_dim}-l{spec.num_layers}"
        )


def with_heads(spec: ViTSpec, heads: int | Sequence[int]) -> ViTSpec:
    """The ancestry with other numbers of heads, as wide as it is; attention pooling keeps its own heads."""
    pooling = dict(attn_pool_num_heads=spec.pool_heads) if spec.pool == "map" else {}
    return spec.replace(num_heads=heads, embed_dims=spec.embed_dims, **pooling)


def stage_prefixes(spec: ViTSpec) -> dict[str, range]:
    """The layers of equal shapes, by the prefix of their tensors in a learngene: in a plain ViT all are equal."""
    if spec.depths is None:
        return {"": range(spec.num_layers)}
    return {f"stages.{stage}.": layers for stage, layers in enumerate(spec.stages)}


def tensors_of(spec: ViTSpec, axis: str) -> dict[str, int]:
    """The tensors of a layer that have an axis, and which one it is: name -> number of the axis."""
    return {row.name: row.axis(axis) for row in rows(spec, "layer") if row.axis(axis) is not None}


def chosen_stages(depth: str, wanted: ViTSpec, ancestry: ViTSpec) -> list[int]:
    """The ancestry layer of each layer of a descendant, chosen within each stage, see :func:`chosen_layers`."""
    return [
        layers[choice]
        for own, layers in zip(wanted.stages, ancestry.stages, strict=True)
        for choice in chosen_layers(depth, len(own), len(layers))
    ]


def chosen_layers(depth: str, num_layers: int, num_sources: int) -> list[int]:
    """The ancestry layer of each layer of a descendant: the ``first`` ones, or ``uniform`` ones.

    Raises:
        LearngeneError: unknown choice, or the first layers of fewer.
    """
    if check_choice(depth, DEPTHS, "depth") == "uniform":
        return spread(num_layers, num_sources)
    if num_layers > num_sources:
        raise LearngeneError(
            f"depth='first' gives at most the ancestry's {num_sources} layers, not {num_layers}; the nearest choice is "
            "depth='uniform', which repeats layers"
        )
    return list(range(num_layers))


def map_shapes(mixture: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of a map Linear-ReLU-Linear that starts as a mixture (..., outputs, inputs), see ``map_start``."""
    *batch, outputs, inputs = mixture
    shapes = {"0.weight": (2 * inputs, inputs), "0.bias": (2 * inputs,), "2.weight": (outputs, 2 * inputs)}
    return {name: (*batch, *shape) for name, shape in (shapes | {"2.bias": (outputs,)}).items()}
