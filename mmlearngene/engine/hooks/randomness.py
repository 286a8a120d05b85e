"""Randomness that follows from where a run is: a resumed run draws what an uninterrupted one would."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Dataset, Sampler

from ...registry import HOOKS

_STEP, _SAMPLE = 0, 1  # two kinds of places must not share a seed


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every training step by (seed, rank, step), and every training sample by its place in the order of the data.

    mmengine restores weights, optimizer, schedules and the order of the data, but no random number generator. Drop-path
    and mixup follow the step's seed. Augmentation follows the sample's, so it is the same in the main process and in
    any number of workers, whichever of them prepares the sample. It works for loops over epochs and over iterations.
    """

    priority = "VERY_HIGH"  # what other hooks draw in a step follows its seed

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        loader = loop.dataloader
        if type(loader.batch_sampler) is not BatchSampler:  # another kind may look inside the indices
            kind = type(loader.batch_sampler).__name__
            print_log(f"{kind}: augmentation is drawn anew in a resumed run", logger="current", level=logging.WARNING)
            return
        loader.batch_sampler.sampler = _Placed(loader.batch_sampler.sampler, loop, loader.batch_size)
        loader.dataset.__getitems__ = _Seeded(loader.dataset, (runner.seed, get_rank(), _SAMPLE))
        if isinstance(loop, IterBasedTrainLoop) and loop.dataloader_iterator._iterator is not None:
            _read_anew(loop)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        _seed(runner.seed, get_rank(), _STEP, runner.iter)


def _read_anew(loop: IterBasedTrainLoop) -> None:
    """Before 0.10.12 mmengine reads ahead as soon as a loop is made: let go of what was read, workers included."""
    loader = loop.dataloader
    loader._iterator = None  # workers that stay have the data set as it was
    if isinstance(loader.sampler, InfiniteSampler):
        loader.sampler.indices = loader.sampler._indices_of_rank()
    loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)


class _Placed:
    """A sampler whose indices come with their place: ((round, number), index)."""

    def __init__(self, sampler: Sampler, loop: BaseLoop, batch_size: int) -> None:
        self.sampler, self.loop, self.batch_size = sampler, loop, batch_size
        self.rounds = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[tuple[int, int], int]]:
        current, first = self.loop.epoch, 0
        if isinstance(self.loop, IterBasedTrainLoop):
            current, self.rounds = self.rounds, self.rounds + 1
            # to resume, mmengine lets the sampler skip what was used where it can; else it reads from the start again
            if current == 0 and hasattr(self.sampler, "skip"):
                first = self.loop.iter * self.batch_size
        for number, index in enumerate(self.sampler, first):
            yield (current, number), index


class _Seeded:
    """Reads samples of a data set, each with its own seed: what a data loader calls in place of ``dataset[index]``."""

    def __init__(self, dataset: Dataset, source: tuple[int, ...]) -> None:
        self.dataset, self.source = dataset, source

    def __call__(self, placed: list[tuple[tuple[int, int], int]]) -> list:
        return [self._read(place, index) for place, index in placed]

    def _read(self, place: tuple[int, int], index: int) -> object:
        _seed(*self.source, *place)
        return self.dataset[index]


def _seed(*place: int) -> None:
    seeds = np.random.SeedSequence(place).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(int(seeds[2]))  # torch.manual_seed is slow where CUDA waits to be initialised
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(int(seeds[2]))
