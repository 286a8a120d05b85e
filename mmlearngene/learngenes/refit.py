"""Refit what writes to the residual stream of narrower and shallower ViTs, so that they follow the widest on images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from .activations import LiveViT

if TYPE_CHECKING:
    from .principal import Principal

RIDGES = (3e-3, 3e-2, 0.3, 3.0)  # of the mean square of a feature
WRITERS = ("proj", "fc2")  # of a layer, in order
Gap = tuple[int, int]  # a layer, and the next one that is kept (the number of layers where it is the last)


@dataclass
class _Narrow:
    """A narrower ViT whose residual stream is carried along.

    Attributes:
        kept: the layers of the widest that it has.
        of: how many the widest has.
        live: it, as it was before the refit: what reads the stream stays as it is.
        rows: the numbers of its coordinates.
        streams: its stream in coordinates, (B, tokens, width) a batch.
        exact: whether it is the widest itself, which is refitted in front of gaps alone.
    """

    kept: Sequence[int]
    of: int
    live: LiveViT
    rows: Tensor
    streams: list[Tensor]
    exact: bool

    def behind(self, layer: int) -> int:
        """The next layer that it keeps."""
        return next((other for other in self.kept if other > layer), self.of)


@dataclass
class _Fit:
    """A least-squares problem of one ViT in one layer.

    Attributes:
        net: the ViT.
        features: what is multiplied by the weight, (B, tokens, F) a batch.
        products: of the features and a 1 with themselves, (F + 1, F + 1), for each half of the images.
        left: by goal, of the features with what the present weight leaves of it, (F + 1, width), likewise.
    """

    net: _Narrow
    features: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=lambda: [0.0, 0.0])
    left: dict[int, list[Tensor]] = field(default_factory=dict)


@torch.no_grad()
def refit(
    learngene: Principal,
    batches: Sequence[Tensor],
    sizes: Sequence[ViTSpec],
    gaps: Sequence[Gap] = (),
    depth: str = "auto",
) -> tuple[dict[str, Tensor], dict[Gap, dict[str, Tensor]]]:
    """What to add to the projections and fc2 of a learngene, for these sizes together.

    Layer by layer, on streams that have gone through the layers refitted before, ``proj`` and ``fc2`` with their biases
    get the least-squares solution for the stream of the widest ViT, with a ridge towards their own values. A token
    counts by its direction, which is what a norm sees. The row of a coordinate is fitted for all sizes that have it at
    once. In front of layers that a size leaves out the goal is the stream behind these. The ridge is the one that
    predicts each half of the images best from the other half; where none is better than the own values, these stay.

    Args:
        learngene: as wide as the ancestry, not compensated.
        batches: preprocessed images (B, C, H, W), two batches or more.
        sizes: the sizes.
        gaps: pairs of layers for which fc2 of the first is fitted apart, so that the second can follow it.
        depth: which layers a size keeps, see ``Principal._expand``.

    Returns:
        For ``proj.weight``, ``proj.bias``, ``fc2.weight`` and ``fc2.bias``, those that there are, what to add; and for
        each gap what to add to ``fc2.weight`` and ``fc2.bias`` of its first layer.

    Raises:
        LearngeneError: there are fewer than two batches.
    """
    if len(batches) < 2:
        raise LearngeneError(f"a refit needs two batches of images or more, not {len(batches)}")
    own, num_layers = learngene.learngene.tensors(), learngene.aux_spec.num_layers
    img_size = tuple(batches[0].shape[-2:])
    wide = LiveViT(learngene.expand(learngene.aux_spec.replace(img_size=img_size)))
    narrow = []
    for size in sorted(sizes, key=lambda size: size.embed_dims):
        live = LiveViT(learngene.expand(size.replace(img_size=img_size), depth=depth))
        streams = [learngene.to_coordinates(live.stream(batch)) for batch in batches]
        rows = learngene.coordinates(torch.arange(learngene.dims), 0, size.embed_dims)
        kept = learngene.layers(size.num_layers, depth)
        exact = size.replace(num_layers=num_layers) == learngene.aux_spec and len(kept) == num_layers
        narrow.append(_Narrow(kept, num_layers, live, rows, streams, exact))
    streams = [wide.stream(batch) for batch in batches]
    far = {behind for layer, behind in gaps} | {
        net.behind(layer) for net in narrow for layer in net.kept if net.behind(layer) > layer + 1
    }
    goals = _streams_at(wide, streams, far)
    added = {name: torch.zeros_like(own[name]) for name in own if name.partition(".")[0] in WRITERS}
    of_gaps: dict[Gap, dict[str, Tensor]] = {}
    for layer in range(num_layers):
        here = [net for net in narrow if layer in net.kept]
        for writer in WRITERS:
            streams = [wide.behind(writer, layer, stream) for stream in streams]
            module = {name.partition(".")[2]: own[name][layer] for name in added if name.startswith(f"{writer}.")}
            change = {kind: added[f"{writer}.{kind}"][layer] for kind in module}  # views
            behind = [b for a, b in gaps if a == layer] if writer == "fc2" else []
            fits = []
            for net in here:
                next_one = net.behind(layer) if writer == "fc2" else layer + 1
                wanted = {0: goals[next_one] if next_one > layer + 1 else streams, **{b: goals[b] for b in behind}}
                fits.append(_fit(learngene, net, writer, layer, wanted, module))
            _solve_by_rows([fit for fit in fits if not fit.net.exact], 0, change)
            for far_one in behind:
                of_gaps[layer, far_one] = {f"fc2.{kind}": torch.zeros_like(tensor) for kind, tensor in module.items()}
                _solve_by_rows(fits, far_one, {kind: of_gaps[layer, far_one][f"fc2.{kind}"] for kind in module})
            for fit in fits:
                _advance(fit, module, change)
    return added, of_gaps


def _streams_at(live: LiveViT, streams: list[Tensor], layers: set[int]) -> dict[int, list[Tensor]]:
    """The streams that enter some layers; behind the last one that is numbered as many as there are."""
    found = {}
    for layer in range(max(layers, default=0)):
        for writer in WRITERS:
            streams = [live.behind(writer, layer, stream) for stream in streams]
        if layer + 1 in layers:
            found[layer + 1] = streams
    return found


def _fit(
    learngene: Principal,
    net: _Narrow,
    writer: str,
    layer: int,
    goals: dict[int, list[Tensor]],
    module: dict[str, Tensor],
) -> _Fit:
    """The products of a ViT's features in a layer, with what is left of some goals."""
    fit = _Fit(net)
    for number, stream in enumerate(net.streams):
        features = net.live.written(writer, net.kept.index(layer), learngene.from_coordinates(stream))
        present = (stream + _linear(features, net.rows, module)).flatten(0, 1)
        ones = features.new_full((len(present), 1), float("bias" in module))
        columns = torch.cat([features.flatten(0, 1), ones], 1)
        scale = None
        for name, goal in goals.items():
            goal = learngene.to_coordinates(goal[number]).flatten(0, 1)
            goal = learngene.coordinates(goal, 1, len(net.rows))
            if scale is None:
                scale = goal.norm(dim=1, keepdim=True).clamp_min(1e-12)
                columns = columns / scale
                fit.products[number % 2] = fit.products[number % 2] + columns.mT @ columns
            left = fit.left.setdefault(name, [0.0, 0.0])
            left[number % 2] = left[number % 2] + columns.mT @ ((goal - present) / scale)
        fit.features.append(features)
    return fit


