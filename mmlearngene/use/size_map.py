"""One number for each size, as a picture: heads against layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # without pyplot: no window system, no global state

from ..vit.spec import ViTSpec


def plot_sizes(scores: Mapping[str, Mapping[str, float]], path: str | Path, title: str = "") -> Path:
    """A map of percentages for each way of training, side by side, all in the same colours.

    Args:
        scores: title of a map -> size (``'h3-l4'``) -> percent.
        path: the picture to write.
        title: above all maps.
    """
    figure = Figure(figsize=(1.2 + 3.3 * len(scores), 3.2), layout="constrained")
    axes = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    lowest = min(min(values.values()) for values in scores.values())
    for axis, (name, values) in zip(axes, scores.items(), strict=True):
        at = {(spec.num_heads, spec.num_layers): v for size, v in values.items() for spec in [ViTSpec.parse(size)]}
        heads, layers = (sorted({place[i] for place in at}) for i in range(2))
        grid = np.array([[at.get((h, depth), np.nan) for depth in layers] for h in heads])
        image = axis.imshow(grid, vmin=lowest, vmax=100, cmap="viridis", origin="lower", aspect="auto")
        for row, column in np.ndindex(*grid.shape):
            dark = grid[row, column] < (lowest + 100) / 2
            axis.text(column, row, f"{grid[row, column]:.1f}", ha="center", va="center", color="w" if dark else "k")
        axis.set_xticks(range(len(layers)), layers)
        axis.set_yticks(range(len(heads)), heads)
        axis.set(title=name, xlabel="layers")
    axes[0].set_ylabel("heads")
    figure.colorbar(image, ax=axes, label="top-1 accuracy in %")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    return Path(path)
