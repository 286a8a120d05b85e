"""``--arch``: a config that takes a size has it in the end, with what a paper sets by size; the others refuse it."""

import argparse
import doctest
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mmengine")
from mmengine.config import Config  # noqa: E402

from mmlearngene import LearngeneError, ViTSpec, recipes  # noqa: E402
from mmlearngene.io.config_files import read_config  # noqa: E402
from mmlearngene.recipes import Size, read_sized, vit_arch  # noqa: E402

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("*/*.py") if path.parts[-2] != "_base_")
ROWS = [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]


def refusal(name: str, arch: str) -> str:
    with pytest.raises(LearngeneError) as error:
        read_sized(CONFIGS / name, arch)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_takes_a_size_or_refuses_it(name):
    """A size of the same heads, as some learngenes keep them. Nothing else than what follows from it changes."""
    cfg = read_config(CONFIGS / name, import_custom_modules=False)
    if cfg.get("arch") is None:
        assert "is of one size, which cannot be changed" in refusal(name, "h6-l5")
        return
    asked = Size(f"h{Size(cfg.arch).heads}-l5")
    sized = read_sized(CONFIGS / name, asked)
    assert sized.arch == asked and sized.keys() == cfg.keys()
    backbones = [each.model.get("student", each.model).backbone for each in (cfg, sized)]
    dim = backbones[0].arch.embed_dims // Size(cfg.arch).heads
    assert [backbone.arch for backbone in backbones] == [vit_arch(each, dim) for each in (cfg.arch, asked)]
    assert backbones[1].get("out_indices", [4])[-1] == 4  # of five layers


def test_what_cannot_be_is_refused_before_any_work():
    assert "des_s_h12_l12.py is of one size" in (message := refusal("cluster/des_s_h12_l12.py", "h6-l6"))
    assert message.endswith("configs/cluster/des.py, which takes one")
    assert refusal("demo/base.py", "h6-l6").endswith("des.py, which takes one")
    assert refusal("study/camvid_aux.py", "h6-l6").endswith("expected it without --arch")
    assert refusal("tleg/des.py", "h5-l9").endswith("expected 3, 6 or 12 heads; the nearest is --arch h6-l9")
    assert refusal("peg/des.py", "h6-l14").endswith("3, 6 or 12 heads and 1 to 12 layers; the nearest is --arch h6-l12")
    assert "as in 'h6-l6'" in refusal("lets/des.py", "6")
    assert "expected one number of heads" in refusal("lets/des.py", "h4,6-l2")
    assert "expected 4 layers or more" in refusal("seg/des_h6_l12_ade20k.py", "h6-l3")
    assert "no such file" in refusal("lets/dse.py", "h6-l3")


def test_a_size_is_asked_for_one_config_alone():
    """A teacher's config, say, that is read in the same process afterwards, has its own size."""
    read_sized(CONFIGS / "demo/des.py", "h4-l6")
    assert Config.fromfile(CONFIGS / "demo/des.py").arch == "h6-l8"
    refusal("tleg/des.py", "h5-l9")
    assert Config.fromfile(CONFIGS / "demo/des.py").arch == "h6-l8"


# ---------------------------------------------------------------------- what the papers set by size


