"""How images are made ready: what is read of a folder agrees with AutoImageProcessor on pixels, on the way out too."""

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from mmlearngene import LearngeneError, ViTSpec, extract
from mmlearngene.frameworks import layouts_of
from mmlearngene.io.preprocessing import image_processor, input_size_of, preprocessing_of
from mmlearngene.learngenes.attention import read_images

from ..support.command import run
from ..support.tiny_models import hugging_face

transformers = pytest.importorskip("transformers")
# the processors of the ViTs that are known here, and the model_type by which an old file without a class is read
PROCESSORS = {
    "ViTImageProcessor": "vit", "DeiTImageProcessor": "deit", "BitImageProcessor": "dinov2",
    "DINOv3ViTImageProcessor": "dinov3_vit", "CLIPImageProcessor": "clip", "SiglipImageProcessor": "siglip",
    "BlipImageProcessor": "blip", "BeitImageProcessor": "beit", "ChineseCLIPImageProcessor": "chinese_clip",
    "OwlViTImageProcessor": "owlvit", "Ovis2ImageProcessor": "ovis2",
}  # fmt: skip
# those that do what timm has no words for, tiles, padding or sides of their own; mean and deviation alone are read
OTHERS = ["DPT", "Flava", "GotOcr2", "Idefics2", "Idefics3", "Janus", "Owlv2", "SmolVLM", "Tipsv2"]
WRITTEN = ["today", "old", "nested", "fast", "extractor"]
SIDES = st.sampled_from([16, 20, 24])
NUMBERS = st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3)


def square(side):
    return dict(height=side, width=side)


@st.composite
def configs(draw):
    """What a folder may say of its images: every entry said, said in an old form, null, or left to the class."""
    told = {}
    if draw(st.booleans()):
        told["image_mean"] = draw(NUMBERS | st.floats(0.1, 0.9))
    if draw(st.booleans()):
        told["image_std"] = draw(NUMBERS | st.floats(0.1, 0.9))
    if draw(st.booleans()):
        told["do_normalize"] = draw(st.booleans())
        if not told["do_normalize"] and draw(st.booleans()):
            told |= dict(image_mean=None, image_std=None)
    if draw(st.booleans()):
        told |= draw(st.sampled_from([dict(do_rescale=False), dict(rescale_factor=1 / 127.5), dict(do_rescale=True)]))
    if draw(st.booleans()):
        told["resample"] = draw(st.sampled_from([2, 3]))
    side = draw(SIDES)
    told["size"] = draw(st.sampled_from([square(side), dict(shortest_edge=side), side]))
    told["crop_size"] = draw(st.sampled_from([square(16), 16]))
    if draw(st.booleans()):
        told["do_center_crop"] = draw(st.booleans())
    return told


def smooth(height, width):
    """A smooth image: what is left of differences is rounding, not ringing."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(6 * rows + 2 * channel) * np.cos(5 * columns + channel) for channel in range(3)]
    return Image.fromarray((127.5 + 120 * np.stack(waves, -1)).astype(np.uint8))


def pixels(processor, image):
    return processor(image, return_tensors="pt")["pixel_values"][0].float()


def write(folder, told, cls, where):
    """The folder's file as it is written today, of old without the class or under its older names, or nested by
    transformers 5."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(model_type=PROCESSORS[cls])))
    named = dict(told, image_processor_type=cls)
    if where == "nested":
        (folder / "processor_config.json").write_text(json.dumps(dict(image_processor=named)))
        (folder / "preprocessor_config.json").write_text(json.dumps(dict(named, image_mean=[0.9] * 3)))
    else:
        older = dict(fast="image_processor_type", extractor="feature_extractor_type")
        endings = dict(fast="ImageProcessorFast", extractor="FeatureExtractor")
        if where in older:
            named = {**told, older[where]: cls.removesuffix("ImageProcessor") + endings[where]}
        (folder / "preprocessor_config.json").write_text(json.dumps(told if where == "old" else named))


def test_every_processor_of_the_vits_that_are_known_is_drawn():
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    families = {layout.cls.split(".")[2] for layout in layouts_of("hf")}
    assert families >= {"vit", "swin", "vit_mae", "dinov2_with_registers"}
    known = [IMAGE_PROCESSOR_MAPPING_NAMES.get(family) for family in families]
    others = {f"{name}ImageProcessor" for name in OTHERS}
    assert {entry["torchvision"] for entry in known if entry} == PROCESSORS.keys() | others


@pytest.mark.parametrize("name", OTHERS)
def test_resizing_that_timm_has_no_words_for_is_not_told(name, tmp_path):
    processor = getattr(transformers, f"{name}ImageProcessor")(
        image_mean=[0.2] * 3, image_std=[0.4] * 3, do_normalize=True
    )
    processor.save_pretrained(tmp_path)
    told = preprocessing_of(tmp_path)
    assert told == dict(mean=pytest.approx([0.2] * 3), std=pytest.approx([0.4] * 3)) and not input_size_of(tmp_path)


