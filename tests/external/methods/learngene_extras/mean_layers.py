"""Mean layers: a learngene that is extracted, runs of an ancestry's layers averaged into one layer each."""

import torch

from mmlearngene import LearngeneError, ViTSpec, ViTWeights
from mmlearngene.learngenes import Extracted, StackedLearngene, register
from mmlearngene.vit.weights import spread


@register
class MeanLayers(StackedLearngene, Extracted):
    """The means of equal runs of an ancestry's layers; a descendant's layers are those of its runs.

    Args:
        learngene: its size, which follows from ``aux`` and ``runs``.
        aux: size of the ancestry.
        runs: how many runs, 1 to the ancestry's layers.
        **vit: fields of ViTSpec.
    """

    method = "mean-layers"

    def __init__(self, learngene=None, aux="h6-l12", runs: int = 4, **vit):
        spec = ViTSpec.parse(aux, **vit)
        if not 1 <= runs <= spec.num_layers:
            raise LearngeneError(f"runs={runs}: the ancestry {spec} has {spec.num_layers} layers")
        super().__init__(spec, runs, learngene)

    def take(self, ancestry: ViTWeights) -> None:
        """Average the layers of each run; all tensors outside the layers are the ancestry's."""
        runs = torch.tensor(spread(ancestry.spec.num_layers, self.config["runs"]))
        layers = ancestry.layers()
        stacked = {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}
        means = {
            name: torch.stack([tensor[runs == run].mean(0) for run in range(self.config["runs"])])
            for name, tensor in stacked.items()
        }
        self.learngene.load_state_dict({**ancestry.stem(), **means})

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        return ViTWeights(spec, self.learngene.tensors(), tuple(spread(spec.num_layers, self.config["runs"])))
