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
    """Denoise photographs, sample, reconstruct and interpolate clothes, and write a page.

    Needs nothing but genloom: the pictures and the models are part of it.
    """
    from genloom.demo import run_demo

    result = run_demo(out, click.echo, provider=provider)
    for shown in result.photographs:
        click.echo(
            f"  {shown.name:<12} noisy {shown.noisy_psnr:5.2f} dB → denoised "
            f"{shown.denoised_psnr:5.2f} dB"
        )
    click.echo(f"Done in {result.seconds:.0f} s. Open {result.page}")
