"""Where a bundle is written: what may be replaced, and how nothing is lost on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import genloom
from genloom.card import CARD, Card
from genloom.errors import GenloomError, OutputError
from genloom_community.request import PART, Request


def check_folder(request: Request) -> None:
    """Check that the bundle may be written there.

    Raises:
        GenloomError: when something is there that must not be replaced, or no folder can be.
    """
    folder = request.folder.resolve()
    above = next(one for one in folder.parents if one.exists())
    if not above.is_dir():
        raise OutputError("a folder cannot lie below a file", got=str(above), where=str(folder))
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (request.force and (folder / CARD).is_file()):
        raise OutputError(
            "the folder exists already",
            where=str(request.folder),
            hint="--force replaces a bundle; nothing else is ever replaced",
        )
    if others := _others(folder, request.file):
        raise OutputError(
            "the folder holds more than a bundle, and would be replaced whole",
            got=", ".join(others[:5]),
            where=str(request.folder),
            hint="Move that elsewhere, or choose another folder",
        )


def _others(folder: Path, source: Path) -> list[str]:
    """Names in a bundle's folder that are not the bundle's, and that of the source."""
    card = Card.read(folder)
    own = {CARD, *card.files}
    return sorted(
        one.name
        for one in folder.iterdir()
        if one.name not in own or one.is_symlink() or one.resolve() == source.resolve()
    )


def write(request: Request, card: Card, data: bytes) -> None:
    """Write the bundle under another name, verify it, and rename it.

    Raises:
        GenloomError: when it does not stand or cannot be written; an older one is still there then.
    """
    final = request.folder.resolve()
    old, new = final.parent / f".{final.name}.old", final.parent / f".{final.name}.tmp" / final.name
    try:
        _tidy(old, new, final)  # an earlier run may have been killed at any point
        new.mkdir(parents=True)
        (new / f"{PART}.onnx").write_bytes(data)
        card.write(new)
        if problems := genloom.verify_model(new):
            raise GenloomError(
                f"the bundle made of {request.file.name} does not stand: {'; '.join(problems)}",
                hint="It was not written",
            )
        check_folder(request)  # measuring takes minutes, in which files may have come
        if final.exists():
            final.rename(old)
        new.rename(final)
    except OSError as error:
        raise OutputError(
            f"the bundle cannot be written ({error.strerror})", where=str(request.folder)
        ) from None
    finally:
        _tidy(old, new, final)


def _tidy(old: Path, new: Path, final: Path) -> None:
    """Nothing but one bundle is left: where none is, the one that was moved aside comes back."""
    if old.exists() and not final.exists():
        old.rename(final)
    for folder in (old, new.parent):
        shutil.rmtree(folder, ignore_errors=True)
