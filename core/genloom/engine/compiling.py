"""Find a runtime, and make a bundle ready to run on it."""

from __future__ import annotations

from collections.abc import Callable

from genloom.catalog import Catalog
from genloom.engine.model import CompiledModel
from genloom.engine.settings import BATCH, BATCH_PIXELS, RunSettings
from genloom.errors import GenloomError, MissingRequirement, PluginError
from genloom.models import Bundle
from genloom.runtime import CPU, Network, Runtime, Settings
from genloom.runtime.best import Best


def compiled(
    bundle: Bundle,
    catalog: Catalog,
    runtime: Runtime,
    settings: RunSettings,
    threads: int,
    calls: int = 1,
    watch: Callable[[bytes, Network], Network] | None = None,
    falls_back: bool | None = None,
) -> CompiledModel:
    """A bundle ready to run, up to `calls` of them at a time; see `bind` for `watch`.

    Whether the CPU helps where memory ran out is said by the settings, or by `falls_back`.

    Raises:
        MissingRequirement: when the CPU was asked for as a fall-back and the runtime has none.
    """
    if falls_back is None:
        falls_back = falls_back_to_cpu(runtime, settings)

    def compile_graph(graph: bytes, precision: str) -> Network:
        chosen = Settings(
            provider=settings.provider,
            options=settings.provider_options,
            threads=threads,
            calls=calls,
            precision=precision,
        )
        network = runtime.compile(graph, chosen)
        return network if watch is None else watch(graph, network)

    def on_cpu(graph: bytes, precision: str) -> Network:
        chosen = Settings(provider=CPU, threads=threads, calls=calls, precision=precision)
        return runtime.compile(graph, chosen)

    return CompiledModel(
        bundle,
        catalog.backend(bundle.card.family),
        compile_graph,
        tile=settings.tile,
        precision=settings.precision,
        floor=settings.precision_floor,
        spare=on_cpu if falls_back else None,
        batch=settings.batch or BATCH,
        batch_pixels=0 if settings.batch else BATCH_PIXELS,
    )


def falls_back_to_cpu(runtime: Runtime, settings: RunSettings) -> bool:
    """Whether the CPU computes what the provider has no memory for."""
    there = CPU in runtime.providers()
    if settings.cpu_fallback and not there:
        raise MissingRequirement(
            f"the runtime '{settings.runtime}' has no provider '{CPU}' to fall back on",
            got=", ".join(runtime.providers()),
            hint="`genloom doctor` says what is missing",
        )
    wanted = settings.provider == "auto" if settings.cpu_fallback is None else settings.cpu_fallback
    return wanted and there


def runtime_named(catalog: Catalog, name: str) -> Runtime:
    """A runtime by name; `auto` for all that are installed, as one.

    Raises:
        MissingRequirement: when its library is not installed, or none is.
    """
    if name != "auto":
        return _at_hand(catalog, name)
    at_hand, lacking = [], dict[str, GenloomError]()
    for each, kind in catalog.runtimes().items():
        try:
            at_hand.append(_at_hand(catalog, each))
        except MissingRequirement:
            extras = [name for name, extra in kind.extras.items() if extra]
            lacking |= {name: kind.missing(f"the provider '{name}'", name) for name in extras}
        except PluginError as error:  # one that does not start breaks none of the others
            lacking |= dict.fromkeys(kind.extras, error)
    if not at_hand:
        raise MissingRequirement.extra("onnxruntime", "cpu", "running a model")
    return Best(at_hand, lacking)


def _at_hand(catalog: Catalog, name: str) -> Runtime:
    """A runtime whose library is installed.

    Raises:
        MissingRequirement: when it is not.
        PluginError: when it does not start.
    """
    runtime = catalog.runtime(name)
    try:
        there = bool(runtime.providers())
    except Exception as error:  # a plugin raises anything
        raise catalog.refuse("runtime", name, error) from error
    if not there:
        raise runtime.missing(f"the runtime '{name}'")
    return runtime
