"""The tokens that a model makes of images, behind its final norm: of timm, Hugging Face and mmpretrain alike."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

from timm.data import resolve_model_data_config
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError
from ..frameworks import build, find_vit, weights_of


class Tokens(NamedTuple):
    """What a model makes of images, every token behind the final norm.

    Attributes:
        patches: (B, rows, columns, C).
        summary: (B, C), one for the image: what the model's classifier sees. In a model without a classifier it is the
            class token, and where there is none what the model pools.
    """

    patches: Tensor
    summary: Tensor

    def map(self, fn: Callable[[Tensor], Tensor]) -> Tokens:
        """A function of the last axis, applied to both."""
        return Tokens(fn(self.patches), fn(self.summary))

    def on_grid(self, grid: tuple[int, int]) -> Tokens:
        """The same with the patches resized bilinearly to another grid (rows, columns)."""
        if tuple(self.patches.shape[1:3]) == tuple(grid):
            return self
        moved = self.patches.permute(0, 3, 1, 2).float()  # the half precision of autocast is not resized everywhere
        resized = F.interpolate(moved, tuple(grid), mode="bilinear", antialias=True)
        return self._replace(patches=resized.permute(0, 2, 3, 1).to(self.patches.dtype))


class TokenModel(nn.Module):
    """A live model that gives its :class:`Tokens`; made by :func:`token_model`.

    Args:
        model: the live model.
        class_token: whether the summary is the class token; see :class:`Tokens` when omitted.

    Attributes:
        width: channels of a token.
        num_prefix_tokens: tokens before the patches: class, distillation and register tokens.
        has_class_token: whether the first of them is a class token.
    """

    width: int
    num_prefix_tokens: int = 0
    has_class_token: bool = False

    def __init__(self, model: nn.Module, class_token: bool | None = None) -> None:
        super().__init__()
        self.model = model
        self.class_token = class_token

    @property
    def classifier(self) -> nn.Linear | None:
        """The linear layer that classifies the summary; None where there is none."""
        layer = self._classifier()
        return layer if isinstance(layer, nn.Linear) and layer.in_features == self.width else None

    def size_arguments(self, images: Tensor) -> dict:
        """What the model has to be told where images (B, C, H, W) are not of its own size."""
        return {}

    def forward(self, images: Tensor, project: bool = False) -> Tokens | tuple[Tokens, Tokens]:
        """Tokens of images (B, C, H, W); with ``project`` also each of them through the classifier."""
        patches, pooled, cls = self._tokens(images)
        by_class = self.classifier is None if self.class_token is None else self.class_token
        tokens = Tokens(patches, cls if by_class and cls is not None else pooled)
        return (tokens, tokens.map(self.classifier)) if project else tokens

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Patches, what is pooled, and the class token."""
        raise NotImplementedError

    def _classifier(self) -> nn.Module | None:
        raise NotImplementedError

    def _split(self, sequence: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Patches and class token of a sequence (B, prefix + patches, C)."""
        patches = sequence[:, self.num_prefix_tokens :].unflatten(1, grid)
        return patches, sequence[:, 0] if self.has_class_token else None


class TimmTokens(TokenModel):
    """timm's: any model with ``forward_intermediates``."""

    def __init__(self, model: nn.Module, class_token: bool | None = None) -> None:
        super().__init__(model, class_token)
        self.width = model.num_features
        self.num_prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.has_class_token = getattr(model, "cls_token", None) is not None

    @property
    def img_size(self) -> tuple[int, int]:
        """(height, width) of its images, as far as timm says."""
        return tuple(resolve_model_data_config(self.model)["input_size"][-2:])

    @property
    def in_channels(self) -> int:
        """Channels of its images."""
        return next(module.in_channels for module in self.model.modules() if isinstance(module, nn.Conv2d))

    def _classifier(self) -> nn.Module | None:
        return self.model.get_classifier()

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        wanted = dict(return_prefix_tokens=True) if self.num_prefix_tokens else {}
        last, found = self.model.forward_intermediates(images, indices=1, norm=True, **wanted)
        patches, prefix = found[-1] if self.num_prefix_tokens else (found[-1], None)
        patches = patches.permute(0, 2, 3, 1)
        cls = prefix[:, 0] if self.has_class_token else None
        pooled = self.model.forward_head(last, pre_logits=True)
        if pooled.dim() != 2:  # a model that pools nothing
            pooled = patches.mean((1, 2))
        if isinstance(getattr(self.model, "norm", None), nn.Identity) and hasattr(self.model, "fc_norm"):
            norm = self.model.fc_norm  # of what is pooled; here of each token, too
            patches, cls = norm(patches), None if cls is None else norm(cls)
        return patches, pooled, cls


class HuggingFaceTokens(TokenModel):
    """Hugging Face's: the ViTs of :mod:`mmlearngene.frameworks.hf`, at any size of image that they take."""

    def __init__(self, model: nn.Module, class_token: bool | None = None) -> None:
        found = find_vit(model)
        name = type(found.module).__name__
        if "ViTMAE" in name or name.endswith("Backbone"):  # hides patches and shuffles the rest; gives maps alone
            model = build(weights_of(found, model), "hf")
            model.eval()
            found = find_vit(model)
        super().__init__(model, class_token)
        spec = found.spec
        self.path = found.path
        self.width = spec.embed_dims << (len(spec.stages) - 1)
        self.num_prefix_tokens, self.has_class_token = spec.num_prefix_tokens, spec.class_token
        self.patch_size = spec.patch_size << (len(spec.stages) - 1)
        self.img_size, self.in_channels = spec.img_size, spec.in_channels
        self.norms_tokens = not found.layout.norms_pooled_alone
        self.has_positions = spec.pos_embed == "learn"

    def size_arguments(self, images: Tensor) -> dict:
        """What the model has to be told where images (B, C, H, W) are not of its own size.

        Raises:
            LearngeneError: its positions are of an oblong image, which transformers resamples as those of a square.
        """
        size, vit = tuple(images.shape[-2:]), self.model.get_submodule(self.path)
        if size == self.img_size or "interpolate_pos_encoding" not in inspect.signature(vit.forward).parameters:
            return {}
        if self.has_positions and self.img_size[0] != self.img_size[1]:
            raise LearngeneError(
                f"{type(vit).__name__} has positions of {self.img_size} images, which transformers cannot resample; "
                f"expected images of this size, not {size}"
            )
        return dict(interpolate_pos_encoding=True)

    def _classifier(self) -> nn.Module | None:
        return getattr(self.model, "classifier", None)

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        vit = self.model.get_submodule(self.path)
        out = vit(pixel_values=images, **self.size_arguments(images))
        sequence = out.last_hidden_state
        if not self.norms_tokens:
            sequence = vit.post_layernorm(sequence)
        patches, cls = self._split(sequence, tuple(side // self.patch_size for side in images.shape[-2:]))
        pooled = getattr(out, "pooler_output", None) if cls is None else cls
        return patches, patches.mean((1, 2)) if pooled is None else pooled, cls


class MMPretrainTokens(TokenModel):
    """mmpretrain's: a ViT or Swin, in a classifier or alone."""

    def __init__(self, model: nn.Module, class_token: bool | None = None) -> None:
        super().__init__(model, class_token)
        backbone = self.backbone
        self.num_prefix_tokens = getattr(backbone, "num_extra_tokens", 0)
        self.has_class_token = getattr(backbone, "cls_token", None) is not None
        self.has_stages = hasattr(backbone, "stages")
        self.width = backbone.num_features[-1] if self.has_stages else backbone.embed_dims

    @property
    def backbone(self) -> nn.Module:
        """The ViT or Swin."""
        return getattr(self.model, "backbone", self.model)

    def _classifier(self) -> nn.Module | None:
        head = getattr(self.model, "head", None)
        return getattr(head, "fc", None) or getattr(getattr(head, "layers", None), "head", None)

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        backbone = self.backbone
        if self.has_stages:
            patches = backbone(images)[-1].permute(0, 2, 3, 1)
            return patches, patches.mean((1, 2)), None
        kind, backbone.out_type = backbone.out_type, "raw"
        try:
            sequence = backbone(images)[-1]
        finally:
            backbone.out_type = kind
        patch = backbone.patch_embed.projection.kernel_size
        grid = tuple(math.ceil(side / of) for side, of in zip(images.shape[-2:], patch, strict=True))  # padded
        patches, cls = self._split(sequence, grid)
        pooled = patches.mean((1, 2))
        if kind == "avg_featmap":  # normed behind the mean; here each token is, too
            patches, pooled = backbone.ln2(patches), backbone.ln2(pooled)
            cls = None if cls is None else backbone.ln2(cls)
        return patches, cls if kind == "cls_token" else pooled, cls


def token_model(model: nn.Module, class_token: bool | None = None) -> TokenModel:
    """The tokens of a live model of timm, Hugging Face or mmpretrain.

    Args:
        model: the live model.
        class_token: whether its summary is the class token; see :class:`Tokens` when omitted.

    Raises:
        LearngeneError: its tokens cannot be told from anything else that it gives.
    """
    if hasattr(model, "forward_intermediates") and hasattr(model, "get_classifier"):
        return TimmTokens(model, class_token)
    if hasattr(model, "config") and hasattr(model, "from_pretrained"):
        return HuggingFaceTokens(model, class_token)
    backbone = getattr(model, "backbone", model)
    if hasattr(backbone, "out_type") or (hasattr(backbone, "stages") and hasattr(backbone, "num_features")):
        return MMPretrainTokens(model, class_token)
    raise LearngeneError(
        f"the tokens of {type(backbone).__name__} are not known here; expected a timm model with "
        "forward_intermediates, a Hugging Face ViT, or a ViT or Swin of mmpretrain"
    )


def describe(model: TokenModel, tokens: Tokens) -> str:
    """In words: ``'a class token and 4 more, 16 x 16 patches, 768 channels'``."""
    more = model.num_prefix_tokens - model.has_class_token
    prefix = ["a class token"] if model.has_class_token else ["no class token"]
    prefix += [f"{more} more"] if more else []
    rows, columns = tokens.patches.shape[1:3]
    return f"{' and '.join(prefix)}, {rows} x {columns} patches, {model.width} channels"
