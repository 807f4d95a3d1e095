"""Image files in and out: pixels as they were stored, and everything that must survive with them.

    read, probe      decode one file, or only its header
    encode, write    encode one picture to bytes, or to a file
    resize           antialiased resampling of any of the three pixel types
    most_detailed, around, enlarged, outlined    parts of a picture that are worth a closer look

Whatever bytes are read, the only exception that leaves this package is `ImageError`. What a format
or a conversion cannot keep is said in the notes that `read`, `encode` and `write` hand back.
"""

from __future__ import annotations

from genloom.imaging.detail import Place, around, enlarged, most_detailed, outlined
from genloom.imaging.formats import MAX_PIXELS, READABLE, WRITABLE
from genloom.imaging.reading import Picture, probe, read
from genloom.imaging.resizing import resize
from genloom.imaging.writing import encode, write

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "WRITABLE",
    "Picture",
    "Place",
    "around",
    "encode",
    "enlarged",
    "most_detailed",
    "outlined",
    "probe",
    "read",
    "resize",
    "write",
]
