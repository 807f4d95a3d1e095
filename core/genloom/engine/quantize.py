"""Make a bundle whose image→image parts have an int8 form, and measure what that is worth."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genloom.card import Card, Int8, Part
from genloom.catalog import Catalog
from genloom.engine.calibration import SIDE, Example, examples, photographs
from genloom.engine.compiling import runtime_named
from genloom.engine.recording import ON_PROCESSOR
from genloom.engine.tune import SLOW
from genloom.engine.verify import verify
from genloom.engine.watching import apart
from genloom.errors import MissingRequirement, ModelError, OutputError
from genloom.models import Bundle
from genloom.runtime import EXACT, INT8, Network, Runtime, Settings, proto
from genloom.runtime.quantizing import quantized

HELD = 4
"""One photograph of so many is not calibrated on but compared on."""

ROUNDS = 5
"""How often each of the two is timed, in turns, after once to warm up."""


@dataclass(frozen=True)
class Worth:
    """What the int8 form of a part is worth on one provider.

    Attributes:
        speed: how many times as fast as fp32 there, on one core, or on the device.
        least: dB between the two, of the photograph where they are furthest apart.
        mean: the same, in the mean of all photographs that were not calibrated on.
    """

    part: str
    provider: str
    speed: float
    least: float
    mean: float


def quantize(
    bundle: Bundle,
    catalog: Catalog,
    paths: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Worth]:
    """Write a bundle with int8 forms of all image→image parts, verified, and compare it with fp32.

    Args:
        bundle: the model; its own files are copied.
        catalog: the plugins.
        paths: photographs like those that the model will see: files, folders, globs.
        folder: the new bundle; made, and its last part is the name of the new model.
        tell: told in words of every step.

    Raises:
        OutputError: when the folder is there already or cannot be written.
        GenloomError: when there are too few photographs.
        ModelError: when nothing of the model can be quantised, or its card asks for fp32.
        MissingRequirement: when a package is not installed.
    """
    _check_folder(folder)
    parts = _parts(bundle.card)
    runtime = runtime_named(catalog, "auto")
    found = photographs(paths, *bundle.card.size.padded(SIDE, SIDE))
    held, used = found[::HELD], [one for n, one in enumerate(found) if n % HELD]
    worth, forms = list[Worth](), dict[str, bytes]()
    for name, part in parts.items():
        given, others = (list(examples(some, bundle.card, part)) for some in (used, held))
        tell(f"{bundle.card.name}: calibrating '{name}' on {len(used)} photographs")
        forms[name] = quantized(bundle.graph(name), given)
        tell(f"{bundle.card.name}: comparing it with {EXACT} on {len(held)} others")
        worth += _compared(name, bundle.graph(name), forms[name], others, runtime)
    words = f"{len(used)} photographs, smallest and largest values"
    _write(bundle, catalog, runtime, folder, forms, words, worth)
    return worth


def _parts(card: Card) -> dict[str, Part]:
    """The parts that give a picture for a picture.

    Raises:
        ModelError: when there are none, one takes what no photograph tells, or the card says that
            the model is computed in one precision.
    """
    if card.precision != "auto":
        raise ModelError(
            f"the model '{card.name}' is computed in {card.precision} only, as its card says",
            hint="Without `precision` on a copy of its card it can be quantised",
        )
    found = {
        name: part
        for name, part in card.parts.items()
        if "image" in part.inputs and "result" in part.outputs
    }
    if not found:
        raise ModelError(
            f"the model '{card.name}' cannot be quantised",
            expected="a part that gives a picture for a picture",
            got=", ".join(card.parts),
        )
    for name, part in found.items():
        others = sorted(part.inputs.keys() - {"image", "noise_level"})
        if others or part.inputs["image"].dtype != "float32":
            got = ", ".join(others) or part.inputs["image"].dtype
            raise ModelError(
                f"'{name}' of the model '{card.name}' cannot be quantised",
                expected="a picture of float32 and no more than a noise level beside it",
                got=got,
            )
    return found


def _compared(
    name: str,
    graph: bytes,
    int8: bytes,
    given: Sequence[Example],
    runtime: Runtime,
) -> Iterator[Worth]:
    """What the int8 form is worth on every provider that computes it in integers."""
    for provider in runtime.providers():
        if provider in SLOW:
            continue
        chosen = Settings(provider=provider, threads=1)
        try:
            fast = runtime.compile(int8, replace(chosen, precision=INT8))
            exact = runtime.compile(graph, chosen)
        except (MissingRequirement, ModelError):
            continue
        if fast.precision != INT8:
            continue
        decibels = [apart(fast.run(one), exact.run(one)) for one in given]
        # Processor time, where it tells: other programs do not count.
        clock = time.process_time if provider in ON_PROCESSOR else time.perf_counter
        times = speed(fast, exact, given[0], clock)
        yield Worth(name, provider, times, min(decibels), float(np.mean(decibels)))


def speed(fast: Network, exact: Network, example: Example, clock: Callable[[], float]) -> float:
    """How many times as fast one network is as the other: the medians of some rounds."""
    taken: dict[Network, list[float]] = {fast: [], exact: []}
    for _ in range(1 + ROUNDS):
        for network, seconds in taken.items():
            began = clock()
            network.run(example)
            seconds.append(clock() - began)
    quick, slow = (statistics.median(seconds[1:]) for seconds in taken.values())
    return slow / max(quick, 1e-9)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(
            "the folder exists already",
            where=str(folder),
            hint="Choose another one, or remove it; nothing is ever replaced",
        )


def _write(
    bundle: Bundle,
    catalog: Catalog,
    runtime: Runtime,
    folder: Path,
    forms: Mapping[str, bytes],
    calibration: str,
    worth: Sequence[Worth],
) -> None:
    """Write the bundle under another name, verify it, and rename it.

    Raises:
        ModelError: when it does not stand.
        OutputError: when it cannot be written.
    """
    final = folder.resolve()
    beside = final.parent / f".{final.name}.tmp"
    new = beside / final.name
    try:
        shutil.rmtree(beside, ignore_errors=True)  # of an earlier run that was killed
        new.mkdir(parents=True)
        for name in bundle.card.files:
            shutil.copyfile(bundle.folder / name, new / name)
        _card(bundle.card, final.name, new, forms, calibration, worth).write(new)
        if problems := list(verify(Bundle.open(new), catalog, runtime)):
            raise ModelError(
                f"the model made of '{bundle.card.name}' does not stand: {'; '.join(problems)}",
                hint="It was not written",
            )
        _check_folder(folder)
        os.replace(new, final)
    except OSError as error:
        raise OutputError(
            f"the model cannot be written ({error.strerror})", where=str(folder)
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _card(
    card: Card,
    name: str,
    folder: Path,
    forms: Mapping[str, bytes],
    calibration: str,
    worth: Sequence[Worth],
) -> Card:
    """The card with the int8 forms, whose files are written into the folder."""
    parts = dict(card.parts)
    for part, data in forms.items():
        file = f"{Path(parts[part].file).stem}.int8.onnx"
        (folder / file).write_bytes(data)
        form = Int8(
            file=file,
            sha256=hashlib.sha256(data).hexdigest(),
            opset=proto.facts(data).opset,
            calibration=calibration,
        )
        parts[part] = parts[part].model_copy(update={"int8": form})
    found = {f"int8/{one.part}_{one.provider}_db": round(one.least, 2) for one in worth}
    return card.model_copy(
        update={"name": name, "parts": parts, "metrics": {**card.metrics, **found}}
    )
