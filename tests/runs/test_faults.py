"""What a run survives: kills, full disks, numbers that are not finite, a second run in its folder."""

import errno
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, find_latest_checkpoint
from safetensors import SafetensorError

import mmlearngene.engine
import mmlearngene.models  # noqa: F401
from mmlearngene import Learngene, LearngeneError, ViTSpec, load
from mmlearngene.engine import (
    FiniteHook,
    InitialValHook,
    LearngeneExportHook,
    ResumedValHook,
    SeedHook,
)
from mmlearngene.engine.hooks import checkpoints, randomness
from mmlearngene.engine.run import work_dir
from mmlearngene.engine.run.work_dir import hold, set_aside
from mmlearngene.errors import RunStopped
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.registry import MODELS

from ..support.processes import ENV, ROOT, Script, below, running
from ..support.runners import Images, Scores, aux_net, files_in, learngene_in, loader, make_runner, same

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found through /proc")


# ---------------------------------------------------------------- a resumed run ends as an uninterrupted one


class Augmented(Images):
    """Images under noise from all three random number generators."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        noise = torch.randn(3, 8, 8) + float(np.random.rand()) + random.random()
        return {**sample, "inputs": sample["inputs"] + noise}


def augmented(workers):
    sampler = dict(type="InfiniteSampler" if workers[0] == "i" else "DefaultSampler", shuffle=True)
    count = int(workers[1:])
    return dict(dataset=Augmented(), batch_size=2, sampler=sampler, num_workers=count, persistent_workers=count > 0)


def trained(work_dir, kind, steps, seeds=True, resume=False):
    """Weights after a run over epochs ('e2': two workers) or iterations ('i0': none)."""
    cfg = classifier_cfg(ViTSpec.parse("h2-l3", head_dim=4, img_size=8, patch_size=4, num_classes=3))
    cfg["backbone"]["drop_path_rate"] = 0.5
    by_epoch = kind[0] == "e"
    runner = make_runner(
        cfg,
        work_dir,
        [SeedHook()] if seeds else [],
        train_dataloader=augmented(kind),
        train_cfg=dict(by_epoch=True, max_epochs=steps) if by_epoch else dict(by_epoch=False, max_iters=5 * steps),
        default_hooks=dict(checkpoint=dict(type="mmlearngene.SafeCheckpointHook", interval=1, by_epoch=by_epoch)),
        resume=resume,
    )
    return {name: tensor.clone() for name, tensor in runner.train().state_dict().items()}


@pytest.mark.parametrize("kind", ["e0", "e2", "i0", "i2"])
def test_a_resumed_run_is_exact(kind, tmp_path):
    whole = trained(tmp_path / "whole", kind, 3)
    trained(tmp_path / "cut", kind, 1)
    torch.rand(3), np.random.rand(3), random.random()  # whatever happened in between
    assert same(trained(tmp_path / "cut", kind, 3, resume=True), whole)


def test_without_seeds_a_resumed_run_is_another(tmp_path):
    """So the test above can fail."""
    whole = trained(tmp_path / "whole", "i2", 3, seeds=False)
    trained(tmp_path / "cut", "i2", 1, seeds=False)
    assert not same(trained(tmp_path / "cut", "i2", 3, seeds=False, resume=True), whole)


def test_augmentation_does_not_depend_on_the_workers(tmp_path):
    runs = [trained(tmp_path / kind, kind, 2) for kind in ("e0", "e1", "e2")]
    assert same(runs[0], runs[1]) and same(runs[0], runs[2])


def draws():
    return [float(torch.rand(1)), float(np.random.rand()), random.random()]


def test_no_two_places_share_a_seed(monkeypatch):
    """Steps, ranks, rounds, numbers and kinds each have their own random numbers."""

    class Noise(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return draws()

    def sample(seed, rank, turn, number):
        return randomness._Seeded(Noise(), (seed, rank, randomness._SAMPLE))([((turn, number), 0)])[0]

    def step(seed, rank, number):
        runner = type("Runner", (), dict(seed=seed, iter=number))
        monkeypatch.setattr(randomness, "get_rank", lambda: rank)
        SeedHook().before_train_iter(runner, 0)
        return draws()

    assert sample(0, 0, 0, 0) == sample(0, 0, 0, 0) and step(0, 0, 0) == step(0, 0, 0)
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    found = [sample(*place) for place in places] + [step(0, 0, 0), step(1, 0, 0), step(0, 1, 0), step(0, 0, 1)]
    for kind in range(3):
        assert len({numbers[kind] for numbers in found}) == len(found)


def test_places_tell_how_often_the_data_was_gone_through():
    """Iterations over a sampler that ends: its second round is another one, and a resumed run begins where it was."""
    loop = object.__new__(IterBasedTrainLoop)
    loop._epoch = loop._iter = 0
    placed = randomness._Placed([7, 8], loop, 2)
    assert [list(placed) for _ in range(3)] == [[((r, 0), 7), ((r, 1), 8)] for r in range(3)]
    loop._iter = 5
    sampler = type("Skips", (list,), dict(skip=None))([7, 8])
    placed = randomness._Placed(sampler, loop, 2)
    assert list(placed) == [((0, 10), 7), ((0, 11), 8)] and list(placed) == [((1, 0), 7), ((1, 1), 8)]


def test_the_ranks_augment_differently(tmp_path, monkeypatch):
    class Inputs(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.inputs = torch.stack(data_batch["inputs"])

    found = []
    for rank in (0, 1, 0):
        monkeypatch.setattr(randomness, "get_rank", lambda rank=rank: rank)
        hook = Inputs()
        data = {**augmented("e0"), "sampler": dict(type="DefaultSampler", shuffle=False)}
        make_runner(aux_net(), tmp_path, [SeedHook(), hook], epochs=1, train_dataloader=data).train()
        found.append(hook.inputs)
    assert torch.equal(found[0], found[2])
    assert all(not torch.equal(*pair) for pair in zip(found[0], found[1], strict=True))


def test_the_ranks_draw_different_drop_path(monkeypatch):
    drawn = []
    for rank in (0, 1, 0):
        monkeypatch.setattr(randomness, "get_rank", lambda rank=rank: rank)
        SeedHook().before_train_iter(SimpleNamespace(seed=0, iter=3), 0)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


# ---------------------------------------------------------------- NaN and Inf


class Spoil(Hook):
    """Makes something infinite or NaN in one step."""

    def __init__(self, what, step=3):
        self.what, self.step = what, step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.step:
            return
        parameter = runner.model.learngene.pos_embed
        if self.what == "loss":
            data_batch["inputs"][0].fill_(torch.nan)
        elif self.what == "gradient":
            parameter.register_hook(lambda gradient: gradient * torch.inf)
        else:
            parameter.data[0, 0] = torch.inf


@pytest.mark.parametrize(
    "what, message", [("loss", "the loss is nan"), ("gradient", "pos_embed"), ("weight", "(not finite|loss is nan)")]
)
def test_what_is_not_finite_stops_the_run(what, message, tmp_path):
    runner = make_runner(aux_net(), tmp_path, [Spoil(what), FiniteHook(), LearngeneExportHook()], epochs=4)
    with pytest.raises(RunStopped, match=rf"{message}.* after step 4.*last good checkpoint is .*epoch_1.pth"):
        runner.train()
    assert files_in(tmp_path) == {"epoch_1.pth", "epoch_1.learngene.safetensors"}
    load(tmp_path / "epoch_1.learngene.safetensors")


def test_huge_weights_are_finite(tmp_path):
    with torch.no_grad():
        model = MODELS.build(aux_net())
        model.learngene.pos_embed.fill_(1e30)
    runner = types.SimpleNamespace(model=model, work_dir=str(tmp_path), iter=0)
    FiniteHook().after_train_iter(runner, 0)
    model.learngene.pos_embed.data[0, 0] = torch.nan
    with pytest.raises(RunStopped, match="1 weights are not finite, learngene.pos_embed"):
        FiniteHook().after_train_iter(runner, 0)


def test_the_tool_ends_with_status_1_and_no_learngene(tmp_path, teacher):
    done = train(tmp_path / "run", teacher, "optim_wrapper.optimizer.lr=1e30", "param_scheduler=[]")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("train.py: error: ") and "no checkpoint was written yet" in last
    assert not list((tmp_path / "run").glob("*.pth")) and not list((tmp_path / "run").glob("*.safetensors"))


# ---------------------------------------------------------------- checkpoints


def safe(**options):
    return dict(checkpoint=dict(type="mmlearngene.SafeCheckpointHook", **{"interval": 1, **options}))


def test_at_no_moment_is_there_nothing_to_resume_from(tmp_path, monkeypatch):
    """Wherever a kill comes between two changes to the folder, last_checkpoint names a whole file, and so does best."""
    seen = []

    def look():
        last = find_latest_checkpoint(str(tmp_path))
        best = list(tmp_path.glob("best_*.pth"))
        if seen:
            assert last is not None
            torch.load(last, weights_only=False)
            assert best or not seen[-1][1]
        seen.append((last, bool(best))) if last else None

    def watched(change):
        def changed(*args):
            change(*args)
            look()

        return changed

    monkeypatch.setattr(os, "replace", watched(os.replace))
    monkeypatch.setattr(checkpoints.WholeFileBackend, "remove", watched(checkpoints.WholeFileBackend.remove))
    make_runner(
        aux_net(),
        tmp_path,
        [LearngeneExportHook()],
        epochs=4,
        default_hooks=safe(max_keep_ckpts=1, save_best="score", rule="greater"),
        val_dataloader=loader(),
        val_cfg={},
        val_evaluator=Evaluator(Scores(1, 2, 1, 3)),
    ).train()
    assert len(seen) > 12
    names = ("epoch_4", "best_score_epoch_4")
    assert files_in(tmp_path) == {f"{name}{end}" for name in names for end in (".pth", ".learngene.safetensors")}


class Killed(BaseException):
    """Nothing in a run is prepared for it, as for SIGKILL."""


class ScoreOfEpoch(Scores):
    """The score that an epoch has, whichever process validates it."""

    def compute_metrics(self, results):
        return dict(score=self.scores[self.runner.epoch - 1])


def test_wherever_the_kill_comes_the_same_files_are_there_at_the_end(tmp_path, monkeypatch):
    """A run is ended after its n-th change to the folder, for every n, and resumed."""

    def run(folder, end_after=None):
        changes = 0

        def counted(change):
            def changed(path, *args, **kwargs):
                nonlocal changes
                change(path, *args, **kwargs)
                changes += str(path).startswith(str(folder))
                if changes == end_after:
                    raise Killed

            return changed

        with monkeypatch.context() as context:
            for name in ("replace", "remove", "unlink"):
                context.setattr(os, name, counted(getattr(os, name)))
            metric = ScoreOfEpoch(1, 3, 2)
            metric.runner = make_runner(
                aux_net(),
                folder,
                [SeedHook(), LearngeneExportHook(), ResumedValHook()],
                epochs=3,
                default_hooks=safe(max_keep_ckpts=1, save_best="score", rule="greater"),
                resume=bool((folder / "last_checkpoint").exists()),
                val_dataloader=loader(),
                val_cfg={},
                val_evaluator=Evaluator(metric),
            )
            metric.runner.train()
        return changes

    def contents(folder):
        genes = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
        return genes, {name: learngene_in(folder / name) for name in files_in(folder) if name.endswith(".pth")}

    changes = run(tmp_path / "whole")
    assert changes > 12
    genes, checkpoints = contents(tmp_path / "whole")
    assert checkpoints.keys() == {"epoch_3.pth", "best_score_epoch_2.pth"}
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        with pytest.raises(Killed):
            run(folder, number)
        run(folder)
        found = contents(folder)
        assert found[0] == genes and found[1].keys() == checkpoints.keys(), number
        assert all(same(state, found[1][name]) for name, state in checkpoints.items())


def test_the_same_checkpoints_are_kept_as_by_mmengine(tmp_path):
    options = dict(max_keep_ckpts=2, save_best="score", rule="greater")
    for name, kind in (("own", "mmlearngene.SafeCheckpointHook"), ("mmengine", "CheckpointHook")):
        for epochs, scores in ((3, (1, 3, 2)), (5, (4, 3))):
            make_runner(
                aux_net(),
                tmp_path / name,
                epochs=epochs,
                default_hooks=dict(checkpoint=dict(type=kind, interval=1, **options)),
                resume=epochs > 3,
                val_dataloader=loader(),
                val_cfg={},
                val_evaluator=Evaluator(Scores(*scores)),
            ).train()
    assert files_in(tmp_path / "own") == files_in(tmp_path / "mmengine")
    assert len(files_in(tmp_path / "own")) == 3


def test_a_learngene_that_a_kill_has_cost_is_written_by_the_resumed_run(tmp_path):
    make_runner(aux_net(), tmp_path, [LearngeneExportHook()], epochs=1).train()
    gene = tmp_path / "epoch_1.learngene.safetensors"
    first = load(gene)
    gene.unlink()
    make_runner(aux_net(), tmp_path, [LearngeneExportHook()], epochs=2, resume=True).train()
    assert same(load(gene).state_dict(), first.state_dict())
    assert load(gene).provenance == first.provenance
    assert same(load(gene).state_dict(), learngene_in(tmp_path / "epoch_1.pth"))


@pytest.mark.parametrize("count", [0, 1])
def test_a_resumed_run_makes_up_for_a_validation(count, tmp_path):
    """The best checkpoint is the same, whether or not the killed run had come to validate its last epoch."""

    def run(epochs, scores, resume=False):
        make_runner(
            aux_net(),
            tmp_path,
            [ResumedValHook()],
            epochs,
            default_hooks=safe(save_best="score", rule="greater"),
            resume=resume,
            val_dataloader=loader(),
            val_cfg={},
            val_evaluator=Evaluator(Scores(*scores)),
        ).train()

    if count:
        run(1, [5])
    else:
        make_runner(aux_net(), tmp_path, epochs=1, default_hooks=safe()).train()
    run(2, [5, 3], resume=True)
    assert {path.name for path in tmp_path.glob("best_*")} == {"best_score_epoch_1.pth"}


@pytest.mark.parametrize("kind", ["epoch", "iter"])
def test_only_a_validation_that_was_due_is_made_up_for(kind):
    validated = []
    for done in range(8):
        loop = object.__new__(EpochBasedTrainLoop if kind == "epoch" else IterBasedTrainLoop)
        setattr(loop, f"_{kind}", done)
        setattr(loop, f"_max_{kind}s", 7)
        loop.val_begin, loop.val_interval = 3, 2
        validation = types.SimpleNamespace(run=lambda done=done: validated.append(done))
        ResumedValHook().before_train(types.SimpleNamespace(train_loop=loop, val_loop=validation))
    assert validated == [4, 6, 7]


def test_the_first_validation_may_be_the_best(tmp_path):
    make_runner(
        aux_net(),
        tmp_path,
        [InitialValHook(), LearngeneExportHook()],
        epochs=1,
        default_hooks=safe(save_best="score", rule="greater"),
        val_dataloader=loader(),
        val_cfg={},
        val_evaluator=Evaluator(Scores(2, 1)),
    ).train()
    names = ("epoch_1", "best_score_epoch_0")
    assert files_in(tmp_path) == {f"{name}{end}" for name in names for end in (".pth", ".learngene.safetensors")}


# ---------------------------------------------------------------- a full disk


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken(*args, **kwargs):
    raise SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("place", ["checkpoint", "rename", "learngene"])
def test_a_full_disk_costs_nothing(place, tmp_path, monkeypatch):
    """The path is named, nothing half written is left, and with room again the run goes on as if nothing had been."""

    def run(folder, epochs, resume=False):
        hooks = [LearngeneExportHook(), SeedHook()]
        make_runner(aux_net(), folder, hooks, epochs, default_hooks=safe(max_keep_ckpts=1), resume=resume).train()

    run(tmp_path / "whole", 3)
    folder = tmp_path / "cut"
    run(folder, 1)
    before = files_in(folder)
    with monkeypatch.context() as context:
        replace = os.replace

        def full_for_checkpoints(source, target):
            full() if str(target).endswith(".pth") else replace(source, target)

        target = {"checkpoint": (os, "fsync", full), "rename": (os, "replace", full_for_checkpoints)}
        context.setattr(*target.get(place, (Learngene, "save", broken)))
        name = "epoch_2.learngene.safetensors" if place == "learngene" else "epoch_2.pth"
        with pytest.raises(RunStopped, match=rf"{folder}/{name} could not be written \(.*No space left.*--resume"):
            run(folder, 3, resume=True)
    assert files_in(folder) == (before if place != "learngene" else before - {"epoch_1.pth"} | {"epoch_2.pth"})
    assert not list(folder.glob(".*.tmp"))
    run(folder, 3, resume=True)
    assert files_in(folder) == files_in(tmp_path / "whole")
    for path in folder.glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def mounted(folder, size):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_is_really_full(tmp_path, teacher):
    folder = tmp_path / "small"
    if not mounted(folder, "1m"):
        pytest.skip("mounting a small disk needs root")
    try:
        done = train(folder / "run", teacher)
        assert done.returncode == 1
        last = done.stdout.splitlines()[-1]
        assert last.startswith(f"train.py: error: {folder}/run/") and "No space left" in last
        subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)
        assert train(folder / "run", teacher, flags=["--resume"]).returncode == 0
        assert train(tmp_path / "whole", teacher).returncode == 0
        names = [path.name for path in (tmp_path / "whole").glob("*.learngene.safetensors")]
        assert names == ["epoch_3.learngene.safetensors"]
        assert (folder / "run" / names[0]).read_bytes() == (tmp_path / "whole" / names[0]).read_bytes()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# ---------------------------------------------------------------- one folder, one run

HOLD = """
import os, sys, time
from mmlearngene.engine.run.work_dir import hold
hold(sys.argv[1])
if "stay" in sys.argv:
    os.fork()  # a child, as with data workers, that lives on
    print("holds", flush=True)
    time.sleep(1000)
