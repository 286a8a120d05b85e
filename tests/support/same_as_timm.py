"""Whether a live model computes what timm's does with its canonical weights."""

import torch
from torch import nn

from mmlearngene import build, load_ancestry
from mmlearngene.frameworks import find_vit

from .zoo import images


@torch.no_grad()
def apart_from_timm(model: nn.Module) -> float:
    """The largest difference of the tokens, behind the last layer and behind the last norm, from those of timm.

    It is relative to the largest number there.

    Raises:
        LearngeneError: the model is refused, or timm has not the features.
    """
    found, weights = find_vit(model), load_ancestry(model)
    other = build(weights, "timm", adapt=True).eval()
    x = images(weights.spec.img_size, weights.spec.in_channels)
    last = [slot.key.rsplit(".", 2)[0] for slot in found.layout.bind(found.spec, "") if slot.name == "norm1.weight"][-1]
    tokens, out = run(found.module.eval(), found.module.get_submodule(last), x)
    expected, normed = run(other, other.blocks[-1], x)
    pairs = [(tokens, expected)]
    if getattr(out, "last_hidden_state", None) is not None and not torch.equal(out.last_hidden_state, tokens):
        pairs.append((out.last_hidden_state, normed))
    return max(((one - two).abs().max() / two.abs().max()).item() for one, two in pairs)


def run(vit: nn.Module, layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, object]:
    """What a layer and the whole model give for images; of timm's models, the tokens."""
    given = []
    hook = layer.register_forward_hook(lambda module, inputs, out: given.append(out))
    try:
        if "ViTMAE" in type(vit).__name__:  # which shuffles by this noise
            out = vit(x, noise=torch.arange(vit.embeddings.patch_embeddings.num_patches)[None].repeat(len(x), 1))
        else:
            out = vit.forward_features(x) if hasattr(vit, "forward_head") else vit(x)
    finally:
        hook.remove()
    return (given[-1][0] if isinstance(given[-1], tuple) else given[-1]), out


@torch.no_grad()
def apart_from_class(model: nn.Module) -> float:
    """The largest difference of a ViT's tokens from those of its class, built anew from the canonical weights."""
    found, weights = find_vit(model), load_ancestry(model)
    rebuilt = found.layout.make(found.spec).eval()
    own, inside = dict(rebuilt.named_parameters()), found.layout.path_in(rebuilt)
    for key, tensor in found.layout.state_dict(weights, inside).items():
        own[key].copy_(tensor)
    vit, x = found.layout.vit_of(rebuilt), images(weights.spec.img_size, weights.spec.in_channels)
    norms = [slot.key for slot in found.layout.bind(found.spec, "") if slot.name == "norm1.weight"]
    layer = norms[-1].rsplit(".", 2)[0]
    mine, _ = run(found.module.eval(), found.module.get_submodule(layer), x)
    theirs, _ = run(vit.eval(), vit.get_submodule(layer), x)
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()
