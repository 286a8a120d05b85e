"""Methods of packages that are not ours: found, saved, read, configured and trained as our own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmlearngene import LEARNGENES, LearngeneError, ViTSpec, cli, extract, load
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.io.atomic import save_tensors
from mmlearngene.io.gene import read
from mmlearngene.learngenes import Extracted, StackedLearngene, register
from mmlearngene.testing import FEATURES, check_method, random_weights

ROOT = Path(__file__).parents[2]
EXTERNAL = Path(__file__).parents[1] / "external"
MODULES = ("learngene_extras", "learngene_extras.mean_layers", "learngene_extras.polynomial")
TINY = dict(head_dim=8, img_size=16, patch_size=4, num_classes=3)


@pytest.fixture
def fresh(monkeypatch):
    """The registry of methods as a new process has it, before anybody looks at it."""
    own = {name: cls for name, cls in LEARNGENES.items() if cls.__module__.startswith("mmlearngene.")}
    monkeypatch.setattr(LEARNGENES, "_classes", own)
    monkeypatch.setattr(LEARNGENES, "failed", {})
    monkeypatch.setattr(LEARNGENES, "_looked", False)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


@pytest.fixture
def installed(fresh):
    fresh.syspath_prepend(EXTERNAL / "methods")


def test_an_installed_package_is_found_by_all(installed, tmp_path, capsys):
    assert {"mean-layers", "polynomial"} <= LEARNGENES.keys()
    torch.manual_seed(0)
    ancestry = random_weights(ViTSpec.parse("h2-l6", **TINY))
    save_tensors(tmp_path / "vit.safetensors", TIMM.state_dict(ancestry))
    gene = tmp_path / "gene.safetensors"
    told = ["--like", "deit_tiny_patch16_224", "--option", "num_heads=2", "--option", "pool=avg_norm"]
    command = ["extract", "--method", "mean-layers", "--ancestry", str(tmp_path / "vit.safetensors"), "-o", str(gene)]
    assert cli.main([*command, *told, "--option", "runs=3"]) == 0
    found = load(gene)
    assert type(found).__name__ == "MeanLayers" and found.config == {"runs": 3}
    layers = ancestry.layers()
    mean = (layers[2]["fc1.weight"] + layers[3]["fc1.weight"]) / 2
    assert torch.equal(found.expand("h2-l6").layers()[3]["fc1.weight"], mean)
    assert read(gene)[1].provenance["method_package"] == "learngene-extras 0.1"

    config = tmp_path / "config.py"
    config.write_text("model = dict(learngene=dict(type='Polynomial', aux='h3-l12', degree=4))")
    pytest.importorskip("mmengine")
    assert cli.main(["inspect", str(config)]) == 0
    out = capsys.readouterr().out
    assert "config degree" in out and "options" in out and "reverse" in out


def test_options_are_flags_of_the_command_line(installed, tmp_path, capsys):
    gene = LEARNGENES["polynomial"](aux="h2-l4", degree=1, **TINY).save(tmp_path / "gene.safetensors")
    assert cli.main(["expand", str(gene), "--arch", "h2-l3", "--reverse", "true", "-o", str(tmp_path / "a.pth")]) == 0
    own = LEARNGENES["sws"](aux="h2-l4", stages=[4], **TINY).save(tmp_path / "sws.safetensors")
    assert cli.main(["expand", str(own), "--arch", "h2-l3", "--reverse", "true", "-o", str(tmp_path / "b.pth")]) == 2
    assert "sws has no expansion option 'reverse'" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["mean-layers", "polynomial"])
@pytest.mark.parametrize("feature", FEATURES)
def test_features_cost_a_method_nothing(installed, method, feature):
    check_method(LEARNGENES[method], feature)


def test_a_package_that_cannot_be_imported_is_named_and_breaks_nothing(installed, fresh, caplog, tmp_path):
    fresh.syspath_prepend(EXTERNAL / "broken_methods")
    assert "polynomial" in LEARNGENES and "lets" in LEARNGENES
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line and "'broken' of learngene-broken 0.1" in line and "ModuleNotFoundError" in line
    with pytest.raises(LearngeneError, match="'broken' of learngene-broken 0.1 cannot be used: importing"):
        extract("broken", random_weights(ViTSpec.parse("h2-l2", **TINY)))


def test_a_file_says_how_its_method_is_had(fresh, tmp_path, capsys):
    with fresh.context() as patch:
        patch.syspath_prepend(EXTERNAL / "methods")
        gene = LEARNGENES["polynomial"](aux="h2-l4", **TINY).save(tmp_path / "gene.safetensors")
    fresh.setattr(LEARNGENES, "_classes", {k: c for k, c in LEARNGENES.items() if k not in ("polynomial",)})
    assert cli.main(["inspect", str(gene)]) == 2
    error = capsys.readouterr().err
    assert f"{gene}: method 'polynomial' is unknown" in error
    assert "install learngene-extras 0.1, or import learngene_extras.polynomial first (--import" in error


def test_a_module_without_a_package_is_imported_by_name(fresh, tmp_path, capsys):
    """By the command line in the folder of the module, and by a config's custom_imports."""
    pytest.importorskip("mmengine")
    source = (EXTERNAL / "methods" / "learngene_extras" / "polynomial.py").read_text()
    (tmp_path / "my_method.py").write_text(source)
    text = "custom_imports = dict(imports='my_method')\nmodel = dict(learngene=dict(type='mmlearngene.Polynomial'))"
    (tmp_path / "config.py").write_text(text)
    gene = tmp_path / "gene.safetensors"
    with fresh.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert cli.main(["inspect", str(tmp_path / "config.py")]) == 0
        assert "h6-l12" in capsys.readouterr().out
        LEARNGENES["polynomial"](aux="h2-l4", degree=3, **TINY).save(gene)
        del LEARNGENES._classes["polynomial"], sys.modules["my_method"]
    for arguments, message in (
        (["inspect", str(tmp_path / "config.py")], "'my_method'; put the folder of your module on PYTHONPATH"),
        (["inspect", str(gene)], "To read the file, import my_method first (--import"),
        (["--import", "my_method.py", "inspect", str(gene)], "did you mean --import my_method?"),
    ):
        assert cli.main(arguments) == 2 and message in capsys.readouterr().err
    # as a user types it: the console script does not have the folder it runs in on its path
    main = "import sys; sys.path.remove(''); from mmlearngene.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", main, "--import", "my_method", "inspect", "gene.safetensors"],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and "polynomial" in done.stdout and "my_method" in done.stdout, done.stderr


