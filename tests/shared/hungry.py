"""A bundle whose network holds much memory for each pixel, to see what happens without it."""

import hashlib

import numpy as np

from genloom.card import Card, Part, Port

PICTURE = Port(axes=("batch", 3, "height", "width"))


def write_hungry(folder, onnx_bytes, *, whole):
    """256 values for each pixel on the way.

    It sees pictures `whole`, or one pixel to each side.
    """
    random = np.random.default_rng(2)
    middle = [
        ("GlobalAveragePool", ["waves"], ["mean"], {}),
        ("Mul", ["waves", "mean"], ["scaled"], {}),
    ]
    graph = onnx_bytes(
        [
            ("Conv", ["image", "first"], ["wide"], {"pads": [1, 1, 1, 1]}),
            ("Sin", ["wide"], ["waves"], {}),
            *(middle if whole else []),
            ("Conv", ["scaled" if whole else "waves", "last"], ["result"], {}),
        ],
        {"image": PICTURE},
        {"result": PICTURE},
        {
            "first": random.normal(0, 0.1, (256, 3, 3, 3)).astype(np.float32),
            "last": random.normal(0, 0.1, (3, 256, 1, 1)).astype(np.float32),
        },
    )
    folder.mkdir()
    (folder / "network.onnx").write_bytes(graph)
    part = Part(
        file="network.onnx",
        sha256=hashlib.sha256(graph).hexdigest(),
        opset=18,
        inputs={"image": PICTURE},
        outputs={"result": PICTURE},
    )
    field = "global" if whole else 3
    card = Card(
        name="hungry",
        family="tiny-image",
        channels=3,
        receptive_field=field,
        parts={"network": part},
    )
    card.write(folder)
    return folder
