"""How a run went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from genloom.engine.packet import Failure
from genloom.engine.timing import Times


@dataclass
class Report:
    """How a run went.

    Attributes:
        done: items finished by this run; `skipped` were done before.
        failures: what failed, each with stage and reason.
        notes: what the user should know about a picture, with the pictures it holds for.
        outcome: `done`, `failed` (some items), `stopped` (by --fail-fast), `interrupted`, or
            `broken` when an error ended the run.
        providers: which provider each model really ran on.
        precisions: what each part of each model was computed in.
        times: where the time went.
    """

    total: int = 0
    done: int = 0
    skipped: int = 0
    files: int = 0
    failures: list[Failure] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    outcome: str = "broken"
    seconds: float = 0.0
    providers: dict[str, str] = field(default_factory=dict)
    precisions: dict[str, dict[str, str]] = field(default_factory=dict)
    times: Times = field(default_factory=Times)

    @property
    def failed(self) -> int:
        """Number of inputs that failed."""
        inputs = [failure for failure in self.failures if failure.is_input]
        return len({failure.unit or failure.item.key for failure in inputs})

    @property
    def unmade(self) -> int:
        """Number of results of groups (sheets, animations) that could not be made."""
        return sum(not failure.is_input for failure in self.failures)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 130 interrupted."""
        return {"done": 0, "interrupted": 130}.get(self.outcome, 1)

    def counts(self) -> dict[str, Any]:
        """How many items came to what, and in how many seconds."""
        return {
            "total": self.total,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "unmade": self.unmade,
            "files": self.files,
            "seconds": self.seconds,
        }

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            **self.counts(),
            "outcome": self.outcome,
            "providers": self.providers,
            "precisions": self.precisions,
            "failures": [plain_failure(failure) for failure in self.failures],
            "notes": self.notes,
            "times": self.times.plain(),
        }


def plain_failure(failure: Failure) -> dict[str, Any]:
    """A failure as plain values: the picture, the stage and the reason."""
    item = failure.item
    return {
        "key": item.key,
        "source": str(item.source) if item.source else None,
        "stage": failure.stage,
        "reason": failure.reason,
    }