def test_a_method_from_outside_trains_in_an_aux_net(fresh, tmp_path):
    pytest.importorskip("mmpretrain")
    from mmengine.config import Config
    from mmengine.runner import Runner

    from mmlearngene.registry import MODELS

    fresh.syspath_prepend(EXTERNAL / "methods" / "learngene_extras")  # one file beside the config, not installed
    config = tmp_path / "config.py"
    config.write_text(
        f"""
_base_ = ["{ROOT}/configs/demo/aux_tleg.py"]
custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets", "polynomial"])
model = dict(student=dict(learngene=dict(type="mmlearngene.Polynomial", aux="h2-l4", degree=2)))
"""
    )
    cfg = Config.fromfile(config)
    cfg.model = {**cfg.model.student, "type": "mmlearngene.AuxNet"}
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.indices = 32
    cfg.update(work_dir=str(tmp_path), log_level="ERROR", visualizer=None, default_scope="mmpretrain")
    cfg.train_cfg.max_epochs, cfg.default_hooks.checkpoint.interval = 1, 1
    cfg.param_scheduler = None
    try:
        Runner.from_cfg(cfg).train()
    finally:
        MODELS.module_dict.pop("Polynomial", None)
        sys.modules.pop("polynomial", None)
    gene = load(tmp_path / "epoch_1.learngene.safetensors")
    assert gene.method == "polynomial" and gene.config == {"degree": 2}
    assert all(tensor.isfinite().all() for layer in gene.expand("h2-l7").layers() for tensor in layer.values())
    changed = gene.learngene.get_parameter("fc1.weight")[1:]
    assert changed.abs().max() > 0  # which start at zero


# ---------------------------------------------------------------- options


def test_no_option_is_lost_whatever_a_constructor_forgets(fresh, tmp_path):
    @register
    class Forgetful(StackedLearngene, Extracted):
        method = "forgetful"

        def __init__(self, learngene=None, aux="h2-l2", first=1, *, pair=(1, 2), named=None, **vit):
            super().__init__(ViTSpec.parse(aux, **vit), 1, learngene)

        def take(self, ancestry):
            pass

    gene = Forgetful(None, ViTSpec.parse("h2-l2", **TINY), 5, named={"a": [1]})
    assert gene.config == {"first": 5, "pair": [1, 2], "named": {"a": [1]}}
    assert load(gene.save(tmp_path / "gene.safetensors")).config == gene.config
    assert Forgetful.extract_options() == ["first", "pair", "named"]
    again = extract("forgetful", random_weights(ViTSpec.parse("h2-l2", **TINY)), first=7)
    assert again.config["first"] == 7
    with pytest.raises(LearngeneError, match="option named=.* cannot be kept in a file .*not JSON serializable"):
        Forgetful(named=torch.zeros(1))


def test_a_method_that_files_cannot_name_or_rebuild_is_refused(fresh):
    def like(**members):
        return type("Odd", (StackedLearngene,), {"method": "odd", **members})

    def several(self, *sizes, learngene=None, aux=None): ...

    def reserved(self, learngene=None, aux=None, head=1): ...

    def hidden(self, spec, *, size=1): ...

    for cls, message in (
        (like(method="Odd One"), "expected a name such as"),
        (like(__init__=lambda self, aux: None), "its constructor takes no 'learngene'"),
        (like(__init__=several), r"by name, and \*sizes has none"),
        (like(__init__=reserved), "an option cannot be called 'head'"),
        (like(_expand=hidden), "an option cannot be called 'size'"),
        (like(method="lets", __init__=lambda self, learngene, aux: None), "'lets' is taken by mmlearngene.learngenes"),
    ):
        with pytest.raises(LearngeneError, match=message):
            register(cls)
    assert "odd" not in LEARNGENES


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("name", ["mean_layers.py", "polynomial.py"])
def test_the_page_shows_these_files(name):
    page = (ROOT / "docs" / "add_a_method.md").read_text()
    assert (EXTERNAL / "methods" / "learngene_extras" / name).read_text().strip() in page
