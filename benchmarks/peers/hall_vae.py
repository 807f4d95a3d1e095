"""genloom's side of `benchmarks/pythae.py`: its hall's own loop, paused after each slice.

python benchmarks/peers/hall_vae.py PLAN
"""

import contextlib
import io
import tempfile
from pathlib import Path

from rich.console import Console
from slices import Enough, Plan, Slices, negative_elbo, say

from genloom_train.devices import fabric
from genloom_train.loop import Trainer
from genloom_train.metrics import Metrics
from genloom_train.options import TrainOptions
from genloom_train.progress import Progress

NEVER = 10**9
"""Neither tool validates or saves between the steps that are timed; pythae's default as well."""


def main(plan: Plan) -> None:
    source = plan.source()
    slices = Slices(plan, lambda steps: steps * plan.batch)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            plan.training(source), source, options := options_of(plan),
            fabric("cpu", options.precision), Path(folder),
        )  # fmt: skip
        pausing(trainer, slices)
        slices.begin(trainer.module)
        metrics = Metrics(trainer.out)
        with contextlib.suppress(Enough):
            trainer.run(metrics, Progress(trainer.steps, 0, Console(file=io.StringIO())))
        metrics.close()
        say(negative_elbo=negative_elbo(trainer.module, source, plan.draws))


def options_of(plan: Plan) -> TrainOptions:
    return TrainOptions(
        steps=NEVER, batch=plan.batch, learning_rate=plan.rate, schedule="constant",
        seed=plan.seed, validate_every=NEVER, sample_every=NEVER, checkpoint_every=NEVER,
        **plan.changes,
    )  # fmt: skip


def pausing(trainer: Trainer, slices: Slices) -> None:
    """Have a trainer pause after each slice of steps."""
    advance = trainer.advance

    def advance_and_pause(batch):
        losses = advance(batch)
        slices.step_done()
        return losses

    trainer.advance = advance_and_pause


if __name__ == "__main__":
    main(Plan.given())
