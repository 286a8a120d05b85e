"""PEG: probabilistic expansion (Wang, Yang, Chen, Geng, ICML 2024).

The learngene's heads are random convex mixtures of the ancestry's heads, layer by layer, its feed-forward networks
(FFNs) random convex mixtures of the ancestry's FFNs across depth. Small non-linear maps, which train with the
descendant, expand them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from ..vit.tensors import spread
from ..vit.weights import ViTWeights
from .base import TensorTree
from .extracted import Extracted, map_start, mapped
from .facts.ancestry import FFN, chosen_layers, chosen_stages, tensors_of
from .facts.base import below
from .facts.peg import PEGFacts
from .methods import register


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
class PEG(PEGFacts, Extracted):
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
    """

    def _create(self) -> None:
        shapes = below("learngene.", self.tensor_shapes())
        generator, maps = torch.Generator().manual_seed(self.config["seed"]), {}
        for name, shape in self.map_mixtures().items():
            start = map_start(mixture(shape, self.config["map_init"], generator), self.config["linear"])
            maps |= {f"{name}.{part}": tensor for part, tensor in start.items()}
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

    def _expand(self, spec: ViTSpec, *, form: str, depth: str) -> ViTWeights:
        """Expand heads and FFNs by the maps."""
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
