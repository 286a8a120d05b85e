"""What leaves for other runtimes: how a file is opened, its model card, and ONNX."""

from __future__ import annotations

import inspect
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor, nn

from . import files
from .ancestry import quiet
from .errors import LearngeneError, in_words
from .layouts import Layout, build, built_anywhere, mmpretrain, mmseg
from .layouts.modules import weightless
from .layouts.timm_call import create_call
from .learngenes import Learngene
from .preprocessing import image_processor, pretrained_cfg, resizing
from .spec import ViTSpec
from .tables import printable
from .tokens import token_model
from .version import __version__
from .weights import ViTWeights

_TOLERANCE = 1e-4  # of the largest output; float32 kernels of two runtimes differ by a tenth of it
TOKEN_MAP = "tokens.safetensors"  # in a Hugging Face folder
_LIBRARIES = {"timm": "timm", "hf": "transformers", "mmpretrain": "mmpretrain", "mmseg": "mmsegmentation"}


@dataclass
class Expanded:
    """A descendant that is about to be written, and what its card tells of it.

    Attributes:
        learngene: what was expanded.
        source: the learngene's file name.
        weights: the descendant's weights.
        layout: the framework's table; None for ONNX.
        notes: what was adapted, and what to say of the size.
        license: of the ancestry, as the user gives it.
        tuned: how long it was tuned, where it was.
        token_map: weight and bias of the linear layer that takes its tokens to the ancestry's channels, if asked for.
        patches: whether an ONNX file gives patch tokens, too.
        missing: tensors that the weights do not give, of all layers or of some.
    """

    learngene: Learngene
    source: str
    weights: ViTWeights
    layout: Layout | None
    notes: Sequence[str] = ()
    license: str | None = None
    tuned: str = ""
    token_map: tuple[torch.Tensor, torch.Tensor] | None = None
    patches: bool = False
    missing: list[str] = field(init=False)

    def __post_init__(self) -> None:
        spec, stem, layers = self.weights.spec, self.weights.stem(), self.weights.layers()
        self.missing = [name for name in spec.stem_shapes() if name not in stem]
        self.missing += [name for name in spec.layer_shapes() if not all(name in layer for layer in layers)]

    @property
    def inherited(self) -> float:
        """Share of the parameters, the classifier left out, that come from the learngene."""
        spec = self.weights.spec
        tensors = [(name, t) for part in (self.weights.stem(), *self.weights.layers()) for name, t in part.items()]
        ours = sum(tensor.numel() for name, tensor in tensors if not name.startswith("head"))
        return ours / spec.replace(num_classes=0).num_params


# ---------------------------------------------------------------------- writing


def card_path(path: Path) -> Path:
    """Where the model card of a file goes."""
    return path.with_name(f"{path.name}.md")


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
    metadata["open"] = opening(expanded, Path(output.name))
    lines = []
    if layout is None:
        if fresh := expanded.missing:
            expected = "other layers"
            if all(name.startswith("head") for name in fresh):
                expected = (
                    f"--num-classes {expanded.learngene.aux_spec.num_classes}, as in the learngene, or 0 for features"
                )
            raise LearngeneError(
                f"an ONNX file cannot be trained, and {', '.join(fresh)} would start fresh; expected {expected}"
            )
        data, largest = onnx_bytes(weights, metadata, expanded.patches, expanded.token_map is not None)
        files.save_bytes(output, data)
        lines.append(f"checked with onnxruntime: outputs differ from PyTorch's by {largest:.1g} at most")
    elif layout.framework == "hf":
        processor, lacking = _processor(expanded)
        lines += [f"no preprocessor_config.json: {lacking}"] if lacking else []

        def write(folder: Path) -> None:
            import transformers

            model = build(weights, "hf")
            if names := _class_names(expanded):
                model.config.id2label = dict(enumerate(names))
                model.config.label2id = {name: number for number, name in enumerate(names)}
            with quiet(transformers.utils.logging):
                model.save_pretrained(folder)
            if processor:
                processor.save_pretrained(folder)
            if expanded.token_map is not None:
                files.save_tensors(folder / TOKEN_MAP, dict(zip(("weight", "bias"), expanded.token_map, strict=True)))
            (folder / "README.md").write_text(card)

        files.save_folder(output, write)
    else:
        made = weightless(lambda: layout.make(spec), buffers=False)
        files.save_tensors(output, layout.state_dict_of(made, weights), {**metadata, "layout": layout.framework})
    if layout is None or layout.framework != "hf":
        files.save_bytes(card_path(output), card.encode())
    written = sum(tensor.numel() for tensors in (weights.stem(), *weights.layers()) for tensor in tensors.values())
    name = "ONNX" if layout is None else _hf_class(expanded) if layout.framework == "hf" else layout.class_name
    lines.insert(0, f"wrote {output}: {spec} for {name}, {written:,} of its {spec.num_params:,} parameters")
    lines += expanded.notes
    if written < spec.num_params:
        lines.append("what is not in the file, such as a fresh head, keeps the model's own start values")
    return [*lines, "open it:", *(f"    {line}" for line in opening(expanded, output).splitlines())]


