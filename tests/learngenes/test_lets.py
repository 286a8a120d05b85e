"""LeTs: one expansion, against its definition written out naively."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch.func import functional_call

from mmlearngene import LearngeneError, ViTSpec, initialize, load
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.learngenes.facts.lets import DEPTH_INITS, WIDTH_INITS, WIDTH_MAPS
from mmlearngene.learngenes.lets import LeTs, _Widen

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)


def lets(learngene="h1-l4", aux="h3-l8", groups=2, rows=2, repeats=2, **options):
    """A tiny learngene whose every tensor is away from its special start value."""
    torch.manual_seed(0)
    gene = LeTs(learngene, aux, groups=groups, rows=rows, repeats=repeats, **{**TINY, **options})
    with torch.no_grad():
        for parameter in gene.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return gene


@st.composite
def genes(draw):
    """Any small LeTs learngene."""
    number = st.integers(1, 2)
    groups, rows, repeats, group_layers, heads = (draw(number) for _ in range(5))
    class_token = draw(st.booleans())
    return lets(
        f"h{heads}-l{groups * group_layers}",
        f"h{heads + draw(st.integers(0, 2))}-l{groups * rows * repeats}",
        groups,
        rows,
        repeats,
        keep_original=draw(st.booleans()),
        width_maps=draw(st.sampled_from(WIDTH_MAPS)),
        class_token=class_token,
        pool=draw(st.sampled_from(["avg_norm", "norm_avg"] + ["cls"] * class_token)),
        mlp_ratio=draw(st.sampled_from([2, 4])),
    )


def state_of(weights):
    return TIMM.state_dict(weights)


def naive(gene, spec, rows, embed_index=None, ffn_index=None):
    """The paper's definition, layer by layer, in timm's names: widen each matrix by [I; E] W [I; E]^T, then mix.

    ``embed_index``: which rows of F_embed, F_qkv and F_head are taken; ``ffn_index``: of F_ffn, one list a layer.
    """
    small, keep = gene.learngene_spec, gene.keep_original
    weight = gene.learngene.tensors()
    maps = gene.maps.tensors()
    old = small.embed_dims if keep else 0
    n, m = spec.embed_dims - old, spec.feedforward_channels - (small.feedforward_channels if keep else 0)
    embed_index = list(range(n)) if embed_index is None else embed_index
    ffn_index = [list(range(m))] * len(maps["ffn"]) if ffn_index is None else ffn_index

    def extended(matrix, index):
        chosen = matrix[index]
        identity = torch.eye(matrix.shape[1], dtype=matrix.dtype)
        return torch.cat([identity, chosen]) if keep else chosen

    embed = extended(maps["embed"], embed_index)
    channels = list(range(old)) + [old + i for i in embed_index]
    state = {
        "patch_embed.proj.weight": torch.einsum("os,scij->ocij", embed, weight["patch_embed.weight"]),
        "patch_embed.proj.bias": embed @ weight["patch_embed.bias"],
        "pos_embed": gene.pos_embed[:, channels][None],
        "head.weight": weight["head.weight"] @ extended(maps["head"], embed_index).T,
        "head.bias": weight["head.bias"],
    }
    norm = "fc_norm" if spec.pool == "avg_norm" else "norm"
    state |= {f"{norm}.{kind}": embed @ weight[f"norm.{kind}"] for kind in ("weight", "bias")}
    if spec.class_token:
        state["cls_token"] = (embed @ weight["cls_token"])[None, None]

    for target, row in enumerate(rows):
        group = row // gene.config["rows"]
        total = {}
        for position in range(gene.group_layers):
            i = group * gene.group_layers + position
            at = row if gene.config["width_maps"] == "row" else i  # LiGO's: a row's maps widen all that it mixes
            wide = {}
            for kind in ("weight", "bias"):
                wide["norm1", kind] = embed @ weight[f"norm1.{kind}"][i]
                wide["norm2", kind] = embed @ weight[f"norm2.{kind}"][i]
            grown = {part: extended(maps["qkv"][at, j], embed_index) for j, part in enumerate("qkv")}
            for j, part in enumerate("qkv"):
                matrix = weight["qkv.weight"][i, j].reshape(-1, small.embed_dims)
                wide[part, "weight"] = grown[part] @ matrix @ embed.T
                wide[part, "bias"] = grown[part] @ weight["qkv.bias"][i, j].reshape(-1)
            wide["proj", "weight"] = embed @ weight["proj.weight"][i].reshape(small.embed_dims, -1) @ grown["v"].T
            wide["proj", "bias"] = embed @ weight["proj.bias"][i]
            hidden = extended(maps["ffn"][at], ffn_index[at])
            wide["fc1", "weight"] = hidden @ weight["fc1.weight"][i] @ embed.T
            wide["fc1", "bias"] = hidden @ weight["fc1.bias"][i]
            wide["fc2", "weight"] = embed @ weight["fc2.weight"][i] @ hidden.T
            wide["fc2", "bias"] = embed @ weight["fc2.bias"][i]
            for (module, kind), tensor in wide.items():
                coefficient = maps[f"depth.{module}.{kind}"][row, position]
                total[module, kind] = total.get((module, kind), 0) + coefficient * tensor
        names = {"norm1": "norm1", "proj": "attn.proj", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
        for kind in ("weight", "bias"):
            for module, name in names.items():
                state[f"blocks.{target}.{name}.{kind}"] = total[module, kind]
            state[f"blocks.{target}.attn.qkv.{kind}"] = torch.cat([total[part, kind] for part in "qkv"])
    return state


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


# ---------------------------------------------------------------- the definition


def test_the_paper_sizes_store_what_the_paper_says():
    with torch.device("meta"):
        gene = LeTs()
    assert gene.stored_params() == dict(learngene=14_876_776, maps=22_708_480, positions=150_528, total=37_735_784)


@pytest.mark.parametrize(
    "options, stored, learngene",
    [
        (dict(learngene="h6-l6", groups=2, rows=4, repeats=2), 28_583_656, 11_403_112),  # the paper: 11.4M
        (dict(groups=1, rows=16, repeats=1, width_maps="row"), 60_150_888, 14_952_040),  # the paper, like LiGO: 60.2M
    ],
)
def test_the_papers_ablations_store_what_the_paper_says(options, stored, learngene):
    with torch.device("meta"):
        gene = LeTs(**options)
    assert (gene.stored_params()["total"], gene.learngene_spec.num_params) == (stored, learngene)


@settings(max_examples=25, deadline=None)
@given(gene=genes(), data=st.data())
def test_expansion_is_the_definition(gene, data):
    heads = data.draw(st.sampled_from(gene.head_choices))
    rows = data.draw(st.lists(st.integers(0, gene.num_rows - 1), min_size=1, max_size=5))
    spec = gene.target(f"h{heads}-l{len(rows)}")
    assert_same(state_of(gene.expand(spec, rows=rows)), naive(gene, spec, rows))


@pytest.mark.parametrize("keep_original", [True, False])
@pytest.mark.parametrize("size", ["h1-l2", "h2-l3", "h3-l8"])
def test_gradients_are_those_of_the_definition(size, keep_original):
    gene = lets(keep_original=keep_original).double()
    spec = gene.target(size)
    rows = gene.default_rows(spec.num_layers)
    states = state_of(gene.expand(spec)), naive(gene, spec, rows)
    torch.manual_seed(1)
    probes = {name: torch.randn_like(tensor) for name, tensor in states[0].items()}
    found, expected = (
        torch.autograd.grad(
            sum((probes[name] * tensor).sum() for name, tensor in state.items()),
            list(gene.parameters()),
            allow_unused=True,
            materialize_grads=True,
        )
        for state in states
    )
    for (name, _), one, other in zip(gene.named_parameters(), found, expected, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")
    if size == "h3-l8":
        assert all(gradient.abs().sum() > 0 for gradient in found)


@pytest.mark.parametrize("new", [0, 2])
@pytest.mark.parametrize("batched", [True, False])
def test_the_gradients_of_widen_are_right(new, batched):
    torch.manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    if batched:
        inputs = random(2, new, 3), [-2, -2, -1], random(2, 3, 4), random(2, 3, 1), random(2, 4, 3)
    else:
        inputs = random(new, 3), [-2, -1, -1, -1], random(3, 4), random(5, 3), random(3), random(2, 2, 3)
    assert torch.autograd.gradcheck(_Widen.apply, inputs)


# ---------------------------------------------------------------- the identity law


@settings(max_examples=8, deadline=None)
@given(gene=genes())
def test_a_descendant_of_the_aux_nets_size_is_the_aux_net(gene, tmp_path_factory):
    path = gene.save(tmp_path_factory.mktemp("gene") / "gene.safetensors")
    aux = gene.aux_spec
    images = torch.randn(2, 3, *aux.img_size)
    # as in training: the template computes with the expansion itself
    trained = state_of(gene.expand())
    template = VisionTransformer(**model_kwargs(aux), device="meta").eval()
    logits = functional_call(template, trained, (images,), strict=True).detach()
    for source in (gene, path):
        descendant = VisionTransformer(**model_kwargs(aux)).eval()
        assert initialize(descendant, source).share == 1
        assert all(torch.equal(tensor, trained[name]) for name, tensor in descendant.state_dict().items())
        assert torch.equal(descendant(images), logits)


@pytest.mark.parametrize("pool", ["avg_norm", "norm_avg", "cls"])
def test_so_it_is_in_mmpretrain(pool, tmp_path):
    pytest.importorskip("mmpretrain")
    from mmpretrain.registry import MODELS

    from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
    from mmlearngene.frameworks.mmpretrain import classifier_cfg

    gene = lets(pool=pool, class_token=pool == "cls")
    path = gene.save(tmp_path / "gene.safetensors")
    trained = MMPRETRAIN.state_dict(gene.expand())
    images = torch.randn(2, 3, 8, 8)
    template = MODELS.build(classifier_cfg(gene.aux_spec)).eval()
    logits = functional_call(template, trained, (images,), strict=True).detach()
    for source in (gene, path):
        descendant = MODELS.build(classifier_cfg(gene.aux_spec)).eval()
        assert initialize(descendant, source, head="inherit").share == 1
        assert all(torch.equal(tensor, trained[name]) for name, tensor in descendant.state_dict().items())
        assert torch.equal(descendant(images), logits)


# ---------------------------------------------------------------- start values


def test_start_values_of_the_learngene_are_a_vits():
    tensors = LeTs("h1-l4", "h3-l8", groups=2, **TINY).learngene.tensors()
    assert torch.equal(tensors["norm1.weight"], torch.ones(4, 4))
    assert not tensors["qkv.bias"].any() and 0 < tensors["qkv.weight"].std() < 0.03


@pytest.mark.parametrize("init", WIDTH_INITS)
def test_start_values_of_the_width_maps(init):
    torch.manual_seed(0)
    gene = LeTs("h1-l4", "h3-l8", groups=2, width_init=init, **TINY)
    maps = {name: tensor for name, tensor in gene.maps.tensors().items() if not name.startswith("depth.")}
    shapes = dict(embed=(8, 4), qkv=(4, 3, 8, 4), ffn=(4, 32, 16), head=(8, 4))
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == shapes
    for tensor in maps.values():
        if init == "noisy-copy":
            noise = tensor - F.one_hot(tensor.argmax(-1), tensor.shape[-1])
            assert 0 < noise.abs().max() < 0.2
            tensor = tensor - noise
        torch.testing.assert_close(tensor.sum(-1), torch.ones(tensor.shape[:-1]))
        assert (tensor >= 0).all()
        assert ((tensor == 0) | (tensor == 1)).all() == init.endswith("copy")


@pytest.mark.parametrize("init", DEPTH_INITS)
def test_start_values_of_the_depth_coefficients(init):
    torch.manual_seed(0)
    gene = LeTs("h1-l4", "h3-l8", groups=2, depth_init=init, **TINY)
    rows = {name: tensor for name, tensor in gene.maps.tensors().items() if name.startswith("depth.")}
    assert len(rows) == 16
    for tensor in rows.values():
        assert tensor.shape == (4, 2)
        torch.testing.assert_close(tensor.sum(-1), torch.ones(4))
        if init == "average":
            torch.testing.assert_close(tensor, torch.full((4, 2), 0.5))
        else:
            assert (tensor[:, 0] > 0.8).all() and (tensor[:, 1] != 0).all()


# ---------------------------------------------------------------- rows of G


def test_default_rows():
    gene = lets("h1-l8", "h2-l16", groups=4)
    assert gene.default_rows(16) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert gene.default_rows(12) == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    assert gene.default_rows(8) == list(range(8))
    assert gene.default_rows(10) == [0, 0, 1, 2, 2, 3, 4, 5, 6, 7]
    weights = gene.expand("h2-l10")
    assert_same(state_of(weights), state_of(gene.expand("h2-l10", rows=gene.default_rows(10))), rtol=0, atol=0)


@given(layers=st.integers(1, 40))
def test_default_rows_are_ordered_and_favour_shallow_groups(layers):
    rows = lets("h1-l8", "h2-l16", groups=4).default_rows(layers)
    assert len(rows) == layers and rows == sorted(rows) and set(rows) <= set(range(8))
    if layers >= 4:
        counts = [sum(row // 2 == group for row in rows) for group in range(4)]
        assert counts == sorted(counts, reverse=True) and max(counts) - min(counts) <= 1


def test_unshared_rows_give_every_aux_layer_its_own():
    gene = lets(rows=4, repeats=1)
    assert gene.num_rows == gene.aux_spec.num_layers == 8
    assert gene.default_rows(8) == list(range(8))
    assert gene.maps.tensors()["depth.q.weight"].shape == (8, 2)
    assert_same(state_of(gene.expand()), naive(gene, gene.aux_spec, range(8)))


def test_distinct_layers_are_computed_once_and_shared():
    gene = lets()
    state = state_of(gene.expand("h2-l5", rows=[3, 0, 3, 0, 1]))
    pointers = [state[f"blocks.{i}.mlp.fc1.weight"].data_ptr() for i in range(5)]
    assert pointers[0] == pointers[2] and pointers[1] == pointers[3]
    assert len(set(pointers)) == 3


@pytest.mark.parametrize(
    "rows, message",
    [
        ([0, 1], r"rows=\[0, 1\] has 2 entries; h2-l3 needs 3"),
        ([0, 1, 4], "4 is not a row of G; expected 0 to 3"),
        ([0, -1, 2], "-1 is not a row of G"),
        ([0, 1, "2"], r"rows=\[0, 1, '2'\]: input should be a valid integer"),
    ],
)
def test_wrong_rows_are_refused(rows, message):
    with pytest.raises(LearngeneError, match=message):
        lets().expand("h2-l3", rows=rows)


# ---------------------------------------------------------------- selection of neurons


def ranked(matrix, count, norm, top, block=1):
    """The rows of largest or smallest norm, whole blocks of them by their summed norm, in ascending order."""
    norms = [row.abs().sum().item() if norm == 1 else row.square().sum().sqrt().item() for row in matrix]
    sums = [sum(norms[start : start + block]) for start in range(0, len(norms), block)]
    order = sorted(range(len(sums)), key=lambda i: -sums[i] if top else sums[i])[: count // block]
    return [i * block + j for i in sorted(order) for j in range(block)]


@pytest.mark.parametrize("keep_original", [True, False])
@pytest.mark.parametrize("unit", ["head", "row"])
@pytest.mark.parametrize("selection", ["top-l1", "top-l2", "bottom-l1", "bottom-l2"])
def test_selection_by_norm(selection, unit, keep_original):
    gene = lets(aux="h4-l8", keep_original=keep_original)
    spec = gene.target("h2-l8")
    maps = gene.maps.tensors()
    with torch.no_grad():  # neither the largest nor the smallest head comes first
        maps["embed"].unflatten(0, (-1, 4)).mul_(torch.tensor([2.0, 4, 1, 3])[: len(maps["embed"]) // 4, None, None])
    top, norm = selection.startswith("top"), int(selection[-1])
    new, hidden = (4, 16) if keep_original else (8, 32)
    embed_index = ranked(maps["embed"].detach(), new, norm, top, block=4 if unit == "head" else 1)
    ffn_index = [ranked(layer.detach(), hidden, norm, top) for layer in maps["ffn"]]
    expected = naive(gene, spec, gene.default_rows(8), embed_index, ffn_index)
    assert_same(state_of(gene.expand(spec, selection=selection, unit=unit)), expected)
    assert embed_index != list(range(new))  # else this would not tell selections apart


@pytest.mark.parametrize("unit", ["head", "row"])
@pytest.mark.parametrize("selection", ["top-l1", "top-l2", "bottom-l1", "bottom-l2"])
@pytest.mark.parametrize("size, aux", [("h1-l8", "h3-l8"), ("h3-l8", "h3-l8"), ("h1-l8", "h1-l8")])
def test_every_selection_of_all_or_none_is_the_continuous_one(size, aux, selection, unit):
    gene = lets(aux=aux)
    found = state_of(gene.expand(size, selection=selection, unit=unit))
    assert_same(found, state_of(gene.expand(size)), rtol=0, atol=0)


# ---------------------------------------------------------------- images, classes, precision


@pytest.mark.parametrize("class_token", [False, True])
def test_positions_and_patch_kernels_are_resampled_by_timm(class_token):
    gene = lets(class_token=class_token)
    plain = state_of(gene.expand("h2-l8"))
    spec = gene.target("h2-l8").replace(img_size=(12, 16), patch_size=2)
    found = state_of(gene.expand(spec))
    expected = dict(plain)
    expected["patch_embed.proj.weight"] = resample_patch_embed(plain["patch_embed.proj.weight"], [2, 2])
    expected["pos_embed"] = resample_abs_pos_embed(plain["pos_embed"], [6, 8], [2, 2], int(class_token))
    assert_same(found, expected, rtol=0, atol=0)
    VisionTransformer(**model_kwargs(spec)).load_state_dict(found, strict=True)


def test_the_head_follows_the_number_of_classes():
    gene = lets()
    assert "head.weight" in state_of(gene.expand("h2-l2"))
    assert "head.weight" not in state_of(gene.expand("h2-l2", head="fresh"))
    spec = gene.target("h2-l2")
    for classes in (0, 7):
        assert not {"head.weight", "head.bias"} & state_of(gene.expand(spec.replace(num_classes=classes))).keys()
    message = "head='inherit' with num_classes=7, but the learngene's head has 3 classes"
    with pytest.raises(LearngeneError, match=message):
        gene.expand(spec.replace(num_classes=7), head="inherit")
    with pytest.raises(LearngeneError, match="head 'new' is unknown"):
        gene.expand(spec, head="new")


def test_a_learngene_without_classes_has_no_head():
    gene = lets(num_classes=0)
    assert "head" not in gene.maps.tensors()
    state = state_of(gene.expand("h2-l2"))
    VisionTransformer(**model_kwargs(gene.target("h2-l2"))).load_state_dict(state, strict=True)


def test_autocast_does_not_touch_the_expansion():
    gene = lets()
    plain = state_of(gene.expand("h2-l5"))
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        found = state_of(gene.expand("h2-l5"))
        sum(tensor.sum() for tensor in found.values()).backward()
    assert_same(found, plain, rtol=0, atol=0)
    assert {parameter.grad.dtype for parameter in gene.parameters()} == {torch.float32}


def test_weight_decay_spares_vectors_coefficients_and_positions():
    gene = lets(class_token=True)
    decayed = {name for name, _ in gene.named_parameters()} - gene.no_weight_decay()
    modules = ("patch_embed", "head", "qkv", "proj", "fc1", "fc2")
    assert decayed == {f"learngene.{module}.weight" for module in modules} | {
        f"maps.{name}" for name in ("embed", "qkv", "ffn", "head")
    }


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(groups=3), "groups=3 does not divide the learngene's 4 layers; the nearest that does is [24]"),
        (dict(groups=0), "groups=0"),
        (dict(rows=0), "rows=0"),
        (dict(repeats=0), "repeats=0"),
        (dict(rows=3), "give 12 Aux layers, not the 8 of h3-l8; the nearest Aux-Net is h3-l12"),
        (dict(learngene="h4-l4"), "the Aux-Net h3-l8 is narrower than the learngene h4-l4"),
        (dict(width_init="copied"), "width_init 'copied' is unknown.*Did you mean 'copy'"),
        (dict(depth_init="last"), "depth_init 'last' is unknown"),
        (dict(num_class=3), "Did you mean 'num_classes'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(LearngeneError, match=message):
        LeTs(**{**dict(learngene="h1-l4", aux="h3-l8", groups=2, **TINY), **options})


def test_heads_that_do_not_divide_are_refused():
    from mmlearngene.frameworks.timm import VIT as TIMM

    state = state_of(lets().expand("h3-l2"))
    with pytest.raises(LearngeneError, match="5 heads do not divide the width 12; the nearest that do are [46]"):
        TIMM.from_state_dict(state, num_heads=5)


@pytest.mark.parametrize("size, nearest", [("h1-l4", "h2-l4"), ("h6-l9", "h4-l9")])
def test_sizes_out_of_range_name_the_range(size, nearest):
    gene = lets("h2-l4", "h4-l8")
    with pytest.raises(
        LearngeneError, match=rf"2 to 4 heads and any number of layers, not to {size}; the nearest.*{nearest}"
    ):
        gene.expand(size)


def test_a_schedule_of_heads_is_refused():
    gene = lets("h2-l4", "h4-l8")
    schedule = gene.aux_spec.replace(num_heads=[2, 2, 4, 3], num_layers=4, embed_dims=gene.aux_spec.embed_dims)
    with pytest.raises(LearngeneError, match="all layers alike, not to h2,2,4,3-l4; the nearest size is h4-l4"):
        gene.expand(schedule)


@pytest.mark.parametrize("fields", [dict(head_dim=8), dict(mlp_ratio=2), dict(class_token=True), dict(in_channels=1)])
def test_a_descendant_of_another_make_is_refused(fields):
    gene = lets()
    name = next(iter(fields))
    with pytest.raises(LearngeneError, match=f"needs? {name}|{name}="):
        gene.expand(gene.target("h2-l4").replace(**fields))


def test_unknown_options_are_refused():
    with pytest.raises(LearngeneError, match="lets has no expansion option 'stages'; it takes: rows, selection, unit"):
        lets().expand("h2-l2", stages=[0, 1])
    with pytest.raises(LearngeneError, match="selection 'top' is unknown"):
        lets().expand("h2-l2", selection="top")
    with pytest.raises(LearngeneError, match="unit 'neuron' is unknown"):
        lets().expand("h2-l2", selection="top-l1", unit="neuron")


def test_a_file_keeps_everything(tmp_path):
    gene = lets(keep_original=False, depth_init="average", class_token=True, pool="cls")
    gene.provenance = {"dataset": "digits", "epochs": 3}
    gene.classes = ["one", "two", "three"]
    back = load(gene.save(tmp_path / "gene.safetensors"))
    assert (back.learngene_spec, back.aux_spec, back.config) == (gene.learngene_spec, gene.aux_spec, gene.config)
    assert back.classes == gene.classes and back.provenance.items() >= gene.provenance.items()
    assert all(p.requires_grad for p in back.parameters())
    assert_same(back.state_dict(), gene.state_dict(), rtol=0, atol=0)


def test_a_spec_may_be_given_whole():
    spec = ViTSpec(1, 4, **TINY)
    gene = LeTs(spec, spec.replace(num_heads=3, num_layers=8), groups=2)
    assert (gene.learngene_spec, str(gene.aux_spec)) == (spec, "h3-l8")
