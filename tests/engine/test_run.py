"""What a first user meets: missing data and weights, own classes, runs of any length, a machine without a GPU."""

import contextlib
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from PIL import Image

from mmlearngene import LearngeneError
from mmlearngene.datasets.data_check import FILES, check_data, plain_datasets
from mmlearngene.engine.run import launch
from mmlearngene.engine.run.classes import follow_classes
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.engine.run.init_check import check_teachers, drop_pretrained
from mmlearngene.engine.run.launch import use_folder
from mmlearngene.engine.run.schedule import fit_schedule
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.models import TimmTeacher, pretrained
from mmlearngene.registry import MODELS

from ..support.processes import ENV, ROOT, Script

CONFIGS = ROOT / "configs"


def tool(name, *arguments):
    """Run a tool; its status and its lines."""
    done = Script(f"tools/{name}", *arguments).result()
    return done.returncode, done.stdout.splitlines()


def class_folders(root: Path, names: str, images: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        for number in range(images):
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return root


# ---------------------------------------------------------------- data


def refused(cfg, loaders=("train_dataloader",)):
    with pytest.raises(LearngeneError) as error:
        check_data(cfg, loaders)
    assert "\n" not in str(error.value) and "docs/data_sets.md" in str(error.value)
    return str(error.value)


def with_data(dataset):
    return Config(dict(default_scope="mmpretrain", train_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize(
    "config, missing, advice",
    [
        ("lets/des", "data/imagenet/train", "put train and val of ILSVRC2012"),
        ("ancestry/deit", "data/imagenet/train", "train_dataloader.dataset.data_root=FOLDER"),
    ],
)
def test_missing_images_of_the_configs_are_named(config, missing, advice, tmp_path, monkeypatch):
    cfg = Config.fromfile(CONFIGS / f"{config}.py")
    monkeypatch.chdir(tmp_path)
    message = refused(cfg)
    assert f"{tmp_path}/{missing} was looked for" in message and advice in message


def test_cifar_is_looked_for_and_downloaded_on_request_only(tmp_path, monkeypatch):
    cfg = Config.fromfile(CONFIGS / "_base_/datasets/cifar100_224.py")
    cfg.default_scope = "mmpretrain"
    cfg.merge_from_dict({"train_dataloader.dataset.data_root": str(tmp_path)})
    message = refused(cfg)
    assert f"{tmp_path}/cifar-100-python" in message and "train_dataloader.dataset.download=True" in message
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "meta").touch()
    assert f"{folder}/train was looked for" in refused(cfg)
    (folder / "train").touch()
    check_data(cfg, ("train_dataloader",))
    (folder / "train").unlink()
    cfg.train_dataloader.dataset.download = True
    check_data(cfg, ("train_dataloader",))


@pytest.mark.parametrize(
    "config, root, missing",
    [
        ("lets/des_h6_l12_food101.py", "food-101", "meta/train.txt"),
        ("lets/des_h6_l12_cars196.py", "stanfordcars", "cars_annos.mat"),
        ("cluster/des_s_h6_l6_flowers102.py", "flowers-102", "imagelabels.mat"),
        ("cluster/des_s_h6_l6_cub200.py", "CUB_200_2011", "images.txt"),
    ],
)
def test_the_files_of_transfer_sets_are_looked_for(config, root, missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(CONFIGS / config)
    kind = cfg.train_dataloader.dataset.type
    assert f"{kind}: {tmp_path}/data/{root}/{missing} was looked for and is missing" in refused(cfg)
    for files in FILES[kind][-1]:
        path = tmp_path / "data" / root / files
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    check_data(cfg)


def test_a_list_of_images_is_read(tmp_path):
    """iNaturalist's way, and any set's with an ann_file."""
    dataset = dict(type="CustomDataset", data_root=str(tmp_path), ann_file="meta/train.txt")
    assert f"{tmp_path}/meta/train.txt was looked for" in refused(with_data(dataset))
    listed = tmp_path / "meta" / "train.txt"
    listed.parent.mkdir()
    listed.write_text("\n")
    assert f"{listed} is empty" in refused(with_data(dataset))
    class_folders(tmp_path / "a b", "c")
    listed.write_text("a b/c/0.png 0\na b/c/9.png 0\n")
    assert f"{tmp_path}/a b/c/9.png was looked for" in refused(with_data(dataset))
    listed.write_text("a b/c/0.png 0\na b/c/1.png 0\n")
    check_data(with_data(dataset), ("train_dataloader",))
    listed.write_text("a b/c/0.png 0\n" * 3 + "a b/c/9.png 0\n" + "a b/c/0.png 0\n" * 296)
    assert f"{tmp_path}/a b/c/9.png was looked for" in refused(with_data(dataset))  # of 300 lines, every third


def test_the_sets_in_a_config_are_those_without_a_set_inside():
    one, two = dict(type="A"), dict(type="B")
    both = dict(type="ConcatDataset", datasets=[dict(type="RepeatDataset", dataset=one), two])
    assert list(plain_datasets(both)) == [one, two] and list(plain_datasets({})) == []


def test_a_folder_without_images_is_told_also_below_a_wrapper(tmp_path):
    dataset = dict(type="RepeatDataset", times=2, dataset=dict(type="CustomDataset", data_root=str(tmp_path)))
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").touch()
    assert f"no image (.bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif) in 1 class folders in {tmp_path}" in refused(
        with_data(dataset)
    )
    class_folders(tmp_path, ["cat"])
    check_data(with_data(dataset), ("train_dataloader",))


@pytest.mark.parametrize("name, more", [("train.py", []), ("test.py", [__file__])])
def test_the_tools_say_it_in_one_line(name, more, tmp_path):
    """As typed."""
    options = ["--cfg-options", "model.init_cfg=None", f"train_dataloader.dataset.data_root={tmp_path}/none"]
    options += [f"test_dataloader.dataset.data_root={tmp_path}/none", f"work_dir={tmp_path}/run"]
    done = subprocess.run(
        [f"tools/{name}", "configs/lets/des.py", *more, *options],
        cwd=ROOT,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 2 and lines[-1].startswith(f"{name}: error: ImageNet: {tmp_path}/none")
    assert not [line for line in lines if "Traceback" in line] and not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", [True, False])
def test_several_processes_are_started_once_one_has_looked(missing, tmp_path, monkeypatch, capsys):
    """So eight of them take as long as one to say what is missing."""
    started = []
    monkeypatch.setattr("torch.distributed.run.run", lambda args: started.append(os.environ.get(launch.CHECKED)))
    monkeypatch.setattr(MMLogger.get_current_instance(), "level", 0)
    for name in ("LOCAL_RANK", launch.CHECKED):
        monkeypatch.setenv(name, "")  # what is set meanwhile goes with it
        monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT)
    teacher = tmp_path / "none.pth" if missing else __file__
    arguments = ["configs/demo/aux_lets.py", "--cfg-options", f"model.teacher.checkpoint={teacher}"]
    monkeypatch.setattr(sys, "argv", ["tools/dist_run.py", "8", "tools/train.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("tools/dist_run.py", run_name="__main__")
    error = capsys.readouterr().err
    if missing:
        assert end.value.code == 2 and not started
        assert error.splitlines()[-1].startswith(f"train.py: error: no such file: {teacher}")
    else:
        assert end.value.code == 0 and started == [str(os.getpid())] and "error" not in error


@pytest.mark.parametrize("variable, looks", [(None, True), ("LOCAL_RANK", False), (launch.CHECKED, False)])
def test_one_process_of_a_machine_looks(variable, looks, monkeypatch):
    """The first, also where another launcher has started it; none where tools/dist_run.py has looked."""
    for name in ("LOCAL_RANK", launch.CHECKED):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    monkeypatch.chdir(ROOT)
    missing = "model.teacher.checkpoint=none.pth"
    monkeypatch.setattr(sys, "argv", ["train.py", "configs/demo/aux_lets.py", "--cfg-options", missing])
    load = runpy.run_path("tools/train.py")["load"]
    with pytest.raises(LearngeneError, match="no such file: none.pth") if looks else contextlib.nullcontext():
        load()


def test_the_tools_can_be_typed_as_the_pages_write_them():
    pages = "".join((ROOT / page).read_text() for page in ("docs/use.md", "docs/train.md"))
    typed = set(re.findall(r"^    (tools/\S+)", pages, re.MULTILINE))
    assert {"tools/train.py", "tools/test.py", "tools/dist_train.sh"} <= typed
    for name in typed:
        assert os.access(ROOT / name, os.X_OK) and (ROOT / name).read_text().startswith("#!/usr/bin/env "), name


@pytest.mark.parametrize(
    "arguments, line",
    [
        ([], "train.py: error: the following arguments are required: config"),
        (
            ["x.py", "--cfg-options", "epochs", "3"],
            "train.py: error: argument --cfg-options: expected key=value, as in",
        ),
        (["x.py", "--cfg-options", "=3"], "train.py: error: argument --cfg-options: expected key=value, as in"),
    ],
)
def test_arguments_that_are_none_are_told_in_one_line(arguments, line):
    status, lines = tool("train.py", *arguments)
    assert status == 2 and lines[-1].startswith(line) and "usage" not in lines[0]


def test_a_config_that_is_not_there_is_told_with_the_nearest():
    status, lines = tool("train.py", "configs/lets/aux_deit_d.py")
    assert status == 2
    assert lines[-1] == (
        "train.py: error: no such file: configs/lets/aux_deit_d.py; did you mean configs/lets/aux_deit_b.py?"
    )


# ---------------------------------------------------------------- teachers


def teacher_refused(**settings):
    cfg = Config(dict(model=dict(teacher=dict(type="mmlearngene.TimmTeacher", **settings))))
    with pytest.raises(LearngeneError) as error:
        check_teachers(cfg)
    assert "\n" not in str(error.value) and "--cfg-options model.teacher.checkpoint=FILE" in str(error.value)
    return str(error.value)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, and a server that nobody reaches."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(pretrained, "_answers", lambda url: False)
    return tmp_path / "hub"


def test_weights_that_cannot_be_had_are_told_with_the_cache_and_the_option(no_network):
    message = teacher_refused(model_name="levit_384", pretrained=True)
    assert f"'levit_384' are not in the cache {no_network}" in message and "cannot be reached" in message
    with pytest.raises(LearngeneError, match="not in the cache"):  # nor does it try when it is built
        TimmTeacher("levit_384", pretrained=True)


def test_a_name_server_that_is_silent_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(pretrained, "_SECONDS", 0.2)
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: time.sleep(60))
    begin = time.monotonic()
    assert not pretrained._answers("https://example.org/x")
    assert time.monotonic() - begin < 30


def test_cached_weights_and_a_server_that_answers_are_enough(no_network, monkeypatch):
    check = dict(model=dict(teacher=dict(type="mmlearngene.TimmTeacher", model_name="levit_384", pretrained=True)))
    monkeypatch.setattr(pretrained, "_answers", lambda url: url.startswith("https://huggingface.co/timm/levit_384"))
    check_teachers(Config(check))
    monkeypatch.setattr(pretrained, "_answers", lambda url: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: f"/cache/{file}")
    check_teachers(Config(check))


def test_other_teachers_that_cannot_be(tmp_path, no_network):
    assert "no model 'levit_385'; nearest: levit_384" in teacher_refused(model_name="levit_385", pretrained=True)
    without = min(set(timm.list_models()) - {name.split(".")[0] for name in timm.list_models(pretrained=True)})
    assert f"timm has no weights of '{without}'" in teacher_refused(model_name=without, pretrained=True)
    assert "needs weights" in teacher_refused(model_name="levit_384")
    assert "no such file" in teacher_refused(model_name="levit_384", checkpoint=str(tmp_path / "none.pth"))
    for settings, lost in (
        (dict(config=str(tmp_path / "c.py"), checkpoint=__file__), "c.py"),
        (dict(config=dict(type="x"), checkpoint=str(tmp_path / "none.pth")), "none.pth"),
    ):
        cfg = Config(dict(model=dict(teacher=dict(type="mmlearngene.ClassifierTeacher", **settings))))
        with pytest.raises(LearngeneError, match=f"no such file: .*{lost}"):
            check_teachers(cfg)


def test_a_checkpoint_alone_is_enough(tmp_path):
    """The configs say pretrained=True; a file goes before it."""
    model = timm.create_model("test_vit")
    torch.save(model.state_dict(), tmp_path / "t.pth")
    teacher = TimmTeacher("test_vit", pretrained=True, checkpoint=str(tmp_path / "t.pth"))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in teacher.model.state_dict().items())


# ---------------------------------------------------------------- classes of one's own


def numbers(node):
    """Every num_classes below, teachers included."""
    if isinstance(node, dict):
        own = [node["num_classes"]] if "num_classes" in node else []
        return own + [number for child in node.values() for number in numbers(child)]
    return [number for child in node for number in numbers(child)] if isinstance(node, list) else []


def own_set(cfg, tmp_path, train="abcde", val="abcde"):
    for loader, names in (("train_dataloader", train), ("val_dataloader", val), ("test_dataloader", val)):
        root = class_folders(tmp_path / loader, names, images=1)
        cfg[loader].dataset = dict(type="CustomDataset", data_root=str(root))
    return cfg


def test_the_number_of_classes_follows_from_the_folders(tmp_path):
    cfg = own_set(Config.fromfile(CONFIGS / "lets/aux_deit_b.py"), tmp_path)
    cfg.model.teacher.checkpoint = "own.pth"
    follow_classes(cfg)
    assert cfg.model.student.learngene.num_classes == cfg.model.teacher.num_classes == 5
    assert set(numbers(cfg.model.to_dict())) == {5} and cfg.data_preprocessor.num_classes == 5


def test_the_number_of_classes_follows_from_the_set_or_the_option(tmp_path):
    cfg = Config.fromfile(CONFIGS / "lets/des.py")
    follow_classes(cfg)
    assert cfg.model.head.num_classes == 1000  # ImageNet knows its own
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[loader].dataset = dict(type="CustomDataset", data_root=str(tmp_path), ann_file="list.txt")
    follow_classes(cfg)
    assert cfg.model.head.num_classes == 1000  # nobody can tell
    cfg.num_classes = 7
    follow_classes(cfg)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 7
    cfg.num_classes = None
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    cfg.train_dataloader.dataset.classes = str(tmp_path / "names.txt")
    follow_classes(cfg)
    assert cfg.model.head.num_classes == 2
    cfg.train_dataloader.dataset.metainfo = dict(classes=["a", "b", "c"])
    follow_classes(cfg)
    assert cfg.model.head.num_classes == 3


def test_a_segmentors_heads_follow_too(tmp_path):
    cfg = Config.fromfile(CONFIGS / "study/camvid_des.py")
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[loader].dataset.metainfo = dict(classes=["a", "b", "c"])
    follow_classes(cfg)
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3


def test_a_folder_of_ones_own_is_one_option_for_the_whole_chain(tmp_path):
    """The page's four lines, at small size and for one epoch: a teacher, a learngene, a descendant, an evaluation."""
    for split in ("train", "val"):
        class_folders(tmp_path / "mine" / split, "abcdefghij", images=1)
    small = ["train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]
    small += ["val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False", "train_cfg.max_epochs=1"]
    small += ["train_dataloader.batch_size=5"]
    deit = ["model.backbone.patch_size=112"]

    def train(config, name, *options, arch=None):
        size = ["--arch", arch] if arch else []
        arguments = [*size, "--data", tmp_path / "mine", "--work-dir", tmp_path / name, "--cfg-options"]
        status, lines = tool("train.py", config, *arguments, *small, *options)
        assert status == 0, lines[-30:]

    train("configs/ancestry/deit.py", "teacher", *deit, arch="h3-l12")
    page = (ROOT / "docs" / "train.md").read_text()
    text = re.search(r"```python\n(_base_ = .*?)```", page, re.DOTALL)[1]
    text = text.replace("configs/lets", str(CONFIGS / "lets")).replace("work_dirs/ancestry/deit", f"{tmp_path}/teacher")
    (tmp_path / "my_aux.py").write_text(text.replace("epoch_300", "epoch_1"))
    gene = ["learngene=h1-l8", "aux=h3-l16", "patch_size=112"]
    train(tmp_path / "my_aux.py", "aux", *(f"model.student.learngene.{option}" for option in gene))
    learngene = tmp_path / "aux" / "epoch_1.learngene.safetensors"
    train("configs/lets/des.py", "des", f"model.init_cfg.checkpoint={learngene}", *deit, arch="h2-l12")
    state = torch.load(tmp_path / "des" / "epoch_1.pth", weights_only=False)["state_dict"]
    assert state["head.fc.weight"].shape == (10, 128)


def test_a_folder_is_for_classification(tmp_path):
    with pytest.raises(LearngeneError, match="is not of mmpretrain's classification"):
        use_folder(Config.fromfile(CONFIGS / "seg/des_h6_l12_ade20k.py"), tmp_path)


def disagreement(cfg):
    with pytest.raises(LearngeneError) as error:
        follow_classes(cfg)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_disagrees_is_told(tmp_path):
    cfg = own_set(Config.fromfile(CONFIGS / "lets/des.py"), tmp_path / "sets", val="abcd")
    assert "val_dataloader.dataset has 4 classes and train_dataloader.dataset 5" in disagreement(cfg)
    cfg = own_set(Config.fromfile(CONFIGS / "lets/des.py"), tmp_path / "option")
    cfg.num_classes = 6
    assert "train_dataloader.dataset has 5 classes and num_classes 6" in disagreement(cfg)
    cfg = own_set(Config.fromfile(CONFIGS / "lets/aux_deit_b.py"), tmp_path / "teacher")
    assert "model.teacher has 1000 classes and train_dataloader.dataset 5" in disagreement(cfg)
    cfg.model.teacher.update(checkpoint="own.pth", num_classes=8)
    assert "model.teacher has 8 classes" in disagreement(cfg)
    cfg.model.teacher = dict(
        type="mmlearngene.ClassifierTeacher", config=str(CONFIGS / "demo/ancestry.py"), checkpoint="own.pth"
    )
    assert "model.teacher has 10 classes" in disagreement(cfg)


# ---------------------------------------------------------------- runs of any length


def gene_file(tmp_path):
    digits = dict(head_dim=16, img_size=8, patch_size=2, in_channels=1, num_classes=10)
    gene = LeTs("h3-l4", "h6-l8", groups=2, **digits)
    return gene.save(tmp_path / "gene.learngene.safetensors")


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 100])
def test_schedules_hold_for_any_length(epochs, tmp_path):
    for name in ("lets/aux_deit_b", "lets/des", "ancestry/deit", "study/camvid_ancestry", "demo/ancestry"):
        cfg = Config.fromfile(CONFIGS / f"{name}.py")
        cfg.merge_from_dict({"train_cfg.max_epochs": epochs, "work_dir": str(tmp_path)})
        fit_schedule(cfg)
        schedulers = cfg.param_scheduler or []
        assert (len(schedulers) > 0) == (epochs > 0)
        for scheduler in schedulers:
            assert 0 <= scheduler.get("begin", 0) < scheduler.get("end", epochs) <= epochs
        hooks = [hook.type for hook in cfg.get("custom_hooks") or []]
        assert ("mmlearngene.InitialValHook" in hooks) == (epochs == 0)


def test_schedules_over_iterations_hold_too(tmp_path):
    cfg = Config.fromfile(CONFIGS / "seg/des_h6_l12_ade20k.py")
    cfg.merge_from_dict({"train_cfg.max_iters": 1500, "work_dir": str(tmp_path)})
    fit_schedule(cfg)
    assert [s.to_dict() for s in cfg.param_scheduler] == [
        dict(type="PolyLR", eta_min=0.0, power=1.0, begin=0, end=1500, by_epoch=False)
    ]
    cfg = Config.fromfile(CONFIGS / "seg/des_h6_l12_ade20k.py")
    cfg.merge_from_dict({"train_cfg.max_iters": 2000, "work_dir": str(tmp_path)})
    fit_schedule(cfg)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 1500), (1500, 2000)]


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_tool_trains_one_epoch_and_evaluates_at_0(epochs, tmp_path):
    options = [f"model.init_cfg.checkpoint={gene_file(tmp_path)}", f"train_cfg.max_epochs={epochs}"]
    options += ["train_dataloader.dataset.indices=64", "default_hooks.checkpoint.save_best=auto"]
    status, lines = tool(
        "train.py", "configs/demo/des.py", "--arch", "h4-l6", "--work-dir", tmp_path, "--cfg-options", *options
    )
    assert status == 0, lines[-30:]
    found = [line for line in lines if "accuracy/top1" in line and "Epoch(val)" in line]
    assert len(found) == epochs + 1
    assert (tmp_path / "epoch_1.pth").exists() == bool(epochs)


