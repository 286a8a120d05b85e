"""Every ImageNet and transfer config, its ViT and data made tiny, trains, evaluates and writes its learngene."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from PIL import Image

from mmlearngene import Learngene, ViTSpec, ViTWeights, extract, initialize
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.engine.run.init_check import check_starts
from mmlearngene.learngenes import LEARNGENES
from mmlearngene.models import AuxNet
from mmlearngene.recipes import read_sized
from mmlearngene.registry import MODELS

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDERS = ("ancestry", "controls", "lets", "sws", "tleg")
NAMES = [str(path.relative_to(CONFIGS)) for folder in FOLDERS for path in sorted((CONFIGS / folder).glob("*.py"))]
SHARED_BASES = {"controls/des.py", "lets/transfer.py", "tleg/transfer.py", "sws/transfer.py"}  # without data or a start
SIZES = {  # what a config is trained at by --arch, beside its own size: every learngene and every setting by size
    "ancestry/deit.py": ["h3-l12"],
    "lets/des.py": ["h10-l8", "h12-l12"],
    "lets/des_h6_l12_cifar10.py": ["h12-l12"],
    "sws/des.py": ["h12-l16"],
    "tleg/des.py": ["h3-l3", "h12-l9"],
}
RUNS = [(name, arch) for name in NAMES if name not in SHARED_BASES for arch in (None, *SIZES.get(name, []))]
PATCH, HEAD_DIM = 112, 4  # at 224 pixels: four tokens


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(4):
        (root / f"class{number % 2}").mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 50, 3), np.uint8)).save(
            root / f"class{number % 2}/{number}.png"
        )
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("teacher") / "test_vit.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    return dict(model_name="test_vit", pretrained=False, checkpoint=str(path))


def shrink(cfg: Config, images: Path, teacher: dict, work_dir: Path) -> Config:
    """The same config with heads of 4 channels, four tokens, four images, and one epoch after its warm-up."""
    model = cfg.model
    for classifier in (model, model.get("student", {})):
        if "arch" in classifier.get("backbone", {}):
            arch = classifier.backbone.arch
            width = arch.num_heads * HEAD_DIM
            assert (arch.embed_dims, arch.feedforward_channels) == (arch.num_heads * 64, arch.num_heads * 256)
            assert classifier.head.in_channels == arch.embed_dims
            arch.update(embed_dims=width, feedforward_channels=4 * width)
            classifier.backbone.patch_size = PATCH
            classifier.head.in_channels = width
            if "head_dims" in classifier.backbone:
                classifier.backbone.head_dims = HEAD_DIM
        if "learngene" in classifier:
            classifier.learngene.update(head_dim=HEAD_DIM, patch_size=PATCH)
    if "teacher" in model:
        asked = model.teacher
        if "folder" in asked:  # a cache of a teacher
            asked.folder, asked = str(work_dir / "cache"), asked.teacher
        asked.update(teacher)
    warm_up = max(scheduler.get("begin", 0) for scheduler in cfg.param_scheduler)
    assert cfg.train_cfg.max_epochs > warm_up
    for scheduler in cfg.param_scheduler:
        scheduler.update({key: 1 for key in ("begin", "end") if scheduler.get(key)})
    warm_up = min(warm_up, 1)
    cfg.train_cfg.update(max_epochs=warm_up + 1, val_interval=warm_up + 1)
    cfg.default_hooks.checkpoint.update(interval=warm_up + 1, save_best=None)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        pipeline = loader.dataset.pipeline
        if pipeline[0].type != "LoadImageFromFile":  # CIFAR-100 comes as arrays
            pipeline = [dict(type="LoadImageFromFile"), *pipeline]
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset = dict(type="CustomDataset", data_root=str(images), pipeline=pipeline)
    cfg.update(work_dir=str(work_dir), log_level="ERROR", visualizer=None)
    return adapt_to_device(cfg)


def gene_for(checkpoint: str, heads: int, class_token: bool, folder: Path) -> Path:
    """The file that a config's ``checkpoint`` stands for, tiny: which config or control makes it, its path says."""
    path = Path(checkpoint)
    if path.parent.name.startswith("controls"):
        spec = ViTSpec(max(6, heads), 12, HEAD_DIM, patch_size=PATCH, class_token=class_token, pool="cls")
        weights = ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})
        return extract(path.stem, weights).save(folder / path.name)
    method = path.parents[1].name
    cfg = Config.fromfile(CONFIGS / method / f"{path.parent.name}.py")
    assert path.name == f"epoch_{cfg.train_cfg.max_epochs}.learngene.safetensors"
    settings = {**cfg.model.student.learngene, "head_dim": HEAD_DIM, "patch_size": PATCH}
    learngene = MODELS.build(settings)
    assert heads in learngene.head_choices
    return learngene.save(folder / path.name)


