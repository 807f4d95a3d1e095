"""The nouns that travel through a run: kinds, items and batches; and how their chance is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from genloom import scratch

Array = NDArray[Any]
Floats = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What a batch holds. A plugin brings its own with `Kind("sound")` and `genloom_kinds`."""

    name: str

    NOTHING: ClassVar[Kind]
    IMAGE: ClassVar[Kind]
    LATENT: ClassVar[Kind]

    def __str__(self) -> str:
        return self.name


Kind.NOTHING = Kind("nothing")
Kind.IMAGE = Kind("image")
Kind.LATENT = Kind("latent")


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What a picture file said about itself besides pixels, so that saving can say it again.

    `bits` is 8, 16 or 32 (float); `mode` is one of `grey`, `rgb`, `palette`; `lossless` is whether
    a WebP was compressed without loss.
    `exif` and `xmp` (the bytes of a packet) never hold an orientation other than upright: it was
    applied when the file was read; nor does `xmp` hold a record of genloom's.
    """

    format: str = ""
    mode: str = "rgb"
    bits: int = 8
    lossless: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture's way through a run.

    Attributes:
        key: what identifies it, and seeds its random numbers: index of the input root and the path
            below it (`0/holiday/beach.jpg`), or `sample-000042`; children append `#k`.
        name: where its result goes below OUT, as a POSIX path without ending.
        place: what its results are known by from run to run: of a file, `name` with its ending;
            the key unless said.
        group: the folder it belongs to, for stages that gather a folder.
        source: the file it was read from, if any.
        part: what it shows of that file: top, left, height and width as fractions of the whole.
        twin: whether its folder holds another picture with the same name but for the ending.
        gathered: whether a stage made it of a whole group.
        encoded: the bytes of that file, where they were read already: only the stage that opens a
            chain meets them.
        beside: files that go with its source, by what they show: guides such as albedo.
        alpha: opacity, H×W, of the same dtype as the pixels it came with; None when opaque.
        guides: what those files show, H×W×C each, as large as the picture; it follows crops and
            changes of size as alpha does.
        notes: what the user should know about this picture, in the order it happened.
    """

    key: str
    name: str
    place: str = ""
    group: str = ""
    source: Path | None = None
    encoded: bytes | None = field(default=None, repr=False)
    part: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    twin: bool = False
    gathered: bool = False
    beside: Mapping[str, Path] = field(default_factory=dict)
    alpha: Array | None = None
    guides: Mapping[str, Array] = field(default_factory=dict)
    info: ImageInfo = field(default_factory=ImageInfo)
    notes: tuple[str, ...] = ()

    def child(self, index: int) -> Item:
        """The `index`-th item made out of this one."""
        return replace(self, key=f"{self.key}#{index}", name=f"{self.name}-{index:03d}")

    def bare(self) -> Item:
        """The same item without alpha, guides and the bytes of its file."""
        if self.encoded is None and self.alpha is None and not self.guides:
            return self
        return changed(self, encoded=None, alpha=None, guides={})

    def cropped(self, top: float, left: float, height: float, width: float) -> Item:
        """The same item after a crop to this box, in fractions of what it showed before."""
        y, x, rows, columns = self.part
        part = (y + top * rows, x + left * columns, height * rows, width * columns)
        return replace(self, part=part)

    def noting(self, note: str) -> Item:
        """The same item with one more note, unless it carries that note already."""
        return self if note in self.notes else changed(self, notes=(*self.notes, note))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Items that travel together: one kind, one shape.

    Attributes:
        kind: what `values` mean.
        items: N items.
        values: image: pixels N×H×W×C, uint8, uint16 or float32 in [0, 1], C is 1 or 3, sRGB.
            latent: N×…, float32, the mean of a posterior when `log_variance` is there.
            nothing: an array of shape (N, 0).
        log_variance: for latents, N×…, the log σ² of a diagonal Gaussian posterior.
        label: for latents of a conditional model, N×classes: the weight of each class, one-hot
            unless classes are mixed.
        model: for latents, the digest of the model that made them.
    """

    kind: Kind
    items: tuple[Item, ...]
    values: Array
    log_variance: Floats | None = None
    label: Floats | None = None
    model: str = ""

    def __post_init__(self) -> None:
        if len(self.items) != len(self.values):
            raise ValueError(f"{len(self.items)} items but {len(self.values)} values in a batch")
        if self.kind == Kind.IMAGE and self.values.ndim != 4:
            raise ValueError(f"image values must be N×H×W×C, got shape {self.values.shape}")
        if self.log_variance is not None and self.log_variance.shape != self.values.shape:
            raise ValueError(
                f"log_variance must have the shape of the mean {self.values.shape}, "
                f"got {self.log_variance.shape}"
            )
        if self.label is not None and (self.label.ndim != 2 or len(self.label) != len(self.items)):
            raise ValueError(f"labels must be N×classes, got shape {self.label.shape}")

    @classmethod
    def nothing(cls, items: Sequence[Item]) -> Batch:
        """A batch that holds only items: what the first stage of a chain is given."""
        return cls(
            kind=Kind.NOTHING, items=tuple(items), values=np.empty((len(items), 0), np.float32)
        )

    @classmethod
    def images(cls, items: Sequence[Item], pixels: Array) -> Batch:
        """A batch of pictures, `pixels` N×H×W×C."""
        return cls(kind=Kind.IMAGE, items=tuple(items), values=pixels)

    @classmethod
    def latents(
        cls,
        items: Sequence[Item],
        mean: Floats,
        *,
        model: str,
        log_variance: Floats | None = None,
        label: Floats | None = None,
    ) -> Batch:
        """A batch of latents of the model with digest `model`."""
        return cls(
            kind=Kind.LATENT,
            items=tuple(items),
            values=mean,
            log_variance=log_variance,
            label=label,
            model=model,
        )

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Batch]:
        """One batch of one for each item."""
        if len(self.items) == 1:
            return iter((self,))
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, part: slice) -> Batch:
        """The same kind of batch with fewer items."""
        return changed(
            self,
            items=self.items[part],
            values=self.values[part],
            log_variance=None if self.log_variance is None else self.log_variance[part],
            label=None if self.label is None else self.label[part],
        )

    @property
    def pixels(self) -> Array:
        """The pictures as they were decoded or computed, N×H×W×C."""
        return self.values

    @property
    def data(self) -> Floats:
        """Pictures as float32 N×C×H×W in [0, 1], made on demand; other kinds as they are."""
        if self.kind != Kind.IMAGE:
            return self.values
        return np.ascontiguousarray(as_float(self.values).transpose(0, 3, 1, 2))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return int(self.values.shape[1]), int(self.values.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes held: values, variance, alpha and guides."""
        held = int(self.values.nbytes)
        if self.log_variance is not None:
            held += self.log_variance.nbytes
        for item in self.items:
            if item.alpha is not None:
                held += item.alpha.nbytes
            if item.guides:
                held += sum(guide.nbytes for guide in item.guides.values())
        return held

    def with_data(self, data: Floats) -> Batch:
        """The next batch, from float32 N×C×H×W for pictures; only `save` clamps to [0, 1]."""
        data = np.asarray(data, np.float32)
        if self.kind == Kind.IMAGE:
            data = data.transpose(0, 2, 3, 1)
        return replace(self, values=data)

    def with_pixels(self, pixels: Array) -> Batch:
        """The next batch, from N×H×W×C of any of the three dtypes."""
        return replace(self, values=pixels)

    def with_items(self, items: Sequence[Item]) -> Batch:
        """The same values under other items."""
        new = changed(self, items=tuple(items))
        new.__post_init__()
        return new


