"""Every model of transformers that takes images, found from the library and made tiny by its own config."""

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from .zoo import shaken

# entries of any config -> what makes a model tiny; heads are halved with the width
_TINY = dict(
    hidden_size=32, d_model=32, embed_dim=32, width=32, hidden_dim=32, vision_width=32, backbone_hidden_size=32,
    out_hidden_size=32, output_hidden_size=32, decoder_hidden_size=32, vision_hidden_size=32, projection_dim=32,
    image_embed_dim=32, embed_dims=32, text_hidden_size=32, multimodal_hidden_size=32,
    intermediate_size=64, ffn_dim=64, mlp_dim=64, encoder_ffn_dim=64, decoder_ffn_dim=64, decoder_intermediate_size=64,
    moe_intermediate_size=32, shared_expert_intermediate_size=32,
    num_attention_heads=2, num_heads=2, encoder_attention_heads=2, decoder_attention_heads=2, attention_heads=2,
    decoder_num_attention_heads=2, num_key_value_heads=2, head_dim=16, attention_head_dim=16,
    num_hidden_layers=2, num_layers=2, encoder_layers=2, decoder_layers=2, depth=2, num_encoder_layers=2, layers=2,
    decoder_num_hidden_layers=1, num_decoder_layers=2, num_blocks=2, qformer_num_hidden_layers=2,
    vocab_size=256, vocab_size_per_layer_input=256, num_experts=4, num_local_experts=4, num_experts_per_tok=2,
    n_routed_experts=4, pad_token_id=0,
    image_size=32, patch_size=8, pretrain_image_size=32, max_position_embeddings=64,
)  # fmt: skip
_DEEP = ("num_hidden_layers", "num_layers", "depth", "encoder_layers")
_OF_STAGES = ("out_features", "out_indices", "stage_names")  # of the layers that there were


def image_encoders() -> Iterator[tuple[str, type]]:
    """Family and class of every public model that encodes images, by what each class says that it takes.

    A model that takes text first (a language model with a tower) is none; its tower is, where it is public.
    """
    import transformers
    from transformers import PreTrainedModel

    for folder in sorted((Path(transformers.__file__).parent / "models").iterdir()):
        for file in sorted(folder.glob("modeling_*.py")):
            if "pixel_values" not in file.read_text():
                continue
            module = importlib.import_module(f"transformers.models.{folder.name}.{file.stem}")
            for name in getattr(module, "__all__", ()):
                cls = getattr(module, name)
                if not (isinstance(cls, type) and issubclass(cls, PreTrainedModel)) or "PreTrained" in name[-16:]:
                    continue
                modalities = cls.input_modalities
                modalities = [modalities] if isinstance(modalities, str) else modalities
                if "image" in modalities and ("text" not in modalities or "pixel_values" in cls.main_input_name):
                    yield folder.name, cls


def _shrunk(node: dict) -> dict:
    layers = next((node[name] for name in _DEEP if isinstance(node.get(name), int)), None)
    small = {}
    for name, value in node.items():
        if str(name).strip("_") in _OF_STAGES:
            continue
        if isinstance(value, dict):
            small[name] = _shrunk(value)
        elif name in _TINY and isinstance(value, int) and not isinstance(value, bool):
            small[name] = _TINY[name]
        elif name in _TINY and isinstance(value, (list, tuple)) and name in ("image_size", "patch_size"):
            small[name] = [_TINY[name]] * len(value)
        elif isinstance(value, list) and layers and layers > 4 and len(value) == layers:
            small[name] = value[:2]
        else:
            small[name] = value
    if isinstance(node.get("depths"), list) and "window_size" in node:  # four stages, whose grids hold a window
        stages = len(node["depths"])
        small |= dict(image_size=64, patch_size=2, window_size=4, depths=[2] * stages)
        small["num_heads"] = [2 << stage for stage in range(stages)]
    if "mask_ratio" in node:
        small["mask_ratio"] = 0.0
    return small


def tiny_config(cls: type):
    """The default config of a class with small numbers."""
    config = cls.config_class()
    return type(config).from_dict(_shrunk(config.to_dict()))


def tiny(cls: type) -> nn.Module | None:
    """A tiny model of a class; one of its default size on the meta device where that cannot be; or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return shaken(cls(tiny_config(cls)))
        except Exception:  # of configs whose numbers do not fit together, each its own kind
            pass
        try:
            with torch.device("meta"):
                return cls(cls.config_class()).eval()
        except Exception:  # of what is not installed, and of configs without defaults
            return None
