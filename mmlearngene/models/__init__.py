"""OpenMMLab models: the Aux-Net, the sizes it trains, distillation of it, and teachers."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from . import sources  # noqa: F401  (registers them)
from .aux_net import AuxNet
from .batch_norm import SingleBatchNorm
from .distill_loss import DistillLoss
from .distiller import LearngeneDistiller
from .elastic_swin import ElasticSwin, ElasticWindowMSA
from .elastic_vit import ElasticViT
from .feature_loss import LogitsLoss, ProteusLoss, RadioLoss, SimilarityLoss
from .peg_attention import PEGAttention, PEGViT
from .simple_pyramid import SimpleFeaturePyramid
from .sizes import LargestFirst, SandwichSizes, SizeSampler, Step, UniformSizes, WeightedSizes
from .teacher_cache import CachedTeacher
from .teachers import ClassifierTeacher, HuggingFaceTeacher, TimmTeacher
from .timm_classifier import TimmSpecClassifier

__all__ = [
    "AuxNet",
    "CachedTeacher",
    "ClassifierTeacher",
    "DistillLoss",
    "ElasticSwin",
    "ElasticViT",
    "ElasticWindowMSA",
    "HuggingFaceTeacher",
    "LargestFirst",
    "LearngeneDistiller",
    "LogitsLoss",
    "PEGAttention",
    "PEGViT",
    "ProteusLoss",
    "RadioLoss",
    "SandwichSizes",
    "SimilarityLoss",
    "SimpleFeaturePyramid",
    "SingleBatchNorm",
    "SizeSampler",
    "Step",
    "TimmSpecClassifier",
    "TimmTeacher",
    "UniformSizes",
    "WeightedSizes",
]
