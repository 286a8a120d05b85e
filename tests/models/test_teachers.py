"""Teachers as they are found: in half precision, masked, oblong, of one channel, wrapped, of another size."""

import json

import pytest
import timm
import torch

pytest.importorskip("mmpretrain")
transformers = pytest.importorskip("transformers")

from mmlearngene import LearngeneError  # noqa: E402
from mmlearngene.models import HuggingFaceTeacher, LearngeneDistiller, TimmTeacher  # noqa: E402
from mmlearngene.registry import MODELS  # noqa: E402

from ..support.tiny_models import hugging_face  # noqa: E402
from ..support.zoo import shaken  # noqa: E402

SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, patch_size=4)


def preprocessor(channels=3):
    return MODELS.build(
        dict(
            type="mmpretrain.ClsDataPreprocessor", mean=[127.5] * channels, std=[127.5] * channels, to_rgb=channels == 3
        )
    )


def folder(model, path, channels=3, **told):
    model.save_pretrained(path)
    told = dict(
        image_processor_type="ViTImageProcessor", image_mean=[0.5] * channels, image_std=[0.5] * channels, **told
    )
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return str(path)


def vit(**fields):
    return shaken(transformers.ViTModel(transformers.ViTConfig(**{**SIZES, "image_size": 12, **fields})))