def _processor(expanded: Expanded) -> tuple[object | None, str]:
    """Hugging Face's image processor for a descendant; or None, and why."""
    told = expanded.learngene.preprocessing
    if not told:
        return None, "the learngene does not say how its images were normalised"
    try:
        return image_processor(told, expanded.weights.spec), ""
    except LearngeneError as error:
        return None, str(error)
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        return None, f"what the learngene says of its images is damaged ({error})"


def _class_names(expanded: Expanded) -> list[str]:
    """The names of a descendant's classes; none where its head is fresh or the learngene does not know them."""
    classes = expanded.learngene.classes or []
    return list(map(str, classes)) if not expanded.missing and len(classes) == expanded.weights.spec.num_classes else []


# ---------------------------------------------------------------------- how to open it


def opening(expanded: Expanded, path: Path) -> str:
    """Python that opens what was written.

    Args:
        expanded: the descendant.
        path: its file or folder, from where the code will run.
    """
    spec, layout = expanded.weights.spec, expanded.layout
    if layout is None:
        names = "outputs, patches" if expanded.patches else "(outputs,)"
        return (
            "import onnxruntime\n"
            f"session = onnxruntime.InferenceSession({_quoted(path)})\n"
            f'{names} = session.run(None, {{"images": images}})  # float32, normalised, '
            f"(batch, {spec.in_channels}, {spec.img_size[0]}, {spec.img_size[1]})"
        )
    if layout.framework == "timm":
        return _open_in_timm(expanded, path)
    if layout.framework == "hf":
        cls, where = _hf_class(expanded), _quoted(path)
        # the pooler that some classes add has weights of its own, which no learngene gives
        call = f"{cls}.from_pretrained({where}{', add_pooling_layer=False' if _adds_pooler(cls) else ''})"
        if _processor(expanded)[0] is None:
            return f"from transformers import {cls}\nmodel = {call}"
        return (
            f"from transformers import AutoImageProcessor, {cls}\n"
            f"processor = AutoImageProcessor.from_pretrained({where})\nmodel = {call}"
        )
    return _open_in_openmmlab(spec, layout.framework, path)


def _hf_class(expanded: Expanded) -> str:
    """The class of transformers that opens the folder, with its classifier where there is one."""
    return type(weightless(lambda: expanded.layout.make(expanded.weights.spec))).__name__


