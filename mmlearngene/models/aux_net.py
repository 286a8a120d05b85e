"""The Aux-Net: a classifier without weights of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import LearngeneError
from ..learngenes import Learngene
from ..registry import MODELS
from ..vit.spec import ViTSpec
from .distill_loss import DistillLoss, apart, mean, scaled
from .sizes import SizeSampler, Step, build_sizes
from .template import Network, Template


@MODELS.register_module()
class AuxNet(BaseClassifier):
    """A plain ViT or Swin classifier whose weights are a learngene's expansion, at every step anew.

    The network is a template on the meta device, so the learngene is all there is to store, train and average.
    In evaluation, where nothing changes between batches, the weights are expanded once.

    With ``sizes`` it is elastic: a training step expands the learngene to the sizes that are drawn for it, and its loss
    is the mean of theirs. Everything else, evaluation first, still happens at one size, the Aux-Net's or ``size``.

    Args:
        learngene: config of the :class:`~mmlearngene.Learngene`; its ``aux_spec`` is the size of this network.
        size: another size that the learngene expands to: a descendant that trains together with its learngene.
        backbone: overrides for the template's backbone (``drop_path_rate``, say), see :class:`Template`.
        head: overrides for its ``LinearClsHead`` (``loss``, ``topk``, say).
        data_preprocessor: see ``mmpretrain.ImageClassifier``.
        train_cfg: see ``mmpretrain.ImageClassifier``; gives batch augmentations.
        init_cfg: see ``mmengine.model.BaseModule``.
        sizes: config of a sampler of sizes, see :mod:`mmlearngene.models.sizes`.
        scale_drop_path: a smaller size gets a smaller ``drop_path_rate``: the backbone's is the largest size's, and
            the others' are in proportion to their heads, summed over the layers.
        in_place: the largest size of a step teaches the others (inplace distillation, Yu et al., BigNAS, ECCV 2020).
            Its ``share`` (1 unless said otherwise) of a smaller size's loss is distillation from the largest, whose
            logits are no part of the gradient; the rest is the size's own loss, which is the teacher's in a
            :class:`LearngeneDistiller`. What else it has are arguments of :class:`DistillLoss`.
        compile: run the network by ``torch.compile`` in training: True, or its arguments. The expanded weights are
            inputs of the compiled graph, and the expansion stays as it is: it writes products into views
            (``bmm(out=)``), where a graph would break. Logits are the same to 1e-5 without drop-path, which draws
            other numbers.

    Raises:
        LearngeneError: the learngene does not expand to one of the sizes, or an option has nothing to work on.
    """

    def __init__(
        self,
        learngene: dict | Learngene,
        backbone: dict | None = None,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
        size: str | None = None,
        sizes: dict | SizeSampler | None = None,
        scale_drop_path: bool = False,
        in_place: dict | None = None,
        compile: bool | dict = False,
    ) -> None:
        super().__init__(init_cfg=init_cfg, data_preprocessor=classifier_preprocessor(data_preprocessor, train_cfg))
        self.learngene = learngene if isinstance(learngene, Learngene) else MODELS.build(learngene)
        self.spec = self.learngene.target(size)
        self._overrides = backbone, head
        self.compile = ({} if compile is True else dict(compile)) if compile is not False else None
        self.sizes = build_sizes(sizes, self.learngene) if sizes else None
        self.scale_drop_path = scale_drop_path
        self.in_place, self.share = None, 0.0
        if in_place is not None:
            options = dict(in_place)
            self.share = options.pop("share", 1.0)
            self.in_place = DistillLoss(**options)
        self._check_sizes()
        # no submodules, which a plain dict's values are not: they have no weights to save, move, average or synchronise
        self._templates: dict[ViTSpec, Template] = {}
        self._expanded: tuple[tuple, dict[str, Tensor]] | None = None
        self._template_of(self.spec)  # overrides that do not fit are told before any work

    def _check_sizes(self) -> None:
        """See that every option has something to work on, and that the sizes can be made."""
        if self.scale_drop_path and not (self.sizes and (self._overrides[0] or {}).get("drop_path_rate")):
            raise LearngeneError("scale_drop_path=True needs sizes=... and backbone=dict(drop_path_rate=...)")
        if self.in_place and not (self.sizes and self.sizes.has_largest):
            kind = type(self.sizes).__name__ if self.sizes else None
            raise LearngeneError(
                f"in_place needs sizes=... whose every step has the largest one, not {kind}; use SandwichSizes"
            )
        if self.sizes and self.compile is not None:
            raise LearngeneError("compile is for training at one size: every size would be compiled; leave out sizes")
        if not 0 <= self.share <= 1:
            raise LearngeneError(f"in_place: share={self.share} must be in 0 to 1, the nearest is {self.share > 1:d}")
        if self.sizes:
            # a method may refuse depths that its range leaves open, which only its expansion tells
            with torch.no_grad():
                self.learngene.expand(max(self.sizes.sizes, key=lambda spec: spec.num_layers))

    @property
    def provenance(self) -> dict:
        """What a file of the learngene tells of its training: the sizes, smallest first, where there are several."""
        return {"trained_sizes": [str(spec) for spec in self.sizes.sizes]} if self.sizes else {}

    @property
    def template(self) -> Template:
        """The classifier that is run, without weights."""
        return self._template_of(self.spec)

    @property
    def head(self) -> nn.Module:
        """The template's head, for its loss."""
        return self.template.head

    def _template_of(self, spec: ViTSpec) -> Template:
        """The network of a size, without weights; built once."""
        if spec not in self._templates:
            backbone, head = copy.deepcopy(self._overrides)
            if self.scale_drop_path:
                backbone["drop_path_rate"] *= sum(spec.heads) / sum(self.sizes.largest.heads)
            # only the size that trains: another one is evaluated at most
            template = Template(spec, backbone, head, self.compile if spec == self.spec else None).train(self.training)
            device = next((p.device for p in self.learngene.parameters()), torch.device("cpu"))
            template.apply(lambda buffer: buffer.to(device))
            self._templates[spec] = template
        return self._templates[spec]

    def _apply(self, fn, *args, **kwargs) -> AuxNet:
        for template in self._templates.values():
            template.apply(fn)  # its buffers go where the learngene goes
        return super()._apply(fn, *args, **kwargs)

    def train(self, mode: bool = True) -> AuxNet:
        self._expanded = None
        for template in self._templates.values():
            template.train(mode)
        return super().train(mode)

    @contextmanager
    def at(self, size: str | ViTSpec) -> Iterator[AuxNet]:
        """Within the block the network has another size: in evaluation, and in all else but a draw of sizes."""
        before, self.spec = self.spec, self.learngene.target(size)
        try:
            yield self
        finally:
            self.spec = before

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the plain classifier that this network is at present, differentiable in training."""
        if self.training or torch.is_grad_enabled():
            return self._weights_of(self.spec)
        # data_ptr and version tell of moved and of changed parameters, train() of those changed behind autograd's back
        stamp = (self.spec, *((p.data_ptr(), p._version) for p in self.learngene.parameters()))
        if self._expanded is None or self._expanded[0] != stamp:
            self._expanded = stamp, self._weights_of(self.spec)
        return self._expanded[1]

    def _weights_of(self, spec: ViTSpec) -> dict[str, Tensor]:
        return self._template_of(spec).state_dict(self.learngene.expand(spec))

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"):
        """Run the template with the expanded weights; see ``mmpretrain.ImageClassifier.forward``.

        Args:
            inputs: (B, C, H, W).
            data_samples: annotations, for ``mode='loss'``.
            mode: ``tensor`` gives logits (B, classes), ``loss`` a dict of losses, ``predict`` data samples.
        """
        if mode == "loss":
            return self.losses(inputs, lambda logits: self._own_losses(logits, data_samples))
        logits = self.template(self.weights(), inputs)
        return self.head._get_predictions(logits, data_samples) if mode == "predict" else logits

    def _own_losses(self, logits: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        losses = self.head._get_loss(logits, data_samples)
        return apart(losses, "head") if self.in_place else losses

    def losses(self, inputs: Tensor, loss_of: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of a step: in training the mean over the sizes that are drawn for it.

        Args:
            inputs: (B, C, H, W).
            loss_of: from logits (B, classes) to losses by name, and perhaps accuracies.
        """
        found: list[dict[str, Tensor]] = []
        largest = None  # its logits; a sampler for in_place draws it first
        for network in self.networks(tuple(inputs.shape[-2:])):
            logits = network(inputs)
            losses = loss_of(logits)
            if largest is not None:
                losses = scaled(losses, 1 - self.share)
                losses["loss_in_place"] = self.share * self.in_place(logits, largest)
            elif self.in_place and self.training:
                largest = logits.detach()
            found.append(losses)
        return mean(found)

    def networks(self, img_size: tuple[int, int] | None = None) -> Iterator[Network]:
        """The networks of a step, one after the other: in training those of the sizes that are drawn for it.

        Args:
            img_size: of the images, where it is not the Aux-Net's; positions are resampled.
        """
        drawn = self.sizes.draw(Step.current()) if self.training and self.sizes else [self.spec]
        for spec in drawn:
            if img_size is not None and img_size != spec.img_size:
                spec = spec.replace(img_size=img_size)
            weights = self.weights() if spec == self.spec else self._weights_of(spec)
            yield Network(self._template_of(spec), weights)


def classifier_preprocessor(data_preprocessor: dict | None, train_cfg: dict | None) -> dict:
    """The preprocessor's config as ``mmpretrain.ImageClassifier`` completes it, batch augmentations included."""
    return {"type": "mmpretrain.ClsDataPreprocessor", "batch_augments": train_cfg, **(data_preprocessor or {})}
