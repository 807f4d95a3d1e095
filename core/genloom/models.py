"""Model bundles on disk: opened by name, checked by hash."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs

from genloom.card import CARD, Card, Part
from genloom.catalog import Catalog
from genloom.errors import GenloomError, ModelError, UnknownName, did_you_mean
from genloom.limits import MAX_BUNDLE_BYTES, MAX_GRAPH_BYTES
from genloom.types import Array, digest_of

PROJECT_FOLDER = Path("models")

_IN_WORDS: dict[str, Any] = {
    **dict.fromkeys(("name", "summary", "licence", "parameters", "metrics", "origin"), True),
    "parts": {
        "__all__": {"file": True, "opset": True, "int8": {"file", "opset", "calibration"}},
    },
}
"""What a card says for people; the rest of it decides what is computed."""


def user_folder() -> Path:
    """Where a user's own bundles live, for every project."""
    return Path(platformdirs.user_data_dir("genloom", appauthor=False)) / "models"


@dataclass(frozen=True)
class Bundle:
    """A model on disk: its folder, its card, and in words who brought it.

    Attributes:
        stamp: size and time of each of its files when it was opened.
    """

    folder: Path
    card: Card
    origin: str = "a path"
    stamp: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, folder: Path, origin: str = "a path") -> Bundle:
        """Open the bundle in a folder. Hashes are checked by `graph` and `verify`, not here.

        Raises:
            ModelError: when there is no card, or the files it names are too large.
            InvalidFile: with every problem of the card.
        """
        card = Card.read(folder)
        bundle = cls(folder, card, origin, _stamp(folder, card))
        size = sum(size for name, (size, _) in bundle.stamp.items() if name in card.graphs)
        if size > MAX_BUNDLE_BYTES:
            raise ModelError(
                "the model is too large",
                expected=f"at most {MAX_BUNDLE_BYTES} bytes in all",
                got=f"{size}",
                where=str(folder),
            )
        return bundle

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of the card that decides results: equal digests, equal results."""
        # Without defaults, so that a field that is added later changes no digest.
        said = self.card.model_dump(mode="json", exclude=_IN_WORDS, exclude_defaults=True)
        return digest_of(said)

    @property
    def changed(self) -> bool:
        """Whether one of its files was written to, replaced or removed since it was opened."""
        return bool(self.stamp) and _stamp(self.folder, self.card) != self.stamp

    @property
    def nbytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def graph(self, part: str) -> bytes:
        """The bytes of a graph.

        Raises:
            ModelError: when the model has no such part, or its file is missing, changed, too
                large, or outside the bundle.
        """
        entry = self._part(part)
        return self._file(f"the graph of '{part}'", entry.file, entry.sha256)

    def int8(self, part: str) -> bytes:
        """The bytes of the int8 form of a graph.

        Raises:
            ModelError: as `graph` does, and when there is no such form.
        """
        entry = self._part(part).int8
        if entry is None:
            raise ModelError(
                f"'{part}' of the model '{self.card.name}' has no int8 form",
                where=str(self.folder),
                hint=f"`genloom quantize {self.card.name} PHOTOS -o FOLDER` makes a model with one",
            )
        return self._file(f"the int8 form of '{part}'", entry.file, entry.sha256)

    def _part(self, part: str) -> Part:
        entry = self.card.parts.get(part)
        if entry is None:
            raise ModelError(
                f"the model '{self.card.name}' has no part '{part}'",
                expected=f"one of {', '.join(self.card.parts)}",
                where=str(self.folder),
            )
        return entry

    def tensors(self) -> dict[str, Array]:
        """The arrays beside the graphs; none where the card lists none.

        Raises:
            ModelError: when their file is missing, changed, or not what the card says.
        """
        entry = self.card.tensors
        if entry is None:
            return {}
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self._file("the file of tensors", entry.file, entry.sha256)
        try:
            arrays = load(data)
        except SafetensorError as error:
            raise ModelError(
                f"the file of tensors is not safetensors ({error})",
                where=str(self.folder / entry.file),
            ) from None
        found = {name: tuple(array.shape) for name, array in arrays.items()}
        if found != dict(entry.shapes):
            raise ModelError(
                "the file of tensors holds other arrays than the card lists",
                expected=str(dict(entry.shapes)),
                got=str(found),
                where=str(self.folder / entry.file),
            )
        return dict(arrays)

    def _file(self, what: str, name: str, sha256: str) -> bytes:
        """The bytes of a file of the bundle, checked against the card."""
        path = self.folder / name
        try:
            _check_file(what, path)
            data = path.read_bytes()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{what} cannot be read ({reason})", where=str(path)) from None
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ModelError(
                f"{what} is not the one the card describes",
                expected=f"sha256 {sha256[:12]}…",
                got=f"{found[:12]}…",
                where=str(path),
                hint="The file is damaged or was replaced; get or train the bundle again",
            )
        return data


def _stamp(folder: Path, card: Card) -> dict[str, tuple[int, int]]:
    """Size and time of the card and of each file it names that is there."""
    found = {}
    for name in (CARD, *card.files):
        with contextlib.suppress(OSError):
            facts = (folder / name).stat()
            found[name] = (facts.st_size, facts.st_mtime_ns)
    return found


def _check_file(what: str, path: Path) -> None:
    """Whether a file lies in its bundle, wherever links lead, and is one that can be read whole."""
    if path.resolve(strict=True).parent != path.parent.resolve():
        raise ModelError(
            f"{what} is a link to a file outside the bundle",
            got=str(path.resolve()),
            where=str(path),
            hint="Put the file itself into the bundle",
        )
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{what} is not a file", where=str(path))
    if found.st_size > MAX_GRAPH_BYTES:
        raise ModelError(
            f"{what} is too large",
            expected=f"at most {MAX_GRAPH_BYTES} bytes",
            got=f"{found.st_size}",
            where=str(path),
        )


@dataclass(frozen=True)
class Found:
    """A bundle that a name could mean; `error` says why it cannot be opened."""

    name: str
    folder: Path
    origin: str
    error: str = ""


def places(catalog: Catalog) -> Iterator[tuple[Path, str]]:
    """Folders that may hold bundles, in the order in which names are looked up."""
    yield PROJECT_FOLDER, "the project's models/"
    yield user_folder(), "your models"
    for folder, plugin in catalog.folders("models"):
        yield folder, f"the plugin {plugin.name}"


def available(catalog: Catalog) -> list[Found]:
    """Every bundle at hand, in the order of look-up: of one name, the first is used."""
    found = []
    for place, origin in places(catalog):
        for card in sorted(place.glob(f"*/{CARD}")):
            error = ""
            try:
                Card.read(card.parent)
            except GenloomError as problem:
                error = str(problem)
            found.append(Found(card.parent.name, card.parent, origin, error))
    return found


def find(name: str, catalog: Catalog, base: Path | None = None) -> Bundle:
    """The bundle that a name or a path means.

    A path is tried first, relative to `base` (the pipeline file's folder) or the working folder;
    then the project's `models/`, the user's folder, and plugins.

    Raises:
        UnknownName: with the nearest right name.
        ModelError, InvalidFile: when it is there but cannot be opened.
    """
    for start in (base, Path()):
        if start is not None and (start / name / CARD).is_file():
            return Bundle.open(start / name)
    candidates = [
        (place / name, origin)
        for place, origin in places(catalog)
        if (place / name / CARD).is_file()
    ]
    if "/" not in name and "\\" not in name and candidates:
        return Bundle.open(*candidates[0])
    for start in (base, Path()):
        if start is not None:
            _check_no_other_thing(name, start / name)
    known = [entry.name for entry in available(catalog)]
    raise UnknownName.of("model", name, known)


def _check_no_other_thing(name: str, path: Path) -> None:
    """Say what a path is that exists and is no bundle: weights, or a folder of bundles."""
    if path.is_file():
        raise UnknownName(
            f"'{name}' is a file, and a model is a folder",
            hint="`genloom import FILE -o FOLDER` makes one of a file of weights; name that folder",
        )
    if inside := [f"{name.rstrip('/')}/{card.parent.name}" for card in path.glob(f"*/{CARD}")]:
        hint = did_you_mean(name, inside)
        raise UnknownName(f"the folder '{name}' is no model, and holds some", hint=hint)


def shadowed(bundle: Bundle, catalog: Catalog) -> list[Found]:
    """Other bundles that the same name could have meant and that this one hides."""
    name = bundle.folder.name
    return [
        Found(name, place / name, origin)
        for place, origin in places(catalog)
        if (place / name / CARD).is_file() and (place / name).resolve() != bundle.folder.resolve()
    ]


def overview(catalog: Catalog) -> list[dict[str, Any]]:
    """Every bundle at hand as plain values, in the order of look-up.

    `hidden_by` says where a bundle lies that is used in place of one of the same name.
    """
    rows = []
    used: dict[str, Found] = {}
    for found in available(catalog):
        first = used.setdefault(found.name, found)
        row: dict[str, Any] = {
            "name": found.name,
            "from": found.origin,
            "folder": str(found.folder),
            "error": found.error,
            "hidden_by": "" if first is found else first.origin,
        }
        rows.append(row if found.error else row | _facts(Bundle.open(found.folder, found.origin)))
    return rows


def _facts(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    rule = card.size
    size = f"{rule.fixed[1]}×{rule.fixed[0]}" if rule.fixed else "any size"
    if not rule.fixed and rule.multiple > 1:
        size = f"multiples of {rule.multiple}"
    size += ", square" if rule.square else ""
    return {
        "family": card.family,
        "summary": card.summary,
        "channels": "grey" if card.channels == 1 else "colour",
        "size": size,
        "parts": list(card.parts),
        "bytes": bundle.nbytes,
        "digest": bundle.digest,
    }
