"""Images of all kinds have the pixels that a viewer shows."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmlearngene import LearngeneError
from mmlearngene.io.images import FolderImages, open_image

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)  # rows and columns are told apart
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_keeps_its_shades(channels, suffix, tmp_path):
    path = saved(tmp_path / f"x.{suffix}", Image.fromarray(RAMP.astype(np.uint16) * 257))
    found = np.asarray(open_image(path, channels))
    assert found.shape == ((8, 8) if channels == 1 else (8, 8, 3))
    assert (found == (RAMP if channels == 1 else RAMP[..., None])).all()


def test_a_palette_and_one_bit_are_colours_and_transparency_is_left_out(tmp_path):
    colours = COLOURS // 85 * 85  # few enough for a palette
    few = Image.fromarray(colours).quantize(64, dither=Image.Dither.NONE)
    assert few.mode == "P"
    assert (np.asarray(open_image(saved(tmp_path / "p.png", few))) == colours).all()
    bits = Image.fromarray(RAMP > 100)
    assert (np.asarray(open_image(saved(tmp_path / "1.png", bits), 1)) == 255 * (RAMP > 100)).all()
    see_through = Image.fromarray(np.dstack([COLOURS, RAMP]))
    assert (np.asarray(open_image(saved(tmp_path / "a.png", see_through))) == COLOURS).all()


def test_inks_are_turned_into_light(tmp_path):
    inks = Image.fromarray(np.dstack([255 - COLOURS, np.zeros_like(RAMP)]), "CMYK")
    assert (np.asarray(open_image(saved(tmp_path / "x.tif", inks))) == COLOURS).all()
    found = np.asarray(open_image(saved(tmp_path / "x.jpg", inks, quality=100)), int)
    assert np.abs(found - COLOURS).max() < 12  # jpeg's own loss


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_as_its_camera_says(orientation, tmp_path):
    turned = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "x.png", Image.fromarray(COLOURS[:, :4]), exif=exif)
    assert (np.asarray(open_image(path)) == turned[orientation](COLOURS[:, :4])).all()


def test_a_folder_gives_each_image_itself_or_names_it(tmp_path):
    for label, value in (("a", 10), ("b", 20)):
        (tmp_path / label).mkdir()
        for number in (2, 10):
            saved(tmp_path / label / f"{number}.png", Image.new("L", (2, 2), value + number))
    images = FolderImages(tmp_path, lambda image: torch.tensor(np.asarray(image)), 1)
    assert images.classes == ["a", "b"] and len(images) == 4
    assert [(int(image[0, 0]), label) for image, label in images] == [(12, 0), (20, 0), (22, 1), (30, 1)]
    (tmp_path / "a/10.png").write_bytes(b"no image")
    assert int(images[0][0][0, 0]) == 12
    with pytest.raises(LearngeneError, match="a/10.png cannot be read as an image .UnidentifiedImageError"):
        images[1]
