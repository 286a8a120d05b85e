"""The documentation: it builds strictly, links lead somewhere, and every command and name that it shows exists."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from mmlearngene import LEARNGENES, ViTSpec, cli
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.principal import Principal
from mmlearngene.learngenes.sws import SWS
from mmlearngene.learngenes.tleg import TLEG

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OTHERS = ("pip", "git", "source", "cd", "./", "mkdocs")  # commands that are not ours


def text_of(page: Path) -> str:
    return page.read_text().replace("\\\n", " ")


def commands(page: Path) -> list[str]:
    """The command lines of a page: in blocks of a shell, and in indented ones that begin with a command."""
    text = text_of(page)
    lines = [line for kind, block in FENCE.findall(text) if kind in ("bash", "shell") for line in block.splitlines()]
    lines += [line.strip() for line in FENCE.sub("", text).splitlines() if line.startswith("    ")]
    start = re.compile(r"([A-Z_]+=\S+ )*(mmlearngene |tools/|python |make |pip |git |source )")
    found = [line.split("  #")[0].split(" # ")[0].strip() for line in lines if start.match(line)]
    return [line for line in found if not line.startswith("mmlearngene/")]


def named(page: Path) -> str:
    return page.name


ALL = [pytest.param(page, line, id=f"{page.name}: {line[:60]}") for page in PAGES for line in commands(page)]


# ---------------------------------------------------------------- commands


def test_there_are_commands():
    assert len(ALL) > 50


@pytest.mark.parametrize("page, line", ALL)
def test_a_command_is_one(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[0] == "python":
        words = words[1:]
    program, *arguments = words
    if program == "mmlearngene":
        parsed(arguments, page)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(a for a in arguments if "=" not in a) <= set(targets)
    elif program in ("tools/train.py", "tools/test.py", "tools/dist_train.sh", "tools/dist_test.sh"):
        tool(program, arguments)
    elif program.startswith(("tools/", "studies/")):
        assert Path(program).exists()
        source = "".join(path.read_text() for path in Path(program).parent.glob("*.py"))  # studies share their flags
        flags = [a for a in arguments if a.startswith("--")]
        assert all(f'"{flag}"' in source for flag in flags), flags
    elif program == "-m":
        assert importlib.util.find_spec(arguments[0])
    else:
        assert program.startswith(OTHERS), f"{program} is no command that this test knows"


def parsed(arguments: list[str], page: Path) -> argparse.Namespace:
    """The command line by the tool's own parser."""
    if "--import" in arguments:  # of a module that the page tells the reader to write
        at = arguments.index("--import")
        arguments = arguments[:at] + arguments[at + 2 :]
        arguments = [a for a in arguments if a not in ("--reverse", "true")]
    try:
        return cli._parser().parse_args(arguments)
    except SystemExit as error:
        raise AssertionError(f"mmlearngene {' '.join(arguments)} is refused") from error


def tool(program: str, arguments: list[str]) -> None:
    """A tool's config exists, or is one that the page shows, and takes the overrides; its flags are the tool's."""
    pytest.importorskip("mmengine")
    from mmengine.config import Config

    script = "train" if "train" in program else "test"
    source = Path("tools", f"{script}.py").read_text() + Path("mmlearngene/engine/run/launch.py").read_text()
    flags = [a for a in arguments if a.startswith("--")]
    assert all(f'"{flag}"' in source for flag in flags), flags
    config = arguments[0]
    if config == "CONFIG" or not config.startswith("configs/"):
        return  # the reader's own
    cfg = Config.fromfile(config, import_custom_modules=False)
    if "--cfg-options" in arguments:
        for option in arguments[arguments.index("--cfg-options") + 1 :]:
            path, _, value = option.partition("=")
            node, *rest = path.split(".")
            node = cfg[node]
            for name in rest[:-1]:
                node = node[name]
            assert value and isinstance(node, dict)


TINY = dict(head_dim=4, img_size=32, num_classes=10)
GENES = {  # what the pages' files are, made tiny
    "lets": lambda: LeTs(**TINY),
    "tleg": lambda: TLEG(**TINY),
    "sws": lambda: SWS(**TINY),
    "principal": lambda: Principal("h6-l12", **TINY),
}
RUN = [param for param in ALL if re.match(r"mmlearngene (inspect|expand) (?!.*--layout (hf|onnx))", param.values[1])]


@pytest.mark.parametrize("page, line", RUN)
def test_inspect_and_expand_run_as_they_stand(page, line, tmp_path, monkeypatch, capsys):
    """With a tiny learngene of the page's method in the place of the file that the reader has."""
    words = shlex.split(line)[1:]
    source = words[1]
    if source.endswith(".py"):
        monkeypatch.chdir(ROOT)
    else:
        monkeypatch.chdir(tmp_path)
        method = next((name for name in GENES if name in f"{page.stem} {source}"), "lets")
        if page.stem in ("cluster", "peg", "controls", "add_a_method"):
            method = "extracted"
        gene = (
            GENES[method]() if method != "extracted" else LEARNGENES["uniform-k"](aux=ViTSpec.parse("h6-l12", **TINY))
        )
        if "l2,2,6,2" in line:
            pytest.skip("of a Swin: tests/learngenes/test_cluster_swin.py")
        gene.save(tmp_path / source)
        for at, word in enumerate(words):
            if word == "--img-size":
                words[at + 1] = "64"
    assert cli.main(words) == 0, capsys.readouterr().err


# ---------------------------------------------------------------- Python, configs, links


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_of_the_pages(page):
    """It is Python, and what it imports of ours exists; types of ours in configs are registered."""
    for kind, block in FENCE.findall(page.read_text()):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmlearngene"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: no {alias.name} in {node.module}"
        if types := re.findall(r'type="mmlearngene\.(\w+)"', block):
            pytest.importorskip("mmpretrain")
            import mmlearngene.datasets
            import mmlearngene.engine  # noqa: F401
            from mmlearngene import registry

            known = set().union(
                *(getattr(registry, of).module_dict for of in ("MODELS", "HOOKS", "DATASETS", "TASK_UTILS"))
            )
            assert set(types) - {"Polynomial"} <= known
        for base in re.findall(r'"(configs/[^"]+)"', block):
            assert (ROOT / base).is_file(), f"{page.name}: no {base}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_inside_the_project(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match("https?:", target):
            assert "github.com/mmlearngene" not in target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md" and file.name != "api.md":
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, f"{page.name}: {target}; there are {anchors}"


def test_the_site_builds_strictly(tmp_path, monkeypatch):
    """Dead links and anchors, pages outside the navigation and names that the API page does not find fail."""
    pytest.importorskip("mkdocstrings")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.on_shutdown()
    assert 'id="mmlearngene.initialize"' in (tmp_path / "api" / "index.html").read_text()
