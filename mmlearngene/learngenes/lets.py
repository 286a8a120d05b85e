"""LeTs: learnable transformation (Xia, Zu, Yang, Geng, NeurIPS 2024).

The learngene is a narrow, shallow ViT. Width maps F append neurons to each of its layers, depth coefficients G mix
the widened layers of a group into the layers of the Aux-Net; learngene, F and G are trained together by
distillation. A descendant takes a subset of the appended neurons and a list of rows of G.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS, row_of, start_values
from ..vit.tensors import rows as rows_of
from ..vit.weights import ViTWeights
from .base import Learngene, TensorTree
from .facts.base import below
from .facts.lets import GATED, PARTS, QKV, LeTsFacts, apart
from .methods import register


@register
class LeTs(LeTsFacts, Learngene):
    """Learngene h{h}-l{l} with width maps F and depth coefficients G.

    In torch layout (out x in) a widened matrix is ``[I; E_out] W [I; E_in]^T``: the learngene's own weights stay in
    the corner, new neurons are appended (``keep_original=False``: ``E_out W E_in^T``, the paper's DE ablation). With
    ``n`` new channels and the learngene ``S`` wide, the maps are

    ==================== =============== ==========================================================================
    ``maps.embed``       (n, S)          out of patch embedding, proj, fc2; LayerNorms; into qkv and fc1
    ``maps.qkv``         (L, 3, n, S)    out of q, k, v; that of v is also into proj
    ``maps.ffn``         (L, 4n, 4S)     out of fc1, into fc2
    ``maps.head``        (n, S)          into the head
    ``maps.pool_qkv``    (3, n, S)       the same as qkv, for attention pooling
    ``maps.pool_ffn``    (4n, 4S)        the same as ffn, for attention pooling
    ``maps.depth.*``     (rows, layers   one row of coefficients for each distinct Aux layer, apart for every tensor of
                         of a group)     a layer (norm1, q, k, v, proj, norm2, fc1, fc2, weight and bias, ...)
    ==================== =============== ==========================================================================

    Every axis is widened that is called width (by ``embed``), head x dim (by ``qkv``; norms inside the attention by
    that of v) or hidden (by ``ffn``, gate and fc1 alike).
    """

    def _create(self) -> None:
        large, shapes = self.aux_spec, self.tensor_shapes()
        if "pos_embed" in shapes:  # the Aux-Net has positions of its own, full width
            self.pos_embed = nn.Parameter(start_values(large, {"pos_embed": shapes["pos_embed"]})["pos_embed"])
        self.learngene = TensorTree(start_values(self.learngene_spec, below("learngene.", shapes)))
        self.maps = TensorTree(self._random_maps())

    def _random_maps(self) -> dict[str, Tensor]:
        maps = {name: _width_rows(shape, self.config["width_init"]) for name, shape in self.width_maps().items()}
        for name in self.depth_maps():
            rows = torch.ones(self.num_rows, self.group_layers)
            if self.config["depth_init"] == "first":
                rows[:, 1:] = 0.03 * torch.randn(rows[:, 1:].shape)
            maps[f"depth.{name}"] = rows / rows.sum(-1, keepdim=True)
        return maps

    @torch.no_grad()
    def start_from(self, weights: ViTWeights) -> None:
        """Its layers are the learngene's; positions are widened by F_embed, as what writes to the residual stream is.

        The maps keep their own start values.
        """
        if "pos_embed" in weights.tensors:
            wide = dict(pos_embed=weights.tensors["pos_embed"].to(self.maps.embed))
            self._widen(wide, self.maps.embed, into=["pos_embed"])
            self.pos_embed.copy_(wide["pos_embed"])
        self.learngene.copy_(weights)

    def no_weight_decay(self) -> set[str]:
        """Norms, biases, tokens, positions and the coefficients of G."""
        depth = {name for name, _ in self.named_parameters() if name.startswith("maps.depth.")}
        return super().no_weight_decay() | depth

    # ------------------------------------------------------------------ expansion

    def _expand(
        self,
        spec: ViTSpec,
        *,
        rows: Sequence[int] | None,
        selection: str,
        unit: str,
    ) -> ViTWeights:
        """Widen by the maps of each layer, mix the layers into the distinct rows, then widen by F_embed.

        F_embed is common to all layers and so commutes with the mixture; after it, it touches each distinct row once.
        The maps of rows widen the mixtures.
        """
        rows = self.default_rows(spec.num_layers) if rows is None else list(rows)
        distinct = sorted(set(rows))
        maps = self._selected_maps(spec, selection, unit)
        blocks, stem = self._matrices()
        groups = sorted({self._group(row) for row in distinct})
        needed = [group * self.group_layers + i for group in groups for i in range(self.group_layers)]
        if len(groups) < self.config["groups"]:  # layers that no row mixes need not be widened
            blocks = {name: tensor[needed] for name, tensor in blocks.items()}
        of_rows = self.config["width_maps"] == "row"
        if len(kept := distinct if of_rows else needed) < len(maps["ffn"]):
            maps |= {name: maps[name][kept] for name in ("qkv", "ffn")}

        if not of_rows:
            self._widen_inside(blocks, maps)
        for name, tensor in blocks.items():
            mixed = self._coefficients(name, distinct, groups) @ tensor.flatten(1)
            blocks[name] = mixed.unflatten(1, tensor.shape[1:])
        if of_rows:
            self._widen_inside(blocks, maps)

        _join_parts(blocks)
        # from here row by row: gradients of whole layers then flow back as they are, never stacked into a copy
        layers = [
            dict(zip(blocks, row, strict=True)) for row in zip(*(t.unbind() for t in blocks.values()), strict=True)
        ]
        out, into = self._of_width(spec, "layer")
        for layer in layers:
            self._widen(layer, maps["embed"], out, into)

        if "pool_qkv" in maps:
            self._widen_pool(stem, maps)
        out, into = self._of_width(spec, "stem")
        heads = [name for name in into if name.startswith("head")]
        self._widen(stem, maps["embed"], out, [name for name in into if name not in heads])
        if heads:
            self._widen(stem, maps["head"], into=heads)
        if hasattr(self, "pos_embed"):
            stem["pos_embed"] = self.pos_embed[:, maps["channels"]]

        tensors = {name: stem[name].reshape(shape) for name, shape in spec.stem_shapes().items()}
        for name, shape in spec.layer_shapes().items():
            tensors[name] = [layer[name].reshape(shape) for layer in layers]
        return ViTWeights(spec, tensors, tuple(distinct.index(row) for row in rows))

    @staticmethod
    def _of_width(spec: ViTSpec, scope: str) -> tuple[list[str], list[str]]:
        """The tensors that write to the residual stream, and those that read it or are added to it or scale it."""
        axes = {row.name: row.axis_names for row in rows_of(spec, scope) if row.name != "pos_embed"}
        out = [name for name, of in axes.items() if of[0] == "width" and len(of) > 1]
        return out, [name for name, of in axes.items() if of[-1] == "width"]

    def _matrices(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Views of the learngene's tensors as the maps see them: those of the layers, and those outside.

        q, k and v stand apart, and so do a gate and fc1; heads are merged into one axis of h * d channels, the patch
        kernel is a matrix, and the vectors that a layer's own map widens are matrices of one column.
        """
        blocks, stem = {}, {}
        for name, tensor in self.learngene.tensors().items():
            lead, axes = int(name in LAYER_TENSORS), row_of(self.learngene_spec, name).axis_names
            names, parts = apart(self.learngene_spec, name, tensor.shape[lead]), [tensor]
            if axes[0] in PARTS:
                axes, parts = axes[1:], tensor.unbind(lead)
            matrices = [_matrix(part, axes, lead) for part in parts]
            (blocks if lead else stem).update(zip(names, matrices, strict=True))
        return blocks, stem

    def _widen_inside(self, blocks: dict[str, Tensor], maps: dict[str, Tensor]) -> None:
        """Widen what is between the residual stream's reading and writing: heads by qkv, hidden units by ffn."""
        for module, matrix in zip(QKV, maps["qkv"].unbind(1), strict=True):
            inner = ["attn_norm.weight", "attn_norm.bias"] if module == "v" else []
            into = ["proj.weight"] if module == "v" else []
            self._widen(blocks, matrix, out=[f"{module}.weight", f"{module}.bias", *inner], into=into)
        hidden = [f"{module}.{kind}" for module in (*GATED, "mlp_norm") for kind in ("weight", "bias")]
        self._widen(blocks, maps["ffn"], out=hidden, into=["fc2.weight"])

    def _widen_pool(self, stem: dict[str, Tensor], maps: dict[str, Tensor]) -> None:
        """Attention pooling: as a layer's attention and feed-forward network, by maps of its own."""
        for module, matrix in zip(QKV, maps["pool_qkv"].unbind(), strict=True):
            out = [f"attn_pool.{module}.{kind}" for kind in ("weight", "bias")]
            self._widen(stem, matrix, out, into=["attn_pool.proj.weight"] if module == "v" else [])
        out = ["attn_pool.fc1.weight", "attn_pool.fc1.bias"]
        self._widen(stem, maps["pool_ffn"], out, into=["attn_pool.fc2.weight"])
        _join_parts(stem, "attn_pool.", axis=0)

    def _widen(
        self, tensors: dict[str, Tensor], matrix: Tensor, out: Sequence[str] = (), into: Sequence[str] = ()
    ) -> None:
        """Widen those of the named tensors that there are, all by the same map F, (n, S) or (L, n, S).

        ``out``: the outputs are widened, (..., S, i) -> (..., S + n, i); ``into``: the inputs, (..., S) ->
        (..., S + n).
        """
        out, into = ([name for name in names if name in tensors] for names in (out, into))
        names, axes = [*out, *into], [-2] * len(out) + [-1] * len(into)
        if self.keep_original:
            wide = _Widen.apply(matrix, axes, *(tensors[name] for name in names))
        else:
            wide = [matrix @ tensors[name] for name in out] + [tensors[name] @ matrix.mT for name in into]
        tensors.update(zip(names, wide, strict=True))

    def _selected_maps(self, spec: ViTSpec, selection: str, unit: str) -> dict[str, Tensor | slice]:
        """The rows of every map that a descendant of this width takes, and its ``channels`` of the positions."""
        small = self.learngene_spec
        old, old_hidden = (small.embed_dims, small.feedforward_channels) if self.keep_original else (0, 0)
        new, new_hidden = spec.embed_dims - old, spec.feedforward_channels - old_hidden
        full = {name: tensor for name, tensor in self.maps.tensors().items() if not name.startswith("depth.")}

        counts = dict(ffn=new_hidden)
        if "pool_ffn" in full:
            wide, narrow = (of.stem_shapes()["attn_pool.fc1.bias"][0] for of in (spec, small))
            counts["pool_ffn"] = wide - narrow * self.keep_original
        if selection == "continuous":
            maps = {name: tensor[..., : counts.get(name, new), :] for name, tensor in full.items()}
            return {**maps, "channels": slice(0, spec.embed_dims)}

        index = _ranked_rows(full["embed"], new, selection, block=small.head_dim if unit == "head" else 1)
        maps = {name: tensor[..., index, :] for name, tensor in full.items() if name not in counts}
        for name, count in counts.items():
            layers = full[name] if full[name].ndim == 3 else full[name][None]
            hidden = torch.stack([_ranked_rows(layer, count, selection) for layer in layers])
            taken = layers.take_along_dim(hidden[..., None], 1)
            maps[name] = taken if full[name].ndim == 3 else taken[0]
        kept = torch.arange(old, device=index.device)
        return {**maps, "channels": torch.cat([kept, old + index])}

    def _group(self, row: int) -> int:
        """The group whose layers a row of G mixes."""
        return row // self.config["rows"]

    def _coefficients(self, name: str, distinct: Sequence[int], groups: Sequence[int]) -> Tensor:
        """G as a matrix over the layers of ``groups``: (rows, layers), zero outside a row's own group."""
        rows = self.maps.get_parameter(f"depth.{name}")[list(distinct)]
        first = [groups.index(self._group(row)) * self.group_layers for row in distinct]
        columns = torch.tensor(first, device=rows.device)[:, None] + torch.arange(self.group_layers, device=rows.device)
        dense = rows.new_zeros(len(distinct), len(groups) * self.group_layers)
        return dense.scatter(1, columns, rows)


def _matrix(tensor: Tensor, axes: tuple[str, ...], lead: int) -> Tensor:
    """A tensor with heads and channels merged, a patch kernel as a matrix, vectors off the stream as columns."""
    names = list(axes)
    for head, dim in (("head", "dim"), ("pool_head", "pool_dim")):
        if head in names:
            at = names.index(head)
            tensor = tensor.flatten(lead + at, lead + at + 1)
            names[at : at + 2] = [f"{head} {dim}"]
    if "channel" in names:
        return tensor.flatten(lead + 1)
    return tensor.unsqueeze(-1) if len(names) == 1 and names[0] not in ("width", "dim", "class") else tensor


def _join_parts(tensors: dict[str, Tensor], before: str = "", axis: int = 1) -> None:
    """Put q, k and v, and a gate and fc1, back into the tensors that they are parts of."""
    for kind in ("weight", "bias"):
        for whole, names in (("qkv", QKV), ("fc1", GATED)):
            parts = [name for name in (f"{before}{part}.{kind}" for part in names) if name in tensors]
            if len(parts) > 1:
                tensors[f"{before}{whole}.{kind}"] = torch.stack([tensors.pop(name) for name in parts], axis)


class _Widen(torch.autograd.Function):
    """``[I; F] W`` (axis -2) and ``W [I; F]^T`` (axis -1) for several W that share the map F.

    The same as ``cat([W, F @ W], -2)``, but products are written where they belong, and the gradients of a shared F,
    the largest tensor there is, are accumulated by the products themselves: what an Aux-Net step costs beyond its
    matrix products is memory traffic.
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, axes: Sequence[int], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.axes = axes
        ctx.save_for_backward(matrix, *weights)
        results = []
        for axis, weight in zip(axes, weights, strict=True):
            old, new = weight.shape[axis], matrix.shape[-2]
            shape = list(weight.shape)
            shape[axis] = old + new
            wide = weight.new_empty(shape)
            wide.narrow(axis, 0, old).copy_(weight)
            f, w, (target,) = _batched(matrix, axis, weight, wide)
            if new and axis == -2:
                torch.bmm(f, w, out=target[:, old:])
            elif new:
                torch.bmm(w, f.mT, out=target[:, :, old:])
            results.append(wide)
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        matrix, *weights = ctx.saved_tensors
        total = torch.zeros_like(matrix, memory_format=torch.contiguous_format)
        results = []
        for axis, weight, gradient in zip(ctx.axes, weights, gradients, strict=True):
            f, w, (g,) = _batched(matrix, axis, weight, gradient)
            kept, grown = g.split([weight.shape[axis], matrix.shape[-2]], axis)
            if axis == -2:
                result = torch.baddbmm(kept, f.mT, grown)
                outer = grown, w.mT
            else:
                result = torch.baddbmm(kept, grown, f)
                outer = grown.mT, w
            results.append(result.reshape(weight.shape))
            if matrix.ndim == 2:
                total.addbmm_(*outer)
            else:
                total.baddbmm_(*outer)
        return total, None, *results


def _batched(matrix: Tensor, axis: int, weight: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """F, W and tensors of W's leading shape as batches of matrices; a common F takes all input rows in one product."""
    if matrix.ndim == 2 and axis == -1:
        return matrix[None], weight.reshape(1, -1, weight.shape[-1]), [t.reshape(1, -1, t.shape[-1]) for t in others]
    if weight.ndim == 2:
        weight, others = weight[None], [t[None] for t in others]
    return matrix.expand(len(weight), *matrix.shape[-2:]), weight, list(others)


def _width_rows(shape: Sequence[int], init: str) -> Tensor:
    """A map F (..., new, old) whose rows make each new neuron a convex average, or a copy, of the old ones."""
    if init == "average":
        rows = torch.rand(*shape)
        return rows / rows.sum(-1, keepdim=True)
    if init == "softmax":
        return torch.randn(*shape).softmax(-1)
    rows = nn.functional.one_hot(torch.randint(shape[-1], shape[:-1]), shape[-1]).float()
    return rows + 0.03 * torch.randn(*shape) if init == "noisy-copy" else rows


def _ranked_rows(matrix: Tensor, count: int, selection: str, block: int = 1) -> Tensor:
    """Indices, ascending, of the ``count`` rows of largest or smallest norm, taken in whole blocks of rows."""
    end, norm = selection.split("-l")
    scores = matrix.detach().norm(p=int(norm), dim=-1).view(-1, block).sum(-1)
    order = scores.argsort(descending=end == "top", stable=True)[: count // block].sort().values
    return (order[:, None] * block + torch.arange(block, device=matrix.device)).flatten()
