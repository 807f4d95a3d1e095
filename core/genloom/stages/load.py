"""`load`: pictures from files, folders and globs."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genloom import imaging
from genloom.errors import GenloomError, ImageError, did_you_mean
from genloom.stage import Cardinality, Inputs, Run, Stage
from genloom.types import Batch, Item, Kind


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
        if not self.guides:
            yield from self._walk(inputs)
            return
        # Which files are guides is known only when all pictures are.
        guides = {
            _place(path)
            for item in self._walk(inputs)
            if item.source is not None
            for path in self._beside(item.source).values()
        }
        for item in self._walk(inputs):
            if item.source is not None and _place(item.source) not in guides:
                yield replace(item, beside=self._beside(item.source))

    def _beside(self, source: Path) -> dict[str, Path]:
        """The guides of a picture that are there."""
        paths = {n: self._guide(source, pattern) for n, pattern in self.guides.items()}
        return {n: p for n, p in paths.items() if p.is_file() and _place(p) != _place(source)}

    @staticmethod
    def _guide(source: Path, pattern: str) -> Path:
        return source.parent / pattern.replace("{stem}", source.stem)

    def _walk(self, inputs: Inputs) -> Iterator[Item]:
        """All pictures that the inputs name."""
        out = inputs.out.resolve() if inputs.out is not None else None
        roots = _roots(inputs.paths)
        # A folder counts once, however often it or files in it are named.
        folders = list(dict.fromkeys(root.folder.resolve() for root in roots))
        prefixes = _prefixes(folders)
        seen = _Seen() if _may_meet(roots, folders) else None
        for root in roots:
            root.check_outside(out)
            index = folders.index(root.folder.resolve())
            for files in root.listings(self.recursive, out):
                new = files if seen is None else seen.new(files)
                yield from _items(new, index, root.folder, prefixes[index])

    def cost(self, item: Item) -> int:
        """Bytes of the decoded picture and its guides, from their headers."""
        files = [item.source, *item.beside.values()] if item.source is not None else []
        try:
            return sum(imaging.probe(file)[2] for file in files)
        except ImageError:
            return 0

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Decode one picture."""
        (item,) = batch.items
        if item.source is None:
            raise ImageError(f"{item.key} has no file to load")
        if item.source.is_dir():  # the walk could not enter it
            raise ImageError("the folder cannot be read", where=str(item.source))
        picture = imaging.read(item.source)
        item = replace(item, alpha=picture.alpha, info=picture.info)
        for note in picture.notes:
            item = item.noting(note)
        item = self._with_guides(item, picture.pixels.shape[:2])
        return Batch.images([item], picture.pixels[None])

    def _with_guides(self, item: Item, size: tuple[int, ...]) -> Item:
        guides = {}
        for name, pattern in self.guides.items():
            if name not in item.beside:
                file = self._guide(item.source or Path(), pattern).name
                item = item.noting(f"without its guide '{name}': there is no {file}")
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


