"""What a step of an elastic training drew, and what it leaves."""

import copy
import random

import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from mmlearngene import ViTSpec, ViTWeights
from mmlearngene.learngenes.cluster import Cluster
from mmlearngene.learngenes.peg import PEG
from mmlearngene.models import Step

from .distillation import VIT


def at_step(iteration, seed=0, iterations=100):
    """What the Runner tells the model before a step."""
    MessageHub.get_instance(f"test-sizes-{random.random()}").update_info_dict(
        dict(seed=seed, iter=iteration, max_iters=iterations)
    )
    return Step(seed, iteration, iterations)


def extracted(method):
    """A small learngene of an ancestry h4-l6 whose maps have parted from their start."""
    spec = ViTSpec.parse("h4-l6", **VIT, class_token=True, pool="cls")
    ancestry = ViTWeights(spec, {name: 0.1 * torch.randn(shape) for name, shape in spec.shapes().items()})
    if method == "peg":
        return PEG.extract(ancestry)
    return Cluster.extract(ancestry, heads=[[0, 2]] * 6, ffns=[0, 1, 2, 3, 4, 4])


def weights_in(path):
    return torch.load(path, weights_only=False)["state_dict"]


class Metrics(Hook):
    """Keeps what was measured and the weights that it was measured with."""

    priority = "LOWEST"

    def __init__(self):
        self.found, self.weights = [], []

    def before_val_epoch(self, runner):
        learngene = getattr(runner.model, "student", runner.model).learngene
        self.weights.append(copy.deepcopy(learngene.state_dict()))

    def after_val_epoch(self, runner, metrics=None):
        self.found.append(metrics)

    after_test_epoch = after_val_epoch
