"""OpenMMLab models: the Aux-Net, distillation of it, and teachers."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from .aux_net import AuxNet
from .batch_norm import SingleBatchNorm
from .distiller import DistillLoss, LearngeneDistiller
from .elastic_swin import ElasticSwin, ElasticWindowMSA
from .elastic_vit import ElasticViT
from .peg_attention import PEGAttention, PEGViT
from .teachers import ClassifierTeacher, TimmTeacher

__all__ = [
    "AuxNet",
    "ClassifierTeacher",
    "DistillLoss",
    "ElasticSwin",
    "ElasticViT",
    "ElasticWindowMSA",
    "LearngeneDistiller",
    "PEGAttention",
    "PEGViT",
    "SingleBatchNorm",
    "TimmTeacher",
]
