"""Every model of transformers that encodes images: it computes what timm does with its weights, or is refused by name.

``python -m tests.frameworks.test_hf_walk`` prints the table of docs/any_vit.md.
"""

from collections import Counter
from pathlib import Path

import pytest

from mmlearngene import LearngeneError, ViTSpec
from mmlearngene.frameworks import find_vit, tables
from mmlearngene.vit.adapt import fitting_specs

from ..support.same_as_timm import apart_from_class, apart_from_timm
from ..support.transformers_models import image_encoders, tiny

DOCS = Path(__file__).parents[2] / "docs" / "any_vit.md"
_ALL_EQUAL = 1e-5  # of the largest number


def walk() -> dict[tuple[str, str], str]:
    """What becomes of each model, by family and class: ``exact``, or why it is refused."""
    pytest.importorskip("transformers").logging.set_verbosity_error()
    found = {}
    for family, cls in image_encoders():
        model = tiny(cls)
        if model is None:
            what = "cannot be made from its default config here"
        else:
            try:
                apart = apart_from_timm(model) if is_timms(find_vit(model).spec) else apart_from_class(model)
                assert apart <= _ALL_EQUAL, (cls, apart)
                what = "exact"
            except LearngeneError as error:
                assert "\n" not in str(error)
                what = str(error)
        found[family, cls.__name__] = what
    return found


def is_timms(spec: ViTSpec) -> bool:
    """Whether timm has a plain ViT of these features, or one that computes the same."""
    return spec.depths is None and any(
        layout.lacks(each) is None for each in (spec, *fitting_specs(spec)) for layout in tables("timm")
    )


def as_table(found: dict[tuple[str, str], str]) -> str:
    """The table of the docs: models by family that are read, and for the others the feature that is named."""
    families: dict[str, list[str]] = {}
    for (family, _), what in found.items():
        families.setdefault(family, []).append(what)
    exact = {family: whats.count("exact") for family, whats in families.items()}
    lines = [
        f"Of {len(found)} models in {len(families)} families, {sum(exact.values())} in "
        f"{sum(count > 0 for count in exact.values())} families are read and built exactly:",
        "",
        ", ".join(f"`{name}` {exact[name]} of {len(families[name])}" for name in families if exact[name]) + ".",
        "",
        "The others are refused:",
        "",
        "| family | models | why |",
        "|---|---|---|",
    ]
    for family, whats in families.items():
        why = Counter(map(feature, filter(lambda what: what != "exact", whats)))
        if why:
            lines.append(f"| `{family}` | {why.total()} | {'; '.join(why)} |")
    return "\n".join(lines)


def feature(what: str) -> str:
    """The feature that a refusal names."""
    _, known, rest = what.partition(" is not a ViT that is known here: it has ")
    return rest.partition("; expected one of")[0] if known else what.partition(": ")[2] or what


def test_every_image_encoder_is_exact_or_refused_by_a_feature():
    found = walk()
    table = as_table(found)
    print(table)
    assert sum(what == "exact" for what in found.values()) >= 90
    assert table in DOCS.read_text(), "docs/any_vit.md has another table; this module prints it"


if __name__ == "__main__":
    print(as_table(walk()))
