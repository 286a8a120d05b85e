"""What leaves for other runtimes opens there as it says, and computes the same."""

import importlib
import json
import math
import os
import re

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors import safe_open

from mmlearngene import ViTSpec, ViTWeights, build, extract, load
from mmlearngene.frameworks import built_anywhere, layout_for
from mmlearngene.io.atomic import save_tensors
from mmlearngene.io.preprocessing import image_processor
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.use.export.expanded import Expanded
from mmlearngene.use.export.opening import opening
from mmlearngene.use.tokens import token_model
from mmlearngene.vit.tensors import start_values

from ..support.command import fails, run

VIT = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)
CLS = dict(VIT, class_token=True, pool="cls")
SPECS = {
    "plain": ViTSpec(2, 2, **VIT),
    "oblong, another epsilon and activation": ViTSpec(
        2, 2, **{**VIT, "img_size": (8, 16)}, norm_eps=1e-5, act="quick_gelu"
    ),
    "DINOv2": ViTSpec(2, 2, **{**CLS, "num_classes": 0}, init_values=1e-5, reg_tokens=4, no_embed_class=True),
    "distilled": ViTSpec(2, 2, **CLS, dist_token=True),
    "CLIP": ViTSpec(2, 2, **CLS, pre_norm=True, patch_bias=False, act="quick_gelu", norm_eps=1e-5),
    "SigLIP": ViTSpec(2, 2, **{**VIT, "num_classes": 0}, pool="map"),
    "gated": ViTSpec(2, 2, **CLS, mlp="swiglu_packed"),
    "gate apart, RMSNorm": ViTSpec(2, 2, **CLS, mlp="swiglu", norm="rmsnorm", mlp_ratio=8 / 3),
    "EVA-02": ViTSpec(2, 2, **CLS, rope="cat", mlp="swiglu", qkv_bias="qv", scale_mlp_norm=True),
    "BEiT": ViTSpec(2, 2, **CLS, rel_pos_bias=True, pos_embed="none", qkv_bias="qv", init_values=0.1),
    "Swin": ViTSpec.parse(
        "h1,2-l2,1", head_dim=8, embed_dims=8, img_size=32, patch_size=4, window_size=4, num_classes=3
    ),
    "heads that differ": ViTSpec.parse("h1,2-l2", embed_dims=8, **VIT),
    "Swin, heads that differ": ViTSpec.parse(
        "h1,2,1-l1,2", head_dim=8, embed_dims=8, img_size=32, patch_size=4, window_size=4, num_classes=3
    ),
}


def drawn(spec):
    torch.manual_seed(0)
    layers = [start_values(spec, spec.layer_shapes(layer)) for layer in range(spec.num_layers)]
    return ViTWeights.from_layers(spec, start_values(spec, spec.stem_shapes()), layers)


def shaken(weights):
    """The weights with no tensor at a special start value."""
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: [t + 0.2 * torch.randn(t.shape, generator=generator) for t in tensor]
        if isinstance(tensor, list)
        else tensor + 0.2 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in weights.tensors.items()
    }
    return ViTWeights(weights.spec, moved, weights.layer_map)


def opened(code, folder, monkeypatch):
    """The model that a user gets who runs the code in the file's folder."""
    monkeypatch.chdir(folder)
    namespace = {}
    exec(code, namespace)
    return namespace["model"].eval()


@pytest.fixture
def gene(tmp_path):
    torch.manual_seed(0)
    learngene = LeTs("h1-l4", "h3-l8", groups=2, **CLS)
    learngene.provenance = {"ancestry": "deit_x", "dataset": "digits", "trained_sizes": ["h2-l5", "h3-l8"]}
    learngene.classes = ["a", "b", "c"]
    return learngene.save(tmp_path / "gene.safetensors")


# ---------------------------------------------------------------- timm


@pytest.mark.parametrize("name", SPECS)
def test_the_call_of_timm_that_is_said_opens_the_file(name, tmp_path, monkeypatch):
    spec = SPECS[name]
    weights, layout = drawn(spec), layout_for(spec, "timm")
    learngene = LeTs("h1-l4", "h3-l8", groups=2, **VIT)
    path = save_tensors(tmp_path / "vit.safetensors", layout.state_dict(weights), {"spec": json.dumps(spec.asdict())})
    code = opening(Expanded(learngene, "gene", weights, layout), path.relative_to(tmp_path))
    assert ("stock timm has no arguments" in code) == name.endswith("heads that differ")
    images = torch.randn(2, 3, *spec.img_size)
    with torch.no_grad():
        found = opened(code, tmp_path, monkeypatch)(images)
        expected = build(weights).eval()(images)
    assert found.shape[0] == 2 and torch.equal(found, expected)


