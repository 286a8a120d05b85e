"""Every ImageNet and transfer config, its ViT and data made tiny, trains, evaluates and writes its learngene."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmlearngene import Learngene, ViTSpec, ViTWeights, extract, initialize
from mmlearngene.engine.run.init_check import check_starts
from mmlearngene.learngenes import LEARNGENES
from mmlearngene.models import AuxNet
from mmlearngene.recipes import read_sized
from mmlearngene.registry import MODELS

from ..support.configs import CONFIGS, HEAD_DIM, PATCH, images, shrink, teacher  # noqa: F401  (fixtures)

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
def test_a_config_trains(name, arch, images, teacher, tmp_path):  # noqa: F811
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
