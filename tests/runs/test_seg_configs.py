"""Every segmentation config, scaled down, trains and evaluates on tiny sets in the official layouts."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.datasets import ADE20KDataset
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch.utils.checkpoint import checkpoint

from mmlearngene import LearngeneError, ViTSpec, extract, initialize, load, recipes
from mmlearngene.datasets.data_check import check_data
from mmlearngene.datasets.seg_loaders import tta_pipeline_at
from mmlearngene.engine import GradientCheckpointingHook
from mmlearngene.engine.hooks.visualization import SegPictureHook
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.engine.run.init_check import check_learngenes, check_starts, drop_learngenes_if_resumed
from mmlearngene.engine.run.tta import use_tta
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.testing import random_weights

from ..support.processes import ENV, ROOT, Script, ranks
from ..support.shared import SHARED, needs_shared
from ..support.tiny_sets import make_ade20k, make_cityscapes, make_pair, make_pascal_context

CONFIGS = ROOT / "configs" / "seg"
HEAD_DIM = 4
CROP = (64, 64)
MAKERS = dict(ade20k=make_ade20k, pascal_context=make_pascal_context, cityscapes=make_cityscapes)
ADE_MINI = SHARED / "data" / "ade20k_mini" / "ADEChallengeData2016"


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def gene(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    lets = LeTs("h6-l8", "h12-l16", head_dim=HEAD_DIM, img_size=32, num_classes=10)
    return lets.save(tmp_path_factory.mktemp("gene") / "tiny.learngene.safetensors")


def shrink(name: str, root: Path, work_dir: Path, gene: Path | None) -> Config:
    """A config of ``configs/seg`` with heads of 4 channels, crops of 64, narrow decoders and two iterations."""
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    arch = cfg.model.backbone.arch
    size = ViTSpec(arch.num_heads, arch.num_layers, head_dim=HEAD_DIM)
    kind = next((kind for kind in ("segmenter", "linear", "linear_tuned") if name.endswith(kind)), "upernet")
    fields = {**cfg.task, "crop_size": CROP}
    if fields["test_cfg"]["mode"] == "slide":
        fields["test_cfg"] = dict(mode="slide", crop_size=CROP, stride=(48, 48))
    small = getattr(recipes, kind)(size, **fields)
    for head in ("decode_head", "auxiliary_head"):
        if kind == "upernet":
            small[head]["channels"] = 8
    cfg.merge_from_dict(dict(model=small, work_dir=str(work_dir), log_level="WARNING"))
    cfg.model.init_cfg = gene and dict(type="Learngene", checkpoint=str(gene))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
        for transform in loader.dataset.pipeline:
            if transform.type in ("Resize", "RandomResize"):
                transform.scale = (96, 64)
            if transform.type == "RandomCrop":
                transform.crop_size = CROP
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    cfg.experiment_name = f"{name}_{work_dir.name}"
    return adapt_to_device(cfg)


def set_of(name: str, sets: dict[str, Path]) -> Path:
    return next(root for key, root in sets.items() if f"_{key}" in name)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.py")))
def test_config_trains_and_evaluates(name, sets, gene, tmp_path):
    cfg = shrink(name, set_of(name, sets), tmp_path, gene)
    check_starts(cfg)
    check_data(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.message_hub.log_scalars
    assert {f"val/{key}" for key in ("mIoU", "mAcc", "aAcc")} <= metrics.keys()
    assert torch.isfinite(torch.tensor(metrics["train/loss"].data[0])).all()
    assert len(list(tmp_path.glob("iter_2.pth"))) == 1
    backbone = runner.model.backbone
    assert type(backbone).__module__.startswith("mmpretrain.")
    assert all(p.requires_grad for p in backbone.parameters()) == (not name.endswith("linear"))


@needs_shared
@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*_ade20k*.py")))
def test_real_ade20k_images(name, gene, tmp_path):
    cfg = shrink(name, ADE_MINI, tmp_path, gene)
    check_data(cfg)
    runner = Runner.from_cfg(cfg)
    model = runner.train().eval()
    right = total = 0
    for batch in runner.val_dataloader:
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        truth = np.asarray(Image.open(sample.seg_map_path)).astype(int)  # 0 is "other", which does not count
        found = sample.pred_sem_seg.data[0].numpy()
        right, total = right + (found + 1 == truth).sum(), total + (truth > 0).sum()
    assert len(runner.val_dataloader) > 1 and total > 0
    assert runner.message_hub.get_scalar("val/aAcc").current() == pytest.approx(100 * right / total, abs=0.01)


@pytest.mark.parametrize("name", ["des_h6_l12_ade20k", "des_h6_l12_pascal_context"])
def test_tta_averages_six_sizes_and_their_mirror_images(name, sets, gene, tmp_path, monkeypatch):
    cfg = shrink(name, set_of(name, sets), tmp_path, None)
    cfg.tta_pipeline = tta_pipeline_at((96, 64))
    use_tta(cfg)
    seen = []
    merge = SegTTAModel.merge_preds
    monkeypatch.setattr(SegTTAModel, "merge_preds", lambda self, found: seen.extend(found) or merge(self, found))
    metrics = Runner.from_cfg(cfg).test()
    assert {"mIoU", "mAcc", "aAcc"} <= metrics.keys()
    assert [len(copies) for copies in seen] == [12] * len(seen) != []
    assert len({copy.img_shape for copy in seen[0]}) == 6 and sum(copy.flip for copy in seen[0]) == 6


def test_camvid_study_from_ancestry_to_mask(tmp_path):
    """The study's configs, one after the other, an epoch or two iterations each, on a handful of random images."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(4):
            path = tmp_path / "cifar10" / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    for split in ("train", "val", "test"):
        make_pair(tmp_path / f"images/{split}/0.jpg", tmp_path / f"annotations/{split}/0.png", 11, (240, 180), 0)

    def trained(name: str, arch: str | None = None, **options: object) -> Path:
        cfg = recipes.read_sized(CONFIGS.parent / "study" / f"camvid_{name}.py", arch)
        folder = tmp_path / f"{name}{arch or ''}"
        cfg.merge_from_dict({**options, "work_dir": str(folder), "log_level": "WARNING"})
        for split, loader in (("train", cfg.train_dataloader), ("test", cfg.val_dataloader)):
            loader.batch_size = 2
            inside = loader.dataset.type == "CustomDataset"
            loader.dataset.data_root = str(tmp_path / "cifar10" / split if inside else tmp_path)
        Runner.from_cfg(adapt_to_device(cfg)).train()
        return folder

    epoch = {"train_cfg.max_epochs": 1}
    ancestry = trained("ancestry", **epoch) / "epoch_1.pth"
    trained("ancestry", "h4-l6", **epoch)
    aux = trained("aux", **epoch, **{"model.teacher.checkpoint": str(ancestry)}) / "epoch_1.learngene.safetensors"
    checkpoint = {"model.init_cfg.checkpoint": str(aux), "default_hooks.checkpoint.interval": 2}
    assert (trained("des", **checkpoint, **{"train_cfg.max_iters": 2}) / "iter_2.pth").exists()