@pytest.mark.parametrize("cls", PROCESSORS)
@settings(max_examples=25, print_blob=False)
@given(told=configs(), where=st.sampled_from(WRITTEN), sizes=st.sampled_from([(40, 40), (30, 50)]))
def test_it_is_what_transformers_does(cls, told, where, sizes, tmp_path_factory):
    assume(cls[:6] != "DINOv3" or told.get("do_rescale", True))  # which transformers itself cannot do
    write(folder := tmp_path_factory.mktemp("vit"), told, cls, where)
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)
    assert type(theirs).__name__ == cls
    image = smooth(*sizes)
    expected = pixels(theirs, image)
    ours = preprocessing_of(folder)
    if expected.shape[1] != expected.shape[2]:  # by the shorter side and no crop: what fits in is the middle
        top, left = (round((side - 2 * (min(expected.shape[1:]) // 2)) / 2) for side in expected.shape[1:])
        expected = expected[:, top:, left:][:, : min(expected.shape[1:]), : min(expected.shape[1:])]
    side = expected.shape[-1]
    assert input_size_of(folder) in ((side, side), None)
    grey = max(1 / (255 * value) for value in ours["std"])  # how far a pixel goes in one level of grey
    # with timm's own transform, as ancestries see images; PIL and torchvision round their levels in their own ways
    transform = create_transform((3, side, side), **{"is_training": False, **ours})
    assert (transform(image) - expected).abs().max() <= 2.01 * grey
    # with the processor that is written for a descendant of the same size
    again = image_processor(ours, ViTSpec(1, 1, img_size=side, patch_size=side))
    floats = cls.startswith("DINOv3")  # which resizes before it rounds
    assert (pixels(again, image) - expected).abs().max() <= (1.01 * grey if floats else 1e-4 * grey * 255)


def test_a_folder_in_and_a_folder_out_want_the_same_pixels_whatever_is_said(tmp_path, capsys):
    hugging_face("ViT").save_pretrained(tmp_path / "in")
    told = dict(size=square(12), do_rescale=False, image_mean=127.5, image_std=[100.0, 120.0, 140.0], resample=3)
    transformers.ViTImageProcessor(**told).save_pretrained(tmp_path / "in")
    gene = extract("first-k", tmp_path / "in").save(tmp_path / "gene.safetensors")
    assert run("expand", gene, "--arch", "h2-l1", "--layout", "hf", "-o", tmp_path / "out") == 0
    image = smooth(20, 30)
    one, other = (pixels(transformers.AutoImageProcessor.from_pretrained(tmp_path / f), image) for f in ("in", "out"))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "told",
    [
        dict(do_resize=False),
        dict(size=dict(longest_edge=20)),
        dict(size=dict(height=20, width=30), do_center_crop=True),
    ],
)
def test_resizing_that_has_no_words_is_left_out(told, tmp_path):
    write(tmp_path, dict(told, crop_size=square(16)), "ViTImageProcessor", "today")
    assert preprocessing_of(tmp_path).keys() == {"mean", "std"}


def test_a_damaged_file_is_told_in_one_line(tmp_path):
    for text in ("{", "[]", '{"image_mean": "x"}', '{"image_processor_type": "NobodysProcessor"}'):
        (tmp_path / "preprocessor_config.json").write_text(text)
        (tmp_path / "config.json").write_text('{"model_type": "vit"}')
        with pytest.raises(LearngeneError, match="preprocessor_config.json is damaged") as error:
            preprocessing_of(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_of_16_bits_are_what_they_are_in_8(channels, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    levels[:10] //= 8  # a dark one would pass for 8 bits
    for name, values in (("eight", levels), ("sixteen", levels.astype(np.uint16) * 257)):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "a.png")
    spec = ViTSpec(1, 1, img_size=16, patch_size=16, in_channels=channels)
    one, other = (torch.cat(list(read_images(tmp_path / name, spec))) for name in ("eight", "sixteen"))
    assert one.shape == (1, channels, 16, 16) and torch.equal(one, other)


def test_images_of_other_channels_are_refused_in_one_line(tmp_path):
    smooth(20, 20).save(tmp_path / "a.png")
    with pytest.raises(LearngeneError, match="the ancestry takes 4 channels; a folder of images has 1 or 3"):
        list(read_images(tmp_path, ViTSpec(1, 1, img_size=16, patch_size=16, in_channels=4)))
    with pytest.raises(LearngeneError, match=r"\(0.1, 0.2\) are numbers of 2 channels; expected 3"):
        list(read_images(tmp_path, ViTSpec(1, 1, img_size=16, patch_size=16), mean=(0.1, 0.2)))


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    smooth(20, 20).save(tmp_path / "b.png")
    with pytest.raises(LearngeneError, match="a.png cannot be read as an image") as error:
        list(read_images(tmp_path, ViTSpec(1, 1, img_size=16, patch_size=16)))
    assert "\n" not in str(error.value)