@pytest.mark.parametrize("arch", ["h2-l3", "h1,2,2-l3"])
def test_a_fresh_head_stays_fresh(gene, arch, tmp_path, capsys, monkeypatch):
    learngene = extract("cluster", drawn(ViTSpec.parse("h2-l3", **CLS)), eps=0) if "," in arch else load(gene)
    learngene.save(gene)
    assert run("expand", gene, "--arch", arch, "--num-classes", 7, "-o", tmp_path / "vit.safetensors") == 0
    with safe_open(tmp_path / "vit.safetensors", framework="pt") as file:
        code = file.metadata()["open"]
        weight = file.get_tensor("blocks.1.attn.qkv.weight")
    printed = capsys.readouterr().out.partition("open it:\n")[2]
    assert [line.strip() for line in printed.splitlines()][0] == code.splitlines()[0]
    model = opened(code, tmp_path, monkeypatch)
    assert model.head.out_features == 7 and torch.equal(model.blocks[1].attn.qkv.weight, weight)


# ---------------------------------------------------------------- every way that is printed

FROM = {
    "class token": ViTSpec(2, 3, **CLS),
    "mean behind the norm": ViTSpec(2, 3, **VIT, **dict(pool="norm_avg")),
    "mean before the norm": ViTSpec(2, 3, **VIT),
    "Swin": ViTSpec.parse(
        "h1,2,4,8-l2,2,2,1", head_dim=4, embed_dims=4, img_size=64, patch_size=2, window_size=4, num_classes=3
    ),
}
WAYS = [  # layout, what is written
    ("timm", "vit.safetensors"), ("timm", "vit.pth"), ("hf", "vit"), ("mmpretrain", "vit.safetensors"),
    ("mmpretrain", "vit.pth"), ("mmseg", "vit.safetensors"), ("mmseg", "vit.pth"), ("onnx", "vit.onnx"),
]  # fmt: skip


def given_by(namespace, images):
    """What the opened model gives of images: logits or the pooled feature, else patches (B, rows, columns, C)."""
    if "session" in namespace:
        return torch.from_numpy(namespace["outputs"])
    model = namespace["model"]
    if isinstance(model, dict):  # of an OpenMMLab config
        from mmlearngene.registry import MODELS

        for module in namespace["custom_imports"]["imports"]:  # as mmengine's Config does
            importlib.import_module(module)
        config = {**namespace["backbone"], **model["backbone"]} if "backbone" in namespace else model
        model = MODELS.build(config)
        model.init_weights()
    model.eval()
    with torch.no_grad():
        found = model(images)
    if isinstance(found, (tuple, list)):
        found = found[-1]
    if isinstance(found, torch.Tensor):
        return found if found.ndim == 2 else found.permute(0, 2, 3, 1)
    if "logits" in found:
        return found.logits
    assert found.get("pooler_output") is None or "Swin" in type(model).__name__  # no pooler that starts fresh
    sequence = found.last_hidden_state
    return sequence[:, -((side := math.isqrt(sequence.shape[1])) ** 2) :].unflatten(1, (side, side))


