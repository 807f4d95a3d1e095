"""Where a model computes: on the provider asked for, and on the CPU what does not fit there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from genloom.card import Card
from genloom.engine.networks import Networks
from genloom.errors import OutOfMemory
from genloom.runtime import CPU

T = TypeVar("T")


class Fallback:
    """The networks of a model, and those on the CPU for what they have no memory for.

    Args:
        card: of the model, for messages.
        networks: on the provider asked for.
        spare: on the CPU; None where that is not wanted.
    """

    def __init__(self, card: Card, networks: Networks, spare: Networks | None) -> None:
        self._card, self._networks, self.spare = card, networks, spare

    def call(self, part: str, least: int, what: str, call: Callable[[Networks], T]) -> T:
        """Call on the provider asked for, else on the CPU where memory does not do and it may.

        Args:
            part: which is called.
            least: values that cannot be cut any further; where they do not fit once, items as
                large are not tried there again.
            what: the same in words.
            call: calls it on the networks that it is given, with less and less until it fits.

        Raises:
            OutOfMemory: when it fits nowhere, with all that was tried.
        """
        room = self._networks.room(part)
        try:
            if self.spare is None:
                return call(self._networks)
            if not room.closed(least):
                try:
                    return call(self._networks)
                except OutOfMemory:
                    if self._networks.provider(part) == CPU:
                        raise
                    room.close(least)
            return call(self.spare)
        except OutOfMemory as error:
            raise self._fits_nowhere(part, what, error) from None

    def notes(self) -> list[str]:
        """What the user should know of how it was computed."""
        notes = self._networks.notes()
        if self.spare is not None and self.spare.precisions:
            parts = ", ".join(f"'{part}'" for part in self.spare.precisions)
            notes.append(f"computed on the CPU what did not fit elsewhere, with {parts}")
            notes += self.spare.notes()
        return notes

    def reductions(self) -> list[str]:
        """Each time that memory ran out, in words; more as it happens."""
        return self._networks.reductions() + (self.spare.reductions() if self.spare else [])

    def _fits_nowhere(self, part: str, what: str, error: OutOfMemory) -> OutOfMemory:
        provider = self._networks.provider(part)
        tried = list(self._networks.room(part).failures)
        if self.spare is not None:
            tried += [f"{failure} on the CPU" for failure in self.spare.room(part).failures]
        hint = "Fewer `--workers` hold less at a time"
        if self.spare is None and provider != CPU:
            hint += "; `--cpu-fallback` computes on the CPU what does not fit"
        if self._card.receptive_field == "global" and not self._card.size.overlap:
            hint += "; put a `resize` before it"
            if "network" in self._card.parts:
                hint += ", or import it with `--overlap`, to be cut"
        return OutOfMemory(
            f"'{part}' of the model '{self._card.name}' has no memory for {what} ({error.what})",
            got=f"{provider or 'the provider'} ran out at {', '.join(tried)}" if tried else "",
            hint=hint,
        )
