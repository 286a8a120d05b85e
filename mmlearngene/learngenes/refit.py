"""Refit what writes to the residual stream of narrower and shallower ViTs, so that they follow the widest on images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
JUDGED_ROWS = 64  # of a weight, which are enough to judge a ridge
SEEN = 4  # tokens of the images that layers are chosen on, for every hidden neuron
JUDGED = 2048  # tokens of the images that judge a choice of layers, of eight images or more
BLOCK = 512  # columns of products that are computed at once
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
        streams: its stream in coordinates, (B, tokens, width) a batch; None where it is the widest itself, whose stream
            is known. That one is refitted in front of gaps alone.
    """

    kept: Sequence[int]
    of: int
    live: LiveViT
    rows: Tensor
    streams: list[Tensor] | None

    def behind(self, layer: int) -> int:
        """The next layer that it keeps."""
        return next((other for other in self.kept if other > layer), self.of)


class _Squares:
    """Sums of a least-squares problem over tokens, each divided by the norm of its goal: a norm sees directions alone.

    Attributes:
        products: of the features and a 1 with themselves, (F + 1, F + 1).
        left: by goal, of the features and a 1 with what is left to fit, (F + 1, width).
    """

    def __init__(self) -> None:
        self.products: Tensor | None = None
        self.left: dict[int, Tensor] = {}

    def add(self, features: Tensor, left: Mapping[int, Tensor], scale: Tensor, bias: bool) -> None:
        """Add tokens.

        Args:
            features: (B, tokens, F).
            left: by goal (B, tokens, width).
            scale: norms of the goal's tokens, (B, tokens, 1).
            bias: whether there is a bias to fit.
        """
        ones = features.new_full((*features.shape[:-1], 1), float(bias))
        columns = (torch.cat([features, ones], -1) / scale).flatten(0, 1)
        if self.products is None:
            self.products = columns.new_zeros(columns.shape[1], columns.shape[1])
        for block in torch.arange(columns.shape[1]).split(BLOCK):  # of a symmetric matrix, not all is computed
            start, end = int(block[0]), int(block[-1]) + 1
            found = columns[:, start:end].mT @ columns[:, start:]
            self.products[start:end, start:] += found
            self.products[end:, start:end] += found[:, end - start :].mT
        for goal, tokens in left.items():
            self.left[goal] = self.left.get(goal, 0.0) + columns.mT @ (tokens / scale).flatten(0, 1)


@dataclass
class _Fit:
    """A least-squares problem of one ViT in one layer.

    Attributes:
        net: the ViT.
        features: what is multiplied by the weight, (B, tokens, F) a batch; None where it is computed once more, as the
            many hidden activations are, rather than kept.
        halves: the sums over either half of the images.
    """

    net: _Narrow
    features: list[Tensor | None] = field(default_factory=list)
    halves: tuple[_Squares, _Squares] = field(default_factory=lambda: (_Squares(), _Squares()))


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

    Of all that is computed, only the streams are kept for every image.

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
    narrow = [
        _narrow(learngene, size.replace(img_size=img_size), wide, batches, depth)
        for size in sorted(sizes, key=lambda size: size.embed_dims)
    ]
    far = {behind for layer, behind in gaps} | {
        net.behind(layer) for net in narrow for layer in net.kept if net.behind(layer) > layer + 1
    }
    streams = [wide.stream(batch) for batch in batches]
    # where a stream enters a layer further on; its numbers need not be exact, since the fit is a mean over tokens
    goals = [_streams_at(wide, stream, far, torch.bfloat16) for stream in streams]
    added = {name: torch.zeros_like(own[name]) for name in own if name.partition(".")[0] in WRITERS}
    of_gaps: dict[Gap, dict[str, Tensor]] = {}
    for layer in range(num_layers):
        for writer in WRITERS:
            module = {name.partition(".")[2]: own[name][layer] for name in added if name.startswith(f"{writer}.")}
            change = {kind: added[f"{writer}.{kind}"][layer] for kind in module}  # views
            behind = [b for a, b in gaps if a == layer] if writer == "fc2" else []
            fits = [_Fit(net) for net in narrow if layer in net.kept and (behind or net.streams is not None)]
            mains = [fit.net.behind(layer) if writer == "fc2" else layer + 1 for fit in fits]
            for number, stream in enumerate(streams):
                features = wide.written(writer, layer, stream)
                streams[number] = wide.behind(writer, layer, stream, features)
                found = {**goals[number], layer + 1: streams[number]}
                near = {b: learngene.to_coordinates(found[b].to(stream)) for b in {*mains, *behind}}
                for fit, main in zip(fits, mains, strict=True):
                    wanted = {0: near[main], **{b: near[b] for b in behind}}
                    _add(fit, learngene, (writer, layer), number, wanted, module, features)
            _solve_by_rows([fit for fit in fits if fit.net.streams is not None], 0, change)
            for far_one in behind:
                of_gaps[layer, far_one] = {f"fc2.{kind}": torch.zeros_like(tensor) for kind, tensor in module.items()}
                _solve_by_rows(fits, far_one, {kind: of_gaps[layer, far_one][f"fc2.{kind}"] for kind in module})
            now = {kind: module[kind] + change[kind] for kind in module}
            for fit in fits:
                _advance(fit, learngene, (writer, layer), now)
        for goal in goals:  # the layers that follow are behind it
            goal.pop(layer + 1, None)
    return added, of_gaps


