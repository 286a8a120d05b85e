"""Pre-Fin: the ancestry itself."""

from __future__ import annotations

from ...vit.spec import ViTSpec
from ...vit.weights import ViTWeights
from ..facts.ancestry import tensors_of
from ..facts.controls import PreFinFacts
from ..methods import register
from .layers import WholeAncestry


@register
class PreFin(PreFinFacts, WholeAncestry):
    """Pre-training and fine-tuning: the ancestry's weights in a ViT of the very same size.

    With fewer heads, in every layer or as a schedule, it has the ancestry's first ones and keeps its width: the control
    "Pre-Fin" of Cluster-Learngene with as many heads as the descendant.
    """

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        tensors = self.learngene.tensors()
        for name, axis in tensors_of(self.aux_spec, "head").items():
            pairs = zip(tensors[name], spec.heads, strict=True)
            tensors[name] = [row.narrow(axis, 0, min(heads, row.shape[axis])) for row, heads in pairs]
        return ViTWeights(spec, tensors)
