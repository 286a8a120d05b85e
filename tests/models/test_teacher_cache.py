"""The teacher cache: a replayed run is the run that kept, bit for bit."""

import errno
import os
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn import functional as F

from mmlearngene import LearngeneError
from mmlearngene.engine.run.init_check import check_teachers
from mmlearngene.errors import RunStopped
from mmlearngene.models import LearngeneDistiller
from mmlearngene.models.sizes import Step
from mmlearngene.models.teacher_cache import CachedTeacher, _marks, compressed, restored
from mmlearngene.models.teachers import Teacher
from mmlearngene.registry import MODELS

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> dict:
    cfg = Config.fromfile(CONFIGS / "demo/ancestry.py")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"state_dict": MODELS.build({**cfg.model, "_scope_": "mmpretrain"}).state_dict()}, path)
    return dict(type="mmlearngene.ClassifierTeacher", config=str(CONFIGS / "demo/ancestry.py"), checkpoint=str(path))


def train(
    teacher: dict, work_dir: Path, seed: int = 0, config: str = "aux_tleg", flipped=False, hooks=(), **options
) -> dict:
    """The weights after two epochs of three steps, with mixup and drop-path; ``options`` are of the config."""
    cfg = Config.fromfile(CONFIGS / f"demo/{config}.py")
    cfg.model.teacher = teacher
    cfg.model.train_cfg = dict(augments=[dict(type="Mixup", alpha=0.8)])
    cfg.model.student.learngene.update(aux="h2-l8")
    cfg.train_dataloader.dataset.indices = 48
    cfg.train_dataloader.batch_size = 16
    cfg.model.student.backbone = dict(drop_path_rate=0.2)
    if flipped:
        cfg.train_dataloader.dataset.pipeline.insert(-1, dict(type="mmpretrain.RandomFlip", prob=1.0))
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.param_scheduler, cfg.custom_hooks = [], list(hooks)
    cfg.merge_from_dict({name.replace("__", "."): value for name, value in options.items()})
    cfg.experiment_name = (
        f"{work_dir.name}_{time.time_ns()}"  # else runs of one second share what mmengine knows of them
    )
    cfg.update(work_dir=str(work_dir), log_level="ERROR", visualizer=None, randomness=dict(seed=seed))
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.model.state_dict()


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def silent(monkeypatch):
    """No teacher may be asked after the call of this."""

    def forward(self, *_):
        raise AssertionError("the teacher was asked")

    return lambda: monkeypatch.setattr(Teacher, "forward", forward)


def test_a_replayed_run_is_the_run_without_a_cache(teacher, tmp_path, silent):
    plain = train(teacher, tmp_path / "plain")
    cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(tmp_path / "cache"), steps=4)
    kept = train(cached, tmp_path / "kept")
    names = sorted(path.name for path in (tmp_path / "cache" / "0_of_1").iterdir())
    assert names == ["00000000.safetensors", "00000004.safetensors"]
    silent()
    assert same(train(cached, tmp_path / "replayed"), plain) and same(kept, plain)
    train(cached, tmp_path / "other", config="aux_sws")  # another method, the same images

    with pytest.raises(LearngeneError, match="the images of step 0 are not those whose outputs are kept"):
        train(cached, tmp_path / "seed", seed=1)
    others = [
        dict(train_dataloader__batch_size=24),
        dict(flipped=True),
        dict(model__train_cfg=dict(augments=[dict(type="Mixup", alpha=0.2)])),
        dict(data_preprocessor__mean=[77.0]),
        dict(train_dataloader__dataset__split="test"),
    ]
    for number, other in enumerate(others):
        with pytest.raises(LearngeneError, match="the images of step 0 are not those"):
            train(cached, tmp_path / str(number), **other)
    checkpoint, moved = Path(teacher["checkpoint"]), tmp_path / "moved.pth"
    checkpoint.rename(moved)
    assert same(train(cached, tmp_path / "alone"), plain)  # a replay needs no teacher
    torch.save({"state_dict": {}}, checkpoint)
    with pytest.raises(LearngeneError, match="has weights=.*; expected another folder"):
        train(cached, tmp_path / "weights")
    moved.rename(checkpoint)
    with pytest.raises(LearngeneError, match="has top_k=None, not 3; expected another folder"):
        train({**cached, "top_k": 3}, tmp_path / "k")
    file = tmp_path / "cache" / "0_of_1" / names[1]
    whole = file.read_bytes()
    file.write_bytes(whole[:50])  # the second file, and yet it is told before anything is built
    with pytest.raises(LearngeneError, match="00000004.safetensors is damaged"):
        CachedTeacher(teacher, str(tmp_path / "cache"), steps=4)
    cfg = Config(dict(model=dict(teacher=cached)))
    with pytest.raises(LearngeneError, match=r"is damaged.* The config has it as model.teacher: .*teacher.folder=FOLD"):
        check_teachers(cfg)
    file.write_bytes(whole)
    check_teachers(cfg)
    checkpoint.rename(moved)
    with pytest.raises(LearngeneError, match="no such file.* The config has it as model.teacher.teacher: "):
        check_teachers(cfg)
    moved.rename(checkpoint)


