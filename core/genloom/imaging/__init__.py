"""Image files in and out: pixels as they were stored, and everything that must survive with them.

    read, probe      decode one file, or only its header
    decoded_bytes    what a file takes in memory, from as few of its bytes as tell it
    read_record      how a picture was made, as `write` was told
    encode, write    encode one picture to bytes, or to a file
    record_options   what Pillow is told to write a record into an animation
    add_record       the same for a GIF that is written
    resize           antialiased resampling of any of the three pixel types
    continued        colours that go on where a picture is transparent
    most_detailed, around, enlarged, outlined    parts of a picture that are worth a closer look

Whatever bytes are read, the only exception that leaves this package is `ImageError`. What a format
or a conversion cannot keep is said in the notes that `read`, `encode` and `write` hand back.
"""

from __future__ import annotations

from genloom.imaging.detail import Place, around, enlarged, most_detailed, outlined
from genloom.imaging.formats import READABLE, SILENT, WRITABLE, can_write
from genloom.imaging.hidden import continued
from genloom.imaging.reading import Picture, decoded_bytes, probe, read, read_record
from genloom.imaging.resizing import resize
from genloom.imaging.writing import add_record, encode, record_options, write
from genloom.limits import MAX_PIXELS

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "SILENT",
    "WRITABLE",
    "Picture",
    "Place",
    "add_record",
    "around",
    "can_write",
    "continued",
    "decoded_bytes",
    "encode",
    "enlarged",
    "most_detailed",
    "outlined",
    "probe",
    "read",
    "read_record",
    "record_options",
    "resize",
    "write",
]
