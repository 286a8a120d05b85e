"""Any ViT in, any out: timm's whole list, and the classes of Hugging Face, mmpretrain and mmsegmentation."""

import json
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file, save_model

from mmlearngene import LearngeneError, ViTSpec, build, cli, extract, initialize, load, load_ancestry
from mmlearngene.frameworks import find_vit, layout_for

from ..support.tiny_models import (
    GAP,
    HEAD,
    HUGGING_FACE,
    MMPRETRAIN,
    MMSEG,
    SWIN,
    VIT,
    hugging_face,
    mmpretrain_classifier,
)
from ..support.zoo import TIMM_MODULES, images, outputs, shaken, timm_names, tiny_timm

DOCS = Path(__file__).parents[2] / "docs" / "any_vit.md"


def assert_rebuilt_is_the_same(model, framework: str) -> None:
    """Reading a model and building it anew gives what it gave, to the last bit."""
    found, weights = find_vit(model), load_ancestry(model)
    rebuilt = build(weights, framework)
    whole = model if type(rebuilt) is type(model) else found.module
    x = images(weights.spec.img_size, weights.spec.in_channels)
    given = list(zip(outputs(whole, x), outputs(rebuilt, x), strict=False))  # a pooler is left aside
    assert given
    for one, other in given:
        assert torch.equal(one, other), (one - other).abs().max()


# ---------------------------------------------------------------------- timm, all of it


def walk() -> dict[str, str]:
    """What becomes of each name of timm's list: ``accepted``, or the reason why not."""
    found = {}
    for name in timm_names():
        model = tiny_timm(name)
        try:
            load_ancestry(model)
        except LearngeneError as error:
            assert "\n" not in str(error)
            found[name] = str(error).partition(": ")[2]
        else:
            assert_rebuilt_is_the_same(model, "timm")
            found[name] = "accepted"
    return found


