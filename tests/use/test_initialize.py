"""initialize(): models of every framework, and a report that hides nothing."""

import re

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from mmlearngene import LearngeneError, ViTSpec, cli, extract, initialize, load_ancestry
from mmlearngene.frameworks import build as make
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.frameworks.mmpretrain import backbone_cfg, classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.testing import random_weights
from mmlearngene.utils.tables import table


@pytest.fixture(scope="module")
def gene():
    torch.manual_seed(0)
    gene = LeTs("h1-l4", "h3-l8", groups=2, head_dim=4, img_size=8, patch_size=4, num_classes=3)
    with torch.no_grad():
        for parameter in gene.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return gene


def timm_vit(gene, size="h2-l5", **fields):
    return VisionTransformer(
        **model_kwargs(gene.aux_spec.replace(num_heads=int(size[1]), num_layers=int(size[4:]), **fields))
    )


def build(cfg):
    pytest.importorskip("mmpretrain")
    from mmpretrain.registry import MODELS

    return MODELS.build(cfg)


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_set(model, expected, prefix=""):
    state = model.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(state[name.removeprefix(prefix)], tensor), name


def assert_unchanged(model, before):
    assert_set(model, before)


# ---------------------------------------------------------------- frameworks


@pytest.mark.parametrize("size", ["h1-l3", "h2-l5", "h3-l8"])
def test_timm(gene, size):
    model = timm_vit(gene, size)
    report = initialize(model, gene)
    assert_set(model, TIMM.state_dict(gene.expand(size)))
    assert (report.size, report.source, report.share) == (size, "lets", 1)
    assert {status for _, status, _ in report.tensors} == {"inherited"}
    assert report.count("inherited") == sum(p.numel() for p in model.parameters())


def test_mmpretrain_backbone(gene):
    model = build(backbone_cfg(gene.target("h2-l5")))
    report = initialize(model, gene)
    expected = MMPRETRAIN.state_dict(gene.expand("h2-l5"))
    for kind in ("weight", "bias"):  # a bare backbone has no head, and asks for none
        del expected[f"head.fc.{kind}"]
    assert_set(model, expected, "backbone.")
    assert report.share == 1
    assert report.count("inherited") == sum(p.numel() for p in model.parameters())
    assert report.count("unused") == 0


def test_mmpretrain_classifier(gene):
    model = build(classifier_cfg(gene.target("h2-l5")))
    report = initialize(model, gene)
    assert_set(model, MMPRETRAIN.state_dict(gene.expand("h2-l5")))
    assert report.share == 1 and report.count("random") == report.count("unused") == 0


