"""The command line: parse, call, print. No logic stands here.

Modules of this package import nothing but click at their top, so that `genloom --help` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from genloom import __version__, commands
from genloom.errors import GenloomError

OWN = {
    "run": "run",
    "status": "status",
    "retry": "status",
    "plan": "run",
    "bench": "bench",
    "tune": "tune",
    "quantize": "quantize",
    "inspect": "provenance",
    "reproduce": "provenance",
    "validate": "files",
    "schema": "files",
    "models": "models",
    "pipelines": "files",
    "plugins": "plugins",
    "doctor": "doctor",
    "demo": "demo",
}
SHIPPED = {
    "eval": "Measure how good a model is.",
    "import": "Turn weights that others trained into a bundle.",
    "latents": "Draw the latent space of models.",
    "train": "Train a model from a recipe and export it.",
}
"""What genloom's own commands in that group do, said without loading them."""


class _Commands(click.Group):
    """genloom's own commands, and those that plugins add in the group `genloom.commands`.

    A plugin's command is loaded only when it is called; in the list it stands by name.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OWN, *sorted(name for name in _added() if name not in OWN)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from importlib import import_module

        if cmd_name in OWN:
            module = import_module(f"genloom.cli.{OWN[cmd_name]}")
            return getattr(module, cmd_name)  # type: ignore[no-any-return]
        point = _added().get(cmd_name)
        return None if point is None else _load(cmd_name, point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from genloom.errors import did_you_mean

            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"there is no command '{args[0]}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        added = _added()
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name) if name in OWN else None
            help_text = command.get_short_help_str(60) if command else _summary(added[name])
            rows.append((name, help_text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; Ctrl-C at any moment, while libraries load too, ends with 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # which click would call "Aborted!" and end with 1
            pass
        except RuntimeError as error:  # Python 3.11 wraps what interrupts the making of a class
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
        click.echo("genloom: interrupted", err=True)
        ctx.exit(130)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and turn every error genloom can explain into one message and an exit code."""
        # Pictures are worked on side by side; a linear-algebra library that starts threads of its
        # own for each of them only makes them wait for each other. Must be said before numpy loads.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            return super().main(*args, **kwargs)
        except GenloomError as error:
            from genloom.cli.columns import plain

            lines = f"genloom: {error}".split("\n")
            click.echo("\n".join(map(plain, lines)), err=True)
            sys.exit(error.exit_code)


def _added() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for point in commands.added():
        found.setdefault(point.name, point)
    return found


def _summary(point: Any) -> str:
    if commands.brought_by(point) == commands.OWN:
        return SHIPPED.get(point.name, "")
    return f"Added by {commands.brought_by(point)}."


def _load(name: str, point: Any) -> click.Command:
    """A plugin's command, or one that reports why it cannot be loaded."""
    try:
        return commands.load(point)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()

        @click.command(name, context_settings={"ignore_unknown_options": True})
        @click.argument("args", nargs=-1)
        def broken(args: tuple[str, ...]) -> None:
            """A command that does not load."""
            from genloom.errors import PluginError

            click.echo(trace, err=True)
            raise PluginError(f"the command '{name}' does not load ({reason})", where=point.value)

        return broken


HELP = """Declarative pipelines for generative image models.

\b
genloom demo                       what it can do, on bundled pictures
genloom run denoise PHOTOS -o OUT  a pipeline over a folder; again to resume
genloom train RECIPE -o MODELS     train a model and export it
"""


@click.command(
    cls=_Commands,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="genloom")
def main() -> None:
    """Run the command line."""


__all__ = ["main"]
