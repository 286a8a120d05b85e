"""Take a learngene out of an ancestry."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from ..errors import LearngeneError
from ..io.licenses import license_of, licenses_in, say_terms, with_licenses
from ..io.preprocessing import preprocessing_of
from ..learngenes import LEARNGENES, Learngene
from ..learngenes.attention import Images
from ..learngenes.extracted import Extracted, extraction_methods
from ..learngenes.methods import find_method
from ..learngenes.principal import Principal
from ..utils.typed import check_types
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .hf_folder import classes_of
from .load import Source, load_ancestry

# names of folders that tell nothing of the model in them
_SAYS_NOTHING = {"best", "checkpoint", "checkpoints", "export", "final", "hf", "last", "model", "output", "weights"}
IMAGE_OPTIONS = ("data", "num_images", "seed", "preprocessing", "data_size")


def extract(
    method: str,
    ancestry: Source,
    *,
    like: str | Path | nn.Module | ViTSpec | None = None,
    path: str | None = None,
    verify: bool | None = None,
    **options,
) -> Extracted:
    """Extract a learngene of ``method`` from an ancestry.

    Args:
        method: the method's name.
        ancestry: canonical weights, or what :func:`load_ancestry` reads.
        like: see :func:`load_ancestry`.
        path: see :func:`load_ancestry`.
        verify: see :func:`load_ancestry`.
        **options: the method's own, see its ``extract``; fields of a spec that a checkpoint does not show
            (``num_heads``, ...); and for methods that look at images: ``data`` (a folder of images, an OpenMMLab
            config, ``"noise"``, or batches of preprocessed images), ``num_images`` (the method says how many by
            default), ``seed`` of their draw, ``preprocessing`` (see
            :func:`mmlearngene.learngenes.attention.read_images`), and ``data_size``, the side of a folder's
            images: the ViT's own when omitted, but at most 224. Distances are told in pixels of the ViT's own
            size all the same.

    Raises:
        LearngeneError: unknown method or option, or whatever reading the ancestry or the method rejects.
    """
    cls = find_method(method, "extraction method", extraction_methods())
    fields = _fields_of(cls, options)
    source = "weights" if isinstance(ancestry, ViTWeights) else ancestry
    source = type(source).__name__ if isinstance(source, nn.Module) else _name_of(Path(source))
    weights = load_ancestry(ancestry, like, path=path, verify=verify, **fields)
    if refused := cls.refuses(weights.spec):
        others = ", ".join(name for name in extraction_methods() if not LEARNGENES[name].refuses(weights.spec))
        raise LearngeneError(
            f"{method} cannot treat {source}, a {weights.spec.kind} with {refused}; methods for it: {others}"
        )
    model, provenance = ancestry if like is None else like, {}
    told = preprocessing_of(str(model)) if isinstance(model, (str, Path)) else {}
    images = _images_of(cls, options, weights.spec, told)
    if images is not None:
        options[cls.seen] = cls.see(weights, images)
    if {"mean", "std"} <= told.keys():  # for those who will feed images to a descendant
        provenance["preprocessing"] = {n: list(v) if isinstance(v, tuple) else v for n, v in told.items()}
    learngene = cls.extract(weights, **options)
    if images is not None:
        provenance = {**images.provenance, "num_images": images.count, **provenance}
    learngene.classes = classes_of(model, learngene.aux_spec.num_classes)
    # a name with a tag, "like" a checkpoint, is a name of weights; one without is of a class of models
    license = license_of(ancestry) or (license_of(like) if "." in str(like) else None)
    learngene.provenance = with_licenses({"ancestry": source, **learngene.provenance, **provenance}, [license])
    say_terms(licenses_in(learngene.provenance))
    return learngene


def _fields_of(cls: type[Extracted], options: dict) -> dict:
    """The fields of a spec among the options of an extraction, taken out of them; all are checked.

    Raises:
        LearngeneError: an option is unknown or of another type.
    """
    known = cls.extract_options() + [name for name in IMAGE_OPTIONS if cls.looks_at_images]
    of_spec = {name for name in ViTSpec.__dataclass_fields__ if name not in known}
    for name in options:
        if name not in known and name not in of_spec:
            takes = ", ".join(known) or "none"
            raise LearngeneError(f"{cls.method} has no extraction option {name!r}; it takes: {takes}")
    fields = {name: options.pop(name) for name in list(options) if name in of_spec}
    own = inspect.signature(cls.extract).parameters
    check_types(cls.extract, options)
    check_types(cls, {name: value for name, value in options.items() if name not in own})
    return fields


def _name_of(path: Path) -> str:
    """What a file, a folder or a timm model is called; a folder's name that says nothing has its parent's before it.

    >>> _name_of(Path("zoo/dinov2-small/hf"))
    'dinov2-small/hf'
    >>> _name_of(Path("hub/models--facebook--dinov2-small/snapshots/3f1c"))
    'facebook/dinov2-small'
    """
    if path.is_dir() and len(path.parts) < 3:  # ".", "hf"
        path = path.absolute()
    if path.parent.name == "snapshots":  # the cache of huggingface_hub
        return path.parts[-3].removeprefix("models--").replace("--", "/")
    return "/".join(path.parts[-2:]) if path.name in _SAYS_NOTHING else path.name


def _images_of(cls: type[Extracted], options: dict, spec: ViTSpec, told: Mapping) -> Images | None:
    """The images that the options of an extraction name; takes what says so out of the options.

    Args:
        cls: the method.
        options: of the extraction.
        spec: of the ancestry.
        told: how the ancestry's images are made ready, which options override.

    Raises:
        LearngeneError: ``preprocessing`` is no mapping, also where no images are looked at.
    """
    read = {name: options.pop(name) for name in IMAGE_OPTIONS if name in options} if cls.looks_at_images else {}
    data, how = read.pop("data", None), read.pop("preprocessing", None) or {}
    if not isinstance(how, Mapping):
        raise LearngeneError(f"preprocessing={str(how)[:60]!r} must be a mapping, as in {{'mean': [0.5, 0.5, 0.5]}}")
    if "data_size" in read:
        read["img_size"] = read.pop("data_size")
    if data is None or options.get(cls.seen) is not None:
        return None
    return Images(data, spec, **{"num_images": cls.num_images, **read, **told, **how})


def fitted(
    learngene: Learngene, size: str | ViTSpec, data: str | Path | Iterable[Tensor], options: Mapping = {}, **images
) -> Learngene:
    """A principal learngene of one size, refitted on images for this size alone.

    Args:
        learngene: the learngene of all sizes.
        size: the size.
        data: see :func:`extract`.
        options: of the expansion, which say what layers are kept.
        **images: ``num_images``, ``seed``; and further options of
            :func:`mmlearngene.learngenes.attention.read_images`. Images are made ready as the learngene says.

    Raises:
        LearngeneError: it is no principal learngene; see :meth:`mmlearngene.learngenes.principal.Principal.fitted`.
    """
    if not isinstance(learngene, Principal):
        raise LearngeneError(f"a refit by data is for principal learngenes; this is a {learngene.method} learngene")
    told = {"num_images": Principal.num_images, **learngene.preprocessing, **images}
    read = Images(data, learngene.aux_spec, **told)
    return learngene.fitted(size, read, **options)
