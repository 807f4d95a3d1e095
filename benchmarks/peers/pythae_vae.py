"""pythae's side of `benchmarks/pythae.py`: its BaseTrainer on its own defaults, paused by callback.

python benchmarks/peers/pythae_vae.py PLAN

Its encoder and decoder are genloom's networks, with the weights that genloom begins with, in the
classes that pythae has for networks of one's own. A plan with `resume` among its changes is trained
in one go, in one go again, and in two by the means that pythae has, see `resume`.
"""

import contextlib
import inspect
import math
import tempfile
from pathlib import Path

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, AutoModel, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from slices import Enough, Plan, Slices, negative_elbo, say
from torch import Tensor, nn

from genloom_train.data import Source
from genloom_train.training import Tensors
from genloom_vae.network import LOG_VARIANCE_LIMIT

SMALL = 2560
"""Training pictures of the two short trainings that are resumed."""


class Encoder(BaseEncoder):
    """Pictures → mean and log σ², as in genloom's `Vae.encode`."""

    def __init__(self, network: nn.Module) -> None:
        BaseEncoder.__init__(self)
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        """N×C×H×W in [0, 1] → two of N×latent."""
        mean, log_variance = self.network(2 * x - 1).chunk(2, dim=1)
        log_variance = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Latents → pictures: pythae's cross entropy is of chances, not of logits."""

    def __init__(self, network: nn.Module) -> None:
        BaseDecoder.__init__(self)
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        """N×latent → N×C×H×W in [0, 1]."""
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


class Pausing(TrainingCallback):
    """Pauses the trainer after each slice of steps."""

    def __init__(self, slices: Slices) -> None:
        self.slices = slices

    def on_train_step_end(self, training_config: BaseTrainerConfig, **_: object) -> None:
        """After a batch."""
        self.slices.step_done()


def main(plan: Plan) -> None:
    source = plan.source()
    if plan.changes.get("resume"):
        return resume(plan, source)
    network = plan.network(source)
    slices = Slices(plan, lambda steps: seen(steps, source.count, plan.batch))
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(
            plan, model_of(plan, network, source), pictures(source), folder,
            callbacks=[Pausing(slices)], num_epochs=10**6, **plan.changes,
        )  # fmt: skip
        slices.begin(trainer.model)
        with contextlib.suppress(Enough):
            trainer.train()
    say(negative_elbo=negative_elbo(network, source, plan.draws))


def seen(steps: int, count: int, batch: int) -> int:
    """Pictures in so many steps: the last batch of each epoch is a smaller one."""
    epochs, further = divmod(steps, math.ceil(count / batch))
    return epochs * count + further * batch


def pictures(source: Source) -> Tensor:
    """All training pictures, N×C×H×W in [0, 1], in the order of genloom's first epoch."""
    return Tensors.of(source.batch(0, source.count, 0)).image


def model_of(plan: Plan, network: nn.Module, source: Source) -> VAE:
    config = VAEConfig(
        input_dim=source.shape, latent_dim=plan.model["latent"], reconstruction_loss="bce"
    )
    return VAE(config, encoder=Encoder(network.encoder), decoder=Decoder(network.decoder))


def trainer_of(
    plan: Plan, model: VAE, image: Tensor, folder: str, callbacks=None, **changes
) -> BaseTrainer:
    """The trainer of pythae on its defaults, but for what the comparison keeps the same."""
    config = BaseTrainerConfig(
        output_dir=folder, per_device_train_batch_size=plan.batch, learning_rate=plan.rate,
        optimizer_cls="Adam", no_cuda=True, **changes,
    )  # fmt: skip
    data = BaseDataset(image, torch.ones(len(image)))
    return BaseTrainer(model, data, training_config=config, callbacks=callbacks)


def resume(plan: Plan, source: Source) -> None:
    """Two epochs in one go, twice; and one epoch, its checkpoint opened, another epoch."""
    image = pictures(source)[:SMALL]

    def trained(model: VAE, epochs: int) -> BaseTrainer:
        trainer = trainer_of(
            plan, model, image, tempfile.mkdtemp(dir=folder), num_epochs=epochs, steps_saving=1
        )
        trainer.train()
        return trainer

    def fresh() -> VAE:
        return model_of(plan, plan.network(source), source)

    with tempfile.TemporaryDirectory() as folder:
        straight, again = (trained(fresh(), 2).model for _ in range(2))
        checkpoint = Path(trained(fresh(), 1).training_dir) / "checkpoint_epoch_1"
        halves = trained(AutoModel.load_from_folder(str(checkpoint)), 1).model
    twice, resumed = difference(straight, again), difference(straight, halves)
    say(twice=twice, resumed=resumed, readers=readers())


def difference(one: nn.Module, two: nn.Module) -> float:
    """The largest of any weight."""
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def readers() -> int:
    """How many of pythae's files give an optimiser a state that was saved."""
    package = Path(inspect.getfile(BaseTrainer)).parents[2]
    texts = (path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    return sum("optimizer.load_state_dict" in text for text in texts)


if __name__ == "__main__":
    main(Plan.given())
