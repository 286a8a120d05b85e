"""model-index.yml and the metafiles: OpenMMLab's form, configs that exist, sizes that are the configs'."""

from pathlib import Path

import pytest
import yaml

from mmlearngene import ViTSpec
from mmlearngene.cli.config_learngene import from_config

pytest.importorskip("mmengine")
from mmlearngene.recipes import read_sized  # noqa: E402

ROOT = Path(__file__).parents[1]
METAFILES = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
ENTRIES = [(path, model) for path in METAFILES for model in yaml.safe_load((ROOT / path).read_text())["Models"]]


def sizes_of(config: str, arch: str | None) -> dict[str, int]:
    """Parameters and multiply-accumulates of a config: of a descendant, or what an Aux-Net's learngene stores."""
    cfg = read_sized(ROOT / config, arch)
    backbone = cfg.model.get("backbone", {})
    if "arch" not in backbone:
        learngene = from_config(ROOT / config)
        return dict(Parameters=learngene.stored_params()["total"], FLOPs=learngene.aux_spec.macs)
    arch, token = backbone.arch, backbone.with_cls_token
    spec = ViTSpec(
        arch.num_heads, arch.num_layers, head_dim=arch.embed_dims // arch.num_heads, class_token=token,
        pool="cls" if token else "avg_norm", num_classes=cfg.model.head.num_classes,
    )  # fmt: skip
    return dict(Parameters=spec.num_params, FLOPs=spec.macs)


@pytest.mark.parametrize("path", METAFILES)
def test_a_collection_names_its_paper_and_page(path):
    (collection,) = yaml.safe_load((ROOT / path).read_text())["Collections"]
    page = (ROOT / collection["README"]).read_text()
    paper = collection["Paper"]
    assert paper.get("URL", "") in page and paper["Title"] in page.replace("\n", " ")


def test_models_are_their_configs_and_figures_of_papers_are_marked():
    names = [model["Name"] for _, model in ENTRIES]
    assert len(names) == len(set(names)) > 60
    for number, (path, model) in enumerate(ENTRIES):
        collections = yaml.safe_load((ROOT / path).read_text())["Collections"]
        assert model["In Collection"] == collections[0]["Name"]
        assert (ROOT / model["Config"]).is_file()
        if number % 8 == 0:  # to read all configs takes long
            arch = model["Metadata"].get("Arch")
            expected = sizes_of(model["Config"], arch)
            assert {key: model["Metadata"][key] for key in ("Parameters", "FLOPs")} == expected, model
        assert "Weights" not in model  # there are none to download
        for result in model.get("Results", []):
            assert {"Task", "Dataset", "Metrics"} == result.keys()
            assert all(metric.endswith("the paper's)") for metric in result["Metrics"])
