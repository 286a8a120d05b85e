"""Which sizes a learngene expands to, what each one costs, and which fit a budget."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..errors import LearngeneError
from ..learngenes.facts.base import Facts
from ..vit.spec import MAX, ViTSpec

MAX_SIZES = 2000
_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")


@dataclass(frozen=True)
class Cost:
    """What a size costs.

    Attributes:
        spec: the size, at the images and classes that were asked for.
        params: its parameters.
        macs: multiply-accumulates of one image, which papers call FLOPs.
        trained: whether the learngene was trained at this size.
        latency: measured seconds of a batch; None where nobody asked.
        memory: measured bytes of weights and activations at their peak; None where nobody asked.
        shares: what the method says of it beforehand, see :meth:`mmlearngene.Learngene.shares`.
    """

    spec: ViTSpec
    params: int
    macs: int
    trained: bool
    latency: float | None = None
    memory: int | None = None
    shares: dict[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Storage:
    """The bytes of a learngene beside those of one checkpoint for each of some sizes.

    Attributes:
        learngene: bytes of the learngene.
        checkpoints: bytes of all checkpoints together.
        pays_from: with that many of the sizes or more, whichever they are, the learngene is the smaller; None if never.
    """

    learngene: int
    checkpoints: int
    pays_from: int | None

    @property
    def ratio(self) -> float:
        """How many times the learngene the checkpoints are."""
        return self.checkpoints / self.learngene


def plan(learngene: Facts, arch: Sequence[str] = (), **fields) -> list[Cost]:
    """The sizes that a learngene expands to and their costs, the one with the most parameters first.

    A size that a method refuses for a reason of its own is left out.

    Args:
        learngene: the learngene, or the facts of its file.
        arch: sizes with ranges, as in ``'h6..12-l8..16'``. When omitted, all up to the Aux-Net's heads and layers; of a
            Swin a few scaled ones.
        **fields: ``img_size``, ``patch_size`` and ``num_classes`` of the descendants; the Aux-Net's when omitted.

    Raises:
        LearngeneError: no size is left, with the reason of the first that was refused.
    """
    names = list(dict.fromkeys(itertools.chain(*map(_spelled_out, arch)))) if arch else _default_sizes(learngene)
    if len(names) > MAX_SIZES:
        raise LearngeneError(f"{len(names):,} sizes are more than {MAX_SIZES:,}; expected fewer, as in h6..12-l8..16")
    trained = learngene.trained_sizes or [str(learngene.aux_spec)]
    costs, refused = {}, None
    for name in names:
        try:
            spec = learngene.target(name).sized(**fields)
            learngene.check_size(spec)
        except LearngeneError as error:
            refused = refused or error
            continue
        shares = learngene.shares(spec)
        costs[spec] = Cost(spec, spec.num_params, spec.macs, str(spec) in trained, shares=shares)
    if not costs:
        raise refused
    return sorted(costs.values(), key=lambda cost: (cost.params, cost.macs), reverse=True)


def _spelled_out(arch: str) -> Iterator[str]:
    """All sizes of a text with ranges: ``'h6..7-l8'`` gives h6-l8 and h7-l8."""
    match = re.fullmatch(r"h([\d.,]+)[-_]?l([\d.,]+)", arch.strip().lower())
    parts = [text.split(",") for text in match.groups()] if match else []
    ends = [[_RANGE.fullmatch(part) for part in texts] for texts in parts]
    if not match or not all(itertools.chain(*ends)):
        raise LearngeneError(f"{arch[:80]!r} is no size; expected heads and layers as in 'h6-l12' or 'h6..12-l8..16'")
    choices = [[range(int(end[1]), int(end[2] or end[1]) + 1) for end in texts] for texts in ends]
    for name, ranges in zip(("num_heads", "num_layers"), choices, strict=True):
        if any(not each or each[-1] > MAX[name] for each in ranges):
            raise LearngeneError(f"{arch[:80]!r}: expected ranges that go up, to at most {MAX[name]} ({name})")
    if math.prod(map(len, itertools.chain(*choices))) > MAX_SIZES:
        raise LearngeneError(f"{arch[:80]!r} are more than {MAX_SIZES:,} sizes; expected fewer, as in 'h6..12-l8..16'")
    for heads in itertools.product(*choices[0]):
        for layers in itertools.product(*choices[1]):
            yield f"h{','.join(map(str, heads))}-l{','.join(map(str, layers))}"


def _default_sizes(learngene: Facts) -> list[str]:
    aux = learngene.aux_spec
    if aux.depths is not None or not isinstance(aux.num_heads, int):
        return [str(aux), *map(str, learngene.some_sizes())]
    layers = learngene.layer_choices or range(1, aux.num_layers + 1)
    heads = [count for count in learngene.head_choices if count <= aux.num_heads]
    return [f"h{count}-l{depth}" for count in heads for depth in layers if depth <= aux.num_layers]


def within(costs: Iterable[Cost], params: float | None = None, macs: float | None = None) -> list[Cost]:
    """Those of at most so many parameters and multiply-accumulates.

    Raises:
        LearngeneError: none is; the message names the smallest.
    """
    costs = list(costs)
    most = [math.inf if limit is None else limit for limit in (params, macs)]
    kept = [cost for cost in costs if cost.params <= most[0] and cost.macs <= most[1]]
    if kept:
        return kept
    small, fast = min(costs, key=lambda cost: cost.params), min(costs, key=lambda cost: cost.macs)
    raise LearngeneError(
        f"none of the {len(costs)} sizes fits; the smallest is {small.spec} with {small.params:,} parameters, the one "
        f"with the fewest FLOPs {fast.spec} with {fast.macs / 1e9:.3g}G"
    )


def storage(learngene_bytes: int, costs: Iterable[Cost], bytes_each: int = 4) -> Storage:
    """What a learngene takes beside one checkpoint for each size.

    Args:
        learngene_bytes: of its file.
        costs: the sizes.
        bytes_each: of a parameter.
    """
    sizes = sorted(cost.params * bytes_each for cost in costs)
    sums = itertools.accumulate(sizes)  # the smallest first: with any others it pays sooner
    pays_from = next((count for count, total in enumerate(sums, 1) if total > learngene_bytes), None)
    return Storage(learngene_bytes, sum(sizes), pays_from)