def _linear(features: Tensor, rows: Tensor, module: dict[str, Tensor]) -> Tensor:
    """Some rows of a linear layer, whose features are the first that it has."""
    weight = module["weight"].flatten(1)[rows, : features.shape[-1]]
    return F.linear(features, weight, module["bias"][rows] if "bias" in module else None)


def _solve_by_rows(fits: Sequence[_Fit], goal: int, change: dict[str, Tensor]) -> None:
    """Solve the problems, ordered by width, and add to ``change``: a row for all that have it at once."""
    known, ridge = torch.zeros(0, dtype=torch.long), None
    for first, fit in enumerate(fits):
        rows = fit.net.rows[~torch.isin(fit.net.rows, known)]
        known = torch.cat([known, rows])
        if not len(rows):
            continue
        halves = [_summed(fits[first:], goal, rows, half) for half in (0, 1)]
        ridge = _best_ridge(*halves) if ridge is None else ridge  # that of the rows that most sizes have
        if ridge is None:
            return
        found = _solution(*(one + other for one, other in zip(*halves, strict=True)), ridge).to(change["weight"])
        change["weight"].flatten(1)[rows, : len(found) - 1] += found[:-1].T
        if "bias" in change:
            change["bias"][rows] += found[-1]


def _summed(fits: Sequence[_Fit], goal: int, rows: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Products of the features, and of the features with what is left at ``rows``, summed over the problems."""
    most = max(len(fit.products[0]) for fit in fits)
    products = torch.zeros(most, most, dtype=torch.float64)
    left = torch.zeros(most, len(rows), dtype=torch.float64)
    for fit in fits:
        own, columns = fit.products[half], fit.left[goal][half][:, torch.searchsorted(fit.net.rows, rows)]
        count = len(own) - 1  # the features, in front; the 1 is the last
        products[:count, :count] += own[:-1, :-1]
        products[-1, :count] += own[-1, :-1]
        products[:count, -1] += own[:-1, -1]
        products[-1, -1] += own[-1, -1]
        left[:count] += columns[:-1]
        left[-1] += columns[-1]
    return products, left


def _solution(products: Tensor, left: Tensor, ridge: float) -> Tensor:
    penalty = float(products.diagonal()[:-1].mean().clamp_min(1e-30)) * ridge
    diagonal = products.new_full((len(products),), penalty)
    diagonal[-1] = 1e-6 * penalty  # the bias is free
    return torch.cholesky_solve(left, torch.linalg.cholesky(products + torch.diag(diagonal)))


def _best_ridge(*halves: tuple[Tensor, Tensor]) -> float | None:
    """The ridge that predicts each half of the images best from the other; None where the own values do better."""

    def gain(found: Tensor, products: Tensor, left: Tensor) -> float:
        return float(2 * (found * left).sum() - (found * (products @ found)).sum())

    gains = {
        ridge: sum(gain(_solution(*one, ridge), *other) for one, other in (halves, halves[::-1])) for ridge in RIDGES
    }
    best = max(gains, key=gains.__getitem__)
    return best if gains[best] > 0 else None


def _advance(fit: _Fit, module: dict[str, Tensor], change: dict[str, Tensor]) -> None:
    """Let a ViT's stream go through the refitted weight."""
    net = fit.net
    now = module if net.exact else {kind: module[kind] + change[kind] for kind in module}
    net.streams = [
        stream + _linear(features, net.rows, now) for stream, features in zip(net.streams, fit.features, strict=True)
    ]


# ---------------------------------------------------------------------- which layers


@torch.no_grad()
def choose_layers(learngene: Principal, batches: Sequence[Tensor]) -> list[list[int]]:
    """For each number of layers, from 1, those to keep: all but some in a row, so that the final tokens change least.

    For every such row of layers, fc2 in front of it is refitted on half of the images for the stream behind it, and the
    layers behind run on what comes out. The loss is one minus the cosine of the final tokens with the ancestry's, on
    the other half; a class token counts as much as all others. Each depth leaves out what the next deeper one does, and
    one layer more, which are chosen together for the least sum of losses.

    Args:
        learngene: as wide as the ancestry.
        batches: preprocessed images (B, C, H, W), two batches or more.
    """
    num_layers, img_size = learngene.aux_spec.num_layers, tuple(batches[0].shape[-2:])
    wide = LiveViT(learngene.expand(learngene.aux_spec.replace(img_size=img_size)))
    seen, judged = batches[: (len(batches) + 1) // 2], batches[(len(batches) + 1) // 2 :]
    every = set(range(1, num_layers + 1))
    streams = [wide.stream(batch) for batch in seen]
    goals = _streams_at(wide, streams, every)
    final = [wide.stream(batch) for batch in judged]
    starts = final
    final = _streams_at(wide, final, {num_layers})[num_layers]
    losses: dict[Gap, float] = {}
    for layer in range(num_layers):
        middles = [wide.behind("proj", layer, stream) for stream in streams]
        features = [wide.written("fc2", layer, stream) for stream in middles]
        starts = [wide.behind("proj", layer, stream) for stream in starts]
        own = [wide.written("fc2", layer, stream) for stream in starts]
        approximate = _approximation(middles, features, goals[layer + 1])
        for behind in range(layer + 2, num_layers + 1):
            moved = approximate(goals[behind], starts, own)
            for later in range(behind, num_layers):
                for writer in WRITERS:
                    moved = [wide.behind(writer, later, stream) for stream in moved]
            losses[layer, behind] = _loss(moved, final, learngene.aux_spec)
        streams = goals[layer + 1]
        starts = [wide.behind("fc2", layer, stream) for stream in starts]
    return _nested(losses, num_layers)


def _approximation(
    streams: list[Tensor], features: list[Tensor], near: list[Tensor]
) -> Callable[[list[Tensor], list[Tensor], list[Tensor]], list[Tensor]]:
    """A function that fits a linear layer of features for goals, and applies it to other streams and features.

    Args:
        streams: in front of the linear layer's output, (B, tokens, width) a batch.
        features: (B, tokens, F).
        near: streams that say how large each token is.
    """
    scales = [tokens.norm(dim=-1, keepdim=True).clamp_min(1e-12) for tokens in near]
    columns = [
        torch.cat([feature, torch.ones_like(feature[..., :1])], -1).div(scale).flatten(0, 1)
        for feature, scale in zip(features, scales, strict=True)
    ]
    products = sum(column.mT @ column for column in columns).double()
    penalty = products.new_full((len(products),), 0.03 * float(products.diagonal()[:-1].mean()))
    penalty[-1] = 1e-6 * penalty[0]
    factor = torch.linalg.cholesky(products + torch.diag(penalty))

    def apply(goals: list[Tensor], others: list[Tensor], own: list[Tensor]) -> list[Tensor]:
        wanted = sum(
            column.mT @ ((goal - stream) / scale).flatten(0, 1)
            for column, goal, stream, scale in zip(columns, goals, streams, scales, strict=True)
        )
        found = torch.cholesky_solve(wanted.double(), factor).to(wanted)
        return [other + feature @ found[:-1] + found[-1] for other, feature in zip(others, own, strict=True)]

    return apply


def _loss(streams: list[Tensor], goals: list[Tensor], spec: ViTSpec) -> float:
    """One minus the mean cosine of tokens, as the last norm sees them."""

    def cosine(stream: Tensor, goal: Tensor) -> Tensor:
        if spec.norm == "layernorm":
            stream, goal = (tokens - tokens.mean(-1, keepdim=True) for tokens in (stream, goal))
        return F.cosine_similarity(stream, goal, dim=-1)  # (B, tokens)

    found = torch.cat([cosine(stream, goal) for stream, goal in zip(streams, goals, strict=True)])
    return 1 - float((found.mean() + found[:, 0].mean()) / 2 if spec.class_token else found.mean())


def _nested(losses: dict[Gap, float], num_layers: int) -> list[list[int]]:
    """The chain of rows of layers left out, each within the next, that has the least sum of losses."""
    best: dict[Gap, tuple[float, list[Gap]]] = {}
    for missing in range(num_layers - 1, 0, -1):  # layers left out
        for layer in range(num_layers - missing):
            gap = (layer, layer + missing + 1)
            inner = [best[wider] for wider in ((layer - 1, gap[1]), (layer, gap[1] + 1)) if wider in best]
            total, chain = min(inner, default=(0.0, []))
            if missing == num_layers - 1 or inner:
                best[gap] = total + losses[gap], [gap, *chain]
    chain = min((best[gap] for gap in best if gap[1] - gap[0] == 2), default=(0.0, []))[1]
    kept = [[n for n in range(num_layers) if not layer < n < behind] for layer, behind in chain]
    return [*reversed(kept), list(range(num_layers))]
