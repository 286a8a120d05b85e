"""``init_cfg=dict(type='Learngene', ...)`` for any backbone, classifier or Aux-Net in an OpenMMLab config."""

from __future__ import annotations

from mmengine.logging import MessageHub, print_log
from mmengine.model.weight_init import update_init_info
from torch import nn

from ..io.licenses import licenses_in
from ..learngenes.facts import describe
from ..registry import WEIGHT_INITIALIZERS
from ..use.initialize import initialize
from ..use.report import LoadReport

START = "learngene_start"  # in the MessageHub: what a learngene that trains began with
START_LICENSES = "learngene_start_licenses"  # and the licences of that


class FromLearngene:
    """What initialises from a learngene file.

    Args:
        checkpoint: the learngene file.
        min_inherited: see :func:`mmlearngene.initialize`.
        head: see :func:`mmlearngene.initialize`.
        **options: options of the method's expansion.
    """

    def __init__(self, checkpoint: str, min_inherited: float | None = None, head: str = "auto", **options) -> None:
        self.checkpoint = checkpoint
        self.arguments = dict(min_inherited=min_inherited, head=head, **options)

    def initialize(self, module: nn.Module) -> LoadReport:
        """Initialise a module, and log the report."""
        report = initialize(module, self.checkpoint, **self.arguments)
        print_log(str(report), logger="current")
        if report.started:  # a learngene that trains: its file and its checkpoints remember with what it began
            hub = MessageHub.get_current_instance()
            hub.update_info(START, report.source)
            hub.update_info(START_LICENSES, licenses_in(describe(self.checkpoint).provenance))
        return report


@WEIGHT_INITIALIZERS.register_module(name="Learngene")
class LearngeneInit(FromLearngene):
    """Initialise a module from a learngene file when its ``init_weights`` runs; of an Aux-Net, its learngene.

    The :class:`~mmlearngene.LoadReport` is logged, and kept as the module's ``load_report``.

    Args:
        checkpoint: the learngene file.
        min_inherited: see :func:`mmlearngene.initialize`.
        head: see :func:`mmlearngene.initialize`.
        **options: options of the method's expansion.
    """

    def __call__(self, module: nn.Module) -> None:
        # First every part takes its own start values: what the learngene does not give must be properly random.
        for child in module.children():
            if hasattr(child, "init_weights") and not getattr(child, "is_init", False):
                child.init_weights()
                # mmsegmentation's Swin, timm's and Hugging Face's models do not say so themselves and would start anew
                child.is_init = True
        if isinstance(getattr(module, "pos_embed", None), nn.Parameter):
            nn.init.trunc_normal_(module.pos_embed, std=0.02)  # as OpenMMLab's ViTs do, but after their initializers
        module.load_report = self.initialize(module)
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"Learngene {self.checkpoint}")
        # OpenMMLab's ViTs draw positions anew after their initializers, unless these are pre-trained; now they are.
        module.init_cfg = dict(type="Pretrained", checkpoint=str(self.checkpoint))