@pytest.mark.parametrize("classes", [3, 0])
@pytest.mark.parametrize(
    "layout, name, kind",
    [(*way, kind) for way in WAYS for kind in FROM if way[1] != "vit.pth" or kind == "class token"],
)
def test_what_is_printed_opens_what_was_written(layout, name, kind, classes, tmp_path, capsys, monkeypatch):
    """Every layout, kind of file, pooling and number of classes: the code as printed gives the learngene's outputs."""
    weights = shaken(drawn(FROM[kind]))
    learngene = extract("cluster", weights, eps=0) if kind == "Swin" else extract("first-k", weights)
    learngene.save(tmp_path / "gene.safetensors")
    monkeypatch.chdir(tmp_path)
    command = ["expand", "gene.safetensors", "--arch", str(weights.spec), "--num-classes", classes, "--layout", layout]
    if layout == "mmseg" and classes or kind == "mean before the norm" and layout in ("mmseg", "hf"):
        assert "no class of" in fails(capsys, *command, "-o", name)
        return
    assert run(*command, "-o", name) == 0
    code = capsys.readouterr().out.partition("open it:\n")[2]
    images = torch.randn(2, 3, *weights.spec.img_size)
    namespace = dict(images=images.numpy())
    exec("\n".join(line.removeprefix("    ") for line in code.splitlines()), namespace)
    found = given_by(namespace, images)
    spec = weights.spec.replace(num_classes=classes)
    model = build(learngene.expand(spec)).eval()
    with torch.no_grad():
        expected = model(images) if found.ndim == 2 else token_model(model)(images).patches
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_a_fresh_head_gets_no_names_of_classes(gene, tmp_path, capsys):
    """The names are the learngene's, and a head that starts fresh knows none of them."""
    for head, named in (("inherit", True), ("fresh", False)):
        assert run("expand", gene, "--arch", "h2-l3", "--head", head, "-o", tmp_path / f"{head}.safetensors") == 0
        assert ("label_names=('a', 'b', 'c')" in capsys.readouterr().out) == named
        assert ("3 classes: a, b, c" in (tmp_path / f"{head}.safetensors.md").read_text()) == named


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_sides_before_the_crop_are_rounded_down_as_timm_does(mode):
    pytest.importorskip("transformers")
    spec, told = ViTSpec(2, 2, img_size=224), dict(mean=[0.5] * 3, std=[0.5] * 3, crop_pct=0.9, crop_mode=mode)
    size = image_processor(told, spec).size
    assert (size["height"] if mode == "squash" else size["shortest_edge"]) == 248  # of 248.9
    transform = timm.data.create_transform((3, 224, 224), **told)
    assert transform.transforms[0].size in (248, (248, 248))


# ---------------------------------------------------------------- the card


def test_layers_that_are_not_inherited_stay_fresh(tmp_path, capsys, monkeypatch):
    ancestry = drawn(
        ViTSpec(2, 2, **CLS, rope="mixed", qkv_bias="qv")
    )  # whose frequencies are one tensor of all layers
    gene = extract("auto-learngene", ancestry, layers=1).save(tmp_path / "gene.safetensors")
    message = fails(capsys, "expand", gene, "--arch", "h2-l2", "--layout", "onnx", "-o", tmp_path / "vit.onnx")
    assert "and norm1.weight, norm1.bias" in message and message.strip().endswith("expected other layers")
    assert run("expand", gene, "--arch", "h2-l2", "-o", tmp_path / "vit.safetensors") == 0
    code = capsys.readouterr().out.partition("open it:")[2]
    model = opened("\n".join(line.strip() for line in code.splitlines()), tmp_path, monkeypatch)
    assert torch.equal(model.blocks[0].mlp.fc1.weight, ancestry.tensors["fc1.weight"][0])


