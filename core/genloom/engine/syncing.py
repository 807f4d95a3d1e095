"""Put finished files on the disk, some at a time, while the run goes on.

File systems that keep a log write it once for all that ask at the same time, so small files wait
for the others of their group. Large ones would hold up the group that is committed: a device that
writes a gigabyte a second needs a while for some hundreds, during which nothing new is begun.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

AT_A_TIME = 16
"""Files that are put on the disk at a time."""

EARLY_BYTES = 64 * 2**20
"""Bytes in files for which the disk is not left to wait."""


class Syncing:
    """Threads that put files on the disk, and what they were told there."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_A_TIME, "sync")
        self._fresh: list[str] = []
        self._bytes = 0
        self._begun: list[tuple[Sequence[str], Future[list[str]]]] = []

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown()

    def add(self, path: str, size: int) -> None:
        """A file that is whole, of so many bytes; it is begun with once there is much to do."""
        self._fresh.append(path)
        self._bytes += size
        if self._bytes >= EARLY_BYTES:
            self._begin()

    def problems(self, paths: Sequence[str]) -> dict[str, str]:
        """Wait until these files are on the disk: why one is not, or an empty text.

        They were added, but where adding them did not come to its end that is made up for.
        """
        under_way = {path for some, _ in self._begun for path in some}
        self._fresh = [path for path in paths if path not in under_way]
        self._begin()
        begun, self._begun = self._begun, []
        return {
            path: problem
            for paths, future in begun
            for path, problem in zip(paths, future.result(), strict=True)
        }

    def folders(self, paths: Iterable[str]) -> None:
        """Put the names in folders on the disk, where the system can."""
        list(self._pool.map(_sync_folder, paths))

    def _begin(self) -> None:
        fresh, self._fresh, self._bytes = self._fresh, [], 0
        share = -(-len(fresh) // AT_A_TIME) or 1
        for at in range(0, len(fresh), share):
            paths = fresh[at : at + share]
            self._begun.append((paths, self._pool.submit(_sync_files, paths)))


def _sync_files(paths: Sequence[str]) -> list[str]:
    """Ask the system to put files on the disk; gives what went wrong with each."""
    return [_sync(path, os.O_RDWR) for path in paths]


def _sync_folder(path: str) -> None:
    """Ask the system to put the names in a folder on the disk, where it can."""
    _sync(path, os.O_RDONLY)


def _sync(path: str, flags: int) -> str:
    try:
        handle = os.open(path, flags)
    except OSError as error:
        return str(error.strerror)
    try:
        os.fsync(handle)
    except OSError as error:
        return str(error.strerror)
    finally:
        os.close(handle)
    return ""