# ---------------------------------------------------------------------- initialisation


def segmentor(cfg: Config, init: bool = True) -> torch.nn.Module:
    init_default_scope("mmseg")
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    if init:
        model.init_weights()
    return model


def expanded(gene: Path, size: ViTSpec) -> dict[str, torch.Tensor]:
    learngene = load(gene)
    spec = size.replace(pool="avg_norm", num_classes=10)
    return MMPRETRAIN.state_dict(learngene.expand(spec))


def test_backbone_is_the_descendant_and_positions_fit_the_crop(gene, sets, tmp_path):
    model = segmentor(shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, gene))
    expected = expanded(gene, ViTSpec(6, 12, head_dim=HEAD_DIM, img_size=CROP))
    state = model.state_dict()
    assert state["backbone.pos_embed"].shape == (1, 16, 6 * HEAD_DIM)
    shared = [name for name in expected if name in state]
    assert len(shared) == 12 * 12 + 3
    for name in shared:
        torch.testing.assert_close(state[name], expected[name], rtol=0, atol=0)


def test_report_tells_backbone_from_decoder(gene, sets, tmp_path):
    model = segmentor(shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, None))
    statuses = {name: status for name, status, _ in initialize(model, gene).tensors if status != "unused"}
    assert statuses["backbone.layers.3.attn.qkv.weight"] == "inherited"
    assert statuses["backbone.pos_embed"] == "resized"
    assert {status for name, status in statuses.items() if not name.startswith("backbone.")} == {"random"}


