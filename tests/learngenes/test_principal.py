"""Principal learngenes: exact at the ancestry's size, nested, refitted, and refused by name where they cannot be."""

import copy
import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlearngene import LearngeneError, build, extract, initialize, load, load_ancestry
from mmlearngene.learngenes.activations import LiveViT, moments
from mmlearngene.learngenes.principal import Principal, laid
from mmlearngene.learngenes.refit import _nested, choose_layers, refit
from mmlearngene.testing import FEATURES, random_weights, spec_of
from mmlearngene.vit.tensors import LAYER_TENSORS, row_of

from ..support import digits
from ..support.command import fails, run
from ..support.reference import reference
from ..support.zoo import images, noise, outputs, timm_names, tiny_timm

TREATED = [feature for feature in FEATURES if Principal.refuses(spec_of(feature)) is None]
REFUSED = {
    "pre-norm": "norm before the layers", "patch norm": "norm after the patch embedding",
    "post-norm": "norm behind attention and MLP", "norms inside": "norm inside the attention", "Swin": "stages",
}  # fmt: skip


def difference(one, other) -> float:
    """The largest difference of outputs over the largest output."""
    pairs = [(a.detach(), b.detach()) for a, b in zip(one, other, strict=True)]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def logits(weights, x):
    return build(weights).eval()(x).detach()


@functools.cache
def gene(feature: str = "plain", **more) -> Principal:
    torch.manual_seed(0)
    spec = spec_of(feature).replace(**more)
    return extract("principal", random_weights(spec), data=noise(spec))


# ---------------------------------------------------------------------- laws


@pytest.mark.parametrize("feature", TREATED)
def test_law_the_full_size_is_the_ancestry(feature):
    torch.manual_seed(0)
    ancestry = random_weights(spec_of(feature))
    found = extract("principal", ancestry, data=noise(ancestry.spec))
    x = images(ancestry.spec.img_size)
    assert difference([logits(ancestry, x)], [logits(found.expand(), x)]) < 1e-5


@pytest.mark.parametrize("feature", [f for f in TREATED if spec_of(f).rope == "none"])
def test_law_the_full_size_is_the_ancestry_in_double_precision(feature):
    torch.manual_seed(0)
    ancestry = random_weights(spec_of(feature))
    ancestry.tensors = {
        name: tensor.double() if isinstance(tensor, torch.Tensor) else [t.double() for t in tensor]
        for name, tensor in ancestry.tensors.items()
    }
    x = images(ancestry.spec.img_size).double()
    weights = extract("principal", ancestry, data=noise(ancestry.spec)).expand()
    assert weights.tensors["proj.weight"].dtype == torch.float64
    assert difference([reference(ancestry, x)], [reference(weights, x)]) < 1e-10


