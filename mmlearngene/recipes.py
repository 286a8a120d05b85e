"""What follows from a size, for configs: ``arch = size("h6-l12")``, then ``model = descendant(arch)``.

A config that calls :func:`size` takes ``--arch`` on the command line, and :func:`read_sized` reads it at any size. What
the functions return is merged into the rest of the model, which stands in ``configs/_base_``. The result is a plain
config of OpenMMLab: a ``mmpretrain.VisionTransformer``, with necks and heads of OpenMMLab's packages.
"""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LearngeneError
from .frameworks.mmpretrain import backbone_cfg
from .io.config_files import config_file, read_config
from .vit.spec import ViTSpec

if TYPE_CHECKING:
    from mmengine import Config

# ---------------------------------------------------------------------- the size of a config


class Size(str):
    """A plain ViT's size, ``'h6-l12'``: a string, which a config may hold, that knows its numbers.

    >>> Size("H6_L12"), Size("h6-l12").heads, Size("h6-l12").layers
    ('h6-l12', 6, 12)

    Raises:
        LearngeneError: the text is not a size, or not one of one number of heads and one of layers.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Size:
        if "," in text:
            raise LearngeneError(
                f"{text} is no plain ViT's size; expected one number of heads and one of layers: h6-l12"
            )
        spec = ViTSpec.parse(text)
        return super().__new__(cls, f"h{spec.num_heads}-l{spec.num_layers}")

    @property
    def heads(self) -> int:
        """Heads of each layer."""
        return ViTSpec.parse(self).num_heads

    @property
    def layers(self) -> int:
        """The depth."""
        return ViTSpec.parse(self).num_layers


@dataclass
class _Asked:
    """The size that a config is being read at."""

    size: Size
    is_taken: bool = False


_asked: ContextVar[_Asked | None] = ContextVar("asked", default=None)


def size(default: str, heads: Collection[int] | None = None, layers: Collection[int] | None = None) -> Size:
    """The size of a config: the one that ``--arch`` asks for, else ``default``. Only configs call this.

    Args:
        default: the size without ``--arch``.
        heads: the numbers of heads that the config has settings for; any when omitted.
        layers: likewise of layers.

    Raises:
        LearngeneError: there are no settings for the size that is asked for; names the nearest.
    """
    asked = _asked.get()
    if asked is None:
        return Size(default)
    asked.is_taken = True
    found = asked.size
    near = Size(f"h{_nearest(found.heads, heads)}-l{_nearest(found.layers, layers)}")
    if near != found:
        limits = [f"{_spelled(each)} {name}" for name, each in (("heads", heads), ("layers", layers)) if each]
        raise LearngeneError(f"expected {' and '.join(limits)}; the nearest is --arch {near}")
    return found


def read_sized(path: str | Path, arch: str | None = None) -> Config:
    """Read a config file, at another size than its own where one is given, as ``--arch`` does.

    >>> read_sized("configs/lets/des.py", "h8-l10").model.head.in_channels  # doctest: +SKIP
    512

    Args:
        path: a config that calls :func:`size`, itself or by its ``_base_``.
        arch: the size, ``'h8-l10'``; the config's own when None.

    Raises:
        LearngeneError: not a size, the config has another one that cannot be changed, or see
            :func:`mmlearngene.io.config_files.read_config`.
    """
    if arch is None:
        return read_config(path)
    path = config_file(path)
    try:
        asked = _Asked(Size(arch))
        token = _asked.set(asked)
        try:
            cfg = read_config(path)
        finally:
            _asked.reset(token)
    except LearngeneError as error:
        raise LearngeneError(f"--arch {arch} for {path}: {error}") from error
    if not (asked.is_taken and _is_of_size(cfg, asked.size)):
        other = Path(path).with_name("des.py")
        takes = f"{other}, which takes one" if other.exists() and not other.samefile(path) else "it without --arch"
        raise LearngeneError(f"--arch {arch}: {path} is of one size, which cannot be changed; expected {takes}")
    return cfg


def _is_of_size(cfg: Config, asked: Size) -> bool:
    """Whether the model that the config has in the end is a plain ViT of this size."""
    model = cfg.get("model") or {}
    backbone = model.get("student", model).get("backbone") or {}
    arch = backbone.get("arch")
    if not isinstance(arch, dict) or "num_heads" in backbone:  # an ElasticViT has its heads beside its arch
        return False
    return (arch.get("num_heads"), arch.get("num_layers")) == (asked.heads, asked.layers)


def _nearest(number: int, allowed: Collection[int] | None) -> int:
    return min(allowed, key=lambda each: abs(each - number)) if allowed else number


def _spelled(numbers: Collection[int]) -> str:
    """The numbers in words: '6 to 12', or '3, 6 or 12'."""
    *most, last = sorted(numbers)
    if most and [*most, last] == list(range(most[0], last + 1)):
        return f"{most[0]} to {last}"
    return f"{', '.join(map(str, most))} or {last}" if most else str(last)


# ---------------------------------------------------------------------- classification and detection


def vit_arch(size: str | ViTSpec, head_dim: int = 64) -> dict:
    """The ``arch`` of a ``mmpretrain.VisionTransformer``: widths, heads and layers.

    >>> vit_arch("h6-l12")
    {'embed_dims': 384, 'num_layers': 12, 'num_heads': 6, 'feedforward_channels': 1536}
    """
    return backbone_cfg(ViTSpec.parse(size, head_dim=head_dim))["arch"]


def descendant(
    size: str | ViTSpec, head_dim: int = 64, backbone: dict | None = None, head: dict | None = None, **fields
) -> dict:
    """A classifier's backbone and head, merged into ``configs/_base_/models/descendant.py``.

    Args:
        size: ``'h6-l12'``.
        head_dim: channels of a head.
        backbone: further arguments of the backbone.
        head: of the head.
        **fields: further arguments of the classifier, ``init_cfg`` say.

    Raises:
        LearngeneError: not a size.
    """
    arch = vit_arch(size, head_dim)
    return dict(
        backbone=dict(arch=arch, **(backbone or {})),
        head=dict(in_channels=arch["embed_dims"], **(head or {})),
        **fields,
    )


_RELEASED_ROWS = {12: [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]}  # layers -> the Aux-Net's row of each layer


def lets_rows(size: Size) -> dict:
    """The option ``rows`` of a LeTs descendant, for the depths whose rows the paper's code has released."""
    return {"rows": _RELEASED_ROWS[size.layers]} if size.layers in _RELEASED_ROWS else {}


