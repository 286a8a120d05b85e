"""Every config of methods that extract, its ViT and data made tiny, trains from a learngene of a tiny ancestry."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmlearngene import ViTSpec, ViTWeights, extract, load
from mmlearngene.engine.run.init_check import check_starts
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.io.atomic import save_tensors
from mmlearngene.recipes import read_sized

from ..support.configs import CONFIGS, HEAD_DIM, PATCH, images, shrink, teacher  # noqa: F401  (fixtures)

NAMES = [
    f"{folder}/{path.name}"
    for folder in ("cluster", "peg", "principal")
    for path in sorted((CONFIGS / folder).glob("*.py"))
]
NAMES = [name for name in NAMES if "swin" not in name]  # those are tested with cluster-swin
NAMES.remove("cluster/transfer.py")  # which has no data
SIZES = {"cluster/des.py": ["h3-l12", "h6-l6", "h12-l12"], "peg/des.py": ["h3-l12", "h12-l12"]}
HEADS = {"deit_ti": 3, "deit_s": 6, "deit_b": 12}
OPTIONS = {"cluster": dict(heads=[[0, 2]] * 12, ffns=[*range(10), 9, 9]), "peg": {}}
OPTIONS["principal"] = dict(data="noise", num_images=16)


def tiny_ancestry(name: str, layers: int = 12) -> ViTWeights:
    spec = ViTSpec(HEADS[name], layers, HEAD_DIM, patch_size=PATCH, class_token=True, pool="cls")
    return ViTWeights(spec, {key: 0.1 * torch.randn(shape) for key, shape in spec.shapes().items()})


def gene(path: str, folder: Path) -> str:
    """The file that a config asks for, from a tiny ancestry."""
    method, name = Path(path).parent.name, Path(path).stem
    if name == "des_s_h6_l6":  # a tuned descendant
        learngene = extract("pre-fin", tiny_ancestry("deit_s", layers=6))
    elif name == "pre-fin":  # a control
        learngene = extract(name, tiny_ancestry("deit_s"))
    elif name == "deit_s_9":
        learngene = extract(method, tiny_ancestry("deit_s"), ffn_outputs=9)
    else:
        learngene = extract(method, tiny_ancestry(name), **OPTIONS[method])
    return str(learngene.save(folder / f"{name}.safetensors"))


@pytest.mark.parametrize("name, arch", [(name, arch) for name in NAMES for arch in (None, *SIZES.get(name, []))])
def test_a_config_trains(name, arch, images, teacher, tmp_path):  # noqa: F811
    cfg = read_sized(CONFIGS / name, arch)
    owner = cfg.model.get("student", cfg.model)  # of the learngene: an Aux-Net, by itself or in a distiller
    learngene = owner.pop("learngene", None)
    shrink(cfg, images, teacher, tmp_path)
    if learngene is None:
        cfg.model.init_cfg.checkpoint = gene(cfg.model.init_cfg.checkpoint, tmp_path)
    elif learngene.type == "mmlearngene.LoadLearngene":
        owner.learngene = dict(type=learngene.type, path=gene(learngene.path, tmp_path))
    else:
        file = save_tensors(tmp_path / "ancestry.safetensors", TIMM.state_dict(tiny_ancestry("deit_s")))
        owner.learngene = {**learngene, "ancestry": str(file), "like": tiny_ancestry("deit_s").spec}
    check_starts(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
    exported = tmp_path / f"epoch_{cfg.train_cfg.max_epochs}.learngene.safetensors"
    assert exported.exists() == (learngene is not None)
    if learngene is not None:
        load(exported).expand("h4-l10")
