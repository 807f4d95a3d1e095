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

MAX_HEADER_BYTES = 65536
"""Longest header of a PPM, comments included, which Pillow reads letter by letter."""

MAX_TEXT_PPM_BYTES = 100_000_000
"""Largest PPM whose pixels are written as text: such are read at three megabytes a second."""

PEAK = {"WEBP": 8, "AVIF": 8, "HEIF": 8}
"""Bytes that decoding holds at its peak for each byte of the picture; `USUAL_PEAK` for others."""

USUAL_PEAK = 5

ROOM = 0.8
"""Part of the memory that is free which decoding one picture may ask for."""

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
