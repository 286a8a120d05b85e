"""The console command ``mmlearngene``: import, extract, inspect and expand learngenes without writing Python."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import LearngeneError, in_words
from ..frameworks import FRAMEWORKS, fit
from ..io.config_files import read_config
from ..io.paths import CONFIG_SUFFIXES, existing
from ..learngenes import LEARNGENES, Learngene, load
from ..learngenes.base import HEADS
from ..learngenes.extracted import extraction_methods
from ..learngenes.papers import READERS, read_official
from ..learngenes.principal import Principal
from ..use.ancestry import extract, fitted
from ..use.export import Expanded, write
from ..utils.parser import Parser
from ..utils.tables import one_line, printable, table
from ..utils.typed import check_types, settings_of, shortened
from ..version import __version__
from ..vit.spec import POOLS, ViTSpec
from ..vit.weights import PARTS, ViTWeights, tensors_named, with_head
from . import plan, probe, sweep
from .arguments import (
    add_expansion_options,
    add_options,
    add_output,
    check_output,
    given,
    given_expansion,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 where the input is wrong, 130 where Ctrl-C stopped it."""
    early = Parser(prog="mmlearngene", add_help=False, allow_abbrev=False)
    early.add_argument("--import", dest="modules", action="append", default=[])
    words = sys.argv[1:] if argv is None else argv
    if any("\0" in word for word in words):  # no shell gives one, and no system call takes one
        print("mmlearngene: error: an argument has a NUL character; expected text without", file=sys.stderr)
        return 2
    early, argv = early.parse_known_args(words)
    try:
        _import_modules(early.modules)  # before the parser is made, whose flags and choices are the methods'
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LearngeneError, OSError) as error:
        print(f"mmlearngene: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mmlearngene: stopped", file=sys.stderr)
        return 130
    return 0


