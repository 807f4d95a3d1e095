"""Where the time of a run went, for people."""

from __future__ import annotations

from typing import Any

from genloom.cli.columns import table

SIDES = {
    "decode": "decoding",
    "compute": "computing",
    "write": "writing",
    "commit": "the disk",
}
"""What a run waits for, in words."""


def times_lines(times: Any) -> list[str]:
    """The stages, the queues before them, the threads, and what the run waited for."""
    if not times.stages:
        return []
    return [
        *table(
            [
                ("stage", "side", "items", "calls", "seconds", "CPU s", "busy"),
                *(
                    (
                        one.id,
                        one.side,
                        str(one.items),
                        str(one.calls),
                        f"{one.seconds:.2f}",
                        f"{one.cpu:.2f}",
                        percent(one.share),
                    )
                    for one in times.stages
                ),
            ],
            left=2,
        ),
        "",
        *table(
            [
                ("queue before", "filled", "of", "MiB", "of", "waited s"),
                *(_queue_row(one) for one in times.queues),
            ]
        ),
        "",
        _threads(times),
        *_waited(times),
    ]


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.0f} %"


def _queue_row(queue: Any) -> tuple[str, ...]:
    name = " + ".join(queue.stages)
    if len(name) > 30:
        name = f"{queue.stages[0]} … {queue.stages[-1]}"
    return (
        f"{name}, groups" if queue.pages else name,
        f"{queue.items:.1f}",
        str(queue.most),
        f"{queue.bytes / 2**20:.1f}",
        f"{queue.budget / 2**20:.0f}",
        f"{queue.waited:.2f}",
    )


def _threads(times: Any) -> str:
    pools = [f"{one.threads} for {one.pool} {percent(one.share)}" for one in times.threads]
    cpu = times.cpu / (times.seconds * times.cores)
    cores = f"{times.cores} core{'s' if times.cores != 1 else ''}"
    return f"threads busy: {', '.join(pools)}; {percent(cpu)} of {cores} used"


def _waited(times: Any) -> list[str]:
    if not times.limit:
        return []
    waited = dict(sorted(times.waited.items(), key=lambda pair: -pair[1]))
    told = [f"{SIDES[side]} {percent(waited[side] / times.seconds)}" for side in waited]
    return [f"waited for {', '.join(told)}"]
