"""Out of memory: told from all other errors, by the words that libraries have for it, and made one.

A system that promises more memory than it has ends the process that takes it. So during a large
call the process may take no more than is free, and what does not fit is an error like any other.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from genloom import machine
from genloom.limits import CALL_ROOM, CALL_SLACK, LARGE_CALL
from genloom.types import Array

WORDS = re.compile(
    r"""
      bad_alloc | bad\ allocation                         # the C++ library; Microsoft's
    | failed\ to\ allocate\ memory                       # ONNX Runtime's arena
    | available\ memory\ of\ \d+\ is\ smaller\ than       # the same, at `gpu_mem_limit`
    | failure\ 2:\ out\ of\ memory                       # CUDA and HIP, as ONNX Runtime tells it
    | cuda\ out\ of\ memory | 2\ \(out\ of\ memory\)       # and others, TensorRT among them
    | cudaErrorMemoryAllocation | hipErrorOutOfMemory
    | (CUBLAS|CUDNN|CUFFT|HIPBLAS|ROCBLAS|MIOPEN)_?STATUS_?ALLOC_?FAILED
    | 8007000E | E_OUTOFMEMORY                           # DirectML, by the number Windows gives
    | CL_MEM_OBJECT_ALLOCATION_FAILURE | CL_OUT_OF_(RESOURCES|HOST_MEMORY)
    | cl\w+,\ error\ code:\ -[456]\b                     # the same three, by OpenCL's numbers
    | failed\ to\ allocate\ \d+\ bytes | can't\ alloc\b    # OpenVINO, on the processor
    | exceeded\ max\ size\ of\ memory                    # and of a GPU
    | ZE_RESULT_ERROR_OUT_OF_(DEVICE|HOST)_MEMORY        # and of an NPU
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What is written in an error that says that memory ran out, and in no other."""


def ran_out(error: BaseException) -> str:
    """What an error says of memory that there was not enough of; empty when it says nothing."""
    text = str(error)
    if found := WORDS.search(text):
        return text[found.start() :].splitlines()[0][:200].strip()
    return (text or "out of memory") if isinstance(error, MemoryError) else ""


@contextmanager
def bounded(inputs: Mapping[str, Array]) -> Iterator[None]:
    """A call of a network that computes in the machine's own memory, of which it may take the rest.

    Such calls of several threads share what is free; see `alone`. Small ones are let through.
    """
    if not is_large(inputs):
        yield
        return
    with _calls.running():
        yield


def is_large(inputs: Mapping[str, Array]) -> bool:
    """Whether a call with such inputs may have to wait for others: no lock is to be held then."""
    return sum(array.nbytes for array in inputs.values()) >= LARGE_CALL


def let_go() -> None:
    """A runtime let go of what ran out of memory; what is left of it unused is not counted on."""
    _calls.let_go()


def was_crowded() -> bool:
    """Whether other large calls ran beside the last one of this thread."""
    return _calls.was_crowded()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no large call runs, and let none of other threads begin meanwhile."""
    with _calls.alone():
        yield


class _Calls:
    """The large calls that run now, and the limit of the process while there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, bool] = {}  # by thread: whether others ran beside
        self._last = threading.local()
        self._owner: int | None = None
        self._before: tuple[int, int] | None = None
        self._unused: int | None = None  # bytes promised and not used while there was no call

    @contextmanager
    def running(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._owner in (None, me))
            self._running[me] = False
            if len(self._running) > 1:
                self._running = dict.fromkeys(self._running, True)
        try:
            with self._changed:
                self._limit()  # may itself find no memory, while another call has it all
            yield
        finally:
            with self._changed:
                self._last.crowded = self._running.pop(me)
                if not self._running:
                    self._lift()
                self._changed.notify_all()

    def let_go(self) -> None:
        with self._changed:
            self._unused = None

    def was_crowded(self) -> bool:
        return getattr(self._last, "crowded", False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None)
            self._owner = threading.get_ident()
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._running)
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()

    def _limit(self) -> None:
        """Allow the process as much as it has and as is free, where the system keeps to that."""
        with contextlib.suppress(ImportError, OSError, ValueError, KeyError):
            import resource

            free = machine.free_memory()
            if free is None:
                return
            before = self._before or resource.getrlimit(resource.RLIMIT_DATA)
            promised, held = machine.data_bytes()
            if self._unused is None and self._before is None:  # the first of them begins
                self._unused = promised - held
            # What was promised since and is not used yet, calls may still use. So they may what was
            # promised before, too: so never more than is free.
            most = held + min((self._unused or 0) + int(CALL_ROOM * free), free)
            most = max(promised + CALL_SLACK, most)
            if before[0] != resource.RLIM_INFINITY:
                most = min(most, before[0])
            self._before = before
            resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))

    def _lift(self) -> None:
        if self._before is not None:
            with contextlib.suppress(ImportError, OSError, ValueError):
                import resource

                resource.setrlimit(resource.RLIMIT_DATA, self._before)
            self._before = None


_calls = _Calls()