def test_hook_and_init_cfg_agree(gene, sets, tmp_path):
    cfg = shrink("des_h6_l12_ade20k_segmenter", sets["ade20k"], tmp_path, gene)
    by_cfg = segmentor(cfg).backbone.state_dict()
    backbone_cfg = cfg.model.pop("init_cfg")
    cfg.model.backbone.init_cfg = backbone_cfg
    by_backbone = segmentor(cfg).backbone.state_dict()
    cfg.model.backbone.init_cfg = None
    cfg.custom_hooks = [dict(type="mmlearngene.LearngeneInitHook", checkpoint=str(gene))]
    runner = Runner.from_cfg(cfg)
    runner.call_hook("before_run")
    by_hook = runner.model.backbone.state_dict()
    for name, tensor in by_cfg.items():
        assert torch.equal(tensor, by_backbone[name]) and torch.equal(tensor, by_hook[name]), name


def test_pretrained_weights_are_the_same_option(sets, tmp_path):
    """Pre-Fin, and likewise a tuned descendant: its checkpoint as a learngene in the place of the distilled one."""
    spec = ViTSpec(6, 12, head_dim=HEAD_DIM, img_size=CROP, num_classes=10)
    weights = LeTs("h6-l8", "h6-l16", head_dim=HEAD_DIM, img_size=CROP, num_classes=10).expand(spec)
    file = extract("pre-fin", weights).save(tmp_path / "tuned.learngene.safetensors")
    model = segmentor(shrink("des_h6_l12_cityscapes", sets["cityscapes"], tmp_path, file))
    state, expected = model.state_dict(), MMPRETRAIN.state_dict(weights)
    assert torch.equal(
        state["backbone.layers.11.ffn.layers.1.weight"], expected["backbone.layers.11.ffn.layers.1.weight"]
    )


def test_frozen_backbone_stays(gene, sets, tmp_path):
    cfg = shrink("des_h6_l12_ade20k_linear", sets["ade20k"], tmp_path, gene)
    before = segmentor(cfg).backbone.state_dict()
    runner = Runner.from_cfg(cfg)
    runner.train()
    after = runner.model.backbone.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("kind, rate", [("linear", 0.0), ("segmenter", 0.1)])
def test_a_frozen_backbone_gives_the_same_features_in_training(kind, rate):
    """Drop-path would go on in a frozen layer, which is in training mode as all others are."""
    size = ViTSpec(3, 4, head_dim=HEAD_DIM)
    backbone = getattr(recipes, kind)(size, num_classes=5, crop_size=CROP)["backbone"]
    assert backbone["drop_path_rate"] == rate
    init_default_scope("mmseg")
    model = MODELS.build(backbone)
    model.train()
    images = torch.randn(8, 3, *CROP)
    same = torch.equal(model(images)[0], model(images)[0])
    assert same == (kind == "linear")


# ---------------------------------------------------------------------- depth


@given(st.integers(4, 48))
def test_feature_maps_spread_over_any_depth(num_layers):
    indices = recipes.spread_indices(num_layers)
    assert indices[-1] == num_layers - 1
    gaps = np.diff([-1, *indices])
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_too_shallow_for_a_pyramid():
    with pytest.raises(LearngeneError, match="3 layers do not give 4"):
        recipes.upernet("h2-l3", num_classes=5, crop_size=(64, 64))


