"""Tiny families for the tests of the hall."""

import torch
from torch import nn

from genloom.card import Port
from genloom_train.training import Graph, Training, optimiser


class Blur(Training):
    """One convolution that learns the identity; dropout uses torch's global random numbers.

    `config` is the chance of dropout: 0 makes a training without any chance in its steps.
    """

    def build(self):
        channels = self.shape[0]
        dropout = 0.1 if self.config is None else self.config
        return nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, channels, 3, padding=1))

    def losses(self, module, batch):
        return {"loss": (module(batch.image) - batch.image).square().mean()}

    def graphs(self, module):
        image = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        return {"network": Graph(module=module, inputs={"image": image}, outputs={"result": image})}

    def validate(self, module, samples, device):
        with torch.no_grad():
            image = torch.from_numpy(samples.image)
            return {"mse": float((module(image) - image).square().mean())}

    def preview(self, module, batch):
        return module(batch.image), 4


class Alternating(Blur):
    """Two networks and two optimisers that take turns, as in a GAN."""

    def build(self):
        return nn.ModuleDict({"one": super().build(), "two": nn.BatchNorm2d(self.shape[0])})

    def optimisers(self, module, options):
        return {
            "one": optimiser(module["one"], options),
            "two": optimiser(module["two"], options, 0.5),
        }

    def step(self, module, batch, turn):
        first = (module["one"](batch.image) - batch.image).square().mean()
        turn.update("one", first)
        second = (module["two"](module["one"](batch.image)) - batch.image).square().mean()
        turn.update("two", second)
        return {"one": first, "two": second}

    def validate(self, module, samples, device):
        return super().validate(module["one"], samples, device)

    def preview(self, module, batch):
        return super().preview(module["one"], batch)


class Duel(Blur):
    """A generator and a spectrally normalised critic, which moves twice as often.

    `config` is the spread of the generator's noise; it draws none when that is 0.
    """

    def build(self):
        channels = self.shape[0]
        critic = nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, 2, 3))
        return nn.ModuleDict({"generator": nn.Conv2d(channels, channels, 1), "critic": critic})

    def optimisers(self, module, options):
        return {name: optimiser(module[name], options) for name in ("generator", "critic")}

    def step(self, module, batch, turn):
        made = module["generator"](self._seeds(batch.image))
        real, false = (module["critic"](x).mean() for x in (batch.image, made.detach()))
        turn.update("critic", false - real)
        losses = {"critic": false - real}
        if turn.step % 2:
            losses["generator"] = -module["critic"](made).mean()
            turn.update("generator", losses["generator"])
        return losses

    def _seeds(self, image):
        seeds = torch.ones_like(image) / 2
        return seeds + self.config * torch.randn_like(image) if self.config else seeds

    def validate(self, module, samples, device):
        return super().validate(module["generator"], samples, device)

    def preview(self, module, batch):
        return super().preview(module["generator"], batch)


class Exploding(Blur):
    """Its loss is not a number from step 5 on."""

    def step(self, module, batch, turn):
        loss = self.losses(module, batch)["loss"]
        turn.update("main", loss * (float("nan") if turn.step >= 5 else 1.0))
        return {"loss": loss}


class Told(Blur):
    """Its validation says what `config` holds for the step that the network is at."""

    def build(self):
        module = nn.Sequential(nn.Conv2d(self.shape[0], self.shape[0], 1))
        module.register_buffer("steps", torch.tensor(0))
        return module

    def step(self, module, batch, turn):
        module.steps += 1
        return super().step(module, batch, turn)

    def validate(self, module, samples, device):
        return {"score": self.config.get(int(module.steps), 0.0), "scope": 1.0}