def _import_modules(names: Sequence[str]) -> None:
    """Import the modules of methods from outside, from the folder that the command runs in, too.

    Raises:
        LearngeneError: one cannot be imported.
    """
    if names:
        sys.path.insert(0, "")
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # of somebody else's module, which may fail in any way
            hint = f"; did you mean --import {name.removesuffix('.py')}?" if name.endswith(".py") else ""
            raise LearngeneError(f"--import {name}: {in_words(error)}{hint}") from error


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mmlearngene",
        description="A learngene is a compact file of weights. It initialises Vision Transformers of many sizes.",
        epilog="Start with `mmlearngene inspect GENE` to see what is in a file. `mmlearngene plan GENE --params 12M` "
        "lists the sizes that fit, and `mmlearngene expand GENE --arch h6-l12 -o vit.safetensors` gives the weights of "
        "one of them. `mmlearngene COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"mmlearngene {__version__}")
    parser.add_argument(
        "--import", metavar="MODULE", help="a module with a method of your own, which no installed package announces"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, name: str, what: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            epilog=f"example:\n  mmlearngene {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    sub = command(
        _import,
        "import",
        "turn a checkpoint of a paper's released code into a learngene file",
        "checkpoint.pth --method lets -o gene.safetensors",
    )
    sub.add_argument("official", metavar="OFFICIAL", help="the checkpoint: .pth, .safetensors or .npz")
    sub.add_argument("--method", required=True, choices=sorted(READERS), help="the paper's method")
    sub.add_argument("--head-dim", type=int, default=64, help="channels of a head (default: 64)")
    sub.add_argument("--pool", choices=POOLS, help="pooling order (default: what the released code trained with)")
    sub.add_argument("--norm-eps", type=float, help="epsilon of LayerNorm (default: as the released code)")
    add_options(sub, "import")
    add_output(sub, "GENE", "the learngene file to write")

    sub = command(
        _extract,
        "extract",
        "take a learngene out of a trained ViT, the ancestry, for methods that need no training",
        "--method cluster --ancestry deit_small_patch16_224 --data photos/ -o gene.safetensors",
    )
    sub.add_argument("--method", required=True, help=f"one of: {', '.join(extraction_methods()) or 'none installed'}")
    sub.add_argument(
        "--ancestry", required=True, metavar="CKPT_OR_FOLDER_OR_NAME",
        help="a checkpoint, a Hugging Face folder, or a timm model",
    )  # fmt: skip
    sub.add_argument(
        "--like", metavar="NAME_OR_FOLDER_OR_CONFIG",
        help="what a checkpoint is like, for all that its tensors do not show: a timm model, a Hugging Face folder, or "
        "an OpenMMLab config",
    )  # fmt: skip
    sub.add_argument(
        "--path", metavar="NAME", help="which ViT of a file that holds several: the start of its names, or its entry"
    )
    sub.add_argument("--num-heads", type=int, metavar="N", help="heads of a layer, which a checkpoint does not show")
    sub.add_argument(
        "--data", metavar="CONFIG_OR_FOLDER",
        help="images without labels, for principal and cluster; noise for random numbers instead",
    )  # fmt: skip
    sub.add_argument(
        "--images", dest="num_images", type=int, metavar="N", help="how many of them (default: the method's)"
    )
    sub.add_argument(
        "--img-size", dest="data_size", type=int, metavar="N",
        help="side of the images of --data; the cost grows with its fourth power (default: the ViT's own, at most 224)",
    )  # fmt: skip
    sub.add_argument(
        "--largest", metavar="SIZE", help="principal: the largest size wanted; what only larger ones need is left out"
    )
    sub.add_argument("--seed", type=int, metavar="N", help="seed for methods that draw numbers (default: the method's)")
    add_options(sub, "extraction")
    add_output(sub, "GENE", "the learngene file to write")

    sub = command(
        _expand,
        "expand",
        "write the weights of a plain ViT of the size you ask for",
        "gene.safetensors --arch h6-l12 --layout timm -o vit_h6_l12.safetensors",
    )
    sub.add_argument("gene", metavar="GENE", help="the learngene file")
    sub.add_argument(
        "--arch", required=True, metavar="SIZE", help="heads and layers, as in h6-l12; of each stage of a Swin"
    )
    sub.add_argument(
        "--layout", choices=[*FRAMEWORKS, "onnx"], default="timm",
        help="whose names to use (default: timm); hf writes a folder that from_pretrained opens, onnx a file that is "
        "checked with onnxruntime",
    )  # fmt: skip
    sub.add_argument(
        "--tokens", choices=["own", "ancestry"], default="own",
        help="principal learngenes of a model without classes: ancestry adds the linear layer that takes the tokens to "
        "the ancestry's channels: as head, or in the file tokens.safetensors of a Hugging Face folder",
    )  # fmt: skip
    sub.add_argument(
        "--data", metavar="CONFIG_OR_FOLDER",
        help="principal learngenes: images without labels, on which this size is refitted by itself",
    )  # fmt: skip
    sub.add_argument("--images", dest="num_images", type=int, metavar="N", help="how many of them (default: 500)")
    sub.add_argument("--license", metavar="NAME", help="licence of the ancestry, for the model card: apache-2.0, say")
    sub.add_argument(
        "--adapt", action="store_true",
        help="where the layout lacks a feature, write weights that compute the same without it, if there are such",
    )  # fmt: skip
    sub.add_argument(
        "--patch-tokens", action="store_true",
        help="with --layout onnx a second output: patches (batch, rows, columns, channels) behind the final norm",
    )  # fmt: skip
    sub.add_argument("--img-size", type=int, metavar="N", help="image side; positions are resampled")
    sub.add_argument("--patch-size", type=int, metavar="N", help="patch side; the patch kernel is resampled")
    sub.add_argument("--num-classes", type=int, metavar="N", help="outputs of the classifier head")
    sub.add_argument(
        "--head", choices=HEADS, default="auto", help="classifier: inherit, fresh, or auto: inherit if classes agree"
    )
    sub.add_argument(
        "--skip", type=lambda text: text.split(","), default=[], metavar="PART,...",
        help=f"leave tensors out: {', '.join(PARTS)}, or patterns of canonical names such as qkv.*",
    )  # fmt: skip
    add_expansion_options(sub)
    add_options(sub, "expansion")
    add_output(sub, "STATE.safetensors", "the state dict to write, also as .pth or .pt; or the folder with --layout hf")

    sub = command(
        plan.run,
        "plan",
        "list the sizes that fit a budget, with your images and classes",
        "gene.safetensors --params 12M --img-size 288 --num-classes 37",
    )
    plan.add_arguments(sub)

    sub = command(
        sweep.run,
        "sweep",
        "initialise every size, evaluate it untuned, or after some epochs, and show the family",
        "gene.safetensors --data pets/ --params 12M --epochs 5 -o pets_family",
    )
    sweep.add_arguments(sub)

    sub = command(
        probe.run,
        "probe",
        "judge features without training: nearest neighbours, a linear layer, patches, a figure",
        "gene.safetensors --sizes h6-l8 h6-l12 --bank data/train --queries data/val -o scores.json",
    )
    probe.add_arguments(sub)

    sub = command(
        _inspect,
        "inspect",
        "show what is in a learngene file, or what a training config would make, and the sizes it expands to",
        "configs/lets/aux_deit_b.py --json",
    )
    sub.add_argument("source", metavar="GENE_OR_CONFIG", help="a learngene file, or a config of an Aux-Net")
    sub.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _import(arguments: argparse.Namespace) -> None:
    check_output(arguments)
    fields = {**given(arguments, "pool", "norm_eps"), **dict(arguments.options)}
    learngene = read_official(arguments.official, arguments.method, arguments.head_dim, **fields)
    _save(learngene, arguments.output)


