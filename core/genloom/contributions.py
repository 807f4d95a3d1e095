"""What a plugin brings, checked before any of it is entered in a catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genloom.backend import Backend
from genloom.errors import PluginError
from genloom.options import schema_of
from genloom.registry import plural
from genloom.runtime import Runtime
from genloom.stage import Stage

_STAGE_NAME = re.compile(r"^[a-z][a-z0-9-]*$")


def gathered(ask: Callable[[str], Any], *, own: bool = False) -> dict[str, dict[str, Any]]:
    """Everything a plugin brings, by noun and name.

    Args:
        ask: gives a hook's answer.
        own: whether it is genloom's own plugin, whose options the tests have checked.

    Raises:
        PluginError: when any of it cannot be used.
    """
    stages = [checked_stage(stage) for stage in ask("genloom_stages")]
    families = [_checked_class("backend", family, Backend) for family in ask("genloom_backends")]
    runtimes = [_checked_class("runtime", runtime, Runtime) for runtime in ask("genloom_runtimes")]
    datasets = _checked_datasets(ask("genloom_datasets"))
    configs = [family.config for family in families if family.config is not None]
    for owner in () if own else (*stages, *configs, *datasets.values()):
        _check_options(owner)
    return {
        "kind": _by_name("kind", [(kind.name, kind) for kind in ask("genloom_kinds")]),
        "stage": _by_name("stage", [(stage.name, stage) for stage in stages]),
        "family": _by_name("family", [(family.family, family) for family in families]),
        "runtime": _by_name("runtime", [(runtime.name, runtime) for runtime in runtimes]),
        "format": _by_name("format", [(entry.key, entry) for entry in ask("genloom_formats")]),
        "dataset": _by_name("dataset", datasets.items()),
    }


def checked_stage(stage: Any) -> type[Stage]:
    """The stage, when it is made as `genloom.Stage` says.

    Raises:
        PluginError: when it is not.
    """
    _checked_class("stage", stage, Stage)
    for attribute in ("name", "takes", "gives"):
        if not hasattr(stage, attribute):
            raise PluginError(f"the stage {stage.__name__} does not set '{attribute}'")
    if (
        "__dataclass_params__" not in stage.__dict__
        or not stage.__dict__["__dataclass_params__"].frozen
    ):
        raise PluginError(
            f"the stage {stage.__name__} is not a frozen dataclass",
            hint="Write @dataclass(frozen=True, kw_only=True) above it",
        )
    if not (isinstance(stage.name, str) and _STAGE_NAME.match(stage.name)):
        raise PluginError(
            f"the stage {stage.__name__} has a name that pipeline files cannot hold",
            expected="lower-case letters, digits and hyphens",
            got=repr(stage.name),
        )
    return stage  # type: ignore[no-any-return]


def checked_folders(noun: str, folders: Any) -> list[Path]:
    """Folders of `models` or `pipelines` that a plugin names.

    Raises:
        PluginError: when the answer is no list of folders.
    """
    if not isinstance(folders, Sequence) or isinstance(folders, str):
        raise PluginError(f"genloom_{noun} must give a list of folders", got=repr(folders))
    return [Path(folder) for folder in folders]


def names_in(noun: str, folder: Path) -> list[str]:
    """The names of the bundles or pipelines in a folder."""
    if noun == "models":
        return sorted(path.parent.name for path in folder.glob("*/model.yaml"))
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _checked_class(noun: str, found: Any, base: type) -> Any:
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PluginError(f"genloom_{noun}s must give {noun} classes", got=repr(found))
    return found


def _checked_datasets(datasets: Any) -> Mapping[str, type]:
    if not isinstance(datasets, Mapping):
        raise PluginError("genloom_datasets must give a mapping of names", got=repr(datasets))
    for name, owner in datasets.items():
        if not isinstance(owner, type):
            raise PluginError(f"the dataset '{name}' is not a class", got=repr(owner))
    return datasets


def _check_options(owner: type) -> None:
    """Every option has a type that values from YAML can be checked against, and such a default.

    Raises:
        PluginError: when one has not.
    """
    try:
        json.dumps(schema_of(owner), allow_nan=False)
    except Exception as error:  # typing and pydantic raise many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PluginError(
            f"the options of {owner.__name__} have types that cannot be checked ({reason})"
        ) from error


def _by_name(noun: str, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, thing in pairs:
        if not isinstance(name, str):
            raise PluginError(f"it brings a {noun} whose name is no text", got=repr(name))
        if name in found:
            raise PluginError(f"it brings two {plural(noun)} called '{name}'")
        found[name] = thing
    return found
