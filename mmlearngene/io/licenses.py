"""The licence of an ancestry: where it is told, what it binds, and how it is passed on.

A learngene is made of its ancestry's weights, and a descendant of the learngene's. So the licence goes along: from the
ancestry's model card or timm's config into the ``licenses`` of a learngene's provenance, and from there into the files
and cards of descendants.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from .paths import card_path

_LOGGER = logging.getLogger("mmlearngene")
# licences that allow every use, so that nothing has to be said
_FREE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "isc", "unlicense", "0bsd"}
# names that Hugging Face's cards know; any other is "other" there, with its name beside it
_HUB = _FREE | {f"cc-by{more}-4.0" for more in ("-sa", "-nc", "-nd", "-nc-sa", "-nc-nd")} | {"apple-ascl", "apple-amlr"}
_HUB |= {"openrail", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "gemma", "llama2", "llama3"}
_said: set[str] = set()


def license_of(source: object) -> str | None:
    """The licence of an ancestry's weights, as far as it is told; None if it is not.

    Args:
        source: a folder of Hugging Face or timm, whose ``README.md`` or ``config.json`` tells it; a checkpoint file
            with a card beside it; or the name of a timm model. Any other object, a live model say, tells none: its
            class does not say whose weights it has.
    """
    if not isinstance(source, (str, Path)):
        return None
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_card(path / "README.md") or _of_config(path / "config.json")
    if path.is_file():
        return _of_card(card_path(path)) or _of_card(path.parent / "README.md")
    try:
        import timm

        cfg = timm.get_pretrained_cfg(str(source)) if timm.is_model(str(source)) else None
    except RuntimeError:  # a tag that timm does not have
        return None
    return _name(getattr(cfg, "license", None))


def licenses_in(provenance: Mapping) -> list[str]:
    """The licences that a learngene's provenance tells."""
    return [name for name in provenance.get("licenses", []) if isinstance(name, str)]


def with_licenses(provenance: Mapping, licenses: Iterable[str | None]) -> dict:
    """A provenance that tells these licences beside its own."""
    found = sorted({*licenses_in(provenance), *filter(None, licenses)})
    return {**provenance, "licenses": found} if found else dict(provenance)


def terms(license: str) -> str | None:
    """What a licence binds its users to, in words; None for one that allows every use.

    >>> terms("apache-2.0"), terms("cc-by-nc-4.0")
    (None, 'not for commercial use')
    >>> terms("dinov3-license")
    'it has terms of its own, which also bind what is made from the weights'
    """
    if license in _FREE:
        return None
    words = license.replace("_", "-").split("-")
    if "nc" in words or "noncommercial" in words or ("non" in words and "commercial" in words):
        return "not for commercial use"
    if "research" in words or license == "apple-amlr":
        return "for research only"
    return "it has terms of its own, which also bind what is made from the weights"


def say_terms(licenses: Iterable[str]) -> None:
    """Say on stderr, once in a process, what licences bind the user to."""
    for license in licenses:
        if (bound := terms(license)) and license not in _said:
            _said.add(license)
            _LOGGER.warning("the ancestry's licence is %s: %s. Learngene and descendants carry it", license, bound)


def card_fields(licenses: list[str]) -> dict[str, str | list[str]]:
    """The licence entries of a model card in Hugging Face's form."""
    if not licenses:
        return {}
    if all(name in _HUB for name in licenses):
        return {"license": licenses[0] if len(licenses) == 1 else licenses}
    return {"license": "other", "license_name": " and ".join(licenses)}


def _of_card(path: Path) -> str | None:
    """The licence in the front matter of a model card; its name where the card says ``other``."""
    import yaml

    try:
        head, fence, rest = path.read_text(encoding="utf-8", errors="replace").partition("---\n")
        told = yaml.safe_load(rest.partition("\n---")[0]) if fence and not head.strip() else None
    except (OSError, yaml.YAMLError):  # no card, or one that cannot be read, tells nothing
        return None
    if not isinstance(told, dict):
        return None
    license = told.get("license")
    return _name(told.get("license_name") or license) if license == "other" else _name(license)


def _of_config(path: Path) -> str | None:
    """The licence in the config of a folder that timm wrote."""
    try:
        told = json.loads(path.read_text())
        return _name(told.get("license") or (told.get("pretrained_cfg") or {}).get("license"))
    except (OSError, ValueError, AttributeError):
        return None


def _name(license: object) -> str | None:
    """A licence's name, from a card that may hold anything: one short word, or several."""
    if isinstance(license, list) and all(isinstance(each, str) for each in license):
        license = " and ".join(license)
    if not isinstance(license, str) or not license.strip():
        return None
    return " ".join(license.lower().split())[:100]
