"""`save`: pictures into files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from string import Formatter
from typing import Annotated, Literal

from annotated_types import Ge, Le

from genloom import imaging
from genloom.errors import ImageError
from genloom.record import SIDECAR, STATE_FOLDER
from genloom.stage import Run, Stage
from genloom.types import Batch, Item, Kind

FIELDS = tuple((name, "", None) for name in ("folder", "stem", "name"))
"""What a pattern for names may hold, as `string.Formatter` parses it: no formats, no attributes."""


Provenance = Literal["file", "sidecar", "off"]

_LACKING = {
    "avif": "this Pillow cannot write avif; the one that pip brings can",
    "heic": "heic is written by the package pillow-heif with its encoder: pip install pillow-heif",
}


def write_sidecar(path: Path, record: str) -> None:
    """Write a record beside the file that `run.output` gave the path of."""
    path.with_name(f"{path.name}{SIDECAR}").write_text(f"{record}\n", encoding="utf-8")


def without_record(item: Item, format: str, provenance: Provenance) -> Item:
    """The item of a picture; with a note where its file cannot hold what it was to say."""
    if provenance != "file" or format not in imaging.SILENT:
        return item
    said = f"a {format} file cannot say how it was made"
    return item.noting(f"{said}; `provenance: sidecar` says it in a file beside it, `off` nowhere")


def check_pattern(pattern: str) -> None:
    """Whether a pattern gives names below OUT.

    Raises:
        ValueError: when it does not.
    """
    try:
        fields = [part[1:] for part in Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"'{pattern}' is not a pattern for names: {error}") from None
    if any(field not in FIELDS for field in fields):
        allowed = ", ".join(f"{{{name}}}" for name, _, _ in FIELDS)
        raise ValueError(f"the pattern '{pattern}' may hold only {allowed}")
    parts = pattern.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or PureWindowsPath(pattern).drive:
        raise ValueError(f"the pattern '{pattern}' leads out of the output folder")
    if any(part.casefold() == STATE_FOLDER for part in parts[:-1]):
        raise ValueError(f"the pattern '{pattern}' leads into the folder of the journal")


@contextmanager
def _without_place() -> Iterator[None]:
    """Take the name of the temporary file, which tells nobody anything, out of errors."""
    try:
        yield
    except ImageError as error:
        said = {"expected": error.expected, "got": error.got, "hint": error.hint}
        raise ImageError(error.what, **said) from error


@dataclass(frozen=True, kw_only=True)
class Save(Stage):
    """Write each picture into a file and hand it on, so that a chain can save and then gather.

    What the file it came from had besides pixels is kept where the format can hold it: alpha,
    colour profile, EXIF, XMP, resolution, bit depth, grey, palette. With `same`, a lossless WebP
    stays lossless.

    Args:
        format: the file format; `same` keeps that of the source where it can be written, else PNG:
            PBM, say, whose pixels are black or white. `heic` needs the package pillow-heif.
        quality: of lossy formats, 1 to 100.
        palette: whether a picture that came with a palette is given one again.
        to: where below OUT, without ending; `{folder}` and `{stem}` are those of the source.
        provenance: where to say how the picture was made: in the `file` itself, where its format
            can hold it (not BMP, PPM); in a `sidecar`, a file of the same name with `.json`
            added; or `off`.
    """

    name, takes, gives = "save", Kind.IMAGE, Kind.IMAGE
    writes = True
    format: Literal["same", "png", "jpg", "webp", "avif", "heic", "tiff", "bmp"] = "same"
    quality: Annotated[int, Ge(1), Le(100)] = 95
    palette: bool = True
    to: str = "{folder}/{stem}"
    provenance: Provenance = "file"

    def __post_init__(self) -> None:
        if self.format != "same" and not imaging.can_write(f".{self.format}"):
            raise ValueError(_LACKING[self.format])
        check_pattern(self.to)

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Write the pictures of a batch."""
        return batch.with_items([self._write(one, run) for one in batch])

    def _write(self, one: Batch, run: Run) -> Item:
        (item,) = one.items
        ending, info = self.ending(item), item.info
        if self.format != "same" and info.lossless:
            info = replace(info, lossless=False)  # as `quality` says
        with run.output(item, ending, self.to) as path, _without_place():
            notes = imaging.write(
                path,
                one.pixels[0],
                ending=ending,
                alpha=item.alpha,
                info=info,
                quality=self.quality,
                palette=self.palette,
                record=run.record(item) if self.provenance == "file" else "",
            )
            if self.provenance == "sidecar":
                write_sidecar(path, run.record(item))
        for note in notes:
            item = item.noting(note)
        return without_record(item, imaging.WRITABLE[ending.lower()], self.provenance)

    def ending(self, item: Item) -> str:
        """The ending of the file a picture will be written to."""
        if self.format != "same":
            return f".{self.format}"
        own = item.source.suffix if item.source is not None else ""
        if own.lower() == ".mpo":  # a JPEG with further pictures behind it
            return ".jpg"
        return own if imaging.can_write(own) else ".png"
