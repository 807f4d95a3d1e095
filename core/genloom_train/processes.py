"""Several processes on this machine that train together, watched by the one that started them.

The children ignore Ctrl-C and SIGTERM: the parent hears them and sets an event that the children
look at after every step, so that all stop after the same one. When a child dies the others may
wait for it for ever, in code that no signal reaches; the parent then ends them. When the parent
dies, each child finds out and stops by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from genloom.errors import GenloomError
from genloom_train.stopping import SIGNALS, Flag, Interrupted, stop_on_signals

GRACE = 5.0
"""Seconds that the others have to end by themselves when one has failed."""


@dataclass
class _Child:
    rank: int
    process: SpawnProcess
    receiver: Connection
    error: Exception | None = None
    died: bool = False

    @property
    def failed(self) -> bool:
        return self.died or not isinstance(self.error, Interrupted | None)

    def receive(self) -> None:
        """How it ended: what it sent, or nothing when it was killed."""
        try:
            self.error = self.receiver.recv()
        except (EOFError, OSError):
            self.died = True

    def end(self, seconds: float) -> None:
        """Wait for its end, and make one if it does not come."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def run_together(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(stopping, *arguments)` in each of `count` new processes and wait for all.

    Args:
        count: of processes.
        work: a function of a module; the environment tells it its rank, as `torchrun` would.
        arguments: anything that can be pickled.

    Raises:
        Exception: what one of them raised; an error that genloom can explain goes first.
        GenloomError: when one died.
    """
    context = multiprocessing.get_context("spawn")
    stopping, port = context.Event(), _free_port()
    children: list[_Child] = []
    try:
        with _ignoring_signals():
            for rank in range(count):
                receiver, sender = context.Pipe(duplex=False)
                given = (sender, stopping, _place(rank, count, port), work, arguments)
                process = context.Process(target=_child, args=given, daemon=False)
                process.start()
                sender.close()
                children.append(_Child(rank, process, receiver))
        with stop_on_signals(stopping):
            _watch(children)
    finally:
        for child in children:
            child.end(0.0)
    _tell(children)


def _watch(children: list[_Child]) -> None:
    """Wait until all have ended, or until one has failed and the others had time to."""
    waiting = {child.receiver: child for child in children}
    deadline: float | None = None
    while waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = wait(list(waiting), left)
        if not ready:
            return
        for receiver in ready:
            child = waiting.pop(receiver)  # type: ignore[call-overload]
            child.receive()
            if child.failed:
                deadline = deadline or time.monotonic() + GRACE
    for child in children:
        child.end(GRACE)


def _tell(children: list[_Child]) -> None:
    """Raise what went wrong: its cause where several things did, since one failure draws others."""
    errors = [child.error for child in children if child.error is not None]
    for error in errors:
        if isinstance(error, GenloomError):
            raise error
    for child in children:
        if child.died:
            raise GenloomError(
                f"process {child.rank + 1} of {len(children)} died{_how(child.process.exitcode)}",
                hint="Checkpoints written before are whole: go on with --resume",
            )
    for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
        raise error


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return ""
    name = signal.Signals(-code).name
    memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f" ({name}{memory})"


def _place(rank: int, count: int, port: int) -> dict[str, str]:
    """The environment of one process, by the names that torch and Fabric know."""
    place = {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if sys.platform == "linux":
        place["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return place


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    """Processes started here ignore them from birth, while they are still importing too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _child(
    sender: Connection,
    stopping: Flag,
    place: dict[str, str],
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(place)
    threading.Thread(target=_stop_with_parent, args=(stopping,), daemon=True).start()
    try:
        work(stopping, *arguments)
    except Exception as error:
        _send(sender, error, place["LOCAL_RANK"])
        if not isinstance(error, Interrupted):
            # The usual end waits for threads, some of which may wait for other processes.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
    else:
        sender.send(None)


def _stop_with_parent(stopping: Flag) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stopping.set()


def _send(sender: Connection, error: Exception, rank: str) -> None:
    """Send an exception, with its place in the code unless it explains itself."""
    if not isinstance(error, GenloomError | Interrupted):
        error.add_note(f"In process {int(rank) + 1}:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = GenloomError(str(error))
    sender.send(error)