def _narrow(learngene: Principal, size: ViTSpec, wide: LiveViT, batches: Sequence[Tensor], depth: str) -> _Narrow:
    """A size in front of its first layer."""
    kept = learngene.layers(size.num_layers, depth)
    rows = learngene.coordinates(torch.arange(learngene.dims), 0, size.embed_dims)
    if size == wide.spec:
        return _Narrow(kept, wide.spec.num_layers, wide, rows, None)
    live = LiveViT(learngene.expand(size, depth=depth))
    streams = [learngene.to_coordinates(live.stream(batch)) for batch in batches]
    return _Narrow(kept, wide.spec.num_layers, live, rows, streams)


def _streams_at(live: LiveViT, stream: Tensor, layers: set[int], dtype: torch.dtype | None = None) -> dict[int, Tensor]:
    """A stream where it enters some layers; behind the last one that is numbered as many as there are."""
    found = {}
    for layer in range(max(layers, default=0)):
        for writer in WRITERS:
            stream = live.behind(writer, layer, stream)
        if layer + 1 in layers:
            found[layer + 1] = stream.to(dtype or stream.dtype)
    return found


def _add(
    fit: _Fit,
    learngene: Principal,
    place: tuple[str, int],
    number: int,
    goals: dict[int, Tensor],
    module: dict[str, Tensor],
    widest: Tensor,
) -> None:
    """Add a batch to the sums of a ViT in a layer.

    Args:
        fit: the problem.
        learngene: what the ViT is expanded from.
        place: ``proj`` or ``fc2``, and the layer.
        number: of the batch.
        goals: streams of the widest in coordinates, (B, tokens, width).
        module: weight and bias of ``place``.
        widest: features of the widest, which has them by now.
    """
    net, left, scale = fit.net, {}, None
    features = widest if net.streams is None else _features(net, learngene, place, number)
    present = goals[0] if net.streams is None else net.streams[number] + _linear(features, net.rows, module)
    for name, goal in goals.items():
        goal = learngene.coordinates(goal, -1, len(net.rows))
        left[name], scale = goal - present, _norms(goal) if scale is None else scale
    fit.halves[number % 2].add(features, left, scale, "bias" in module)
    if net.streams is not None:
        fit.features.append(features if place[0] == "proj" else None)


def _features(net: _Narrow, learngene: Principal, place: tuple[str, int], number: int) -> Tensor:
    """What ``proj`` or ``fc2`` of a ViT multiplies, (B, tokens, features)."""
    writer, layer = place
    return net.live.written(writer, net.kept.index(layer), learngene.from_coordinates(net.streams[number]))


def _norms(tokens: Tensor) -> Tensor:
    return tokens.norm(dim=-1, keepdim=True).clamp_min(1e-12)


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
        products, left = (one + other for one, other in zip(*halves, strict=True))
        found = torch.cholesky_solve(left, _factor(products, ridge))
        change["weight"].flatten(1)[rows, : len(found) - 1] += found[:-1].T
        if "bias" in change:
            change["bias"][rows] += found[-1]