def _adds_pooler(cls: str) -> bool:
    """Whether a class of transformers adds a dense layer behind the class token, unless it is told not to."""
    import transformers

    parameters = inspect.signature(getattr(transformers, cls).__init__).parameters
    return "add_pooling_layer" in parameters and not cls.startswith("Swin")


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _open_in_timm(expanded: Expanded, path: Path) -> str:
    spec = expanded.weights.spec
    call = create_call(spec, expanded.layout)
    if call is None:
        lines = ["import mmlearngene  # stock timm has no arguments for this ViT"]
        lines.append(f'model = mmlearngene.build(mmlearngene.load_ancestry({_quoted(path)}), "timm")')
        return "\n".join([*lines, *([f"model.reset_classifier({spec.num_classes})"] * bool(expanded.missing))])
    imports, text = call
    told = {**pretrained_cfg(expanded.learngene.preprocessing, spec), "label_names": tuple(_class_names(expanded))}
    overlay = ", ".join(f"{name}={value!r}" for name, value in told.items() if value)
    text += f", pretrained_cfg_overlay=dict({overlay})"  # what timm.data.resolve_model_data_config says
    if "mean" not in told:
        imports = [
            *imports,
            "# how images were normalised is not known: timm's mean and std of this name need not be right",
        ]
    if not expanded.missing:
        return "\n".join([*imports, f"model = {text}, checkpoint_path={_quoted(path)})"])
    load = f"timm.models.load_checkpoint(model, {_quoted(path)}, strict=False)  # what is missing starts fresh"
    return "\n".join([*imports, f"model = {text})", load])


def _open_in_openmmlab(spec: ViTSpec, framework: str, path: Path) -> str:
    """A config's model that starts from the file."""
    init = dict(type="Pretrained", checkpoint=str(path))
    reader = 'custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine"])  # reads .safetensors\n'
    if framework == "mmseg":
        settings = mmseg.backbone_cfg(spec)
        return (
            f"{reader}backbone = {settings!r}  # the settings that the file is for: model.backbone has to have them\n"
            f"model = dict(backbone=dict(init_cfg={init!r}))"
        )
    cfg = mmpretrain.classifier_cfg if spec.num_classes else mmpretrain.backbone_cfg
    model = cfg(spec, init_cfg=init)
    return f"{reader}model = { ({name: value for name, value in model.items() if value is not None})!r}"


# ---------------------------------------------------------------------- the card