def as_table(found: dict[str, str]) -> str:
    """The table of the docs: what is accepted, by timm's modules, and what is refused, with the reason."""
    accepted = {name for name, what in found.items() if what == "accepted"}
    lines = [
        f"Of the {len(found)} names, {len(accepted)} are accepted:",
        "",
        "| module | accepted | names |",
        "|---|---|---|",
    ]
    for module in TIMM_MODULES:
        names = timm.list_models(module=module)
        inside = [f"`{name}`" for name in names if name in accepted]
        lines.append(f"| `{module}` | {len(inside)} of {len(names)} | {', '.join(inside)} |")
    lines += ["", "and these are refused:", "", "| name | why |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in found.items() if name not in accepted]
    return "\n".join(lines)


def test_every_vit_of_timm_is_read_and_built_to_the_last_bit_or_refused_by_name():
    found = walk()
    table = as_table(found)
    print(table)
    accepted = [name for name, what in found.items() if what == "accepted"]
    assert len(found) >= 250 and len(accepted) >= 225
    for name, what in found.items():
        if what != "accepted":
            named = ("layer class", "attention class", "grouped-query attention")
            assert what.startswith(named), (name, what)
    assert table in DOCS.read_text(), f"{DOCS} has another table: python -m {__name__} prints it"


@pytest.mark.parametrize("name", ["vit_so400m_patch14_siglip_384", "vit_so400m_patch14_siglip_gap_384"])
def test_an_image_that_patches_do_not_divide(name, tmp_path):
    model = tiny_timm(name, img_size=384)
    assert_rebuilt_is_the_same(model, "timm")
    weights = load_ancestry(model)
    assert (weights.spec.img_size, weights.spec.grid) == ((384, 384), (27, 27))
    assert_equal_across(load_ancestry(tiny_timm(name, img_size=384, num_classes=0)), "timm", "hf")
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    assert load_ancestry(tmp_path / "vit.pth", like=model).spec == weights.spec
    with pytest.raises(LearngeneError, match=r"\(384, 384\) that patches of 14 do not divide, which it pads"):
        layout_for(ViTSpec(2, 2, patch_size=14, img_size=384), "mmpretrain")


# ---------------------------------------------------------------------- Hugging Face


ACTS = st.sampled_from(["gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"])
EPS = st.sampled_from([1e-5, 1e-6, 1e-3])
OPTIONS = {
    "ViT": dict(hidden_act=ACTS, layer_norm_eps=EPS, qkv_bias=st.booleans()),
    "DINOv2": dict(layer_norm_eps=EPS, qkv_bias=st.booleans(), use_swiglu_ffn=st.booleans()),
    "DINOv2 with registers": dict(num_register_tokens=st.integers(0, 4), use_swiglu_ffn=st.booleans()),
    "DINOv3": dict(
        num_register_tokens=st.integers(0, 4), key_bias=st.booleans(), proj_bias=st.booleans(), mlp_bias=st.booleans(),
        use_gated_mlp=st.just(True), hidden_act=st.just("silu"), rope_theta=st.sampled_from([50.0, 100.0]),
    ),
    "CLIP": dict(hidden_act=ACTS, layer_norm_eps=EPS),
    "SigLIP": dict(hidden_act=ACTS, vision_use_head=st.booleans()),
    "Swin": dict(hidden_act=ACTS, qkv_bias=st.booleans()),
}  # fmt: skip
OPTIONS["DeiT"] = OPTIONS["ViT"]


@pytest.mark.parametrize("kind", HUGGING_FACE)
@settings(max_examples=4, print_blob=False)
@given(data=st.data())
def test_hugging_face(kind, data):
    family = kind.removesuffix(" classifier")
    options = {
        k: data.draw(v, k) for k, v in OPTIONS[family].items() if not (kind == "SigLIP classifier" and "head" in k)
    }
    if "classifier" in kind and "SigLIP" not in kind:
        options["num_labels"] = data.draw(st.integers(1, 5), "classes")
    sizes = (
        {} if "Swin" in kind else dict(heads=data.draw(st.integers(1, 3), "heads"), layers=data.draw(st.integers(1, 3)))
    )
    assert_rebuilt_is_the_same(hugging_face(kind, **sizes, **options), "hf")


def test_a_dinov3_without_a_gate_is_one_too():
    assert_rebuilt_is_the_same(hugging_face("DINOv3", use_gated_mlp=False, hidden_act="gelu"), "hf")


@pytest.mark.parametrize(
    "name, left",
    [
        ("ViTMAEForPreTraining", "decoder"),
        ("ViTForMaskedImageModeling", "decoder"),
        ("DeiTForImageClassification", "classifier"),
        ("Dinov2ForImageClassification", "classifier"),
        ("CLIPVisionModelWithProjection", "visual_projection"),
    ],
)
def test_what_is_beside_the_vit_is_left_aside_in_one_line(name, left, caplog):
    transformers = pytest.importorskip("transformers")
    config = name.partition("For")[0].partition("Model")[0] + "Config"
    fields = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4)
    if "MAE" in name:
        fields |= dict(decoder_hidden_size=16, decoder_num_attention_heads=2, decoder_intermediate_size=16)
        fields |= dict(decoder_num_hidden_layers=1, intermediate_size=32)
    model = shaken(getattr(transformers, name)(getattr(transformers, config)(**fields)))
    weights = load_ancestry(model)
    assert weights.spec.num_classes == 0
    assert len(caplog.messages) == 1 and f"left aside: {left}" in caplog.messages[0]
    found = find_vit(model)
    x = images((12, 12))
    if "MAE" not in name:  # which masks patches
        assert torch.equal(outputs(found.module, x)[0], outputs(build(weights, "hf"), x)[0])


# ---------------------------------------------------------------------- mmpretrain and mmsegmentation


@pytest.mark.parametrize("name", MMPRETRAIN)
def test_mmpretrain(name):
    assert_rebuilt_is_the_same(mmpretrain_classifier(name), "mmpretrain")


