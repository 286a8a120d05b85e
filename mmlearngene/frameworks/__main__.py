"""Print where a framework has the tensors of a ViT: ``python -m mmlearngene.frameworks timm h6-l12 pre_norm=true``."""

from __future__ import annotations

import argparse
import json

from ..errors import LearngeneError
from ..utils.tables import table
from ..vit.spec import ViTSpec
from . import FRAMEWORKS, layout_for
from .base import Layout, joined


def as_table(layout: Layout, spec: ViTSpec) -> str:
    """The slots of a ViT in a complete model; the layers in one row, ``{}`` for a layer's number."""
    rows = [("tensor", "role", "key", "axes")]
    for slot in layout.bind(spec):
        key = slot.key if slot.layer is None else joined(layout.inside, slot.entry.name)
        if (row := (slot.name, slot.role, key, slot.pattern)) not in rows:
            rows.append(row)
    rows += [("", "dead", pattern, "never used at inference") for pattern in layout.dead]
    rows += [("", "beside", pattern, "not the ViT's") for pattern in layout.extra]
    return table(rows, "<<<<")


def _field(text: str) -> tuple[str, object]:
    """A field of a spec and its value, JSON or the text itself."""
    name, equals, value = text.partition("=")
    if not equals:
        raise LearngeneError(f"{text!r} is no FIELD=VALUE; expected one as in class_token=true")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main(argv: list[str] | None = None) -> int:
    """Print the table.

    Raises:
        SystemExit: the framework, the size or a field is unknown, or no class of the framework has the feature.
    """
    parser = argparse.ArgumentParser(prog="python -m mmlearngene.frameworks", description=__doc__)
    parser.add_argument("framework", help=", ".join(FRAMEWORKS))
    parser.add_argument("size", help="h6-l12, say")
    parser.add_argument("fields", nargs="*", metavar="FIELD=VALUE", help="other fields of the spec: class_token=true")
    args = parser.parse_args(argv)
    try:
        spec = ViTSpec.parse(args.size, **dict(map(_field, args.fields)))
        layout = layout_for(spec, args.framework)
    except LearngeneError as error:
        parser.error(" ".join(str(error).split()))
    print(f"{spec} in {layout.class_name}", as_table(layout, spec), sep="\n")
    return 0


if __name__ == "__main__":
    main()
