"""PNG rows are packed the same whichever library packs them."""

import zlib

import numpy as np
import pytest

from genloom.imaging import packing


def rows(kind):
    random = np.random.RandomState(0)
    if kind == "flat":
        return np.zeros((60, 301), np.uint8)
    if kind == "noise":
        return random.randint(0, 256, (60, 301)).astype(np.uint8)
    return np.clip(random.normal(0, 2, (60, 301)), -9, 9).astype(np.int8).view(np.uint8)


@pytest.mark.parametrize("kind", ["flat", "noise", "photograph"])
@pytest.mark.parametrize("library", ["zlib", "zlib_ng.zlib_ng"])
def test_what_is_packed_in_parts_is_unpacked_whole(kind, library, monkeypatch):
    monkeypatch.setattr(packing, "_begun", pytest.importorskip(library).compressobj)
    given = rows(kind)
    packer = packing.packer()
    packed = b"".join(packer.compress(part.data) for part in np.split(given, 3)) + packer.flush()
    assert zlib.decompress(packed) == given.tobytes()
    plain = zlib.compressobj(1, strategy=zlib.Z_RLE)
    size = len(plain.compress(given.data) + plain.flush())
    assert len(packed) <= 1.02 * size + 16