HEADS = {  # what stands around an mmpretrain backbone, and what is said where it is no classifier of one linear layer
    "linear": (dict(), ""),
    "its own head": (dict(head=dict(HEAD, type="mmpretrain.VisionTransformerClsHead")), ""),
    "mean": (dict(out_type="featmap", neck=GAP), ""),
    "hidden, as wide": (
        dict(head=dict(HEAD, type="mmpretrain.VisionTransformerClsHead", hidden_dim=16)), "the layers pre_logits",
    ),
    "hidden": (
        dict(head=dict(HEAD, type="mmpretrain.VisionTransformerClsHead", hidden_dim=8)), "the layers pre_logits",
    ),
    "batch norm": (dict(neck=dict(type="mmpretrain.ClsBatchNormNeck", input_features=16)), "neck ClsBatchNormNeck"),
    "GeM": (
        dict(out_type="featmap", neck=dict(type="mmpretrain.GeneralizedMeanPooling")), "neck GeneralizedMeanPooling",
    ),
    "mean and projection": (
        dict(out_type="featmap", neck=dict(type="mmpretrain.LinearNeck", in_channels=16, out_channels=16)),
        "neck LinearNeck",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_what_stands_around_an_mmpretrain_backbone(name, caplog):
    pytest.importorskip("mmpretrain")
    from mmlearngene.registry import MODELS

    fields, said = dict(HEADS[name][0]), HEADS[name][1]
    head, neck = fields.pop("head", HEAD), fields.pop("neck", None)
    cfg = dict(type="mmpretrain.ImageClassifier", backbone={"type": "mmpretrain.VisionTransformer", **VIT, **fields})
    model, other = (shaken(MODELS.build(dict(cfg, neck=neck, head=head))) for _ in range(2))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    weights = load_ancestry(model)
    assert weights.spec.num_classes == (0 if said else 5)
    assert said in " ".join(caplog.messages) and bool(caplog.messages) == bool(said)
    gene = extract("pre-fin", weights)
    if said:
        with pytest.raises(LearngeneError, match=f"head='inherit' has no place: .*{said}"):
            initialize(other, gene, head="inherit")
        report = initialize(other, gene)
        assert any(said in note for note in report.notes)
        x = images((12, 12))
        assert torch.equal(*(m.extract_feat(x, stage="backbone")[-1] for m in (model, other)))
        return
    report = initialize(other, gene, head="inherit")
    assert {status for _, status, _ in report.tensors} == {"inherited"}
    assert torch.equal(*(outputs(m, images((12, 12)))[0] for m in (model, other)))


@pytest.mark.parametrize("neck", [None, GAP])
@pytest.mark.parametrize("kind", ["VisionTransformer", "BEiTViT", "SwinTransformer"])
def test_a_map_of_tokens_is_pooled_where_a_mean_and_a_head_stand_behind_it(kind, neck, caplog):
    pytest.importorskip("mmpretrain")
    from mmlearngene.registry import MODELS

    sizes = SWIN if kind == "SwinTransformer" else dict(VIT, out_type="featmap")
    backbone = dict(type=f"mmpretrain.{kind}", **sizes)
    for head in (None, dict(HEAD, in_channels=64 if kind == "SwinTransformer" else 16)):
        model = MODELS.build(dict(type="mmpretrain.ImageClassifier", backbone=backbone, neck=neck, head=head))
        found, is_classifier = find_vit(shaken(model)), bool(neck and head)
        assert found.gives_tokens != is_classifier and found.spec.num_classes == 5 * is_classifier
        assert load_ancestry(model).spec == found.spec
        lacking = "no mean of the tokens stands before it" if head and not neck else ""
        assert found.lacks_head == lacking and bool(caplog.messages) == bool(lacking)


@pytest.mark.parametrize("framework", ["hf", "timm", "own"])
def test_classifiers_of_more_than_one_layer_elsewhere(framework, caplog):
    """Hugging Face's and one of somebody's own are left aside; timm's, which is in the ViT itself, is refused."""
    more = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
    if framework == "timm":
        model = tiny_timm("deit_tiny_patch16_224")
        model.head = more
        with pytest.raises(LearngeneError, match=r"the model has a head \(Sequential\)"):
            load_ancestry(model)
        return
    model = hugging_face("ViT classifier", num_labels=4)
    if framework == "hf":
        model.classifier = more
    else:  # which may do anything with what it calls a classifier
        model = torch.nn.ModuleDict(dict(vit=model.vit, classifier=model.classifier))
    gene = extract("pre-fin", load_ancestry(model))
    assert gene.aux_spec.num_classes == 0 and "left aside: classifier" in caplog.messages[-1]
    model.vit.layernorm.register_forward_hook(lambda module, args, out: 1.1 * out)  # the ViT is run all the same
    with pytest.raises(LearngeneError, match="from its output on, .*: layernorm has a hook|last_hidden_state on, by"):
        load_ancestry(model)
    model.vit.layernorm._forward_hooks.clear()
    if framework == "own":
        with pytest.raises(LearngeneError, match="head='inherit' has no place: ModuleDict is no ViTForImage"):
            initialize(model, gene, head="inherit")


@pytest.mark.parametrize("name", [*MMSEG, "Swin"])
def test_mmsegmentation(name):
    backbones = pytest.importorskip("mmseg.models.backbones")
    if name == "Swin":
        sizes = dict(embed_dims=8, depths=(2, 2, 2, 1), num_heads=(1, 2, 4, 8), window_size=2, patch_size=2)
        model = shaken(backbones.SwinTransformer(**sizes, strides=(2, 2, 2, 2)))
        weights = load_ancestry(model)
        x = images((32, 32))
        same = build(weights, "mmseg")
        assert torch.equal(outputs(model, x)[-1], outputs(same, x)[-1])  # the others pass norms of feature maps
        return
    sizes = dict(img_size=12, patch_size=4, embed_dims=16, num_layers=2, num_heads=2, mlp_ratio=3)
    assert_rebuilt_is_the_same(shaken(backbones.VisionTransformer(**sizes, **MMSEG[name])), "mmseg")


# ---------------------------------------------------------------------- across frameworks


def assert_equal_across(weights, *frameworks: str) -> None:
    """The same weights give the same in every framework: logits, or where there are no classes the tokens."""
    x = images(weights.spec.img_size)
    given = []
    for framework in frameworks:
        out = outputs(build(weights, framework), x)
        if weights.spec.num_classes:
            given.append(out[-1])
        else:  # tokens, normalised
            given.append(out[0] if out[0].ndim == 3 else out[0].flatten(2).mT)
    for other in given[1:]:
        torch.testing.assert_close(other, given[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [name for name in HUGGING_FACE if name != "CLIP"])
def test_hugging_face_and_timm_agree(kind):
    weights = load_ancestry(hugging_face(kind))
    frameworks = ["hf", "timm"]
    if kind == "ViT classifier":
        frameworks.append("mmpretrain")
    if "Swin" in kind:  # mmpretrain's has four stages; and tokens of other layouts
        assert_same_pooled(weights)
        return
    assert_equal_across(weights, *frameworks)


def assert_same_pooled(weights) -> None:
    x = images(weights.spec.img_size)
    hf, other = (outputs(build(weights, framework), x) for framework in ("hf", "timm"))
    pooled = other[-1] if weights.spec.num_classes else other[0].mean((1, 2))
    torch.testing.assert_close(hf[-1], pooled, rtol=0, atol=1e-5)


def test_clip_agrees_in_its_pooled_token():
    weights = load_ancestry(hugging_face("CLIP"))
    x = images((12, 12))
    token = outputs(build(weights, "timm"), x)[0][:, 0]
    torch.testing.assert_close(outputs(build(weights, "hf"), x)[1], token, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["class token", "mean", "mean, then norm", "layer scale", "pre-norm", "swiglu", "distilled", "BEiT", "Swin"]
)
def test_mmpretrain_and_timm_agree(name):
    weights = load_ancestry(mmpretrain_classifier(name))
    assert_equal_across(weights, "mmpretrain", "timm", *(["hf"] if name == "Swin" else []))


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_plus_patch16_dinov3"])
def test_timms_dinov3_is_hugging_faces(name):
    weights = load_ancestry(tiny_timm(name, num_classes=0))
    assert_equal_across(weights, "timm", "hf")


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_timms_dinov2_is_hugging_faces(name):
    assert_equal_across(load_ancestry(tiny_timm(name, num_classes=0)), "timm", "hf")


def test_timms_siglip_is_hugging_faces():
    weights = load_ancestry(tiny_timm("vit_base_patch16_siglip_224", num_classes=0))
    x = images(weights.spec.img_size)
    torch.testing.assert_close(
        outputs(build(weights, "hf"), x)[1], outputs(build(weights, "timm"), x)[1], rtol=0, atol=1e-5
    )


# ---------------------------------------------------------------------- the command line


def run(*arguments) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def assert_expands_to_itself(gene: Path, model, framework: str, folder: Path) -> None:
    """What ``expand`` writes for the learngene's own size computes what the ancestry does, read from the disk."""
    size = str(load(gene).aux_spec)
    x = images(find_vit(model).spec.img_size)
    if framework == "hf":
        import transformers

        run("expand", gene, "--arch", size, "--layout", "hf", "-o", folder / "out")
        again = transformers.AutoModel.from_pretrained(folder / "out")
    else:
        run("expand", gene, "--arch", size, "--layout", framework, "-o", folder / "out.safetensors")
        again = build(load_ancestry(folder / "out.safetensors"), framework)
    # AutoModel adds a pooler to some classes, which no file has
    for one, other in zip(outputs(model, x), outputs(again, x), strict=framework != "hf"):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_siglip_224",
        "eva02_tiny_patch14_224",
    ],
)
@pytest.mark.parametrize("save", ["torch", "safetensors"])
def test_extract_from_a_checkpoint_of_timm(name, save, tmp_path, capsys):
    model = tiny_timm(name, embed_dim=128, num_classes=5 if "siglip" not in name else 0)
    if save == "torch":
        torch.save(model.state_dict(), file := tmp_path / "vit.pth")
    else:
        save_model(model, str(file := tmp_path / "vit.safetensors"))
    gene = tmp_path / "gene.safetensors"
    command = ("extract", "--method", "first-k", "--ancestry", file, "--like", name, "-o", gene)
    assert cli.main(list(map(str, command))) == 2  # it is of another width, which may have any heads
    assert "expected num_heads=2 (--num-heads 2) if heads have 64" in capsys.readouterr().err
    run(*command, "--num-heads", 2)
    assert_expands_to_itself(gene, model, "timm", tmp_path)
    # a smaller one, for people who have timm and not this package
    run("expand", gene, "--arch", "h2-l1", "-o", tmp_path / "small.safetensors")
    small = tiny_timm(name, embed_dim=128, depth=1, num_classes=5 if "siglip" not in name else 0)
    small.load_state_dict(load_file(tmp_path / "small.safetensors"))
    assert torch.equal(small.blocks[0].mlp.fc2.weight, model.blocks[0].mlp.fc2.weight)
    capsys.readouterr()
    # without what it is like, the first field that no tensor shows is named, and how to give it
    assert (
        cli.main(["extract", "--method", "first-k", "--ancestry", str(file), "-o", str(tmp_path / "no.safetensors")])
        == 2
    )
    error = capsys.readouterr().err
    assert "--like" in error and len(error.splitlines()) == 1 and not (tmp_path / "no.safetensors").exists()


@pytest.mark.parametrize("kind", ["DINOv3", "DINOv2 with registers", "SigLIP", "CLIP", "Swin", "ViT"])
def test_extract_from_a_folder_of_hugging_face_and_back(kind, tmp_path):
    model = hugging_face(kind)
    model.save_pretrained(tmp_path / "vit")
    gene = tmp_path / "gene.safetensors"
    method = "first-k" if kind != "Swin" else "cluster"
    options = [] if kind != "Swin" else ["--option", "eps=0"]
    run("extract", "--method", method, "--ancestry", tmp_path / "vit", *options, "-o", gene)
    if "pooler.dense.weight" in model.state_dict():  # which stands behind the ViT, and is left aside
        model = build(load_ancestry(model), "hf")
    assert_expands_to_itself(gene, model, "hf", tmp_path)
    if kind == "DINOv3":
        run("expand", gene, "--arch", "h2-l1", "--layout", "timm", "-o", tmp_path / "small.safetensors")
        assert load_ancestry(tmp_path / "small.safetensors").spec.rope == "dinov3"


def test_a_segmentors_checkpoint_is_read_with_its_heads_left_aside(tmp_path, caplog):
    pytest.importorskip("mmseg.models")
    from mmlearngene.registry import MODELS

    backbone = {"type": "mmpretrain.VisionTransformer", **VIT, "out_type": "featmap", "out_indices": [0, 1]}
    decode = dict(type="mmseg.FCNHead", in_channels=16, channels=8, num_classes=3, norm_cfg=dict(type="BN"))
    model = shaken(MODELS.build(dict(type="mmseg.EncoderDecoder", backbone=backbone, decode_head=decode)))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "seg.pth")
    weights = load_ancestry(tmp_path / "seg.pth", like=model)
    assert caplog.messages == ["seg.pth: left aside: decode_head"]
    assert torch.equal(weights.layers()[1]["fc2.weight"], model.backbone.layers[1].ffn.layers[1].weight)
    caplog.clear()
    load_ancestry(model)
    assert caplog.messages == ["EncoderDecoder: left aside: decode_head"]
    torch.save(model.backbone.state_dict(), tmp_path / "vit.pth")
    caplog.clear()
    load_ancestry(tmp_path / "vit.pth", like=model)
    assert not caplog.messages


