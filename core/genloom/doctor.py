"""What this machine can run, what is broken, and how to mend it: `genloom doctor`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from genloom import __version__, machine, packages
from genloom.errors import GenloomError, MissingRequirement, counted

if TYPE_CHECKING:
    from genloom.catalog import Catalog
    from genloom.runtime import Runtime

State = Literal["ok", "note", "broken"]
LEAST_FREE = 2**30
EXTRAS = {"openvino": "running models on OpenVINO", "train": "training models"}
"""Extras that may be missing without harm, and what each is for."""


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        section: what it is about.
        state: `ok`; `note`, worth knowing; `broken`, to be mended.
        what: the finding; `hint` says what to do.
    """

    section: str
    state: State
    what: str
    hint: str = ""

    def plain(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


def examine(catalog: Catalog | None = None, own_commands: Iterable[str] = ()) -> list[Check]:
    """Examine the environment. Nothing that is broken in it makes this raise.

    Args:
        catalog: the plugins; the installed ones unless given.
        own_commands: genloom's own commands, whose names a plugin cannot take.
    """
    known = catalog

    def plugins() -> Catalog:
        nonlocal known
        if known is None:
            from genloom.catalog import Catalog

            known = Catalog.load()
        return known

    sections: dict[str, Callable[[], Iterator[Check]]] = {
        "packages": _packages,
        "runtime": lambda: _runtimes(plugins()),
        "extras": _extras,
        "files": _codecs,
        "models": lambda: _models(plugins()),
        "plugins": lambda: _plugins(plugins(), own_commands),
        "machine": _machine,
    }
    return [check for name, section in sections.items() for check in _guarded(name, section)]


def _guarded(name: str, section: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A section that fails is a finding: whatever is missing, the others are examined."""
    try:
        yield from section()
    except (Exception, SystemExit) as error:
        reason = f"this could not be examined ({type(error).__name__}: {error})"
        yield Check(name, "broken", reason)


def _packages() -> Iterator[Check]:
    system = f"{platform.system()} {platform.machine()}"
    yield Check("packages", "ok", f"Python {platform.python_version()} on {system}, {sys.prefix}")
    yield Check("packages", "ok", f"genloom {__version__}")
    for package in packages.requirements():
        if package.extra:
            continue
        if package.met:
            yield Check("packages", "ok", f"{package.name} {package.installed}")
            continue
        what = f"{package.name} {package.installed} is older than {package.least}"
        what = what if package.installed else f"{package.name} is missing"
        hint = f"Install it with: python -m pip install '{package}'"
        yield Check("packages", "broken", what, hint)


def _runtimes(catalog: Catalog) -> Iterator[Check]:
    yield from _builds()
    working, providers = 0, set[str]()
    for name, runtime_type in catalog.runtimes().items():
        try:
            runtime = runtime_type()
            at_hand = runtime.providers()
        except (Exception, SystemExit) as error:
            yield _lost(catalog, name, error)
            continue
        providers |= set(at_hand)
        for check in _providers(name, runtime, at_hand):
            working += check.state == "ok"
            yield check
    if not working:
        what = "no runtime works, so no model can be run"
        hint = "Install one with: python -m pip install 'genloom[cpu]'"
        yield Check("runtime", "broken", what, f"{hint} (or 'genloom[cuda]' for an NVIDIA GPU)")
    yield from _gpu("cuda" in providers)


def _lost(catalog: Catalog, name: str, error: BaseException) -> Check:
    from genloom.plugins import mend

    owner = catalog.owner("runtime", name)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, GenloomError):
        reason = error.what
    what = f"the runtime '{name}' of the plugin {owner} does not start ({reason})"
    return Check("runtime", "broken", what, getattr(error, "hint", "") or mend(owner))


def _builds() -> Iterator[Check]:
    """The installed builds of ONNX Runtime."""
    from genloom.runtime import ort

    builds = ort.installed()
    if len(builds) > 1:
        yield Check(
            "runtime",
            "broken",
            f"{' and '.join(builds)} are both installed and overwrite each other's files",
            "Keep one: python -m pip uninstall onnxruntime onnxruntime-gpu; then python -m pip "
            "install 'genloom[cpu]' (or 'genloom[cuda]' for an NVIDIA GPU)",
        )
    elif builds:
        try:
            ort.onnxruntime()
        except MissingRequirement as error:
            hint = "Install it again: python -m pip install --force-reinstall onnxruntime"
            yield Check("runtime", "broken", f"{builds[0]}: {error.what}", hint)
        else:
            yield Check("runtime", "ok", builds[0])


def _providers(name: str, runtime: Runtime, at_hand: Iterable[str]) -> Iterator[Check]:
    """Each provider of a runtime, tried on a tiny graph."""
    from genloom.runtime import trial

    for provider in at_hand:
        reason = trial.tried(runtime, provider)
        if not reason:
            yield Check("runtime", "ok", f"{name}: the provider '{provider}' works")
        elif provider == "cpu":
            hint = "Install it again: python -m pip install --force-reinstall onnxruntime"
            yield Check("runtime", "broken", f"{name}: '{provider}' does not work: {reason}", hint)
        else:
            what = f"{name}: '{provider}' is in this build but does not work here: {reason}"
            yield Check("runtime", "note", what, "`--provider auto` goes without it")


def _gpu(has_cuda: bool) -> Iterator[Check]:
    gpu = machine.nvidia_gpu()
    if not gpu:
        yield Check("runtime", "note", "no NVIDIA GPU is seen (nvidia-smi lists none)")
    elif has_cuda:
        yield Check("runtime", "ok", f"GPU {gpu}")
    else:
        yield Check(
            "runtime",
            "note",
            f"GPU {gpu} is there, but the installed ONNX Runtime does not use it",
            "To use it: python -m pip uninstall onnxruntime; "
            "then python -m pip install 'genloom[cuda]'",
        )


def _extras() -> Iterator[Check]:
    for extra, purpose in EXTRAS.items():
        needed = [package for package in packages.requirements() if package.extra == extra]
        missing = [str(package) for package in needed if not package.met]
        if missing:
            hint = f"For {purpose}: python -m pip install 'genloom[{extra}]'"
            yield Check("extras", "note", f"{extra}: without {', '.join(missing)}", hint)
        elif needed:
            names = ", ".join(package.name for package in needed)
            yield Check("extras", "ok", f"{extra}: {names}")


def _codecs() -> Iterator[Check]:
    for name, there in machine.codecs().items():
        if there:
            yield Check("files", "ok", name)
        else:
            cure = "pip install pillow-heif" if name == "HEIC" else "a newer Pillow has it"
            hint = f"{name} files cannot be read; {cure}"
            yield Check("files", "note", f"{name} missing", hint)


def _models(catalog: Catalog) -> Iterator[Check]:
    from genloom.models import Bundle, available

    good = 0
    for found in available(catalog):
        try:
            bundle = Bundle.open(found.folder, found.origin)
            for part in bundle.card.parts:
                bundle.graph(part)
        except GenloomError as error:
            hint = "`genloom models verify` says more; get or train the bundle again"
            yield Check("models", "broken", f"{found.name} ({found.origin}): {error}", hint)
        else:
            good += 1
    yield Check(
        "models", "ok" if good else "note", f"{counted(good, 'model')} with the right hashes"
    )


def _plugins(catalog: Catalog, own_commands: Iterable[str]) -> Iterator[Check]:
    from genloom.plugins import findings

    for problem in findings(catalog, own_commands):
        state: State = "broken" if problem.broken else "note"
        yield Check("plugins", state, f"{problem.plugin}: {problem.what}", problem.hint)
    working = sum(not plugin.error for plugin in catalog.plugins.values())
    yield Check("plugins", "ok", f"{working} of {len(catalog.plugins)} plugins work")


def _machine() -> Iterator[Check]:
    yield Check("machine", "ok", machine.processor())
    memory, disk = machine.free_memory(), machine.free_disk()
    if memory is not None:
        state: State = "ok" if memory > LEAST_FREE else "note"
        hint = "" if state == "ok" else "Large pictures may not fit; try a smaller --tile"
        yield Check("machine", state, f"{memory / 2**30:.1f} GiB of memory free", hint)
    state = "ok" if disk > LEAST_FREE else "note"
    yield Check("machine", state, f"{disk / 2**30:.1f} GiB of disk free in the working folder")