def _summed(fits: Sequence[_Fit], goal: int, rows: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Products of the features, and of the features with what is left at ``rows``, summed over the problems."""
    most = max(len(fit.halves[half].products) for fit in fits)
    products = fits[0].halves[half].products.new_zeros(most, most)
    left = products.new_zeros(most, len(rows))
    for fit in fits:
        own, columns = fit.halves[half].products, fit.halves[half].left[goal]
        columns, count = columns[:, torch.searchsorted(fit.net.rows, rows)], len(own) - 1
        products[:count, :count] += own[:-1, :-1]  # the features, in front; the 1 is the last
        products[-1, :count] += own[-1, :-1]
        products[:count, -1] += own[:-1, -1]
        products[-1, -1] += own[-1, -1]
        left[:count] += columns[:-1]
        left[-1] += columns[-1]
    return products, left


def _factor(products: Tensor, ridge: float) -> Tensor:
    """The Cholesky factor of products with a ridge, a share of a feature's mean square."""
    penalty = float(products.diagonal()[:-1].mean().clamp_min(1e-30)) * ridge
    diagonal = products.new_full((len(products),), penalty)
    diagonal[-1] = 1e-6 * penalty  # the bias is free
    factor, failed = torch.linalg.cholesky_ex(products + torch.diag(diagonal))
    if failed:  # in float32 a small ridge is lost beside large products
        factor = torch.linalg.cholesky(products.double() + torch.diag(diagonal).double()).to(products)
    return factor


def _best_ridge(*halves: tuple[Tensor, Tensor]) -> float | None:
    """The ridge that predicts each half of the images best from the other; None where the own values do better."""
    halves = tuple((products, left[:, :: math.ceil(left.shape[1] / JUDGED_ROWS)]) for products, left in halves)

    def gain(ridge: float, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
        found = torch.cholesky_solve(one[1], _factor(one[0], ridge))
        return float(2 * (found * other[1]).sum() - (found * (other[0] @ found)).sum())

    gains = {ridge: gain(ridge, *halves) + gain(ridge, *halves[::-1]) for ridge in RIDGES}
    best = max(gains, key=gains.__getitem__)
    return best if gains[best] > 0 else None


def _advance(fit: _Fit, learngene: Principal, place: tuple[str, int], module: dict[str, Tensor]) -> None:
    """Let a ViT's stream go through the refitted weight."""
    net = fit.net
    for number, features in enumerate(fit.features):
        features = _features(net, learngene, place, number) if features is None else features
        net.streams[number] = net.streams[number] + _linear(features, net.rows, module)


# ---------------------------------------------------------------------- which layers


@torch.no_grad()
def choose_layers(learngene: Principal, batches: Sequence[Tensor]) -> list[list[int]]:
    """For each number of layers, from 1, those to keep: all but some in a row, so that the final tokens change least.

    For every such row of layers, fc2 in front of it is refitted on some of the images for the stream behind it, and the
    layers behind run on what comes out. The loss is one minus the cosine of the final tokens with the ancestry's, on
    others; a class token counts as much as all others. :data:`SEEN` and :data:`JUDGED` say how many images that takes.
    Each depth leaves out what the next deeper one does, and one layer more, which are chosen together for the least sum
    of losses.

    Args:
        learngene: as wide as the ancestry.
        batches: preprocessed images (B, C, H, W), two batches or more.
    """
    spec, images = learngene.aux_spec, torch.cat(list(batches))
    num_layers = spec.num_layers
    wide = LiveViT(learngene.expand(spec.replace(img_size=tuple(images.shape[-2:]))))
    few, many = (math.ceil(tokens / wide.spec.num_tokens) for tokens in (JUDGED, SEEN * spec.feedforward_channels))
    seen, judged = images.split(min(many, math.ceil(len(images) / 2)))[:2]
    streams, starts = [wide.stream(batch) for batch in seen.split(32)], wide.stream(judged[: max(8, few)])
    goals = [_streams_at(wide, stream, set(range(1, num_layers + 1))) for stream in streams]
    final = _streams_at(wide, starts, {num_layers})[num_layers]
    losses: dict[Gap, float] = {}
    for layer in range(num_layers):
        squares, behinds = _Squares(), range(layer + 2, num_layers + 1)
        for number, stream in enumerate(streams):
            middle = wide.behind("proj", layer, stream)
            left = {behind: goals[number][behind] - middle for behind in behinds}
            squares.add(wide.written("fc2", layer, middle), left, _norms(goals[number][layer + 1]), bias=True)
        factor = _factor(squares.products, RIDGES[1])
        starts = wide.behind("proj", layer, starts)
        own = wide.written("fc2", layer, starts)
        for behind in behinds:
            found = torch.cholesky_solve(squares.left[behind], factor)
            moved = starts + own @ found[:-1] + found[-1]
            for later in range(behind, num_layers):
                for writer in WRITERS:
                    moved = wide.behind(writer, later, moved)
            losses[layer, behind] = _loss(moved, final, spec)
        streams, starts = [goal.pop(layer + 1) for goal in goals], wide.behind("fc2", layer, starts, own)
    return _nested(losses, num_layers)


def _loss(stream: Tensor, goal: Tensor, spec: ViTSpec) -> float:
    """One minus the mean cosine of tokens (B, tokens, width), as the last norm sees them."""
    if spec.norm == "layernorm":
        stream, goal = (tokens - tokens.mean(-1, keepdim=True) for tokens in (stream, goal))
    found = F.cosine_similarity(stream, goal, dim=-1)
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
