"""model-index.yml, metafiles and READMEs of the config folders: OpenMMLab's form, and what the configs really are."""

import ast
from pathlib import Path

import pytest
import yaml

from mmlearngene import ViTSpec
from mmlearngene.cli.config_learngene import from_config

pytest.importorskip("mmengine")
from mmlearngene.recipes import read_sized  # noqa: E402

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
METAFILES = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
ENTRIES = [(path, model) for path in METAFILES for model in yaml.safe_load((ROOT / path).read_text())["Models"]]
BASES = {  # configs that only others use
    "cluster/transfer.py",
    "controls/des.py",
    "demo/base.py",
    "demo/distill.py",
    "demo/training_images.py",
    "lets/transfer.py",
    "study/camvid_cifar10.py",
    "sws/transfer.py",
    "tleg/transfer.py",
}
SETS = {  # file of _base_ -> its data set
    "ade20k": "ADE20K",
    "cars196": "Stanford Cars",
    "cifar100_224": "CIFAR-100",
    "cifar100_deit": "CIFAR-100",
    "cifar10_224": "CIFAR-10",
    "cifar10_deit": "CIFAR-10",
    "cityscapes": "Cityscapes",
    "cub200": "CUB-200-2011",
    "flowers102": "Oxford 102 Flowers",
    "food101": "Food-101",
    "imagenet_deit": "ImageNet-1k",
    "imagenet_deit_repeated": "ImageNet-1k",
    "imagenet_unlabelled": "ImageNet-1k",
    "inat2019": "iNaturalist 2019",
    "pascal_context": "Pascal Context",
    "pascal_context_59": "Pascal Context",
}


def doc(path: Path) -> str:
    """The first line of a config's docstring."""
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0].rstrip(".")


def set_of(path: Path) -> str | None:
    """The data set of a config: of the nearest of its bases that names one; None if it defines its own."""
    bases = [path]
    while bases:
        if found := next((SETS[base.stem] for base in bases if base.stem in SETS), None):
            return found
        bases = [base for each in bases for base in bases_of(each)]
    return None


def bases_of(path: Path) -> list[Path]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            named = ast.literal_eval(node.value)
            return [(path.parent / base).resolve() for base in ([named] if isinstance(named, str) else named)]
    return []


def sizes_of(config: str) -> dict[str, int]:
    """Parameters and multiply-accumulates of a config: of a descendant, or what an Aux-Net's learngene stores."""
    cfg = read_sized(ROOT / config)
    model = cfg.model.get("student", cfg.model)
    backbone = model.get("backbone") or {}
    if "num_heads" not in (backbone.get("arch") or {}):
        learngene = from_config(ROOT / config)
        return dict(Parameters=learngene.stored_params()["total"], FLOPs=learngene.aux_spec.macs)
    arch, token = backbone.arch, backbone.with_cls_token
    spec = ViTSpec(
        arch.num_heads, arch.num_layers, head_dim=arch.embed_dims // arch.num_heads, class_token=token,
        patch_size=backbone.patch_size, img_size=backbone.img_size, in_channels=backbone.get("in_channels", 3),
        pool="cls" if token else "avg_norm", num_classes=model.head.num_classes,
    )  # fmt: skip
    return dict(Parameters=spec.num_params, FLOPs=spec.macs)


@pytest.mark.parametrize("path", METAFILES)
def test_a_collection_has_a_readme_that_names_its_paper(path):
    (collection,) = yaml.safe_load((ROOT / path).read_text())["Collections"]
    page = (ROOT / collection["README"]).read_text()
    paper = collection.get("Paper", {})
    assert page.startswith(f"# {collection['Name']}\n")
    assert paper.get("URL", "") in page and paper.get("Title", "") in page


def test_every_folder_lists_its_configs():
    folders = sorted(path for path in CONFIGS.iterdir() if path.is_dir() and path.name != "_base_")
    assert sorted(METAFILES) == [f"configs/{folder.name}/metafile.yml" for folder in folders]
    listed = {model["Config"] for _, model in ENTRIES}
    for folder in folders:
        rows = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| [")]
        files = sorted(folder.glob("*.py"))
        assert rows == [f"| [{file.name}]({file.name}) | {doc(file)} |" for file in files], folder
        names = {str(file.relative_to(CONFIGS)) for file in files}
        assert {f"configs/{name}" for name in names - BASES} == {
            each for each in listed if Path(each).parent.name == folder.name
        }
    assert all((CONFIGS / name).is_file() for name in BASES)


def test_models_are_their_configs_and_figures_of_papers_are_marked():
    names = [model["Name"] for _, model in ENTRIES]
    assert len(names) == len(set(names)) > 60
    sized = [model for _, model in ENTRIES if "Parameters" in model["Metadata"]]
    for path, model in ENTRIES:
        collections = yaml.safe_load((ROOT / path).read_text())["Collections"]
        assert model["In Collection"] == collections[0]["Name"]
        assert model["Metadata"]["Training Data"] == (
            set_of(ROOT / model["Config"]) or model["Metadata"]["Training Data"]
        )
        assert "Weights" not in model  # there are none to download
        for result in model.get("Results", []):
            assert {"Task", "Dataset", "Metrics"} == result.keys()
            assert all(metric.endswith("the paper's)") for metric in result["Metrics"])
    for model in sized[::8]:  # to read all configs takes long
        assert {key: model["Metadata"][key] for key in ("Parameters", "FLOPs")} == sizes_of(model["Config"]), model


def test_a_data_set_is_found_by_the_nearest_base():
    assert set_of(CONFIGS / "lets/des_h6_l12_cars196.py") == "Stanford Cars"
    assert set_of(CONFIGS / "seg/des_h6_l12_cityscapes.py") == "Cityscapes"
    named = [model["Config"] for _, model in ENTRIES if set_of(ROOT / model["Config"])]
    assert len(named) > 80