def test_a_segmentor_keeps_its_decode_head(gene):
    pytest.importorskip("mmseg")
    import mmpretrain.models  # noqa: F401
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    backbone = backbone_cfg(gene.target("h2-l5"), out_type="featmap", out_indices=[1, 4])
    head = dict(
        type="FCNHead", in_channels=8, in_index=-1, channels=4, num_convs=1, num_classes=2, norm_cfg=dict(type="BN")
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(
            dict(
                type="EncoderDecoder",
                backbone=backbone,
                decode_head=head,
                data_preprocessor=dict(type="SegDataPreProcessor", size=(8, 8)),
                test_cfg=dict(mode="whole"),
            )
        )
    before = values(model.decode_head)
    report = initialize(model, gene)
    expected = MMPRETRAIN.state_dict(gene.expand("h2-l5"))
    assert_set(model, {name: tensor for name, tensor in expected.items() if name.startswith("backbone.layers.")})
    assert_unchanged(model.decode_head, before)
    statuses = {name: status for name, status, _ in report.tensors}
    decoder = [name for name, _ in model.named_parameters() if name.startswith("decode_head.")]
    assert decoder and {statuses[name] for name in decoder} == {"random"}
    assert statuses["backbone.ln2.weight"] == "unused"  # maps of features are taken before the pooled norm
    assert report.share == 1  # the share is of the backbone
    assert "decode_head.conv_seg.weight" in str(report)


# ---------------------------------------------------------------- statuses


def test_another_image_and_patch_size_are_resized(gene):
    model = timm_vit(gene, img_size=(12, 8), patch_size=2)
    report = initialize(model, gene)
    spec = gene.target("h2-l5").replace(img_size=(12, 8), patch_size=2)
    assert_set(model, TIMM.state_dict(gene.expand(spec)))
    resized = {name for name, status, _ in report.tensors if status == "resized"}
    assert resized == {"pos_embed", "patch_embed.proj.weight"}
    assert report.share == 1


def test_tables_of_relative_positions_are_resized():
    """Those of a BEiT, which have an entry for every offset between two patches of the image."""
    fields = dict(head_dim=4, patch_size=4, num_classes=3, class_token=True, pos_embed="none", rel_pos_bias=True)
    spec = ViTSpec.parse("h2-l2", img_size=8, **fields, qkv_bias="qv", init_values=0.1)
    model = make(random_weights(spec.replace(img_size=16)), "timm")
    report = initialize(model, extract("first-k", random_weights(spec)))
    resized = {name for name, status, _ in report.tensors if status == "resized"}
    assert resized == {f"blocks.{layer}.attn.relative_position_bias_table" for layer in range(2)}


def test_a_hidden_width_that_its_ratio_does_not_give_as_a_whole_number():
    torch.manual_seed(0)
    gene = LeTs(
        "h1-l2", "h2-l4", groups=2, rows=1, repeats=2, mlp_ratio=8 / 3, head_dim=4, img_size=8, patch_size=4
    )  # 10 channels of 10.67
    assert initialize(timm_vit(gene, "h1-l3"), gene).share == 1
    with pytest.raises(LearngeneError, match="mlp_ratio=3.0, but the learngene's weights need mlp_ratio=2.66"):
        initialize(timm_vit(gene, "h1-l3", mlp_ratio=3), gene)


def test_other_classes_start_with_a_fresh_head(gene):
    model = timm_vit(gene, num_classes=7)
    before = values(model.head)
    report = initialize(model, gene)
    assert_unchanged(model.head, before)
    assert {name for name, status, _ in report.tensors if status == "random"} == {"head.weight", "head.bias"}
    assert report.share == 1  # the classifier head is not counted

    before = values(model)
    with pytest.raises(LearngeneError, match="head='inherit' with num_classes=7"):
        initialize(model, gene, head="inherit")
    assert_unchanged(model, before)


def test_a_head_may_be_left_fresh(gene):
    model = timm_vit(gene)
    before = values(model.head)
    report = initialize(model, gene, head="fresh")
    assert_unchanged(model.head, before)
    assert report.count("random") == sum(p.numel() for p in model.head.parameters())


def test_another_pooling_order_is_refused_unless_it_is_asked_for(gene):
    model = timm_vit(gene, pool="norm_avg")
    before = values(model)
    message = "computes something else.*pool=norm_avg in the model, pool=avg_norm in the learngene; adapt=True"
    with pytest.raises(LearngeneError, match=message):
        initialize(model, gene)
    assert_unchanged(model, before)
    report = initialize(model, gene, adapt=True)
    assert report.share == 1 and report.verdict.startswith("adapted: the final norm acts before the mean")
    assert "not the same computation" in str(report)
    assert torch.equal(model.norm.weight, gene.expand("h2-l5").tensors["norm.weight"])


def test_too_little_inherited_raises_and_changes_nothing(gene):
    some = extract("auto-learngene", gene.expand("h2-l5"), layers=2)
    model = timm_vit(gene)
    before = values(model)
    with pytest.raises(
        LearngeneError, match=r"would be inherited, less than min_inherited=99\.9%.*nothing was changed"
    ):
        initialize(model, some, min_inherited=0.999)
    assert_unchanged(model, before)
    assert 0.2 < initialize(model, some).share < 0.6  # layers left random by design need no number


@pytest.mark.parametrize("left_out, share", [("fc2.weight", 0.733), ("norm.weight", 0.998)])
def test_nine_tenths_must_be_inherited_unless_a_number_is_given(gene, left_out, share, monkeypatch):
    expand = type(gene)._expand

    def less(self, spec, **options):
        weights = expand(self, spec, **options)
        del weights.tensors[left_out]
        return weights

    monkeypatch.setattr(type(gene), "_expand", less)
    if share < 0.9:
        with pytest.raises(LearngeneError, match="only 73.3% .* less than min_inherited=90.0%"):
            initialize(timm_vit(gene), gene)
    else:
        assert initialize(timm_vit(gene), gene).share == pytest.approx(share, abs=1e-3)
    assert initialize(timm_vit(gene), gene, min_inherited=0.5).share == pytest.approx(share, abs=1e-3)


PATCHES, POSITIONS, BLOCKS, NORMS = "patch_embed.", "pos_embed", r"blocks\.\d+\.", r"(blocks\.\d+\.norm\d|fc_norm)\."


@pytest.mark.parametrize(
    "skip, left_out",
    [
        ("msa", BLOCKS + "attn"),
        ("mlp", BLOCKS + "mlp"),
        (["ln"], NORMS),
        ("patch_embed,pos_embed", f"({PATCHES}|{POSITIONS})"),
        (["qkv.b*", "fc?.weight"], BLOCKS + r"(attn\.qkv\.bias|mlp\.fc\d\.weight)"),
    ],
)
def test_parts_may_be_skipped(gene, skip, left_out):
    model = timm_vit(gene)
    before, expected = values(model), TIMM.state_dict(gene.expand("h2-l5"))
    report = initialize(model, gene, skip=skip)
    skipped = {name for name in before if re.match(left_out, name)}
    assert 0 < len(skipped) < len(before)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in skipped else expected[name]), name
    assert {name for name, status, _ in report.tensors if status == "skipped"} == skipped
    assert f"skipped {sum(before[name].numel() for name in skipped):,}" in str(report)
    assert report.share < 1 and report.count("random") == 0


