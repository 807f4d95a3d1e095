"""What is asked of an import, and what an importer makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genloom.card import UNIT, Port, SizeRule
from genloom.errors import GenloomError

if TYPE_CHECKING:
    import onnx

PART = "network"
Layout = Literal["nchw", "nhwc"]
Values = tuple[float, float]
Tell = Callable[[str], None]
"""Hears, while an import works, what it is at: a line for people each time."""

RANGES: Mapping[str, Values] = {"0-1": (0, 1), "0-255": (0, 255), "-1-1": (-1, 1)}
"""Ranges of pixel values that networks are trained on, as the command line names them."""
SIZE = 256
"""Side in pixels of a network that exports only at one size, unless asked otherwise."""
BLENDED = 4
"""The smaller side of a tile over this is how far tiles of one size are blended, unless said."""
MOST_BYTES = 2**31 - 1
"""What one protobuf message can hold."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for.

    Attributes:
        file: the weights.
        folder: the bundle to write; its last part is the model's name.
        licence: of the weights, which no file states reliably.
        summary: what the model does, in a line.
        scale: output size over input size; measured unless said, and refused if it is not so.
        range: of the pixel values of a foreign graph, as `RANGES` names them, or two of those with
            a colon between where it gives others than it takes; probed unless said.
        layout: of a foreign graph; probed unless said.
        bgr: whether a foreign graph takes and gives blue first, which cannot be probed.
        size: height and width of a network that exports only at one size; `SIZE` unless said.
        overlap: see `genloom.card.SizeRule`; unless said, `BLENDED` of a network that takes one
            size and sees it whole, and 0 of others.
        force: whether an older bundle in the folder is replaced.
    """

    file: Path
    folder: Path
    licence: str = "unknown"
    summary: str = ""
    scale: int | None = None
    range: str | None = None
    layout: Layout | None = None
    bgr: bool = False
    size: int | None = None
    overlap: int | None = None
    force: bool = False

    @property
    def values(self) -> tuple[Values, Values] | None:
        """What 0 and 1 are in the picture and in the result, where that was said.

        Raises:
            GenloomError: when it names no ranges.
        """
        if self.range is None:
            return None
        taken, _, given = self.range.partition(":")
        given = given or taken
        if taken not in RANGES or given not in RANGES:
            raise GenloomError(
                "no such range of pixel values",
                expected=f"{', '.join(RANGES)}, or two of them as in 0-255:0-1",
                got=self.range,
            )
        return RANGES[taken], RANGES[given]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A network with genloom's ports, before it is measured and written.

    Attributes:
        model: the graph; input `image` and, for some, `noise_level`; output `result`.
        channels: 1 or 3.
        scale: output size over input size.
        size: the size rule; its `stride` and `overlap` come later.
        batch: whether it takes several pictures at a time.
        windows: what it pads pictures to by itself, 1 where it does not; tiles may have to keep
            to it.
        level: what `noise_level` is unless said, σ / 255; None for a network without.
        architecture: how its authors call it.
        difference: the largest one to what it was made from, on [0, 1].
        notes: what was found out about it, each a line for people.
    """

    model: onnx.ModelProto
    channels: Literal[1, 3]
    scale: int
    size: SizeRule
    batch: bool = True
    windows: int = 1
    level: float | None = None
    architecture: str = ""
    difference: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Port]:
        """The input ports for the card."""
        image = picture_port(self.channels, self.size, batch=self.batch)
        if self.level is None:
            return {"image": image}
        axes: tuple[int | str, ...] = ("batch",) if self.batch else (1,)
        return {"image": image, "noise_level": Port(axes=axes, range=UNIT, default=self.level)}

    @property
    def outputs(self) -> dict[str, Port]:
        """The output port for the card."""
        return {"result": picture_port(self.channels, self.size, batch=self.batch, by=self.scale)}


def unheard(_: str) -> None:
    """Nobody listens."""


def picture_port(channels: int, size: SizeRule, *, batch: bool, by: int = 1) -> Port:
    """A port of pictures; `by` is how many times larger they are than the size rule says."""
    sides: tuple[int | str, int | str] = ("height", "width")
    if size.fixed is not None:
        sides = (size.fixed[0] * by, size.fixed[1] * by)
    return Port(axes=("batch" if batch else 1, channels, *sides), range=UNIT)


def check_bytes(count: int, file: Path) -> None:
    """Check that a graph can be one ONNX file.

    Raises:
        GenloomError: when it is too large.
    """
    if count > MOST_BYTES:
        raise GenloomError(
            "the network is too large for one ONNX file",
            expected="at most 2 GiB",
            got=f"{count / 2**30:.1f} GiB",
            where=str(file),
        )
