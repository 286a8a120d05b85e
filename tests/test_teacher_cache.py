"""The teacher cache: a replayed run is the run that kept, bit for bit."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn import functional as F

from mmlearngene import LearngeneError
from mmlearngene.models import LearngeneDistiller
from mmlearngene.models.sizes import Step
from mmlearngene.models.teacher_cache import CachedTeacher, bytes_per_image, compressed, restored
from mmlearngene.models.teachers import Teacher
from mmlearngene.registry import MODELS

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> dict:
    cfg = Config.fromfile(CONFIGS / "demo/ancestry.py")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"state_dict": MODELS.build({**cfg.model, "_scope_": "mmpretrain"}).state_dict()}, path)
    return dict(type="mmlearngene.ClassifierTeacher", config=str(CONFIGS / "demo/ancestry.py"), checkpoint=str(path))


def train(
    teacher: dict, work_dir: Path, seed: int = 0, config: str = "aux_tleg", batch_size: int = 16, flipped=False
) -> dict:
    """The weights after two epochs of three steps, with mixup."""
    cfg = Config.fromfile(CONFIGS / f"demo/{config}.py")
    cfg.model.teacher = teacher
    cfg.model.train_cfg = dict(augments=[dict(type="Mixup", alpha=0.8)])
    cfg.model.student.learngene.update(aux="h2-l8")
    cfg.train_dataloader.dataset.indices = 48
    cfg.train_dataloader.batch_size = batch_size
    if flipped:
        cfg.train_dataloader.dataset.pipeline.insert(-1, dict(type="mmpretrain.RandomFlip", prob=1.0))
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.param_scheduler, cfg.custom_hooks = [], []
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
    with pytest.raises(LearngeneError, match="the images of step 0 are not those"):
        train(cached, tmp_path / "batch", batch_size=24)
    with pytest.raises(LearngeneError, match="the images of step 0 are not those"):
        train(cached, tmp_path / "flipped", flipped=True)
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
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(LearngeneError, match="00000004.safetensors is damaged"):
        train(cached, tmp_path / "damaged")


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


def test_its_bytes():
    assert bytes_per_image(1000, 10) == 10 * (4 + 2) + 4 + 4
    assert bytes_per_image(1000) == 1000 * (4 + 2) + 4 + 4


def test_tokens_are_not_kept_and_wrong_numbers_refused(teacher, tmp_path):
    cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(tmp_path))
    student = Config.fromfile(CONFIGS / "demo/aux_tleg.py").model.student
    with pytest.raises(LearngeneError, match="keeps logits, not tokens"):
        LearngeneDistiller(student, cached, features=[dict(type="mmlearngene.ProteusLoss")])
    with pytest.raises(LearngeneError, match="top_k=0 must be 1 or more"):
        CachedTeacher(dict(type="x"), str(tmp_path), top_k=0)