@dataclass(frozen=True)
class _Root:
    """A folder that inputs are taken from; `files` when only some of it was asked for."""

    folder: Path
    files: tuple[Path, ...] | None = None

    def listings(self, recursive: bool, out: Path | None) -> Iterator[list[Path]]:
        """The files, one folder at a time, in natural order; folders that cannot be read too."""
        if self.files is not None:
            yield self._outside(out)
            return
        is_out = None if out is None or not out.exists() else out.stat()
        closed: list[Path] = []
        waiting = [self.folder]
        while waiting:  # not os.walk, which recurses, and so ends the run in a very deep folder
            here = waiting.pop()
            try:
                folders, files = _inside(here)
            except OSError:
                closed.append(here)
                continue
            if recursive:
                entered = [name for name in folders if not _left_out(here / name, is_out)]
                waiting += [here / name for name in sorted(entered, key=natural, reverse=True)]
            yield [
                here / name
                for name in sorted(files, key=natural)
                if not name.startswith(".") and _ending(name).lower() in imaging.READABLE
            ]
        yield closed

    def _outside(self, out: Path | None) -> list[Path]:
        """The files that were named, without those that are results of a run into OUT."""
        files = list(self.files or ())
        if out is None or out in self.folder.resolve().parents:
            return files  # OUT holds the inputs, not the other way round
        return [file for file in files if not file.resolve().is_relative_to(out)]

    def check_outside(self, out: Path | None) -> None:
        """Whether anything is left of the files that were named.

        Raises:
            GenloomError: when all of them lie in the output folder.
        """
        if self.files and not self._outside(out):
            raise GenloomError(
                "the pictures named lie in the output folder, where results are not read back",
                got=str(self.files[0]),
                hint="Write to another folder",
            )


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders in a folder, without links, and of all else but links to folders."""
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not os.path.isdir(entry.path):
                files.append(entry.name)
            elif not entry.is_symlink():
                folders.append(entry.name)
    return folders, files


def _left_out(folder: Path, out: os.stat_result | None) -> bool:
    if folder.name.startswith("."):
        return True
    try:  # not by resolving its path, which takes minutes in a very deep folder
        return out is not None and os.path.samestat(folder.stat(), out)
    except OSError:
        return False


def _roots(paths: Sequence[str]) -> list[_Root]:
    """Folders as they are, globs under their fixed part, single files under their folder."""
    roots: list[_Root] = []
    files: dict[Path, list[Path]] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            roots.append(_Root(path))
        elif path.exists() or path.is_symlink():
            files.setdefault(path.parent, []).append(path)
        elif glob.has_magic(text):
            roots.append(_globbed(text))
        else:
            raise _missing(path)
    # Files given one by one (by a shell's own globbing, say) share one root for each folder.
    return roots + [_Root(folder, tuple(dict.fromkeys(found))) for folder, found in files.items()]


def _globbed(text: str) -> _Root:
    fixed = Path(*_until_magic(Path(text).parts))
    pattern = Path(text).parts[len(fixed.parts) :]
    if pattern[-1] == "**":
        pattern = (*pattern, "*")
    try:  # unlike glob.glob, this follows no links to folders, which may lead round in circles
        found = set(fixed.glob("/".join(pattern)))
    except ValueError as error:
        raise GenloomError(f"'{text}' is not a pattern for files ({error})") from None
    hidden = any(part.startswith(".") for part in pattern)
    found = {path for path in found if hidden or not _is_hidden(path.relative_to(fixed))}
    pictures = [
        path for path in found if path.suffix.lower() in imaging.READABLE and path.is_file()
    ]
    if not pictures:
        folders = any(path.is_dir() for path in found)
        hint = f"It matches folders; what is in them is '{text.rstrip('/')}/**'" if folders else ""
        raise GenloomError(f"no pictures match '{text}'", hint=hint)
    return _Root(fixed, tuple(sorted(pictures, key=_natural_path)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _until_magic(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _missing(path: Path) -> GenloomError:
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    names = [entry.name for entry in missing.parent.iterdir() if not entry.name.startswith(".")]
    near = did_you_mean(missing.name, names, most=6) if names else ""
    return GenloomError(f"there is no file or folder '{missing}'", hint=near)


def _prefixes(folders: Sequence[Path]) -> list[str]:
    """Where the results of each root go below OUT: at the top, or told apart by name."""
    if len(folders) == 1:
        return [""]
    names = [_normal(folder.name) or "root" for folder in folders]
    prefixes: list[str] = []
    taken: set[str] = set()
    for name in names:
        chosen, count = name, 1
        # A number is not given to one root that is another's own name.
        while chosen.casefold() in taken or (count > 1 and chosen in names):
            count += 1
            chosen = f"{name}-{count}"
        taken.add(chosen.casefold())
        prefixes.append(f"{chosen}/")
    return prefixes


def _may_meet(roots: Sequence[_Root], folders: Sequence[Path]) -> bool:
    """Whether one file may be met twice; of many files it would cost much to remember them all."""
    if any(root.files is not None for root in roots) or len(roots) > len(folders):
        return True
    return any(one in other.parents for one in folders for other in folders)


class _Seen:
    """The files that were met; links to one file are pictures of their own."""

    def __init__(self) -> None:
        self._places: set[str] = set()

    def new(self, files: Sequence[Path]) -> list[Path]:
        """The files that were not met before, each once."""
        folders = {folder: os.path.realpath(folder) for folder in {f.parent for f in files}}
        places = {os.path.join(folders[file.parent], file.name): file for file in reversed(files)}
        new = [file for place, file in reversed(places.items()) if place not in self._places]
        self._places.update(places)
        return new


def _items(files: Sequence[Path], index: int, root: Path, prefix: str) -> Iterator[Item]:
    # Millions pass here: texts are a good deal quicker than paths.
    folders, names = [], []
    for file in files:
        folder, name = os.path.split(file)
        folders.append(folder)
        names.append(name)
    below = {folder: _below(folder, root) for folder in set(folders)}
    # Which pictures differ only in their ending is known only here, where a folder is seen whole.
    folded = [(folder, _stem(name).casefold()) for folder, name in zip(folders, names, strict=True)]
    stems = Counter(folded)
    keys: set[str] = set()
    for file, folder, name, own_stem in zip(files, folders, names, folded, strict=True):
        name = _normal(name)
        ending = _ending(name)
        unique = stem = name.removesuffix(ending)
        count = 1
        while (own := f"{below[folder]}{unique}{ending}") in keys:
            count += 1  # two names that are one when normalised
            unique = f"{stem}~{count}"
        keys.add(own)
        note = f"named {unique}, because another name differs only in its Unicode form"
        yield Item(
            key=f"{index}/{own}",
            name=f"{prefix}{below[folder]}{unique}",
            place=f"{prefix}{own}",
            group=f"{prefix}{below[folder]}"[:-1],
            source=file,
            notes=(note,) if count > 1 else (),
            twin=stems[own_stem] > 1,
        )


def _below(folder: str, root: Path) -> str:
    """The way from a root to a folder, with a slash at its end; empty for the root itself."""
    own = _normal(Path(folder).relative_to(root).as_posix())
    return "" if own == "." else f"{own}/"


def _ending(name: str) -> str:
    """A file's ending, as `Path.suffix` says it."""
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def _stem(name: str) -> str:
    """A file's name without its ending, as `Path.stem` says it."""
    return name.removesuffix(_ending(name))


def _normal(text: str) -> str:
    """Unicode in its composed form, so that a name has one key on every file system."""
    if text.isascii():
        return text
    return unicodedata.normalize(
        "NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )


def _natural_path(path: Path) -> tuple[Any, ...]:
    """Like the walk of a folder: natural order, files before what lies in sub-folders."""
    *folders, name = (natural(part) for part in path.parts)
    return (*((1, folder) for folder in folders), (0, name))


def natural(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sort key that puts `img2` before `img10`, ignoring case."""
    parts = re.split(r"([0-9]+)", text)
    key = [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]
    return tuple(key), text
