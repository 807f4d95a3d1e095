"""What a stage is, and what the engine offers it while it runs."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from genloom.card import Card
from genloom.errors import GenloomError
from genloom.listing import Listing, Numbered, portions
from genloom.types import Array, Batch, Item, Kind

Box = tuple[int, int, int, int]
T = TypeVar("T")


class Cardinality(enum.Enum):
    """How many items a stage makes of how many."""

    ONE_TO_ONE = "one→one"
    ONE_TO_MANY = "one→many"
    MANY_TO_ONE = "many→one"
    MANY_TO_MANY = "many→many"
    NONE_TO_MANY = "none→many"

    @property
    def gathers(self) -> bool:
        """Whether the stage sees a whole group of items at once."""
        return self in (Cardinality.MANY_TO_ONE, Cardinality.MANY_TO_MANY)


class Model(Protocol):
    """A model bundle, compiled for a runtime: what stages and backends work with."""

    @property
    def card(self) -> Card:
        """What the model is."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 over all of the card that decides results."""
        ...

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The arrays that the bundle holds beside its graphs, by name."""
        ...

    def run(self, part: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on arrays exactly as its ports want them."""
        ...

    def image(
        self,
        part: str,
        batch: Batch,
        *,
        ensemble: int = 1,
        rounded: bool = False,
        **ports: Array,
    ) -> Batch:
        """Run an image→image graph (port `image` to port `result`) over pictures of any size.

        Pictures are converted to the model's channels, padded to its size rule, cut into tiles
        where they are large and the receptive field allows it, and brought back. `ports` are the
        other inputs: one value for each picture, shape (N,); for a port of pictures, a guide,
        pictures as large as the batch's, N×H×W×C, or one value for all pixels of each. With an
        `ensemble` of 2, 4 or 8 the result is the mean over so many of the ways to turn and mirror
        the pictures, brought back (Timofte et al. 2016, section 3.7, which calls it enhanced
        prediction); the work is as many times as much. Where `rounded`, results may come as uint8,
        clamped and rounded in the graph: for a stage that hands them on as they are when
        `Run.ends` says so.
        """
        ...

    def fit(self, batch: Batch) -> Batch:
        """The pictures in the model's channels, and resized where it takes only one size."""
        ...

    def encode(self, batch: Batch) -> Batch:
        """Pictures → latents (the posterior where there is one)."""
        ...

    def decode(self, batch: Batch) -> Batch:
        """Latents → pictures. A latent with a posterior is decoded at its mean."""
        ...

    def prior(
        self,
        items: Sequence[Item],
        random: Sequence[np.random.RandomState],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
    ) -> Batch:
        """One latent for each item, drawn from the model's prior with that item's random state.

        `labels` are positions in the card's labels, for a conditional model; it draws a class
        for each item where they are None.
        """
        ...


