"""The tools as a user starts them: several processes, an interrupted run, bad input."""

import json
import pickle
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner

from mmlearngene import LearngeneError, ViTSpec, build, cli, load
from mmlearngene.datasets.digits import load_split
from mmlearngene.io.checkpoints import load_state_dict
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.recipes import read_sized
from mmlearngene.registry import MODELS

from ..support.processes import ROOT, Script, ranks

AUX = "configs/demo/aux_lets.py"
ELASTIC = "configs/demo/elastic_lets.py"
SANDWICH = [  # several sizes a step, the largest teaches the others
    "model.student.sizes.type=mmlearngene.SandwichSizes",
    "model.student.in_place.share=0.5",
    "model.student.scale_drop_path=True",
]
TRAININGS = [pytest.param(AUX, [], id="one size"), pytest.param(ELASTIC, SANDWICH, id="elastic")]


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> list[str]:
    """Overrides that make the demo's Aux-Net run on its own: a teacher's checkpoint, little data, all losses logged."""
    torch.manual_seed(0)
    teacher = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    cfg = Config.fromfile(ROOT / "configs/demo/ancestry.py")
    torch.save({"state_dict": MODELS.build({**cfg.model, "_scope_": "mmpretrain"}).state_dict()}, teacher)
    return [
        f"model.teacher.checkpoint={teacher}",
        "model.student.backbone.drop_path_rate=0.2",
        "model.train_cfg.augments.type=Mixup",
        "model.train_cfg.augments.alpha=0.8",
        "train_dataloader.dataset.indices=192",
        "val_dataloader.dataset.indices=32",
        "default_hooks.logger.interval=1",
        "default_hooks.checkpoint.interval=1",
        "default_hooks.checkpoint.max_keep_ckpts=-1",
        "train_cfg.max_epochs=3",
    ]


def stage_1(config: str, work_dir: Path, options: list[str], *arguments: str) -> tuple:
    """The command of a training."""
    return ("tools/train.py", config, "--work-dir", work_dir, *arguments, "--cfg-options", *options)


def finish(*processes: Script) -> None:
    for done in [process.result() for process in processes]:
        assert done.returncode == 0, done.stdout[-3000:]


def losses(work_dir: Path) -> list[float]:
    lines = [json.loads(line) for path in work_dir.glob("*/vis_data/scalars.json") for line in path.open()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("config, more", TRAININGS)
def test_two_processes_give_the_loss_of_one_at_the_same_global_batch(tmp_path, options, config, more):
    # without drop-path and mixup, whose random numbers each process draws for itself (test_faults.py)
    options = [o for o in options + more if "drop_path" not in o and "augments" not in o]
    finish(Script(*stage_1(config, tmp_path / "one", options)))
    half = [*options, "train_dataloader.batch_size=16"]
    finish(*ranks(*stage_1(config, tmp_path / "two", half, "--launcher", "pytorch")))
    single, double = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(single) == len(double) == 18
    assert double == pytest.approx(single, rel=1e-4)
    assert single[-1] < single[0]


def test_two_processes_that_share_the_learngene_give_the_loss_of_one(tmp_path, options):
    """FSDP2: gathered for the expansion, trained in shares, saved whole, and resumed."""
    options = [o for o in options if "drop_path" not in o and "augments" not in o]
    options.append("optim_wrapper.clip_grad.max_norm=1.0")
    finish(Script(*stage_1(AUX, tmp_path / "one", options)))
    half = [*options, "train_dataloader.batch_size=16", "runner_type=FlexibleRunner"]
    half.append("strategy.type=mmlearngene.FSDP2Strategy")
    finish(*ranks(*stage_1(AUX, tmp_path / "two", half, "--launcher", "pytorch")))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    goes_on = ["--launcher", "pytorch", "--resume", tmp_path / "two" / "epoch_2.pth"]
    finish(*ranks(*stage_1(AUX, tmp_path / "on", half, *goes_on)))
    assert losses(tmp_path / "on") == pytest.approx(losses(tmp_path / "two")[12:], rel=1e-4)
    one, two = (load_state_dict(tmp_path / name / "epoch_3.pth") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=2e-3) for name in one)
    gene = load(tmp_path / "two" / "epoch_3.learngene.safetensors")  # of the same tensors, whole
    assert all(torch.equal(tensor, two[f"student.learngene.{name}"]) for name, tensor in gene.state_dict().items())