def changed(one: T, **fields: Any) -> T:
    """`dataclasses.replace` for frozen dataclasses that check nothing, in a tenth of the time."""
    new: T = object.__new__(type(one))
    values = new.__dict__
    values.update(one.__dict__)
    values.update(fields)
    return new


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of all items, in order. All must have one kind and one shape."""
    first = batches[0]
    if len(batches) == 1:
        return first
    variances = [batch.log_variance for batch in batches if batch.log_variance is not None]
    labels = [batch.label for batch in batches if batch.label is not None]
    sorts = {(batch.kind, batch.model) for batch in batches}
    halves = {len(variances), len(labels)} - {0, len(batches)}
    if len(sorts) > 1 or halves:
        raise ValueError("only batches of one kind, of one model if latents, can be joined")
    return replace(
        first,
        items=tuple(item for batch in batches for item in batch.items),
        values=np.concatenate([batch.values for batch in batches]),
        log_variance=np.concatenate(variances) if variances else None,
        label=np.concatenate(labels) if labels else None,
    )


def as_float(pixels: Array) -> Floats:
    """Pixels as float32 in [0, 1]: uint8 / 255, uint16 / 65535, floats as they are."""
    if pixels.dtype == np.uint8:
        return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    if pixels.dtype == np.uint16:
        return np.multiply(pixels, np.float32(1 / 65535), dtype=np.float32)
    return pixels.astype(np.float32, copy=False)


def as_dtype(pixels: Array, dtype: np.dtype[Any] | type) -> Array:
    """Pixels in another of the three dtypes: clamped to [0, 1] and rounded to nearest.

    Raises:
        ValueError: when integers are wanted of what is not a finite number.
    """
    dtype = np.dtype(dtype)
    if pixels.dtype == dtype:
        return pixels
    if dtype == np.float32:
        return as_float(pixels)
    top = np.float32(255 if dtype == np.uint8 else 65535)
    result, broken = scratch.zeros(pixels.shape, dtype), 0
    for part in scratch.strips(pixels, result):
        floats = as_float(pixels[part])
        finite = np.isfinite(floats)
        broken += floats.size - int(finite.sum())
        if not broken:
            result[part] = np.clip(floats, 0, 1) * top + np.float32(0.5)
    if broken:
        raise ValueError(f"not all pixels are finite numbers: {broken} of {pixels.size} are not")
    return result


def random_state(seed: int, stage: str, key: str) -> np.random.RandomState:
    """The random numbers of one item at one stage.

    They depend on nothing but the pipeline's seed, the stage's id and the item's key: SHA-256 of
    the three seeds a Philox counter generator, read through numpy's frozen `RandomState` streams,
    which keep their values from one numpy release to the next (NEP 19).
    """
    digest = hashlib.sha256(f"{seed}\0{stage}\0{key}".encode()).digest()
    philox: Any = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return np.random.RandomState(philox)


def digest_of(mapping: Mapping[str, Any]) -> str:
    """SHA-256 of a mapping of plain values, written as canonical JSON."""
    import json

    text = json.dumps(mapping, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
