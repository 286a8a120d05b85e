"""Write a descendant and its model card."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import LearngeneError
from ...frameworks import build
from ...frameworks.modules import weightless
from ...io.atomic import save_bytes, save_folder, save_tensors
from ...io.licenses import licenses_in, say_terms
from ...io.paths import card_path
from ..hf_folder import quiet
from .card import model_card
from .expanded import TOKEN_MAP, Expanded, class_names
from .int8 import cosine_to, quantised
from .onnx import onnx_bytes
from .opening import opening


def write(expanded: Expanded, output: Path) -> list[str]:
    """Write a descendant and its model card.

    Args:
        expanded: the descendant.
        output: the file or folder; a file's card stands beside it.

    Returns:
        What to say of it, in lines.

    Raises:
        LearngeneError: see :func:`onnx_bytes`, or a head would be missing in an ONNX file.
    """
    weights, layout, spec = expanded.weights, expanded.layout, expanded.weights.spec
    card = model_card(expanded, output)
    source = f"{expanded.learngene.method} {expanded.source}"
    metadata = dict(size=str(spec), source=source, spec=json.dumps(spec.asdict()))
    licenses = licenses_in(expanded.learngene.provenance)
    if licenses:
        metadata["license"] = " and ".join(licenses)
    say_terms(licenses)
    metadata["open"] = opening(expanded, Path(output.name))
    lines = []
    if layout is None:
        lines.append(_write_onnx(expanded, metadata, output))
    elif layout.framework == "hf":
        lines += _write_hf(expanded, card, output)
    else:
        made = weightless(lambda: layout.make(spec), buffers=False)
        save_tensors(output, layout.state_dict_of(made, weights), {**metadata, "layout": layout.framework})
    if layout is None or layout.framework != "hf":
        save_bytes(card_path(output), card.encode())
    written = sum(tensor.numel() for tensors in (weights.stem(), *weights.layers()) for tensor in tensors.values())
    name = "ONNX" if layout is None else expanded.hf_class if layout.framework == "hf" else layout.class_name
    lines.insert(0, f"wrote {output}: {spec} for {name}, {written:,} of its {spec.num_params:,} parameters")
    lines += expanded.notes
    if written < spec.num_params:
        lines.append("what is not in the file, such as a fresh head, keeps the model's own start values")
    return [*lines, "open it:", *(f"    {line}" for line in opening(expanded, output).splitlines())]


def _write_onnx(expanded: Expanded, metadata: dict[str, str], output: Path) -> str:
    """Write an ONNX file; returns what to say of it."""
    if fresh := expanded.missing:
        expected = "other layers"
        if all(name.startswith("head") for name in fresh):
            expected = (
                f"--num-classes {expanded.learngene.aux_spec.num_classes}, as in the learngene, or 0 for features"
            )
        raise LearngeneError(
            f"an ONNX file cannot be trained, and {', '.join(fresh)} would start fresh; expected {expected}"
        )
    data, largest = onnx_bytes(expanded.weights, metadata, expanded.patches, expanded.token_map is not None)
    checked = f"checked with onnxruntime: outputs differ from PyTorch's by {largest:.1g} at most"
    if expanded.calibration is not None:
        small = quantised(data, expanded.calibration[:-1])
        cosine = cosine_to(small, data, expanded.calibration[-1:])
        checked += (
            f" in float32; in int8 they have a cosine of {cosine:.4f} to those, on {len(expanded.calibration[-1])} "
            f"images that it was not calibrated on; {len(small) / 1e6:,.3g} MB in place of {len(data) / 1e6:,.3g}"
        )
        data = small
    save_bytes(output, data)
    return checked


def _write_hf(expanded: Expanded, card: str, output: Path) -> list[str]:
    """Write a Hugging Face folder with its card; returns what to say of it."""
    processor, lacking = expanded.processor

    def fill(folder: Path) -> None:
        import transformers

        model = build(expanded.weights, "hf")
        if names := class_names(expanded):
            model.config.id2label = dict(enumerate(names))
            model.config.label2id = {name: number for number, name in enumerate(names)}
        with quiet(transformers.utils.logging):
            model.save_pretrained(folder)
        if processor:
            processor.save_pretrained(folder)
        if expanded.token_map is not None:
            save_tensors(folder / TOKEN_MAP, dict(zip(("weight", "bias"), expanded.token_map, strict=True)))
        (folder / "README.md").write_text(card)

    save_folder(output, fill)
    return [f"no preprocessor_config.json: {lacking}"] if lacking else []
