"""Facts of principal learngenes, see :mod:`mmlearngene.learngenes.principal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import LearngeneError, check_choice
from ...vit.spec import WORDS, ViTSpec
from ...vit.tensors import LAYER_TENSORS
from .ancestry import chosen_layers
from .base import Facts, derived_spec, unequal_layers

DEPTHS = ("auto", "first", "uniform")
# what an expansion computes from a size instead of storing it
CONSTANT = (
    "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "norm.weight", "norm.bias", "attn_pool.norm.weight",
    "attn_pool.norm.bias", "ls1.gamma", "ls2.gamma", "attn_pool.latent",
)  # fmt: skip
SCALE_OF = {"proj": "ls1.gamma", "fc2": "ls2.gamma"}
_FC2 = ("fc2.weight", "fc2.bias")


class PrincipalFacts(Facts):
    """See :class:`mmlearngene.learngenes.principal.Principal`.

    Args:
        aux: the largest size.
        dims: width of the ancestry; that of ``aux`` when omitted.
        whole: whether it has all that its ancestry has.
        kept: for each number of layers, from 1, the layers that are kept; evenly spaced ones when omitted.
        compensated: whether there is a compensation.
        gapped: whether every depth has an fc2 of its own in front of the layers that it leaves out; needs ``kept``.
        tokens: whether there is a basis: the ancestry gives tokens and no classes.
        learngene: its size, that of ``aux``.
        **vit: fields of :class:`ViTSpec`.

    Raises:
        LearngeneError: a feature that principal coordinates cannot express, or options that do not fit.
    """

    method = "principal"
    equal_layers = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Whatever stands between the residual stream and its readers but a norm in front of each."""
        if unequal := unequal_layers(spec):
            return unequal
        between = "acts on the stream channel by channel, which a turned stream has not"
        for name in ("pre_norm", "patch_norm", "post_norm"):
            if getattr(spec, name):
                return f"{WORDS[name]}: it {between}"
        for name in ("scale_attn_norm", "scale_mlp_norm"):
            if getattr(spec, name):
                return f"{WORDS[name]}: it computes something else where heads or neurons are left out"
        if spec.learngene_heads:
            return f"{WORDS['learngene_heads']}: its heads are mixtures, of which none can be left out"
        if spec.pool == "map" and spec.attn_pool_num_heads is not None:
            heads = spec.attn_pool_num_heads
            return (
                f"attention pooling of {heads} heads (attn_pool_num_heads): expected {spec.heads[0]}, as in its layers"
            )
        return None

    def __init__(
        self,
        aux: str | ViTSpec | Mapping,
        dims: int | None = None,
        whole: bool = True,
        kept: Sequence[Sequence[int]] | None = None,
        compensated: bool = False,
        gapped: bool = False,
        tokens: bool = False,
        learngene: str | ViTSpec | Mapping | None = None,
        **vit,
    ) -> None:
        aux = ViTSpec.parse(aux, **vit)
        self.check_treats(aux)
        self.dims = self.config["dims"] = dims or aux.embed_dims
        if self.dims < aux.embed_dims:
            raise LearngeneError(f"dims={dims} is less than the width of {aux}, {aux.embed_dims}")
        check_kept(kept, aux.num_layers)
        if gapped and kept is None:
            raise LearngeneError("gapped=True needs kept, which says in front of which layers the gaps are")
        super().__init__(derived_spec(self.method, learngene, aux), aux)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The ancestry's tensors but the constant ones, and the maps."""
        aux, config = self.aux_spec, self.config
        shapes = {name: shape for name, shape in aux.shapes().items() if name not in CONSTANT}
        maps = {f"gains.{norm}": (*of, aux.embed_dims) for norm, of in self.norms().items()}
        if config["compensated"]:
            maps |= {f"compensation.{n}": shapes[n] for n in shapes if n.partition(".")[0] in SCALE_OF}
        if config["gapped"]:
            maps |= {f"gaps.{n}": (aux.num_layers - 1, *shapes[n][1:]) for n in shapes if n in _FC2}
        if config["tokens"]:
            maps["basis"] = (self.dims, aux.embed_dims)
            maps |= {n: (self.dims,) for n in ("norm.weight", "norm.bias") if n in aux.stem_shapes()}
            if aux.pool == "map":
                maps["pool_basis"] = (self.dims, aux.embed_dims)
        learngene = {f"learngene.{name}": shape for name, shape in shapes.items()}
        return learngene | {f"maps.{name}": shape for name, shape in maps.items()}

    def norms(self) -> dict[str, tuple[int, ...]]:
        """The norms of the residual stream, and over how many layers."""
        shapes = self.aux_spec.shapes()
        names = [name for name in ("norm1", "norm2", "norm", "attn_pool.norm") if f"{name}.weight" in shapes]
        return {name: (self.aux_spec.num_layers,) if f"{name}.weight" in LAYER_TENSORS else () for name in names}

    def shares(self, spec: ViTSpec) -> dict[str, float]:
        """The share of the residual stream's energy that the first coordinates hold, as a mean over the norms."""
        columns = [self.column(f"maps.gains.{norm}", spec.embed_dims - 1) for norm in self.norms()]
        if None in columns:
            return {}
        gains = [gain for column in columns for gain in column]
        return {"energy": round(sum(gain**2 for gain in gains) / len(gains), 4)}

    def head_range(self, stage: int = 0) -> range:
        """Up to the largest size's heads."""
        return range(1, self.aux_spec.num_heads + 1)

    def layer_range(self, stage: int = 0) -> range:
        """Up to the largest size's depth."""
        return range(1, self.aux_spec.num_layers + 1)

    def layers(self, num_layers: int, depth: str = "auto") -> list[int]:
        """The layers that a depth keeps: see :meth:`_expand`."""
        if check_choice(depth, DEPTHS, "depth") == "auto":
            if self.config["kept"]:
                return list(self.config["kept"][num_layers - 1])
            depth = "uniform"
        return chosen_layers(depth, num_layers, self.aux_spec.num_layers)

    def check_expansion(self, spec: ViTSpec, *, depth: str = "auto") -> None:
        """Check the width, and the choice of layers.

        Args:
            depth: which layers: ``auto``, those that the extraction chose by measurement, or evenly spaced ones where
                it did not; ``first``; or ``uniform``, evenly spaced ones.
        """
        self.check_width(spec.embed_dims)
        self.layers(spec.num_layers, depth)

    def check_width(self, width: int) -> None:
        if not 2 <= width <= self.aux_spec.embed_dims:
            raise LearngeneError(
                f"principal makes a ViT narrower: embed_dims={width} is not in 2 to {self.aux_spec.embed_dims}"
            )


def check_kept(kept: Sequence[Sequence[int]] | None, count: int) -> None:
    """See that every depth keeps some of the layers, in order, and leaves out one row of them."""
    if kept is not None and len(kept) != count:
        raise LearngeneError(f"kept has {len(kept)} entries; expected one for each number of layers, 1 to {count}")
    for depth, layers in enumerate(kept or [], 1):
        expected = len(layers) == depth and set(layers) <= set(range(count)) and list(layers) == sorted({*layers})
        left_out = sum(behind > layer + 1 for layer, behind in zip(layers, [*layers[1:], count], strict=True))
        if not expected or layers[0] != 0 or left_out > 1:
            raise LearngeneError(
                f"kept: {list(layers)} are not {depth} of {count} layers, in order, the first among them, all but a row"
            )
