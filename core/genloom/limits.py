"""How much genloom takes from outside, and why. Every such limit stands here and nowhere else.

What is above a limit is an error that names it: of one picture, of a file, of a bundle. None of
them can be switched off, because what they keep out would end the process or never end.
"""

from __future__ import annotations

# Pictures.

MAX_PIXELS = 1_000_000_000
"""Most pixels a file may claim; more is taken for a decompression bomb."""

DENSEST = 10_000
"""Most pixels a byte of a PNG, GIF, JPEG, BMP, PPM or plain TIFF can stand for."""

MAX_PICTURE_BYTES = 2**32
"""Largest picture file: offsets in a TIFF end there. It is also what would be hashed and read."""

MAX_FRAMES = 1000
"""Frames and pages are counted this far; only the first is read, so no more is worth the time."""

MAX_SCANNED = 50 * MAX_PIXELS
"""Most pixels that all scans of a JPEG may go over: twelve bytes can make another whole scan."""

MAX_TAG_VALUES = 2**20
"""Most numbers in one tag of a TIFF: the tiles of a gigapixel in tiles of 32×32."""

MAX_PNG_CHUNKS = 2**20
"""Most chunks of a PNG: the largest file in parts of 4 KiB, half of what writers usually make."""

MAX_PNG_OTHER_CHUNKS = 10_000
"""Most chunks of a PNG that hold no pixels; files people have are seen with some dozens."""

MAX_PNG_OTHER_BYTES = 2**28
"""Most bytes in those: editors put whole documents there, and they are held while it is read."""

MAX_HEADER_BYTES = 65536
"""Longest header of a PPM, comments included, which Pillow reads letter by letter."""

MAX_TEXT_PPM_BYTES = 100_000_000
"""Largest PPM whose pixels are written as text: such are read at three megabytes a second."""

SMALL_FILE = 65536
"""Files up to so many bytes are read whole where the header of others is: the disk does as much."""

READ_ONCE = 8 * 2**20
"""Files up to so many bytes are hashed and decoded from memory, read once."""

PEAK = {"WEBP": 8, "AVIF": 8, "HEIF": 8}
"""Bytes that decoding holds at its peak for each byte of the picture; `USUAL_PEAK` for others."""

USUAL_PEAK = 5

COPIES = 3
"""Times a picture is held while it is turned upright and its alpha taken out of it; and what a file
has besides pixels, while it is understood."""

ROOM = 0.8
"""Part of the memory that is free which decoding one picture may ask for, and of the disk one array
that is too large for memory."""

CALL_ROOM = 0.95
"""Part of the memory that is free which calls of networks may take; else the system might end the
process."""

CALL_SLACK = 2**26
"""Bytes that the process may take beside such calls, whatever they take."""

LARGE_CALL = 2**22
"""Calls of networks with as many bytes of inputs or more are kept to that: pictures that are not
cut, and large tiles."""

LARGE = 256 * 2**20
"""Pictures that ask for more bytes than this are decoded one at a time."""

# Files people write: pipelines, recipes, cards.

MAX_YAML_BYTES = 1_000_000
"""Largest YAML file: hundreds of times what a long pipeline has."""

MAX_YAML_NODES = 20_000
"""Most values and keys in a YAML file; some thousand are read in a second."""

MAX_YAML_DEPTH = 20
"""Deepest nesting of a YAML file; reading recurses."""

MAX_PROBLEMS = 100
"""Problems of one file that are told; nobody mends more at once."""

MAX_RECORD = 1_000_000
"""Most characters of a record of how a picture was made: a thousand times what one has."""

MAX_OPTION_FILE_BYTES = 2**30
"""Largest file that an option of a stage may name: it is hashed, and held while the run lasts."""

# Bundles.

MAX_GRAPH_BYTES = 2**31 - 1
"""Largest file of a bundle: what one protobuf message can hold."""

MAX_BUNDLE_BYTES = 2**33
"""Largest bundle, all of the files that its card names."""

MAX_GRAPH_FIELDS = 5_000_000
"""Most protobuf fields that are looked at in one graph; large networks have some ten thousand."""

MAX_SIDE = 4096
"""Largest side in pixels that a card may ask for: a trial run makes pictures of that size."""

MAX_SCALE = 16
"""Largest factor by which a network enlarges."""

MAX_VALUES = 2**26
"""Most values in one latent, or at one port for each item of a batch: colour of `MAX_SIDE`²."""

MAX_AXES = 8
"""Most axes of an array that a card tells of."""

FURTHEST = 1e9
"""Largest number in a range that a card tells of; a trial run draws numbers between its ends."""

MAX_TILES = 1_000_000
"""Most tiles that one picture is cut into: a gigapixel in tiles of 32×32."""

# Kept between runs.

MAX_CACHE_BYTES = 2**30
"""Size of the folder of compiled graphs; each is about as large as its graph."""