@pytest.mark.parametrize("config, more", TRAININGS)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, options, config, more):
    options = options + more
    whole = Script(*stage_1(config, tmp_path / "whole", options)).result()
    assert whole.returncode == 0, whole.stdout[-3000:]
    assert "this training sees 576 images in 18 steps (3 passes over 192)" in whole.stdout
    # a line for each parameter is in the log file alone
    assert "paramwise_options --" not in whole.stdout and "OneDL" not in whole.stdout
    assert "paramwise_options --" in next((tmp_path / "whole").glob("*/*.log")).read_text()
    slow = Script(*stage_1(config, tmp_path / "killed", options))
    while not (tmp_path / "killed" / "epoch_1.learngene.safetensors").exists():
        assert slow.is_alive(), slow.output()[-3000:]
        time.sleep(0.02)
    slow.kill()
    assert not (tmp_path / "killed" / "epoch_3.pth").exists()
    finish(Script(*stage_1(config, tmp_path / "killed", options, "--resume")))
    whole, resumed = (load_state_dict(tmp_path / name / "epoch_3.pth") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """tools/test.py in this process: its accuracy."""
    main = runpy.run_path(str(ROOT / "tools/test.py"))["main"]
    monkeypatch.chdir(ROOT)

    def run(*arguments) -> float:
        out = tmp_path / "metrics.json"
        out_flags = [] if "--out" in arguments else ["--out", str(out), "--out-item", "metrics"]
        where = ["--work-dir", str(tmp_path / "run")]
        monkeypatch.setattr(sys, "argv", ["tools/test.py", *map(str, arguments), *where, *out_flags])
        main()
        return json.loads(out.read_text())["accuracy/top1"] if out_flags else None

    return run


def test_a_checkpoint_is_evaluated(evaluate, tmp_path):
    cfg = read_sized(ROOT / "configs/demo/des.py", "h4-l6")
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, "init_cfg": None, "_scope_": "mmpretrain"}).eval()
    torch.nn.init.normal_(model.head.fc.weight)  # so that the classes are far apart
    images, labels = load_split("test")
    mean, std = cfg.data_preprocessor.mean[0], cfg.data_preprocessor.std[0]
    with torch.no_grad():
        found = model((torch.tensor(images)[:, None] - mean) / std).argmax(1)
    accuracy = 100 * (found == torch.tensor(labels)).float().mean().item()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "des.pth")
    assert len(found.unique()) > 3  # not one class for all
    assert evaluate("configs/demo/des.py", tmp_path / "des.pth", "--arch", "h4-l6") == pytest.approx(accuracy, abs=0.3)


