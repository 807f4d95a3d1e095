"""`genloom run` and `genloom plan`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from genloom.cli.columns import json_text

if TYPE_CHECKING:
    from genloom.api import LoadedPipeline

F = TypeVar("F", bound=Callable[..., Any])


def _shared(command: F) -> F:
    """The arguments and options that `run` and `plan` share."""
    out = click.option(
        "-o", "--out", type=click.Path(path_type=Path), required=True, help="Output folder."
    )
    return shared(out(command))


def shared(command: F) -> F:
    """The arguments and options of every command that runs a pipeline."""
    for decorate in reversed(
        [
            click.argument("pipeline"),
            click.argument("inputs", nargs=-1, metavar="INPUT…"),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="STAGE.OPTION=VALUE",
                help="Override an option; the stage by id or name. May be repeated.",
            ),
            click.option("--seed", type=click.IntRange(0), help="In place of the file's seed."),
            click.option(
                "--provider",
                default="auto",
                show_default=True,
                help="Execution provider: auto, cpu, cuda, openvino …",
            ),
            click.option(
                "--provider-option",
                "provider_options",
                multiple=True,
                metavar="NAME=VALUE",
                help="An option of that provider. May be repeated.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(0),
                default=0,
                help="Threads of one call; 0 divides the cores among the workers.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(0),
                default=0,
                help="Pictures computed at a time, and threads that decode and write; "
                "0 for what was tuned, else as many as there are cores.",
            ),
            click.option(
                "--batch",
                type=click.IntRange(0),
                default=0,
                help="Pictures in one call; 0 lets their size decide.",
            ),
            click.option(
                "--tile",
                type=click.IntRange(0),
                default=0,
                help="Longest side of the tiles of large pictures; 0 for what was tuned, "
                "else 768 to 1536, as suits the model.",
            ),
            click.option(
                "--precision",
                default="auto",
                show_default=True,
                help="auto, fp32, bf16, fp16 or int8; a lower one is compared with fp32 first.",
            ),
            click.option(
                "--precision-floor",
                type=float,
                default=50.0,
                show_default=True,
                help="Least dB between a lower precision and fp32, else it is fp32.",
            ),
            click.option(
                "--tuned/--no-tuned",
                default=True,
                help="Use what `genloom tune` found, where nothing is asked for; on unless said.",
            ),
            click.option(
                "--cpu-fallback/--no-cpu-fallback",
                default=None,
                help="Compute on the CPU what the provider has no memory for, however small the "
                "tiles; yes with --provider auto, else no.",
            ),
            click.option(
                "--shard",
                default="",
                metavar="K/N",
                help="Only the K-th of N parts; others may do theirs into OUT at the same time.",
            ),
        ]
    ):
        command = decorate(command)
    return command


@click.command(short_help="Run a pipeline over files, folders or globs.")
@_shared
@click.option("--force", is_flag=True, help="Do again what is done.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first picture that fails.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the closing line.")
@click.option("--times", is_flag=True, help="Say at the end where the time went.")
def run(
    pipeline: str,
    inputs: tuple[str, ...],
    out: Path,
    overrides: tuple[str, ...],
    seed: int | None,
    force: bool,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    times: bool,
    **settings: Any,
) -> None:
    """Run PIPELINE (a name or a file) over INPUT: files, folders (mirrored below OUT) and globs.

    Run the same command again to resume: only what is missing, failed or changed is done.
    Exit codes: 0 all done, 1 some pictures failed, 2 wrong usage, 3 the environment lacks
    something, 130 interrupted.
    """
    from genloom.cli.broken import tell_broken
    from genloom.cli.progress import show

    loaded, options, told = load(pipeline, overrides, seed, settings)
    gc.freeze()  # what is loaded stays: else it is looked through for garbage again and again
    try:
        with show(as_json=as_json, quiet=quiet, times=times) as observe:
            report = loaded.run(
                inputs, out, observe=observe, force=force, fail_fast=fail_fast, **options
            )
    finally:
        gc.unfreeze()
        tell_broken(loaded.catalog, told)
    raise SystemExit(report.exit_code)


@click.command(short_help="Show what `run` would do, without doing it.")
@_shared
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def plan(
    pipeline: str,
    inputs: tuple[str, ...],
    out: Path,
    overrides: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Show what `genloom run` would do: stages, models, providers, sizes. Runs nothing."""
    from genloom.cli.broken import tell_broken

    loaded, options, told = load(pipeline, overrides, seed, settings)
    try:
        described = loaded.plan(inputs, out, **options).describe()
    finally:
        tell_broken(loaded.catalog, told)
    if as_json:
        click.echo(json_text(described, indent=2))
        return
    from genloom.cli.progress import plan_text

    click.echo(plan_text(described))


def load(
    pipeline: str, overrides: tuple[str, ...], seed: int | None, settings: dict[str, Any]
) -> tuple[LoadedPipeline, dict[str, Any], list[str]]:
    """The pipeline, the settings of its run, and what was told about broken plugins."""
    from genloom.api import load_pipeline
    from genloom.catalog import Catalog
    from genloom.cli.broken import tell_broken

    pairs = {}
    for text in settings.pop("provider_options"):
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("write NAME=VALUE", param_hint="--provider-option")
        pairs[name] = value
    catalog = Catalog.load()
    told = tell_broken(catalog)
    loaded = load_pipeline(pipeline, overrides, seed=seed, catalog=catalog)
    return loaded, settings | {"provider_options": pairs}, told
