"""Cluster-Learngene for Swin ancestries: clusters in every block, centroids shared among any number of heads a stage.

Heads look only within windows there; their relative-position tables follow them. Everything else is
:mod:`~mmlearngene.learngenes.cluster`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import LearngeneError
from ..swin import SwinSpec
from . import register
from .cluster import MAX_HEADS, Cluster


@register
class ClusterSwin(Cluster):
    """Centroid heads and kept FFNs of a Swin; :meth:`extract` makes it from :class:`~mmlearngene.ViTWeights` of one.

    As in :class:`~mmlearngene.learngenes.cluster.Cluster`, a block being a layer, but FFNs are shared within a stage
    only. The tensors of a stage's blocks are under ``stages.0.`` to ``stages.3.``. A descendant has the ancestry's
    widths, any heads and any depths: ``'h3,6,12,24-l2,2,6,2'``.
    """

    method = "cluster-swin"
    spec_type = SwinSpec

    @staticmethod
    def _parse(aux: str | SwinSpec | Mapping) -> SwinSpec:
        return SwinSpec.parse(aux)

    @staticmethod
    def _stages(spec: SwinSpec) -> dict[str, range]:
        return {f"stages.{stage}.": blocks for stage, blocks in enumerate(spec.stages)}

    def target(self, size: str | SwinSpec | None = None) -> SwinSpec:
        """The checked spec of a descendant; what a size text leaves open is the ancestry's.

        Raises:
            LearngeneError: too many heads, or a width or window that is not the ancestry's.
        """
        spec = self.aux_spec if size is None else size
        if not isinstance(spec, SwinSpec):
            given = {
                name: value for name, value in self.aux_spec.asdict().items() if name not in ("num_heads", "depths")
            }
            spec = SwinSpec.parse(spec, **given)
        if max(spec.heads) > MAX_HEADS:
            near = spec.replace(num_heads=[min(heads, MAX_HEADS) for heads in spec.num_heads])
            raise LearngeneError(
                f"this {self.method} learngene expands to {self.span}, not to {spec}; the nearest size is {near}"
            )
        self._check_fields(spec, {"num_heads", "depths", "img_size", "num_classes"})
        return spec

    def some_sizes(self) -> list[SwinSpec]:
        """The ancestry's size, with half and with twice its heads."""
        aux = self.aux_spec
        halves, doubles = ([max(1, int(heads * factor)) for heads in aux.num_heads] for factor in (0.5, 2))
        sizes = [aux.replace(num_heads=halves), aux, aux.replace(num_heads=doubles)]
        return [size for size in sizes if max(size.heads) <= MAX_HEADS]