@pytest.mark.parametrize("feature", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(feature):
    with pytest.raises(LearngeneError, match=REFUSED[feature]) as error:
        extract("principal", random_weights(spec_of(feature)), data=noise(spec_of(feature)))
    assert "\n" not in str(error.value)


def test_law_over_the_zoo_of_timm():
    exact, refused = {}, {}
    seen = set()
    for name in timm_names():
        try:
            model = tiny_timm(name)
            weights = load_ancestry(model)
        except LearngeneError:
            continue  # no ViT that is known here
        kind = tuple(sorted((key, str(value)) for key, value in weights.spec.features().items()))
        if kind in seen:
            continue
        seen.add(kind)
        try:
            found = extract("principal", weights, data=noise(weights.spec), refitted=False)
        except LearngeneError as error:
            refused[name] = str(error)
            continue
        other, x = build(found.expand()), images(weights.spec.img_size, weights.spec.in_channels)
        exact[name] = difference([outputs(model, x)[-1]], [outputs(other, x)[-1]])
    assert len(exact) >= 25 and max(exact.values()) < 1e-4, exact
    assert all("principal cannot treat" in line and " with " in line for line in refused.values())


@settings(max_examples=25, deadline=None)
@given(width=st.integers(2, 24), feature=st.sampled_from(["plain", "RMSNorm", "no biases"]))
def test_law_a_width_is_the_first_coordinates_of_the_widest(width, feature):
    found = gene(feature)
    spec = found.aux_spec.replace(num_heads=2, embed_dims=width)
    small, full = found.expand(spec), found.expand()
    for name, tensor in small.tensors.items():
        row, of_layers = row_of(spec, name), name in LAYER_TENSORS
        axis = row.axis("width")
        if axis is None or "norm" in name or name.startswith(("proj", "fc2")):  # the last two are refitted
            continue
        own = laid(tensor, axis + of_layers, spec.norm)
        whole = laid(full.tensors[name], axis + of_layers, spec.norm)
        for number, called in enumerate(row.axis_names, of_layers):
            if called in ("head", "hidden"):
                whole = whole.narrow(number, 0, own.shape[number])
        mean = spec.norm == "layernorm"
        kept = [*range(width - mean), *([whole.shape[axis + of_layers] - 1] if mean else [])]
        assert torch.allclose(own, whole.index_select(axis + of_layers, torch.tensor(kept)), atol=1e-5)


@given(width=st.integers(2, 40))
@settings(max_examples=20, deadline=None)
def test_law_coordinates_are_laid_by_a_reflection_whose_last_axis_is_the_mean(width):
    turn = laid(torch.eye(width, dtype=torch.float64), 0, "layernorm")
    assert torch.allclose(turn @ turn, torch.eye(width, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(turn[:, -1], torch.full((width,), 1 / math.sqrt(width), dtype=torch.float64))


@pytest.mark.parametrize("feature", TREATED)
def test_every_tensor_has_a_finite_gradient(feature):
    found = copy.deepcopy(gene(feature))
    x = images(found.aux_spec.img_size)
    from mmlearngene.models.template import Template

    total = 0
    for size in ("h3-l4", "h2-l3", "h3-l2", "h3-l1", "h1-l4"):
        spec = found.target(size)
        template = Template(spec)
        total = total + template(template.state_dict(found.expand(spec)), x).square().sum()
    total.backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("largest", ["h2-l4", "h3-l3", "h2-l3", "h1-l1", "h3-l4"])
def test_a_compact_one_gives_what_the_whole_one_gives(largest, tmp_path):
    torch.manual_seed(0)
    ancestry = random_weights(spec_of("plain"))
    whole, small = (
        extract("principal", ancestry, data=noise(ancestry.spec), **more) for more in ({}, dict(largest=largest))
    )
    assert str(small.aux_spec) == largest
    assert small.stored_params()["total"] <= whole.stored_params()["total"]
    again = load(small.save(tmp_path / "small.safetensors"))
    x = images(ancestry.spec.img_size)
    for heads in range(1, small.aux_spec.num_heads + 1):
        for layers in range(1, small.aux_spec.num_layers + 1):
            size = f"h{heads}-l{layers}"
            assert torch.allclose(logits(again.expand(size), x), logits(whole.expand(size), x), atol=1e-5), size


@pytest.mark.parametrize("framework", ["timm", "hf", "mmpretrain"])
def test_frameworks_compute_the_same(framework):
    found = gene("class token")
    weights = found.expand("h2-l3")
    x = images(weights.spec.img_size)
    assert difference([logits(weights, x)], [outputs(build(weights, framework), x)[-1]]) < 1e-5


def test_layer_scale_stays_where_the_framework_has_one():
    weights = gene("layer scale").expand("h2-l3")
    assert weights.spec.init_values is not None and (weights.tensors["ls1.gamma"] == 1).all()


def test_tokens_of_the_ancestrys_width_are_the_ancestrys_own():
    found = gene("class token", num_classes=0)
    torch.manual_seed(0)
    ancestry = random_weights(found.aux_spec)
    x = images(ancestry.spec.img_size)
    tokens = [build(w).eval().forward_features(x) for w in (ancestry, found.expand())]
    assert difference([tokens[0]], [tokens[1]]) < 1e-5


def test_other_heads_at_a_width_and_other_image_sizes():
    found = gene()
    wide = found.expand(found.aux_spec.replace(num_heads=2, embed_dims=24))
    assert wide.spec.embed_dims == 24 and wide.tensors["qkv.weight"].shape[2] == 2
    assert found.expand(found.target("h2-l3").replace(img_size=24)).spec.grid == (6, 6)
    with pytest.raises(LearngeneError, match="embed_dims=32 is not in 2 to 24"):
        found.expand(found.aux_spec.replace(embed_dims=32))


def test_channels_are_the_control_without_axes():
    torch.manual_seed(0)
    ancestry = random_weights(spec_of("plain"))
    found = extract("principal", ancestry, basis="channels")
    x = images(ancestry.spec.img_size)
    assert difference([logits(ancestry, x)], [logits(found.expand(), x)]) < 1e-5
    assert torch.allclose(found.expand("h2-l4").tensors["proj.bias"].mean(1), torch.zeros(4), atol=1)  # a plain ViT


# ---------------------------------------------------------------------- what is seen of images


def test_moments_are_those_of_the_activations():
    torch.manual_seed(0)
    weights = random_weights(spec_of("class token"))
    x = noise(weights.spec)
    found, live = moments(weights, x.split(3)), LiveViT(weights)
    stream = live.stream(x)
    tokens = stream - stream.mean(-1, keepdim=True)
    tokens = (tokens / tokens.square().mean(-1, keepdim=True).sqrt()).flatten(0, 1)
    assert torch.allclose(found.norms["norm1"][0], tokens.T @ tokens / len(tokens), atol=1e-4)
    heads = live.written("proj", 0, stream).flatten(0, 1)
    assert torch.allclose(found.heads[0], torch.cov(heads.T, correction=0), atol=1e-4)
    assert found.images == len(x)


@pytest.mark.parametrize("feature", ["plain", "layer scale", "rope mixed", "swiglu", "relative positions", "qk-norm"])
def test_layers_run_one_by_one_are_the_network(feature):
    torch.manual_seed(0)
    weights = random_weights(spec_of(feature))
    live, x = LiveViT(weights), images(weights.spec.img_size)
    stream = live.stream(x)
    for layer in range(weights.spec.num_layers):
        for writer in ("proj", "fc2"):
            stream = live.behind(writer, layer, stream)
    assert not any(module._forward_pre_hooks for module in live.model.modules())
    model = build(weights).eval()
    blocks = []
    model.blocks[-1].register_forward_hook(lambda module, inputs, out: blocks.append(out))
    model(x)
    assert difference([blocks[0]], [stream]) < 1e-5


def test_a_refit_counts_the_tokens_of_the_images_that_it_is_given():
    found = gene("plain")
    side = 2 * found.aux_spec.img_size[0]  # four times the tokens of the ancestry's own images
    seen = [sum(map(len, found._some([torch.zeros(2000, 3, n, n)]))) for n in (side // 2, side)]
    assert seen[0] == pytest.approx(4 * seen[1], abs=4)


def test_a_refit_follows_the_ancestry_better_and_the_widest_stays():
    torch.manual_seed(0)
    ancestry = random_weights(spec_of("plain"))
    x = noise(ancestry.spec)
    bare = extract("principal", ancestry, data=x, refitted=False)
    refitted = bare.refitted([x])
    own = bare.fitted("h2-l4", [x])

    def loss(found) -> float:
        goal = bare.to_coordinates(_final(bare.expand(), x))
        goal = bare.coordinates(goal, -1, 16)
        return float((found.to_coordinates(_final(found.expand("h2-l4"), x)) - goal).square().mean())

    assert loss(refitted) < 0.9 * loss(bare) and loss(own) < 0.9 * loss(bare)
    assert torch.equal(refitted.expand().tensors["proj.weight"], bare.expand().tensors["proj.weight"])


def _final(weights, x):
    live = LiveViT(weights)
    stream = live.stream(x)
    for layer in range(weights.spec.num_layers):
        for writer in ("proj", "fc2"):
            stream = live.behind(writer, layer, stream)
    return stream


def test_a_refit_of_what_needs_none_changes_nothing():
    found = gene("plain")
    bare = Principal(found.aux_spec)
    bare.load_state_dict({n: t for n, t in found.state_dict().items() if n in bare.state_dict()})
    added, _ = refit(bare, noise(found.aux_spec).split(2), [found.aux_spec.replace(num_layers=4)])
    assert all(float(change.abs().max()) < 1e-4 for change in added.values())


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_the_layers_kept_are_nested_and_the_best_chain(data):
    count = data.draw(st.integers(2, 6))
    gaps = [(a, b) for a in range(count) for b in range(a + 2, count + 1)]
    losses = {gap: data.draw(st.floats(0, 1)) for gap in gaps}
    kept = _nested(losses, count)
    assert [len(layers) for layers in kept] == list(range(1, count + 1))
    for small, large in zip(kept, kept[1:], strict=False):
        assert set(small) < set(large) and small[0] == 0

    def chains(gap):
        layer, behind = gap
        wider = [g for g in ((layer - 1, behind), (layer, behind + 1)) if g in losses]
        return [[gap, *rest] for g in wider for rest in chains(g)] or [[gap]]

    def of(layers):
        behind = [*layers[1:], count]
        return next((a, b) for a, b in zip(layers, behind, strict=True) if b > a + 1)

    best = min(sum(losses[g] for g in chain) for a in range(count - 1) for chain in chains((a, a + 2)))
    assert sum(losses[of(layers)] for layers in kept[:-1]) == pytest.approx(best)


def test_layers_are_chosen_by_what_the_final_tokens_lose():
    torch.manual_seed(0)
    ancestry = random_weights(spec_of("plain"))
    for name in ("proj.weight", "proj.bias", "fc2.weight", "fc2.bias"):
        ancestry.tensors[name][2] *= 1e-6  # a layer that does nothing
    x = noise(ancestry.spec)
    found = extract("principal", ancestry, data=x, refitted=False)
    assert choose_layers(found, x.split(2))[2] == [0, 1, 3]
    assert found.refitted([x], keep="first").config["kept"][2] == [0, 1, 2]


# ---------------------------------------------------------------------- a trained ancestry


@functools.cache
def trained(count: int = 500, refitted: bool = True) -> Principal:
    """A learngene of a trained ancestry, from so many images."""
    (x, _), _ = digits.digits()
    return extract("principal", digits.ancestry(), data=x[:count].split(50), refitted=refitted)


def accuracy(found, size: str) -> float:
    return digits.accuracy(digits.vit(found.target(size), found.expand(size)))


def test_narrow_sizes_are_good_without_training():
    ancestry = digits.accuracy(digits.vit(digits.ancestry().spec, digits.ancestry()))
    selection = extract("weight-selection", digits.ancestry())
    for size, share in (("h3-l4", 0.95), ("h2-l4", 0.85), ("h3-l3", 0.85)):
        found = accuracy(trained(), size)
        assert found > share * ancestry and found > accuracy(selection, size) + 0.1, (size, found)
        assert found > accuracy(trained(refitted=False), size), size


@pytest.mark.parametrize("count", [10, 30, 100])
def test_a_refit_by_few_images_does_no_harm(count):
    for size in ("h3-l4", "h2-l4"):
        assert accuracy(trained(count), size) > accuracy(trained(count, refitted=False), size) - 0.01, size


def test_the_energy_says_how_narrow_is_sensible():
    energy = trained().energy()
    assert energy == sorted(energy) and energy[-1] == 1 and energy[len(energy) // 2] > 0.7


# ---------------------------------------------------------------------- bad input and commands


def test_bad_images_are_told_in_one_line():
    torch.manual_seed(0)
    weights = random_weights(spec_of("plain"))
    x = noise(weights.spec)
    for data, message in (
        (None, "need images"),
        ([], "no image"),
        ([x[:1]], "1 images of 16 tokens in all do not tell 24 coordinates; expected 2 images or more"),
        ([x[:, :1]], "expected 3 channels"),
        ([x * float("nan")], "not finite"),
        (["a"], "expected batches of images"),
        ([x, torch.randn(2, 3, 24, 24)], "expected normalised images"),
        ([x.to(torch.uint8)], "in floating point"),
    ):
        with pytest.raises(LearngeneError, match=message) as error:
            extract("principal", weights, data=data)
        assert "\n" not in str(error.value)
    for options, message in (
        (dict(largest="h4-l4"), "nearest size is h3-l4"),
        (dict(widths=[4]), "4 heads are not in 1 to 3"),
        (dict(basis="random"), "basis"),
        (dict(keep="last"), "keep"),
    ):
        with pytest.raises(LearngeneError, match=message):
            extract("principal", weights, data=x, **options)
    small = extract("principal", weights, data=x, largest="h2-l3")
    with pytest.raises(LearngeneError, match="LoadLearngene"):
        initialize(small, small)
    with pytest.raises(LearngeneError, match="need one without a classifier"):
        small.token_map(16)
    with pytest.raises(LearngeneError, match="embed_dims=32 is not in 2 to 24"):
        gene("class token", num_classes=0).token_map(32)
    with pytest.raises(LearngeneError, match="extract it without largest"):
        small.fitted("h2-l2", [x])


@pytest.fixture
def folder(tmp_path):
    """Photos, and a ViT of timm without classes as the file that ``expand`` writes."""
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        pixels = torch.randint(0, 255, (20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
        Image.fromarray(pixels.numpy()).save(photos / f"{number}.png")
    torch.manual_seed(0)
    pre_fin = extract("pre-fin", random_weights(spec_of("class token").replace(num_classes=0)))
    pre_fin.save(tmp_path / "pre_fin.safetensors")
    assert run("expand", tmp_path / "pre_fin.safetensors", "--arch", "h3-l4", "-o", tmp_path / "vit.safetensors") == 0
    return tmp_path


def test_commands_from_a_checkpoint_to_a_file_and_back(folder, capsys):
    gene_file, out = folder / "principal.safetensors", folder / "h2.safetensors"
    ancestry = load_ancestry(folder / "vit.safetensors")
    at = ["extract", "--method", "principal", "--ancestry", folder / "vit.safetensors", "--data", folder / "photos"]
    assert run(*at, "--images", 6, "--img-size", 16, "-o", gene_file) == 0
    found = load(gene_file)
    assert found.provenance["num_images"] == 6 and found.provenance["data"] == "photos"
    x = images(ancestry.spec.img_size)
    assert difference([build(ancestry).eval()(x)], [build(found.expand()).eval()(x)]) < 1e-5
    capsys.readouterr()
    assert run("plan", gene_file) == 0 and "energy" in capsys.readouterr().out
    assert run("inspect", gene_file) == 0
    energy = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("energy"))
    assert [word for word in energy.split() if word[0] == "h"] == ["h1", "h2", "h3"] and energy.endswith("h3 100.0%")
    assert run("expand", gene_file, "--arch", "h2-l3", "--tokens", "ancestry", "-o", out) == 0
    weights = load_ancestry(out)
    assert weights.spec.num_classes == ancestry.spec.embed_dims
    assert "takes tokens to the ancestry's 24 channels" in (folder / "h2.safetensors.md").read_text()
    assert (
        run("expand", gene_file, "--arch", "h2-l3", "--data", folder / "photos", "-o", folder / "own.safetensors") == 0
    )
    own = load_ancestry(folder / "own.safetensors")
    assert not torch.equal(own.tensors["fc2.weight"], weights.tensors["fc2.weight"])
    largest = folder / "small.safetensors"
    assert run(*at, "--images", 6, "--largest", "h2-l3", "-o", largest) == 0
    assert load(largest).span == "1 to 2 heads and 1 to 3 layers"
    assert run(*at[:-1], "noise", "--images", 8, "-o", folder / "noise.safetensors") == 0


def test_tokens_beside_a_hugging_face_folder(folder):
    from safetensors.torch import load_file
    from transformers import AutoModel

    gene_file = folder / "principal.safetensors"
    found = extract("principal", folder / "vit.safetensors", data="noise", num_images=8)
    found.save(gene_file)
    arguments = ["--arch", "h3-l4", "--layout", "hf", "--tokens", "ancestry", "-o", folder / "hf"]
    assert run("expand", gene_file, *arguments) == 0
    ancestry = load_ancestry(folder / "vit.safetensors")
    model, linear = AutoModel.from_pretrained(folder / "hf"), load_file(folder / "hf" / "tokens.safetensors")
    x = images(ancestry.spec.img_size)
    tokens = model.eval()(x).last_hidden_state @ linear["weight"].T + linear["bias"]
    assert difference([build(ancestry).eval().forward_features(x)], [tokens]) < 1e-5


def test_what_was_made_for_the_ancestrys_tokens_runs_on_a_descendants():
    """The ancestry's own classifier, frozen, behind the linear layer."""
    (x, _), (test, labels) = digits.digits()
    ancestry = digits.ancestry()
    tensors = {name: tensor for name, tensor in ancestry.tensors.items() if not name.startswith("head")}
    bare = type(ancestry)(ancestry.spec.replace(num_classes=0), tensors)
    found = extract("principal", bare, data=x[:500].split(50))
    classifier = build(ancestry).head
    for size, share in (("h4-l4", 1.0), ("h3-l4", 0.9)):
        weights = found.expand(size)
        weight, bias = found.token_map(weights.spec.embed_dims)
        tokens = build(weights).eval()(test) @ weight.T + bias
        accuracy = float((classifier(tokens).argmax(1) == labels).float().mean())
        assert accuracy >= share * digits.accuracy(digits.vit(ancestry.spec, ancestry)) - 1e-6


def test_bad_input_of_the_commands_is_one_line_and_writes_nothing(folder, capsys):
    gene_file = folder / "principal.safetensors"
    extract("principal", folder / "vit.safetensors", data="noise", num_images=8).save(gene_file)
    base = [
        "extract",
        "--method",
        "principal",
        "--ancestry",
        folder / "vit.safetensors",
        "-o",
        folder / "x.safetensors",
    ]
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "a.png").write_bytes(b"no picture")
    for more, message in (
        ([], "need images"),
        (["--data", folder / "empty"], "holds no images"),
        (["--data", folder / "broken"], "cannot be read as an image"),
        (["--data", folder / "nowhere"], "expected a folder of images"),
        (["--data", folder / "photos", "--img-size", 17], "not divisible into patches"),
        (["--data", folder / "photos", "--largest", "h9-l4"], "the nearest size is h3-l4"),
        (["--data", folder / "photos", "--images", 0], "must be positive"),
    ):
        assert message in fails(capsys, *base, *more)
        assert not (folder / "x.safetensors").exists()
    expand = ["expand", gene_file, "--arch", "h2-l3", "-o", folder / "y.safetensors"]
    assert "is of --data" in fails(capsys, *expand, "--images", 5)
    other = ["expand", folder / "pre_fin.safetensors", "--arch", "h3-l4", "-o", folder / "y.safetensors"]
    assert "principal learngenes" in fails(capsys, *other, "--tokens", "ancestry")
    assert "principal learngenes" in fails(capsys, *other, "--data", folder / "photos")
    assert not (folder / "y.safetensors").exists()


def test_initialize_refits_for_the_models_own_size():
    torch.manual_seed(0)
    ancestry = random_weights(spec_of("plain"))
    x = noise(ancestry.spec)
    found = extract("principal", ancestry, data=x)
    plain, own = build(found.expand("h2-l3")), build(found.expand("h2-l3"))
    initialize(plain, found)
    report = initialize(own, found, data=[x])
    assert report.share == 1
    x = images(ancestry.spec.img_size)
    assert difference([plain.eval()(x)], [own.eval()(x)]) > 1e-3