def _extract(arguments: argparse.Namespace) -> None:
    check_output(arguments)
    options = {
        **given(arguments, "path", "data", "num_images", "data_size", "seed", "num_heads", "largest"),
        **dict(arguments.options),
    }
    _save(extract(arguments.method, arguments.ancestry, like=arguments.like, **options), arguments.output)


def _save(learngene: Learngene, path: Path) -> None:
    learngene.save(path)
    counts = learngene.stored_params()
    words = f"{learngene.method} learngene, {counts['total']:,} parameters; expands to {learngene.span}"
    print(printable(f"wrote {path}: {words}"))


def _expand(arguments: argparse.Namespace) -> None:
    check_output(arguments)
    learngene = load(arguments.gene)
    spec = learngene.target(arguments.arch).replace(**given(arguments, "img_size", "patch_size", "num_classes"))
    tensors_named(arguments.skip, spec)  # a wrong name is told before any work
    if arguments.skip and arguments.layout == "onnx":
        raise LearngeneError("an ONNX file cannot be trained, so nothing in it can start fresh; leave out --skip")
    if arguments.patch_tokens and arguments.layout != "onnx":
        raise LearngeneError(
            f"--patch-tokens is of --layout onnx; mmlearngene.use.tokens gives those of a {arguments.layout} model"
        )
    options = {**given_expansion(arguments), **dict(arguments.options)}
    if arguments.data is not None:
        learngene = fitted(learngene, spec, arguments.data, options, **given(arguments, "num_images"))
    elif arguments.num_images is not None:
        raise LearngeneError(f"--images {arguments.num_images} is of --data, which is not given")
    with torch.no_grad():
        weights = learngene.expand(spec, head=arguments.head, **options)
        token_map = _token_map(learngene, weights) if arguments.tokens == "ancestry" else None
        if token_map and arguments.layout != "hf":  # as the head
            weights = with_head(weights, *token_map)
        layout, adapted = None, []
        if arguments.layout != "onnx":
            layout, weights, adapted = fit(weights, arguments.layout, arguments.adapt)
    weights = weights.without(arguments.skip)
    notes = [*(f"adapted: {words}" for words in adapted), *learngene.notes_on(weights.spec)]
    notes += [f"skipped: {', '.join(arguments.skip)}"] if arguments.skip else []
    expanded = Expanded(
        learngene,
        Path(arguments.gene).name,
        weights,
        layout,
        notes,
        arguments.license,
        token_map=token_map,
        patches=arguments.patch_tokens,
    )
    for line in write(expanded, arguments.output):
        print(printable(line))


def _token_map(learngene: Learngene, weights: ViTWeights) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(learngene, Principal):
        raise LearngeneError(f"--tokens ancestry is of principal learngenes; this is a {learngene.method} learngene")
    return learngene.token_map(weights.spec.embed_dims)


def _inspect(arguments: argparse.Namespace) -> None:
    path = existing(arguments.source)
    is_config = path.suffix in CONFIG_SUFFIXES
    learngene = _from_config(path) if is_config else load(path)
    described = _describe(learngene)
    described = {"file": str(path), "file_size": None if is_config else path.stat().st_size, **described}
    print(json.dumps(described, indent=2) if arguments.json else _text(described))


def _from_config(path: Path) -> Learngene:
    """The learngene that a config would train, without storage.

    Raises:
        LearngeneError: OpenMMLab is not installed, the config cannot be read, or it holds no learngene.
    """
    config = read_config(path, import_custom_modules=False).to_dict()
    found = next(settings_of(config, _classes()), None)
    if found is None:  # of a method that the config itself imports, perhaps
        if error := _custom_imports(config):
            raise LearngeneError(f"{path}: custom_imports: {error}; put the folder of your module on PYTHONPATH")
        found = next(settings_of(config, _classes()), None)
    if found is None:
        raise LearngeneError(
            f"{path} holds no learngene; expected a dict such as model=dict(learngene=dict(type='LeTs', ...)) with a "
            f"type among {', '.join(sorted(_classes()))}"
        )
    holder, key, _ = found
    settings = dict(holder[key])
    cls = _classes()[str(settings.pop("type")).rpartition(".")[2]]
    try:
        check_types(cls, settings)
        with torch.device("meta"):
            return cls(**settings)
    except TypeError as error:  # a setting too many, or too few
        raise LearngeneError(f"{path}: {error}") from error