@pytest.mark.parametrize("num_layers", [5, 12])
def test_layer_decay_and_drop_path_know_the_depth(num_layers, sets, tmp_path):
    cfg = shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, None)
    size = ViTSpec(2, num_layers, head_dim=HEAD_DIM)
    cfg.merge_from_dict(dict(model=recipes.upernet(size, num_classes=150, crop_size=CROP)))
    model = segmentor(cfg, init=False)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    lr = {group["param_name"]: group["lr"] / cfg.optim_wrapper.optimizer.lr for group in groups}
    assert lr["backbone.pos_embed"] == pytest.approx(0.75 ** (num_layers + 1))
    for layer in range(num_layers):
        assert lr[f"backbone.layers.{layer}.attn.qkv.weight"] == pytest.approx(0.75 ** (num_layers - layer))
    assert lr["decode_head.conv_seg.weight"] == lr["neck.upsample_4x.0.weight"] == 1
    decay = {group["param_name"]: group["weight_decay"] for group in groups}
    assert decay["backbone.pos_embed"] == decay["backbone.layers.0.ln1.weight"] == 0
    assert decay["backbone.layers.0.attn.qkv.weight"] == 0.05
    drops = [getattr(layer.attn.out_drop, "drop_prob", 0) for layer in model.backbone.layers]
    assert drops == pytest.approx(np.linspace(0, 0.1, num_layers))


@pytest.mark.parametrize("frozen_stages", [-1, 4])
def test_gradient_checkpointing_changes_nothing(frozen_stages, gene, sets, tmp_path):
    cfg = shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, gene)
    cfg.model.backbone.frozen_stages = frozen_stages
    images = torch.randn(2, 3, *CROP)
    samples = [SegDataSample() for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, *CROP)))
    gradients = []
    for checkpointed in (False, True):
        model = segmentor(cfg)
        calls = []
        model.backbone.layers[6].ln1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        if checkpointed:
            GradientCheckpointingHook().before_train(types.SimpleNamespace(model=model))
        torch.manual_seed(0)  # of drop-path
        losses = model.train()(images, samples, mode="loss")
        sum(value for name, value in losses.items() if "loss" in name).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        assert len(calls) == 1 + checkpointed
    assert f"backbone.layers.{frozen_stages + 1}.attn.qkv.weight" in gradients[0]
    torch.testing.assert_close(*gradients)


def test_gradient_checkpointing_is_one_option(gene, sets, tmp_path):
    option = re.search(r"default_hooks\.\w+\.type=mmlearngene\.\w+", (ROOT / "docs" / "segmentation.md").read_text())[0]
    cfg = shrink("des_h6_l12_ade20k_segmenter", sets["ade20k"], tmp_path, gene)
    cfg.merge_from_dict(dict([option.split("=")]))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(layer.forward.func is checkpoint for layer in runner.model.backbone.layers)


def test_gradient_checkpointing_needs_layers():
    with pytest.raises(LearngeneError, match="Linear has no backbone with layers"):
        GradientCheckpointingHook().before_train(types.SimpleNamespace(model=torch.nn.Linear(1, 1)))


# ---------------------------------------------------------------------- data


def data_error(name: str, root: Path, tmp_path: Path) -> str:
    with pytest.raises(LearngeneError) as error:
        check_data(shrink(name, root, tmp_path, None))
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "lost", "advice"),
    [
        ("ade20k", "annotations/training", "ADEChallengeData2016.zip"),
        ("ade20k", "images/validation", "ADEChallengeData2016.zip"),
        ("ade20k", "annotations/training/ADE_train_00000001.png", "ADEChallengeData2016.zip"),
        ("pascal_context", "ImageSets/SegmentationContext/val.txt", "prepare_labels.py pascal_context"),
        ("pascal_context_59", "SegmentationClassContext", "prepare_labels.py pascal_context"),
        (
            "cityscapes",
            "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_labelTrainIds.png",
            "prepare_labels.py cityscapes",
        ),
    ],
)
def test_missing_data_is_named(name, lost, advice, tmp_path):
    root = MAKERS[name.removesuffix("_59")](tmp_path / "set")
    path = root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    message = data_error(f"des_h6_l12_{name}", root, tmp_path / "run")
    assert str(path) in message and advice in message and "docs/data_sets.md" in message
    loader = "val" if "val" in lost else "train"
    assert f"--cfg-options {loader}_dataloader.dataset.data_root=FOLDER" in message


