"""The compiled graphs of a bundle: in the form a call asks for, and in a precision."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping

from genloom.engine.room import Room
from genloom.engine.watching import FLOOR, Verdict, Watched
from genloom.errors import MissingRequirement, ModelError
from genloom.models import Bundle
from genloom.runtime import EXACT, INT8, Network
from genloom.runtime.pixels import OLDEST, in_pixels

Compile = Callable[[bytes, str], Network]
"""Makes a network of the bytes of a graph, in a precision."""


class Form(enum.Enum):
    """How pictures go into the part of an image→image graph, and come out of it."""

    FLOATS = "floats in, floats out"
    BYTES = "8 bits in, floats out"
    ROUNDED = "8 bits in, 8 bits out"


class Networks:
    """Compiles each part of a bundle once for each form. Safe to use from several threads.

    Args:
        bundle: the model on disk.
        compile: compiles a graph in a precision.
        precision: as in `genloom.RunSettings`; what the card says goes before it.
        floor: see `FLOOR`.
    """

    def __init__(
        self, bundle: Bundle, compile: Compile, precision: str = EXACT, floor: float = FLOOR
    ) -> None:
        self._bundle, self._compile = bundle, compile
        self._precision, self._floor = precision, floor
        if bundle.card.precision != "auto":
            self._precision = bundle.card.precision
        self._own: dict[str, str] = {}  # of parts that are not computed in `precision`
        self._networks: dict[tuple[str, Form], Network] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._rooms: dict[str, Room] = {}
        self._lock = threading.Lock()

    def get(self, part: str, form: Form = Form.FLOATS) -> Network:
        """The network of a part."""
        with self._lock:
            if (part, form) not in self._networks:
                self._networks[part, form] = self._made(part, form)
            return self._networks[part, form]

    def room(self, part: str) -> Room:
        """How much a part takes in one call."""
        with self._lock:
            if part not in self._rooms:
                entry = self._bundle.card.parts.get(part)
                image = entry.inputs.get("image") if entry else None
                self._rooms[part] = Room(alone=image is not None and image.axes[0] == 1)
            return self._rooms[part]

    def provider(self, part: str) -> str:
        """Short name of the provider that took a part; empty while none has."""
        taken = (network for (name, _), network in list(self._networks.items()) if name == part)
        return next((network.provider for network in taken), "")

    def folds(self, part: str) -> bool:
        """Whether a part can take pictures as 8-bit pixels."""
        entry = self._bundle.card.parts[part]
        image, result = entry.inputs.get("image"), entry.outputs.get("result")
        ports = (image, result)
        return entry.opset >= OLDEST and all(port and port.dtype == "float32" for port in ports)

    @property
    def precisions(self) -> dict[str, str]:
        """What each compiled part computes in, or may after its first call."""
        # Copies, since other threads may be compiling.
        parts = dict.fromkeys((part for part, _ in list(self._networks)), EXACT)
        return parts | {part: str(verdict) for part, verdict in list(self._verdicts.items())}

    def notes(self) -> list[str]:
        """What the user should know: precisions that would not do, and where memory ran out."""
        precisions = [
            f"{one.words}; computed in {EXACT}"
            for one in list(self._verdicts.values())
            if one.found is not None and one.found < one.floor
        ]
        ran_out = [
            f"{self.provider(part)} ran out of memory at {', '.join(room.failures)}; less at a time"
            for part, room in list(self._rooms.items())
            if room.failures
        ]
        compiled = [network.note for network in list(self._networks.values()) if network.note]
        return list(dict.fromkeys(compiled)) + precisions + ran_out

    def reductions(self) -> list[str]:
        """Each time that memory ran out and less was put into a call from then on."""
        return [
            f"'{part}' ran out of memory on {self.provider(part)} at {failure}; less at a time"
            for part, room in list(self._rooms.items())
            for failure in list(room.failures)
        ]

    def keep(self, decided: Mapping[str, str]) -> None:
        """Take what an earlier run decided for each part instead of deciding again."""
        for part, precision in decided.items():
            self._take_form(part, precision)
            verdict = self._verdicts.get(part)
            if verdict and not verdict.precision and precision in (verdict.fast, EXACT):
                verdict.precision = precision

    def int8_of(self, graph: bytes) -> bytes | None:
        """The int8 form of a graph that was compiled, where it has one."""
        for part, form in list(self._networks):
            if self._bundle.card.parts[part].int8 and self._graph(part, form) == graph:
                return self._graph(part, form, INT8)
        return None

    def _graph(self, part: str, form: Form, precision: str = EXACT) -> bytes:
        """The bytes that are compiled for a form of a part."""
        graph = self._bundle.int8(part) if precision == INT8 else self._bundle.graph(part)
        if form == Form.FLOATS:
            return graph
        return in_pixels(graph, "image", "result" if form == Form.ROUNDED else None)

    def _precision_of(self, part: str) -> str:
        """What a part is to be computed in: where others have an int8 form and it has none, fp32.

        Raises:
            ModelError: when none has.
        """
        parts, asked = self._bundle.card.parts, self._own.get(part, self._precision)
        has = part in parts and parts[part].int8 is not None
        others_have = any(other.int8 for other in parts.values())
        return EXACT if asked == INT8 and others_have and not has else asked

    def _take_form(self, part: str, decided: str) -> None:
        """Go over to the int8 form of a part, or away from it, where that was decided on."""
        entry, verdict = self._bundle.card.parts.get(part), self._verdicts.get(part)
        if entry is None or entry.int8 is None or (verdict and verdict.precision):
            return
        now = self._precision_of(part)
        if (decided == INT8) == (now == INT8) or " " in decided:  # that was not decided yet
            return
        self._own[part] = INT8 if decided == INT8 else "auto"
        self._verdicts.pop(part, None)
        for form in [form for name, form in self._networks if name == part]:
            self._networks[part, form] = self._made(part, form)

    def _made(self, part: str, form: Form) -> Network:
        precision = self._precision_of(part)
        try:
            graph = self._graph(part, form)
            network = self._compile(
                graph if precision != INT8 else self._graph(part, form, INT8), precision
            )
        except ModelError as error:
            raise error.at(f"'{part}' of the model '{self._bundle.card.name}'") from None
        if precision not in ("auto", network.precision):
            raise MissingRequirement(
                f"the provider '{network.provider}' does not compute in {precision}",
                got=network.note or network.precision,
                hint="`--provider cpu` and `--provider openvino` do"
                if precision == INT8
                else "`--precision auto` takes the fastest that gives the same pictures",
            )
        if network.precision == EXACT:
            return network
        verdict = self._verdicts.setdefault(part, Verdict(network.precision, self._floor))
        size = self._bundle.card.size
        return Watched(network, lambda: self._compile(graph, EXACT), verdict, size)
