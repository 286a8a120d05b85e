"""``mmlearngene inspect``: what is in a learngene file, without torch; or what a config would make."""

from __future__ import annotations

import argparse
import json
import textwrap

from ..io.paths import CONFIG_SUFFIXES, existing
from ..learngenes.facts import describe
from ..learngenes.facts.base import Facts
from ..utils.tables import table
from ..vit.spec import ViTSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", metavar="GENE_OR_CONFIG", help="a learngene file, or a config of an Aux-Net")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    path = existing(arguments.source)
    is_config = path.suffix in CONFIG_SUFFIXES
    if is_config:
        from .config_learngene import from_config  # here, as it needs torch

        learngene = from_config(path)
    else:
        learngene = describe(path)
    described = _describe(learngene)
    described = {"file": str(path), "file_size": None if is_config else path.stat().st_size, **described}
    print(json.dumps(described, indent=2) if arguments.json else _text(described))


def _describe(learngene: Facts) -> dict:
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
        "shares": _of_widths(learngene),
        "sizes": [
            {"size": str(spec), "params": spec.num_params, "macs": spec.macs, **learngene.shares(spec)}
            for spec in learngene.some_sizes()
        ],
        "classes": learngene.classes,
        "provenance": learngene.provenance,
    }


def _of_widths(learngene: Facts) -> dict[str, dict[str, float]]:
    """What the method can say beforehand of every number of heads: name -> heads -> share from 0 to 1."""
    found: dict[str, dict[str, float]] = {}
    if learngene.shares(learngene.aux_spec):
        for heads in learngene.head_choices:
            for name, share in learngene.shares(learngene.target(f"h{heads}-l{learngene.aux_spec.num_layers}")).items():
                found.setdefault(name, {})[f"h{heads}"] = share
    return found


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
        *(
            (name, ", ".join(f"{of} {share:.1%}" for of, share in by.items()))
            for name, by in described["shares"].items()
        ),
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
