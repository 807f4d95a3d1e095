"""`animate`: pictures as the frames of one animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from genloom import imaging
from genloom.errors import StageError
from genloom.stage import Cardinality, Run, Stage
from genloom.stages.save import Provenance, write_sidecar
from genloom.stages.sheet import flattened, grey_as_colour
from genloom.types import Array, Batch, Item, Kind, as_dtype

MOST = 2000
ENDINGS = {"gif": ".gif", "webp": ".webp", "apng": ".png"}


@dataclass(frozen=True, kw_only=True)
class Animate(Stage):
    """Write pictures as one animation, in the order they came in; after 2000 begins another.

    Args:
        format: GIF (256 colours a frame), WebP, or APNG (lossless, ends in .png).
        fps: frames a second.
        loop: how often it plays; 0 for ever.
        bounce: whether it plays back to the first frame before it starts again.
        enlarge: whole factor by which small pictures are enlarged without smoothing.
        group: one animation of all items, or one for each folder.
        allow_missing: whether to go on without items that failed.
        provenance: where to say how it was made: in the `file` itself; in a `sidecar`, a file of
            the same name with `.json` added; or `off`.
    """

    name, takes, gives = "animate", Kind.IMAGE, Kind.NOTHING
    cardinality = Cardinality.MANY_TO_ONE
    writes = True
    format: Literal["gif", "webp", "apng"] = "gif"
    fps: Annotated[float, Gt(0), Le(100)] = 12.0
    loop: Annotated[int, Ge(0), Le(65535)] = 0
    bounce: bool = False
    enlarge: Annotated[int, Ge(1), Le(64)] = 1
    group: Literal["all", "folder"] = "all"
    allow_missing: bool = False
    provenance: Provenance = "file"

    def most(self) -> int:
        """Frames of one animation; more begin another."""
        return MOST

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Keep frames as 8-bit pixels while they wait for the others."""
        return batch.with_pixels(as_dtype(batch.pixels, np.uint8))

    def gather(self, members: Sequence[Batch], item: Item, run: Run) -> Batch:
        """Write one animation."""
        channels = max(member.pixels.shape[3] for member in members)
        frames = [self._frame(member, channels) for member in members]
        shapes = sorted({frame.size for frame in frames})
        if len(shapes) > 1:
            raise StageError(
                "the frames of an animation must have one size",
                got=", ".join(f"{width}×{height}" for width, height in shapes[:4]),
                hint="Put a `resize` or `crop` before `animate`",
            )
        if self.bounce:
            frames += frames[-2:0:-1]
        with run.output(item, ENDINGS[self.format]) as path:
            self._write(frames, path, run.record(item) if self.provenance == "file" else "")
            if self.provenance == "sidecar":
                write_sidecar(path, run.record(item))
        return Batch.nothing([self._noted(item, len(members))])

    def _noted(self, item: Item, count: int) -> Item:
        """The item of an animation, with what is not as one may think."""
        if count == MOST:
            full = f"this animation is full ({MOST} frames); any more are in the next one"
            item = item.noting(full)
        shown = 1000 / self._duration()
        if abs(shown / self.fps - 1) > 0.05:
            item = item.noting(f"GIF counts hundredths of a second: {shown:.3g} frames each second")
        return item

    def _frame(self, member: Batch, channels: int) -> Any:
        from PIL import Image

        pixels: Array = as_dtype(grey_as_colour(flattened(member, 1.0), channels), np.uint8)
        pixels = pixels.repeat(self.enlarge, axis=0).repeat(self.enlarge, axis=1)
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)

    def _duration(self) -> int:
        """Milliseconds that a frame is shown."""
        step = 10 if self.format == "gif" else 1
        return max(1, round(1000 / self.fps / step)) * step

    def _write(self, frames: list[Any], path: Path, record: str) -> None:
        duration = self._duration()
        how: dict[str, Any] = {"duration": duration, "loop": self.loop}
        if self.format == "gif":
            # GIF counts how often it plays again; without a count it plays once.
            again = {} if self.loop == 1 else {"loop": max(0, self.loop - 1)}
            how = {"format": "GIF", "duration": duration, "disposal": 1, "optimize": False, **again}
        elif self.format == "webp":
            how |= {"format": "WEBP", "quality": 90, "method": 4}
        else:
            how |= {"format": "PNG", "default_image": False}
        how |= imaging.record_options(how["format"], record)
        frames[0].save(path, save_all=True, append_images=frames[1:], **how)
        if self.format == "gif" and record:
            imaging.add_record(path, record)