@pytest.mark.parametrize("killed_at", [3, 4])
def test_a_run_that_is_killed_and_resumed_is_exact_with_a_cache(killed_at, teacher, tmp_path):
    """It goes on with step 3, in the middle of a file, which is kept or not: one that the killed run has begun, one
    that lacks what a resumed run could not keep, and one that has all.
    """

    def cached(name):
        return dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(tmp_path / name), steps=2)

    plain = train(teacher, tmp_path / "plain")
    checkpoints = dict(default_hooks__checkpoint=dict(type="mmlearngene.SafeCheckpointHook", interval=1))
    for name in ("new", "new", "whole"):
        if name == "whole":
            train(cached(name), tmp_path / "first")
        run = tmp_path / f"{name}_{len(list(tmp_path.iterdir()))}"
        with pytest.raises(KeyboardInterrupt):
            train(cached(name), run, hooks=[dict(type=Killed, at=killed_at)], **checkpoints)
        assert same(train(cached(name), run, resume=True, **checkpoints), plain)


class Killed(Hook):
    """Ends a run after some steps."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            raise KeyboardInterrupt


def test_one_pixel_by_one_and_the_order_of_images_are_noticed(tmp_path, monkeypatch):
    pixels = torch.randint(0, 255, (6, 3, 32, 48)).float()
    images = (pixels - 124) / 57
    marks = _marks(images)
    assert len(marks.unique()) == 6 and torch.equal(_marks(images.clone()), marks)
    for channel, row, column in [(0, 0, 0), (2, 31, 47), (1, 7, 20)]:
        changed = pixels.clone()
        changed[3, channel, row, column] += 1
        assert (_marks((changed - 124) / 57) == marks).tolist() == [True] * 3 + [False] + [True] * 2
        monkeypatch.setattr(Step, "current", lambda: Step(0, 0, 9))
        first, again = (CachedTeacher(dict(type="x"), str(tmp_path / f"{channel}"), steps=1) for _ in range(2))
        first.teacher = lambda inputs, preprocessor: inputs.mean((2, 3))
        assert torch.equal(first(images, None), again(images, None))
        with pytest.raises(LearngeneError, match="the images of step 0 are not those"):
            again((changed - 124) / 57, None)
    assert not (_marks(images.flip(-1)) == marks).any() and torch.equal(_marks(images.flip(0)), marks.flip(0))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_not_kept(wrong, tmp_path, monkeypatch):
    cached = CachedTeacher(dict(type="x"), str(tmp_path), steps=1)
    cached.teacher = lambda inputs, preprocessor: torch.tensor([[1.0, wrong]])
    monkeypatch.setattr(Step, "current", lambda: Step(0, 0, 9))
    with pytest.raises(RunStopped, match=r"outputs at step 0 are not finite.* What to do"):
        cached(torch.ones(1, 1, 2, 2), None)
    assert not cached.folder.exists()
    cached._keep(Step(0, 0, 9), {"values": torch.tensor([[wrong]]), "marks": _marks(torch.ones(1, 1, 2, 2))})
    with pytest.raises(LearngeneError, match="has outputs that are not finite; remove it"):
        CachedTeacher(dict(type="x"), str(tmp_path), steps=1)(torch.ones(1, 1, 2, 2), None)


def test_a_full_disk_is_told_in_a_line(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    cached = CachedTeacher(dict(type="x"), str(tmp_path), steps=1)
    with pytest.raises(RunStopped, match="00000000.safetensors could not be written .No space left.*--resume"):
        cached._keep(Step(0, 0, 9), {"marks": torch.ones(1)})
    assert not any(cached.folder.iterdir())


def test_a_run_on_the_largest_outputs_is_replayed_too(teacher, tmp_path, silent):
    cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(tmp_path / "cache"), top_k=3)
    kept = train(cached, tmp_path / "kept")
    silent()
    assert same(train(cached, tmp_path / "replayed"), kept)


def test_a_run_that_is_resumed_within_a_file_keeps_whole_files_only(tmp_path):
    """A file that lacks steps would be taken for all that there is to know of them."""
    cached = CachedTeacher(dict(type="x"), str(tmp_path), steps=3)
    for iteration in range(2, 9):
        cached._keep(Step(0, iteration, 9), {"values": torch.ones(1), "marks": torch.ones(1)})
    assert sorted(path.name for path in cached.folder.iterdir()) == ["00000003.safetensors", "00000006.safetensors"]
    assert cached._kept(2) is None and cached._kept(5).keys() == {"values", "marks"}


@pytest.mark.parametrize("top_k", [None, 1, 3, 10])
def test_the_largest_logits_and_the_sum_of_the_others_are_kept(top_k):
    logits = 5 * torch.randn(7, 10)
    kept = compressed(logits, top_k)
    found = restored(kept)
    if top_k in (None, 10):
        assert torch.equal(found, logits)
    largest = logits.topk(top_k or 10).indices
    assert torch.equal(found.gather(1, largest), logits.gather(1, largest))
    probabilities, expected = found.softmax(-1), logits.softmax(-1)
    torch.testing.assert_close(probabilities.gather(1, largest), expected.gather(1, largest))
    torch.testing.assert_close(F.cross_entropy(found, largest[:, 0]), F.cross_entropy(logits, largest[:, 0]))
    assert (
        kept["classes"].dtype == torch.int16 and compressed(torch.zeros(1, 40_000), 2)["classes"].dtype == torch.int32
    )


def test_tokens_are_not_kept_and_wrong_numbers_refused(teacher, tmp_path):
    cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(tmp_path))
    student = Config.fromfile(CONFIGS / "demo/aux_tleg.py").model.student
    with pytest.raises(LearngeneError, match="keeps logits, not tokens"):
        LearngeneDistiller(student, cached, features=[dict(type="mmlearngene.ProteusLoss")])
    with pytest.raises(LearngeneError, match="top_k=0 must be 1 or more"):
        CachedTeacher(dict(type="x"), str(tmp_path), top_k=0)
