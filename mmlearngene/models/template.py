"""A classifier without weights of its own: the network of a spec, run with whatever weights are at hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.layers import DropPath, calculate_drop_path_rates
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import LearngeneError
from ..frameworks.mmpretrain import classifier_cfg
from ..frameworks.modules import weightless
from ..registry import MODELS
from ..use.tokens import Tokens, token_model
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .timm_classifier import mmpretrain_or_timm


class Template:
    """A plain classifier whose parameters are on the meta device.

    It is a ``mmpretrain.ImageClassifier`` where mmpretrain has the features of the spec, and timm's model with a head
    of mmpretrain for its loss where only timm has (registers, rotary positions, ...). It is no module, so its owner has
    nothing of it to save, average or synchronise; but buffers it does have, which :meth:`apply` moves.

    Args:
        spec: the ViT or Swin, with classes.
        backbone: overrides for the backbone of mmpretrain; timm's takes ``drop_path_rate`` alone.
        head: overrides for the ``LinearClsHead`` (``loss``, ``topk``, say).
        compile: arguments of ``torch.compile``, by which the network runs in training; its weights are inputs of the
            compiled graph, which must be one (``fullgraph``).

    Raises:
        LearngeneError: neither framework has the features, or an override that timm's model does not take.
    """

    def __init__(
        self, spec: ViTSpec, backbone: dict | None = None, head: dict | None = None, compile: dict | None = None
    ) -> None:
        backbone, head = copy.deepcopy(backbone or {}), copy.deepcopy(head or {})
        self.layout = mmpretrain_or_timm(spec)
        if self.layout.framework == "mmpretrain":
            cfg = classifier_cfg(spec, backbone, head)
            self.model = weightless(lambda: MODELS.build(copy.deepcopy(cfg)))
            self.head = self.model.head
        else:
            if unknown := backbone.keys() - {"drop_path_rate"}:
                raise LearngeneError(
                    f"backbone={backbone}: {spec} has features that only timm has, whose template takes no "
                    f"{', '.join(sorted(unknown))}; expected drop_path_rate alone"
                )
            self.model = weightless(lambda: _with_drop_path(self.layout.make(spec), **backbone))
            self.head = MODELS.build({"type": "mmpretrain.ClsHead", **head})
        self._tokens = token_model(self.model, class_token=spec.pool == "cls")
        self._trained = _run
        if compile is not None:
            self._trained = torch.compile(_run, **{"fullgraph": True, **compile})
            for module in self.model.modules():  # mmcv's rates are numbers of numpy, which no graph may branch on
                if hasattr(module, "drop_prob"):
                    module.drop_prob = float(module.drop_prob)

    def state_dict(self, weights: ViTWeights) -> dict[str, Tensor]:
        """Weights under the names of this classifier's parameters."""
        return self.layout.state_dict(weights)

    def __call__(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Logits (B, classes) of inputs (B, C, H, W), with the parameters of ``state``."""
        run = self._trained if self.model.training else _run
        return run(self.model, {**dict(self.model.named_buffers()), **state}, inputs)

    def tokens(self, state: dict[str, Tensor], inputs: Tensor, project: bool = False) -> Tokens | tuple[Tokens, Tokens]:
        """As :class:`mmlearngene.use.tokens.TokenModel` of this network with the parameters of ``state``."""
        if self._trained is not _run:
            raise LearngeneError("compile is for logits; leave it out where tokens are distilled")
        state = {f"model.{name}": tensor for name, tensor in {**dict(self.model.named_buffers()), **state}.items()}
        return functional_call(self._tokens, state, (inputs, project), strict=True)

    def train(self, mode: bool = True) -> Template:
        """Set training or evaluation mode."""
        self.model.train(mode)
        return self

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Apply a function to all buffers, ``lambda t: t.cuda()`` say."""
        for module in self.model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = fn(buffer)


@dataclass(frozen=True)
class Network:
    """A template with the weights of one step."""

    template: Template
    state: dict[str, Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes) of inputs (B, C, H, W)."""
        return self.template(self.state, inputs)

    def tokens(self, inputs: Tensor, project: bool = False) -> Tokens | tuple[Tokens, Tokens]:
        """See :meth:`Template.tokens`."""
        return self.template.tokens(self.state, inputs, project)


def _run(model: nn.Module, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
    return functional_call(model, state, (inputs,), strict=True)


def _with_drop_path(model: nn.Module, drop_path_rate: float = 0.0) -> nn.Module:
    """A timm model with stochastic depth, its rate rising linearly over the layers."""
    if drop_path_rate:
        rates = calculate_drop_path_rates(drop_path_rate, len(model.blocks))
        for block, rate in zip(model.blocks, rates, strict=True):
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
    return model
