"""What is installed without the checkout: a wheel with configs and tools, found by OpenMMLab's names."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from mmlearngene import LearngeneError
from mmlearngene.io.config_files import config_file, name_packages, packaged_config, read_config
from mmlearngene.recipes import read_sized

ROOT = Path(__file__).parents[1]
SOURCES = ("mmlearngene", "configs", "tools", "setup.py", "pyproject.toml", "README.md", "LICENSE", "model-index.yml")
BUILD = "from setuptools import build_meta; print(build_meta.build_sdist('out'), build_meta.build_wheel('out'))"
NEW_USER = """
import runpy, sys
from pathlib import Path
import numpy as np
import mmlearngene
assert Path(mmlearngene.__file__).is_relative_to(sys.argv[1]), mmlearngene.__file__
from mmlearngene.recipes import read_sized
Path("own.py").write_text('_base_ = "mmlearngene::demo/des.py"\\nmodel = dict(init_cfg=None)\\n')
cfg = read_sized("own.py", "h4-l6")
print("own", cfg.model.backbone.arch.num_heads, cfg.default_scope)

import mmpretrain
from mmengine.utils import get_installed_path
from mmpretrain.apis.model import ModelHub
mim = Path(get_installed_path("mmlearngene"), ".mim")
ModelHub.register_model_index(mim / "model-index.yml", config_prefix=mim)
model = mmpretrain.get_model("lets_des_h6_l12", backbone=dict(arch=dict(num_layers=1)))
print("model", type(model).__name__, model.backbone.embed_dims)
classify = mmpretrain.ImageClassificationInferencer(model, classes=[str(number) for number in range(1000)])
(found,) = classify(np.zeros((50, 60, 3), np.uint8))
print("found", found["pred_class"] == str(found["pred_label"]), found["pred_scores"].shape)

sys.argv = ["train.py", "mmlearngene::demo/ancestry.py", "--cfg-options", "train_dataloader.dataset.indices=64",
            "val_dataloader.dataset.indices=32", "train_cfg.max_epochs=1", "log_level=WARNING"]
runpy.run_path(str(mim / "tools" / "train.py"), run_name="__main__")
print("trained", Path("work_dirs/demo/ancestry/epoch_1.pth").is_file())
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "out"


def test_wheel_and_sdist_have_all_configs_and_tools(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    packed = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:  # from which the same wheel can be built: regular files, no links
        sources = {Path(*Path(member.name).parts[1:]).as_posix() for member in archive if member.isreg()}
    files = [path for path in (ROOT / "configs").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files += [
        ROOT / "tools" / name for name in ("train.py", "test.py", "dist_run.py", "dist_train.sh", "slurm_test.sh")
    ]
    expected = {f"mmlearngene/.mim/{path.relative_to(ROOT).as_posix()}" for path in files}
    expected.add("mmlearngene/.mim/model-index.yml")
    assert len(expected) > 150 and expected <= packed and expected <= sources
    assert not [name for name in packed if name.startswith(("tests/", "studies/"))]


def test_a_new_user_finds_configs_tools_and_models_by_their_names(built, tmp_path):
    """Installed into a folder, used from another one, where there is no checkout."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site]
    subprocess.run([*map(str, pip), *map(str, built.glob("*.whl"))], check=True, capture_output=True)
    env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NEW_USER, site], cwd=elsewhere, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for line in ("own 4 mmpretrain", "model ImageClassifier 384", "found True (1000,)", "trained True"):
        assert f"{line}\n" in done.stdout


def test_configs_of_other_packages_are_found_by_their_import_names(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        '_base_ = ["mmseg::_base_/models/segmenter_vit-b16_mask.py", "mmpretrain::_base_/default_runtime.py"]'
    )
    cfg = read_config(own)
    assert cfg.model.decode_head.type == "SegmenterMaskTransformerHead" and cfg.default_scope == "mmpretrain"
    name_packages()  # a second time changes nothing
    assert config_file("mmseg::_base_/default_runtime.py").is_file()


def test_a_base_of_this_package_is_built_in_its_own_scope(tmp_path):
    own = tmp_path / "own.py"
    own.write_text('_base_ = "mmlearngene::lets/des.py"')
    assert "_scope_" not in str(read_config(own).model)
    by_name, by_path = (
        read_sized(name, "h8-l10") for name in ("mmlearngene::lets/des.py", ROOT / "configs/lets/des.py")
    )
    assert by_name.to_dict() == by_path.to_dict() and by_name.model.head.in_channels == 512


@pytest.mark.parametrize(
    "name, message",
    [
        ("mmlearngene::lets/dse.py", "mmlearngene has no such config; did you mean mmlearngene::lets/des.py"),
        ("mmlearngen::lets/des.py", "the package 'mmlearngen' is unknown; .* Did you mean 'mmlearngene'"),
        ("mmrotate::a/b.py", "mmrotate is not installed"),
    ],
)
def test_a_wrong_name_is_told(name, message):
    with pytest.raises(LearngeneError, match=message):
        config_file(name)


def test_links_lead_to_the_folders_at_the_top():
    assert packaged_config("mmlearngene::lets/des.py").resolve() == ROOT / "configs/lets/des.py"
    mim = ROOT / "mmlearngene" / ".mim"
    assert {path.name for path in mim.iterdir()} == {"configs", "tools", "model-index.yml"}
    for path in yaml.safe_load((mim / "model-index.yml").read_text())["Import"]:
        assert (mim / path).is_file()
