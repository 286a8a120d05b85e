"""The model card of what was written, in Hugging Face's form."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from ...io.licenses import card_fields, licenses_in, terms
from ...io.preprocessing import resizing
from ...utils.tables import printable
from ...version import __version__
from .expanded import TOKEN_MAP, Expanded, class_names
from .opening import opening

_LIBRARIES = {
    "timm": "timm",
    "hf": "transformers",
    "torchvision": "torchvision",
    "mmpretrain": "mmpretrain",
    "mmseg": "mmsegmentation",
}


def model_card(expanded: Expanded, path: Path) -> str:
    """The model card of what was written, in Hugging Face's form."""
    learngene, spec = expanded.learngene, expanded.weights.spec
    provenance = learngene.provenance
    licenses = licenses_in(provenance)
    library = _LIBRARIES[expanded.layout.framework] if expanded.layout else "onnx"
    data = ModelCardData(
        **card_fields([expanded.license] if expanded.license else licenses),
        library_name=library,
        tags=["vision-transformer", "learngene", "mmlearngene", learngene.method],
        pipeline_tag="image-classification" if spec.num_classes else "image-feature-extraction",
    )
    trained = learngene.trained_sizes or [str(learngene.aux_spec)]
    height, width = spec.img_size
    facts = [
        ("method", learngene.method),
        ("ancestry", provenance.get("ancestry") or provenance.get("imported_from")),
        ("data", provenance.get("dataset") or provenance.get("data")),
        ("learngene", f"{expanded.source}, {learngene.stored_params()['total']:,} parameters"),
        ("size", f"{spec}: {spec.embed_dims} wide, {spec.num_params:,} parameters"),
        ("FLOPs", f"{spec.macs / 1e9:.3g} G an image; a multiply-accumulate is one, as in the papers"),
        ("images", f"{height} x {width}, patch {spec.patch_size}, {spec.in_channels} channels"),
        ("outputs", _outputs(expanded)),
        *([("numbers", "int8, calibrated on images; norms and attention in float32")] if expanded.calibration else []),
        ("inherited", f"{expanded.inherited:.1%} of the parameters without the classifier"),
        ("sizes trained", ", ".join(map(str, trained))),
        ("normalisation", _normalisation(learngene.preprocessing)),
        ("resizing", learngene.preprocessing and resizing(learngene.preprocessing)),
        ("licence of the ancestry", expanded.license or " and ".join(licenses) or "not given; ask whoever trained it"),
        *((f"terms of {name}", bound) for name in licenses if (bound := terms(name))),
        ("written by", f"mmlearngene {__version__}"),
    ]
    rows = [f"| {name} | {printable(str(value or 'not known')).replace('|', chr(92) + '|')} |" for name, value in facts]
    missing = f"Not from the learngene, and to be trained: {', '.join(expanded.missing)}." if expanded.missing else ""
    text = [
        f"# {path.stem}",
        f"A Vision Transformer {spec} whose weights were expanded from a {learngene.method} learngene. It has "
        f"{'been tuned' if expanded.tuned else 'not been tuned'} since{expanded.tuned and f': {expanded.tuned}'}.",
        "\n".join(["| | |", "|---|---|", *rows]),
        *filter(None, [missing, *expanded.notes]),
        f"## Open it\n\nFrom the folder of this card:\n\n```python\n{opening(expanded, Path(path.name))}\n```",
    ]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"))


def _outputs(expanded: Expanded) -> str:
    classes, names = expanded.weights.spec.num_classes, class_names(expanded)
    if expanded.token_map is not None:
        where = TOKEN_MAP if expanded.layout and expanded.layout.framework == "hf" else "its head"
        width = len(expanded.token_map[0])
        return f"features; the linear layer in {where} takes tokens to the ancestry's {width} channels"
    if not classes:
        return "features"
    return f"{classes} classes: {', '.join(names)}" if 0 < len(names) <= 100 else f"{classes} classes"


def _normalisation(preprocessing: dict) -> str | None:
    return f"mean {preprocessing['mean']}, std {preprocessing['std']}" if preprocessing else None
