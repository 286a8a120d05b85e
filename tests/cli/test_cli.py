"""The console command, as a user types it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from timm.models import load_checkpoint
from timm.models.vision_transformer import VisionTransformer

from mmlearngene import ViTSpec, ViTWeights, cli, extract, initialize, load
from mmlearngene.frameworks import layout_for
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.io.checkpoints import load_state_dict
from mmlearngene.learngenes import LEARNGENES
from mmlearngene.learngenes.base import TensorTree
from mmlearngene.learngenes.cluster import Cluster
from mmlearngene.learngenes.extracted import Extracted
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.papers import read_official
from mmlearngene.testing import random_weights

from ..support.command import fails, room, run

ROOT = Path(__file__).parents[2]
OFFICIAL = Path(__file__).parents[1] / "data" / "lets_official_small.npz"
COMMANDS = ("import", "extract", "expand", "plan", "sweep", "probe", "inspect")


@pytest.fixture
def gene(tmp_path):
    torch.manual_seed(0)
    learngene = LeTs("h1-l4", "h3-l8", groups=2, head_dim=4, img_size=8, patch_size=4, num_classes=3)
    learngene.provenance = {"ancestry": "levit_384"}
    return learngene.save(tmp_path / "gene.safetensors")


# ---------------------------------------------------------------- help


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0 and all(f"\n    {command} " in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit):
        run(command, "--help")
    assert f"example:\n  mmlearngene {command} " in capsys.readouterr().out


def test_the_entry_point_is_installed():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="mmlearngene")
    assert entry.load() is cli.main


# ---------------------------------------------------------------- import


def test_import(tmp_path, capsys):
    out = tmp_path / "new" / "gene.safetensors"
    assert run("import", OFFICIAL, "--method", "lets", "--head-dim", 8, "-o", out) == 0
    assert "78,554 parameters" in capsys.readouterr().out
    expected, found = read_official(OFFICIAL, "lets", head_dim=8), load(out)
    assert found.aux_spec == expected.aux_spec
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in expected.state_dict().items())
    assert found.provenance["imported_from"] == OFFICIAL.name


def test_import_may_override_pooling_and_epsilon(tmp_path):
    out = tmp_path / "gene.safetensors"
    command = ["import", OFFICIAL, "--method", "lets", "--head-dim", 8, "-o", out]
    assert run(*command, "--pool", "norm_avg", "--norm-eps", 1e-5) == 0
    assert (load(out).aux_spec.pool, load(out).aux_spec.norm_eps) == ("norm_avg", 1e-5)


def test_import_refuses_what_it_cannot_read(tmp_path, gene, capsys):
    out = tmp_path / "out.safetensors"
    assert "no such file" in fails(capsys, "import", tmp_path / "none.pth", "--method", "lets", "-o", out)
    assert "not a checkpoint of the released lets code" in fails(capsys, "import", gene, "--method", "lets", "-o", out)
    assert "head_dim=7 does not divide" in fails(
        capsys, "import", OFFICIAL, "--method", "lets", "--head-dim", 7, "-o", out
    )
    assert "invalid choice: 'let'" in fails(capsys, "import", OFFICIAL, "--method", "let", "-o", out)
    assert not out.exists()


def test_import_refuses_a_checkpoint_whose_shapes_do_not_fit(tmp_path, capsys):
    state = load_state_dict(OFFICIAL)
    state = {name.removeprefix("aux_official/"): t for name, t in state.items() if name.startswith("aux_official/")}
    name = "__sm_0_mlp_fc1_bias"
    torch.save({"model": {**state, name: state[name][:3]}}, tmp_path / "broken.pth")
    command = [
        "import",
        tmp_path / "broken.pth",
        "--method",
        "lets",
        "--head-dim",
        8,
        "-o",
        tmp_path / "out.safetensors",
    ]
    assert "not a checkpoint of the released lets code" in fails(capsys, *command)


# ---------------------------------------------------------------- expand


def read_tensors(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


@pytest.mark.parametrize("layout", ["timm", "mmpretrain"])
def test_expand_writes_the_expansion(gene, tmp_path, layout, capsys):
    out = tmp_path / "state.safetensors"
    assert run("expand", gene, "--arch", "H2-L5", "--layout", layout, "-o", out) == 0
    assert f"h2-l5 for {layout}'s VisionTransformer" in capsys.readouterr().out
    state, metadata = read_tensors(out)
    expected = layout_for(load(gene).aux_spec, layout).state_dict(load(gene).expand("h2-l5"))
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert (metadata["size"], metadata["layout"], metadata["source"]) == ("h2-l5", layout, "lets gene.safetensors")
    assert ViTSpec(**json.loads(metadata["spec"])) == load(gene).target("h2-l5")


def test_expand_options_reach_the_expansion(gene, tmp_path, capsys):
    out = tmp_path / "state.safetensors"
    options = ["--rows", "3,2,0", "--selection", "bottom-l2", "--unit", "row", "--img-size", 12, "--patch-size", 2]
    assert run("expand", gene, "--arch", "h2-l3", *options, "--num-classes", 7, "-o", out) == 0
    assert "a fresh head" in capsys.readouterr().out
    learngene = load(gene)
    spec = learngene.target("h2-l3").replace(img_size=12, patch_size=2, num_classes=7)
    expected = TIMM.state_dict(learngene.expand(spec, rows=[3, 2, 0], selection="bottom-l2", unit="row"))
    state, _ = read_tensors(out)
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert "head.weight" not in state
    missing, unexpected = VisionTransformer(**model_kwargs(spec)).load_state_dict(state, strict=False)
    assert (set(missing), unexpected) == ({"head.weight", "head.bias"}, [])

    plain = ["expand", gene, "--arch", "h2-l3", "--head", "fresh", "--force", "-o", out]
    assert run(*plain, "--option", "rows=[1, 1, 2]", "--option", "selection=top-l1") == 0
    expected = TIMM.state_dict(learngene.expand("h2-l3", rows=[1, 1, 2], selection="top-l1", head="fresh"))
    state, _ = read_tensors(out)
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--arch", "h4-l8"], "1 to 3 heads and any number of layers, not to h4-l8; the nearest size is h3-l8"),
        (["--arch", "big"], "'big' is not a ViT size"),
        (["--arch", "h2-l3", "--rows", "1,2"], "rows=[1, 2] has 2 entries; h2-l3 needs 3"),
        (["--arch", "h2-l3", "--rows", "1,x"], "'1,x' is not a list of numbers such as 0,1,2,2"),
        (["--arch", "h2-l3", "--stages", "0,0,1"], "lets has no expansion option 'stages'; it takes: rows"),
        (["--arch", "h2-l3", "--option", "colour=red"], "lets has no expansion option 'colour'"),
        (["--arch", "h2-l3", "--option", "colour"], "'colour' is not KEY=VALUE"),
        (["--arch", "h2-l3", "--selection", "top"], "selection 'top' is unknown"),
        (["--arch", "h2-l3", "--img-size", "9"], "not divisible into patches of 4; the nearest size is (8, 8)"),
        (["--arch", "h2-l3", "--num-classes", "7", "--head", "inherit"], "head='inherit' with num_classes=7"),
        (["--arch", "h2-l3", "--layout", "timn"], "invalid choice: 'timn'"),
    ],
)
def test_expand_refuses_bad_input(gene, tmp_path, capsys, options, message):
    out = tmp_path / "state.safetensors"
    assert message in fails(capsys, "expand", gene, *options, "-o", out)
    assert not out.exists()


def test_outputs_are_not_overwritten_unless_forced(gene, tmp_path, capsys):
    out = tmp_path / "state.safetensors"
    out.write_text("precious")
    command = ["expand", gene, "--arch", "h2-l3", "-o", out]
    assert "exists; choose another name, or --force" in fails(capsys, *command)
    assert out.read_text() == "precious"
    assert run(*command, "--force") == 0
    assert read_tensors(out)[1]["size"] == "h2-l3"
    capsys.readouterr()
    assert "is a folder" in fails(capsys, *command[:-1], tmp_path, "--force")
    assert "state.safetensors" in fails(capsys, *command[:-1], tmp_path / "state.bin")
    link = tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "gone")
    assert "exists; choose another name, or --force" in fails(capsys, *command[:-1], link) and link.is_symlink()
    assert "neither file nor folder" in fails(capsys, *command[:-1], "/dev/null", "--force")
    message = "is a folder of something else, which --force does not remove"
    assert message in fails(capsys, *command[:-1], tmp_path, "--layout", "hf", "--force") and out.exists()


def test_an_output_that_cannot_be_written_is_an_error_without_traceback(gene, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = fails(capsys, "expand", gene, "--arch", "h2-l3", "-o", tmp_path / "file" / "state.safetensors")
    assert "Traceback" not in error and "file" in error


def test_expand_leaves_out_what_is_skipped(gene, tmp_path, capsys):
    out = tmp_path / "vit.safetensors"
    assert run("expand", gene, "--arch", "h2-l3", "--skip", "msa,norm?.bias", "-o", out) == 0
    assert "skipped: msa, norm?.bias" in capsys.readouterr().out
    expected = TIMM.state_dict(load(gene).expand("h2-l3"))
    expected = {k: t for k, t in expected.items() if ".attn." not in k and not re.search(r"norm\d\.bias", k)}
    state, _ = read_tensors(out)
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    error = fails(capsys, "expand", gene, "--arch", "h2-l3", "--skip", "msa,nrom", "-o", tmp_path / "no.safetensors")
    assert "skip: 'nrom' names no tensor of h2-l3" in error and not (tmp_path / "no.safetensors").exists()


def test_expand_writes_what_torch_load_reads_too(gene, tmp_path):
    """``mmengine``'s ``Pretrained`` and timm's ``checkpoint_path`` take such a file."""
    run("expand", gene, "--arch", "h2-l3", "-o", tmp_path / "vit.pth")
    run("expand", gene, "--arch", "h2-l3", "-o", tmp_path / "vit.safetensors")
    state = torch.load(tmp_path / "vit.pth", weights_only=True)
    other = load_state_dict(tmp_path / "vit.safetensors")
    assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)
    model = VisionTransformer(**model_kwargs(load(gene).target("h2-l3")))
    load_checkpoint(model, str(tmp_path / "vit.pth"))
    assert torch.equal(model.blocks[1].mlp.fc1.weight, state["blocks.1.mlp.fc1.weight"])


@pytest.mark.parametrize("name, layout", [("vit.safetensors", "timm"), ("vit.pth", "timm"), ("vit", "hf")])
@pytest.mark.parametrize("size", [0, 4096])
def test_a_full_disk_is_told_with_the_path_and_leaves_nothing(name, layout, size, tmp_path, capsys):
    spec = ViTSpec.parse("h2-l3", head_dim=16, img_size=8, patch_size=4, class_token=True, pool="cls")
    gene, target = extract("first-k", random_weights(spec)).save(tmp_path / "gene.safetensors"), tmp_path / "out" / name
    with room(size):
        error = fails(capsys, "expand", gene, "--arch", "h2-l3", "--layout", layout, "-o", target)
    assert re.search(rf"File too large: '{tmp_path}/out/\.?{name}", error)
    assert error.count("\n") == 1 and "\r" not in error
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        (["--arch", "h2-l100000000000"], "num_layers=100000000000 is more than 1024"),
        (["--arch", "h9999999999-l2"], "num_heads=9999999999 is more than 1024"),
        (["--img-size", "999999999"], "img_size=999999999 is more than 32768"),
        (["--option", "self=1"], "'self' is no option of a method"),
        (["--option", "size=1"], "'size' is no option of a method"),
    ],
)
def test_expand_refuses_what_no_vit_has(gene, tmp_path, capsys, options, message):
    arch = [] if "--arch" in options else ["--arch", "h2-l3"]
    assert message in fails(capsys, "expand", gene, *arch, *options, "-o", tmp_path / "vit.safetensors")
    assert not (tmp_path / "vit.safetensors").exists()


def test_inspect_writes_out_what_moves_a_terminals_cursor(gene, capsys):
    learngene = load(gene)
    learngene.provenance["ancestry"] = "deit\x1b[2J\x07\nmethod  tleg"
    learngene.save(gene)
    run("inspect", gene)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and "deit\\x1b[2J\\x07" in out and "\nmethod  tleg" not in out


def test_a_size_that_was_not_trained_is_said_with_the_nearest_that_was(gene, tmp_path, capsys):
    learngene = load(gene)
    learngene.provenance["trained_sizes"] = ["h1-l4", "h2-l4", "h3-l8"]
    learngene.save(gene)
    run("expand", gene, "--arch", "h2-l4", "-o", tmp_path / "a.safetensors")
    assert " trained" not in capsys.readouterr().out
    run("expand", gene, "--arch", "h2-l5", "-o", tmp_path / "b.safetensors")
    out = capsys.readouterr().out
    assert "h2-l5 is none of the 3 sizes that were trained; the nearest of them is h2-l4" in out
    model = VisionTransformer(**model_kwargs(learngene.target("h3-l7")))
    assert "nearest of them is h3-l8" in str(initialize(model, learngene))
    run("inspect", gene)
    assert "provenance trained_sizes" in capsys.readouterr().out


# ---------------------------------------------------------------- inspect


def inspected(capsys, source):
    assert run("inspect", source, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_a_file(gene, capsys):
    found, learngene = inspected(capsys, gene), load(gene)
    assert found["method"] == "lets" and found["file_size"] == gene.stat().st_size
    assert found["stored_params"] == learngene.stored_params()
    assert found["stored_params"]["total"] == sum(p.numel() for p in learngene.parameters())
    assert (found["learngene"]["size"], found["aux"]["size"]) == ("h1-l4", "h3-l8")
    assert found["expands_to"]["heads"] == [1, 2, 3] and found["expands_to"]["layers"] == "any"
    assert found["expands_to"]["options"] == ["rows", "selection", "unit"]
    assert found["provenance"]["ancestry"] == "levit_384"
    for row in found["sizes"]:
        spec = learngene.target(row["size"])
        assert (row["params"], row["macs"]) == (spec.num_params, spec.macs)
    assert {row["size"] for row in found["sizes"]} >= {"h1-l4", "h3-l8"}

    assert run("inspect", gene) == 0
    text = capsys.readouterr().out
    total = found["stored_params"]["total"]
    for part in (
        "lets",
        "h1-l4",
        "h3-l8",
        "levit_384",
        f"{total:,} parameters",
        "1 to 3 heads",
        f"{found['file_size']:,}",
    ):
        assert part in text


def test_inspect_keeps_the_facts_of_many_layers_short(tmp_path, capsys):
    heads = [[0, 1, 2, 3]] * 12
    ancestry = ViTSpec(num_heads=4, num_layers=12, head_dim=4, img_size=8, patch_size=4, num_classes=3)
    gene = Cluster(ancestry, heads).save(tmp_path / "gene.safetensors")
    assert inspected(capsys, gene)["config"]["heads"] == heads
    assert run("inspect", gene) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.endswith(" ...") for row in rows if row.startswith("config heads")] == [True]
    assert max(map(len, rows)) < 120


def test_inspect_the_papers_config(capsys):
    pytest.importorskip("mmengine")
    found = inspected(capsys, ROOT / "configs" / "lets" / "aux_deit_b.py")
    counts = dict(learngene=14_876_776, maps=22_708_480, positions=150_528, total=37_735_784)
    assert found["stored_params"] == counts
    assert found["method"] == "lets" and found["file_size"] is None
    assert (found["learngene"]["size"], found["aux"]["size"]) == ("h6-l8", "h12-l16")
    assert found["expands_to"]["heads"] == list(range(6, 13))


@pytest.mark.parametrize("prefix", ["", "mmlearngene."])
@pytest.mark.parametrize(
    "place", ["model = dict(learngene={})", "model = dict(student=dict(learngene={}))", "x = [{}]"]
)
def test_inspect_finds_the_learngene_anywhere_in_a_config(tmp_path, capsys, place, prefix):
    pytest.importorskip("mmengine")
    config = tmp_path / "config.py"
    config.write_text(place.format(f"dict(type='{prefix}LeTs', learngene='h1-l4', aux='h2-l16', num_classes=5)"))
    found = inspected(capsys, config)
    assert (found["learngene"]["size"], found["aux"]["size"]) == ("h1-l4", "h2-l16")
    assert found["aux"]["num_classes"] == 5


@pytest.mark.parametrize(
    "text, message",
    [
        ("model = dict(type='ResNet')", "holds no learngene; expected a dict such as model=dict(learngene=dict("),
        ("model = dict(", "is not a readable config (SyntaxError"),
        ("model = dict(learngene=dict(type='LeTs', groups=3))", "groups=3 does not divide"),
        ("model = dict(learngene=dict(type='LeTs', num_class=3))", "Did you mean 'num_classes'"),
    ],
)
def test_inspect_refuses_other_configs(tmp_path, capsys, text, message):
    pytest.importorskip("mmengine")
    config = tmp_path / "config.py"
    config.write_text(text)
    assert message in fails(capsys, "inspect", config)


def test_inspect_a_config_without_openmmlab_says_what_to_install(tmp_path, capsys, monkeypatch):
    config = tmp_path / "config.py"
    config.write_text("model = dict(learngene=dict(type='LeTs'))")
    monkeypatch.setitem(sys.modules, "mmengine", None)  # importing it raises ImportError
    assert "pip install mmlearngene[mm]" in fails(capsys, "inspect", config)


def test_inspect_refuses_files_that_are_no_learngene(gene, tmp_path, capsys):
    assert "no such file" in fails(capsys, "inspect", tmp_path / "gone.safetensors")
    gene.write_bytes(gene.read_bytes()[:100])
    assert "truncated" in fails(capsys, "inspect", gene)


# ---------------------------------------------------------------- extract


class _Stem(Extracted):
    """A method of the test: keeps an ancestry's patch kernel, scaled."""

    method = "stem"

    def __init__(self, learngene, aux, scale=1.0):
        super().__init__(learngene, aux)
        self.learngene = TensorTree({"patch_embed.bias": torch.zeros(aux.embed_dims)})

    @classmethod
    def extract(cls, ancestry, *, scale=1.0, seed=0):
        learngene = cls(ancestry.spec, ancestry.spec, scale)
        with torch.no_grad():
            learngene.learngene.patch_embed.bias.copy_(ancestry.tensors["patch_embed.bias"] * scale + seed)
        return learngene

    def _expand(self, spec):
        return ViTWeights(spec, self.learngene.tensors())


