"""How a latent map looks: a column for each model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genloom.types import Array, Floats
from genloom_train.evaluation.figures import shown, write_whole
from genloom_train.evaluation.maps import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, MAP, STRIP = 5.0, 5.0, 2.1
"""Inches: width of a column, height of a map and of a strip of samples."""

ROWS, COLUMNS = 4, 10
"""Samples shown, down and across."""

INK, PALE = "#333333", "#999999"
TITLES = {"normal": "decoded draws of N(0, I)", "prior": "decoded draws of its own prior"}
WORDS = {
    "kl_to_normal": "KL(codes ‖ N(0, I)), nats",
    "sliced_wasserstein": "sliced Wasserstein to N(0, I)",
    "confident_normal": "N(0, I) recognised with p ≥ 0.9",
    "fid_normal": "N(0, I): Fréchet distance",
    "confident_prior": "own prior recognised with p ≥ 0.9",
    "fid_prior": "own prior: Fréchet distance",
    "path_ratio": "walks: length / distance",
    "largest_step": "walks: largest step / length",
}


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write a map as PNG; it is whole or absent.

    Raises:
        OutputError: when it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips = [name for name in TITLES if any(name in panel.drawn for panel in panels)]
    lines = max(len(panel.figures.figures) for panel in panels)
    table = 0.25 * lines + 0.35
    heights = [MAP, *[STRIP] * len(strips), table]
    figure = Figure(
        figsize=(WIDTH * len(panels) + 1.7, sum(heights) + 0.6), dpi=110, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(
        len(heights), len(panels), squeeze=False, height_ratios=heights, sharex=False
    )
    for column, panel in enumerate(panels):
        _map(grid[0, column], panel)
        for row, name in enumerate(strips, start=1):
            _strip(grid[row, column], panel.drawn.get(name), TITLES[name])
        _numbers(grid[-1, column], panel)
    _legend(figure, panels[0].labels)
    buffer = io.BytesIO()
    # The layout alone cuts off the labels of square maps.
    tight: Any = {"bbox_inches": "tight", "pad_inches": 0.15}
    figure.savefig(buffer, format="png", metadata={"Software": "genloom"}, **tight)
    write_whole(path, buffer.getvalue())


def _colours(count: int) -> Array:
    import matplotlib

    if count <= 20:
        return np.array(matplotlib.colormaps["tab10" if count <= 10 else "tab20"].colors)[:count]  # type: ignore[attr-defined]
    return np.array(matplotlib.colormaps["turbo"](np.linspace(0, 1, count)))[:, :3]


def _map(axes: Axes, panel: Panel) -> None:
    """The scatter, with N(0, I) as circles of one, two and three standard deviations."""
    colours = _colours(len(panel.labels))[panel.label]
    x, y = panel.points.T
    axes.scatter(x, y, c=colours, s=5, alpha=0.55, linewidths=0)
    low, high = np.percentile(panel.points, [0.5, 99.5], axis=0)
    if panel.centre is not None:
        _circles(axes, panel.centre)
        centre = np.array(panel.centre)
        low, high = np.minimum(low, centre - 3.2), np.maximum(high, centre + 3.2)
    middle, half = (low + high) / 2, 0.54 * float((high - low).max())
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.set_title(panel.name, color=INK, fontsize=13)
    axes.set_xlabel(panel.axes[0], color=INK)
    axes.set_ylabel(panel.axes[1], color=INK)
    axes.tick_params(colors=PALE, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(PALE)


def _circles(axes: Axes, centre: tuple[float, float]) -> None:
    from matplotlib.patches import Circle

    for radius in (1, 2, 3):
        axes.add_patch(
            Circle(centre, radius, fill=False, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
        )


def _strip(axes: Axes, pixels: Floats | None, title: str) -> None:
    axes.axis("off")
    if pixels is None:
        return
    shown_pixels = mosaic(pixels, ROWS, COLUMNS)
    grey = shown_pixels.shape[2] == 1
    axes.imshow(shown_pixels[..., 0] if grey else shown_pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=9, color=INK)


def mosaic(pixels: Floats, rows: int, columns: int) -> Floats:
    """The first rows·columns pictures side by side with a pale line between; H×W×C."""
    count, height, width, channels = pixels.shape
    canvas = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.float32)
    for number in range(min(count, rows * columns)):
        top = (number // columns) * (height + 1)
        left = (number % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = pixels[number]
    return canvas


def _numbers(axes: Axes, panel: Panel) -> None:
    """The figures, each with what real pictures or true draws get in brackets."""
    axes.axis("off")
    figures = panel.figures.figures
    for number, figure in enumerate(figures):
        y = 1 - (number + 0.5) / len(figures)
        floor = f" ({shown(figure.floor)})" if figure.floor is not None else ""
        said: dict[str, Any] = {
            "transform": axes.transAxes,
            "fontsize": 9,
            "color": INK,
            "va": "center",
        }
        axes.text(0.04, y, WORDS.get(figure.name, figure.name), **said)
        axes.text(0.96, y, f"{shown(figure.value)}{floor}", ha="right", **said)


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    colours = _colours(len(labels))
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=6, color=tuple(colour), label=label)
        for colour, label in zip(colours, labels, strict=True)
    ]
    marks.append(Line2D([], [], linestyle=(0, (4, 3)), color=INK, label="N(0, I): 1, 2, 3 σ"))
    legend: Any = figure.legend(handles=marks, loc="outside right upper", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