@pytest.mark.parametrize("name, arch", RUNS)
def test_a_config_trains(name, arch, images, teacher, tmp_path):
    cfg = shrink(read_sized(CONFIGS / name, arch), images, teacher, tmp_path)
    init = cfg.model.get("init_cfg")
    if isinstance(init, dict):
        backbone = cfg.model.backbone
        heads, class_token = backbone.arch.num_heads, backbone.with_cls_token
        init.checkpoint = str(gene_for(init.checkpoint, heads, class_token, tmp_path))
    if init := cfg.model.get("student", {}).get("init_cfg"):
        init.checkpoint = str(gene_for(init.checkpoint, 12, cfg.model.student.learngene.class_token, tmp_path))
    check_starts(cfg)
    runner = Runner.from_cfg(cfg)
    before = {name: parameter.clone() for name, parameter in runner.model.named_parameters()}
    runner.train()
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
    assert any(not torch.equal(parameter, before[name]) for name, parameter in runner.model.named_parameters())
    epochs = cfg.train_cfg.max_epochs
    assert (tmp_path / f"epoch_{epochs}.pth").exists()
    holds_learngene = any(isinstance(module, Learngene) for module in runner.model.modules())
    assert (tmp_path / f"epoch_{epochs}.learngene.safetensors").exists() == holds_learngene


PAGES = [path.read_text() for path in sorted((CONFIGS.parent / "docs").glob("*.md"))]
# what a command may add to a learngene, and to an init_cfg
TAKEN = {
    "student": inspect.signature(AuxNet).parameters,
    "learngene": {name for cls in LEARNGENES.values() for name in inspect.signature(cls.__init__).parameters},
    "init_cfg": {
        *inspect.signature(initialize).parameters,
        *(n for c in LEARNGENES.values() for n in c.expand_options()),
    },
}
COMMANDS = sorted(
    {
        (config, arch, options)
        for text in PAGES
        for config, arch, options in re.findall(
            r"configs/(\w+/\w+\.py)(?: 4)?(?: --arch (h\d+-l\d+))?(?: --cfg-options ([^`\n\\]+))?", text
        )
        if not config.startswith("_base_") and config != "a/b.py"  # which stands for any
    }
)


@pytest.mark.parametrize(("config", "arch", "options"), COMMANDS)
def test_the_commands_of_the_docs_name_configs_sizes_and_options_that_are_there(config, arch, options):
    cfg = read_sized(CONFIGS / config, arch or None)
    before = cfg.to_dict()
    given = {
        key: DictAction._parse_iterable(value) for key, value in (option.split("=", 1) for option in options.split())
    }
    cfg.merge_from_dict(given)
    for key in given:
        *path, last = key.split(".")
        node = before
        for part in path:
            node = node[part]
        assert last in node or last in TAKEN.get(path[-1] if path else "", ()), f"{config}: {key}"
    learngene = cfg.get("model", {}).get("student", {}).get("learngene")
    if options and learngene:
        with torch.device("meta"):
            MODELS.build(learngene)
