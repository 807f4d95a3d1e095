"""Whether a session of ONNX Runtime is what was asked for: it goes on without a word where not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from genloom.errors import GenloomError, MissingRequirement, did_you_mean

HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that take nearly all of the time."""

_ASSIGNMENT = "get_provider_graph_assignment_info"  # since ONNX Runtime 1.24


def refuse_fallback(
    session: Any,
    provider: str,
    full: str,
    heavy: Collection[str],
    missing: Callable[[], str] = str,
) -> None:
    """ONNX Runtime goes on with the CPU when a provider fails or takes no node; we do not.

    Args:
        session: as it was compiled.
        provider: its short name.
        full: ONNX Runtime's name of it.
        heavy: operators of which the CPU may take none.
        missing: says what the provider lacks on this machine, or nothing; asked when it did not
            take the graph.

    Raises:
        MissingRequirement: when the provider computes no part of the graph, or not these.
    """
    used, parts = session.get_providers(), []
    if used[0] == full and provider != "cpu" and hasattr(session, _ASSIGNMENT):
        parts = getattr(session, _ASSIGNMENT)()
        used = [part.ep_name for part in parts] or [full]
    if full not in used:
        raise MissingRequirement(
            f"the provider '{provider}' was asked for but did not take the graph",
            got=missing() or ", ".join(dict.fromkeys(used)),
            hint="`--provider auto` takes the best that works",
        )
    others = [part.get_nodes() for part in parts if heavy and part.ep_name != full]
    left = {node.op_type for nodes in others for node in nodes}.intersection(heavy)
    if left:
        operators = " and ".join(sorted(left))
        raise MissingRequirement(f"the provider '{provider}' leaves {operators} to the CPU")


def refuse_unknown(session: Any, provider: str, full: str, options: Mapping[str, str]) -> None:
    """Refuse options that ONNX Runtime takes without a word and does nothing with.

    A provider reports the options it knows; some report none at all and are believed. The CPU has
    none.

    Raises:
        GenloomError: with the nearest right name.
    """
    known = session.get_provider_options().get(full, {})
    for name in options:
        if name not in known and (known or provider == "cpu"):
            hint = did_you_mean(name, known) if known else "It has none"
            raise GenloomError(f"the provider '{provider}' has no option '{name}'", hint=hint)