def test_what_is_not_skipped_must_still_be_inherited(gene):
    some = extract("auto-learngene", gene.expand("h2-l5"), layers=2)
    model = timm_vit(gene)
    before = values(model)
    with pytest.raises(LearngeneError, match="of what is not skipped would be inherited, less than"):
        initialize(model, some, skip="msa", min_inherited=0.9)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    "skip, near", [("mha", "msa"), (["msa", "patch_embedding"], "patch_embed"), ("cls_token", None), ("qvk.*", None)]
)
def test_what_skip_does_not_name_is_refused(gene, skip, near):
    model = timm_vit(gene)
    before = values(model)
    hint = f"Did you mean '{near}'" if near else "expected msa, mlp, ln, patch_embed, pos_embed, or a pattern"
    with pytest.raises(LearngeneError, match=f"names no tensor of h2-l5.*{hint}"):
        initialize(model, gene, skip=skip)
    assert_unchanged(model, before)


def test_another_epsilon_is_noted(gene):
    assert initialize(timm_vit(gene), gene).notes == []
    assert initialize(timm_vit(gene, norm_eps=1e-5), gene).notes == [
        "norm_eps is 1e-05 in the model, 1e-06 in the learngene"
    ]
    report = initialize(build(backbone_cfg(gene.target("h2-l5").replace(norm_eps=1e-5))), gene)
    assert "note: norm_eps is 1e-05 in the model" in str(report)


def test_options_reach_the_expansion(gene):
    model = timm_vit(gene)
    initialize(model, gene, rows=[3, 2, 1, 0, 0])
    assert_set(model, TIMM.state_dict(gene.expand("h2-l5", rows=[3, 2, 1, 0, 0])))
    with pytest.raises(LearngeneError, match="no expansion option 'row'"):
        initialize(model, gene, row=[0])


def test_options_of_the_caller_go_before_those_of_the_model(gene):
    """A model may say how it is expanded to; who calls knows better."""
    model = timm_vit(gene)
    model.expand_options = dict(rows=[0, 0, 0, 0, 0])
    initialize(model, gene)
    assert_set(model, TIMM.state_dict(gene.expand("h2-l5", rows=[0, 0, 0, 0, 0])))
    initialize(model, gene, rows=[0, 1, 2, 3, 3])
    assert_set(model, TIMM.state_dict(gene.expand("h2-l5", rows=[0, 1, 2, 3, 3])))


