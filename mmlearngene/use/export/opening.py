"""Python that opens what was written."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from ...frameworks import mmpretrain, mmseg, torchvision
from ...frameworks.timm_call import create_call
from ...io.preprocessing import pretrained_cfg
from ...vit.spec import ViTSpec
from .expanded import Expanded, class_names


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
        cls, where = expanded.hf_class, _quoted(path)
        # the pooler that some classes add has weights of its own, which no learngene gives
        call = f"{cls}.from_pretrained({where}{', add_pooling_layer=False' if _adds_pooler(cls) else ''})"
        if expanded.processor[0] is None:
            return f"from transformers import {cls}\nmodel = {call}"
        return (
            f"from transformers import AutoImageProcessor, {cls}\n"
            f"processor = AutoImageProcessor.from_pretrained({where})\nmodel = {call}"
        )
    if layout.framework == "torchvision":
        return _open_in_torchvision(expanded, path)
    return _open_in_openmmlab(spec, layout.framework, path)


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
    told = {**pretrained_cfg(expanded.learngene.preprocessing, spec), "label_names": tuple(class_names(expanded))}
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


def _open_in_torchvision(expanded: Expanded, path: Path) -> str:
    spec = expanded.weights.spec
    call = ", ".join(f"{name}={value!r}" for name, value in torchvision.model_kwargs(spec).items())
    safe = path.suffix == ".safetensors"
    read = "load_file" if safe else "torch.load"
    strict = ", strict=False)  # what is missing starts fresh" if expanded.missing else ")"
    return "\n".join(
        [
            "import functools, torch, torchvision",
            *(["from safetensors.torch import load_file"] * safe),
            f"norm = functools.partial(torch.nn.LayerNorm, eps={spec.norm_eps})",
            f"model = torchvision.models.VisionTransformer({call}, norm_layer=norm)",
            f"model.load_state_dict({read}({_quoted(path)}){strict}",
        ]
    )


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