class Run(Protocol):
    """What a stage may ask of the engine while it runs."""

    @property
    def seed(self) -> int:
        """The pipeline's seed."""
        ...

    @property
    def ends(self) -> bool:
        """Whether what this call gives goes into files of 8 bits, and nowhere else before."""
        ...

    def random(self, item: Item) -> np.random.RandomState:
        """The item's own random numbers at this stage: the same in every batch, order and run."""
        ...

    def model(self, name: str) -> Model:
        """The model that an option names, opened by the plan."""
        ...

    def file(self, path: Path) -> bytes:
        """The bytes of a file that an option names, as the plan hashed them.

        What an option of the type `Path` names is part of what a result is known by: a stage that
        opened the file itself could use other bytes than those.
        """
        ...

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once in a run for each key and kept: other threads wait for it.

        Let the key hold the stage, which equals another one only where all options do:
        `run.once((self, "table"), lambda: table(run.file(self.table)))`.
        """
        ...

    def output(self, item: Item, ending: str, pattern: str = ...) -> AbstractContextManager[Path]:
        """A file to write one result into.

        The path is a temporary one. It gets its final name (`pattern` with the item's folder and
        stem, and `ending`) only when the block ended well. A file that the block writes beside it,
        under the same name with `.json` added, goes with it.
        """
        ...

    def record(self, item: Item) -> str:
        """How the item was made, as JSON of ASCII: what `genloom.imaging.write` puts into a file.

        Of stages, options, models, seed and input; no path and no name of a user. The same in
        every run, as far as they are. Only a stage that says `writes` may ask.
        """
        ...


@dataclass(frozen=True)
class Inputs:
    """What a run was given: files, folders and globs, and where it will write."""

    paths: tuple[str, ...] = ()
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a pipeline. Subclass it as a frozen keyword-only dataclass; fields are options.

    Class attributes:
        name: how pipeline files call it: a verb, lower case, hyphens.
        takes: the kind or kinds it works on.
        gives: the kind it makes.
        cardinality: how many items it makes of how many; one→one unless said.
        writes: whether it writes result files through `run.output`.
        needs_posterior: whether latents it takes must have a log-variance.
        gives_posterior: whether latents it gives have one; None when that depends, on its model
            say.
    """

    name: ClassVar[str]
    takes: ClassVar[Kind | tuple[Kind, ...]]
    gives: ClassVar[Kind]
    cardinality: ClassVar[Cardinality] = Cardinality.ONE_TO_ONE
    writes: ClassVar[bool] = False
    needs_posterior: ClassVar[bool] = False
    gives_posterior: ClassVar[bool | None] = None

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Work on a batch. Called from several threads: keep no state between calls.

        A stage that gathers sees every batch here first (to shrink pictures, say) and all of them
        in `gather`; unless it says otherwise, nothing happens here.
        """
        if self.cardinality.gathers:
            return batch
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")

    def gather(self, members: Sequence[Batch], item: Item, run: Run) -> Batch:
        """For a stage that gathers: make one result, or several, of a group.

        Args:
            members: one batch of one for each member, in order; their shapes may differ.
            item: the item to put the result under; several results are its children.
            run: the engine.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define gather")

    def sources(self, inputs: Inputs) -> Iterator[Item]:
        """For a stage that opens a chain: the items it will make, in order, without making them.

        The engine then calls the stage with batches of kind `nothing` that hold these items.
        A stage with an option `count` makes `name-000000` … without saying more.

        Raises:
            GenloomError: when there are inputs; a stage that reads them defines this method.
        """
        if inputs.paths:
            raise GenloomError(
                f"a pipeline that begins with '{self.name}' takes no input",
                got=", ".join(inputs.paths),
            )
        for numbered in self._numbered():
            yield from numbered.items(range(len(numbered)))

    def listings(self, inputs: Inputs) -> Iterator[Listing]:
        """The same items in portions, of which each item is made only when it is wanted.

        A stage that can say what its files are known by faster than it makes items of them defines
        this beside `sources`: of a run that is done, nothing else is asked.
        """
        if type(self).sources is Stage.sources and not inputs.paths:
            return self._numbered()
        return portions(self.sources(inputs))

    def _numbered(self) -> Iterator[Numbered]:
        numbers = range(int(getattr(self, "count", 0)))
        return (
            Numbered(self.name, numbers[start : start + 10_000])
            for start in range(0, len(numbers), 10_000)
        )

    def cost(self, item: Item) -> int:
        """For a stage that opens a chain: bytes its result will hold, as far as can be told."""
        return 0

    def most(self) -> int:
        """For a stage that gathers: how many members one call is given at the most."""
        return 1000

    def group_of(self, item: Item) -> str:
        """For a stage that gathers: the group an item belongs to, by its option `group`."""
        return item.group if getattr(self, "group", "all") == "folder" else ""

    def crop_box(self, height: int, width: int) -> Box | None:
        """The part of a picture that is kept, (top, left, height, width), for a stage that crops.

        The engine cuts alpha and guides to it. Other changes of size need no word: they are
        resized along.
        """
        return None

    def check_model(self, option: str, card: Card) -> None:
        """Whether the options go with the model that `option` names, before anything runs.

        Raises:
            GenloomError: when they do not; `OptionError` where an option other than that one is
                to blame.
        """

    def uses(self, option: str) -> bool:
        """Whether the model that `option` names is asked for anything, as the options stand.

        One that is not need not be at hand, and changes nothing about results.
        """
        return True

    @classmethod
    def kinds_taken(cls) -> tuple[Kind, ...]:
        """`takes` as a tuple."""
        return cls.takes if isinstance(cls.takes, tuple) else (cls.takes,)

    def with_options(self, **options: Any) -> Stage:
        """The same stage with other options."""
        return dataclasses.replace(self, **options)
