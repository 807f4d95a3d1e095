"""What `test_devices.py` runs in processes of its own: python several.py SCENARIO FOLDER.

Functions that several processes call must be importable in each of them, as those of a script are.
"""

import os
import signal
import sys
import time
from pathlib import Path

import families

from genloom.errors import GenloomError
from genloom_train import processes
from genloom_train.stopping import Interrupted

STEPS = 8


def rank():
    return int(os.environ["LOCAL_RANK"])


def trainings():
    """Trainings without chance in their steps, each with its options."""
    from genloom_train.options import TrainOptions

    options = dict(steps=STEPS, batch=8, learning_rate=1e-2, log_every=1, validate_every=2)
    return {
        "blur": (families.Blur(0.0, (1, 8, 8)), TrainOptions(**options, clip=0.05)),
        "duel": (families.Duel(0.0, (1, 8, 8)), TrainOptions(**options, ema=0.9)),
        "kept": (
            families.Blur(0.0, (1, 8, 8)),
            TrainOptions(**options, keep="best", watch="mse", better="higher", patience=1),
        ),
    }


def shipped():
    """Tiny networks of families that ship, each with its options."""
    from genloom_ae import Ae, AeConfig
    from genloom_gan import Gan, GanConfig
    from genloom_train.options import TrainOptions
    from genloom_vae import VqVae, VqVaeConfig

    options = TrainOptions(steps=STEPS, batch=8, log_every=1, validate_every=4)
    codes = dict(codes=6, embedding=2, prior_width=8, prior_layers=1, prior_heads=2, restart=0.5)
    made = {
        "ae": (Ae, AeConfig(latent=2, widths=(4,))),
        "gan": (Gan, GanConfig(latent=2, widths=(4, 4))),
        "vqvae": (VqVae, VqVaeConfig(widths=(4,), **codes)),
    }
    return {
        name: (family().training()(config, (1, 8, 8)), options)
        for name, (family, config) in made.items()
    }


def train_shipped(fabric, folder):
    import torch

    torch.set_num_threads(1)
    for name, of_it in shipped().items():
        trainer = new(*of_it, fabric, folder / name)
        train(trainer)
        write(trainer, folder / name)


def train_all(fabric, folder):
    """Train each; the folder of each gets its metrics and, of every process, its weights."""
    import torch

    torch.set_num_threads(1)
    for name in trainings():
        out = folder / name
        trainer = of(name, fabric, out)
        train(trainer)
        write(trainer, out)


def of(name, fabric, out):
    return new(*trainings()[name], fabric, out)


def new(training, options, fabric, out):
    from genloom_train.loop import Trainer
    from genloom_train.testing import Blobs

    out.mkdir(parents=True, exist_ok=True)
    return Trainer(training, Blobs(training.shape), options, fabric, out)


def train(trainer):
    from genloom_train.testing import run

    if trainer.peers.first:
        run(trainer, trainer.step)
    else:
        trainer.run(None, None)


def write(trainer, out):
    import torch

    state = {"module": trainer.module.state_dict(), "best": trainer.best.state_dict()}
    torch.save(state, out / f"weights-{trainer.peers.rank}.pt")


def train_in_two(made, fabric, out):
    """Half of a training, which the last process ends, and the rest in new trainers."""
    from genloom_train import checkpoint

    first = new(*made, fabric, out)
    advance = first.advance

    def advance_and_stop(batch):
        losses = advance(batch)
        if first.peers.rank and first.step == STEPS // 2:
            first.stopping.set()
        return losses

    first.advance = advance_and_stop
    try:
        train(first)
    except Interrupted as stopped:
        assert stopped.step == STEPS // 2
    first.peers.from_first("the checkpoint is written")
    second = new(*made, fabric, out)
    second.restore(checkpoint.load(checkpoint.found(out / "checkpoints")[-1]))
    assert second.step == STEPS // 2
    train(second)
    write(second, out)


def curves(stopping, folder):
    from genloom_train.devices import fabric

    joined = fabric("cpu", "32-true", 2)
    train_all(joined, folder)
    train_in_two(trainings()["duel"], joined, folder / "halves")


def families_that_ship(stopping, folder):
    from genloom_train.devices import fabric

    joined = fabric("cpu", "32-true", 2)
    train_shipped(joined, folder)
    for name in ("gan", "vqvae"):
        train_in_two(shipped()[name], joined, folder / f"{name} in halves")


def one_explains(stopping):
    if rank() == 1:
        raise GenloomError("the data is gone")
    if rank() == 2:
        raise RuntimeError("connection reset by peer")
    time.sleep(100)


def one_fails(stopping):
    if rank() == 1:
        raise ZeroDivisionError("on purpose")
    time.sleep(100)


def one_dies(stopping):
    if rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if rank() == 2:
        raise RuntimeError("connection reset by peer")
    time.sleep(100)


def until_stopped(stopping, folder):
    (folder / f"{rank()}").touch()
    while not stopping.is_set():
        time.sleep(0.01)
    time.sleep(0.3 * rank())
    (folder / f"{rank()}").write_text("stopped")
    raise Interrupted(7)


def main(scenario, folder):
    in_pairs = ("curves", "families_that_ship", "until_stopped")
    count, more = (2, (folder,)) if scenario in in_pairs else (3, ())
    processes.GRACE = 1.0
    started = time.monotonic()
    try:
        processes.run_together(count, globals()[scenario], *more)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ()))
    print(f"{time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
