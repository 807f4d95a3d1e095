"""Pipelines by name or path."""

from __future__ import annotations

from pathlib import Path

from genloom.catalog import Catalog
from genloom.errors import GenloomError, UnknownName, did_you_mean

PROJECT_FOLDER = Path("pipelines")


def find(source: str | Path, catalog: Catalog) -> Path:
    """The file that a path or name means: a path, the project's `pipelines/`, plugins."""
    path = Path(source)
    if path.is_file():
        return path
    if path.exists() and (path.suffix or len(path.parts) > 1):
        raise GenloomError(
            f"'{path}' is not a pipeline file",
            expected="an ordinary file, or the name of a pipeline",
            got="a folder" if path.is_dir() else "a pipe or another special file",
            hint=_inside(path) if path.is_dir() else "Write it into a file first",
        )
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        beside = [other.name for other in path.parent.glob("*.y*ml")]
        hint = did_you_mean(path.name, beside) if beside else ""
        raise GenloomError(f"there is no pipeline file '{path}'", hint=hint)
    known = available(catalog)
    if str(source) not in known:
        raise UnknownName.of("pipeline", str(source), known)
    return known[str(source)][0]


def _inside(folder: Path) -> str:
    """Which of its files may have been meant."""
    names = sorted(str(path) for path in folder.glob("*.y*ml"))
    return f"In it: {', '.join(names[:6])}" if names else ""


def available(catalog: Catalog) -> dict[str, tuple[Path, str]]:
    """Every pipeline that runs by name: its file and who brought it."""
    places = [(PROJECT_FOLDER, "the project's pipelines/")]
    places += [
        (folder, f"the plugin {plugin.name}") for folder, plugin in catalog.folders("pipelines")
    ]
    found: dict[str, tuple[Path, str]] = {}
    for folder, origin in places:
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, (path, origin))
    return found
