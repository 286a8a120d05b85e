"""Which sizes a learngene trains at a step: ``AuxNet(..., sizes=dict(type="UniformSizes", heads=[6, 12]))``.

A draw follows from the run's seed and iteration and from nothing else. So all processes of a run train the same sizes
at the same step, and a resumed run draws what an uninterrupted one does, also in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.logging import MessageHub

from ..errors import LearngeneError
from ..learngenes import Learngene
from ..registry import TASK_UTILS
from ..vit.spec import ViTSpec


@dataclass(frozen=True)
class Step:
    """Where a run is.

    Args:
        seed: of the run.
        iteration: of the run, from 0; it goes on from epoch to epoch.
        iterations: how many the run has.
    """

    seed: int
    iteration: int
    iterations: int

    @classmethod
    def current(cls) -> Step:
        """The step of mmengine's Runner.

        The iteration comes from the ``MessageHub``, where mmengine's own ``RuntimeInfoHook`` puts it before every
        step: nothing has to be added to a config. With ``diff_rank_seed`` every process has a seed of its own, so
        the first one's is shared, once in a run, and kept in the hub, which a checkpoint restores.

        Raises:
            LearngeneError: no Runner trains.
        """
        hub = MessageHub.get_current_instance()
        info = hub.runtime_info
        missing = [key for key in ("seed", "iter", "max_iters") if key not in info]
        if missing:
            raise LearngeneError(
                f"sizes are drawn from the run's seed and iteration, and mmengine's MessageHub has no {missing[0]!r}; "
                "expected a training by mmengine's Runner (tools/train.py)"
            )
        if "sizes_seed" not in info:
            shared = [info["seed"]]
            broadcast_object_list(shared)
            hub.update_info("sizes_seed", shared[0])
        return cls(info["sizes_seed"], info["iter"], info["max_iters"])


class SizeSampler:
    """Draws the sizes of a step, all of them different.

    Args:
        learngene: what is trained; it says which sizes there are.
        heads: the least and the most heads, or one number; the Aux-Net's when omitted.
        layers: likewise.
        sizes: the sizes themselves, as in ``'h6-l12'``, instead of heads and layers.

    Attributes:
        sizes: every size that may be drawn, the one with the fewest parameters first.
        has_largest: whether every draw starts with the largest size.

    Raises:
        LearngeneError: a size that the learngene does not expand to, or one that is named twice.
    """

    has_largest = False

    def __init__(
        self,
        learngene: Learngene,
        heads: int | Sequence[int] | None = None,
        layers: int | Sequence[int] | None = None,
        sizes: Sequence[str | ViTSpec] | None = None,
    ) -> None:
        if sizes is None:
            sizes = _grid(learngene.aux_spec, heads, layers)
        elif heads is not None or layers is not None:
            raise LearngeneError(f"sizes={list(sizes)} name the heads and layers; leave out heads= and layers=")
        try:
            specs = [learngene.target(size) for size in sizes]
        except LearngeneError as error:
            raise LearngeneError(f"sizes to train: {error}") from error
        if not specs or len(set(specs)) < len(specs):
            raise LearngeneError(f"sizes={[*map(str, specs)]}: expected one size or more, and each of them once")
        self.sizes = sorted(specs, key=lambda spec: (spec.num_params, sum(spec.heads)))

    @property
    def largest(self) -> ViTSpec:
        """The size with the most parameters."""
        return self.sizes[-1]

    def draw(self, step: Step) -> list[ViTSpec]:
        """The sizes to train at a step; the same ones for the same step."""
        raise NotImplementedError

    @staticmethod
    def _random(step: Step, sizes: Sequence[ViTSpec], count: int, weights: Sequence[float] | None) -> list[ViTSpec]:
        """``count`` different sizes, with probabilities where there are weights."""
        shares = None if weights is None else np.array(weights) / sum(weights)
        generator = np.random.default_rng([step.seed, step.iteration])
        return [sizes[i] for i in generator.choice(len(sizes), count, replace=False, p=shares)]


@TASK_UTILS.register_module()
class UniformSizes(SizeSampler):
    """Every size equally often.

    Args:
        learngene: see :class:`SizeSampler`, as ``heads``, ``layers`` and ``sizes``.
        count: sizes a step.

    Raises:
        LearngeneError: see :class:`SizeSampler`; or there are fewer sizes than ``count``.
    """

    def __init__(self, learngene: Learngene, heads=None, layers=None, sizes=None, count: int = 1) -> None:
        super().__init__(learngene, heads, layers, sizes)
        self.count = _checked_count(count, len(self.sizes), least=1)

    def draw(self, step: Step) -> list[ViTSpec]:
        return self._random(step, self.sizes, self.count, None)


@TASK_UTILS.register_module()
class WeightedSizes(SizeSampler):
    """A list of sizes, each as often as its weight says.

    Args:
        learngene: what is trained.
        sizes: the list.
        weights: for each of them how often it is drawn, in proportion.
        count: sizes a step; with more than one a size's share is not exactly its weight's.

    Raises:
        LearngeneError: see :class:`SizeSampler`; or weights that do not fit.
    """

    def __init__(
        self, learngene: Learngene, sizes: Sequence[str | ViTSpec], weights: Sequence[float], count: int = 1
    ) -> None:
        super().__init__(learngene, sizes=sizes)
        if len(weights) != len(sizes) or min(weights) < 0:
            raise LearngeneError(
                f"weights={list(weights)}: expected a number of 0 or more for each of the {len(sizes)} sizes"
            )
        self.count = _checked_count(count, sum(weight > 0 for weight in weights), least=1)
        weight_of = {learngene.target(size): weight for size, weight in zip(sizes, weights, strict=True)}
        self.weights = [weight_of[spec] for spec in self.sizes]

    def draw(self, step: Step) -> list[ViTSpec]:
        return self._random(step, self.sizes, self.count, self.weights)


@TASK_UTILS.register_module()
class SandwichSizes(SizeSampler):
    """The largest, random ones, and the smallest at every step (slimmable networks, Yu and Huang, ICCV 2019; BigNAS).

    Args:
        learngene: see :class:`SizeSampler`, as ``heads``, ``layers`` and ``sizes``.
        count: random sizes a step, between the two.
        smallest: False leaves the smallest one to chance.

    Raises:
        LearngeneError: see :class:`SizeSampler`; or there are fewer sizes than a step needs.
    """

    has_largest = True

    def __init__(
        self, learngene: Learngene, heads=None, layers=None, sizes=None, count: int = 1, smallest: bool = True
    ) -> None:
        super().__init__(learngene, heads, layers, sizes)
        self.fixed_smallest = self.sizes[:1] if smallest else []
        self.between = self.sizes[len(self.fixed_smallest) : -1]
        self.count = _checked_count(count, len(self.between), least=0)

    def draw(self, step: Step) -> list[ViTSpec]:
        return [self.largest, *self._random(step, self.between, self.count, None), *self.fixed_smallest]


@TASK_UTILS.register_module()
class LargestFirst(SizeSampler):
    """The largest size alone for the first share of the training, then another sampler.

    Args:
        learngene: what is trained.
        sizes: config of the other sampler.
        share: of the training's iterations, from 0 to 1.

    Raises:
        LearngeneError: see the other sampler; or ``share`` is none.
    """

    def __init__(self, learngene: Learngene, sizes: dict | SizeSampler, share: float) -> None:
        if not 0 <= share <= 1:
            raise LearngeneError(f"share={share} must be in 0 to 1; the nearest is {min(max(share, 0), 1)}")
        self.then = build_sizes(sizes, learngene)
        self.sizes = self.then.sizes
        self.has_largest = self.then.has_largest
        self.share = share

    def draw(self, step: Step) -> list[ViTSpec]:
        if step.iteration < self.share * step.iterations:
            return [self.largest]
        return self.then.draw(step)


def build_sizes(sizes: dict | SizeSampler, learngene: Learngene) -> SizeSampler:
    """A sampler from its config, whose type may stand without the scope: ``dict(type="UniformSizes", ...)``."""
    if isinstance(sizes, SizeSampler):
        return sizes
    return TASK_UTILS.build({"_scope_": "mmlearngene", **sizes}, default_args=dict(learngene=learngene))


def _grid(aux: ViTSpec, heads: int | Sequence[int] | None, layers: int | Sequence[int] | None) -> list[str]:
    """All sizes of these heads and these layers."""
    if heads is None and not isinstance(aux.num_heads, int):
        raise LearngeneError(f"the Aux-Net {aux} has not one number of heads; name the sizes: sizes=['{aux}', ...]")
    heads = _between("heads", aux.num_heads if heads is None else heads)
    layers = _between("layers", aux.num_layers if layers is None else layers)
    return [f"h{h}-l{l}" for h in heads for l in layers]  # noqa: E741


def _between(name: str, ends: int | Sequence[int]) -> range:
    """All numbers from the least to the most."""
    pair = [ends, ends] if isinstance(ends, int) else list(ends)
    if len(pair) != 2 or not all(isinstance(end, int) for end in pair) or not 1 <= pair[0] <= pair[1]:
        raise LearngeneError(f"{name}={ends}: expected one number, or the least and the most as in [6, 12]")
    return range(pair[0], pair[1] + 1)


def _checked_count(count: int, available: int, least: int) -> int:
    if not least <= count <= available:
        near = min(max(count, least), available)
        raise LearngeneError(f"count={count} of {available} sizes cannot be drawn; the nearest is {near}")
    return count