@pytest.mark.parametrize("loss", ["ProteusLoss", "LogitsLoss", "RadioLoss"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_folder_in_half_precision_teaches_in_float32(dtype, loss, tmp_path):
    model = hugging_face("ViT classifier", num_labels=4).to(dtype)
    path = folder(model, tmp_path, size=dict(height=12, width=12))
    teacher = HuggingFaceTeacher(path)
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    assert torch.equal(teacher.model.classifier.weight, model.classifier.weight.float())
    backbone = dict(
        type="mmpretrain.VisionTransformer", img_size=12, patch_size=4,
        arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=16),
    )  # fmt: skip
    head = dict(type="mmpretrain.VisionTransformerClsHead", num_classes=16, in_channels=8)
    distiller = LearngeneDistiller(
        dict(type="mmpretrain.ImageClassifier", backbone=backbone, head=head),
        dict(type="mmlearngene.HuggingFaceTeacher", folder=path),
        features=[dict(type=loss)],
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    ).train()
    sum(distiller(torch.rand(2, 3, 12, 12), mode="loss").values()).backward()
    assert distiller.student.head.layers.head.weight.grad.abs().sum() > 0


def test_a_masked_autoencoder_hides_and_shuffles_nothing(tmp_path):
    fields = dict(SIZES, image_size=12, decoder_hidden_size=8, decoder_num_attention_heads=2)
    fields |= dict(decoder_intermediate_size=8, decoder_num_hidden_layers=1)
    model = shaken(transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**fields)))
    teacher = HuggingFaceTeacher(folder(model, tmp_path, size=dict(height=12, width=12)))
    plain = transformers.ViTModel(
        transformers.ViTConfig(**SIZES, image_size=12, layer_norm_eps=1e-12), add_pooling_layer=False
    )
    plain.load_state_dict(
        {name: t for name, t in model.vit.state_dict().items() if name in plain.state_dict()}, strict=False
    )
    images = torch.rand(2, 3, 12, 12) * 255
    found = teacher.tokens((images - 127.5) / 127.5, preprocessor())
    again = teacher.tokens((images - 127.5) / 127.5, preprocessor())
    assert torch.equal(found.patches, again.patches) and found.patches.shape == (2, 3, 3, 16)
    with torch.no_grad():
        expected = plain.eval()((images / 255 - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(found.patches.flatten(1, 2), expected[:, 1:], rtol=0, atol=1e-5)


def test_one_channel(tmp_path):
    path = folder(vit(num_channels=1), tmp_path, channels=1, size=dict(height=12, width=12))
    assert HuggingFaceTeacher(path).tokens(torch.rand(2, 1, 12, 12), preprocessor(1)).patches.shape == (2, 3, 3, 16)
    with pytest.raises(
        LearngeneError, match="takes 1 channels, and mean=.* are of 3; expected mean=... and std=... of 1"
    ):
        HuggingFaceTeacher(folder(vit(num_channels=1), tmp_path, channels=3, size=dict(height=12, width=12)))
    # timm sums the kernels of three channels for one, so that grey images give what they give in three
    sizes = dict(img_size=32, depth=1, num_classes=3)
    colour = timm.create_model("vit_tiny_patch16_224", **sizes).eval()
    file = tmp_path / "grey.pth"
    state = colour.state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    torch.save(state, file)
    teacher = TimmTeacher("vit_tiny_patch16_224", checkpoint=str(file), in_chans=1, **sizes).eval()
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = colour(grey.expand(-1, 3, -1, -1))  # timm's mean and std of this name are 0.5
        torch.testing.assert_close(teacher(grey, preprocessor(1)), expected, rtol=0, atol=1e-4)
    with pytest.raises(
        LearngeneError, match="takes 4 channels, and timm says mean and std of 3; expected in_chans=3 or 1"
    ):
        TimmTeacher("vit_tiny_patch16_224", pretrained=False, checkpoint=_four(tmp_path), in_chans=4, **sizes)


def _four(path):
    model = timm.create_model("vit_tiny_patch16_224", in_chans=4, img_size=32, depth=1, num_classes=3)
    torch.save(model.state_dict(), path / "four.pth")
    return str(path / "four.pth")


def test_oblong_images(tmp_path):
    path = folder(vit(image_size=[8, 32]), tmp_path, size=dict(height=8, width=32))
    teacher = HuggingFaceTeacher(path)
    assert teacher.input_size == (8, 32)
    assert teacher.tokens(torch.rand(2, 3, 8, 32), preprocessor()).patches.shape == (2, 2, 8, 16)
    # 2 x 8 positions, which transformers would take for 4 x 4
    other = HuggingFaceTeacher(path, input_size=16)
    with pytest.raises(
        LearngeneError, match=r"has positions of \(8, 32\) images.*expected images of this size, not \(16"
    ):
        other.tokens(torch.rand(2, 3, 16, 16), preprocessor())


@pytest.mark.parametrize("wrapped", [False, True])
def test_folders_of_timm_and_of_its_wrapper(wrapped, tmp_path):
    model = shaken(timm.create_model("test_vit", num_classes=3))
    if wrapped:
        config = transformers.TimmWrapperConfig(
            architecture="test_vit", num_labels=3, pretrained_cfg=model.pretrained_cfg
        )
        wrapper = transformers.TimmWrapperForImageClassification(config)
        wrapper.timm_model.load_state_dict(model.state_dict())
        wrapper.save_pretrained(tmp_path)
    else:
        timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    teacher = HuggingFaceTeacher(str(tmp_path))
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert teacher.input_size == (160, 160)
        torch.testing.assert_close(teacher(images, preprocessor()), model(images), rtol=0, atol=1e-4)
    assert teacher.tokens(images, preprocessor()).patches.shape == (2, 10, 10, 64)


def test_logits_of_a_classifier_and_of_none(tmp_path):
    model = hugging_face("ViT classifier", num_labels=4)
    teacher = HuggingFaceTeacher(folder(model, tmp_path / "classifier", size=dict(height=12, width=12)))
    images = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(teacher(images, preprocessor()), model(images).logits, rtol=0, atol=1e-5)
    bare = HuggingFaceTeacher(folder(vit(), tmp_path / "bare", size=dict(height=12, width=12)))
    with pytest.raises(LearngeneError, match="ViTModel has no classifier.*expected features="):
        bare(images, preprocessor())


def test_what_a_larger_teacher_costs_is_said_once_with_the_option(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("mmlearngene.models.teachers.print_log", lambda text, **_: said.append(text))
    path = folder(vit(), tmp_path, size=dict(height=24, width=24))
    for _ in range(2):
        teacher = HuggingFaceTeacher(path)
        for _ in range(2):
            teacher.tokens(torch.rand(1, 3, 12, 12), preprocessor())
    assert len(said) == 2 and "24 x 24, the student's 12 x 12 resized: 4 times the pixels" in said[0]
    assert "the teacher's input_size=(12, 12) takes them as they are" in said[0]
    teacher = HuggingFaceTeacher(path, input_size=(12, 12))
    assert teacher.tokens(torch.rand(1, 3, 12, 12), preprocessor()).patches.shape == (1, 3, 3, 16) and len(said) == 2