def _classes() -> dict[str, type[Learngene]]:
    """The methods' classes by the names that configs use."""
    return {cls.__name__: cls for cls in LEARNGENES.values()}


def _custom_imports(config: dict) -> str | None:
    """Import a config's modules but those of this package, which have all been looked at; what fails, in words."""
    told = config.get("custom_imports") or {}
    modules = (told.get("imports") or []) if isinstance(told, dict) else told
    modules = [modules] if isinstance(modules, str) else modules
    if not isinstance(modules, list | tuple) or not all(isinstance(name, str) for name in modules):
        return f"{shortened(told)} names no modules; expected dict(imports=['my_module'])"
    for name in modules:
        try:
            if name.partition(".")[0] != "mmlearngene":
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # of somebody else's module, which may fail in any way
            return in_words(error)
    return None


def _describe(learngene: Learngene) -> dict:
    """All that ``inspect`` says, as JSON values."""
    layers = learngene.layer_choices
    return {
        "method": learngene.method,
        "learngene": _spec(learngene.learngene_spec),
        "aux": _spec(learngene.aux_spec),
        "config": learngene.config,
        "stored_params": learngene.stored_params(),
        "expands_to": {
            "heads": list(learngene.head_choices),
            "layers": list(layers) if layers else "any",
            "words": learngene.span,
            "options": list(learngene.expand_options()),
        },
        "sizes": [
            {"size": str(spec), "params": spec.num_params, "macs": spec.macs, **learngene.shares(spec)}
            for spec in learngene.some_sizes()
        ],
        "classes": learngene.classes,
        "provenance": learngene.provenance,
    }


def _spec(spec: ViTSpec) -> dict:
    return {"size": str(spec), **spec.asdict()}


def _features(of: dict) -> str:
    """What a ViT has beyond a plain one, in words."""
    fields = {name: value for name, value in of.items() if name != "size"}
    plain = ViTSpec(1, 1, pool=fields["pool"], class_token=fields["class_token"]).features()
    spec = ViTSpec.parse(fields)
    own = spec.features()
    differ = [name for name, value in own.items() if value != plain[name] and name != "norm_eps"]
    extra = [f"{name} {spec.init_values if name == 'init_values' else own[name]}" for name in differ]
    return f", {', '.join(extra)}" if extra else ""


def _shortened(value: object) -> str:
    """One line of a value, which --json gives whole: lists of every layer's heads, of all trained sizes."""
    return textwrap.shorten(str(value), 72, placeholder=" ...")


def _text(described: dict) -> str:
    """The description as text for people."""

    def spec(of: dict) -> str:
        height, width = of["img_size"]
        return (
            f"{of['size']}, {of['embed_dims']} wide, patch {of['patch_size']} at {height} x {width}, "
            f"{of['num_classes']} classes, pool {of['pool']}{', class token' * of['class_token']}{_features(of)}"
        )

    counts, config = described["stored_params"], described["config"].items()
    facts = [
        ("file", described["file"]),
        ("method", described["method"]),
        ("learngene", spec(described["learngene"])),
        ("Aux-Net", spec(described["aux"])),
        *((f"config {key}", _shortened(value)) for key, value in config),
        (
            "stored",
            f"{counts['total']:,} parameters: learngene {counts['learngene']:,}, maps {counts['maps']:,}, "
            f"positions {counts['positions']:,}",
        ),
        ("file size", f"{described['file_size']:,} bytes" if described["file_size"] is not None else "not trained yet"),
        ("expands to", described["expands_to"]["words"]),
        ("options", ", ".join(described["expands_to"]["options"]) or "none"),
        *((f"provenance {key}", _shortened(value)) for key, value in described["provenance"].items()),
    ]
    if described["classes"]:
        facts.append(("classes", f"{len(described['classes'])}: {', '.join(map(str, described['classes'][:10]))}"))
    shares = [name for name in described["sizes"][0] if name not in ("size", "params", "macs")]
    sizes = [("some sizes", "parameters", "GFLOPs", *shares)]
    for row in described["sizes"]:
        of_method = [f"{row[name]:.1%}" for name in shares]
        sizes.append((row["size"], f"{row['params']:,}", f"{row['macs'] / 1e9:.3g}", *of_method))
    return f"{table(facts, '<<')}\n\n{table(sizes, '<'.ljust(len(sizes[0]), '>'))}"
