"""Sheets for the eye: a true picture, and parts of it as each method restores them, enlarged."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genloom import imaging
from genloom.errors import OutputError
from genloom.types import Array
from genloom_train.evaluation.figures import write_whole
from genloom_train.evaluation.photographs import Photograph
from genloom_train.evaluation.spoiling import Condition

SIDE, GAP, LINE, TEXT = 192, 6, 19, 13
"""Pixels: side of an enlarged part, about; between parts; height of a line, and of its letters."""
PLACES = 2
PART = 5
"""A part is this fraction of the picture's shorter side."""
COLOURS = ((230, 60, 40), (30, 120, 230))
INK, PALE = (40, 40, 40), (120, 120, 120)


@dataclass(frozen=True)
class Cell:
    """What one method made: its name, the picture, its PSNR in dB where that makes sense."""

    name: str
    picture: Array
    psnr: float | None = None


def write_sheet(
    folder: Path, picture: Photograph, condition: Condition, spoiled: Array, cells: Sequence[Cell]
) -> Path:
    """Write the sheet of one picture as PNG; gives its path.

    Raises:
        OutputError: when it cannot be written.
    """
    truth = picture.pixels
    scale = truth.shape[0] // spoiled.shape[0]
    before = [] if scale == 1 else [Cell("given", spoiled.repeat(scale, 0).repeat(scale, 1))]
    made = drawn(truth, [*before, *cells, Cell("true", truth)], condition.words)
    name = Path(picture.name).with_suffix("").as_posix().replace("/", "-")
    path = folder / f"{name}-{condition.name.replace(' ', '-')}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be made ({error.strerror})", where=str(folder)
        ) from None
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    write_whole(path, buffer.getvalue())
    return path


def drawn(truth: Array, cells: Sequence[Cell], title: str) -> Any:
    """The sheet, a Pillow image: the whole picture, beside it a column for each cell."""
    from PIL import Image, ImageDraw

    part = max(8, min(truth.shape[:2]) // PART)
    times = max(1, round(SIDE / part))
    places = imaging.most_detailed(truth, part, part, PLACES)
    step = places[0][2] * times + GAP
    height = step * len(places) - GAP
    whole = _whole(truth, places, height)
    left = whole.width + 3 * GAP
    size = left + step * len(cells), height + 3 * LINE + 3 * GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    sheet.paste(whole, (GAP, LINE + GAP))
    draw.text((GAP, GAP // 2), title, INK, font=_font())
    for column, cell in enumerate(cells):
        x = left + column * step
        for row, place in enumerate(places):
            y = LINE + GAP + row * step
            closer = imaging.enlarged(cell.picture, place, times)
            sheet.paste(_image(closer), (x, y))
            frame = x, y, x + closer.shape[1] - 1, y + closer.shape[0] - 1
            draw.rectangle(frame, outline=COLOURS[row], width=2)
        y = LINE + GAP + height + GAP // 2
        draw.text((x, y), _shortened(cell.name, step - GAP), INK, font=_font())
        if cell.psnr is not None:
            draw.text((x, y + LINE), f"{cell.psnr:.2f} dB", PALE, font=_font())
    return sheet


def _whole(truth: Array, places: Sequence[imaging.Place], height: int) -> Any:
    """The whole picture in some height, with frames where the parts lie."""
    from PIL import ImageDraw

    width = max(1, round(truth.shape[1] * height / truth.shape[0]))
    whole = _image(imaging.resize(truth, height, width, "lanczos"))
    draw = ImageDraw.Draw(whole)
    factor = height / truth.shape[0]
    for place, colour in zip(places, COLOURS, strict=False):
        top, left, rows, columns = (round(value * factor) for value in place)
        draw.rectangle((left, top, left + columns - 1, top + rows - 1), outline=colour, width=2)
    return whole


def _image(pixels: Array) -> Any:
    from PIL import Image

    colour = pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
    return Image.fromarray(np.ascontiguousarray(colour))


def _shortened(name: str, width: int) -> str:
    """A name, its end left out where it is wider than so many pixels."""
    if _font().getlength(name) <= width:
        return name
    while name and _font().getlength(f"{name}…") > width:
        name = name[:-1]
    return f"{name}…"


@functools.cache
def _font() -> Any:
    """A font that has σ and ×, which Pillow's own has not."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), TEXT)
