"""Initialise a ViT from a learngene, and report what happened to every tensor and to what the ViT computes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..errors import LearngeneError
from ..frameworks import Found, built_anywhere, check_function, find_vit, weights_of
from ..learngenes import LEARNGENES, Learngene, load
from ..learngenes.base import learngenes_in
from ..utils.tables import table
from ..vit.adapt import adapt_weights
from ..vit.spec import SIZES, WORDS, ViTSpec
from ..vit.tensors import start_values
from ..vit.weights import ViTWeights, tensors_named
from .extract import fitted

STATUSES = ("inherited", "resized", "random", "skipped", "unused")


@dataclass
class LoadReport:
    """What an initialisation did, tensor by tensor.

    Attributes:
        size: the descendant, ``'h6-l12'``.
        source: method and file of the learngene.
        tensors: (name, status, number of parameters). ``inherited`` and ``resized`` (positions or patch kernel,
            resampled) were set; ``random`` keep the model's own start values, and so do ``skipped``, which the
            caller left out; ``unused`` are of the learngene and have no place in the model.
        share: share of the ViT's parameters, its classifier head left out, that were inherited or resized.
        verdict: on function: ``same computation`` as the learngene's weights were trained or extracted for, or
            ``adapted`` with what was done.
        notes: differences that are no error, such as another LayerNorm epsilon.
        started: whether it is a learngene to be trained that took the weights.
    """

    size: str
    source: str
    tensors: list[tuple[str, str, int]]
    share: float
    verdict: str = "same computation"
    notes: list[str] = field(default_factory=list)
    started: bool = False

    def count(self, status: str) -> int:
        """Number of parameters with this status."""
        return sum(numel for _, found, numel in self.tensors if found == status)

    def rows(self) -> list[tuple[str, int, int, str]]:
        """The tensors with those of all layers in one row: (name, tensors, parameters, status)."""
        merged: dict[tuple[str, str], list[int]] = {}
        for name, status, numel in self.tensors:
            merged.setdefault((re.sub(r"(layers?|blocks)\.\d+\.", r"\1.*.", name), status), []).append(numel)
        return [(name, len(numels), sum(numels), status) for (name, status), numels in merged.items()]

    def __str__(self) -> str:
        rows = [("tensor", "count", "parameters", "status")]
        rows += [(name, str(count), f"{numel:,}", status) for name, count, numel, status in self.rows()]
        counts = {status: self.count(status) for status in STATUSES}
        totals = ", ".join(f"{status} {n:,}" for status, n in counts.items() if n or status != "skipped")
        title = f"{self.size} from {self.source}: {self.share:.1%} of the backbone inherited, {self.verdict}"
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([title, table(rows, "<>><"), f"parameters: {totals}", *notes])


def initialize(
    model: nn.Module,
    learngene: Learngene | str | Path,
    *,
    min_inherited: float | None = None,
    head: str = "auto",
    adapt: bool = False,
    skip: str | Sequence[str] = (),
    data: object = None,
    path: str | None = None,
    verify: bool | None = None,
    dry_run: bool = False,
    **options,
) -> LoadReport:
    """Initialise the ViT or Swin in ``model`` from a learngene: all is checked first, then all is copied.

    A model that computes something else than the learngene's weights are for is refused, and the feature is named.

    Args:
        model: a ViT or Swin of timm, Hugging Face, mmpretrain or mmsegmentation, or any model that holds one (an
            ``ImageClassifier``, a segmentor, a ``TIMMBackbone``, ...). Its size says which descendant is expanded. A
            backbone's ``expand_options`` are defaults of ``options``. Or what holds no ViT but a learngene that is to
            be trained (an Aux-Net): the ViT of its own size is initialised, and its maps keep their start values.
        learngene: a learngene, or the path of its file.
        min_inherited: smallest acceptable share of the ViT's parameters (classifier head left out) to inherit. The
            method's own when omitted: 0.9, but 0 where layers are left random by design (scratch, mimetic, ...).
        head: ``inherit`` the classifier head, leave it ``fresh``, or ``auto``: inherit where the classes agree.
        adapt: make differences harmless instead of refusing them, where that is possible: see
            :func:`mmlearngene.vit.adapt.adapt_weights`. The report's verdict says what was done.
        skip: what is not inherited and keeps the model's own start values: parts of a ViT or patterns of canonical
            names, see :func:`mmlearngene.vit.weights.tensors_named`. ``min_inherited`` is then of all the rest.
        data: images, on which a principal learngene is refitted for the model's size alone, see
            :func:`mmlearngene.use.extract.fitted`.
        path: the ViT's name in the model, where the model holds several.
        verify: whether to run the model on one random image beside one that its class makes anew, so that nothing that
            was replaced, hooked or patched in it is overlooked; see :func:`mmlearngene.load_ancestry`.
        dry_run: check and report as ever, but change nothing; the model may be on the meta device then.
        **options: options of the method's expansion (``rows``, ``selection``, ``stages``, ...).

    Raises:
        LearngeneError: there is no ViT that is known, it has a feature that the learngene has not or lacks one, its
            size is out of range, ``skip`` names what it has not, or less than ``min_inherited`` is inherited. The model
            is unchanged then.
    """
    _, trained = next(learngenes_in(model), ("", None))
    if trained is not None and not _holds_vit(model, path):
        return _start(
            trained,
            learngene,
            min_inherited=min_inherited,
            head=head,
            adapt=adapt,
            skip=skip,
            dry_run=dry_run,
            **options,
        )
    source = ""
    if not isinstance(learngene, Learngene):
        learngene, source = load(learngene), f" ({learngene})"
    if min_inherited is None:
        min_inherited = learngene.min_inherited
    aux, found = learngene.aux_spec, find_vit(model, path)
    if not dry_run and (hollow := [name for name, parameter in model.named_parameters() if parameter.is_meta]):
        raise LearngeneError(
            f"{hollow[0]} is on the meta device and has no storage; expected model.to_empty(device=...)"
        )
    if head == "inherit" and found.lacks_head:
        raise LearngeneError(
            f"head='inherit' has no place: {found.lacks_head}; expected one linear layer, or head='fresh'"
        )
    wanted = _with_own_pooling(found, aux)
    if wanted.kind != aux.kind:
        raise LearngeneError(
            f"{type(found.module).__name__} is a {wanted.kind}, {wanted}, and this {learngene.method} learngene "
            f"expands a {aux.kind}, as {aux}"
        )
    # the descendant has the model's sizes and the learngene's features; then these are held against the model's
    spec = aux.replace(**{name: getattr(wanted, name) for name in SIZES})
    options = {**getattr(found.module, "expand_options", {}), **options}
    if data is not None and not dry_run:
        learngene = fitted(learngene, spec, data, options)
    weights = learngene.expand(spec, head=head, **options)
    own, given = wanted.features(), weights.spec.features()
    notes, done = [*found.notes, *learngene.notes_on(weights.spec)], []
    if own["norm_eps"] != given["norm_eps"]:
        notes.append(f"norm_eps is {wanted.norm_eps} in the model, {aux.norm_eps} in the learngene")
    different = [name for name in own if own[name] != given[name] and name != "norm_eps"]
    if different and not adapt:
        raise LearngeneError(_difference(found, weights, wanted, different))
    if different:
        weights, done = adapt_weights(weights, wanted)
    if found.gives_tokens and found.spec.final_norm and not _normalises_tokens(aux):
        done.append("the final norm of the tokens starts fresh, as the learngene has none there")
    if found.gives_tokens and not found.layout.places("norm.weight", weights.spec):  # a norm of the mean alone
        weights = weights.without("norm.*")
    check_function(found, model, verify)
    resampled = {name for name, changed in _resampled(spec, aux).items() if changed}

    parameters = dict(model.named_parameters())
    left_out = tensors_named(skip, weights.spec)
    state, skipped, resized, heads = {}, set(), set(), set()
    for slot, tensor in found.entries(weights):
        if slot.name in left_out:
            skipped.add(slot.key)
        else:
            state[slot.key] = tensor
        resized |= {slot.key} if slot.name in resampled else set()
        heads |= {slot.key} if slot.role == "head" else set()
    tensors, total, set_, aside = [], 0, 0, 0
    inside = f"{found.path}." if found.path else ""
    for name, parameter in parameters.items():
        if name in state and state[name].shape != parameter.shape:
            raise LearngeneError(
                f"{name} is {tuple(parameter.shape)} in the model but {tuple(state[name].shape)} from the learngene"
            )
        if name in state:
            status = "resized" if name in resized else "inherited"
        else:
            status = "skipped" if name in skipped else "random"
        tensors.append((name, status, parameter.numel()))
        own = name.removeprefix(inside)
        if (
            name.startswith(inside)
            and not own.startswith("head")
            and name not in heads
            and not found.layout.is_dead(own)
        ):
            total += parameter.numel()
            set_ += parameter.numel() * (status in ("inherited", "resized"))
            aside += parameter.numel() * (status == "skipped")
    tensors += [(name, "unused", tensor.numel()) for name, tensor in state.items() if name not in parameters]
    report = LoadReport(str(found.spec), learngene.method + source, tensors, set_ / total, notes=notes)
    if done:
        report.verdict = f"adapted: {'; '.join(done)}"
    share = set_ / max(1, total - aside)
    if share < min_inherited:
        what = "what is not skipped" if aside else "the backbone"
        raise LearngeneError(
            f"only {share:.1%} of {what} would be inherited, less than min_inherited={min_inherited:.1%}; "
            f"nothing was changed\n{report}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            if name in parameters and not dry_run:
                parameters[name].copy_(tensor)
    return report


def _holds_vit(model: nn.Module, path: str | None) -> bool:
    try:
        find_vit(model, path)
    except LearngeneError:
        return False
    return True


def _start(trained: Learngene, source: Learngene | str | Path, dry_run: bool, **arguments) -> LoadReport:
    """Let a learngene begin with the weights that another gives to a ViT of its own size."""
    trained.refuse_start()
    starting = sorted(name for name, cls in LEARNGENES.items() if cls.start_from is not Learngene.start_from)
    if type(trained).start_from is Learngene.start_from:
        raise LearngeneError(
            f"a {trained.method} learngene does not start from a ViT's weights; those that do: {', '.join(starting)}"
        )
    source, name = (source, "") if isinstance(source, Learngene) else (load(source), f" ({source})")
    known = source.expand_options()
    options = {option: value for option, value in trained.start_options.items() if option in known}
    spec = trained.learngene_spec
    model = built_anywhere(ViTWeights(spec, start_values(spec, spec.shapes())))
    try:
        report = initialize(model, source, **{**options, **arguments}, verify=False)
    except LearngeneError as error:
        raise LearngeneError(
            f"the {trained.method} learngene {spec} cannot start with this: {error}. Its features are fields of it, as "
            "in learngene=dict(class_token=True)"
        ) from error
    model.to(next(trained.parameters()).device)
    found = find_vit(model)
    weights, statuses = weights_of(found, model), {name: status for name, status, _ in report.tensors}
    given = {slot.name for slot, _ in found.entries(weights) if statuses.get(slot.key) in ("inherited", "resized")}
    kept = {tensor: value for tensor, value in weights.tensors.items() if tensor in given}
    if not dry_run or next(trained.parameters()).is_meta:
        trained.start_from(ViTWeights(weights.spec, kept, weights.layer_map))
    report.source, report.started = source.method + name, True
    return report


def _with_own_pooling(found: Found, aux: ViTSpec) -> ViTSpec:
    """The model's spec, with the learngene's pooling where the model gives tokens and leaves pooling to others.

    Whether a norm stands behind the layers is no matter of pooling: a model whose tokens are not normalised is not
    taken for one whose tokens are. A learngene that normalises the mean alone has no norm for tokens.
    """
    spec = found.spec
    if not found.gives_tokens or aux.pool == "cls" and not spec.class_token:
        return spec
    pooling = ("pool", "pool_include_prefix", "attn_pool_num_heads", "attn_pool_mlp_ratio")
    final_norm = spec.final_norm if _normalises_tokens(aux) and not spec.final_norm else aux.final_norm
    return spec.replace(final_norm=final_norm, **{name: getattr(aux, name) for name in pooling})


def _normalises_tokens(spec: ViTSpec) -> bool:
    """Whether a ViT's final norm acts on every token, not on their mean."""
    return spec.final_norm and spec.pool != "avg_norm"


def _difference(found: Found, weights: ViTWeights, wanted: ViTSpec, names: list[str]) -> str:
    """One line that names the features in which a model and a learngene differ."""
    own, given = wanted.features(), weights.spec.features()
    own["init_values"], given["init_values"] = wanted.init_values, weights.spec.init_values  # as configs say it
    words = [
        f"{WORDS.get(name, name)}: {name}={own[name]} in the model, {name}={given[name]} in the learngene"
        for name in names
    ]
    try:
        adapt_weights(weights, wanted)
        hint = "; adapt=True adapts the weights"
    except LearngeneError:
        hint = ""
    kind = type(found.module).__name__
    return f"{kind} computes something else than the learngene's weights are for: {'; '.join(words)}{hint}"


def _resampled(spec: ViTSpec, aux: ViTSpec) -> dict[str, bool]:
    """Which tensors another image or patch size changes."""
    return {
        "pos_embed": spec.grid != aux.grid,
        "patch_embed.weight": spec.patch_size != aux.patch_size,
        "bias_table": spec.num_offsets != aux.num_offsets,
    }