def test_empty_split_is_named(tmp_path):
    root = make_pascal_context(tmp_path / "set")
    split = root / "ImageSets" / "SegmentationContext" / "train.txt"
    split.write_text("")
    assert f"{split} is empty" in data_error("des_h6_l12_pascal_context", root, tmp_path / "run")


def test_a_data_set_that_is_named_by_its_class(tmp_path):
    dataset = dict(
        type=ADE20KDataset, data_root=str(tmp_path / "none"), data_prefix=dict(img_path="a", seg_map_path="b")
    )
    with pytest.raises(LearngeneError, match="^ADE20KDataset: .*none/a was looked for"):
        check_data(Config(dict(train_dataloader=dict(dataset=dataset))))


def test_folder_without_images_is_named(tmp_path):
    root = make_ade20k(tmp_path / "set")
    for path in (root / "images" / "training").iterdir():
        path.unlink()
    message = data_error("des_h6_l12_ade20k", root, tmp_path / "run")
    assert "no file *.jpg" in message and "images/training" in message


def run(*command: object) -> str:
    """Run a script; its output."""
    done = Script(*command).result()
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def prepare_labels(monkeypatch, *arguments: object) -> None:
    script = str(ROOT / "tools" / "prepare_datasets" / "prepare_labels.py")
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(script, run_name="__main__")


def test_label_preparation_of_pascal_context(tmp_path, monkeypatch, capsys):
    """The converter of mmsegmentation is called; the package ``detail``, which no registry has, is played."""
    voc = tmp_path / "VOCdevkit" / "VOC2010"
    (voc / "JPEGImages").mkdir(parents=True)
    with pytest.raises(SystemExit):
        prepare_labels(monkeypatch, "pascal_context", voc.parent)
    assert "trainval_merged.json is missing" in capsys.readouterr().err

    (voc / "trainval_merged.json").touch()
    detail = types.ModuleType("detail")  # another package has this name on PyPI
    monkeypatch.setitem(sys.modules, "detail", detail)
    with pytest.raises(SystemExit):
        prepare_labels(monkeypatch, "pascal_context", voc.parent)
    assert "zhanghang1989/detail-api" in capsys.readouterr().err

    class Detail:
        def __init__(self, json: str, images: str, split: str) -> None:
            self.split = split

        def getImgs(self) -> list[dict]:  # noqa: N802
            return [dict(file_name=f"{self.split}_1.jpg")]

        def getMask(self, image: dict) -> np.ndarray:  # noqa: N802
            return np.array([[0, 2], [458, 9]])

    detail.Detail = Detail
    prepare_labels(monkeypatch, "pascal_context", voc.parent)
    labels = np.asarray(Image.open(voc / "SegmentationClassContext" / "val_1.png"))
    assert labels.tolist() == [[0, 1], [59, 2]]
    assert (voc / "ImageSets" / "SegmentationContext" / "train.txt").read_text() == "train_1\n"