def test_the_model_shares_no_memory_with_the_learngene(gene, tmp_path):
    model = timm_vit(gene, "h3-l8")
    initialize(model, gene)
    before = {name: tensor.clone() for name, tensor in gene.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in gene.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


# ---------------------------------------------------------------- bad input


def test_a_model_that_is_not_a_vit(gene):
    with pytest.raises(LearngeneError, match="Sequential is not a ViT that is known .*the nearest is backbone=dict"):
        initialize(torch.nn.Sequential(torch.nn.Linear(2, 2)), gene)
    with pytest.raises(LearngeneError, match="ResNet is not a ViT that is known here"):
        initialize(build(dict(type="mmpretrain.ResNet", depth=18)), gene)
    with pytest.raises(LearngeneError, match="ResNet is not a ViT that is known here"):
        cfg = classifier_cfg(gene.aux_spec)
        initialize(build({**cfg, "backbone": dict(type="mmpretrain.ResNet", depth=18)}), gene)


@pytest.mark.parametrize("heads, nearest", [(4, "h3-l8")])
def test_a_vit_out_of_range(gene, heads, nearest):
    model = VisionTransformer(**model_kwargs(gene.aux_spec.replace(num_heads=heads)))
    with pytest.raises(LearngeneError, match=f"not to h{heads}-l8; the nearest size is {nearest}"):
        initialize(model, gene)


@pytest.mark.parametrize("fields", [dict(class_token=True), dict(in_channels=1), dict(mlp_ratio=2), dict(head_dim=8)])
def test_a_vit_of_another_make(gene, fields):
    model = timm_vit(gene, **fields)
    before = values(model)
    with pytest.raises(LearngeneError, match=f"{next(iter(fields))}="):
        initialize(model, gene)
    assert_unchanged(model, before)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("framework", ["timm", "mmpretrain"])
def test_a_class_token_too_many_or_too_few(framework, wanted):
    aux = ViTSpec(2, 4, head_dim=4, img_size=8, patch_size=4, class_token=wanted, pool="cls" if wanted else "avg_norm")
    learngene = extract("pre-fin", VisionTransformer(**model_kwargs(aux)))
    other = aux.replace(class_token=not wanted, pool="norm_avg" if wanted else "cls")
    model = VisionTransformer(**model_kwargs(other)) if framework == "timm" else build(classifier_cfg(other))
    before = values(model)
    message = f"class token .class_token.: class_token={not wanted} in the model, class_token={wanted} in the learngene"
    with pytest.raises(LearngeneError, match=message):
        initialize(model, learngene, adapt=False)
    assert_unchanged(model, before)


def test_a_missing_file(gene, tmp_path):
    gene.save(tmp_path / "gene.safetensors")
    with pytest.raises(LearngeneError, match="did you mean .*gene.safetensors"):
        initialize(timm_vit(gene), tmp_path / "gen.safetensors")


# ---------------------------------------------------------------- the report


def test_the_report_reads_as_a_table(gene, tmp_path):
    path = gene.save(tmp_path / "gene.safetensors")
    report = initialize(timm_vit(gene, num_classes=7, img_size=16), path)
    lines = str(report).splitlines()
    assert lines[0] == f"h2-l5 from lets ({path}): 100.0% of the backbone inherited, same computation"
    assert lines[1].split() == ["tensor", "count", "parameters", "status"]
    cells = [line.split() for line in lines[2:-1]]
    assert ["blocks.*.attn.qkv.weight", "5", "960", "inherited"] in cells
    assert ["pos_embed", "1", "128", "resized"] in cells
    assert ["head.bias", "1", "7", "random"] in cells
    counted = {
        s: sum(int(c[2].replace(",", "")) for c in cells if c[3] == s) for s in ("inherited", "resized", "random")
    }
    assert counted == {status: report.count(status) for status in counted}
    assert lines[-1] == f"parameters: inherited {counted['inherited']:,}, resized 128, random 63, unused 0"


def test_tables_align():
    assert table([("a", "bb"), ("ccc", "d")], "<>") == "a    bb\nccc   d"


def test_positions_of_prefix_tokens_are_not_resampled():
    spec = ViTSpec(1, 1, head_dim=4, img_size=8, patch_size=4, class_token=True, reg_tokens=2)
    weights = random_weights(spec)
    positions = weights.resample(spec.replace(img_size=16)).tensors["pos_embed"]
    assert torch.equal(positions[:3], weights.tensors["pos_embed"][:3]) and positions.shape == (3 + 16, 4)


# ---------------------------------------------------------------- models that hold more, or less, than one ViT


def test_a_model_without_storage_is_refused_and_can_be_tried(gene):
    with torch.device("meta"):
        hollow = timm_vit(gene)
    with pytest.raises(LearngeneError, match="cls_token|pos_embed .*on the meta device and has no storage"):
        initialize(hollow, gene)
    assert initialize(hollow, gene, dry_run=True).share == 1
    model = timm_vit(gene)
    before = values(model)
    report = initialize(model, gene, dry_run=True)
    assert report.share == 1 and report.count("inherited") == sum(p.numel() for p in model.parameters())
    assert_unchanged(model, before)


def test_of_several_vits_one_is_asked_for(gene):
    """Student and teacher, two towers, an average: none is the first by chance."""
    student, teacher = timm_vit(gene), timm_vit(gene)
    both = torch.nn.ModuleDict(dict(student=torch.nn.ModuleDict(dict(vit=student)), teacher=teacher))
    before = values(teacher)
    with pytest.raises(
        LearngeneError, match=r"holds 2 ViTs: student.vit, teacher; say which, as in path='student.vit'"
    ):
        initialize(both, gene)
    with pytest.raises(LearngeneError, match="holds 2 ViTs"):
        load_ancestry(both)
    with pytest.raises(LearngeneError, match="has no ViT at path='head'; expected one of student.vit, teacher"):
        initialize(both, gene, path="head")
    assert initialize(both, gene, path="student").share == 1
    assert_set(student, TIMM.state_dict(gene.expand("h2-l5")))
    assert_unchanged(teacher, before)
    assert torch.equal(load_ancestry(both, path="teacher").tensors["pos_embed"], teacher.pos_embed[0])


@pytest.mark.parametrize("wrap", ["entries", "names", "average"])
def test_of_several_vits_in_a_file_one_is_asked_for(gene, wrap, tmp_path, capsys):
    one, two = (timm_vit(gene) for _ in range(2))
    file, like = tmp_path / "both.pth", gene.target("h2-l5")
    if wrap == "names":
        parts = dict(student=one, teacher=two)
        torch.save({f"{name}.{key}": t for name, m in parts.items() for key, t in m.state_dict().items()}, file)
    else:
        names = ("student", "teacher") if wrap == "entries" else ("state_dict", "state_dict_ema")
        torch.save({**dict(zip(names, (one.state_dict(), two.state_dict()), strict=True)), "epoch": 3}, file)
    path = "state_dict_ema" if wrap == "average" else "teacher"
    with pytest.raises(LearngeneError, match=rf"holds 2 (ViTs|sets of weights): \w+, {path}; say which, as in path="):
        load_ancestry(file, like=like)
    found = load_ancestry(file, like=like, path=path)
    assert torch.equal(found.tensors["pos_embed"], two.pos_embed[0])
    with pytest.raises(LearngeneError, match="nothing at path='nowhere'|say which"):
        load_ancestry(file, like=like, path="nowhere")
    command = ["extract", "--method", "pre-fin", "--ancestry", str(file), "--like", "vit_tiny_patch16_224"]
    out = tmp_path / "gene.safetensors"
    assert cli.main([*command, "-o", str(out)]) == 2 and "--path" in capsys.readouterr().err
    assert cli.main([*command, "--path", path, "--num-heads", "2", "--option", "pool=avg_norm", "-o", str(out)]) == 0
