"""Pictures in folders, by name and by globs: found, told apart and put in order."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from genloom import imaging
from genloom.errors import GenloomError, did_you_mean
from genloom.listing import TOGETHER, Listing
from genloom.stage import Inputs
from genloom.types import Item

Names = tuple[str, list[str]]
"""A folder, and names of files in it."""


@dataclass(frozen=True)
class _Root:
    """A folder that inputs are taken from; `files` when only some of it was asked for."""

    folder: Path
    files: tuple[Path, ...] | None = None

    def names(self, recursive: bool, out: Path | None) -> Iterator[Names]:
        """The files, one folder at a time; folders that cannot be read too.

        What was asked for by name is in that order; files of a folder are in none.
        """
        if self.files is not None:
            yield from _by_folder(self._outside(out))
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
            yield str(here), files
        yield from _by_folder(closed)

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


def _by_folder(files: Iterable[Path]) -> Iterator[Names]:
    found: dict[str, list[str]] = {}
    for file in files:
        folder, name = os.path.split(file)
        found.setdefault(folder, []).append(name)
    yield from found.items()


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """Names in a folder: of its folders, without links, and of what may be pictures."""
    folders, files, endings = [], [], tuple(imaging.READABLE)
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_file(follow_symlinks=False):
                if name.lower().endswith(endings) and name[0] != ".":
                    files.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif (
                name.lower().endswith(endings) and name[0] != "." and not os.path.isdir(entry.path)
            ):
                files.append(name)
    return folders, files


def _left_out(folder: Path, out: os.stat_result | None) -> bool:
    if folder.name.startswith("."):
        return True
    try:  # not by resolving its path, which takes minutes in a very deep folder
        return out is not None and os.path.samestat(folder.stat(), out)
    except OSError:
        return False


def walk(inputs: Inputs, *, recursive: bool) -> Iterator[Listing]:
    """All pictures that inputs name, each once, none of them below OUT, by folders.

    Raises:
        GenloomError: when an input names nothing that is there, or nothing but results.
    """
    out = inputs.out.resolve() if inputs.out is not None else None
    roots = _roots(inputs.paths)
    # A folder counts once, however often it or files in it are named.
    folders = list(dict.fromkeys(root.folder.resolve() for root in roots))
    prefixes = _prefixes(folders)
    seen = _Seen() if _may_meet(roots, folders) else None
    for root in roots:
        root.check_outside(out)
        real_root = root.folder.resolve()
        index = folders.index(real_root)
        for folder, names in root.names(recursive, out):
            way = str(Path(folder).relative_to(root.folder))  # `..` in a glob stays
            way = "" if way == os.curdir else f"{way}{os.sep}"
            # Only names and globs lead through links; resolving a very deep folder takes minutes.
            ordered = root.files is not None
            real = os.path.realpath(folder) if ordered else os.path.join(real_root, way[:-1])
            new = names if seen is None else seen.new(real, names)
            below = _normal(way.replace(os.sep, "/"))
            place, key = f"{prefixes[index]}{below}", f"{index}/{below}"
            yield _Folder(folder, real, new, place, key, ordered=ordered)


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

    def new(self, real: str, names: Sequence[str]) -> list[str]:
        """The files of a folder, whose links are resolved, that were not met before, each once."""
        places = {os.path.join(real, name): name for name in names}
        new = [name for place, name in places.items() if place not in self._places]
        self._places.update(places)
        return new


class _Folder:
    """Pictures of one folder: a listing.

    Args:
        folder: where they lie.
        real: the same, with links resolved.
        names: of the files.
        place: what comes before their names in the names of results, with a slash at its end.
        key: what comes before their names in their keys.
        ordered: whether the names are in order; else the natural one is theirs.
    """

    def __init__(
        self, folder: str, real: str, names: list[str], place: str, key: str, *, ordered: bool
    ) -> None:
        self._folder, self._real, self._found = folder, real, names
        self._place, self._key, self._ordered = place, key, ordered

    def __len__(self) -> int:
        return len(self._found)

    @cached_property
    def _names(self) -> list[str]:
        """The names, so that what is looked up together lies together in the journal."""
        many = len(self._found) > TOGETHER and not self._ordered
        return sorted(self._found) if many else self._found

    def sketches(self, some: range) -> Sequence[str | None]:
        """What files are known by; None for one that is gone."""
        names = self._names[some.start : some.stop]
        if self._renamed:
            return [None] * len(names)
        try:
            return self._sketched(names)
        except OSError:
            return [self._sketch(name) for name in names]

    def _sketch(self, name: str) -> str | None:
        try:
            return self._sketched([name])[0]
        except OSError:
            return None

    def _sketched(self, names: Sequence[str]) -> list[str]:
        """What files are known by: a million in a few seconds, so without a call for each.

        Raises:
            OSError: when one is gone.
        """
        place, key, real = self._place, f"\0{self._key}", f"\0{os.path.join(self._real, '')}"
        return [  # as `sketch` writes it
            f"{place}{name}{key}{name}\0{stat.st_size}\0{stat.st_mtime_ns}{real}{name}"
            for name, stat in zip(names, _stats(self._folder, names), strict=True)
        ]

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions, in order."""
        positions = self._in_order(wanted)
        folder = Path(self._folder)
        # Which pictures differ only in their ending is known only here, where a folder is whole.
        stems = Counter(_stem(name).casefold() for name in self._names) if positions else Counter()
        for position in positions:
            name = self._names[position]
            own, note = self._renamed.get(position) or (_normal(name), "")
            yield Item(
                key=f"{self._key}{own}",
                name=f"{self._place}{_stem(own)}",
                place=f"{self._place}{own}",
                group=self._place[:-1],
                source=folder / name,
                notes=(note,) if note else (),
                twin=stems[_stem(name).casefold()] > 1,
            )

    def _in_order(self, positions: Iterable[int]) -> list[int]:
        if self._ordered:
            return list(positions)
        return sorted(positions, key=lambda position: natural(self._names[position]))

    @cached_property
    def _renamed(self) -> dict[int, tuple[str, str]]:
        """Names that are others when normalised, with a note where another has that one."""
        names = self._names
        if "".join(names).isascii() or all(_normal(name) == name for name in names):
            return {}
        found, taken = {}, set[str]()
        for position in self._in_order(range(len(names))):
            own = unique = _normal(names[position])
            ending, count = _ending(own), 1
            while unique in taken:
                count += 1
                unique = f"{_stem(own)}~{count}{ending}"
            taken.add(unique)
            note = f"named {_stem(unique)}, because another name differs only in its Unicode form"
            found[position] = unique, note if count > 1 else ""
        return found


def _stats(folder: str, names: Sequence[str]) -> list[os.stat_result]:
    """Sizes and times of files in a folder, whose path is followed once where the system can."""
    if os.stat not in os.supports_dir_fd:
        return [os.stat(os.path.join(folder, name)) for name in names]
    handle = os.open(folder or os.curdir, os.O_RDONLY)
    try:
        return [os.stat(name, dir_fd=handle) for name in names]
    finally:
        os.close(handle)


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
