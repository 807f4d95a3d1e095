"""Whether the stages of a pipeline fit together."""

from __future__ import annotations

from collections.abc import Sequence

from genloom.options import listed
from genloom.pipeline.context import Context
from genloom.pipeline.entries import Entry
from genloom.stage import Cardinality, Stage
from genloom.types import Kind

Link = tuple[Entry, type[Stage] | None]


def check_chain(context: Context, links: Sequence[Link]) -> None:
    """Whether each stage takes what the one before it gives, and the last one writes.

    What stands beside a stage that nobody knows is not judged.
    """
    before: type[Stage] | None = None
    for position, (entry, stage) in enumerate(links):
        if stage is not None and (before is not None or position == 0):
            _check_place(context, entry, stage, before)
        before = stage
    if all(stage is not None for _, stage in links):
        _check_end(context, links)


def _check_place(
    context: Context, entry: Entry, stage: type[Stage], before: type[Stage] | None
) -> None:
    taken = stage.kinds_taken()
    if before is None:
        if Kind.NOTHING not in taken:
            _misfit(context, entry, Kind.NOTHING, taken, "nothing")
        return
    wanted = tuple(kind for kind in taken if kind != Kind.NOTHING)
    if not wanted or stage.cardinality == Cardinality.NONE_TO_MANY:
        context.add(entry.where, f"the stage '{entry.name}' can only come first", at_key=True)
    elif before.gives == Kind.NOTHING:
        context.add(
            entry.where,
            f"nothing is left for the stage '{entry.name}' to work on",
            at_key=True,
            expected=f"{_either(wanted)} before it",
            got=f"'{before.name}', which hands nothing on",
        )
    elif before.gives not in wanted:
        _misfit(context, entry, before.gives, wanted, f"{before.gives} from '{before.name}'")


def _misfit(
    context: Context, entry: Entry, current: Kind, wanted: tuple[Kind, ...], got: str
) -> None:
    context.add(
        entry.where,
        f"the stage '{entry.name}' does not fit here",
        at_key=True,
        expected=f"{_either(wanted)} before it",
        got=got,
        hint=_bridge(context, current, wanted),
    )


def _bridge(context: Context, current: Kind, wanted: tuple[Kind, ...]) -> str:
    """Which stages would turn one kind into another."""
    fitting = sorted(
        f"`{name}`"
        for name, stage in context.catalog.stages().items()
        if current in stage.kinds_taken() and stage.gives in wanted
    )
    if not fitting:
        return ""
    verb = ("give" if current == Kind.NOTHING else "turn") + "s" * (len(fitting) == 1)
    what = _either(wanted) if current == Kind.NOTHING else f"{current} into {_either(wanted)}"
    return f"{listed(fitting, 'and')} {verb} {what}"


def _check_end(context: Context, links: Sequence[Link]) -> None:
    entry, stage = links[-1]
    assert stage is not None
    writers = any(link is not None and link.writes for _, link in links)
    if not writers:
        context.add(
            entry.where,
            "the pipeline ends without writing anything",
            at_key=True,
            expected="a stage that writes, such as `save` or `animate`",
        )
    elif not stage.writes and stage.gives != Kind.NOTHING:
        context.add(
            entry.where,
            f"what the stage '{entry.name}' makes is not written",
            at_key=True,
            expected="a stage that writes after it, such as `save`",
        )


def _either(kinds: tuple[Kind, ...]) -> str:
    return " or ".join(map(str, kinds))
