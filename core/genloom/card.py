"""The card of a model: what it is, what it takes and gives, and where it came from.

A bundle is a folder with `model.yaml`, the card, and one ONNX graph for each part. Everything in
it is data: nothing in a bundle is ever executed or unpickled.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from genloom import yamlfile
from genloom.errors import ModelError, UnknownName
from genloom.limits import FURTHEST, MAX_AXES, MAX_SCALE, MAX_SIDE, MAX_VALUES

CARD = "model.yaml"
PICTURES = frozenset({"image", "result"})
"""Ports that hold pictures."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, Field(ge=1)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
TensorFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _few(axes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if math.prod(axis for axis in axes if isinstance(axis, int)) > MAX_VALUES:
        raise PydanticCustomError("too_many", f"at most {MAX_VALUES} values")
    return axes


def _ordered(range: tuple[float, float]) -> tuple[float, float]:
    if not -FURTHEST <= range[0] <= range[1] <= FURTHEST:
        raise PydanticCustomError("ordered", f"two numbers within ±{FURTHEST:g}, the smaller first")
    return range


Shape = Annotated[tuple[Positive, ...], AfterValidator(_few), Field(max_length=MAX_AXES)]
Axes = Annotated[tuple[Positive | str, ...], AfterValidator(_few), Field(max_length=MAX_AXES)]


class Port(_Entry):
    """One input or output of a graph.

    Attributes:
        dtype: the element type.
        axes: a number for a fixed axis, a name (`batch`, `height`, `width`) for a free one.
        range: smallest and largest value that make sense, where there are such.
        default: the value an input has when nobody sets it.
    """

    dtype: Literal["float32", "float16", "uint8", "int64"] = "float32"
    axes: Axes
    range: Annotated[tuple[float, float], AfterValidator(_ordered)] | None = None
    default: float | None = None


# The engine hands over and takes back pixels as floats in [0, 1]; anything else would be computed
# on without a word, so a card that says otherwise is refused.
UNIT = (0.0, 1.0)


def _unit(range: tuple[float, float]) -> tuple[float, float]:
    if range != UNIT:
        raise PydanticCustomError("unit_range", "[0, 1]: other scales belong into the graph")
    return range


def _picture_ports(ports: dict[str, Port]) -> dict[str, Port]:
    for name in PICTURES & ports.keys():
        port = ports[name]
        if port.dtype not in ("float32", "float16") or port.range not in (None, UNIT):
            raise PydanticCustomError(
                "picture_port", "'{name}' of floats in [0, 1]", {"name": name}
            )
    return ports


Ports = Annotated[dict[str, Port], AfterValidator(_picture_ports)]


class Int8(_Entry):
    """The form of a graph with layers in 8-bit integers; its ports are those of the graph.

    Attributes:
        calibration: what the ranges of its integers were measured on, in words.
    """

    file: FileName
    sha256: Sha256
    opset: int
    calibration: str = ""


class Part(_Entry):
    """One ONNX graph of a model.

    Attributes:
        int8: a second form of it, for `--precision int8`; see `genloom quantize`.
    """

    file: FileName
    sha256: Sha256
    opset: int
    inputs: Ports
    outputs: Ports
    int8: Int8 | None = None


class Tensors(_Entry):
    """Arrays that a model has beside its graphs: a fitted density, the mean of each class.

    Attributes:
        file: a safetensors file beside the card.
        sha256: digest of the file.
        shapes: the arrays in it by name, each with its shape.
    """

    file: TensorFile
    sha256: Sha256
    shapes: dict[str, tuple[Positive, ...]]


class SizeRule(_Entry):
    """Which picture sizes the graphs take, in pixels.

    Attributes:
        multiple: height and width must be multiples of this.
        minimum: neither may be smaller.
        square: they must be equal.
        fixed: height and width when the graphs take only that size.
        stride: tiles begin at multiples of this, and of `multiple`: a network that works in
            windows of 8 pixels takes any size, but sees a picture moved by 4 otherwise.
        overlap: pixels by which tiles of a network whose receptive field is `global` overlap.
            Such a network is cut only where this was asked for, since the cuts change its results;
            the tiles are blended.
    """

    multiple: Side = 1
    minimum: Side = 1
    square: bool = False
    fixed: tuple[Side, Side] | None = None
    stride: Side = 1
    overlap: int = Field(default=0, ge=0, le=MAX_SIDE)

    @model_validator(mode="after")
    def _small_step(self) -> SizeRule:
        if self.step > MAX_SIDE:
            raise PydanticCustomError("step", f"a common multiple of at most {MAX_SIDE}")
        return self

    @property
    def step(self) -> int:
        """What every offset of a tile is a multiple of."""
        return math.lcm(self.multiple, self.stride)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size the graphs take that holds a picture, or a tile of it."""
        if self.square:
            height = width = max(height, width)
        if self.fixed is not None:
            rows, columns = self.fixed
            return _raised(height, rows, self.step), _raised(width, columns, self.step)
        # Squares are cut into squares, which begin at multiples of the stride and all are whole.
        step = self.step if self.square else self.multiple
        least = -(-self.minimum // step) * step
        return _raised(height, least, step), _raised(width, least, step)


def _raised(length: int, least: int, step: int) -> int:
    """The smallest of `least`, `least + step`, … that is not below `length`."""
    return least + -(-max(0, length - least) // step) * step


class Likelihood(_Entry):
    """p(image | latent) of a variational model, about what its decoder gives.

    Attributes:
        kind: see `genloom.likelihood.log_likelihood`.
        sigma: standard deviation of a Gaussian or logistic; null where it was learned, and is the
            one number of the tensor `likelihood_sigma`.
    """

    kind: Literal["bernoulli", "gaussian", "logistic"]
    sigma: Annotated[float, Field(gt=0)] | None = None


class Origin(_Entry):
    """Where a model came from and how to make it again.

    Attributes:
        recipe: file name of the recipe; `recipe_sha256` is the digest of its text.
        command: the command that makes the bundle again; where there are `parts`, the last one.
        parts: of a training that was resumed with other steps or devices, on which its weights
            depend: what each command did, in their order; else empty.
        files: digests of the files that options of its model name, by option.
        start: name and digest of the bundle whose weights its training began with, if any.
        data: what it was trained on, in words.
        source: file name of the weights it was imported from; `source_sha256` is their digest.
        architecture: how the source's authors call the network.
        steps: optimiser steps; `seconds` is the time they took on `device`.
        versions: versions of genloom, torch and the like.
    """

    recipe: str = ""
    recipe_sha256: str = ""
    command: str = ""
    parts: tuple[str, ...] = ()
    files: dict[str, Sha256] = {}
    start: str = ""
    data: str = ""
    source: str = ""
    source_sha256: str = ""
    architecture: str = ""
    steps: int = 0
    seconds: float = 0.0
    device: str = ""
    versions: dict[str, str] = {}


class Card(_Entry):
    """What `model.yaml` says.

    Attributes:
        genloom: version of the format.
        name: how the model is called.
        family: the backend that knows what its graphs mean (`vae`, `denoiser` …).
        channels: 1 (grey) or 3 (RGB).
        colour: colour space of the pixels.
        range: values of the pixels at the ports `image` and `result`: [0, 1], nothing else yet.
        scale: output size over input size.
        receptive_field: width in pixels of the square of input that one output pixel depends on
            (measured at export), or `global`.
        precision: what the graphs are computed in: `auto` for what a run asks for, or `fp32` for a
            model that lower precisions are known not to do for. That is then heeded by every
            runtime, whatever a run asks for, and without a word.
        latent: shape of one latent, without the batch axis.
        likelihood: of pictures given latents, for a variational model.
        labels: names of the classes of the training data, where it had such.
        tensors: arrays beside the graphs.
        parameters: number of trained parameters.
        metrics: figures of quality, each with its data set in its name.
    """

    genloom: Literal[1] = 1
    name: Name
    family: str
    summary: str = ""
    licence: str = ""
    channels: Literal[1, 3]
    colour: Literal["sRGB"] = "sRGB"
    range: Annotated[tuple[float, float], AfterValidator(_unit)] = UNIT
    size: SizeRule = SizeRule()
    scale: int = Field(default=1, ge=1, le=MAX_SCALE)
    receptive_field: Annotated[int, Field(ge=1)] | Literal["global"] = "global"
    precision: Literal["auto", "fp32"] = "auto"
    latent: Shape | None = None
    likelihood: Likelihood | None = None
    labels: tuple[str, ...] = ()
    parameters: int = 0
    parts: dict[str, Part] = Field(min_length=1)
    tensors: Tensors | None = None
    metrics: dict[str, float] = {}
    origin: Origin = Origin()

    @model_validator(mode="after")
    def _one_precision(self) -> Card:
        int8 = [name for name, part in self.parts.items() if part.int8]
        if self.precision != "auto" and int8:
            raise PydanticCustomError(
                "precision",
                "no int8 form of a part where 'precision' is {precision}",
                {"precision": self.precision},
            )
        return self

    @property
    def graphs(self) -> frozenset[str]:
        """Names of the files of all graphs."""
        own = {part.file for part in self.parts.values()}
        return frozenset(own | {part.int8.file for part in self.parts.values() if part.int8})

    @property
    def files(self) -> frozenset[str]:
        """Names of all files beside the card."""
        return self.graphs | ({self.tensors.file} if self.tensors is not None else set())

    @property
    def conditional(self) -> bool:
        """Whether it makes a picture of a class that one can name."""
        return any(
            "label" in self.parts[part].inputs
            for part in ("decoder", "generator")
            if part in self.parts
        )

    def label_index(self, name: str | int) -> int:
        """The position of a class, given by its name or its position.

        Raises:
            UnknownName: with the nearest right name.
        """
        if str(name) in self.labels:
            return self.labels.index(str(name))
        if isinstance(name, int) and 0 <= name < len(self.labels):
            return name
        raise UnknownName.of("class", str(name), self.labels)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read and check the card of the bundle in `folder`.

        Raises:
            ModelError: when there is no card.
            InvalidFile: with every problem of the card, each with its line.
        """
        path = folder / CARD
        if not path.is_file():
            raise ModelError(
                f"{folder} is not a model bundle",
                expected=f"a folder that holds {CARD}",
                hint="`genloom models list` shows the models at hand",
            )
        return yamlfile.validated(yamlfile.read(path), cls)

    def write(self, folder: Path) -> None:
        """Write the card into `folder`."""
        (folder / CARD).write_text(self.to_yaml(), encoding="utf-8")

    def to_yaml(self) -> str:
        """The text of `model.yaml`; values that equal their default are left out."""
        data: dict[str, Any] = {"genloom": self.genloom}
        data |= self.model_dump(mode="json", exclude_defaults=True)
        return yamlfile.dump(data)