@pytest.fixture
def stem(monkeypatch):
    monkeypatch.setitem(LEARNGENES._classes, _Stem.method, _Stem)


@pytest.fixture
def ancestry(tmp_path):
    spec = ViTSpec(3, 2, head_dim=4, img_size=8, patch_size=4, num_classes=3)
    model = VisionTransformer(**model_kwargs(spec))
    torch.nn.init.normal_(model.patch_embed.proj.bias)
    torch.save({"model": model.state_dict()}, tmp_path / "ancestry.pth")
    return tmp_path / "ancestry.pth"


def test_extract(stem, ancestry, tmp_path, capsys):
    out = tmp_path / "gene.safetensors"
    told = ["--like", "deit_tiny_patch16_224", "--num-heads", 3]
    command = ["extract", "--method", "stem", "--ancestry", ancestry, *told, "-o", out]
    assert run(*command, "--seed", 5, "--option", "scale=2.5") == 0
    found, bias = load(out), torch.load(ancestry)["model"]["patch_embed.proj.bias"]
    assert found.aux_spec == ViTSpec(3, 2, head_dim=4, img_size=8, patch_size=4, num_classes=3)
    assert torch.equal(found.state_dict()["learngene.patch_embed.bias"], bias * 2.5 + 5)
    assert found.provenance["ancestry"] == "ancestry.pth"
    capsys.readouterr()
    assert "exists" in fails(capsys, *command)