def test_label_preparation_of_cityscapes(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        prepare_labels(monkeypatch, "cityscapes", tmp_path)
    assert "unpack gtFine_trainvaltest.zip" in capsys.readouterr().err
    for split in ("train", "val", "test"):
        with pytest.raises(SystemExit):
            prepare_labels(monkeypatch, "cityscapes", tmp_path)
        assert f"gtFine/{split}/<city>" in capsys.readouterr().err
        folder = tmp_path / "gtFine" / split / "city"
        folder.mkdir(parents=True)
        road = dict(label="road", polygon=[[0, 0], [8, 0], [8, 4], [0, 4]])
        car = dict(label="car", polygon=[[0, 0], [3, 0], [3, 3], [0, 3]])
        annotation = dict(imgHeight=4, imgWidth=8, objects=[road, car])
        (folder / "city_000000_000019_gtFine_polygons.json").write_text(json.dumps(annotation))
    prepare_labels(monkeypatch, "cityscapes", tmp_path)
    file = tmp_path / "gtFine" / "val" / "city" / "city_000000_000019_gtFine_labelTrainIds.png"
    assert set(np.unique(np.asarray(Image.open(file)))) == {0, 13}


# ---------------------------------------------------------------------- tools


def dumped(cfg: Config, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / "config.py")
    return folder / "config.py"


def test_tools_say_iou_and_show_image_truth_and_prediction(gene, sets, tmp_path):
    config = dumped(shrink("des_h6_l12_pascal_context_segmenter", sets["pascal_context"], tmp_path, gene), tmp_path)
    options = ("--cfg-options", "log_level=INFO")
    log = run("tools/train.py", config, *options)
    assert "of the backbone inherited" in log
    show, out = tmp_path / "shown", tmp_path / "new" / "metrics.json"
    command = ["bash", "tools/dist_test.sh", config, tmp_path / "iter_2.pth", 2, "--show-dir", show, "--out", out]
    options = ("--out-item", "metrics", *options)
    done = subprocess.run([*map(str, command), *options], env=ENV, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    log = done.stdout
    for key in ("mIoU", "mAcc", "aAcc", "tvmonitor", "aeroplane"):
        assert key in log
    assert json.loads(out.read_text()).keys() >= {"mIoU", "mAcc", "aAcc"}
    pictures = sorted(show.iterdir())  # one from each process
    assert [picture.name for picture in pictures] == ["2008_000002.png", "2008_000003.png"]
    picture = np.asarray(Image.open(pictures[0]))
    image = np.asarray(Image.open(sets["pascal_context"] / "JPEGImages" / "2008_000002.jpg"))
    assert picture.shape == (64, 3 * 96, 3)
    np.testing.assert_allclose(picture[:, :96], image, atol=3)  # two decoders of JPEG
    assert (picture[:, 96:192] != picture[:, 192:]).any()


def test_pictures_need_colours(tmp_path):
    digits = types.SimpleNamespace(metainfo=dict(classes=("0", "1")))
    runner = types.SimpleNamespace(test_dataloader=types.SimpleNamespace(dataset=digits))
    with pytest.raises(LearngeneError, match="SimpleNamespace has no palette"):
        SegPictureHook(tmp_path).before_test(runner)


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_tools_stop_at_missing_data(tool, tmp_path, monkeypatch, capsys):
    config = dumped(shrink("des_h6_l12_ade20k", tmp_path / "nowhere", tmp_path, None), tmp_path)
    (tmp_path / "some.pth").touch()
    monkeypatch.setattr(sys, "argv", [tool, str(config)] + [str(tmp_path / "some.pth")] * (tool == "test.py"))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
    message = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and message.startswith(f"{tool}: error: ADE20KDataset: ")
    assert re.search("nowhere/images/.* was looked for and is missing", message)
    assert not list(tmp_path.rglob("*.log"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--out", "found"), "--out found: expected the name of a pickle file, such as found.pkl"),
        (("--out", "metrics.txt", "--out-item", "metrics"), "expected the name of a JSON file, such as metrics.json"),
        (("--out", "folder.pkl"), "expected the name of a pickle file"),
        ((), "no such file: no.pth"),
    ],
)
def test_files_of_a_test_are_looked_at_first(option, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder.pkl").mkdir()
    monkeypatch.setattr(sys, "argv", ["test.py", "no_config.py", "no.pth", *option])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "tools" / "test.py"), run_name="__main__")
    assert message in capsys.readouterr().err


def init_error(settings: dict, tmp_path: Path) -> str:
    with pytest.raises(LearngeneError) as error:
        check_learngenes(Config(dict(work_dir=str(tmp_path), **settings)))
    return str(error.value)


def test_a_learngene_that_cannot_be_used_is_told_first(gene, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = Config.fromfile(CONFIGS / "des_h6_l12_ade20k.py")
    cfg.work_dir = str(tmp_path)
    with pytest.raises(LearngeneError) as error:
        check_learngenes(cfg)
    assert "no such file: work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors" in str(error.value)
    assert "run tools/train.py configs/lets/aux_deit_b.py first" in str(error.value)
    assert "--cfg-options model.init_cfg.checkpoint=FILE, or start from scratch with model.init_cfg=None" in str(
        error.value
    )

    (tmp_path / "tuned.pth").touch()
    checkpoint = str(tmp_path / "tuned.pth")
    message = init_error(
        dict(model=dict(backbone=dict(init_cfg=[dict(type="Learngene", checkpoint=checkpoint)]))), tmp_path
    )
    assert f"mmlearngene extract --method pre-fin --ancestry {checkpoint}" in message
    hook = dict(type="mmlearngene.LearngeneInitHook", checkpoint=checkpoint)
    (tmp_path / "tuned.learngene.safetensors").touch()
    message = init_error(dict(custom_hooks=[hook]), tmp_path)
    assert "did you mean" in message and "custom_hooks.0.checkpoint=FILE" in message

    hook["checkpoint"] = str(gene)
    check_learngenes(Config(dict(work_dir=str(tmp_path), custom_hooks=[hook])))


@pytest.mark.parametrize("hooked", [False, True])
def test_a_size_out_of_range_is_told_before_the_model_is_built(hooked, gene, sets, tmp_path):
    cfg = shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, gene)
    if hooked:
        cfg.custom_hooks = [dict(type="mmlearngene.LearngeneInitHook", checkpoint=str(gene))]
        cfg.model.init_cfg = None
    state = torch.get_rng_state()
    check_starts(cfg)
    assert torch.equal(torch.get_rng_state(), state)
    cfg.model.backbone.arch.update(num_heads=14, embed_dims=14 * HEAD_DIM, feedforward_channels=56 * HEAD_DIM)
    place = "custom_hooks.0" if hooked else "model.init_cfg"
    with pytest.raises(LearngeneError, match=f"not to h14-l12; the nearest size is h12-l12. .* learngene as {place}$"):
        check_starts(cfg)


def test_a_resumed_run_needs_no_learngene(tmp_path):
    init = dict(type="Learngene", checkpoint="gone.learngene.safetensors")
    cfg = Config(dict(work_dir=str(tmp_path), resume=True, model=dict(init_cfg=init)))
    cfg.model.backbone = dict(init_cfg=[init, dict(type="Constant"), init])
    drop_learngenes_if_resumed(cfg)
    with pytest.raises(LearngeneError, match="no such file: gone"):  # nothing to resume from: the run starts anew
        check_learngenes(cfg)
    (tmp_path / "last_checkpoint").write_text("iter_1.pth")
    drop_learngenes_if_resumed(cfg)
    check_learngenes(cfg)
    assert cfg.model.to_dict() == dict(backbone=dict(init_cfg=[dict(type="Constant")]))


def test_two_processes_resume_after_sigkill(gene, sets, tmp_path):
    gene = Path(shutil.copy(gene, tmp_path))
    cfg = shrink("des_h6_l12_ade20k", sets["ade20k"], tmp_path, gene)
    cfg.merge_from_dict({"train_cfg.max_iters": 10000, "train_cfg.val_interval": 10000, "log_level": "INFO"})
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    command = ("tools/train.py", dumped(cfg, tmp_path), "--launcher", "pytorch")
    processes = ranks(*command)
    while not (tmp_path / "last_checkpoint").exists():
        assert all(process.is_alive() for process in processes), processes[0].output()[-3000:]
        time.sleep(0.1)
    for process in processes:
        process.kill()
    gene.unlink()  # a resumed run needs none
    done = int(re.search(r"iter_(\d+)\.pth", (tmp_path / "last_checkpoint").read_text())[1])
    options = ("--resume", "--cfg-options", f"train_cfg.max_iters={done + 2}")
    results = [process.result() for process in ranks(*command, *options)]
    assert [result.returncode for result in results] == [0, 0], results[0].stdout[-3000:]
    assert f"iter_{done}.pth" in results[0].stdout
    state = torch.load(tmp_path / f"iter_{done + 2}.pth", weights_only=False)
    assert state["meta"]["iter"] == done + 2
    # BN's count goes on from the checkpoint: nothing was initialised anew
    counts = [tensor for name, tensor in state["state_dict"].items() if name.endswith("num_batches_tracked")]
    assert counts and all(count == done + 2 for count in counts)


# ---------------------------------------------------------------------- a config of somebody else

USERS_OWN = """
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 64), pad_val=0, seg_pad_val=255),
    backbone=dict(
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=32, num_layers=6, num_heads=8, feedforward_channels=128),
        img_size=64,
        with_cls_token=False,
        out_type="featmap",
    ),
    decode_head=dict(type="FCNHead", in_channels=32, channels=8, num_classes=150, concat_input=False),
    test_cfg=dict(mode="whole"),
)
ade20k = dict(type="ADE20KDataset", data_root="{root}")
load, pack = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")], [dict(type="PackSegInputs")]
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **ade20k,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[*load, dict(type="RandomCrop", crop_size=(64, 64)), *pack],
    ),
)
test_dataloader = dict(
    batch_size=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **ade20k,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[*load, *pack],
    ),
)
test_cfg = dict()
test_evaluator = dict(type="IoUMetric")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-4))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2))
"""


def test_the_recipe_for_a_set_and_a_vit_of_ones_own(tmp_path, monkeypatch):
    """The docs' config as it stands, but for its length: patches of 14, class token and LayerScale are inherited."""
    text = (ROOT / "docs" / "segmentation.md").read_text()
    recipe = re.search(r"`my_seg.py`, for.*?```python\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    Path("my_seg.py").write_text(recipe)
    size = runpy.run_path("my_seg.py")["size"]
    extract("pre-fin", random_weights(ViTSpec(**size, num_classes=0, img_size=70))).save(
        "principal.learngene.safetensors"
    )
    for split in ("train", "val"):
        for i in range(2):
            image, label = (Path("my_set", kind, split) for kind in ("images", "annotations"))
            make_pair(image / f"{i}.jpg", label / f"{i}.png", 11, (96, 64), i)
    cfg = Config.fromfile("my_seg.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.merge_from_dict(dict(work_dir=str(tmp_path / "run"), log_level="WARNING", experiment_name="recipe"))
    check_data(cfg)
    check_learngenes(cfg)
    runner = Runner.from_cfg(adapt_to_device(cfg))
    runner.train()
    report = runner.model.load_report
    assert report.share == 1.0 and report.verdict == "same computation"
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100


def test_users_own_config_takes_the_two_lines_of_the_docs(gene, sets, tmp_path):
    page = (ROOT / "docs" / "segmentation.md").read_text().partition("## A config of your own")[2]
    lines = re.search(r"```python\n(.*?init_cfg.*?)```", page, re.DOTALL)[1]
    (tmp_path / "my_config.py").write_text(USERS_OWN.format(root=sets["ade20k"]))
    lines, count = re.subn(r'checkpoint="[^"]*"', f'checkpoint="{gene}"', lines)
    assert count == 1
    config = tmp_path / "with_learngene.py"
    config.write_text(f'_base_ = "my_config.py"\n{lines}')
    train = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"  # not this project's
    log = run(train, config, "--work-dir", tmp_path)
    share = re.search(r"h8-l6 from lets .*: ([\d.]+)% of the backbone inherited", log)
    assert float(share[1]) > 99

    # and with this project's tools, though the config has no visualizer
    show = tmp_path / "shown"
    log = run("tools/test.py", config, tmp_path / "iter_2.pth", "--show-dir", show)
    assert "mIoU" in log and len(list(show.glob("ADE_val_*.png"))) == 2