@pytest.mark.parametrize("layers", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("heads", [6, 8, 10, 12])
def test_lets_has_its_rate_by_width_and_its_rows_by_depth(heads, layers):
    cfg = read_sized(CONFIGS / "lets/des.py", f"h{heads}-l{layers}")
    width = 64 * heads
    assert cfg.model.backbone.arch == dict(
        embed_dims=width, num_heads=heads, num_layers=layers, feedforward_channels=4 * width
    )
    assert cfg.model.head.in_channels == width
    assert cfg.optim_wrapper.optimizer.lr == (5e-5 if heads == 6 else 1e-5)
    assert cfg.model.init_cfg.get("rows") == (ROWS if layers == 12 else None)


@pytest.mark.parametrize(
    "method, heads, made, epochs, rate",
    [
        ("tleg", 3, "aux_deit_ti/epoch_150", 50, 5e-4),
        ("tleg", 6, "aux_deit_s/epoch_150", 35, 5e-4),
        ("tleg", 12, "aux_deit_b/epoch_100", 40, 5e-4),
        ("sws", 6, "aux_deit_s/epoch_150", 10, 5e-5),
        ("sws", 12, "aux_deit_b/epoch_100", 10, 1e-5),
    ],
)
def test_tleg_and_sws_have_a_learngene_and_a_length_by_width(method, heads, made, epochs, rate):
    for layers in (3, 7, 12, 16):
        cfg = read_sized(CONFIGS / f"{method}/des.py", f"h{heads}-l{layers}")
        assert cfg.model.init_cfg.checkpoint == f"work_dirs/{method}/{made}.learngene.safetensors"
        assert (cfg.train_cfg.max_epochs, cfg.optim_wrapper.optimizer.lr) == (epochs, rate)
        assert (cfg.model.backbone.arch.num_layers, cfg.model.head.in_channels) == (layers, 64 * heads)


@pytest.mark.parametrize("heads, name", [(3, "deit_ti"), (6, "deit_s"), (12, "deit_b")])
def test_what_is_extracted_comes_from_an_ancestry_as_wide(heads, name):
    for method in ("cluster", "peg"):
        cfg = read_sized(CONFIGS / f"{method}/des.py", f"h{heads}-l12")
        assert cfg.model.init_cfg.checkpoint == f"work_dirs/{method}/{name}.safetensors"


def test_the_heads_of_segmentation_follow():
    upernet = read_sized(CONFIGS / "seg/des_h6_l12_ade20k.py", "h12-l16").model
    assert upernet.backbone.out_indices == [3, 7, 11, 15] and upernet.neck.embed_dim == 768
    assert upernet.decode_head.in_channels == [768] * 4 and upernet.auxiliary_head.in_channels == 768
    assert (upernet.decode_head.channels, upernet.auxiliary_head.channels) == (512, 256)  # the decoder's own
    segmenter = read_sized(CONFIGS / "seg/des_h6_l12_cityscapes_segmenter.py", "h12-l12").model.decode_head
    assert (segmenter.in_channels, segmenter.channels, segmenter.embed_dims, segmenter.num_heads) == (768, 768, 768, 12)
    linear = read_sized(CONFIGS / "seg/des_h6_l12_ade20k_linear.py", "h8-l10").model
    assert (linear.backbone.frozen_stages, linear.backbone.out_indices, linear.decode_head.channels) == (10, [9], 512)
    detector = read_sized(CONFIGS / "det/des_h6_l12_coco.py", "h6-l9").model
    assert (detector.backbone.arch.num_layers, detector.neck.in_channels) == (9, 384)


@given(st.integers(1, 24), st.integers(1, 48))
def test_a_size_is_a_word(heads, layers):
    size = Size(f"H{heads}_L{layers}")
    assert (size, size.heads, size.layers) == (f"h{heads}-l{layers}", heads, layers)
    assert ViTSpec.parse(size).num_layers == layers


def test_the_examples_hold():
    assert doctest.testmod(recipes).failed == 0


def test_a_config_of_ones_own_takes_a_size(tmp_path):
    """As the page says it."""
    page = (CONFIGS.parent / "docs" / "train.md").read_text()
    (text,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "size(" in block)
    own = tmp_path / "own.py"
    own.write_text(text.replace('"configs/', f'"{CONFIGS}/'))
    assert read_sized(own).model.backbone.arch == vit_arch("h6-l12")
    cfg = read_sized(own, "h4-l8")
    assert cfg.model.backbone.arch == vit_arch("h4-l8")
    assert (cfg.model.head.in_channels, cfg.model.head.num_classes) == (256, 10)
    cfg.dump(tmp_path / "written.py")  # as a run does
    assert Config.fromfile(tmp_path / "written.py").to_dict() == cfg.to_dict()
    assert "of one size" in refusal(tmp_path / "written.py", "h6-l8")


# ---------------------------------------------------------------------- the command line


def loaded(*words: str) -> Config:
    from mmlearngene.engine.run.launch import add_arguments, load_config

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return load_config(parser.parse_args([str(CONFIGS / "lets/des.py"), *words]))


def test_a_run_of_a_size_has_a_folder_of_its_own():
    assert loaded().work_dir == "work_dirs/lets/des"
    assert loaded("--arch", "H8_L10").work_dir == "work_dirs/lets/des/h8-l10"
    assert loaded("--arch", "h8-l10", "--work-dir", "mine").work_dir == "mine"
    assert loaded("--arch", "h8-l10", "--cfg-options", "work_dir=mine").work_dir == "mine"


def test_other_options_come_after_the_size():
    cfg = loaded("--arch", "h8-l10", "--cfg-options", "model.head.in_channels=5")
    assert (cfg.model.backbone.arch.num_heads, cfg.model.head.in_channels) == (8, 5)
    with pytest.raises(LearngeneError, match="arch=h8-l10 changes no model; expected --arch h8-l10"):
        loaded("--cfg-options", "arch=h8-l10")
