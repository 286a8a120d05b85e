"""Tiny runs of mmengine, and what they leave."""

import itertools
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmpretrain")
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

import mmlearngene.engine
import mmlearngene.models  # noqa: F401

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)


LETS = dict(learngene="h1-l4", aux="h3-l8", groups=2, **TINY)


_numbers = itertools.count()


class Images(torch.utils.data.Dataset):
    """Random images of three classes."""

    metainfo = dict(classes=("one", "two", "three"))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        return dict(inputs=image, data_samples=DataSample().set_gt_label(index % 3))


def loader():
    return dict(dataset=Images(), batch_size=4, sampler=dict(type="DefaultSampler", shuffle=True))


def make_runner(model, work_dir, hooks=(), epochs=2, lr=0.1, checkpoint=None, val=False, **arguments):
    validation = {}
    if val:
        validation = dict(
            val_dataloader=loader(), val_cfg={}, val_evaluator=dict(type="mmpretrain.Accuracy", topk=(1,))
        )
    return Runner(
        model,
        str(work_dir),
        **{
            **dict(
                train_dataloader=loader(),
                train_cfg=dict(by_epoch=True, max_epochs=epochs),
                optim_wrapper=dict(optimizer=dict(type="SGD", lr=lr)),
                default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, **(checkpoint or {}))),
                custom_hooks=list(hooks),
                default_scope="mmpretrain",
                experiment_name=f"test-{next(_numbers)}",
                randomness=dict(seed=0),
                log_level="ERROR",
            ),
            **validation,
            **arguments,
        },
    )


def same(one, other):
    return one.keys() == other.keys() and not differing(one, other)


def differing(one, other):
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def aux_net():
    return dict(type="mmlearngene.AuxNet", learngene=dict(type="mmlearngene.LeTs", **LETS))


def learngene_in(checkpoint):
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    return {name.removeprefix("learngene."): tensor for name, tensor in state.items() if name.startswith("learngene.")}


def files_in(folder):
    return {path.name for path in Path(folder).iterdir() if path.suffix in (".pth", ".safetensors")}


class Scores(BaseMetric):
    """Gives the next of these scores at each evaluation."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch, data_samples):
        self.results.append(None)

    def compute_metrics(self, results):
        return dict(score=self.scores.pop(0))
