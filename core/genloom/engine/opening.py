"""The files that a chain begins with: what identifies them, and the bytes of those not large."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from genloom.engine.packet import Packet
from genloom.engine.records import Signature
from genloom.limits import MAX_PICTURE_BYTES
from genloom.types import Item, changed


def with_bytes(packet: Packet, most: int) -> Packet:
    """The packet with the bytes of its file, if these are no more than `most`.

    What identifies the file is told by its unit then, its hash aside. Size and time are taken
    before the bytes are read: a file that changes meanwhile differs from its signature at the next
    run.
    """
    item, unit = packet.item, packet.unit
    if item.source is None or item.encoded is not None or item.beside:
        return packet
    try:
        found = os.stat(item.source)
        # A pipe, a device or a file of the kernel would keep a reader waiting.
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= most:
            return packet
        file = os.open(item.source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:  # not with `open`, which asks the system for twice as much
            data = os.read(file, found.st_size + 1)
        finally:
            os.close(file)
    except OSError:  # which decoding says better
        return packet
    if len(data) != found.st_size:  # it is being written
        return packet
    signature = unit.inputs[0] if unit.inputs else Signature.of(item)
    unit.inputs = (changed(signature, size=found.st_size, mtime=found.st_mtime_ns),)
    item = changed(item, encoded=data)
    batch = packet.batch and changed(packet.batch, items=(item,))
    return changed(packet, item=item, batch=batch)


def without_bytes(packet: Packet) -> Packet:
    """The packet without the bytes of its file, whatever the stage that opened it left there."""
    item, batch = packet.item, packet.batch
    if batch is not None and any(one.encoded is not None for one in batch.items):
        items = tuple(changed(one, encoded=None) for one in batch.items)
        packet = changed(packet, batch=changed(batch, items=items))
    if item.encoded is not None:
        packet = changed(packet, item=changed(item, encoded=None))
    return packet


def signed(packet: Packet) -> Signature:
    """What identifies the input file of a packet, told just before it is decoded."""
    item = packet.item
    if item.encoded is not None:
        (signature,) = packet.unit.inputs
        return changed(signature, sha256=hashlib.sha256(item.encoded).hexdigest())
    return sign(item)


def sign(item: Item) -> Signature:
    """What identifies an input file: size and time, and then the hash of its bytes."""
    signature = Signature.of(item)
    return signature if item.source is None else changed(signature, sha256=hash_of(item))


def hash_of(item: Item) -> str:
    """The hash of an item's file, or of the hashes of all where others lie beside it."""
    own = "" if item.source is None else _sha256(item.source)
    if not item.beside:
        return own
    named = [f"{name} {_sha256(path)}" for name, path in sorted(item.beside.items())]
    return hashlib.sha256("\n".join([own, *named]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """The hash of a file; empty when it cannot be read, which decoding says better."""
    try:
        # A pipe, a device or a file of the kernel would keep a reader waiting; what is too large
        # is not decoded either.
        if not path.is_file() or not 0 < path.stat().st_size <= MAX_PICTURE_BYTES:
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
