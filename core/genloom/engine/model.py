"""A bundle compiled for a runtime: the model that stages and backends are given."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from math import prod

import numpy as np

from genloom import imaging
from genloom.backend import Backend
from genloom.card import Card
from genloom.engine import arrays
from genloom.engine.arrays import joined, with_channels
from genloom.engine.cutting import Cutting
from genloom.engine.fallback import Fallback
from genloom.engine.inference import ImageInference
from genloom.engine.networks import Compile, Form, Networks
from genloom.engine.room import items_of, of_items, pieces, shape_of
from genloom.engine.watching import FLOOR
from genloom.errors import ModelError, OutOfMemory, shown
from genloom.models import Bundle
from genloom.runtime import EXACT, Network, memory
from genloom.types import Array, Batch, Item

ENSEMBLES = (1, 2, 4, 8)
"""Of how many ways to turn and mirror a picture the mean can be taken."""


class CompiledModel:
    """A model ready to run; see `genloom.Model`. Safe to use from several threads.

    Args:
        bundle: the model on disk.
        backend: what its family means.
        compile: makes a network of the bytes of a graph, in a precision.
        tile: longest side in pixels of the tiles that large pictures are cut into; 0 for what is
            usual for the model.
        precision: as in `genloom.RunSettings`.
        floor: its `precision_floor`.
        spare: compiles for the CPU what another provider has no memory for; None where that is
            not wanted.
        batch: pictures, or tiles of them, that go into one call where the network gains by it.
        batch_pixels: pixels of such a call at the most; 0 for no such bound.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        compile: Compile,
        *,
        tile: int = 0,
        precision: str = EXACT,
        floor: float = FLOOR,
        spare: Compile | None = None,
        batch: int = 1,
        batch_pixels: int = 0,
    ) -> None:
        self.bundle, self.backend = bundle, backend
        self.networks = Networks(bundle, compile, precision, floor)
        self.fallback = Fallback(
            bundle.card, self.networks, Networks(bundle, spare) if spare else None
        )
        self.images = ImageInference(
            bundle,
            self.networks,
            self.fallback,
            self._called,
            tile=tile,
            batch=batch,
            batch_pixels=batch_pixels,
        )
        self._tensors: Mapping[str, Array] | None = None
        self._lock = threading.Lock()

    @property
    def card(self) -> Card:
        """What the model is."""
        return self.bundle.card

    @property
    def digest(self) -> str:
        """SHA-256 over what decides results in the card."""
        return self.bundle.digest

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The arrays that the bundle holds beside its graphs; read once."""
        with self._lock:
            if self._tensors is None:
                self._tensors = self.bundle.tensors()
            return self._tensors

    @property
    def cutting(self) -> Cutting:
        """How large pictures are put through it."""
        return self.images.cutting

    @property
    def tile(self) -> int:
        """Longest side in pixels of the tiles that large pictures are cut into."""
        return self.cutting.tile

    def network(self, part: str) -> Network:
        """The compiled graph of a part; compiled once."""
        return self.networks.get(part)

    @property
    def precisions(self) -> dict[str, str]:
        """What each compiled part computes in, or may after its first call."""
        return self.networks.precisions

    def prepare(self, parts: Sequence[str], *, rounded: bool) -> str:
        """Compile parts now as 8-bit pictures will want them: what fails shall fail early.

        Returns:
            the provider that took them, or all of them where `auto` came to different ones.
        """
        form = Form.ROUNDED if rounded and not self.cutting.overlap else Form.BYTES
        providers = [
            self.fallback.call(
                part, 0, "its graph", partial(_compiled, part=part, form=form)
            ).provider
            for part in parts
        ]
        return ", ".join(dict.fromkeys(providers))

    def run(self, part: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on arrays exactly as its ports want them; see `genloom.Model`."""
        count = items_of(self.card.parts.get(part), inputs)
        shape = shape_of(inputs, count)

        what = "×".join(map(str, shape)) or "1"

        def on(networks: Networks) -> list[dict[str, Array]]:
            def call(which: slice) -> dict[str, Array]:
                some = of_items(inputs, which, count) if count > 1 else inputs
                return self._called(networks, part, Form.FLOATS, some)

            few, room, each = networks.get(part).few_shapes, networks.room(part), prod(shape)
            alone = room.is_for_one(each)
            try:
                with memory.alone() if alone else nullcontext():
                    return pieces(room, count, each, what, call, few_shapes=few)
            except OutOfMemory:
                if alone or not memory.was_crowded():
                    raise
            room.keep_for_one(each)
            return on(networks)

        done = self.fallback.call(part, prod(shape), f"one item of {what}", on)
        return {name: joined([one[name] for one in done]) for name in done[0]}

    def _called(
        self, networks: Networks, part: str, form: Form, inputs: Mapping[str, Array]
    ) -> dict[str, Array]:
        """One call of a graph."""
        return networks.get(part, form).run(inputs)

    def encode(self, batch: Batch) -> Batch:
        """Pictures → latents."""
        return self.backend.encode(self, self.fit(batch))

    def decode(self, batch: Batch) -> Batch:
        """Latents → pictures.

        Raises:
            ModelError: when another model made the latents.
        """
        if batch.model != self.digest:
            raise ModelError(
                "these latents were made by another model",
                expected=f"latents of '{self.card.name}' ({self.digest[:12]}…)",
                got=f"{batch.model[:12]}…",
            )
        return self.backend.decode(self, batch)

    def prior(
        self,
        items: Sequence[Item],
        random: Sequence[np.random.RandomState],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
    ) -> Batch:
        """One latent for each item from the model's prior."""
        return self.backend.prior(
            self, items, random, temperature=temperature, truncation=truncation, labels=labels
        )

    def fit(self, batch: Batch) -> Batch:
        """The pictures in the model's channels and, where it takes only one, in its size."""
        batch = batch.with_pixels(with_channels(batch.pixels, self.card.channels))
        fixed = self.card.size.fixed
        if fixed is None:
            return self._cut_to_multiple(batch)
        if batch.size == fixed:
            return batch
        note = f"resized from {batch.size[1]}×{batch.size[0]} to the model's {fixed[1]}×{fixed[0]}"
        pixels = [imaging.resize(one, *fixed, "lanczos") for one in batch.pixels]
        return batch.with_items([item.noting(note) for item in batch.items]).with_pixels(
            np.stack(pixels)
        )

    def _cut_to_multiple(self, batch: Batch) -> Batch:
        rule, (height, width) = self.card.size, batch.size
        new = [max(side // rule.multiple * rule.multiple, rule.minimum) for side in (height, width)]
        if (height, width) == (new[0], new[1]):
            return batch
        pixels = [imaging.resize(one, new[0], new[1], "lanczos") for one in batch.pixels]
        return batch.with_pixels(np.stack(pixels))

    def image(
        self,
        part: str,
        batch: Batch,
        *,
        ensemble: int = 1,
        rounded: bool = False,
        **ports: Array,
    ) -> Batch:
        """Run an image→image graph (ports `image`, `result`); see `genloom.Model`."""
        if ensemble not in ENSEMBLES:
            raise ModelError(
                "'ensemble' is not right",
                expected=" or ".join(map(str, ENSEMBLES)),
                got=shown(ensemble),
            )
        rounded = rounded and ensemble == 1 and self.cutting.overlap == 0  # those are blended
        pixels = arrays.shown(batch)
        return batch.with_pixels(self.images.averaged(part, pixels, ports, ensemble, rounded))


def _compiled(networks: Networks, part: str, form: Form) -> Network:
    return networks.get(part, form if networks.folds(part) else Form.FLOATS)
