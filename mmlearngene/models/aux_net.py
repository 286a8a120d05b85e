"""The Aux-Net: a classifier without weights of its own."""

from __future__ import annotations

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..learngenes import Learngene
from ..registry import MODELS
from .template import Template


@MODELS.register_module()
class AuxNet(BaseClassifier):
    """A plain ViT or Swin classifier whose weights are a learngene's expansion, at every step anew.

    The network is a template on the meta device, so the learngene is all there is to store, train and average.
    In evaluation, where nothing changes between batches, the weights are expanded once.

    Args:
        learngene: config of the :class:`~mmlearngene.Learngene`; its ``aux_spec`` is the size of this network.
        size: another size that the learngene expands to: a descendant that trains together with its learngene.
        backbone: overrides for the template's backbone (``drop_path_rate``, say), see :class:`Template`.
        head: overrides for its ``LinearClsHead`` (``loss``, ``topk``, say).
        data_preprocessor: see ``mmpretrain.ImageClassifier``.
        train_cfg: see ``mmpretrain.ImageClassifier``; gives batch augmentations.
        init_cfg: see ``mmengine.model.BaseModule``.
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
    ) -> None:
        super().__init__(init_cfg=init_cfg, data_preprocessor=classifier_preprocessor(data_preprocessor, train_cfg))
        self.learngene = learngene if isinstance(learngene, Learngene) else MODELS.build(learngene)
        self.spec = self.learngene.target(size)
        # no submodule: it has no weights to save, move, average or synchronise
        self._template = Template(self.spec, backbone, head)
        self._expanded: tuple[tuple, dict[str, Tensor]] | None = None

    @property
    def template(self) -> Template:
        """The classifier that is run, without weights."""
        return self._template

    @property
    def head(self) -> nn.Module:
        """The template's head, for its loss."""
        return self.template.head

    def _apply(self, fn, *args, **kwargs) -> AuxNet:
        self.template.apply(fn)  # its buffers go where the learngene goes
        return super()._apply(fn, *args, **kwargs)

    def train(self, mode: bool = True) -> AuxNet:
        self._expanded = None
        self.template.train(mode)
        return super().train(mode)

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the plain classifier that this network is at present, differentiable in training."""
        if self.training or torch.is_grad_enabled():
            return self.template.state_dict(self.learngene.expand(self.spec))
        # data_ptr and version tell of moved and of changed parameters, train() of those changed behind autograd's back
        stamp = tuple((p.data_ptr(), p._version) for p in self.learngene.parameters())
        if self._expanded is None or self._expanded[0] != stamp:
            self._expanded = stamp, self.template.state_dict(self.learngene.expand(self.spec))
        return self._expanded[1]

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"):
        """Run the template with the expanded weights; see ``mmpretrain.ImageClassifier.forward``.

        Args:
            inputs: (B, C, H, W).
            data_samples: annotations, for ``mode='loss'``.
            mode: ``tensor`` gives logits (B, classes), ``loss`` a dict of losses, ``predict`` data samples.
        """
        logits = self.template(self.weights(), inputs)
        if mode == "loss":
            return self.head._get_loss(logits, data_samples)
        return self.head._get_predictions(logits, data_samples) if mode == "predict" else logits


def classifier_preprocessor(data_preprocessor: dict | None, train_cfg: dict | None) -> dict:
    """The preprocessor's config as ``mmpretrain.ImageClassifier`` completes it, batch augmentations included."""
    return {"type": "mmpretrain.ClsDataPreprocessor", "batch_augments": train_cfg, **(data_preprocessor or {})}
