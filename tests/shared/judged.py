"""Data, models and a judge for the tests of evaluation, whose figures can be worked out by hand."""

import dataclasses
import hashlib

import numpy as np

from genloom import hookimpl
from genloom.card import Card, Likelihood, Part, Port, SizeRule
from genloom_train.data import Dataset, Samples, Source, generator

LABELS = ("boot", "shirt", "bag")
PICTURE, LATENT = Port(axes=("batch", 1, 8, 8)), Port(axes=("batch", 4))
QUADRANT = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int)).ravel()
SPREAD = np.eye(4, dtype=np.float32)[QUADRANT]
"""64×4: which quadrant each pixel lies in."""


class Quadrants(Source):
    """8×8 pictures of four flat quadrants; class k is k/4 brighter, give or take 0.02."""

    shape, count, description = (1, 8, 8), 30, "flat quadrants"

    def __init__(self, options):
        self.labels = LABELS if options.labelled else ()
        self._options = options

    def batch(self, step, size, seed):
        return self._samples("batch", size)

    def held_out(self, larger=False):
        return self._samples("held out", self._options.size)

    def _samples(self, word, count):
        random = generator("quadrants", word)
        label = np.arange(count) % 3
        values = label[:, None] / 4 + random.normal(0.1, 0.02, (count, 4))
        image = (values @ SPREAD.T).reshape(count, 1, 8, 8).astype(np.float32)
        return Samples(image, label if self._options.labelled else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuadrantsData(Dataset):
    """Options of the data set."""

    size: int = 60
    labelled: bool = True

    def open(self, opening):
        return Quadrants(self)


class Plugin:
    """Brings the data set `quadrants`."""

    genloom_api = 1

    @hookimpl
    def genloom_datasets(self):
        return {"quadrants": QuadrantsData}


def part(onnx_bytes, folder, name, nodes, inputs, outputs, constants):
    data = onnx_bytes(nodes, inputs, outputs, constants)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Part(file=f"{name}.onnx", sha256=digest, opset=18, inputs=inputs, outputs=outputs)


def write_judge(onnx_bytes, folder, labels=LABELS):
    """A judge by mean brightness: sure of class k at brightness 0.1 + k/4; features are quadrants.

    Of the logits s·(2·m·c − c²) the one whose centre c is nearest to the mean m is the largest.
    """
    centres = 0.1 + np.arange(len(labels), dtype=np.float32) / 4
    sure = np.float32(400)
    classifier = part(
        onnx_bytes,
        folder,
        "classifier",
        [
            ("Flatten", ["image"], ["flat"], {"axis": 1}),
            ("MatMul", ["flat", "spread"], ["features"], {}),
            ("MatMul", ["features", "weight"], ["raw"], {}),
            ("Add", ["raw", "bias"], ["logits"], {}),
        ],
        {"image": PICTURE},
        {"features": LATENT, "logits": Port(axes=("batch", len(labels)))},
        {
            "spread": SPREAD / 16,
            "weight": np.tile(2 * sure * centres / 4, (4, 1)),
            "bias": -sure * centres**2,
        },
    )
    Card(
        name=folder.name,
        family="classifier",
        channels=1,
        size=SizeRule(fixed=(8, 8)),
        labels=labels,
        parts={"classifier": classifier},
    ).write(folder)


def write_linear_gaussian(onnx_bytes, folder, sigma, family="tiny-vae", kind="gaussian"):
    """x = A z + σ ε with the exact posterior of z: the ELBO and IWAE are log p(x) itself."""
    precision = 1 + 16 / sigma**2
    encoder = part(
        onnx_bytes,
        folder,
        "encoder",
        [
            ("Flatten", ["image"], ["flat"], {"axis": 1}),
            ("MatMul", ["flat", "weight"], ["mean"], {}),
            ("Mul", ["mean", "zero"], ["nought"], {}),
            ("Add", ["nought", "level"], ["log_variance"], {}),
        ],
        {"image": PICTURE},
        {"mean": LATENT, "log_variance": LATENT},
        {
            "weight": (SPREAD / sigma**2 / precision).astype(np.float32),
            "zero": np.zeros(1, np.float32),
            "level": np.array([-np.log(precision)], np.float32),
        },
    )
    decoder = part(
        onnx_bytes,
        folder,
        "decoder",
        [
            ("MatMul", ["latent", "weight"], ["flat"], {}),
            ("Reshape", ["flat", "shape"], ["image"], {}),
        ],
        {"latent": LATENT},
        {"image": PICTURE},
        {"weight": SPREAD.T.copy(), "shape": np.array([-1, 1, 8, 8], np.int64)},
    )
    Card(
        name=folder.name,
        family=family,
        channels=1,
        size=SizeRule(fixed=(8, 8)),
        latent=(4,),
        likelihood=Likelihood(kind=kind, sigma=sigma),
        labels=LABELS,
        parts={"encoder": encoder, "decoder": decoder},
    ).write(folder)