FAULTS = {
    "config": "config.json is damaged", "nested": "config.json is damaged", "class": "cannot be read",
    "no weights": "cannot be read", "half the weights": "cannot be read", "no ViT": "ResNetModel",
    "told": "says itself", "like": "says itself", "one weight less": "the file has not, or in another shape: ",
    "another width": "the file has not, or in another shape: ", "layers": "num_hidden_layers=1000000 is more than 1024",
    "no layers": "index 0 is out of range",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_cannot_be_read_is_told_in_one_line(fault, tmp_path, capsys):
    import transformers

    hugging_face("DINOv2").save_pretrained(folder := tmp_path / "vit")
    file, more = folder / "model.safetensors", []
    if fault == "config":
        (folder / "config.json").write_text("{")
    elif fault == "nested":
        (folder / "config.json").write_text("[" * 10**5)
    elif fault == "one weight less":
        save_file({k: t for k, t in load_file(file).items() if not k.endswith("cls_token")}, file, {"format": "pt"})
    elif fault in ("another width", "layers", "no layers"):
        change = {"another width": dict(hidden_size=64), "layers": dict(num_hidden_layers=10**6)}
        config = json.loads((folder / "config.json").read_text())
        config |= change.get(
            fault, dict(num_hidden_layers=-1, out_features=None, out_indices=None, stage_names=["stem"])
        )
        (folder / "config.json").write_text(json.dumps(config))
    elif fault == "class":
        (folder / "config.json").write_text('{"model_type": "nonsense"}')
    elif fault == "no weights":
        file.unlink()
    elif fault == "half the weights":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif fault == "no ViT":
        sizes = dict(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])
        transformers.ResNetModel(transformers.ResNetConfig(**sizes)).save_pretrained(folder)
    else:
        more = ["--num-heads", "3"] if fault == "told" else ["--like", "vit_small_patch14_dinov2"]
    out = tmp_path / "gene.safetensors"
    capsys.readouterr()
    assert cli.main(["extract", "--method", "first-k", "--ancestry", str(folder), *more, "-o", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mmlearngene: error: ") and FAULTS[fault] in line and not out.exists()


def test_an_unknown_field_is_named(tmp_path):
    torch.save(tiny_timm("deit_tiny_patch16_224").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match="field of a ViT 'acts' is unknown; .* Did you mean 'act'"):
        load_ancestry(tmp_path / "vit.pth", acts="relu")


def test_extract_from_a_checkpoint_of_mmengine(tmp_path):
    checkpoint = pytest.importorskip("mmengine.runner").checkpoint
    config = pytest.importorskip("mmengine").Config
    model = mmpretrain_classifier("layer scale")
    checkpoint.save_checkpoint(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), str(tmp_path / "vit.pth"))
    backbone = {"type": "mmpretrain.VisionTransformer", **VIT, **MMPRETRAIN["layer scale"]}
    cfg = config(dict(model=dict(type="mmpretrain.ImageClassifier", backbone=backbone, head=HEAD)))
    cfg.dump(tmp_path / "vit.py")
    gene = tmp_path / "gene.safetensors"
    run("extract", "--method", "pre-fin", "--ancestry", tmp_path / "vit.pth", "--like", tmp_path / "vit.py", "-o", gene)
    assert_expands_to_itself(gene, model, "mmpretrain", tmp_path)


if __name__ == "__main__":
    print(as_table(walk()))