def test_the_card_tells_where_the_weights_come_from(gene, tmp_path):
    out = tmp_path / "vit.safetensors"
    assert run("expand", gene, "--arch", "h2-l3", "--num-classes", 7, "--license", "apache-2.0", "-o", out) == 0
    card = ModelCard.load(tmp_path / "vit.safetensors.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "timm")
    rows = dict(line.strip("| ").split(" | ") for line in card.text.splitlines() if line[2:].count(" | ") == 1)
    assert (rows["method"], rows["ancestry"], rows["data"]) == ("lets", "deit_x", "digits")
    assert rows["sizes trained"] == "h2-l5, h3-l8" and rows["licence of the ancestry"] == "apache-2.0"
    assert rows["inherited"].startswith("100.0%") and rows["size"].startswith("h2-l3: 8 wide, ")
    assert "and to be trained: head.weight, head.bias" in card.text and "none of the 2 sizes" in card.text


def test_a_share_that_is_not_inherited_is_told(tmp_path):
    learngene = extract("heuristic", drawn(ViTSpec.parse("h2-l4", **CLS)), layers=1)
    weights = learngene.expand("h2-l4")
    found = Expanded(learngene, "gene", weights, layout_for(weights.spec, "timm"))
    ours = sum(t.numel() for part in (weights.stem(), *weights.layers()) for n, t in part.items() if "head" not in n)
    whole = sum(parameter.numel() for name, parameter in build(weights).named_parameters() if "head" not in name)
    assert found.inherited == pytest.approx(ours / whole) and (found.inherited < 1) == bool(found.missing)


def test_a_card_that_is_there_is_not_overwritten(gene, tmp_path, capsys):
    (tmp_path / "vit.safetensors.md").write_text("mine")
    command = ["expand", gene, "--arch", "h2-l3", "-o", tmp_path / "vit.safetensors"]
    assert "vit.safetensors.md exists" in fails(capsys, *command)
    assert not (tmp_path / "vit.safetensors").exists()
    assert run(*command, "--force") == 0 and "h2-l3" in (tmp_path / "vit.safetensors.md").read_text()


# ---------------------------------------------------------------- Hugging Face and OpenMMLab


def test_a_folder_of_hugging_face_opens_as_its_card_says(gene, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    assert run("expand", gene, "--arch", "h2-l3", "--layout", "hf", "-o", tmp_path / "vit") == 0
    card = ModelCard.load(tmp_path / "vit" / "README.md")
    model = opened(card.text.split("```")[1].removeprefix("python"), tmp_path, monkeypatch)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = build(load(gene).expand("h2-l3")).eval()(images)
        assert torch.allclose(model(images).logits, expected, atol=1e-5)


RESIZED = {
    "shorter side and crop": (
        "BitImageProcessor",
        dict(size=dict(shortest_edge=10), crop_size=dict(height=8, width=8)),
    ),
    "squashed": ("ViTImageProcessor", dict(size=dict(height=8, width=8), resample=2)),
    "squashed and cropped": (
        "DeiTImageProcessor",
        dict(size=dict(height=9, width=9), crop_size=dict(height=8, width=8), resample=3),
    ),
}


@pytest.mark.parametrize("way", RESIZED)
def test_a_folder_in_and_a_folder_out_want_the_same_images_and_name_the_same_classes(way, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    name, sizes = RESIZED[way]
    model = build(drawn(ViTSpec.parse("h2-l3", **CLS)), "hf")
    model.config.id2label, model.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    model.save_pretrained(tmp_path / "big")
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    processor = getattr(transformers, name)(image_mean=mean, image_std=std, **sizes)
    processor.save_pretrained(tmp_path / "big")
    gene = tmp_path / "gene.safetensors"
    assert run("extract", "--method", "first-k", "--ancestry", tmp_path / "big", "-o", gene) == 0
    for size in (8, 16):
        out = tmp_path / f"small{size}"
        command = ("expand", gene, "--arch", "h2-l2", "--img-size", size, "--layout", "hf", "-o", out)
        assert run(*command) == 0 and "AutoImageProcessor" in capsys.readouterr().out
    image = np.random.default_rng(0).integers(0, 256, (21, 33, 3), dtype=np.uint8)
    found = transformers.AutoImageProcessor.from_pretrained(tmp_path / "small8")
    assert torch.equal(*(one(image, return_tensors="pt")["pixel_values"] for one in (found, processor)))
    found = transformers.AutoImageProcessor.from_pretrained(tmp_path / "small16")
    assert found(image, return_tensors="pt")["pixel_values"].shape == (1, 3, 16, 16)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "small8").id2label == {0: "a", 1: "b", 2: "c"}


def test_what_is_not_known_of_images_is_said(gene, tmp_path, capsys):
    pytest.importorskip("transformers")
    command = ("expand", gene, "--arch", "h2-l3", "--layout", "hf", "-o", tmp_path / "vit", "--force")
    for told, said in (
        ({}, "no preprocessor_config.json: the learngene does not say how its images were normalised"),
        (dict(mean=[0.1] * 3, std=[1] * 3, crop_mode="border"), "no preprocessor_config.json: crop_mode='border'"),
    ):
        learngene = load(gene)
        learngene.provenance["preprocessing"] = told
        learngene.save(gene)
        assert run(*command) == 0 and said in capsys.readouterr().out
        assert not (tmp_path / "vit" / "preprocessor_config.json").exists()
    learngene.provenance["preprocessing"] = dict(mean=[0.1] * 3, std=[1] * 3)
    learngene.save(gene)
    assert run(*command) == 0 and (tmp_path / "vit" / "preprocessor_config.json").exists()
    assert (
        "bicubic, by the shorter side, the middle 0.875 of a side kept (assumed"
        in (tmp_path / "vit" / "README.md").read_text()
    )


def test_mmengine_reads_what_expand_writes(gene, tmp_path, monkeypatch):
    pytest.importorskip("mmpretrain")
    from mmengine.runner import CheckpointLoader

    from mmlearngene import engine  # noqa: F401  (what the config imports)
    from mmlearngene.registry import MODELS

    out = tmp_path / "vit.safetensors"
    assert run("expand", gene, "--arch", "h2-l3", "--layout", "mmpretrain", "-o", out) == 0
    code = ModelCard.load(tmp_path / "vit.safetensors.md").text.split("```")[1].removeprefix("python")
    monkeypatch.chdir(tmp_path)
    config = {}
    exec(code, config)
    model = MODELS.build(config["model"])
    model.init_weights()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = build(load(gene).expand("h2-l3")).eval()(images)
        assert torch.allclose(model.eval()(images), expected, atol=1e-5)
    saved = CheckpointLoader.load_checkpoint(str(out), map_location="cpu")
    assert saved.keys() == model.state_dict().keys()


# ---------------------------------------------------------------- ONNX


def test_onnx_runs_with_any_batch(gene, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    out = tmp_path / "vit.onnx"
    assert run("expand", gene, "--arch", "h2-l3", "--layout", "onnx", "--img-size", 12, "-o", out) == 0
    assert "checked with onnxruntime" in capsys.readouterr().out
    learngene = load(gene)
    model = build(learngene.expand(learngene.target("h2-l3").replace(img_size=12))).eval()
    opset = onnx.load(out).opset_import[0].version
    assert opset == 17  # which older runtimes know; torch's own default is newer
    session = onnxruntime.InferenceSession(out)
    for count in (1, 5):
        images = torch.randn(count, 3, 12, 12)
        with torch.no_grad():
            expected = model(images).numpy()
        assert np.allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["spec"])["img_size"] == [12, 12]
    assert ModelCard.load(tmp_path / "vit.onnx.md").data.library_name == "onnx"


@pytest.mark.parametrize("name", ["EVA-02", "BEiT", "Swin", "SigLIP"])
def test_every_kind_of_vit_becomes_onnx(name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from mmlearngene.use.export.onnx import onnx_bytes

    data, largest = onnx_bytes(drawn(SPECS[name]), {})
    assert data and largest < 1e-5


ONNX = {  # what else ONNX gives: pooled features where the first framework that has the ViT gives tokens, patches
    **{name: SPECS[name] for name in ("plain", "distilled", "SigLIP", "BEiT", "Swin")},
    "DINOv3 without biases": ViTSpec(
        2, 2, **{**CLS, "num_classes": 0}, rope="dinov3", rope_half=True, rope_temperature=100, pos_embed="none",
        init_values=1.0, reg_tokens=2, qkv_bias="none", proj_bias=False, mlp_bias=False,
    ),
    "mixed rotary positions": ViTSpec(2, 2, **CLS, rope="mixed", pos_embed="none", qkv_bias="all"),
    "mmpretrain alone": ViTSpec(2, 2, **{**CLS, "num_classes": 0}, rope="tiled", mlp="swiglu_packed"),
    "without classes": ViTSpec(2, 2, **{**VIT, "num_classes": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", ONNX)
def test_onnx_gives_what_is_pooled_and_patches_where_they_are_asked_for(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from mmlearngene.use.export.onnx import onnx_bytes

    weights = shaken(drawn(ONNX[name]))
    spec = weights.spec
    images = torch.randn(2, 3, *spec.img_size)
    tokens = token_model(built_anywhere(weights), class_token=spec.pool == "cls")
    with torch.no_grad():
        patches, summary = tokens(images)
        logits = built_anywhere(weights)(images) if spec.num_classes else summary
    for both in (False, True):
        session = onnxruntime.InferenceSession(onnx_bytes(weights, {}, patches=both)[0])
        assert [output.name for output in session.get_outputs()] == ["outputs", "patches"][: 1 + both]
        given = session.run(None, {"images": images.numpy()})
        for array, tensor in zip(given, (logits, patches), strict=False):
            assert np.allclose(array, tensor, atol=1e-4 * tensor.abs().max().item())
    assert patches.ndim == 4 and given[0].shape == (2, spec.num_classes or summary.shape[1])


def test_an_onnx_file_with_patches_opens_as_it_says(gene, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    command = ["expand", gene, "--arch", "h2-l3", "--patch-tokens", "-o", tmp_path / "vit.onnx"]
    assert "--patch-tokens is of --layout onnx" in fails(capsys, *command[:-1], tmp_path / "vit.pth")
    assert run(*command, "--layout", "onnx") == 0
    code = capsys.readouterr().out.partition("open it:\n")[2]
    monkeypatch.chdir(tmp_path)
    namespace = dict(images=np.zeros((2, 3, 8, 8), np.float32))
    exec("\n".join(line.removeprefix("    ") for line in code.splitlines()), namespace)
    assert namespace["outputs"].shape == (2, 3) and namespace["patches"].shape == (2, 2, 2, 8)


def test_what_the_exporter_or_the_runtime_refuses_is_one_line(gene, tmp_path, capsys, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def refuse(model):
        raise onnx.checker.ValidationError("no such operator\nand more")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    command = ["expand", gene, "--arch", "h2-l3", "--layout", "onnx", "-o", tmp_path / "vit.onnx"]
    message = fails(capsys, *command)
    assert "cannot be an ONNX file: ValidationError: no such operator; nothing was written" in message
    assert not (tmp_path / "vit.onnx").exists()


@pytest.mark.parametrize("how", ["other", "nan"])
def test_onnx_that_computes_something_else_is_not_written(how, gene, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    if how == "other":
        monkeypatch.setattr("mmlearngene.use.export.onnx._TOLERANCE", -1)
    else:
        nan = type("Session", (), dict(run=lambda *_: [np.full((1, 3), np.nan, np.float32)]))
        monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: nan())
    command = ["expand", gene, "--arch", "h2-l3", "--layout", "onnx", "-o", tmp_path / "out" / "vit.onnx"]
    assert "nothing was written" in fails(capsys, *command)
    assert not os.path.exists(tmp_path / "out")


@pytest.mark.parametrize(
    "layout, output, more, message",
    [
        ("onnx", "vit.onnx", ["--num-classes", 7], "expected --num-classes 3, as in the learngene, or 0 for features"),
        ("onnx", "vit.safetensors", [], "--layout onnx writes another kind of file; name it"),
        ("timm", "vit.onnx", [], "--layout timm writes another kind of file; name it"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(gene, tmp_path, capsys, layout, output, more, message):
    command = ["expand", gene, "--arch", "h2-l3", "--layout", layout, *more, "-o", tmp_path / output]
    assert message in fails(capsys, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gene.safetensors"]


# ---------------------------------------------------------------- int8


@pytest.fixture
def photos(tmp_path):
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def test_int8_is_calibrated_smaller_and_close_to_float32(gene, photos, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    plain, small = tmp_path / "vit.onnx", tmp_path / "int8.onnx"
    command = ["expand", gene, "--arch", "h3-l8", "--layout", "onnx", "-o"]
    assert run(*command, plain) == 0
    assert run(*command, small, "--dtype", "int8", "--calibrate", photos) == 0
    printed = capsys.readouterr().out
    assert float(re.search(r"in int8 they have a cosine of ([\d.]+)", printed)[1]) > 0.9
    sessions = [runtime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (plain, small)]
    (entry,) = sessions[1].get_inputs()
    images = np.random.default_rng(1).normal(size=(3, *entry.shape[1:])).astype(np.float32)
    a, b = (session.run(None, {"images": images})[0] for session in sessions)  # a batch of any size
    assert a.shape == b.shape and (a != b).any()
    import onnx

    graph = onnx.load(small)
    types = {tensor.data_type for tensor in graph.graph.initializer}
    assert onnx.TensorProto.INT8 in types
    assert {p.key: p.value for p in graph.metadata_props}["dtype"] == "int8"
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    constants = {tensor.name for tensor in graph.graph.initializer}
    assert not [node for node in products if node.input[1] in constants]  # every weight is dequantised
    assert "int8, calibrated on images" in (tmp_path / "int8.onnx.md").read_text()


@pytest.mark.parametrize(
    "suffix, more, message",
    [
        (".safetensors", ["--layout", "timm", "--dtype", "int8"], "--dtype int8 is of --layout onnx, not of timm"),
        (".onnx", ["--layout", "onnx", "--dtype", "int8"], "--dtype int8 and --calibrate IMAGES go together"),
        (".onnx", ["--layout", "onnx", "--calibrate", "x"], "--dtype int8 and --calibrate IMAGES go together"),
    ],
)
def test_int8_without_what_it_needs_is_told(gene, tmp_path, capsys, suffix, more, message):
    assert message in fails(capsys, "expand", gene, "--arch", "h2-l3", "-o", tmp_path / ("x" + suffix), *more)
