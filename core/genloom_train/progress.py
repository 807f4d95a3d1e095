"""How a training shows itself: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Steps done of `steps`, with the latest losses."""

    def __init__(self, steps: int, start: int = 0, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._steps, self._start = steps, start
        self._bar: Bar | None = None
        self._first: tuple[int, float] | None = None
        if self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.description}"), console=self._console)
            self._task: Any = self._bar.add_task("", total=steps, completed=start)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False)

    def step(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Steps done, seconds of training so far, and the losses of the last step."""
        words = in_words(values)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=words)
            return
        pace = ""
        if self._first is not None and seconds > self._first[1]:
            rate = (step - self._first[0]) / (seconds - self._first[1])
            pace = f" {rate:.2f} steps/s, {(self._steps - step) / rate / 60:.1f} min left;"
        self._first = self._first or (step, seconds)
        self.say(f"step {step}/{self._steps};{pace} {words}")

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """The figures of a validation."""
        self.say(f"held out, step {step}: {in_words(values)}")


def in_words(values: Mapping[str, float]) -> str:
    """Named numbers on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
