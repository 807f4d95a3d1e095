"""Ctrl-C and SIGTERM end a run cleanly, and never in the middle of a commit."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """While it is entered, SIGINT and SIGTERM raise `KeyboardInterrupt` in the main thread.

    Inside `held()` they wait. Once `closing()` was called, the first is over and the run is
    putting away what is finished; another one then ends the process at once, which the journal
    survives as it survives a kill.
    """

    def __init__(self) -> None:
        self._held = self._closing = self._waiting = False
        self._previous: dict[int, Any] = {}
        self.ending = threading.Event()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        if self._closing:
            if self._waiting:
                os._exit(130)
            self._waiting = True
        elif self._held:
            self._waiting = True
        else:
            self._waiting = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let interrupts wait until the block has ended."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting and not self._closing:
            raise KeyboardInterrupt

    def closing(self) -> None:
        """From now on, finish what is finished; a further interrupt ends the process."""
        self._closing = True
        self.ending.set()


class RunEndedError(Exception):
    """The run is ending: what this thread is at will not be kept."""


_thread = threading.local()


def heed(ending: threading.Event) -> None:
    """From now on, `go_on` in this thread raises once the run is ending."""
    _thread.ending = ending


def go_on() -> None:
    """To be called between parts of long work, in any thread.

    Raises:
        RunEndedError: when the run, whose thread this is, is ending.
    """
    ending = getattr(_thread, "ending", None)
    if ending is not None and ending.is_set():
        raise RunEndedError