# ---------------------------------------------------------------- norms without a GPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_syncbn_becomes_a_norm_for_any_number_of_images(tmp_path):
    cfg = adapt_to_device(Config.fromfile(CONFIGS / "demo/seg_h4_l6.py"))
    cfg.model.init_cfg = None
    model = MODELS.build({**cfg.model, "_scope_": "mmseg"})
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and all(type(norm).__name__ == "SingleBatchNorm" for norm in norms)
    cfg.train_dataloader.batch_size = 1
    cfg.merge_from_dict({"work_dir": str(tmp_path), "train_cfg.max_iters": 2, "log_level": "WARNING"})
    cfg.experiment_name = "single_batch_norm"
    before = [norm.running_mean.clone() for norm in norms]
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert len(before) == len([m for m in runner.model.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())


def test_the_norm_is_batch_norm_wherever_there_is_a_variance():
    norm = MODELS.build(dict(type="SingleBatchNorm", num_features=3))
    plain = torch.nn.BatchNorm2d(3)
    images = torch.randn(1, 3, 4, 4)
    assert torch.equal(norm(images), plain(images)) and torch.equal(norm.running_var, plain.running_var)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    one = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain(one)
    expected = plain.eval()(one)
    assert torch.equal(norm(one), expected) and torch.equal(norm.running_mean, plain.running_mean)


# ---------------------------------------------------------------- mmsegmentation's own base configs


def test_pretrained_gives_way_to_a_learngene():
    init = dict(type="Learngene", checkpoint="gene.learngene.safetensors")
    base = Config.fromfile(
        Path(__import__("mmseg").__file__).parent / ".mim/configs/_base_/models/segmenter_vit-b16_mask.py"
    )
    cfg = Config(dict(model=base.model))
    assert "vit_base" in cfg.model.pretrained
    drop_pretrained(cfg)
    assert cfg.model.pretrained  # without a learngene it stays
    cfg.model.backbone = dict(type="mmpretrain.VisionTransformer", init_cfg=init, pretrained="x.pth")
    drop_pretrained(cfg)
    assert "pretrained" not in cfg.model and "pretrained" not in cfg.model.backbone
    cfg = Config(
        dict(model=dict(pretrained="x"), custom_hooks=[dict(type="mmlearngene.LearngeneInitHook", checkpoint="g")])
    )
    drop_pretrained(cfg)
    assert "pretrained" not in cfg.model


def test_a_checkpoint_of_another_number_of_classes_is_refused(tmp_path):
    cfg = Config.fromfile(CONFIGS / "demo/ancestry.py")
    cfg.model.head.num_classes = 7
    state = MODELS.build({**cfg.model, "_scope_": "mmpretrain"}).state_dict()
    torch.save(dict(state_dict=state), tmp_path / "seven.pth")
    status, lines = tool("test.py", "configs/demo/ancestry.py", tmp_path / "seven.pth", "--work-dir", tmp_path)
    assert status == 2
    message = f"test.py: error: {tmp_path}/seven.pth does not fit the config: head.fc.weight is (7, 96) there"
    assert lines[-1].startswith(message)
