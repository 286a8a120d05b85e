"""What a model that is no known ViT computes, in words, so that its refusal names a feature and not a class alone."""

from __future__ import annotations

import re

from torch import nn

# the start of a module's class or of a parameter's name -> what it is; the first that is found is said
_MODULES = (
    (r"Rotary|Rope", "rotary positions of their own ({})"),
    (r"TubeletEmbedding|Patch(ed)?Embed\w*3d|VideoEmbed", "patches of videos ({})"),
    (r"TimmWrapper|TimmBackbone", "a model of timm inside a wrapper ({}); give the timm model itself"),
    (r"Moe|MoE|Experts", "experts ({})"),
    (r"SwinV2|Swinv2", "cosine attention and norms behind it ({})"),
)
_PARAMETERS = (
    (r"rel_pos_[hw]$", "decomposed relative positions ({})"),
    (r"detection_tokens$|^query\.weight$|query_tokens$|mask_tokens?\.weight$", "tokens of queries ({})"),
    (r"relative_position_bias_table$|relative_attention_bias", "relative positions ({})"),
    (r"temporal|time_embed", "positions in time ({})"),
)


def unknown_feature(model: nn.Module) -> str:
    """In words, the first feature of a model that no spec has; of last resort, what it is made of."""
    modules = dict(model.named_modules())
    weights = [module for module in modules.values() if getattr(module, "weight", None) is not None]
    convs = [module for module in weights if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm2d))]
    linears = [module for module in weights if isinstance(module, nn.Linear)]
    if any(isinstance(module, nn.Conv3d) for module in convs):
        return "patches of videos (Conv3d)"
    if len(convs) > max(4, len(linears)):
        return f"a convolutional network ({len(convs)} convolutions and batch norms, {len(linears)} linear layers)"
    for pattern, words in _MODULES:
        for module in modules.values():
            if re.search(pattern, type(module).__name__):
                return words.format(type(module).__name__)
    for pattern, words in _PARAMETERS:
        for name, _ in model.named_parameters():
            if re.search(pattern, name):
                return words.format(name)
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_token", "cls_register_token")) and parameter.ndim > 1 and parameter.shape[-2] > 1:
            return f"{parameter.shape[-2]} class tokens ({name})"
    patches = [module for module in convs if isinstance(module, nn.Conv2d) and module.stride == module.kernel_size]
    widths = sorted({module.weight.shape[0] for module in weights if "Norm" in type(module).__name__})
    if len(widths) > 2 and convs:
        return f"a pyramid of stages ({', '.join(map(str, widths[:6]))} channels)"
    if not patches:
        return "no patch embedding by a convolution whose stride is its kernel"
    if causal := next((m for m in modules.values() if getattr(m, "is_causal", False) is True), None):
        return f"causal attention (is_causal of {type(causal).__name__})"
    layers = next((type(m[0]).__name__ for m in modules.values() if isinstance(m, nn.ModuleList) and len(m)), None)
    return f"layers of the class {layers}" if layers else "no list of layers"
