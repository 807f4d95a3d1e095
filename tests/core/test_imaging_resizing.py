"""Pictures of another size."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import (
    picture,
)

from genloom.errors import ImageError
from genloom.imaging import resize


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (20, 30, 4)])
def test_resize_keeps_type_and_level(filter, dtype, shape):
    pixels = np.full(shape, 1 if dtype == np.float32 else 200, dtype)
    for height, width in ((7, 11), (41, 33)):
        result = resize(pixels, height, width, filter)
        assert result.shape == (height, width, *shape[2:])
        assert result.dtype == dtype
        np.testing.assert_allclose(result, pixels.ravel()[0], rtol=1e-5)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint16)
    stripes[:, ::2] = 65535
    for filter in ("bilinear", "bicubic", "lanczos", "area"):
        assert np.abs(resize(stripes, 16, 16, filter)[2:-2, 2:-2] / 65535 - 0.5).max() < 0.05


def test_floats_may_overshoot_and_integers_are_clamped():
    edge = np.zeros((8, 8, 1), np.float32)
    edge[:, 4:] = 1
    assert resize(edge, 32, 32, "lanczos").max() > 1
    assert resize((edge * 65535).astype(np.uint16), 32, 32, "lanczos").max() == 65535


def test_an_unknown_filter_names_the_known():
    with pytest.raises(ImageError, match="lanczos"):
        resize(picture(), 4, 4, "sinc")
