"""PEG: probabilistic expansion (Wang, Yang, Chen, Geng, ICML 2024).

The learngene's heads are random convex mixtures of the ancestry's heads, layer by layer, its feed-forward networks
(FFNs) random convex mixtures of the ancestry's FFNs across depth. Small non-linear maps, which train with the
descendant, expand them again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import LearngeneError, check_choice
from ..vit import ATTENTION_MAPS, BLOCK_TENSORS, ViTSpec, ViTWeights, spread
from . import register
from .base import TensorTree, derived_spec
from .extracted import FFN, KEPT, Extracted, chosen_layers, map_start, mapped, ordinary, stacked_layers

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

    They start as mixtures drawn like the heads. A descendant takes the first of their outputs.

    Args:
        aux: the ancestry's size.
        heads: learngene heads of each layer; two thirds of the ancestry's, rounded up, when omitted.
        layers: learngene FFNs; half of the ancestry's, rounded up, when omitted.
        seed: of all draws.
        sampling: how heads and FFNs are mixed, see :func:`mixture`. ``uniform`` is the paper's ablation.
        map_init: how the maps' mixtures are drawn.
        projection: the output projection of a descendant's heads. ``cut``: the ancestry's, of as many heads (the
            released code); ``mixed``: mixed with the heads and expanded by the map of the values.
        redraw: whether the mixtures are to be drawn anew every epoch, see :meth:`draw`.
        learngene: the size that follows from ``aux`` and ``heads``; files give it.

    Raises:
        LearngeneError: a number is not positive or a choice is unknown.
    """

    method = "peg"
    keeps_width = True

    def __init__(
        self,
        aux: str | ViTSpec | dict,
        heads: int | None = None,
        layers: int | None = None,
        seed: int = 0,
        sampling: str = "gaussian",
        map_init: str = "gaussian",
        projection: str = "cut",
        redraw: bool = False,
        learngene: str | ViTSpec | dict | None = None,
    ) -> None:
        aux = ordinary(aux)
        heads = math.ceil(aux.num_heads / HEADS_RATIO) if heads is None else heads
        layers = math.ceil(aux.num_layers / LAYERS_RATIO) if layers is None else layers
        if min(heads, layers) < 1:
            raise LearngeneError(f"heads={heads} and layers={layers} must be positive")
        own = derived_spec(self.method, learngene, aux.replace(num_heads=heads, embed_dims=aux.embed_dims))
        super().__init__(
            own,
            aux,
            heads=heads,
            layers=layers,
            seed=seed,
            sampling=check_choice(sampling, SAMPLINGS, "sampling"),
            map_init=check_choice(map_init, SAMPLINGS, "map_init"),
            projection=check_choice(projection, PROJECTIONS, "projection"),
            redraw=redraw,
        )
        shapes = own.stem_shapes()
        for name, shape in own.block_shapes().items():
            if name == "proj.weight" and projection == "cut":
                shape = aux.block_shapes()[name]
            shapes[name] = (layers if name in FFN else aux.num_layers, *shape)
        self.learngene = TensorTree({name: torch.zeros(shape) for name, shape in shapes.items()})
        generator = torch.Generator().manual_seed(seed)
        maps = {}
        for name, shape in (
            ("logits", (aux.num_layers, aux.num_heads, heads)),
            ("values", (aux.num_layers, aux.num_heads, heads)),
            ("ffn", (aux.num_layers, layers)),
        ):
            start = map_start(mixture(shape, map_init, generator))
            maps |= {f"{name}.{part}": tensor for part, tensor in start.items()}
        self.maps = TensorTree(maps)
        # in a tuple, so that it is no part of the state; only what extract made has it
        self._ancestry: tuple[ViTWeights, ...] = ()

    @classmethod
    def extract(
        cls,
        ancestry: ViTWeights,
        heads: int | None = None,
        layers: int | None = None,
        seed: int = 0,
        sampling: str = "gaussian",
        map_init: str = "gaussian",
        projection: str = "cut",
        redraw: bool = False,
    ) -> PEG:
        """Sample heads and FFNs of an ancestry. It takes no images; for the arguments see the class.

        Raises:
            LearngeneError: a number is not positive or a choice is unknown.
        """
        learngene = cls(ancestry.spec, heads, layers, seed, sampling, map_init, projection, redraw)
        learngene._copy(ancestry)
        learngene._mix(ancestry, epoch=0)
        if redraw:
            learngene._ancestry = (ancestry,)
            for name in learngene._mixed:  # what training made of them would be lost at the next draw
                learngene.learngene.get_parameter(name).requires_grad_(False)
        return learngene

    @property
    def _mixed(self) -> tuple[str, ...]:
        """Names of the tensors that are mixtures of the ancestry's; the others are copies."""
        projection = ("proj.weight",) if self.config["projection"] == "mixed" else ()
        return ("qkv.weight", "qkv.bias", *projection, *FFN)

    @torch.no_grad()
    def _copy(self, ancestry: ViTWeights) -> None:
        blocks = stacked_layers(ancestry)
        for name, tensor in self.learngene.tensors().items():
            if name not in self._mixed:
                tensor.copy_(blocks[name] if name in blocks else ancestry.tensors[name])

    @torch.no_grad()
    def _mix(self, ancestry: ViTWeights, epoch: int) -> None:
        blocks = stacked_layers(ancestry)
        heads, ffn = (m.to(blocks["fc1.weight"]) for m in self.mixtures(epoch).values())
        for name in self._mixed:
            rule = "ba,a...->b..." if name in FFN else "lba,lxa...->lxb..."
            mixed = torch.einsum(rule, ffn if name in FFN else heads, blocks[name])
            self.learngene.get_parameter(name).copy_(mixed)

    def mixtures(self, epoch: int = 0) -> dict[str, Tensor]:
        """The coefficients of an epoch's draw: ``heads`` (L, b, H) and ``ffn`` (B, L)."""
        aux, config = self.aux_spec, self.config
        generator = torch.Generator().manual_seed(config["seed"] + 1 + epoch)  # the seed itself drew the maps
        shapes = {"heads": (aux.num_layers, config["heads"], aux.num_heads), "ffn": (config["layers"], aux.num_layers)}
        return {name: mixture(shape, config["sampling"], generator) for name, shape in shapes.items()}

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

    @property
    def head_choices(self) -> range:
        """Up to the ancestry's, as many as the maps have outputs."""
        return range(1, self.aux_spec.num_heads + 1)

    @property
    def layer_choices(self) -> range:
        """Up to the ancestry's, as many as the maps have outputs."""
        return range(1, self.aux_spec.num_layers + 1)

    def _expand(self, spec: ViTSpec, *, form: str = "folded", depth: str = "first") -> ViTWeights:
        """Expand heads and FFNs by the maps.

        Args:
            form: ``folded`` evaluates all maps on the weights, which gives a plain ViT; ``maps`` leaves those of the
                heads to the ``PEGAttention`` of a :class:`~mmlearngene.models.PEGViT`, as in the paper.
            depth: the ancestry layers that a shallower descendant takes, ``first`` or ``uniform``.
        """
        check_choice(form, FORMS, "form")
        own, maps = self.learngene.tensors(), self.maps.tensors()
        sources = chosen_layers(depth, spec.num_layers, self.aux_spec.num_layers)
        own = {
            name: tensor if name in FFN or name not in BLOCK_TENSORS else tensor[sources]
            for name, tensor in own.items()
        }
        maps = {name: maps[name] if name.startswith("ffn.0") else maps[name][sources] for name in maps}

        blocks = {name: own[name] for name in KEPT}
        for name in FFN:
            blocks[name] = mapped(own[name], maps, "ffn")
        blocks["proj.weight"] = own["proj.weight"]
        if self.config["projection"] == "mixed":
            blocks["proj.weight"] = _mapped_heads(own["proj.weight"], maps, "values")
        head_axes = {"proj.weight": 1}  # of one layer's tensors
        for name in ("qkv.weight", "qkv.bias"):
            blocks[name] = own[name]
            if form == "folded":
                qk, v = own[name].split([2, 1], 1)
                blocks[name] = torch.cat([_mapped_heads(qk, maps, "logits"), _mapped_heads(v, maps, "values")], 1)
                head_axes[name] = 1
        if form == "maps":
            blocks |= {name: maps[name] for name in ATTENTION_MAPS}
            head_axes |= {name: 0 for name in ATTENTION_MAPS if ".2." in name}
        for name, axis in head_axes.items():  # each layer takes the first heads
            blocks[name] = [t.narrow(axis, 0, heads) for t, heads in zip(blocks[name], spec.heads, strict=True)]
        return ViTWeights(spec, {**{name: own[name] for name in spec.stem_shapes()}, **blocks})


def _mapped_heads(tensor: Tensor, maps: Mapping[str, Tensor], name: str) -> Tensor:
    """The map of each layer over the axis of heads of (layers, x, heads, ...)."""
    return mapped(tensor.transpose(1, 2), maps, name).transpose(1, 2)
