"""Folders of Hugging Face and timm whose weights and config do not say the same."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from mmlearngene import LearngeneError, build, extract, load_ancestry

from ..support.tiny_models import HUGGING_FACE, hugging_face
from ..support.zoo import images, outputs, shaken


def saved(model, folder, **changes):
    """A model's folder, entries of its config changed."""
    model.save_pretrained(folder)
    change(folder / "config.json", **changes)
    return folder


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


LESS = {  # what the model has, and a config that does not say so
    "layers": ("ViT", {}, dict(num_hidden_layers=1)),
    "layers of a classifier": ("ViT classifier", {}, dict(num_hidden_layers=1)),
    "layers of DeiT": ("DeiT classifier", {}, dict(num_hidden_layers=1)),
    "layers of DINOv2": (
        "DINOv2", {}, dict(num_hidden_layers=1, out_features=None, out_indices=None, stage_names=None),
    ),
    "layers of CLIP": ("CLIP", {}, dict(num_hidden_layers=1)),
    "stages of Swin": ("Swin", {}, dict(depths=[2, 1, 1])),
    "biases": ("ViT", {}, dict(qkv_bias=False)),
    "biases of DINOv2": ("DINOv2", {}, dict(qkv_bias=False)),
    "biases of Swin": ("Swin", {}, dict(qkv_bias=False)),
    "biases of the MLP": ("DINOv3", dict(mlp_bias=True), dict(mlp_bias=False)),
    "biases of keys": ("DINOv3", dict(key_bias=True), dict(key_bias=False)),
    "biases of the projection": ("DINOv3", dict(proj_bias=True), dict(proj_bias=False)),
    "a gate": ("DINOv3", dict(use_gated_mlp=True, hidden_act="silu"), dict(use_gated_mlp=False)),
    "registers": (
        "DINOv2 with registers", {}, dict(model_type="dinov2", architectures=["Dinov2Model"]),
    ),
    "attention pooling": ("SigLIP", {}, dict(vision_use_head=False)),
}  # fmt: skip


@pytest.mark.parametrize("what", LESS)
def test_a_file_that_holds_more_of_the_vit_than_its_config_says_is_refused(what, tmp_path):
    kind, fields, less = LESS[what]
    folder = saved(hugging_face(kind, **fields), tmp_path / "vit")
    load_ancestry(folder)
    change(folder / "config.json", **less)
    with pytest.raises(LearngeneError, match="has weights that its config.json says nothing of: ") as error:
        load_ancestry(folder)
    assert "\n" not in str(error.value)


def test_what_a_file_has_beside_the_vit_is_left_aside_in_one_line(tmp_path, caplog):
    folder = saved(hugging_face("DINOv2"), tmp_path / "vit")
    file = folder / "model.safetensors"
    save_file(
        {**load_file(file), "decoder.weight": torch.ones(2), "decoder.bias": torch.ones(1)}, file, {"format": "pt"}
    )
    load_ancestry(folder)
    assert caplog.messages == ["vit: left aside: decoder"]


@pytest.mark.parametrize("kind", [kind for kind in HUGGING_FACE if "classifier" in kind])
@pytest.mark.parametrize("named", ["none", "the bare model", "the classifier"])
def test_a_trained_classifier_is_kept_whatever_class_the_config_names(kind, named, tmp_path):
    model = hugging_face(kind, **({} if "SigLIP" in kind else dict(num_labels=4)))
    bare = HUGGING_FACE[kind.removesuffix(" classifier")][1]
    names = {"none": None, "the bare model": [bare.replace("Vision", "")], "the classifier": [type(model).__name__]}
    folder = saved(model, tmp_path / "vit", architectures=names[named])
    weights = load_ancestry(folder)
    assert weights.spec.num_classes == (5 if "SigLIP" in kind else 4)
    x = images(weights.spec.img_size)
    assert torch.equal(outputs(build(weights, "hf"), x)[0], outputs(model, x)[0])


@pytest.mark.parametrize("form", ["newest", "older", "wrapped"])
def test_a_folder_that_timm_writes(form, tmp_path):
    """As ``save_for_hf`` of timm 1.0.31 and of 1.0.19 writes it, and in the wrapper of transformers."""
    names, statistics = ["cat", "dog", "emu"], dict(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = shaken(timm.create_model("test_vit", num_classes=3, pretrained_cfg_overlay=statistics))
    folder = tmp_path / "vit"
    if form == "wrapped":
        transformers = pytest.importorskip("transformers")
        config = transformers.TimmWrapperConfig(
            architecture="test_vit",
            num_labels=3,
            id2label=dict(enumerate(names)),
            pretrained_cfg={**model.pretrained_cfg, **statistics},
        )
        wrapper = transformers.TimmWrapperForImageClassification(config)
        wrapper.timm_model.load_state_dict(model.state_dict())
        wrapper.save_pretrained(folder)
    else:
        timm.models.save_for_hf(model, folder, model_config=dict(label_names=names), safe_serialization=True)
        told = json.loads((folder / "config.json").read_text())
        if form == "older":
            del told["model_args"]
        (folder / "config.json").write_text(json.dumps(told))
    weights = load_ancestry(folder)
    x = images(weights.spec.img_size)
    for one, other in zip(outputs(model, x), outputs(build(weights), x), strict=True):
        assert torch.equal(one, other)
    gene = extract("first-k", folder)
    assert gene.classes == names and gene.aux_spec.num_classes == 3
    assert {name: tuple(gene.preprocessing[name]) for name in statistics} == statistics


def test_a_damaged_folder_of_timm_is_told_in_one_line(tmp_path):
    timm.models.save_for_hf(timm.create_model("test_vit", num_classes=3), tmp_path, safe_serialization=True)
    change(tmp_path / "config.json", architecture="test_vit_of_nobody")
    with pytest.raises(LearngeneError, match="cannot be read as a model of timm: Unknown model"):
        load_ancestry(tmp_path)
    change(tmp_path / "config.json", architecture="test_vit", model_args=dict(num_classes=9))
    with pytest.raises(LearngeneError, match="num_classes=3, and its model_args make a model of 9; expected the same"):
        load_ancestry(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(LearngeneError, match="cannot be read as a model of timm: "):
        load_ancestry(tmp_path)


@pytest.mark.parametrize(
    "place, name",
    [("dinov2-small/hf", "dinov2-small/hf"), ("zoo/dinov2-small", "dinov2-small"),
     ("models--facebook--dinov2-small/snapshots/3f1c2a", "facebook/dinov2-small")],
)  # fmt: skip
def test_an_ancestry_has_a_name_that_says_something(place, name, tmp_path, monkeypatch):
    hugging_face("ViT").save_pretrained(tmp_path / place)
    assert extract("pre-fin", tmp_path / place).provenance["ancestry"] == name
    monkeypatch.chdir((tmp_path / place).parent)
    assert extract("pre-fin", (tmp_path / place).name).provenance["ancestry"] == name
