"""PEG: probabilistic expansion (Wang, Yang, Chen, Geng, ICML 2024).

The learngene's heads are random convex mixtures of the ancestry's heads, layer by layer, its feed-forward networks
(FFNs) random convex mixtures of the ancestry's FFNs across depth. Small non-linear maps, which train with the
descendant, expand them again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import LearngeneError, check_choice
from ..utils.typed import Count, Seed
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights, spread
from .base import TensorTree, derived_spec
from .extracted import (
    FFN,
    Extracted,
    check_ordinary,
    chosen_layers,
    chosen_stages,
    map_start,
    mapped,
    stage_prefixes,
    tensors_of,
    with_heads,
)  # fmt: skip
from .methods import register

SAMPLINGS = ("gaussian", "uniform", "identity")
PROJECTIONS = ("cut", "mixed")
FORMS = ("folded", "maps")
HEADS_RATIO, LAYERS_RATIO = 1.5, 2  # 8 -> 12 heads and 6 -> 12 FFNs in the paper


def mixture(shape: tuple[int, ...], sampling: str, generator: torch.Generator) -> Tensor:
    """Coefficients of mixtures, (..., outputs, inputs); each row is positive or zero and sums to 1.

    Args:
        shape: of the result.
        sampling: ``gaussian``: softmax of standard normal numbers; ``uniform``: equal ones; ``identity``: each output
            is one input, all of them in order where there are as many.
        generator: a CPU generator.
    """
    if sampling == "gaussian":
        return torch.randn(shape, generator=generator, device="cpu").softmax(-1)
    if sampling == "uniform":
        return torch.full(shape, 1 / shape[-1], device="cpu")
    index = torch.tensor(spread(shape[-2], shape[-1]), device="cpu")
    return one_hot(index, shape[-1]).float().expand(shape).clone()


@register
class PEG(Extracted):
    """Sampled heads and FFNs of an ancestry with the maps that expand them; :meth:`extract` makes it.

    With ``b`` learngene heads, ``B`` learngene FFNs, and an ancestry of ``L`` layers of ``H`` heads the maps are,
    Linear-ReLU-Linear over the axis of heads or of layers,

    ================ =========================== ==============================================================
    ``maps.logits``  of each layer, b -> H       on the attention logits; folded: on the weights of q and k
    ``maps.values``  of each layer, b -> H       on the values; folded: on the weights of v
    ``maps.ffn``     B -> L                      on the weights of the FFNs, fc1 and fc2 alike
    ================ =========================== ==============================================================

    They start as mixtures drawn like the heads. A descendant takes the first of their outputs. A table of relative
    positions is mixed with the heads and expanded by the map of the logits, which it is added to. Of a Swin, heads and
    FFNs are mixed and expanded within each stage; tensors and maps are under ``stages.0.`` and so on.

    Args:
        aux: the ancestry's size.
        heads: learngene heads of each layer (a list: of the layers of each stage); two thirds of the ancestry's,
            rounded up, when omitted.
        layers: learngene FFNs (a list: of each stage); half of the ancestry's layers, rounded up, when omitted.
        seed: of all draws.
        sampling: how heads and FFNs are mixed, see :func:`mixture`. ``uniform`` is the paper's ablation.
        map_init: how the maps' mixtures are drawn.
        projection: the output projection of a descendant's heads. ``cut``: the ancestry's, of as many heads (the
            released code); ``mixed``: mixed with the heads and expanded by the map of the values.
        redraw: whether the mixtures are to be drawn anew every epoch, see :meth:`draw`.
        linear: maps without ReLU, the paper's ablation; only folded.
        ffn_outputs: outputs of ``maps.ffn``, so the largest depth of a descendant (a list: of each stage); the
            ancestry's layers when omitted. The paper's transfer has 9 of 6.
        learngene: the size that follows from ``aux`` and ``heads``; files give it.

    Raises:
        LearngeneError: a number is not positive or a choice is unknown.
    """

    method = "peg"
    keeps_width = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """What is not linear in the heads, or already a map of them."""
        for has, words in (
            (spec.qk_norm, "norm of queries and keys (qk_norm)"),
            (spec.scale_attn_norm, "norm inside the attention (scale_attn_norm)"),
            (spec.rope == "mixed", "learned rotary positions (rope = mixed)"),
            (spec.learngene_heads, "maps over the heads (learngene_heads)"),
        ):
            if has:
                return f"{words}: it does not commute with a mixture of heads"
        return None

    def __init__(
        self,
        aux: str | ViTSpec | Mapping,
        heads: Count | Sequence[Count] | None = None,
        layers: Count | Sequence[Count] | None = None,
        seed: Seed = 0,
        sampling: str = "gaussian",
        map_init: str = "gaussian",
        projection: str = "cut",
        redraw: bool = False,
        linear: bool = False,
        ffn_outputs: int | Sequence[int] | None = None,
        learngene: str | ViTSpec | Mapping | None = None,
    ) -> None:
        aux = ViTSpec.parse(aux)
        check_ordinary(aux)
        self.stages = stage_prefixes(aux)
        few = [aux.heads[of.start] for of in self.stages.values()], [len(of) for of in self.stages.values()]
        b = _each_stage("heads", heads, [math.ceil(count / HEADS_RATIO) for count in few[0]])
        B = _each_stage("layers", layers, [math.ceil(count / LAYERS_RATIO) for count in few[1]])
        own = derived_spec(self.method, learngene, with_heads(aux, b if aux.depths else b[0]))
        check_choice(sampling, SAMPLINGS, "sampling")
        check_choice(map_init, SAMPLINGS, "map_init")
        check_choice(projection, PROJECTIONS, "projection")
        super().__init__(own, aux)
        self.config.update(heads=b if aux.depths else b[0], layers=B if aux.depths else B[0])
        depths = [len(of) for of in self.stages.values()]
        self.ffn_outputs = _each_stage("ffn_outputs", ffn_outputs, depths)
        if any(count > depth for count, depth in zip(self.ffn_outputs, depths, strict=True)):
            raise LearngeneError(
                f"ffn_outputs={ffn_outputs}: the ancestry {aux} has {depths} layers, the most there can be"
            )
        shapes, maps = own.stem_shapes(), {}
        generator = torch.Generator().manual_seed(seed)
        for (prefix, of), few_heads, few_layers, outputs in zip(
            self.stages.items(), b, B, self.ffn_outputs, strict=True
        ):
            for name, shape in own.layer_shapes(of.start).items():
                if name == "proj.weight" and projection == "cut":
                    shape = aux.layer_shapes(of.start)[name]
                shapes[prefix + name] = (few_layers if name in FFN else len(of), *shape)
            many = aux.heads[of.start]
            for name, shape in (
                ("logits", (len(of), many, few_heads)),
                ("values", (len(of), many, few_heads)),
                ("ffn", (outputs, few_layers)),
            ):
                start = map_start(mixture(shape, map_init, generator), linear)
                maps |= {f"{prefix}{name}.{part}": tensor for part, tensor in start.items()}
        self.learngene = TensorTree({name: torch.zeros(shape) for name, shape in shapes.items()})
        self.maps = TensorTree(maps)
        # in a tuple, so that it is no part of the state; only what extract made has it
        self._ancestry: tuple[ViTWeights, ...] = ()

    @torch.no_grad()
    def take(self, ancestry: ViTWeights) -> None:
        """Sample heads and FFNs of an ancestry. It takes no images."""
        self._copy(ancestry)
        self._mix(ancestry, epoch=0)
        if self.config["redraw"]:
            self._ancestry = (ancestry,)
            for prefix in self.stages:
                for name in self._mixed:  # what training made of them would be lost at the next draw
                    self.learngene.get_parameter(prefix + name).requires_grad_(False)

    @property
    def _mixed(self) -> tuple[str, ...]:
        """Names of a layer's tensors that are mixtures of the ancestry's; the others are copies."""
        cut = self.config["projection"] == "cut"
        heads = [name for name in tensors_of(self.aux_spec, "head") if not (cut and name == "proj.weight")]
        return (*heads, *(name for name in self.aux_spec.layer_shapes() if name in FFN))

    @torch.no_grad()
    def _copy(self, ancestry: ViTWeights) -> None:
        own, layers = self.learngene.tensors(), ancestry.layers()
        for name, tensor in ancestry.stem().items():
            own[name].copy_(tensor)
        for prefix, of in self.stages.items():
            for name in layers[of.start].keys() - self._mixed:
                own[prefix + name].copy_(torch.stack([layers[layer][name] for layer in of]))

    @torch.no_grad()
    def _mix(self, ancestry: ViTWeights, epoch: int) -> None:
        own, layers, mixtures = self.learngene.tensors(), ancestry.layers(), self.mixtures(epoch)
        for prefix, of in self.stages.items():
            for name in self._mixed:
                stacked = torch.stack([layers[layer][name] for layer in of])
                rule, kind = ("ba,a...->b...", "ffn") if name in FFN else ("lba,lxa...->lxb...", "heads")
                own[prefix + name].copy_(torch.einsum(rule, mixtures[prefix + kind].to(stacked), stacked))

    def mixtures(self, epoch: int = 0) -> dict[str, Tensor]:
        """The coefficients of an epoch's draw, of each stage: ``heads`` (L, b, H) and ``ffn`` (B, L)."""
        aux, own = self.aux_spec, self.learngene_spec
        generator = torch.Generator().manual_seed(self.config["seed"] + 1 + epoch)  # the seed itself drew the maps
        layers = self.config["layers"]
        found = {}
        for (prefix, of), few in zip(self.stages.items(), layers if aux.depths else [layers], strict=True):
            shapes = {"heads": (len(of), own.heads[of.start], aux.heads[of.start]), "ffn": (few, len(of))}
            for name, shape in shapes.items():
                found[prefix + name] = mixture(shape, self.config["sampling"], generator)
        return found

    def draw(self, epoch: int) -> None:
        """Mix heads and FFNs anew, as Algorithm 1 does every epoch; what trains are the maps and all that is unmixed.

        :class:`mmlearngene.engine.RedrawHook` calls it. The same seed and epoch give the same draw.

        Raises:
            LearngeneError: the learngene was not extracted with ``redraw=True``, or comes from a file, which does not
                keep the ancestry.
        """
        if not self._ancestry:
            raise LearngeneError("drawing anew needs the ancestry: extract the learngene with redraw=True")
        self._mix(self._ancestry[0], epoch)
        self.provenance["epoch_drawn"] = epoch

    # ------------------------------------------------------------------ expansion

    def head_range(self, stage: int = 0) -> range:
        """Up to the ancestry's, as many as the maps have outputs."""
        return range(1, self.aux_spec.heads[self.aux_spec.stages[stage].start] + 1)

    def layer_range(self, stage: int = 0) -> range:
        """As many as the map of the FFNs has outputs."""
        return range(1, self.ffn_outputs[stage] + 1)

    def _expand(self, spec: ViTSpec, *, form: str = "folded", depth: str = "first") -> ViTWeights:
        """Expand heads and FFNs by the maps.

        Args:
            form: ``folded`` evaluates all maps on the weights, which gives a plain ViT; ``maps`` leaves those of the
                heads to the ``PEGAttention`` of a :class:`~mmlearngene.models.PEGViT`, as in the paper.
            depth: the ancestry layers that a shallower descendant takes, ``first`` or ``uniform``.
        """
        check_choice(form, FORMS, "form")
        if form == "maps" and (spec.rel_pos_bias or spec.depths):
            raise LearngeneError("form='maps' is for a ViT without relative-position bias; use form='folded'")
        if form == "maps" and self.config["linear"]:
            raise LearngeneError("form='maps' has a ReLU in its maps, which linear=True is without; use form='folded'")
        own, sources = self.learngene.tensors(), chosen_stages(depth, spec, self.aux_spec)
        layers = []
        for (prefix, of), wanted, outputs in zip(self.stages.items(), spec.stages, self.ffn_outputs, strict=True):
            chosen = [sources[layer] - of.start for layer in wanted]
            ffns = chosen_layers(depth, len(wanted), outputs)
            heads = [spec.heads[layer] for layer in wanted]
            layers += self._stage(prefix, of.start, chosen, ffns, heads, form)
        if form == "maps":
            spec = spec.replace(learngene_heads=self.config["heads"])
        weights = ViTWeights(spec, {name: own[name] for name in spec.stem_shapes()})
        weights.tensors |= {name: [layer[name] for layer in layers] for name in layers[0]}
        return weights

    def _stage(
        self, prefix: str, first: int, chosen: Sequence[int], ffns: Sequence[int], heads: Sequence[int], form: str
    ) -> list[dict[str, Tensor]]:
        """The layers ``chosen`` of a stage, each with so many heads and its FFN of those that the map makes."""
        linear = self.config["linear"]

        def expanded(tensor: Tensor, name: str) -> Tensor:  # over the axis of heads of (layers, x, heads, ...)
            return mapped(tensor.transpose(1, 2), maps, name, linear).transpose(1, 2)

        names = list(self.aux_spec.layer_shapes(first))
        own = {name: self.learngene.tensors()[prefix + name] for name in names}
        maps = self.maps.tensors()
        maps = {name.removeprefix(prefix): tensor for name, tensor in maps.items() if name.startswith(prefix)}
        ffn = {name: mapped(own[name], maps, "ffn", linear)[ffns] for name in names if name in FFN}
        own = {name: tensor[chosen] for name, tensor in own.items() if name not in FFN}
        maps = {name: tensor[chosen] for name, tensor in maps.items() if not name.startswith("ffn.")}

        head_axes = {"proj.weight": 1}  # of one layer's tensors that have more heads than the descendant takes
        if self.config["projection"] == "mixed":
            own["proj.weight"] = expanded(own["proj.weight"], "values")
        if form == "folded":
            for name in ("qkv.weight", "qkv.bias"):
                if name in own:
                    qk, v = own[name][:, :-1], own[name][:, -1:]  # k may have no bias
                    own[name] = torch.cat([expanded(qk, "logits"), expanded(v, "values")], 1)
                    head_axes[name] = 1
            if "bias_table" in own:
                own["bias_table"] = expanded(own["bias_table"], "logits")
                head_axes["bias_table"] = 1
        else:
            own |= maps
            head_axes |= {name: 0 for name in maps if ".2." in name}
        blocks = {**own, **ffn}
        for name, axis in head_axes.items():  # each layer takes the first heads
            blocks[name] = [t.narrow(axis, 0, count) for t, count in zip(blocks[name], heads, strict=True)]
        return [{name: tensor[row] for name, tensor in blocks.items()} for row in range(len(chosen))]


def _each_stage(name: str, given: int | Sequence[int] | None, default: list[int]) -> list[int]:
    """A number for each stage.

    Raises:
        LearngeneError: not as many as stages, or one is not positive.
    """
    numbers = default if given is None else [given] * len(default) if isinstance(given, int) else list(given)
    if len(numbers) != len(default):
        raise LearngeneError(f"{name}={given}: expected one number, or one for each stage, as in {default}")
    if min(numbers) < 1:
        raise LearngeneError(f"{name}={given} must be positive; the usual is {default}")
    return numbers
