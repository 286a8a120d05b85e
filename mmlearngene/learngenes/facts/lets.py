"""Facts of LeTs, see :mod:`mmlearngene.learngenes.lets`."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import LearngeneError, check_choice
from ...vit.spec import ViTSpec
from ...vit.tensors import row_of, spread
from ...vit.tensors import rows as rows_of
from .base import Facts, checked_map, unequal_layers

# parts of a tensor along its first axis, each with a map and coefficients of its own
QKV, GATED = ("q", "k", "v"), ("gate", "fc1")
PARTS = {"qkv": QKV, "qkv_bias": QKV, "gate": GATED}
SELECTIONS = ("continuous", "top-l1", "top-l2", "bottom-l1", "bottom-l2")
UNITS = ("head", "row")
WIDTH_INITS = ("average", "softmax", "copy", "noisy-copy")
DEPTH_INITS = ("first", "average")
WIDTH_MAPS = ("layer", "row")


# the feature that a tensor with heads alone belongs to
_FEATURES = {
    "bias_table": "relative-position bias (rel_pos_bias)",
    "rope_freqs": "learned rotary positions (rope = mixed)",
    "logits": "maps over the heads (learngene_heads)",
    "values": "maps over the heads (learngene_heads)",
}


class LeTsFacts(Facts):
    """See :class:`mmlearngene.learngenes.lets.LeTs`.

    Args:
        learngene: size of the learngene, ``'h6-l8'`` in the paper.
        aux: size of the Aux-Net, ``'h12-l16'`` in the paper. Its depth must be groups x rows x repeats.
        groups: groups of adjacent learngene layers; a group feeds an equal run of Aux layers.
        rows: distinct rows of coefficients in each group.
        repeats: adjacent Aux layers that share a row; 1 is the paper's "unshared" ablation (with twice the rows).
        width_init: start of each row of F. ``average``: uniform numbers divided by their sum; ``softmax`` of normal
            numbers; ``copy`` of a random old neuron; ``noisy-copy``: the same with noise of 0.03.
        depth_init: start of each row of G: ``first``: 1 for the first layer of the group and noise of 0.03 for the
            others, divided by their sum; ``average`` of the group's layers.
        keep_original: False gives the DE ablation.
        width_maps: whether the maps qkv and ffn belong to each learngene ``layer``, or to each ``row`` of G, whose
            mixture they then widen (LiGO: Wang et al., ICLR 2023; with 16 rows 60.2M parameters in the paper).
        **vit: fields of :class:`ViTSpec` shared by learngene and Aux-Net (``img_size``, ``num_classes``, ...).

    Raises:
        LearngeneError: the sizes, groups, rows and repeats do not fit together.
    """

    method = "lets"
    equal_layers = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """What has heads without their channels, of which no map makes new ones."""
        if unequal := unequal_layers(spec):
            return unequal
        if spec.pool == "map" and spec.attn_pool_num_heads not in (None, spec.num_heads):
            return f"attention pooling of {spec.attn_pool_num_heads} heads: its maps follow num_heads={spec.num_heads}"
        alone = [row for row in rows_of(spec) if "head" in row.axis_names and "dim" not in row.axis_names]
        if alone:
            return f"{_FEATURES[alone[0].name.partition('.')[0]]}: a width map widens head x dim, not heads alone"
        return None

    def __init__(
        self,
        learngene: str | ViTSpec | dict = "h6-l8",
        aux: str | ViTSpec | dict = "h12-l16",
        groups: int = 4,
        rows: int = 2,
        repeats: int = 2,
        width_init: str = "average",
        depth_init: str = "first",
        keep_original: bool = True,
        width_maps: str = "layer",
        **vit,
    ) -> None:
        small, large = ViTSpec.parse(learngene, **vit), ViTSpec.parse(aux, **vit)
        self.check_treats(large)
        check_choice(width_init, WIDTH_INITS, "width_init")
        check_choice(depth_init, DEPTH_INITS, "depth_init")
        check_choice(width_maps, WIDTH_MAPS, "width_maps")
        for name, number in dict(groups=groups, rows=rows, repeats=repeats).items():
            if number < 1:
                raise LearngeneError(f"{name}={number} must be 1 or more")
        if small.num_layers % groups:
            near = min(
                (g for g in range(1, small.num_layers + 1) if not small.num_layers % g), key=lambda g: abs(g - groups)
            )
            raise LearngeneError(
                f"groups={groups} does not divide the learngene's {small.num_layers} layers; "
                f"the nearest that does is {near}"
            )
        if groups * rows * repeats != large.num_layers:
            raise LearngeneError(
                f"{groups} groups x {rows} rows x {repeats} repeats give {groups * rows * repeats} Aux layers, not the "
                f"{large.num_layers} of {large}; the nearest Aux-Net is h{large.num_heads}-l{groups * rows * repeats}"
            )
        if large.num_heads < small.num_heads:
            raise LearngeneError(f"the Aux-Net {large} is narrower than the learngene {small}")
        self.group_layers = small.num_layers // groups
        self.num_rows = groups * rows
        self.repeats = repeats
        self.keep_original = keep_original
        super().__init__(small, large)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Positions as wide as the Aux-Net's, the learngene's own tensors, and the maps."""
        own = self.learngene_spec.shapes()
        shapes = {"pos_embed": self.aux_spec.stem_shapes()["pos_embed"]} if own.pop("pos_embed", None) else {}
        shapes |= {f"learngene.{name}": shape for name, shape in own.items()}
        shapes |= {f"maps.{name}": shape for name, shape in self.width_maps().items()}
        return shapes | {f"maps.depth.{name}": (self.num_rows, self.group_layers) for name in self.depth_maps()}

    def width_maps(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the maps F: (..., new, old)."""
        small, large = self.learngene_spec, self.aux_spec
        kept = int(self.keep_original)
        embed = (large.embed_dims - kept * small.embed_dims, small.embed_dims)
        hidden = (large.feedforward_channels - kept * small.feedforward_channels, small.feedforward_channels)
        count = self.num_rows if self.config["width_maps"] == "row" else small.num_layers
        shapes = {"embed": embed, "qkv": (count, 3, *embed), "ffn": (count, *hidden)}
        if small.num_classes:
            shapes["head"] = embed
        if small.pool == "map":
            pool = [spec.stem_shapes()["attn_pool.fc1.bias"][0] for spec in (large, small)]
            shapes |= {"pool_qkv": (3, *embed), "pool_ffn": (pool[0] - kept * pool[1], pool[1])}
        return shapes

    def depth_maps(self) -> list[str]:
        """The tensors of a layer that have coefficients G of their own; q, k and v apart, and so gate and fc1."""
        shapes = self.learngene_spec.layer_shapes()
        return [part for name, shape in shapes.items() for part in apart(self.learngene_spec, name, shape[0])]

    def head_range(self, stage: int = 0) -> range:
        """From the learngene's own heads to the Aux-Net's."""
        return range(self.learngene_spec.num_heads, self.aux_spec.num_heads + 1)

    def default_rows(self, num_layers: int) -> list[int]:
        """Rows of G for a depth: in order, divided equally over groups and then over each group's rows.

        At the Aux-Net's depth each row stands ``repeats`` times in a row, which is the Aux-Net.
        """
        groups = self.config["groups"]
        per_group = self.num_rows // groups
        group_of = spread(num_layers, groups)
        return [
            group * per_group + row
            for group in sorted(set(group_of))
            for row in spread(group_of.count(group), per_group)
        ]

    def check_expansion(
        self,
        spec: ViTSpec,
        *,
        rows: Sequence[int] | None = None,
        selection: str = "continuous",
        unit: str = "head",
    ) -> None:
        """Check the options.

        Args:
            rows: for each layer the row of G to use; :meth:`default_rows` unless given.
            selection: which of the appended neurons a descendant narrower than the Aux-Net takes. ``continuous``:
                the first; ``top-l1``, ``top-l2``, ``bottom-l1``, ``bottom-l2``: those of largest or smallest norm,
                ranked on F_embed for all components but fc1 and fc2, whose layers each rank their own F_ffn.
            unit: what is ranked on F_embed: ``head`` keeps blocks of head_dim rows whole, by their summed norm;
                ``row`` ranks every row by itself. The neurons of F_ffn belong to no head and are ranked by row.
        """
        check_choice(selection, SELECTIONS, "selection")
        check_choice(unit, UNITS, "unit")
        if rows is not None:
            checked_map("rows", rows, spec, self.num_rows, "row of G")


def apart(spec: ViTSpec, name: str, count: int) -> list[str]:
    """The names of the parts of a tensor, ``count`` long on its first axis: its own name where it is not divided."""
    axis = row_of(spec, name).axis_names[0]
    if axis not in PARTS:
        return [name]
    module, _, kind = name.rpartition(".")
    before, dot, _ = module.rpartition(".")
    return [f"{before}{dot}{part}.{kind}" for part in part_names(axis, count)]


def part_names(axis: str, count: int) -> tuple[str, ...]:
    """Names of the parts along an axis of :data:`PARTS`; of two biases of q, k and v, k's is missing."""
    names = PARTS[axis]
    return names if count == len(names) else ("q", "v")