def test_extract_tells_what_the_checkpoint_does_not_show(stem, ancestry, tmp_path, capsys):
    out = tmp_path / "gene.safetensors"
    message = fails(capsys, "extract", "--method", "stem", "--ancestry", ancestry, "-o", out)
    assert "do not show num_heads, norm_eps, act, post_norm, rope" in message and "--like" in message
    assert not out.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--data", "photos"], "stem has no extraction option 'data'; it takes: scale, seed"),
        (["--like", "deit_tony"], "neither a checkpoint file"),
        (["--images", "10"], "stem has no extraction option 'num_images'"),
        (["--option", "scales=2"], "stem has no extraction option 'scales'"),
        (["--method", "stems"], "extraction method 'stems' is unknown"),
        (["--method", "lets"], "extraction method 'lets' is unknown"),
        (["--ancestry", "no_such_vit"], "neither a checkpoint file"),
        (["--num-heads", "5"], "5 heads do not divide the width 12"),
    ],
)
def test_extract_refuses_bad_input(stem, ancestry, tmp_path, capsys, options, message):
    out = tmp_path / "gene.safetensors"
    told = ["--like", "deit_tiny_patch16_224", "--num-heads", 3]
    command = ["extract", "--method", "stem", "--ancestry", ancestry, *told, "-o", out, *options]
    assert message in fails(capsys, *command)
    assert not out.exists()


@pytest.mark.parametrize("part", ["registry", "models", "engine", "datasets"])
def test_the_openmmlab_side_says_what_to_install(part):
    """A core installation has no mmengine: the core works, the rest names what is missing."""
    code = f"""
import subprocess
import sys
sys.modules.update(dict.fromkeys(["mmengine", "mmcv", "mmpretrain", "mmseg", "sklearn", "matplotlib", "rich"]))
import mmlearngene, mmlearngene.cli
mmlearngene.LEARNGENES["lets"]("h1-l1", "h2-l2", groups=1, rows=1, head_dim=4, img_size=16).expand("h1-l3")
import mmlearngene.{part}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("needs OpenMMLab: pip install mmlearngene[mm]")