@pytest.fixture(scope="module")
def des(tmp_path_factory) -> tuple[Path, torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A descendant of the demo whose classes are far apart: its checkpoint, the model, the test images and labels."""
    cfg = read_sized(ROOT / "configs/demo/des.py", "h4-l6")
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, "init_cfg": None, "_scope_": "mmpretrain"}).eval()
    torch.nn.init.normal_(model.head.fc.weight)
    images, labels = load_split("test")
    mean, std = cfg.data_preprocessor.mean[0], cfg.data_preprocessor.std[0]
    file = tmp_path_factory.mktemp("des") / "des.pth"
    torch.save({"state_dict": model.state_dict()}, file)
    return file, model, (torch.tensor(images)[:, None] - mean) / std, torch.tensor(labels)


DES = ("configs/demo/des.py", "--arch", "h4-l6")


def test_out_writes_predictions_or_metrics(evaluate, des, tmp_path):
    checkpoint, model, images, _ = des
    evaluate(DES[0], checkpoint, *DES[1:], "--out", tmp_path / "found.pkl")
    found = pickle.loads((tmp_path / "found.pkl").read_bytes())  # noqa: S301  (written above)
    with torch.no_grad():
        expected = model(images).softmax(1)
    torch.testing.assert_close(torch.stack([each["pred_score"] for each in found]), expected)
    with pytest.raises(LearngeneError, match=r"such as .*m.pkl; metrics are --out-item metrics"):
        evaluate(DES[0], checkpoint, "--out", tmp_path / "m.json")
    with pytest.raises(LearngeneError, match=r"expected the name of a JSON file, such as .*m.json$"):
        evaluate(DES[0], checkpoint, "--out", tmp_path / "m.pkl", "--out-item", "metrics")


def test_tta_averages_the_image_and_its_mirror_image(evaluate, des, tmp_path):
    checkpoint, model, images, labels = des
    with torch.no_grad():
        scores = sum(model(each).softmax(1) for each in (images, images.flip(-1))) / 2
    evaluate(DES[0], checkpoint, *DES[1:], "--tta", "--out", tmp_path / "found.pkl")
    found = pickle.loads((tmp_path / "found.pkl").read_bytes())  # noqa: S301  (written above)
    torch.testing.assert_close(torch.stack([each["pred_score"] for each in found]), scores)
    accuracy = 100 * (scores.argmax(1) == labels).float().mean().item()
    assert evaluate(DES[0], checkpoint, *DES[1:], "--tta") == pytest.approx(accuracy, abs=0.3)
    # the config's own come first: here the image alone, twice
    own = tmp_path / "own.py"
    own.write_text(
        f"_base_ = {str(ROOT / DES[0])!r}\n"
        "tta_model = dict(type='mmpretrain.AverageClsScoreTTA')\n"
        "tta_pipeline = [dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=0.0)] * 2, "
        "[dict(type='PackInputs')]])]\n"
    )
    assert evaluate(own, checkpoint, *DES[1:], "--tta") == evaluate(DES[0], checkpoint, *DES[1:])
    with pytest.raises(LearngeneError, match="--tta: the config has no tta_model; expected one"):
        evaluate("configs/demo/seg_h4_l6.py", checkpoint, "--tta")


def test_pictures_of_classification(evaluate, des, tmp_path):
    evaluate(DES[0], des[0], *DES[1:], "--show-dir", tmp_path / "shown", "--interval", "100")
    assert sorted(path.name for path in (tmp_path / "shown").iterdir()) == [f"{n}_0.png" for n in (0, 100, 200, 300)]
    with pytest.raises(LearngeneError, match="--interval 0: expected 1 or more"):
        evaluate(DES[0], des[0], "--show-dir", tmp_path / "shown", "--interval", "0")


def test_the_runner_of_the_config_is_used(evaluate, des, monkeypatch):
    expected = evaluate(DES[0], des[0], *DES[1:])
    used = []
    monkeypatch.setattr(FlexibleRunner, "test", lambda self, test=FlexibleRunner.test: used.append(self) or test(self))
    flexible = ("--cfg-options", "runner_type=FlexibleRunner")
    assert evaluate(DES[0], des[0], *DES[1:], *flexible) == expected and len(used) == 1
    wrong = ("--cfg-options", "runner_type=FlexibelRunner")
    with pytest.raises(LearngeneError, match="runner_type='FlexibelRunner': .*Did you mean 'FlexibleRunner'"):
        evaluate(DES[0], des[0], *DES[1:], *wrong)


def test_flops_and_logs_are_openmmlabs_tools(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    def call(tool: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"tools/analysis_tools/{tool}", *map(str, arguments)])
        runpy.run_path(f"tools/analysis_tools/{tool}", run_name="__main__")
        return capsys.readouterr().out

    counted = call("get_flops.py", "configs/lets/des.py", "--arch", "h6-l4")
    spec = ViTSpec.parse("h6-l4", pool="avg_norm", num_classes=1000)
    assert f"Params: {spec.num_params / 1e6:.3f}M" in counted and "Input shape: (3, 224, 224)" in counted
    segmentation = call("get_flops.py", "configs/seg/des_h6_l12_ade20k.py", "--shape", 64)
    assert "Input shape: (64, 64)" in segmentation and "Params: " in segmentation
    with pytest.raises(SystemExit):
        call("get_flops.py", AUX)
    assert "trains an Aux-Net" in capsys.readouterr().err
    log = tmp_path / "scalars.json"
    log.write_text(
        "".join(json.dumps(dict(lr=1.0, loss=2.0, time=t, epoch=1, step=i)) + "\n" for i, t in enumerate((9, 1, 3)))
    )
    assert "average iter time: 4.3333 s/iter" in call("analyze_logs.py", "cal_train_time", log)


def test_a_learngene_and_what_expand_writes_are_evaluated(evaluate, tmp_path, capsys):
    torch.manual_seed(2)
    settings = dict(Config.fromfile(ROOT / AUX).model.student.learngene)
    settings.pop("type")
    learngene = LeTs(**settings)
    with torch.no_grad():  # so that the two sizes are far apart
        for name, parameter in learngene.learngene.named_parameters():
            if parameter.ndim > 1 or name.startswith("head"):
                parameter.normal_(std=0.2)
    gene = learngene.save(tmp_path / "gene.safetensors")
    images, labels = load_split("test")
    scale = Config.fromfile(ROOT / AUX).data_preprocessor
    images = (torch.tensor(images)[:, None] - scale.mean[0]) / scale.std[0]
    expected = {}
    for size in ("h4-l6", "h6-l8"):
        with torch.no_grad():
            found = build(learngene.expand(size)).eval()(images).argmax(1)
        expected[size] = pytest.approx(100 * (found == torch.tensor(labels)).float().mean().item(), abs=0.3)
    assert expected["h4-l6"] != expected["h6-l8"].expected
    assert evaluate("configs/demo/des.py", gene) == expected["h6-l8"]
    assert evaluate("configs/demo/des.py", gene, "--arch", "h4-l6") == expected["h4-l6"]
    assert evaluate(AUX, gene) == expected["h6-l8"]  # which trains it
    assert evaluate(AUX, gene, "--arch", "h4-l6") == expected["h4-l6"]
    for suffix in (".pth", ".safetensors"):
        vit = tmp_path / f"vit{suffix}"
        assert cli.main(["expand", str(gene), "--arch", "h4-l6", "--layout", "mmpretrain", "-o", str(vit)]) == 0
        assert evaluate("configs/demo/des.py", vit, "--arch", "h4-l6") == expected["h4-l6"]
    with pytest.raises(LearngeneError, match="does not fit the config: backbone.* in the model"):
        evaluate("configs/demo/des.py", vit)
    with pytest.raises(LearngeneError, match=r"no such file: .*gene.safetensor; did you mean .*gene.safetensors\?"):
        evaluate("configs/demo/des.py", str(gene)[:-1])
    with pytest.raises(LearngeneError, match="is of one size, which cannot be changed; expected .*demo/des.py"):
        evaluate("configs/demo/seg_h4_l6.py", vit, "--arch", "h6-l6")
    with pytest.raises(LearngeneError, match="the nearest size is h6-l8"):
        evaluate("configs/demo/des.py", gene, "--arch", "h7-l8")
    with pytest.raises(LearngeneError, match="expected a config of classification"):
        evaluate("configs/demo/seg_h4_l6.py", gene)
    bare = learngene.with_classes(0).save(tmp_path / "bare.learngene.safetensors")
    with pytest.raises(LearngeneError, match="no classifier to evaluate; .* are judged by `mmlearngene probe`"):
        evaluate("configs/demo/des.py", bare)
    # a head of other classes starts fresh, and a number for it would mean nothing
    assert cli.main(["expand", str(gene), "--arch", "h4-l6", "--num-classes", "7", "-o", str(vit), "--force"]) == 0
    with pytest.raises(LearngeneError, match="does not fit the config: it has no backbone"):
        evaluate("configs/demo/des.py", vit)


def test_a_missing_learngene_is_named_before_training(tmp_path):
    options = [f"model.init_cfg.checkpoint={tmp_path / 'none.safetensors'}"]
    done = Script(*stage_1("configs/demo/des.py", tmp_path, options)).result()
    assert done.returncode == 2 and "Traceback" not in done.stdout
    assert f"no such file: {tmp_path / 'none.safetensors'}" in done.stdout.splitlines()[-1]
    assert not list(tmp_path.glob("epoch_*"))