"""


def test_a_second_run_in_a_folder_is_refused_while_the_first_lives(tmp_path):
    (tmp_path / "hold.py").write_text(HOLD)
    command = [tmp_path / "hold.py", tmp_path / "run"]
    first = Script(*command, "stay")
    try:
        while first.output() != "holds\nholds\n":
            assert first.is_alive(), first.output()
            time.sleep(0.1)
        refused = Script(*command).result()
        assert f"in use by another run (process {first.pid} on {socket.gethostname()})" in refused.stdout
        assert "--work-dir" in refused.stdout
        (tmp_path / "run" / ".epoch_1.pth.tmp").touch()
        os.kill(first.pid, signal.SIGKILL)
        first.result()
        done = Script(*command).result()
        assert done.returncode == 0, done.stdout
        assert not list((tmp_path / "run").glob(".*.tmp"))
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_a_folder_is_held_wherever_it_is_to_be(tmp_path):
    folder = tmp_path / "not" / "there" / "yet"
    hold(folder)
    work_dir._held.pop().close()
    assert (folder / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_a_new_run_puts_the_files_of_an_earlier_one_aside(tmp_path):
    names = {"epoch_2.pth", "epoch_2.learngene.safetensors", "best_x_iter_2.learngene.safetensors", "last_checkpoint"}
    (tmp_path / "mine.learngene.safetensors").touch()

    def fill():
        for name in names:
            (tmp_path / name).write_text("epoch_2.pth")
        (tmp_path / "20260101_000000").mkdir(exist_ok=True)

    fill()
    set_aside(Config(dict(work_dir=str(tmp_path), resume=True)))
    set_aside(Config(dict(work_dir=str(tmp_path), resume=True, load_from="elsewhere.pth")))
    assert names <= {path.name for path in tmp_path.iterdir()}  # the run goes on with them
    for name in ("earlier_1", "earlier_2"):
        fill()
        set_aside(Config(dict(work_dir=str(tmp_path))))
        assert {path.name for path in (tmp_path / name).iterdir()} == names
        assert not names & {path.name for path in tmp_path.iterdir()}
        assert (tmp_path / "mine.learngene.safetensors").exists()
    fill()
    with pytest.raises(LearngeneError, match="epoch_2.pth is in the work dir of the run that starts anew"):
        set_aside(Config(dict(work_dir=str(tmp_path), load_from=str(tmp_path / "epoch_2.pth"))))
    set_aside(Config(dict(work_dir=str(tmp_path / "new"))))


# ---------------------------------------------------------------- several processes


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    cfg = Config.fromfile(ROOT / "configs/demo/ancestry.py")
    torch.save({"state_dict": MODELS.build({**cfg.model, "_scope_": "mmpretrain"}).state_dict()}, path)
    return path


def stage_1(work_dir, teacher, *options, flags=()):
    """Arguments of a training: stage 1 of the demo on little data."""
    cut = [f"model.teacher.checkpoint={teacher}", "train_dataloader.dataset.indices=64"]
    cut += ["val_dataloader.dataset.indices=16", "default_hooks.checkpoint.interval=1", "train_cfg.max_epochs=3"]
    cut += ["param_scheduler=[]"]
    return ["--work-dir", str(work_dir), *flags, "--cfg-options", *cut, *options]


def train(*args, **kwargs):
    return Script("tools/train.py", "configs/demo/aux_lets.py", *stage_1(*args, **kwargs)).result()


def start_two(*args):
    """The same in two processes."""
    command = ["bash", "tools/dist_train.sh", "configs/demo/aux_lets.py", "2", *stage_1(*args)]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@needs_proc
@pytest.mark.parametrize("fault", ["SIGTERM", "a dead rank", "a dead launcher"])
def test_all_processes_end_together(fault, tmp_path, teacher):
    with socket.socket() as taken:  # nor does a port that another program has stand in the way
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 29500))
        except OSError:
            pass  # taken all the same
        process = start_two(tmp_path / "run", teacher, "train_cfg.max_epochs=100000")
        workers = []
        try:
            while not (tmp_path / "run" / "last_checkpoint").exists():
                assert process.poll() is None, process.communicate()[0][-3000:]
                time.sleep(0.1)
            workers = below(process.pid)
            ranks = [pid for pid in workers if "--launcher" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
            assert len(ranks) == 2
            if fault == "SIGTERM":
                process.terminate()
            elif fault == "a dead rank":
                os.kill(ranks[1], signal.SIGKILL)
            else:  # and a dead rank: the other waits for it, and nobody is there to end it
                for pid in (process.pid, ranks[1]):
                    os.kill(pid, signal.SIGKILL)
            output, _ = process.communicate(timeout=600 if fault != "a dead launcher" else 30)
        finally:
            patience = time.monotonic() + 30  # a process closes its output a moment before it is gone
            while (left := running([*workers, process.pid])) and time.monotonic() < patience:
                time.sleep(0.1)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
    assert not left
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    if fault == "a dead launcher":
        assert last == "the process that started this one is gone, so it ends"
    elif fault == "SIGTERM":
        assert process.returncode == 143 and last == "train.py: ended by SIGTERM, with all its processes"
    else:
        assert process.returncode == 1
        assert re.fullmatch(r"train.py: error: process [01] \(pid \d+\) was ended by SIGKILL; so were the others", last)


def test_one_process_of_several_says_one_line_last(tmp_path, teacher):
    hold(tmp_path)  # which only the process that is to write finds out
    process = start_two(tmp_path, teacher)
    output, _ = process.communicate()
    work_dir._held.pop().close()
    assert process.returncode == 2 and "Traceback" not in output
    lines = output.splitlines()
    assert lines[-1].startswith(f"train.py: error: {tmp_path} is in use by another run (process {os.getpid()} ")
    assert sum("in use" in line for line in lines) == 1


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"])
def test_scripts_without_arguments_say_how_they_are_used(script):
    done = subprocess.run(["bash", f"tools/{script}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("usage: ") and f"tools/{script}" in done.stderr and len(done.stderr.splitlines()) == 1
    wrong = subprocess.run(
        ["bash", f"tools/{script}", "c.py", "0", "0"], cwd=ROOT, env=ENV, capture_output=True, text=True
    )
    if not script.startswith("slurm"):
        assert wrong.returncode == 2 and wrong.stderr.endswith("error: 0 processes; expected 1 or more\n")


# ---------------------------------------------------------------- the benchmark of faults


def test_the_benchmark_of_faults(tmp_path):
    """Two of its kinds of runs; another's kill is in test_tools.py."""
    kinds = ["export", "segmentation"]
    options = ["--kills", 1, "--only", *kinds, "--out", tmp_path / "faults.json"]
    done = Script("tools/benchmarks/faults.py", *options).result()
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((tmp_path / "faults.json").read_text())
    assert [result["name"] for result in results] == kinds
    assert all(run["equal"] for result in results for run in result["runs"])


# ---------------------------------------------------------------- the configs


def telling_configs():
    """The first config of every folder, and all that set hooks of their own."""
    folders = {}
    for path in sorted((ROOT / "configs").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if "/_base_/" not in name:
            first = path.parent not in folders
            folders.setdefault(path.parent, []).extend([name] * (first or "default_hooks" in path.read_text()))
    return [name for names in folders.values() for name in names]


@pytest.mark.parametrize("config", telling_configs())
def test_every_config_has_the_hooks_that_keep_a_run(config, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = Config.fromfile(config)
    hooks = {name: hook["type"] for name, hook in cfg.default_hooks.items()}
    kinds = dict(checkpoint="SafeCheckpointHook", seed="SeedHook", finite="FiniteHook", resumed_val="ResumedValHook")
    assert {name: hooks.get(name) for name in kinds} == {name: f"mmlearngene.{kind}" for name, kind in kinds.items()}
