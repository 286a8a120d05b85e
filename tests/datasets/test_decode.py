"""A JPEG is read no larger than its crop needs, and the crop is the same."""

from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import DefaultScope
from mmpretrain.datasets.transforms import RandomResizedCrop
from mmpretrain.registry import DATASETS
from PIL import Image
from scipy.stats import ks_2samp

from mmlearngene.datasets.decode import LoadRandomResizedCrop
from mmlearngene.engine.run.launch import use_folder
from mmlearngene.io.config_files import read_config

ROOT = Path(__file__).parents[2]


def photo(side: tuple[int, int], seed: int = 0) -> Image.Image:
    """Smooth noise, of contents at every scale, as photos have."""
    rng, image = np.random.default_rng(seed), np.zeros((side[1], side[0], 3))
    for cells in (4, 16, 64):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(side, Image.BICUBIC)
        image += np.asarray(coarse, float) / 3
    return Image.fromarray(image.astype(np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    photo((320, 240)).save(folder / "small.jpg", quality=95)
    photo((1600, 1200)).save(folder / "large.jpg", quality=95)
    photo((320, 240)).convert("L").save(folder / "grey.jpg", quality=95)
    photo((320, 240)).save(folder / "other.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo((320, 240)).save(folder / "turned.jpg", quality=95, exif=exif)
    return folder


def both(path, seed, scale=64, **options):
    """What it gives, and what the two transforms give, of one seed."""
    found = []
    two = RandomResizedCrop(scale, interpolation="bicubic", backend="pillow", **options)
    for read in (LoadRandomResizedCrop(scale, **options), lambda results: two(LoadImageFromFile()(results))):
        np.random.seed(seed)
        found.append(read(dict(img_path=str(path))))
        found[-1]["next"] = np.random.rand()
    return found


@pytest.mark.parametrize("name", ["small.jpg", "large.jpg", "grey.jpg", "other.png", "turned.jpg"])
@pytest.mark.parametrize("scale", [64, (32, 48)])
def test_the_same_seed_gives_the_same_crop(files, name, scale):
    for seed in range(6):
        one, two = both(files / name, seed, scale)
        assert one["next"] == two["next"]  # as many numbers were drawn
        assert one["img"].shape == two["img"].shape == one["img_shape"] and one["img"].dtype == np.uint8
        assert one["ori_shape"] == two["ori_shape"]
        apart = np.abs(one["img"].astype(int) - two["img"].astype(int))
        assert apart.mean() < 2.5 and np.corrcoef(one["img"].ravel(), two["img"].ravel())[0, 1] > 0.995


def test_what_is_decoded_whole_differs_by_rounding(files):
    for seed in range(6):
        one, two = both(files / "small.jpg", seed, scale=128)  # of 240 rows
        assert np.abs(one["img"].astype(int) - two["img"].astype(int)).max() <= 4


def test_the_distribution_is_the_same(files):
    """Of means, deviations and details over many crops with seeds of their own, and no bias where the seeds agree."""
    statistics = {"one": [], "two": []}
    bias = []
    for seed in range(60):
        one, two = (each["img"].astype(float) for each in both(files / "large.jpg", seed))
        other = both(files / "large.jpg", 1000 + seed)[1]["img"].astype(float)
        bias.append((one - two).mean())
        for name, image in (("one", one), ("two", other)):
            statistics[name].append([image.mean(), image.std(), np.abs(np.diff(image, axis=1)).mean()])
    one, two = (np.array(statistics[name]).T for name in ("one", "two"))
    assert all(ks_2samp(a, b).pvalue > 0.01 for a, b in zip(one, two, strict=True))
    assert abs(np.mean(bias)) < 0.3


def test_a_large_image_is_decoded_small(files, monkeypatch):
    sizes = []
    convert = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, mode: sizes.append(self.size) or convert(self, mode))
    np.random.seed(0)
    transform = LoadRandomResizedCrop(64, crop_ratio_range=(0.9, 1.0))
    transform(dict(img_path=str(files / "large.jpg")))
    transform(dict(img_path=str(files / "small.jpg")))
    assert sizes == [(200, 150), (160, 120)]
    LoadRandomResizedCrop(256, crop_ratio_range=(0.9, 1.0))(dict(img_path=str(files / "small.jpg")))
    assert sizes[-1] == (320, 240)  # what is magnified is decoded whole


def test_the_config_reads_a_folder_of_ones_own(files, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "one").mkdir(parents=True)
        (tmp_path / split / "one" / "a.jpg").write_bytes((files / "large.jpg").read_bytes())
    cfg = read_config(ROOT / "configs/_base_/datasets/imagenet_deit_reduced.py")
    use_folder(cfg, tmp_path)
    names = [transform.type for transform in cfg.train_dataloader.dataset.pipeline]
    assert names[0] == "mmlearngene.LoadRandomResizedCrop" and "LoadImageFromFile" not in names
    assert not {"RandomResizedCrop"} & set(names) and names[-1] == "PackInputs"
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        sample = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert sample["inputs"].shape == (3, 224, 224)
