"""`genloom demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Run the bundled models on bundled pictures, offline.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("genloom-demo"),
    show_default=True,
    help="Output folder.",
)
@click.option("--provider", default="auto", show_default=True, help="Execution provider.")
def demo(out: Path, provider: str) -> None:
    """Denoise, enlarge and paint photographs, sample and vary clothes, and write a page.

    Needs nothing but genloom: the pictures and the models are part of it.
    """
    from genloom.demo import run_demo

    result = run_demo(out, click.echo, provider=provider)
    for chapter in result.chapters:
        for pair in chapter.pairs:
            if pair.true is not None:
                click.echo(
                    f"  {pair.name:<12} {chapter.labels[0]} {pair.before_psnr:5.2f} dB → "
                    f"{chapter.labels[1]} {pair.after_psnr:5.2f} dB"
                )
    click.echo(f"Done in {result.seconds:.0f} s. Open {result.page}")
