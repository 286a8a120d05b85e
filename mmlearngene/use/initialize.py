"""Initialise a ViT from a learngene: all is checked first, then all is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import LearngeneError
from ..frameworks import Found, built_anywhere, check_function, find_vit, weights_of
from ..learngenes import LEARNGENES, Learngene, load
from ..learngenes.base import learngenes_in
from ..vit.adapt import adapt_weights
from ..vit.spec import SIZES, WORDS, ViTSpec
from ..vit.tensors import start_values
from ..vit.weights import ViTWeights, tensors_named
from .extract import fitted
from .report import LoadReport


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
    found = find_vit(model, path)
    if not dry_run and (hollow := [name for name, parameter in model.named_parameters() if parameter.is_meta]):
        raise LearngeneError(
            f"{hollow[0]} is on the meta device and has no storage; expected model.to_empty(device=...)"
        )
    if head == "inherit" and found.lacks_head:
        raise LearngeneError(
            f"head='inherit' has no place: {found.lacks_head}; expected one linear layer, or head='fresh'"
        )
    wanted = _wanted(found, learngene)
    # the descendant has the model's sizes and the learngene's features; then these are held against the model's
    spec = learngene.aux_spec.replace(**{name: getattr(wanted, name) for name in SIZES})
    options = {**getattr(found.module, "expand_options", {}), **options}
    if data is not None and not dry_run:
        learngene = fitted(learngene, spec, data, options)
    fitting = _fit(found, wanted, learngene, learngene.expand(spec, head=head, **options), adapt)
    check_function(found, model, verify)
    parameters = dict(model.named_parameters())
    placed = _place(found, parameters, fitting.weights, skip, _resampled(spec, learngene.aux_spec))
    report = LoadReport(
        str(found.spec), learngene.method + source, placed.tensors, placed.share, fitting.verdict, fitting.notes
    )
    least = learngene.min_inherited if min_inherited is None else min_inherited
    if placed.share_of_rest < least:
        what = "what is not skipped" if report.count("skipped") else "the backbone"
        raise LearngeneError(
            f"only {placed.share_of_rest:.1%} of {what} would be inherited, less than min_inherited={least:.1%}; "
            f"nothing was changed\n{report}"
        )
    with torch.no_grad():
        for name, tensor in placed.state.items():
            if name in parameters and not dry_run:
                parameters[name].copy_(tensor)
    return report


@dataclass
class _Fitting:
    """A descendant's weights as a model needs them.

    Attributes:
        weights: the weights.
        verdict: of the report.
        notes: of the report.
    """

    weights: ViTWeights
    verdict: str
    notes: list[str]


def _fit(found: Found, wanted: ViTSpec, learngene: Learngene, weights: ViTWeights, adapt: bool) -> _Fitting:
    """Hold a descendant's features against those that are wanted, and adapt it where that is allowed.

    Raises:
        LearngeneError: names the features that differ.
    """
    aux, done, notes = learngene.aux_spec, [], [*found.notes, *learngene.notes_on(weights.spec)]
    own, given = wanted.features(), weights.spec.features()
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
    return _Fitting(weights, f"adapted: {'; '.join(done)}" if done else "same computation", notes)


@dataclass
class _Placed:
    """Where a descendant's tensors go in a model.

    Attributes:
        state: what is set, by its name in the model; and what has no place there.
        tensors: of the report.
        share: of the report.
        share_of_rest: the same, of all that is not skipped.
    """

    state: dict[str, Tensor]
    tensors: list[tuple[str, str, int]]
    share: float
    share_of_rest: float


def _place(
    found: Found,
    parameters: Mapping[str, nn.Parameter],
    weights: ViTWeights,
    skip: str | Sequence[str],
    resampled: set[str],
) -> _Placed:
    """Find the place of every tensor; nothing is changed yet.

    Raises:
        LearngeneError: a tensor has another shape in the model, or ``skip`` names what is not there.
    """
    left_out = tensors_named(skip, weights.spec)
    state, skipped, resized, heads = {}, set(), set(), set()
    for slot, tensor in found.entries(weights):
        if slot.name in left_out:
            skipped.add(slot.key)
        else:
            state[slot.key] = tensor
        resized |= {slot.key} if slot.name in resampled else set()
        heads |= {slot.key} if slot.role == "head" else set()
    inside = f"{found.path}." if found.path else ""
    tensors, counted = [], dict.fromkeys(("all", "set", "skipped"), 0)
    for name, parameter in parameters.items():
        if name not in state:
            status = "skipped" if name in skipped else "random"
        elif state[name].shape != parameter.shape:
            raise LearngeneError(
                f"{name} is {tuple(parameter.shape)} in the model but {tuple(state[name].shape)} from the learngene"
            )
        else:
            status = "resized" if name in resized else "inherited"
        tensors.append((name, status, parameter.numel()))
        own = name.removeprefix(inside)
        is_head = own.startswith("head") or name in heads
        if name.startswith(inside) and not is_head and not found.layout.is_dead(own):
            counted["all"] += parameter.numel()
            counted["set"] += parameter.numel() * (name in state)
            counted["skipped"] += parameter.numel() * (status == "skipped")
    tensors += [(name, "unused", tensor.numel()) for name, tensor in state.items() if name not in parameters]
    rest = max(1, counted["all"] - counted["skipped"])
    return _Placed(state, tensors, counted["set"] / counted["all"], counted["set"] / rest)


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


def _wanted(found: Found, learngene: Learngene) -> ViTSpec:
    """What a descendant has to be for a model.

    Raises:
        LearngeneError: the model is a Swin and the learngene expands plain ViTs, or the other way round.
    """
    aux = learngene.aux_spec
    wanted = _with_own_pooling(found, aux)
    if wanted.kind != aux.kind:
        raise LearngeneError(
            f"{type(found.module).__name__} is a {wanted.kind}, {wanted}, and this {learngene.method} learngene "
            f"expands a {aux.kind}, as {aux}"
        )
    return wanted


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


def _resampled(spec: ViTSpec, aux: ViTSpec) -> set[str]:
    """The tensors that another image or patch size changes."""
    changed = {
        "pos_embed": spec.grid != aux.grid,
        "patch_embed.weight": spec.patch_size != aux.patch_size,
        "bias_table": spec.num_offsets != aux.num_offsets,
    }
    return {name for name, is_other in changed.items() if is_other}
