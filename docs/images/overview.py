"""The picture of the first page: an ancestry, its learngene, descendants of several sizes.

python docs/images/overview.py    # writes overview.png beside this file
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

CELL, GAP = 1.0, 0.14  # of a head of a layer
ANCESTRY, LEARNGENE, DESCENDANT = "#4c566a", "#d08770", "#2a9d8f"


def draw_vit(axes: Axes, x: float, heads: int, layers: int, colour: str) -> None:
    """A ViT as a grid, standing on the ground line: a row a layer, a cell a head of it."""
    cells = [
        Rectangle((x + head * CELL, layer * CELL), CELL - GAP, CELL - GAP)
        for head in range(heads)
        for layer in range(layers)
    ]
    axes.add_collection(PatchCollection(cells, facecolor=colour, edgecolor="none"))


def named(axes: Axes, x: float, heads: int, layers: int, below: str, colour: str) -> None:
    """A ViT with its size above and what it is below."""
    draw_vit(axes, x, heads, layers, colour)
    middle = x + heads * CELL / 2
    axes.text(middle, layers + 0.4, f"h{heads}-l{layers}", ha="center", va="bottom", fontsize=10, weight="bold")
    axes.text(middle, -0.7, below, ha="center", va="top", fontsize=9)


def arrow(axes: Axes, start: float, end: float, label: str) -> None:
    """An arrow to the right with what happens on it."""
    axes.annotate("", (end, 4), (start, 4), arrowprops=dict(arrowstyle="-|>", lw=1.6, color="#444"))
    axes.text((start + end) / 2, 4.5, label, ha="center", va="bottom", fontsize=9, linespacing=1.3)


def main() -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 3.9))
    axes = figure.add_axes((0, 0, 1, 1))
    named(axes, 0, 12, 12, "the ancestry:\na trained ViT that you have", ANCESTRY)
    arrow(axes, 12.8, 18.6, "extract,\nor train")
    draw_vit(axes, 19.4, 4, 5, LEARNGENE)
    axes.text(21.4, -0.7, "the learngene:\none file for many sizes", ha="center", va="top", fontsize=9)
    arrow(axes, 24.2, 29.6, "expand")
    named(axes, 30.6, 3, 4, "a phone", DESCENDANT)
    named(axes, 37.6, 6, 12, "a camera", DESCENDANT)
    named(axes, 53, 12, 16, "a server", DESCENDANT)
    # what a name means, on the one in the middle
    axes.annotate("", (37.6, -2.5), (43.5, -2.5), arrowprops=dict(arrowstyle="<->", lw=1, color="#444"))
    axes.text(40.5, -2.9, "h6: 6 heads in a layer,\nso 6 x 64 = 384 channels wide", ha="center", va="top", fontsize=9)
    axes.annotate("", (44.2, -0.1), (44.2, 12), arrowprops=dict(arrowstyle="<->", lw=1, color="#444"))
    axes.text(44.6, 6, "l12:\n12 layers\ndeep", ha="left", va="center", fontsize=9)
    axes.text(59, -2.9, "descendants: plain ViTs,\nbuilt and used as any other", ha="center", va="top", fontsize=9)
    axes.set(xlim=(-1, 66), ylim=(-5.6, 18.2))
    axes.axis("off")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
