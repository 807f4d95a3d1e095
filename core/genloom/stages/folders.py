"""Pictures in folders, by name and by globs: found, told apart and put in order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genloom import imaging
from genloom.errors import GenloomError, did_you_mean
from genloom.listing import Listing
from genloom.stage import Inputs
from genloom.stages.filenames import composed, natural
from genloom.stages.listed import Folder

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
            below = composed(way.replace(os.sep, "/"))
            place, key = f"{prefixes[index]}{below}", f"{index}/{below}"
            yield Folder(folder, real, new, place, key, ordered=ordered)


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
    names = [composed(folder.name) or "root" for folder in folders]
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


def _natural_path(path: Path) -> tuple[Any, ...]:
    """Like the walk of a folder: natural order, files before what lies in sub-folders."""
    *folders, name = (natural(part) for part in path.parts)
    return (*((1, folder) for folder in folders), (0, name))