# ---------------------------------------------------------------------- segmentation


def spread_indices(num_layers: int, levels: int = 4) -> list[int]:
    """The layers whose outputs are ``levels`` feature maps, evenly over the depth, the last one included.

    >>> spread_indices(12)
    [2, 5, 8, 11]
    >>> spread_indices(10)
    [1, 4, 6, 9]

    Raises:
        LearngeneError: there are fewer layers than levels.
    """
    if num_layers < levels:
        raise LearngeneError(f"{num_layers} layers do not give {levels} feature maps; expected {levels} layers or more")
    return [(level + 1) * num_layers // levels - 1 for level in range(levels)]


def upernet(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """UperNet on four feature maps of the descendant.

    Args:
        size: ``'h6-l12'``, four layers or more.
        num_classes: classes of the data set.
        crop_size: (height, width) of the training crop; positions are resized for it.
        **fields: further arguments of the segmentor (``test_cfg``, say).

    Raises:
        LearngeneError: not a size, too shallow, or a crop that is not divisible into patches.
    """
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    width = spec.embed_dims
    return dict(
        data_preprocessor=dict(size=spec.img_size),
        backbone=_featmaps(spec, out_indices=spread_indices(spec.num_layers)),
        neck=dict(embed_dim=width),
        decode_head=dict(in_channels=[width] * 4, num_classes=num_classes),
        auxiliary_head=dict(in_channels=width, num_classes=num_classes),
        **fields,
    )


def segmenter(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """Segmenter's mask transformer, as wide as the descendant, on its last feature map; see :func:`upernet`."""
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    width = spec.embed_dims
    head = dict(
        in_channels=width, channels=width, embed_dims=width, num_heads=width // spec.head_dim, num_classes=num_classes
    )
    backbone = _featmaps(spec, out_indices=[spec.num_layers - 1])
    return dict(data_preprocessor=dict(size=spec.img_size), backbone=backbone, decode_head=head, **fields)


def linear(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """A linear classifier of the tokens of the frozen descendant; see :func:`upernet`."""
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    # a frozen layer is still in training mode, where drop-path would go on
    return _on_last_map(spec, num_classes, frozen_stages=spec.num_layers, drop_path_rate=0.0, **fields)


def linear_tuned(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """The same, trained end to end."""
    return _on_last_map(ViTSpec.parse(size, img_size=tuple(crop_size)), num_classes, **fields)


def _on_last_map(
    spec: ViTSpec, num_classes: int, frozen_stages: int = -1, drop_path_rate: float = 0.1, **fields
) -> dict:
    head = dict(in_channels=spec.embed_dims, channels=spec.embed_dims, num_classes=num_classes)
    how = dict(frozen_stages=frozen_stages, drop_path_rate=drop_path_rate)
    backbone = _featmaps(spec, out_indices=[spec.num_layers - 1], **how)
    return dict(data_preprocessor=dict(size=spec.img_size), backbone=backbone, decode_head=head, **fields)


def _featmaps(spec: ViTSpec, **overrides) -> dict:
    # The last map is normalised token by token for either pooling order; a learngene of order avg_norm leaves this norm
    # at its start values.
    return backbone_cfg(spec, **{"out_type": "featmap", "final_norm": True, "drop_path_rate": 0.1, **overrides})
