"""What a foreign graph takes and gives, found out by trying."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from genloom.card import SizeRule
from genloom.errors import GenloomError, ModelError
from genloom.runtime import Network
from genloom.types import Floats
from genloom_community.examples import ABOUT, example, odd
from genloom_community.request import Layout, Request
from genloom_community.wrap import DTYPES, Convention

MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 3, 6, 7, 12, 14, 24, 28, 48, 5, 10, 20, 9, 40, 128, 256)
"""Size rules that are tried, in this order."""
CHANNELS = (3, 1, 4, 2)
"""Numbers of channels that are tried, in this order."""
LEVEL = (4, 2)
"""Those of which the last is a map of the noise level."""
SMALLEST = 1e-3
LEAST_SIDE = 8
"""Height and width in pixels of a network of one size, at least: shorter axes are no sides."""

Shape = tuple[int | str | None, ...]


class Probe:
    """A foreign graph under trial.

    Attributes:
        convention: how it takes and gives pictures, the range of values aside.
        size: which sizes it takes; `scale` is output size over input size.
        batch: whether it takes several pictures at a time, each as it would be alone.
        notes: what was found, for people.

    Raises:
        GenloomError: when it is no network from one picture to one picture.
    """

    def __init__(self, network: Network, request: Request) -> None:
        self.network = network
        self.notes: list[str] = []
        image, result = _picture_ports(network)
        if others := sorted(set(network.inputs) - {image}):
            raise GenloomError(
                "the network wants more than a picture",
                expected="one input, of four axes",
                got=", ".join(f"{name} {_shown(network.inputs[name])}" for name in others),
                where=str(request.file),
            )
        self._shape: Shape = network.inputs[image] or (None,) * 4  # a shape may be left out
        self._check_batch(request)
        last: list[GenloomError] = []
        for convention in self._conventions(image, result, request):
            try:
                self.convention, self.size, self.scale = self._tried(convention)
                break
            except GenloomError as error:
                last.append(error)
        else:
            raise last[0]
        self.batch = self._takes_several()
        if self.convention.layout == "nhwc":
            self.notes.append("its channels come last (NHWC)")
        if self.convention.dtype != "float32":
            self.notes.append(f"its pictures are {self.convention.dtype}")
        if self.convention.level:
            self.notes.append("its last channel is taken for the noise level")
        if len(network.outputs) > 1:
            self.notes.append(f"of its outputs '{result}' is taken for the picture")

    def _check_batch(self, request: Request) -> None:
        count = self._shape[0]
        if isinstance(count, int) and count > 1:
            raise ModelError(
                f"the network takes {count} pictures at once",
                expected="1, or any number",
                got=_shown(self._shape),
                where=str(request.file),
                hint="Export it for one picture, or with a free batch",
            )

    def _conventions(self, image: str, result: str, request: Request) -> Iterator[Convention]:
        """Those that the declared shape allows, the likeliest first."""
        types = self.network.types
        dtype, result_dtype = types[image], types[result]
        for name, found in ((image, dtype), (result, result_dtype)):
            if found not in DTYPES:
                raise ModelError(
                    f"'{name}' has an element type that pictures cannot have",
                    expected=", ".join(DTYPES),
                    got=found,
                )
        bytes_in, bytes_out = dtype == "uint8", result_dtype == "uint8"
        for layout, channels in self._declared(request):
            yield Convention(
                image=image,
                result=result,
                channels=channels - 1 if channels in LEVEL else channels,
                level=channels in LEVEL,
                layout=layout,
                result_layout=layout,
                dtype=dtype,
                result_dtype=result_dtype,
                values=(0, 255) if bytes_in else (0, 1),
                result_values=(0, 255) if bytes_out else (0, 1),
                bgr=request.bgr,
            )

    def _declared(self, request: Request) -> list[tuple[Layout, int]]:
        """Layouts and numbers of channels that the declared shape allows.

        Where a channel axis is stated the other layout is not tried on a free one: RGBA would pass
        for pictures four pixels high.

        Raises:
            ModelError: when there are none.
        """
        stated, free = [], []
        for layout in _LAYOUTS if request.layout is None else (request.layout,):
            axis = self._shape[1 if layout == "nchw" else 3] if self._shape else None
            if isinstance(axis, int):
                stated += [(layout, axis)] if axis in CHANNELS else []
            else:
                free += [(layout, channels) for channels in CHANNELS]
        found = stated or free
        if request.bgr:  # grey has no blue, whatever else the shape would allow
            grey = all(channels <= LEVEL[1] for _, channels in found)
            found = [] if grey else [one for one in found if one[1] > LEVEL[1]]
        if not found:
            colour = "3 channels, as blue comes first," if request.bgr else "1 or 3 channels"
            raise ModelError(
                "the input is no picture",
                expected=f"{colour} (one more for a noise level), first or last",
                got=_shown(self._shape),
            )
        return found

    def _tried(self, convention: Convention) -> tuple[Convention, SizeRule, int]:
        """Size rule and scale under a convention; the result's layout is settled on the way."""
        fixed = self._fixed(convention)
        if fixed is not None:
            settled, scale = self._result(convention, fixed)
            return settled, SizeRule(fixed=fixed), scale
        first: GenloomError | None = None
        for square in (False, True):
            for multiple in MULTIPLES:
                size = odd(multiple, square)
                try:
                    settled, scale = self._result(convention, size)
                    # Another size, as the first may be a multiple of something else by chance.
                    self._result(settled, (size[0] + multiple, size[1] + multiple))
                except GenloomError as error:
                    first = first or error
                    continue
                minimum = self._minimum(settled, multiple, scale, min(size))
                return settled, SizeRule(multiple=multiple, minimum=minimum, square=square), scale
        assert first is not None
        words = ", ".join(str(multiple) for multiple in sorted(MULTIPLES))
        tried = f"Tried, square and not: sizes that are multiples of {words}"
        raise ModelError(first.what, expected=first.expected, got=first.got, hint=tried)

    def _fixed(self, convention: Convention) -> tuple[int, int] | None:
        rows, columns = (2, 3) if convention.layout == "nchw" else (1, 2)
        height, width = self._shape[rows], self._shape[columns]
        if not isinstance(height, int) and not isinstance(width, int):
            return None
        height = height if isinstance(height, int) else width
        width = width if isinstance(width, int) else height
        fixed = int(height or 0), int(width or 0)
        if min(fixed) < LEAST_SIDE:
            raise ModelError(
                f"as {convention.layout.upper()} its pictures would be too small",
                expected=f"at least {LEAST_SIDE} pixels in height and width",
                got=_shown(self._shape),
            )
        return fixed

    def _result(self, convention: Convention, size: tuple[int, int]) -> tuple[Convention, int]:
        """Run once: the convention with the result's layout, and the scale.

        Raises:
            GenloomError: when the result is no picture of a whole multiple of the size.
        """
        picture = example(size, convention.channels)
        problem: GenloomError | None = None
        for layout in dict.fromkeys((convention.layout, *_LAYOUTS)):
            settled = replace(convention, result_layout=layout)
            result = settled.run(self.network, picture, 0.1)
            try:
                return settled, _scale(size, result, settled.channels)
            except GenloomError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def _minimum(self, convention: Convention, multiple: int, scale: int, known: int) -> int:
        """The smallest of multiple, 2 · multiple, 4 · multiple … that it takes.

        It is known to take `known`, and larger sizes are not tried.
        """
        side = multiple
        while side < known:
            try:
                if self._result(convention, (side, side))[1] == scale:
                    break
            except GenloomError:
                pass
            side *= 2
        return side

    def _takes_several(self) -> bool:
        if isinstance(self._shape[0], int):
            return False
        size = self.size.fixed or self.size.padded(ABOUT, ABOUT)
        pictures = np.concatenate(
            [example(size, self.convention.channels, seed) for seed in (1, 2)]
        )
        try:
            both = self.convention.run(self.network, pictures, 0.1)
            alone = self.convention.run(self.network, pictures[1:], 0.1)
        except GenloomError:
            return False
        return both.shape[0] == 2 and bool(np.allclose(both[1:], alone, SMALLEST, SMALLEST))


_LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")


def _picture_ports(network: Network) -> tuple[str, str]:
    """The first input and the first output with four axes."""
    found = []
    for side, ports in (("input", network.inputs), ("output", network.outputs)):
        pictures = [name for name, shape in ports.items() if len(shape) in (0, 4)]
        if not pictures:
            raise ModelError(
                f"the network has no {side} that is a picture",
                expected="four axes: batch, channels, height, width in some order",
                got=", ".join(f"{name} {_shown(shape)}" for name, shape in ports.items()),
            )
        found.append(pictures[0])
    return found[0], found[1]


def _scale(size: tuple[int, int], result: Floats, channels: int) -> int:
    height, width = size
    rows, columns = result.shape[2:] if result.ndim == 4 else (0, 0)
    scale = rows // height
    whole = scale >= 1 and (rows, columns) == (height * scale, width * scale)
    if result.ndim != 4 or result.shape[1] != channels or not whole:
        raise ModelError(
            "the network gives no picture with the channels and a multiple of the size it takes",
            expected=f"{channels} channels, and {width}×{height} or a multiple of that",
            got=f"shape {result.shape}",
        )
    if not np.isfinite(result).all():
        raise ModelError("the network gives values that are not finite")
    return int(scale)


def _shown(shape: Shape) -> str:
    return "×".join("?" if axis is None else str(axis) for axis in shape)
