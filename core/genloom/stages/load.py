"""`load`: pictures from files, folders and globs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from genloom import imaging
from genloom.errors import ImageError
from genloom.listing import Listing, portions
from genloom.stage import Cardinality, Inputs, Run, Stage
from genloom.stages.folders import walk
from genloom.types import Batch, Item, Kind, changed


@dataclass(frozen=True, kw_only=True)
class Load(Stage):
    """Read pictures: the files named, every picture of the folders named, what globs match.

    Folders are walked in natural order (`a2` before `a10`), files before sub-folders; hidden
    files, everything below OUT, and folders that are symbolic links are left out.

    Args:
        recursive: whether sub-folders are walked too.
        guides: files that go with each picture and are no pictures of their own, by what they
            show, each as a path from the picture's folder, where `{stem}` is the picture's name
            without its ending: `{albedo: "{stem}.albedo.png"}`.
    """

    name, takes, gives = "load", Kind.NOTHING, Kind.IMAGE
    cardinality = Cardinality.NONE_TO_MANY
    recursive: bool = True
    guides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, pattern in self.guides.items():
            if "{stem}" not in pattern or re.search(r"[{}]", pattern.replace("{stem}", "")):
                raise ValueError(
                    f"the guide '{name}' needs a path that holds {{stem}}, got {pattern!r}"
                )

    def sources(self, inputs: Inputs) -> Iterator[Item]:
        """The pictures that the inputs name, each once, none of them below OUT."""
        for listing in self.listings(inputs):
            yield from listing.items(range(len(listing)))

    def listings(self, inputs: Inputs) -> Iterator[Listing]:
        """The same pictures, by folders."""
        if not self.guides:
            yield from walk(inputs, recursive=self.recursive)
            return
        # Which files are guides is known only when all pictures are.
        guides = {
            _place(path)
            for item in self._all(inputs)
            if item.source is not None
            for path in self._beside(item.source).values()
        }
        yield from portions(
            replace(item, beside=self._beside(item.source))
            for item in self._all(inputs)
            if item.source is not None and _place(item.source) not in guides
        )

    def _all(self, inputs: Inputs) -> Iterator[Item]:
        """All pictures that the inputs name, guides among them."""
        for listing in walk(inputs, recursive=self.recursive):
            yield from listing.items(range(len(listing)))

    def _beside(self, source: Path) -> dict[str, Path]:
        """The guides of a picture that are there."""
        paths = {n: self._guide(source, pattern) for n, pattern in self.guides.items()}
        return {n: p for n, p in paths.items() if p.is_file() and _place(p) != _place(source)}

    @staticmethod
    def _guide(source: Path, pattern: str) -> Path:
        return source.parent / pattern.replace("{stem}", source.stem)

    def cost(self, item: Item) -> int:
        """Bytes of the decoded picture and its guides, from their headers."""
        if item.source is None:
            return 0
        try:
            own = imaging.decoded_bytes(item.source, item.encoded)
            return own + sum(imaging.decoded_bytes(file) for file in item.beside.values())
        except ImageError:
            return 0

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Decode one picture."""
        (item,) = batch.items
        if item.source is None:
            raise ImageError(f"{item.key} has no file to load")
        if item.encoded is None and item.source.is_dir():  # the walk could not enter it
            raise ImageError("the folder cannot be read", where=str(item.source))
        picture = imaging.read(item.source, item.encoded)
        item = changed(item, encoded=None, alpha=picture.alpha, info=picture.info)
        for note in picture.notes:
            item = item.noting(note)
        item = self._with_guides(item, picture.pixels.shape[:2])
        return Batch.images([item], picture.pixels[None])

    def _with_guides(self, item: Item, size: tuple[int, ...]) -> Item:
        if not self.guides:
            return item
        guides = {}
        for name, pattern in self.guides.items():
            if name not in item.beside:
                # One text for all pictures, so that a report can count them.
                item = item.noting(f"without its guide '{name}': there is no {pattern}")
                continue
            guide = imaging.read(item.beside[name])
            if guide.pixels.shape[:2] != size:
                raise ImageError(
                    f"the guide '{name}' has another size than its picture",
                    expected=f"{size[1]}×{size[0]}",
                    got=f"{guide.pixels.shape[1]}×{guide.pixels.shape[0]}",
                    where=str(item.beside[name]),
                )
            guides[name] = guide.pixels
        return replace(item, guides=guides)


def _place(path: Path) -> str:
    """Where a file lies, whatever way its name leads there."""
    return os.path.normpath(path.absolute())