def model_card(expanded: Expanded, path: Path) -> str:
    """The model card of what was written, in Hugging Face's form."""
    learngene, spec = expanded.learngene, expanded.weights.spec
    provenance = learngene.provenance
    library = _LIBRARIES[expanded.layout.framework] if expanded.layout else "onnx"
    data = ModelCardData(
        license=expanded.license,
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
        ("inherited", f"{expanded.inherited:.1%} of the parameters without the classifier"),
        ("sizes trained", ", ".join(map(str, trained))),
        ("normalisation", _normalisation(learngene.preprocessing)),
        ("resizing", learngene.preprocessing and resizing(learngene.preprocessing)),
        ("licence of the ancestry", expanded.license or "not given; ask whoever trained it"),
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
    classes, names = expanded.weights.spec.num_classes, _class_names(expanded)
    if expanded.token_map is not None:
        where = TOKEN_MAP if expanded.layout and expanded.layout.framework == "hf" else "its head"
        width = len(expanded.token_map[0])
        return f"features; the linear layer in {where} takes tokens to the ancestry's {width} channels"
    if not classes:
        return "features"
    return f"{classes} classes: {', '.join(names)}" if 0 < len(names) <= 100 else f"{classes} classes"


def _normalisation(preprocessing: dict) -> str | None:
    return f"mean {preprocessing['mean']}, std {preprocessing['std']}" if preprocessing else None


# ---------------------------------------------------------------------- ONNX


class _Graph(nn.Module):
    """What an ONNX file computes: logits or the pooled feature (batch, channels), and patch tokens if asked for.

    Args:
        model: a live model.
        spec: its spec.
        patches: whether patches (batch, rows, columns, channels), behind the final norm, are a second output.
        project: whether these go through the classifier, too, which is a token map.
    """

    def __init__(self, model: nn.Module, spec: ViTSpec, patches: bool, project: bool) -> None:
        super().__init__()
        self.project = project
        self.model, self.patches, self.num_classes = model, patches, spec.num_classes
        self.tokens = token_model(model, class_token=None if spec.num_classes else spec.pool == "cls")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.patches:
            tokens = self.tokens(images)
            classifier = self.tokens.classifier if self.num_classes else nn.Identity()
            outputs = self._outputs(images) if classifier is None else classifier(tokens.summary)
            return outputs, classifier(tokens.patches) if self.project else tokens.patches
        return (self._outputs(images),)

    def _outputs(self, images: Tensor) -> Tensor:
        result = self.model(images)
        if isinstance(result, tuple):  # a backbone of mmpretrain
            result = result[-1]
        if not isinstance(result, Tensor):  # Hugging Face's, which give tokens where there is no classifier
            result = result["logits"] if self.num_classes else self.tokens(images).summary
        return result


def onnx_bytes(
    weights: ViTWeights, metadata: dict[str, str], patches: bool = False, project: bool = False
) -> tuple[bytes, float]:
    """An ONNX model of any batch size, checked with onnxruntime against PyTorch.

    Args:
        weights: complete weights.
        metadata: what the file tells of itself.
        patches: whether its patch tokens are a second output.
        project: whether these go through the classifier, which is a token map.

    Returns:
        The file's bytes, and the largest difference of an output.

    Raises:
        LearngeneError: onnx or onnxruntime is not installed; weights are missing; it cannot be exported or run; or the
            outputs differ.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise LearngeneError(f"--layout onnx needs {error.name}: pip install mmlearngene[onnx]") from error
    spec = weights.spec
    model = built_anywhere(weights)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # plain products, which every exporter and runtime has
    if spec.rope == "mixed":  # positions of one image size are numbers; the code that makes them is exported wrongly
        with torch.no_grad():
            positions = model.rope.get_embed()
        model.rope.get_embed = lambda *_, **__: positions
    graph_of = _Graph(model, spec, patches, project).eval()
    names = ["outputs", "patches"] if patches else ["outputs"]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, spec.in_channels, *spec.img_size, generator=generator)
    try:
        found = _exported(graph_of, images[:2], names, metadata)
        onnx.checker.check_model(found)
        data = found.SerializeToString()
        session = onnxruntime.InferenceSession(data, _quiet(onnxruntime), providers=["CPUExecutionProvider"])
        given = {count: session.run(None, {"images": images[:count].numpy()}) for count in (1, 3)}
    except Exception as error:  # of the exporter, the checker or the runtime, each its own kind
        raise LearngeneError(f"{spec} cannot be an ONNX file: {in_words(error)}; nothing was written") from error
    largest = 0.0
    for count, arrays in given.items():
        with torch.no_grad():
            expected = graph_of(images[:count])
        for array, tensor in zip(arrays, expected, strict=True):
            apart = float(np.abs(array - tensor.numpy()).max()) if array.shape == tuple(tensor.shape) else math.nan
            if not apart <= _TOLERANCE * max(1.0, float(tensor.abs().max())):
                raise LearngeneError(
                    f"the ONNX model differs from PyTorch's by {apart:.2g} in a batch of {count}; nothing was written"
                )
            largest = max(largest, apart)
    return data, largest


def _exported(model: nn.Module, images: Tensor, names: list[str], metadata: dict[str, str]):
    """A model as ONNX, with its metadata."""
    import onnx

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder, "model.onnx")
        axes = {name: {0: "batch"} for name in ("images", *names)}
        # the exporter through TorchScript: in torch 2.11 torch.export's does not know every ViT of timm (BEiT)
        torch.onnx.export(
            model, (images,), path, input_names=["images"], output_names=names, dynamic_axes=axes, opset_version=17,
            dynamo=False,
        )  # fmt: skip
        graph = onnx.load(path)
    onnx.helper.set_model_props(graph, metadata)
    return graph


def _quiet(onnxruntime):
    """Options of a session that says nothing itself: what it raises is told in a line."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options
