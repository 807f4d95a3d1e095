"""How to run: what a user may ask for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from genloom.engine.shards import Shard
from genloom.engine.tuned import LEAST_TILE
from genloom.engine.watching import FLOOR
from genloom.errors import GenloomError, did_you_mean, shown
from genloom.runtime import EXACT, INT8

BATCH = 16
BATCH_PIXELS = 512 * 512
QUEUE_BYTES = 256 * 2**20
QUEUE_BYTES_A_THREAD = 64 * 2**20
"""What a queue holds at least, and for each thread that decodes and writes, where memory allows."""

PRECISIONS = ("auto", EXACT, "bf16", "fp16", INT8)

_LEAST = {"threads": 0, "workers": 0, "batch": 0, "tile": 0, "queue_bytes": 0}
"""The smallest values of settings that are numbers."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How to run; nothing here changes the pixels beyond float rounding.

    Attributes:
        provider: `auto` or one execution provider; `provider_options` are its own.
        runtime: name of a runtime; `auto` looks for the provider in all that are installed.
        threads: threads of one call to a network; 0 divides the cores among the workers.
        workers: pictures computed at a time, and threads that decode and write; 0 for what was
            tuned, else as many as there are cores, which always decode and write.
        batch: pictures of one shape in one call; 0 lets the engine choose by their size.
        tile: longest side in pixels of the tiles that large pictures are cut into; 0 for what was
            tuned, else 768, 1024 or 1536: the smallest that costs the model hardly any time.
        precision: what networks compute in: `fp32`, `bf16`, `fp16`, or `auto` for the fastest that
            the provider has, or `int8` for models that `genloom quantize` made. The first results
            of a lower precision are compared with those of fp32, which is taken where they are
            further apart than `precision_floor`.
        precision_floor: least peak signal-to-noise ratio between the two, in dB.
        cpu_fallback: whether the CPU computes what the provider has no memory for, after smaller
            batches and tiles did not help; None for yes where `provider` is `auto`, else no.
        queue_bytes: bound on each of the queues between decoding, computing and writing; 0 for
            64 MiB for each thread that decodes and writes, but no more than a sixteenth of the free
            memory, and at least 256 MiB.
        force: do again what is done already.
        fail_fast: stop at the first picture that fails.
        tuned: whether what `genloom tune` found for a model is used wherever nothing is asked
            for; not on other providers or precisions than it was found for.
        shard: `K/N` for the K-th of N parts, each a run with a journal of its own.
    """

    provider: str = "auto"
    provider_options: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "auto"
    threads: int = 0
    workers: int = 0
    batch: int = 0
    tile: int = 0
    precision: str = "auto"
    precision_floor: float = FLOOR
    cpu_fallback: bool | None = None
    queue_bytes: int = 0
    force: bool = False
    fail_fast: bool = False
    tuned: bool = True
    shard: str = ""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise GenloomError(
                    f"the setting '{name}' is not right",
                    expected=f"a whole number of at least {least}",
                    got=shown(value),
                )
        if 0 < self.tile < LEAST_TILE:
            raise GenloomError(
                "the setting 'tile' is not right",
                expected=f"0, or a whole number of at least {LEAST_TILE}",
                got=shown(self.tile),
            )
        floor = self.precision_floor
        if not isinstance(floor, int | float) or not floor >= 0:  # as no number is not, either
            raise GenloomError(
                "the setting 'precision_floor' is not right",
                expected="dB, a number of at least 0",
                got=shown(floor),
            )
        if not isinstance(self.cpu_fallback, bool | None):
            raise GenloomError(
                "the setting 'cpu_fallback' is not right",
                expected="true, false or null",
                got=shown(self.cpu_fallback),
            )
        if self.precision not in PRECISIONS:
            raise GenloomError(
                f"there is no precision '{self.precision}'",
                expected=" or ".join(PRECISIONS),
                hint=did_you_mean(self.precision, PRECISIONS),
            )
        Shard.of(self.shard)
