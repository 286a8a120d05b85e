"""Training on a part of the data: one option of every classification config."""

from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmlearngene import LearngeneError
from mmlearngene.datasets import BalancedSubset
from mmlearngene.engine.run.launch import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
COUNTS = {"a": 8, "b": 12, "c": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for part in ("train", "val"):
        for name, count in COUNTS.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / part / name / f"{number}.png")
    return root


def config(folder, *options, name="lets/des.py") -> Config:
    given = dict(option.split("=") for option in options)
    given = {key: float(value) if value[0] in "0123456789-." else value for key, value in given.items()}
    arguments = dict(config=str(CONFIGS / name), work_dir=None, arch=None, data=folder, launcher="none", local_rank=0)
    return load_config(Namespace(**arguments, cfg_options=given))


def images(dataset: dict) -> list[str]:
    # as a runner does it, from the config alone
    loader = Runner.build_dataloader(dict(dataset=dataset, batch_size=1, sampler=dict(type="DefaultSampler")))
    found = loader.dataset
    assert set(found.metainfo["classes"]) == set(COUNTS)
    return [found.get_data_info(index)["img_path"] for index in range(len(found))]


@pytest.mark.parametrize("share, counts", [(0.25, (2, 3, 1)), (0.5, (4, 6, 1)), (1.0, (8, 12, 1))])
def test_every_class_has_its_share(folder, share, counts):
    cfg = config(folder, f"train_share={share}")
    dataset = {**cfg.train_dataloader.dataset, "_scope_": "mmpretrain"}
    found = images(dataset)
    assert Counter(Path(path).parent.name for path in found) == dict(zip("abc", counts, strict=True))
    assert found == images(dataset)  # the same images in every run
    assert len(images({**cfg.val_dataloader.dataset, "_scope_": "mmpretrain"})) == sum(COUNTS.values())


def test_a_smaller_part_is_in_a_larger_one_and_the_seed_draws_it(folder):
    dataset = dict(type="CustomDataset", data_root=str(folder / "train"), _scope_="mmpretrain")

    def drawn(share, seed=0):
        found = BalancedSubset(dataset, share, seed)
        return {found.get_data_info(index)["img_path"] for index in range(len(found))}

    assert drawn(0.25) < drawn(0.5) < drawn(1)
    assert drawn(0.5) != drawn(0.5, seed=1)


@pytest.mark.parametrize("share", ["0", "-0.5", "1.5", "25", "half"])
def test_what_is_no_share_is_refused(folder, share):
    with pytest.raises(
        LearngeneError, match=f"train_share={share.replace('25', '25.0')}.*above 0 and up to 1; the near"
    ):
        config(folder, f"train_share={share}")


def test_it_is_for_classification(folder):
    with pytest.raises(LearngeneError, match="train_share=0.5: train_dataloader is not of mmpretrain's classification"):
        config(None, "train_share=0.5", name="seg/des_h6_l12_ade20k.py")


def test_the_config_of_a_run_is_not_divided_twice(folder, tmp_path):
    cfg = config(folder, "train_share=0.5")
    cfg.dump(tmp_path / "again.py")
    assert cfg.train_dataloader.dataset.seed == 0
    again = config(None, "train_share=0.25", "train_share_seed=1", name=tmp_path / "again.py")
    assert again.train_dataloader.dataset.share == 0.25 and again.train_dataloader.dataset.seed == 1
    assert again.train_dataloader.dataset.dataset.type == "CustomDataset"
