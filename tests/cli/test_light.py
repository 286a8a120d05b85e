"""What computes nothing imports nothing that computes: help, inspect and plan without torch."""

import json
import subprocess
import sys

import pytest
import torch

import mmlearngene
from mmlearngene import ViTSpec, ViTWeights, extract, load
from mmlearngene.learngenes import LEARNGENES
from mmlearngene.learngenes.extracted import extraction_methods
from mmlearngene.learngenes.facts import FACTS, describe
from mmlearngene.learngenes.facts.base import Facts
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.sws import SWS
from mmlearngene.learngenes.tleg import TLEG
from mmlearngene.vit.tensors import start_values

HEAVY = ("torch", "timm", "transformers", "torchvision", "sklearn", "matplotlib", "numpy")
TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)
OPTIONS = {"cluster": dict(eps=0), "principal": dict(data="noise", num_images=8)}
MAIN = f"""
import sys
from mmlearngene.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:  # of --help
    status = end.code
heavy = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"imported: {{heavy}}" if heavy else status)
"""


def made(method):
    torch.manual_seed(0)
    if method in ("lets", "sws", "tleg"):
        options = {"lets": dict(learngene="h2-l2", groups=2, rows=1), "sws": dict(stages=[2, 2]), "tleg": {}}[method]
        return {"lets": LeTs, "sws": SWS, "tleg": TLEG}[method](aux="h3-l4", **options, **TINY)
    spec = ViTSpec.parse("h3-l4", **TINY)
    return extract(method, ViTWeights(spec, start_values(spec, spec.shapes())), **OPTIONS.get(method, {}))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return made("principal").save(tmp_path_factory.mktemp("light") / "gene.safetensors")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["inspect"], ["inspect", "--json"], ["plan", "--params", "1M"], ["plan", "--json"]],
)
def test_a_command_that_computes_nothing_imports_no_torch(words, file):
    words = words if words[0].startswith("-") else [words[0], str(file), *words[1:]]
    done = subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_package_imports_its_names_when_they_are_asked_for():
    code = f"""
import sys, mmlearngene
assert set(mmlearngene.__all__) <= set(dir(mmlearngene))
assert not [name for name in {HEAVY} if name in sys.modules]
from mmlearngene import ViTSpec, LearngeneError
assert "torch" not in sys.modules and ViTSpec.parse("h6-l12").num_params > 2e7
from mmlearngene import build, load
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        mmlearngene.biuld  # noqa: B018


@pytest.mark.parametrize("method", sorted({*extraction_methods(), "lets", "sws", "tleg"} & FACTS.keys()))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_facts_of_a_file_are_those_of_its_learngene(method, dtype, tmp_path):
    learngene = made(method).to(dtype)
    path = learngene.save(tmp_path / "gene.safetensors")
    facts, loaded = describe(path), load(path)
    assert type(facts) is FACTS[method] and isinstance(loaded, FACTS[method])
    assert facts.tensor_shapes() == {name: tuple(t.shape) for name, t in loaded.state_dict().items()}
    for name in ("config", "learngene_spec", "aux_spec", "provenance", "classes", "span"):
        assert getattr(facts, name) == getattr(loaded, name), name
    assert facts.stored_params() == loaded.stored_params()
    assert list(facts.expand_options()) == list(loaded.expand_options())
    assert [(str(spec), facts.shares(spec)) for spec in facts.some_sizes()] == [
        (str(spec), loaded.shares(spec)) for spec in loaded.some_sizes()
    ]


def test_every_method_of_the_package_has_facts():
    own = {name for name, cls in LEARNGENES.items() if cls.__module__.startswith("mmlearngene.")}
    assert own == FACTS.keys()
    for name, cls in FACTS.items():
        assert issubclass(LEARNGENES[name], cls)


def _changed(path, change):
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    change(data, 8 + length, json.loads(data[8 : 8 + length]))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("what", ["a byte", "not a number", "cut"])
def test_what_load_refuses_is_refused_with_the_same_words(what, tmp_path):
    learngene = made("tleg")
    if what == "not a number":
        with torch.no_grad():
            learngene.learngene.get_parameter("head.bias")[0] = torch.nan
    path = learngene.save(tmp_path / "gene.safetensors")
    if what == "a byte":
        _changed(path, lambda data, start, header: data.__setitem__(start + 5, data[start + 5] ^ 1))
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(mmlearngene.LearngeneError) as wanted:
        load(path)
    with pytest.raises(mmlearngene.LearngeneError) as told:
        describe(path)
    assert str(told.value) == str(wanted.value)


def test_numbers_as_large_as_no_weight_are_left_to_load(tmp_path):
    learngene = made("tleg")
    with torch.no_grad():
        learngene.learngene.get_parameter("head.bias")[0] = 3e38
    assert isinstance(describe(learngene.save(tmp_path / "gene.safetensors")), TLEG)


def test_a_method_that_builds_on_one_of_the_package_may_have_further_options():
    class Later(SWS):
        method = "later"

        def _expand(self, spec, *, stages=None, reverse: bool = False):
            weights = super()._expand(spec, stages=stages)
            return ViTWeights(spec, weights.tensors, weights.layer_map[::-1] if reverse else weights.layer_map)

    learngene = Later(aux="h3-l4", stages=[2, 2], **TINY)
    assert list(learngene.expand_options()) == ["stages", "reverse"]

    class Fewer(SWS):
        def _expand(self, spec):
            return super()._expand(spec, stages=None)

    assert not Fewer.expand_options() and Fewer(aux="h3-l4", stages=[2, 2], **TINY).expand("h3-l3").spec.num_layers == 3
    assert learngene.expand("h3-l4", reverse=True).layer_map == (1, 1, 0, 0)
    with pytest.raises(mmlearngene.LearngeneError, match="reverse=1: "):
        learngene.expand("h3-l4", reverse=1)
    with pytest.raises(mmlearngene.LearngeneError, match="2 is not a stage"):
        learngene.expand("h3-l4", stages=[0, 0, 1, 2])


def test_a_method_from_outside_is_described_by_loading_it(tmp_path, monkeypatch):
    class Outside(TLEG):
        method = "outside"

        def _expand(self, spec, *, flat: bool = False):
            return super()._expand(spec)

    Outside.__module__ = "elsewhere"
    monkeypatch.setitem(LEARNGENES._classes, "outside", Outside)
    learngene = Outside(aux="h3-l4", **TINY)
    found = describe(learngene.save(tmp_path / "gene.safetensors"))
    assert isinstance(found, Outside) and isinstance(found, Facts) and list(found.expand_options()) == ["flat"]
